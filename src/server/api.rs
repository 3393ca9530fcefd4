//! `/api/v1/…` on the admin listener: all that the CLI and a console do goes through here.
//!
//! Every route needs a bearer token whose role may take it (`guard.rs`). Answers are JSON, errors are problems.

use std::str::FromStr;
use std::time::Duration;

use axum::body::Body as Incoming;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::guard::Route;
use super::problem::{Code, Problem};
use super::{App, access, guard, hooks, resume as waits};
use crate::access::{Role, Who};
use crate::engine::Denied;
use crate::journal::Filter;
use crate::run::{Body, Request, RunId, Status, Summary};

/// Runs of one page, unless `limit` says otherwise, and at most.
const PAGE: usize = 50;
const MAX_PAGE: usize = 1_000;
/// The longest time for which a retired key may go on working.
const MAX_GRACE: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) type Answer = Result<Response, Problem>;

/// Every route with the least role that may take it, and what the audit log calls it where it changes something.
pub(super) fn routes() -> Vec<Route> {
    use Role::{Admin, Operator, Viewer};
    vec![
        Route::read("/flows", Viewer, flows),
        Route::reveal("/flows/{flow}/url", Admin, "show_url", show_url),
        Route::post("/flows/{flow}/url/rotate", Admin, "rotate_url", rotate),
        Route::post("/flows/{flow}/runs", Operator, "start_run", start),
        Route::read("/runs", Viewer, runs),
        Route::read("/runs/{run}", Viewer, run),
        Route::post("/runs/{run}/resubmit", Operator, "resubmit_run", resubmit),
        Route::post("/runs/{run}/cancel", Operator, "cancel_run", cancel),
        Route::post("/runs/{run}/resume", Operator, "resume_run", resume),
        Route::read("/problems", Viewer, problems),
        Route::read("/tokens", Admin, access::tokens),
        Route::post("/tokens/{name}", Admin, "add_token", access::add),
        Route::delete("/tokens/{name}", Admin, "remove_token", access::remove),
        Route::read("/audit", Admin, access::audit),
    ]
}

/// The routes, behind tokens and roles.
pub(super) fn router(app: &App) -> Router<App> {
    let router = routes().into_iter().fold(Router::new(), |router, route| route.add_to(router, app));
    router.fallback(nothing_here).layer(from_fn_with_state(app.clone(), guard::authenticate))
}

async fn nothing_here() -> Problem {
    Problem::new(Code::NotFound, "The API has no such path.")
}

async fn flows(State(app): State<App>) -> Response {
    Json(json!({"flows": app.engine.flows()})).into_response()
}

async fn problems(State(app): State<App>) -> Response {
    Json(json!({"problems": app.engine.problems()})).into_response()
}

async fn show_url(State(app): State<App>, Path(flow): Path<String>) -> Answer {
    let path = hook_path(&app, &flow)?;
    Ok(Json(url_of(&app, &flow, &path)).into_response())
}

async fn rotate(State(app): State<App>, Path(flow): Path<String>, headers: HeaderMap, body: Incoming) -> Answer {
    let asked = members(&app, &headers, body, &["grace_seconds"]).await?;
    let grace = match asked.get("grace_seconds") {
        None | Some(Value::Null) => Duration::ZERO,
        Some(seconds) => {
            let seconds = seconds.as_u64().filter(|seconds| *seconds <= MAX_GRACE.as_secs());
            let seconds = seconds.ok_or_else(|| {
                invalid(format!("`grace_seconds` is a whole number from 0 to {}.", MAX_GRACE.as_secs()))
            })?;
            Duration::from_secs(seconds)
        }
    };
    hook_path(&app, &flow)?;
    let (engine, name) = (app.engine.clone(), flow.clone());
    let path = whole(async move { engine.rotate(&name, grace).await }).await?;
    Ok(Json(url_of(&app, &flow, &path)).into_response())
}

