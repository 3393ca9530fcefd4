//! `/api/v1/connections`: how they stand, whether they work, logins; and the key of the vault.

use axum::Json;
use axum::body::Body as Incoming;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::super::App;
use super::super::problem::Problem;
use super::{Answer, aside, invalid, members, whole};

pub(super) async fn list(State(app): State<App>) -> Response {
    Json(json!({"connections": app.engine.connections().await})).into_response()
}

/// 200 also where the connection does not work: that is what was asked.
pub(super) async fn test(State(app): State<App>, Path(name): Path<String>) -> Answer {
    let engine = app.engine.clone();
    Ok(Json(whole(async move { engine.test_connection(&name).await }).await?).into_response())
}

pub(super) async fn login(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Incoming,
) -> Answer {
    let asked = members(&app, &headers, body, &["redirect_uri"]).await?;
    let redirect_uri = text(&asked, "redirect_uri")?;
    let url = app.engine.begin_login(&name, &redirect_uri).await?;
    Ok(Json(json!({"connection": name, "authorize_url": url})).into_response())
}

pub(super) async fn code(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Incoming,
) -> Answer {
    let asked = members(&app, &headers, body, &["state", "code"]).await?;
    let (state, code) = (text(&asked, "state")?, SecretString::from(text(&asked, "code")?));
    let (engine, connection) = (app.engine.clone(), name.clone());
    // To the end, also if the caller hangs up: a code is good once.
    whole(async move { engine.finish_login(&connection, &state, code).await }).await?;
    Ok(Json(json!({"connection": name, "logged_in": true})).into_response())
}

pub(super) async fn rotate_key(State(app): State<App>) -> Answer {
    let engine = app.engine.clone();
    let version = aside(move || engine.rotate_vault()).await?;
    Ok(Json(json!({"version": version})).into_response())
}

fn text(asked: &Map<String, Value>, key: &str) -> Result<String, Problem> {
    let text = asked.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or_else(|| invalid(format!("`{key}` is missing; it is a text.")))
}
