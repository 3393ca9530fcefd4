//! Project folders for Millstream, and the body that everyone is sent.

use std::path::{Path, PathBuf};

use serde_json::json;

/// The seven fields, as a flow maps them.
const RECORD: &str = r#"{subject: "{{trigger.body.OfferTitle}}", firstname: "{{trigger.body.UserDetails.FirstName}}",
        lastname: "{{trigger.body.UserDetails.LastName}}", emailaddress1: "{{trigger.body.UserDetails.Email}}",
        companyname: "{{trigger.body.UserDetails.Company}}", telephone1: "{{trigger.body.UserDetails.Phone}}",
        description: "New lead from {{trigger.body.UserDetails.Country}}"}"#;

/// A lead as the marketplace sends it, about this many bytes long but not less than 400.
pub fn lead(bytes: usize) -> String {
    let lead = |words: usize| {
        json!({
            "LeadSource": "AzureMarketplace", "ActionCode": "INS", "OfferTitle": "Contoso Test Drive",
            // As people write, not one letter again and again.
            "Description": "Müller & Söhne want 12 seats. ".chars().cycle().take(words).collect::<String>(),
            "UserDetails": {
                "FirstName": "MSFT_TEST_636573304831318844", "LastName": "MSFT_TEST_636573304831318844",
                "Email": "MSFT_TEST_636573304831318844@test.com", "Phone": "1234567890", "Country": "US",
                "Company": "MSFT_TEST_636573304831318844", "Title": "MSFT_TEST_636573304831318844",
            },
        })
        .to_string()
    };
    let bare = lead(0).len();
    // Two letters in thirty have two bytes.
    lead(bytes.saturating_sub(bare) * 15 / 16)
}

/// A lead with a list of things in it, so that there is something to parse: this many bytes.
pub fn order(bytes: usize) -> String {
    let item = |n: usize| json!({"sku": format!("MS-{n:06}"), "name": "A thing", "quantity": n % 7 + 1, "price": 12.5});
    let mut value: serde_json::Value = serde_json::from_str(&lead(512)).expect("it was made here");
    let each = item(0).to_string().len() + 1;
    let count = bytes.saturating_sub(value.to_string().len()) / each;
    if count > 0 {
        value["Items"] = (0..count).map(item).collect();
    }
    value.to_string()
}

/// What a flow does, by the name of its file.
pub enum Kind<'k> {
    Accept,
    /// Calls the CRM at this URL.
    Lead(&'k str),
    /// The same, and answers after it.
    Sync(&'k str),
    Steps(usize),
}

/// A project folder `name` with `count` equal flows `flow0`, `flow1`, …
pub fn project(folder: &Path, name: &str, kind: &Kind<'_>, count: usize) -> PathBuf {
    let folder = folder.join(name);
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    let call = |url: &str| {
        format!(
            "  - id: create\n    action: http.request\n    with:\n      method: POST\n      url: {url}\n      json: {RECORD}\n"
        )
    };
    let steps = match kind {
        Kind::Accept => "  - id: note\n    set: {seen: true}\n".to_owned(),
        Kind::Lead(url) => call(url),
        Kind::Sync(url) => format!("{}  - id: answer\n    response: {{status: 201}}\n", call(url)),
        Kind::Steps(count) => {
            let one = |n: usize| {
                format!("  - id: s{n}\n    set: {{v{n}: \"{{{{trigger.body.UserDetails.Company}}}} {n}\"}}\n")
            };
            (0..*count).map(one).collect()
        }
    };
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/lead.schema.json");
    write("lead.schema.json", &std::fs::read_to_string(schema).expect("the schema"));
    write("millstream.yaml", "outbound: {allow: [127.0.0.0/8]}\n");
    for number in 0..count {
        let text = format!("trigger:\n  type: request\n  schema: ../lead.schema.json\nsteps:\n{steps}");
        write(&format!("flows/flow{number}.yaml"), &text);
    }
    folder
}
