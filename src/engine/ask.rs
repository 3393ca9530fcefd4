//! What the API asks: lists, histories, and what a person does to runs.

use std::sync::Arc;

use serde_json::{Value, json};

use super::accept::Entry;
use super::*;
use crate::journal::Filter;
use crate::mapping::parse_json;
use crate::run::{Body, Event, Origin, Request, Summary, history};

impl Engine {
    /// Newest first.
    pub fn runs(&self, filter: &Filter, cursor: Option<RunId>, limit: usize) -> Result<Vec<Summary>, Denied> {
        self.journal.summaries(filter, cursor, limit).map_err(unavailable)
    }

    /// A run with its history, step by step, as the API shows it.
    pub fn run(&self, run: RunId) -> Result<Value, Denied> {
        // Before the records: it may be behind them, but never tell of an end or a hold that they do not show.
        let summary = self.journal.summary(run).map_err(unavailable)?;
        let records = self.records(run).map_err(Denied::Unavailable)?;
        let Some(first) = records.first().and_then(|record| record.events.first()) else {
            return Err(Denied::NoRun(run));
        };
        let live = match first {
            Event::Started(started) => self.definition(&started.definition, &started.flow).ok(),
            _ => None,
        };
        let mut told = history(run, &records, live.as_ref().map(|live| live.flow.as_ref()));
        // Of a run that goes on, only the summary knows what it waits for.
        if let Some(status) = summary.map(|summary| summary.status)
            && matches!(status, Status::Queued | Status::Waiting)
            && told["status"] == json!(Status::Running)
        {
            told["status"] = json!(status);
        }
        Ok(told)
    }

    /// Starts a new run of the flow's present version with the request of `run` (or with `body`); it names its origin.
    pub async fn resubmit(self: &Arc<Self>, run: RunId, body: Option<Value>, new_keys: bool) -> Result<RunId, Denied> {
        let records = self.records(run).map_err(Denied::Unavailable)?;
        let (flow, request, keys) = match records.first().and_then(|record| record.events.first()) {
            None => return Err(Denied::NoRun(run)),
            Some(Event::Started(started)) => {
                let mut request = started.request.clone();
                if let Some(body) = body {
                    request.body = Body::of(body);
                }
                (started.flow.clone(), request, (!new_keys).then_some(started.keys))
            }
            Some(Event::Rejected(rejected)) => {
                let body = match body {
                    Some(body) => body,
                    None => parse_json(rejected.body.as_bytes()).map_err(|error| {
                        let why = format!("what was kept of the request is not JSON ({error}); give a mended `body`");
                        Denied::Invalid(why)
                    })?,
                };
                (rejected.flow.clone(), Request::posted(Body::of(body)), None)
            }
            Some(_) => {
                return Err(Denied::Unavailable("the run's history does not begin with its start".into()));
            }
        };
        let live = self.flow(&flow).ok_or_else(|| Denied::Conflict(format!("flow `{flow}` is not live any more")))?;
        self.check(&live, request.body.value())?;
        let accepted = self.admit(&live, Entry { origin: Some(Origin { run }), keys, ..Entry::new(request) }).await;
        accepted.map(|accepted| accepted.run).map_err(refused)
    }

    /// Starts a run by hand, as if `body` had been posted.
    pub async fn start_by_hand(self: &Arc<Self>, flow: &str, body: Value) -> Result<RunId, Denied> {
        let live = self.flow(flow).ok_or_else(|| Denied::NoFlow(flow.to_owned()))?;
        self.check(&live, &body)?;
        let accepted = self.start(&live, Request::posted(Body::of(body))).await;
        accepted.map(|accepted| accepted.run).map_err(refused)
    }

    fn check(&self, live: &LiveFlow, body: &Value) -> Result<(), Denied> {
        let Some(schema) = &live.flow.trigger.schema else {
            return Ok(());
        };
        let violations = schema.violations(body);
        if violations.is_empty() {
            return Ok(());
        }
        let places: Vec<String> = violations.iter().map(|v| format!("`{}`: {}", v.pointer, v.message)).collect();
        Err(Denied::Invalid(format!("the body does not fit the flow's schema: {}", places.join("; "))))
    }

