//! `trigger:` as typed: what all kinds share, and which kind it is. Each kind is read in a file of its own.

mod auth;
mod manual;
mod request;
mod schedule;

use serde_json::{Map, Value};

use super::super::problem::{self, suggest};
use super::super::reader::Reader;
use super::super::schedule::Schedule;
use super::super::source::At;
use super::super::trigger::ManualTrigger;

pub use auth::{AUTH_KEYS, BASIC_KEYS, HMACS};
pub use manual::INPUT_KEYS;
pub use request::{DEDUPE_KEYS, DedupeFile, REQUEST_KEYS, RequestFile};
pub use schedule::SCHEDULE_KEYS;

/// What starts a flow.
#[derive(Debug, Default)]
pub struct TriggerFile {
    pub schema: Option<SchemaFile>,
    pub kind: TriggerKindFile,
}

/// What each kind of trigger has of its own.
#[derive(Debug)]
pub enum TriggerKindFile {
    Request(Box<RequestFile>),
    Manual(ManualTrigger),
    Schedule(Schedule),
}

impl Default for TriggerKindFile {
    fn default() -> TriggerKindFile {
        TriggerKindFile::Request(Box::default())
    }
}

/// The trigger's schema: in the file, or a path beside it.
#[derive(Debug)]
pub enum SchemaFile {
    /// With the key of the trigger under which it stands.
    Inline(Value, &'static str),
    File(String),
}

/// Kinds of triggers, as `type` names them, each with the keys it has beside `type`.
pub const TRIGGERS: &[(&str, &[&str])] =
    &[("request", REQUEST_KEYS), ("manual", MANUAL_KEYS), ("schedule", SCHEDULE_KEYS)];
pub const TRIGGER_KEYS: &[&str] = &["type", "concurrency"];
pub const MANUAL_KEYS: &[&str] = &["schema", "inputs"];

/// Kinds of triggers that have this key, as a person says it.
pub fn triggers_with(key: &str) -> Option<String> {
    let kinds: Vec<String> =
        TRIGGERS.iter().filter(|(_, keys)| keys.contains(&key)).map(|(name, _)| format!("`{name}`")).collect();
    (!kinds.is_empty()).then(|| kinds.join(" or "))
}

impl Reader<'_> {
    pub(super) fn trigger(&mut self, value: &Value) -> TriggerFile {
        let at = "/trigger";
        let Some(map) = self.map(value, at, "{type: request}") else { return TriggerFile::default() };
        let kind = self.text(map, at, "type");
        let named = TRIGGERS.iter().find(|(name, _)| kind.as_deref() == Some(name));
        match (&kind, named) {
            (Some(_), Some(_)) => {}
            (Some(other), None) => {
                let hint = suggest(other, TRIGGERS.iter().map(|(name, _)| *name));
                self.say(problem::BAD_VALUE, "/trigger/type", At::Value, format!("`{other}` is no trigger"), hint);
            }
            (None, _) if map.contains_key("type") => {}
            (None, _) => self.missing(at, "type", "what starts the flow: `type: request`"),
        }
        let own = named.or(TRIGGERS.first()).map_or(&[][..], |(_, keys)| keys);
        let allowed: Vec<&str> = TRIGGER_KEYS.iter().chain(own).copied().collect();
        self.keys(map, at, &allowed);
        match kind.as_deref() {
            Some("manual") => self.manual(map, at),
            Some("schedule") => TriggerFile { schema: None, kind: TriggerKindFile::Schedule(self.schedule(map, at)) },
            // What has no known kind is a problem already; most are requests.
            _ => TriggerFile {
                schema: self.schema(map),
                kind: TriggerKindFile::Request(Box::new(self.request(map, at))),
            },
        }
    }

    fn schema(&mut self, map: &Map<String, Value>) -> Option<SchemaFile> {
        match map.get("schema")? {
            Value::String(path) => Some(SchemaFile::File(path.clone())),
            schema => Some(SchemaFile::Inline(schema.clone(), "schema")),
        }
    }
}
