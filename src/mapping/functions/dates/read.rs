//! Reading a date and time as people and programs write them, as .NET's `DateTime.Parse`.
//!
//! ISO 8601 is read in each culture; the order of bare numbers and the names of months are the culture's. Eras and other
//! calendars are not read.

use super::exact::{Parts, named, offset, strip};
use super::moment::Moment;
use crate::mapping::functions::culture::Culture;

/// Longest text that can be a date, in bytes.
const MAX_TEXT: usize = 256;

/// Two digits are a year from 1950 to 2049.
pub(super) fn full_year(year: i64) -> i64 {
    match year {
        0..=49 => 2000 + year,
        50..=99 => 1900 + year,
        _ => year,
    }
}

/// Reads `text`; what it does not say is taken from `now`.
pub(super) fn parse(text: &str, culture: &'static Culture, now: Moment) -> Result<Moment, String> {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.len() > MAX_TEXT {
        return Err("is no date".to_owned());
    }
    let mut reader = Reader::new(trimmed, culture);
    while !reader.rest.is_empty() {
        if reader.step().is_none() {
            let at = trimmed.len() - reader.rest.len();
            return Err(format!("is no date that can be read: it makes no sense from its character {} on", at + 1));
        }
    }
    reader.date().ok_or("is no date that can be read")?;
    reader.parts.moment(now)
}

struct Reader<'t> {
    rest: &'t str,
    culture: &'static Culture,
    parts: Parts,
    /// Numbers of the date and how many digits each has.
    numbers: Vec<(i64, usize)>,
    timed: bool,
    /// A number was read just before.
    fresh: bool,
    /// A blank was.
    blank: bool,
}

