//! The store through the API: what it takes, give space back, copy it.

use axum::body::Body as Incoming;
use axum::extract::State;
use axum::http::HeaderMap;

use super::*;
use crate::journal::{Error, Journal};

pub(super) async fn stats(State(app): State<App>) -> Answer {
    work(&app, |journal| journal.stats()).await
}

pub(super) async fn compact(State(app): State<App>) -> Answer {
    work(&app, |journal| {
        let before = journal.stats()?;
        journal.compact()?;
        Ok(json!({"before": before, "after": journal.stats()?}))
    })
    .await
}

pub(super) async fn backup(State(app): State<App>, headers: HeaderMap, body: Incoming) -> Answer {
    let asked = members(&app, &headers, body, &["to"]).await?;
    let Some(to) = asked.get("to").and_then(Value::as_str).map(std::path::PathBuf::from) else {
        return Err(invalid("`to` is the absolute path of a new folder on the server's machine.".to_owned()));
    };
    work(&app, move |journal| journal.backup(&to)).await
}

/// On a thread that may wait; in a task of its own, so that a caller who hangs up leaves nothing half done.
async fn work<T: serde::Serialize + Send + 'static>(
    app: &App,
    work: impl FnOnce(&Journal) -> Result<T, Error> + Send + 'static,
) -> Answer {
    let engine = app.engine.clone();
    match tokio::task::spawn_blocking(move || work(engine.journal())).await {
        Ok(Ok(done)) => Ok(Json(done).into_response()),
        Ok(Err(error)) => Err(Problem::new(Code::Conflict, error.to_string())),
        Err(panic) => Err(Problem::internal("work on the store", &panic)),
    }
}
