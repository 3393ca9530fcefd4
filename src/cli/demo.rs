//! `millstream demo`: the main job, from a request to a row, on this machine alone.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};

use super::assemble::assemble;
use super::door::client;
use super::samples::Sample;
use super::serve::{serve, start_log};
use super::{Place, block_on, show, text};
use crate::config::Config;
use crate::outbound::Call;
use crate::run::RunId;

/// Serves the sample flow, sends it leads over HTTP, shows each run and the stored rows, and keeps serving.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Stops after showing.
    #[arg(long)]
    once: bool,
}

const FLOW: &str = "marketplace_lead";
/// What a project folder needs for the demo, where it lacks it.
const FILES: [(&str, &str); 3] = [
    ("flows/marketplace_lead.yaml", include_str!("../../flows/marketplace_lead.yaml")),
    ("connections.yaml", include_str!("../../connections.yaml")),
    ("examples/lead.schema.json", include_str!("../../examples/lead.schema.json")),
];

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        start_log(false);
        let mut place = place.clone();
        if !place.dir.join(FILES[0].0).exists() {
            place.dir = place.dir.join("millstream-demo");
            write_files(&place.dir)?;
            println!("wrote a project folder: {}", place.dir.display());
        }
        let mut config = Config::load(&place.dir)?;
        config.listen = Some(free_or_any(config.listen, "127.0.0.1:8080"));
        config.admin = Some(free_or_any(config.admin, "127.0.0.1:8081"));
        let parts = assemble(&place, config)?;
        block_on(async {
            let (engine, outbound, catalog) = (parts.engine.clone(), parts.outbound.clone(), parts.catalog.clone());
            let (shown, until) = tokio::sync::oneshot::channel::<anyhow::Result<()>>();
            let once = self.once;
            let ready = |at: &crate::data::Whereabouts| {
                let base = format!("{}://{}", at.scheme, at.public);
                tokio::spawn(async move {
                    let told = async {
                        let path = engine.hook_path(FLOW).context("the flow is not live; see `millstream check`")?;
                        let url = format!("{base}{path}");
                        send_samples(&engine, &url).await?;
                        show_rows(&outbound, &catalog).await?;
                        println!("\nThe flow's URL (whoever has it can start the flow):\n  {url}\n\nTry it:");
                        let sample = json!({"actionCode": "INS", "userDetails": {"firstName": "You"}});
                        println!("  curl -i -H 'content-type: application/json' -d '{sample}' '{url}'");
                        anyhow::Ok(())
                    };
                    let told = told.await;
                    if once || told.is_err() {
                        let _ = shown.send(told);
                    } else {
                        println!("\nServing until Ctrl-C.");
                        std::future::pending::<()>().await;
                    }
                });
                Ok(())
            };
            let mut failed = None;
            let stop = async {
                match until.await {
                    Ok(Err(error)) => failed = Some(error),
                    Ok(Ok(())) => {}
                    Err(_) => std::future::pending().await,
                }
            };
            let code = serve(parts, ready, stop).await?;
            failed.map_or(Ok(code), Err)
        })
    }
}

async fn send_samples(engine: &crate::engine::Engine, url: &str) -> anyhow::Result<()> {
    let client = client()?;
    for sample in Sample::ALL {
        let body = sample.body();
        println!("\nPOST {}", body);
        let sent = client.post(url).header("content-type", "application/json").body(body.to_string());
        let answer = sent.send().await?;
        let status = answer.status();
        let answer: Value = serde_json::from_str(&answer.text().await?)?;
        println!("{status} {answer}");
        let run: RunId = text(&answer, "run_id").parse().context("the answer names no run")?;
        println!("{}", show::run(&ended(engine, run).await?));
    }
    Ok(())
}

async fn ended(engine: &crate::engine::Engine, run: RunId) -> anyhow::Result<Value> {
    for _ in 0..1500 {
        let told = engine.run(run)?;
        if told.get("ended_at").is_some() || text(&told, "status") == "held" {
            return Ok(told);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("run {run} has not ended after 30 s; see `millstream runs show {run}`")
}

async fn show_rows(outbound: &crate::outbound::Outbound, catalog: &crate::catalog::Catalog) -> anyhow::Result<()> {
    let catalog = catalog.current();
    let connection = catalog.connections.get("leads").context("connections.yaml has no `leads`")?;
    let connector = catalog.connectors.get("sql").context("there is no connector `sql`")?;
    let sql = "SELECT received_at, first_name, last_name, company, email, offer FROM leads ORDER BY received_at";
    let input = json!({"sql": sql, "params": []});
    let call = Call {
        flow: "demo",
        connector,
        action: "query",
        connection: Some(connection),
        input: &input,
        key: uuid::Uuid::nil(),
        timeout: None,
        output_limit: 1 << 20,
    };
    let found = outbound.perform(call).await.map_err(|failure| anyhow!(failure.message))?;
    let rows = found.get("rows").and_then(Value::as_array).cloned().unwrap_or_default();
    println!("The table `leads` in leads.db has {} rows; the newest:", rows.len());
    for row in rows.iter().rev().take(6).rev() {
        let cells = ["received_at", "first_name", "last_name", "company", "email", "offer"].map(|key| text(row, key));
        println!("  {}", cells.join(" | "));
    }
    Ok(())
}

fn write_files(dir: &Path) -> anyhow::Result<()> {
    for (name, content) in FILES {
        let path = dir.join(name);
        if path.exists() {
            continue;
        }
        std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
        std::fs::write(&path, content).with_context(|| format!("{} could not be written", path.display()))?;
    }
    Ok(())
}

/// The default address if it is free, else any port: a demo must not fail for a busy port.
fn free_or_any(set: Option<String>, default: &str) -> String {
    set.unwrap_or_else(|| match default.parse::<SocketAddr>().map(std::net::TcpListener::bind) {
        Ok(Ok(_)) => default.to_owned(),
        _ => "127.0.0.1:0".to_owned(),
    })
}
