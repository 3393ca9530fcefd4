//! Parts of a URI.

use std::borrow::Cow;

use serde_json::Value;
use url::{Position, Url};

use super::{Args, Fault, Function, NUMBER, Param, TEXT, example, one, string};
use crate::schema::Types;

const fn row(
    name: &'static str,
    result: Types,
    text: &'static str,
    example: super::Example,
    run: for<'e> fn(Args<'e>) -> Result<Cow<'e, Value>, Fault>,
) -> Function {
    Function { name, family: "URI", params: PARAMS, result, text, example, infer: None, run }
}

const PARAMS: &[Param] = &[one("uri", TEXT)];
const SHOWN: &str = r#"{"vars":{"u":"https://www.contoso.com/catalog/shownew.htm?date=today"}}"#;

pub(super) const ROWS: &[Function] = &[
    row(
        "uriHost",
        TEXT,
        "The host of an absolute URI.",
        example(r#"{{uriHost vars.u}}"#, SHOWN, r#""www.contoso.com""#),
        |args| string(read(args)?.host_str().unwrap_or_default().to_owned()),
    ),
    row(
        "uriPath",
        TEXT,
        "The path of an absolute URI; `/` if it has none.",
        example(r#"{{uriPath vars.u}}"#, SHOWN, r#""/catalog/shownew.htm""#),
        |args| string(read(args)?.path().to_owned()),
    ),
    row(
        "uriPathAndQuery",
        TEXT,
        "The path and the query of an absolute URI.",
        example(r#"{{uriPathAndQuery vars.u}}"#, SHOWN, r#""/catalog/shownew.htm?date=today""#),
        |args| string(read(args)?[Position::BeforePath..Position::AfterQuery].to_owned()),
    ),
    row(
        "uriPort",
        NUMBER,
        "The port of an absolute URI, or the usual one of its scheme; -1 if there is none.",
        example(r#"{{uriPort vars.u}}"#, SHOWN, "443"),
        |args| Ok(Cow::Owned(read(args)?.port_or_known_default().map_or(Value::from(-1), Value::from))),
    ),
    row(
        "uriQuery",
        TEXT,
        "The query of an absolute URI with its `?`; empty if it has none.",
        example(r#"{{uriQuery vars.u}}"#, SHOWN, r#""?date=today""#),
        |args| {
            let uri = read(args)?;
            string(uri.query().filter(|query| !query.is_empty()).map(|query| format!("?{query}")).unwrap_or_default())
        },
    ),
    row(
        "uriScheme",
        TEXT,
        "The scheme of an absolute URI.",
        example(r#"{{uriScheme vars.u}}"#, SHOWN, r#""https""#),
        |args| string(read(args)?.scheme().to_owned()),
    ),
];

fn read(args: Args<'_>) -> Result<Url, Fault> {
    let text = args.text(0)?;
    Url::parse(&text).map_err(|error| args.wrong(0, &format!("is not an absolute URI: {error}")))
}
