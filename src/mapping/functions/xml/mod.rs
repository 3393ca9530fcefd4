//! XML: made from JSON and back, and asked by XPath. A real parser reads it; document types, entities and anything
//! outside of the text are refused.

mod build;
mod document;
mod json;
mod xpath;

use std::borrow::Cow;

use serde_json::Value;

use super::blob::Blob;
use super::print::print;
use super::{ANY, Args, Fault, Function, TEXT, example, one, string};
use crate::mapping::parse_json;
use crate::schema::Types;

pub(super) use build::build;
pub(crate) use json::to_json;

type Outcome<'e> = Result<Cow<'e, Value>, Fault>;

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "xml",
        family: "XML",
        params: &[one("value", TEXT.or(Types::OBJECT))],
        result: TEXT,
        text: "XML as text: from an object with one property (`@name` becomes an attribute, `#text` the text, a list one element an item), or text that is XML already, which is checked. `json` turns it back. A content envelope is opened.",
        example: example(
            r#"{{xml vars.person}}"#,
            r#"{"vars":{"person":{"person":{"@id":1,"name":"Sophia Owen"}}}}"#,
            r#""<person id=\"1\"><name>Sophia Owen</name></person>""#,
        ),
        infer: None,
        run: xml,
    },
    Function {
        name: "xpath",
        family: "XML",
        params: &[one("xml", TEXT.or(Types::OBJECT)), one("path", TEXT)],
        result: ANY.without(Types::OBJECT.or(Types::NULL)),
        text: "What an XPath 1.0 expression finds: a list of the nodes, elements as XML text and others as their value; or the text, number or boolean that it computes. A prefix means what the root element says.",
        example: example(
            r#"{{xpath vars.x "sum(/produce/item/count)"}}"#,
            r#"{"vars":{"x":"<produce><item><count>20</count></item><item><count>10</count></item></produce>"}}"#,
            "30",
        ),
        infer: None,
        run: query,
    },
];

/// The text, if it is XML rather than JSON.
pub(super) fn looks_like(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.trim_start_matches('\u{feff}').trim_start().starts_with('<').then_some(text)
}

/// A content envelope's text; any other value as it is.
fn opened(value: Cow<'_, Value>) -> Cow<'_, Value> {
    Blob::of(&value).map_or(value, |blob| Cow::Owned(Value::String(blob.text())))
}

fn xml(args: Args<'_>) -> Outcome<'_> {
    let value = opened(args.value(0)?);
    let parsed = match &*value {
        // Microsoft takes an object's JSON too.
        Value::String(text) if text.trim_start().starts_with('{') => {
            Some(parse_json(text.as_bytes()).map_err(|_| args.wrong(0, "is neither XML nor JSON"))?)
        }
        Value::String(text) => {
            document::parse(text).map_err(|why| args.wrong(0, &why))?;
            None
        }
        _ => None,
    };
    match parsed.as_ref().unwrap_or(&value) {
        Value::Object(map) => string(build::build(map).map_err(|why| args.wrong(0, &why))?),
        other => string(print(other).into_owned()),
    }
}

fn query(args: Args<'_>) -> Outcome<'_> {
    let (value, path) = (opened(args.value(0)?), args.text(1)?);
    let Value::String(text) = &*value else {
        return Err(args.wrong(0, "is an object, and no content envelope"));
    };
    let path = xpath::compile(&path).map_err(|why| args.wrong(1, &why))?;
    let text = document::compact(text);
    let document = document::parse(&text).map_err(|why| args.wrong(0, &why))?;
    let (found, steps) = xpath::evaluate(&path, &document).map_err(|why| args.wrong(1, &why))?;
    args.context.meter().work(steps.saturating_mul(16))?;
    Ok(Cow::Owned(found))
}
