//! A test file as read: its cases, with every name resolved. All problems at once, as with flows.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::mock::{MOCK_KEYS, Mock, error_keys, read_mocks};
use super::reader::{Reader, StepName};
use super::snapshot;
use super::wanted::{EXPECT_KEYS, Expect, RESPONSE_KEYS, STEP_KEYS};
use crate::catalog::Snapshot;
use crate::flow::{self, At, Kind, Problem, Source, TriggerKind, child};
use crate::mapping::parse_json;

/// One test file.
#[derive(Debug)]
pub struct TestFile {
    /// From the project folder.
    pub file: PathBuf,
    pub source: Source,
    pub cases: Vec<Case>,
}

/// One case: how a flow is started, what answers its calls, and what must come of it.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    /// Where it stands in its file, JSON Pointer.
    pub pointer: String,
    /// The flow's id.
    pub flow: String,
    /// What the clock shows at the beginning.
    pub now: Timestamp,
    /// Makes the run's id, and so its keys and what is random in it.
    pub seed: u64,
    pub run_id: Option<Uuid>,
    /// What `env.…` reads.
    pub env: Value,
    pub input: Input,
    pub(super) mocks: HashMap<StepName, Mock>,
    pub(super) resumes: HashMap<StepName, Vec<Resume>>,
    pub(super) expect: Expect,
    /// True if the whole history is compared with a file.
    pub snapshot: bool,
}

/// What starts the flow.
#[derive(Debug, Clone)]
pub enum Input {
    Request(Box<Sent>),
    /// Its schedule, at this time, ms since 1970.
    Tick(i64),
}

/// A request as a case has it.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// The first that the flow takes unless set.
    pub method: Option<String>,
    pub path: String,
    pub query: Map<String, Value>,
    /// Names in lower case.
    pub headers: Map<String, Value>,
    pub body: Value,
}

/// A POST to a `wait` step.
#[derive(Debug, Clone)]
pub(super) struct Resume {
    pub body: Value,
    pub query: Map<String, Value>,
    pub headers: Map<String, Value>,
    /// How long after the step began to wait.
    pub after: Duration,
}

const FILE_KEYS: &[&str] = &["flow", "now", "seed", "env", "mocks", "cases"];
const CASE_KEYS: &[&str] =
    &["name", "flow", "now", "seed", "run_id", "env", "request", "tick", "mocks", "resume", "expect", "snapshot"];
const REQUEST_KEYS: &[&str] = &["method", "path", "query", "headers", "body", "body_file"];
const RESUME_KEYS: &[&str] = &["body", "query", "headers", "after"];

/// Every key of a test file, by the place where it stands; the reference is compared with it.
pub const KEYS: &[(&str, &[&str])] = &[
    ("file", FILE_KEYS),
    ("case", CASE_KEYS),
    ("request", REQUEST_KEYS),
    ("mock", MOCK_KEYS),
    ("error", error_keys()),
    ("resume", RESUME_KEYS),
    ("expect", EXPECT_KEYS),
    ("step", STEP_KEYS),
    ("response", RESPONSE_KEYS),
];

/// What the clock of a case shows unless it says otherwise.
const BEGINNING: i64 = 1_767_225_600_000;

/// What cases have in common.
struct Common {
    flow: Option<String>,
    now: Option<Timestamp>,
    seed: u64,
    env: Map<String, Value>,
}

impl TestFile {
    /// Reads one file; `file` is its path from the project folder `snapshot.dir`. Cases with problems are left out.
    pub fn read(file: &Path, text: &str, snapshot: &Snapshot) -> (TestFile, Vec<Problem>) {
        let (source, value, problems) = Source::read(file, text);
        let folder = snapshot.dir.join(file.parent().unwrap_or(Path::new("")));
        let mut reader = Reader { source: &source, problems, snapshot, folder: &folder };
        let cases = value.map(|value| reader.file(&value)).unwrap_or_default();
        let mut problems = reader.problems;
        problems.sort_by_key(|problem| (problem.line, problem.column));
        (TestFile { file: file.to_owned(), source, cases }, problems)
    }
}

