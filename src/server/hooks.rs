//! `/hooks/{flow}/{key}`: what comes in by the door.
//!
//! The key is judged before all else, so that a caller without one learns nothing, not even which flows exist. What
//! a good key brings is let in, or refused with a reason; malformed bodies are kept for people to see.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body as Incoming;
use axum::extract::Request as HttpRequest;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::App;
use super::accept::Peer;
use super::body::{Refused, Taken, turn_away};
use super::problem::{Code, Problem};
use super::unbroken::Unbroken;
use super::{reply, resume, seen, verify};
use crate::catalog::LiveFlow;
use crate::engine::{Accepted, Answer, Begun};
use crate::flow::{BODYLESS, Proof, TriggerKind};
use crate::points;
use crate::run::{Rejected, Request, RunId};

/// The longest URL, bytes, and the most that headers may have together.
const MAX_URI: usize = 16 * 1024;
const MAX_HEADERS: usize = 64 * 1024;
/// How long a caller waits for a flow's response. The run goes on.
const ANSWER: Duration = Duration::from_secs(120);
/// How much of a refused body is kept, bytes.
const MAX_KEPT: usize = 64 * 1024;
/// What a caller is told to wait while the process starts.
const STARTING: Duration = Duration::from_secs(2);

/// Every request to `/hooks/…`, whatever its method; with the flow that it reached, for the access log.
pub(super) async fn hook(app: &App, request: HttpRequest, peer: Peer) -> (Response, Option<Arc<LiveFlow>>) {
    if !app.engine.is_ready() {
        return (starting().into_response(), None);
    }
    if let Some(target) = resume::target(request.uri().path()) {
        return (resume::resume(app, target, request).await, None);
    }
    let (parts, incoming) = request.into_parts();
    let found = split(parts.uri.path()).and_then(|path| Some((app.engine.hook(&path.flow, &path.key)?, path)));
    let Some((live, path)) = found else {
        return (Problem::not_found().into_response(), None);
    };
    let came = Came { app, live: &live, parts: &parts, peer, rest: path.rest };
    let response = match came.admit(incoming).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    (response, Some(live))
}

/// The answer while open runs are not known yet, or while the process stops.
pub(super) fn starting() -> Problem {
    Problem::new(Code::Starting, "Millstream is starting or stopping. Nothing was kept; send it again in a moment.")
        .after(STARTING)
}

#[derive(Debug, PartialEq)]
struct HookPath<'p> {
    flow: Cow<'p, str>,
    key: Cow<'p, str>,
    /// What follows the key, not yet decoded.
    rest: &'p str,
}

/// Splits before decoding, so that an encoded slash stays within its part and `..` means nothing.
fn split(path: &str) -> Option<HookPath<'_>> {
    let mut parts = path.strip_prefix("/hooks/")?.splitn(3, '/');
    let (flow, key) = (decode(parts.next()?), decode(parts.next()?));
    Some(HookPath { flow, key, rest: parts.next().unwrap_or_default() })
}

fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// A request that had a good key, but for its body.
struct Came<'r> {
    app: &'r App,
    live: &'r Arc<LiveFlow>,
    parts: &'r Parts,
    peer: Peer,
    /// What follows the key in the path, not yet decoded.
    rest: &'r str,
}

