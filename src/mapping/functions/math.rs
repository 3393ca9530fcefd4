//! Exact arithmetic on the digits that JSON carries.

use std::borrow::Cow;

use serde_json::Value;

use super::{Args, Fault, Function, NUMBER, example, one};
use crate::mapping::number::{Decimal, Operation, exact};

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "add",
        family: "Math",
        params: &[one("a", NUMBER), one("b", NUMBER)],
        result: NUMBER,
        text: "The sum, exact.",
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
        text: "a divided by b. Of two whole numbers the whole part; otherwise up to 28 digits behind the point.",
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
];

fn apply(args: Args<'_>, operation: Operation) -> Result<Cow<'_, Value>, Fault> {
    let (a, b) = (args.number(0)?, args.number(1)?);
    if matches!(operation, Operation::Div | Operation::Mod) && Decimal::of(&b).is_zero() {
        return Err(args.wrong(1, "is zero, and nothing can be divided by it"));
    }
    match exact(operation, &a, &b) {
        Some(number) => Ok(Cow::Owned(Value::Number(number))),
        None => Err(args.wrong(0, "gives a result of more than 38 digits")),
    }
}
