//! The one gate for events: `Run + Event → Run`. An event that does not follow from the state is refused, not guessed at.

use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::connector::Class;

/// An event that cannot have happened in this state: the journal is damaged, or a fault of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the history of run {run} does not fit together: {what}")]
pub struct Illegal {
    pub run: RunId,
    pub what: String,
}

impl Event {
    /// The step that an event says something of, unless it comes from the outside or holds the run.
    fn place(&self) -> Option<&Place> {
        match self {
            Event::Called { place, .. }
            | Event::Succeeded { place, .. }
            | Event::Failed { place, .. }
            | Event::Skipped { place, .. }
            | Event::Iterating { place, .. }
            | Event::Entered { place, .. }
            | Event::Left { place, .. }
            | Event::Waiting { place, .. }
            | Event::Listening { place, .. }
            | Event::Resumed { place, .. }
            | Event::Invoked { place, .. }
            | Event::Assigned { place, .. }
            | Event::Responded { place, .. }
            | Event::Held { place: Some(place), .. } => Some(place),
            Event::Started(_)
            | Event::Rejected(_)
            | Event::Recovered { .. }
            | Event::Held { place: None, .. }
            | Event::Released
            | Event::Failing { .. }
            | Event::Finished { .. } => None,
        }
    }
}

impl Run {
    /// A run as its first fact makes it.
    pub fn new(id: RunId, at: Timestamp, started: Arc<Started>) -> Run {
        Run {
            id,
            started,
            started_at: at,
            updated_at: at,
            finished: None,
            failure: None,
            begun_at: None,
            root: Frame::default(),
            failing: None,
            handler: Frame::default(),
            vars: Map::new(),
            resumed: BTreeMap::new(),
            response: None,
            recoveries: 0,
            held: None,
        }
    }

    /// Folds a whole history.
    ///
    /// # Errors
    /// If it does not begin with `Started`, or does not fit together.
    pub fn replay(id: RunId, records: &[Record]) -> Result<Run, Illegal> {
        let mut events = records.iter().flat_map(|record| record.events.iter().map(|event| (record.at, event)));
        let Some((at, Event::Started(started))) = events.next() else {
            return Err(Illegal { run: id, what: "it does not begin with `started`".into() });
        };
        let mut run = Run::new(id, at, started.clone());
        for (at, event) in events {
            run.apply(at, event)?;
        }
        Ok(run)
    }

