//! `millstream connectors options`.

use std::process::ExitCode;

use serde_json::Value;

use super::super::door::Door;
use super::super::{Place, block_on, print_json, segment, text};

/// Shows what an input of an action may be, asked of the connection's system: `connectors options sales slack.post_message channel`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    connection: String,
    /// As steps name it; the connector's name before it may be left out.
    action: String,
    /// The input, with dots where it is inside of another: `record.owner`.
    input: String,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let path = format!(
            "/api/v1/connections/{}/options?action={}&input={}",
            segment(&self.connection),
            segment(&self.action),
            segment(&self.input)
        );
        let told = block_on(async { Door::open(place).await?.get(&path).await })?;
        if place.json {
            print_json(&told)?;
            return Ok(ExitCode::SUCCESS);
        }
        for option in told.get("options").and_then(Value::as_array).into_iter().flatten() {
            let value =
                option.get("value").map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            println!("{}  {}", value.unwrap_or_default(), text(option, "label"));
        }
        if told.get("more").and_then(Value::as_bool) == Some(true) {
            eprintln!("there are more than these");
        }
        Ok(ExitCode::SUCCESS)
    }
}
