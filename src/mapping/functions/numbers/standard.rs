//! .NET's standard formats of numbers: a letter and a precision.

use super::digits::{Digits, MAX_DIGITS, grouped};
use crate::mapping::functions::culture::Culture;

/// `C2` as its letter and its precision; `None` if the format is a custom one.
pub(super) fn split(format: &str) -> Option<(char, Option<usize>)> {
    let mut chars = format.chars();
    let Some(letter) = chars.next() else {
        return Some(('G', None));
    };
    let digits = chars.as_str();
    if !letter.is_ascii_alphabetic() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((letter, digits.parse().ok()))
}

/// `number` by a standard format; the error says what is wrong with the format or the number.
pub(super) fn format(
    mut number: Digits,
    letter: char,
    precision: Option<usize>,
    culture: &Culture,
) -> Result<String, String> {
    let places = |usual: usize| precision.unwrap_or(usual);
    Ok(match letter.to_ascii_uppercase() {
        'C' => {
            let text = fixed(&mut number, places(culture.money_digits), Some(culture), culture);
            if number.negative { culture.debt } else { culture.money }.replacen('n', &text, 1)
        }
        'D' => {
            let whole = integer(&number, letter)?;
            format!("{}{}", sign(&number), padded(whole, places(0)))
        }
        'E' => exponential(number, places(6), letter, 3, culture),
        'F' => {
            let text = fixed(&mut number, places(2), None, culture);
            format!("{}{text}", sign(&number))
        }
        'N' => {
            let text = fixed(&mut number, places(2), Some(culture), culture);
            format!("{}{text}", sign(&number))
        }
        'P' => {
            if !number.is_zero() {
                number.scale += 2;
            }
            let text = fixed(&mut number, places(2), Some(culture), culture);
            format!("{}{}", sign(&number), culture.percent.replacen('n', &text, 1))
        }
        'G' => general(number, precision.filter(|count| *count > 0), letter, culture),
        'R' => general(number, None, if letter == 'r' { 'g' } else { 'G' }, culture),
        'X' => {
            let bits = bits(&number, letter)?;
            let text = if letter == 'x' { format!("{bits:x}") } else { format!("{bits:X}") };
            padded(text, places(0))
        }
        'B' => padded(format!("{:b}", bits(&number, letter)?), places(0)),
        _ => return Err(format!("is no number format: `{letter}` has no meaning; there are C D E F G N P R X B")),
    })
}

/// With zeros before it up to `width` digits. (`format!` takes no width above 65,535.)
fn padded(digits: String, width: usize) -> String {
    "0".repeat(width.saturating_sub(digits.len())) + &digits
}

fn sign(number: &Digits) -> &'static str {
    if number.negative { "-" } else { "" }
}

/// Rounded to `places` digits behind the point, without a sign; grouped if a culture to group by is given.
fn fixed(number: &mut Digits, places: usize, groups: Option<&Culture>, culture: &Culture) -> String {
    number.round(number.scale.saturating_add(i64::try_from(places).unwrap_or(i64::MAX)));
    let whole = number.whole();
    let whole = groups.map_or_else(|| whole.clone(), |culture| grouped(&whole, culture.group, &culture.sizes));
    if places == 0 { whole } else { format!("{whole}{}{}", culture.decimal, number.fraction(places)) }
}

fn integer(number: &Digits, letter: char) -> Result<String, String> {
    match i64::try_from(number.digits.len()) {
        Ok(length) if length <= number.scale || number.is_zero() => Ok(number.whole()),
        _ => Err(format!("is for whole numbers: `{letter}` can't show what is behind the point")),
    }
}

/// The number as 64 bits, a negative one in two's complement.
fn bits(number: &Digits, letter: char) -> Result<u64, String> {
    let value: Option<i128> = integer(number, letter)?.parse().ok();
    let value = value.map(|value| if number.negative { -value } else { value });
    let signed = |value: i128| i64::try_from(value).map(i64::cast_unsigned).or_else(|_| u64::try_from(value)).ok();
    value.and_then(signed).ok_or_else(|| format!("is for numbers of 64 bits: `{letter}` can't show this one"))
}

/// `1.052033E+003`: the exponent has at least `width` digits.
fn exponential(mut number: Digits, places: usize, letter: char, width: usize, culture: &Culture) -> String {
    number.round(i64::try_from(places).unwrap_or(i64::MAX).saturating_add(1));
    let mantissa: String = (1..=i64::try_from(places).unwrap_or(0)).map(|i| number.at(i)).collect();
    let point = if places > 0 { culture.decimal } else { "" };
    let exponent = if number.is_zero() { 0 } else { number.scale - 1 };
    let mark = if letter.is_ascii_lowercase() { 'e' } else { 'E' };
    let direction = if exponent < 0 { '-' } else { '+' };
    format!("{}{}{point}{mantissa}{mark}{direction}{:0width$}", sign(&number), number.at(0), exponent.unsigned_abs())
}

/// The shortest of plain and exponential notation.
fn general(mut number: Digits, precision: Option<usize>, letter: char, culture: &Culture) -> String {
    if let Some(count) = precision {
        number.round(i64::try_from(count).unwrap_or(i64::MAX));
    }
    // Without a precision all digits of a decimal number stay, and only what is beyond one has an exponent.
    let most = precision.map_or(29, |count| i64::try_from(count).unwrap_or(i64::MAX));
    if number.scale > most || number.scale < -3 {
        let places = number.digits.len().saturating_sub(1);
        return exponential(number, places, if letter == 'g' { 'e' } else { 'E' }, 2, culture);
    }
    let places = i64::try_from(number.digits.len()).unwrap_or(0) - number.scale;
    let places = usize::try_from(places).unwrap_or(0).min(MAX_DIGITS);
    let places = if number.is_zero() { 0 } else { places };
    let text = fixed(&mut number, places, None, culture);
    format!("{}{text}", sign(&number))
}
