//! The kinds of step that hold other steps, as typed.

use std::time::Duration;

use serde_json::{Map, Value};

use super::super::problem;
use super::super::reader::Reader;
use super::super::source::{At, child};
use super::step::StepFile;

/// A step with steps inside.
#[derive(Debug)]
pub enum BlockFile {
    If {
        condition: Option<String>,
        then: Vec<StepFile>,
        otherwise: Vec<StepFile>,
    },
    Switch {
        on: Option<String>,
        /// The values of each case, where they stand, and its steps.
        cases: Vec<(Vec<Value>, String, Vec<StepFile>)>,
        default: Vec<StepFile>,
    },
    Foreach {
        items: Option<String>,
        concurrency: u32,
        collect: Option<Value>,
        steps: Vec<StepFile>,
    },
    Until {
        condition: Option<String>,
        count: u32,
        time: Duration,
        fails: bool,
        steps: Vec<StepFile>,
    },
    Parallel(Vec<(String, Vec<StepFile>)>),
    Scope {
        steps: Vec<StepFile>,
        catch: Option<Vec<StepFile>>,
        finally: Option<Vec<StepFile>>,
    },
}

pub const IF_KEYS: &[&str] = &["if", "then", "else"];
pub const SWITCH_KEYS: &[&str] = &["switch", "cases", "default"];
pub const CASE_KEYS: &[&str] = &["value", "do"];
pub const FOREACH_KEYS: &[&str] = &["foreach", "do", "concurrency", "collect"];
pub const UNTIL_KEYS: &[&str] = &["until", "do", "limit", "on_limit"];
pub const LIMIT_KEYS: &[&str] = &["count", "time"];
pub const SCOPE_KEYS: &[&str] = &["scope", "catch", "finally"];

/// Most iterations of a `foreach` at once.
pub const MAX_CONCURRENCY: u64 = 50;
/// Most iterations of an `until`, as in Logic Apps.
pub const MAX_REPEATS: u64 = 5000;
const REPEATS: u32 = 60;
const REPEAT_TIME: Duration = Duration::from_secs(3600);

impl BlockFile {
    /// The lists of steps inside, and whether steps of one may run at the same time as those of another, or of the
    /// same list once more.
    pub fn lists(&self) -> (Vec<&Vec<StepFile>>, bool) {
        match self {
            BlockFile::If { then, otherwise, .. } => (vec![then, otherwise], false),
            BlockFile::Switch { cases, default, .. } => {
                (cases.iter().map(|(_, _, steps)| steps).chain([default]).collect(), false)
            }
            BlockFile::Foreach { steps, concurrency, .. } => (vec![steps], *concurrency > 1),
            BlockFile::Until { steps, .. } => (vec![steps], false),
            BlockFile::Parallel(branches) => (branches.iter().map(|(_, steps)| steps).collect(), true),
            BlockFile::Scope { steps, catch, finally } => {
                ([Some(steps), catch.as_ref(), finally.as_ref()].into_iter().flatten().collect(), false)
            }
        }
    }
}

