//! From one type to another.

use std::borrow::Cow;

use serde_json::Value;

use super::blob::Blob;
use super::print::print;
use super::units::units;
use super::{ANY, Args, BOOL, Fault, Function, NUMBER, OBJECT, TEXT, boolean, example, maybe, one, string, xml};
use crate::mapping::number::{Decimal, is_whole, plain};
use crate::mapping::{number, parse_json};
use crate::schema::Types;

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "string",
        family: "Conversion",
        params: &[one("value", ANY)],
        result: TEXT,
        text: "The value as text: null is empty, true is `True`, 30.0 is `30`, objects and lists are JSON, a content envelope is the text it holds.",
        example: example(r#"{{string vars.n}}"#, r#"{"vars":{"n":9007199254740993}}"#, r#""9007199254740993""#),
        infer: None,
        run: |args| string(print(&*args.value(0)?).into_owned()),
    },
    Function {
        name: "int",
        family: "Conversion",
        params: &[one("value", NUMBER.or(TEXT).or(BOOL))],
        result: NUMBER,
        text: "A whole number of 64 bits from text or a number: spaces around it, commas between thousands, `1.0` and `1e3` are allowed. A fraction is an error: dropping cents silently is no conversion. True is 1, false 0.",
        example: example(r#"{{int vars.n}}"#, r#"{"vars":{"n":" 1,000 "}}"#, r#"1000"#),
        infer: None,
        run: int,
    },
    Function {
        name: "json",
        family: "Conversion",
        params: &[one("text", TEXT.or(OBJECT).or(Types::NULL))],
        result: ANY,
        text: "The value that the text (or a content envelope) holds as JSON, or as XML: attributes as `@name`, text beside them as `#text`, several elements of one name as a list. Of null an empty object.",
        example: example(r#"{{json vars.t}}"#, r#"{"vars":{"t":"{\"a\":1}"}}"#, r#"{"a":1}"#),
        infer: None,
        run: json,
    },
    Function {
        name: "isInt",
        family: "Logic",
        params: &[one("value", TEXT.or(NUMBER))],
        result: BOOL,
        text: "Whether the value is a whole number: spaces around it and commas between thousands allowed, no point.",
        example: example(r#"{{isInt "10"}}"#, "{}", "true"),
        infer: None,
        run: |args| {
            let text = args.text(0)?;
            boolean(!text.contains('.') && whole(&text).is_some_and(|number| fits(&number)))
        },
    },
    Function {
        name: "bool",
        family: "Conversion",
        params: &[one("value", BOOL.or(NUMBER).or(TEXT))],
        result: BOOL,
        text: "A boolean from `true` or `false` in whatever case, or from a number, of which only 0 is false.",
        example: example(r#"{{bool "True"}}"#, "{}", "true"),
        infer: None,
        run: |args| match &*args.value(0)? {
            Value::Bool(flag) => boolean(*flag),
            Value::Number(number) => boolean(!Decimal::of(number).is_zero()),
            text => match text.as_str().unwrap_or_default().trim() {
                text if text.eq_ignore_ascii_case("true") => boolean(true),
                text if text.eq_ignore_ascii_case("false") => boolean(false),
                _ => Err(args.wrong(0, "is neither `true` nor `false`")),
            },
        },
    },
    Function {
        name: "utf8Length",
        family: "Conversion",
        params: &[one("text", TEXT)],
        result: NUMBER,
        text: "How many bytes the text has in UTF-8.",
        example: example(r#"{{utf8Length vars.a}}"#, r#"{"vars":{"a":"Zoë"}}"#, "4"),
        infer: None,
        run: |args| Ok(Cow::Owned(args.text(0)?.len().into())),
    },
    Function {
        name: "utf16Length",
        family: "Conversion",
        params: &[one("text", TEXT)],
        result: NUMBER,
        text: "How many units the text has in UTF-16; `length` counts the same.",
        example: example(r#"{{utf16Length vars.a}}"#, r#"{"vars":{"a":"a😀"}}"#, "3"),
        infer: None,
        run: |args| Ok(Cow::Owned(units(&args.text(0)?).into())),
    },
    Function {
        name: "slugify",
        family: "Text",
        params: &[one("text", TEXT), maybe("separator", TEXT)],
        result: TEXT,
        text: "The text as a name for URLs and files: ASCII letters in lower case and digits, all else one `-`, or another separator.",
        example: example(
            r#"{{slugify vars.a}}"#,
            r#"{"vars":{"a":" Crème brûlée, für Łódź! "}}"#,
            r#""creme-brulee-fur-lodz""#,
        ),
        infer: None,
        run: slugify,
    },
];

fn int(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let value = args.value(0)?;
    let number = match &*value {
        Value::Number(number) => whole(number.as_str()),
        Value::Bool(flag) => return Ok(Cow::Owned(u8::from(*flag).into())),
        text => whole(text.as_str().unwrap_or_default()),
    };
    let number = number.ok_or_else(|| args.wrong(0, "does not hold a whole number"))?;
    if !fits(&number) {
        return Err(args.wrong(0, "is larger than a whole number of 64 bits; `decimal` takes up to 28 digits"));
    }
    Ok(Cow::Owned(Value::Number(number)))
}

/// Microsoft's whole numbers have 64 bits.
fn fits(number: &serde_json::Number) -> bool {
    number.as_str().parse::<i64>().is_ok()
}

/// The whole number that a text holds: `-1,000`, ` +7 `, `1.0`, `1e3`; with a fraction it holds none.
fn whole(text: &str) -> Option<serde_json::Number> {
    let text = text.trim();
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (before, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let digits = before.replace(',', "");
    let ascii = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !ascii(&digits) || !(fraction.is_empty() || ascii(fraction)) {
        return None;
    }
    let trimmed = digits.trim_start_matches('0');
    let sign = if negative { "-" } else { "" };
    let exponent = exponent.strip_prefix('+').unwrap_or(exponent);
    let spelled = format!("{sign}{}.{fraction}0e{exponent}", if trimmed.is_empty() { "0" } else { trimmed });
    let digits = plain(&number::parse(&spelled)?);
    number::parse(if digits == "-0" { "0" } else { &digits }).filter(is_whole)
}

fn json(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let value = args.value(0)?;
    let blob = Blob::of(&value);
    let bytes = match (&*value, &blob) {
        (Value::String(text), _) => text.as_bytes(),
        (Value::Null, _) => return Ok(Cow::Owned(Value::Object(serde_json::Map::new()))),
        (_, Some(blob)) => &blob.bytes,
        (_, None) => return Err(args.wrong(0, "is an object already, and no content envelope")),
    };
    if let Some(text) = xml::looks_like(bytes) {
        return xml::to_json(text).map(Cow::Owned).map_err(|why| args.wrong(0, &why));
    }
    parse_json(bytes).map(Cow::Owned).map_err(|error| {
        let place = format!("is not JSON at line {} column {}", error.line(), error.column());
        args.wrong(0, &place)
    })
}

fn slugify(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let text = args.text(0)?;
    let separator = args.given_text(1)?.unwrap_or(Cow::Borrowed("-"));
    let mut out = String::new();
    let mut gap = false;
    for c in text.chars() {
        let ascii = deunicode::deunicode_char(c).unwrap_or(" ");
        for c in ascii.chars() {
            if !c.is_ascii_alphanumeric() {
                // An apostrophe joins: `don't` is one word.
                gap |= c != '\'';
                continue;
            }
            if gap && !out.is_empty() {
                out.push_str(&separator);
            }
            gap = false;
            out.push(c.to_ascii_lowercase());
        }
        if out.len() > crate::mapping::eval::MAX_BYTES {
            return Err(Fault::too_large());
        }
    }
    string(out)
}
