//! How values become text inside a template.

use std::borrow::Cow;

use serde_json::Value;

/// Appends `value` as text: null is empty, numbers keep their digits, objects and lists are JSON.
pub(super) fn append(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => out.push_str(text),
        other => out.push_str(&text(other)),
    }
}

/// `value` as text, borrowed where it is text already.
pub(super) fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::Number(number) => Cow::Borrowed(number.as_str()),
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(_) | Value::Object(_) => Cow::Owned(value.to_string()),
    }
}
