//! Drives runs: append, apply, next, perform. Timers, slots, and what the API asks of runs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::catalog::LiveFlow;
use crate::journal::Filter;
use crate::run::{Rejected, Request, Response, RunId, Status, Summary};

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
}

/// Why a request was not let in. Nothing was kept.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// Over capacity: 503 with Retry-After.
    Busy { retry_after: Duration },
    /// It cannot be made durable, or the process is starting or stopping: 503 with Retry-After.
    Unavailable { retry_after: Duration, why: String },
}

/// Why the API could not do what was asked of a run.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Denied {
    #[error("there is no run {0}")]
    NoRun(RunId),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Unavailable(String),
}

/// The engine of one process.
pub struct Engine {}

impl Engine {
    /// False until open runs are known, and again once it is stopping.
    pub fn is_ready(&self) -> bool {
        todo!()
    }
    /// The live flow whose URL has this flow name and key; the time taken tells nothing about either.
    pub fn hook(&self, flow: &str, key: &str) -> Option<Arc<LiveFlow>> {
        let _ = (flow, key);
        todo!()
    }
    /// Makes the request durable as a run and drives it. The run is durable when this returns `Ok`.
    pub async fn start(self: &Arc<Self>, live: &Arc<LiveFlow>, request: Request) -> Result<Accepted, Refusal> {
        let _ = (live, request);
        todo!()
    }
    /// Keeps a refused request as a *rejected* run, for people to see; `None` if it could not be kept.
    pub async fn reject(&self, rejected: Rejected) -> Option<RunId> {
        let _ = rejected;
        todo!()
    }
    /// Newest first.
    pub fn runs(&self, filter: &Filter, cursor: Option<RunId>, limit: usize) -> Result<Vec<Summary>, Denied> {
        let _ = (filter, cursor, limit);
        todo!()
    }
    /// A run with its history, step by step, as the API shows it.
    pub fn run(&self, run: RunId) -> Result<Value, Denied> {
        let _ = run;
        todo!()
    }
    /// Starts a new run with the request of `run` (or with `body`); it names its origin.
    pub async fn resubmit(self: &Arc<Self>, run: RunId, body: Option<Value>, new_keys: bool) -> Result<RunId, Denied> {
        let _ = (run, body, new_keys);
        todo!()
    }
    pub async fn cancel(self: &Arc<Self>, run: RunId) -> Result<(), Denied> {
        let _ = run;
        todo!()
    }
    /// Lets a held run go on.
    pub async fn resume(self: &Arc<Self>, run: RunId) -> Result<(), Denied> {
        let _ = run;
        todo!()
    }
    /// Path of a flow's URL, `/hooks/{flow}/{key}`, with its present key.
    pub fn hook_path(&self, flow: &str) -> Option<String> {
        let _ = flow;
        todo!()
    }
    /// Gives a flow a new key; the old one works for `grace` longer.
    pub async fn rotate(&self, flow: &str, grace: Duration) -> Result<String, Denied> {
        let _ = (flow, grace);
        todo!()
    }
    /// Flows as the API lists them.
    pub fn flows(&self) -> Vec<Value> {
        todo!()
    }
    /// Problems of files as the API lists them.
    pub fn problems(&self) -> Vec<Value> {
        todo!()
    }
    /// The live flow of this id.
    pub fn flow(&self, id: &str) -> Option<Arc<LiveFlow>> {
        let _ = id;
        todo!()
    }
    /// Counters and gauges for `/metrics`, Prometheus text.
    pub fn metrics(&self) -> String {
        todo!()
    }
}
