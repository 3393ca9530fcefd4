//! Numbers from text, with a culture's point and separators.

use serde_json::Number;

use super::digits::Digits;
use crate::mapping::functions::culture::Culture;
use crate::mapping::number;

/// Most digits of a .NET decimal that are surely kept.
const DECIMAL_DIGITS: i64 = 28;

/// The number that `text` holds, with every digit: blanks around it, a sign before it (or `behind`), separators between
/// the digits before the point, and an exponent are allowed.
pub(super) fn parse(text: &str, behind: bool, culture: &Culture) -> Option<Number> {
    let text = text.trim();
    const MINUS: [char; 2] = ['-', '−'];
    let (negative, mut rest) = if let Some(rest) = text.strip_prefix(MINUS) {
        (true, rest)
    } else if let Some(rest) = text.strip_prefix('+') {
        (false, rest)
    } else if let Some(rest) = text.strip_suffix(MINUS).filter(|_| behind) {
        (true, rest.trim_end())
    } else {
        (false, text)
    };
    let (mut whole, mut fraction, mut exponent) = (String::new(), String::new(), String::new());
    while let Some(c) = rest.chars().next() {
        if c.is_ascii_digit() {
            whole.push(c);
            rest = &rest[1..];
        } else if let Some(left) = separator(rest, culture.group).filter(|_| !whole.is_empty()) {
            rest = left;
        } else {
            break;
        }
    }
    if let Some(left) = rest.strip_prefix(culture.decimal) {
        let length = left.bytes().take_while(u8::is_ascii_digit).count();
        left[..length].clone_into(&mut fraction);
        rest = &left[length..];
    }
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    if let Some(left) = rest.strip_prefix(['e', 'E']) {
        let (sign, digits) = match left.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", left.strip_prefix('+').unwrap_or(left)),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        exponent = format!("e{sign}{digits}");
        rest = "";
    }
    if !rest.is_empty() {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if negative { "-" } else { "" };
    number::parse(&format!("{sign}{}{point}{fraction}{exponent}", if whole.is_empty() { "0" } else { whole }))
}

/// `rest` without the separator it begins with; a blank is as good as any other.
fn separator<'t>(rest: &'t str, group: &str) -> Option<&'t str> {
    let blank = group.chars().all(char::is_whitespace);
    match rest.chars().next() {
        Some(c) if blank && c.is_whitespace() => Some(&rest[c.len_utf8()..]),
        Some(c @ ('\'' | '’')) if matches!(group, "’" | "'") => Some(&rest[c.len_utf8()..]),
        _ => rest.strip_prefix(group),
    }
}

/// As a double: what is beyond some 17 digits is lost; `None` if it is too large for one.
pub(super) fn float(exact: &Number) -> Option<Number> {
    let value: f64 = exact.as_str().parse().ok()?;
    if !value.is_finite() {
        return None;
    }
    if value == 0.0 {
        return number::parse("0");
    }
    let plain = (1e-7..1e21).contains(&value.abs());
    number::parse(&if plain { format!("{value}") } else { format!("{value:e}") })
}

/// As a .NET decimal: up to 28 digits, none lost before the point; `None` if it is too large for one.
pub(super) fn decimal(exact: &Number) -> Option<Number> {
    let mut digits = Digits::of(exact);
    if digits.scale > DECIMAL_DIGITS + 1 {
        return None;
    }
    let kept = i64::try_from(digits.digits.len()).ok()?;
    let plain = !exact.as_str().contains(['e', 'E']);
    if plain && kept <= DECIMAL_DIGITS && kept - digits.scale <= DECIMAL_DIGITS {
        return Some(exact.clone());
    }
    digits.round(DECIMAL_DIGITS.max(digits.scale).min(digits.scale.saturating_add(DECIMAL_DIGITS)));
    let places = i64::try_from(digits.digits.len()).ok()? - digits.scale;
    let places = usize::try_from(places).unwrap_or(0);
    let fraction =
        if places == 0 || digits.is_zero() { String::new() } else { format!(".{}", digits.fraction(places)) };
    number::parse(&format!("{}{}{fraction}", if digits.negative { "-" } else { "" }, digits.whole()))
}
