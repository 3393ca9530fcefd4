//! A run told step by step, as the API and the command line show it.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::*;
use crate::flow::{Flow, Kind, Secure, Step};
use crate::mapping::parse_json;

/// The history of `records` as one JSON document; see [`History`].
pub fn history(run: RunId, records: &[Record], flow: Option<&Flow>) -> Value {
    let mut history = History::new(run, flow);
    records.iter().for_each(|record| history.tell(record));
    history.told()
}

/// What stands for a value that `secure` hides.
const HIDDEN: &str = "(secure)";

/// Iterations of a loop that are told in full; of further ones only those that failed or have not ended.
const SHOWN: u32 = 100;
/// Failed iterations told beside them, over all loops.
const SHOWN_FAILED: u32 = 1_000;

/// A history in the making: told record by record, so that a long run need not be in memory whole.
#[derive(Default)]
pub struct History<'f> {
    flow: Option<&'f Flow>,
    /// In the order in which they began; `None` where an iteration is left out.
    steps: Vec<Option<Map<String, Value>>>,
    known: BTreeMap<Place, usize>,
    failed: u32,
    held: bool,
    ended: bool,
    whole: Map<String, Value>,
    /// What iterations gave so far.
    collected: HashMap<Place, Vec<Value>>,
}

impl<'f> History<'f> {
    /// Without the flow (its definition cannot be read any more) steps are named by their places.
    pub fn new(run: RunId, flow: Option<&'f Flow>) -> History<'f> {
        let mut history = History { flow, ..History::default() };
        history.say("run_id", json!(run.to_string()));
        history
    }

    /// Adds one record.
    pub fn tell(&mut self, record: &Record) {
        record.events.iter().for_each(|event| self.add(record.at, event));
    }

    /// The document.
    pub fn told(mut self) -> Value {
        if !self.ended {
            self.say("status", json!(if self.held { Status::Held } else { Status::Running }));
        }
        let steps: Vec<Value> = self.steps.into_iter().flatten().map(Value::Object).collect();
        self.whole.insert("steps".into(), Value::Array(steps));
        Value::Object(self.whole)
    }

    /// Leaves the steps of an iteration out, unless it is one of the first.
    fn leave_out(&mut self, place: &Place, sub: u32, at: Timestamp) {
        if sub < SHOWN {
            return;
        }
        let inside = |sub: u32| Place(place.0.iter().copied().chain([sub]).collect());
        let steps: Vec<Place> =
            self.known.range(inside(sub)..inside(sub.saturating_add(1))).map(|(place, _)| place.clone()).collect();
        for inner in steps {
            if let Some(index) = self.known.remove(&inner) {
                self.steps[index] = None;
            }
        }
        let step = self.step(place, at);
        let left_out = step.get("iterations_left_out").and_then(Value::as_u64).unwrap_or(0) + 1;
        step.insert("iterations_left_out".into(), json!(left_out));
    }

    fn add(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::Started(started) => {
                let request = &started.request;
                self.say("flow", json!(started.flow));
                self.say("status", json!(Status::Running));
                self.say("started_at", json!(at));
                self.say("definition", json!(started.definition));
                if let Some(origin) = &started.origin {
                    self.say("origin", json!(origin.run));
                    if let Some(step) = &origin.from_step {
                        self.say("from_step", json!(step));
                    }
                }
                let mut trigger = json!({
                    "method": request.method, "path": request.seen_path(), "query": request.query,
                    "headers": request.headers,
                });
                // Parsed for this alone: a copy of a large body's value would be a second one in memory.
                trigger["body"] = parse_json(request.body.text().as_bytes()).unwrap_or_default();
                self.say("trigger", trigger);
            }
            Event::Rejected(rejected) => {
                self.say("flow", json!(rejected.flow));
                self.ended = true;
                self.say("status", json!(Status::Rejected));
                self.say("started_at", json!(at));
                self.say("ended_at", json!(at));
                let trigger =
                    json!({"method": rejected.method, "content_type": rejected.content_type, "text": rejected.body});
                self.say("trigger", trigger);
                self.say("error", json!({"code": rejected.code, "message": rejected.message}));
            }
            Event::TookOver(taken) => taken.steps.iter().for_each(|taken| self.take_over(at, taken)),
            Event::Handled(handled) => self.say("handled", told_handled(handled)),
            Event::Called { place, attempt, input, key } => {
                let input = input.as_deref().map(|input| self.input(place, input));
                let step = self.step(place, at);
                step.insert("status".into(), json!("running"));
                step.insert("key".into(), json!(key));
                if let Some(input) = input {
                    step.insert("inputs".into(), input);
                }
                attempts(step).push(json!({"attempt": attempt, "started_at": at}));
            }
            Event::Invoked { place, attempt, input, key, child, .. } => {
                let input = input.as_deref().map(|input| self.input(place, input));
                let step = self.step(place, at);
                step.insert("status".into(), json!("waiting"));
                step.insert("key".into(), json!(key));
                step.insert("run".into(), json!(child));
                if let Some(input) = input {
                    step.insert("inputs".into(), input);
                }
                attempts(step).push(json!({"attempt": attempt, "started_at": at, "run": child}));
            }
            Event::Succeeded { place, output } => {
                let output = match self.collected.remove(place) {
                    Some(collected) => self.output(place, Value::Array(collected)),
                    None => self.output(place, Value::clone(output)),
                };
                let mocked = self.typed(place).is_some_and(|step| step.mock.is_some());
                let step = self.end(place, at, "succeeded");
                step.insert("output".into(), output);
                step.remove("error");
                if mocked {
                    step.insert("mocked".into(), json!(true));
                }
                end_attempt(step, json!({"ended_at": at, "status": "succeeded"}));
            }
            Event::Failed { place, failure, retry_at } => {
                let retry_at = retry_at.and_then(|ms| Timestamp::from_millisecond(ms).ok());
                let timed_out = TIMED_OUT.contains(&failure.code.as_str());
                let collected = self.collected.remove(place).filter(|_| retry_at.is_none());
                let collected = collected.map(|collected| self.output(place, Value::Array(collected)));
                let mocked = self.typed(place).is_some_and(|step| step.mock.is_some());
                let step = match retry_at {
                    Some(_) => self.step(place, at),
                    None => self.end(place, at, if timed_out { "timed_out" } else { "failed" }),
                };
                if retry_at.is_some() {
                    step.insert("status".into(), json!("waiting"));
                }
                if let Some(collected) = collected {
                    step.insert("output".into(), collected);
                }
                step.insert("error".into(), json!(failure));
                if mocked {
                    step.insert("mocked".into(), json!(true));
                }
                let mut ended = json!({"ended_at": at, "status": "failed", "error": failure});
                if let Some(retry_at) = retry_at {
                    ended["retry_at"] = json!(retry_at);
                }
                end_attempt(step, ended);
            }
            Event::Skipped { place, unmet } => {
                let reason = if *unmet { "what it follows did not end as it asks" } else { "its `when` was false" };
                self.end(place, at, "skipped").insert("reason".into(), json!(reason));
            }
            Event::Iterating { place, items, collects } => {
                let items = serde_json::from_str::<Vec<&RawValue>>(items.text()).map_or(0, |items| items.len());
                if *collects {
                    self.collected.insert(place.clone(), vec![Value::Null; items]);
                }
                self.step(place, at).insert("items".into(), json!(items));
            }
            Event::Entered { place, sub, again } => {
                if let (true, Some(before)) = (again, sub.checked_sub(1)) {
                    self.leave_out(place, before, at);
                }
                let name = self.typed(place).map(|step| step.branch_name(*sub, ", "));
                let is_many =
                    self.typed(place).is_some_and(|step| matches!(step.kind, Kind::Parallel(_) | Kind::Scope(_)));
                let step = self.step(place, at);
                step.insert("status".into(), json!("running"));
                match name {
                    // All branches run; none is *the* branch.
                    _ if is_many => None,
                    Some(Some(name)) => step.insert("branch".into(), json!(name)),
                    Some(None) => step.insert("iterations".into(), json!(sub + 1)),
                    None => step.insert("branch".into(), json!(sub)),
                };
            }
            Event::Left { place, sub, value, failure } => {
                let at_sub = self.collected.get_mut(place).and_then(|all| all.get_mut(*sub as usize));
                if let (Some(at_sub), Some(value)) = (at_sub, value) {
                    *at_sub = Value::clone(value);
                }
                if failure.is_some() {
                    let step = self.step(place, at);
                    let failed = step.get("failed").and_then(Value::as_u64).unwrap_or(0) + 1;
                    step.insert("failed".into(), json!(failed));
                    self.failed += 1;
                }
                if failure.is_none() || self.failed > SHOWN_FAILED {
                    self.leave_out(place, *sub, at);
                }
            }
            Event::Waiting { place, until } => {
                let step = self.step(place, at);
                step.insert("status".into(), json!("waiting"));
                step.insert("until".into(), json!(Timestamp::from_millisecond(*until).ok()));
            }
            Event::Listening { place, until } => {
                let until = until.and_then(|until| Timestamp::from_millisecond(until).ok());
                let step = self.step(place, at);
                step.insert("status".into(), json!("waiting"));
                if let Some(until) = until {
                    step.insert("until".into(), json!(until));
                }
            }
            Event::Resumed { place, .. } => {
                self.step(place, at).insert("resumed_at".into(), json!(at));
            }
            Event::Assigned { place, vars, .. } => {
                let output = self.output(place, Value::Object(vars.clone()));
                self.end(place, at, "succeeded").insert("output".into(), output);
            }
            Event::Responded { place, response } => {
                let response = self.output(place, json!(response));
                self.end(place, at, "succeeded").insert("output".into(), response.clone());
                self.say("response", response);
            }
            Event::Recovered { .. } => {
                let times = self.whole.get("recoveries").and_then(Value::as_u64).unwrap_or(0) + 1;
                self.say("recoveries", json!(times));
                // A call that was on its way is made once more, under the same number.
                for step in self.steps.iter_mut().flatten().filter(|step| !step.contains_key("ended_at")) {
                    let last = step.get_mut("attempts").and_then(Value::as_array_mut).and_then(|all| all.last_mut());
                    if let Some(attempt) = last.filter(|attempt| attempt.get("ended_at").is_none()) {
                        let again = attempt.get("recovered").and_then(Value::as_u64).unwrap_or(0) + 1;
                        attempt["recovered"] = json!(again);
                    }
                }
            }
            Event::Held { place, failure } => {
                if let Some(place) = place {
                    let step = self.step(place, at);
                    step.insert("status".into(), json!("held"));
                    step.insert("error".into(), json!(failure));
                    end_attempt(step, json!({"ended_at": at, "status": "held", "error": failure}));
                }
                self.held = true;
                self.say("reason", json!(failure.message));
            }
            Event::Released => {
                self.held = false;
                self.whole.remove("reason");
            }
            Event::Failing { by, .. } => {
                self.terminated(at, by.as_ref());
                self.cancel(at, false);
            }
            Event::Finished { status, failure, by } => {
                self.terminated(at, by.as_ref());
                self.cancel(at, true);
                self.ended = true;
                self.say("status", json!(status));
                self.say("ended_at", json!(at));
                if let Some(failure) = failure {
                    self.say("error", json!(failure));
                }
            }
        }
    }

