//! What a request comes to before there is a run: conditions that hold or not, and a list of which each item is a run.

use std::sync::Arc;

use jiff::Timestamp;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::accept::{Entry, SLOT_BYTES, SOON};
use super::lanes::Seat;
use super::metrics::Metrics;
use super::queue::Admission;
use super::*;
use crate::journal::{Append, Appended};
use crate::points;
use crate::run::{Around, AtTheDoor, Body, Event, Origin, Record, Request, Run, Started, Summary};

/// Most items of one request that is split.
pub const MAX_ITEMS: usize = 100_000;
/// Most bytes that the first records of a split request's runs may have together.
const MAX_BYTES: usize = 128 * 1024 * 1024;

/// What became of a request that was let in.
#[derive(Debug)]
pub enum Begun {
    One(Accepted),
    /// Of a request that was split: for each item its run, or the earlier run that stands for it.
    Each(Vec<RunId>),
    /// A condition is false: there is no run.
    Skipped,
}

impl Serialize for Begun {
    /// As callers are told.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut told = serializer.serialize_map(None)?;
        match self {
            Begun::One(accepted) => {
                told.serialize_entry("run_id", &accepted.run)?;
                told.serialize_entry("status", "accepted")?;
            }
            Begun::Each(runs) => {
                told.serialize_entry("status", "accepted")?;
                told.serialize_entry("count", &runs.len())?;
                told.serialize_entry("run_ids", runs)?;
            }
            Begun::Skipped => told.serialize_entry("status", "skipped")?,
        }
        told.end()
    }
}

/// Why a request cannot become a run, though its body is as the schema wants it. In words for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// A condition cannot be judged.
    Condition(String),
    /// What should be split is no list.
    NoList(String),
    /// More items than there can ever be room for.
    TooMany(String),
}

/// Why a request began no run.
#[derive(Debug, Clone)]
pub enum Turned {
    Unfit(Unfit),
    Refused(Refusal),
}

impl From<Refusal> for Turned {
    fn from(refusal: Refusal) -> Turned {
        Turned::Refused(refusal)
    }
}

impl Engine {
    /// Makes the request durable, as one run or as one for each item of its list, and drives it. Durable when this
    /// returns `Ok`.
    ///
    /// Must be driven to its end once begun: between the append and the return a run belongs to nobody.
    pub async fn start(self: &Arc<Self>, live: &Arc<LiveFlow>, request: Request) -> Result<Begun, Turned> {
        let split = {
            let catalog = self.catalog.current();
            let around = Around::new(super::now(), &catalog.env);
            if !holds(live, &request, &around).map_err(Turned::Unfit)? {
                return Ok(Begun::Skipped);
            }
            self.items(live, &request, &around).map_err(Turned::Unfit)?
        };
        match split {
            Some(items) => {
                // Each item is a body of its own from here on.
                let request = Request { body: request.body.text_only(), ..request };
                Ok(Begun::Each(self.start_each(live, request, items, None).await?))
            }
            None => Ok(Begun::One(self.admit(live, Entry { claims: true, ..Entry::new(request) }).await?)),
        }
    }

    /// The items of which each is to be a run, if the flow splits its requests.
    pub(super) fn items(
        &self,
        live: &LiveFlow,
        request: &Request,
        around: &Around<'_>,
    ) -> Result<Option<Vec<Value>>, Unfit> {
        let Some(template) = live.flow.trigger.request().and_then(|request| request.split_on.as_ref()) else {
            return Ok(None);
        };
        let items = match template.render(&at_the_door(live, request, around)) {
            Ok(Some(Value::Array(items))) => items,
            Ok(_) => {
                let template = template.source();
                return Err(Unfit::NoList(format!("`split_on` wants a list; `{template}` is none in this request.")));
            }
            Err(error) => return Err(Unfit::NoList(format!("`split_on` cannot be evaluated: {error}."))),
        };
        let most = MAX_ITEMS.min(self.limits.queued_runs);
        if items.len() > most {
            return Err(Unfit::TooMany(format!("A request may be split into {most} runs at most.")));
        }
        // Each run keeps what the request brought beside its body.
        let beside = serde_json::to_string(&(&request.headers, &request.query, &request.params));
        let beside = beside.map_or(0, |text| text.len()) + request.path.len();
        if items.len().saturating_mul(beside).saturating_add(request.body.text().len()) > MAX_BYTES {
            let bytes = MAX_BYTES;
            return Err(Unfit::TooMany(format!("The runs of one request may have {bytes} bytes together at most.")));
        }
        Ok(Some(items))
    }

