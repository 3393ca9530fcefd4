//! What each kind of step has of its own, as typed. The kinds that hold other steps are in `block.rs`.

use std::time::Duration;

use serde_json::{Map, Value};

use super::super::policy::{Backoff, Retry};
use super::super::problem;
use super::super::reader::Reader;
use super::super::source::{At, child};
use super::MAX_ATTEMPTS;
use super::block::BlockFile;
use crate::connector::OnDoubt;

/// What a step does.
#[derive(Debug)]
pub enum KindFile {
    Action(CallFile),
    Call(CallFile),
    Response { status: Value, headers: Value, body: Value },
    Set(Value),
    Block(Box<BlockFile>),
    Delay(String),
    DelayUntil(String),
    Wait { timeout: Option<Duration> },
    Terminate { status: String, message: Value },
}

/// An `action` or a `call` step.
#[derive(Debug)]
pub struct CallFile {
    /// The action, or the other flow.
    pub name: String,
    pub connection: Option<String>,
    pub with: Value,
    pub timeout: Option<Duration>,
    pub retry: Option<Retry>,
    pub on_doubt: Option<OnDoubt>,
}

pub const KINDS: &[&str] = &[
    "action",
    "call",
    "response",
    "set",
    "if",
    "switch",
    "foreach",
    "until",
    "parallel",
    "scope",
    "delay",
    "delay_until",
    "wait",
    "terminate",
];
pub const ACTION_KEYS: &[&str] = &["action", "connection", "with", "timeout", "retry", "on_doubt", "mock"];
pub const CALL_KEYS: &[&str] = &["call", "with", "timeout", "retry", "on_doubt", "mock"];
pub const RETRY_KEYS: &[&str] = &["attempts", "backoff", "delay", "max_delay"];
pub const MOCK_KEYS: &[&str] = &["output", "error"];
pub const RESPONSE_KEYS: &[&str] = &["status", "headers", "body"];
pub const WAIT_KEYS: &[&str] = &["timeout"];
pub const TERMINATE_KEYS: &[&str] = &["status", "message"];

/// The keys that steps of this kind have of their own.
pub fn own_keys(kind: &str) -> &'static [&'static str] {
    match kind {
        "action" => ACTION_KEYS,
        "call" => CALL_KEYS,
        "if" => super::IF_KEYS,
        "switch" => super::SWITCH_KEYS,
        "foreach" => super::FOREACH_KEYS,
        "until" => super::UNTIL_KEYS,
        "scope" => super::SCOPE_KEYS,
        _ => &[],
    }
}

impl Reader<'_> {
    pub(super) fn kind(&mut self, kind: &str, map: &Map<String, Value>, at: &str, depth: usize) -> Option<KindFile> {
        let here = child(at, kind);
        let value = &map[kind];
        Some(match kind {
            "action" => KindFile::Action(self.call(map, at, "action")?),
            "call" => KindFile::Call(self.call(map, at, "call")?),
            "if" | "switch" | "foreach" | "until" | "parallel" | "scope" => {
                KindFile::Block(Box::new(self.block_kind(kind, map, at, depth)?))
            }
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
            "delay" => match value {
                Value::String(text) => KindFile::Delay(text.clone()),
                // Says what a length of time looks like.
                _ => return self.duration(map, at, "delay").and(None),
            },
            "delay_until" => KindFile::DelayUntil(self.text(map, at, "delay_until")?),
            "wait" => match value {
                Value::Null => KindFile::Wait { timeout: None },
                Value::Object(inner) => {
                    self.keys(inner, &here, WAIT_KEYS);
                    KindFile::Wait { timeout: self.limit(inner, &here, "timeout") }
                }
                _ => KindFile::Wait { timeout: self.limit(map, at, "wait") },
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

    /// What `action` and `call` have alike.
    fn call(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<CallFile> {
        Some(CallFile {
            name: self.text(map, at, key)?,
            connection: self.text(map, at, "connection"),
            with: map.get("with").filter(|with| !with.is_null()).cloned().unwrap_or_else(|| Value::Object(Map::new())),
            timeout: self.limit(map, at, "timeout"),
            retry: map.get("retry").map(|value| self.retry(value, &child(at, "retry"))),
            on_doubt: match self.word(map, at, "on_doubt", &["repeat", "hold"], "what a step can do in doubt") {
                Some("repeat") => Some(OnDoubt::Repeat),
                Some(_) => Some(OnDoubt::Hold),
                None => None,
            },
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
        if self.word(map, at, "backoff", &["exponential", "fixed"], "a backoff") == Some("fixed") {
            retry.backoff = Backoff::Fixed;
        }
        retry.delay = self.duration(map, at, "delay").unwrap_or(retry.delay);
        retry.max_delay = self.duration(map, at, "max_delay").unwrap_or(retry.max_delay);
        retry
    }
}
