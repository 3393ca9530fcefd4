//! A run's history for a terminal.

use std::fmt::Write;

use serde_json::Value;

use super::text;

/// The run step by step, with inputs, outputs, attempts, times and errors.
pub(super) fn run(told: &Value) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "run {}  {}  {}", text(told, "run_id"), text(told, "flow"), text(told, "status"));
    let ended = told.get("ended_at").and_then(Value::as_str).map(|at| format!(", ended {at}")).unwrap_or_default();
    let _ = writeln!(out, "  started {}{ended}", text(told, "started_at"));
    if let Some(origin) = told.get("origin").and_then(Value::as_str) {
        let from = told.get("from_step").and_then(Value::as_str);
        let from = from.map(|step| format!(", from step {step} on")).unwrap_or_default();
        let _ = writeln!(out, "  repeats {origin}{from}");
    }
    if let Some(body) = told.pointer("/trigger/body").or_else(|| told.pointer("/trigger/text")) {
        let _ = writeln!(out, "  body {}", short(body));
    }
    for step in told.get("steps").and_then(Value::as_array).into_iter().flatten() {
        let _ = writeln!(
            out,
            "  {}{}  {}{}{}",
            inside(step),
            text(step, "id"),
            text(step, "status"),
            took(step),
            more(step)
        );
        for attempt in step.get("attempts").and_then(Value::as_array).into_iter().flatten() {
            let Some(error) = attempt.get("error") else { continue };
            let again = attempt.get("retry_at").and_then(Value::as_str);
            let again = again.map(|at| format!(", again at {at}")).unwrap_or_default();
            let number = attempt.get("attempt").map(Value::to_string).unwrap_or_default();
            let (code, message) = (text(error, "code"), text(error, "message"));
            let _ = writeln!(out, "      attempt {number}: {code}: {message}{again}");
        }
        // What is no call has no attempts, but may have failed all the same.
        if let Some(error) = step.get("error").filter(|_| step.get("attempts").is_none()) {
            let _ = writeln!(out, "      {}: {}", text(error, "code"), text(error, "message"));
        }
        for (key, label) in [("run", "run"), ("resume_url", "url"), ("inputs", "in "), ("output", "out")] {
            if let Some(value) = step.get(key) {
                let _ = writeln!(out, "      {label} {}", short(value));
            }
        }
        if let Some(reason) = step.get("reason").and_then(Value::as_str) {
            let _ = writeln!(out, "      {reason}");
        }
    }
    if let Some(response) = told.get("response") {
        let _ = writeln!(out, "  answered {}", short(response));
    }
    if let Some(error) = told.get("error") {
        let _ = writeln!(out, "  error {}: {}", text(error, "code"), text(error, "message"));
    }
    if let Some(reason) = told.get("reason").and_then(Value::as_str) {
        let _ = writeln!(out, "  held: {reason}");
    }
    if let Some(handled) = told.get("handled") {
        let how = match handled.get("resubmitted_as").and_then(Value::as_str) {
            Some(new) => format!("resubmitted as {new}"),
            None => format!("handled {}", text(handled, "note")),
        };
        let _ = writeln!(out, "  {}: {how}", text(handled, "at"));
    }
    out
}

/// Where a value came from, each source below what was made of it.
pub(super) fn why(told: &Value) -> String {
    let mut out = format!("{} = {}\n", text(told, "value"), short(told.get("is").unwrap_or(&Value::Null)));
    sources(&mut out, told, 1);
    out
}

fn sources(out: &mut String, told: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    if let Some(expression) = told.get("expression").and_then(Value::as_str) {
        let line = told.get("line").map(|line| format!("  ({}:{line})", text(told, "file"))).unwrap_or_default();
        let expression = expression.trim_end();
        // Text over several lines stands below, so that what it was made of can be told from it.
        let expression = match expression.contains('\n') {
            true => expression.lines().map(|line| format!("\n{indent}  | {line}")).collect(),
            false => format!(" {expression}"),
        };
        let _ = writeln!(out, "{indent}through{expression}{line}");
    }
    if let Some(because) = told.get("because").and_then(Value::as_str) {
        let run = told.get("run").and_then(Value::as_str).map(|run| format!(" (run {run})")).unwrap_or_default();
        let _ = writeln!(out, "{indent}{because}{run}");
    }
    for part in told.get("parts").and_then(Value::as_array).into_iter().flatten() {
        let _ = writeln!(out, "{indent}{}", text(part, "at"));
        sources(out, part, depth + 1);
    }
    for source in told.get("from").and_then(Value::as_array).into_iter().flatten() {
        let is = short(source.get("is").unwrap_or(&Value::Null));
        let _ = writeln!(out, "{indent}from {} = {is}", text(source, "path"));
        sources(out, source, depth + 1);
    }
}

/// How deep a step is inside of others, and in which iterations or branches: `  [3] ` for the fourth.
fn inside(step: &Value) -> String {
    let place = text(step, "place");
    let numbers: Vec<&str> = place.split('.').collect();
    let subs = numbers.iter().skip(1).step_by(2);
    let (depth, mut subs) = (numbers.len() / 2, subs.copied().collect::<Vec<_>>());
    if numbers.first().is_some_and(|first| *first == u32::MAX.to_string()) {
        subs[0] = "on_failure";
    }
    if depth == 0 { String::new() } else { format!("{}[{}] ", "  ".repeat(depth), subs.join(".")) }
}

/// What else is worth a word beside a step's status.
fn more(step: &Value) -> String {
    let mut words = String::new();
    if step.get("mocked").is_some() {
        words += "  mocked";
    }
    if step.get("taken_over").is_some() {
        words += "  taken over";
    }
    for (key, label) in [("branch", "took"), ("until", "until"), ("iterations", "iterations"), ("failed", "failed")] {
        let value = step.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let waits = key != "until" || text(step, "status") == "waiting";
        if let Some(value) = value.filter(|_| waits) {
            let _ = write!(words, "  {label} {value}");
        }
    }
    words
}

fn short(value: &Value) -> String {
    const MOST: usize = 400;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((cut, _)) => format!("{}… ({} bytes)", &text[..cut], text.len()),
        None => text,
    }
}

fn took(step: &Value) -> String {
    let time = |key: &str| step.get(key).and_then(Value::as_str).and_then(|at| at.parse::<jiff::Timestamp>().ok());
    match (time("started_at"), time("ended_at")) {
        (Some(from), Some(to)) => format!("  {} ms", to.as_millisecond() - from.as_millisecond()),
        _ => String::new(),
    }
}
