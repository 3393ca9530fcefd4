//! Tests of the journal: what any store must do (`conformance`), what it refuses to open, and how it fails.

mod begun;
mod conformance;
mod failures;
mod log;
mod refusals;
mod repair;
mod twice;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::disk::Disk;
use super::{Append, Claim, Journal, index};
use crate::run::{RunId, Status, Summary};

fn open(dir: &Path) -> Journal {
    Journal::open(dir).expect("the folder is fit for use")
}

/// The same, with the index in sled.
fn open_sled(dir: &Path) -> Journal {
    Journal::open_on(dir, Disk::default(), index::SLED).expect("the folder is fit for use")
}

/// On a disk of a test's own.
fn open_on(dir: &Path, disk: Disk) -> Journal {
    Journal::open_on(dir, disk, index::DEFAULT).expect("the folder is fit for use")
}

fn new_run() -> RunId {
    RunId(Uuid::now_v7())
}

/// A run whose id and start are `ms` after 1970; order of calls is order of ids.
fn run_at(ms: i64) -> RunId {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let time = u128::from(ms.unsigned_abs()) << 80;
    RunId(Uuid::from_u128(time | 0x7000_8000_0000_0000_0000 | u128::from(count)))
}

fn summary(run: RunId, flow: &str, status: Status, at_ms: i64) -> Summary {
    let at = Timestamp::from_millisecond(at_ms).expect("in range");
    let (run_id, flow, bytes) = (run, flow.to_string(), 0);
    let (origin, reason, code, parent, handled) = (None, None, None, None, None);
    Summary { run_id, flow, status, started_at: at, updated_at: at, origin, reason, code, parent, bytes, handled }
}

/// The first record of a run, which leaves it with this status.
fn first(run: RunId, flow: &str, status: Status, at_ms: i64) -> Append {
    Append {
        run,
        seq: 0,
        record: format!("first of {run}").into_bytes(),
        summary: Some(summary(run, flow, status, at_ms)),
        claim: None,
        definition: None,
    }
}

fn next(seq: u32, status: Status, before: &Append) -> Append {
    let summary = before.summary.clone().map(|summary| Summary { status, ..summary });
    Append {
        run: before.run,
        seq,
        record: format!("record {seq}").into_bytes(),
        summary,
        claim: None,
        definition: None,
    }
}

fn claimed(append: Append, key: u8, until_ms: i64) -> Append {
    let flow = append.summary.as_ref().map(|summary| summary.flow.clone()).unwrap_or_default();
    Append { claim: Some(Claim { flow, key: [key; 32], until_ms }), ..append }
}

fn defined(append: Append, hash: [u8; 32], text: &str) -> Append {
    Append { definition: Some([(hash, Arc::from(text))].into()), ..append }
}
