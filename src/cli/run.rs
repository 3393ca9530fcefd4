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
use super::{Place, block_on, inputs, print_json, read_json, segment, show, text};
use crate::catalog::{Catalog, LiveFlow, Snapshot};
use crate::config::Config;
use crate::flow::Kind;
use crate::outbound::{Call, Outbound};
use crate::run::{self, Around, AtTheDoor, Body, Event, Next, Request, Run, RunId, Started};

/// Runs a flow with a body and waits for its end.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    flow: String,
    /// A JSON file with the body, or with the inputs; `-` reads stdin. Without it the body is null.
    #[arg(long, visible_alias = "with", value_name = "FILE")]
    body: Option<PathBuf>,
    /// One input, read as the flow declares it; may come several times, and is laid over the file.
    #[arg(long = "input", value_name = "NAME=VALUE")]
    inputs: Vec<String>,
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
                let told = if self.inputs.is_empty() { json!({}) } else { door.get("/api/v1/flows").await? };
                let flows = told.get("flows").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                let body = inputs::fill(body, &self.inputs, self.of(flows))?;
                let begun = door.post(&path, json!({"body": body})).await?;
                let run = async |run: &str| door.get(&format!("/api/v1/runs/{run}")).await;
                return finish(place, &begun, run).await;
            }
            let parts = assemble(place, Config::load(&place.dir)?)?;
            eprintln!("no server runs: using the store itself until this run has ended");
            let body = inputs::fill(body, &self.inputs, self.of(&parts.engine.flows()))?;
            parts.engine.begin().await?;
            let done = match parts.engine.start_by_hand(&self.flow, body).await {
                Ok(begun) => {
                    let run = async |run: &str| parts.engine.run(run.parse()?).map_err(|error| anyhow!(error));
                    finish(place, &json!(begun), run).await
                }
                Err(denied) => Err(anyhow!(denied)),
            };
            // In order also after a refusal: the open runs that were taken up would count it as a crash.
            parts.engine.stop(Duration::from_secs(30)).await;
            done
        })
    }

    /// The flow that is meant, by its id or a former one; null if there is none.
    fn of<'f>(&self, flows: &'f [Value]) -> &'f Value {
        let named = |flow: &&Value| {
            let aliases = flow.get("aliases").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            text(flow, "id") == self.flow || aliases.iter().any(|alias| alias == &self.flow)
        };
        flows.iter().find(named).unwrap_or(&Value::Null)
    }

    fn dry(&self, place: &Place, body: Value) -> anyhow::Result<ExitCode> {
        let config = Config::load(&place.dir)?;
        let catalog = Catalog::load(&place.dir()?, None, &config).current();
        let Some(live) = catalog.flow(&self.flow) else {
            bail!("there is no flow `{}` without errors; see `millstream check`", self.flow);
        };
        let trigger = &live.flow.trigger;
        let flow = json!({"id": live.flow.id, "trigger": trigger.name(), "inputs": trigger.inputs()});
        let body = trigger.fill(inputs::fill(body, &self.inputs, &flow)?);
        let body = match trigger.schedule() {
            Some(schedule) if body.is_null() => schedule.body(Timestamp::now().as_millisecond()),
            Some(_) | None => body,
        };
        if let Some(schema) = &trigger.schema
            && let Some(first) = schema.violations(&body).first()
        {
            bail!("the body does not fit the flow's schema: `{}`: {}", first.pointer, first.message);
        }
        let Some(body) = enter(&catalog, live, body)? else {
            eprintln!("a condition of the flow's trigger is false: there would be no run");
            return Ok(ExitCode::SUCCESS);
        };
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

/// The body of the run that would begin: of a list that is split, the first item; `None` if a condition is false.
fn enter(catalog: &Snapshot, live: &LiveFlow, body: Value) -> anyhow::Result<Option<Value>> {
    let Some(trigger) = live.flow.trigger.request() else { return Ok(Some(body)) };
    let request = Request::posted(Body::of(body.clone()));
    let around = Around::new(Timestamp::now(), &catalog.env);
    let door = AtTheDoor { request: &request, flow: &live.flow, around: &around, seed: 0 };
    for condition in &trigger.conditions {
        if !condition.holds(&door)? {
            return Ok(None);
        }
    }
    let Some(split) = &trigger.split_on else { return Ok(Some(body)) };
    match split.render(&door)? {
        Some(Value::Array(items)) => {
            eprintln!("the first of {} items:", items.len());
            items.into_iter().next().map(Some).ok_or_else(|| anyhow!("the list has no item"))
        }
        _ => bail!("`split_on` wants a list; `{}` gives none", split.source()),
    }
}

/// Waits for the end (or a hold) of each run that was begun, then prints it.
async fn finish(
    place: &Place,
    begun: &Value,
    look: impl AsyncFn(&str) -> anyhow::Result<Value>,
) -> anyhow::Result<ExitCode> {
    if text(begun, "status") == "skipped" {
        eprintln!("a condition of the flow's trigger is false: there is no run");
        if place.json {
            print_json(begun)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let one = begun.get("run_id").and_then(Value::as_str);
    let many = begun.get("run_ids").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let mut ends = Vec::new();
    for run in one.into_iter().chain(many) {
        ends.push(ended(run, &look).await?);
    }
    match (place.json, one, ends.first()) {
        (true, Some(_), Some(end)) => print_json(end)?,
        (true, ..) => print_json(&ends)?,
        (false, ..) => ends.iter().for_each(|end| print!("{}", show::run(end))),
    }
    let well = ends.iter().all(|end| text(end, "status") == "succeeded");
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn ended(run: &str, look: &impl AsyncFn(&str) -> anyhow::Result<Value>) -> anyhow::Result<Value> {
    loop {
        let told = look(run).await?;
        if !["running", "queued", "waiting"].contains(&text(&told, "status").as_str()) {
            return Ok(told);
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
        match run.next(
            flow,
            &Around {
                now,
                env: &catalog.env,
                resume_url: &|run, place| format!("https://this-server.example/{run}/{place}"),
            },
        ) {
            Next::Record(event) => run.apply(now, &event)?,
            Next::Ended => break,
            Next::Wait { calls, children, wake, .. } => {
                for place in calls.iter().chain(&children) {
                    shown.extend(rehearsed(catalog, flow, &run, place));
                    let event = run.settle(flow, place, Ok(Value::Null), now, 0);
                    run.apply(now, &event)?;
                }
                if calls.is_empty() && children.is_empty() {
                    match (wake, listening(&run)) {
                        (Some(at), _) => now = Timestamp::from_millisecond(at)?,
                        (None, Some(place)) => {
                            let input = json!({"body": null, "query": {}, "headers": {}, "method": "POST"}).into();
                            run.apply(now, &Event::Resumed { place, input })?;
                        }
                        (None, None) => break,
                    }
                }
            }
        }
    }
    if let Some(failure) = &run.failure {
        shown.push(json!({"step": "", "action": "the run fails", "error": failure, "request": failure.message}));
    }
    Ok(shown)
}

/// What the call at `place` would send.
fn rehearsed(catalog: &Snapshot, flow: &crate::flow::Flow, run: &Run, place: &run::Place) -> Option<Value> {
    let step = flow.step(&place.0)?;
    let node = run.node(place)?;
    let input = node.input.as_deref().cloned().unwrap_or_default();
    let action = match &step.kind {
        Kind::Action(action) => action,
        Kind::Call(child) => {
            return Some(json!({"step": step.id, "action": format!("call {}", child.flow), "request": input}));
        }
        _ => return None,
    };
    let preview = Outbound::preview(Call {
        flow: &flow.id,
        connector: &action.connector,
        action: &action.action,
        connection: action.connection.as_ref().and_then(|name| catalog.connections.get(name)),
        input: &input,
        key: node.key,
        timeout: action.timeout,
        output_limit: 0,
    });
    let name = format!("{}.{}", action.connector.name, action.action);
    Some(match preview {
        Ok(request) => json!({"step": step.id, "action": name, "request": request}),
        Err(failure) => json!({"step": step.id, "action": name, "error": failure}),
    })
}

/// The first step that waits for a POST.
fn listening(run: &Run) -> Option<run::Place> {
    let mut found = None;
    run.each(&mut |place, node| {
        if found.is_none() && matches!(node.state, run::State::Awaiting(_)) {
            found = Some(run::Place(place.to_vec()));
        }
    });
    found
}
