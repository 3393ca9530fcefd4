//! `millstream audit`: what was done through the admin API and the command line, by whom, and what was refused.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::door::Door;
use super::{Place, block_on, print_json, text};

/// Shows the audit log, newest first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        block_on(async {
            let answer = Door::open(place).await?.get(&format!("/api/v1/audit?limit={}", self.limit)).await?;
            let entries = answer.get("entries").cloned().unwrap_or(json!([]));
            if place.json {
                print_json(&entries)?;
                return Ok(ExitCode::SUCCESS);
            }
            for entry in entries.as_array().into_iter().flatten() {
                println!("{}", line(entry));
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn line(entry: &Value) -> String {
    let or = |key: &str, none: &str| match text(entry, key) {
        empty if empty.is_empty() => none.to_owned(),
        found => found,
    };
    let what = format!("{} {}", text(entry, "what"), text(entry, "target"));
    let outcome = format!("{} {}{}", text(entry, "outcome"), text(entry, "code"), text(entry, "run_id"));
    let (who, from) = (or("who", "nobody"), or("from", "here"));
    format!("{}  {who:<16}  {from:<15}  {:<48}  {outcome}", text(entry, "at"), what.trim_end()).trim_end().to_owned()
}
