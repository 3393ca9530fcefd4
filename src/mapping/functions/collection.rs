//! Looking into lists, objects and texts.

use std::borrow::Cow;

use serde_json::Value;

use super::logic::same;
use super::print::print;
use super::units::units;
use super::{ANY, Args, BOOL, Fault, Function, LIST, NUMBER, Param, TEXT, boolean, example, one, string};
use crate::mapping::eval::MAX_BYTES;
use crate::mapping::walk;
use crate::schema::{Shape, Types};

/// What has a length.
const SIZED: Types = TEXT.or(Types::ARRAY).or(Types::OBJECT);
const SEQUENCE: Types = TEXT.or(Types::ARRAY);

const PATH: Param = Param { query: true, ..one("path", TEXT) };

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "jsonpath",
        family: "Collection",
        params: &[PATH, one("value", ANY)],
        result: LIST,
        text: "Every part of the value that a JSONPath (RFC 9535) selects, as a list. The path is written out in quotes and compiled at load; it may hold two `..` at most.",
        example: example(
            r#"{{jsonpath "$.items[?@.qty > 1].sku" trigger.body}}"#,
            r#"{"trigger":{"body":{"items":[{"sku":"A","qty":1},{"sku":"B","qty":2}]}}}"#,
            r#"["B"]"#,
        ),
        infer: None,
        run: jsonpath,
    },
    Function {
        name: "length",
        family: "Collection",
        params: &[one("value", SEQUENCE)],
        result: NUMBER,
        text: "How many characters or items it has. Characters are counted as UTF-16 does: most emoji are two.",
        example: example(r#"{{length vars.list}}"#, r#"{"vars":{"list":[1,2,3]}}"#, r#"3"#),
        infer: None,
        run: length,
    },
    Function {
        name: "empty",
        family: "Collection",
        params: &[one("value", SIZED.or(Types::NULL))],
        result: BOOL,
        text: "Whether it is null, or has no characters, items or keys.",
        example: example(r#"{{empty vars.nothing}}"#, r#"{"vars":{}}"#, r#"true"#),
        infer: None,
        run: |args| boolean(size(&*args.value(0)?) == 0),
    },
    Function {
        name: "contains",
        family: "Collection",
        params: &[one("in", SIZED), one("value", ANY)],
        result: BOOL,
        text: "Whether a text holds a text, a list an equal item, or an object a key. Upper and lower case differ, but for keys, as in paths.",
        example: example(r#"{{contains vars.tags "hot"}}"#, r#"{"vars":{"tags":["new","hot"]}}"#, r#"true"#),
        infer: None,
        run: contains,
    },
    Function {
        name: "first",
        family: "Collection",
        params: &[one("value", SEQUENCE)],
        result: ANY,
        text: "The first item of a list (null if it is empty), or the first character of a text.",
        example: example(r#"{{first vars.list}}"#, r#"{"vars":{"list":[4,5]}}"#, r#"4"#),
        infer: Some(item),
        run: |args| end(args, true),
    },
    Function {
        name: "last",
        family: "Collection",
        params: &[one("value", SEQUENCE)],
        result: ANY,
        text: "The last item of a list (null if it is empty), or the last character of a text.",
        example: example(r#"{{last vars.name}}"#, r#"{"vars":{"name":"Zoë"}}"#, r#""ë""#),
        infer: Some(item),
        run: |args| end(args, false),
    },
    Function {
        name: "join",
        family: "Collection",
        params: &[one("list", LIST), one("separator", TEXT)],
        result: TEXT,
        text: "The items as one text, each as `string` writes it, with the separator between them.",
        example: example(r#"{{join vars.list ", "}}"#, r#"{"vars":{"list":["a",1,null]}}"#, r#""a, 1, ""#),
        infer: None,
        run: join,
    },
];

fn jsonpath(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let (items, work) = args.query(0)?.select(&*args.value(1)?).map_err(|why| Fault::new("mapping.too_large", why))?;
    args.context.meter().work(work.saturating_mul(8))?;
    Ok(Cow::Owned(Value::Array(items)))
}

fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => units(text),
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn length(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    Ok(Cow::Owned(size(&*args.value(0)?).into()))
}

fn contains(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let (whole, part) = (args.value(0)?, args.value(1)?);
    boolean(match (&*whole, &*part) {
        (Value::Array(items), part) => items.iter().any(|item| same(item, part)),
        (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
        (Value::Object(_), Value::String(key)) => walk(&whole, std::slice::from_ref(key)).is_some(),
        _ => return Err(args.wrong(1, "is no text, and only a list can contain something else")),
    })
}

fn end(args: Args<'_>, first: bool) -> Result<Cow<'_, Value>, Fault> {
    fn pick<T>(mut all: impl DoubleEndedIterator<Item = T>, first: bool) -> Option<T> {
        if first { all.next() } else { all.next_back() }
    }
    let of_text = |text: &str| Value::String(pick(text.chars(), first).map(String::from).unwrap_or_default());
    Ok(match args.value(0)? {
        Cow::Borrowed(Value::Array(items)) => pick(items.iter(), first).map_or(Cow::Owned(Value::Null), Cow::Borrowed),
        Cow::Owned(Value::Array(items)) => Cow::Owned(pick(items.into_iter(), first).unwrap_or_default()),
        text => Cow::Owned(of_text(text.as_str().unwrap_or_default())),
    })
}

/// The shape of one item of the argument.
fn item(args: &[Shape]) -> Shape {
    let of = &args[0];
    if of.types.within(Types::STRING) {
        return Shape::of(Types::STRING);
    }
    let mut shape = of.items.as_deref().cloned().unwrap_or_else(Shape::any);
    shape.types = shape.types.or(Types::NULL);
    if of.types.meets(Types::STRING) { Shape::of(Types::STRING).either(shape) } else { shape }
}

fn join(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let (list, separator) = (args.value(0)?, args.text(1)?);
    let mut out = String::new();
    for (i, item) in list.as_array().into_iter().flatten().enumerate() {
        if i > 0 {
            out.push_str(&separator);
        }
        out.push_str(&print(item));
        if out.len() > MAX_BYTES {
            return Err(Fault::too_large());
        }
    }
    string(out)
}
