//! XPath 1.0 over roxmltree, with counted steps.
//!
//! All of the language but variables, the `namespace` axis and `id()`, which need what a text alone does not have.

mod eval;
mod functions;
mod lexer;
mod parse;
mod value;

use roxmltree::Document;
use serde_json::Value as Json;

use crate::mapping::eval::MAX_BYTES;
use crate::mapping::functions::xml::document::outer;
use crate::mapping::number;
use value::{Item, Value};

/// A compiled expression.
pub(super) struct XPath(parse::Expr);

/// Compiles `text`; the error says what is wrong with it.
pub(super) fn compile(text: &str) -> Result<XPath, String> {
    parse::parse(text).map(XPath)
}

/// The result as JSON, a list for nodes, else text, number or boolean; and how many steps it took.
pub(super) fn evaluate(path: &XPath, document: &Document<'_>) -> Result<(Json, usize), String> {
    let (value, steps) = eval::evaluate(&path.0, document)?;
    json(value).map(|json| (json, steps))
}

fn json(value: Value<'_, '_>) -> Result<Json, String> {
    match value {
        Value::Bool(value) => Ok(Json::Bool(value)),
        Value::Text(text) if text.len() > MAX_BYTES => Err(too_large()),
        Value::Text(text) => Ok(Json::String(text)),
        Value::Number(value) => {
            let text = value::number_text(value);
            // JSON has no number that is none: `NaN` and `Infinity` are text, as .NET writes them.
            Ok(number::parse(&text).map_or(Json::String(text), Json::Number))
        }
        Value::Nodes(items) => {
            let (mut list, mut size) = (Vec::with_capacity(items.len()), 0);
            for item in items {
                let text = match item {
                    Item::Node(node) if node.is_text() => node.text().unwrap_or_default().to_owned(),
                    Item::Node(node) => outer(node),
                    Item::Attribute(attribute, ..) => attribute.value().to_owned(),
                };
                size += text.len();
                if size > MAX_BYTES {
                    return Err(too_large());
                }
                list.push(Json::String(text));
            }
            Ok(Json::Array(list))
        }
    }
}

fn too_large() -> String {
    format!("gives more than {MAX_BYTES} bytes")
}
