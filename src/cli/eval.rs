//! `millstream eval`: one template on given data.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use serde_json::{Value, json};

use super::{Place, print_json, read_json};
use crate::mapping::{JsonScope, Template};

/// Evaluates a template on data: `millstream eval '{{toUpper trigger.body.name}}' --with scope.json`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The template, as it stands in a flow file.
    template: String,
    /// A JSON file that holds `trigger`, `steps`, `vars`, …; `-` reads stdin.
    #[arg(long)]
    with: Option<PathBuf>,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let scope = match &self.with {
            None => json!({}),
            Some(path) => read_json(path)?,
        };
        let template = Template::parse(&self.template).map_err(|error| {
            let hint = error.hint.map(|hint| format!("\n  {hint}")).unwrap_or_default();
            anyhow!("{} at character {}: {}{hint}", error.code, error.offset + 1, error.what)
        })?;
        let scope = JsonScope { now: jiff::Timestamp::now(), seed: getrandom::u64()?, value: scope };
        let value = template.render(&scope).map_err(|error| anyhow!("{}: {}", error.code, error.what))?;
        let value = value.unwrap_or(Value::Null);
        match value {
            Value::String(text) if !place.json => println!("{text}"),
            value => print_json(&value)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
