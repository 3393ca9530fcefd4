//! The one gate for events: `Run + Event → Run`. An event that does not follow from the state is refused, not guessed at.

use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::connector::Class;
use crate::flow::is_held_back;
use crate::mapping::parse_json_text;

/// An event that cannot have happened in this state: the journal is damaged, or a fault of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the history of run {run} does not fit together: {what}")]
pub struct Illegal {
    pub run: RunId,
    pub what: String,
}

/// Bodies longer than this are not kept parsed without need, bytes.
const LARGE: usize = 256 * 1024;

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
            handled: None,
        }
    }

    /// Folds a whole history.
    ///
    /// # Errors
    /// If it does not begin with `Started`, or does not fit together.
    pub fn replay(id: RunId, records: &[Record]) -> Result<Run, Illegal> {
        let mut run = None;
        for record in records {
            Run::fold(&mut run, id, record)?;
        }
        run.ok_or_else(|| no_start(id))
    }

    /// Folds one record, the first of which makes the run.
    ///
    /// # Errors
    /// If the first does not begin with `Started`, or an event does not follow from the state.
    pub fn fold(run: &mut Option<Run>, id: RunId, record: &Record) -> Result<(), Illegal> {
        let mut events = record.events.iter();
        let run = match run {
            Some(run) => run,
            None => match events.next() {
                Some(Event::Started(started)) => run.insert(Run::new(id, record.at, started.clone())),
                _ => return Err(no_start(id)),
            },
        };
        events.try_for_each(|event| run.apply(record.at, event))
    }

    /// Folds one event.
    ///
    /// # Errors
    /// If the event does not follow from the state; the run is then as it was.
    pub fn apply(&mut self, at: Timestamp, event: &Event) -> Result<(), Illegal> {
        let run = self.id;
        let refuse = |what: String| Err(Illegal { run, what });
        if let Some(status) = self.finished {
            if let Event::Handled(handled) = event {
                self.handled = Some(handled.clone());
                return Ok(());
            }
            return refuse(format!("something happened after it ended as {status}"));
        }
        if let Some(place) = event.place() {
            if self.failing.is_some() != (place.0.first() == Some(&HANDLER)) && !matches!(event, Event::Resumed { .. })
            {
                return refuse(format!("step {place} went on while it was not the turn of its list"));
            }
            self.check(event, place)?;
        }
        let now_ms = at.as_millisecond();
        match event {
            Event::Started(_) | Event::Rejected(_) => return refuse("it began twice".into()),
            Event::Handled(_) => return refuse("it was handled before it had ended".into()),
            Event::TookOver(taken) => match takeover::frame(self, taken) {
                Ok((root, vars)) => {
                    (self.root, self.vars) = (root, vars);
                    self.response = taken.response.as_ref().map(|(_, response)| response.clone());
                }
                Err(what) => return refuse(what),
            },
            Event::Called { place, attempt, input, key } | Event::Invoked { place, attempt, input, key, .. } => {
                let node = self.node_mut(place)?;
                if *attempt != node.attempt + 1 || (input.is_none() && node.input.is_none()) {
                    return refuse(format!("attempt {attempt} of step {place} has no attempt before it"));
                }
                node.state = State::Running;
                if let Event::Invoked { child, until, .. } = event {
                    node.state = State::Awaiting(until.unwrap_or(NEVER));
                    node.child = Some(*child);
                }
                node.attempt = *attempt;
                node.key = *key;
                node.since = now_ms;
                if let Some(input) = input {
                    node.input = Some(input.clone());
                }
            }
            Event::Succeeded { place, output } => {
                let node = self.node_mut(place)?;
                node.output = node.take_collected().or_else(|| Some(output.clone()));
                self.end(place, State::Succeeded);
            }
            Event::Failed { place, failure, retry_at } => {
                let node = self.node_mut(place)?;
                node.failure = Some(failure.clone());
                // Also of a loop that failed: null for the items that did.
                if retry_at.is_none() {
                    node.output = node.take_collected().or(node.output.take());
                }
                match retry_at {
                    Some(until) => {
                        node.state = State::Waiting(*until);
                        node.held_back += u32::from(is_held_back(failure));
                    }
                    None => {
                        let timed_out = TIMED_OUT.contains(&failure.code.as_str());
                        self.end(place, if timed_out { State::TimedOut } else { State::Failed });
                    }
                }
            }
            Event::Skipped { place, unmet } => {
                self.node_mut(place)?;
                self.end(place, if *unmet { State::Unmet } else { State::Skipped });
            }
            Event::Iterating { place, items, collects } => {
                let node = self.node_mut(place)?;
                let Ok(items) = serde_json::from_str::<Vec<Box<RawValue>>>(items.text()) else {
                    return refuse(format!("step {place} iterates over what is no list"));
                };
                node.state = State::Running;
                node.since = now_ms;
                let collected = if *collects { vec![Value::Null; items.len()] } else { Vec::new() };
                let collects = *collects;
                node.looped = Some(Box::new(Looped { items, collects, collected, bytes: 0, failed: 0, first: None }));
                // A long list was most of the body, and is not needed as a value any more.
                let body = &self.started.request.body;
                if place.0.len() == 1 && body.text().len() > LARGE {
                    let request = Request { body: body.text_only(), ..self.started.request.clone() };
                    self.started = Arc::new(Started { request, ..Started::clone(&self.started) });
                }
            }
            Event::Entered { place, sub, again } => {
                let node = self.node_mut(place)?;
                // What was entered before is not entered again: branches and iterations are taken in order.
                let (first, one_more) = (node.state == State::Pending, *sub == node.entered);
                let fits = match &node.looped {
                    Some(looped) => one_more && !again && looped.items.get(*sub as usize).is_some(),
                    None if *again => one_more && !first,
                    None => *sub >= node.entered,
                };
                if !fits {
                    return refuse(format!("branch {sub} of step {place} was entered out of order"));
                }
                if *again {
                    node.subs.clear();
                }
                let item = node.looped.as_ref().and_then(|looped| looped.items.get(*sub as usize));
                let item = item.map(|text| Arc::new(parse_json_text(text.get()).unwrap_or_default()));
                node.subs.insert(*sub, Frame { item, ..Frame::default() });
                if node.state == State::Pending {
                    node.since = now_ms;
                }
                node.entered = sub.saturating_add(1);
                node.state = State::Running;
            }
            Event::Left { place, sub, value, failure } => {
                let node = self.node_mut(place)?;
                let ended = node.subs.get(sub).is_some_and(Frame::is_ended);
                let Some(looped) = node.looped.as_mut().filter(|_| ended) else {
                    return refuse(format!("iteration {sub} of step {place} was left before its steps had ended"));
                };
                if let (Some(value), Some(at)) = (value, looped.collected.get_mut(*sub as usize)) {
                    *at = Value::clone(value);
                    looped.bytes += weight(value);
                }
                if let Some(failure) = failure {
                    looped.failed += 1;
                    if looped.first.as_ref().is_none_or(|(first, _)| sub < first) {
                        looped.first = Some((*sub, failure.clone()));
                    }
                }
                node.subs.remove(sub);
                self.recoveries = 0;
            }
            Event::Waiting { place, until } => {
                let node = self.node_mut(place)?;
                node.state = State::Waiting(*until);
            }
            Event::Listening { place, until } => {
                let node = self.node_mut(place)?;
                node.state = State::Awaiting(until.unwrap_or(NEVER));
            }
            Event::Resumed { place, input } => {
                if self.resumed.contains_key(place) {
                    return refuse(format!("step {place} was resumed twice"));
                }
                self.resumed.insert(place.clone(), input.clone());
            }
            Event::Assigned { place, vars, owner } => {
                match self.vars_mut(place, *owner) {
                    Some(owned) => owned.extend(vars.clone()),
                    None => return refuse(format!("step {place} set variables of a branch it is not in")),
                }
                let output = Arc::new(Value::Object(vars.clone()));
                self.node_mut(place)?.output = Some(output);
                self.end(place, State::Succeeded);
            }
            Event::Responded { place, response } => {
                if self.response.is_some() {
                    return refuse("it answered twice".into());
                }
                self.node_mut(place)?;
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
            Event::Failing { status, failure, .. } => {
                if self.failing.is_some() {
                    return refuse("it failed twice".into());
                }
                self.failing = Some((*status, failure.clone()));
                self.recoveries = 0;
            }
            Event::Finished { status, failure, .. } => {
                self.finished = Some(*status);
                self.failure = failure.clone();
            }
        }
        self.updated_at = at;
        // A POST can come before the first step, a person's word too: the clock of a flow's timeout starts with a step.
        if event.place().is_some() && !matches!(event, Event::Resumed { .. }) {
            self.begun_at.get_or_insert(at);
        }
        Ok(())
    }

    /// Holds that the event can follow from how its step stands. Changes nothing, so that what is refused leaves no trace.
    fn check(&self, event: &Event, place: &Place) -> Result<(), Illegal> {
        let illegal = |what: String| Err(Illegal { run: self.id, what });
        if let Event::Resumed { .. } = event {
            return match self.may_come(place) {
                true => Ok(()),
                false => illegal(format!("step {place} was resumed after it, or one around it, had ended")),
            };
        }
        let (waiting, awaiting) = (State::Waiting(0), State::Awaiting(0));
        let from: &[State] = match event {
            Event::Called { .. } => &[State::Pending, waiting, State::InDoubt],
            Event::Invoked { .. } => &[State::Pending, waiting],
            Event::Succeeded { .. } => &[State::Running, State::InDoubt, waiting, awaiting],
            Event::Failed { .. } => &[State::Pending, State::Running, State::InDoubt, awaiting],
            Event::Held { .. } => &[State::Pending, State::Running, State::InDoubt],
            Event::Entered { .. } => &[State::Pending, State::Running],
            Event::Left { .. } => &[State::Running],
            _ => &[State::Pending],
        };
        let Some((frame, position)) = self.frame(place) else {
            return illegal(format!("step {place} is inside a step that was not entered"));
        };
        // A flow's size is limited, a damaged record's is not.
        if position as usize >= crate::flow::MAX_STEPS {
            return illegal(format!("place {place} is not in any flow"));
        }
        let state = frame.state(position);
        let is = |one: &State| std::mem::discriminant(one) == std::mem::discriminant(&state);
        if !from.iter().any(is) {
            return illegal(format!("step {place} was {} when {} happened", state.name(), event.name()));
        }
        let ends = matches!(event, Event::Succeeded { .. } | Event::Failed { retry_at: None, .. });
        let inside = frame.node(position).filter(|_| ends).map(|node| &node.subs);
        if inside.is_some_and(|subs| !subs.values().all(Frame::is_ended)) {
            return illegal(format!("step {place} ended before the steps inside of it"));
        }
        Ok(())
    }

    /// True if a POST for the `wait` at `place` is not too late: it may come before the wait begins, and before what is
    /// around it does.
    pub fn may_come(&self, place: &Place) -> bool {
        if self.finished.is_some() {
            return false;
        }
        if self.failing.is_some() && place.0.first() != Some(&HANDLER) {
            return false;
        }
        let (mut frame, path) = self.origin(&place.0);
        let mut parts = path.iter();
        while let Some(position) = parts.next() {
            let Some(node) = frame.node(*position) else { return true };
            match parts.next() {
                None => return matches!(node.state, State::Pending | State::Awaiting(_)),
                Some(_) if node.state.is_ended() => return false,
                Some(sub) => match node.subs.get(sub) {
                    Some(inner) => frame = inner,
                    None => return *sub >= node.entered,
                },
            }
        }
        false
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
        if frame.nodes.len() <= position {
            frame.nodes.resize_with(position + 1, Node::default);
        }
        Ok(&mut frame.nodes[position])
    }
}

/// The failure codes of what took too long: a step that ends in one has *timed out*.
pub const TIMED_OUT: [&str; 2] = ["outbound.timeout", super::next::TIMEOUT];

fn no_start(run: RunId) -> Illegal {
    Illegal { run, what: "it does not begin with `started`".into() }
}

/// About how many bytes a value has as JSON; cheaper than writing it.
pub(super) fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 3,
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 2,
        Value::Object(members) => members.iter().map(|(key, value)| key.len() + 4 + weight(value)).sum::<usize>() + 2,
    }
}

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
            if !in_doubt {
                (node.attempt, node.held_back) = (node.attempt.min(1), 0);
            }
        }
        node.subs.values_mut().for_each(|frame| release(frame, now));
    }
}
