//! What a run should do next: a fact to record, or what to wait for.
//!
//! Pure: the engine appends the event returned here, applies it and asks again, until only the outside is left.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::scope::{InRun, call_key};
use super::*;
use crate::connector::{Class, Failure, OnDoubt};
use crate::flow::{Block, Call, ELSE, Ends, Flow, Kind, Step, THEN, Termination, duration};
use crate::mapping::Template;

/// What the outside lends to a decision.
pub struct Around<'a> {
    pub now: Timestamp,
    /// The allow-listed environment, an object.
    pub env: &'a Value,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// Record this, apply it, ask again.
    Record(Event),
    /// Nothing can be decided until one of these calls ends, or this time (ms since 1970) comes.
    Wait { calls: Vec<Place>, wake: Option<i64>, held: bool },
    /// The run has ended.
    Ended,
}

/// Runs that brought the process down this often in a row are held.
pub const MAX_RECOVERIES: u32 = 3;

/// How a block stands.
enum Progress {
    Record(Event),
    Live,
    /// All its steps have ended: well, or with this failure.
    Ended(Option<Failure>),
}

#[derive(Default)]
struct Waits {
    calls: Vec<Place>,
    wake: Option<i64>,
}

impl Run {
    /// What follows from the state.
    pub fn next(&self, flow: &Flow, around: &Around<'_>) -> Next {
        if self.finished.is_some() {
            return Next::Ended;
        }
        if self.held.is_none() && self.recoveries >= MAX_RECOVERIES {
            let message = format!("the process went down {MAX_RECOVERIES} times in a row while this run was at work");
            let failure = Failure::new(Class::Held, "run.suspected", message);
            return Next::Record(Event::Held { place: None, failure });
        }
        if self.held.is_some() {
            return Next::Wait { calls: Vec::new(), wake: None, held: true };
        }
        let mut waits = Waits::default();
        match (Walk { run: self, flow, around }).block(&flow.steps, &self.root, None, &mut waits) {
            Progress::Record(event) => Next::Record(event),
            Progress::Live => Next::Wait { calls: waits.calls, wake: waits.wake, held: false },
            Progress::Ended(None) => Next::Record(Event::Finished { status: Status::Succeeded, failure: None }),
            Progress::Ended(failure) => Next::Record(Event::Finished { status: Status::Failed, failure }),
        }
    }

    /// Renders a template of the flow's trigger, which sees what came in and no step.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render(
        &self,
        flow: &Flow,
        around: &Around<'_>,
        template: &Template,
    ) -> Result<Option<Value>, crate::mapping::Error> {
        let place = Place::root(0);
        template.render(&InRun { run: self, flow, place: &place, around })
    }

    /// The event for a call that came back: an end, a wait for another attempt, or a hold.
    pub fn settle(
        &self,
        flow: &Flow,
        place: &Place,
        result: Result<Value, Failure>,
        now: Timestamp,
        random: u64,
    ) -> Event {
        let place = place.clone();
        let failure = match result.and_then(|output| readable("the output", output, DEEPEST)) {
            Ok(output) => {
                return Event::Succeeded { place, output: Arc::new(output) };
            }
            Err(failure) => failure,
        };
        let call = flow.step(&place.0).and_then(|step| match &step.kind {
            Kind::Action(call) => Some(call),
            Kind::Response(_) | Kind::Set(_) | Kind::If { .. } | Kind::Delay(_) | Kind::Terminate { .. } => None,
        });
        let Some(call) = call else {
            return Event::Failed { place, failure, retry_at: None };
        };
        let holds = failure.class == Class::Held || (failure.class == Class::Unknown && call.on_doubt == OnDoubt::Hold);
        if holds {
            return Event::Held { place: Some(place), failure };
        }
        let attempt = self.node(&place).map_or(1, |node| node.attempt);
        let wait = call.retry.wait(attempt, &failure, random);
        let retry_at = wait.map(|wait| now.as_millisecond() + i64::try_from(wait.as_millis()).unwrap_or(i64::MAX / 2));
        Event::Failed { place, failure, retry_at }
    }
}

struct Walk<'w> {
    run: &'w Run,
    flow: &'w Flow,
    around: &'w Around<'w>,
}

