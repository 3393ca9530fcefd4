//! A flow file as typed: what the YAML says, before any name is resolved. Each part keeps its JSON Pointer.

use serde_json::{Map, Value};

use super::policy::{self, Backoff, Retry};
use super::problem::{self, Problem, suggest};
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
    pub window: std::time::Duration,
}

/// One step and its children.
#[derive(Debug)]
pub struct StepFile {
    pub at: String,
    pub id: String,
    pub kind: KindFile,
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
    If { condition: String, then: Vec<StepFile>, otherwise: Vec<StepFile> },
    Delay(String),
    Terminate { status: String, message: Value },
}

/// An `action` step.
#[derive(Debug)]
pub struct CallFile {
    pub action: String,
    pub connection: Option<String>,
    pub with: Value,
    pub timeout: Option<std::time::Duration>,
    pub retry: Retry,
    pub on_doubt: Option<OnDoubt>,
}

const KINDS: [&str; 6] = ["action", "response", "set", "if", "delay", "terminate"];
const STEP_KEYS: [&str; 4] = ["id", "when", "on_error", "run_after"];
/// Deepest nesting of steps.
pub const MAX_DEPTH: usize = 20;
/// Most steps of one flow.
pub const MAX_STEPS: usize = 500;

/// Reads `value` as a flow; what cannot be read is a problem, and the rest is read all the same.
pub fn read(source: &Source, value: &Value, problems: &mut Vec<Problem>) -> FlowFile {
    let mut reader = Reader { source, problems, steps: 0 };
    reader.flow(value)
}

