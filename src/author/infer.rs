//! A JSON Schema from samples: what all of them have in common, and no more than they show.
//!
//! One sample cannot show what may be missing, so `required` is said only of what stands in each of two or more.

use serde_json::{Map, Value, json};

/// Deepest level described; below it anything goes.
const MAX_DEPTH: usize = 32;

/// True for a JSON Schema, as opposed to a sample.
pub fn is_schema(value: &Value) -> bool {
    let Some(map) = value.as_object() else { return false };
    map.get("$schema").is_some_and(Value::is_string)
        || (map.get("type").is_some_and(|kind| kind == "object") && map.get("properties").is_some_and(Value::is_object))
}

/// The schema of values like these.
pub fn schema(samples: &[Value]) -> Value {
    let all: Vec<&Value> = samples.iter().collect();
    infer(&all, samples.len() > 1, 0)
}

fn infer(values: &[&Value], several: bool, depth: usize) -> Value {
    let mut schema = Map::new();
    let mut types: Vec<&str> = Vec::new();
    for value in values {
        let name = type_of(value);
        if !types.contains(&name) {
            types.push(name);
        }
    }
    // A whole number is a number too.
    if types.contains(&"number") {
        types.retain(|name| *name != "integer");
    }
    // Null says that it may be missing, not what it is.
    types.sort_by_key(|name| *name == "null");
    match types[..] {
        [] | ["null"] => return json!({}),
        [one] => schema.insert("type".to_owned(), json!(one)),
        _ => schema.insert("type".to_owned(), json!(types)),
    };
    if depth >= MAX_DEPTH {
        return Value::Object(schema);
    }
    if types.contains(&"string")
        && let Some(format) = format_of(values)
    {
        schema.insert("format".to_owned(), json!(format));
    }
    if types.contains(&"object") {
        let objects: Vec<&Map<String, Value>> = values.iter().filter_map(|value| value.as_object()).collect();
        let mut properties = Map::new();
        for key in objects.iter().flat_map(|object| object.keys()) {
            if !properties.contains_key(key) {
                let of_key: Vec<&Value> = objects.iter().filter_map(|object| object.get(key)).collect();
                properties.insert(key.clone(), infer(&of_key, several, depth + 1));
            }
        }
        let everywhere = |key: &&String| objects.iter().all(|object| object.contains_key(*key));
        let required: Vec<&String> = properties.keys().filter(everywhere).collect();
        let required = json!(required);
        let has = !properties.is_empty();
        if has {
            schema.insert("properties".to_owned(), Value::Object(properties));
        }
        if has && several && required != json!([]) {
            schema.insert("required".to_owned(), required);
        }
    }
    if types.contains(&"array") {
        let items: Vec<&Value> = values.iter().filter_map(|value| value.as_array()).flatten().collect();
        if !items.is_empty() {
            // Several items are several samples of an item.
            schema.insert("items".to_owned(), infer(&items, several || items.len() > 1, depth + 1));
        }
    }
    Value::Object(schema)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.to_string().chars().all(|c| c.is_ascii_digit() || c == '-') => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A format that every text has beyond doubt.
fn format_of(values: &[&Value]) -> Option<&'static str> {
    let texts: Vec<&str> = values.iter().filter_map(|value| value.as_str()).collect();
    let all = |is: fn(&str) -> bool| texts.iter().all(|text| is(text));
    if all(is_time) {
        Some("date-time")
    } else if all(is_email) {
        Some("email")
    } else if all(is_uri) {
        Some("uri")
    } else {
        None
    }
}

fn is_time(text: &str) -> bool {
    text.contains('T') && !text.contains('[') && text.parse::<jiff::Timestamp>().is_ok()
}

fn is_email(text: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || "._%+-".contains(c);
    let Some((local, domain)) = text.split_once('@') else { return false };
    let host = domain.contains('.') && domain.split('.').all(|label| !label.is_empty());
    !local.is_empty()
        && local.chars().all(part)
        && host
        && domain.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
}

fn is_uri(text: &str) -> bool {
    (text.starts_with("https://") || text.starts_with("http://")) && text.is_ascii() && url::Url::parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_shows_types_in_its_own_case_and_requires_nothing() {
        let sample = json!({
            "OfferTitle": "Test", "seats": 3, "price": 1.5, "sold": true, "note": null, "tags": [], "at": "2026-01-05T09:00:00Z",
            "UserDetails": {"Email": "ann@example.com", "Site": "https://example.com/a"},
        });
        let expected = json!({"type": "object", "properties": {
            "OfferTitle": {"type": "string"}, "seats": {"type": "integer"}, "price": {"type": "number"}, "sold": {"type": "boolean"},
            "note": {}, "tags": {"type": "array"}, "at": {"type": "string", "format": "date-time"},
            "UserDetails": {"type": "object", "properties": {
                "Email": {"type": "string", "format": "email"}, "Site": {"type": "string", "format": "uri"},
            }},
        }});
        assert_eq!(schema(&[sample]), expected);
    }

    #[test]
    fn several_samples_are_joined_and_what_all_have_is_required() {
        let samples = [
            json!({"id": 1, "phone": null, "total": 2, "mail": "a@b.de", "lines": [{"sku": "a", "qty": 1}, {"sku": "b"}]}),
            json!({"id": "x", "phone": "030", "total": 2.5, "mail": "none", "lines": []}),
            json!({"id": 1, "total": 1}),
        ];
        let expected = json!({
            "type": "object",
            "properties": {
                "id": {"type": ["integer", "string"]}, "phone": {"type": ["string", "null"]}, "total": {"type": "number"},
                "mail": {"type": "string"},
                "lines": {"type": "array", "items": {
                    "type": "object", "properties": {"sku": {"type": "string"}, "qty": {"type": "integer"}}, "required": ["sku"],
                }},
            },
            "required": ["id", "total"],
        });
        assert_eq!(schema(&samples), expected);
    }

    #[test]
    fn every_sample_satisfies_what_was_inferred_of_it() {
        let samples = [
            json!({"a": [1, "x", null, {"b": []}], "c": 1e3}),
            json!({"a": [[2]], "d": null}),
            json!([1]),
            json!("text"),
        ];
        let compiled = crate::schema::Schema::compile(&schema(&samples)).unwrap();
        for sample in &samples {
            assert!(compiled.violations(sample).is_empty(), "{sample}");
        }
    }

    #[test]
    fn formats_are_said_only_where_there_is_no_doubt() {
        for plain in [
            "2026-01-05",
            "10:00",
            "@ann",
            "a@b",
            "a b@c.de",
            "ann@example.com, ben@example.com",
            "example.com",
            "ftp://x",
            "",
        ] {
            assert_eq!(format_of(&[&json!(plain)]), None, "{plain}");
        }
    }

    #[test]
    fn a_schema_is_told_from_a_sample() {
        assert!(is_schema(&json!({"$schema": "http://json-schema.org/draft-04/schema#", "properties": {}})));
        assert!(is_schema(&json!({"type": "object", "properties": {"a": {}}})));
        assert!(
            !is_schema(&json!({"type": "object"}))
                && !is_schema(&json!({"type": "order", "properties": {}}))
                && !is_schema(&json!([]))
        );
    }
}
