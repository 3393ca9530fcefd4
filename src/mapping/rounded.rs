//! Arithmetic where the exact result has too many digits: 28 of them stay, and beyond a decimal's range those of a double.

use serde_json::Number;

use super::number::{Decimal, Operation, parse};

/// Digits that stay.
const DIGITS: usize = 28;
/// Greatest power of ten of a double.
const FAR: i64 = 308;
/// Most digits before the point (zeros behind it) that are written without an exponent.
const PLAIN: i64 = 29;

/// A number of `digits` × 10^`exponent`.
#[derive(Clone, Copy)]
struct Scaled {
    digits: i128,
    exponent: i64,
}

/// The operation, rounded; `None` where the result is too large for a double, or does not exist.
pub(super) fn rounded(operation: Operation, a: &Number, b: &Number) -> Option<Number> {
    // An addition needs what two numbers have in common, a product twice the digits.
    let width = if matches!(operation, Operation::Add | Operation::Sub) { 37 } else { 30 };
    let (x, y) = (scaled(a, width)?, scaled(b, width)?);
    match operation {
        Operation::Add => print(add(x, y)),
        Operation::Sub => print(add(x, Scaled { digits: -y.digits, ..y })),
        Operation::Mul => print(mul(x, y)),
        Operation::Div => print(div(x, y)?),
        Operation::Mod => {
            let (a, b): (f64, f64) = (a.as_str().parse().ok()?, b.as_str().parse().ok()?);
            double(a % b)
        }
    }
}

/// Exactly `width` digits, unless it is zero; `None` if it is too large for a double.
fn scaled(number: &Number, width: usize) -> Option<Scaled> {
    let (negative, mut digits, exponent) = Decimal::of(number).into_parts();
    if digits.is_empty() || exponent < -FAR - 20 {
        return Some(Scaled { digits: 0, exponent: 0 });
    }
    if exponent > FAR + 1 {
        return None;
    }
    digits.truncate(width);
    let digits: i128 = format!("{digits:0<width$}").parse().ok()?;
    let exponent = exponent - i64::try_from(width).ok()?;
    Some(Scaled { digits: if negative { -digits } else { digits }, exponent })
}

fn add(a: Scaled, b: Scaled) -> Scaled {
    let (large, small) = if b.digits == 0 || (a.digits != 0 && a.exponent >= b.exponent) { (a, b) } else { (b, a) };
    let shift = u32::try_from(large.exponent - small.exponent).ok().and_then(|shift| 10_i128.checked_pow(shift));
    Scaled { digits: large.digits + shift.map_or(0, |shift| small.digits / shift), exponent: large.exponent }
}

/// The upper half of the product of two numbers of 30 digits.
fn mul(a: Scaled, b: Scaled) -> Scaled {
    const HALF: i128 = 10_i128.pow(15);
    let (ah, al) = (a.digits / HALF, a.digits % HALF);
    let (bh, bl) = (b.digits / HALF, b.digits % HALF);
    let middle = ah * bl + al * bh + al * bl / HALF;
    Scaled { digits: ah * bh + middle / HALF, exponent: a.exponent + b.exponent + 30 }
}

/// Long division, to 30 digits.
fn div(a: Scaled, b: Scaled) -> Option<Scaled> {
    let (mut quotient, mut rest) = (a.digits.checked_div(b.digits)?, a.digits.checked_rem(b.digits)?);
    for _ in 0..30 {
        quotient = quotient * 10 + rest * 10 / b.digits;
        rest = rest * 10 % b.digits;
    }
    Some(Scaled { digits: quotient, exponent: a.exponent - b.exponent - 30 })
}

fn print(value: Scaled) -> Option<Number> {
    let (mut digits, mut exponent) = (value.digits.unsigned_abs(), value.exponent);
    if digits == 0 {
        return parse("0");
    }
    let surplus = digits.to_string().len().saturating_sub(DIGITS);
    if let Some(unit) = u32::try_from(surplus).ok().filter(|surplus| *surplus > 0).map(|surplus| 10_u128.pow(surplus)) {
        digits = (digits + unit / 2) / unit;
        exponent += i64::try_from(surplus).ok()?;
    }
    while digits % 10 == 0 {
        (digits, exponent) = (digits / 10, exponent + 1);
    }
    let sign = if value.digits < 0 { "-" } else { "" };
    let text = digits.to_string();
    let scale = exponent + i64::try_from(text.len()).ok()?;
    if !(-PLAIN..=PLAIN).contains(&scale) {
        return double(format!("{sign}{text}e{exponent}").parse().ok()?);
    }
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    parse(&if exponent >= 0 {
        format!("{sign}{text}{}", zeros(exponent))
    } else if scale <= 0 {
        format!("{sign}0.{}{text}", zeros(-scale))
    } else {
        let (whole, fraction) = text.split_at(usize::try_from(scale).ok()?);
        format!("{sign}{whole}.{fraction}")
    })
}

/// The shortest digits that mean this double.
fn double(value: f64) -> Option<Number> {
    if value == 0.0 {
        return parse("0");
    }
    let plain = (1e-7..1e21).contains(&value.abs());
    let text = if plain { format!("{value}") } else { format!("{value:E}") };
    value.is_finite().then_some(text).and_then(|text| parse(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_rounded() {
        let of = |operation, a: &str, b: &str| {
            rounded(operation, &a.parse().expect("a number"), &b.parse().expect("a number")).map(|n| n.to_string())
        };
        let third = "0.3333333333333333333333333333";
        for (operation, a, b, wanted) in [
            (Operation::Mul, third, third, "0.1111111111111111111111111111"),
            (Operation::Mul, "-1e20", "1e20", "-1e+40"),
            (Operation::Add, third, "1000000000000", "1000000000000.333333333333333"),
            (Operation::Sub, "1e50", "1", "1e+50"),
            (Operation::Sub, "1", "1e50", "-1e+50"),
            (Operation::Add, "1e-40", "1", "1"),
            (Operation::Add, "0", "1e-40", "1e-40"),
            (Operation::Sub, "1e50", "1e50", "0"),
            (Operation::Div, "1e300", "2.0", "5e+299"),
            (Operation::Div, "-1e300", "3e300", "-0.3333333333333333333333333333"),
            (Operation::Mod, "1e50", "3.0", "2"),
            (Operation::Mul, "1e-300", "1e-300", "0"),
        ] {
            assert_eq!(of(operation, a, b).as_deref(), Some(wanted), "{a} {b}");
        }
        assert_eq!(of(Operation::Mul, "1e300", "1e300"), None);
        assert_eq!(of(Operation::Add, "1e400", "1"), None);
    }
}
