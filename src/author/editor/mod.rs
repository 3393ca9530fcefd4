//! JSON Schemas (draft-07) by which an editor completes, explains and checks the project's files.
//!
//! They know the connectors and connections that are there. Explanations are taken from the reference, so that there is one
//! source of them. They are looser than `millstream check`, which has the last word, and never stricter.

mod config;
mod connections;
mod connector;
mod flow;
mod inputs;
mod reference;
mod steps;
mod test;

use serde_json::{Map, Value, json};

use crate::connector::Connectors;

/// Kinds of files, each with the files that it is for, as editors match them.
pub const KINDS: [(&str, &[&str]); 5] = [
    ("flow", &["flows/**/*.yaml", "flows/**/*.yml"]),
    ("test", &["tests/**/*.test.yaml"]),
    ("connector", &["connectors/**/*.yaml", "connectors/**/*.yml"]),
    ("connections", &["connections.yaml"]),
    ("config", &["millstream.yaml"]),
];

/// What of the project a schema can name.
pub struct Known<'k> {
    pub connectors: &'k Connectors,
    /// Names of connections, and their connectors.
    pub connections: Vec<(String, String)>,
    /// Ids of flows.
    pub flows: Vec<String>,
}

/// The schema of one of [`KINDS`]; `None` for another word.
pub fn schema(kind: &str, known: &Known<'_>) -> Option<Value> {
    let mut schema = match kind {
        "flow" => flow::schema(known),
        "test" => test::schema(known),
        "connector" => connector::schema(),
        "connections" => connections::schema(known),
        "config" => config::schema(known),
        _ => return None,
    };
    if let Some(map) = schema.as_object_mut() {
        map.shift_insert(0, "$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
        map.shift_insert(1, "title".to_owned(), json!(format!("Millstream: {kind} file")));
    }
    Some(schema)
}

/// An object that has these keys and no others.
fn closed(properties: Map<String, Value>, required: &[&str]) -> Value {
    let mut schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// `schema` with an explanation.
fn told(text: impl Into<String>, mut schema: Value) -> Value {
    if let Some(map) = schema.as_object_mut() {
        map.shift_insert(0, "description".to_owned(), Value::String(text.into()));
    }
    schema
}

/// A whole template or a part of one, where a value of another type is wanted.
fn template() -> Value {
    json!({"type": "string", "pattern": "\\{\\{"})
}

/// One of these, or a list of them.
fn one_or_many(schema: &Value) -> Value {
    json!({"anyOf": [schema, {"type": "array", "items": schema}]})
}

/// A length of time, as in `30s`.
fn duration() -> Value {
    json!({"type": "string", "pattern": "[0-9]", "examples": ["30s", "5m", "1h 30m"]})
}

/// Where a secret is.
fn secret() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
        "properties": {
            "secret": {"type": "string", "description": "a name in the vault: `millstream secret set NAME`"},
            "env": {"type": "string", "description": "a variable of the server's environment"},
            "file": {"type": "string", "description": "a file; the path starts at the project folder"},
        },
    })
}

/// A mapping: any value, whose texts may be templates.
fn mapping() -> Value {
    json!({})
}
