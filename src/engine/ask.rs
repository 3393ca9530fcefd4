//! What the API asks: lists, histories, and what a person does to runs.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::flow::{Kind, TriggerKind};
use crate::journal::Filter;
use crate::run::{Body, Event, History, Record, Request, Summary};

/// Runs read at once where most do not fit.
const PAGE: usize = 256;

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub filter: Filter,
    /// Any of these, beside what `filter` says; empty: all.
    pub statuses: Vec<Status>,
    /// Only those that wait for a person.
    pub unhandled: bool,
    /// A part of the reason or its code, case aside.
    pub reason: Option<String>,
    /// For those who may only read: keys of `wait` steps are neither shown nor found.
    pub hidden: bool,
}

impl Wanted {
    fn fits(&self, summary: &Summary) -> bool {
        let says = |text: &Option<String>, part: &str| {
            text.as_ref().is_some_and(|text| text.to_lowercase().contains(&part.to_lowercase()))
        };
        (self.statuses.is_empty() || self.statuses.contains(&summary.status))
            && (!self.unhandled || summary.is_unhandled())
            && self.reason.as_ref().is_none_or(|part| says(&summary.reason, part) || says(&summary.code, part))
    }
}

impl Engine {
    /// Newest first.
    pub fn runs(&self, wanted: &Wanted, mut cursor: Option<RunId>, limit: usize) -> Result<Vec<Summary>, Denied> {
        let mut found = Vec::new();
        while found.len() < limit {
            let page = self.journal.summaries(&wanted.filter, cursor, limit.max(PAGE)).map_err(unavailable)?;
            let Some(last) = page.last() else { break };
            cursor = Some(last.run_id);
            let page = page.into_iter().map(|mut summary| {
                if wanted.hidden {
                    summary.reason = summary.reason.map(|reason| hidden::without_urls(&reason));
                }
                summary
            });
            found.extend(page.filter(|summary| wanted.fits(summary)).take(limit - found.len()));
        }
        Ok(found)
    }

    /// A run with its history, step by step, as the API shows it.
    pub fn run(&self, run: RunId) -> Result<Value, Denied> {
        Ok(self.tell_run(run)?.0)
    }

    /// The same for those who may only read.
    pub fn run_hidden(&self, run: RunId) -> Result<Value, Denied> {
        let (mut told, live) = self.tell_run(run)?;
        let keys = live.map(|live| self.keys_told(run, &live.flow, &told)).unwrap_or_default();
        hidden::hide(&mut told, &keys);
        Ok(told)
    }

    /// The keys of a run's `wait` steps.
    pub(super) fn keys_of(&self, run: RunId) -> Result<HashSet<String>, Denied> {
        let (told, live) = self.tell_run(run)?;
        Ok(live.map(|live| self.keys_told(run, &live.flow, &told)).unwrap_or_default())
    }

    fn tell_run(&self, run: RunId) -> Result<(Value, Option<Arc<LiveFlow>>), Denied> {
        // Before the records: it may be behind them, but never tell of an end or a hold that they do not show.
        let summary = self.journal.summary(run).map_err(unavailable)?;
        let live = match self.first_event(run)? {
            Event::Started(started) => self.definition(&started.definition, &started.flow).ok(),
            _ => None,
        };
        let mut history = History::new(run, live.as_ref().map(|live| live.flow.as_ref()));
        let told = self.each_record(run, |record| {
            history.tell(&record);
            Ok(())
        });
        told.map_err(Denied::Unavailable)?;
        let mut told = history.told();
        // Of a run that goes on, only the summary knows what it waits for.
        if let Some(status) = summary.map(|summary| summary.status)
            && matches!(status, Status::Queued | Status::Waiting)
            && told["status"] == json!(Status::Running)
        {
            told["status"] = json!(status);
        }
        if let Some(live) = &live {
            self.show_resume_urls(run, live, &mut told);
        }
        Ok((told, live))
    }

    /// How a run began, or was refused.
    pub(super) fn first_event(&self, run: RunId) -> Result<Event, Denied> {
        let first = self.journal.first_record(run).map_err(unavailable)?.ok_or(Denied::NoRun(run))?;
        let first = Record::decode(&first).map_err(unavailable)?;
        first.events.into_iter().next().ok_or(Denied::NoRun(run))
    }

    /// Who may see the run may answer for those it waits for.
    fn show_resume_urls(&self, run: RunId, live: &LiveFlow, told: &mut Value) {
        let steps = told["steps"].as_array_mut().into_iter().flatten();
        for step in steps.filter(|step| step["status"] == "waiting") {
            let Ok(place) = serde_json::from_value::<Place>(step["place"].clone()) else { continue };
            if live.flow.step(&place.0).is_some_and(|step| matches!(step.kind, Kind::Wait { .. })) {
                step["resume_url"] = json!(self.resume_url(&live.flow.id, run, &place));
            }
        }
    }

