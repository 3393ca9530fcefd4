//! `millstream run`: starts a flow by hand, or shows what it would send.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::assemble::assemble;
use super::door::Door;
use super::{Place, block_on, print_json, read_json, segment, show, text};
use crate::catalog::{Catalog, Snapshot};
use crate::config::Config;
use crate::flow::Kind;
use crate::outbound::{Call, Outbound};
use crate::run::{Around, Body, Next, Request, Run, RunId, Started};

/// Runs a flow with a body and waits for its end.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    flow: String,
    /// A JSON file; `-` reads stdin. Without it the body is null.
    #[arg(long)]
    body: Option<PathBuf>,
    /// Prints each call as it would be sent, and sends nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let body = self.body.as_deref().map(read_json).transpose()?.unwrap_or(Value::Null);
        if self.dry_run {
            return self.dry(place, body);
        }
        block_on(async {
            let path = format!("/api/v1/flows/{}/runs", segment(&self.flow));
            if let Some(door) = Door::server(place).await? {
                eprintln!("using {}", door.name());
                let begun = door.post(&path, json!({"body": body})).await?;
                let run = format!("/api/v1/runs/{}", text(&begun, "run_id"));
                return finish(place, async || door.get(&run).await).await;
            }
            let parts = assemble(place, Config::load(&place.dir)?)?;
            eprintln!("no server runs: using the store itself until this run has ended");
            parts.engine.begin().await?;
            let done = match parts.engine.start_by_hand(&self.flow, body).await {
                Ok(run) => finish(place, async || parts.engine.run(run).map_err(|error| anyhow!(error))).await,
                Err(denied) => Err(anyhow!(denied)),
            };
            // In order also after a refusal: the open runs that were taken up would count it as a crash.
            parts.engine.stop(Duration::from_secs(30)).await;
            done
        })
    }

    fn dry(&self, place: &Place, body: Value) -> anyhow::Result<ExitCode> {
        let config = Config::load(&place.dir)?;
        let catalog = Catalog::load(&place.dir()?, None, &config).current();
        let Some(live) = catalog.flow(&self.flow) else {
            bail!("there is no flow `{}` without errors; see `millstream check`", self.flow);
        };
        if let Some(schema) = &live.flow.trigger.schema
            && let Some(first) = schema.violations(&body).first()
        {
            bail!("the body does not fit the flow's schema: `{}`: {}", first.pointer, first.message);
        }
        let calls = rehearse(&catalog, &live.flow, live.digest, body)?;
        if place.json {
            print_json(&calls)?;
        } else {
            for call in &calls {
                println!("{}  {}", text(call, "step"), text(call, "action"));
                println!("{}", serde_json::to_string_pretty(call.get("request").unwrap_or(&Value::Null))?);
            }
            println!("nothing was sent");
        }
        let failed = calls.iter().any(|call| call.get("error").is_some());
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// Waits for the run's end (or a hold), then prints it.
async fn finish(place: &Place, look: impl AsyncFn() -> anyhow::Result<Value>) -> anyhow::Result<ExitCode> {
    loop {
        let told = look().await?;
        let status = text(&told, "status");
        if !["running", "queued", "waiting"].contains(&status.as_str()) {
            match place.json {
                true => print_json(&told)?,
                false => print!("{}", show::run(&told)),
            }
            return Ok(if status == "succeeded" { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Plays the flow without the outside: each call is shown and answers null, each delay passes at once.
fn rehearse(
    catalog: &Snapshot,
    flow: &crate::flow::Flow,
    definition: crate::run::Digest,
    body: Value,
) -> anyhow::Result<Vec<Value>> {
    let id = RunId(Uuid::now_v7());
    let mut now = Timestamp::now();
    let request = Request::posted(Body::of(body));
    let started = Started { flow: flow.id.clone(), definition, request, keys: id.0, origin: None, parent: None };
    let mut run = Run::new(id, now, started.into());
    let mut shown = Vec::new();
    loop {
        match run.next(flow, &Around { now, env: &catalog.env }) {
            Next::Record(event) => run.apply(now, &event)?,
            Next::Ended => break,
            Next::Wait { calls, wake, .. } => {
                for place in &calls {
                    let Some(step) = flow.step(&place.0) else { continue };
                    let Kind::Action(action) = &step.kind else { continue };
                    let Some(node) = run.node(place) else { continue };
                    let connection = action.connection.as_ref().and_then(|name| catalog.connections.get(name));
                    let input = node.input.as_deref().cloned().unwrap_or_default();
                    let preview = Outbound::preview(Call {
                        flow: &flow.id,
                        connector: &action.connector,
                        action: &action.action,
                        connection,
                        input: &input,
                        key: node.key,
                        timeout: action.timeout,
                        output_limit: 0,
                    });
                    let name = format!("{}.{}", action.connector.name, action.action);
                    shown.push(match preview {
                        Ok(request) => json!({"step": step.id, "action": name, "request": request}),
                        Err(failure) => json!({"step": step.id, "action": name, "error": failure}),
                    });
                    let event = run.settle(flow, place, Ok(Value::Null), now, 0);
                    run.apply(now, &event)?;
                }
                if calls.is_empty() {
                    let Some(at) = wake else { break };
                    now = Timestamp::from_millisecond(at)?;
                }
            }
        }
    }
    if let Some(failure) = &run.failure {
        shown.push(json!({"step": "", "action": "the run fails", "error": failure, "request": failure.message}));
    }
    Ok(shown)
}
