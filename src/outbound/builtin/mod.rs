//! Actions written in Rust, because a protocol needs it. Their descriptions are in `connectors/`.

mod http;
pub(super) mod sql;

use jiff::Timestamp;
use serde_json::Value;

use super::{Call, Inner};
use crate::connector::{Answer, Class, Failure};

pub(super) async fn perform(inner: &Inner, call: &Call<'_>) -> Result<Value, Failure> {
    match (call.connector.name.as_str(), call.action) {
        ("http", "request") => http::perform(inner, call).await,
        // Boxed: they are ten times as large as a request, and every call would be moved about with room for them.
        ("sql", "insert") => Box::pin(sql::insert(inner, call)).await,
        ("sql", "query") => Box::pin(sql::query(inner, call)).await,
        _ => Err(unknown(call)),
    }
}

pub(super) fn preview(call: &Call<'_>) -> Result<Value, Failure> {
    match (call.connector.name.as_str(), call.action) {
        ("http", "request") => http::preview(call),
        ("sql", "insert" | "query") => sql::preview(call),
        _ => Err(unknown(call)),
    }
}

/// What an answer to the call, or the failure to get one, comes to.
pub(super) fn judged(call: &Call<'_>, answer: Result<&Answer, Failure>, now: Timestamp) -> Result<Value, Failure> {
    match (call.connector.name.as_str(), call.action) {
        ("http", "request") => http::judged(call, answer, now),
        _ => answer.and_then(|_| {
            let what = format!("`{}` makes no HTTP request", call.name());
            Err(Failure::new(Class::Permanent, "connector.native", what))
        }),
    }
}

fn unknown(call: &Call<'_>) -> Failure {
    let what = format!("this Millstream has no native action `{}`", call.name());
    Failure::new(Class::Permanent, "connector.no_action", what)
}
