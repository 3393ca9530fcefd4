//! `millstream url`: flows' addresses.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::door::Door;
use super::{Place, block_on, print_json, segment, text};

/// Shows and changes the URLs of flows.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Shows a flow's URL. It holds the key: whoever has it can start the flow.
    Show { flow: String },
    /// Gives a flow a new URL; the old one ends, at once or after a grace.
    Rotate {
        flow: String,
        /// How long the old URL works on, as in `24h`.
        #[arg(long, default_value = "0s", value_parser = crate::flow::duration)]
        grace: std::time::Duration,
    },
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        block_on(async {
            let door = Door::open(place).await?;
            let shown = match &self.what {
                What::Show { flow } => door.get(&format!("/api/v1/flows/{}/url", segment(flow))).await?,
                What::Rotate { flow, grace } => {
                    let path = format!("/api/v1/flows/{}/url/rotate", segment(flow));
                    door.post(&path, json!({"grace_seconds": grace.as_secs()})).await?
                }
            };
            if let Some(warning) = shown.get("warning").and_then(Value::as_str) {
                eprintln!("warning: {warning}");
            }
            match place.json {
                true => print_json(&json!({"flow": shown["flow"], "url": shown["url"]}))?,
                false => println!("{}", text(&shown, "url")),
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
