//! Last real values: what the history of a run has at a path.

use serde_json::Value;

use crate::flow::{Flow, Kind};
use crate::mapping::walk;

/// Longest value that is shown, characters.
const LONGEST: usize = 200;
/// What a history has in place of what `secure` hides.
const HIDDEN: &str = "(secure)";

/// The value at the keys of a path in a run's history, as the API tells it, as text; `None` where the run has none, or one
/// that is hidden. `flow` is the flow as it is now: what it hides, it hides of older runs too.
pub fn value(told: &Value, keys: &[String], flow: Option<&Flow>) -> Option<String> {
    let found = find(told, keys, flow)?;
    let mut found = found.clone();
    hide(&mut found);
    let text = found.to_string();
    Some(match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    })
}

fn find<'t>(told: &'t Value, keys: &[String], flow: Option<&Flow>) -> Option<&'t Value> {
    let secure = |id: &str| flow.and_then(|flow| flow.step_called(id)).is_some_and(|step| step.secure.outputs);
    let named = |step: &Value| step.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let steps = || told.get("steps").and_then(Value::as_array).into_iter().flatten().rev();
    let (first, rest) = keys.split_first()?;
    let found = match first.as_str() {
        "trigger" => walk(told.get("trigger")?, rest),
        "steps" => {
            let (id, rest) = rest.split_first()?;
            let field = rest.first()?.to_ascii_lowercase();
            if !["output", "status", "error"].contains(&field.as_str()) || (secure(id) && field != "status") {
                return None;
            }
            walk(steps().find(|step| named(step) == *id)?.get(&field)?, &rest[1..])
        }
        "vars" => {
            let name = rest.first()?;
            let set = steps().find(|step| {
                let sets =
                    |flow: &Flow| matches!(flow.step_called(&named(step)).map(|step| &step.kind), Some(Kind::Set(_)));
                let gives = step.get("output").is_some_and(|output| output.get(name).is_some());
                gives && flow.is_none_or(sets)
            })?;
            if secure(&named(set)) {
                return None;
            }
            walk(set.get("output")?, rest)
        }
        "run" if rest == ["id"] => told.get("run_id"),
        "run" if rest == ["started_at"] => told.get("started_at"),
        _ => None,
    };
    found.filter(|found| **found != HIDDEN)
}

/// Takes out what lets whoever has it do more than read: URLs of steps that wait.
fn hide(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("/resume/") => *text = "(a URL that lets the run go on)".to_owned(),
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(members) => members.values_mut().for_each(hide),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_found_in_a_history_as_a_template_would_find_it() {
        let told = json!({
            "run_id": "r", "trigger": {"body": {"Email": "ann@example.com", "n": 7}},
            "steps": [
                {"id": "a", "status": "succeeded", "output": {"id": 1}}, {"id": "a", "status": "succeeded", "output": {"id": 2}},
                {"id": "s", "output": "(secure)"}, {"id": "v", "output": {"total": [1, 2]}},
                {"id": "w", "output": {"url": "https://x.example/hooks/f/resume/r/1/KEY"}},
                {"id": "l", "output": "x".repeat(500)},
            ],
        });
        let at = |path: &str| value(&told, &path.split('.').map(str::to_owned).collect::<Vec<_>>(), None);
        assert_eq!(at("trigger.body.email").as_deref(), Some("\"ann@example.com\""));
        assert_eq!(at("steps.a.output.id").as_deref(), Some("2"), "the last time it ran");
        assert_eq!(at("vars.total.1").as_deref(), Some("2"));
        assert_eq!(at("run.id").as_deref(), Some("\"r\""));
        assert_eq!((at("steps.s.output"), at("steps.z.output"), at("steps.a"), at("env.X")), (None, None, None, None));
        assert!(!at("steps.w.output").unwrap().contains("KEY"));
        assert_eq!(at("steps.l.output").unwrap().chars().count(), 201);
    }
}
