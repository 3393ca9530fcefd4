//! Drives runs: append, apply, next, perform. Timers, slots, and what the API asks of runs.
//!
//! Each run at work is one task (`drive`) that owns its state; all others are a few bytes: an entry in the queue or
//! among the timers, read again from the journal when it is their turn, unless they are in line for the first time and
//! still remembered. So what is in memory can always be derived from the journal, and the number of open runs is bounded
//! by the disk alone.

mod accept;
mod again;
mod alerts;
mod answers;
mod ask;
mod children;
mod choices;
mod connections;
mod drive;
mod flying;
mod hidden;
mod ids;
mod in_line;
mod keys;
mod lanes;
mod letters;
mod metrics;
mod queue;
mod recover;
mod resume;
mod retention;
mod schedule;
mod split;
mod usage;
mod why;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;

use crate::catalog::{Catalog, Definition, LiveFlow};
use crate::config::Limits;
use crate::connector::SecretSource;
use crate::journal::Journal;
use crate::outbound::Outbound;
use crate::run::{Digest, Place, Response, RunId, Status};

pub use ask::Wanted;
pub use ids::next as next_id;
pub use keys::InstanceKey;
pub use letters::{Resubmission, Resubmitted};
pub use resume::Delivered;
pub use split::{Begun, MAX_ITEMS, Turned, Unfit};

/// What became of a request that was let in.
#[derive(Debug)]
pub struct Accepted {
    pub run: RunId,
    /// True if an earlier run stands for this request (dedupe).
    pub repeat: bool,
    /// Present if the flow answers by itself: resolves when its response is durable, or the run has ended without one.
    pub answer: Option<tokio::sync::oneshot::Receiver<Answer>>,
}

/// How a flow with a `response` step ended for its caller.
#[derive(Debug, Clone)]
pub enum Answer {
    Response(Arc<Response>),
    /// The run ended (or is held) without reaching a `response` step.
    None(Status),
    /// Of a repeat: the run that stands for it has ended and is kept no longer, and so is its response.
    Removed,
}

/// Why a request was not let in. Nothing was kept.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// Over capacity: 503 with Retry-After.
    Busy { retry_after: Duration },
    /// A request brought more runs than the queue has room for now: 429 with Retry-After.
    Full { retry_after: Duration },
    /// The flow has as many runs in line as its `concurrency` allows: 429 with Retry-After.
    FlowBusy { retry_after: Duration },
    /// It cannot be made durable, or the process is starting or stopping: 503 with Retry-After.
    Unavailable { retry_after: Duration, why: String },
}

/// Why the API could not do what was asked of a run.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Denied {
    #[error("there is no run {0}")]
    NoRun(RunId),
    #[error("there is no flow `{0}`")]
    NoFlow(String),
    #[error("connections.yaml describes no connection `{0}` that can be used; `millstream check` shows why")]
    NoConnection(String),
    /// A login that did not come to be.
    #[error("{0}")]
    Login(String),
    #[error("run {run} was resubmitted before, as {by}")]
    Resubmitted { run: RunId, by: RunId },
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Unavailable(String),
}

/// What the outside tells a run's task.
#[derive(Debug)]
enum Command {
    Cancel,
    Resume,
    /// Its task ended in a panic: hold it.
    Suspect,
    /// A run that it waits for has news.
    Look,
    /// A POST came for one of its `wait` steps. Answered once it is durable.
    Deliver(Place, resume::Delivery),
}

/// Old definitions kept ready; beyond it they are read from the journal again.
const PINNED: usize = 256;

/// The engine of one process.
pub struct Engine {
    journal: Journal,
    outbound: Outbound,
    catalog: Arc<Catalog>,
    limits: Limits,
    keys: keys::Keys,
    ready: AtomicBool,
    stopping: AtomicBool,
    /// True if the last process on this journal did not stop in order.
    crashed: AtomicBool,
    /// Open runs that could go on when the process went down, until they are taken up.
    suspects: Mutex<HashSet<RunId>>,
    /// Runs at work, and how to reach their tasks.
    working: Mutex<HashMap<RunId, mpsc::UnboundedSender<Command>>>,
    /// Runs that are being accepted or read to go on, and what is asked of them meanwhile.
    taken_up: Mutex<HashMap<RunId, Vec<Command>>>,
    troubles: again::Troubles,
    queue: Arc<queue::Queue>,
    /// Those in line for the first time, as they were accepted, within a bound.
    in_line: in_line::InLine,
    timers: queue::Timers,
    answers: answers::Answers,
    /// Definitions that are not live any more but that open runs pin.
    pinned: Mutex<HashMap<Digest, Arc<LiveFlow>>>,
    rejected: Mutex<VecDeque<RunId>>,
    /// Held while a request is split into runs.
    splitting: tokio::sync::Mutex<()>,
    metrics: metrics::Metrics,
    /// POSTs to `wait` steps that are on their way to their runs.
    delivering: Mutex<HashSet<(RunId, Place)>>,
    /// How the world reaches the public listener.
    base: OnceLock<String>,
    /// Runs of which a person disposes just now.
    letters: Mutex<HashSet<RunId>>,
    /// Held while something is added to the records of a run that has ended, or such runs are removed.
    ended: tokio::sync::Mutex<()>,
    alerting: alerts::Alerting,
    kept: retention::Kept,
}

