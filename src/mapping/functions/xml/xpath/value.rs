//! What an XPath expression can give, and how the types turn into each other.

use roxmltree::{Attribute, Node};

/// A node of the tree, or an attribute with its element and its place among the others.
#[derive(Debug, Clone, Copy)]
pub(super) enum Item<'d, 'i> {
    Node(Node<'d, 'i>),
    Attribute(Attribute<'d, 'i>, Node<'d, 'i>, usize),
}

#[derive(Debug, Clone)]
pub(super) enum Value<'d, 'i> {
    /// In the document's order, each once.
    Nodes(Vec<Item<'d, 'i>>),
    Text(String),
    Number(f64),
    Bool(bool),
}

impl<'d, 'i> Item<'d, 'i> {
    /// Where it stands in the document.
    pub fn order(&self) -> (u32, usize) {
        match self {
            Item::Node(node) => (node.id().get(), 0),
            Item::Attribute(_, owner, i) => (owner.id().get(), i + 1),
        }
    }

    /// The node itself, or the element of the attribute.
    pub fn node(&self) -> Node<'d, 'i> {
        match self {
            Item::Node(node) => *node,
            Item::Attribute(_, owner, _) => *owner,
        }
    }

    /// The string-value of the recommendation (5).
    pub fn text(&self) -> String {
        match self {
            Item::Attribute(attribute, ..) => attribute.value().to_owned(),
            Item::Node(node) if node.is_element() || node.is_root() => {
                node.descendants().filter(Node::is_text).filter_map(|text| text.text()).collect()
            }
            Item::Node(node) => match node.pi() {
                Some(instruction) => instruction.value.unwrap_or_default().to_owned(),
                None => node.text().unwrap_or_default().to_owned(),
            },
        }
    }
}

/// Sorted, each once.
pub(super) fn in_order<'d, 'i>(mut items: Vec<Item<'d, 'i>>) -> Vec<Item<'d, 'i>> {
    items.sort_unstable_by_key(Item::order);
    items.dedup_by_key(|item| item.order());
    items
}

impl Value<'_, '_> {
    pub fn text(&self) -> String {
        match self {
            Value::Nodes(items) => items.first().map(Item::text).unwrap_or_default(),
            Value::Text(text) => text.clone(),
            Value::Number(value) => number_text(*value),
            Value::Bool(value) => value.to_string(),
        }
    }

    pub fn number(&self) -> f64 {
        match self {
            Value::Number(value) => *value,
            Value::Bool(value) => f64::from(u8::from(*value)),
            Value::Nodes(_) | Value::Text(_) => number(&self.text()),
        }
    }

    pub fn holds(&self) -> bool {
        match self {
            Value::Nodes(items) => !items.is_empty(),
            Value::Text(text) => !text.is_empty(),
            Value::Number(value) => *value != 0.0 && !value.is_nan(),
            Value::Bool(value) => *value,
        }
    }
}

/// Digits with a point and a sign before them, nothing else; NaN for what is no number.
pub(super) fn number(text: &str) -> f64 {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
    if plain { text.parse().unwrap_or(f64::NAN) } else { f64::NAN }
}

/// Without an exponent, and without a point where the number is whole.
pub(super) fn number_text(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else if value == 0.0 {
        "0".to_owned()
    } else {
        value.to_string()
    }
}
