//! Which steps and branches of the flows the cases have reached.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::stage::Played;
use crate::catalog::Snapshot;
use crate::flow::{Block, CATCH, Flow, Hop, Kind, Step};
use crate::run::{Event, Place};

/// By flow, in order.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Coverage {
    pub flows: BTreeMap<String, Covered>,
}

/// What of one flow was reached.
#[derive(Debug, Default, Serialize)]
pub struct Covered {
    pub steps: usize,
    pub steps_reached: usize,
    pub branches: usize,
    pub branches_reached: usize,
    /// Steps, and branches as in `judge: else`, in the order of the file.
    pub not_reached: Vec<String>,
    #[serde(skip)]
    parts: Vec<Part>,
    #[serde(skip)]
    reached: BTreeSet<String>,
}

/// A step or a branch.
#[derive(Debug)]
struct Part {
    name: String,
    branch: bool,
}

impl Coverage {
    /// Of these flows, nothing reached yet.
    pub(super) fn of<'f>(snapshot: &Snapshot, flows: impl Iterator<Item = &'f str>) -> Coverage {
        let mut coverage = Coverage::default();
        for live in flows.filter_map(|id| snapshot.flows.get(id)) {
            let mut parts = Vec::new();
            walk(&live.flow.steps, &mut parts);
            live.flow.on_failure.iter().for_each(|block| walk(block, &mut parts));
            let covered = coverage.flows.entry(live.flow.id.clone()).or_default();
            covered.parts = parts;
            covered.count();
        }
        coverage
    }

    /// Adds what a case has reached.
    pub(super) fn add(&mut self, played: &Played) {
        for run in &played.runs {
            let flow = &run.live.flow;
            let Some(covered) = self.flows.get_mut(&flow.id) else { continue };
            for event in run.records.iter().flat_map(|record| &record.events) {
                covered.reached.extend(reached(flow, event));
            }
            covered.count();
        }
    }

    /// A table for a person.
    pub fn table(&self) -> String {
        let width = self.flows.keys().map(String::len).max().unwrap_or(0).max(4);
        let mut out = format!("{:width$}  {:>9}  {:>9}  not reached\n", "flow", "steps", "branches");
        for (flow, covered) in &self.flows {
            let part = |reached: usize, all: usize| format!("{reached}/{all}");
            let steps = part(covered.steps_reached, covered.steps);
            let branches = part(covered.branches_reached, covered.branches);
            let line = format!("{flow:width$}  {steps:>9}  {branches:>9}  {}", covered.not_reached.join(", "));
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

impl Covered {
    fn count(&mut self) {
        let is = |part: &&Part| self.reached.contains(&part.name);
        let of = |branch: bool| self.parts.iter().filter(move |part| part.branch == branch);
        (self.steps, self.steps_reached) = (of(false).count(), of(false).filter(is).count());
        (self.branches, self.branches_reached) = (of(true).count(), of(true).filter(is).count());
        let left = self.parts.iter().filter(|part| !self.reached.contains(&part.name));
        self.not_reached = left.map(|part| part.name.clone()).collect();
    }
}

fn walk(block: &Block, parts: &mut Vec<Part>) {
    for step in &block.steps {
        parts.push(Part { name: step.id.clone(), branch: false });
        if step.when.is_some() {
            parts.push(Part { name: format!("{}: skipped", step.id), branch: true });
        }
        for (hop, inner) in step.blocks() {
            let sub = if let Hop::Branch(sub) = hop { sub } else { 0 };
            parts.extend(branch(step, sub).map(|name| Part { name, branch: true }));
            walk(inner, parts);
        }
    }
}

/// What the way into a block is called, where it is one of several that are not all taken.
fn branch(step: &Step, sub: u32) -> Option<String> {
    let name = match &step.kind {
        Kind::Foreach(_) => "an item".to_owned(),
        Kind::Parallel(_) => return None,
        Kind::Scope(_) if sub != CATCH => return None,
        _ => step.branch_name(sub, "|")?,
    };
    Some(format!("{}: {name}", step.id))
}

/// The parts that an event shows to be reached.
fn reached(flow: &Flow, event: &Event) -> Vec<String> {
    let id = |place: &Place| flow.step(&place.0).map(|step| step.id.clone());
    match event {
        Event::Skipped { unmet: true, .. } => Vec::new(),
        Event::Skipped { place, .. } => id(place).map(|id| format!("{id}: skipped")).into_iter().collect(),
        Event::Entered { place, sub, .. } => {
            let step = flow.step(&place.0);
            let sub = match step.map(|step| &step.kind) {
                Some(Kind::Foreach(_) | Kind::Until(_)) => 0,
                _ => *sub,
            };
            let entered = step.and_then(|step| branch(step, sub));
            id(place).into_iter().chain(entered).collect()
        }
        Event::Called { place, .. }
        | Event::Invoked { place, .. }
        | Event::Succeeded { place, .. }
        | Event::Failed { place, .. }
        | Event::Iterating { place, .. }
        | Event::Waiting { place, .. }
        | Event::Listening { place, .. }
        | Event::Assigned { place, .. }
        | Event::Responded { place, .. } => id(place).into_iter().collect(),
        Event::Failing { by, .. } | Event::Finished { by, .. } => by.as_ref().and_then(id).into_iter().collect(),
        _ => Vec::new(),
    }
}
