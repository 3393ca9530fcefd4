//! XML from JSON, as Microsoft's `xml` makes it: `@name` is an attribute, `#text` the text, a list one element an item.

use serde_json::{Map, Value};

use super::document::{self, escape};
use crate::mapping::eval::MAX_BYTES;
use crate::mapping::text;

/// The XML of an object with one property; the error says why there is none.
pub(in crate::mapping::functions) fn build(map: &Map<String, Value>) -> Result<String, String> {
    let mut out = String::new();
    if map.is_empty() {
        return Ok(out);
    }
    let mut roots = map.iter().filter(|(key, _)| *key != "?xml");
    let (Some((name, value)), None) = (roots.next(), roots.next()) else {
        return Err("must have exactly one property, which becomes the root element".to_owned());
    };
    if value.is_array() {
        return Err("has a list as its one property, but a document has a single root element".to_owned());
    }
    if name.starts_with(['@', '#', '?', '!', '$']) {
        return Err("has no element as its one property".to_owned());
    }
    if let Some(declaration) = map.get("?xml").and_then(Value::as_object) {
        out.push_str("<?xml");
        for key in ["@version", "@encoding", "@standalone"] {
            if let Some(said) = declaration.get(key).and_then(Value::as_str) {
                out += &format!(" {}=\"", &key[1..]);
                escape(&mut out, said, true);
                out.push('"');
            }
        }
        out.push_str("?>");
    }
    element(&mut out, name, value)?;
    // Prefixes without a namespace and the like.
    document::parse(&out).map_err(|_| "has names or characters that XML can't hold".to_owned())?;
    Ok(out)
}

fn element(out: &mut String, name: &str, value: &Value) -> Result<(), String> {
    if out.len() > MAX_BYTES {
        return Err(format!("becomes more than {MAX_BYTES} bytes of XML"));
    }
    if let Value::Array(items) = value {
        return items.iter().try_for_each(|item| match item {
            Value::Array(_) => {
                let wrapped = Value::Object(Map::from_iter([(name.to_owned(), item.clone())]));
                element(out, name, &wrapped)
            }
            item => element(out, name, item),
        });
    }
    let tag = encode(name);
    out.push('<');
    out.push_str(&tag);
    match value {
        Value::Null => out.push_str(" />"),
        Value::Object(map) => object(out, &tag, map)?,
        scalar => {
            out.push('>');
            escape(out, &text::text(scalar), false);
            out.push_str(&format!("</{tag}>"));
        }
    }
    Ok(())
}

fn object(out: &mut String, tag: &str, map: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in map {
        let Some(name) = key.strip_prefix('@') else { continue };
        if value.is_array() || value.is_object() {
            return Err(format!("has an attribute `{key}` that is no plain value"));
        }
        out.push_str(&format!(" {}=\"", encode(name)));
        escape(out, &text::text(value), true);
        out.push('"');
    }
    let inner = map.iter().filter(|(key, _)| !key.starts_with('@'));
    if inner.clone().next().is_none() {
        out.push_str(" />");
        return Ok(());
    }
    out.push('>');
    for (key, value) in inner {
        match key.as_str() {
            "#text" | "#cdata-section" | "#comment" => {
                let one = std::slice::from_ref(value);
                for item in value.as_array().map_or(one, Vec::as_slice) {
                    literal(out, key, &text::text(item))?;
                }
            }
            name => element(out, name, value)?,
        }
    }
    out.push_str(&format!("</{tag}>"));
    Ok(())
}

fn literal(out: &mut String, key: &str, text: &str) -> Result<(), String> {
    match key {
        "#text" => escape(out, text, false),
        // A comment can't hold two hyphens; .NET puts a blank between them too.
        "#comment" => {
            let apart = text.replace("--", "- -").replace("--", "- -");
            let end = if apart.ends_with('-') { " " } else { "" };
            out.push_str(&format!("<!--{apart}{end}-->"));
        }
        _ if text.contains("]]>") => return Err(format!("has a `{key}` that would close itself")),
        _ => out.push_str(&format!("<![CDATA[{text}]]>")),
    }
    Ok(())
}

/// A name that XML can hold: other characters as `_x0020_`, as .NET's `XmlConvert.EncodeName`.
fn encode(name: &str) -> String {
    let first = |c: char| c.is_alphabetic() || matches!(c, '_' | ':');
    let later = |c: char| first(c) || c.is_alphanumeric() || matches!(c, '-' | '.' | '·');
    let mut out = String::with_capacity(name.len());
    for (i, c) in name.chars().enumerate() {
        if if i == 0 { first(c) } else { later(c) } {
            out.push(c);
        } else {
            out.push_str(&format!("_x{:04X}_", u32::from(c)));
        }
    }
    if out.is_empty() { "_".to_owned() } else { out }
}