    /// Folds one event.
    ///
    /// # Errors
    /// If the event does not follow from the state; the run is then as it was.
    pub fn apply(&mut self, at: Timestamp, event: &Event) -> Result<(), Illegal> {
        let run = self.id;
        let refuse = |what: String| Err(Illegal { run, what });
        if let Some(status) = self.finished {
            return refuse(format!("something happened after it ended as {status}"));
        }
        let allowed = |node: &Node, place: &Place, states: &[State], what: &str| {
            let is = |state: &State| std::mem::discriminant(state) == std::mem::discriminant(&node.state);
            if states.iter().any(is) {
                return Ok(());
            }
            Err(Illegal { run, what: format!("step {place} {what} while it was {}", node.state.name()) })
        };
        let waiting = State::Waiting(0);
        let awaiting = State::Awaiting(0);
        if let Some(place) = event.place()
            && self.failing.is_some()
            && place.0.first() != Some(&HANDLER)
        {
            return refuse(format!("step {place} went on after the steps had failed"));
        }
        let now_ms = at.as_millisecond();
        match event {
            Event::Started(_) | Event::Rejected(_) => return refuse("it began twice".into()),
            Event::Called { place, attempt, input, key } => {
                let node = self.node_mut(place)?;
                allowed(node, place, &[State::Pending, waiting, State::InDoubt], "was called")?;
                if *attempt != node.attempt + 1 || (input.is_none() && node.input.is_none()) {
                    return refuse(format!("attempt {attempt} of step {place} has no attempt before it"));
                }
                node.state = State::Running;
                node.attempt = *attempt;
                node.key = *key;
                node.since = now_ms;
                if let Some(input) = input {
                    node.input = Some(input.clone());
                }
            }
            Event::Invoked { place, attempt, input, key, child, until } => {
                let node = self.node_mut(place)?;
                allowed(node, place, &[State::Pending, waiting], "called another flow")?;
                if *attempt != node.attempt + 1 || (input.is_none() && node.input.is_none()) {
                    return refuse(format!("attempt {attempt} of step {place} has no attempt before it"));
                }
                node.state = State::Awaiting(until.unwrap_or(NEVER));
                node.attempt = *attempt;
                node.key = *key;
                node.child = Some(*child);
                node.since = now_ms;
                if let Some(input) = input {
                    node.input = Some(input.clone());
                }
            }
            Event::Succeeded { place, output } => {
                let node = self.node_mut(place)?;
                let from = [State::Running, State::InDoubt, waiting, awaiting];
                allowed(node, place, &from, "succeeded")?;
                node.output = Some(match node.looped.as_mut().filter(|looped| looped.collects) {
                    Some(looped) => Arc::new(Value::Array(std::mem::take(&mut looped.collected))),
                    None => output.clone(),
                });
                self.end(place, State::Succeeded);
            }
            Event::Failed { place, failure, retry_at } => {
                let node = self.node_mut(place)?;
                allowed(node, place, &[State::Pending, State::Running, State::InDoubt, awaiting], "failed")?;
                node.failure = Some(failure.clone());
                match retry_at {
                    Some(until) => node.state = State::Waiting(*until),
                    None => {
                        let timed_out = TIMED_OUT.contains(&failure.code.as_str());
                        self.end(place, if timed_out { State::TimedOut } else { State::Failed });
                    }
                }
            }
            Event::Skipped { place, unmet } => {
                allowed(self.node_mut(place)?, place, &[State::Pending], "was skipped")?;
                self.end(place, if *unmet { State::Unmet } else { State::Skipped });
            }
            Event::Iterating { place, items, collects } => {
                let node = self.node_mut(place)?;
                allowed(node, place, &[State::Pending], "began to iterate")?;
                let Value::Array(list) = items.as_ref() else {
                    return refuse(format!("step {place} iterates over what is no list"));
                };
                node.state = State::Running;
                node.since = now_ms;
                let collected = if *collects { vec![Value::Null; list.len()] } else { Vec::new() };
                let (items, collects) = (items.clone(), *collects);
                node.looped = Some(Box::new(Looped { items, collects, collected, failed: 0, first: None }));
            }
            Event::Entered { place, sub, again } => {
                let node = self.node_mut(place)?;
                allowed(node, place, &[State::Pending, State::Running], "was entered")?;
                if *again {
                    node.subs.clear();
                }
                if node.subs.insert(*sub, Frame::default()).is_some() {
                    return refuse(format!("branch {sub} of step {place} was entered twice"));
                }
                if node.state == State::Pending {
                    node.since = now_ms;
                }
                node.entered = sub.saturating_add(1);
                node.state = State::Running;
            }
            Event::Left { place, sub, value, failure } => {
                let node = self.node_mut(place)?;
                allowed(node, place, &[State::Running], "left an iteration")?;
                let Some(looped) = node.looped.as_mut().filter(|_| node.subs.contains_key(sub)) else {
                    return refuse(format!("iteration {sub} of step {place} ended but had not begun"));
                };
                if let (Some(value), Some(at)) = (value, looped.collected.get_mut(*sub as usize)) {
                    *at = Value::clone(value);
                }
                if let Some(failure) = failure {
                    looped.failed += 1;
                    looped.first.get_or_insert_with(|| (*sub, failure.clone()));
                }
                node.subs.remove(sub);
                self.recoveries = 0;
            }
            Event::Waiting { place, until } => {
                let node = self.node_mut(place)?;
                allowed(node, place, &[State::Pending], "began to wait")?;
                node.state = State::Waiting(*until);
            }
            Event::Listening { place, until } => {
                let node = self.node_mut(place)?;
                allowed(node, place, &[State::Pending], "began to wait")?;
                node.state = State::Awaiting(until.unwrap_or(NEVER));
            }
            Event::Resumed { place, input } => {
                allowed(self.node_mut(place)?, place, &[State::Pending, awaiting], "was resumed")?;
                if self.resumed.insert(place.clone(), input.clone()).is_some() {
                    return refuse(format!("step {place} was resumed twice"));
                }
            }
            Event::Assigned { place, vars, owner } => {
                allowed(self.node_mut(place)?, place, &[State::Pending], "set variables")?;
                match self.vars_mut(place, *owner) {
                    Some(owned) => owned.extend(vars.clone()),
                    None => return refuse(format!("step {place} set variables of a branch it is not in")),
                }
                let output = Arc::new(Value::Object(vars.clone()));
                self.node_mut(place)?.output = Some(output);
                self.end(place, State::Succeeded);
            }
            Event::Responded { place, response } => {
                allowed(self.node_mut(place)?, place, &[State::Pending], "answered")?;
                if self.response.is_some() {
                    return refuse("it answered twice".into());
                }
                self.response = Some(response.clone());
                self.end(place, State::Succeeded);
            }
            Event::Recovered { crashed } => {
                self.recoveries += u32::from(*crashed);
                doubt(&mut self.root);
                doubt(&mut self.handler);
            }
            Event::Held { place, failure } => {
                match place {
                    Some(place) => {
                        let node = self.node_mut(place)?;
                        allowed(node, place, &[State::Running, State::InDoubt, State::Pending], "was held")?;
                        node.state = State::Held;
                        node.failure = Some(failure.clone());
                    }
                    None if self.held.is_some() => return refuse("it was held twice".into()),
                    None => {}
                }
                self.held = Some(failure.clone());
            }
            Event::Released => {
                if self.held.take().is_none() {
                    return refuse("it was released but not held".into());
                }
                self.recoveries = 0;
                release(&mut self.root, now_ms);
                release(&mut self.handler, now_ms);
            }
            Event::Failing { status, failure } => {
                if self.failing.replace((*status, failure.clone())).is_some() {
                    return refuse("it failed twice".into());
                }
                self.recoveries = 0;
            }
            Event::Finished { status, failure } => {
                self.finished = Some(*status);
                self.failure = failure.clone();
            }
        }
        self.updated_at = at;
        self.begun_at.get_or_insert(at);
        Ok(())
    }

