//! What a template sees at one step of a run.

use std::borrow::Cow;
use std::fmt::Write;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::door::{of_flow, of_request};
use super::verdict::verdict;
use super::*;
use crate::flow::{BODY, Flow, Guarded, Hop, Kind, Step};
use crate::mapping::{Key, Scope};

/// The names in reach of the step at `path`, or at the end of an iteration, whose numbers end with its own.
pub(super) struct InRun<'r> {
    pub run: &'r Run,
    pub flow: &'r Flow,
    pub path: &'r [u32],
    pub around: &'r Around<'r>,
}

/// The place of a step, in the iterations that the one at `path` is in; `None` if it is in a loop that this one is not in.
pub fn place_of(flow: &Flow, path: &[u32], id: &str) -> Option<Place> {
    let mut place = Vec::new();
    for hop in &flow.addresses.get(id)?.0 {
        match hop {
            Hop::Handler => place.extend([HANDLER, 0]),
            Hop::Position(number) | Hop::Branch(number) => place.push(*number),
            Hop::Iteration => {
                let around = path.get(..place.len()).is_some_and(|around| around == place);
                place.push(*path.get(place.len()).filter(|_| around)?);
            }
        }
    }
    Some(Place(place))
}

impl Scope for InRun<'_> {
    fn find<'s>(&'s self, path: &[Key]) -> Option<(Cow<'s, Value>, usize)> {
        let key = |index: usize| path.get(index).map(String::as_str);
        match key(0)? {
            "trigger" => of_request(&self.run.started.request, path),
            "steps" => self.step(key(1)?, key(2)),
            "vars" => self.var(key(1)?).map(|value| (Cow::Borrowed(value), 2)),
            "item" => {
                let (node, sub) =
                    self.loops().filter(|(_, node, _)| node.looped.is_some()).last().map(|l| (l.1, l.2))?;
                Some((Cow::Borrowed(item(node, sub)?), 1))
            }
            "index" => Some((Cow::Owned(json!(self.loops().last()?.2)), 1)),
            "loops" => {
                let (_, node, sub) = self.loops().find(|(step, _, _)| Some(step.id.as_str()) == key(1))?;
                match key(2) {
                    Some("item") => Some((Cow::Borrowed(item(node, sub)?), 3)),
                    Some("index") => Some((Cow::Owned(json!(sub)), 3)),
                    _ => Some((Cow::Owned(json!({"index": sub, "item": item(node, sub)})), 2)),
                }
            }
            "env" => Some((Cow::Borrowed(self.around.env), 1)),
            "flow" => Some(of_flow(self.flow)),
            "run" => self.run(path),
            _ => None,
        }
    }

    fn now(&self) -> Timestamp {
        self.around.now
    }

    fn seed(&self) -> u64 {
        let key = call_key(self.run, self.flow, self.path);
        u64::from_be_bytes(*key.as_bytes().first_chunk().expect("a UUID has 16 bytes"))
    }
}

impl<'r> InRun<'r> {
    /// The loops around, outermost first: step, its node, the iteration.
    fn loops(&self) -> impl Iterator<Item = (&'r Step, &'r Node, u32)> {
        let (mut frame, path) = self.run.origin(self.path);
        let block = if path.len() == self.path.len() { Some(&self.flow.steps) } else { self.flow.on_failure.as_ref() };
        let mut block = block;
        path.chunks_exact(2).filter_map(move |pair| {
            let step = block.and_then(|block| block.steps.get(pair[0] as usize))?;
            let node = frame.node(pair[0])?;
            block = step.block(pair[1]);
            frame = node.subs.get(&pair[1])?;
            matches!(step.kind, Kind::Foreach(_) | Kind::Until(_)).then_some((step, node, pair[1]))
        })
    }

