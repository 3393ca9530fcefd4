//! What each kind of step has of its own, as typed.

use std::time::Duration;

use serde_json::{Map, Value};

use super::super::policy::{Backoff, Retry};
use super::super::problem::{self, suggest};
use super::super::reader::Reader;
use super::super::source::{At, child};
use super::MAX_ATTEMPTS;
use super::step::StepFile;
use crate::connector::OnDoubt;

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

pub const KINDS: &[&str] = &["action", "response", "set", "if", "delay", "terminate"];
pub const ACTION_KEYS: &[&str] = &["action", "connection", "with", "timeout", "retry", "on_doubt"];
pub const IF_KEYS: &[&str] = &["if", "then", "else"];
pub const RETRY_KEYS: &[&str] = &["attempts", "backoff", "delay", "max_delay"];
pub const RESPONSE_KEYS: &[&str] = &["status", "headers", "body"];
pub const TERMINATE_KEYS: &[&str] = &["status", "message"];

impl Reader<'_> {
    pub(super) fn kind(&mut self, kind: &str, map: &Map<String, Value>, at: &str, depth: usize) -> Option<KindFile> {
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
}
