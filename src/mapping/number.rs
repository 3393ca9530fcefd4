//! Numbers by value, with every digit: comparing and exact arithmetic on the text that JSON carries.

use std::cmp::Ordering;

use serde_json::Number;

/// ±0.DIGITS × 10^exponent, without leading or trailing zeros; zero has no digits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    pub fn of(number: &Number) -> Decimal {
        let text = number.as_str();
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0');
        let leading = all.len() - digits.len();
        let digits = digits.trim_end_matches('0').to_owned();
        if digits.is_empty() {
            return Decimal { negative: false, digits, exponent: 0 };
        }
        let far = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let written = exponent.trim_start_matches('+').parse::<i64>().unwrap_or(far).clamp(i64::MIN / 2, i64::MAX / 2);
        let exponent = written + length(whole) - length(&all[..leading]);
        Decimal { negative, digits, exponent }
    }

    /// Sign, digits and exponent: ±0.DIGITS × 10^exponent.
    pub fn into_parts(self) -> (bool, String, i64) {
        (self.negative, self.digits, self.exponent)
    }

    pub fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    /// As an integer times a power of ten, if the digits fit.
    fn scaled(&self, places: i64) -> Option<i128> {
        if self.is_zero() {
            return Some(0);
        }
        let shift = u32::try_from(self.exponent - length(&self.digits) + places).ok()?;
        let digits: i128 = self.digits.parse().ok()?;
        let value = digits.checked_mul(10i128.checked_pow(shift)?)?;
        Some(if self.negative { -value } else { value })
    }

    /// A text that equal numbers share, and only they.
    pub fn canonical(&self) -> String {
        format!("{}{}e{}", if self.negative { "-" } else { "" }, self.digits, self.exponent)
    }

    /// Digits behind the point.
    fn places(&self) -> i64 {
        (length(&self.digits) - self.exponent).max(0)
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        let sign = |d: &Decimal| {
            if d.is_zero() {
                0
            } else if d.negative {
                -1
            } else {
                1
            }
        };
        let magnitude = || self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
        sign(self).cmp(&sign(other)).then_with(|| match sign(self) {
            0 => Ordering::Equal,
            1 => magnitude(),
            _ => magnitude().reverse(),
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares by value: 1.0 equals 1, and no digit is rounded away.
pub(super) fn compare(a: &Number, b: &Number) -> Ordering {
    Decimal::of(a).cmp(&Decimal::of(b))
}

/// An operation on two numbers: exact, or rounded where that needs too many digits and one of the two is no whole number.
/// `None` where whole numbers need more than 38 digits, or there is no result that a double could hold.
pub(super) fn calculate(operation: Operation, a: &Number, b: &Number) -> Option<Number> {
    let rounded = || (!is_whole(a) || !is_whole(b)).then(|| super::rounded::rounded(operation, a, b)).flatten();
    exact(operation, a, b).or_else(rounded)
}

/// An exact operation on two numbers; `None` where the result needs more than 38 digits or does not exist.
fn exact(operation: Operation, a: &Number, b: &Number) -> Option<Number> {
    // 5.0 is no whole number where it matters: what is divided by it keeps its fraction.
    let whole = is_whole(a) && is_whole(b);
    let (a, b) = (Decimal::of(a), Decimal::of(b));
    let places = a.places().max(b.places());
    if places > 38 {
        return None;
    }
    match operation {
        Operation::Add => print(a.scaled(places)?.checked_add(b.scaled(places)?)?, places),
        Operation::Sub => print(a.scaled(places)?.checked_sub(b.scaled(places)?)?, places),
        Operation::Mul => {
            let product = a.scaled(a.places())?.checked_mul(b.scaled(b.places())?)?;
            print(product, a.places() + b.places())
        }
        Operation::Mod => print(a.scaled(places)?.checked_rem(b.scaled(places)?)?, places),
        Operation::Div if whole => print(a.scaled(0)?.checked_div(b.scaled(0)?)?, 0),
        Operation::Div => divide(a.scaled(places)?, b.scaled(places)?),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
}

/// Long division, cut after 28 digits behind the point or where 38 digits are full.
fn divide(a: i128, b: i128) -> Option<Number> {
    let mut quotient = a.checked_div(b)?;
    let mut rest = a.checked_rem(b)?;
    let negative = (a < 0) != (b < 0);
    let mut places = 0;
    while rest != 0 && places < 28 {
        let Some(ten) = rest.checked_mul(10) else { break };
        let digit = (ten / b).abs();
        let digit = if negative { -digit } else { digit };
        let Some(next) = quotient.checked_mul(10).and_then(|q| q.checked_add(digit)) else {
            break;
        };
        (quotient, rest, places) = (next, ten % b, places + 1);
    }
    print(quotient, places)
}

fn print(value: i128, places: i64) -> Option<Number> {
    let places = usize::try_from(places).ok()?;
    let mut digits = value.unsigned_abs().to_string();
    if digits.len() <= places {
        digits = format!("{}{digits}", "0".repeat(places + 1 - digits.len()));
    }
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if value < 0 { "-" } else { "" };
    parse(&format!("{sign}{whole}{point}{fraction}"))
}

/// True if it is written as a whole number: without point or exponent.
pub(super) fn is_whole(number: &Number) -> bool {
    !number.as_str().contains(['.', 'e', 'E'])
}

/// The number without exponent and needless zeros: `30` for 30.0 and 3e1. As written where that would take many digits.
pub(super) fn plain(number: &Number) -> String {
    const FAR: i64 = 400;
    let decimal = Decimal::of(number);
    if is_whole(number) || decimal.exponent.abs() > FAR {
        return number.to_string();
    }
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    let (digits, places) = (&decimal.digits, decimal.exponent);
    let length = length(digits);
    let sign = if decimal.negative { "-" } else { "" };
    if decimal.is_zero() {
        "0".to_owned()
    } else if places <= 0 {
        format!("{sign}0.{}{digits}", zeros(-places))
    } else if places >= length {
        format!("{sign}{digits}{}", zeros(places - length))
    } else {
        let (whole, fraction) = digits.split_at(usize::try_from(places).unwrap_or(0));
        format!("{sign}{whole}.{fraction}")
    }
}

/// A JSON number from its text, digit for digit; `None` if it is not one.
pub(super) fn parse(text: &str) -> Option<Number> {
    text.parse::<Number>().ok()
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(text: &str) -> Number {
        parse(text).expect("it is a number")
    }

    #[test]
    fn numbers_are_ordered_by_value_to_the_last_digit() {
        let rising = [
            "-1e400",
            "-2",
            "-1.5",
            "-1e-400",
            "0",
            "1e-400",
            "0.09",
            "0.1",
            "1",
            "9007199254740992",
            "9007199254740993",
            "1e17",
            "1e400",
            "1e99999999999999999999",
        ];
        for pair in rising.windows(2) {
            assert_eq!(compare(&n(pair[0]), &n(pair[1])), Ordering::Less, "{pair:?}");
        }
        for (a, b) in
            [("1.0", "1"), ("-0", "0"), ("0e5", "0.00"), ("10e399", "1e400"), ("0.001e3", "1"), ("100", "1e2")]
        {
            assert_eq!(compare(&n(a), &n(b)), Ordering::Equal, "{a} {b}");
        }
    }

    #[test]
    fn arithmetic_is_exact_or_refused() {
        let of = |op, a: &str, b: &str| exact(op, &n(a), &n(b)).map(|number| number.to_string());
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(of(Operation::Add, "0.1", "0.2"), is("0.3"));
        assert_eq!(of(Operation::Sub, "1", "1.00"), is("0"));
        assert_eq!(of(Operation::Mul, "-0.5", "0.04"), is("-0.02"));
        assert_eq!(of(Operation::Div, "-7", "2"), is("-3"));
        assert_eq!(of(Operation::Div, "1.5", "-0.5"), is("-3"));
        assert_eq!(of(Operation::Div, "-0.5", "3"), is("-0.1666666666666666666666666666"));
        assert_eq!(of(Operation::Mod, "-7", "2"), is("-1"));
        assert_eq!(of(Operation::Div, "1", "0"), None);
        assert_eq!(of(Operation::Add, "1e400", "1"), None);
        assert_eq!(of(Operation::Mul, "1e30", "1e30"), None);
        assert_eq!(of(Operation::Add, "1e-400", "1"), None);
    }
}
