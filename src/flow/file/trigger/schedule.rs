//! `type: schedule`, read at once as it is checked: nothing of it depends on other files.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::super::super::problem::{self, nearest, suggest};
use super::super::super::reader::Reader;
use super::super::super::schedule::{Cron, Missed, Rhythm, Schedule};
use super::super::super::source::{At, child};

pub const SCHEDULE_KEYS: &[&str] = &["cron", "timezone", "every", "start", "missed"];
const MISSED: [(&str, Missed); 2] = [("skip", Missed::Skip), ("catch_up", Missed::CatchUp)];

/// The shortest and the longest `every`, ms.
const SHORTEST: i64 = 1_000;
const LONGEST: i64 = 3_650 * 86_400_000;

impl Reader<'_> {
    pub(super) fn schedule(&mut self, map: &Map<String, Value>, at: &str) -> Schedule {
        let zone = self.zone(map, at);
        let cron = self.cron(map, at);
        let every = self.every(map, at);
        match (map.contains_key("cron"), map.contains_key("every")) {
            (true, true) => {
                let what = "a schedule has `cron` or `every`, not both".to_owned();
                self.say(problem::BAD_VALUE, &child(at, "every"), At::Key, what, Some("keep one of them".into()));
            }
            (false, false) => {
                self.missing(at, "cron", "when it runs: `cron: \"0 2 * * *\"`, or `every: 15m`");
            }
            (true, false) if map.contains_key("start") => {
                let what = "`start` has a meaning only beside `every`".to_owned();
                self.say(problem::BAD_VALUE, &child(at, "start"), At::Key, what, None);
            }
            (true, false) | (false, true) => {}
        }
        let missed = self.missed(map, at);
        // Where there is no good rhythm, there is a problem already.
        let rhythm = cron.map(Rhythm::Cron).or(every);
        let rhythm = rhythm.unwrap_or(Rhythm::Every { period_ms: LONGEST, anchor_ms: 0, first_ms: i64::MIN });
        let schedule = Schedule { rhythm, zone, missed };
        if schedule.next_after(0).is_none() {
            let what = "no date is like this: it never happens".to_owned();
            let hint = Some("is the day of the month one that the month has?".to_owned());
            self.say(problem::BAD_VALUE, &child(at, "cron"), At::Value, what, hint);
        }
        schedule
    }

    fn cron(&mut self, map: &Map<String, Value>, at: &str) -> Option<Cron> {
        let text = self.text(map, at, "cron")?;
        let hint = Some("five fields, as in `0 2 * * MON-FRI`, or `@daily`".to_owned());
        Cron::parse(&text).map_err(|what| self.say(problem::BAD_VALUE, &child(at, "cron"), At::Value, what, hint)).ok()
    }

    fn every(&mut self, map: &Map<String, Value>, at: &str) -> Option<Rhythm> {
        let start = self.text(map, at, "start").and_then(|text| {
            let time = text.trim().parse::<Timestamp>();
            let what = format!("`{text}` is not a time; write it as 2026-01-01T00:00:00Z");
            time.map_err(|_| self.say(problem::BAD_VALUE, &child(at, "start"), At::Value, what, None)).ok()
        });
        let period = self.duration(map, at, "every")?;
        let period_ms = i64::try_from(period.as_millis()).ok().filter(|ms| (SHORTEST..=LONGEST).contains(ms));
        let Some(period_ms) = period_ms else {
            let what = "`every` is at least 1s and at most 3650d".to_owned();
            self.say(problem::BAD_VALUE, &child(at, "every"), At::Value, what, None);
            return None;
        };
        let start = start.map(Timestamp::as_millisecond);
        Some(Rhythm::Every { period_ms, anchor_ms: start.unwrap_or(0), first_ms: start.unwrap_or(i64::MIN) })
    }

    fn zone(&mut self, map: &Map<String, Value>, at: &str) -> TimeZone {
        let Some(name) = self.text(map, at, "timezone") else { return TimeZone::UTC };
        match TimeZone::get(&name) {
            Ok(zone) if !zone.is_unknown() => zone,
            Ok(_) | Err(_) => {
                let hint = similar(&name).map(|name| format!("did you mean `{name}`?"));
                let hint = hint.or_else(|| Some("write it as IANA does: `Europe/Berlin`, or `UTC`".to_owned()));
                let what = format!("`{name}` is no time zone");
                self.say(problem::BAD_VALUE, &child(at, "timezone"), At::Value, what, hint);
                TimeZone::UTC
            }
        }
    }

    fn missed(&mut self, map: &Map<String, Value>, at: &str) -> Missed {
        let Some(text) = self.text(map, at, "missed") else { return Missed::default() };
        let known = MISSED.iter().find(|(name, _)| *name == text);
        if known.is_none() {
            let hint = suggest(&text, MISSED.map(|(name, _)| name));
            let what = format!("`{text}` is nothing that missed runs can do");
            self.say(problem::BAD_VALUE, &child(at, "missed"), At::Value, what, hint);
        }
        known.map_or(Missed::default(), |(_, missed)| *missed)
    }
}

/// The zone that was probably meant: its town alone, or a slip of the pen.
fn similar(wrong: &str) -> Option<String> {
    let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let town = wrong.trim().replace(' ', "_");
    let by_town =
        names.iter().find(|name| name.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(&town)));
    by_town.cloned().or_else(|| nearest(wrong, names.iter().map(String::as_str)).map(str::to_owned))
}