impl Engine {
    /// An engine that does nothing yet; [`Engine::begin`] takes up open runs.
    pub fn new(
        journal: Journal,
        outbound: Outbound,
        catalog: Arc<Catalog>,
        instance_key: InstanceKey,
        limits: Limits,
    ) -> Result<Arc<Engine>, crate::journal::Error> {
        let keys = keys::Keys::load(instance_key, &journal)?;
        Ok(Arc::new(Engine {
            queue: queue::Queue::new(limits.runs),
            journal,
            outbound,
            catalog,
            limits,
            keys,
            ready: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            crashed: AtomicBool::new(false),
            suspects: Mutex::default(),
            working: Mutex::default(),
            taken_up: Mutex::default(),
            troubles: again::Troubles::default(),
            in_line: in_line::InLine::default(),
            timers: queue::Timers::default(),
            answers: answers::Answers::default(),
            pinned: Mutex::default(),
            rejected: Mutex::default(),
            splitting: tokio::sync::Mutex::default(),
            metrics: metrics::Metrics::default(),
            delivering: Mutex::default(),
            base: OnceLock::new(),
            letters: Mutex::default(),
            ended: tokio::sync::Mutex::default(),
            alerting: alerts::Alerting::default(),
            kept: retention::Kept::default(),
        }))
    }

    /// False until open runs are known, and again once it is stopping.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.stopping.load(Ordering::Acquire)
    }

    /// The live flow whose URL has this flow name and key; the time taken tells nothing about either.
    pub fn hook(&self, flow: &str, key: &str) -> Option<Arc<LiveFlow>> {
        let catalog = self.catalog.current();
        let live = catalog.flow(flow).filter(|live| live.flow.enabled && live.flow.trigger.no_url().is_none());
        let right = self.keys.is_right(flow, key, live.is_some(), Timestamp::now().as_millisecond());
        live.filter(|_| right).cloned()
    }

    /// A live flow by its id or a former one.
    pub fn flow(&self, name: &str) -> Option<Arc<LiveFlow>> {
        self.catalog.current().flow(name).cloned()
    }

    /// Says how the world reaches the public listener, as in `https://flows.example.com`: before runs are driven.
    pub fn reached_at(&self, base: &str) {
        let _ = self.base.set(base.trim_end_matches('/').to_owned());
    }

    /// The secret at `source` as it is now, and the reason for the log if there is none. An empty one is none.
    pub async fn secret(&self, source: &SecretSource) -> Result<SecretString, String> {
        let secret = self.outbound.secret(source, &self.catalog.current().dir).await?;
        match secret.expose_secret().is_empty() {
            true => Err("it is empty; set it anew".to_owned()),
            false => Ok(secret),
        }
    }

    /// A request that did not prove who sent it was turned away.
    pub fn count_unproven(&self) {
        metrics::Metrics::count(&self.metrics.unproven);
    }

    /// Path of a flow's URL, `/hooks/{flow}/{key}`, with its present key.
    pub fn hook_path(&self, flow: &str) -> Option<String> {
        let live = self.flow(flow)?;
        Some(self.keys.path(&live.flow.id))
    }

    /// Gives a flow a new key; the old one works for `grace` longer. Returns the new path.
    pub async fn rotate(&self, flow: &str, grace: Duration) -> Result<String, Denied> {
        let live = self.flow(flow).ok_or_else(|| Denied::NoFlow(flow.to_owned()))?;
        let now = Timestamp::now().as_millisecond();
        self.keys.rotate(&self.journal, &live.flow, now, grace).await.map_err(unavailable)?;
        Ok(self.keys.path(&live.flow.id))
    }

    /// For care of the store, not for runs.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Resolves with the reason once the journal can no longer be written: the process must stop.
    pub async fn failed(&self) -> String {
        self.journal.failed().await
    }

    /// The definition with this digest: live, known, or read from the journal.
    fn definition(&self, digest: &Digest, flow: &str) -> Result<Arc<LiveFlow>, NoDefinition> {
        if let Some(live) = self.catalog.current().flows.get(flow).filter(|live| live.digest == *digest) {
            return Ok(live.clone());
        }
        if let Some(live) = lock(&self.pinned).get(digest) {
            return Ok(live.clone());
        }
        let text = self.journal.definition(&digest.0).map_err(|error| NoDefinition::Unread(error.to_string()))?;
        let lacking = || NoDefinition::Unfit("the journal lacks the flow's version that the run began with".to_owned());
        let part = |hash: &[u8; 32]| self.journal.definition(hash).map_err(|error| error.to_string());
        let live = Arc::new(Definition::open(&text.ok_or_else(lacking)?, part).map_err(NoDefinition::Unfit)?);
        let mut pinned = lock(&self.pinned);
        if pinned.len() >= PINNED {
            pinned.clear();
        }
        pinned.insert(*digest, live.clone());
        Ok(live)
    }
}

/// Why a definition cannot be had.
#[derive(Debug, thiserror::Error)]
enum NoDefinition {
    /// It may be another time.
    #[error("{0}")]
    Unread(String),
    #[error("{0}")]
    Unfit(String),
}

/// Locks; a panic elsewhere while holding the lock left plain data behind that is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The present, in whole milliseconds as the journal keeps it: a replayed run must see the same times.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

fn unavailable(error: impl std::fmt::Display) -> Denied {
    Denied::Unavailable(error.to_string())
}
