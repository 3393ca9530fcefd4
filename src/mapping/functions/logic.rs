//! Deciding and falling back. All of these evaluate no more of their arguments than they need.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::{
    ANY, Args, BOOL, CONDITION, Fault, Function, NUMBER, TEXT, boolean, either, example, many, one, without_null,
};
use crate::mapping::number::compare;
use crate::schema::Types;

type Outcome<'e> = Result<Cow<'e, Value>, Fault>;

/// What can be ordered.
const ORDERED: Types = NUMBER.or(TEXT);

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "required",
        family: "Logic",
        params: &[one("value", ANY)],
        result: ANY.without(Types::NULL),
        text: "The value; fails the step if it is missing or null, naming the path.",
        example: example("{{required trigger.body.Email}}", r#"{"trigger":{"body":{"Email":"a@b.c"}}}"#, r#""a@b.c""#),
        infer: Some(|args| without_null(&args[0])),
        run: required,
    },
    Function {
        name: "optional",
        family: "Logic",
        params: &[one("value", ANY)],
        result: ANY,
        text: "The value; as a whole field it leaves the field out where the value is missing or null.",
        example: example("Tel. {{optional trigger.body.Phone}}", r#"{"trigger":{"body":{}}}"#, r#""Tel. ""#),
        infer: Some(|args| args[0].clone()),
        run: |args| args.value(0),
    },
    Function {
        name: "default",
        family: "Logic",
        params: &[one("value", ANY), one("fallback", ANY)],
        result: ANY,
        text: "The value, or the fallback where it is missing or null. Empty text is a value.",
        example: example(r#"{{default trigger.body.Country "unknown"}}"#, r#"{"trigger":{"body":{}}}"#, r#""unknown""#),
        infer: Some(|args| either(&without_null(&args[0]), &args[1])),
        run: coalesce,
    },
    Function {
        name: "coalesce",
        family: "Logic",
        params: &[many("values", ANY)],
        result: ANY,
        text: "The first value that is neither missing nor null, or null; later ones are not evaluated.",
        example: example("{{coalesce vars.a vars.b 3}}", r#"{"vars":{"b":"second"}}"#, r#""second""#),
        infer: Some(|args| {
            let mut shape =
                args.iter().map(without_null).reduce(|a, b| either(&a, &b)).unwrap_or_else(crate::schema::Shape::any);
            if args.iter().all(|arg| arg.types.meets(Types::NULL)) {
                shape.types = shape.types.or(Types::NULL);
            }
            shape
        }),
        run: coalesce,
    },
    Function {
        name: "if",
        family: "Logic",
        params: &[one("condition", CONDITION), one("then", ANY), one("else", ANY)],
        result: ANY,
        text: "One of two values; the other is not evaluated. Null counts as false.",
        example: example(r#"{{if (equals vars.n 1) "one" "many"}}"#, r#"{"vars":{"n":1.0}}"#, r#""one""#),
        infer: Some(|args| either(&args[1], &args[2])),
        run: |args| if args.holds(0)? { args.value(1) } else { args.value(2) },
    },
    Function {
        name: "equals",
        family: "Logic",
        params: &[one("a", ANY), one("b", ANY)],
        result: BOOL,
        text: "Whether two values are equal. Numbers are compared by value (1.0 equals 1, every digit counts), text with its case, objects in any order of keys. As in Microsoft's language true equals 1 and false equals 0.",
        example: example(
            r#"{{equals trigger.body.ActionCode "INS"}}"#,
            r#"{"trigger":{"body":{"ActionCode":"INS"}}}"#,
            "true",
        ),
        infer: None,
        run: equals,
    },
    Function {
        name: "not",
        family: "Logic",
        params: &[one("condition", CONDITION)],
        result: BOOL,
        text: "True if the condition is false or null.",
        example: example("{{not vars.done}}", r#"{"vars":{"done":false}}"#, "true"),
        infer: None,
        run: |args| boolean(!args.holds(0)?),
    },
    Function {
        name: "and",
        family: "Logic",
        params: &[many("conditions", CONDITION)],
        result: BOOL,
        text: "True if all conditions are; stops at the first that is not. Null counts as false.",
        example: example("{{and vars.a vars.b}}", r#"{"vars":{"a":true,"b":null}}"#, "false"),
        infer: None,
        run: |args| {
            for i in 0..args.len() {
                if !args.holds(i)? {
                    return boolean(false);
                }
            }
            boolean(true)
        },
    },
    Function {
        name: "or",
        family: "Logic",
        params: &[many("conditions", CONDITION)],
        result: BOOL,
        text: "True if one condition is; stops at the first that is. Null counts as false.",
        example: example("{{or vars.a vars.b}}", r#"{"vars":{"a":false,"b":true}}"#, "true"),
        infer: None,
        run: |args| {
            for i in 0..args.len() {
                if args.holds(i)? {
                    return boolean(true);
                }
            }
            boolean(false)
        },
    },
    Function {
        name: "less",
        family: "Logic",
        params: &[one("a", ORDERED), one("b", ORDERED)],
        result: BOOL,
        text: "Whether a comes before b: numbers by value, text character by character, with its case.",
        example: example(r#"{{less 9 10}}"#, "{}", "true"),
        infer: None,
        run: |args| boolean(order(args)?.is_lt()),
    },
    Function {
        name: "lessOrEquals",
        family: "Logic",
        params: &[one("a", ORDERED), one("b", ORDERED)],
        result: BOOL,
        text: "Whether a comes before b or equals it.",
        example: example(r#"{{lessOrEquals 2 2.0}}"#, "{}", "true"),
        infer: None,
        run: |args| boolean(order(args)?.is_le()),
    },
    Function {
        name: "greater",
        family: "Logic",
        params: &[one("a", ORDERED), one("b", ORDERED)],
        result: BOOL,
        text: "Whether a comes after b.",
        example: example(r#"{{greater 10 9}}"#, "{}", "true"),
        infer: None,
        run: |args| boolean(order(args)?.is_gt()),
    },
    Function {
        name: "greaterOrEquals",
        family: "Logic",
        params: &[one("a", ORDERED), one("b", ORDERED)],
        result: BOOL,
        text: "Whether a comes after b or equals it.",
        example: example(r#"{{greaterOrEquals "b" "a"}}"#, "{}", "true"),
        infer: None,
        run: |args| boolean(order(args)?.is_ge()),
    },
];

fn required(args: Args<'_>) -> Outcome<'_> {
    let value = args.value(0)?;
    if value.is_null() {
        let source = args.call.args.first().map(crate::mapping::expr::Expr::describe).unwrap_or_default();
        return Err(Fault::new("mapping.required", format!("{source} is required, but missing or null")));
    }
    Ok(value)
}

fn coalesce(args: Args<'_>) -> Outcome<'_> {
    for i in 0..args.len() {
        let value = args.value(i)?;
        if !value.is_null() {
            return Ok(value);
        }
    }
    Ok(Cow::Owned(Value::Null))
}

fn equals(args: Args<'_>) -> Outcome<'_> {
    let (a, b) = (args.deep(0)?, args.deep(1)?);
    boolean(match (&*a, &*b) {
        (Value::Bool(flag), Value::Number(number)) | (Value::Number(number), Value::Bool(flag)) => {
            compare(number, &u8::from(*flag).into()).is_eq()
        }
        (a, b) => same(a, b),
    })
}

/// Equal by value, numbers too.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b).is_eq(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

fn order(args: Args<'_>) -> Result<Ordering, Fault> {
    match (&*args.value(0)?, &*args.value(1)?) {
        (Value::Number(a), Value::Number(b)) => Ok(compare(a, b)),
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        _ => Err(args.wrong(1, "has another type than the first argument; compare two numbers or two texts")),
    }
}
