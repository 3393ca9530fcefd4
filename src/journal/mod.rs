//! Where events live. The only code that names the store crate.
//!
//! One writer thread drains a bounded queue into one batch, makes it durable, then answers every waiter. What is
//! appended is opaque here but for the indexes: open runs, history by flow and time, dedupe claims, definitions.

use std::path::Path;
use std::sync::Arc;

use crate::run::{RunId, Summary};

/// One durable step of a run's history.
#[derive(Debug)]
pub struct Append {
    pub run: RunId,
    /// Position of this record in the run's history, from 0.
    pub seq: u32,
    /// The encoded events.
    pub record: Vec<u8>,
    /// The run as lists show it after this record; `None` leaves the indexes as they are.
    pub summary: Option<Summary>,
    /// A dedupe claim, checked and made in the same batch.
    pub claim: Option<Claim>,
    /// What the run pins, stored unless it is there: SHA-256 and text.
    pub definition: Option<([u8; 32], Arc<str>)>,
}

/// "No second run of this flow with this key until then."
#[derive(Debug, Clone)]
pub struct Claim {
    pub flow: String,
    pub key: [u8; 32],
    /// Ms since 1970.
    pub until_ms: i64,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    Durable,
    /// The claim is held by this run, which has not failed; nothing was written.
    Duplicate(RunId),
}

/// Why nothing was written. Whoever waits must not acknowledge.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the journal's queue is full")]
    Busy,
    #[error("the journal could not be written: {0}")]
    Failed(String),
    #[error("the store could not be read: {0}")]
    Read(String),
    /// The store cannot be opened: where, why, what now.
    #[error("{0}")]
    Open(String),
}

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub flow: Option<String>,
    pub status: Option<crate::run::Status>,
    /// Started at or after, before: ms since 1970.
    pub since_ms: Option<i64>,
    pub until_ms: Option<i64>,
}

/// The journal of one data folder.
#[derive(Clone)]
pub struct Journal {}

impl Journal {
    /// Opens or creates the store in `dir/store`, under an exclusive lock.
    pub fn open(dir: &Path) -> Result<Journal, Error> {
        let _ = dir;
        todo!()
    }
    /// Durable when it returns `Ok`.
    pub async fn append(&self, append: Append) -> Result<Appended, Error> {
        let _ = append;
        todo!()
    }
    /// A run's records in order; empty if there is no such run.
    pub fn records(&self, run: RunId) -> Result<Vec<Vec<u8>>, Error> {
        let _ = run;
        todo!()
    }
    /// Runs that have not ended, oldest first.
    pub fn open_runs(&self) -> Result<Vec<RunId>, Error> {
        todo!()
    }
    /// Newest first, starting after `cursor`, at most `limit`.
    pub fn summaries(&self, filter: &Filter, cursor: Option<RunId>, limit: usize) -> Result<Vec<Summary>, Error> {
        let _ = (filter, cursor, limit);
        todo!()
    }
    pub fn summary(&self, run: RunId) -> Result<Option<Summary>, Error> {
        let _ = run;
        todo!()
    }
    pub fn definition(&self, hash: &[u8; 32]) -> Result<Option<String>, Error> {
        let _ = hash;
        todo!()
    }
    /// A small named value, such as a flow's key version.
    pub fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let _ = name;
        todo!()
    }
    /// Durable when it returns `Ok`; `None` removes.
    pub async fn set(&self, name: &str, value: Option<Vec<u8>>) -> Result<(), Error> {
        let _ = (name, value);
        todo!()
    }
    /// Names and values of all settings that start with `prefix`.
    pub fn settings(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let _ = prefix;
        todo!()
    }
    /// Removes runs whole (an open one is left alone), with their claims' entries kept.
    pub async fn remove(&self, runs: Vec<RunId>) -> Result<(), Error> {
        let _ = runs;
        todo!()
    }
    /// Resolves with the reason once the journal can no longer be written: the process must stop.
    pub async fn failed(&self) -> String {
        todo!()
    }
    /// Writes what is queued, syncs, and ends the writer thread.
    pub async fn close(&self) {
        todo!()
    }
}
