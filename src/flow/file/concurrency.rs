//! `concurrency:` as typed: a number, or a map.

use serde_json::{Map, Value};

use super::super::Concurrency;
use super::super::reader::Reader;
use super::super::source::child;

pub const CONCURRENCY_KEYS: &[&str] = &["running", "queued"];

/// Most runs of one flow at once, and in line.
const MOST: u64 = 1_000_000;

impl Reader<'_> {
    /// Reads `concurrency` of `map`, which stands at `at`.
    pub(super) fn concurrency(&mut self, map: &Map<String, Value>, at: &str) -> Option<Concurrency> {
        let value = map.get("concurrency")?;
        let at = child(at, "concurrency");
        let queued = Concurrency::QUEUED;
        if value.is_number() {
            return self.count(value, &at, 1..=MOST).map(|running| Concurrency { running, queued });
        }
        let like = "a number, or a map as in `{running: 5, queued: 100}`";
        let Some(map) = value.as_object() else {
            self.wrong(&at, value, like);
            return None;
        };
        self.keys(map, &at, CONCURRENCY_KEYS);
        let Some(running) = map.get("running") else {
            self.missing(&at, "running", "how many of its runs may be open at once");
            return None;
        };
        let running = self.count(running, &child(&at, "running"), 1..=MOST);
        let queued = match map.get("queued") {
            None => Some(queued),
            Some(value) => self.count(value, &child(&at, "queued"), 0..=MOST),
        };
        Some(Concurrency { running: running?, queued: queued? })
    }
}
