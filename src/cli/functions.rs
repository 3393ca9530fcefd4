//! `millstream functions`: the functions that templates may call.

use std::process::ExitCode;

use serde_json::json;

use super::{Place, print_json};
use crate::mapping::functions;

/// Lists the functions of templates.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only functions whose name, family or text holds this.
    filter: Option<String>,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let wanted = self.filter.unwrap_or_default().to_lowercase();
        let found: Vec<_> = functions::all()
            .filter(|f| [f.name, f.family, f.text].iter().any(|text| text.to_lowercase().contains(&wanted)))
            .collect();
        if place.json {
            let rows: Vec<_> = found
                .iter()
                .map(|f| {
                    json!({
                        "name": f.name, "family": f.family, "signature": f.signature(), "text": f.text,
                        "example": f.example.template,
                    })
                })
                .collect();
            print_json(&rows)?;
        } else {
            for f in found {
                println!("{}\n    {}\n    {}", f.signature(), f.text, f.example.template);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
