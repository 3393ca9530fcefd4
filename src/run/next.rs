//! What a run should do next: a fact to record, or what to wait for.
//!
//! Pure: the engine appends the event returned here, applies it and asks again, until only the outside is left.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::begin::{DEEPEST, readable};
use super::scope::InRun;
use super::verdict::{Ready, ready, verdict};
use super::*;
use crate::connector::{Class, Failure, OnDoubt};
use crate::flow::{Block, Child, Flow, Kind, Mock, Secure, Step};
use crate::mapping::Template;

/// What the outside lends to a decision.
pub struct Around<'a> {
    pub now: Timestamp,
    /// The allow-listed environment, an object.
    pub env: &'a Value,
    /// The URL whose POST ends the `wait` step at a place of a run.
    pub resume_url: &'a dyn Fn(RunId, &Place) -> String,
}

impl<'a> Around<'a> {
    /// Where no step can wait for a POST.
    pub fn new(now: Timestamp, env: &'a Value) -> Around<'a> {
        fn nowhere(_: RunId, _: &Place) -> String {
            String::new()
        }
        Around { now, env, resume_url: &nowhere }
    }
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// Record this, apply it, ask again.
    Record(Event),
    /// Nothing can be decided until one of these calls or children ends, a POST comes that a step waits for, or
    /// this time (ms since 1970) comes.
    Wait { calls: Vec<Place>, children: Vec<Place>, wake: Option<i64>, held: bool },
    /// The run has ended.
    Ended,
}

/// Runs that brought the process down this often in a row are held.
pub const MAX_RECOVERIES: u32 = 3;
/// The failure code of a wait, a child or a run that took too long.
pub const TIMEOUT: &str = "run.timeout";

/// What stands for the message of a failure that `secure` hides.
pub(super) const SECURE: &str = "what went wrong is not shown, since the step is secure";

/// How a block stands.
pub(super) enum Progress {
    Record(Event),
    Live,
    /// All its steps have ended: well, or with this failure.
    Ended(Option<Failure>),
}

#[derive(Default)]
pub(super) struct Waits {
    calls: Vec<Place>,
    children: Vec<Place>,
    wake: Option<i64>,
}

impl Waits {
    fn until(&mut self, at: i64) {
        if at != NEVER {
            self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
        }
    }
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
            // Who decides about one call in doubt decides about all of them.
            if let Some(event) = self.doubt(flow) {
                return Next::Record(event);
            }
            return Next::Wait { calls: Vec::new(), children: Vec::new(), wake: None, held: true };
        }
        let walk = Walk { run: self, flow, around };
        let mut waits = Waits::default();
        let progress = match &self.failing {
            None => walk.main(&mut waits),
            Some((status, failure)) => {
                let nothing = Block::default();
                let block = flow.on_failure.as_ref().unwrap_or(&nothing);
                match walk.block(block, &self.handler, &mut vec![HANDLER, 0], &mut waits) {
                    Progress::Ended(_) => {
                        Progress::Record(Event::Finished { status: *status, failure: Some(failure.clone()), by: None })
                    }
                    other => other,
                }
            }
        };
        match progress {
            Progress::Record(event) => Next::Record(event),
            Progress::Live => {
                Next::Wait { calls: waits.calls, children: waits.children, wake: waits.wake, held: false }
            }
            Progress::Ended(None) => {
                Next::Record(Event::Finished { status: Status::Succeeded, failure: None, by: None })
            }
            Progress::Ended(Some(failure)) => Next::Record(walk.ending(Status::Failed, failure, None)),
        }
    }

    /// Holds a step whose call is in doubt, if there is one that asks for it.
    fn doubt(&self, flow: &Flow) -> Option<Event> {
        let mut found = None;
        self.each(&mut |place, node| {
            if found.is_none() && node.state == State::InDoubt {
                let step = flow.step(place).filter(|step| step.mock.is_none());
                let holds =
                    step.is_some_and(|step| matches!(&step.kind, Kind::Action(call) if call.on_doubt == OnDoubt::Hold));
                found = holds.then(|| in_doubt(Place(place.to_vec())));
            }
        });
        found
    }

    /// When the flow's own timeout ends the run, ms since 1970.
    pub fn deadline(&self, flow: &Flow) -> Option<i64> {
        let timeout = flow.timeout.filter(|_| self.failing.is_none())?;
        Some(later(self.begun_at?, timeout))
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
        template.render(&InRun { run: self, flow, path: &[0], around })
    }

    /// The event for a call, or a child, that came back: an end, a wait for another attempt, or a hold.
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
            Ok(output) => return Event::Succeeded { place, output: Arc::new(output) },
            Err(failure) => failure,
        };
        let step = flow.step(&place.0);
        let failure = hidden(step, failure);
        let doubt = step.and_then(|step| match &step.kind {
            Kind::Action(call) => Some(call.on_doubt),
            _ => None,
        });
        let in_doubt = failure.class == Class::Unknown && doubt == Some(OnDoubt::Hold);
        if failure.class == Class::Held || in_doubt {
            return Event::Held { place: Some(place), failure };
        }
        let attempt = self.node(&place).map_or(1, |node| node.attempt.saturating_sub(node.held_back).max(1));
        let wait = step.and_then(Step::retry).and_then(|retry| retry.wait(attempt, &failure, random));
        Event::Failed { place, failure, retry_at: wait.map(|wait| later(now, wait)) }
    }
}

