//! What a template of a trigger sees, before there is a run.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Around, Request};
use crate::flow::Flow;
use crate::mapping::{Key, Scope};

/// What can be named of a request before there is a run: `trigger`, `env` and `flow`.
pub struct AtTheDoor<'r> {
    pub request: &'r Request,
    pub flow: &'r Flow,
    pub around: &'r Around<'r>,
    pub seed: u64,
}

impl Scope for AtTheDoor<'_> {
    fn find<'s>(&'s self, path: &[Key]) -> Option<(Cow<'s, Value>, usize)> {
        match path.first()?.as_str() {
            "trigger" => of_request(self.request, path),
            "env" => Some((Cow::Borrowed(self.around.env), 1)),
            "flow" => Some(of_flow(self.flow)),
            _ => None,
        }
    }

    fn now(&self) -> Timestamp {
        self.around.now
    }

    fn seed(&self) -> u64 {
        self.seed
    }
}

/// The longest part of a path below `trigger` that is known at once.
pub(super) fn of_request<'r>(request: &'r Request, path: &[Key]) -> Option<(Cow<'r, Value>, usize)> {
    let map = |map: &Map<String, Value>| Cow::Owned(Value::Object(map.clone()));
    let Some(field) = path.get(1) else {
        let all = json!({
            "body": request.body.value(), "headers": request.headers, "query": request.query,
            "path": request.seen_path(), "method": request.method,
        });
        return Some((Cow::Owned(all), 1));
    };
    match &*lower(field) {
        "body" => Some((Cow::Borrowed(request.body.value()), 2)),
        "headers" => match path.get(2) {
            Some(name) => Some((Cow::Borrowed(request.headers.get(&lower(name))?), 3)),
            None => Some((Cow::Owned(Value::Object(request.headers.to_map())), 2)),
        },
        "query" => match path.get(2).and_then(|name| request.query.get(name)) {
            Some(value) => Some((Cow::Borrowed(value), 3)),
            None => Some((map(&request.query), 2)),
        },
        "path" => Some((Cow::Owned(request.seen_path()), 2)),
        "method" => Some((Cow::Owned(Value::String(request.method.clone())), 2)),
        _ => None,
    }
}

/// `text` in lower case, copied only where it is not already.
fn lower(text: &str) -> Cow<'_, str> {
    match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => Cow::Borrowed(text),
    }
}

pub(super) fn of_flow(flow: &Flow) -> (Cow<'static, Value>, usize) {
    (Cow::Owned(json!({"id": flow.id, "description": flow.description})), 1)
}