    /// A step that ended in the run that this one repeats.
    fn take_over(&mut self, at: Timestamp, taken: &Taken) {
        let output = taken.output.as_deref().map(|output| self.output(&taken.place, output.clone()));
        let step = self.end(&taken.place, at, taken.ended.state().name());
        step.insert("taken_over".into(), json!(true));
        if let Some(output) = output {
            step.insert("output".into(), output);
        }
        if let Some(failure) = &taken.failure {
            step.insert("error".into(), json!(failure));
        }
    }

    /// The `terminate` that ended the run, if one did.
    fn terminated(&mut self, at: Timestamp, by: Option<&Place>) {
        if let Some(place) = by {
            self.end(place, at, "succeeded");
        }
    }

    fn say(&mut self, key: &str, value: Value) {
        self.whole.insert(key.to_owned(), value);
    }

    /// Steps that had not ended never will; a POST that came for one of `on_failure` is still waited for.
    fn cancel(&mut self, at: Timestamp, all: bool) {
        let handler = format!("{HANDLER}.");
        let left = |step: &&mut Map<String, Value>| {
            let place = step.get("place").and_then(Value::as_str).unwrap_or_default();
            !step.contains_key("ended_at") && (all || !place.starts_with(&handler))
        };
        for step in self.steps.iter_mut().flatten().filter(left) {
            step.insert("status".into(), json!("cancelled"));
            step.insert("ended_at".into(), json!(at));
        }
    }

