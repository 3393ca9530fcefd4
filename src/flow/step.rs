//! Steps as checked: what each kind does, in which order they run, and where each stands.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Retry;
use crate::connector::{Connector, OnDoubt};
use crate::mapping::{Condition, Mapping, Template};

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
    pub secure: Secure,
    /// Given instead of a call.
    pub mock: Option<Mock>,
}

/// What of a step no history shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Secure {
    pub inputs: bool,
    pub outputs: bool,
}

/// `mock:`: how a call ends without being made.
#[derive(Debug)]
pub enum Mock {
    Output(Mapping),
    /// `{code, message, status}`.
    Error(Mapping),
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
pub struct Ends(pub(super) u8);

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
    /// Another flow, in this process.
    Call(Box<Child>),
    Response(Box<Answering>),
    Set(Assignment),
    If {
        condition: Condition,
        then: Block,
        otherwise: Block,
    },
    Switch(Box<Switch>),
    Foreach(Box<Foreach>),
    Until(Box<Until>),
    /// Branches that run at once, with their names.
    Parallel(Vec<(String, Block)>),
    Scope(Box<Guarded>),
    Delay(Template),
    DelayUntil(Template),
    /// For a POST to the step's own URL; times out after so long.
    Wait {
        timeout: Option<Duration>,
    },
    Terminate {
        status: Termination,
        message: Mapping,
    },
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

/// A call of another flow.
#[derive(Debug)]
pub struct Child {
    /// Its id; which version runs is decided at each call.
    pub flow: String,
    /// What it is given as `trigger.body`.
    pub body: Mapping,
    /// Of one attempt: the child is then cancelled.
    pub timeout: Option<Duration>,
    pub retry: Retry,
}

/// What a `set` step gives variables.
#[derive(Debug)]
pub struct Assignment {
    /// Names of the variables.
    pub names: Vec<String>,
    pub values: Mapping,
    /// How many leading numbers of the step's place name the branch or iteration that owns the variables; 0: the run.
    pub owner: usize,
}

/// What a `response` step answers.
#[derive(Debug)]
pub struct Answering {
    pub status: Mapping,
    pub headers: Mapping,
    pub body: Mapping,
}

/// `switch`: the first case that holds the value, or else the default.
#[derive(Debug)]
pub struct Switch {
    pub on: Template,
    pub cases: Vec<(Vec<Value>, Block)>,
    pub default: Block,
}

/// `foreach`: the block once an item.
#[derive(Debug)]
pub struct Foreach {
    pub items: Template,
    /// Iterations at once, from 1.
    pub concurrency: u32,
    pub body: Block,
    pub collect: Option<Mapping>,
}

/// `until`: the block again and again, until the condition holds after it.
#[derive(Debug)]
pub struct Until {
    pub condition: Condition,
    /// Most iterations.
    pub count: u32,
    /// After this time no further iteration begins.
    pub time: Duration,
    /// False: at a limit the step succeeds all the same.
    pub fails: bool,
    pub body: Block,
}

/// `scope`: steps, what to do once they failed, and what to do in any case.
#[derive(Debug)]
pub struct Guarded {
    pub body: Block,
    pub catch: Option<Block>,
    pub finally: Option<Block>,
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
    /// Into an iteration of the step before.
    Iteration,
    /// Into the flow's `on_failure`.
    Handler,
}

/// Sub-block numbers of an `if`.
pub const THEN: u32 = 0;
pub const ELSE: u32 = 1;
/// Sub-block numbers of a `scope`.
pub const BODY: u32 = 0;
pub const CATCH: u32 = 1;
pub const FINALLY: u32 = 2;
/// The first number of a place in a flow's `on_failure`, where another place has a position.
pub const HANDLER: u32 = u32::MAX;

impl Step {
    /// The block entered by branch or iteration `sub`.
    pub fn block(&self, sub: u32) -> Option<&Block> {
        match &self.kind {
            Kind::If { then, .. } if sub == THEN => Some(then),
            Kind::If { otherwise, .. } if sub == ELSE => Some(otherwise),
            Kind::Switch(switch) => match switch.cases.get(sub as usize) {
                Some((_, block)) => Some(block),
                None => (sub as usize == switch.cases.len()).then_some(&switch.default),
            },
            Kind::Foreach(each) => Some(&each.body),
            Kind::Until(until) => Some(&until.body),
            Kind::Parallel(branches) => branches.get(sub as usize).map(|(_, block)| block),
            Kind::Scope(scope) => match sub {
                BODY => Some(&scope.body),
                CATCH => scope.catch.as_ref(),
                FINALLY => scope.finally.as_ref(),
                _ => None,
            },
            Kind::If { .. }
            | Kind::Action(_)
            | Kind::Call(_)
            | Kind::Response(_)
            | Kind::Set(_)
            | Kind::Delay(_)
            | Kind::DelayUntil(_)
            | Kind::Wait { .. }
            | Kind::Terminate { .. } => None,
        }
    }

    /// Every block inside this step, and the way into it.
    pub fn blocks(&self) -> Vec<(Hop, &Block)> {
        let branch = |sub: usize| Hop::Branch(sub as u32);
        match &self.kind {
            Kind::If { then, otherwise, .. } => vec![(Hop::Branch(THEN), then), (Hop::Branch(ELSE), otherwise)],
            Kind::Switch(switch) => {
                let cases = switch.cases.iter().map(|(_, block)| block).chain([&switch.default]);
                cases.enumerate().map(|(sub, block)| (branch(sub), block)).collect()
            }
            Kind::Foreach(each) => vec![(Hop::Iteration, &each.body)],
            Kind::Until(until) => vec![(Hop::Iteration, &until.body)],
            Kind::Parallel(branches) => {
                branches.iter().enumerate().map(|(sub, (_, block))| (branch(sub), block)).collect()
            }
            Kind::Scope(scope) => {
                let parts = [Some(&scope.body), scope.catch.as_ref(), scope.finally.as_ref()];
                let parts = parts.into_iter().enumerate().filter_map(|(sub, block)| Some((branch(sub), block?)));
                parts.collect()
            }
            Kind::Action(_)
            | Kind::Call(_)
            | Kind::Response(_)
            | Kind::Set(_)
            | Kind::Delay(_)
            | Kind::DelayUntil(_)
            | Kind::Wait { .. }
            | Kind::Terminate { .. } => Vec::new(),
        }
    }

    /// What the way into a block is called, values of a case with `between` between them; `None` for an iteration.
    pub fn branch_name(&self, sub: u32, between: &str) -> Option<String> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some(match &self.kind {
            Kind::If { .. } => (if sub == THEN { "then" } else { "else" }).to_owned(),
            Kind::Switch(switch) => match switch.cases.get(sub as usize) {
                Some((values, _)) => values.iter().map(text).collect::<Vec<_>>().join(between),
                None => "default".to_owned(),
            },
            Kind::Parallel(branches) => branches.get(sub as usize)?.0.clone(),
            Kind::Scope(_) if sub == BODY => "scope".to_owned(),
            Kind::Scope(_) => (if sub == CATCH { "catch" } else { "finally" }).to_owned(),
            _ => return None,
        })
    }

    /// What is done again after a failure, if the step is a call.
    pub fn retry(&self) -> Option<&Retry> {
        match &self.kind {
            Kind::Action(call) => Some(&call.retry),
            Kind::Call(child) => Some(&child.retry),
            _ => None,
        }
    }
}
