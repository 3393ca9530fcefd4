//! Reads parts of a test file as what they should be, and says what is wrong with those that are not.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::catalog::Snapshot;
use crate::flow::{self, At, Code, Flow, Kind, Problem, Source, child, suggest};

/// A step that a case names: its flow's id and its own.
pub(super) type StepName = (String, String);

/// What reading one test file takes. `at` is always the JSON Pointer of what is read.
pub(super) struct Reader<'r> {
    pub source: &'r Source,
    pub problems: Vec<Problem>,
    pub snapshot: &'r Snapshot,
    /// The folder of the file: paths in it start there.
    pub folder: &'r Path,
}

impl<'r> Reader<'r> {
    pub fn say(&mut self, code: Code, pointer: &str, at: At, what: String, hint: Option<String>) {
        self.problems.push(self.source.problem(code, pointer, at, what, hint));
    }

    pub fn wrong(&mut self, at: &str, value: &Value, expected: &str) {
        let what = format!("this is {}; it must be {expected}", flow::kind_of(value));
        self.say(flow::WRONG_TYPE, at, At::Value, what, None);
    }

    pub fn bad(&mut self, at: &str, what: String, hint: Option<String>) {
        self.say(flow::BAD_VALUE, at, At::Value, what, hint);
    }

    /// The map at `at`; `like` is an example of one.
    pub fn map<'v>(&mut self, value: &'v Value, at: &str, like: &str) -> Option<&'v Map<String, Value>> {
        let map = value.as_object();
        if map.is_none() {
            self.wrong(at, value, &format!("a map, as in `{like}`"));
        }
        map
    }

    pub fn keys(&mut self, map: &Map<String, Value>, at: &str, allowed: &[&str]) {
        for key in map.keys().filter(|key| !allowed.contains(&key.as_str())) {
            let hint = suggest(key, allowed.iter().copied());
            self.say(flow::UNKNOWN_KEY, &child(at, key), At::Key, format!("`{key}` means nothing here"), hint);
        }
    }

    pub fn text(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<String> {
        match map.get(key)? {
            Value::String(text) => Some(text.clone()),
            other => {
                self.wrong(&child(at, key), other, "text");
                None
            }
        }
    }

    pub fn number(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<u64> {
        let value = map.get(key)?;
        if value.as_u64().is_none() {
            self.wrong(&child(at, key), value, "a whole number");
        }
        value.as_u64()
    }

    /// An HTTP status.
    pub fn status(&mut self, map: &Map<String, Value>, at: &str) -> Option<u16> {
        let status = self.number(map, at, "status")?;
        let found = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
        if found.is_none() {
            self.bad(&child(at, "status"), format!("an HTTP status is 200 to 599, not {status}"), None);
        }
        found
    }

    pub fn flag(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<bool> {
        let value = map.get(key)?;
        if value.as_bool().is_none() {
            self.wrong(&child(at, key), value, "true or false");
        }
        value.as_bool()
    }

    pub fn time(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<Timestamp> {
        let text = self.text(map, at, key)?;
        let time = text.parse::<Timestamp>().ok();
        // As the journal keeps times.
        let time = time.and_then(|time| Timestamp::from_millisecond(time.as_millisecond()).ok());
        if time.is_none() {
            let hint = Some("write it as `2026-01-05T09:00:00Z`".to_owned());
            self.bad(&child(at, key), format!("`{text}` is not a time with its offset"), hint);
        }
        time
    }

    pub fn length(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<Duration> {
        let text = self.text(map, at, key)?;
        match flow::duration(&text) {
            Ok(length) => Some(length),
            Err(what) => {
                self.bad(&child(at, key), what, None);
                None
            }
        }
    }

    /// Values as texts: what headers and queries are made of.
    pub fn texts(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Map<String, Value> {
        let mut found = Map::new();
        let Some(value) = map.get(key) else { return found };
        let here = child(at, key);
        let Some(map) = self.map(value, &here, "{name: text}") else { return found };
        for (name, value) in map {
            match value {
                Value::String(_) => found.insert(name.clone(), value.clone()),
                Value::Number(_) | Value::Bool(_) => found.insert(name.clone(), Value::String(value.to_string())),
                other => {
                    self.wrong(&child(&here, name), other, "text");
                    None
                }
            };
        }
        found
    }

    /// The flow of this name; a problem if there is none.
    pub fn flow(&mut self, name: &str, at: &str) -> Option<String> {
        if let Some(live) = self.snapshot.flow(name) {
            return Some(live.flow.id.clone());
        }
        let mut names: Vec<&str> = self.snapshot.flows.keys().map(String::as_str).collect();
        names.sort_unstable();
        let hint = suggest(name, names).or_else(|| Some("see `millstream check`".to_owned()));
        let what = format!("there is no flow `{name}` without errors");
        self.say(flow::UNKNOWN_FLOW, at, At::Value, what, hint);
        None
    }

    /// The step that a key names: `step`, or `flow.step` where it is one of a flow that is called. `kind` says which
    /// steps will do.
    pub fn step(&mut self, own: &str, key: &str, at: &str, kind: Option<&Wanted>) -> Option<StepName> {
        let (flow, id) = key.split_once('.').unwrap_or((own, key));
        let Some(live) = self.snapshot.flow(flow) else {
            if flow != own {
                let what = format!("there is no flow `{flow}` without errors");
                self.say(flow::UNKNOWN_FLOW, at, At::Key, what, Some("a step of another flow is `flow.step`".into()));
            }
            return None;
        };
        let Some(step) = live.flow.step_called(id) else {
            let mut names: Vec<&str> = live.flow.addresses.keys().map(String::as_str).collect();
            names.sort_unstable();
            let what = format!("flow `{}` has no step `{id}`", live.flow.id);
            self.say(flow::UNKNOWN_STEP, at, At::Key, what, suggest(id, names));
            return None;
        };
        if let Some((fits, what)) = kind
            && !fits(&step.kind)
        {
            self.say(flow::BAD_VALUE, at, At::Key, format!("step `{id}` {what}"), None);
            return None;
        }
        Some((live.flow.id.clone(), id.to_owned()))
    }

    /// A flow that the checks of this file have found.
    pub fn live(&self, id: &str) -> Option<&'r Flow> {
        self.snapshot.flows.get(id).map(|live| live.flow.as_ref())
    }
}

/// Which steps will do, and what is said of one that will not.
pub(super) type Wanted = (fn(&Kind) -> bool, &'static str);
