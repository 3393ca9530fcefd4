//! From one type to another.

use std::borrow::Cow;

use serde_json::Value;

use super::{ANY, Args, Fault, Function, NUMBER, TEXT, example, one, string, xml};
use crate::mapping::{number, parse_json, text};

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "string",
        family: "Conversion",
        params: &[one("value", ANY)],
        result: TEXT,
        text: "The value as text: null is empty, objects and lists are JSON.",
        example: example(r#"{{string vars.n}}"#, r#"{"vars":{"n":9007199254740993}}"#, r#""9007199254740993""#),
        infer: None,
        run: |args| string(text::text(&*args.value(0)?).into_owned()),
    },
    Function {
        name: "int",
        family: "Conversion",
        params: &[one("value", NUMBER.or(TEXT))],
        result: NUMBER,
        text: "A whole number from text, spaces around it and commas between thousands allowed; a number loses what is behind its point.",
        example: example(r#"{{int vars.n}}"#, r#"{"vars":{"n":" 1,000 "}}"#, r#"1000"#),
        infer: None,
        run: int,
    },
    Function {
        name: "json",
        family: "Conversion",
        params: &[one("text", TEXT)],
        result: ANY,
        text: "The value that the text holds as JSON, or as XML: attributes as `@name`, text beside them as `#text`, several elements of one name as a list.",
        example: example(r#"{{json vars.t}}"#, r#"{"vars":{"t":"{\"a\":1}"}}"#, r#"{"a":1}"#),
        infer: None,
        run: json,
    },
];

fn int(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let value = args.value(0)?;
    let text = text::text(&value);
    let text = text.trim().trim_start_matches('+');
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.replace(',', "");
    let bare = digits.strip_prefix('-').unwrap_or(&digits);
    let ascii = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    // Text with a fraction is refused as Microsoft's does: dropping cents silently is no conversion.
    let fits = !bare.is_empty() && ascii(bare) && ascii(fraction) && (fraction.is_empty() || value.is_number());
    let trimmed = bare.trim_start_matches('0');
    let sign = if digits.starts_with('-') && !trimmed.is_empty() { "-" } else { "" };
    let number = number::parse(&format!("{sign}{}", if trimmed.is_empty() { "0" } else { trimmed }));
    match number.filter(|_| fits) {
        Some(number) => Ok(Cow::Owned(Value::Number(number))),
        None => Err(args.wrong(0, "does not hold a whole number")),
    }
}

fn json(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    if let Some(text) =
        Some(args.text(0)?).filter(|text| text.trim_start_matches(['\u{feff}', ' ', '\n']).starts_with('<'))
    {
        return xml::to_json(&text).map(Cow::Owned).map_err(|why| args.wrong(0, &why));
    }
    let value = parse_json(args.text(0)?.as_bytes());
    value.map(Cow::Owned).map_err(|error| {
        let place = format!("is not JSON at line {} column {}", error.line(), error.column());
        args.wrong(0, &place)
    })
}
