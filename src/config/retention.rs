//! `retention`: how long runs are kept that have ended. Runs in progress always are.
//!
//! What failed or is held waits for a person, so it goes only at an age that the user set, or once it was handled: there
//! is no count and no size for it.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// What is kept, by how runs ended. Without a limit (`null`) they stay.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    pub succeeded: Bounds,
    pub cancelled: Bounds,
    /// Also of those that timed out; without an age they stay until they are handled.
    pub failed: Aged,
    /// A run that has been held for so long is cancelled.
    pub held: Aged,
    /// Beside `limits.rejected_runs`.
    pub rejected: Aged,
    /// Failed, timed out and rejected runs that somebody has dealt with, from then on.
    pub handled: Aged,
    /// How often ages are looked at; what is too many is removed as it comes.
    pub sweep: Length,
}

/// How much is kept, the newest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// From the run's end on.
    pub age: Option<Length>,
    /// Runs.
    pub count: Option<u64>,
    /// Of their records, about.
    pub bytes: Option<Size>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Aged {
    pub age: Option<Length>,
}

/// A length of time, as `30d` or `12h`; a day has 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Length(pub Duration);

/// Bytes, as a number or as `500MB`, `2GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            succeeded: Bounds::default(),
            cancelled: Bounds::default(),
            failed: Aged::default(),
            held: Aged::default(),
            rejected: Aged::default(),
            handled: Aged { age: Some(Length(30 * DAY)) },
            sweep: Length(Duration::from_secs(60)),
        }
    }
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { age: Some(Length(30 * DAY)), count: Some(100_000), bytes: Some(Size(5_000_000_000)) }
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Length, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || D::Error::custom(format!("`{text}` is not a length of time; write it as `30d`, `12h` or `90s`"));
        let span: jiff::Span = text.trim().parse().map_err(|_| wrong())?;
        let exact = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
        Duration::try_from(exact).map(Length).map_err(|_| wrong())
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        let given = serde_yaml::Value::deserialize(deserializer)?;
        let size = match &given {
            serde_yaml::Value::Number(number) => number.as_u64(),
            serde_yaml::Value::String(text) => size(text),
            _ => None,
        };
        size.map(Size).ok_or_else(|| D::Error::custom("a size is a number of bytes, or written as `500MB` or `2GB`"))
    }
}

fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_are_not_named_keep_their_defaults_and_null_lifts_one() {
        let text = "succeeded: {count: 20000, age: null, bytes: 2GB}\nfailed: {age: 90d}\nsweep: 10s\n";
        let read: Retention = serde_yaml::from_str(text).unwrap();
        assert_eq!(read.succeeded, Bounds { age: None, count: Some(20_000), bytes: Some(Size(2_000_000_000)) });
        assert_eq!((read.cancelled, read.failed.age), (Bounds::default(), Some(Length(90 * DAY))));
        assert_eq!((read.held.age, read.handled.age), (None, Some(Length(30 * DAY))));
    }

    #[test]
    fn what_failed_has_no_count_and_no_size() {
        for wrong in ["failed: {count: 5}", "held: {bytes: 5}", "succeeded: {age: soon}", "succeeded: {bytes: 2XB}"] {
            assert!(serde_yaml::from_str::<Retention>(wrong).is_err(), "{wrong}");
        }
    }
}
