//! Marketplace leads as they arrive: what `send --sample` and `demo` post.
//!
//! The documented schema is PascalCase; publishers report camelCase; test leads carry `MSFT_TEST_<digits>`
//! (Microsoft's page "Customer leads from your marketplace offer").

use clap::ValueEnum;
use serde_json::{Value, json};

/// A sample lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Sample {
    /// As documented: PascalCase.
    Marketplace,
    /// As publishers see it arrive: camelCase.
    MarketplaceCamel,
    /// What the Validate button sends.
    MarketplaceTest,
}

impl Sample {
    pub const ALL: [Sample; 3] = [Sample::Marketplace, Sample::MarketplaceCamel, Sample::MarketplaceTest];

    pub fn body(self) -> Value {
        match self {
            Sample::Marketplace => json!({
                "LeadSource": "AzureMarketplace",
                "ActionCode": "INS",
                "OfferTitle": "Contoso Test Drive",
                "Description": "Wants a call on Tuesday",
                "UserDetails": {
                    "FirstName": "Ann", "LastName": "O'Brien", "Email": "ann@example.com", "Phone": "+1 425 555 0100",
                    "Country": "US", "Company": "O'Brien & Sons", "Title": "CTO",
                },
            }),
            Sample::MarketplaceCamel => json!({
                "leadSource": "AzureMarketplace",
                "actionCode": "PLT",
                "offerTitle": "Contoso Sélection de prospects",
                "userDetails": {
                    "firstName": "Zoë", "lastName": "Müller", "email": "zoe@example.net", "phone": "+49 89 555 0100",
                    "country": "DE", "company": "Müller GmbH",
                },
            }),
            Sample::MarketplaceTest => json!({
                "LeadSource": "AzureMarketplace",
                "ActionCode": "INS",
                "OfferTitle": "Contoso Test Drive",
                "Description": "MSFT_TEST_636573304831318844",
                "UserDetails": {
                    "FirstName": "MSFT_TEST_636573304831318844", "LastName": "MSFT_TEST_636573304831318844",
                    "Email": "MSFT_TEST_636573304831318844@test.com", "Phone": "1234567890", "Country": "US",
                    "Company": "MSFT_TEST_636573304831318844", "Title": "MSFT_TEST_636573304831318844",
                },
            }),
        }
    }
}
