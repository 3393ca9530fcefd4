//! Actions written in Rust, because a protocol needs it. Their descriptions are in `connectors/`.

mod http;
mod multipart;
pub(super) mod sql;

use serde_json::Value;

use super::{Call, Inner};
use crate::connector::{Class, Failure};

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

fn unknown(call: &Call<'_>) -> Failure {
    let what = format!("this Millstream has no native action `{}`", call.name());
    Failure::new(Class::Permanent, "connector.no_action", what)
}
