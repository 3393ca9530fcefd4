//! What a case expects, as read.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::reader::Reader;
use crate::flow::{self, At, Kind, child, suggest};
use crate::run::Status;

pub(super) const EXPECT_KEYS: &[&str] =
    &["status", "response", "steps", "order", "vars", "error", "dedupe_key", "took", "runs", "calls"];
pub(super) const STEP_KEYS: &[&str] = &["status", "input", "output", "error", "attempts", "times", "branch"];
pub(super) const RESPONSE_KEYS: &[&str] = &["status", "headers", "body"];

/// How a request can end without a run.
pub(super) const SKIPPED: &str = "skipped";
/// What is said of a step that never began.
pub(super) const NOT_REACHED: &str = "not_reached";
const STEP_STATUSES: [&str; 9] =
    ["succeeded", "failed", "timed_out", SKIPPED, "waiting", "running", "held", "cancelled", NOT_REACHED];

/// What must come of a run. What is not named is not asked for.
#[derive(Debug, Default)]
pub(super) struct Expect {
    /// Where it stands in the file, JSON Pointer.
    pub pointer: String,
    pub status: Option<String>,
    /// What the caller gets: a part of it.
    pub response: Option<Value>,
    pub steps: Vec<StepWanted>,
    /// Ids of steps in the order in which they begin; others may stand between.
    pub order: Option<Vec<String>>,
    pub vars: Option<Value>,
    pub error: Option<Value>,
    pub dedupe_key: Option<Value>,
    /// From the beginning to the end, on the case's clock.
    pub took: Option<Duration>,
    /// Of a request that is split: one for each run, in order.
    pub runs: Option<Vec<Expect>>,
    /// Of runs that steps of this one call.
    pub calls: Vec<(String, Vec<Expect>)>,
}

/// What must come of one step.
#[derive(Debug)]
pub(super) struct StepWanted {
    pub id: String,
    pub pointer: String,
    /// One for all its executions, or one for each, in order.
    pub each: Vec<Value>,
    pub listed: bool,
}

impl Expect {
    /// Reads `expect:` of a case of `flow`.
    pub fn read(reader: &mut Reader<'_>, value: &Value, at: &str, flow: &str) -> Expect {
        let mut expect = Expect { pointer: at.to_owned(), ..Expect::default() };
        let Some(map) = reader.map(value, at, "{status: succeeded, steps: {…}}") else { return expect };
        reader.keys(map, at, EXPECT_KEYS);
        let known: Vec<&str> = Status::ALL.iter().map(|status| status.name()).chain([SKIPPED]).collect();
        expect.status = word(reader, map, at, &known);
        expect.response = map.get("response").cloned();
        if let Some(response) = &expect.response
            && let Some(response) = reader.map(response, &child(at, "response"), "{status: 202}")
        {
            reader.keys(response, &child(at, "response"), RESPONSE_KEYS);
        }
        expect.error = map.get("error").map(error);
        for key in ["vars", "error"] {
            if let Some(value) =
                map.get(key).filter(|value| !(key == "error" && (value.is_string() || value.is_null())))
            {
                reader.map(value, &child(at, key), "{name: value}");
            }
        }
        expect.vars = map.get("vars").cloned();
        expect.dedupe_key = map.get("dedupe_key").cloned();
        expect.took = reader.length(map, at, "took");
        expect.order = map.get("order").and_then(|value| order(reader, value, &child(at, "order"), flow));
        if let Some(steps) = map.get("steps") {
            expect.steps = all_steps(reader, steps, &child(at, "steps"), flow);
        }
        expect.runs = map.get("runs").and_then(|value| {
            let at = child(at, "runs");
            if value.as_array().is_none() {
                reader.wrong(&at, value, "a list, with what is expected of each run");
            }
            let list = value.as_array()?.iter().enumerate();
            Some(list.map(|(i, value)| Expect::read(reader, value, &child(&at, &i.to_string()), flow)).collect())
        });
        if let Some(calls) = map.get("calls") {
            expect.calls = called(reader, calls, &child(at, "calls"), flow);
        }
        expect
    }
}

