//! Beginning in the middle: what a run takes over of the run that it repeats, and what that makes its state.
//!
//! The unit is a step of the flow's own list: it is taken over whole, with the steps inside of it, or begins anew. Between
//! two versions of a flow a step is the same if its id is.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::record::exact;
use super::verdict::{Ready, culprits, ready};
use super::*;
use crate::flow::{Flow, Hop, MAX_STEPS, Step, suggest};

/// What steps of another run gave, as a fact of this one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TookOver {
    /// Each after the one around it.
    pub steps: Vec<Taken>,
    /// What variables were given, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vars: Vec<Gave>,
    /// What the caller of the other run was answered, and the position of the step that did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<(u32, Arc<Response>)>,
}

/// How a step ended in the other run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Taken {
    pub place: Place,
    pub ended: Ended,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "exact::some")]
    pub output: Option<Arc<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// The ways in which a step can have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    Succeeded,
    Failed,
    TimedOut,
    Skipped,
    Unmet,
}

/// Values of variables, and the position of the step in or inside of which they were set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gave {
    pub by: u32,
    #[serde(deserialize_with = "exact::map")]
    pub vars: Map<String, Value>,
}

impl Ended {
    fn of(state: State) -> Option<Ended> {
        Some(match state {
            State::Succeeded => Ended::Succeeded,
            State::Failed => Ended::Failed,
            State::TimedOut => Ended::TimedOut,
            State::Skipped => Ended::Skipped,
            State::Unmet => Ended::Unmet,
            State::Pending | State::Running | State::InDoubt | State::Waiting(_) | State::Awaiting(_) | State::Held => {
                return None;
            }
        })
    }

    /// The same, as a run has it.
    pub fn state(self) -> State {
        match self {
            Ended::Succeeded => State::Succeeded,
            Ended::Failed => State::Failed,
            Ended::TimedOut => State::TimedOut,
            Ended::Skipped => State::Skipped,
            Ended::Unmet => State::Unmet,
        }
    }
}

/// The steps and variables of a run that begins with this, or why it cannot.
pub(super) fn frame(run: &Run, taken: &TookOver) -> Result<(Frame, Map<String, Value>), String> {
    let begun = run.begun_at.is_some() || run.held.is_some() || run.failing.is_some() || run.response.is_some();
    if begun || !run.root.nodes.is_empty() || !run.vars.is_empty() || run.started.origin.is_none() {
        return Err("it took over steps when it had begun, or repeats no run".into());
    }
    let mut root = Frame::default();
    for step in &taken.steps {
        put(&mut root, step).ok_or_else(|| format!("step {} was taken over out of order", step.place))?;
    }
    count_ended(&mut root);
    let mut vars = Map::new();
    taken.vars.iter().for_each(|gave| vars.extend(gave.vars.clone()));
    Ok((root, vars))
}

fn put(root: &mut Frame, taken: &Taken) -> Option<()> {
    let path = &taken.place.0;
    let fits = path.len() % 2 == 1 && path.iter().step_by(2).all(|position| (*position as usize) < MAX_STEPS);
    let mut parts = path.iter().filter(|_| fits);
    let mut frame = root;
    loop {
        let position = *parts.next()? as usize;
        let Some(sub) = parts.next() else {
            if frame.nodes.len() <= position {
                frame.nodes.resize_with(position + 1, Node::default);
            }
            let node = &mut frame.nodes[position];
            if node.state != State::Pending {
                return None;
            }
            let (state, output, failure) = (taken.ended.state(), taken.output.clone(), taken.failure.clone());
            *node = Node { state, output, failure, ..Node::default() };
            return Some(());
        };
        let node = frame.nodes.get_mut(position)?;
        if !matches!(node.state, State::Succeeded | State::Failed | State::TimedOut) {
            return None;
        }
        node.entered = node.entered.max(sub.checked_add(1)?);
        frame = node.subs.entry(*sub).or_default();
    }
}

