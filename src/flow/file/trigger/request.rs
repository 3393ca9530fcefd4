//! `type: request` as typed.

use std::time::Duration;

use serde_json::{Map, Value};

use super::super::super::problem::{self, suggest};
use super::super::super::reader::Reader;
use super::super::super::source::{At, child};
use super::super::super::trigger::{Auth, PathPattern};

/// What a request trigger has beside its schema.
#[derive(Debug, Default)]
pub struct RequestFile {
    pub methods: Vec<String>,
    pub path: Option<PathPattern>,
    pub auth: Vec<Auth>,
    /// What stands where a secret's place should: no message may show it.
    pub raw: Vec<String>,
    pub conditions: Vec<(String, String)>,
    pub split_on: Option<String>,
    pub dedupe: Option<DedupeFile>,
}

#[derive(Debug)]
pub struct DedupeFile {
    pub key: Vec<String>,
    pub window: Duration,
}

pub const REQUEST_KEYS: &[&str] = &["methods", "path", "schema", "auth", "conditions", "split_on", "dedupe"];
pub const DEDUPE_KEYS: &[&str] = &["key", "window"];
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

impl Reader<'_> {
    pub(super) fn request(&mut self, map: &Map<String, Value>, at: &str) -> RequestFile {
        let methods = self.methods(map, at);
        let path = self.text(map, at, "path").and_then(|text| {
            let parsed = PathPattern::parse(&text);
            let hint = Some("write what follows the key in the URL, as in `customers/{id}`".to_owned());
            parsed.map_err(|what| self.say(problem::BAD_VALUE, &child(at, "path"), At::Value, what, hint)).ok()
        });
        let mut raw = Vec::new();
        let auth = self.auth(map, at, &mut raw);
        let conditions = self.conditions(map, at);
        let split_on = self.condition(map, at, "split_on");
        let dedupe = map.get("dedupe").and_then(|value| self.dedupe(value, &child(at, "dedupe")));
        RequestFile { methods, path, auth, raw, conditions, split_on, dedupe }
    }

    fn methods(&mut self, map: &Map<String, Value>, at: &str) -> Vec<String> {
        let here = child(at, "methods");
        let listed = map.get("methods").is_some_and(Value::is_array);
        let mut methods = Vec::new();
        for (index, method) in self.texts(map, at, "methods").into_iter().enumerate() {
            let at = if listed { format!("{here}/{index}") } else { here.clone() };
            let method = method.to_ascii_uppercase();
            if !METHODS.contains(&method.as_str()) {
                let hint = suggest(&method, METHODS);
                self.say(problem::BAD_VALUE, &at, At::Value, format!("`{method}` starts no run"), hint);
            } else if methods.contains(&method) {
                self.say(problem::BAD_VALUE, &at, At::Value, format!("`{method}` is there twice"), None);
            } else {
                methods.push(method);
            }
        }
        if map.get("methods").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            let hint = Some("leave `methods` out for POST, or list what the URL takes".to_owned());
            self.say(problem::BAD_VALUE, &here, At::Value, "without a method nothing starts a run".into(), hint);
        }
        if methods.is_empty() {
            methods.push("POST".to_owned());
        }
        methods
    }

    /// Each with its JSON Pointer.
    fn conditions(&mut self, map: &Map<String, Value>, at: &str) -> Vec<(String, String)> {
        let here = child(at, "conditions");
        match map.get("conditions") {
            Some(Value::Array(items)) => {
                let mut found = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let at = format!("{here}/{index}");
                    match item {
                        Value::String(text) => found.push((text.clone(), at)),
                        other => self.wrong(&at, other, "one template in quotes, as in '{{equals a b}}'"),
                    }
                }
                found
            }
            Some(_) => self.condition(map, at, "conditions").map(|text| vec![(text, here)]).unwrap_or_default(),
            None => Vec::new(),
        }
    }

    fn dedupe(&mut self, value: &Value, at: &str) -> Option<DedupeFile> {
        let map = self.map(value, at, "{key: \"{{trigger.body.id}}\", window: 24h}")?;
        self.keys(map, at, DEDUPE_KEYS);
        let key = self.texts(map, at, "key");
        if !map.contains_key("key") {
            self.missing(at, "key", "which values make two requests the same");
        } else if map["key"].as_array().is_some_and(Vec::is_empty) {
            let hint = Some("list what makes two requests the same, as in `{{trigger.body.id}}`".to_owned());
            self.say(problem::BAD_VALUE, &child(at, "key"), At::Value, "the key has no part".into(), hint);
        }
        let window = self.duration(map, at, "window").unwrap_or(Duration::from_secs(24 * 3600));
        Some(DedupeFile { key, window })
    }
}
