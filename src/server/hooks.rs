//! `POST /hooks/{flow}/{key}`: what comes in by the door.
//!
//! The key is judged before all else, so that a caller without one learns nothing, not even which flows exist. What
//! a good key brings is let in, or refused with a reason; malformed bodies are kept for people to see.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body as Incoming;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::App;
use super::body::{Refused, Taken};
use super::form::Fields;
use super::problem::{Code, Problem};
use super::{reply, resume};
use crate::catalog::LiveFlow;
use crate::engine::{Accepted, Answer};
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

/// The name of the flow that a request reached, for the access log.
#[derive(Clone)]
pub(super) struct Reached(pub Arc<LiveFlow>);

/// Every request to `/hooks/…`, whatever its method.
pub(super) async fn hook(State(app): State<App>, request: HttpRequest) -> Response {
    if !app.engine.is_ready() {
        return starting().into_response();
    }
    if let Some(target) = resume::target(request.uri().path()) {
        return resume::resume(&app, target, request).await;
    }
    let Some((live, rest)) = find(&app, request.uri()) else {
        return Problem::not_found().into_response();
    };
    let (parts, incoming) = request.into_parts();
    let mut response = match admit(&app, &live, rest, &parts.method, &parts.uri, &parts.headers, incoming).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    response.extensions_mut().insert(Reached(live));
    response
}

/// The answer while open runs are not known yet, or while the process stops.
pub(super) fn starting() -> Problem {
    Problem::new(Code::Starting, "Millstream is starting or stopping. Nothing was kept; send it again in a moment.")
        .after(STARTING)
}

/// The flow whose key this URL has, and what follows the key.
fn find(app: &App, uri: &Uri) -> Option<(Arc<LiveFlow>, String)> {
    let path = split(uri.path())?;
    let live = app.engine.hook(&path.flow, &path.key)?;
    Some((live, path.rest))
}

#[derive(Debug, PartialEq)]
struct HookPath {
    flow: String,
    key: String,
    rest: String,
}

/// Splits before decoding, so that an encoded slash stays within its part and `..` means nothing.
fn split(path: &str) -> Option<HookPath> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut parts = path.strip_prefix("/hooks/")?.splitn(3, '/');
    Some(HookPath {
        flow: decode(parts.next()?),
        key: decode(parts.next()?),
        rest: decode(parts.next().unwrap_or_default()),
    })
}

