//! A flow file as typed: what the YAML says, before any name is resolved. Each part keeps its JSON Pointer.

use std::time::Duration;

use serde_json::{Map, Value};

use super::policy::{Backoff, Retry};
use super::problem::{self, Problem, suggest};
use super::reader::Reader;
use super::source::{At, Source, child};
use crate::connector::OnDoubt;

/// One flow file.
#[derive(Debug, Default)]
pub struct FlowFile {
    pub id: Option<String>,
    pub description: Option<String>,
    pub aliases: Vec<String>,
    pub enabled: bool,
    pub schema: Option<SchemaFile>,
    pub dedupe: Option<DedupeFile>,
    pub steps: Vec<StepFile>,
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

/// One step and its children. What could not be read is `None`; the problem is known.
#[derive(Debug)]
pub struct StepFile {
    pub at: String,
    pub id: Option<String>,
    pub kind: Option<KindFile>,
    pub when: Option<String>,
    pub continues: bool,
    pub run_after: Option<Vec<(String, Vec<String>)>>,
}

/// What a step does.
#[derive(Debug)]
pub enum KindFile {
    Action(CallFile),
    Response { status: Value, headers: Value, body: Value },
    Set(Value),
    If { condition: Option<String>, then: Vec<StepFile>, otherwise: Vec<StepFile> },
    Delay(String),
    Terminate { status: String, message: Value },
}

/// An `action` step.
#[derive(Debug)]
pub struct CallFile {
    pub action: String,
    pub connection: Option<String>,
    pub with: Value,
    pub timeout: Option<Duration>,
    pub retry: Retry,
    pub on_doubt: Option<OnDoubt>,
}

const FLOW_KEYS: &[&str] = &["id", "description", "aliases", "enabled", "trigger", "steps"];
const TRIGGER_KEYS: &[&str] = &["type", "schema", "dedupe"];
const DEDUPE_KEYS: &[&str] = &["key", "window"];
const KINDS: &[&str] = &["action", "response", "set", "if", "delay", "terminate"];
const STEP_KEYS: &[&str] = &["id", "when", "on_error", "run_after"];
const ACTION_KEYS: &[&str] = &["action", "connection", "with", "timeout", "retry", "on_doubt"];
const IF_KEYS: &[&str] = &["if", "then", "else"];
const RETRY_KEYS: &[&str] = &["attempts", "backoff", "delay", "max_delay"];
const RESPONSE_KEYS: &[&str] = &["status", "headers", "body"];
const TERMINATE_KEYS: &[&str] = &["status", "message"];
const STATUSES: &[&str] = &["succeeded", "failed", "skipped", "timed_out"];

/// Every key of the language, by the place where it stands; the reference is compared with it.
pub const KEYS: &[(&str, &[&str])] = &[
    ("flow", FLOW_KEYS),
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
            ..FlowFile::default()
        };
        match map.get("trigger") {
            Some(trigger) => self.trigger(trigger, &mut flow),
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

    fn trigger(&mut self, value: &Value, flow: &mut FlowFile) {
        let at = "/trigger";
        let Some(map) = self.map(value, at, "{type: request}") else { return };
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
        flow.schema = match map.get("schema") {
            None => None,
            Some(Value::String(path)) => Some(SchemaFile::File(path.clone())),
            Some(schema) => Some(SchemaFile::Inline(schema.clone())),
        };
        if let Some(value) = map.get("dedupe") {
            let at = "/trigger/dedupe";
            let Some(map) = self.map(value, at, "{key: \"{{trigger.body.id}}\", window: 24h}") else { return };
            self.keys(map, at, DEDUPE_KEYS);
            let key = self.texts(map, at, "key");
            if !map.contains_key("key") {
                self.missing(at, "key", "which values make two requests the same");
            } else if map["key"].as_array().is_some_and(Vec::is_empty) {
                let hint = Some("list what makes two requests the same, as in `{{trigger.body.id}}`".to_owned());
                self.say(problem::BAD_VALUE, "/trigger/dedupe/key", At::Value, "the key has no part".into(), hint);
            }
            let window = self.duration(map, at, "window").unwrap_or(Duration::from_secs(24 * 3600));
            flow.dedupe = Some(DedupeFile { key, window });
        }
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

    fn block(&mut self, value: &Value, at: &str, depth: usize) -> Vec<StepFile> {
        let Value::Array(items) = value else {
            if !value.is_null() {
                self.wrong(at, value, "a list of steps");
            }
            return Vec::new();
        };
        if depth > MAX_DEPTH {
            let what = format!("steps are nested more than {MAX_DEPTH} deep");
            self.say(
                problem::TOO_LARGE,
                at,
                At::Value,
                what,
                Some("move the inner steps to a flow of their own".into()),
            );
            return Vec::new();
        }
        let step = |(index, item): (usize, &Value)| self.step(item, format!("{at}/{index}"), depth);
        items.iter().enumerate().filter_map(step).collect()
    }

    fn step(&mut self, value: &Value, at: String, depth: usize) -> Option<StepFile> {
        self.steps += 1;
        if self.steps == MAX_STEPS + 1 {
            let what = format!("the flow has more than {MAX_STEPS} steps");
            self.say(problem::TOO_LARGE, &at, At::Value, what, Some("split it into several flows".into()));
        }
        let map = self.map(value, &at, "{id: greet, set: {text: Hello}}")?;
        let id = self.name(map, &at, "id");
        if !map.contains_key("id") {
            self.missing(&at, "id", "a step has a name of its own, as in `id: create_lead`");
        }
        let kinds: Vec<&str> = KINDS.iter().copied().filter(|kind| map.contains_key(*kind)).collect();
        let kind = match kinds[..] {
            [] => {
                self.no_kind(map, &at);
                None
            }
            [kind] => Some(kind),
            [first, second, ..] => {
                let what = format!("this step has both `{first}` and `{second}`");
                let hint = Some("make it two steps".to_owned());
                self.say(problem::STEP_KIND, &child(&at, second), At::Key, what, hint);
                Some(first)
            }
        };
        if let Some(kind) = kind {
            let own = match kind {
                "action" => ACTION_KEYS,
                "if" => IF_KEYS,
                _ => &[],
            };
            let others = kinds.iter().filter(|kind| !own.contains(kind));
            let allowed: Vec<&str> = STEP_KEYS.iter().chain(own).chain(others).copied().collect();
            self.keys(map, &at, &allowed);
        }
        let kind = kind.and_then(|kind| self.kind(kind, map, &at, depth));
        let continues = match self.text(map, &at, "on_error").as_deref() {
            None | Some("fail") => false,
            Some("continue") => true,
            Some(other) => {
                let hint = suggest(other, ["fail", "continue"]);
                let what = format!("`{other}` is not what a step can do on an error");
                self.say(problem::BAD_VALUE, &child(&at, "on_error"), At::Value, what, hint);
                false
            }
        };
        let when = self.condition(map, &at, "when");
        let run_after = map.get("run_after").and_then(|value| self.run_after(value, &child(&at, "run_after")));
        Some(StepFile { id, at, kind, when, continues, run_after })
    }

    fn no_kind(&mut self, map: &Map<String, Value>, at: &str) {
        let unknown: Vec<&str> = map.keys().map(String::as_str).filter(|key| !STEP_KEYS.contains(key)).collect();
        let near = unknown.iter().find_map(|key| Some((*key, problem::nearest(key, KINDS.iter().copied())?)));
        match near {
            Some((key, kind)) => {
                let what = format!("this step has no kind; `{key}` is none");
                let hint = Some(format!("did you mean `{kind}`?"));
                self.say(problem::STEP_KIND, &child(at, key), At::Key, what, hint);
            }
            None => {
                let what = match unknown.first() {
                    Some(key) => format!("`{key}` is no kind of step"),
                    None => "this step does not say what it does".to_owned(),
                };
                let hint = Some(format!("give it one of {}", KINDS.join(", ")));
                match unknown.first() {
                    Some(key) => self.say(problem::STEP_KIND, &child(at, key), At::Key, what, hint),
                    None => self.say(problem::STEP_KIND, at, At::Value, what, hint),
                }
            }
        }
    }

    fn kind(&mut self, kind: &str, map: &Map<String, Value>, at: &str, depth: usize) -> Option<KindFile> {
        let here = child(at, kind);
        let value = &map[kind];
        Some(match kind {
            "action" => KindFile::Action(CallFile {
                action: self.text(map, at, "action")?,
                connection: self.text(map, at, "connection"),
                with: map
                    .get("with")
                    .filter(|with| !with.is_null())
                    .cloned()
                    .unwrap_or_else(|| Value::Object(Map::new())),
                timeout: self.duration(map, at, "timeout"),
                retry: map.get("retry").map_or_else(Retry::default, |value| self.retry(value, &child(at, "retry"))),
                on_doubt: self.text(map, at, "on_doubt").and_then(|text| match text.as_str() {
                    "repeat" => Some(OnDoubt::Repeat),
                    "hold" => Some(OnDoubt::Hold),
                    other => {
                        let hint = suggest(other, ["repeat", "hold"]);
                        let what = format!("`{other}` is not what a step can do in doubt");
                        self.say(problem::BAD_VALUE, &child(at, "on_doubt"), At::Value, what, hint);
                        None
                    }
                }),
            }),
            "response" => {
                let empty = Map::new();
                let inner = if value.is_null() { &empty } else { self.map(value, &here, "{status: 200, body: done}")? };
                self.keys(inner, &here, RESPONSE_KEYS);
                let field = |key: &str, default: Value| inner.get(key).cloned().unwrap_or(default);
                KindFile::Response {
                    status: field("status", Value::from(200)),
                    headers: field("headers", Value::Object(Map::new())),
                    body: field("body", Value::Null),
                }
            }
            "set" => {
                let inner = self.map(value, &here, "{total: 1}")?;
                for name in inner.keys() {
                    self.check_name(name, &child(&here, name), At::Key);
                }
                KindFile::Set(value.clone())
            }
            "if" => {
                let condition = self.condition(map, at, "if");
                let then = map.get("then").map(|steps| self.block(steps, &child(at, "then"), depth + 1));
                if then.is_none() {
                    self.missing(at, "then", "what to do where the condition holds: a list of steps");
                }
                let otherwise = map.get("else").map(|steps| self.block(steps, &child(at, "else"), depth + 1));
                KindFile::If { condition, then: then.unwrap_or_default(), otherwise: otherwise.unwrap_or_default() }
            }
            "delay" => match value {
                Value::String(text) => KindFile::Delay(text.clone()),
                // Says what a length of time looks like.
                _ => return self.duration(map, at, "delay").and(None),
            },
            _ => {
                let (status, message) = match value {
                    Value::String(status) => (status.clone(), Value::Null),
                    value => {
                        let inner = self.map(value, &here, "{status: failed, message: why}")?;
                        self.keys(inner, &here, TERMINATE_KEYS);
                        let status = self.text(inner, &here, "status").unwrap_or_else(|| "failed".to_owned());
                        (status, inner.get("message").cloned().unwrap_or(Value::Null))
                    }
                };
                KindFile::Terminate { status, message }
            }
        })
    }

    fn retry(&mut self, value: &Value, at: &str) -> Retry {
        let mut retry = Retry::default();
        let map = match value {
            Value::String(text) if text == "none" => return Retry { attempts: 1, ..retry },
            Value::Object(map) => map,
            other => {
                self.wrong(at, other, "`none`, or a map as in `{attempts: 5, delay: 7s}`");
                return retry;
            }
        };
        self.keys(map, at, RETRY_KEYS);
        if let Some(value) = map.get("attempts") {
            match value.as_u64() {
                Some(count @ 1..=MAX_ATTEMPTS) => retry.attempts = count as u32,
                _ => {
                    let what = format!("`attempts` counts the first call too: 1 to {MAX_ATTEMPTS}, not {value}");
                    self.say(problem::BAD_VALUE, &child(at, "attempts"), At::Value, what, None);
                }
            }
        }
        match self.text(map, at, "backoff").as_deref() {
            None | Some("exponential") => {}
            Some("fixed") => retry.backoff = Backoff::Fixed,
            Some(other) => {
                let hint = suggest(other, ["exponential", "fixed"]);
                self.say(
                    problem::BAD_VALUE,
                    &child(at, "backoff"),
                    At::Value,
                    format!("`{other}` is no backoff"),
                    hint,
                );
            }
        }
        retry.delay = self.duration(map, at, "delay").unwrap_or(retry.delay);
        retry.max_delay = self.duration(map, at, "max_delay").unwrap_or(retry.max_delay);
        retry
    }

    fn run_after(&mut self, value: &Value, at: &str) -> Option<Vec<(String, Vec<String>)>> {
        let map = self.map(value, at, "{step_above: [succeeded, failed]}")?;
        let mut after = Vec::new();
        for (step, value) in map {
            let here = child(at, step);
            let statuses = self.texts(map, at, step);
            for (index, status) in statuses.iter().enumerate() {
                if !STATUSES.contains(&status.as_str()) {
                    let at = if value.is_array() { format!("{here}/{index}") } else { here.clone() };
                    let what = format!("`{status}` is not how a step can end");
                    let hint = suggest(status, STATUSES.iter().copied());
                    self.say(problem::BAD_VALUE, &at, At::Value, what, hint);
                }
            }
            if value.as_array().is_some_and(Vec::is_empty) {
                let what = "without a status this step would never run".to_owned();
                let hint = Some(format!("list one or more of {}", STATUSES.join(", ")));
                self.say(problem::BAD_VALUE, &here, At::Value, what, hint);
            }
            after.push((step.clone(), statuses));
        }
        Some(after)
    }
}

const SMALLEST: &str = "the smallest flow has `trigger: {type: request}` and `steps:` with one step";
