//! What a template sees at one step of a run.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::flow::{Flow, Hop};
use crate::mapping::{Key, Scope};

/// The names in reach of the step at `place`.
pub(super) struct InRun<'r> {
    pub run: &'r Run,
    pub flow: &'r Flow,
    pub place: &'r Place,
    pub around: &'r Around<'r>,
}

impl Scope for InRun<'_> {
    fn find<'s>(&'s self, path: &[Key]) -> Option<(Cow<'s, Value>, usize)> {
        let key = |index: usize| path.get(index).map(String::as_str);
        match key(0)? {
            "trigger" => of_request(&self.run.started.request, path),
            "steps" => self.step(key(1)?, key(2)),
            "vars" => self.run.vars.get(key(1)?).map(|value| (Cow::Borrowed(value), 2)),
            "env" => Some((Cow::Borrowed(self.around.env), 1)),
            "flow" => Some(of_flow(self.flow)),
            "run" => {
                let run = json!({"id": self.run.id.to_string(), "started_at": format!("{:.3}", self.run.started_at)});
                Some((Cow::Owned(run), 1))
            }
            _ => None,
        }
    }

    fn now(&self) -> Timestamp {
        self.around.now
    }

    fn seed(&self) -> u64 {
        let key = call_key(self.run, self.place);
        u64::from_be_bytes(*key.as_bytes().first_chunk().expect("a UUID has 16 bytes"))
    }
}

impl InRun<'_> {
    fn step(&self, id: &str, field: Option<&str>) -> Option<(Cow<'_, Value>, usize)> {
        let mut frame = &self.run.root;
        let mut found: Option<&Node> = None;
        for hop in &self.flow.addresses.get(id)?.0 {
            match hop {
                Hop::Position(position) => found = Some(frame.node(*position)?),
                Hop::Branch(branch) => frame = found?.subs.get(branch)?,
            }
        }
        let node = found?;
        let output = || node.output.as_deref();
        let error = || {
            let failure = node.failure.as_ref().filter(|_| node.state != State::Succeeded)?;
            Some(json!({"code": failure.code, "message": failure.message, "status": failure.status}))
        };
        match field {
            None => {
                let all = json!({"output": output(), "status": node.state.name(), "error": error()});
                Some((Cow::Owned(all), 2))
            }
            Some("output") => Some((Cow::Borrowed(output()?), 3)),
            Some("status") => Some((Cow::Owned(Value::String(node.state.name().to_owned())), 3)),
            Some("error") => Some((Cow::Owned(error()?), 3)),
            Some(_) => None,
        }
    }
}

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
fn of_request<'r>(request: &'r Request, path: &[Key]) -> Option<(Cow<'r, Value>, usize)> {
    let map = |map: &Map<String, Value>| Cow::Owned(Value::Object(map.clone()));
    let Some(field) = path.get(1) else {
        let all = json!({
            "body": request.body.value(), "headers": request.headers, "query": request.query,
            "path": request.seen_path(), "method": request.method,
        });
        return Some((Cow::Owned(all), 1));
    };
    match field.to_ascii_lowercase().as_str() {
        "body" => Some((Cow::Borrowed(request.body.value()), 2)),
        "headers" => match path.get(2) {
            Some(name) => Some((Cow::Borrowed(request.headers.get(&name.to_ascii_lowercase())?), 3)),
            None => Some((map(&request.headers), 2)),
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

fn of_flow(flow: &Flow) -> (Cow<'static, Value>, usize) {
    (Cow::Owned(json!({"id": flow.id, "description": flow.description})), 1)
}

/// The idempotency key of the call at `place`: the same for each attempt, each restart and each resubmission
/// that keeps its origin's keys (UUID version 5, RFC 9562).
pub(super) fn call_key(run: &Run, place: &Place) -> Uuid {
    Uuid::new_v5(&run.started.keys, place.to_string().as_bytes())
}
