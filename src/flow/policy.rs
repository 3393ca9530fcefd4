//! When a failed call is tried again, and how a person writes times.

use std::time::Duration;

use serde::Deserialize;

use crate::connector::{Class, Failure};

/// How waits grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// Each wait is twice the one before.
    Exponential,
    /// All waits are alike.
    Fixed,
}

/// `retry:` of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Calls in all, the first included.
    pub attempts: u32,
    pub backoff: Backoff,
    pub delay: Duration,
    /// No wait is longer, whatever the target asks for.
    pub max_delay: Duration,
}

/// Codes of calls that this process held back itself.
const HELD_BACK: [&str; 3] = ["outbound.rate_limit", "outbound.no_descriptor", "outbound.breaker_open"];

/// True of a call that was not made: it uses up no attempt. One that is in doubt was made in part.
pub fn is_held_back(failure: &Failure) -> bool {
    failure.class != Class::Unknown && HELD_BACK.contains(&failure.code.as_str())
}

impl Default for Retry {
    /// As the Logic Apps default: the first call and four more, from 7 s, one hour at most.
    fn default() -> Retry {
        let (delay, max_delay) = (Duration::from_secs(7), Duration::from_secs(3600));
        Retry { attempts: 5, backoff: Backoff::Exponential, delay, max_delay }
    }
}

impl Retry {
    /// How long to wait after attempt number `attempt` (from 1) failed; `None` if it is not tried again.
    ///
    /// A wait that the target asked for is kept, clamped to `max_delay`; else ours, spread by ±20 % with `random`,
    /// so that many runs that failed together do not come back together.
    ///
    /// ```
    /// use std::time::Duration;
    /// use millstream::connector::{Class, Failure};
    /// use millstream::flow::Retry;
    /// let busy = Failure { class: Class::Throttled, code: "x".into(), message: "".into(), status: None, wait_ms: Some(2000) };
    /// assert_eq!(Retry::default().wait(1, &busy, 0), Some(Duration::from_secs(2)));
    /// assert_eq!(Retry::default().wait(5, &busy, 0), None);
    /// ```
    pub fn wait(&self, attempt: u32, failure: &Failure, random: u64) -> Option<Duration> {
        match failure.class {
            Class::Permanent | Class::Held => return None,
            Class::Retry | Class::Throttled | Class::Unknown => {}
        }
        // A call that our own limits held back was not made: it ends no step.
        if attempt >= self.attempts && !is_held_back(failure) {
            return None;
        }
        if let Some(asked) = failure.wait_ms {
            return Some(Duration::from_millis(asked).min(self.max_delay));
        }
        let doublings = match self.backoff {
            Backoff::Exponential => (attempt - 1).min(30),
            Backoff::Fixed => 0,
        };
        let plain = self.delay.saturating_mul(1 << doublings).min(self.max_delay);
        let spread = 0.8 + 0.4 * ((random >> 11) as f64 / (1u64 << 53) as f64);
        Some(plain.mul_f64(spread).min(self.max_delay))
    }
}

/// Reads a length of time as people write it (`10s`, `1h 30m`, `2d`) or as ISO 8601 has it (`PT5S`); a day has 24 hours.
///
/// # Errors
/// A sentence that says what would do, for text that is no such length, or a negative one.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a length of time; write it as `10s`, `5m`, `1h 30m`, `2d` or `PT5S`");
    let span: jiff::Span = text.trim().parse().map_err(|_| wrong())?;
    let exact = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(exact).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(wait_ms: Option<u64>) -> Failure {
        Failure { class: Class::Retry, code: String::new(), message: String::new(), status: None, wait_ms }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_then_end() {
        let retry = Retry { attempts: 7, max_delay: Duration::from_secs(60), ..Retry::default() };
        let middle = u64::MAX / 2;
        let waits: Vec<_> =
            (1..8).map(|n| retry.wait(n, &failure(None), middle).map(|d| d.as_secs_f64().round() as u64)).collect();
        assert_eq!(waits, [Some(7), Some(14), Some(28), Some(56), Some(60), Some(60), None]);
    }

    #[test]
    fn a_wait_is_spread_by_a_fifth_either_way() {
        let wait = |random| Retry::default().wait(1, &failure(None), random).unwrap().as_millis();
        assert_eq!((wait(0), wait(u64::MAX)), (5600, 8400));
    }

    #[test]
    fn a_wait_that_the_target_asks_for_is_kept_but_clamped() {
        let wait = |ms| Retry::default().wait(1, &failure(Some(ms)), 0).unwrap().as_secs();
        assert_eq!((wait(2_000), wait(10_u64.pow(12))), (2, 3600));
    }

    #[test]
    fn a_call_that_was_held_back_here_is_tried_again_however_often() {
        for code in HELD_BACK {
            let held_back = Failure { code: code.into(), ..failure(Some(2_000)) };
            assert_eq!(Retry::default().wait(50, &held_back, 0), Some(Duration::from_secs(2)));
            // But not if something was done before it was held back.
            let in_doubt = Failure { class: Class::Unknown, ..held_back };
            assert_eq!(Retry::default().wait(50, &in_doubt, 0), None);
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let seconds = |text| duration(text).map(|d| d.as_secs());
        assert_eq!(["10s", "5m", "1h 30m", "2d", "PT5S"].map(|t| seconds(t).unwrap()), [10, 300, 5400, 172_800, 5]);
        assert!(["", "5", "soon", "-3s", "1 month"].iter().all(|text| seconds(text).is_err()));
    }
}
