//! XML: made from JSON and back, and asked by XPath. A real parser reads it; document types, entities and anything
//! outside of the text are refused.

mod build;
mod document;
mod json;
mod xpath;

use std::borrow::Cow;

use serde_json::Value;

use super::{ANY, Args, Fault, Function, TEXT, example, one, string};
use crate::mapping::{parse_json, text};
use crate::schema::Types;

pub(super) use json::to_json;

type Outcome<'e> = Result<Cow<'e, Value>, Fault>;

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "xml",
        family: "XML",
        params: &[one("value", TEXT.or(Types::OBJECT))],
        result: TEXT,
        text: "XML as text: from an object with one property (`@name` becomes an attribute, `#text` the text, a list one element an item), or text that is XML already, which is checked. `json` turns it back.",
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
        params: &[one("xml", TEXT), one("path", TEXT)],
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

fn xml(args: Args<'_>) -> Outcome<'_> {
    let value = args.value(0)?;
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
        other => string(text::text(other).into_owned()),
    }
}

fn query(args: Args<'_>) -> Outcome<'_> {
    let (text, path) = (args.text(0)?, args.text(1)?);
    let path = xpath::compile(&path).map_err(|why| args.wrong(1, &why))?;
    let document = document::parse(&text).map_err(|why| args.wrong(0, &why))?;
    xpath::evaluate(&path, &document).map(Cow::Owned).map_err(|why| args.wrong(1, &why))
}