async fn admit(
    app: &App,
    live: &Arc<LiveFlow>,
    path: String,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    incoming: Incoming,
) -> Result<Response, Problem> {
    if method != Method::POST {
        return Err(Problem::method_not_allowed("POST"));
    }
    judge_sizes(uri, headers)?;
    let taken = match app.reader.read(headers, incoming).await {
        Ok(taken) => taken,
        Err(refused) => return Err(keep(app, live, headers, refused).await),
    };
    let taken = check_schema(app, live, headers, taken).await?;
    let request = Request {
        method: method.as_str().to_owned(),
        path,
        headers: visible_headers(headers),
        query: query(uri)?,
        body: taken.body.clone(),
    };
    let accepted = start(app, live, request).await?;
    drop(taken);
    match accepted.answer {
        None => Ok(accepted_response(accepted.run)),
        Some(answer) => answered(accepted.run, answer).await,
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

/// Gives the body back if the flow's schema takes it.
async fn check_schema(app: &App, live: &Arc<LiveFlow>, headers: &HeaderMap, taken: Taken) -> Result<Taken, Problem> {
    let Some(problem) = violation(live, &taken.body) else {
        return Ok(taken);
    };
    let kept = Some(taken.body.text().as_bytes().to_vec());
    drop(taken);
    Err(keep(app, live, headers, Refused { problem, kept }).await)
}

/// What the flow's schema says against a body.
pub(super) fn violation(live: &LiveFlow, body: &crate::run::Body) -> Option<Problem> {
    let schema = live.flow.trigger.schema.as_ref()?;
    let errors = schema.violations(body.value());
    if errors.is_empty() {
        return None;
    }
    let detail =
        "The places below break the schema of the flow's trigger. Mend them, or the schema, and send it again.";
    Some(Problem::new(Code::SchemaViolation, detail).with_errors(errors))
}

/// Keeps a refused body as a rejected run, so that it is not lost without a trace.
async fn keep(app: &App, live: &Arc<LiveFlow>, headers: &HeaderMap, refused: Refused) -> Problem {
    let Refused { problem, kept } = refused;
    let Some(bytes) = kept else { return problem };
    let content_type = headers.get(header::CONTENT_TYPE);
    let rejected = Rejected {
        flow: live.flow.id.clone(),
        method: Method::POST.as_str().to_owned(),
        content_type: content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        body: cut(bytes),
        code: problem.code.name().to_owned(),
        message: problem.detail.to_string(),
    };
    let engine = app.engine.clone();
    let run = tokio::spawn(async move { engine.reject(rejected).await }).await;
    problem.with_run(run.ok().flatten())
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

/// Starts a run in a task of its own: a caller who hangs up cannot leave it half written.
pub(super) async fn start(app: &App, live: &Arc<LiveFlow>, request: Request) -> Result<Accepted, Problem> {
    let (engine, live) = (app.engine.clone(), live.clone());
    match tokio::spawn(async move { engine.start(&live, request).await }).await {
        Ok(started) => started.map_err(Problem::from),
        Err(panic) => Err(Problem::internal("starting a run", &panic)),
    }
}

/// The answer to a request that was made durable.
pub(super) fn accepted_response(run: RunId) -> Response {
    let mut response = (StatusCode::ACCEPTED, Json(json!({"run_id": run, "status": "accepted"}))).into_response();
    super::set_run_id(response.headers_mut(), run);
    response
}

async fn answered(run: RunId, answer: oneshot::Receiver<Answer>) -> Result<Response, Problem> {
    let problem = match tokio::time::timeout(ANSWER, answer).await {
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

/// What templates see of the headers, and the journal keeps: nothing that proves who the caller is.
pub(super) fn visible_headers(headers: &HeaderMap) -> Map<String, Value> {
    let mut visible = Map::new();
    for name in headers.keys() {
        if is_hidden(name.as_str()) {
            continue;
        }
        let values: Vec<_> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        visible.insert(name.as_str().to_owned(), Value::String(values.join(", ")));
    }
    visible
}

fn is_hidden(name: &str) -> bool {
    const CREDENTIALS: [&str; 8] =
        ["authorization", "cookie", "signature", "secret", "token", "password", "api-key", "apikey"];
    const OF_THE_CONNECTION: [&str; 8] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    OF_THE_CONNECTION.contains(&name) || CREDENTIALS.iter().any(|part| name.contains(part))
}

pub(super) fn query(uri: &Uri) -> Result<Map<String, Value>, Problem> {
    let mut fields = Fields::default();
    for (name, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        fields.add(name.into_owned(), Value::String(value.into_owned()))?;
    }
    Ok(fields.members())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Option<(String, String, String)> {
        split(text).map(|path| (path.flow, path.key, path.rest))
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
    fn credentials_and_hop_by_hop_headers_are_hidden() {
        let mut headers = HeaderMap::new();
        for name in [
            "authorization",
            "proxy-authorization",
            "cookie",
            "set-cookie",
            "x-api-key",
            "x-hub-signature-256",
            "x-gitlab-token",
            "connection",
            "te",
        ] {
            headers.append(name, "canary".parse().unwrap());
        }
        headers.append("X-Tag", "a".parse().unwrap());
        headers.append("x-tag", "b".parse().unwrap());
        headers.append("content-type", "text/plain".parse().unwrap());
        assert_eq!(Value::Object(visible_headers(&headers)), json!({"x-tag": "a, b", "content-type": "text/plain"}));
    }

    #[test]
    fn kept_bodies_are_cut_between_characters() {
        assert_eq!(cut(b"a\xFFb".to_vec()), "a\u{FFFD}b");
        let long = "x".repeat(MAX_KEPT - 1) + "é" + &"y".repeat(100);
        assert_eq!(cut(long.into_bytes()), "x".repeat(MAX_KEPT - 1));
    }

    #[test]
    fn a_query_keeps_repeated_names_as_a_list() {
        let uri: Uri = "/hooks/a/b?x=1&y=a%20b&x=2".parse().unwrap();
        assert_eq!(Value::Object(query(&uri).unwrap()), json!({"x": ["1", "2"], "y": "a b"}));
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
