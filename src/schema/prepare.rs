//! What a schema needs before the validator reads it: bounds, and nested ids that would break its references removed.

use std::collections::HashSet;

use serde_json::Value;

use super::Error;

/// Deepest schema, JSON levels: validators recurse over it.
const MAX_DEPTH: usize = 64;
/// Names for "whatever is newest", which tools write although no draft has them.
const NEWEST: [&str; 4] = [
    "http://json-schema.org/schema#",
    "http://json-schema.org/schema",
    "https://json-schema.org/schema#",
    "https://json-schema.org/schema",
];

/// Keywords whose value is a map of names to schemas, and those whose value is a schema or a list of schemas.
pub(super) const MAPS: [&str; 6] =
    ["properties", "patternProperties", "definitions", "$defs", "dependentSchemas", "dependencies"];
const SCHEMAS: [&str; 16] = [
    "additionalProperties",
    "additionalItems",
    "items",
    "prefixItems",
    "not",
    "contains",
    "propertyNames",
    "if",
    "then",
    "else",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
    "allOf",
    "anyOf",
    "oneOf",
];

/// A copy that the validator can compile, or why there can be none.
pub(super) fn prepare(source: &Value) -> Result<Value, Error> {
    if !matches!(source, Value::Object(_) | Value::Bool(_)) {
        return Err(Error { pointer: String::new(), what: "a JSON Schema is an object, or true or false".to_owned() });
    }
    let mut pointer = String::new();
    if too_deep(source, 0, &mut pointer) {
        return Err(Error { pointer, what: format!("the schema is nested deeper than {MAX_DEPTH} levels") });
    }
    let mut schema = source.clone();
    if let Value::Object(members) = &mut schema
        && matches!(members.get("$schema"), Some(Value::String(name)) if NEWEST.contains(&name.as_str()))
    {
        members.shift_remove("$schema");
    }
    let mut named = HashSet::new();
    collect_references(source, &mut named);
    drop_relative_ids(&mut schema, true, &named);
    Ok(schema)
}

fn too_deep(value: &Value, depth: usize, pointer: &mut String) -> bool {
    if depth > MAX_DEPTH {
        return true;
    }
    let mut check = |key: &str, child: &Value| {
        let before = pointer.len();
        pointer.push('/');
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        let deep = too_deep(child, depth + 1, pointer);
        if !deep {
            pointer.truncate(before);
        }
        deep
    };
    match value {
        Value::Array(items) => items.iter().enumerate().any(|(index, item)| check(&index.to_string(), item)),
        Value::Object(members) => members.iter().any(|(key, member)| check(key, member)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Every text that some `$ref` holds, and its part before `#`.
fn collect_references<'s>(value: &'s Value, found: &mut HashSet<&'s str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                found.insert(reference);
                found.insert(reference.split('#').next().unwrap_or_default());
            }
            members.values().for_each(|member| collect_references(member, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Removes relative ids of nested schemas that no reference names.
///
/// Generators write them for decoration (`"id": "/properties/Email"`). To a validator each is a new base, against
/// which `#/definitions/…` below it points nowhere. Only schema positions count: a *property* named `id` stays.
fn drop_relative_ids(schema: &mut Value, root: bool, named: &HashSet<&str>) {
    let Value::Object(members) = schema else { return };
    if !root {
        for keyword in ["id", "$id"] {
            let decoration = matches!(members.get(keyword), Some(Value::String(id)) if is_relative(id) && !named.contains(id.as_str()));
            if decoration {
                members.shift_remove(keyword);
            }
        }
    }
    for (keyword, member) in members.iter_mut() {
        if MAPS.contains(&keyword.as_str()) {
            let Value::Object(schemas) = member else { continue };
            schemas.values_mut().for_each(|schema| drop_relative_ids(schema, false, named));
        } else if SCHEMAS.contains(&keyword.as_str()) {
            match member {
                Value::Array(schemas) => {
                    schemas.iter_mut().for_each(|schema| drop_relative_ids(schema, false, named));
                }
                _ => drop_relative_ids(member, false, named),
            }
        }
    }
}

fn is_relative(id: &str) -> bool {
    url::Url::parse(id) == Err(url::ParseError::RelativeUrlWithoutBase)
}
