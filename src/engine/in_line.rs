//! Runs in line that are still in memory as they were accepted, so that they need not be read from the journal again.
//!
//! It may forget any of them: what it does not have is read. A run comes here before it is durable, and leaves when it is
//! taken up for the first time, for whatever reason; until then it has no record beside its first. So what is here is
//! never old.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::Value;

use super::lock;
use crate::run::{Run, RunId};

/// What all of them may take in memory, bytes, about.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// What a run takes beside its body, about.
const AROUND: usize = 4 * 1024;
/// What one value within a body takes, with its share of what is around it.
const VALUE: usize = 2 * size_of::<Value>();

#[derive(Default)]
pub(super) struct InLine(Mutex<Known>);

#[derive(Default)]
struct Known {
    runs: HashMap<RunId, Accepted>,
    bytes: usize,
}

struct Accepted {
    run: Run,
    /// Of its record.
    recorded: u64,
    /// About how much memory it takes.
    weight: usize,
}

impl InLine {
    /// Keeps a run whose only record has so many bytes, if there is room for it.
    pub fn keep(&self, run: Run, recorded: u64) {
        let body = &run.started.request.body;
        let weight = AROUND + body.text().len() + VALUE * count(body.value());
        let mut known = lock(&self.0);
        if known.bytes + weight <= MOST_BYTES {
            known.bytes += weight;
            known.runs.insert(run.id, Accepted { run, recorded, weight });
        }
    }

    /// It did not become durable.
    pub fn forget(&self, run: RunId) {
        self.take(run);
    }

    /// The run and the bytes of its record; it is forgotten here.
    pub fn take(&self, run: RunId) -> Option<(Run, u64)> {
        let mut known = lock(&self.0);
        let Accepted { run, recorded, weight } = known.runs.remove(&run)?;
        known.bytes -= weight;
        Some((run, recorded))
    }
}

/// How many values there are in a value, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum::<usize>(),
        Value::Object(members) => members.values().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::run::{Body, Digest, Request, Started};

    fn run(number: u128, body: Value) -> Run {
        let request = Request::posted(Body::of(body));
        let (flow, definition, keys) = ("flow".to_owned(), Digest([0; 32]), Uuid::nil());
        let started = Started { flow, definition, request, keys, origin: None, parent: None };
        Run::new(RunId(Uuid::from_u128(number)), Timestamp::UNIX_EPOCH, Arc::new(started))
    }

    #[test]
    fn what_is_kept_is_bounded_and_room_comes_back() {
        let line = InLine::default();
        // A value of two bytes takes a hundred times as much in memory.
        let large = || json!(vec![1; 100_000]);
        let kept = |line: &InLine| lock(&line.0).runs.len();
        for number in 0..100 {
            line.keep(run(number, large()), 7);
        }
        let most = kept(&line);
        assert!((1..100).contains(&most), "{most}");
        assert_eq!(line.take(RunId(Uuid::from_u128(0))).map(|(run, bytes)| (run.id.0.as_u128(), bytes)), Some((0, 7)));
        assert!(line.take(RunId(Uuid::from_u128(0))).is_none() && line.take(RunId(Uuid::from_u128(99))).is_none());
        line.keep(run(99, large()), 7);
        assert_eq!(kept(&line), most);
        for number in 0..100 {
            line.take(RunId(Uuid::from_u128(number)));
        }
        assert_eq!(lock(&line.0).bytes, 0);
    }
}
