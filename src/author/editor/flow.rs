//! A flow file in an editor: what stands beside its steps.

use serde_json::{Value, json};

use super::reference::of_flow;
use super::steps::{self, keys, part};
use super::{Known, closed, duration, one_or_many, secret, template, told};

pub(super) fn schema(known: &Known<'_>) -> Value {
    let steps = json!({"$ref": "#/definitions/steps"});
    let id = json!({"type": "string", "pattern": "^[a-z][a-z0-9_-]*$"});
    let properties = part(
        &[
            ("id", id.clone()),
            ("description", json!({"type": "string"})),
            ("aliases", one_or_many(&id)),
            ("enabled", json!({"type": "boolean"})),
            ("concurrency", concurrency()),
            ("trigger", trigger()),
            ("steps", steps.clone()),
            ("on_failure", steps),
            ("timeout", duration()),
        ],
        |key| of_flow("The file", key),
    );
    let mut schema = closed(properties, &["trigger", "steps"]);
    schema["definitions"] = steps::definitions(known);
    schema
}

fn concurrency() -> Value {
    let most = 1_000_000;
    let count = |least: u32| json!({"type": "integer", "minimum": least, "maximum": most});
    let map = part(&[("running", count(1)), ("queued", count(0))], |key| of_flow("concurrency", key));
    json!({"anyOf": [count(1), closed(map, &["running"])]})
}

fn trigger() -> Value {
    let request = |key: &str| of_flow("A request", key);
    let schedule = |key: &str| of_flow("By the clock", key);
    let condition = one_or_many(&template());
    let text = json!({"type": "string"});
    let method = json!({"enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]});
    let method = json!({"anyOf": [method, {"type": "string", "pattern": "^[A-Za-z]+$"}]});
    let dedupe = part(&[("key", one_or_many(&text)), ("window", duration())], |key| match key {
        "key" => "a template or a list of them; where a part is missing, the request counts as new".to_owned(),
        _ => "how long a repeat is known as one; 24h unless set".to_owned(),
    });
    let mut properties = part(
        &[
            ("path", text.clone()),
            ("methods", one_or_many(&method)),
            ("auth", one_or_many(&auth())),
            ("schema", json!({"type": ["string", "object", "boolean"]})),
            ("conditions", condition),
            ("split_on", template()),
            ("dedupe", closed(dedupe, &["key"])),
        ],
        request,
    );
    properties.extend(part(
        &[
            ("cron", text.clone()),
            ("timezone", text.clone()),
            ("every", duration()),
            ("start", text),
            ("missed", json!({"enum": ["skip", "catch_up"]})),
        ],
        schedule,
    ));
    let inputs = json!({"type": "object", "additionalProperties": input()});
    properties.insert("inputs".to_owned(), told("what may be given when it is started by hand, by name", inputs));
    properties.insert("concurrency".to_owned(), told(of_flow("The file", "concurrency"), concurrency()));
    let kinds = json!({
        "enum": ["request", "manual", "schedule"],
        "enumDescriptions": ["a request to the flow's URL", "by hand, or through the API", "by the clock"],
    });
    properties.insert("type".to_owned(), told("what starts the flow: `request`, `manual` or `schedule`", kinds));
    let mut schema = closed(properties, &["type"]);
    let own = ["request", "manual", "schedule"].map(|kind| {
        let allowed: Vec<&str> = keys("trigger").iter().chain(keys(kind)).copied().collect();
        json!({
            "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
            "then": {"propertyNames": {"enum": allowed}},
        })
    });
    schema["allOf"] = json!(own);
    schema
}

fn input() -> Value {
    let properties = part(
        &[
            ("type", json!({"enum": ["string", "number", "integer", "boolean", "array", "object"]})),
            ("required", json!({"type": "boolean"})),
            ("default", json!({})),
            ("enum", json!({"type": "array", "minItems": 1})),
            ("description", json!({"type": "string"})),
        ],
        |key| of_flow("By hand", key),
    );
    closed(properties, &["type"])
}

fn auth() -> Value {
    let text = json!({"type": "string"});
    let basic = part(&[("username", text.clone()), ("password", secret())], |key| match key {
        "username" => "who the caller says to be".to_owned(),
        _ => "a secret".to_owned(),
    });
    let properties = part(
        &[
            ("hmac", json!({"enum": keys("hmac")})),
            ("secret", secret()),
            ("tolerance", duration()),
            ("header", text.clone()),
            ("encoding", json!({"enum": ["hex", "base64"]})),
            ("prefix", text.clone()),
            ("basic", closed(basic, &["username", "password"])),
            ("bearer", secret()),
            ("ip", one_or_many(&text)),
        ],
        |key| of_flow("A request", key),
    );
    let mut schema = closed(properties, &[]);
    schema["minProperties"] = json!(1);
    schema
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::connector::Connectors;
    use crate::flow::KEYS;

    /// Keys with and without an explanation, wherever they stand.
    fn gather(value: &Value, all: &mut BTreeSet<String>, bare: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(properties) = map.get("properties").and_then(Value::as_object) {
                    for (key, schema) in properties {
                        all.insert(key.clone());
                        let inputs = map.get("additionalProperties").is_none();
                        if !inputs && schema.get("description").and_then(Value::as_str).is_none_or(str::is_empty) {
                            bare.insert(key.clone());
                        }
                    }
                }
                map.values().for_each(|value| gather(value, all, bare));
            }
            Value::Array(items) => items.iter().for_each(|value| gather(value, all, bare)),
            _ => {}
        }
    }

    #[test]
    fn every_key_of_the_language_is_there_and_explained() {
        let connectors = Connectors::default();
        let schema = schema(&Known { connectors: &connectors, connections: Vec::new(), flows: Vec::new() });
        let (mut all, mut bare) = (BTreeSet::new(), BTreeSet::new());
        gather(&schema, &mut all, &mut bare);
        assert!(bare.is_empty(), "without an explanation: {bare:?}");
        let text = schema.to_string();
        for (place, keys) in KEYS {
            for key in *keys {
                let word = ["hmac", "run_after"].contains(place) && text.contains(&format!("\"{key}\""));
                assert!(word || all.contains(*key), "{place}: {key}");
            }
        }
    }
}
