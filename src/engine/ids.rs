//! Ids of new runs: UUIDv7 (RFC 9562), in order within this process also where many begin in one millisecond.
//!
//! The `uuid` crate makes them too, and asks the system for randomness for each one. Here one system call serves hundreds.

use std::sync::Mutex;

use jiff::Timestamp;
use uuid::{Builder, Uuid};

use super::lock;
use crate::run::RunId;

/// Random bytes fetched at once.
const POOL: usize = 2048;
/// The counter within a millisecond has this many bits (RFC 9562, 6.2, method 1).
const COUNTER: u64 = (1 << 42) - 1;

static LAST: Mutex<Last> = Mutex::new(Last { ms: 0, counter: 0, pool: [0; POOL], used: POOL });

struct Last {
    ms: u64,
    counter: u64,
    pool: [u8; POOL],
    /// How much of the pool is used up.
    used: usize,
}

impl Last {
    fn next(&mut self, now_ms: u64) -> Uuid {
        if now_ms > self.ms {
            self.ms = now_ms;
            // From the lower half, so that there is room to count on.
            self.counter = u64::from_be_bytes(self.random()) & (COUNTER >> 1);
        } else if self.counter < COUNTER {
            self.counter += 1;
        } else {
            (self.ms, self.counter) = (self.ms + 1, 0);
        }
        // Twelve bits before the variant, thirty after it; then 32 random ones.
        let (high, low) = ((self.counter >> 30) as u16, (self.counter & 0x3FFF_FFFF) as u32);
        let mut tail = [0; 10];
        tail[..2].copy_from_slice(&high.to_be_bytes());
        tail[2..6].copy_from_slice(&low.to_be_bytes());
        tail[6..].copy_from_slice(&self.random::<4>());
        Builder::from_unix_timestamp_millis(self.ms, &tail).into_uuid()
    }

    /// Bytes that were not used before.
    fn random<const N: usize>(&mut self) -> [u8; N] {
        if self.used + N > POOL {
            // Without randomness the counter alone tells ids apart; a v7 id is not a secret.
            let _ = getrandom::fill(&mut self.pool);
            self.used = 0;
        }
        let found = self.pool[self.used..].first_chunk().copied().unwrap_or([0; N]);
        self.used += N;
        found
    }
}

/// An id later than all that were given before.
pub fn next() -> RunId {
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
    RunId(lock(&LAST).next(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_order_whatever_the_clock_does() {
        let mut last = Last { ms: 0, counter: 0, pool: [0; POOL], used: POOL };
        let mut before = Uuid::nil();
        for now in [1_000, 1_000, 1_000, 1_001, 900, 1_001, 5_000] {
            for _ in 0..600 {
                let id = last.next(now);
                assert!(before < id, "{before} {id}");
                assert_eq!(id.get_version(), Some(uuid::Version::SortRand));
                assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
                before = id;
            }
        }
        last.counter = COUNTER;
        let after = last.next(5_000);
        assert!(before < after && after < last.next(5_000));
        let (seconds, nanos) = after.get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos), (5, 1_000_000));
    }
}
