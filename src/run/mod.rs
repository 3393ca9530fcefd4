//! A run: its events, the state they fold to, and what comes next. Pure: no clock, no I/O.
//!
//! Live running and recovery fold events through the same [`Run::apply`]; [`Run::next`] says what follows from the
//! state. So a run that went down between two appends goes on exactly where its events end.

mod apply;
mod event;
mod history;
mod id;
mod next;
mod record;
mod request;
mod scope;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::connector::Failure;

pub use apply::Illegal;
pub use event::Event;
pub use history::history;
pub use id::{Digest, Place, RunId};
pub use next::{Around, Next};
pub use record::{RECORD_VERSION, Record, Unreadable};
pub use request::{Body, Origin, Parent, Rejected, Request, Response, Started};
pub use scope::AtTheDoor;
pub use status::{Status, Summary};

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
    pub root: Frame,
    pub vars: Map<String, Value>,
    pub response: Option<Arc<Response>>,
    /// Times in a row that the process went down with this run open and no step ended in between.
    pub recoveries: u32,
    /// Set while the whole run is held.
    pub held: Option<Failure>,
}

/// The steps of one block, by position. A position beyond the end is a step that has not begun.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    pub nodes: Vec<Node>,
    /// How many leading steps have ended: where looking for work begins.
    pub ended: usize,
}

/// How one step stands.
#[derive(Debug, Clone, Default)]
pub struct Node {
    pub state: State,
    /// Calls begun so far.
    pub attempt: u32,
    pub key: Uuid,
    pub input: Option<Arc<Value>>,
    pub output: Option<Arc<Value>>,
    pub failure: Option<Failure>,
    /// Branches or iterations entered.
    pub subs: BTreeMap<u32, Frame>,
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

impl State {
    pub fn is_ended(self) -> bool {
        match self {
            State::Pending | State::Running | State::InDoubt | State::Waiting(_) | State::Held => false,
            State::Succeeded | State::Failed | State::TimedOut | State::Skipped | State::Unmet => true,
        }
    }

    /// As templates and histories name it.
    pub fn name(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Running => "running",
            State::InDoubt => "in_doubt",
            State::Waiting(_) => "waiting",
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
}

impl Run {
    /// The node at a place, if its step has begun.
    pub fn node(&self, place: &Place) -> Option<&Node> {
        let mut frame = &self.root;
        let mut parts = place.0.iter();
        loop {
            let node = frame.node(*parts.next()?)?;
            match parts.next() {
                None => return Some(node),
                Some(sub) => frame = node.subs.get(sub)?,
            }
        }
    }

    /// The run as lists show it.
    pub fn summary(&self, status: Status) -> Summary {
        let failure = self.failure.as_ref().or(self.held.as_ref());
        Summary {
            run_id: self.id,
            flow: self.started.flow.clone(),
            status,
            started_at: self.started_at,
            updated_at: self.updated_at,
            origin: self.started.origin.as_ref().map(|origin| origin.run),
            reason: failure.map(|failure| failure.message.clone()),
        }
    }
}
