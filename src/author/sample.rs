//! Values made up from a schema or a shape: a request for a first test, an output for a mock.

use serde_json::{Map, Value, json};

use crate::schema::{Schema, Shape, Types};

/// Deepest level that is made up.
const MAX_DEPTH: usize = 12;

/// A value that the schema takes, if one is found: every property, else only those that are required, else nothing.
pub fn of(schema: &Value) -> Value {
    let Ok(compiled) = Schema::compile(schema) else { return Value::Null };
    let whole = made(schema, schema, "value", false, 0);
    if compiled.violations(&whole).is_empty() {
        return whole;
    }
    made(schema, schema, "value", true, 0)
}

fn made(schema: &Value, root: &Value, name: &str, sparse: bool, depth: usize) -> Value {
    let Some(map) = schema.as_object() else { return json!(name) };
    if let Some(target) = map.get("$ref").and_then(Value::as_str) {
        let target = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target
            .filter(|_| depth < MAX_DEPTH)
            .map_or(Value::Null, |target| made(target, root, name, sparse, depth + 1));
    }
    for key in ["const", "default", "example"] {
        if let Some(value) = map.get(key) {
            return value.clone();
        }
    }
    if let Some(value) = ["examples", "enum"].iter().find_map(|key| map.get(*key)?.get(0)) {
        return value.clone();
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        if let Some(first) = map
            .get(key)
            .and_then(|list| list.get(0))
            .filter(|_| !map.contains_key("type") && !map.contains_key("properties"))
        {
            return if depth < MAX_DEPTH { made(first, root, name, sparse, depth + 1) } else { Value::Null };
        }
    }
    let kind = match map.get("type") {
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
        }
        Some(Value::String(kind)) => kind,
        _ if map.contains_key("properties") => "object",
        _ if map.contains_key("items") => "array",
        _ => "string",
    };
    match kind {
        "object" => {
            let required: Vec<&str> =
                map.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
            let mut object = Map::new();
            let properties = map.get("properties").and_then(Value::as_object);
            for (key, inner) in properties.into_iter().flatten().filter(|_| depth < MAX_DEPTH) {
                if !sparse || required.contains(&key.as_str()) {
                    object.insert(key.clone(), made(inner, root, key, sparse, depth + 1));
                }
            }
            Value::Object(object)
        }
        "array" => match map.get("items").filter(|items| items.is_object() && depth < MAX_DEPTH) {
            Some(items) => json!([made(items, root, name, sparse, depth + 1)]),
            None => json!([]),
        },
        "integer" | "number" => map.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        "boolean" => json!(true),
        "null" => Value::Null,
        _ => json!(text(map, name)),
    }
}

fn text(map: &Map<String, Value>, name: &str) -> String {
    let of_format = match map.get("format").and_then(Value::as_str) {
        Some("date-time") => "2026-01-05T09:00:00Z",
        Some("date") => "2026-01-05",
        Some("time") => "09:00:00Z",
        Some("email") => "ada@example.com",
        Some("uri" | "url") => "https://example.com",
        Some("uuid") => "0198c2a4-5b1e-7c33-9d8f-3a5b7c9d1e2f",
        _ => name,
    };
    let least = map.get("minLength").and_then(Value::as_u64).and_then(|least| usize::try_from(least).ok()).unwrap_or(0);
    let missing = least.min(1_000).saturating_sub(of_format.chars().count());
    of_format.to_owned() + &"x".repeat(missing)
}

/// A value of this shape, for a mock's output.
pub fn of_shape(shape: &Shape, name: &str) -> Value {
    if let Some(first) = shape.values.first() {
        return first.clone();
    }
    let types = shape.types;
    if types.meets(Types::OBJECT) && (!shape.properties.is_empty() || types == Types::OBJECT) {
        return shape
            .properties
            .iter()
            .map(|(key, inner)| (key.clone(), of_shape(inner, key)))
            .collect::<Map<_, _>>()
            .into();
    }
    match types {
        _ if types == Types::ANY && name == "output" => json!({}),
        _ if types.meets(Types::STRING) => json!(name),
        _ if types.meets(Types::NUMBER) => json!(if name == "status" { 200 } else { 1 }),
        _ if types.meets(Types::BOOLEAN) => json!(true),
        _ if types.meets(Types::ARRAY) => json!([]),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_up_satisfies_its_schema() {
        for schema in [
            json!({"type": "object", "required": ["a"], "properties": {
                "a": {"type": "string", "minLength": 5}, "b": {"type": ["null", "integer"], "minimum": 3}, "c": {"enum": ["x"]},
                "d": {"type": "array", "items": {"$ref": "#/definitions/d"}}, "e": {"type": "string", "format": "email"},
            }, "definitions": {"d": {"type": "boolean"}}}),
            json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "^[0-9]+$"}}}),
            json!({"anyOf": [{"type": "array"}, {"type": "string"}]}),
        ] {
            let value = of(&schema);
            assert!(Schema::compile(&schema).unwrap().violations(&value).is_empty(), "{value}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert!(of(&schema).is_object());
    }
}