    /// Ends a run. A call on its way is broken off; it may have happened.
    pub async fn cancel(self: &Arc<Self>, run: RunId) -> Result<(), Denied> {
        self.order(run, Command::Cancel).await
    }

    /// Lets a held run go on.
    pub async fn resume(self: &Arc<Self>, run: RunId) -> Result<(), Denied> {
        match self.read(run).map_err(Denied::Unavailable)? {
            None => Err(Denied::NoRun(run)),
            Some((found, _)) if found.held.is_none() => Err(Denied::Conflict(format!("run {run} is not held"))),
            Some(_) => self.order(run, Command::Resume).await,
        }
    }

    /// Gives a run's task a command; a run that has none gets in line for one. Returns once it has taken effect.
    async fn order(self: &Arc<Self>, run: RunId, command: Command) -> Result<(), Denied> {
        match self.journal.summary(run).map_err(unavailable)? {
            None => return Err(Denied::NoRun(run)),
            Some(summary) if summary.status.is_ended() => {
                return Err(Denied::Conflict(format!("run {run} has already ended: {}", summary.status)));
            }
            Some(_) => {}
        }
        let before = self.journal.records(run).map_err(unavailable)?.len();
        let sent = lock(&self.working).get(&run).is_some_and(|task| task.send(command).is_ok());
        if !sent && let Some((found, _)) = self.read(run).map_err(Denied::Unavailable)? {
            self.queue.push(self.seat_of(&found), run, Some(command));
        }
        for _ in 0..250 {
            // The order is a record; a cancelled run has an end, whatever was written in between.
            let taken = match command {
                Command::Cancel => match self.read(run).map_err(Denied::Unavailable)?.map(|(run, _)| run.finished) {
                    Some(Some(Status::Cancelled)) | None => true,
                    Some(Some(other)) => {
                        return Err(Denied::Conflict(format!("run {run} ended before it could be cancelled: {other}")));
                    }
                    Some(None) => false,
                },
                Command::Resume | Command::Suspect => self.journal.records(run).map_err(unavailable)?.len() > before,
            };
            if taken {
                // The store shows records a moment before they are durable; the answer waits for that.
                return self.journal.set(super::accept::BARRIER, None).await.map_err(unavailable);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let what =
            "it is in line for a slot, or its flow's `concurrency`; the order stands and takes effect in its turn";
        Err(Denied::Unavailable(what.into()))
    }

    /// Every live flow, in order.
    pub fn flows(&self) -> Vec<Value> {
        let catalog = self.catalog.current();
        let mut flows: Vec<&Arc<LiveFlow>> = catalog.flows.values().collect();
        flows.sort_by(|a, b| a.flow.id.cmp(&b.flow.id));
        let broken = |live: &LiveFlow| catalog.problems.iter().any(|problem| problem.file == live.file);
        let one = |live: &&Arc<LiveFlow>| {
            json!({
                "id": live.flow.id, "description": live.flow.description, "file": live.file,
                "enabled": live.flow.enabled, "aliases": live.flow.aliases, "definition": live.digest,
                "has_problems": broken(live),
            })
        };
        flows.iter().map(one).collect()
    }

    /// What is wrong with the user's files as they are now.
    pub fn problems(&self) -> Vec<Value> {
        self.catalog.current().problems.iter().map(|problem| json!(problem)).collect()
    }
}

fn refused(refusal: Refusal) -> Denied {
    match refusal {
        Refusal::Busy { .. } => Denied::Unavailable("too many runs are queued; try again".into()),
        Refusal::FlowBusy { .. } => {
            Denied::Unavailable("the flow has as many runs in line as it may; try again".into())
        }
        Refusal::Unavailable { why, .. } => Denied::Unavailable(why),
    }
}
