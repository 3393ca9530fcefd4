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
            root: Frame::default(),
            vars: Map::new(),
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
                if let Some(input) = input {
                    node.input = Some(input.clone());
                }
            }
            Event::Succeeded { place, output } => {
                let node = self.node_mut(place)?;
                allowed(node, place, &[State::Running, State::InDoubt, waiting], "succeeded")?;
                node.output = Some(output.clone());
                self.end(place, State::Succeeded);
            }
            Event::Failed { place, failure, retry_at } => {
                let node = self.node_mut(place)?;
                allowed(node, place, &[State::Pending, State::Running, State::InDoubt], "failed")?;
                node.failure = Some(failure.clone());
                match retry_at {
                    Some(until) => node.state = State::Waiting(*until),
                    None => {
                        let timed_out = failure.code == TIMEOUT;
                        self.end(place, if timed_out { State::TimedOut } else { State::Failed });
                    }
                }
            }
            Event::Skipped { place, unmet } => {
                allowed(self.node_mut(place)?, place, &[State::Pending], "was skipped")?;
                self.end(place, if *unmet { State::Unmet } else { State::Skipped });
            }
            Event::Entered { place, sub } => {
                let node = self.node_mut(place)?;
                allowed(node, place, &[State::Pending, State::Running], "was entered")?;
                if node.subs.insert(*sub, Frame::default()).is_some() {
                    return refuse(format!("branch {sub} of step {place} was entered twice"));
                }
                node.state = State::Running;
            }
            Event::Waiting { place, until } => {
                let node = self.node_mut(place)?;
                allowed(node, place, &[State::Pending], "began to wait")?;
                node.state = State::Waiting(*until);
            }
            Event::Assigned { place, vars } => {
                allowed(self.node_mut(place)?, place, &[State::Pending], "set variables")?;
                self.vars.extend(vars.clone());
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
                release(&mut self.root, at.as_millisecond());
            }
            Event::Finished { status, failure } => {
                self.finished = Some(*status);
                self.failure = failure.clone();
            }
        }
        self.updated_at = at;
        Ok(())
    }

    /// Ends a step. Progress was made, so the process's going down is not this run's doing.
    fn end(&mut self, place: &Place, state: State) {
        self.recoveries = 0;
        let Some((frame, position)) = self.frame_mut(place) else {
            return;
        };
        let node = &mut frame.nodes[position];
        node.state = state;
        node.input = None;
        node.subs.retain(|_, _| state == State::Succeeded || state == State::Failed || state == State::TimedOut);
        while frame.nodes.get(frame.ended).is_some_and(|node| node.state.is_ended()) {
            frame.ended += 1;
        }
    }

    fn frame_mut(&mut self, place: &Place) -> Option<(&mut Frame, usize)> {
        let mut frame = &mut self.root;
        let mut parts = place.0.iter();
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

/// The failure code of an attempt that took too long.
pub const TIMEOUT: &str = "outbound.timeout";

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
