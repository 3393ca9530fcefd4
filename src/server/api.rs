//! `/api/v1/…` on the admin listener: all that the CLI and a console do goes through here.
//!
//! Every route needs a bearer token whose role may take it (`guard.rs`). Answers are JSON, errors are problems.

mod connections;
mod credentials;
mod runs;
mod store;

use std::str::FromStr;
use std::time::Duration;

use axum::body::Body as Incoming;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use serde_json::{Map, Value, json};

use super::guard::Route;
use super::problem::{Code, Problem};
use super::{App, access, guard, hooks};
use crate::access::{Role, Who};
use crate::engine::Denied;
use crate::run::{Body, Request, RunId};

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
        Route::read("/runs", Viewer, runs::list),
        Route::read("/runs/{run}", Viewer, run),
        Route::read("/runs/{run}/why", Viewer, runs::why),
        Route::post("/runs/{run}/resubmit", Operator, "resubmit_run", runs::resubmit),
        Route::post("/runs/{run}/handle", Operator, "handle_run", runs::handle),
        Route::post("/runs/{run}/cancel", Operator, "cancel_run", runs::cancel),
        Route::post("/runs/{run}/resume", Operator, "resume_run", runs::resume),
        Route::read("/connections/{name}/options", Operator, connections::options),
        Route::read("/breakers", Viewer, connections::breakers),
        Route::read("/problems", Viewer, problems),
        Route::read("/connections", Viewer, credentials::list),
        Route::post("/connections/{name}/test", Operator, "test_connection", credentials::test),
        Route::post("/connections/{name}/login", Admin, "begin_login", credentials::login),
        Route::post("/connections/{name}/login/code", Admin, "log_in_connection", credentials::code),
        Route::post("/vault/rotate-key", Admin, "rotate_vault_key", credentials::rotate_key),
        Route::read("/store", Viewer, store::stats),
        Route::post("/store/compact", Operator, "compact_store", store::compact),
        Route::post("/store/backup", Admin, "back_up_store", store::backup),
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

async fn run(State(app): State<App>, Extension(who): Extension<Who>, Path(run): Path<String>) -> Answer {
    let run = run_id(&run)?;
    let engine = app.engine.clone();
    // Whoever has the URL of a `wait` step can let the run go on: that is more than reading.
    let hidden = who.role < Role::Operator;
    let history = aside(move || if hidden { engine.run_hidden(run) } else { engine.run(run) }).await?;
    Ok(Json(history).into_response())
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

fn no_flow(flow: &str) -> Problem {
    let flow: String = flow.chars().take(100).collect();
    Problem::new(Code::FlowNotFound, format!("No flow named `{flow}` is live. `millstream check` shows why."))
}

pub(super) fn invalid(what: String) -> Problem {
    Problem::new(Code::InvalidRequest, what)
}
