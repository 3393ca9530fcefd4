//! Schedules: when a flow starts by itself. Pure: ticks are computed from a time that is given, never from a clock.
//!
//! Where clocks change, ticks come as with Vixie cron. A pattern that names points of time (neither minute nor hour
//! begins with `*`) runs once for each: one that the change leaves out runs right after it, one that comes twice runs at
//! the first. All other patterns follow the clock as it shows, each minute that is shown twice counts twice.

mod cron;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

pub use cron::Cron;

/// When a flow starts by itself.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub rhythm: Rhythm,
    pub zone: TimeZone,
    pub missed: Missed,
}

/// What gives the ticks.
#[derive(Debug, Clone)]
pub enum Rhythm {
    Cron(Cron),
    /// Ticks stand whole multiples of `period_ms` from `anchor_ms` (since 1970), and none before `first_ms`.
    Every {
        period_ms: i64,
        anchor_ms: i64,
        first_ms: i64,
    },
}

/// What becomes of ticks that passed while nobody watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Missed {
    /// Only the newest runs, and only if it is not long ago.
    #[default]
    Skip,
    /// Each gets its run.
    CatchUp,
}

/// The furthest that ticks lie apart, s: February 29, around a year like 2100. What is further never comes.
const HORIZON: i64 = 9 * 366 * 86_400;

impl Schedule {
    /// The first tick after this time; both ms since 1970. `None` if there is none.
    pub fn next_after(&self, at_ms: i64) -> Option<i64> {
        match &self.rhythm {
            Rhythm::Cron(cron) => Some(next(cron, &self.zone, at_ms.div_euclid(1000))? * 1000),
            Rhythm::Every { period_ms, anchor_ms, first_ms } => {
                let at = at_ms.max(first_ms.saturating_sub(1));
                let periods = at.checked_sub(*anchor_ms)?.div_euclid(*period_ms).checked_add(1)?;
                let tick = periods.checked_mul(*period_ms)?.checked_add(*anchor_ms)?;
                Timestamp::from_millisecond(tick).is_ok().then_some(tick)
            }
        }
    }

    /// The last tick before this time; both ms since 1970. `None` if there is none.
    pub fn last_before(&self, at_ms: i64) -> Option<i64> {
        match &self.rhythm {
            Rhythm::Cron(cron) => Some(last(cron, &self.zone, at_ms.saturating_add(999).div_euclid(1000))? * 1000),
            Rhythm::Every { period_ms, anchor_ms, first_ms } => {
                let periods = at_ms.checked_sub(1)?.checked_sub(*anchor_ms)?.div_euclid(*period_ms);
                let tick = periods.checked_mul(*period_ms)?.checked_add(*anchor_ms)?;
                (tick >= *first_ms).then_some(tick)
            }
        }
    }

    /// What names its ticks: two schedules with the same text have the same ticks.
    pub fn text(&self) -> String {
        match &self.rhythm {
            Rhythm::Cron(cron) => {
                format!("cron {} {}", cron.text(), self.zone.iana_name().unwrap_or("UTC"))
            }
            Rhythm::Every { period_ms, anchor_ms, first_ms } => {
                format!("every {period_ms} {anchor_ms} {first_ms}")
            }
        }
    }

    /// What the run of the tick at this time (ms since 1970) sees as `trigger.body`.
    pub fn body(&self, at_ms: i64) -> Value {
        let time = |ms: i64| Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let at = time(at_ms);
        json!({
            "scheduled_at": at.to_string(),
            "local": at.display_with_offset(self.zone.to_offset(at)).to_string(),
            "previous": self.last_before(at_ms).map(|ms| time(ms).to_string()),
        })
    }
}

/// A stretch of time in which the zone's clock runs evenly. All in seconds since 1970.
struct Stretch {
    /// Its beginning and the offset until then; `None` if it has always been so.
    begins: Option<(i64, i64)>,
    ends: Option<i64>,
    offset: i64,
}

impl Stretch {
    /// The one that this time lies in.
    fn around(zone: &TimeZone, at: i64) -> Option<Stretch> {
        let time = |second: i64| Timestamp::from_second(second).ok();
        let offset_at = |second: i64| Some(i64::from(zone.to_offset(time(second)?).seconds()));
        let begins = zone.preceding(time(at + 1)?).next().map(|change| change.timestamp().as_second());
        let begins = begins.and_then(|begin| Some((begin, offset_at(begin - 1)?)));
        let ends = zone.following(time(at)?).next().map(|change| change.timestamp().as_second());
        Some(Stretch { begins, ends, offset: offset_at(at)? })
    }

    /// The local time until which the clock shows what it showed before the stretch began.
    fn shown_before(&self) -> i64 {
        self.begins.map_or(i64::MIN, |(begin, before)| begin + before)
    }

    /// True if its very beginning is a tick, by its own local time or in place of those that were left out.
    fn begins_with_tick(&self, cron: &Cron) -> bool {
        let Some((begin, before)) = self.begins else { return false };
        let local = begin + self.offset;
        if cron.fixed && before < self.offset && cron.first(begin + before, local).is_some() {
            return true;
        }
        cron.names(local) && !(cron.fixed && local < self.shown_before())
    }
}

fn next(cron: &Cron, zone: &TimeZone, after: i64) -> Option<i64> {
    let horizon = after.checked_add(HORIZON)?;
    let mut after = after;
    loop {
        let stretch = Stretch::around(zone, after)?;
        let from = after + 1 + stretch.offset;
        let from = if cron.fixed { from.max(stretch.shown_before()) } else { from };
        let end = stretch.ends.unwrap_or(horizon).min(horizon);
        if let Some(local) = cron.first(from, end + stretch.offset) {
            return Some(local - stretch.offset);
        }
        let following = stretch.ends.filter(|end| *end < horizon)?;
        if Stretch::around(zone, following)?.begins_with_tick(cron) {
            return Some(following);
        }
        after = following;
    }
}

fn last(cron: &Cron, zone: &TimeZone, before: i64) -> Option<i64> {
    let horizon = before.checked_sub(HORIZON)?;
    let mut before = before;
    loop {
        let stretch = Stretch::around(zone, before - 1)?;
        let begin = stretch.begins.map(|(begin, _)| begin).filter(|begin| *begin > horizon);
        let from = begin.map_or(horizon, |begin| begin + 1) + stretch.offset;
        let from = if cron.fixed { from.max(stretch.shown_before()) } else { from };
        if let Some(local) = cron.last(from, before + stretch.offset) {
            return Some(local - stretch.offset);
        }
        before = begin?;
        if stretch.begins_with_tick(cron) {
            return Some(before);
        }
    }
}
