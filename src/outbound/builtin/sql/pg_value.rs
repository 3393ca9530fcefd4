//! Values of PostgreSQL, from the binary form of its protocol (the `…send` functions of its sources) to JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::{Date, Time};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sqlx::postgres::{PgTypeInfo, PgTypeKind};
use uuid::Uuid;

use crate::mapping::parse_json;

/// 2000-01-01 UTC, where PostgreSQL's time begins; microseconds since 1970.
const EPOCH: i64 = 946_684_800_000_000;
/// Longest nesting of an array's dimensions.
const MOST_DIMENSIONS: i32 = 6;

/// The value; the error says why there is none.
pub(super) fn read(of: &PgTypeInfo, bytes: &[u8]) -> Result<Value, String> {
    let unknown = || format!("has the type {of}, which is not read");
    match of.kind() {
        PgTypeKind::Array(item) => array(item, bytes).ok_or_else(unknown)?,
        PgTypeKind::Domain(base) => read(base, bytes),
        PgTypeKind::Enum(_) => text(bytes).ok_or_else(unknown),
        PgTypeKind::Simple | PgTypeKind::Pseudo => {
            let oid = of.oid().map_or(0, |oid| oid.0);
            simple(oid, &of.to_string(), bytes).ok_or_else(unknown)
        }
        PgTypeKind::Composite(_) | PgTypeKind::Range(_) => Err(unknown()),
    }
}

fn text(bytes: &[u8]) -> Option<Value> {
    Some(Value::from(std::str::from_utf8(bytes).ok()?))
}

fn simple(oid: u32, name: &str, bytes: &[u8]) -> Option<Value> {
    let four = || Some(i32::from_be_bytes(bytes.try_into().ok()?));
    let eight = || Some(i64::from_be_bytes(bytes.try_into().ok()?));
    Some(match oid {
        16 => json!(bytes.first()? != &0),
        17 => json!(STANDARD.encode(bytes)),
        // int2, int4, int8, oid
        21 => json!(i16::from_be_bytes(bytes.try_into().ok()?)),
        23 => json!(four()?),
        20 => json!(eight()?),
        26 => json!(u32::from_be_bytes(bytes.try_into().ok()?)),
        700 => {
            let value = f32::from_be_bytes(bytes.try_into().ok()?);
            real(Value::from(value), f64::from(value))
        }
        701 => {
            let value = f64::from_be_bytes(bytes.try_into().ok()?);
            real(Value::from(value), value)
        }
        1700 => numeric(bytes)?,
        // "char", name, text, json, xml, unknown, bpchar, varchar
        18 | 19 | 25 | 142 | 705 | 1042 | 1043 => text(bytes)?,
        114 => parse_json(bytes).ok()?,
        3802 => parse_json(bytes.strip_prefix(&[1])?).ok()?,
        2950 => json!(Uuid::from_slice(bytes).ok()?.to_string()),
        1082 => json!(date(four()?)?),
        1083 => json!(time(eight()?)?),
        1266 => json!(format!(
            "{}{}",
            time(i64::from_be_bytes(bytes.get(..8)?.try_into().ok()?))?,
            offset(bytes.get(8..)?)?
        )),
        1114 => json!(moment(eight()?, false)?),
        1184 => json!(moment(eight()?, true)?),
        1186 => json!(interval(bytes)?),
        // void
        2278 => Value::Null,
        _ if name.eq_ignore_ascii_case("citext") => text(bytes)?,
        _ => return None,
    })
}

/// A float in its shortest form; what is no number is text.
fn real(shortest: Value, value: f64) -> Value {
    match value {
        _ if value.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        _ => shortest,
    }
}

