//! Reading a text by a format string, as .NET's `ParseExact`.

use super::moment::{HOUR, MINUTE, Moment, SECOND, Zone};
use super::pattern::{Format, Piece};
use super::read::full_year;

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub year: Option<i64>,
    pub month: Option<i64>,
    pub day: Option<i64>,
    pub weekday: Option<usize>,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    /// Ticks within the second.
    pub fraction: i64,
    pub afternoon: Option<bool>,
    /// Seconds east of UTC.
    pub offset: Option<i64>,
    /// True if it was not given in hours but as `Z`.
    pub zulu: bool,
}

impl Parts {
    /// The point of time; what was not said of the date is taken from `now`. One with an offset is turned to UTC.
    pub fn moment(&self, now: Moment) -> Result<Moment, String> {
        let today = now.date();
        let some = self.year.is_some() || self.month.is_some() || self.day.is_some();
        let year = self.year.unwrap_or(today.year().into());
        let month = self.month.unwrap_or(if some { 1 } else { today.month().into() });
        let day = self.day.unwrap_or(if some { 1 } else { today.day().into() });
        let date = Moment::of_date(year, month, day).ok_or("is a day that the calendar does not have")?;
        if self.weekday.is_some_and(|weekday| weekday != date.weekday()) {
            return Err("names another day of the week than its date has".to_owned());
        }
        let hour = match (self.afternoon, self.hour) {
            (Some(false), 12) => 0,
            (Some(false), 13..) => 24,
            (Some(true), 0..12) => self.hour + 12,
            (_, hour) => hour,
        };
        if !(0..24).contains(&hour) || !(0..60).contains(&self.minute) || !(0..60).contains(&self.second) {
            return Err("is a time that no clock shows".to_owned());
        }
        let clock = hour * HOUR + self.minute * MINUTE + self.second * SECOND + self.fraction;
        let at = date.plus(clock - self.offset.unwrap_or(0) * SECOND).ok_or("is outside of the years 1 to 9999")?;
        Ok(at.with_zone(match self.offset {
            None => Zone::None,
            Some(_) if self.zulu => Zone::Utc,
            Some(_) => Zone::Offset,
        }))
    }
}

/// Reads `text` by `format`.
pub(super) fn parse(text: &str, format: &Format, now: Moment) -> Result<Moment, String> {
    let mut parts = Parts::default();
    let mut rest = text;
    for (i, piece) in format.pieces.iter().enumerate() {
        // `.FFF` may have no point where there is no fraction.
        let pointless = matches!(format.pieces.get(i + 1), Some(Piece::Field('F', _)));
        let left = match piece {
            Piece::Text(literal) => rest.strip_prefix(literal.as_str()).or_else(|| {
                let literal = literal.strip_suffix('.').filter(|_| pointless)?;
                rest.strip_prefix(literal)
            }),
            Piece::Field(letter, length) => field(rest, *letter, *length, format, &mut parts),
        };
        rest = left.ok_or_else(|| match piece {
            Piece::Text(literal) => format!("does not fit the format at `{literal}`"),
            Piece::Field(letter, length) => {
                format!("does not fit the format at `{}`", letter.to_string().repeat(*length))
            }
        })?;
    }
    if !rest.is_empty() {
        return Err("goes on where the format ends".to_owned());
    }
    parts.moment(now)
}

