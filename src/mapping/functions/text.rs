//! Text: building it, changing it, looking into it.

use std::borrow::Cow;

use serde_json::Value;

use super::{ANY, Args, BOOL, Fault, Function, NUMBER, TEXT, boolean, example, many, maybe, one, string};
use crate::mapping::eval::MAX_BYTES;
use crate::mapping::text;
use crate::schema::Types;

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "concat",
        family: "Text",
        params: &[many("parts", ANY)],
        result: TEXT,
        text: "All parts as one text: null is empty, objects and lists are JSON.",
        example: example(
            r#"{{concat vars.a "-" vars.n}}"#,
            r#"{"vars":{"a":"no","n":7}}"#,
            r#""no-7""#,
        ),
        infer: None,
        run: concat,
    },
    Function {
        name: "toLower",
        family: "Text",
        params: &[one("text", TEXT)],
        result: TEXT,
        text: "The text in lower case, by the rules of Unicode.",
        example: example(r#"{{toLower vars.a}}"#, r#"{"vars":{"a":"ÄRGER"}}"#, r#""ärger""#),
        infer: None,
        run: |args| string(args.text(0)?.to_lowercase()),
    },
    Function {
        name: "toUpper",
        family: "Text",
        params: &[one("text", TEXT)],
        result: TEXT,
        text: "The text in upper case, by the rules of Unicode.",
        example: example(r#"{{toUpper vars.a}}"#, r#"{"vars":{"a":"straße"}}"#, r#""STRASSE""#),
        infer: None,
        run: |args| string(args.text(0)?.to_uppercase()),
    },
    Function {
        name: "trim",
        family: "Text",
        params: &[one("text", TEXT)],
        result: TEXT,
        text: "The text without white space at its ends.",
        example: example(r#"{{trim vars.a}}"#, r#"{"vars":{"a":"  Ann \n"}}"#, r#""Ann""#),
        infer: None,
        run: |args| string(args.text(0)?.trim().to_owned()),
    },
    Function {
        name: "replace",
        family: "Text",
        params: &[one("text", TEXT), one("old", TEXT), one("new", TEXT)],
        result: TEXT,
        text: "The text with each `old` replaced; upper and lower case differ.",
        example: example(
            r#"{{replace vars.a "-" " "}}"#,
            r#"{"vars":{"a":"1-2-3"}}"#,
            r#""1 2 3""#,
        ),
        infer: None,
        run: replace,
    },
    Function {
        name: "substring",
        family: "Text",
        params: &[one("text", TEXT), one("start", NUMBER), maybe("length", NUMBER)],
        result: TEXT,
        text: "The part of `length` characters from `start` (0 is the first), or all the rest. A part that is not there is an error.",
        example: example(r#"{{substring vars.a 1 3}}"#, r#"{"vars":{"a":"äbcde"}}"#, r#""bcd""#),
        infer: None,
        run: substring,
    },
    Function {
        name: "startsWith",
        family: "Text",
        params: &[one("text", TEXT), one("search", TEXT)],
        result: BOOL,
        text: "Whether the text starts so, ignoring case.",
        example: example(
            r#"{{startsWith vars.a "msft_test"}}"#,
            r#"{"vars":{"a":"MSFT_TEST_1"}}"#,
            r#"true"#,
        ),
        infer: None,
        run: |args| boolean(lower(args, 0)?.starts_with(&lower(args, 1)?)),
    },
    Function {
        name: "endsWith",
        family: "Text",
        params: &[one("text", TEXT), one("search", TEXT)],
        result: BOOL,
        text: "Whether the text ends so, ignoring case.",
        example: example(
            r#"{{endsWith vars.a "@TEST.com"}}"#,
            r#"{"vars":{"a":"x@test.com"}}"#,
            r#"true"#,
        ),
        infer: None,
        run: |args| boolean(lower(args, 0)?.ends_with(&lower(args, 1)?)),
    },
    Function {
        name: "indexOf",
        family: "Text",
        params: &[one("text", TEXT), one("search", TEXT)],
        result: NUMBER,
        text: "Where `search` first stands in the text, ignoring case: 0 is the first character, -1 is nowhere.",
        example: example(
            r#"{{indexOf vars.a "WORLD"}}"#,
            r#"{"vars":{"a":"hello world"}}"#,
            r#"6"#,
        ),
        infer: None,
        run: index_of,
    },
    Function {
        name: "split",
        family: "Text",
        params: &[one("text", TEXT), one("separator", TEXT)],
        result: Types::ARRAY,
        text: "The pieces between separators. Empty text gives one empty piece; an empty separator leaves the text whole.",
        example: example(r#"{{split vars.a ";"}}"#, r#"{"vars":{"a":"a;b"}}"#, r#"["a","b"]"#),
        infer: None,
        run: split,
    },
];

fn concat(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let mut out = String::new();
    for i in 0..args.len() {
        text::append(&mut out, args.value(i)?.as_ref());
        if out.len() > MAX_BYTES {
            return Err(Fault::too_large());
        }
    }
    string(out)
}

fn replace(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let (text, old, new) = (args.text(0)?, args.text(1)?, args.text(2)?);
    if old.is_empty() {
        return Err(args.wrong(1, "is empty, and nothing can't be replaced"));
    }
    // Counted first: a short text can grow beyond all memory.
    let growth = text.matches(&*old).count().saturating_mul(new.len());
    if growth.saturating_add(text.len()) > MAX_BYTES {
        return Err(Fault::too_large());
    }
    string(text.replace(&*old, &new))
}

fn substring(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let text = args.text(0)?;
    let start = usize::try_from(args.count(1)?).map_err(|_| args.wrong(1, "is negative"))?;
    let length = match args.len() {
        0..=2 => None,
        _ => Some(usize::try_from(args.count(2)?).map_err(|_| args.wrong(2, "is negative"))?),
    };
    let count = text.chars().count();
    let end = length.map_or(Some(count), |length| start.checked_add(length));
    let Some(end) = end.filter(|end| start <= *end && *end <= count) else {
        return Err(args.wrong(0, "is shorter than the part that is asked for"));
    };
    string(text.chars().skip(start).take(end - start).collect())
}

fn index_of(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let (text, search) = (lower(args, 0)?, lower(args, 1)?);
    let place = text.find(&search).map(|at| text[..at].chars().count());
    Ok(Cow::Owned(place.map_or(Value::from(-1), Value::from)))
}

fn split(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let (text, separator) = (args.text(0)?, args.text(1)?);
    let pieces: Vec<Value> = match separator.is_empty() {
        true => vec![Value::from(&*text)],
        false => text.split(&*separator).map(Value::from).collect(),
    };
    Ok(Cow::Owned(Value::Array(pieces)))
}

/// Folded character by character, so that places in the folded text are places in the text.
fn lower(args: Args<'_>, i: usize) -> Result<String, Fault> {
    let fold = |c: char| {
        let mut lower = c.to_lowercase();
        match (lower.next(), lower.next()) {
            (Some(one), None) => one,
            _ => c,
        }
    };
    Ok(args.text(i)?.chars().map(fold).collect())
}