impl Came<'_> {
    async fn admit(&self, incoming: Incoming) -> Result<Response, Problem> {
        let Some(trigger) = self.live.flow.trigger.request() else {
            return Err(Problem::not_found());
        };
        let params = match &trigger.path {
            None => None,
            Some(pattern) => match pattern.matches(self.rest.split('/').map(|part| decode(part).into_owned())) {
                Some(params) => Some(params),
                None => {
                    let detail = "The flow takes another path after the key of its URL. Its file says which.";
                    return Err(Problem::new(Code::NotFound, detail));
                }
            },
        };
        let method = self.parts.method.as_str();
        if !trigger.methods.iter().any(|taken| taken == method) {
            return Err(Problem::method_not_allowed(&trigger.methods));
        }
        let (uri, headers) = (&self.parts.uri, &self.parts.headers);
        judge_sizes(uri, headers)?;
        if let Err(refusal) = self.app.engine.outlook(&self.live.flow.id) {
            return Err(turn_away(Problem::from(refusal), incoming));
        }
        // Before the body is read, where nothing of it proves who sent it: a stranger takes up no room.
        let signed = trigger.auth.iter().any(|auth| matches!(auth.proof, Some(Proof::Signature { .. })));
        if !trigger.auth.is_empty() && !signed {
            verify::judge(self.app, self.live, &trigger.auth, (self.parts, self.peer), &[]).await?;
        }
        let raw = self.app.reader.collect(headers, incoming).await?;
        // Before anything parses the body.
        if signed {
            verify::judge(self.app, self.live, &trigger.auth, (self.parts, self.peer), raw.bytes()).await?;
        }
        let without_body = raw.bytes().is_empty() && BODYLESS.contains(&method);
        let mut taken = match self.app.reader.parse(headers, raw).await {
            Ok(taken) => taken,
            Err(refused) => return Err(self.keep(params, refused).await),
        };
        if !without_body && let Some(problem) = violation(self.live, &taken.body) {
            return Err(self.refuse(params, taken, problem).await);
        }
        let request = Request {
            method: method.to_owned(),
            path: decode(self.rest).into_owned(),
            params: params.clone(),
            headers: seen::headers(headers, &verify::headers(&trigger.auth)),
            query: seen::query(uri)?,
            body: taken.give(),
            item: None,
        };
        match start(self.app, self.live, request).await {
            Ok(Begun::One(Accepted { run, answer: Some(answer), .. })) => {
                drop(taken);
                answered(run, answer).await
            }
            Ok(begun) => {
                points::reach("server.accepted.before");
                Ok(begun_response(begun))
            }
            Err(problem) if problem.code.is_of_the_content() => Err(self.refuse(params, taken, problem).await),
            Err(problem) => Err(problem),
        }
    }

    /// Keeps a body that was read and is not taken.
    async fn refuse(&self, params: Option<Map<String, Value>>, taken: Taken, problem: Problem) -> Problem {
        let kept = Some(taken.body.text().as_bytes().to_vec());
        drop(taken);
        self.keep(params, Refused { problem, kept }).await
    }

    /// Keeps a refused body as a rejected run, so that it is not lost without a trace.
    async fn keep(&self, params: Option<Map<String, Value>>, refused: Refused) -> Problem {
        let Refused { problem, kept } = refused;
        let Some(bytes) = kept else { return problem };
        let content_type = self.parts.headers.get(header::CONTENT_TYPE);
        let rejected = Rejected {
            flow: self.live.flow.id.clone(),
            method: self.parts.method.as_str().to_owned(),
            path: decode(self.rest).into_owned(),
            params,
            query: seen::query(&self.parts.uri).unwrap_or_default(),
            content_type: content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
            body: cut(bytes),
            code: problem.code.name().to_owned(),
            message: problem.detail.to_string(),
        };
        let engine = self.app.engine.clone();
        let run = Unbroken::new("keeping a refused request", async move { engine.reject(rejected).await });
        problem.with_run(run.await.ok().flatten())
    }
}

/// hyper has outer bounds of its own; these come first and answer with a problem.
fn judge_sizes(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let length = uri.path_and_query().map_or(0, |all| all.as_str().len());
    if length > MAX_URI {
        return Err(Problem::new(Code::UriTooLong, format!("A URL may have {MAX_URI} bytes at most.")));
    }
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if size > MAX_HEADERS {
        return Err(Problem::new(Code::HeadersTooLarge, format!("Headers may have {MAX_HEADERS} bytes at most.")));
    }
    Ok(())
}

/// What the flow's schema says against a body.
pub(super) fn violation(live: &LiveFlow, body: &crate::run::Body) -> Option<Problem> {
    let schema = live.flow.trigger.schema.as_ref()?;
    let errors = schema.violations(body.value());
    if errors.is_empty() {
        return None;
    }
    let detail = match live.flow.trigger.kind {
        TriggerKind::Request(_) | TriggerKind::Schedule(_) => {
            "The places below break the schema of the flow's trigger. Mend them, or the schema, and send it again."
        }
        TriggerKind::Manual(_) => "The inputs below are not what the flow wants. Mend them and start it again.",
    };
    Some(Problem::new(Code::SchemaViolation, detail).with_errors(errors))
}

