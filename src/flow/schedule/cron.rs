//! Cron patterns: five fields, and the minutes of a local calendar that they name. No zones here.

use jiff::ToSpan as _;
use jiff::civil::{Date, date};

/// Seconds of a day and of a minute, as a local clock without changes has them.
const DAY: i64 = 86_400;
const MINUTE: i64 = 60;
/// 1970-01-01, where local seconds count from.
const EPOCH: Date = date(1970, 1, 1);

/// A pattern as checked: one bit for each value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// True if a day must suit both day fields: one of them begins with `*`. Else either is enough.
    both: bool,
    /// True if it names points of time rather than an interval: neither minute nor hour begins with `*`.
    pub fixed: bool,
}

/// One field: its name, its bounds, and the names of its values from the lowest on.
struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, names: &[] },
    Field { name: "hour", low: 0, high: 23, names: &[] },
    Field { name: "day of month", low: 1, high: 31, names: &[] },
    Field { name: "month", low: 1, high: 12, names: MONTHS },
    // 0 and 7 are both Sunday.
    Field { name: "day of week", low: 0, high: 7, names: WEEKDAYS },
];

const SHORT: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

impl Cron {
    /// Reads a pattern such as `0 2 * * MON-FRI`, `*/15 9-17 * * *` or `@daily`.
    ///
    /// # Errors
    /// A sentence that says which field is wrong, and why.
    pub fn parse(text: &str) -> Result<Cron, String> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let long = match SHORT.iter().find(|(short, _)| short.eq_ignore_ascii_case(&text)) {
            Some((_, long)) => long,
            None if text.starts_with('@') => {
                let known: Vec<&str> = SHORT.iter().map(|(short, _)| *short).collect();
                return Err(format!("`{text}` is not one of {}", known.join(", ")));
            }
            None => text.as_str(),
        };
        let fields: Vec<&str> = long.split(' ').filter(|field| !field.is_empty()).collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            let count = match fields.len() {
                1 => "1 field".to_owned(),
                count => format!("{count} fields"),
            };
            return Err(format!(
                "`{text}` has {count}; a pattern has five: minute, hour, day of month, month, day of week"
            ));
        };
        let mut weekdays = FIELDS[4].parse(weekday)?;
        weekdays = (weekdays | weekdays >> 7) & 0x7f;
        Ok(Cron {
            minutes: FIELDS[0].parse(minute)?,
            hours: FIELDS[1].parse(hour)?,
            days: FIELDS[2].parse(day)?,
            months: FIELDS[3].parse(month)?,
            weekdays,
            both: day.starts_with('*') || weekday.starts_with('*'),
            fixed: !minute.starts_with('*') && !hour.starts_with('*'),
            text,
        })
    }

    /// The pattern as written, with single spaces.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True if the pattern names this local time, in seconds since 1970 on the local clock.
    pub fn names(&self, local: i64) -> bool {
        local.rem_euclid(MINUTE) == 0 && self.first(local, local + 1) == Some(local)
    }

    /// The first local time from `from` on, and before `end`.
    pub fn first(&self, from: i64, end: i64) -> Option<i64> {
        let minute = (from + MINUTE - 1).div_euclid(MINUTE);
        let (mut day, mut of_day) = (minute.div_euclid(DAY / MINUTE), minute.rem_euclid(DAY / MINUTE));
        while day * DAY + of_day * MINUTE < end {
            if self.on(day)
                && let Some(minute) = self.minute_from(of_day)
            {
                return Some(day * DAY + minute * MINUTE).filter(|local| *local < end);
            }
            (day, of_day) = (day + 1, 0);
        }
        None
    }

    /// The last local time before `end`, and from `from` on.
    pub fn last(&self, from: i64, end: i64) -> Option<i64> {
        let minute = (end - 1).div_euclid(MINUTE);
        let (mut day, mut of_day) = (minute.div_euclid(DAY / MINUTE), minute.rem_euclid(DAY / MINUTE));
        while day * DAY + of_day * MINUTE >= from {
            if self.on(day)
                && let Some(minute) = self.minute_to(of_day)
            {
                return Some(day * DAY + minute * MINUTE).filter(|local| *local >= from);
            }
            (day, of_day) = (day - 1, DAY / MINUTE - 1);
        }
        None
    }

    /// True if the pattern names this day, counted from 1970-01-01.
    fn on(&self, day: i64) -> bool {
        let Ok(date) = EPOCH.checked_add(day.days()) else { return false };
        let has = |bits: u64, value: i8| bits >> value & 1 == 1;
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        has(self.months, date.month()) && if self.both { day && weekday } else { day || weekday }
    }

    /// The first minute of a day that it names, from this one on.
    fn minute_from(&self, minute: i64) -> Option<i64> {
        let (hour, minute) = (minute / 60, minute % 60);
        let rest = self.minutes >> minute;
        if self.hours >> hour & 1 == 1 && rest != 0 {
            return Some(hour * 60 + minute + i64::from(rest.trailing_zeros()));
        }
        let later = self.hours >> (hour + 1);
        let hour = hour + 1 + i64::from(later.trailing_zeros());
        (later != 0).then(|| hour * 60 + i64::from(self.minutes.trailing_zeros()))
    }

    /// The last minute of a day that it names, up to this one.
    fn minute_to(&self, minute: i64) -> Option<i64> {
        let highest = |bits: u64| i64::from(bits.checked_ilog2().unwrap_or_default());
        let (hour, minute) = (minute / 60, minute % 60);
        let so_far = self.minutes & (u64::MAX >> (63 - minute));
        if self.hours >> hour & 1 == 1 && so_far != 0 {
            return Some(hour * 60 + highest(so_far));
        }
        let earlier = self.hours & ((1 << hour) - 1);
        (earlier != 0).then(|| highest(earlier) * 60 + highest(self.minutes))
    }
}

