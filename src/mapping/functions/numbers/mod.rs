//! Numbers as a culture writes them, by .NET's formats, and back.

mod custom;
mod digits;
mod parse;
mod standard;

use std::borrow::Cow;

use serde_json::{Number, Value};

use super::dates::{LOCALE, locale};
use super::{Args, BOOL, Fault, Function, NUMBER, TEXT, boolean, example, one, string};
use digits::{Digits, MAX_DIGITS};

type Outcome<'e> = Result<Cow<'e, Value>, Fault>;

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "formatNumber",
        family: "Numbers",
        params: &[one("number", NUMBER), one("format", TEXT), LOCALE],
        result: TEXT,
        text: "The number by a .NET format, standard (`C2`, `N0`, `P1`, `X8`) or custom (`#,##0.00`), as a language writes it (en-US, where none is given). It is rounded as written, half away from zero.",
        example: example(r#"{{formatNumber 1234567890 "0,0.00" "is-is"}}"#, "{}", r#""1.234.567.890,00""#),
        infer: None,
        run: format_number,
    },
    Function {
        name: "float",
        family: "Numbers",
        params: &[one("value", TEXT.or(NUMBER)), LOCALE],
        result: NUMBER,
        text: "A number from text as a language writes it, as exact as a double: some 17 digits. `decimal` keeps more.",
        example: example(r#"{{float "10.000,333" "de-DE"}}"#, "{}", "10000.333"),
        infer: None,
        run: |args| convert(args, false, parse::float),
    },
    Function {
        name: "decimal",
        family: "Numbers",
        params: &[one("value", TEXT.or(NUMBER))],
        result: NUMBER,
        text: "A number from text with up to 28 digits, none of them changed.",
        example: example(r#"{{decimal "1.2345678912312131"}}"#, "{}", "1.2345678912312131"),
        infer: None,
        run: |args| convert(args, true, parse::decimal),
    },
    Function {
        name: "isFloat",
        family: "Numbers",
        params: &[one("value", TEXT.or(NUMBER)), LOCALE],
        result: BOOL,
        text: "Whether `float` can make a number of it.",
        example: example(r#"{{isFloat "10,000.00"}}"#, "{}", "true"),
        infer: None,
        run: |args| boolean(number(args, false)?.and_then(|number| parse::float(&number)).is_some()),
    },
];

fn format_number(args: Args<'_>) -> Outcome<'_> {
    let (number, format, culture) = (Digits::of(&args.number(0)?), args.text(1)?, locale(args, 2)?);
    // Both are written out digit by digit.
    let standard = standard::split(&format);
    let asked = standard.and_then(|(_, precision)| precision).unwrap_or(0);
    let most = i64::try_from(MAX_DIGITS).unwrap_or(i64::MAX);
    if asked > MAX_DIGITS || number.scale > most {
        return Err(Fault::too_large());
    }
    let text = match standard {
        Some((letter, precision)) => {
            standard::format(number, letter, precision, culture).map_err(|why| args.wrong(1, &why))?
        }
        None => custom::format(&number, &format, culture),
    };
    // A short format makes a long text, again and again in `map`.
    args.context.meter().work(text.len())?;
    string(text)
}

/// The number in argument 0, if it holds one; a sign may stand behind it for .NET's `decimal.Parse`, not for `double.Parse`.
fn number(args: Args<'_>, behind: bool) -> Result<Option<Number>, Fault> {
    let culture = locale(args, 1)?;
    Ok(match args.value(0)?.as_ref() {
        Value::Number(number) => Some(number.clone()),
        Value::String(text) => parse::parse(text, behind, culture),
        _ => None,
    })
}

fn convert<'e>(args: Args<'e>, behind: bool, to: fn(&Number) -> Option<Number>) -> Outcome<'e> {
    let exact = number(args, behind)?.ok_or_else(|| args.wrong(0, "does not hold a number"))?;
    let number = to(&exact).ok_or_else(|| args.wrong(0, "is too large a number"))?;
    Ok(Cow::Owned(Value::Number(number)))
}
