//! Values as text in the manner of Microsoft's language: `True`, `30` for 30.0, what is in a content envelope.

use std::borrow::Cow;

use serde_json::Value;

use super::blob::Blob;
use crate::mapping::number::plain;
use crate::mapping::text;

/// The value as text: null is empty, objects and lists are JSON, a content envelope is its content.
pub(super) fn print(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Bool(true) => Cow::Borrowed("True"),
        Value::Bool(false) => Cow::Borrowed("False"),
        Value::Number(number) => Cow::Owned(plain(number)),
        Value::Object(_) => match Blob::of(value) {
            Some(blob) => Cow::Owned(blob.text()),
            None => text::text(value),
        },
        Value::Null | Value::String(_) | Value::Array(_) => text::text(value),
    }
}
