//! A flow file as typed: what the YAML says, before any name is resolved. Each part keeps its JSON Pointer.

mod concurrency;
mod kind;
mod step;
mod trigger;

use serde_json::{Map, Value};

use super::Concurrency;
use super::problem::{self, Problem};
use super::reader::Reader;
use super::source::{At, Source};

pub use concurrency::CONCURRENCY_KEYS;
pub use kind::{ACTION_KEYS, CallFile, IF_KEYS, KINDS, KindFile, RESPONSE_KEYS, RETRY_KEYS, TERMINATE_KEYS};
pub use step::{STATUSES, STEP_KEYS, StepFile};
pub use trigger::{DEDUPE_KEYS, DedupeFile, SchemaFile, TRIGGER_KEYS, TriggerFile};

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
}

const FLOW_KEYS: &[&str] = &["id", "description", "aliases", "enabled", "concurrency", "trigger", "steps"];

/// Every key of the language, by the place where it stands; the reference is compared with it.
pub const KEYS: &[(&str, &[&str])] = &[
    ("flow", FLOW_KEYS),
    ("concurrency", CONCURRENCY_KEYS),
    ("trigger", TRIGGER_KEYS),
    ("dedupe", DEDUPE_KEYS),
    ("kind", KINDS),
    ("step", STEP_KEYS),
    ("action", ACTION_KEYS),
    ("if", IF_KEYS),
    ("retry", RETRY_KEYS),
    ("response", RESPONSE_KEYS),
    ("terminate", TERMINATE_KEYS),
    ("run_after", STATUSES),
];

/// Where `key` has a meaning, as a person says it.
pub fn belongs(key: &str) -> Option<&'static str> {
    let named = ["trigger", "dedupe", "action", "if", "retry", "response"];
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
            Some(trigger) => flow.trigger = self.trigger(trigger),
            None if map.is_empty() => {}
            None => self.missing("", "trigger", "a flow is started by something: `trigger: {type: request}`"),
        }
        match map.get("steps") {
            Some(steps) => flow.steps = self.block(steps, "/steps", 1),
            None if map.is_empty() => {}
            None => self.missing("", "steps", "a flow does something: a list of steps"),
        }
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
