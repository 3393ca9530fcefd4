//! Lists gone through by an expression, which sees each item as `item` and its number as `index`.

use std::borrow::Cow;

use serde_json::{Number, Value};

use super::args::weight;
use super::{ANY, Args, Arity, CONDITION, Fault, Function, LIST, NUMBER, Param, example, list, one};
use crate::mapping::eval::MAX_BYTES;
use crate::mapping::number::{Operation, calculate};
use crate::schema::{Shape, Types};

const fn each(name: &'static str, types: Types, arity: Arity) -> Param {
    Param { arity, each: true, ..one(name, types) }
}

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "map",
        family: "Collection",
        params: &[one("list", LIST), each("expression", ANY, Arity::One)],
        result: LIST,
        text: "What the expression gives for each item; it sees `item` and `index`.",
        example: example(
            r#"{{map vars.list (concat index ":" item.sku)}}"#,
            r#"{"vars":{"list":[{"sku":"A"},{"sku":"B"}]}}"#,
            r#"["0:A","1:B"]"#,
        ),
        infer: Some(|args| Shape { items: args.get(1).cloned().map(Box::new), ..Shape::of(Types::ARRAY) }),
        run: map,
    },
    Function {
        name: "filter",
        family: "Collection",
        params: &[one("list", LIST), each("condition", CONDITION, Arity::One)],
        result: LIST,
        text: "The items for which the condition is true; it sees `item` and `index`. Null counts as false.",
        example: example(
            r#"{{filter vars.list (greater item.qty 1)}}"#,
            r#"{"vars":{"list":[{"sku":"A","qty":1},{"sku":"B","qty":2}]}}"#,
            r#"[{"sku":"B","qty":2}]"#,
        ),
        infer: Some(|args| args.first().cloned().map_or_else(Shape::any, |list| Shape { types: Types::ARRAY, ..list })),
        run: filter,
    },
    Function {
        name: "sum",
        family: "Collection",
        params: &[one("list", LIST), each("expression", NUMBER, Arity::Optional)],
        result: NUMBER,
        text: "The exact sum of the items, or of what the expression gives for each; it sees `item` and `index`. 0 of an empty list.",
        example: example(
            r#"{{sum vars.list (mul item.price item.qty)}}"#,
            r#"{"vars":{"list":[{"price":0.1,"qty":3},{"price":2,"qty":1}]}}"#,
            "2.3",
        ),
        infer: None,
        run: sum,
    },
];

/// Calls `take` with what the expression gives for each item.
fn go<T>(args: Args<'_>, mut take: impl FnMut(usize, &Value, &Value) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    let value = args.rounds(0)?;
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    let rounds = items.iter().enumerate().map(|(i, item)| {
        let last = i + 1 == items.len();
        args.of_item(1, (item, i, last), |result| take(i, item, result))
    });
    rounds.collect()
}

fn map(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let mut bytes = 0;
    let all = go(args, |_, _, result| {
        bytes += weight(result);
        if bytes > MAX_BYTES { Err(Fault::too_large()) } else { Ok(result.clone()) }
    })?;
    Ok(Cow::Owned(Value::Array(all)))
}

fn filter(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let mut bytes = 0;
    let kept = go(args, |_, item, result| {
        if result.as_bool() != Some(true) {
            return Ok(None);
        }
        bytes += weight(item);
        if bytes > MAX_BYTES { Err(Fault::too_large()) } else { Ok(Some(item.clone())) }
    })?;
    list(kept.into_iter().flatten().map(Cow::Owned))
}

fn sum(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let mut total = Number::from(0);
    go(args, |i, _, result| {
        let Value::Number(number) = result else {
            let kind = crate::mapping::eval::kind(result);
            return Err(args.wrong(0, &format!("has {kind} at {i}, where a number is needed")));
        };
        total = calculate(Operation::Add, &total, number)
            .ok_or_else(|| args.wrong(0, "has a sum of more than 38 digits"))?;
        Ok(())
    })?;
    Ok(Cow::Owned(Value::Number(total)))
}
