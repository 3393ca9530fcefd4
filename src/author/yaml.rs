//! JSON as YAML that a person would write: small maps on one line, templates in double quotes, nothing that YAML reads as
//! something else.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value};

use crate::flow::Source;

/// Longest map or list on one line, characters.
const LINE: usize = 64;
/// Plain words that YAML, in some version, takes for no text.
const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/// The YAML of `value`, or `None` where reading it back would give another value (numbers beyond YAML's).
pub fn write(value: &Value) -> Option<String> {
    let mut text = String::new();
    block(value, 0, &mut text);
    let (_, read, problems) = Source::read(Path::new("draft.yaml"), &text);
    (problems.is_empty() && read.as_ref() == Some(value)).then_some(text)
}

fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let _ = write!(out, "{:indent$}{}:", "", text(key));
                below(value, indent + 2, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let _ = write!(out, "{:indent$}-", "");
                match item {
                    Value::Object(map) if !map.is_empty() && !fits(item) => compact(map, indent + 2, out),
                    item => below(item, indent + 2, out),
                }
            }
        }
        scalar => {
            let _ = writeln!(out, "{}", line(scalar));
        }
    }
}

/// What follows `key:` or `-`: on the same line if it is short, else on lines of its own.
fn below(value: &Value, indent: usize, out: &mut String) {
    let nested = matches!(value, Value::Object(map) if !map.is_empty())
        || matches!(value, Value::Array(items) if !items.is_empty());
    if nested && !fits(value) {
        out.push('\n');
        block(value, indent, out);
    } else {
        let _ = writeln!(out, " {}", line(value));
    }
}

/// A map as an item: its first key beside the dash.
fn compact(map: &Map<String, Value>, indent: usize, out: &mut String) {
    let mut inner = String::new();
    block(&Value::Object(map.clone()), indent, &mut inner);
    out.push(' ');
    out.push_str(inner.get(indent..).unwrap_or(&inner));
}

/// True for what reads well on one line: short, flat, and without templates.
fn fits(value: &Value) -> bool {
    depth(value) <= 2 && !templated(value) && line(value).chars().count() <= LINE
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn templated(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().any(templated),
        Value::Array(items) => items.iter().any(templated),
        Value::String(text) => text.contains("{{"),
        _ => false,
    }
}

fn line(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{}: {}", text(key), line(value))).collect();
            if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
        }
        Value::Array(items) => format!("[{}]", items.iter().map(line).collect::<Vec<_>>().join(", ")),
        Value::String(value) => text(value),
        other => other.to_string(),
    }
}

fn text(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '@' | ' ');
    let begins = value.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/'));
    let words = WORDS.contains(&value.to_ascii_lowercase().as_str());
    if begins && !words && !value.ends_with(' ') && value.chars().all(plain) {
        return value.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_reads_back_and_looks_as_a_person_would_write_it() {
        let value = json!({
            "trigger": {"type": "request", "schema": {"properties": {"Email": {"type": "string"}}}},
            "steps": [{"id": "a", "with": {"text": "{{trigger.body.Email}}", "to": "yes", "day": "2026-01-01", "count": 1}}],
            "empty": {}, "none": [],
        });
        let text = write(&value).unwrap();
        let expected = "trigger:\n  type: request\n  schema:\n    properties: { Email: { type: string } }\nsteps:\n  - id: a\n    \
                        with:\n      text: \"{{trigger.body.Email}}\"\n      to: \"yes\"\n      day: \"2026-01-01\"\n      count: 1\n\
                        empty: {}\nnone: []\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn strange_texts_and_keys_survive() {
        for odd in [
            "",
            " a",
            "a ",
            "- b",
            "#c",
            "a: b",
            "{x}",
            "\u{7f}\u{85}\n\t\"\\",
            "~",
            "1.0",
            "0x1",
            "ü€😀",
            "null",
            "=",
            "<<",
        ] {
            let value = json!({odd: [odd, {odd: odd}]});
            assert!(write(&value).is_some(), "{odd:?}");
        }
    }
}
