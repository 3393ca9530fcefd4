//! Parts of lists and texts, and lists made anew.

use std::borrow::Cow;

use serde_json::Value;

use super::units::{part, units};
use super::{ANY, Args, Fault, Function, LIST, NUMBER, TEXT, example, list, many, one, string};
use crate::schema::{Shape, Types};

const SEQUENCE: Types = TEXT.or(LIST);

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "take",
        family: "Collection",
        params: &[one("value", SEQUENCE), one("count", NUMBER)],
        result: SEQUENCE,
        text: "The first `count` items of a list or characters of a text, or as many as there are.",
        example: example(r#"{{take vars.list 2}}"#, r#"{"vars":{"list":[1,2,3]}}"#, "[1,2]"),
        infer: Some(same_kind),
        run: |args| cut(args, 0, args.size(1)?),
    },
    Function {
        name: "skip",
        family: "Collection",
        params: &[one("value", SEQUENCE), one("count", NUMBER)],
        result: SEQUENCE,
        text: "What follows the first `count` items of a list or characters of a text.",
        example: example(r#"{{skip vars.list 1}}"#, r#"{"vars":{"list":[0,1,2,3]}}"#, "[1,2,3]"),
        infer: Some(same_kind),
        run: |args| cut(args, args.size(1)?, usize::MAX),
    },
    Function {
        name: "chunk",
        family: "Collection",
        params: &[one("value", SEQUENCE), one("size", NUMBER)],
        result: LIST,
        text: "A list or text in pieces of `size` items or characters; the last one may be shorter.",
        example: example(r#"{{chunk vars.list 2}}"#, r#"{"vars":{"list":[1,2,3]}}"#, "[[1,2],[3]]"),
        infer: Some(|args| listed(Some(same_kind(args)))),
        run: chunk,
    },
    Function {
        name: "reverse",
        family: "Collection",
        params: &[one("list", LIST)],
        result: LIST,
        text: "The items from the last to the first.",
        example: example(r#"{{reverse vars.list}}"#, r#"{"vars":{"list":[0,1,2,3]}}"#, "[3,2,1,0]"),
        infer: Some(same_kind),
        run: |args| list(items(&*args.value(0)?).iter().rev().map(Cow::Borrowed)),
    },
    Function {
        name: "createArray",
        family: "Conversion",
        params: &[many("items", ANY)],
        result: LIST,
        text: "A list of the arguments.",
        example: example(r#"{{createArray "a" vars.n null}}"#, r#"{"vars":{"n":1}}"#, r#"["a",1,null]"#),
        infer: Some(|args| listed(args.iter().cloned().reduce(|a, b| super::either(&a, &b)))),
        run: create,
    },
    Function {
        name: "array",
        family: "Conversion",
        params: &[one("value", ANY)],
        result: LIST,
        text: "A list whose only item is the value.",
        example: example(r#"{{array "hello"}}"#, "{}", r#"["hello"]"#),
        infer: Some(|args| listed(args.first().cloned())),
        run: create,
    },
];

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What is given is what comes: text of text, a list with the same items of a list.
fn same_kind(args: &[Shape]) -> Shape {
    let mut shape = args.first().cloned().unwrap_or_else(Shape::any);
    let types = shape.types.and(SEQUENCE);
    shape.types = if types == Types::NONE { SEQUENCE } else { types };
    shape.values.clear();
    shape
}

fn listed(item: Option<Shape>) -> Shape {
    Shape { items: item.map(Box::new), ..Shape::of(Types::ARRAY) }
}

fn cut(args: Args<'_>, start: usize, end: usize) -> Result<Cow<'_, Value>, Fault> {
    let value = args.value(0)?;
    match &*value {
        Value::Array(items) => {
            let end = end.min(items.len());
            list(items[start.min(end)..end].iter().map(Cow::Borrowed))
        }
        text => string(part(text.as_str().unwrap_or_default(), start, end)),
    }
}

fn chunk(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let (value, size) = (args.value(0)?, args.size(1)?);
    if size == 0 {
        return Err(args.wrong(1, "is 0; a piece has at least one item"));
    }
    match &*value {
        Value::Array(items) => list(items.chunks(size).map(|piece| Cow::Owned(Value::from(piece)))),
        text => {
            let text = text.as_str().unwrap_or_default();
            if text.is_ascii() {
                let pieces = text.as_bytes().chunks(size).map(|piece| String::from_utf8_lossy(piece));
                return list(pieces.map(|piece| Cow::Owned(Value::from(piece))));
            }
            let all: Vec<u16> = text.encode_utf16().collect();
            debug_assert_eq!(all.len(), units(text));
            list(all.chunks(size).map(|piece| Cow::Owned(Value::from(String::from_utf16_lossy(piece)))))
        }
    }
}

fn create(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let mut all = Vec::with_capacity(args.len());
    for i in 0..args.len() {
        all.push(args.value(i)?);
    }
    list(all.into_iter())
}
