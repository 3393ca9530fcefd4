//! What the schemas for editors say at a place of a file: the keys that may stand there, values, explanations.

use serde_json::{Map, Value};

/// A key that may stand in a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Key<'s> {
    pub name: &'s str,
    pub about: &'s str,
    pub required: bool,
}

/// A value that may stand somewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice<'s> {
    pub value: Value,
    pub about: &'s str,
}

/// The schemas that apply at a path of a file.
pub fn at<'s>(root: &'s Value, file: &Value, path: &[String]) -> Vec<&'s Value> {
    let mut here = Vec::new();
    expand(root, root, Some(file), &mut here, 0);
    let mut value = Some(file);
    for key in path {
        value = value.and_then(|value| match value {
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            other => other.get(key),
        });
        let mut below = Vec::new();
        for schema in here {
            let named = schema.get("properties").and_then(|properties| properties.get(key));
            let listed = key.bytes().all(|b| b.is_ascii_digit()).then(|| schema.get("items")).flatten();
            let other = || schema.get("additionalProperties").filter(|other| other.is_object());
            if let Some(next) = named.or(listed).or_else(other) {
                expand(root, next, value, &mut below, 0);
            }
        }
        here = below;
    }
    here
}

/// Adds a schema and all that it stands for.
fn expand<'s>(root: &'s Value, schema: &'s Value, value: Option<&Value>, found: &mut Vec<&'s Value>, depth: usize) {
    if depth > 12 || found.iter().any(|other| std::ptr::eq(*other, schema)) {
        return;
    }
    found.push(schema);
    let reference = schema.get("$ref").and_then(Value::as_str).and_then(|to| root.pointer(to.strip_prefix('#')?));
    let holds = schema.get("if").is_some_and(|condition| value.is_some_and(|value| holds(condition, value)));
    let then = schema.get("then").filter(|_| holds);
    let parts = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten();
    for next in reference.into_iter().chain(then).chain(parts) {
        expand(root, next, value, found, depth + 1);
    }
}

/// True if a value satisfies a condition of these schemas, which ask for constants only.
fn holds(condition: &Value, value: &Value) -> bool {
    let required = condition.get("required").and_then(Value::as_array).into_iter().flatten();
    let properties = condition.get("properties").and_then(Value::as_object).into_iter().flatten();
    required.filter_map(Value::as_str).all(|key| value.get(key).is_some())
        && properties
            .filter_map(|(key, schema)| Some((value.get(key)?, schema.get("const")?)))
            .all(|(value, wanted)| value == wanted)
}

/// The keys that may be added to a map where these schemas apply.
pub fn keys<'s>(schemas: &[&'s Value], present: &Map<String, Value>) -> Vec<Key<'s>> {
    // Of keys of which there must be exactly one, as kinds of step are.
    let kinds: Vec<&str> = schemas.iter().flat_map(|schema| kinds(schema)).collect();
    let has_kind = kinds.iter().any(|kind| present.contains_key(*kind));
    let required = |name: &str| {
        let lists = schemas.iter().filter_map(|schema| schema.get("required")?.as_array());
        lists.flatten().any(|key| key == name)
    };
    let mut found: Vec<Key<'s>> = Vec::new();
    for schema in schemas {
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let is_kind = kinds.contains(&name.as_str());
            if present.contains_key(name) || (is_kind && has_kind) || (!is_kind && !belongs(schemas, name, present)) {
                continue;
            }
            let about = property.get("description").and_then(Value::as_str).unwrap_or_default();
            match found.iter_mut().find(|key| key.name == name) {
                // What is said last is about this very place: the inputs of the action that stands here.
                Some(key) if !about.is_empty() => key.about = about,
                Some(_) => {}
                None => found.push(Key { name, about, required: required(name) }),
            }
        }
    }
    found
}

fn kinds(schema: &Value) -> Vec<&str> {
    let ways = schema.get("oneOf").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    ways.iter().filter_map(only_required).collect()
}

fn only_required(way: &Value) -> Option<&str> {
    match way.get("required")?.as_array()?.as_slice() {
        [Value::String(name)] => Some(name),
        _ => None,
    }
}

/// True unless a key needs others of which none is there.
fn belongs(schemas: &[&Value], name: &str, present: &Map<String, Value>) -> bool {
    schemas.iter().filter_map(|schema| schema.get("dependencies")?.get(name)).all(|needed| {
        let all = needed
            .as_array()
            .is_some_and(|keys| keys.iter().filter_map(Value::as_str).all(|key| present.contains_key(key)));
        let ways = needed.get("anyOf").and_then(Value::as_array);
        all || ways.is_some_and(|ways| ways.iter().filter_map(only_required).any(|key| present.contains_key(key)))
    })
}

/// The values that are known for a place where these schemas apply.
pub fn choices<'s>(schemas: &[&'s Value]) -> Vec<Choice<'s>> {
    let mut found: Vec<Choice<'s>> = Vec::new();
    for schema in schemas {
        let texts = schema.get("enumDescriptions").and_then(Value::as_array);
        let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten().enumerate();
        let mut all: Vec<(Value, &str)> = listed
            .map(|(index, value)| (value.clone(), texts.and_then(|t| t.get(index)?.as_str()).unwrap_or_default()))
            .collect();
        all.extend(schema.get("const").map(|value| (value.clone(), "")));
        if schema.get("type").is_some_and(|kind| kind == "boolean") {
            all.extend([(Value::Bool(true), ""), (Value::Bool(false), "")]);
        }
        all.extend(schema.get("default").map(|value| (value.clone(), "unless set")));
        let examples = schema.get("examples").and_then(Value::as_array).into_iter().flatten();
        all.extend(examples.map(|value| (value.clone(), "for example")));
        for (value, about) in all.into_iter().filter(|(value, _)| !value.is_object() && !value.is_array()) {
            if !found.iter().any(|other| other.value == value) {
                found.push(Choice { value, about });
            }
        }
    }
    found
}

/// What is said of a place where these schemas apply.
pub fn about<'s>(schemas: &[&'s Value]) -> Option<&'s str> {
    let mut texts = schemas.iter().filter_map(|schema| schema.get("description")?.as_str());
    texts.rfind(|text| !text.is_empty())
}