impl Walk<'_> {
    fn block(&self, block: &Block, frame: &Frame, within: Option<(&Place, u32)>, waits: &mut Waits) -> Progress {
        let mut live = false;
        for (position, step) in block.steps.iter().enumerate().skip(frame.ended) {
            let at = position as u32;
            let state = frame.state(at);
            if state.is_ended() {
                continue;
            }
            let place = match within {
                None => Place::root(at),
                Some((outer, sub)) => outer.within(sub, at),
            };
            if state == State::Pending {
                match ready(block, step, frame) {
                    Ready::Yes => return Progress::Record(self.begin(step, place)),
                    Ready::No => return Progress::Record(Event::Skipped { place, unmet: true }),
                    Ready::NotYet => live = true,
                }
                continue;
            }
            let Some(node) = frame.node(at) else { continue };
            match self.going(step, node, place, waits) {
                Some(event) => return Progress::Record(event),
                None => live = true,
            }
        }
        if live { Progress::Live } else { Progress::Ended(verdict(block, frame)) }
    }

    /// The event that begins a step.
    fn begin(&self, step: &Step, place: Place) -> Event {
        let scope = InRun { run: self.run, flow: self.flow, place: &place, around: self.around };
        let begun = self.try_begin(step, &place, &scope);
        begun.unwrap_or_else(|failure| Event::Failed { place, failure, retry_at: None })
    }

    fn try_begin(&self, step: &Step, place: &Place, scope: &InRun<'_>) -> Result<Event, Failure> {
        if let Some(when) = &step.when
            && !when.holds(scope)?
        {
            return Ok(Event::Skipped { place: place.clone(), unmet: false });
        }
        let place = place.clone();
        Ok(match &step.kind {
            Kind::Action(call) => {
                let input = readable("the input", call.input.render(scope)?, DEEPEST)?;
                check_input(call, &input)?;
                let key = call_key(self.run, &place);
                Event::Called { place, attempt: 1, input: Some(Arc::new(input)), key }
            }
            Kind::Response(answering) => {
                if self.run.response.is_some() {
                    let message = "the caller has already been answered by another `response` step".to_owned();
                    return Err(Failure::new(Class::Permanent, "run.second_response", message));
                }
                let status = answering.status.render(scope)?;
                let response = Response {
                    status: status_code(&status)?,
                    headers: match readable("`headers`", answering.headers.render(scope)?, DEEPEST_HEADERS)? {
                        Value::Object(headers) => headers,
                        _ => Map::new(),
                    },
                    body: readable("`body`", answering.body.render(scope)?, DEEPEST)?,
                };
                Event::Responded { place, response: Arc::new(response) }
            }
            Kind::Set(values) => match readable("a variable", values.render(scope)?, DEEPEST)? {
                Value::Object(vars) => Event::Assigned { place, vars },
                _ => Event::Assigned { place, vars: Map::new() },
            },
            Kind::If { condition, .. } => {
                let sub = if condition.holds(scope)? { THEN } else { ELSE };
                Event::Entered { place, sub }
            }
            Kind::Delay(template) => {
                let length = match template.render(scope)? {
                    Some(Value::String(text)) => duration(&text),
                    other => Err(format!("`delay` needs a length of time as text, not {}", described(other.as_ref()))),
                };
                let length = length.map_err(|what| Failure::new(Class::Permanent, "run.bad_delay", what))?;
                let ms = i64::try_from(length.as_millis()).unwrap_or(i64::MAX / 2);
                Event::Waiting { place, until: self.around.now.as_millisecond().saturating_add(ms) }
            }
            Kind::Terminate { status, message } => {
                let message = match message.render(scope)? {
                    Value::Null => format!("ended by step `{}`", step.id),
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                let (status, failing) = match status {
                    Termination::Succeeded => (Status::Succeeded, None),
                    Termination::Cancelled => (Status::Cancelled, None),
                    Termination::Failed => {
                        (Status::Failed, Some(Failure::new(Class::Permanent, "run.terminated", message)))
                    }
                };
                Event::Finished { status, failure: failing }
            }
        })
    }

    /// What becomes of a step that has begun and not ended: an event, or it goes on waiting.
    fn going(&self, step: &Step, node: &Node, place: Place, waits: &mut Waits) -> Option<Event> {
        let now = self.around.now.as_millisecond();
        match (&step.kind, node.state) {
            (Kind::Action(call), State::InDoubt) if call.on_doubt == OnDoubt::Hold => {
                let message = "the process went down during the call: it may have happened".to_owned();
                let failure = Failure::new(Class::Unknown, "run.in_doubt", message);
                Some(Event::Held { place: Some(place), failure })
            }
            (Kind::Action(_), State::Running | State::InDoubt) => {
                waits.calls.push(place);
                None
            }
            (Kind::Action(_), State::Waiting(until)) if until <= now => {
                let (attempt, key) = (node.attempt + 1, node.key);
                Some(Event::Called { place, attempt, input: None, key })
            }
            (Kind::Delay(_), State::Waiting(until)) if until <= now => {
                Some(Event::Succeeded { place, output: Arc::new(Value::Null) })
            }
            (_, State::Waiting(until)) => {
                waits.wake = Some(waits.wake.map_or(until, |wake| wake.min(until)));
                None
            }
            // A held step holds its run, which is looked at before its steps.
            (_, State::Held) => None,
            (_, State::Running) => {
                for (sub, frame) in &node.subs {
                    let block = step.block(*sub)?;
                    match self.block(block, frame, Some((&place, *sub)), waits) {
                        Progress::Record(event) => return Some(event),
                        Progress::Live => return None,
                        Progress::Ended(None) => {}
                        Progress::Ended(Some(failure)) => {
                            return Some(Event::Failed { place, failure, retry_at: None });
                        }
                    }
                }
                Some(Event::Succeeded { place, output: Arc::new(Value::Null) })
            }
            _ => None,
        }
    }
}