struct Reader<'r> {
    source: &'r Source,
    problems: &'r mut Vec<Problem>,
    steps: usize,
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
        self.keys(map, "", &["id", "description", "aliases", "enabled", "trigger", "steps"]);
        let mut flow = FlowFile {
            id: self.name(map, "", "id"),
            description: self.text(map, "", "description"),
            aliases: self.texts(map, "", "aliases"),
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
        let Some(map) = self.map(value, at) else { return };
        self.keys(map, at, &["type", "schema", "dedupe"]);
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
            let Some(map) = self.map(value, at) else { return };
            self.keys(map, at, &["key", "window"]);
            let key = self.texts(map, at, "key");
            if key.is_empty() && !map.contains_key("key") {
                self.missing(at, "key", "which values make two requests the same");
            }
            let window = self.duration(map, at, "window").unwrap_or(std::time::Duration::from_secs(24 * 3600));
            flow.dedupe = Some(DedupeFile { key, window });
        }
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
        let map = self.map(value, &at)?;
        let id = self.name(map, &at, "id");
        if !map.contains_key("id") {
            self.missing(&at, "id", "a step has a name of its own, as in `id: create_lead`");
        }
        let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| map.contains_key(*kind)).collect();
        let kind = match kinds[..] {
            [kind] => kind,
            [] => {
                let unknown = map.keys().find(|key| !STEP_KEYS.contains(&key.as_str()));
                let hint = unknown.and_then(|key| problem::nearest(key, KINDS)).map(|k| format!("did you mean `{k}`?"));
                let what = format!("this step has no kind; it needs one of {}", KINDS.join(", "));
                self.say(problem::STEP_KIND, &at, At::Value, what, hint);
                return None;
            }
            [first, second, ..] => {
                let what = format!("this step has both `{first}` and `{second}`");
                let hint = Some("make it two steps".to_owned());
                self.say(problem::STEP_KIND, &child(&at, second), At::Key, what, hint);
                first
            }
        };
        let own: &[&str] = match kind {
            "action" => &["action", "connection", "with", "timeout", "retry", "on_doubt"],
            "if" => &["if", "then", "else"],
            other => &[other],
        };
        let allowed: Vec<&str> = STEP_KEYS.iter().chain(own).copied().chain(kinds.iter().copied()).collect();
        self.keys(map, &at, &allowed);
        let kind = self.kind(kind, map, &at, depth)?;
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
        let when = self.text(map, &at, "when");
        let run_after = map.get("run_after").and_then(|value| self.run_after(value, &child(&at, "run_after")));
        Some(StepFile { id: id?, at, kind, when, continues, run_after })
    }

    fn kind(&mut self, kind: &str, map: &Map<String, Value>, at: &str, depth: usize) -> Option<KindFile> {
        let here = child(at, kind);
        let value = &map[kind];
        Some(match kind {
            "action" => KindFile::Action(CallFile {
                action: self.text(map, at, "action")?,
                connection: self.text(map, at, "connection"),
                with: map.get("with").cloned().unwrap_or(Value::Object(Map::new())),
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
                let inner = if value.is_null() { &empty } else { self.map(value, &here)? };
                self.keys(inner, &here, &["status", "headers", "body"]);
                let field = |key: &str, default: Value| inner.get(key).cloned().unwrap_or(default);
                KindFile::Response {
                    status: field("status", Value::from(200)),
                    headers: field("headers", Value::Object(Map::new())),
                    body: field("body", Value::Null),
                }
            }
            "set" => {
                let inner = self.map(value, &here)?;
                for name in inner.keys() {
                    self.check_name(name, &child(&here, name), At::Key);
                }
                KindFile::Set(value.clone())
            }
            "if" => {
                let condition = self.text(map, at, "if")?;
                let then = map.get("then").map(|steps| self.block(steps, &child(at, "then"), depth + 1));
                if then.is_none() {
                    self.missing(at, "then", "what to do where the condition holds: a list of steps");
                }
                let otherwise = map.get("else").map(|steps| self.block(steps, &child(at, "else"), depth + 1));
                KindFile::If { condition, then: then.unwrap_or_default(), otherwise: otherwise.unwrap_or_default() }
            }
            "delay" => KindFile::Delay(self.text(map, at, "delay")?),
            _ => {
                let (status, message) = match value {
                    Value::String(status) => (status.clone(), Value::Null),
                    value => {
                        let inner = self.map(value, &here)?;
                        self.keys(inner, &here, &["status", "message"]);
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
        if value == "none" {
            return Retry { attempts: 1, ..retry };
        }
        let Some(map) = self.map(value, at) else { return retry };
        self.keys(map, at, &["attempts", "backoff", "delay", "max_delay"]);
        if let Some(value) = map.get("attempts") {
            match value.as_u64() {
                Some(count @ 1..=90) => retry.attempts = count as u32,
                _ => {
                    let what = format!("`attempts` counts the first call: 1 to 90, not {value}");
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
        const STATUSES: [&str; 4] = ["succeeded", "failed", "skipped", "timed_out"];
        let map = self.map(value, at)?;
        let mut after = Vec::new();
        for step in map.keys() {
            let statuses = self.texts(map, at, step);
            for status in &statuses {
                if !STATUSES.contains(&status.as_str()) {
                    let what = format!("`{status}` is not how a step can end");
                    self.say(problem::BAD_VALUE, &child(at, step), At::Value, what, suggest(status, STATUSES));
                }
            }
            after.push((step.clone(), statuses));
        }
        Some(after)
    }

    fn say(&mut self, code: problem::Code, pointer: &str, at: At, what: String, hint: Option<String>) {
        self.problems.push(self.source.problem(code, pointer, at, what, hint));
    }

    fn wrong(&mut self, at: &str, value: &Value, expected: &str) {
        let what = format!("this is {}; it must be {expected}", kind_of(value));
        self.say(problem::WRONG_TYPE, at, At::Value, what, None);
    }

    fn missing(&mut self, at: &str, key: &str, why: &str) {
        self.say(problem::MISSING_KEY, at, At::Value, format!("`{key}` is missing"), Some(why.to_owned()));
    }

    fn keys(&mut self, map: &Map<String, Value>, at: &str, allowed: &[&str]) {
        for key in map.keys().filter(|key| !allowed.contains(&key.as_str())) {
            let what = format!("`{key}` means nothing here");
            self.say(problem::UNKNOWN_KEY, &child(at, key), At::Key, what, suggest(key, allowed.iter().copied()));
        }
    }

    fn map<'v>(&mut self, value: &'v Value, at: &str) -> Option<&'v Map<String, Value>> {
        let map = value.as_object();
        if map.is_none() {
            self.wrong(at, value, "a map");
        }
        map
    }

    fn text(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<String> {
        match map.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => {
                let what = format!("`{key}` has no value");
                self.say(problem::WRONG_TYPE, &child(at, key), At::Value, what, None);
                None
            }
            other => {
                self.wrong(&child(at, key), other, "text");
                None
            }
        }
    }

    fn texts(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Vec<String> {
        let here = child(at, key);
        match map.get(key) {
            None => Vec::new(),
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(items)) => {
                let mut texts = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    match item {
                        Value::String(text) => texts.push(text.clone()),
                        other => self.wrong(&format!("{here}/{index}"), other, "text"),
                    }
                }
                texts
            }
            Some(other) => {
                self.wrong(&here, other, "a list of texts");
                Vec::new()
            }
        }
    }

    fn boolean(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<bool> {
        let value = map.get(key)?;
        if value.as_bool().is_none() {
            self.wrong(&child(at, key), value, "true or false");
        }
        value.as_bool()
    }

    fn duration(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<std::time::Duration> {
        let text = self.text(map, at, key)?;
        policy::duration(&text)
            .map_err(|what| self.say(problem::BAD_VALUE, &child(at, key), At::Value, what, None))
            .ok()
    }

    fn name(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<String> {
        let name = self.text(map, at, key)?;
        self.check_name(&name, &child(at, key), At::Value).then_some(name)
    }

    fn check_name(&mut self, name: &str, pointer: &str, at: At) -> bool {
        let good = is_name(name);
        if !good {
            let what =
                format!("`{name}` is not a name: lower-case letters, digits and `_`, a letter first, at most 80");
            let hint = snake_case(name).map(|name| format!("for example `{name}`"));
            self.say(problem::BAD_NAME, pointer, at, what, hint);
        }
        good
    }
}

const SMALLEST: &str = "the smallest flow has `trigger: {type: request}` and `steps:` with one step";

/// True for the names that flows, steps and variables may have.
pub fn is_name(name: &str) -> bool {
    let tail = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.len() <= 80 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(tail)
}

/// A usable name made of `text`, if anything is left of it.
pub fn snake_case(text: &str) -> Option<String> {
    let mut name = String::new();
    for c in text.chars() {
        if c.is_ascii_uppercase() && name.ends_with(|last: char| last.is_ascii_lowercase()) {
            name.push('_');
        }
        let c = c.to_ascii_lowercase();
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
    }
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('_');
    is_name(name).then(|| name.to_owned())
}

/// What a person calls this kind of value.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
