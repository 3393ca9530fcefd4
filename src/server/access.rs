//! `/api/v1/tokens` and `/api/v1/audit`: who may do what, and what was done. For admins.

use axum::Json;
use axum::body::Body as Incoming;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::App;
use super::api::{Answer, invalid, members};
use super::problem::{Code, Problem};
use crate::access::{Denied, Role, Token};

/// Entries of the audit log at once, unless `limit` says otherwise, and at most.
const ENTRIES: usize = 100;
const MAX_ENTRIES: usize = 10_000;
/// Longest life of a token that has an end, seconds.
const MAX_LIFE: u64 = 100 * 366 * 24 * 3600;

pub(super) async fn tokens(State(app): State<App>) -> Response {
    let tokens: Vec<Value> = app.access.tokens().iter().map(shown).collect();
    Json(json!({"tokens": tokens})).into_response()
}

/// Makes a token; the answer is the only place where it is ever shown.
pub(super) async fn add(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Incoming,
) -> Answer {
    let asked = members(&app, &headers, body, &["role", "expires_seconds"]).await?;
    let role = asked.get("role").and_then(Value::as_str).and_then(|role| role.parse::<Role>().ok());
    let role = role.ok_or_else(|| invalid("`role` is viewer, operator or admin.".to_owned()))?;
    let now = Timestamp::now().as_millisecond();
    let expires = match asked.get("expires_seconds") {
        None | Some(Value::Null) => None,
        Some(seconds) => {
            let seconds = seconds.as_u64().filter(|seconds| (1..=MAX_LIFE).contains(seconds));
            let wrong = || invalid(format!("`expires_seconds` is a whole number from 1 to {MAX_LIFE}."));
            Some(now + i64::try_from(seconds.ok_or_else(wrong)? * 1_000).unwrap_or(i64::MAX - now))
        }
    };
    let (token, text) = app.access.add(&name, role, now, expires).await?;
    let mut answer = shown(&token);
    answer["token"] = json!(text.expose_secret());
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

pub(super) async fn remove(State(app): State<App>, Path(name): Path<String>) -> Answer {
    app.access.remove(&name).await?;
    Ok(Json(json!({"name": name, "removed": true})).into_response())
}

pub(super) async fn audit(State(app): State<App>, RawQuery(query): RawQuery) -> Answer {
    let mut limit = ENTRIES;
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name != "limit" {
            return Err(invalid(format!("`{name}` means nothing here; known is limit.")));
        }
        let asked = value.parse().ok().filter(|limit| (1..=MAX_ENTRIES).contains(limit));
        limit = asked.ok_or_else(|| invalid(format!("`limit` is a number from 1 to {MAX_ENTRIES}.")))?;
    }
    let access = app.access.clone();
    let read = tokio::task::spawn_blocking(move || access.audit.entries(limit)).await;
    match read {
        Ok(Ok(entries)) => Ok(Json(json!({"entries": entries})).into_response()),
        Ok(Err(error)) => Err(Problem::internal("reading the audit log", &error)),
        Err(panic) => Err(Problem::internal("reading the audit log", &panic)),
    }
}

fn shown(token: &Token) -> Value {
    let time = |ms: i64| Timestamp::from_millisecond(ms).map(|at| format!("{at:.3}")).ok();
    json!({
        "name": token.name,
        "role": token.role,
        "created_at": time(token.created_ms),
        "expires_at": token.expires_ms.and_then(time),
    })
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Problem {
        let detail = format!("{denied}.");
        match denied {
            Denied::Name(_) => Problem::new(Code::InvalidRequest, detail),
            Denied::Exists(_) => Problem::new(Code::TokenExists, detail),
            Denied::TooMany => Problem::new(Code::TokenExists, detail),
            Denied::None(_) => Problem::new(Code::TokenNotFound, detail),
            Denied::Random => Problem::internal("making a token", &denied),
            Denied::Journal(_) => Problem::new(Code::Unavailable, detail).after(std::time::Duration::from_secs(5)),
        }
    }
}
