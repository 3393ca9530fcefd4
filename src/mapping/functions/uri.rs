//! Parts of a URI.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;
use url::Url;

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
        host,
    ),
    row(
        "uriPath",
        TEXT,
        "The path of an absolute URI; `/` if it has none.",
        example(r#"{{uriPath vars.u}}"#, SHOWN, r#""/catalog/shownew.htm""#),
        |args| string(path(&read(args)?.1)),
    ),
    row(
        "uriPathAndQuery",
        TEXT,
        "The path and the query of an absolute URI.",
        example(r#"{{uriPathAndQuery vars.u}}"#, SHOWN, r#""/catalog/shownew.htm?date=today""#),
        |args| {
            let (text, uri) = read(args)?;
            string(path(&uri) + &query(&text))
        },
    ),
    row(
        "uriPort",
        NUMBER,
        "The port of an absolute URI, or the usual one of its scheme; -1 if there is none.",
        example(r#"{{uriPort vars.u}}"#, SHOWN, "443"),
        |args| Ok(Cow::Owned(read(args)?.1.port_or_known_default().map_or(Value::from(-1), Value::from))),
    ),
    row(
        "uriQuery",
        TEXT,
        "The query of an absolute URI with its `?`; empty if it has none.",
        example(r#"{{uriQuery vars.u}}"#, SHOWN, r#""?date=today""#),
        |args| string(query(&read(args)?.0)),
    ),
    row(
        "uriScheme",
        TEXT,
        "The scheme of an absolute URI.",
        example(r#"{{uriScheme vars.u}}"#, SHOWN, r#""https""#),
        |args| string(read(args)?.1.scheme().to_owned()),
    ),
];

/// The argument as it was written, and read.
fn read<'e>(args: Args<'e>) -> Result<(Cow<'e, str>, Url), Fault> {
    let text = args.text(0)?;
    let uri = Url::parse(&text).map_err(|error| args.wrong(0, &format!("is not an absolute URI: {error}")))?;
    Ok((text, uri))
}

/// What .NET writes as %XX in a query: all but the reserved and unreserved characters of RFC 3986.
const QUERY: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// As it was written, which the standard of browsers would change (`'`).
fn query(uri: &str) -> String {
    let uri = uri.trim().split('#').next().unwrap_or_default();
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    if query.is_empty() { String::new() } else { format!("?{}", utf8_percent_encode(query, QUERY)) }
}

/// The standard of browsers leaves two characters in a path that .NET does not.
fn path(uri: &Url) -> String {
    uri.path().replace('|', "%7C").replace('^', "%5E")
}

/// The host in its own script, not as `xn--…`.
fn host(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let (text, uri) = read(args)?;
    let written = text.split_once("://").map_or("", |(_, rest)| rest);
    let written = written.split(['/', '?', '#']).next().unwrap_or_default();
    let written = written.rsplit_once('@').map_or(written, |(_, host)| host);
    let written = written.split(':').next().unwrap_or_default();
    let own = uri.domain().is_some() && !written.is_ascii();
    string(if own { written.to_lowercase() } else { uri.host_str().unwrap_or_default().to_owned() })
}