pub(super) struct Walk<'w> {
    pub run: &'w Run,
    pub flow: &'w Flow,
    pub around: &'w Around<'w>,
}

impl<'w> Walk<'w> {
    fn main(&self, waits: &mut Waits) -> Progress {
        if let Some(deadline) = self.run.deadline(self.flow) {
            if deadline <= self.now() {
                let length = self.flow.timeout.unwrap_or_default();
                let message = format!("the run took longer than the flow's `timeout`, {}", words(length));
                return Progress::Record(self.ending(
                    Status::TimedOut,
                    Failure::new(Class::Permanent, TIMEOUT, message),
                    None,
                ));
            }
            waits.until(deadline);
        }
        self.block(&self.flow.steps, &self.run.root, &mut Vec::new(), waits)
    }

    /// The event that ends the run, or its steps if the flow has something to do then.
    pub(super) fn ending(&self, status: Status, failure: Failure, by: Option<Place>) -> Event {
        if self.flow.on_failure.is_some() && self.run.failing.is_none() {
            return Event::Failing { status, failure, by };
        }
        let (status, failure) = self.run.failing.clone().unwrap_or((status, failure));
        Event::Finished { status, failure: Some(failure), by }
    }

    pub(super) fn scope<'s>(&'s self, path: &'s [u32]) -> InRun<'s> {
        InRun { run: self.run, flow: self.flow, path, around: self.around }
    }

    /// `length` from now, ms since 1970.
    pub(super) fn after(&self, length: Duration) -> i64 {
        later(self.around.now, length)
    }

    pub(super) fn now(&self) -> i64 {
        self.around.now.as_millisecond()
    }

    /// The event that begins an attempt of a call of another flow.
    pub(super) fn invoke(
        &self,
        child: &Child,
        place: Place,
        attempt: u32,
        input: Option<Arc<Value>>,
        key: Uuid,
    ) -> Event {
        let until = child.timeout.map(|timeout| self.after(timeout));
        // Not random: what is decided again gives the same run, so that none is started twice.
        let bytes = Uuid::new_v5(&key, &attempt.to_be_bytes());
        let mut tail = [0; 10];
        tail.copy_from_slice(&bytes.as_bytes()[..10]);
        let now = u64::try_from(self.now()).unwrap_or(0);
        let child = RunId(uuid::Builder::from_unix_timestamp_millis(now, &tail).into_uuid());
        Event::Invoked { place, attempt, input, key, child, until }
    }

    /// `path` leads to the block: the numbers that stand before the positions of its steps.
    fn block(&self, block: &Block, frame: &Frame, path: &mut Vec<u32>, waits: &mut Waits) -> Progress {
        let mut live = false;
        for (position, step) in block.steps.iter().enumerate().skip(frame.ended) {
            let at = position as u32;
            let state = frame.state(at);
            if state.is_ended() {
                continue;
            }
            path.push(at);
            let event = match frame.node(at).filter(|_| state != State::Pending) {
                Some(node) => self.going(step, node, path, waits),
                None => match ready(block, step, frame) {
                    Ready::Yes => Some(self.begin(step, Place(path.clone()))),
                    Ready::No => Some(Event::Skipped { place: Place(path.clone()), unmet: true }),
                    Ready::NotYet => None,
                },
            };
            path.pop();
            match event {
                Some(event) => return Progress::Record(event),
                None => live = true,
            }
        }
        if live { Progress::Live } else { Progress::Ended(verdict(block, frame)) }
    }

    /// The block inside of the step at `path`.
    pub(super) fn inner(
        &self,
        block: &Block,
        node: &Node,
        sub: u32,
        path: &mut Vec<u32>,
        waits: &mut Waits,
    ) -> Progress {
        let Some(frame) = node.subs.get(&sub) else { return Progress::Live };
        path.push(sub);
        let progress = self.block(block, frame, path, waits);
        path.pop();
        progress
    }

