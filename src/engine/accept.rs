//! Letting requests in: durable first, then driven.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::lanes::{Seat, Turn};
use super::metrics::Metrics;
use super::queue::Admission;
use super::recover::Taking;
use super::*;
use crate::flow::Dedupe;
use crate::journal::{Append, Appended, Claim, Error};
use crate::points;
use crate::run::{Event, Next, Origin, Parent, Record, Rejected, Request, Run, Started, Summary};

/// A run that is to begin.
pub(super) struct Entry {
    pub id: RunId,
    pub request: Request,
    pub origin: Option<Origin>,
    pub parent: Option<Parent>,
    /// Where idempotency keys derive from; the run's own id unless set.
    pub keys: Option<Uuid>,
    /// True if the flow's `dedupe` counts.
    pub claims: bool,
    /// What it takes over of the run that it repeats.
    pub taken: Option<Event>,
}

impl Entry {
    pub fn new(request: Request) -> Entry {
        let id = super::ids::next();
        Entry { id, request, origin: None, parent: None, keys: None, claims: false, taken: None }
    }
}

impl Engine {
    /// Makes an entry durable as a run and drives it; whoever gave it an id sees to it that there is no such run yet.
    pub(super) async fn admit(self: &Arc<Self>, live: &Arc<LiveFlow>, entry: Entry) -> Result<Accepted, Refusal> {
        self.must_be_ready()?;
        let now = super::now();
        let Entry { id, request, origin, parent, keys, claims, taken } = entry;
        let (flow, keys) = (live.flow.id.clone(), keys.unwrap_or(id.0));
        // What another run waits for was let in when that run was.
        let must = parent.is_some();
        let started = Arc::new(Started { flow, definition: live.digest, request, keys, origin, parent });
        let mut run = Run::new(id, now, started.clone());
        let mut events = vec![Event::Started(started)];
        if let Some(taken) = taken {
            let applied = run.apply(now, &taken);
            applied.map_err(|illegal| Refusal::Unavailable { retry_after: SOON, why: illegal.to_string() })?;
            events.push(taken);
        }
        let claim = match live.flow.trigger.request().and_then(|request| request.dedupe.as_ref()) {
            Some(dedupe) if claims => self.claim(&run, live, dedupe, now),
            _ => None,
        };
        let seat = self.seat_of(&run);
        let (slot, ticket) = match self.queue.admit(seat, id, self.limits.queued_runs, must) {
            Admission::Now(slot) => (Some(slot), None),
            Admission::Later(ticket) => (None, Some(ticket)),
            Admission::Full => return Err(self.full()),
            Admission::FlowFull => return Err(self.flow_full()),
        };
        // From the append on it can be found and given orders, which wait until it is at work: else whoever obeys them would
        // drive it beside this.
        let taking = slot.is_some().then(|| Taking::begin(self, id, seat));
        let next = slot.is_some().then(|| self.decide(&mut run, live, now, &mut events));
        let status = next.as_ref().map_or(Status::Queued, |next| status(&run, next));
        let answer = live.flow.answers.then(|| self.answers.wait(id));
        self.intend_alert(&run, &events).await;
        let record = Record::encode(now, &events);
        let bytes = record.len() as u64;
        let append = Append {
            run: id,
            seq: 0,
            record,
            summary: Some(Summary { bytes, ..run.summary(status) }),
            claim,
            definition: Some(live.definition.clone()),
        };
        if ticket.is_some() {
            // Before it is durable, and so before anyone can order anything of it: a run that went on already must never be
            // found there as it was.
            self.in_line.keep(run.clone(), bytes);
        }
        points::reach("accept.append.before");
        let appended = self.journal.append(append).await;
        points::reach("accept.append.after");
        let taken = |taking: Option<Taking>| taking.into_iter().for_each(Taking::end);
        match appended {
            Ok(Appended::Durable) => {}
            Ok(Appended::Duplicate(first)) => {
                self.answers.forget(id);
                self.in_line.forget(id);
                Metrics::count(&self.metrics.repeats);
                taken(taking);
                let answer = if live.flow.answers { Some(self.answer_of(first)?) } else { None };
                return Ok(Accepted { run: first, repeat: true, answer });
            }
            Err(error) => {
                self.answers.forget(id);
                self.in_line.forget(id);
                taken(taking);
                return Err(self.refuse(error.into()));
            }
        }
        Metrics::count(&self.metrics.accepted);
        Metrics::count(&self.metrics.appends);
        tracing::debug!(run = %id, flow = %live.flow.id, "run accepted");
        self.announce(&run, &events);
        if let Some(status) = run.finished {
            self.kept.ended(status, bytes);
        }
        match (next, slot) {
            (Some(Next::Ended), _) => {}
            (Some(next), Some(slot)) => {
                let work = drive::Work::new(run, live.clone(), status, slot, bytes);
                self.clone().set_to_work(work, Some(next), None);
            }
            _ => {
                if let Some(ticket) = ticket {
                    ticket.line_up(id);
                }
            }
        }
        taken(taking);
        Ok(Accepted { run: id, repeat: false, answer })
    }

    /// Why a new request of this flow would be refused now. Asked before anything of it is read: under overload a refusal
    /// must cost next to nothing, or refusing takes the time that the runs need.
    pub fn outlook(&self, flow: &str) -> Result<(), Refusal> {
        match self.queue.outlook(flow, self.limits.queued_runs) {
            Turn::Now | Turn::Later => Ok(()),
            Turn::Full => Err(self.full()),
            Turn::FlowFull => Err(self.flow_full()),
        }
    }

    fn full(&self) -> Refusal {
        self.refuse(Refusal::Busy { retry_after: SOON })
    }