/// Groups of four digits, the first of them of weight 10000^weight.
fn numeric(bytes: &[u8]) -> Option<Value> {
    let short = |at: usize| Some(i16::from_be_bytes(bytes.get(2 * at..2 * at + 2)?.try_into().ok()?));
    let (groups, weight, sign, scale) = (short(0)?, i32::from(short(1)?), short(2)?.cast_unsigned(), short(3)?);
    match sign {
        0xC000 => return Some(json!("NaN")),
        0xD000 => return Some(json!("Infinity")),
        0xF000 => return Some(json!("-Infinity")),
        _ => {}
    }
    let group = |power: i32| -> Option<i16> {
        let index = weight - power;
        if (0..i32::from(groups)).contains(&index) { short(4 + usize::try_from(index).ok()?) } else { Some(0) }
    };
    let mut whole = String::new();
    for power in (0..=weight.max(0)).rev() {
        whole.push_str(&format!("{:04}", group(power)?));
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let mut text = format!("{}{whole}", if sign == 0x4000 { "-" } else { "" });
    let scale = usize::try_from(scale).ok()?;
    if scale > 0 {
        let mut digits = String::new();
        let mut power = -1;
        while digits.len() < scale {
            digits.push_str(&format!("{:04}", group(power)?));
            power -= 1;
        }
        text = format!("{text}.{}", &digits[..scale]);
    }
    parse_json(text.as_bytes()).ok()
}

fn date(days: i32) -> Option<String> {
    match days {
        i32::MAX => return Some("infinity".to_owned()),
        i32::MIN => return Some("-infinity".to_owned()),
        _ => {}
    }
    let begin = Date::constant(2000, 1, 1);
    let span = jiff::Span::new().try_days(days).ok()?;
    begin.checked_add(span).ok().map(|date| date.to_string())
}

fn time(micros: i64) -> Option<String> {
    // The end of a day has a name of its own.
    if micros == 86_400_000_000 {
        return Some("24:00:00".to_owned());
    }
    Time::midnight().checked_add(SignedDuration::from_micros(micros)).ok().map(|time| time.to_string())
}

/// Seconds west of Greenwich.
fn offset(bytes: &[u8]) -> Option<String> {
    let west = i32::from_be_bytes(bytes.try_into().ok()?);
    let (sign, all) = (if west > 0 { '-' } else { '+' }, west.unsigned_abs());
    Some(format!("{sign}{:02}:{:02}", all / 3600, all / 60 % 60))
}

fn moment(micros: i64, zoned: bool) -> Option<String> {
    match micros {
        i64::MAX => return Some("infinity".to_owned()),
        i64::MIN => return Some("-infinity".to_owned()),
        _ => {}
    }
    let at = Timestamp::from_microsecond(micros.checked_add(EPOCH)?).ok()?;
    Some(if zoned { at.to_string() } else { at.to_zoned(jiff::tz::TimeZone::UTC).datetime().to_string() })
}

/// ISO 8601: months and days apart from seconds, as PostgreSQL keeps them.
fn interval(bytes: &[u8]) -> Option<String> {
    let micros = i64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
    let days = i32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?);
    let months = i32::from_be_bytes(bytes.get(12..16)?.try_into().ok()?);
    let (sign, all) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    let fraction = format!("{:06}", all % 1_000_000);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("P{months}M{days}DT{sign}{}{point}{fraction}S", all / 1_000_000))
}

/// Dimensions, then the items in order, each with its length. `None` if it is not in this form.
fn array(item: &PgTypeInfo, bytes: &[u8]) -> Option<Result<Value, String>> {
    let mut at = Cursor { bytes };
    let dimensions = at.int()?;
    at.int()?; // whether there are nulls
    at.int()?; // the items' type
    if dimensions == 0 {
        return Some(Ok(json!([])));
    }
    if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
        return None;
    }
    let mut sizes = Vec::new();
    for _ in 0..dimensions {
        sizes.push(usize::try_from(at.int()?).ok()?);
        at.int()?; // the first index
    }
    level(item, &sizes, &mut at)
}

fn level(item: &PgTypeInfo, sizes: &[usize], at: &mut Cursor<'_>) -> Option<Result<Value, String>> {
    let Some((size, inner)) = sizes.split_first() else {
        let length = at.int()?;
        if length < 0 {
            return Some(Ok(Value::Null));
        }
        return Some(read(item, at.take(usize::try_from(length).ok()?)?));
    };
    let mut items = Vec::new();
    for _ in 0..*size {
        match level(item, inner, at)? {
            Ok(value) => items.push(value),
            Err(why) => return Some(Err(why)),
        }
    }
    Some(Ok(Value::Array(items)))
}

struct Cursor<'b> {
    bytes: &'b [u8],
}

impl<'b> Cursor<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    fn int(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_every_digit_and_their_scale() {
        let made = |shorts: &[u16]| -> String {
            let bytes: Vec<u8> = shorts.iter().flat_map(|short| short.to_be_bytes()).collect();
            numeric(&bytes).unwrap().to_string()
        };
        assert_eq!(made(&[0, 0, 0, 0]), "0");
        assert_eq!(made(&[0, 0, 0, 2]), "0.00");
        assert_eq!(made(&[2, 0, 0, 2, 1, 1000]), "1.10");
        assert_eq!(made(&[1, 2, 0, 0, 5]), "500000000");
        assert_eq!(made(&[1, 0xFFFE, 0x4000, 8, 12]), "-0.00000012");
        assert_eq!(made(&[0, 0, 0xC000, 0]), "\"NaN\"");
        assert!(numeric(&[0, 1]).is_none());
    }

    #[test]
    fn moments_are_rfc_3339_and_lengths_iso_8601() {
        assert_eq!(moment(0, true).unwrap(), "2000-01-01T00:00:00Z");
        assert_eq!(moment(1_500_000, false).unwrap(), "2000-01-01T00:00:01.5");
        assert_eq!(moment(i64::MAX, true).unwrap(), "infinity");
        assert!(moment(i64::MAX - 1, true).is_none());
        assert_eq!(date(-1).unwrap(), "1999-12-31");
        assert_eq!(time(61_000_000).unwrap(), "00:01:01");
        assert_eq!(offset(&(-7200i32).to_be_bytes()).unwrap(), "+02:00");
    }
}