impl<'t> Reader<'t> {
    fn new(rest: &'t str, culture: &'static Culture) -> Reader<'t> {
        Reader { rest, culture, parts: Parts::default(), numbers: Vec::new(), timed: false, fresh: false, blank: true }
    }

    /// Reads the next thing, or says `None`.
    fn step(&mut self) -> Option<()> {
        let c = self.rest.chars().next()?;
        // Directly behind a number of the date it is a separator: `1:30 2018-03-15`.
        if self.timed && !self.fresh && (c == '+' || c == '-') && self.parts.offset.is_none() {
            let (seconds, rest) = offset(self.rest)?;
            self.parts.offset = Some(seconds);
            return self.go(rest);
        }
        self.blank = c.is_whitespace() || (self.blank && c.is_ascii_digit());
        if c.is_whitespace() || matches!(c, ',' | '/' | '-' | '.') {
            return self.go(&self.rest[c.len_utf8()..]);
        }
        if c.is_ascii_digit() {
            return self.number();
        }
        if std::mem::take(&mut self.fresh) {
            let next_is_digit = self.rest[c.len_utf8()..].starts_with(|next: char| next.is_ascii_digit());
            if (c == 'T' || c == 't') && next_is_digit && !self.timed {
                return self.go(&self.rest[1..]);
            }
            if let Some(rest) = self.filler() {
                return self.go(rest);
            }
        }
        self.word()
    }

    fn go(&mut self, rest: &'t str) -> Option<()> {
        self.rest = rest;
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        if length > 4 {
            return None;
        }
        let value: i64 = self.rest[..length].parse().ok()?;
        let rest = &self.rest[length..];
        if !self.timed && rest.starts_with(':') && length <= 2 {
            self.parts.hour = value;
            return self.clock(&rest[1..]);
        }
        // `1 PM`, but not in `2018-03-15 PM`.
        let alone = !self.fresh || self.blank;
        if let Some((afternoon, left)) = self.half(rest.trim_start()).filter(|_| !self.timed && alone && length <= 2) {
            (self.parts.hour, self.parts.afternoon, self.timed) = (value, Some(afternoon), true);
            return self.go(left);
        }
        self.numbers.push((value, length));
        if self.numbers.len() > 3 {
            return None;
        }
        self.fresh = true;
        self.go(rest)
    }

    /// What follows `13:`.
    fn clock(&mut self, text: &'t str) -> Option<()> {
        (self.timed, self.fresh) = (true, false);
        let (minute, mut rest) = two(text)?;
        self.parts.minute = minute;
        if let Some((second, left)) = rest.strip_prefix(':').and_then(two) {
            self.parts.second = second;
            rest = left;
            if let Some(digits) = rest.strip_prefix(['.', ',']) {
                let length = digits.bytes().take_while(u8::is_ascii_digit).count();
                if length == 0 {
                    return None;
                }
                // Rounded to ticks: eight digits decide.
                let eight: i64 = format!("{:0<8}", &digits[..length.min(8)]).parse().ok()?;
                self.parts.fraction = (eight + 5) / 10;
                rest = &digits[length..];
            }
        }
        self.go(rest)
    }

    /// Whether `text` begins with the word for the second half of the day (or for the first), and what is left.
    fn half<'a>(&self, text: &'a str) -> Option<(bool, &'a str)> {
        let words = [self.culture.halves[0], self.culture.halves[1], "AM", "PM", "A", "P"];
        let mut found = words.iter().enumerate().filter_map(|(i, word)| Some((i % 2 == 1, strip(text, word)?)));
        found.find(|(_, rest)| !rest.starts_with(char::is_alphabetic))
    }

    fn word(&mut self) -> Option<()> {
        let text = self.rest;
        let ends = |rest: &str| !rest.starts_with(char::is_alphabetic);
        let culture = self.culture;
        if let Some((afternoon, rest)) = self.half(text).filter(|_| self.timed && self.parts.afternoon.is_none()) {
            self.parts.afternoon = Some(afternoon);
            return self.go(rest);
        }
        if self.timed && self.parts.offset.is_none() {
            let zone = ["GMT", "UTC", "Z"].iter().find_map(|name| strip(text, name)).filter(|rest| ends(rest));
            if let Some(rest) = zone {
                self.parts.offset = Some(0);
                self.parts.zulu = true;
                return self.go(rest);
            }
        }
        let months = [&culture.months_of, &culture.months, &culture.months_short_of, &culture.months_short];
        let month = named(text, &months).filter(|(_, rest)| ends(rest));
        let day = named(text, &[&culture.days, &culture.days_short]).filter(|(_, rest)| ends(rest));
        let shorter = |a: &Option<(usize, &str)>, b: &Option<(usize, &str)>| match (a, b) {
            (Some((_, a)), Some((_, b))) => a.len() <= b.len(),
            (a, _) => a.is_some(),
        };
        if self.parts.month.is_none() && shorter(&month, &day) {
            let (i, rest) = month?;
            self.parts.month = i64::try_from(i + 1).ok();
            return self.go(rest);
        }
        if let Some((i, rest)) = day.filter(|_| self.parts.weekday.is_none()) {
            self.parts.weekday = Some(i);
            return self.go(rest);
        }
        self.filler().filter(|rest| ends(rest)).and_then(|rest| self.go(rest))
    }

    /// What is left behind a word that only stands between: `de`, `г`, `年`.
    fn filler(&self) -> Option<&'t str> {
        fillers(self.culture).iter().find_map(|word| strip(self.rest, word))
    }

    /// Says which number is what.
    fn date(&mut self) -> Option<()> {
        let is_year = |(value, length): (i64, usize)| length >= 3 || value > 31;
        let year = |(value, length): (i64, usize)| Some(if length <= 2 { full_year(value) } else { value });
        let order: String = self.culture.date.chars().filter(|c| "dMy".contains(*c)).collect();
        let first = |letter: char| order.find(letter).unwrap_or(0);
        let year_first = first('y') < first('d') && first('y') < first('M');
        let parts = &mut self.parts;
        match (self.numbers.as_slice(), parts.month) {
            ([], None) if self.timed && parts.weekday.is_none() => {}
            ([one], Some(_)) if is_year(*one) => (parts.year, parts.day) = (year(*one), Some(1)),
            ([one], Some(_)) => parts.day = Some(one.0),
            ([a, b], Some(_)) if is_year(*a) || (year_first && !is_year(*b)) => {
                (parts.year, parts.day) = (year(*a), Some(b.0));
            }
            ([a, b], Some(_)) => (parts.day, parts.year) = (Some(a.0), year(*b)),
            ([a, b], None) if a.1 >= 3 => (parts.year, parts.month, parts.day) = (year(*a), Some(b.0), Some(1)),
            ([a, b], None) if b.1 >= 3 => (parts.month, parts.year, parts.day) = (Some(a.0), year(*b), Some(1)),
            ([a, b], None) if first('d') < first('M') => (parts.day, parts.month) = (Some(a.0), Some(b.0)),
            ([a, b], None) => (parts.month, parts.day) = (Some(a.0), Some(b.0)),
            ([a, b, c], None) if a.1 >= 3 || year_first => {
                (parts.year, parts.month, parts.day) = (year(*a), Some(b.0), Some(c.0));
            }
            ([a, b, c], None) if first('d') < first('M') => {
                (parts.day, parts.month, parts.year) = (Some(a.0), Some(b.0), year(*c));
            }
            ([a, b, c], None) => (parts.month, parts.day, parts.year) = (Some(a.0), Some(b.0), year(*c)),
            _ => return None,
        }
        Some(())
    }
}