    fn flow_full(&self) -> Refusal {
        Metrics::count(&self.metrics.limited);
        Refusal::FlowBusy { retry_after: LATER }
    }

    /// Keeps a refused request as a *rejected* run, for people to see; `None` if it could not be kept.
    pub async fn reject(&self, rejected: Rejected) -> Option<RunId> {
        let now = super::now();
        let id = super::ids::next();
        let mut summary = Summary {
            run_id: id,
            flow: rejected.flow.clone(),
            status: Status::Rejected,
            started_at: now,
            updated_at: now,
            origin: None,
            reason: Some(rejected.message.clone()),
            code: Some(rejected.code.clone()),
            parent: None,
            bytes: 0,
            handled: None,
        };
        let record = Record::encode(now, &[Event::Rejected(Box::new(rejected))]);
        summary.bytes = record.len() as u64;
        let shown = Some(summary.clone());
        let append = Append { run: id, seq: 0, record, summary: shown, claim: None, definition: None };
        let kept = self.journal.append(append).await;
        if let Err(error) = kept {
            tracing::warn!(%error, "a rejected request could not be kept");
            return None;
        }
        Metrics::count(&self.metrics.rejected);
        self.alert_of_rejected(&summary).await;
        let surplus = {
            let mut rejected = lock(&self.rejected);
            rejected.push_back(id);
            let surplus = rejected.len().saturating_sub(self.limits.rejected_runs.max(1));
            rejected.drain(..surplus).collect::<Vec<_>>()
        };
        if !surplus.is_empty()
            && let (_ended, Err(error)) = (self.ended.lock().await, self.journal.remove(surplus).await)
        {
            tracing::warn!(%error, "old rejected requests could not be removed");
        }
        Some(id)
    }

    /// Where a run lines up. It takes one slot, and one more for each 64 KB of its body, since that is what it holds in
    /// memory.
    pub(super) fn seat_of(&self, run: &Run) -> Seat {
        self.queue.seat(&run.started.flow, 1 + run.started.request.body.text().len() / SLOT_BYTES)
    }

    pub(super) fn must_be_ready(&self) -> Result<(), Refusal> {
        if self.is_ready() {
            return Ok(());
        }
        let stopping = self.stopping.load(Ordering::Acquire);
        let why = if stopping { "Millstream is stopping" } else { "Millstream is starting" };
        Err(self.refuse(Refusal::Unavailable { retry_after: SOON, why: why.into() }))
    }

    pub(super) fn refuse(&self, refusal: Refusal) -> Refusal {
        Metrics::count(&self.metrics.refused);
        refusal
    }

    /// The claim that keeps a second equal request out; `None` where a part of the key is missing.
    pub(super) fn claim(&self, run: &Run, live: &LiveFlow, dedupe: &Dedupe, now: Timestamp) -> Option<Claim> {
        let catalog = self.catalog.current();
        let around = crate::run::Around::new(now, &catalog.env);
        let mut hash = Sha256::new();
        for (index, part) in dedupe.key.iter().enumerate() {
            let value = run.render(&live.flow, &around, part);
            let value = match value {
                Ok(Some(value)) if !value.is_null() && value != Value::String(String::new()) => value,
                Ok(_) => {
                    tracing::warn!(flow = %live.flow.id, run = %run.id, part = index, "no dedupe: a key part is missing");
                    return None;
                }
                Err(error) => {
                    tracing::warn!(flow = %live.flow.id, run = %run.id, part = index, %error, "no dedupe");
                    return None;
                }
            };
            let text = value.to_string();
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        let window = i64::try_from(dedupe.window.as_millis()).unwrap_or(i64::MAX / 2);
        let until_ms = now.as_millisecond().saturating_add(window);
        Some(Claim { flow: live.flow.id.clone(), key: hash.finalize().into(), until_ms })
    }

    /// The answer of a run that an equal request started before.
    fn answer_of(&self, run: RunId) -> Result<tokio::sync::oneshot::Receiver<Answer>, Refusal> {
        let receive = self.answers.wait(run);
        // Looked up after getting in line, so that an answer given in between is not missed.
        let answer = match self.read(run) {
            Ok(Some((found, _))) => match (&found.response, found.finished) {
                (Some(response), _) => Some(Answer::Response(response.clone())),
                (None, Some(status)) => Some(Answer::None(status)),
                (None, None) if found.held.is_some() => Some(Answer::None(Status::Held)),
                (None, None) => None,
            },
            // Claims outlive their runs.
            Ok(None) => Some(Answer::Removed),
            Err(why) => return Err(self.refuse(Refusal::Unavailable { retry_after: SOON, why })),
        };
        if let Some(answer) = answer {
            self.answers.give(run, &answer);
        }
        Ok(receive)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        match error {
            Error::Busy => Refusal::Busy { retry_after: SOON },
            other => Refusal::Unavailable { retry_after: SOON, why: other.to_string() },
        }
    }
}

/// The body that one slot stands for.
pub(super) const SLOT_BYTES: usize = 64 * 1024;
/// When to come back after a 503.
pub(super) const SOON: Duration = Duration::from_secs(2);
/// When to come back after a 429: a flow whose runs are limited is not expected to be quick.
const LATER: Duration = Duration::from_secs(5);

/// How a run stands that `next` follows on.
pub(super) fn status(run: &Run, next: &Next) -> Status {
    match (run.finished, next) {
        (Some(status), _) => status,
        (None, Next::Wait { held: true, .. }) => Status::Held,
        (None, Next::Wait { calls, .. }) if calls.is_empty() => Status::Waiting,
        (None, _) => Status::Running,
    }
}
