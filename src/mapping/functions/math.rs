//! Exact arithmetic on the digits that JSON carries.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::{Args, Fault, Function, LIST, NUMBER, example, many, one};
use crate::mapping::number::{Decimal, Operation, calculate, compare};
use crate::schema::{Shape, Types};

const NUMBERS: Types = NUMBER.or(LIST);
/// Most items of a `range`.
const MAX_RANGE: usize = 100_000;

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "add",
        family: "Math",
        params: &[one("a", NUMBER), one("b", NUMBER)],
        result: NUMBER,
        text: "The sum, exact; of fractions with more than 38 digits together, rounded to 28.",
        example: example(r#"{{add 0.1 0.2}}"#, r#"{}"#, r#"0.3"#),
        infer: None,
        run: |args| apply(args, Operation::Add),
    },
    Function {
        name: "sub",
        family: "Math",
        params: &[one("a", NUMBER), one("b", NUMBER)],
        result: NUMBER,
        text: "a less b, exact.",
        example: example(r#"{{sub 9007199254740993 1}}"#, r#"{}"#, r#"9007199254740992"#),
        infer: None,
        run: |args| apply(args, Operation::Sub),
    },
    Function {
        name: "mul",
        family: "Math",
        params: &[one("a", NUMBER), one("b", NUMBER)],
        result: NUMBER,
        text: "The product, exact.",
        example: example(r#"{{mul 1.5 4}}"#, r#"{}"#, r#"6"#),
        infer: None,
        run: |args| apply(args, Operation::Mul),
    },
    Function {
        name: "div",
        family: "Math",
        params: &[one("a", NUMBER), one("b", NUMBER)],
        result: NUMBER,
        text: "a divided by b. Of two numbers written without a point the whole part; otherwise up to 28 digits behind the point.",
        example: example(r#"{{div 7 2}}"#, r#"{}"#, r#"3"#),
        infer: None,
        run: |args| apply(args, Operation::Div),
    },
    Function {
        name: "mod",
        family: "Math",
        params: &[one("a", NUMBER), one("b", NUMBER)],
        result: NUMBER,
        text: "What a divided by b leaves over, with the sign of a.",
        example: example(r#"{{mod -7 2}}"#, r#"{}"#, r#"-1"#),
        infer: None,
        run: |args| apply(args, Operation::Mod),
    },
    Function {
        name: "min",
        family: "Math",
        params: &[many("numbers", NUMBERS)],
        result: NUMBER,
        text: "The least of some numbers, or of the numbers in a list.",
        example: example(r#"{{min vars.list}}"#, r#"{"vars":{"list":[3,1.5,2]}}"#, "1.5"),
        infer: None,
        run: |args| extreme(args, Ordering::Less),
    },
    Function {
        name: "max",
        family: "Math",
        params: &[many("numbers", NUMBERS)],
        result: NUMBER,
        text: "The greatest of some numbers, or of the numbers in a list.",
        example: example(r#"{{max 1 3 2}}"#, "{}", "3"),
        infer: None,
        run: |args| extreme(args, Ordering::Greater),
    },
    Function {
        name: "range",
        family: "Math",
        params: &[one("start", NUMBER), one("count", NUMBER)],
        result: LIST,
        text: "So many whole numbers from `start` on, 100,000 at most.",
        example: example(r#"{{range 1 4}}"#, "{}", "[1,2,3,4]"),
        infer: Some(|_| Shape { items: Some(Box::new(Shape::of(Types::NUMBER))), ..Shape::of(Types::ARRAY) }),
        run: range,
    },
];

fn apply(args: Args<'_>, operation: Operation) -> Result<Cow<'_, Value>, Fault> {
    let (a, b) = (args.number(0)?, args.number(1)?);
    if matches!(operation, Operation::Div | Operation::Mod) && Decimal::of(&b).is_zero() {
        return Err(args.wrong(1, "is zero, and nothing can be divided by it"));
    }
    match calculate(operation, &a, &b) {
        Some(number) => Ok(Cow::Owned(Value::Number(number))),
        None => Err(args.wrong(0, "gives a result of more than 38 digits, or too large for any number")),
    }
}

fn extreme(args: Args<'_>, wanted: Ordering) -> Result<Cow<'_, Value>, Fault> {
    let mut best: Option<serde_json::Number> = None;
    for i in 0..args.len() {
        let value = args.deep(i)?;
        let numbers = value.as_array().map_or(std::slice::from_ref(&*value), Vec::as_slice);
        for number in numbers {
            let Value::Number(number) = number else {
                let kind = crate::mapping::eval::kind(number);
                return Err(args.wrong(i, &format!("holds {kind}, where a number is needed")));
            };
            if best.as_ref().is_none_or(|best| compare(number, best) == wanted) {
                best = Some(number.clone());
            }
        }
    }
    best.map(|number| Cow::Owned(Value::Number(number))).ok_or_else(|| args.wrong(0, "holds no number"))
}

fn range(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let (start, count) = (args.count(0)?, args.size(1)?);
    if count > MAX_RANGE {
        return Err(args.wrong(1, "is more than 100000"));
    }
    let last = i64::try_from(count).ok().and_then(|count| start.checked_add(count));
    let last = last.filter(|last| *last <= i64::from(i32::MAX) + 1);
    let last = last.ok_or_else(|| args.wrong(0, "is too large to count on from"))?;
    Ok(Cow::Owned(Value::Array((start..last).map(Value::from).collect())))
}
