//! A point of time as .NET's `DateTime` has it: ticks of 100 ns since the year 1, in UTC or in no zone at all.

use jiff::civil::{Date, DateTime, Time, date};
use jiff::{Span, Timestamp};

pub(super) const SECOND: i64 = 10_000_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

/// The last tick of the year 9999.
const MAX: i64 = 3_155_378_975_999_999_999;
/// Ticks at 1970-01-01.
const EPOCH: i64 = 621_355_968_000_000_000;

/// 0001-01-01 to 9999-12-31.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub ticks: i64,
    pub zone: Zone,
}

/// What a time says of its zone, and how it is written again: .NET's `DateTimeKind` on a server whose own zone is UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    /// Nothing, before and after.
    None,
    /// `Z`.
    Utc,
    /// An offset; turned to UTC it is written `+00:00`, as Microsoft's cloud does.
    Offset,
}

/// A unit of `addToTime` and its kin.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    Ticks(i64),
    Months(i64),
}

impl Unit {
    /// The unit of this name, one or several, ignoring case.
    pub fn named(name: &str) -> Option<Unit> {
        let name = name.to_ascii_lowercase();
        Some(match name.strip_suffix('s').unwrap_or(&name) {
            "second" => Unit::Ticks(SECOND),
            "minute" => Unit::Ticks(MINUTE),
            "hour" => Unit::Ticks(HOUR),
            "day" => Unit::Ticks(DAY),
            "week" => Unit::Ticks(7 * DAY),
            "month" => Unit::Months(1),
            "year" => Unit::Months(12),
            _ => return None,
        })
    }
}

impl Moment {
    /// `None` outside of the years 1 to 9999.
    pub fn new(ticks: i64, zone: Zone) -> Option<Moment> {
        (0..=MAX).contains(&ticks).then_some(Moment { ticks, zone })
    }

    pub fn of_timestamp(at: Timestamp) -> Option<Moment> {
        let ticks = i64::try_from(at.as_nanosecond().div_euclid(100)).ok()?;
        Moment::new(ticks.checked_add(EPOCH)?, Zone::Utc)
    }

    /// The same point in time, taken as UTC.
    pub fn timestamp(self) -> Option<Timestamp> {
        Timestamp::from_nanosecond(i128::from(self.ticks - EPOCH) * 100).ok()
    }

    pub fn of_date(year: i64, month: i64, day: i64) -> Option<Moment> {
        let date = Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
        let days = i64::from(date.since(FIRST).ok()?.get_days());
        Moment::new(days.checked_mul(DAY)?, Zone::None)
    }

    pub fn of_civil(at: DateTime, zone: Zone) -> Option<Moment> {
        let day = Moment::of_date(at.year().into(), at.month().into(), at.day().into())?;
        let ticks = i64::from(at.hour()) * HOUR
            + i64::from(at.minute()) * MINUTE
            + i64::from(at.second()) * SECOND
            + i64::from(at.subsec_nanosecond()) / 100;
        Moment::new(day.ticks + ticks, zone)
    }

    pub fn civil(self) -> DateTime {
        let ticks = self.clock();
        // Each part is within its range: the remainder of the next larger one.
        let part = |unit: i64, of: i64| i8::try_from(ticks / unit % of).unwrap_or(0);
        let fraction = i32::try_from(ticks % SECOND * 100).unwrap_or(0);
        let time = Time::new(part(HOUR, 24), part(MINUTE, 60), part(SECOND, 60), fraction);
        self.date().to_datetime(time.unwrap_or(Time::midnight()))
    }

    pub fn date(self) -> Date {
        FIRST.checked_add(Span::new().days(self.ticks / DAY)).unwrap_or(FIRST)
    }

    /// Ticks since midnight.
    pub fn clock(self) -> i64 {
        self.ticks % DAY
    }

    /// 0 is Sunday.
    pub fn weekday(self) -> usize {
        usize::try_from((self.ticks / DAY + 1) % 7).unwrap_or(0)
    }

    pub fn plus(self, ticks: i64) -> Option<Moment> {
        Moment::new(self.ticks.checked_add(ticks)?, self.zone)
    }

    /// `count` units later; a day that the month lacks becomes its last.
    pub fn shifted(self, count: i64, unit: Unit) -> Option<Moment> {
        match unit {
            Unit::Ticks(ticks) => self.plus(count.checked_mul(ticks)?),
            Unit::Months(months) => {
                let date = self.date().checked_add(Span::new().try_months(count.checked_mul(months)?).ok()?).ok()?;
                let day = Moment::of_date(date.year().into(), date.month().into(), date.day().into())?;
                Moment::new(day.ticks + self.clock(), self.zone)
            }
        }
    }

    pub fn with_zone(self, zone: Zone) -> Moment {
        Moment { zone, ..self }
    }
}

const FIRST: Date = date(1, 1, 1);
