//! A run: its events, the state they fold to, and what comes next. Pure: no clock, no I/O.
//!
//! Live running and recovery fold events through the same [`Run::apply`]; [`Run::next`] says what follows from the
//! state. So a run that went down between two appends goes on exactly where its events end.

mod apply;
mod begin;
mod door;
mod event;
mod headers;
mod history;
mod id;
mod inside;
mod next;
mod outcome;
mod record;
mod request;
mod scope;
mod status;
mod takeover;
#[cfg(test)]
mod tests;
mod verdict;
mod why;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::connector::Failure;
use crate::flow::HANDLER;

pub use apply::Illegal;
pub use apply::TIMED_OUT;
pub use begin::is_too_deep;
pub use door::AtTheDoor;
pub use event::Event;
pub use headers::Headers;
pub use history::{History, history, told_handled};
pub use id::{Digest, Pinned, Place, RunId};
pub use next::{Around, Next};
pub use outcome::answered;
pub use record::{RECORD_VERSION, Record, Unreadable};
pub use request::{Body, Origin, Parent, Rejected, Request, Response, Started};
pub use scope::place_of;
pub use status::{Handled, Status, Summary};
pub use takeover::{BeginAt, Ended, Gave, Taken, Takeover, TookOver};
pub use why::why;

/// The whole state of one run. Plain data: folding the same events gives the same.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: RunId,
    pub started: Arc<Started>,
    pub started_at: Timestamp,
    pub updated_at: Timestamp,
    /// Set once the run has ended.
    pub finished: Option<Status>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When its first step was decided; flow timeouts count from here.
    pub begun_at: Option<Timestamp>,
    pub root: Frame,
    /// Set once the steps have failed and the flow's `on_failure` is at work: how the run will end.
    pub failing: Option<(Status, Failure)>,
    /// The steps of `on_failure`.
    pub handler: Frame,
    pub vars: Map<String, Value>,
    /// What came for `wait` steps that have not ended.
    pub resumed: BTreeMap<Place, Arc<Value>>,
    pub response: Option<Arc<Response>>,
    /// Times in a row that the process went down with this run open and no step ended in between.
    pub recoveries: u32,
    /// Set while the whole run is held.
    pub held: Option<Failure>,
    /// Set once it has ended and a person has dealt with it.
    pub handled: Option<Handled>,
}

/// The steps of one block, by position. A position beyond the end is a step that has not begun.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    pub nodes: Vec<Node>,
    /// How many leading steps have ended: where looking for work begins.
    pub ended: usize,
    /// The item of this iteration.
    pub item: Option<Arc<Value>>,
    /// Variables of this branch or iteration alone.
    pub vars: Map<String, Value>,
}

/// How one step stands.
#[derive(Debug, Clone, Default)]
pub struct Node {
    pub state: State,
    /// Calls begun so far.
    pub attempt: u32,
    /// How many of them were held back here, and never made.
    pub held_back: u32,
    pub key: Uuid,
    pub input: Option<Arc<Value>>,
    pub output: Option<Arc<Value>>,
    pub failure: Option<Failure>,
    /// When its present attempt, or its first iteration, began; ms since 1970.
    pub since: i64,
    /// The run that a `call` waits for.
    pub child: Option<RunId>,
    /// Branches or iterations that are not forgotten.
    pub subs: BTreeMap<u32, Frame>,
    /// How many were entered.
    pub entered: u32,
    pub looped: Option<Box<Looped>>,
}

impl Node {
    /// What a `foreach` collected, if it does; it is gone then.
    fn take_collected(&mut self) -> Option<Arc<Value>> {
        let looped = self.looped.as_mut().filter(|looped| looped.collects)?;
        Some(Arc::new(Value::Array(std::mem::take(&mut looped.collected))))
    }
}

/// How a `foreach` stands.
#[derive(Debug, Clone)]
pub struct Looped {
    /// As text: thousands of items take many times as much memory as values.
    pub items: Vec<Box<RawValue>>,
    pub collects: bool,
    /// By iteration; null where one failed or has not ended.
    pub collected: Vec<Value>,
    /// About how many bytes `collected` has as JSON.
    pub bytes: usize,
    pub failed: u32,
    /// The first failure that was recorded, and its iteration.
    pub first: Option<(u32, Failure)>,
}

