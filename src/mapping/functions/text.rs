//! Text: building it, cutting it, changing it. Looking into it is in `search.rs`.

use std::borrow::Cow;

use serde_json::Value;

use super::print::print;
use super::units::{lower, part, units, upper};
use super::{ANY, Args, Fault, Function, LIST, NUMBER, TEXT, example, list, many, maybe, one, string};
use crate::mapping::eval::MAX_BYTES;
use crate::schema::{Shape, Types};

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "concat",
        family: "Text",
        params: &[many("parts", ANY)],
        result: TEXT,
        text: "All parts as one text, each as `string` writes it: null is empty, objects and lists are JSON.",
        example: example(r#"{{concat vars.a "-" vars.n}}"#, r#"{"vars":{"a":"no","n":7}}"#, r#""no-7""#),
        infer: None,
        run: concat,
    },
    Function {
        name: "toLower",
        family: "Text",
        params: &[one("text", TEXT)],
        result: TEXT,
        text: "The text in lower case, character by character, the same in all languages.",
        example: example(r#"{{toLower vars.a}}"#, r#"{"vars":{"a":"ÄRGER"}}"#, r#""ärger""#),
        infer: None,
        run: |args| string(lower(&args.text(0)?)),
    },
    Function {
        name: "toUpper",
        family: "Text",
        params: &[one("text", TEXT)],
        result: TEXT,
        text: "The text in upper case, character by character, the same in all languages: ß stays ß.",
        example: example(r#"{{toUpper vars.a}}"#, r#"{"vars":{"a":"straße"}}"#, r#""STRAßE""#),
        infer: None,
        run: |args| string(upper(&args.text(0)?)),
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
        example: example(r#"{{replace vars.a "-" " "}}"#, r#"{"vars":{"a":"1-2-3"}}"#, r#""1 2 3""#),
        infer: None,
        run: replace,
    },
    Function {
        name: "substring",
        family: "Text",
        params: &[one("text", TEXT), one("start", NUMBER), maybe("length", NUMBER)],
        result: TEXT,
        text: "The part of `length` characters from `start` (0 is the first), or all the rest. A part that is not there is an error, as in Microsoft's language also the nothing behind the last character; `slice` and `take` do without one. Characters are counted as UTF-16 does: most emoji are two.",
        example: example(r#"{{substring vars.a 1 3}}"#, r#"{"vars":{"a":"äbcde"}}"#, r#""bcd""#),
        infer: None,
        run: substring,
    },
    Function {
        name: "slice",
        family: "Text",
        params: &[one("text", TEXT), one("start", NUMBER), maybe("end", NUMBER)],
        result: TEXT,
        text: "The part from `start` up to, not including, `end`, or all the rest; negative numbers count from the text's end. What is not there is left out.",
        example: example(r#"{{slice vars.a -4 -1}}"#, r#"{"vars":{"a":"invoice.pdf"}}"#, r#"".pd""#),
        infer: None,
        run: slice,
    },
    Function {
        name: "split",
        family: "Text",
        params: &[one("text", TEXT), one("separator", TEXT)],
        result: LIST,
        text: "The pieces between separators. Empty text gives one empty piece; an empty separator leaves the text whole.",
        example: example(r#"{{split vars.a ";"}}"#, r#"{"vars":{"a":"a;b"}}"#, r#"["a","b"]"#),
        infer: Some(|_| Shape { items: Some(Box::new(Shape::of(Types::STRING))), ..Shape::of(Types::ARRAY) }),
        run: split,
    },
];

fn concat(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let mut out = String::new();
    for i in 0..args.len() {
        out.push_str(&print(&*args.value(i)?));
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
    let start = args.size(1)?;
    let count = units(&text);
    let end = if args.len() > 2 { start.checked_add(args.size(2)?) } else { Some(count) };
    let Some(end) = end.filter(|end| start < count && start <= *end && *end <= count) else {
        return Err(args.wrong(0, "is shorter than the part that is asked for"));
    };
    string(part(&text, start, end))
}

fn slice(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let text = args.text(0)?;
    let count = units(&text);
    // A place from the end; one before the start is the start.
    let place = |number: i64| match usize::try_from(number) {
        Ok(place) => place.min(count),
        Err(_) => count.saturating_sub(usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    let start = place(args.count(1)?);
    let end = if args.len() > 2 { place(args.count(2)?) } else { count };
    string(part(&text, start, end.max(start)))
}

fn split(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let (text, separator) = (args.text(0)?, args.text(1)?);
    if separator.is_empty() {
        return Ok(Cow::Owned(Value::Array(vec![Value::from(&*text)])));
    }
    // Many empty pieces are much more than their text.
    if text.matches(&*separator).count().saturating_mul(size_of::<Value>()) > 16 * MAX_BYTES {
        return Err(Fault::too_large());
    }
    list(text.split(&*separator).map(|piece| Cow::Owned(Value::from(piece))))
}
