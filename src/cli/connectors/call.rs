//! `millstream connectors call`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{anyhow, bail};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::{Place, block_on, print_json, read_json, vault};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::connector::Answer;
use crate::data::Data;
use crate::engine::InstanceKey;
use crate::flow::suggest;
use crate::outbound::{Call, Client, Outbound, Secrets};

/// Calls an action once, by hand, and shows the request and what came back: `connectors call crm.create --connection crm --with input.json`.
///
/// No run is made and nothing is tried again. Secrets are not shown.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// CONNECTOR.ACTION, as steps name it.
    action: String,
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,
    /// A JSON file with the inputs; `-` reads stdin. None unless given.
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
    /// Shows the request, and sends nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let input = self.with.as_deref().map(read_json).transpose()?.unwrap_or_else(|| json!({}));
        let config = Config::load(&place.dir)?;
        let catalog = Catalog::load(&place.dir()?, None, &config).current();
        let Some((connector, action)) = catalog.connectors.action(&self.action) else {
            let names = catalog
                .connectors
                .all()
                .flat_map(|connector| connector.actions.keys().map(|action| format!("{}.{action}", connector.name)));
            let names: Vec<String> = names.collect();
            let hint = suggest(&self.action, names.iter().map(String::as_str).collect::<Vec<_>>());
            bail!(
                "there is no action `{}`; {}",
                self.action,
                hint.unwrap_or_else(|| "see `millstream connectors list`".into())
            );
        };
        let connection = match &self.connection {
            None => None,
            Some(name) => Some(catalog.connections.get(name).ok_or_else(|| {
                anyhow!("connections.yaml has no connection `{name}` without errors; see `millstream check`")
            })?),
        };
        let call = Call {
            flow: "",
            connector,
            action: &action.name,
            connection,
            input: &input,
            key: Uuid::now_v7(),
            timeout: None,
            output_limit: config.limits.output_bytes,
        };
        let request = Outbound::preview(call).map_err(|failure| anyhow!("{} ({})", failure.message, failure.code))?;
        if self.dry_run {
            self.show(place, &request, &[], None)?;
            return Ok(ExitCode::SUCCESS);
        }
        let answers = Arc::new(Mutex::new(Vec::new()));
        let kept = answers.clone();
        let outbound = Outbound::watched(Client::new(&config.outbound)?, secrets(place, &config)?, move |answer| {
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(told(answer));
        });
        let result = block_on(async { Ok(outbound.perform(call).await) })?;
        let answers = std::mem::take(&mut *answers.lock().unwrap_or_else(PoisonError::into_inner));
        let done = result.is_ok();
        let end = result.map_or_else(|failure| ("error", json!(failure)), |output| ("output", output));
        self.show(place, &request, &answers, Some(end))?;
        Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn show(
        &self,
        place: &Place,
        request: &Value,
        answers: &[Value],
        end: Option<(&str, Value)>,
    ) -> anyhow::Result<()> {
        if place.json {
            let mut shown = json!({"request": request, "sent": end.is_some(), "answers": answers});
            if let Some((name, value)) = end {
                shown[name] = value;
            }
            return print_json(&shown);
        }
        println!("request (its credentials are added when it is sent)\n{}", serde_json::to_string_pretty(request)?);
        for answer in answers {
            println!("answer\n{}", serde_json::to_string_pretty(answer)?);
        }
        match end {
            Some((name, value)) => println!("{name}\n{}", serde_json::to_string_pretty(&value)?),
            None => println!("nothing was sent"),
        }
        Ok(())
    }
}

/// The secrets of this folder, if it has a vault.
fn secrets(place: &Place, config: &Config) -> anyhow::Result<Secrets> {
    let folder = place.data()?;
    if !folder.join("instance.key").is_file() {
        return Ok(Secrets::default());
    }
    let data = Data::open(&folder).map_err(|why| anyhow!(why))?;
    let key = InstanceKey::open(data.path()).map_err(|why| anyhow!(why))?;
    let vault = vault::open(&place.dir, &data, config, &key, None)?;
    Ok(Secrets::new(Some(Arc::new(vault))))
}

/// An answer as a person reads it.
fn told(answer: &Answer) -> Value {
    let mut headers = answer.header_object();
    if let Some(cookie) = headers.get_mut("set-cookie") {
        *cookie = json!("[redacted]");
    }
    let text = || Value::String(String::from_utf8_lossy(&answer.body).into_owned());
    let mut told = json!({"status": answer.status, "headers": headers});
    told["body"] = answer.json().unwrap_or_else(text);
    told
}