    /// Starts a run by hand, as if `body` had been posted; inputs that are missing get their defaults.
    pub async fn start_by_hand(self: &Arc<Self>, flow: &str, body: Value) -> Result<Begun, Denied> {
        let live = self.flow(flow).ok_or_else(|| Denied::NoFlow(flow.to_owned()))?;
        let body = self.body_by_hand(&live, body)?;
        self.check(&live, &body)?;
        self.start(&live, Request::posted(Body::of(body))).await.map_err(|turned| match turned {
            Turned::Unfit(reason) => unfit(reason),
            Turned::Refused(refusal) => refused(refusal),
        })
    }

    pub(super) fn check(&self, live: &LiveFlow, body: &Value) -> Result<(), Denied> {
        let Some(schema) = &live.flow.trigger.schema else {
            return Ok(());
        };
        let violations = schema.violations(body);
        if violations.is_empty() {
            return Ok(());
        }
        let places: Vec<String> = violations.iter().map(|v| format!("`{}`: {}", v.pointer, v.message)).collect();
        let what = match live.flow.trigger.kind {
            TriggerKind::Request(_) | TriggerKind::Schedule(_) => "the body does not fit the flow's schema",
            TriggerKind::Manual(_) => "the inputs are not what the flow wants",
        };
        Err(Denied::Invalid(format!("{what}: {}", places.join("; "))))
    }

    /// Ends a run. A call on its way is broken off; it may have happened.
    pub async fn cancel(self: &Arc<Self>, run: RunId) -> Result<(), Denied> {
        self.order(run, Command::Cancel).await
    }

    /// Lets a held run go on.
    pub async fn resume(self: &Arc<Self>, run: RunId) -> Result<(), Denied> {
        let _turn = self.take_letter(run)?;
        match self.read(run).map_err(Denied::Unavailable)? {
            None => Err(Denied::NoRun(run)),
            Some((found, _)) if found.held.is_none() => Err(Denied::Conflict(format!("run {run} is not held"))),
            Some(_) => self.order(run, Command::Resume).await,
        }
    }

    /// Gives a run's task a command; a run that has none gets in line for one. Returns once it has taken effect.
    async fn order(self: &Arc<Self>, run: RunId, command: Command) -> Result<(), Denied> {
        let summary = || self.journal.summary(run).map_err(unavailable)?.ok_or(Denied::NoRun(run));
        let before = summary()?;
        if before.status.is_ended() {
            return Err(Denied::Conflict(format!("run {run} has already ended: {}", before.status)));
        }
        let cancels = matches!(command, Command::Cancel);
        self.command(run, command);
        for _ in 0..250 {
            let now = summary()?;
            let taken = match cancels {
                true if now.status.is_ended() && now.status != Status::Cancelled => {
                    let how = now.status;
                    return Err(Denied::Conflict(format!("run {run} ended before it could be cancelled: {how}")));
                }
                true => now.status == Status::Cancelled,
                // A held run's summary changes only when it goes on.
                false => (now.status, now.updated_at) != (before.status, before.updated_at),
            };
            if taken {
                return Ok(());
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
        let now = super::now().as_millisecond();
        let next = |live: &LiveFlow| {
            let next = live.flow.trigger.schedule().filter(|_| live.flow.enabled)?.next_after(now)?;
            Timestamp::from_millisecond(next).ok().map(|next| next.to_string())
        };
        let one = |live: &&Arc<LiveFlow>| {
            json!({
                "id": live.flow.id, "description": live.flow.description, "file": live.file,
                "enabled": live.flow.enabled, "aliases": live.flow.aliases, "definition": live.digest,
                "has_problems": broken(live), "trigger": live.flow.trigger.name(),
                "next_run_at": next(live), "inputs": live.flow.trigger.inputs(),
            })
        };
        flows.iter().map(one).collect()
    }

    /// What is wrong with the user's files as they are now.
    pub fn problems(&self) -> Vec<Value> {
        self.catalog.current().problems.iter().map(|problem| json!(problem)).collect()
    }
}

pub(super) fn unfit(reason: Unfit) -> Denied {
    match reason {
        Unfit::Condition(what) | Unfit::NoList(what) | Unfit::TooMany(what) => Denied::Invalid(what),
    }
}

pub(super) fn refused(refusal: Refusal) -> Denied {
    match refusal {
        Refusal::Busy { .. } | Refusal::Full { .. } => {
            Denied::Unavailable("too many runs are queued; try again".into())
        }
        Refusal::FlowBusy { .. } => {
            Denied::Unavailable("the flow has as many runs in line as it may; try again".into())
        }
        Refusal::Unavailable { why, .. } => Denied::Unavailable(why),
    }
}