impl Field {
    /// The values that one field names, as bits.
    fn parse(&self, text: &str) -> Result<u64, String> {
        let mut bits = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                None => (part, 1),
                Some((range, step)) => (range, self.step(range, step)?),
            };
            let (from, to) = match range.split_once('-') {
                _ if range == "*" => (self.low, self.high),
                None => {
                    let one = self.value(range)?;
                    (one, one)
                }
                Some((from, to)) => self.range(from, to)?,
            };
            for value in (from..=to).step_by(step) {
                bits |= 1u64 << value;
            }
        }
        Ok(bits)
    }

    fn range(&self, from: &str, to: &str) -> Result<(u32, u32), String> {
        let (low, mut high) = (self.value(from)?, self.value(to)?);
        // SAT-SUN: a week may end with Sunday.
        if high == 0 && self.high == 7 && low > 0 {
            high = 7;
        }
        if low > high {
            return Err(format!("{} `{from}-{to}` goes backwards; name both parts, separated by a comma", self.name));
        }
        Ok((low, high))
    }

    fn step(&self, range: &str, step: &str) -> Result<usize, String> {
        let Field { name, low, high, .. } = self;
        if range != "*" && !range.contains('-') {
            let like = if range.is_empty() { "*".to_owned() } else { format!("{range}-{high}") };
            return Err(format!("{name} `{range}/{step}`: a step follows `*` or a range, as in `{like}/{step}`"));
        }
        let longest = high - low;
        let good = number(step).filter(|step| (1..=longest).contains(step));
        good.map(|step| step as usize)
            .ok_or_else(|| format!("{name} `{range}/{step}`: a step is a number from 1 to {longest}"))
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        if let Some(index) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(self.low + index as u32);
        }
        let known = number(text).filter(|value| (self.low..=self.high).contains(value));
        known.ok_or_else(|| {
            let Field { name, low, high, names } = self;
            let or = match (names.first(), names.last()) {
                (Some(first), Some(last)) => format!(" or {first} to {last}"),
                _ => String::new(),
            };
            format!("{name} `{text}` is not `*`, {low} to {high}{or}, nor a range or list of these")
        })
    }
}

/// One or two digits and nothing else.
fn number(text: &str) -> Option<u32> {
    let digits = text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}