/// The path of a flow's URL, if it can have one.
fn hook_path(app: &App, flow: &str) -> Result<String, Problem> {
    let live = app.engine.flow(flow).ok_or_else(|| no_flow(flow))?;
    match live.flow.trigger.no_url() {
        Some(why) => Err(Problem::new(Code::NoUrl, format!("Flow `{}` has no URL: {why}.", live.flow.id))),
        None => app.engine.hook_path(flow).ok_or_else(|| no_flow(flow)),
    }
}

fn url_of(app: &App, flow: &str, path: &str) -> Value {
    let mut shown = json!({
        "flow": flow,
        "url": format!("{}{path}", app.reach.base),
        "reachable_from_outside": app.reach.from_outside,
    });
    if let Some(warning) = &app.reach.warning {
        shown["warning"] = json!(warning);
    }
    shown
}

/// Starts a run by hand, through the same schema as a request.
async fn start(State(app): State<App>, Path(flow): Path<String>, headers: HeaderMap, body: Incoming) -> Answer {
    if !app.engine.is_ready() {
        return Err(hooks::starting());
    }
    let Some(live) = app.engine.flow(&flow) else {
        return Err(no_flow(&flow));
    };
    let mut asked = members(&app, &headers, body, &["body", "inputs"]).await?;
    let given = match (asked.shift_remove("body"), asked.shift_remove("inputs")) {
        (Some(_), Some(_)) => return Err(invalid("`inputs` is another name of `body`; give one of them.".to_owned())),
        (body, inputs) => body.or(inputs).unwrap_or(Value::Null),
    };
    let body = Body::of(app.engine.body_by_hand(&live, given)?);
    if let Some(problem) = hooks::violation(&live, &body) {
        return Err(problem);
    }
    hooks::start(&app, &live, Request::posted(body)).await.map(hooks::begun_response)
}

async fn runs(State(app): State<App>, RawQuery(query): RawQuery) -> Answer {
    let mut filter = Filter::default();
    let mut cursor = None;
    let mut limit = PAGE;
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "flow" => filter.flow = Some(value.into_owned()),
            "status" => filter.status = Some(value.parse::<Status>().map_err(invalid)?),
            "since" => filter.since_ms = Some(time(&name, &value)?),
            "until" => filter.until_ms = Some(time(&name, &value)?),
            "cursor" => cursor = Some(run_id(&value)?),
            "limit" => {
                let asked = value.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
                limit = asked.ok_or_else(|| invalid(format!("`limit` is a number from 1 to {MAX_PAGE}.")))?;
            }
            _ => {
                let known = "flow, status, since, until, cursor and limit";
                return Err(invalid(format!("`{name}` is not a filter; those are {known}.")));
            }
        }
    }
    let engine = app.engine.clone();
    // One more than asked tells whether there is a next page.
    let mut found = aside(move || engine.runs(&filter, cursor, limit + 1)).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|summary| summary.run_id);
    let runs: Vec<Value> = found.iter().map(shown).collect();
    Ok(Json(json!({"runs": runs, "next": next})).into_response())
}

async fn run(State(app): State<App>, Extension(who): Extension<Who>, Path(run): Path<String>) -> Answer {
    let run = run_id(&run)?;
    let engine = app.engine.clone();
    let mut history = aside(move || engine.run(run)).await?;
    if who.role < Role::Operator {
        // Whoever has the URL of a `wait` step can let the run go on: that is more than reading.
        waits::hide_keys(&mut history);
    }
    Ok(Json(history).into_response())
}

async fn resubmit(State(app): State<App>, Path(run): Path<String>, headers: HeaderMap, body: Incoming) -> Answer {
    let run = run_id(&run)?;
    let mut asked = members(&app, &headers, body, &["body", "new_keys"]).await?;
    let new_keys = match asked.get("new_keys") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(new_keys)) => *new_keys,
        Some(_) => return Err(invalid("`new_keys` is true or false.".to_owned())),
    };
    // A body of null is a body: only a missing one repeats the origin's.
    let body = asked.shift_remove("body");
    let engine = app.engine.clone();
    let new = whole(async move { engine.resubmit(run, body, new_keys).await }).await?;
    Ok(hooks::begun_response(new))
}

