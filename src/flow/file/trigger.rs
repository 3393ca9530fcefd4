//! `trigger:` as typed.

use std::time::Duration;

use serde_json::Value;

use super::super::problem::{self, suggest};
use super::super::reader::Reader;
use super::super::source::At;

/// What starts a flow.
#[derive(Debug, Default)]
pub struct TriggerFile {
    pub schema: Option<SchemaFile>,
    pub dedupe: Option<DedupeFile>,
}

/// The trigger's schema: in the file, or a path beside it.
#[derive(Debug)]
pub enum SchemaFile {
    Inline(Value),
    File(String),
}

#[derive(Debug)]
pub struct DedupeFile {
    pub key: Vec<String>,
    pub window: Duration,
}

pub const TRIGGER_KEYS: &[&str] = &["type", "schema", "dedupe"];
pub const DEDUPE_KEYS: &[&str] = &["key", "window"];

impl Reader<'_> {
    pub(super) fn trigger(&mut self, value: &Value) -> TriggerFile {
        let mut trigger = TriggerFile::default();
        let at = "/trigger";
        let Some(map) = self.map(value, at, "{type: request}") else { return trigger };
        self.keys(map, at, TRIGGER_KEYS);
        match self.text(map, at, "type").as_deref() {
            Some("request") => {}
            Some(other) => {
                let hint = suggest(other, ["request"]);
                self.say(problem::BAD_VALUE, "/trigger/type", At::Value, format!("`{other}` is no trigger"), hint);
            }
            None if map.contains_key("type") => {}
            None => self.missing(at, "type", "what starts the flow: `type: request`"),
        }
        trigger.schema = match map.get("schema") {
            None => None,
            Some(Value::String(path)) => Some(SchemaFile::File(path.clone())),
            Some(schema) => Some(SchemaFile::Inline(schema.clone())),
        };
        if let Some(value) = map.get("dedupe") {
            let at = "/trigger/dedupe";
            let Some(map) = self.map(value, at, "{key: \"{{trigger.body.id}}\", window: 24h}") else { return trigger };
            self.keys(map, at, DEDUPE_KEYS);
            let key = self.texts(map, at, "key");
            if !map.contains_key("key") {
                self.missing(at, "key", "which values make two requests the same");
            } else if map["key"].as_array().is_some_and(Vec::is_empty) {
                let hint = Some("list what makes two requests the same, as in `{{trigger.body.id}}`".to_owned());
                self.say(problem::BAD_VALUE, "/trigger/dedupe/key", At::Value, "the key has no part".into(), hint);
            }
            let window = self.duration(map, at, "window").unwrap_or(Duration::from_secs(24 * 3600));
            trigger.dedupe = Some(DedupeFile { key, window });
        }
        trigger
    }
}