/// Where a step is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    #[default]
    Pending,
    /// A call is on its way, or a branch is entered.
    Running,
    /// The process went down while it ran: a call may have happened.
    InDoubt,
    /// Until a time, ms since 1970.
    Waiting(i64),
    /// For a POST, or for another run; at most until then, ms since 1970, [`NEVER`] without an end.
    Awaiting(i64),
    /// For a person.
    Held,
    Succeeded,
    Failed,
    TimedOut,
    /// Its `when` was false.
    Skipped,
    /// What it follows did not end as it asks.
    Unmet,
}

/// A time that does not come.
pub const NEVER: i64 = i64::MAX;

impl State {
    pub fn is_ended(self) -> bool {
        match self {
            State::Pending | State::Running | State::InDoubt | State::Waiting(_) | State::Awaiting(_) | State::Held => {
                false
            }
            State::Succeeded | State::Failed | State::TimedOut | State::Skipped | State::Unmet => true,
        }
    }

    /// As templates and histories name it.
    pub fn name(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Running => "running",
            State::InDoubt => "in_doubt",
            State::Waiting(_) | State::Awaiting(_) => "waiting",
            State::Held => "held",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::TimedOut => "timed_out",
            State::Skipped | State::Unmet => "skipped",
        }
    }
}

impl Frame {
    /// The node at `position`, if its step has begun.
    pub fn node(&self, position: u32) -> Option<&Node> {
        self.nodes.get(position as usize)
    }

    fn state(&self, position: u32) -> State {
        self.node(position).map_or(State::Pending, |node| node.state)
    }

    fn each(&self, path: &mut Vec<u32>, show: &mut dyn FnMut(&[u32], &Node)) {
        for (position, node) in self.nodes.iter().enumerate() {
            path.push(position as u32);
            show(path, node);
            for (sub, inner) in &node.subs {
                path.push(*sub);
                inner.each(path, show);
                path.pop();
            }
            path.pop();
        }
    }

    /// True if no step that began here goes on.
    fn is_ended(&self) -> bool {
        self.ended >= self.nodes.len()
    }
}

impl Run {
    /// The node at a place, if its step has begun.
    pub fn node(&self, place: &Place) -> Option<&Node> {
        let (frame, position) = self.frame(place)?;
        frame.node(position)
    }

    /// The steps among which a place is, if what is around them was entered, and its position there.
    fn frame(&self, place: &Place) -> Option<(&Frame, u32)> {
        let (mut frame, path) = self.origin(&place.0);
        let mut parts = path.iter();
        loop {
            let position = *parts.next()?;
            match parts.next() {
                None => return Some((frame, position)),
                Some(sub) => frame = frame.node(position)?.subs.get(sub)?,
            }
        }
    }

    /// The frame that a place starts in, and the way from there.
    fn origin<'p>(&self, path: &'p [u32]) -> (&Frame, &'p [u32]) {
        match path {
            [HANDLER, _, rest @ ..] => (&self.handler, rest),
            path => (&self.root, path),
        }
    }

    /// The runs that steps of this one wait for, or waited for when it failed, by place.
    pub fn children(&self) -> Vec<(Place, RunId)> {
        let mut found = Vec::new();
        let mut look = |place: &[u32], node: &Node| {
            if let (State::Awaiting(_), Some(child)) = (node.state, node.child) {
                found.push((Place(place.to_vec()), child));
            }
        };
        self.root.each(&mut Vec::new(), &mut look);
        self.handler.each(&mut vec![HANDLER, 0], &mut look);
        found
    }

    /// Shows every node at work that is not forgotten: the flow's steps, or those of `on_failure` once the steps failed.
    pub fn each(&self, show: &mut dyn FnMut(&[u32], &Node)) {
        match self.failing {
            None => self.root.each(&mut Vec::new(), show),
            Some(_) => self.handler.each(&mut vec![HANDLER, 0], show),
        }
    }

    /// The run as lists show it.
    pub fn summary(&self, status: Status) -> Summary {
        let mut failure = self.failure.as_ref().or(self.held.as_ref()).cloned();
        if failure.is_none() && status == Status::Waiting {
            // For another attempt, because of this.
            self.each(&mut |_, node| {
                if failure.is_none() && matches!(node.state, State::Waiting(_)) {
                    failure.clone_from(&node.failure);
                }
            });
        }
        Summary {
            run_id: self.id,
            flow: self.started.flow.clone(),
            status,
            started_at: self.started_at,
            updated_at: self.updated_at,
            origin: self.started.origin.as_ref().map(|origin| origin.run),
            reason: failure.as_ref().map(|failure| failure.message.clone()),
            code: failure.map(|failure| failure.code),
            parent: self.started.parent.as_ref().map(|parent| parent.run),
            bytes: 0,
            handled: self.handled.clone(),
        }
    }
}
