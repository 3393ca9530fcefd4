//! Runs that are called by other runs: begun, looked at, and told of to those who wait.
//!
//! A parent that only waits for children gives its slot back, so that children cannot starve for want of one. Each child
//! knows its parent from its own first record; nothing about the two is kept in memory alone.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;

use super::accept::Entry;
use super::*;
use crate::connector::{Class, Failure};
use crate::flow::Kind;
use crate::points;
use crate::run::{Body, Event, Parent, Request, Run, TIMED_OUT};

impl Engine {
    /// What the child at `place` came to; `None` while it goes on. Begun here unless it was before.
    pub(super) async fn child(
        self: &Arc<Self>,
        live: &LiveFlow,
        parent: Parent,
        child: RunId,
        input: Arc<Value>,
        key: uuid::Uuid,
    ) -> Option<Result<Value, Failure>> {
        let fault = |code: &str, message: String| Some(Err(Failure::new(Class::Permanent, code, message)));
        let name = match live.flow.step(&parent.place.0).map(|step| &step.kind) {
            Some(Kind::Call(call)) => &call.flow,
            _ => return fault("engine.fault", format!("there is no call at {}", parent.place)),
        };
        match self.read(child) {
            Ok(Some((run, _))) => {
                self.troubles.end(child);
                return run.outcome();
            }
            Ok(None) => {}
            // That may pass: whoever waits looks again.
            Err(error) if !self.troubles.are_lasting(child) => {
                tracing::error!(run = %child, %error, "a called run cannot be read; it is tried again");
                let (engine, wait) = (self.clone(), self.troubles.count(child));
                tokio::spawn(async move {
                    tokio::time::sleep(wait).await;
                    engine.command(parent.run, Command::Look);
                });
                return None;
            }
            Err(why) => return fault("run.child_unreadable", format!("run {child} of flow `{name}`: {why}")),
        }
        // In a task of its own, and told of if nobody waits any more: between an append and its end a run is nobody's, so
        // beginning one is not broken off.
        let (begun, told) = oneshot::channel();
        let (engine, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            let result = engine.begin_child(&name, parent, child, input, key).await;
            if let Err(Ok(true)) = begun.send(result) {
                engine.command(child, Command::Cancel);
            }
        });
        match told.await {
            Ok(Ok(true)) => self.read(child).ok().flatten().and_then(|(run, _)| run.outcome()),
            Ok(Ok(false)) => None,
            Ok(Err(failure)) => Some(Err(failure)),
            Err(_) => match self.read(child) {
                // It panicked, and had begun: another child would do all of it a second time. It may be nobody's.
                Ok(Some((run, _))) => {
                    self.command(child, Command::Look);
                    run.outcome()
                }
                _ => {
                    let message = format!("beginning run {child} broke off inside Millstream; please report it");
                    Some(Err(Failure::new(Class::Unknown, "engine.panic", message)))
                }
            },
        }
    }

    /// True once it is durable; false if the process stops before that; else why it cannot begin.
    async fn begin_child(
        self: &Arc<Self>,
        name: &str,
        parent: Parent,
        child: RunId,
        input: Arc<Value>,
        key: uuid::Uuid,
    ) -> Result<bool, Failure> {
        let fault = |code: &str, message: String| Err(Failure::new(Class::Permanent, code, message));
        loop {
            let Some(called) = self.flow(name).filter(|called| called.flow.enabled) else {
                return fault("run.no_flow", format!("there is no flow `{name}`, or it is not enabled"));
            };
            let body = Body::of(called.flow.trigger.fill(Value::clone(&input)));
            if let Err(Denied::Invalid(why)) = self.check(&called, body.value()) {
                return fault("run.bad_input", format!("flow `{name}`: {why}"));
            }
            let entry =
                Entry { id: child, keys: Some(key), parent: Some(parent.clone()), ..Entry::new(Request::posted(body)) };
            points::reach("child.begin.before");
            let admitted = self.admit(&called, entry).await;
            points::reach("child.begin.after");
            match admitted {
                Ok(_) => return Ok(true),
                Err(Refusal::Busy { .. } | Refusal::Full { .. } | Refusal::FlowBusy { .. }) => {
                    tokio::time::sleep(Duration::from_millis(100)).await
                }
                // The process stops, or is about to: the next one begins it.
                Err(Refusal::Unavailable { .. }) => return Ok(false),
            }
        }
    }

    /// False for a child whose caller has ended, or waits for another attempt, while it could still answer.
    pub(super) fn is_wanted(&self, run: &Run) -> bool {
        let Some(parent) = run.started.parent.as_ref().filter(|_| run.response.is_none()) else {
            return true;
        };
        match self.read(parent.run) {
            Ok(Some((caller, _))) if caller.finished.is_none() => {
                let waits = caller.children();
                waits.iter().any(|(place, child)| *place == parent.place && *child == run.id)
            }
            Ok(_) => false,
            // What cannot be read may still want it.
            Err(_) => true,
        }
    }

    /// Tells those whom `events` concern: a parent, and children whom nobody waits for any more.
    pub(super) fn tell_relatives(self: &Arc<Self>, run: &Run, events: &[Event]) {
        for event in events {
            let over = matches!(event, Event::Finished { .. } | Event::Failing { .. });
            if let Some(parent) = &run.started.parent
                && (matches!(event, Event::Responded { .. }) || over)
            {
                points::reach("child.told.before");
                self.command(parent.run, Command::Look);
            }
            if over {
                run.children().into_iter().for_each(|(_, child)| self.command(child, Command::Cancel));
            }
            if let Event::Failed { place, failure, .. } = event
                && TIMED_OUT.contains(&failure.code.as_str())
                && let Some(child) = run.node(place).and_then(|node| node.child)
            {
                self.command(child, Command::Cancel);
            }
        }
    }
}
