//! How a case's request becomes runs, or none: as the server and the engine let requests in, but for `auth`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::file::{Case, Input, Sent};
use crate::catalog::LiveFlow;
use crate::flow::BODYLESS;
use crate::run::{Around, AtTheDoor, Body, Request, Run, RunId, Started};

/// What a request comes to.
pub(super) enum Entered {
    /// With each its dedupe key, if the flow has one and no part is missing.
    Runs(Vec<(Run, Option<Value>)>),
    /// True if the request was split.
    Skipped,
    Rejected {
        status: u16,
        code: &'static str,
        message: String,
    },
}

/// Lets the case's request in.
pub(super) fn enter(case: &Case, live: &LiveFlow) -> Entered {
    let around = Around::new(case.now, &case.env);
    let sent = match &case.input {
        Input::Request(sent) => sent,
        Input::Tick(at) => {
            let body = live.flow.trigger.schedule().map(|schedule| schedule.body(*at)).unwrap_or_default();
            let request = Request { method: String::new(), ..Request::posted(Body::of(body)) };
            return Entered::Runs(vec![(begin(case, live, request, 0), None)]);
        }
    };
    let Some(trigger) = live.flow.trigger.request() else {
        let body = live.flow.trigger.fill(sent.body.clone());
        return match violated(live, &body) {
            Some(rejected) => rejected,
            None => Entered::Runs(vec![(begin(case, live, Request::posted(Body::of(body)), 0), None)]),
        };
    };
    let rejected = |status, code, message: String| Entered::Rejected { status, code, message };
    let params = match &trigger.path {
        None => None,
        Some(pattern) => match pattern.matches(sent.path.split('/').map(str::to_owned)) {
            Some(params) => Some(params),
            None => return rejected(404, "not_found", format!("the flow takes another path than `{}`", sent.path)),
        },
    };
    let method = sent.method.clone().unwrap_or_else(|| trigger.methods.first().cloned().unwrap_or_default());
    if !trigger.methods.contains(&method) {
        let what = format!("the flow takes {} only", trigger.methods.join(", "));
        return rejected(405, "method_not_allowed", what);
    }
    let without_body = sent.body.is_null() && BODYLESS.contains(&method.as_str());
    if !without_body && let Some(rejected) = violated(live, &sent.body) {
        return rejected;
    }
    let request = request(sent, method, params);
    let door = AtTheDoor { request: &request, flow: &live.flow, around: &around, seed: case.seed };
    for condition in &trigger.conditions {
        match condition.holds(&door) {
            Ok(true) => {}
            Ok(false) => return Entered::Skipped,
            Err(error) => return rejected(422, "condition_error", format!("a condition cannot be judged: {error}")),
        }
    }
    let bodies = match &trigger.split_on {
        None => vec![(request.body.clone(), None)],
        Some(split) => match split.render(&door) {
            Ok(Some(Value::Array(items))) => {
                let numbered = items.into_iter().enumerate();
                numbered.map(|(index, item)| (Body::of(item), u32::try_from(index).ok())).collect()
            }
            Ok(_) => return rejected(422, "split_error", format!("`{}` gives no list", split.source())),
            Err(error) => return rejected(422, "split_error", format!("`split_on` cannot be evaluated: {error}")),
        },
    };
    let runs = bodies.into_iter().enumerate().map(|(index, (body, item))| {
        let run = begin(case, live, Request { body, item, ..request.clone() }, index);
        let key = trigger.dedupe.as_ref().and_then(|dedupe| {
            let parts = dedupe.key.iter().map(|part| run.render(&live.flow, &around, part).ok().flatten());
            let parts = parts.map(|part| part.filter(|part| !part.is_null() && *part != json!("")));
            parts.collect::<Option<Vec<Value>>>().map(Value::Array)
        });
        (run, key)
    });
    Entered::Runs(runs.collect())
}

/// What the flow's schema says against a body.
pub(super) fn violated(live: &LiveFlow, body: &Value) -> Option<Entered> {
    let violations = live.flow.trigger.schema.as_ref()?.violations(body);
    if violations.is_empty() {
        return None;
    }
    let places: Vec<String> = violations.iter().map(|v| format!("`{}`: {}", v.pointer, v.message)).collect();
    let message = format!("the body does not fit the flow's schema: {}", places.join("; "));
    Some(Entered::Rejected { status: 422, code: "schema_violation", message })
}

fn request(sent: &Sent, method: String, params: Option<Map<String, Value>>) -> Request {
    let Sent { path, query, headers, body, .. } = sent.clone();
    Request { method, path, params, headers: headers.into(), query, body: Body::of(body), item: None }
}

fn begin(case: &Case, live: &LiveFlow, request: Request, index: usize) -> Run {
    let id = match (case.run_id, index) {
        (Some(id), 0) => RunId(id),
        (Some(id), index) => made(case.now, &id, &index.to_string()),
        (None, index) => made(case.now, &Uuid::nil(), &format!("{}/{index}", case.seed)),
    };
    start(id, case.now, live, request, id.0, None)
}

/// A run that has not begun.
pub(super) fn start(
    id: RunId,
    now: Timestamp,
    live: &LiveFlow,
    request: Request,
    keys: Uuid,
    parent: Option<crate::run::Parent>,
) -> Run {
    let (flow, definition) = (live.flow.id.clone(), live.digest);
    Run::new(id, now, Arc::new(Started { flow, definition, request, keys, origin: None, parent }))
}

/// An id that is the same each time.
fn made(now: Timestamp, of: &Uuid, name: &str) -> RunId {
    let bytes = Uuid::new_v5(of, name.as_bytes());
    let mut tail = [0; 10];
    tail.copy_from_slice(&bytes.as_bytes()[..10]);
    let ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    RunId(uuid::Builder::from_unix_timestamp_millis(ms, &tail).into_uuid())
}
