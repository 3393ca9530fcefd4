//! How far a flow's schedule has come, and which ticks are to be run. Pure: the time is given.

use crate::flow::{Missed, Schedule};

/// The most ticks that are caught up.
const MOST: usize = 1_000;
/// How late a single missed tick still runs, and how long the process can be busy before ticks count as missed, ms.
const LATE: i64 = 60_000;
/// A clock that is set back further than this does not delay the schedule for as long, ms.
const BACK: i64 = 3_600_000;
/// Beyond it, ticks that are passed over are not counted to the end.
pub(super) const COUNTED: usize = 100_000;

/// How far a flow's schedule has come. All times are ms since 1970.
#[derive(Debug)]
pub(super) struct Progress {
    /// The last tick that was dealt with; or the time from which on ticks count.
    pub handled: i64,
    /// Ticks up to this time are to be run.
    until: i64,
    /// When the clock was last compared with the ticks; `None` before the first time.
    looked: Option<i64>,
}

impl Progress {
    /// Ticks after this time are still to be dealt with.
    pub fn after(handled: i64) -> Progress {
        Progress { handled, until: handled, looked: None }
    }

    /// The tick that is dealt with next.
    pub fn next(&self, schedule: &Schedule) -> Option<i64> {
        schedule.next_after(self.handled)
    }

    /// The same, if it is to be run now.
    pub fn due(&self, schedule: &Schedule) -> Option<i64> {
        self.next(schedule).filter(|tick| *tick <= self.until)
    }

    /// Sets which ticks are to be run at `now`. Those that passed while somebody looked all are, however busy it is;
    /// those that passed while nobody did are judged by `missed`. Returns how many are passed over.
    pub fn look(&mut self, schedule: &Schedule, now: i64) -> usize {
        let watched = self.looked.is_some_and(|looked| now.saturating_sub(looked) <= LATE);
        self.looked = Some(now);
        if self.handled.saturating_sub(now) > BACK {
            (self.handled, self.until) = (now, now);
        }
        if now <= self.until {
            return 0;
        }
        self.until = now;
        if watched || self.next(schedule).is_none_or(|next| next > now) {
            return 0;
        }
        let (most, late) = match schedule.missed {
            Missed::Skip => (1, LATE),
            Missed::CatchUp => (MOST, i64::MAX),
        };
        // From the newest back, until `from` is the oldest that still runs.
        let mut from = now.saturating_add(1);
        for _ in 0..most {
            match schedule.last_before(from) {
                Some(tick) if tick > self.handled && now.saturating_sub(tick) <= late => from = tick,
                Some(_) | None => break,
            }
        }
        let passed = std::iter::successors(self.next(schedule), |tick| schedule.next_after(*tick));
        let count = passed.take_while(|tick| *tick < from).take(COUNTED).count();
        self.handled = schedule.last_before(from).map_or(self.handled, |tick| tick.max(self.handled));
        count
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::flow::Rhythm;

    const MINUTE: i64 = 60_000;

    /// A tick each minute.
    fn each_minute(missed: Missed) -> Schedule {
        let rhythm = Rhythm::Every { period_ms: MINUTE, anchor_ms: 0, first_ms: i64::MIN };
        Schedule { rhythm, zone: TimeZone::UTC, missed }
    }

    /// What runs until nothing is due, in minutes.
    fn run(progress: &mut Progress, schedule: &Schedule) -> Vec<i64> {
        let mut ran = Vec::new();
        while let Some(tick) = progress.due(schedule) {
            progress.handled = tick;
            ran.push(tick / MINUTE);
        }
        ran
    }

    #[test]
    fn after_a_long_absence_only_the_newest_tick_runs_if_it_is_not_long_ago() {
        let schedule = each_minute(Missed::Skip);
        let mut progress = Progress::after(0);
        assert_eq!(progress.look(&schedule, 10 * MINUTE + 5_000), 9);
        assert_eq!(run(&mut progress, &schedule), [10]);
        let hourly = Schedule {
            rhythm: Rhythm::Every { period_ms: 60 * MINUTE, anchor_ms: 0, first_ms: i64::MIN },
            ..each_minute(Missed::Skip)
        };
        let mut progress = Progress::after(0);
        assert_eq!(progress.look(&hourly, 121 * MINUTE + 1), 2);
        assert!(run(&mut progress, &hourly).is_empty());
        assert_eq!(progress.next(&hourly), Some(180 * MINUTE));
    }

    #[test]
    fn catching_up_runs_each_missed_tick_up_to_the_newest_thousand() {
        let schedule = each_minute(Missed::CatchUp);
        let mut progress = Progress::after(0);
        assert_eq!(progress.look(&schedule, 3 * MINUTE), 0);
        assert_eq!(run(&mut progress, &schedule), [1, 2, 3]);
        let mut progress = Progress::after(0);
        assert_eq!(progress.look(&schedule, 1_500 * MINUTE), 500);
        let ran = run(&mut progress, &schedule);
        assert_eq!((ran.len(), ran[0], ran[999]), (1_000, 501, 1_500));
    }

    #[test]
    fn ticks_that_pass_while_it_is_only_busy_all_run() {
        let schedule = each_minute(Missed::Skip);
        let mut progress = Progress::after(0);
        for second in 0..300 {
            assert_eq!(progress.look(&schedule, second * 1_000), 0);
        }
        assert_eq!(run(&mut progress, &schedule), [1, 2, 3, 4]);
    }

    #[test]
    fn a_process_that_slept_has_missed_what_passed() {
        let schedule = each_minute(Missed::Skip);
        let mut progress = Progress::after(0);
        progress.look(&schedule, 1_000);
        assert_eq!(progress.look(&schedule, 60 * MINUTE), 59);
        assert_eq!(run(&mut progress, &schedule), [60]);
    }

    #[test]
    fn a_clock_that_is_set_back_doubles_nothing_and_does_not_stall_for_long() {
        let schedule = each_minute(Missed::CatchUp);
        let mut progress = Progress::after(100 * MINUTE);
        progress.look(&schedule, 101 * MINUTE);
        assert_eq!(run(&mut progress, &schedule), [101]);
        progress.look(&schedule, 95 * MINUTE);
        assert!(run(&mut progress, &schedule).is_empty());
        progress.look(&schedule, 95 * MINUTE + 30_000);
        progress.look(&schedule, 102 * MINUTE);
        assert_eq!(run(&mut progress, &schedule), [102]);
        progress.look(&schedule, 10 * MINUTE);
        progress.look(&schedule, 11 * MINUTE);
        assert_eq!(run(&mut progress, &schedule), [11]);
    }
}