/// Reads one field; what is left behind it, or `None`.
fn field<'t>(text: &'t str, letter: char, length: usize, format: &Format, parts: &mut Parts) -> Option<&'t str> {
    let culture = format.culture;
    let two = || digits(text, if length == 1 { 1 } else { 2 }, 2);
    match (letter, length) {
        ('d', 1 | 2) => two().map(|(value, rest)| {
            parts.day = Some(value);
            rest
        }),
        ('d', _) => {
            let names = if length == 3 { &culture.days_short } else { &culture.days };
            let (i, rest) = named(text, &[names])?;
            parts.weekday = Some(i);
            Some(rest)
        }
        ('M', 1 | 2) => two().map(|(value, rest)| {
            parts.month = Some(value);
            rest
        }),
        ('M', _) => {
            let short = [&culture.months_short_of, &culture.months_short];
            let long = [&culture.months_of, &culture.months];
            let (i, rest) = named(text, if length == 3 { &short } else { &long })?;
            parts.month = i64::try_from(i + 1).ok();
            Some(rest)
        }
        ('y', _) => {
            let (value, rest) = digits(text, if length == 1 { 1 } else { length }, length.max(2))?;
            parts.year = Some(if length <= 2 { full_year(value) } else { value });
            Some(rest)
        }
        // Twelve hours a half.
        ('h', _) if two().is_some_and(|(value, _)| value > 12) => None,
        ('h' | 'H', _) => two().map(|(value, rest)| {
            parts.hour = value;
            rest
        }),
        ('m', _) => two().map(|(value, rest)| {
            parts.minute = value;
            rest
        }),
        ('s', _) => two().map(|(value, rest)| {
            parts.second = value;
            rest
        }),
        ('f' | 'F', _) => {
            let count = text.bytes().take(length).take_while(u8::is_ascii_digit).count();
            if letter == 'f' && count < length {
                return None;
            }
            parts.fraction = format!("{:0<7}", text.get(..count)?).parse().ok()?;
            text.get(count..)
        }
        ('t', _) => {
            let forms = [culture.halves[0], culture.halves[1]].map(|half| {
                let taken = if length == 1 { 1 } else { usize::MAX };
                half.chars().take(taken).collect::<String>()
            });
            let (i, rest) = forms.iter().enumerate().find_map(|(i, form)| Some((i, strip(text, form)?)))?;
            parts.afternoon = Some(i == 1);
            Some(rest)
        }
        ('K', _) if text.is_empty() || !text.starts_with(['Z', 'z', '+', '-']) => Some(text),
        ('K' | 'z', _) => {
            let (offset, rest) = offset(text)?;
            parts.offset = Some(offset);
            parts.zulu = text.starts_with(['Z', 'z']);
            Some(rest)
        }
        ('/', _) => text.strip_prefix(culture.date_separator).or_else(|| text.strip_prefix('/')),
        (':', _) => text.strip_prefix(culture.time_separator).or_else(|| text.strip_prefix(':')),
        ('g', _) => ["A.D.", "AD", "A"].iter().find_map(|era| strip(text, era)),
        _ => None,
    }
}

fn digits(text: &str, least: usize, most: usize) -> Option<(i64, &str)> {
    let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count < least {
        return None;
    }
    Some((text.get(..count)?.parse().ok()?, text.get(count..)?))
}

/// The longest of the names that `text` begins with, ignoring case: its place, and what is left.
pub(super) fn named<'t>(text: &'t str, lists: &[&Vec<&'static str>]) -> Option<(usize, &'t str)> {
    let all = lists.iter().flat_map(|names| names.iter().enumerate());
    let found =
        all.filter_map(|(i, name)| Some((i, strip(text, name).or_else(|| strip(text, name.strip_suffix('.')?))?)));
    found.min_by_key(|(_, rest)| rest.len())
}

/// `text` without this beginning, ignoring case.
pub(super) fn strip<'t>(text: &'t str, start: &str) -> Option<&'t str> {
    if start.is_empty() {
        return None;
    }
    let mut rest = text.chars();
    for c in start.chars() {
        let found = rest.next()?;
        let blank = c.is_whitespace() && found.is_whitespace();
        if !blank && c != found && !c.to_lowercase().eq(found.to_lowercase()) {
            return None;
        }
    }
    Some(rest.as_str())
}

/// `Z`, `+02:00`, `-0330`, `+1`: seconds east of UTC, and what is left.
pub(super) fn offset(text: &str) -> Option<(i64, &str)> {
    if let Some(rest) = text.strip_prefix(['Z', 'z']) {
        return Some((0, rest));
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, rest) = digits(rest, 1, 2)?;
    let minutes = rest.strip_prefix(':').and_then(|rest| digits(rest, 2, 2)).or_else(|| digits(rest, 2, 2));
    let (minutes, rest) = minutes.unwrap_or((0, rest));
    (hours <= 14 && minutes < 60).then_some((sign * (hours * 3600 + minutes * 60), rest))
}
