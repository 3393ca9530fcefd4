//! `millstream check`: all problems of all files at once, tests included.

use std::process::ExitCode;

use serde_json::json;

use super::{Place, print_json};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::flow::Severity;
use crate::rehearse;

/// Checks all files of the project folder and says everything that is wrong with them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Warnings count as errors.
    #[arg(long)]
    strict: bool,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let dir = place.dir()?;
        let config = Config::load(&dir)?;
        let catalog = Catalog::load(&dir, None, &config);
        let snapshot = catalog.current();
        let mut problems = snapshot.problems.clone();
        problems.extend(rehearse::check(&snapshot));
        let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        let sound = if self.strict { problems.is_empty() } else { errors == 0 };
        if place.json {
            let mut flows: Vec<&String> = snapshot.flows.keys().collect();
            flows.sort();
            print_json(&json!({"ok": sound, "flows": flows, "problems": problems}))?;
        } else {
            for problem in &problems {
                println!("{problem}\n");
            }
            let warnings = problems.len() - errors;
            let flows = snapshot.flows.len();
            println!("{}, {}, {}", counted(flows, "flow"), counted(errors, "error"), counted(warnings, "warning"));
        }
        Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