    /// The step as the flow has it.
    fn typed(&self, place: &Place) -> Option<&'f Step> {
        self.flow?.step(&place.0)
    }

    fn secure(&self, place: &Place) -> Secure {
        self.typed(place).map(|step| step.secure).unwrap_or_default()
    }

    fn input(&self, place: &Place, input: &Value) -> Value {
        if self.secure(place).inputs { json!(HIDDEN) } else { input.clone() }
    }

    fn output(&self, place: &Place, output: Value) -> Value {
        if self.secure(place).outputs && !output.is_null() { json!(HIDDEN) } else { output }
    }

    fn step(&mut self, place: &Place, at: Timestamp) -> &mut Map<String, Value> {
        let index = match self.known.get(place) {
            Some(index) => *index,
            None => {
                let id = self.typed(place).map(|step| step.id.clone());
                let mut step = Map::new();
                step.insert("id".into(), json!(id.unwrap_or_else(|| place.to_string())));
                step.insert("place".into(), json!(place));
                step.insert("status".into(), json!("running"));
                step.insert("started_at".into(), json!(at));
                self.steps.push(Some(step));
                self.known.insert(place.clone(), self.steps.len() - 1);
                self.steps.len() - 1
            }
        };
        self.steps[index].get_or_insert_default()
    }

    fn end(&mut self, place: &Place, at: Timestamp, status: &str) -> &mut Map<String, Value> {
        let step = self.step(place, at);
        step.insert("status".into(), json!(status));
        step.insert("ended_at".into(), json!(at));
        step
    }
}

/// As lists and histories show it.
pub fn told_handled(handled: &Handled) -> Value {
    let Handled { at, resubmitted_as, note } = handled;
    json!({"at": format!("{at:.3}"), "resubmitted_as": resubmitted_as, "note": note})
}

fn attempts(step: &mut Map<String, Value>) -> &mut Vec<Value> {
    let attempts = step.entry("attempts").or_insert_with(|| Value::Array(Vec::new()));
    match attempts {
        Value::Array(attempts) => attempts,
        _ => unreachable!("only this function makes it"),
    }
}

/// Adds how the last attempt ended, if the step had one.
fn end_attempt(step: &mut Map<String, Value>, end: Value) {
    let last = step.get_mut("attempts").and_then(Value::as_array_mut).and_then(|all| all.last_mut());
    if let (Some(Value::Object(last)), Value::Object(end)) = (last, end) {
        last.extend(end);
    }
}
