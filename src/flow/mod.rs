//! The flow language: a YAML file as typed ([`file`]), as checked ([`Flow`]), and what is wrong with it ([`Problem`]).
//!
//! Only [`Flow::load`] turns one into the other, and it reports all problems at once. After that no one checks again.

mod check;
mod file;
mod fit;
mod names;
mod policy;
mod problem;
mod reader;
mod source;
mod trigger;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::connector::{Connector, Connectors, OnDoubt};
use crate::mapping::{Condition, Mapping, Template};
use crate::schema::Schema;

pub use file::{KEYS, MAX_ATTEMPTS, MAX_DEPTH, MAX_STEPS};
pub use policy::{Backoff, Retry, duration};
pub use problem::*;
pub use reader::{is_flow_id, is_name, kind_of, snake_case};
pub use source::{At, MAX_BYTES, Source, child};
pub use trigger::{Dedupe, Trigger};

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
    /// True if a step answers the caller, who then waits for it.
    pub answers: bool,
    /// Where each step stands, by id.
    pub addresses: HashMap<String, Address>,
    /// Names of the connectors that its actions use.
    pub connectors: Vec<String>,
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

/// Steps side by side, in the order of the file.
#[derive(Debug, Default)]
pub struct Block {
    pub steps: Vec<Step>,
    /// Positions of the steps that no other follows: how they end is how the block ends.
    pub ends: Vec<u32>,
}

/// One node of a flow.
#[derive(Debug)]
pub struct Step {
    pub id: String,
    pub kind: Kind,
    pub when: Option<Condition>,
    /// `on_error: continue`: its failure does not stop what follows.
    pub continues: bool,
    /// What must have ended, and how, before it runs; empty at a block's start.
    pub after: Vec<After>,
}

/// One condition of `run_after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// Position in the same block.
    pub position: u32,
    pub on: Ends,
}

/// A set of ways in which a step can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends(u8);

impl Ends {
    pub const SUCCEEDED: Ends = Ends(1);
    pub const FAILED: Ends = Ends(2);
    pub const TIMED_OUT: Ends = Ends(4);
    /// Its `when` was false.
    pub const SKIPPED: Ends = Ends(8);
    /// What it follows did not end as it asks.
    pub const UNMET: Ends = Ends(16);
    /// Without `run_after`: the step above succeeded, or was skipped by its own `when`.
    pub const DEFAULT: Ends = Ends(1 | 8);

    pub const fn or(self, other: Ends) -> Ends {
        Ends(self.0 | other.0)
    }

    pub const fn has(self, one: Ends) -> bool {
        self.0 & one.0 != 0
    }
}

/// What a step does.
#[derive(Debug)]
pub enum Kind {
    Action(Box<Call>),
    Response(Box<Answering>),
    Set(Mapping),
    If { condition: Condition, then: Block, otherwise: Block },
    Delay(Template),
    Terminate { status: Termination, message: Mapping },
}

/// A call of a connector's action.
#[derive(Debug)]
pub struct Call {
    pub connector: Arc<Connector>,
    pub action: String,
    /// Name of the connection; its settings and credentials are looked up at each call.
    pub connection: Option<String>,
    pub input: Mapping,
    /// Of one attempt; the connector's own unless set.
    pub timeout: Option<Duration>,
    pub retry: Retry,
    pub on_doubt: OnDoubt,
}

/// What a `response` step answers.
#[derive(Debug)]
pub struct Answering {
    pub status: Mapping,
    pub headers: Mapping,
    pub body: Mapping,
}

/// How `terminate` ends a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Termination {
    Succeeded,
    Failed,
    Cancelled,
}

/// The way from a flow's start to one of its steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(pub Vec<Hop>);

/// One hop of an [`Address`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    Position(u32),
    /// Into a fixed branch of the step before.
    Branch(u32),
}

/// Sub-block numbers of an `if`.
pub const THEN: u32 = 0;
pub const ELSE: u32 = 1;

impl Step {
    /// The block entered by branch or iteration `sub`.
    pub fn block(&self, sub: u32) -> Option<&Block> {
        match (&self.kind, sub) {
            (Kind::If { then, .. }, THEN) => Some(then),
            (Kind::If { otherwise, .. }, ELSE) => Some(otherwise),
            (Kind::If { .. }, _) => None,
            (Kind::Action(_) | Kind::Response(_) | Kind::Set(_) | Kind::Delay(_) | Kind::Terminate { .. }, _) => None,
        }
    }

    /// Every block inside this step, with its number.
    pub fn blocks(&self) -> Vec<(u32, &Block)> {
        match &self.kind {
            Kind::If { then, otherwise, .. } => vec![(THEN, then), (ELSE, otherwise)],
            Kind::Action(_) | Kind::Response(_) | Kind::Set(_) | Kind::Delay(_) | Kind::Terminate { .. } => Vec::new(),
        }
    }
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

    /// The step at a place of a run of this flow.
    ///
    /// `path` holds positions and branches (or iterations) in turn.
    pub fn step(&self, path: &[u32]) -> Option<&Step> {
        let mut block = &self.steps;
        let mut parts = path.iter();
        loop {
            let step = block.steps.get(*parts.next()? as usize)?;
            match parts.next() {
                None => return Some(step),
                Some(sub) => block = step.block(*sub)?,
            }
        }
    }
}