    /// Makes one run of each item, all durable in one batch or none, and puts them in line.
    pub(super) async fn start_each(
        self: &Arc<Self>,
        live: &Arc<LiveFlow>,
        request: Request,
        items: Vec<Value>,
        origin: Option<Repeat>,
    ) -> Result<Vec<RunId>, Refusal> {
        self.must_be_ready()?;
        // One at a time: this bounds the memory that they take, and what fits into the queue is judged once.
        let _turn = self.splitting.lock().await;
        let (engine, of) = (self.clone(), live.clone());
        let encoded = tokio::task::spawn_blocking(move || engine.encode_each(&of, &request, items, origin)).await;
        let appends = encoded.map_err(|panic| {
            let why = format!("splitting a request: {panic}");
            self.refuse(Refusal::Unavailable { retry_after: SOON, why })
        })?;
        let runs: Vec<RunId> = appends.iter().map(|append| append.run).collect();
        // What an item weighs is about what its record does.
        let seat = |append: &Append| self.queue.seat(&live.flow.id, 1 + append.record.len() / SLOT_BYTES);
        let seats: Vec<Seat> = appends.iter().map(seat).collect();
        let tickets = self.queue.announce(&seats, self.limits.queued_runs).map_err(|full| match full {
            Admission::FlowFull => {
                Metrics::count(&self.metrics.limited);
                Refusal::FlowBusy { retry_after: FULL }
            }
            _ => self.refuse(Refusal::Full { retry_after: FULL }),
        })?;
        let appended = self.journal.append_together(appends).await.map_err(|error| self.refuse(error.into()))?;
        points::reach("split.append.after");
        Metrics::count(&self.metrics.appends);
        let mut standing = Vec::with_capacity(runs.len());
        for ((run, appended), ticket) in runs.into_iter().zip(appended).zip(tickets) {
            match appended {
                Appended::Durable => {
                    Metrics::count(&self.metrics.accepted);
                    ticket.line_up(run);
                    standing.push(run);
                }
                Appended::Duplicate(first) => {
                    Metrics::count(&self.metrics.repeats);
                    standing.push(first);
                }
            }
        }
        tracing::debug!(flow = %live.flow.id, runs = standing.len(), "a request was split");
        Ok(standing)
    }

    /// The first record of each item's run. An item is dropped once it is written down.
    fn encode_each(
        &self,
        live: &LiveFlow,
        request: &Request,
        items: Vec<Value>,
        origin: Option<Repeat>,
    ) -> Vec<Append> {
        let now: Timestamp = super::now();
        let dedupe = live.flow.trigger.request().and_then(|request| request.dedupe.as_ref());
        let dedupe = dedupe.filter(|_| origin.is_none());
        let mut appends = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let first = origin.filter(|_| index == 0).map(|origin| origin.first);
            let id = first.unwrap_or_else(super::ids::next);
            let item = Request { body: Body::of(item), item: u32::try_from(index).ok(), ..request.clone() };
            let started = Arc::new(Started {
                flow: live.flow.id.clone(),
                definition: live.digest,
                request: item,
                keys: id.0,
                origin: origin.map(|origin| Origin { run: origin.of, from_step: None }),
                parent: None,
            });
            let run = Run::new(id, now, started.clone());
            let claim = dedupe.and_then(|dedupe| self.claim(&run, live, dedupe, now));
            let record = Record::encode(now, &[Event::Started(started)]);
            let bytes = record.len() as u64;
            appends.push(Append {
                run: id,
                seq: 0,
                record,
                summary: Some(Summary { bytes, ..run.summary(Status::Queued) }),
                claim,
                definition: (index == 0).then(|| live.definition.clone()),
            });
        }
        appends
    }
}

/// A rejected request that is split after all.
#[derive(Clone, Copy)]
pub(super) struct Repeat {
    pub of: RunId,
    /// The run of the first item, chosen before.
    pub first: RunId,
}

/// When to come back once the queue is full.
const FULL: Duration = Duration::from_secs(30);

/// True if every condition of the flow's trigger holds.
fn holds(live: &LiveFlow, request: &Request, around: &Around<'_>) -> Result<bool, Unfit> {
    let conditions = live.flow.trigger.request().map_or(&[][..], |request| &request.conditions);
    for condition in conditions {
        match condition.holds(&at_the_door(live, request, around)) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => return Err(Unfit::Condition(format!("A condition cannot be judged: {error}."))),
        }
    }
    Ok(true)
}

fn at_the_door<'r>(live: &'r LiveFlow, request: &'r Request, around: &'r Around<'r>) -> AtTheDoor<'r> {
    let seed = getrandom::u64().unwrap_or(u64::MAX / 2);
    AtTheDoor { request, flow: &live.flow, around, seed }
}
