//! Calls of a case: answered by its mocks, or played as runs of their own.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::diff::{Difference, differences};
use super::super::door::{self, Entered, violated};
use super::super::mock::{Mock, Reply, What, sample};
use super::*;
use crate::connector::{Answer, Class};
use crate::flow::Call;
use crate::mapping::JsonScope;
use crate::outbound::{self, DEFAULT_TIMEOUT, Outbound};
use crate::run::{Body, Request, Response, answered};

/// Longest answer, bytes, as where `millstream.yaml` does not say.
const OUTPUT_LIMIT: usize = 1024 * 1024;

impl Stage<'_> {
    /// Sends a call of an action off: its mock answers.
    pub(super) fn call(&mut self, index: usize, place: Place) -> Result<(), Fault> {
        let live = self.actors[index].played.live.clone();
        let name = self.actors[index].step_name(&place);
        let Some(Kind::Action(call)) = live.flow.step(&place.0).map(|step| &step.kind) else {
            return Err(Fault::new(format!("there is no action at {place}")));
        };
        let case = self.case;
        let reply = case.mocks.get(&name).map(|mock| self.reply(&name, mock)).transpose()?;
        let played = &self.actors[index].played;
        let node = played.run.node(&place);
        let input = node.and_then(|node| node.input.clone()).unwrap_or_default();
        let key = node.map(|node| node.key).unwrap_or_default();
        let attempt = node.map_or(1, |node| node.attempt);
        let limit = call.timeout.or(call.connector.timeout).unwrap_or(DEFAULT_TIMEOUT);
        let sent = outbound::Call {
            flow: &live.flow.id,
            connector: &call.connector,
            action: &call.action,
            connection: call.connection.as_ref().and_then(|name| self.snapshot.connections.get(name)),
            input: &input,
            key,
            timeout: call.timeout,
            output_limit: OUTPUT_LIMIT,
        };
        let Some(reply) = reply else {
            // What follows from its inputs alone needs no mock.
            let answer = Outbound::computed(sent).ok_or_else(|| self.unmocked(&name, call))?;
            self.take_off(index, place, self.now, Cargo::Answer(Box::new(answer)));
            return Ok(());
        };
        if let Some(wanted) = &reply.request {
            as_recorded(&name, reply, wanted, Outbound::preview(sent))?;
        }
        let (takes, answer) = if reply.delay > limit {
            let what = format!("`{}.{}` did not answer in time", call.connector.name, call.action);
            let failure = Failure::new(Class::Unknown, "outbound.timeout", what);
            (limit, Outbound::judged(sent, Err(failure), self.at()))
        } else {
            let answer = match &reply.what {
                What::Output(output) => {
                    let scope = json!({"input": *input, "attempt": attempt, "call": self.served[&name] - 1});
                    let scope = JsonScope { now: self.at(), seed: case.seed, ..JsonScope::new(scope) };
                    Ok(output.render(&scope).map_err(|error| rendered(reply, &error))?)
                }
                What::Answer(answer) => judged(&name, reply, sent, answer, self.at())?,
                What::Failure(failure) => Err(failure.clone()),
            };
            (reply.delay, answer)
        };
        let lands = self.after(takes);
        self.take_off(index, place, lands, Cargo::Answer(Box::new(answer)));
        Ok(())
    }

    /// Sends a call of another flow off: its mock answers, or the flow is played.
    pub(super) fn invoke(&mut self, index: usize, place: Place) -> Result<(), Fault> {
        let name = self.actors[index].step_name(&place);
        let live = self.actors[index].played.live.clone();
        let Some(Kind::Call(called)) = live.flow.step(&place.0).map(|step| &step.kind) else {
            return Err(Fault::new(format!("there is no call at {place}")));
        };
        let Some(node) = self.actors[index].played.run.node(&place) else { return Ok(()) };
        let Some(child) = node.child else { return Ok(()) };
        let (input, key) = (node.input.clone().unwrap_or_default(), node.key);
        let case = self.case;
        if let Some(mock) = case.mocks.get(&name) {
            let reply = self.reply(&name, mock)?;
            let answer = match &reply.what {
                What::Output(output) => {
                    let scope = JsonScope::new(json!({"input": *input, "call": self.served[&name] - 1}));
                    let scope = JsonScope { now: self.at(), seed: case.seed, ..scope };
                    Ok(output.render(&scope).map_err(|error| rendered(reply, &error))?)
                }
                What::Answer(answer) => {
                    let body = answer.json().unwrap_or_default();
                    answered(
                        &called.flow,
                        child,
                        &Response { status: answer.status, headers: Default::default(), body },
                    )
                }
                What::Failure(failure) => Err(failure.clone()),
            };
            let lands = self.after(reply.delay);
            self.take_off(index, place, lands, Cargo::Answer(Box::new(answer)));
            return Ok(());
        }
        if self.actors.iter().any(|actor| actor.played.run.id == child) {
            return Ok(());
        }
        let refused = |code: &str, what: String| Err(Failure::new(Class::Permanent, code, what));
        let begun = match self.snapshot.flow(&called.flow).filter(|called| called.flow.enabled) {
            None => {
                let what = format!("there is no flow `{}`, or it is not enabled", called.flow);
                refused("run.no_flow", what)
            }
            Some(other) => {
                let body = other.flow.trigger.fill(Value::clone(&input));
                match violated(other, &body) {
                    Some(Entered::Rejected { message, .. }) => {
                        refused("run.bad_input", format!("flow `{}`: {message}", called.flow))
                    }
                    Some(_) | None => {
                        let parent = self.actors[index].as_parent(place.clone());
                        let request = Request::posted(Body::of(body));
                        Ok((door::start(child, self.at(), other, request, key, Some(parent)), other.clone()))
                    }
                }
            }
        };
        match begun {
            Ok((run, other)) => self.join(run, other, None, Some((index, place))),
            Err(failure) => self.take_off(index, place, self.now, Cargo::Answer(Box::new(Err(failure)))),
        }
        Ok(())
    }

    fn after(&self, length: Duration) -> i64 {
        self.now.saturating_add(i64::try_from(length.as_millis()).unwrap_or(i64::MAX / 4))
    }

    /// The reply that is next for this step.
    fn reply<'m>(&mut self, name: &StepName, mock: &'m Mock) -> Result<&'m Reply, Fault> {
        let served = self.served.entry(name.clone()).or_default();
        let index = if mock.sequence { *served } else { 0 };
        *served += 1;
        mock.replies.get(index).ok_or_else(|| {
            let (step, listed, call) = (&name.1, mock.replies.len(), index + 1);
            let what = format!("step `{step}` makes call number {call}, and its list of mocks has {listed}");
            let hint = "add what the further calls get; a mock that is no list answers all of them".to_owned();
            Fault { what, hint: Some(hint), pointer: Some(mock.pointer.clone()) }
        })
    }

    /// What is said of a call that nothing answers.
    fn unmocked(&self, (flow, step): &StepName, call: &Call) -> Fault {
        let action = format!("{}.{}", call.connector.name, call.action);
        let what = format!("step `{step}` of flow `{flow}` calls {action}, and the case has no mock for it");
        let shape = call.connector.actions.get(&call.action).map(|action| &action.output);
        let like = shape.map(sample).unwrap_or_default();
        let key = if *flow == self.case.flow { step.clone() } else { format!("{flow}.{step}") };
        let hint = format!("add to its `mocks`: `{key}: {{ output: {like} }}`");
        Fault { what, hint: Some(hint), pointer: None }
    }
}

