//! Runs that are not at work: those waiting for a slot, in order, and those waiting for a time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Command, lock};
use crate::run::RunId;

/// Runs waiting for a slot, first come first served.
#[derive(Default)]
pub(super) struct Queue {
    runs: Mutex<VecDeque<(RunId, Option<Command>)>>,
    grown: Notify,
}

impl Queue {
    pub fn push(&self, run: RunId, command: Option<Command>) {
        lock(&self.runs).push_back((run, command));
        self.grown.notify_one();
    }

    pub fn len(&self) -> usize {
        lock(&self.runs).len()
    }

    /// The first in line; waits for one.
    pub async fn pop(&self) -> (RunId, Option<Command>) {
        loop {
            if let Some(first) = lock(&self.runs).pop_front() {
                return first;
            }
            self.grown.notified().await;
        }
    }
}

/// Runs waiting for a time, ms since 1970.
#[derive(Default)]
pub(super) struct Timers {
    heap: Mutex<BinaryHeap<Reverse<(i64, RunId)>>>,
    sooner: Notify,
}

impl Timers {
    pub fn set(&self, at_ms: i64, run: RunId) {
        let mut heap = lock(&self.heap);
        let first = heap.peek().is_none_or(|Reverse((first, _))| at_ms < *first);
        heap.push(Reverse((at_ms, run)));
        drop(heap);
        if first {
            self.sooner.notify_one();
        }
    }

    pub fn len(&self) -> usize {
        lock(&self.heap).len()
    }

    /// The next run whose time has come; waits for it. A clock set back delays, it never skips.
    pub async fn due(&self) -> RunId {
        loop {
            let now = Timestamp::now().as_millisecond();
            let first = {
                let mut heap = lock(&self.heap);
                match heap.peek() {
                    Some(Reverse((at, _))) if *at <= now => {
                        if let Some(Reverse((_, run))) = heap.pop() {
                            return run;
                        }
                        continue;
                    }
                    Some(Reverse((at, _))) => Some(*at),
                    None => None,
                }
            };
            // At most a second at a time: the wall clock can be set while the timer runs on another one.
            let Some(at) = first else {
                self.sooner.notified().await;
                continue;
            };
            let wait = Duration::from_millis(u64::try_from(at - now).unwrap_or(0)).min(Duration::from_secs(1));
            let _ = tokio::time::timeout(wait, self.sooner.notified()).await;
        }
    }
}
