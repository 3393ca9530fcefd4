//! `millstream connectors list`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::super::{Place, print_json};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::connector::{Connector, Need};

/// Lists the connectors: those that are built in, and those of the project folder.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only connectors whose name or description, or one of whose actions, holds this.
    filter: Option<String>,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let wanted = self.filter.unwrap_or_default().to_lowercase();
        let catalog = Catalog::load(&place.dir()?, None, &Config::load(&place.dir)?).current();
        let found = catalog.connectors.all().filter(|connector| {
            let actions = connector.actions.keys().map(String::as_str);
            let mut texts = [connector.name.as_str(), connector.description.as_str()].into_iter().chain(actions);
            texts.any(|text| text.to_lowercase().contains(&wanted))
        });
        if place.json {
            print_json(&found.map(|connector| row(connector)).collect::<Vec<_>>())?;
            return Ok(ExitCode::SUCCESS);
        }
        for connector in found {
            let own = if connector.is_shipped() { "" } else { "  (your own)" };
            println!("{}{own}  {}", connector.name, connector.description);
            for action in connector.actions.values().filter(|action| !action.hidden) {
                println!("    {}.{}  {}", connector.name, action.name, action.description);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(connector: &Connector) -> Value {
    let actions = connector.actions.values().filter(|action| !action.hidden);
    let actions = actions.map(|action| json!({"name": action.name, "description": action.description}));
    let proof = connector.proof.as_ref();
    let proof = proof.map(|proof| json!({"kind": proof.kind.name(), "by": proof.by, "unverified": proof.unverified}));
    let need = match connector.connection {
        Need::Required => "required",
        Need::Optional => "optional",
        Need::Never => "never",
    };
    json!({
        "name": connector.name,
        "description": connector.description,
        "origin": if connector.is_shipped() { "shipped" } else { "own" },
        "connection": need,
        "actions": actions.collect::<Vec<_>>(),
        "proof": proof,
    })
}
