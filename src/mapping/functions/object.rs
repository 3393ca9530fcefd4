//! Objects with keys added, changed and taken away, and parts of what a call gave.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::{ANY, Args, Fault, Function, LIST, NUMBER, OBJECT, TEXT, example, many, object, one};
use crate::mapping::Key;
use crate::mapping::path::{inside, split};
use crate::schema::{Shape, Types};

const KEYS: Types = TEXT.or(LIST);

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "addProperty",
        family: "Object",
        params: &[one("object", OBJECT), one("key", TEXT), one("value", ANY)],
        result: OBJECT,
        text: "The object with one key more. An error if it has the key already, in whatever case.",
        example: example(r#"{{addProperty vars.o "b" 2}}"#, r#"{"vars":{"o":{"a":1}}}"#, r#"{"a":1,"b":2}"#),
        infer: None,
        run: |args| {
            let (value, key) = (args.value(0)?, args.text(1)?);
            if found(map(&value), &key).is_some() {
                return Err(args.wrong(0, "has the key already; `setProperty` replaces it"));
            }
            with(&value, None, key, args.value(2)?)
        },
    },
    Function {
        name: "setProperty",
        family: "Object",
        params: &[one("object", OBJECT), one("key", TEXT), one("value", ANY)],
        result: OBJECT,
        text: "The object with this value at the key. A key that is there, in whatever case if not exactly, is replaced and moves to the end.",
        example: example(r#"{{setProperty vars.o "a" 2}}"#, r#"{"vars":{"o":{"a":1}}}"#, r#"{"a":2}"#),
        infer: None,
        run: |args| {
            let (value, key) = (args.value(0)?, args.text(1)?);
            let old = found(map(&value), &key);
            with(&value, old, old.map_or(key, Cow::Borrowed), args.value(2)?)
        },
    },
    Function {
        name: "removeProperty",
        family: "Object",
        params: &[one("object", OBJECT), one("key", TEXT)],
        result: OBJECT,
        text: "The object without the key, in whatever case if not exactly; as it is if it has no such key.",
        example: example(r#"{{removeProperty vars.o "a"}}"#, r#"{"vars":{"o":{"a":1,"b":2}}}"#, r#"{"b":2}"#),
        infer: None,
        run: |args| {
            let (value, key) = (args.value(0)?, args.text(1)?);
            let old = found(map(&value), &key);
            object(entries(&value).filter(|(key, _)| Some(&**key) != old))
        },
    },
    Function {
        name: "mergeObjects",
        family: "Object",
        params: &[one("first", OBJECT), many("others", OBJECT)],
        result: OBJECT,
        text: "All keys of the objects; where several have a key, the last one's value counts. Objects inside are replaced, not merged.",
        example: example(
            r#"{{mergeObjects vars.a vars.b}}"#,
            r#"{"vars":{"a":{"x":1,"y":1},"b":{"y":2}}}"#,
            r#"{"x":1,"y":2}"#,
        ),
        infer: None,
        run: merge,
    },
    Function {
        name: "pick",
        family: "Object",
        params: &[one("object", OBJECT), many("keys", KEYS)],
        result: OBJECT,
        text: "The object with only these keys (texts, or lists of them); those that it lacks are left out.",
        example: example(r#"{{pick vars.o "a" "c"}}"#, r#"{"vars":{"o":{"a":1,"b":2}}}"#, r#"{"a":1}"#),
        infer: None,
        run: |args| chosen(args, true),
    },
    Function {
        name: "omit",
        family: "Object",
        params: &[one("object", OBJECT), many("keys", KEYS)],
        result: OBJECT,
        text: "The object without these keys (texts, or lists of them).",
        example: example(r#"{{omit vars.o "b"}}"#, r#"{"vars":{"o":{"a":1,"b":2}}}"#, r#"{"a":1}"#),
        infer: None,
        run: |args| chosen(args, false),
    },
    Function {
        name: "get",
        family: "Object",
        params: &[one("value", ANY), one("path", TEXT.or(NUMBER))],
        result: ANY,
        text: "What is inside the value at a path such as `a.b.0` or `a/[key with. dot]`, or at a number of a list; null where nothing is. It reads what a call gives, where a path can't be written.",
        example: example(r#"{{get (json vars.t) "a.b.1"}}"#, r#"{"vars":{"t":"{\"a\":{\"b\":[5,6]}}"}}"#, "6"),
        infer: Some(|_| Shape::any()),
        run: get,
    },
];

static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

fn map(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap_or_else(|| &*NONE)
}

fn entries(value: &Value) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, Value>)> {
    map(value).iter().map(|(key, value)| (Cow::Borrowed(key.as_str()), Cow::Borrowed(value)))
}

/// The key of the map that is `key`, exactly or else the first ignoring case.
fn found<'m>(map: &'m Map<String, Value>, key: &str) -> Option<&'m str> {
    let exact = map.get_key_value(key).map(|(name, _)| name.as_str());
    exact.or_else(|| map.keys().map(String::as_str).find(|name| name.to_lowercase() == key.to_lowercase()))
}

/// The object without `old`, and with `key` at its end.
fn with<'e>(value: &Value, old: Option<&str>, key: Cow<'_, str>, new: Cow<'_, Value>) -> Result<Cow<'e, Value>, Fault> {
    object(entries(value).filter(|(key, _)| Some(&**key) != old).chain([(key, new)]))
}

fn merge(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let mut all = Vec::with_capacity(args.len());
    for i in 0..args.len() {
        all.push(args.value(i)?);
    }
    object(all.iter().flat_map(|value| entries(value)))
}

fn chosen(args: Args<'_>, keep: bool) -> Result<Cow<'_, Value>, Fault> {
    let value = args.value(0)?;
    let mut keys = HashSet::new();
    for i in 1..args.len() {
        match &*args.value(i)? {
            Value::Array(items) => {
                for item in items {
                    let Some(key) = item.as_str() else {
                        return Err(args.wrong(i, "has an item that is no text, and so no key"));
                    };
                    keys.extend(found(map(&value), key));
                }
            }
            key => keys.extend(key.as_str().and_then(|key| found(map(&value), key))),
        }
    }
    object(entries(&value).filter(|(key, _)| keys.contains(&**key) == keep))
}

fn get(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let (whole, keys): (String, Vec<Key>) = match &*args.value(1)? {
        Value::Number(number) => {
            let key = crate::mapping::number::plain(number);
            (key.clone(), vec![key])
        }
        path => {
            let path = path.as_str().unwrap_or_default();
            (path.to_owned(), split(path))
        }
    };
    Ok(match args.value(0)? {
        Cow::Borrowed(value) => inside(value, &whole, &keys).map_or(Cow::Owned(Value::Null), Cow::Borrowed),
        Cow::Owned(value) => Cow::Owned(inside(&value, &whole, &keys).cloned().unwrap_or_default()),
    })
}
