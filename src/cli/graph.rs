//! `millstream graph`: a flow as a tree or as a Mermaid flowchart.

use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::ValueEnum;
use serde_json::json;

use super::{Place, print_json};
use crate::author;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::flow::suggest;

/// Shows a flow's steps as a tree, or as a Mermaid flowchart for a README.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    flow: String,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Mermaid,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let dir = place.dir()?;
        let catalog = Catalog::load(&dir, None, &Config::load(&dir)?);
        let snapshot = catalog.current();
        let Some(live) = snapshot.flow(&self.flow) else {
            let names = snapshot.flows.keys().map(String::as_str);
            let hint =
                suggest(&self.flow, names.collect::<Vec<_>>()).map(|hint| format!("; {hint}")).unwrap_or_default();
            if !snapshot.is_sound() {
                bail!("no sound file has the flow `{}`{hint}; `millstream check` says what is wrong", self.flow);
            }
            return Err(anyhow!("there is no flow `{}`{hint}", self.flow));
        };
        if place.json {
            let (text, mermaid) = (author::tree(&live.flow), author::mermaid(&live.flow));
            print_json(&json!({"flow": live.flow.id, "text": text, "mermaid": mermaid}))?;
            return Ok(ExitCode::SUCCESS);
        }
        match self.format {
            Format::Text => print!("{}", author::tree(&live.flow)),
            Format::Mermaid => print!("{}", author::mermaid(&live.flow)),
        }
        Ok(ExitCode::SUCCESS)
    }
}
