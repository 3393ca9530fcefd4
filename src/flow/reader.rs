//! Reads values of a YAML file as what they should be, and says what is wrong with those that are not.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};

use super::file;
use super::policy;
use super::problem::{self, Problem, suggest};
use super::source::{At, Source, child};

/// Reads one file. `at` is always the JSON Pointer of the map that is read.
pub struct Reader<'r> {
    pub source: &'r Source,
    pub problems: &'r mut Vec<Problem>,
    /// Steps met so far.
    pub steps: usize,
}

impl Reader<'_> {
    pub fn say(&mut self, code: problem::Code, pointer: &str, at: At, what: String, hint: Option<String>) {
        self.problems.push(self.source.problem(code, pointer, at, what, hint));
    }

    pub fn wrong(&mut self, at: &str, value: &Value, expected: &str) {
        let what = format!("this is {}; it must be {expected}", kind_of(value));
        self.say(problem::WRONG_TYPE, at, At::Value, what, None);
    }

    pub fn missing(&mut self, at: &str, key: &str, why: &str) {
        self.say(problem::MISSING_KEY, at, At::Value, format!("`{key}` is missing"), Some(why.to_owned()));
    }

    pub fn keys(&mut self, map: &Map<String, Value>, at: &str, allowed: &[&str]) {
        for key in map.keys().filter(|key| !allowed.contains(&key.as_str())) {
            let what = format!("`{key}` means nothing here");
            let hint = match (problem::nearest(key, allowed.iter().copied()), file::belongs(key)) {
                _ if at == "/trigger" && file::triggers_with(key).is_some() => {
                    file::triggers_with(key).map(|kinds| format!("only a trigger of type {kinds} has `{key}`"))
                }
                (None, Some(place @ ("action" | "call" | "if" | "switch" | "foreach" | "until" | "scope"))) => {
                    Some(format!("`{key}` has a meaning only in a step with `{place}`"))
                }
                (None, Some(place)) => Some(format!("`{key}` has a meaning only inside of `{place}`: indent it there")),
                (None, None) if allowed.contains(&"with") => {
                    Some(format!("an input of the action stands in `with`: `with: {{{key}: …}}`"))
                }
                _ => suggest(key, allowed.iter().copied()),
            };
            self.say(problem::UNKNOWN_KEY, &child(at, key), At::Key, what, hint);
        }
    }

    /// `like` is an example of such a map.
    pub fn map<'v>(&mut self, value: &'v Value, at: &str, like: &str) -> Option<&'v Map<String, Value>> {
        let map = value.as_object();
        if map.is_none() {
            self.wrong(at, value, &format!("a map, as in `{like}`"));
        }
        map
    }

    pub fn text(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<String> {
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

    /// The text of a condition, which YAML takes for something else unless it is quoted.
    pub fn condition(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<String> {
        match map.get(key)? {
            Value::String(text) => Some(text.clone()),
            other => {
                self.wrong(&child(at, key), other, "one template in quotes, as in '{{equals a b}}'");
                None
            }
        }
    }

    pub fn texts(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Vec<String> {
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

    pub fn count(&mut self, value: &Value, at: &str, range: RangeInclusive<u64>) -> Option<u32> {
        let count = value.as_u64().filter(|count| range.contains(count));
        if count.is_none() {
            let what = format!("this must be a whole number from {} to {}", range.start(), range.end());
            self.say(problem::BAD_VALUE, at, At::Value, what, None);
        }
        count.and_then(|count| u32::try_from(count).ok())
    }

    /// One of a few words; `what` says what another one is not.
    pub fn word(
        &mut self,
        map: &Map<String, Value>,
        at: &str,
        key: &str,
        words: &[&'static str],
        what: &str,
    ) -> Option<&'static str> {
        let text = self.text(map, at, key)?;
        let found = words.iter().find(|word| **word == text).copied();
        if found.is_none() {
            let hint = suggest(&text, words.iter().copied());
            self.say(problem::BAD_VALUE, &child(at, key), At::Value, format!("`{text}` is not {what}"), hint);
        }
        found
    }

    pub fn boolean(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<bool> {
        let value = map.get(key)?;
        if value.as_bool().is_none() {
            self.wrong(&child(at, key), value, "true or false");
        }
        value.as_bool()
    }

    pub fn duration(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<Duration> {
        let text = match map.get(key)? {
            Value::String(text) => text.clone(),
            // `5` is not refused for being a number, but for lacking a unit.
            other => other.to_string(),
        };
        policy::duration(&text)
            .map_err(|what| self.say(problem::BAD_VALUE, &child(at, key), At::Value, what, None))
            .ok()
    }

    /// A length of time within which something must happen.
    pub fn limit(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<Duration> {
        let length = self.duration(map, at, key)?;
        if length.is_zero() {
            let what = format!("with `{key}` 0 it would be over before it began");
            self.say(problem::BAD_VALUE, &child(at, key), At::Value, what, Some("leave it out for no limit".into()));
        }
        Some(length)
    }

    /// A name that is not usable is a problem, and known all the same: what refers to it is right.
    pub fn name(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<String> {
        let name = self.text(map, at, key)?;
        self.check_name(&name, &child(at, key), At::Value);
        Some(name)
    }

    pub fn check_name(&mut self, name: &str, pointer: &str, at: At) {
        if !is_name(name) {
            let what = format!("`{name}` is not a name: small letters, digits and `_`, a letter first, at most 80");
            let hint = snake_case(name).map(|name| format!("for example `{name}`"));
            self.say(problem::BAD_NAME, pointer, at, what, hint);
        }
    }

    pub fn check_flow_id(&mut self, id: &str, pointer: &str) -> bool {
        let good = is_flow_id(id);
        if !good {
            let what =
                format!("`{id}` cannot stand in a URL: small letters, digits, `_` and `-`, a letter first, at most 80");
            let hint = snake_case(id).map(|id| format!("for example `{id}`"));
            self.say(problem::BAD_NAME, pointer, At::Value, what, hint);
        }
        good
    }
}

/// True for the names that steps, variables and connections may have.
pub fn is_name(name: &str) -> bool {
    let tail = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.len() <= 80 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(tail)
}

/// True for what a URL can carry as a flow's name.
pub fn is_flow_id(id: &str) -> bool {
    is_name(&id.replace('-', "_"))
}

/// A usable name made of `text`, if anything is left of it.
pub fn snake_case(text: &str) -> Option<String> {
    // Of a word with letters left out nobody would make a name.
    if text.chars().any(|c| c.is_alphabetic() && !c.is_ascii()) {
        return None;
    }
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
