//! Whether this machine's clock is right, as far as an answer tells: signatures are good for minutes.

use jiff::Timestamp;

use crate::connector::Answer;

/// More than this is told, seconds: services allow some minutes.
const MOST: i64 = 120;

/// What the answer's `Date` says of this machine's clock, if they are far apart.
pub(super) fn note(answer: &Answer, now: Timestamp) -> Option<String> {
    let date = httpdate::parse_http_date(answer.header("date")?).ok()?;
    let theirs = Timestamp::try_from(date).ok()?.as_second();
    let apart = now.as_second().saturating_sub(theirs);
    let word = if apart > 0 { "ahead of" } else { "behind" };
    (apart.abs() > MOST).then(|| {
        let apart = apart.abs();
        format!("; this machine's clock is {apart} s {word} the target's, and signatures need the right time: set it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_far_apart_are_told_of() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let note = |date: &str| {
            let headers = vec![("date".to_owned(), date.to_owned())];
            super::note(&Answer { headers, ..Answer::default() }, now)
        };
        assert!(note("Sun, 01 Mar 2026 11:50:00 GMT").unwrap().contains("600 s ahead of"));
        assert!(note("Sun, 01 Mar 2026 12:10:00 GMT").unwrap().contains("600 s behind"));
        assert_eq!(note("Sun, 01 Mar 2026 12:01:00 GMT"), None);
        assert_eq!(note("yesterday"), None);
    }
}
