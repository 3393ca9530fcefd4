//! Actions written in Rust, because a protocol needs it. Their descriptions are in `connectors/`.

mod data;
mod file;
mod http;
mod smtp;
pub(super) mod sql;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::limits::Slot;
use super::{Call, Inner};
use crate::connector::{Answer, Class, Connection, Connector, Failure};

/// Longest time of a test, which a person waits for.
const TEST: Duration = Duration::from_secs(15);

/// `slot` is the call's turn under the limits.
pub(super) async fn perform(inner: &Inner, call: &Call<'_>, slot: Slot) -> Result<Value, Failure> {
    let result = match (call.connector.name.as_str(), call.action) {
        // Its first request has this turn, each other one its own.
        ("http", "request") => return http::perform(inner, call, slot).await,
        // Boxed: they are ten times as large as a request, and every call would be moved about with room for them.
        ("sql", _) => Box::pin(sql::perform(inner, call)).await,
        ("smtp", "send") => Box::pin(smtp::send(inner, call)).await,
        ("file", _) => Box::pin(file::perform(inner, call)).await,
        ("data", _) => data::compute(call),
        _ => Err(unknown(call)),
    };
    drop(slot);
    result
}

pub(super) fn preview(call: &Call<'_>) -> Result<Value, Failure> {
    match (call.connector.name.as_str(), call.action) {
        ("http", "request") => http::preview(call),
        ("sql", _) => sql::preview(call),
        ("smtp", "send") => smtp::preview(call),
        ("file", _) => file::preview(call),
        ("data", _) => data::compute(call),
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

/// Tries a connection out without writing anything: what it shows; `None` where there is nothing to ask.
pub(super) async fn test(
    inner: &Inner,
    connector: &Arc<Connector>,
    connection: &Arc<Connection>,
) -> Option<Result<Value, Failure>> {
    let input = json!({"sql": "SELECT 1", "path": "."});
    let call = |action: &'static str| Call {
        flow: "",
        connector,
        action,
        connection: Some(connection),
        input: &input,
        key: Uuid::nil(),
        timeout: Some(TEST),
        output_limit: 1024 * 1024,
    };
    match connector.name.as_str() {
        "sql" => Some(Box::pin(sql::perform(inner, &call("query"))).await.map(|_| json!("SELECT 1 gives its row"))),
        "smtp" => Some(Box::pin(smtp::test(inner, &call("send"))).await),
        "file" => Some(file::test(inner, &call("list")).await),
        _ => None,
    }
}

/// True if the action's output follows from its inputs alone.
pub(super) fn is_computed(call: &Call<'_>) -> bool {
    call.connector.name == "data"
}

pub(super) fn computed(call: &Call<'_>) -> Result<Value, Failure> {
    data::compute(call)
}

fn unknown(call: &Call<'_>) -> Failure {
    let what = format!("this Millstream has no native action `{}`", call.name());
    Failure::new(Class::Permanent, "connector.no_action", what)
}
