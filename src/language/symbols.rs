//! The outline of a flow: its trigger and its steps, as they are nested.

use serde::Serialize;

use super::occurrences::tidy;
use super::steps::steps;
use super::text::{Range, Text};
use super::view::{Kind, View};
use crate::flow::{Extent, Source, child};

/// One entry, as the protocol has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Symbol {
    pub name: String,
    pub detail: String,
    /// The protocol's number of what it is.
    pub kind: u8,
    pub range: Range,
    pub selection_range: Range,
    pub children: Vec<Symbol>,
}

const EVENT: u8 = 24;
const FUNCTION: u8 = 12;
const NAMESPACE: u8 = 3;

/// The outline of a flow file; empty for other files, and while it is not YAML.
pub fn symbols(view: &View<'_>) -> Vec<Symbol> {
    if view.kind() != Kind::Flow {
        return Vec::new();
    }
    let (source, Some(value), _) = Source::read(view.file, view.text.as_str()) else { return Vec::new() };
    let mut found = Vec::new();
    if let Some(trigger) = value.get("trigger") {
        let kind = trigger.get("type").and_then(serde_json::Value::as_str).unwrap_or_default();
        found.extend(symbol(
            view.text,
            "trigger",
            kind,
            EVENT,
            source.value_extent("/trigger"),
            source.key_extent("/trigger"),
        ));
    }
    // Those that are still open, outermost first, with their depths.
    let mut open: Vec<(usize, Symbol)> = Vec::new();
    for step in steps(&value) {
        close(&mut open, step.depth, &mut found);
        let kind = step.kind.unwrap_or_default();
        let what = step.value.get(kind).and_then(serde_json::Value::as_str).unwrap_or_default();
        let detail = if ["action", "call"].contains(&kind) { format!("{kind} {what}") } else { kind.to_owned() };
        let name = step.id.unwrap_or("a step without an id");
        let number = if ["action", "call"].contains(&kind) { FUNCTION } else { NAMESPACE };
        let own = source.value_extent(&child(&step.pointer, "id"));
        let symbol = symbol(view.text, name, &detail, number, source.value_extent(&step.pointer), own);
        open.extend(symbol.map(|symbol| (step.depth, symbol)));
    }
    close(&mut open, 0, &mut found);
    found
}

/// Puts what is open at this depth and below where it belongs.
fn close(open: &mut Vec<(usize, Symbol)>, depth: usize, found: &mut Vec<Symbol>) {
    while open.last().is_some_and(|(own, _)| *own >= depth) {
        let Some((_, symbol)) = open.pop() else { return };
        match open.last_mut() {
            Some((_, parent)) => parent.children.push(symbol),
            None => found.push(symbol),
        }
    }
}

fn symbol(
    text: &Text,
    name: &str,
    detail: &str,
    kind: u8,
    whole: Option<Extent>,
    own: Option<Extent>,
) -> Option<Symbol> {
    let whole = tidy(text.as_str(), text.bytes(whole?));
    let own = own.map_or(whole.clone(), |own| tidy(text.as_str(), text.bytes(own)));
    // The protocol wants the one inside of the other.
    let range = text.range(whole.start.min(own.start)..whole.end.max(own.end));
    let selection_range = text.range(own);
    Some(Symbol {
        name: name.to_owned(),
        detail: detail.to_owned(),
        kind,
        range,
        selection_range,
        children: Vec::new(),
    })
}
