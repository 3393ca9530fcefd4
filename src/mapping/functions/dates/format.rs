//! A point of time as text, by .NET's format strings.

use super::moment::{HOUR, MINUTE, Moment, SECOND, Zone};
use super::pattern::{Format, Piece, has_day};
use crate::mapping::functions::culture::Culture;

/// `at` as the format says.
pub(super) fn format(at: Moment, format: &Format) -> String {
    let mut out = String::new();
    let genitive = has_day(&format.pieces);
    for (i, piece) in format.pieces.iter().enumerate() {
        match piece {
            Piece::Text(text) => {
                // `.FFF` shows no point where there is no fraction.
                let bare =
                    matches!(format.pieces.get(i + 1), Some(Piece::Field('F', n)) if fraction(at, *n, true).is_empty());
                let cut = if bare { text.strip_suffix('.').unwrap_or(text) } else { text };
                out.push_str(cut);
            }
            Piece::Field(letter, length) => field(&mut out, at, *letter, *length, format.culture, genitive),
        }
    }
    out
}

fn field(out: &mut String, at: Moment, letter: char, length: usize, culture: &Culture, genitive: bool) {
    let date = at.date();
    let clock = at.clock();
    let month = usize::try_from(date.month() - 1).unwrap_or(0);
    let (hour, minute, second) = (clock / HOUR, clock / MINUTE % 60, clock / SECOND % 60);
    let name = |names: &[&'static str], i: usize| names.get(i).copied().unwrap_or_default();
    match (letter, length) {
        ('d', 1 | 2) => number(out, date.day().into(), length),
        ('d', 3) => out.push_str(name(&culture.days_short, at.weekday())),
        ('d', _) => out.push_str(name(&culture.days, at.weekday())),
        ('M', 1 | 2) => number(out, date.month().into(), length),
        ('M', 3) if genitive => out.push_str(name(&culture.months_short_of, month)),
        ('M', 3) => out.push_str(name(&culture.months_short, month)),
        ('M', _) if genitive => out.push_str(name(&culture.months_of, month)),
        ('M', _) => out.push_str(name(&culture.months, month)),
        ('y', 1 | 2) => number(out, i64::from(date.year()) % 100, length),
        ('y', _) => number(out, date.year().into(), length),
        ('h', _) => number(out, if hour % 12 == 0 { 12 } else { hour % 12 }, length.min(2)),
        ('H', _) => number(out, hour, length.min(2)),
        ('m', _) => number(out, minute, length.min(2)),
        ('s', _) => number(out, second, length.min(2)),
        ('f' | 'F', _) => out.push_str(&fraction(at, length, letter == 'F')),
        ('t', _) => {
            let half = culture.halves[usize::from(hour >= 12)];
            out.extend(half.chars().take(if length == 1 { 1 } else { usize::MAX }));
        }
        ('g', _) => out.push_str("A.D."),
        ('K', _) => out.push_str(match at.zone {
            Zone::None => "",
            Zone::Utc => "Z",
            Zone::Offset => "+00:00",
        }),
        // A time without a zone is taken for UTC, as on Microsoft's servers.
        ('z', 1) => out.push_str("+0"),
        ('z', 2) => out.push_str("+00"),
        ('z', _) => out.push_str("+00:00"),
        ('/', _) => out.push_str(culture.date_separator),
        (':', _) => out.push_str(culture.time_separator),
        _ => {}
    }
}

fn number(out: &mut String, value: i64, width: usize) {
    let digits = value.to_string();
    out.extend(std::iter::repeat_n('0', width.saturating_sub(digits.len())));
    out.push_str(&digits);
}

/// The first `length` digits behind the second.
fn fraction(at: Moment, length: usize, trimmed: bool) -> String {
    let digits = format!("{:07}", at.ticks % SECOND);
    let cut = digits.get(..length).unwrap_or(&digits);
    if trimmed { cut.trim_end_matches('0').to_owned() } else { cut.to_owned() }
}
