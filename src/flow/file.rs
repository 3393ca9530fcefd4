//! A flow file as typed: what the YAML says, before any name is resolved. Each part keeps its JSON Pointer.

mod block;
mod concurrency;
mod kind;
mod step;
mod trigger;

use std::time::Duration;

use serde_json::{Map, Value};

use super::Concurrency;
use super::problem::{self, Problem};
use super::reader::Reader;
use super::source::{At, Source};

pub use block::{BlockFile, CASE_KEYS, FOREACH_KEYS, IF_KEYS, LIMIT_KEYS, SCOPE_KEYS, SWITCH_KEYS, UNTIL_KEYS};
pub use concurrency::CONCURRENCY_KEYS;
pub use kind::{
    ACTION_KEYS, CALL_KEYS, CallFile, KINDS, KindFile, MOCK_KEYS, RESPONSE_KEYS, RETRY_KEYS, TERMINATE_KEYS, WAIT_KEYS,
};
pub use step::{MockFile, STATUSES, STEP_KEYS, StepFile};
pub use trigger::{
    AUTH_KEYS, BASIC_KEYS, DEDUPE_KEYS, DedupeFile, HMACS, INPUT_KEYS, MANUAL_KEYS, REQUEST_KEYS, RequestFile,
    SCHEDULE_KEYS, SchemaFile, TRIGGER_KEYS, TriggerFile, TriggerKindFile, triggers_with,
};

/// One flow file.
#[derive(Debug, Default)]
pub struct FlowFile {
    pub id: Option<String>,
    pub description: Option<String>,
    pub aliases: Vec<String>,
    pub enabled: bool,
    pub concurrency: Option<Concurrency>,
    pub trigger: TriggerFile,
    pub steps: Vec<StepFile>,
    pub on_failure: Option<Vec<StepFile>>,
    /// Of a whole run.
    pub timeout: Option<Duration>,
}

const FLOW_KEYS: &[&str] =
    &["id", "description", "aliases", "enabled", "concurrency", "trigger", "steps", "on_failure", "timeout"];

/// Every key of the language, by the place where it stands; the reference is compared with it.
pub const KEYS: &[(&str, &[&str])] = &[
    ("flow", FLOW_KEYS),
    ("concurrency", CONCURRENCY_KEYS),
    ("trigger", TRIGGER_KEYS),
    ("request", REQUEST_KEYS),
    ("manual", MANUAL_KEYS),
    ("schedule", SCHEDULE_KEYS),
    ("input", INPUT_KEYS),
    ("auth", AUTH_KEYS),
    ("basic", BASIC_KEYS),
    ("hmac", HMACS),
    ("dedupe", DEDUPE_KEYS),
    ("kind", KINDS),
    ("step", STEP_KEYS),
    ("action", ACTION_KEYS),
    ("call", CALL_KEYS),
    ("if", IF_KEYS),
    ("switch", SWITCH_KEYS),
    ("case", CASE_KEYS),
    ("foreach", FOREACH_KEYS),
    ("until", UNTIL_KEYS),
    ("limit", LIMIT_KEYS),
    ("scope", SCOPE_KEYS),
    ("wait", WAIT_KEYS),
    ("mock", MOCK_KEYS),
    ("retry", RETRY_KEYS),
    ("response", RESPONSE_KEYS),
    ("terminate", TERMINATE_KEYS),
    ("run_after", STATUSES),
];

/// Where `key` has a meaning, as a person says it.
pub fn belongs(key: &str) -> Option<&'static str> {
    // An action's input may well be called `path` or `methods` too.
    if ["schema", "dedupe", "conditions", "split_on", "auth"].contains(&key) {
        return Some("trigger");
    }
    let named =
        ["trigger", "dedupe", "action", "if", "switch", "foreach", "until", "scope", "limit", "retry", "response"];
    let place = KEYS.iter().find(|(place, keys)| named.contains(place) && keys.contains(&key))?;
    Some(place.0)
}

/// Most calls of one step, the first included.
pub const MAX_ATTEMPTS: u64 = 90;
/// Deepest nesting of steps.
pub const MAX_DEPTH: usize = 20;
/// Most steps of one flow.
pub const MAX_STEPS: usize = 500;

/// Reads `value` as a flow; what cannot be read is a problem, and the rest is read all the same.
pub fn read(source: &Source, value: &Value, problems: &mut Vec<Problem>) -> FlowFile {
    let mut reader = Reader { source, problems, steps: 0 };
    reader.flow(value)
}

impl Reader<'_> {
    fn flow(&mut self, value: &Value) -> FlowFile {
        let empty = Map::new();
        let map = match value {
            Value::Null => {
                self.say(problem::MISSING_KEY, "", At::Value, "the file is empty".into(), Some(SMALLEST.into()));
                return FlowFile::default();
            }
            Value::Object(map) => map,
            _ => {
                self.wrong("", value, "a map with `trigger` and `steps`");
                &empty
            }
        };
        self.keys(map, "", FLOW_KEYS);
        let mut flow = FlowFile {
            id: self.flow_id(map),
            description: self.text(map, "", "description"),
            aliases: self.aliases(map),
            enabled: self.boolean(map, "", "enabled").unwrap_or(true),
            concurrency: self.concurrency(map, ""),
            ..FlowFile::default()
        };
        match map.get("trigger") {
            Some(trigger) => {
                flow.trigger = self.trigger(trigger);
                if let Some(own) = trigger.as_object().and_then(|map| self.concurrency(map, "/trigger")) {
                    if flow.concurrency.is_some() {
                        let what = "`concurrency` stands in the flow already".to_owned();
                        let hint = Some("it means the same here and there; keep one".to_owned());
                        self.say(problem::BAD_VALUE, "/trigger/concurrency", At::Key, what, hint);
                    }
                    flow.concurrency = Some(own);
                }
            }
            None if map.is_empty() => {}
            None => self.missing("", "trigger", "a flow is started by something: `trigger: {type: request}`"),
        }
        match map.get("steps") {
            Some(steps) => flow.steps = self.block(steps, "/steps", 1),
            None if map.is_empty() => {}
            None => self.missing("", "steps", "a flow does something: a list of steps"),
        }
        flow.on_failure = map.get("on_failure").map(|steps| self.block(steps, "/on_failure", 1));
        flow.timeout = self.limit(map, "", "timeout");
        flow
    }

    fn flow_id(&mut self, map: &Map<String, Value>) -> Option<String> {
        let id = self.text(map, "", "id")?;
        self.check_flow_id(&id, "/id").then_some(id)
    }

    /// Former ids stand in URLs, as ids do.
    fn aliases(&mut self, map: &Map<String, Value>) -> Vec<String> {
        let aliases = self.texts(map, "", "aliases");
        for (index, alias) in aliases.iter().enumerate() {
            let listed = map["aliases"].is_array();
            let at = if listed { format!("/aliases/{index}") } else { "/aliases".to_owned() };
            self.check_flow_id(alias, &at);
        }
        aliases
    }
}

const SMALLEST: &str = "the smallest flow has `trigger: {type: request}` and `steps:` with one step";