impl Reader<'_> {
    pub(super) fn block_kind(
        &mut self,
        kind: &str,
        map: &Map<String, Value>,
        at: &str,
        depth: usize,
    ) -> Option<BlockFile> {
        Some(match kind {
            "if" => BlockFile::If {
                condition: self.condition(map, at, "if"),
                then: self.needed(map, at, "then", "what to do where the condition holds: a list of steps", depth),
                otherwise: self.list(map, at, "else", depth).unwrap_or_default(),
            },
            "switch" => BlockFile::Switch {
                on: self.whole(map, at, "switch"),
                cases: self.cases(map, at, depth),
                default: self.list(map, at, "default", depth).unwrap_or_default(),
            },
            "foreach" => BlockFile::Foreach {
                items: self.whole(map, at, "foreach"),
                concurrency: self.up_to(map, at, "concurrency", MAX_CONCURRENCY).unwrap_or(1),
                collect: map.get("collect").cloned(),
                steps: self.needed(map, at, "do", "what to do with each item: a list of steps", depth),
            },
            "until" => {
                let empty = Map::new();
                let here = child(at, "limit");
                let limit = match map.get("limit") {
                    Some(value) => self.map(value, &here, "{count: 60, time: 1h}").unwrap_or(&empty),
                    None => &empty,
                };
                self.keys(limit, &here, LIMIT_KEYS);
                let on_limit = self.word(map, at, "on_limit", &["fail", "continue"], "what a loop can do at its limit");
                BlockFile::Until {
                    condition: self.condition(map, at, "until"),
                    count: self.up_to(limit, &here, "count", MAX_REPEATS).unwrap_or(REPEATS),
                    time: self.limit(limit, &here, "time").unwrap_or(REPEAT_TIME),
                    fails: on_limit != Some("continue"),
                    steps: self.needed(map, at, "do", "what to do again and again: a list of steps", depth),
                }
            }
            "parallel" => {
                let here = child(at, "parallel");
                let branches = self.map(&map["parallel"], &here, "{left: [...], right: [...]}")?;
                if branches.is_empty() {
                    let what = "without a branch there is nothing to do at once".to_owned();
                    self.say(problem::BAD_VALUE, &here, At::Value, what, Some("`{left: [...], right: [...]}`".into()));
                }
                let mut read = Vec::new();
                for (name, steps) in branches {
                    self.check_name(name, &child(&here, name), At::Key);
                    read.push((name.clone(), self.block(steps, &child(&here, name), depth + 1)));
                }
                BlockFile::Parallel(read)
            }
            _ => BlockFile::Scope {
                steps: self.block(&map["scope"], &child(at, "scope"), depth + 1),
                catch: self.list(map, at, "catch", depth),
                finally: self.list(map, at, "finally", depth),
            },
        })
    }

    /// `cases: {INS: [...]}`, or where several values share steps `cases: [{value: [INS, PLT], do: [...]}]`.
    fn cases(&mut self, map: &Map<String, Value>, at: &str, depth: usize) -> Vec<(Vec<Value>, String, Vec<StepFile>)> {
        let here = child(at, "cases");
        let mut cases = Vec::new();
        match map.get("cases") {
            None => self.missing(at, "cases", "what to do for which value: `cases: {INS: [...], PLT: [...]}`"),
            Some(Value::Object(by_value)) => {
                for (value, steps) in by_value {
                    let at = child(&here, value);
                    cases.push((vec![Value::String(value.clone())], at.clone(), self.block(steps, &at, depth + 1)));
                }
            }
            Some(Value::Array(listed)) => {
                for (index, case) in listed.iter().enumerate() {
                    let at = format!("{here}/{index}");
                    let Some(case) = self.map(case, &at, "{value: [INS, PLT], do: [...]}") else { continue };
                    self.keys(case, &at, CASE_KEYS);
                    let values = match case.get("value") {
                        Some(Value::Array(values)) => values.clone(),
                        Some(value) => vec![value.clone()],
                        None => {
                            self.missing(&at, "value", "the value, or a list of values, that this case is for");
                            Vec::new()
                        }
                    };
                    let steps = self.needed(case, &at, "do", "what to do in this case: a list of steps", depth);
                    cases.push((values, child(&at, "value"), steps));
                }
            }
            Some(other) => self.wrong(&here, other, "a map, as in `{INS: [...], PLT: [...]}`"),
        }
        cases
    }

    fn list(&mut self, map: &Map<String, Value>, at: &str, key: &str, depth: usize) -> Option<Vec<StepFile>> {
        map.get(key).map(|steps| self.block(steps, &child(at, key), depth + 1))
    }

    fn needed(&mut self, map: &Map<String, Value>, at: &str, key: &str, why: &str, depth: usize) -> Vec<StepFile> {
        let list = self.list(map, at, key, depth);
        if list.is_none() {
            self.missing(at, key, why);
        }
        list.unwrap_or_default()
    }

    /// The text of a value that a template gives, which YAML takes for something else unless it is quoted.
    fn whole(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<String> {
        match map.get(key)? {
            Value::String(text) => Some(text.clone()),
            other => {
                self.wrong(&child(at, key), other, "one template in quotes, as in '{{trigger.body.items}}'");
                None
            }
        }
    }

    /// A number from 1 to `most`.
    fn up_to(&mut self, map: &Map<String, Value>, at: &str, key: &str, most: u64) -> Option<u32> {
        self.count(map.get(key)?, &child(at, key), 1..=most)
    }
}
