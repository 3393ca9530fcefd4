//! Lists and objects as sets, and lists in order.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use super::args::weight;
use super::{Args, Fault, Function, LIST, OBJECT, TEXT, either, example, list, many, maybe, object, one};
use crate::mapping::number::Decimal;
use crate::mapping::path::{inside, split};
use crate::schema::{Shape, Types};

const SET: Types = LIST.or(OBJECT);

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "union",
        family: "Collection",
        params: &[one("first", SET), many("others", SET)],
        result: SET,
        text: "All items of lists, each once, in the order they are first met; or all keys of objects, of which the last value counts.",
        example: example(r#"{{union vars.a vars.b}}"#, r#"{"vars":{"a":[1,2,3],"b":[1,2,10]}}"#, "[1,2,3,10]"),
        infer: Some(|args| lists(args, true)),
        run: union,
    },
    Function {
        name: "intersection",
        family: "Collection",
        params: &[one("first", SET), many("others", SET)],
        result: SET,
        text: "The items that every list has, each once, in the order of the first; or the keys that every object has with the same value.",
        example: example(r#"{{intersection vars.a vars.b}}"#, r#"{"vars":{"a":[1,2,3],"b":[101,2,1,10]}}"#, "[1,2]"),
        infer: Some(|args| lists(args, false)),
        run: intersection,
    },
    Function {
        name: "sort",
        family: "Collection",
        params: &[one("list", LIST), maybe("key", TEXT)],
        result: LIST,
        text: "The items in rising order: null, false, true, numbers by value, text by its characters with their case. With `key`, objects by what they have there (`address.city` looks inside). Equal ones stay in their order.",
        example: example(r#"{{sort vars.list "n"}}"#, r#"{"vars":{"list":[{"n":2},{"n":1}]}}"#, r#"[{"n":1},{"n":2}]"#),
        infer: Some(|args| args.first().cloned().map_or_else(Shape::any, |list| Shape { types: Types::ARRAY, ..list })),
        run: sort,
    },
];

/// Of lists a list, whose items are those of all, or of the first; of objects an object.
fn lists(args: &[Shape], all: bool) -> Shape {
    let types = args.iter().fold(Types::ANY, |types, arg| types.and(arg.types)).and(SET);
    let mut shape = Shape::of(if types == Types::NONE { SET } else { types });
    if shape.types.within(Types::ARRAY) {
        let items = args.iter().map(|arg| arg.items.as_deref().cloned().unwrap_or_else(Shape::any));
        let item = if all { items.reduce(|a, b| either(&a, &b)) } else { items.into_iter().next() };
        shape.items = item.map(Box::new);
    }
    shape
}

/// The arguments, all of one kind, after counting the work of going through them.
fn operands(args: Args<'_>) -> Result<Vec<Cow<'_, Value>>, Fault> {
    let mut all: Vec<Cow<'_, Value>> = Vec::with_capacity(args.len());
    for i in 0..args.len() {
        let value = args.value(i)?;
        args.context.meter().work(weight(&value))?;
        if all.first().is_some_and(|first| first.is_array() != value.is_array()) {
            return Err(args.wrong(i, "is of another type than the first argument; give lists only, or objects only"));
        }
        all.push(value);
    }
    Ok(all)
}

fn union(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let all = operands(args)?;
    if all[0].is_array() {
        let mut seen = HashSet::new();
        let items = all.iter().flat_map(|of| of.as_array()).flatten();
        return list(items.filter(|item| seen.insert(canonical(item))).map(Cow::Borrowed));
    }
    let entries = all.iter().flat_map(|of| of.as_object()).flatten();
    object(entries.map(|(key, value)| (Cow::Borrowed(key.as_str()), Cow::Borrowed(value))))
}

fn intersection(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let all = operands(args)?;
    if let Some(first) = all[0].as_array() {
        let others: Vec<HashSet<String>> =
            all[1..].iter().flat_map(|of| of.as_array()).map(|of| of.iter().map(canonical).collect()).collect();
        let mut seen = HashSet::new();
        let kept = first.iter().filter(|item| {
            let item = canonical(item);
            others.iter().all(|other| other.contains(&item)) && seen.insert(item)
        });
        return list(kept.map(Cow::Borrowed));
    }
    let none = Map::new();
    let first = all[0].as_object().unwrap_or(&none);
    let kept = first.iter().filter(|(key, value)| {
        all[1..].iter().all(|other| other.get(key.as_str()).is_some_and(|of| super::logic::same(of, value)))
    });
    object(kept.map(|(key, value)| (Cow::Borrowed(key.as_str()), Cow::Borrowed(value))))
}

/// A text that equal values share, and only they: numbers by value, keys in order.
fn canonical(value: &Value) -> String {
    fn write(value: &Value, out: &mut String) {
        match value {
            Value::Number(number) => out.push_str(&Decimal::of(number).canonical()),
            Value::Array(items) => {
                out.push('[');
                for item in items {
                    write(item, out);
                    out.push(',');
                }
                out.push(']');
            }
            Value::Object(map) => {
                out.push('{');
                for (key, value) in map.iter().collect::<BTreeMap<_, _>>() {
                    out.push_str(&Value::from(key.as_str()).to_string());
                    out.push(':');
                    write(value, out);
                    out.push(',');
                }
                out.push('}');
            }
            Value::Null | Value::Bool(_) | Value::String(_) => out.push_str(&value.to_string()),
        }
    }
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// What items are ordered by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Null,
    Bool(bool),
    Number(Decimal),
    Text(String),
}

fn sort(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let (value, key) = (args.value(0)?, args.given_text(1)?);
    let path = key.map(|key| (split(&key), key));
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    let mut ranked = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let by = path.as_ref().map_or(Some(item), |(path, key)| inside(item, key, path));
        let rank = match by {
            None | Some(Value::Null) => Rank::Null,
            Some(Value::Bool(flag)) => Rank::Bool(*flag),
            Some(Value::Number(number)) => Rank::Number(Decimal::of(number)),
            Some(Value::String(text)) => Rank::Text(text.clone()),
            Some(Value::Array(_) | Value::Object(_)) => {
                let hint = if path.is_some() { "" } else { "; name the key to sort by" };
                return Err(args.wrong(0, &format!("has at {i} a list or an object, which have no order{hint}")));
            }
        };
        ranked.push((rank, item));
    }
    args.context.meter().work(8 * weight(&value))?;
    ranked.sort_by(|a, b| a.0.cmp(&b.0));
    list(ranked.into_iter().map(|(_, item)| Cow::Borrowed(item)))
}