impl Reader<'_> {
    fn file(&mut self, value: &Value) -> Vec<Case> {
        let Some(map) = self.map(value, "", "{flow: my_flow, cases: […]}") else { return Vec::new() };
        self.keys(map, "", FILE_KEYS);
        let common = Common {
            flow: self.flow_of(map, ""),
            now: self.time(map, "", "now"),
            seed: self.number(map, "", "seed").unwrap_or(0),
            env: self.texts(map, "", "env"),
        };
        let cases = match map.get("cases") {
            Some(Value::Array(cases)) if !cases.is_empty() => cases,
            Some(other) => {
                self.wrong("/cases", other, "a list with at least one case");
                return Vec::new();
            }
            None => {
                let hint = "a list of cases: `cases: [{name: …, request: {body: …}, expect: {…}}]`";
                self.say(flow::MISSING_KEY, "", At::Value, "`cases` is missing".into(), Some(hint.into()));
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        let mut names: HashMap<String, usize> = HashMap::new();
        for (index, value) in cases.iter().enumerate() {
            let at = format!("/cases/{index}");
            let before = self.problems.len();
            let Some(case) = self.case(value, &at, &common, map.get("mocks")) else { continue };
            // As files of snapshots are called.
            if let Some(first) = names.insert(snapshot::slug(&case.name), index) {
                let what = format!("case {} has this name too, as far as letters and digits go", first + 1);
                self.say(flow::DUPLICATE_ID, &child(&at, "name"), At::Value, what, Some("rename one".into()));
            }
            if self.problems.len() == before {
                found.push(case);
            }
        }
        self.problems.dedup();
        found
    }

    fn flow_of(&mut self, map: &Map<String, Value>, at: &str) -> Option<String> {
        let name = self.text(map, at, "flow")?;
        self.flow(&name, &child(at, "flow"))
    }

    fn case(&mut self, value: &Value, at: &str, common: &Common, mocks: Option<&Value>) -> Option<Case> {
        let map = self.map(value, at, "{name: …, request: {…}, expect: {…}}")?;
        self.keys(map, at, CASE_KEYS);
        let name = self.text(map, at, "name").filter(|name| !name.trim().is_empty()).unwrap_or_else(|| {
            let hint = "say what it shows: `name: a lead becomes a record`".to_owned();
            self.say(flow::MISSING_KEY, at, At::Value, "the case has no name".to_owned(), Some(hint));
            String::new()
        });
        if !map.contains_key("flow") && common.flow.is_none() {
            if !self.source.has("/flow") {
                let hint = Some("name it at the top of the file: `flow: my_flow`".to_owned());
                self.say(flow::MISSING_KEY, at, At::Value, "nothing says which flow this is a case of".into(), hint);
            }
            return None;
        }
        let flow = if map.contains_key("flow") { self.flow_of(map, at)? } else { common.flow.clone()? };
        let now = self.time(map, at, "now").or(common.now);
        let input = self.input(map, at, &flow, now)?;
        let beginning = match input {
            Input::Tick(at) => at,
            Input::Request(_) => BEGINNING,
        };
        let now = now.or_else(|| Timestamp::from_millisecond(beginning).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
        let run_id = self.text(map, at, "run_id").and_then(|text| {
            let id = text.parse::<Uuid>().ok();
            if id.is_none() {
                let hint = Some("it looks like 0198c2a4-5b1e-7c33-9d8f-3a5b7c9d1e2f".to_owned());
                self.bad(&child(at, "run_id"), format!("`{text}` is not a run's id"), hint);
            }
            id
        });
        let mut env = common.env.clone();
        env.extend(self.texts(map, at, "env"));
        let mut all = HashMap::new();
        if let Some(mocks) = mocks {
            read_mocks(self, mocks, "/mocks", &flow, &mut all);
        }
        if let Some(mocks) = map.get("mocks") {
            read_mocks(self, mocks, &child(at, "mocks"), &flow, &mut all);
        }
        let resumes = map.get("resume").map(|value| self.resumes(value, &child(at, "resume"), &flow));
        let expect = match map.get("expect") {
            Some(value) => Expect::read(self, value, &child(at, "expect"), &flow),
            None => Expect::default(),
        };
        let snapshot = self.flag(map, at, "snapshot").unwrap_or(false);
        let nothing = map.get("expect").is_none_or(|expect| expect.as_object().is_some_and(Map::is_empty));
        if nothing && !snapshot {
            let hint = "write `expect: {status: succeeded}`, or `snapshot: true`".to_owned();
            let what = "the case expects nothing, so it could not fail".to_owned();
            self.say(flow::MISSING_KEY, at, At::Value, what, Some(hint));
        }
        Some(Case {
            name,
            pointer: at.to_owned(),
            flow,
            now,
            seed: self.number(map, at, "seed").unwrap_or(common.seed),
            run_id,
            env: Value::Object(env),
            input,
            mocks: all,
            resumes: resumes.unwrap_or_default(),
            expect,
            snapshot,
        })
    }

    fn input(&mut self, map: &Map<String, Value>, at: &str, flow: &str, now: Option<Timestamp>) -> Option<Input> {
        let scheduled = matches!(self.live(flow)?.trigger.kind, TriggerKind::Schedule(_));
        if map.contains_key("request") && map.contains_key("tick") {
            let what = "a case begins with a `request` or with a `tick`, not with both".to_owned();
            self.say(flow::BAD_VALUE, &child(at, "tick"), At::Key, what, None);
            return None;
        }
        if !scheduled {
            if map.contains_key("tick") {
                let what = format!("flow `{flow}` has no schedule, so it has no ticks");
                self.say(flow::BAD_VALUE, &child(at, "tick"), At::Key, what, Some("write `request: {body: …}`".into()));
                return None;
            }
            let request = match map.get("request") {
                Some(value) => self.request(value, &child(at, "request"))?,
                None => Sent::default(),
            };
            return Some(Input::Request(Box::new(request)));
        }
        if map.contains_key("request") {
            let what = format!("flow `{flow}` is started by its schedule, not by a request");
            let hint = Some("write `tick: 2026-01-05T09:00:00Z`".to_owned());
            self.say(flow::BAD_VALUE, &child(at, "request"), At::Key, what, hint);
            return None;
        }
        let given = map.contains_key("tick");
        let tick = if given { Some(self.time(map, at, "tick")?.as_millisecond()) } else { None };
        let schedule = self.live(flow)?.trigger.schedule()?;
        let start = now.map_or(BEGINNING, Timestamp::as_millisecond);
        let Some(tick) = tick else {
            // The first after the clock's beginning will do.
            return schedule.next_after(start - 1).map(Input::Tick);
        };
        let next = schedule.next_after(tick - 1);
        if next != Some(tick) {
            let next = next.and_then(|next| Timestamp::from_millisecond(next).ok());
            let hint = next.map(|next| format!("the next one is {next}"));
            self.bad(&child(at, "tick"), "the flow's schedule has no tick at this time".to_owned(), hint);
            return None;
        }
        Some(Input::Tick(tick))
    }

    fn request(&mut self, value: &Value, at: &str) -> Option<Sent> {
        let map = self.map(value, at, "{body: {…}, headers: {…}, query: {…}}")?;
        self.keys(map, at, REQUEST_KEYS);
        let headers = self.texts(map, at, "headers");
        let body = match (map.get("body"), self.text(map, at, "body_file")) {
            (Some(_), Some(_)) => {
                let what = "a request has `body` or `body_file`, not both".to_owned();
                self.say(flow::BAD_VALUE, &child(at, "body_file"), At::Key, what, None);
                return None;
            }
            (Some(body), None) => body.clone(),
            (None, Some(path)) => self.json_file(&path, &child(at, "body_file"))?,
            (None, None) => Value::Null,
        };
        Some(Sent {
            method: self.text(map, at, "method").map(|method| method.to_ascii_uppercase()),
            path: self.text(map, at, "path").unwrap_or_default().trim_start_matches('/').to_owned(),
            query: self.texts(map, at, "query"),
            headers: headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect(),
            body,
        })
    }

    fn json_file(&mut self, path: &str, at: &str) -> Option<Value> {
        let read = std::fs::read(self.folder.join(path)).map_err(|error| error.to_string());
        let read = read.and_then(|bytes| parse_json(&bytes).map_err(|error| format!("it is not JSON: {error}")));
        match read {
            Ok(value) => Some(value),
            Err(why) => {
                let hint = Some("paths start at the folder of the test file".to_owned());
                self.say(flow::NO_FILE, at, At::Value, format!("`{path}`: {why}"), hint);
                None
            }
        }
    }

    fn resumes(&mut self, value: &Value, at: &str, flow: &str) -> HashMap<StepName, Vec<Resume>> {
        let mut found = HashMap::new();
        let Some(map) = self.map(value, at, "{decision: {body: {…}}}") else { return found };
        for (key, value) in map {
            let here = child(at, key);
            let waits = |kind: &Kind| matches!(kind, Kind::Wait { .. });
            let Some(step) = self.step(flow, key, &here, Some(&(waits, "does not wait for a POST"))) else { continue };
            let items: Vec<(String, &Value)> = match value {
                Value::Array(items) => {
                    items.iter().enumerate().map(|(index, item)| (child(&here, &index.to_string()), item)).collect()
                }
                one => vec![(here, one)],
            };
            found.insert(step, items.into_iter().filter_map(|(at, item)| self.resume(item, &at)).collect());
        }
        found
    }

    fn resume(&mut self, value: &Value, at: &str) -> Option<Resume> {
        let map = self.map(value, at, "{body: {…}, after: 2h}")?;
        self.keys(map, at, RESUME_KEYS);
        Some(Resume {
            body: map.get("body").cloned().unwrap_or_default(),
            query: self.texts(map, at, "query"),
            headers: self.texts(map, at, "headers"),
            after: self.length(map, at, "after").unwrap_or_default(),
        })
    }
}