enum Ready {
    Yes,
    No,
    NotYet,
}

fn ready(block: &Block, step: &Step, frame: &Frame) -> Ready {
    for after in &step.after {
        let state = frame.state(after.position);
        if !state.is_ended() {
            return Ready::NotYet;
        }
        let continues = block.steps.get(after.position as usize).is_some_and(|before| before.continues);
        let passed_over = continues && after.on == Ends::DEFAULT && matches!(state, State::Failed | State::TimedOut);
        if !passed_over && !after.on.has(end_of(state)) {
            return Ready::No;
        }
    }
    Ready::Yes
}

fn end_of(state: State) -> Ends {
    match state {
        State::Succeeded => Ends::SUCCEEDED,
        State::Failed => Ends::FAILED,
        State::TimedOut => Ends::TIMED_OUT,
        State::Skipped => Ends::SKIPPED,
        State::Unmet | State::Pending | State::Running | State::InDoubt | State::Waiting(_) | State::Held => {
            Ends::UNMET
        }
    }
}

/// How a block ended: each branch end counts, and a skipped end takes the status of what it follows.
fn verdict(block: &Block, frame: &Frame) -> Option<Failure> {
    let mut seen = vec![false; block.steps.len()];
    block.ends.iter().find_map(|end| failing(block, frame, *end, &mut seen))
}

/// `seen` are the steps that had nothing to tell: many paths can lead to each, and each is asked once.
fn failing(block: &Block, frame: &Frame, position: u32, seen: &mut [bool]) -> Option<Failure> {
    let step = block.steps.get(position as usize)?;
    if std::mem::replace(seen.get_mut(position as usize)?, true) {
        return None;
    }
    match frame.state(position) {
        State::Failed | State::TimedOut if step.continues => None,
        State::Failed | State::TimedOut => {
            let mut failure = frame.node(position)?.failure.clone()?;
            if !failure.message.starts_with("step `") {
                failure.message = format!("step `{}`: {}", step.id, failure.message);
            }
            Some(failure)
        }
        State::Skipped | State::Unmet => {
            step.after.iter().find_map(|after| failing(block, frame, after.position, seen))
        }
        State::Succeeded | State::Pending | State::Running | State::InDoubt | State::Waiting(_) | State::Held => None,
    }
}

fn check_input(call: &Call, input: &Value) -> Result<(), Failure> {
    let Some(action) = call.connector.actions.get(&call.action) else {
        return Ok(());
    };
    let violations = action.input.violations(input);
    if violations.is_empty() {
        return Ok(());
    }
    let places: Vec<String> = violations.iter().map(|v| format!("`{}`: {}", v.pointer, v.message)).collect();
    let message =
        format!("the rendered inputs do not fit {}.{}: {}", call.connector.name, call.action, places.join("; "));
    Err(Failure::new(Class::Permanent, "run.bad_input", message))
}

/// The deepest value that [`crate::mapping::parse_json`] reads.
const DEEPEST: usize = 127;
/// The same for a response's headers, which are read with the record around them.
const DEEPEST_HEADERS: usize = 100;

/// A value that the journal can read again. A run with a deeper one could never be taken up after a wait or a restart.
fn readable(name: &str, value: Value, levels: usize) -> Result<Value, Failure> {
    if !deeper_than(&value, levels) {
        return Ok(value);
    }
    let message = format!("{name} is nested more than {levels} levels deep; keep less of it");
    Err(Failure::new(Class::Permanent, "run.too_deep", message))
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| deeper_than(item, levels - 1)),
        Value::Object(members) => levels == 0 || members.values().any(|member| deeper_than(member, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn status_code(value: &Value) -> Result<u16, Failure> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    };
    let code = number.filter(|code| (200..600).contains(code)).and_then(|code| u16::try_from(code).ok());
    code.ok_or_else(|| {
        let message = format!("`status` must be 200 to 599, not {}", described(Some(value)));
        Failure::new(Class::Permanent, "run.bad_status", message)
    })
}

fn described(value: Option<&Value>) -> &'static str {
    value.map_or("nothing", crate::flow::kind_of)
}

impl From<crate::mapping::Error> for Failure {
    fn from(error: crate::mapping::Error) -> Failure {
        let place = if error.pointer.is_empty() { String::new() } else { format!("`{}`: ", error.pointer) };
        let message = format!("{place}{} (in `{}`)", error.what, error.template);
        Failure::new(Class::Permanent, error.code, message)
    }
}
