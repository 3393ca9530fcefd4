//! `alerts` of `millstream.yaml` against the flows that are live.

use std::path::Path;

use super::Snapshot;
use crate::config::Alerts;
use crate::flow::{At, BAD_VALUE, Problem, Source, UNKNOWN_FLOW, suggest};

/// The only file whose problems these are.
pub(super) const FILE: &str = "millstream.yaml";

/// What is wrong with it now, if anything is.
pub(super) fn problem(alerts: &Alerts, snapshot: &Snapshot) -> Option<Problem> {
    let (code, what, hint) = match snapshot.flow(&alerts.flow) {
        None => {
            let mut known: Vec<&str> = snapshot.flows.keys().map(String::as_str).collect();
            known.sort_unstable();
            let hint = suggest(&alerts.flow, known);
            (UNKNOWN_FLOW, format!("there is no flow `{}` to tell of runs that do not go well", alerts.flow), hint)
        }
        Some(live) if live.flow.trigger.schedule().is_some() => {
            let what = format!("flow `{}` starts by a schedule, so it cannot be told anything", alerts.flow);
            (BAD_VALUE, what, Some("name one with `trigger: {type: manual}`".to_owned()))
        }
        Some(_) => return None,
    };
    let text = std::fs::read_to_string(snapshot.dir.join(FILE)).unwrap_or_default();
    let (source, _, _) = Source::read(Path::new(FILE), &text);
    Some(source.problem(code, "/alerts/flow", At::Value, what, hint))
}
