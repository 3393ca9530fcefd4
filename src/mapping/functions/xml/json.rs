//! JSON from XML, as Microsoft's `json` makes it (Newtonsoft's rules).

use std::borrow::Cow;

use roxmltree::{Attribute, Node};
use serde_json::{Map, Value};

use super::document::{self, source, tag, tag_of};

/// The document as an object: `?xml`, and the root element by its name.
pub(crate) fn to_json(text: &str) -> Result<Value, String> {
    let document = document::parse(text)?;
    let mut out = Map::new();
    let text = document.input_text();
    if let Some(rest) = text.strip_prefix("<?xml").filter(|rest| rest.starts_with(|c: char| c.is_whitespace())) {
        let inner = rest.split_once("?>").map_or(rest, |(inner, _)| inner);
        let mut declaration = Map::new();
        for name in tag(&format!("<x {inner}>")).map(|tag| tag.attributes).unwrap_or_default() {
            let value = inner.split_once(name).map_or("", |(_, rest)| rest);
            let value = value.split(['"', '\'']).nth(1).unwrap_or_default();
            declaration.insert(format!("@{name}"), Value::from(value));
        }
        out.insert("?xml".to_owned(), Value::Object(declaration));
    }
    let root = document.root_element();
    out.insert(name(root), element(root));
    Ok(Value::Object(out))
}

fn name(node: Node<'_, '_>) -> String {
    tag_of(node).map_or("", |tag| tag.name).to_owned()
}

fn element(node: Node<'_, '_>) -> Value {
    let tag = tag_of(node);
    let mut map = Map::new();
    let mut attributes = node.attributes();
    for name in tag.as_ref().map(|tag| tag.attributes.as_slice()).unwrap_or_default() {
        let value = match name.strip_prefix("xmlns") {
            Some("") => node.lookup_namespace_uri(None),
            Some(prefix) if prefix.starts_with(':') => node.lookup_namespace_uri(Some(&prefix[1..])),
            _ => attributes.next().map(|attribute: Attribute<'_, '_>| attribute.value()),
        };
        map.insert(format!("@{name}"), Value::from(value.unwrap_or_default()));
    }
    let mut comments = 0;
    for child in node.children() {
        comments += usize::from(child.is_comment());
        if child.is_element() {
            add(&mut map, &name(child), element(child));
        } else if child.is_text() {
            for (quoted, text) in pieces(child) {
                if quoted || !text.chars().all(char::is_whitespace) {
                    add(&mut map, if quoted { "#cdata-section" } else { "#text" }, Value::from(text));
                }
            }
        }
    }
    // A comment has no value in JSON, but Newtonsoft shows that there are several.
    if comments > 1 {
        map.insert("#comment".to_owned(), Value::Array(Vec::new()));
    }
    match (map.len(), map.get("#text")) {
        _ if comments > 0 => Value::Object(map),
        (0, _) if tag.is_some_and(|tag| tag.closed) => Value::Null,
        (0, _) => Value::from(""),
        (1, Some(text)) if text.is_string() => text.clone(),
        _ => Value::Object(map),
    }
}

/// The stretches of a text node, of which the parser makes one: whether each was written as CDATA, and its text.
fn pieces<'d>(node: Node<'d, '_>) -> Vec<(bool, Cow<'d, str>)> {
    const OPEN: &str = "<![CDATA[";
    let close = || node.parent().map_or(0, |parent| parent.range().start + source(parent).rfind("</").unwrap_or(0));
    let end = node.next_sibling().map_or_else(close, |next| next.range().start);
    let mut rest = node.document().input_text().get(node.range().start..end).unwrap_or_default();
    if !rest.contains(OPEN) {
        return vec![(false, Cow::Borrowed(node.text().unwrap_or_default()))];
    }
    let mut found = Vec::new();
    while !rest.is_empty() {
        let quoted = rest.starts_with(OPEN);
        let length = if quoted { rest.find("]]>").map(|at| at + 3) } else { rest.find(OPEN) };
        let (piece, left) = rest.split_at(length.unwrap_or(rest.len()));
        // Entities and line ends are the parser's to read.
        let text = document::parse(&format!("<x>{piece}</x>"))
            .map(|piece| piece.root_element().text().unwrap_or_default().to_owned());
        found.push((quoted, Cow::Owned(text.unwrap_or_default())));
        rest = left;
    }
    found
}

/// A second value of a name makes a list.
fn add(map: &mut Map<String, Value>, name: &str, value: Value) {
    // An element is never a list itself, so a list is one that was made here.
    match map.get_mut(name) {
        None => {
            map.insert(name.to_owned(), value);
        }
        Some(Value::Array(items)) => items.push(value),
        Some(one) => *one = Value::Array(vec![one.take(), value]),
    }
}
