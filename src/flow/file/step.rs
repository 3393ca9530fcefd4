//! Steps as typed: what they have in common. What each kind has of its own is read in `kind.rs`.

use serde_json::{Map, Value};

use super::super::problem::{self, suggest};
use super::super::reader::Reader;
use super::super::source::{At, child};
use super::super::step::Secure;
use super::kind::{KINDS, KindFile, MOCK_KEYS, own_keys};
use super::{MAX_DEPTH, MAX_STEPS};

/// One step and its children. What could not be read is `None`; the problem is known.
#[derive(Debug)]
pub struct StepFile {
    pub at: String,
    pub id: Option<String>,
    pub kind: Option<KindFile>,
    pub when: Option<String>,
    pub continues: bool,
    pub run_after: Option<Vec<(String, Vec<String>)>>,
    pub secure: Secure,
    pub mock: Option<MockFile>,
}

/// `mock:` of a call.
#[derive(Debug)]
pub enum MockFile {
    Output(Value),
    Error(Value),
}

pub const STEP_KEYS: &[&str] = &["id", "when", "on_error", "run_after", "secure"];
pub const STATUSES: &[&str] = &["succeeded", "failed", "skipped", "timed_out"];

impl Reader<'_> {
    pub(super) fn block(&mut self, value: &Value, at: &str, depth: usize) -> Vec<StepFile> {
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
            let own = own_keys(kind);
            let others = kinds.iter().filter(|kind| !own.contains(kind));
            let allowed: Vec<&str> = STEP_KEYS.iter().chain(own).chain(others).copied().collect();
            self.keys(map, &at, &allowed);
        }
        let kind = kind.and_then(|kind| self.kind(kind, map, &at, depth));
        let on_error = self.word(map, &at, "on_error", &["fail", "continue"], "what a step can do on an error");
        let continues = on_error == Some("continue");
        let when = self.condition(map, &at, "when");
        let run_after = map.get("run_after").and_then(|value| self.run_after(value, &child(&at, "run_after")));
        let secure = self.secure(map, &at);
        let mock = map.get("mock").and_then(|value| self.mock(value, &child(&at, "mock")));
        Some(StepFile { id, at, kind, when, continues, run_after, secure, mock })
    }

    fn secure(&mut self, map: &Map<String, Value>, at: &str) -> Secure {
        let mut secure = Secure::default();
        for (index, part) in self.texts(map, at, "secure").iter().enumerate() {
            match part.as_str() {
                "inputs" => secure.inputs = true,
                "outputs" => secure.outputs = true,
                other => {
                    let here = child(at, "secure");
                    let here = if map["secure"].is_array() { format!("{here}/{index}") } else { here };
                    let hint = suggest(other, ["inputs", "outputs"]);
                    let what = format!("`{other}` is not what a step can hide");
                    self.say(problem::BAD_VALUE, &here, At::Value, what, hint);
                }
            }
        }
        secure
    }

    fn mock(&mut self, value: &Value, at: &str) -> Option<MockFile> {
        let map = self.map(value, at, "{output: {id: 7}}")?;
        self.keys(map, at, MOCK_KEYS);
        match (map.get("output"), map.get("error")) {
            (Some(output), None) => Some(MockFile::Output(output.clone())),
            (None, Some(error)) => Some(MockFile::Error(error.clone())),
            _ => {
                let what = "a mock has either an `output` or an `error`".to_owned();
                let hint =
                    Some("`mock: {output: {id: 7}}`, or `mock: {error: {code: busy, message: too busy}}`".into());
                self.say(problem::BAD_VALUE, at, At::Value, what, hint);
                None
            }
        }
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
                let branch = unknown.iter().any(|key| ["then", "else"].contains(key));
                let hint = Some(if branch {
                    "`then` and `else` belong to an `if`, which is the step's kind: `if: \"{{…}}\"`".to_owned()
                } else {
                    format!("give it one of {}", KINDS.join(", "))
                });
                match unknown.first() {
                    Some(key) => self.say(problem::STEP_KIND, &child(at, key), At::Key, what, hint),
                    None => self.say(problem::STEP_KIND, at, At::Value, what, hint),
                }
            }
        }
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