    fn vars_mut(&mut self, place: &Place, owner: usize) -> Option<&mut Map<String, Value>> {
        if owner == 0 {
            return Some(&mut self.vars);
        }
        let inside = Place(place.0.get(..owner)?.iter().copied().chain([0]).collect());
        self.frame_mut(&inside).map(|(frame, _)| &mut frame.vars)
    }

    /// Ends a step. Progress was made, so the process's going down is not this run's doing.
    fn end(&mut self, place: &Place, state: State) {
        self.recoveries = 0;
        self.resumed.remove(place);
        let Some((frame, position)) = self.frame_mut(place) else {
            return;
        };
        let node = &mut frame.nodes[position];
        node.state = state;
        node.input = None;
        node.looped = None;
        node.subs.retain(|_, _| state == State::Succeeded || state == State::Failed || state == State::TimedOut);
        while frame.nodes.get(frame.ended).is_some_and(|node| node.state.is_ended()) {
            frame.ended += 1;
        }
    }

    fn frame_mut(&mut self, place: &Place) -> Option<(&mut Frame, usize)> {
        let (mut frame, path) = match &place.0[..] {
            [HANDLER, _, rest @ ..] => (&mut self.handler, rest),
            path => (&mut self.root, path),
        };
        let mut parts = path.iter();
        loop {
            let position = *parts.next()? as usize;
            match parts.next() {
                None => return Some((frame, position)),
                Some(sub) => frame = frame.nodes.get_mut(position)?.subs.get_mut(sub)?,
            }
        }
    }

    fn node_mut(&mut self, place: &Place) -> Result<&mut Node, Illegal> {
        let run = self.id;
        let missing = Illegal { run, what: format!("step {place} is inside a step that was not entered") };
        let (frame, position) = self.frame_mut(place).ok_or(missing)?;
        // A flow's size is limited, a damaged record's is not.
        if position >= crate::flow::MAX_STEPS {
            return Err(Illegal { run, what: format!("place {place} is not in any flow") });
        }
        if frame.nodes.len() <= position {
            frame.nodes.resize_with(position + 1, Node::default);
        }
        Ok(&mut frame.nodes[position])
    }
}

/// The failure codes of what took too long: a step that ends in one has *timed out*.
pub const TIMED_OUT: [&str; 2] = ["outbound.timeout", super::next::TIMEOUT];

fn doubt(frame: &mut Frame) {
    for node in frame.nodes.iter_mut().filter(|node| node.state == State::Running) {
        if node.attempt > 0 {
            node.state = State::InDoubt;
        }
        node.subs.values_mut().for_each(doubt);
    }
}

/// Held steps go on at once: those that had been called are called again, the others begin.
fn release(frame: &mut Frame, now: i64) {
    for node in &mut frame.nodes {
        if node.state == State::Held {
            node.state = if node.attempt > 0 { State::Waiting(now) } else { State::Pending };
            let in_doubt = node.failure.as_ref().is_some_and(|failure| failure.class == Class::Unknown);
            // A retry counts from the person's decision, not from what failed before it.
            node.attempt = if in_doubt { node.attempt } else { node.attempt.min(1) };
        }
        node.subs.values_mut().for_each(|frame| release(frame, now));
    }
}