fn two(text: &str) -> Option<(i64, &str)> {
    let length = text.bytes().take(3).take_while(u8::is_ascii_digit).count();
    if !(1..=2).contains(&length) {
        return None;
    }
    Some((text[..length].parse().ok()?, &text[length..]))
}

/// The words of a culture's patterns that say nothing, longest first.
fn fillers(culture: &Culture) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for pattern in [culture.long_date, culture.month_day, culture.year_month] {
        let mut quoted = false;
        let mut word = String::new();
        for c in pattern.chars().chain([' ']) {
            quoted ^= c == '\'';
            // Beyond ASCII nothing is a specifier.
            if c.is_alphabetic() && (quoted || !c.is_ascii()) {
                word.push(c);
            } else if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        }
    }
    // `3월` is a name that begins with a digit: what follows the digits says nothing more.
    let counted = culture.months_of.iter().filter(|name| name.starts_with(|c: char| c.is_ascii_digit()));
    words.extend(counted.map(|name| name.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned()));
    words.retain(|word| !word.is_empty());
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::functions::culture;

    /// The text as `o` would show it, or `-`.
    fn read(text: &str, culture: &str) -> String {
        let culture = culture::find(culture).expect("it is known");
        let now = Moment::of_date(2024, 2, 29).expect("it is a day");
        parse(text, culture, now).map_or_else(
            |_| "-".to_owned(),
            |at| format!("{}{}", at.civil(), if at.zone == super::super::moment::Zone::None { "" } else { "Z" }),
        )
    }

    #[test]
    fn dates_are_read_as_people_write_them() {
        let cases = [
            ("2018-03-15T13:27:36.1234567Z", "en", "2018-03-15T13:27:36.1234567Z"),
            ("2018-03-15", "de", "2018-03-15T00:00:00"),
            ("2018-03-15T13:00:00+02:00", "en", "2018-03-15T11:00:00Z"),
            ("2018-03-15 13:00", "en", "2018-03-15T13:00:00"),
            ("03/15/2018 1:05:06 PM", "en", "2018-03-15T13:05:06"),
            ("3/15/2018 12:00 AM", "en", "2018-03-15T00:00:00"),
            ("Thursday, March 15, 2018", "en", "2018-03-15T00:00:00"),
            ("Friday, March 15, 2018", "en", "-"),
            ("Thu, 15 Mar 2018 13:27:36 GMT", "en", "2018-03-15T13:27:36Z"),
            ("15.3.2018", "de", "2018-03-15T00:00:00"),
            ("15. März 2018 08:30", "de", "2018-03-15T08:30:00"),
            ("20 octobre 2010", "fr-fr", "2010-10-20T00:00:00"),
            ("martes 20 octubre 2020", "es-es", "2020-10-20T00:00:00"),
            ("martes, 20 de octubre de 2020", "es-es", "2020-10-20T00:00:00"),
            ("15 марта 2018 г.", "ru", "2018-03-15T00:00:00"),
            ("2018年3月15日", "ja", "2018-03-15T00:00:00"),
            ("2018년 3월 15일", "ko", "2018-03-15T00:00:00"),
            ("March 2018", "en", "2018-03-01T00:00:00"),
            ("3/15", "en", "2024-03-15T00:00:00"),
            ("13:30", "en", "2024-02-29T13:30:00"),
            ("1/2/99", "en", "1999-01-02T00:00:00"),
            ("13/15/2018", "en", "-"),
            ("2018-02-30", "en", "-"),
            ("2018-03-15T24:00:00", "en", "-"),
            ("2018-03-15T13:60:00", "en", "-"),
            ("0000-01-01", "en", "-"),
            ("9999-12-31T23:59:59.9999999", "en", "9999-12-31T23:59:59.9999999"),
            ("9999-12-31T23:59:59.99999999", "en", "-"),
            ("0001-01-01T00:00:00+01:00", "en", "-"),
            ("20180315", "en", "-"),
            ("tomorrow", "en", "-"),
            ("", "en", "-"),
            ("-", "en", "-"),
            ("Monday", "en", "-"),
        ];
        for (text, culture, wanted) in cases {
            assert_eq!(read(text, culture), wanted, "{text} in {culture}");
        }
    }
}
