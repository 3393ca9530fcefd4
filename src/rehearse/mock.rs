//! Mocks: what a case answers in place of a call.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::reader::{Reader, StepName};
use crate::connector::{self, Class, Failure};
use crate::flow::{self, At, Kind, child};
use crate::mapping::Mapping;

/// How the calls of one step are answered.
#[derive(Debug, Clone)]
pub(super) struct Mock {
    pub replies: Vec<Reply>,
    /// True if each reply serves one call, in order; false if the only one serves them all.
    pub sequence: bool,
    /// Where it stands in the file, JSON Pointer.
    pub pointer: String,
}

/// The answer to one call.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub what: What,
    /// How long the call takes.
    pub delay: Duration,
    /// What the request must be, where an exchange was recorded.
    pub request: Option<Value>,
    pub pointer: String,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    /// The step's output; its templates see `input`, `attempt` and `call`.
    Output(Box<Mapping>),
    /// An HTTP answer that the connector judges.
    Answer(connector::Answer),
    Failure(Failure),
}

pub(super) const MOCK_KEYS: &[&str] = &["output", "status", "headers", "body", "error", "delay", "request"];
const ERROR_KEYS: &[&str] = &["code", "message", "status", "class"];
const CLASSES: [(&str, Class); 5] = [
    ("retry", Class::Retry),
    ("throttled", Class::Throttled),
    ("unknown", Class::Unknown),
    ("permanent", Class::Permanent),
    ("held", Class::Held),
];

pub(super) const fn error_keys() -> &'static [&'static str] {
    ERROR_KEYS
}

/// Reads `mocks:` over those that are there.
pub(super) fn read_mocks(
    reader: &mut Reader<'_>,
    value: &Value,
    at: &str,
    flow: &str,
    found: &mut HashMap<StepName, Mock>,
) {
    let Some(map) = reader.map(value, at, "{create_lead: {output: {id: 1}}}") else { return };
    for (key, value) in map {
        let here = child(at, key);
        let calls = |kind: &Kind| matches!(kind, Kind::Action(_) | Kind::Call(_));
        let Some(name) = reader.step(flow, key, &here, Some(&(calls, "makes no call, so nothing can be mocked")))
        else {
            continue;
        };
        let step = reader.live(&name.0).and_then(|flow| flow.step_called(&name.1));
        if step.is_some_and(|step| step.mock.is_some()) {
            let what = format!("step `{}` has a `mock` of its own in the flow, which would win", name.1);
            reader.say(flow::BAD_VALUE, &here, At::Key, what, Some("keep one of the two".to_owned()));
            continue;
        }
        let (items, sequence) = match value {
            Value::Array(items) => (items.as_slice(), true),
            one => (std::slice::from_ref(one), false),
        };
        if items.is_empty() {
            reader.bad(&here, "an empty list answers no call".to_owned(), None);
        }
        let mut replies = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let at = if sequence { child(&here, &index.to_string()) } else { here.clone() };
            replies.extend(reply(reader, item, &at));
        }
        found.insert(name, Mock { replies, sequence, pointer: here });
    }
}

fn reply(reader: &mut Reader<'_>, value: &Value, at: &str) -> Option<Reply> {
    let map = reader.map(value, at, "{output: {…}}")?;
    reader.keys(map, at, MOCK_KEYS);
    let kinds: Vec<&str> = ["output", "status", "error"].into_iter().filter(|kind| map.contains_key(*kind)).collect();
    let what = match kinds[..] {
        ["output"] => What::Output(Box::new(output(reader, &map["output"], &child(at, "output"))?)),
        ["status"] => What::Answer(answer(reader, map, at)?),
        ["error"] => What::Failure(failure(reader, &map["error"], &child(at, "error"))?),
        _ => {
            let what = "a mock has exactly one of `output`, `status` (an HTTP answer) and `error`".to_owned();
            reader.bad(at, what, None);
            return None;
        }
    };
    for key in ["headers", "body", "request"].into_iter().filter(|key| kinds != ["status"] && map.contains_key(*key)) {
        let what = format!("`{key}` belongs to an HTTP answer, which has a `status`");
        reader.say(flow::BAD_VALUE, &child(at, key), At::Key, what, None);
    }
    let request = map.get("request").cloned();
    if let Some(request) = &request {
        let known = ["method", "url", "headers", "body"];
        let request = reader.map(request, &child(at, "request"), "{method: POST, url: https://…}")?;
        reader.keys(request, &child(at, "request"), &known);
    }
    let delay = reader.length(map, at, "delay").unwrap_or_default();
    Some(Reply { what, delay, request, pointer: at.to_owned() })
}

fn output(reader: &mut Reader<'_>, value: &Value, at: &str) -> Option<Mapping> {
    match Mapping::parse(value) {
        Ok(mapping) => Some(mapping),
        Err(errors) => {
            for (pointer, error) in errors {
                let code = (error.code, "a template that cannot be read");
                reader.say(code, &format!("{at}{pointer}"), At::Offset(error.offset), error.what, error.hint);
            }
            None
        }
    }
}

fn answer(reader: &mut Reader<'_>, map: &Map<String, Value>, at: &str) -> Option<connector::Answer> {
    let status = reader.status(map, at)?;
    let mut headers: Vec<(String, String)> = reader
        .texts(map, at, "headers")
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    let typed = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.contains("json"));
    let body = match map.get("body") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) if typed == Some(false) => text.clone().into_bytes(),
        Some(value) => {
            if typed.is_none() {
                headers.push(("content-type".to_owned(), "application/json".to_owned()));
            }
            value.to_string().into_bytes()
        }
    };
    Some(connector::Answer { status, headers, body, cut: false })
}

fn failure(reader: &mut Reader<'_>, value: &Value, at: &str) -> Option<Failure> {
    let map = reader.map(value, at, "{code: crm.refused, message: no such table}")?;
    reader.keys(map, at, ERROR_KEYS);
    let class = match reader.text(map, at, "class") {
        None => Class::Permanent,
        Some(word) => match CLASSES.iter().find(|(name, _)| *name == word) {
            Some((_, class)) => *class,
            None => {
                let hint = flow::suggest(&word, CLASSES.map(|(name, _)| name));
                reader.bad(&child(at, "class"), format!("`{word}` is no class of failures"), hint);
                return None;
            }
        },
    };
    let status = if map.contains_key("status") { Some(reader.status(map, at)?) } else { None };
    Some(Failure {
        class,
        code: reader.text(map, at, "code").unwrap_or_else(|| "run.mocked".to_owned()),
        message: reader.text(map, at, "message").unwrap_or_else(|| "a mocked failure".to_owned()),
        status,
        wait_ms: None,
    })
}

/// An output that would do, for whoever has to write a mock.
pub(super) fn sample(shape: &crate::schema::Shape) -> Value {
    use crate::schema::Types;
    if let Some(value) = shape.values.first() {
        return value.clone();
    }
    let types = shape.types;
    if types == Types::ANY || types.meets(Types::OBJECT) {
        let named = shape.properties.iter().map(|(name, inner)| (name.clone(), sample(inner)));
        return Value::Object(named.collect());
    }
    if types.meets(Types::ARRAY) {
        return json!([]);
    }
    if types.meets(Types::NUMBER) {
        return json!(200);
    }
    if types.meets(Types::STRING) { json!("…") } else { json!(types.meets(Types::BOOLEAN)) }
}