/// At most [`MAX_KEPT`] bytes of text; what is not UTF-8 shows as `\u{FFFD}`.
fn cut(mut bytes: Vec<u8>) -> String {
    if bytes.len() > MAX_KEPT {
        let mut end = MAX_KEPT;
        while end > MAX_KEPT - 4 && bytes[end] & 0xC0 == 0x80 {
            end -= 1;
        }
        bytes.truncate(end);
    }
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Starts a run; a caller who hangs up cannot leave it half written.
pub(super) async fn start(app: &App, live: &Arc<LiveFlow>, request: Request) -> Result<Begun, Problem> {
    let (engine, live) = (app.engine.clone(), live.clone());
    let started = Unbroken::new("starting a run", async move { engine.start(&live, request).await });
    started.await?.map_err(Problem::from)
}

/// The answer to a request that was made durable, or needs no run.
pub(super) fn begun_response(begun: Begun) -> Response {
    let only = match &begun {
        Begun::One(accepted) => return accepted_response(accepted.run),
        Begun::Each(runs) if runs.len() == 1 => runs.first().copied(),
        Begun::Each(_) | Begun::Skipped => None,
    };
    let mut response = (StatusCode::ACCEPTED, Json(begun)).into_response();
    if let Some(run) = only {
        super::set_run_id(response.headers_mut(), run);
    }
    response
}

/// What nearly every caller is told, in one piece.
fn accepted_response(run: RunId) -> Response {
    let mut buffer = Uuid::encode_buffer();
    let id: &str = run.0.hyphenated().encode_lower(&mut buffer);
    let body = [r#"{"run_id":""#, id, r#"","status":"accepted"}"#].concat();
    let mut response = Response::new(Incoming::from(body));
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(super::RUN_ID, id);
    }
    response
}

async fn answered(run: RunId, answer: oneshot::Receiver<Answer>) -> Result<Response, Problem> {
    let answer = tokio::time::timeout(ANSWER, answer).await;
    points::reach("server.answer.before");
    let problem = match answer {
        Ok(Ok(Answer::Response(response))) => match reply::build(&response) {
            Ok(mut response) => {
                super::set_run_id(response.headers_mut(), run);
                return Ok(response);
            }
            Err(what) => Problem::new(Code::NoResponse, what),
        },
        Ok(Ok(Answer::None(status))) => Problem::new(
            Code::NoResponse,
            format!("The run is {status} and reached no `response` step. Its history says why."),
        ),
        Ok(Ok(Answer::Removed)) => Problem::new(
            Code::NoResponse,
            "An equal request came before. Its run has ended and is kept no longer, and its response with it.",
        ),
        Ok(Err(_)) => Problem::new(
            Code::ResponseTimeout,
            "Millstream is stopping. The run is kept and goes on after the start; its response can no longer be sent.",
        ),
        Err(_) => Problem::new(
            Code::ResponseTimeout,
            format!("No response within {} seconds. The run goes on.", ANSWER.as_secs()),
        ),
    };
    Err(problem.with_run(Some(run)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Option<(String, String, String)> {
        split(text).map(|path| (path.flow.into_owned(), path.key.into_owned(), decode(path.rest).into_owned()))
    }

    #[test]
    fn a_hook_path_is_split_before_it_is_decoded() {
        let parts = |a: &str, b: &str, c: &str| Some((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(path("/hooks/lead/KEY"), parts("lead", "KEY", ""));
        assert_eq!(path("/hooks/lead/KEY/"), parts("lead", "KEY", ""));
        assert_eq!(path("/hooks/lead/KEY/a/b%20c"), parts("lead", "KEY", "a/b c"));
        assert_eq!(path("/hooks/lead%2FKEY/x"), parts("lead/KEY", "x", ""));
        assert_eq!(path("/hooks/../lead/KEY"), parts("..", "lead", "KEY"));
        assert_eq!(path("/hooks/%FF/%00"), parts("\u{FFFD}", "\0", ""));
        assert_eq!(path("/hooks/lead"), None);
        assert_eq!(path("/hook/lead/KEY"), None);
    }

    #[test]
    fn kept_bodies_are_cut_between_characters() {
        assert_eq!(cut(b"a\xFFb".to_vec()), "a\u{FFFD}b");
        let long = "x".repeat(MAX_KEPT - 1) + "é" + &"y".repeat(100);
        assert_eq!(cut(long.into_bytes()), "x".repeat(MAX_KEPT - 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_does_not_come_is_a_504_and_one_that_cannot_a_502() {
        let run = RunId(uuid::Uuid::now_v7());
        let (kept, answer) = oneshot::channel();
        let late = answered(run, answer).await.unwrap_err();
        assert_eq!(late.code, Code::ResponseTimeout);
        drop(kept);

        let (send, answer) = oneshot::channel();
        send.send(Answer::None(crate::run::Status::Failed)).unwrap();
        let none = answered(run, answer).await.unwrap_err();
        assert_eq!(none.code, Code::NoResponse);
        assert_eq!(none.into_response().headers()["x-run-id"], run.to_string().as_str());
    }
}
