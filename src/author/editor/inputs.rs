//! What an action takes, as a schema for editors: each value may be a template instead.

use serde_json::{Map, Value, json};

use super::template;

/// Keywords of a schema that draft-07 has, and that say something of a single value.
const KEPT: [&str; 19] = [
    "type",
    "enum",
    "const",
    "pattern",
    "format",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "default",
    "examples",
    "title",
    "description",
];
const MAX_DEPTH: usize = 24;

/// The inputs of an action whose schema this is.
pub(super) fn inputs(schema: &Value) -> Value {
    // The outermost map is the author's own: it is never a template.
    loose(schema, 0)
}

/// Settings of a connection: no templates there.
pub(super) fn settings(schema: &Value) -> Value {
    clean(schema, 0, false)
}

/// A value by this schema, or a template that gives one.
fn value(schema: &Value, depth: usize) -> Value {
    let loose = loose(schema, depth);
    let Some(map) = loose.as_object() else { return loose };
    // Text without further rules takes templates as it is, and so does what has no rule at all.
    let rules: Vec<&String> =
        map.keys().filter(|key| !["description", "title", "default", "examples"].contains(&key.as_str())).collect();
    let takes_any = match rules[..] {
        [] => true,
        [only] => {
            only == "type"
                && (map["type"] == "string"
                    || map["type"].as_array().is_some_and(|types| types.contains(&json!("string"))))
        }
        _ => false,
    };
    if takes_any {
        return loose;
    }
    let mut outer = Map::new();
    for key in ["description", "title", "default"] {
        outer.extend(map.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    outer.insert("anyOf".to_owned(), json!([loose, template()]));
    Value::Object(outer)
}

fn loose(schema: &Value, depth: usize) -> Value {
    clean(schema, depth, true)
}

fn clean(schema: &Value, depth: usize, templates: bool) -> Value {
    let Some(map) = schema.as_object().filter(|_| depth < MAX_DEPTH) else { return json!({}) };
    let inner = |schema: &Value| if templates { value(schema, depth + 1) } else { clean(schema, depth + 1, false) };
    let mut out = Map::new();
    for (key, value) in map {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                let properties: Map<String, Value> =
                    properties.iter().map(|(key, value)| (key.clone(), inner(value))).collect();
                out.insert(key.clone(), Value::Object(properties));
            }
            ("items" | "additionalProperties", Value::Object(_)) => {
                out.insert(key.clone(), inner(value));
            }
            ("additionalProperties", Value::Bool(_)) => {
                out.insert(key.clone(), value.clone());
            }
            ("required", Value::Array(names)) => {
                // What has a default need not be written.
                let given = |name: &&Value| {
                    let property = name.as_str().and_then(|name| map.get("properties")?.get(name));
                    property.is_none_or(|property| property.get("default").is_none())
                };
                out.insert(key.clone(), names.iter().filter(given).cloned().collect());
            }
            (key, _) if KEPT.contains(&key) => {
                out.insert(key.to_owned(), value.clone());
            }
            // References and combinations are left to `check`: looser, but never wrong.
            _ => {}
        }
    }
    if map.contains_key("$ref") || map.contains_key("patternProperties") {
        out.remove("additionalProperties");
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    #[test]
    fn a_template_may_stand_for_any_value_and_a_typo_is_seen() {
        let schema = json!({"type": "object", "required": ["n", "d"], "additionalProperties": false, "properties": {
            "n": {"type": "integer", "minimum": 1, "exclusiveMinimum": true}, "s": {"type": "string"}, "e": {"enum": ["a", "b"]},
            "o": {"type": "object", "additionalProperties": false, "properties": {"x": {"type": "boolean"}}},
            "l": {"type": "array", "items": {"type": "number"}}, "d": {"type": "string", "default": "x"}, "r": {"$ref": "#/definitions/r"},
        }});
        let schema = Schema::compile(&inputs(&schema)).unwrap();
        for good in [
            json!({"n": 1, "s": "{{x}}", "e": "a", "o": {"x": true}, "l": [1, "{{x}}"], "r": 5}),
            json!({"n": "{{x}}", "e": "{{x}}", "o": "{{x}}", "l": "{{x}}"}),
            json!({"n": 1, "o": {"x": "{{x}}"}}),
        ] {
            assert_eq!(schema.violations(&good), [], "{good}");
        }
        for wrong in [
            json!({}),
            json!({"n": "1"}),
            json!({"n": 1, "e": "c"}),
            json!({"n": 1, "sx": 1}),
            json!({"n": 1, "o": {"y": 1}}),
        ] {
            assert!(!schema.violations(&wrong).is_empty(), "{wrong}");
        }
    }
}
