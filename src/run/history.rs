//! A run told step by step, as the API and the command line show it.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::*;
use crate::flow::Flow;

/// The history of `records` as one JSON document. Without the flow (its definition cannot be read any more) steps are
/// named by their places.
pub fn history(run: RunId, records: &[Record], flow: Option<&Flow>) -> Value {
    let mut told = Told { flow, steps: Vec::new(), whole: Map::new() };
    told.whole.insert("run_id".into(), json!(run.to_string()));
    for record in records {
        for event in &record.events {
            told.tell(record.at, event);
        }
    }
    let replayed = Run::replay(run, records).ok();
    if let Some(run) = replayed.as_ref().filter(|run| run.finished.is_none()) {
        let status = if run.held.is_some() { Status::Held } else { Status::Running };
        told.whole.insert("status".into(), json!(status));
    }
    let steps: Vec<Value> = told.steps.into_iter().map(|(_, step)| Value::Object(step)).collect();
    told.whole.insert("steps".into(), Value::Array(steps));
    Value::Object(told.whole)
}

struct Told<'f> {
    flow: Option<&'f Flow>,
    steps: Vec<(Place, Map<String, Value>)>,
    whole: Map<String, Value>,
}

impl Told<'_> {
    fn tell(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::Started(started) => {
                let request = &started.request;
                self.say("flow", json!(started.flow));
                self.say("status", json!(Status::Running));
                self.say("started_at", json!(at));
                self.say("definition", json!(started.definition));
                if let Some(origin) = &started.origin {
                    self.say("origin", json!(origin.run));
                }
                let trigger = json!({
                    "method": request.method, "path": request.seen_path(), "query": request.query,
                    "headers": request.headers, "body": request.body.value(),
                });
                self.say("trigger", trigger);
            }
            Event::Rejected(rejected) => {
                self.say("flow", json!(rejected.flow));
                self.say("status", json!(Status::Rejected));
                self.say("started_at", json!(at));
                self.say("ended_at", json!(at));
                let trigger =
                    json!({"method": rejected.method, "content_type": rejected.content_type, "text": rejected.body});
                self.say("trigger", trigger);
                self.say("error", json!({"code": rejected.code, "message": rejected.message}));
            }
            Event::Called { place, attempt, input, key } => {
                let step = self.step(place, at);
                step.insert("status".into(), json!("running"));
                step.insert("key".into(), json!(key));
                if let Some(input) = input {
                    step.insert("inputs".into(), json!(input));
                }
                attempts(step).push(json!({"attempt": attempt, "started_at": at}));
            }
            Event::Succeeded { place, output } => {
                let step = self.end(place, at, "succeeded");
                step.insert("output".into(), json!(output));
                step.remove("error");
                end_attempt(step, json!({"ended_at": at, "status": "succeeded"}));
            }
            Event::Failed { place, failure, retry_at } => {
                let retry_at = retry_at.and_then(|ms| Timestamp::from_millisecond(ms).ok());
                let timed_out = failure.code == super::apply::TIMEOUT;
                let step = match retry_at {
                    Some(_) => self.step(place, at),
                    None => self.end(place, at, if timed_out { "timed_out" } else { "failed" }),
                };
                if retry_at.is_some() {
                    step.insert("status".into(), json!("waiting"));
                }
                step.insert("error".into(), json!(failure));
                let mut ended = json!({"ended_at": at, "status": "failed", "error": failure});
                if let Some(retry_at) = retry_at {
                    ended["retry_at"] = json!(retry_at);
                }
                end_attempt(step, ended);
            }
            Event::Skipped { place, unmet } => {
                let reason = if *unmet { "what it follows did not end as it asks" } else { "its `when` was false" };
                self.end(place, at, "skipped").insert("reason".into(), json!(reason));
            }
            Event::Entered { place, sub } => {
                let step = self.step(place, at);
                step.insert("status".into(), json!("running"));
                step.insert("branch".into(), json!(sub));
            }
            Event::Waiting { place, until } => {
                let step = self.step(place, at);
                step.insert("status".into(), json!("waiting"));
                step.insert("until".into(), json!(Timestamp::from_millisecond(*until).ok()));
            }
            Event::Assigned { place, vars } => {
                self.end(place, at, "succeeded").insert("output".into(), json!(vars));
            }
            Event::Responded { place, response } => {
                self.end(place, at, "succeeded").insert("output".into(), json!(response));
                self.say("response", json!(response));
            }
            Event::Recovered { .. } => {
                let times = self.whole.get("recoveries").and_then(Value::as_u64).unwrap_or(0) + 1;
                self.say("recoveries", json!(times));
            }
            Event::Held { place, failure } => {
                if let Some(place) = place {
                    let step = self.step(place, at);
                    step.insert("status".into(), json!("held"));
                    step.insert("error".into(), json!(failure));
                    end_attempt(step, json!({"ended_at": at, "status": "held", "error": failure}));
                }
                self.say("reason", json!(failure.message));
            }
            Event::Released => {
                self.whole.remove("reason");
            }
            Event::Finished { status, failure } => {
                self.say("status", json!(status));
                self.say("ended_at", json!(at));
                if let Some(failure) = failure {
                    self.say("error", json!(failure));
                }
            }
        }
    }

    fn say(&mut self, key: &str, value: Value) {
        self.whole.insert(key.to_owned(), value);
    }

    fn step(&mut self, place: &Place, at: Timestamp) -> &mut Map<String, Value> {
        let found = self.steps.iter().position(|(other, _)| other == place);
        let index = found.unwrap_or_else(|| {
            let id = self.flow.and_then(|flow| flow.step(&place.0)).map(|step| step.id.clone());
            let mut step = Map::new();
            step.insert("id".into(), json!(id.unwrap_or_else(|| place.to_string())));
            step.insert("place".into(), json!(place));
            step.insert("status".into(), json!("running"));
            step.insert("started_at".into(), json!(at));
            self.steps.push((place.clone(), step));
            self.steps.len() - 1
        });
        &mut self.steps[index].1
    }

    fn end(&mut self, place: &Place, at: Timestamp, status: &str) -> &mut Map<String, Value> {
        let step = self.step(place, at);
        step.insert("status".into(), json!(status));
        step.insert("ended_at".into(), json!(at));
        step
    }
}

fn attempts(step: &mut Map<String, Value>) -> &mut Vec<Value> {
    let attempts = step.entry("attempts").or_insert_with(|| Value::Array(Vec::new()));
    match attempts {
        Value::Array(attempts) => attempts,
        _ => unreachable!("only this function makes it"),
    }
}

/// Adds how the last attempt ended, if the step had one.
fn end_attempt(step: &mut Map<String, Value>, end: Value) {
    let last = step.get_mut("attempts").and_then(Value::as_array_mut).and_then(|all| all.last_mut());
    if let (Some(Value::Object(last)), Value::Object(end)) = (last, end) {
        last.extend(end);
    }
}