    /// A variable: of the innermost branch or iteration that has it, or of the run.
    fn var(&self, name: &str) -> Option<&'r Value> {
        let (mut frame, path) = self.run.origin(self.path);
        let mut found = self.run.vars.get(name);
        for pair in path.chunks_exact(2) {
            frame = frame.node(pair[0])?.subs.get(&pair[1])?;
            found = frame.vars.get(name).or(found);
        }
        found
    }

    fn run(&self, path: &[Key]) -> Option<(Cow<'_, Value>, usize)> {
        let url = |id: &str| Some(Value::String((self.around.resume_url)(self.run.id, &self.place_of(id)?)));
        if let (Some("resume_urls"), Some(id)) = (path.get(1).map(String::as_str), path.get(2)) {
            return Some((Cow::Owned(url(id)?), 3));
        }
        let mut run = json!({"id": self.run.id.to_string(), "started_at": format!("{:.3}", self.run.started_at)});
        if path.get(1).is_none_or(|field| field.eq_ignore_ascii_case("resume_urls")) {
            let waits =
                |id: &&String| self.flow.step_called(id).is_some_and(|step| matches!(step.kind, Kind::Wait { .. }));
            let waits = self.flow.addresses.keys().filter(waits);
            run["resume_urls"] = waits.filter_map(|id| Some((id.clone(), url(id)?))).collect();
        }
        if let Some((_, failure)) = &self.run.failing {
            let step = failure.message.strip_prefix("step `").and_then(|rest| rest.split('`').next());
            run["error"] = told(failure);
            run["error"]["step"] = json!(step);
        }
        Some((Cow::Owned(run), 1))
    }

    fn place_of(&self, id: &str) -> Option<Place> {
        place_of(self.flow, self.path, id)
    }

    /// A step's node: in the iteration that this one is in too, or else in the last one.
    fn node_of(&self, id: &str) -> Option<&'r Node> {
        let mut frame = &self.run.root;
        let mut found: Option<&Node> = None;
        let (mut depth, mut along) = (0, true);
        for hop in &self.flow.addresses.get(id)?.0 {
            let here = self.path.get(depth).copied().filter(|_| along);
            let number = match hop {
                Hop::Handler => {
                    frame = &self.run.handler;
                    (depth, along) = (2, here == Some(HANDLER));
                    continue;
                }
                Hop::Position(position) => {
                    found = Some(frame.node(*position)?);
                    *position
                }
                Hop::Branch(branch) => {
                    frame = found?.subs.get(branch)?;
                    *branch
                }
                Hop::Iteration => {
                    let sub = here.or_else(|| found?.subs.keys().next_back().copied())?;
                    frame = found?.subs.get(&sub)?;
                    sub
                }
            };
            (depth, along) = (depth + 1, here == Some(number));
        }
        found
    }

    fn step(&self, id: &str, field: Option<&str>) -> Option<(Cow<'r, Value>, usize)> {
        let node = self.node_of(id)?;
        let output = || node.output.as_deref();
        let error = || {
            let own = node.failure.as_ref().filter(|_| node.state != State::Succeeded);
            own.cloned().or_else(|| self.caught(id, node)).as_ref().map(told)
        };
        match field {
            None => {
                let all = json!({"output": output(), "status": node.state.name(), "error": error()});
                Some((Cow::Owned(all), 2))
            }
            Some("output") => Some((Cow::Borrowed(output()?), 3)),
            Some("status") => Some((Cow::Owned(Value::String(node.state.name().to_owned())), 3)),
            Some("error") => Some((Cow::Owned(error()?), 3)),
            Some("results") => Some((Cow::Owned(self.results(id, node)?), 3)),
            Some(_) => None,
        }
    }

    fn scope_of(&self, id: &str) -> Option<&'r Guarded> {
        match &self.flow.step_called(id)?.kind {
            Kind::Scope(scope) => Some(scope),
            _ => None,
        }
    }

    /// Why the steps of a scope failed, handled or not.
    fn caught(&self, id: &str, node: &Node) -> Option<Failure> {
        let body = node.subs.get(&BODY)?;
        let scope = self.scope_of(id)?;
        let ended = body.ended >= scope.body.steps.len();
        verdict(&scope.body, body).filter(|_| ended)
    }

    /// The steps of a scope, as far as they have come.
    fn results(&self, id: &str, node: &Node) -> Option<Value> {
        let body = node.subs.get(&BODY);
        let one = |(position, step): (usize, &Step)| {
            let node = body.and_then(|body| body.node(position as u32));
            let (state, output) =
                (node.map_or(State::Pending, |node| node.state), node.and_then(|n| n.output.as_deref()));
            let failure = node.and_then(|node| node.failure.as_ref()).filter(|_| state != State::Succeeded);
            json!({"id": step.id, "status": state.name(), "output": output, "error": failure.map(told)})
        };
        Some(self.scope_of(id)?.body.steps.iter().enumerate().map(one).collect())
    }
}

fn item(node: &Node, sub: u32) -> Option<&Value> {
    node.subs.get(&sub)?.item.as_deref()
}

/// A failure as templates see it.
fn told(failure: &Failure) -> Value {
    json!({"code": failure.code, "message": failure.message, "status": failure.status})
}

/// The idempotency key of the call at `path`: the same for each attempt, each restart and each resubmission that keeps its
/// origin's keys, also with another version of the flow (UUID version 5, RFC 9562).
///
/// It is made of the step's id and the iterations around it, not of positions: with a version that has a step more, another
/// step would have the key of this one, and its call would look like a repeat.
pub(super) fn call_key(run: &Run, flow: &Flow, path: &[u32]) -> Uuid {
    let (handler, rest) = match path {
        [HANDLER, _, rest @ ..] => (true, rest),
        path => (false, path),
    };
    let mut block = if handler { flow.on_failure.as_ref() } else { Some(&flow.steps) };
    let (mut name, mut iterations) = ("", String::new());
    for pair in rest.chunks(2) {
        let Some(step) = block.and_then(|block| block.steps.get(pair[0] as usize)) else { break };
        name = &step.id;
        let Some(sub) = pair.get(1) else { break };
        if matches!(step.kind, Kind::Foreach(_) | Kind::Until(_)) {
            let _ = write!(iterations, "/{sub}");
        }
        block = step.block(*sub);
    }
    Uuid::new_v5(&run.started.keys, format!("{name}{iterations}").as_bytes())
}
