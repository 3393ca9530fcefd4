//! Runs through the API: lists, and what a person does about them.

use axum::body::Body as Incoming;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::{Json, http::StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::super::hooks;
use super::*;
use crate::engine::{Resubmission, Resubmitted, Wanted};
use crate::run::{BeginAt, Status, Summary, told_handled};

/// Runs of one page, unless `limit` says otherwise, and at most.
const PAGE: usize = 50;
const MAX_PAGE: usize = 1_000;

pub(super) async fn list(State(app): State<App>, Extension(who): Extension<Who>, RawQuery(query): RawQuery) -> Answer {
    let mut wanted = Wanted { hidden: who.role < Role::Operator, ..Wanted::default() };
    let mut cursor = None;
    let mut limit = PAGE;
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "flow" => wanted.filter.flow = Some(value.into_owned()),
            "status" => {
                for status in value.split(',') {
                    wanted.statuses.push(status.parse::<Status>().map_err(invalid)?);
                }
            }
            "since" => wanted.filter.since_ms = Some(time(&name, &value)?),
            "until" => wanted.filter.until_ms = Some(time(&name, &value)?),
            "reason" => wanted.reason = Some(value.into_owned()),
            "unhandled" => {
                let asked = value.parse().map_err(|_| invalid("`unhandled` is true or false.".to_owned()))?;
                wanted.unhandled = asked;
            }
            "cursor" => cursor = Some(run_id(&value)?),
            "limit" => {
                let asked = value.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
                limit = asked.ok_or_else(|| invalid(format!("`limit` is a number from 1 to {MAX_PAGE}.")))?;
            }
            _ => {
                let known = "flow, status, since, until, reason, unhandled, cursor and limit";
                return Err(invalid(format!("`{name}` is not a filter; those are {known}.")));
            }
        }
    }
    if let [one] = wanted.statuses[..] {
        wanted.filter.status = Some(one);
    }
    let engine = app.engine.clone();
    // One more than asked tells whether there is a next page.
    let mut found = aside(move || engine.runs(&wanted, cursor, limit + 1)).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|summary| summary.run_id);
    let runs: Vec<Value> = found.iter().map(shown).collect();
    Ok(Json(json!({"runs": runs, "next": next})).into_response())
}

/// Where a value of a run came from.
pub(super) async fn why(
    State(app): State<App>,
    Extension(who): Extension<Who>,
    Path(run): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let run = run_id(&run)?;
    let query = query.unwrap_or_default();
    let mut asked = url::form_urlencoded::parse(query.as_bytes());
    let asked = asked
        .find(|(name, _)| name == "value")
        .map(|(_, value)| value.into_owned())
        .ok_or_else(|| invalid("`value` says which: `?value=create_lead.record.firstname`.".to_owned()))?;
    let engine = app.engine.clone();
    let hidden = who.role < Role::Operator;
    let told = aside(move || if hidden { engine.why_hidden(run, &asked) } else { engine.why(run, &asked) }).await?;
    Ok(Json(told).into_response())
}

pub(super) async fn resubmit(
    State(app): State<App>,
    Path(run): Path<String>,
    headers: HeaderMap,
    body: Incoming,
) -> Answer {
    const KNOWN: [&str; 7] = ["body", "new_keys", "from_step", "version", "again", "cancel_held", "dry_run"];
    let run = run_id(&run)?;
    let mut asked = members(&app, &headers, body, &KNOWN).await?;
    let old_version = match text(&asked, "version")?.as_deref() {
        None | Some("new") => false,
        Some("old") => true,
        Some(_) => return Err(invalid("`version` is `new` (the present one) or `old` (that of the run).".to_owned())),
    };
    let from = text(&asked, "from_step")?.map(|step| match step.as_str() {
        "failed" => BeginAt::Failed,
        _ => BeginAt::Step(step),
    });
    let how = Resubmission {
        new_keys: flag(&asked, "new_keys")?,
        again: flag(&asked, "again")?,
        cancel_held: flag(&asked, "cancel_held")?,
        dry_run: flag(&asked, "dry_run")?,
        from,
        old_version,
        // A body of null is a body: only a missing one repeats the origin's.
        body: asked.shift_remove("body"),
    };
    let engine = app.engine.clone();
    match whole(async move { engine.resubmit(run, how).await }).await? {
        Resubmitted::Begun(begun) => Ok(hooks::begun_response(begun)),
        would @ Resubmitted::Would { .. } => Ok((StatusCode::OK, Json(would.told(run))).into_response()),
    }
}

pub(super) async fn handle(
    State(app): State<App>,
    Path(run): Path<String>,
    headers: HeaderMap,
    body: Incoming,
) -> Answer {
    let run = run_id(&run)?;
    let asked = members(&app, &headers, body, &["note", "cancel_held"]).await?;
    let (note, cancel_held) = (text(&asked, "note")?, flag(&asked, "cancel_held")?);
    let engine = app.engine.clone();
    whole(async move { engine.handle(run, note, cancel_held).await }).await?;
    Ok(Json(json!({"run_id": run, "status": "handled"})).into_response())
}

pub(super) async fn cancel(State(app): State<App>, Path(run): Path<String>) -> Answer {
    let run = run_id(&run)?;
    app.engine.cancel(run).await?;
    Ok(Json(json!({"run_id": run, "status": "cancelled"})).into_response())
}

pub(super) async fn resume(State(app): State<App>, Path(run): Path<String>) -> Answer {
    let run = run_id(&run)?;
    app.engine.resume(run).await?;
    Ok(Json(json!({"run_id": run, "status": "running"})).into_response())
}

fn flag(asked: &Map<String, Value>, name: &str) -> Result<bool, Problem> {
    match asked.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(invalid(format!("`{name}` is true or false."))),
    }
}

fn text(asked: &Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    match asked.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(invalid(format!("`{name}` is a text."))),
    }
}

/// A run as lists show it: the journal's milliseconds become readable times.
fn shown(summary: &Summary) -> Value {
    let Summary { run_id, flow, status, started_at, updated_at, origin, reason, code, parent, handled, bytes: _ } =
        summary;
    json!({
        "run_id": run_id,
        "flow": flow,
        "status": status,
        "started_at": format!("{started_at:.3}"),
        "updated_at": format!("{updated_at:.3}"),
        "origin": origin,
        "parent": parent,
        "reason": reason,
        "code": code,
        "handled": handled.as_ref().map(told_handled),
    })
}

fn time(name: &str, text: &str) -> Result<i64, Problem> {
    let time =
        Timestamp::from_str(text).map_err(|_| invalid(format!("`{name}` is a time, as in 2026-01-31T09:00:00Z.")))?;
    Ok(time.as_millisecond())
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
            code: None,
            parent: None,
            bytes: 0,
            handled: None,
        };
        assert_eq!(shown(&summary)["started_at"], "2023-11-14T22:13:20.120Z");
        assert_eq!(shown(&summary)["status"], "held");
    }
}