async fn cancel(State(app): State<App>, Path(run): Path<String>) -> Answer {
    let run = run_id(&run)?;
    app.engine.cancel(run).await?;
    Ok(Json(json!({"run_id": run, "status": "cancelled"})).into_response())
}

async fn resume(State(app): State<App>, Path(run): Path<String>) -> Answer {
    let run = run_id(&run)?;
    app.engine.resume(run).await?;
    Ok(Json(json!({"run_id": run, "status": "running"})).into_response())
}

/// A run as lists show it: the journal's milliseconds become readable times.
fn shown(summary: &Summary) -> Value {
    let Summary { run_id, flow, status, started_at, updated_at, origin, reason } = summary;
    json!({
        "run_id": run_id,
        "flow": flow,
        "status": status,
        "started_at": format!("{started_at:.3}"),
        "updated_at": format!("{updated_at:.3}"),
        "origin": origin,
        "reason": reason,
    })
}

/// Reads from the store on a thread that may wait for it.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Denied> + Send + 'static) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Problem::from),
        Err(panic) => Err(Problem::internal("reading the journal", &panic)),
    }
}

/// Does work in a task of its own: a caller who hangs up cannot leave it half done.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, Denied>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::spawn(work).await {
        Ok(done) => done.map_err(Problem::from),
        Err(panic) => Err(Problem::internal("what the API was asked", &panic)),
    }
}

/// The members of a JSON object, none of them unknown; no body is an object without members.
pub(super) async fn members(
    app: &App,
    headers: &HeaderMap,
    body: Incoming,
    known: &[&str],
) -> Result<Map<String, Value>, Problem> {
    let taken = app.reader.read(headers, body).await.map_err(|refused| refused.problem)?;
    let members = match &**taken.body.value() {
        Value::Null => Map::new(),
        Value::Object(members) => members.clone(),
        _ => return Err(invalid(format!("The body is a JSON object with {}.", known.join(", ")))),
    };
    match members.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(invalid(format!("`{key}` means nothing here; known are {}.", known.join(", ")))),
        None => Ok(members),
    }
}

fn run_id(text: &str) -> Result<RunId, Problem> {
    RunId::from_str(text).map_err(|_| {
        let text: String = text.chars().take(60).collect();
        invalid(format!("`{text}` is not a run id, which looks like 0198c2a4-5b1e-7c33-9d8f-3a5b7c9d1e2f."))
    })
}

fn time(name: &str, text: &str) -> Result<i64, Problem> {
    let time =
        Timestamp::from_str(text).map_err(|_| invalid(format!("`{name}` is a time, as in 2026-01-31T09:00:00Z.")))?;
    Ok(time.as_millisecond())
}

fn no_flow(flow: &str) -> Problem {
    let flow: String = flow.chars().take(100).collect();
    Problem::new(Code::FlowNotFound, format!("No flow named `{flow}` is live. `millstream check` shows why."))
}

pub(super) fn invalid(what: String) -> Problem {
    Problem::new(Code::InvalidRequest, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_times() {
        let at = Timestamp::from_millisecond(1_700_000_000_120).unwrap();
        let summary = Summary {
            run_id: RunId(uuid::Uuid::nil()),
            flow: "lead".to_owned(),
            status: Status::Held,
            started_at: at,
            updated_at: at,
            origin: None,
            reason: Some("a person decides".to_owned()),
        };
        assert_eq!(shown(&summary)["started_at"], "2023-11-14T22:13:20.120Z");
        assert_eq!(shown(&summary)["status"], "held");
    }
}
