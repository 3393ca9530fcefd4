//! Looking for text in text.

use std::borrow::Cow;

use serde_json::Value;

use super::units::{nth, units, upper};
use super::{Args, BOOL, Fault, Function, NUMBER, TEXT, boolean, example, one};

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "startsWith",
        family: "Text",
        params: &[one("text", TEXT), one("search", TEXT)],
        result: BOOL,
        text: "Whether the text starts so, ignoring case.",
        example: example(r#"{{startsWith vars.a "msft_test"}}"#, r#"{"vars":{"a":"MSFT_TEST_1"}}"#, r#"true"#),
        infer: None,
        run: |args| boolean(fold(args, 0)?.starts_with(&fold(args, 1)?)),
    },
    Function {
        name: "endsWith",
        family: "Text",
        params: &[one("text", TEXT), one("search", TEXT)],
        result: BOOL,
        text: "Whether the text ends so, ignoring case.",
        example: example(r#"{{endsWith vars.a "@TEST.com"}}"#, r#"{"vars":{"a":"x@test.com"}}"#, r#"true"#),
        infer: None,
        run: |args| boolean(fold(args, 0)?.ends_with(&fold(args, 1)?)),
    },
    Function {
        name: "indexOf",
        family: "Text",
        params: &[one("text", TEXT), one("search", TEXT)],
        result: NUMBER,
        text: "Where `search` first stands in the text, ignoring case: 0 is the first character, -1 is nowhere.",
        example: example(r#"{{indexOf vars.a "WORLD"}}"#, r#"{"vars":{"a":"hello world"}}"#, r#"6"#),
        infer: None,
        run: |args| {
            let text = fold(args, 0)?;
            let found = text.find(&fold(args, 1)?);
            place(found.map(|at| units(&text[..at])))
        },
    },
    Function {
        name: "lastIndexOf",
        family: "Text",
        params: &[one("text", TEXT), one("search", TEXT)],
        result: NUMBER,
        text: "Where `search` last stands in the text, ignoring case: 0 is the first character, -1 is nowhere. Empty text is found at the last character.",
        example: example(r#"{{lastIndexOf vars.a "world"}}"#, r#"{"vars":{"a":"hello world, World"}}"#, r#"13"#),
        infer: None,
        run: last_index_of,
    },
    Function {
        name: "nthIndexOf",
        family: "Text",
        params: &[one("text", TEXT), one("search", TEXT), one("n", NUMBER)],
        result: NUMBER,
        text: "Where `search` stands in the text for the n-th time, ignoring case: 0 is the first character, -1 is nowhere. A negative n counts from the end.",
        example: example(r#"{{nthIndexOf vars.a "-" 2}}"#, r#"{"vars":{"a":"2024-03-15"}}"#, r#"7"#),
        infer: None,
        run: nth_index_of,
    },
];

/// .NET compares without case in upper case.
fn fold(args: Args<'_>, i: usize) -> Result<String, Fault> {
    Ok(upper(&args.text(i)?))
}

fn place<'e>(found: Option<usize>) -> Result<Cow<'e, Value>, Fault> {
    Ok(Cow::Owned(found.map_or(Value::from(-1), Value::from)))
}

fn last_index_of(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let (text, search) = (fold(args, 0)?, fold(args, 1)?);
    if search.is_empty() {
        return place(Some(units(&text).saturating_sub(1)));
    }
    place(text.rfind(&search).map(|at| units(&text[..at])))
}

fn nth_index_of(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let mut text: Vec<u16> = fold(args, 0)?.encode_utf16().collect();
    let mut search: Vec<u16> = fold(args, 1)?.encode_utf16().collect();
    let n = args.count(2)?;
    if n == 0 {
        return Err(args.wrong(2, "is 0; the first time is 1, the last is -1"));
    }
    if search.is_empty() {
        return Err(args.wrong(1, "is empty, and would be found everywhere"));
    }
    let times = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
    if n > 0 {
        return place(nth(&text, &search, times));
    }
    // From the end is from the start of both turned round.
    text.reverse();
    search.reverse();
    place(nth(&text, &search, times).map(|at| text.len() - at - search.len()))
}
