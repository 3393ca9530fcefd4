//! The flow language: a YAML file as typed ([`file`]), as checked ([`Flow`]), and what is wrong with it ([`Problem`]).
//!
//! Only [`Flow::load`] turns one into the other, and it reports all problems at once. After that no one checks again.

mod check;
mod doubt;
mod file;
mod fit;
mod names;
mod policy;
mod problem;
mod reader;
mod schedule;
mod source;
mod step;
mod trigger;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use crate::connector::Connectors;
use crate::schema::Shape;

pub use file::{KEYS, MAX_ATTEMPTS, MAX_DEPTH, MAX_STEPS};
pub use policy::{Backoff, Retry, duration, is_held_back};
pub use problem::*;
pub use reader::{is_flow_id, is_name, kind_of, snake_case};
pub use schedule::{Cron, Missed, Rhythm, Schedule};
pub use source::{At, Extent, MAX_BYTES, Source, child};
pub use step::*;
pub use trigger::*;

/// A flow as checked: every name resolved, every template parsed.
#[derive(Debug)]
pub struct Flow {
    pub id: String,
    pub description: Option<String>,
    /// Former ids, whose URLs still work.
    pub aliases: Vec<String>,
    pub enabled: bool,
    /// How many of its runs may be open at once; as many as there are slots unless set.
    pub concurrency: Option<Concurrency>,
    pub trigger: Trigger,
    pub steps: Block,
    /// What is done once the steps have failed, before the run ends.
    pub on_failure: Option<Block>,
    /// How long a run may take from its first step on.
    pub timeout: Option<Duration>,
    /// True if a step answers the caller, who then waits for it.
    pub answers: bool,
    /// Where each step stands, by id.
    pub addresses: HashMap<String, Address>,
    /// Names of the connectors that its actions use.
    pub connectors: Vec<String>,
    /// Ids of the flows that it calls, and the place of the first call of each in the file (JSON Pointer).
    pub calls: BTreeMap<String, String>,
    /// Paths of the files it was made of, as written in it.
    pub files: Vec<String>,
}

/// How many runs of a flow may be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concurrency {
    /// Runs that have begun and are not held: at work, or waiting for something.
    pub running: u32,
    /// Runs in line behind them; beyond it requests are answered 429.
    pub queued: u32,
}

impl Concurrency {
    /// How many may be in line where the file does not say.
    pub const QUEUED: u32 = 100;
}

/// What a flow's names are resolved against.
pub struct Known<'k> {
    pub connectors: &'k Connectors,
    /// Connection names and their connectors; `None` where a run's own old definition is read again, since
    /// connections are always the present ones.
    pub connections: Option<&'k BTreeMap<String, String>>,
    /// Names that `env.…` may read; `None` as above.
    pub env: Option<&'k [String]>,
    /// Reads a file that the flow names, by its path as written there.
    pub read: &'k dyn Fn(&str) -> Result<String, String>,
}

/// A file that was read: the flow unless there are errors, and all problems in the order of the file.
#[derive(Debug)]
pub struct Loaded {
    pub flow: Option<Flow>,
    /// Id, even of a flow with errors, if it could be read.
    pub id: Option<String>,
    /// Paths of the files that it names, even of a flow with errors: once they change, it may have none.
    pub files: Vec<String>,
    pub problems: Vec<Problem>,
}

impl Flow {
    /// Reads and checks one flow file.
    pub fn load(file: &Path, text: &str, known: &Known<'_>) -> Loaded {
        check::load(file, text, known)
    }

    /// What templates can name at a place of a flow file (JSON Pointer), as one object whose members are `trigger`,
    /// `steps`, …: at a place without a template, what its step can name. `None` if no step or trigger is there.
    pub fn names_at(file: &Path, text: &str, known: &Known<'_>, pointer: &str) -> Option<Shape> {
        check::names_at(file, text, known, pointer)
    }

    /// The step at a place of a run of this flow.
    ///
    /// `path` holds positions and branches (or iterations) in turn.
    pub fn step(&self, path: &[u32]) -> Option<&Step> {
        let mut block = &self.steps;
        let mut parts = path.iter();
        if path.first() == Some(&HANDLER) {
            block = self.on_failure.as_ref()?;
            parts.next();
            parts.next();
        }
        loop {
            let step = block.steps.get(*parts.next()? as usize)?;
            match parts.next() {
                None => return Some(step),
                Some(sub) => block = step.block(*sub)?,
            }
        }
    }

    /// The step of this id.
    pub fn step_called(&self, id: &str) -> Option<&Step> {
        let numbers = |hop: &Hop| match hop {
            Hop::Handler => vec![HANDLER, 0],
            Hop::Position(number) | Hop::Branch(number) => vec![*number],
            // Any iteration will do: it leads to the same step.
            Hop::Iteration => vec![0],
        };
        let path: Vec<u32> = self.addresses.get(id)?.0.iter().flat_map(numbers).collect();
        self.step(&path)
    }
}