/// Sets how many leading steps have ended. Inside of a step that has, some may be missing: a newer version has more of them.
fn count_ended(frame: &mut Frame) {
    frame.ended = frame.nodes.iter().take_while(|node| node.state.is_ended()).count();
    frame.nodes.iter_mut().flat_map(|node| node.subs.values_mut()).for_each(count_ended);
}

/// Where a run begins that repeats another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeginAt {
    /// With the steps that failed, or that had not ended.
    Failed,
    /// With the step of this id, or the one of the flow's own list that it is inside of.
    Step(String),
}

/// What is taken over of a run, in the making: planned from how the run stands, and told the run's events.
#[derive(Debug)]
pub struct Takeover {
    taken: TookOver,
    /// For each position of the old version's list the one in the new, if that step is taken over.
    moved: Vec<Option<u32>>,
    begins: Vec<String>,
}

impl Takeover {
    /// What a run of `new` takes over of `origin`, a run of `old`.
    ///
    /// # Errors
    /// Why it cannot begin there, in words for a person.
    pub fn plan(origin: &Run, old: &Flow, new: &Flow, from: &BeginAt) -> Result<Takeover, String> {
        let top = &new.steps.steps;
        let failed = culprits(&old.steps, &origin.root);
        let begins = match from {
            BeginAt::Step(id) => vec![top_of(new, id)?],
            BeginAt::Failed => {
                let mut begins = Vec::new();
                for position in begin_with(origin, old, &failed) {
                    let id = &old.steps.steps[position as usize].id;
                    let found = top.iter().position(|step| step.id == *id).map(|found| found as u32);
                    begins.push(found.ok_or_else(|| {
                        format!(
                            "step `{id}` failed, and the flow's list has no such step any more; take the old version"
                        )
                    })?);
                }
                begins
            }
        };
        if begins.is_empty() {
            return Err("no step of it failed or was left undone; resubmit it whole".into());
        }
        let mut anew = vec![false; top.len()];
        for (position, step) in top.iter().enumerate() {
            let follows = step.after.iter().any(|after| anew.get(after.position as usize) == Some(&true));
            anew[position] = follows || begins.contains(&(position as u32));
        }
        let names = begins.iter().map(|position| top[*position as usize].id.clone()).collect();
        let mut plan = Takeover { taken: TookOver::default(), moved: vec![None; old.steps.steps.len()], begins: names };
        let was = |id: &str| old.steps.steps.iter().position(|step| step.id == id);
        for (position, step) in top.iter().enumerate() {
            let Some(before) = was(&step.id) else { continue };
            let name = &step.id;
            if anew[position] {
                continue;
            }
            if failed.contains(&(before as u32)) {
                return Err(format!(
                    "step `{name}` failed too, and does not follow; begin with it, or with what failed"
                ));
            }
            let node = origin.root.node(before as u32);
            let Some(node) = node.filter(|node| node.state.is_ended()) else { continue };
            plan.moved[before] = Some(position as u32);
            take(&mut plan.taken.steps, node, &old.steps.steps[before], step, Place::root(position as u32), new)?;
        }
        let mut frame = Frame::default();
        plan.taken.steps.iter().filter(|taken| taken.place.0.len() == 1).for_each(|taken| _ = put(&mut frame, taken));
        for position in begins {
            let step = &top[position as usize];
            let id = &step.id;
            if step.after.iter().any(|after| anew.get(after.position as usize) == Some(&true)) {
                continue;
            }
            if let Ready::No = ready(&new.steps, step, &frame) {
                return Err(format!(
                    "step `{id}` would be passed over, since what it follows ended otherwise than it asks"
                ));
            }
            // A step that is new is done first.
            let undone = step.after.iter().map(|after| &top[after.position as usize].id);
            let mut undone = undone.filter(|id| was(id).is_some_and(|before| plan.moved[before].is_none()));
            if let Some(undone) = undone.next() {
                return Err(format!("step `{id}` follows `{undone}`, which had not ended; begin with that"));
            }
        }
        Ok(plan)
    }

