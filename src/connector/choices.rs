//! The choices that an input has: what a list action of the same connector finds. For editors, never for runs.

use serde_json::{Value, json};

use super::select::Selection;

/// `x-options` of a property of an action's input.
#[derive(Debug)]
pub struct Choices {
    /// The action that lists them; it needs no input.
    pub action: String,
    /// Where the file says it, JSON Pointer.
    pub(super) at: String,
    pub(crate) value: Selection,
    pub(crate) label: Selection,
}

impl Choices {
    /// `{value, label}` of each item of the list action's output: of its `items`, if it has pages, or of the list.
    pub fn of(&self, output: &Value) -> Vec<Value> {
        let items = output.as_array().or_else(|| output.get("items").and_then(Value::as_array));
        let choices = items.into_iter().flatten().filter_map(|item| {
            let value = self.value.find(item).filter(|value| !value.is_null())?;
            let label = self.label.find(item).filter(|label| !label.is_null());
            let label = super::plain_text(label.as_ref().unwrap_or(&value));
            Some(json!({"value": value, "label": label}))
        });
        choices.collect()
    }
}