    /// What becomes of a step that has begun and not ended: an event, or it goes on waiting.
    fn going(&self, step: &Step, node: &Node, path: &mut Vec<u32>, waits: &mut Waits) -> Option<Event> {
        let place = |path: &[u32]| Place(path.to_vec());
        match (&step.kind, node.state) {
            (_, State::Running | State::InDoubt) if step.mock.is_some() => Some(self.mocked(step, place(path))),
            (Kind::Action(call), State::InDoubt) if call.on_doubt == OnDoubt::Hold => Some(in_doubt(place(path))),
            (Kind::Action(_), State::Running | State::InDoubt) => {
                waits.calls.push(place(path));
                None
            }
            (Kind::Action(_), State::Waiting(until)) if until <= self.now() => {
                let (attempt, key) = (node.attempt + 1, node.key);
                Some(Event::Called { place: place(path), attempt, input: None, key })
            }
            (Kind::Call(child), State::Waiting(until)) if until <= self.now() => {
                Some(self.invoke(child, place(path), node.attempt + 1, None, node.key))
            }
            (Kind::Call(child), State::Awaiting(until)) => {
                if until <= self.now() {
                    let length = words(child.timeout.unwrap_or_default());
                    let message = format!("flow `{}` took longer than the `timeout` of {length}", child.flow);
                    let failure = Failure::new(Class::Retry, TIMEOUT, message);
                    let (now, middle) = (self.around.now, u64::MAX / 2);
                    return Some(self.run.settle(self.flow, &place(path), Err(failure), now, middle));
                }
                waits.children.push(place(path));
                waits.until(until);
                None
            }
            (Kind::Wait { timeout }, State::Awaiting(until)) => {
                let place = place(path);
                if let Some(input) = self.run.resumed.get(&place) {
                    return Some(Event::Succeeded { place, output: input.clone() });
                }
                if until <= self.now() {
                    let message = format!("nobody answered within {}", words(timeout.unwrap_or_default()));
                    let failure = Failure::new(Class::Permanent, TIMEOUT, message);
                    return Some(Event::Failed { place, failure, retry_at: None });
                }
                waits.until(until);
                None
            }
            (Kind::Delay(_) | Kind::DelayUntil(_), State::Waiting(until)) if until <= self.now() => {
                Some(Event::Succeeded { place: place(path), output: Arc::new(Value::Null) })
            }
            (_, State::Waiting(until)) => {
                waits.until(until);
                None
            }
            (Kind::Foreach(each), State::Running) => self.each(each, node, path, waits),
            (Kind::Until(until), State::Running) => self.again(until, node, path, waits),
            (Kind::Scope(scope), State::Running) => self.guarded(scope, node, path, waits),
            (_, State::Running) => self.branches(step, node, path, waits),
            // A held step holds its run, which is looked at before its steps.
            (_, State::Pending | State::InDoubt | State::Awaiting(_) | State::Held) => None,
            (_, State::Succeeded | State::Failed | State::TimedOut | State::Skipped | State::Unmet) => None,
        }
    }

    fn mocked(&self, step: &Step, place: Place) -> Event {
        let scope = self.scope(&place.0);
        let rendered = match &step.mock {
            Some(Mock::Output(output)) => output.render(&scope).map(Ok),
            Some(Mock::Error(error)) => error.render(&scope).map(Err),
            None => Ok(Ok(Value::Null)),
        };
        let text = |error: &Value, key: &str| error.get(key).and_then(Value::as_str).map(str::to_owned);
        let failure = match rendered.map_err(Failure::from) {
            Ok(Ok(output)) => match readable("the output", output, DEEPEST) {
                Ok(output) => return Event::Succeeded { place, output: Arc::new(output) },
                Err(failure) => failure,
            },
            Ok(Err(error)) => Failure {
                class: Class::Permanent,
                code: text(&error, "code").unwrap_or_else(|| "run.mocked".to_owned()),
                message: text(&error, "message").unwrap_or_else(|| "a mocked failure".to_owned()),
                status: error.get("status").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok()),
                wait_ms: None,
            },
            Err(failure) => failure,
        };
        Event::Failed { place, failure: hidden(Some(step), failure), retry_at: None }
    }
}

/// The failure of a step without its words, if the step is secure: targets like to repeat what they were sent.
fn hidden(step: Option<&Step>, failure: Failure) -> Failure {
    match step.map(|step| step.secure) {
        Some(secure) if secure != Secure::default() => Failure { message: SECURE.to_owned(), ..failure },
        Some(_) | None => failure,
    }
}

fn in_doubt(place: Place) -> Event {
    let message = "the process went down during the call: it may have happened".to_owned();
    Event::Held { place: Some(place), failure: Failure::new(Class::Unknown, "run.in_doubt", message) }
}

/// `length` after `start`, ms since 1970.
fn later(start: Timestamp, length: Duration) -> i64 {
    let ms = i64::try_from(length.as_millis()).unwrap_or(NEVER / 2);
    start.as_millisecond().saturating_add(ms)
}

pub(super) fn words(length: Duration) -> String {
    jiff::SignedDuration::try_from(length).map_or_else(|_| format!("{length:?}"), |length| format!("{length:#}"))
}
