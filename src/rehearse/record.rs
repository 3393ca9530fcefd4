//! Turns a run's history into a test file. What looks like a secret is hidden, everywhere it occurs.

mod hide;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::hide::{Hider, without_hidden};
use super::yaml;
use crate::flow::{Flow, Kind};

/// What a recording is made of.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'r> {
    /// The run as the API tells it.
    pub told: &'r Value,
    pub flow: &'r Flow,
    /// What `env.…` reads.
    pub env: &'r Value,
}

/// Calls that took shorter are recorded as if they had taken no time, ms.
const NOTEWORTHY: i64 = 1_000;

/// The text of a test file whose case is what this run did.
///
/// # Errors
/// What cannot be recorded, for a person.
pub fn record(recorded: Recorded<'_>) -> Result<String, String> {
    let told = recorded.told;
    let run = told["run_id"].as_str().unwrap_or_default();
    let status = told["status"].as_str().unwrap_or_default();
    if status == "rejected" {
        return Err("the request was rejected, so there was no run; only runs can be recorded".to_owned());
    }
    if !["succeeded", "failed", "timed_out", "cancelled", "held"].contains(&status) {
        return Err(format!("run {run} is {status}; it can be recorded once it has ended"));
    }
    let mut hider = Hider::default();
    let mut case = Map::new();
    let short = run.get(..8).unwrap_or(run);
    case.insert("name".into(), json!(format!("run {short} as it was recorded")));
    case.insert("run_id".into(), json!(run));
    case.insert("now".into(), told["started_at"].clone());
    let env = hider.hide(recorded.env);
    if env.as_object().is_some_and(|env| !env.is_empty()) {
        case.insert("env".into(), env);
    }
    match told["trigger"]["method"].as_str() {
        Some("") => case.insert("tick".into(), told["trigger"]["body"]["scheduled_at"].clone()),
        _ => case.insert("request".into(), request(&recorded, &mut hider)),
    };
    let steps: Vec<&Value> = told["steps"].as_array().into_iter().flatten().collect();
    let mut by_id: BTreeMap<usize, (&str, Vec<&Value>)> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        let id = step["id"].as_str().unwrap_or_default();
        match by_id.values_mut().find(|(known, _)| *known == id) {
            Some((_, all)) => all.push(step),
            None => {
                by_id.insert(index, (id, vec![*step]));
            }
        }
    }
    let (mut mocks, mut resume, mut wanted) = (Map::new(), Map::new(), Map::new());
    for (id, all) in by_id.into_values() {
        let kind = recorded.flow.step_called(id).map(|step| &step.kind);
        let replies: Vec<Value> = all.iter().flat_map(|step| replies(step, kind, &mut hider)).collect();
        match &replies[..] {
            [] => {}
            [one] => drop(mocks.insert(id.to_owned(), one.clone())),
            _ => drop(mocks.insert(id.to_owned(), Value::Array(replies))),
        }
        if matches!(kind, Some(Kind::Wait { .. })) {
            let posts: Vec<Value> = all.iter().filter_map(|step| post(step, &mut hider)).collect();
            if !posts.is_empty() {
                resume.insert(id.to_owned(), Value::Array(posts));
            }
        }
        wanted.insert(id.to_owned(), expected(&all, kind, &mut hider));
    }
    for (key, map) in [("mocks", mocks), ("resume", resume)] {
        if !map.is_empty() {
            case.insert(key.into(), Value::Object(map));
        }
    }
    let mut expect = Map::new();
    expect.insert("status".into(), json!(status));
    if let Some(code) = told["error"]["code"].as_str() {
        expect.insert("error".into(), json!(code));
    }
    if let Some(response) = told.get("response").and_then(|response| without_hidden(&hider.hide(response))) {
        expect.insert("response".into(), response);
    }
    expect.insert("steps".into(), Value::Object(wanted));
    case.insert("expect".into(), Value::Object(expect));
    let mut text = format!("# Recorded from run {run}.\n");
    yaml::write(&mut text, &json!({"flow": told["flow"], "cases": [case]}), 0);
    Ok(text.replacen(".\n\n", ".\n", 1))
}