/// What the connector makes of the answer.
fn judged(
    (_, step): &StepName,
    reply: &Reply,
    call: outbound::Call<'_>,
    answer: &Answer,
    now: Timestamp,
) -> Result<Result<Value, Failure>, Fault> {
    match Outbound::judged(call, Ok(answer), now) {
        Err(failure) if failure.code == "connector.native" => {
            let what = format!("the action of step `{step}` makes no HTTP request, so it gets no `status`");
            let hint = Some("mock it with `output` or `error`".to_owned());
            Err(Fault { what, hint, pointer: Some(reply.pointer.clone()) })
        }
        judged => Ok(judged),
    }
}

fn rendered(reply: &Reply, error: &crate::mapping::Error) -> Fault {
    let what = format!("the mock's `output` cannot be rendered: {error} (in `{}`)", error.template);
    let pointer = Some(format!("{}/output{}", reply.pointer, error.pointer));
    Fault { what, hint: Some("its templates see `input`, `attempt` and `call`".to_owned()), pointer }
}

/// Compares what the connector would send with what was recorded.
fn as_recorded((_, step): &StepName, reply: &Reply, wanted: &Value, sent: Result<Value, Failure>) -> Result<(), Fault> {
    let pointer = Some(format!("{}/request", reply.pointer));
    let sent = sent.map_err(|failure| {
        let what = format!("step `{step}` sends no request: {}", failure.message);
        Fault { what, hint: None, pointer: pointer.clone() }
    })?;
    let different = differences(wanted, &sent);
    if different.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = different.iter().map(Difference::to_string).collect();
    let what = format!("step `{step}` would send another request than was recorded:\n{}", told.join("\n"));
    Err(Fault { what, hint: None, pointer })
}
