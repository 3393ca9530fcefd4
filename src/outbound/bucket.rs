//! So many requests in a time, as a bucket that fills steadily; and what of it must outlive the process.
//!
//! What was used is kept beside the runs' events (`engine/usage.rs`): no call waits for that. A bucket says that it should
//! be kept once a fortieth of its requests has been used since, which is each time where it has few; after a start it
//! begins with a twentieth less than was kept. So a restart never lets more through than the rate allows, but for what was
//! used within the one sync of the disk before a crash, and costs at most a twentieth of the burst.

use std::time::Duration;

use tokio::time::Instant;

use crate::connector::Rate;

/// Shorter than it takes to notice that a process is gone, and to start another one.
const RESTART: Duration = Duration::from_secs(2);

pub(super) struct Bucket {
    pub rate: Rate,
    /// Requests that may go now.
    pub tokens: f64,
    at: Instant,
    /// Requests that went since this was last kept.
    unkept: u32,
}

impl Bucket {
    pub fn full(rate: Rate) -> Bucket {
        Bucket { rate, tokens: f64::from(rate.requests), at: Instant::now(), unkept: 0 }
    }

    /// As it was before a restart: so many were left, so long ago.
    pub fn left(rate: Rate, tokens: f64, ago: Duration) -> Bucket {
        let mut bucket = Bucket::full(rate);
        let margin = f64::from(rate.requests / 20);
        let left = (tokens - margin).max(0.0) + ago.as_secs_f64() * per_second(rate);
        bucket.tokens = left.min(f64::from(rate.requests));
        bucket
    }

    pub fn refill(&mut self) {
        let now = Instant::now();
        let new = (now - self.at).as_secs_f64() * per_second(self.rate);
        self.tokens = (self.tokens + new).min(f64::from(self.rate.requests));
        self.at = now;
    }

    pub fn take(&mut self) -> bool {
        let there = self.tokens >= 1.0;
        if there {
            self.tokens -= 1.0;
            self.unkept = self.unkept.saturating_add(1);
        }
        there
    }

    /// True if so much was used that it should be kept at once; not of one that is full again by the time that a restart
    /// takes.
    pub fn is_due(&self) -> bool {
        self.unkept > self.rate.requests / 40 && self.until_full() > RESTART
    }

    /// True if it need not be known.
    pub fn is_full(&self) -> bool {
        self.tokens >= f64::from(self.rate.requests)
    }

    /// What is left now; it counts as kept.
    pub fn keep(&mut self) -> f64 {
        self.refill();
        self.unkept = 0;
        self.tokens
    }

    /// How long until it is full again.
    pub fn until_full(&self) -> Duration {
        let missing = (f64::from(self.rate.requests) - self.tokens).max(0.0);
        Duration::try_from_secs_f64(missing / per_second(self.rate)).unwrap_or(Duration::MAX)
    }
}

pub(super) fn per_second(rate: Rate) -> f64 {
    f64::from(rate.requests) / rate.per.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_small_bucket_is_kept_each_time_and_comes_back_exactly() {
        let rate = Rate { requests: 2, per: HOUR };
        let mut bucket = Bucket::full(rate);
        assert!(bucket.take() && bucket.is_due());
        let left = bucket.keep();
        assert!(!bucket.is_due());
        assert!((Bucket::left(rate, left, Duration::ZERO).tokens - 1.0).abs() < 0.01);
        assert!((Bucket::left(rate, 0.0, HOUR / 2).tokens - 1.0).abs() < 0.01);
        assert!((Bucket::left(rate, 0.0, HOUR * 9).tokens - 2.0).abs() < 0.01);
    }

    #[test]
    fn a_large_bucket_is_kept_now_and_then_and_comes_back_with_less_rather_than_more() {
        let rate = Rate { requests: 6000, per: HOUR };
        let mut bucket = Bucket::full(rate);
        let kept = bucket.keep();
        let taken = (0..6000).take_while(|_| bucket.take() && !bucket.is_due()).count();
        assert_eq!(taken, 150, "then it is due");
        assert!(Bucket::left(rate, kept, Duration::ZERO).tokens <= bucket.tokens);
    }
}