fn word(reader: &mut Reader<'_>, map: &Map<String, Value>, at: &str, known: &[&str]) -> Option<String> {
    let status = reader.text(map, at, "status")?;
    if !known.contains(&status.as_str()) {
        let hint = suggest(&status, known.iter().copied());
        reader.bad(&child(at, "status"), format!("`{status}` is no status"), hint);
    }
    Some(status)
}

/// A code alone stands for the error that has it.
fn error(value: &Value) -> Value {
    match value {
        Value::String(code) => json!({"code": code}),
        other => other.clone(),
    }
}

fn order(reader: &mut Reader<'_>, value: &Value, at: &str, flow: &str) -> Option<Vec<String>> {
    let Some(items) = value.as_array() else {
        reader.wrong(at, value, "a list of steps");
        return None;
    };
    let mut order = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let here = child(at, &index.to_string());
        match item.as_str() {
            Some(id) => order.extend(reader.step(flow, id, &here, None).map(|(_, id)| id)),
            None => reader.wrong(&here, item, "a step's id"),
        }
    }
    Some(order)
}

fn all_steps(reader: &mut Reader<'_>, value: &Value, at: &str, flow: &str) -> Vec<StepWanted> {
    let mut found = Vec::new();
    let Some(map) = reader.map(value, at, "{create_lead: succeeded}") else { return found };
    for (id, value) in map {
        let pointer = child(at, id);
        let Some((of, id)) = reader.step(flow, id, &pointer, None) else { continue };
        if of != flow {
            let hint = Some(format!("what flow `{of}` does is expected in `calls`"));
            reader.say(flow::BAD_VALUE, &pointer, At::Key, format!("this step is one of flow `{of}`"), hint);
            continue;
        }
        let listed = value.is_array();
        let items = if listed { value.as_array().map_or(&[][..], Vec::as_slice) } else { std::slice::from_ref(value) };
        let each = items.iter().enumerate().filter_map(|(index, item)| {
            let at = if listed { child(&pointer, &index.to_string()) } else { pointer.clone() };
            one_step(reader, item, &at)
        });
        let each = each.collect();
        found.push(StepWanted { id, pointer, each, listed });
    }
    found
}

/// What is expected of one execution; a status alone stands for it.
fn one_step(reader: &mut Reader<'_>, value: &Value, at: &str) -> Option<Value> {
    if let Value::String(status) = value {
        if !STEP_STATUSES.contains(&status.as_str()) {
            reader.bad(at, format!("`{status}` is no status of a step"), suggest(status, STEP_STATUSES));
        }
        return Some(json!({"status": status}));
    }
    let map = reader.map(value, at, "{status: succeeded, input: {…}}")?;
    reader.keys(map, at, STEP_KEYS);
    word(reader, map, at, &STEP_STATUSES);
    reader.number(map, at, "attempts");
    reader.number(map, at, "times");
    reader.text(map, at, "branch");
    let mut map = map.clone();
    if let Some(value) = map.get("error") {
        let value = error(value);
        map.insert("error".to_owned(), value);
    }
    Some(Value::Object(map))
}

fn called(reader: &mut Reader<'_>, value: &Value, at: &str, flow: &str) -> Vec<(String, Vec<Expect>)> {
    let mut found = Vec::new();
    let Some(map) = reader.map(value, at, "{contact: {status: succeeded}}") else { return found };
    for (id, value) in map {
        let here = child(at, id);
        let calls = |kind: &Kind| matches!(kind, Kind::Call(_));
        let Some((_, id)) = reader.step(flow, id, &here, Some(&(calls, "calls no flow"))) else { continue };
        let step = reader.live(flow).and_then(|flow| flow.step_called(&id));
        let Some(Kind::Call(call)) = step.map(|step| &step.kind) else { continue };
        let each = match value {
            Value::Array(items) => {
                let items = items.iter().enumerate();
                items.map(|(i, item)| Expect::read(reader, item, &child(&here, &i.to_string()), &call.flow)).collect()
            }
            one => vec![Expect::read(reader, one, &here, &call.flow)],
        };
        found.push((id, each));
    }
    found
}
