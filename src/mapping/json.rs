//! Reads JSON with every number as it was written.

use std::ops::Range;

use serde_json::{Number, Value};

/// Parses JSON text; `1e400` stays `1e400`.
///
/// `serde_json` keeps all digits, but respells each exponent (`1E400` becomes `1e+400`). A text with exponents, which
/// is rare, is therefore read twice: once to judge it, once with the number of its place in place of each such number.
///
/// ```
/// let value = millstream::mapping::parse_json(b"[1e400, 9007199254740993, 0.1000000000000000055]").unwrap();
/// assert_eq!(value.to_string(), "[1e400,9007199254740993,0.1000000000000000055]");
/// ```
pub fn parse_json(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse_json_text(text),
        // It says where.
        Err(_) => serde_json::from_slice(bytes),
    }
}

/// The same of text, whose letters need not be judged once more.
pub fn parse_json_text(text: &str) -> Result<Value, serde_json::Error> {
    let value: Value = serde_json::from_str(text)?;
    if !has_exponent(&value) {
        return Ok(value);
    }
    // Or there would be two of them at once, each many times its text.
    drop(value);
    let exponents = exponents(text);
    let mut marked = String::with_capacity(text.len() + 8 * exponents.len());
    let mut done = 0;
    for (i, number) in exponents.iter().enumerate() {
        marked.push_str(&text[done..number.start]);
        marked.push_str(&format!("{MARK}{i}"));
        done = number.end;
    }
    marked.push_str(&text[done..]);
    let mut value = serde_json::from_str(&marked)?;
    restore(&mut value, &exponents, text);
    Ok(value)
}

/// No number of the text itself can look like this after parsing, for all with an exponent were replaced.
const MARK: &str = "-0e+";

fn restore(value: &mut Value, exponents: &[Range<usize>], text: &str) {
    match value {
        Value::Number(number) => {
            let place = number.as_str().strip_prefix(MARK).and_then(|i| i.parse::<usize>().ok());
            if let Some(range) = place.and_then(|i| exponents.get(i)) {
                // Checked JSON: the first reading accepted this very text as a number.
                *number = Number::from_string_unchecked(text[range.clone()].to_owned());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| restore(item, exponents, text)),
        Value::Object(map) => map.values_mut().for_each(|item| restore(item, exponents, text)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// True if a number of `value` is written with an exponent: cheaper to ask of the value than of the text.
fn has_exponent(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_str().contains(['e', 'E']),
        Value::Array(items) => items.iter().any(has_exponent),
        Value::Object(map) => map.values().any(has_exponent),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// Where valid JSON text holds numbers with an exponent.
fn exponents(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'"' => {
                i += 1;
                while i < bytes.len() && bytes[i] != b'"' {
                    i += if bytes[i] == b'\\' { 2 } else { 1 };
                }
                i += 1;
            }
            b'-' | b'0'..=b'9' => {
                let part = |b: &u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
                let length = bytes[i..].iter().take_while(|b| part(b)).count();
                if bytes[i..i + length].iter().any(|b| matches!(b, b'e' | b'E')) {
                    found.push(i..i + length);
                }
                i += length;
            }
            _ => i += 1,
        }
    }
    found
}