    /// Takes note of an event of the origin; each, in order.
    pub fn see(&mut self, event: &Event) {
        let moved = |position: u32| self.moved.get(position as usize).copied().flatten();
        let mut gave = Vec::new();
        match event {
            Event::Assigned { place, vars, owner: 0 } => gave.extend(moved(place.0[0]).map(|by| (by, vars))),
            Event::Responded { place, response } => {
                self.taken.response = moved(place.0[0]).map(|by| (by, response.clone())).or(self.taken.response.take());
            }
            Event::TookOver(taken) => {
                gave.extend(taken.vars.iter().filter_map(|gave| Some((moved(gave.by)?, &gave.vars))));
                let response = taken.response.as_ref();
                self.taken.response = response.and_then(|(by, response)| Some((moved(*by)?, response.clone())));
            }
            _ => {}
        }
        for (by, vars) in gave {
            match self.taken.vars.last_mut().filter(|last| last.by == by) {
                Some(last) => last.vars.extend(vars.clone()),
                None => self.taken.vars.push(Gave { by, vars: vars.clone() }),
            }
        }
    }

    /// Ids of the steps that the new run begins with.
    pub fn begins_with(&self) -> String {
        self.begins.join(", ")
    }

    /// The event that begins the new run's steps.
    pub fn event(self) -> Event {
        Event::TookOver(Box::new(self.taken))
    }
}

/// Positions of the steps that failed the run; else of those that were ready or at work when it ended.
fn begin_with(origin: &Run, old: &Flow, failed: &[u32]) -> Vec<u32> {
    if !failed.is_empty() {
        return failed.to_vec();
    }
    let steps = old.steps.steps.iter().enumerate();
    let undone = steps.filter(|(position, step)| {
        let state = origin.root.state(*position as u32);
        let ready = || matches!(ready(&old.steps, step, &origin.root), Ready::Yes);
        !state.is_ended() && (state != State::Pending || ready())
    });
    undone.map(|(position, _)| position as u32).collect()
}

/// The step of the flow's own list that is, or holds, the step of this id.
fn top_of(flow: &Flow, id: &str) -> Result<u32, String> {
    match flow.addresses.get(id).and_then(|address| address.0.first()) {
        Some(Hop::Position(position)) => Ok(*position),
        Some(_) => Err(format!("step `{id}` belongs to `on_failure`, which no run begins with")),
        None => {
            let known = suggest(id, flow.addresses.keys().map(String::as_str)).unwrap_or_default();
            Err(format!("flow `{}` has no step `{id}`; {known}", flow.id))
        }
    }
}

/// Takes an ended step and those inside of it. `place` is where it stands in the new version.
fn take(steps: &mut Vec<Taken>, node: &Node, was: &Step, is: &Step, place: Place, new: &Flow) -> Result<(), String> {
    let Some(ended) = Ended::of(node.state) else { return Ok(()) };
    let id = &is.id;
    if std::mem::discriminant(&was.kind) != std::mem::discriminant(&is.kind) {
        return Err(format!(
            "step `{id}` is of another kind now, so what it gave cannot be taken over; take the old version"
        ));
    }
    let (output, failure) = (node.output.clone(), node.failure.clone());
    steps.push(Taken { place: place.clone(), ended, output, failure });
    for (sub, frame) in &node.subs {
        let Some(block) = was.block(*sub) else { continue };
        for (inner, was) in frame.nodes.iter().zip(&block.steps) {
            // What nobody has any more nobody can name.
            let Some(address) = new.addresses.get(&was.id) else { continue };
            let around = new.addresses.get(id).map(|address| &address.0);
            let (sub, position) = match &address.0[..] {
                [before @ .., hop, Hop::Position(position)] if Some(before) == around.map(Vec::as_slice) => match hop {
                    Hop::Branch(branch) => (*branch, *position),
                    Hop::Iteration => (*sub, *position),
                    Hop::Position(_) | Hop::Handler => continue,
                },
                _ => {
                    let what =
                        format!("step `{}` was inside of `{id}` and is elsewhere now; take the old version", was.id);
                    return Err(what);
                }
            };
            let place = place.within(sub, position);
            let Some(is) = new.step(&place.0) else { continue };
            take(steps, inner, was, is, place, new)?;
        }
    }
    Ok(())
}
