//! Connections through the API: what their inputs may be, and which are not called for now.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::super::App;
use super::{Answer, invalid};

/// The choices of an input, for editors.
pub(super) async fn options(State(app): State<App>, Path(name): Path<String>, RawQuery(query): RawQuery) -> Answer {
    let (mut action, mut input) = (None, None);
    for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*key {
            "action" => action = Some(value.into_owned()),
            "input" => input = Some(value.into_owned()),
            _ => return Err(invalid("The query has `action` and `input`.".to_owned())),
        }
    }
    let (Some(action), Some(input)) = (action, input) else {
        return Err(invalid("`action` and `input` say which: `?action=post_message&input=channel`.".to_owned()));
    };
    Ok(Json(app.engine.options(&name, &action, &input).await?).into_response())
}

/// Connections whose targets are down.
pub(super) async fn breakers(State(app): State<App>) -> Response {
    Json(json!({"breakers": app.engine.breakers()})).into_response()
}