fn request(recorded: &Recorded<'_>, hider: &mut Hider) -> Value {
    /// Of the connection, not of the request.
    const USUAL: [&str; 8] = [
        "accept",
        "accept-encoding",
        "accept-language",
        "content-length",
        "host",
        "user-agent",
        "x-forwarded-for",
        "x-forwarded-proto",
    ];
    let trigger = &recorded.told["trigger"];
    let mut request = Map::new();
    if let Some(method) = trigger["method"].as_str().filter(|method| *method != "POST") {
        request.insert("method".into(), json!(method));
    }
    let pattern = recorded.flow.trigger.request().and_then(|request| request.path.as_ref());
    match (&trigger["path"], pattern) {
        (Value::Object(parameters), Some(pattern)) => {
            request.insert("path".into(), json!(pattern.fill(parameters)));
        }
        (Value::String(path), _) if !path.is_empty() => drop(request.insert("path".into(), json!(path))),
        _ => {}
    }
    let hidden = |hider: &mut Hider, key: &str| match hider.hide(&trigger[key]) {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let query = hidden(hider, "query");
    let mut headers = hidden(hider, "headers");
    headers.retain(|name, _| !USUAL.contains(&name.as_str()));
    for (key, map) in [("query", query), ("headers", headers)] {
        if !map.is_empty() {
            request.insert(key.into(), Value::Object(map));
        }
    }
    if !trigger["body"].is_null() {
        request.insert("body".into(), hider.hide(&trigger["body"]));
    }
    Value::Object(request)
}

/// A mock for each call of a step.
fn replies(step: &Value, kind: Option<&Kind>, hider: &mut Hider) -> Vec<Value> {
    if step.get("mocked").is_some() || !matches!(kind, Some(Kind::Action(_) | Kind::Call(_))) {
        return Vec::new();
    }
    if step.get("taken_over").is_some() {
        return vec![json!({"output": literal(hider.hide(&step["output"]))})];
    }
    let one = |attempt: &Value| {
        let mut reply = Map::new();
        match attempt["status"].as_str() {
            Some("succeeded") => drop(reply.insert("output".into(), literal(hider.hide(&step["output"])))),
            Some(_) => {
                let error = &attempt["error"];
                let mut told = Map::new();
                for key in ["code", "message", "status", "class"] {
                    if let Some(value) = error.get(key).filter(|value| !value.is_null()) {
                        told.insert(key.into(), hider.hide(value));
                    }
                }
                reply.insert("error".into(), Value::Object(told));
            }
            None => return None,
        }
        let took = between(attempt, "started_at", "ended_at").filter(|ms| *ms >= NOTEWORTHY);
        reply.extend(took.map(|ms| ("delay".to_owned(), json!(format!("{ms}ms")))));
        Some(Value::Object(reply))
    };
    step["attempts"].as_array().into_iter().flatten().filter_map(one).collect()
}

/// The POST that ended a `wait`.
fn post(step: &Value, hider: &mut Hider) -> Option<Value> {
    let output = step.get("output").filter(|_| step["status"] == "succeeded")?;
    let mut post = Map::new();
    post.insert("body".into(), hider.hide(&output["body"]));
    if output["query"].as_object().is_some_and(|query| !query.is_empty()) {
        post.insert("query".into(), hider.hide(&output["query"]));
    }
    let after = between(step, "started_at", "ended_at").filter(|ms| *ms >= NOTEWORTHY);
    post.extend(after.map(|ms| ("after".to_owned(), json!(format!("{ms}ms")))));
    Some(Value::Object(post))
}

/// What is expected of a step: how it ended, and what its calls were given.
fn expected(all: &[&Value], kind: Option<&Kind>, hider: &mut Hider) -> Value {
    let one = |step: &Value, hider: &mut Hider| {
        let status = step["status"].clone();
        let mut wanted = Map::new();
        let attempts = step["attempts"].as_array().map_or(0, Vec::len);
        if attempts > 1 {
            wanted.insert("attempts".into(), json!(attempts));
        }
        if matches!(kind, Some(Kind::Action(_) | Kind::Call(_)))
            && let Some(input) = step.get("inputs").and_then(|input| without_hidden(&hider.hide(input)))
        {
            wanted.insert("input".into(), input);
        }
        if let Some(branch) = step.get("branch") {
            wanted.insert("branch".into(), branch.clone());
        }
        if wanted.is_empty() {
            return status;
        }
        wanted.shift_insert(0, "status".into(), status);
        Value::Object(wanted)
    };
    match all {
        [step] => one(step, hider),
        // The history tells only the first iterations of a long loop in full.
        all => Value::Array(all.iter().map(|step| one(step, hider)).collect()),
    }
}

/// A value whose texts are no templates.
fn literal(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("{{", "\\{{")),
        Value::Array(items) => items.into_iter().map(literal).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, literal(value))).collect(),
        other => other,
    }
}

fn between(step: &Value, from: &str, to: &str) -> Option<i64> {
    let time = |key: &str| step[key].as_str()?.parse::<Timestamp>().ok();
    Some(time(to)?.as_millisecond() - time(from)?.as_millisecond())
}
