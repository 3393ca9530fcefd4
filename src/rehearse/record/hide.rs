//! Hides what looks like a secret: values under names that say so, URLs that carry a key, and whatever `secure` hid.
//!
//! What was hidden once is hidden wherever it occurs after that, also as a part of a longer text, so that a value which a
//! mapping copies is the same before and after.

use serde_json::{Map, Value};

/// What stands for a hidden value.
pub(super) const HIDDEN: &str = "(hidden)";
/// As histories have it.
const SECURE: &str = "(secure)";
/// Parts of names whose values are taken for secrets; dashes count as underscores.
const TELLING: [&str; 14] = [
    "password",
    "passwd",
    "secret",
    "token",
    "authorization",
    "api_key",
    "apikey",
    "cookie",
    "signature",
    "credential",
    "private_key",
    "access_key",
    "session",
    "iban",
];
/// Shorter values are too likely to stand elsewhere by chance.
const SHORTEST: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Hider {
    known: Vec<String>,
}

impl Hider {
    /// The value without its secrets.
    pub fn hide(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.hide(item)).collect(),
            Value::Object(map) => {
                let hidden = map.iter().map(|(key, value)| {
                    let value = if is_telling(key) { self.bury(value) } else { self.hide(value) };
                    (key.clone(), value)
                });
                Value::Object(hidden.collect::<Map<String, Value>>())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// Hides a value whole, and keeps in mind what it was.
    fn bury(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) if text.is_empty() => value.clone(),
            Value::String(text) => {
                if text.len() >= SHORTEST && text != SECURE && !self.known.contains(text) {
                    self.known.push(text.clone());
                    // A long one first: a short one may be a part of it.
                    self.known.sort_by_key(|known| std::cmp::Reverse(known.len()));
                }
                Value::String(HIDDEN.to_owned())
            }
            // Of the same type, so that a schema takes it.
            Value::Number(_) => Value::from(0),
            Value::Array(items) => items.iter().map(|item| self.bury(item)).collect(),
            Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), self.bury(value))).collect(),
            Value::Null | Value::Bool(_) => value.clone(),
        }
    }

    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for known in &self.known {
            text = text.replace(known, HIDDEN);
        }
        without_keys(&text)
    }
}

fn is_telling(name: &str) -> bool {
    let name = name.to_lowercase().replace('-', "_");
    TELLING.iter().any(|part| name.contains(part))
}

/// Flows' URLs, and those of `wait` steps, carry keys: from `/hooks/` on nothing is shown.
fn without_keys(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("/hooks/") {
        let (before, url) = rest.split_at(at);
        out.push_str(before);
        out.push_str(HIDDEN);
        rest = url.find(|c: char| c.is_whitespace() || "\"'<>)".contains(c)).map_or("", |end| &url[end..]);
    }
    out.push_str(rest);
    out
}

/// The value without leaves that were hidden because of what they are, which a play cannot give again.
pub(super) fn without_hidden(value: &Value) -> Option<Value> {
    match value {
        // Copied from the request, it is hidden there too; a URL's key or a `secure` value is not.
        Value::String(text) if text.contains(&format!("/{HIDDEN}")) || text == SECURE => None,
        Value::String(text) if text.contains("://") && text.contains(HIDDEN) => None,
        Value::Object(map) => {
            let kept = map.iter().filter_map(|(key, value)| Some((key.clone(), without_hidden(value)?)));
            Some(Value::Object(kept.collect()))
        }
        // Lists are compared whole.
        Value::Array(items) => items.iter().map(without_hidden).collect::<Option<Vec<Value>>>().map(Value::Array),
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_hidden_once_is_hidden_wherever_it_occurs() {
        let mut hider = Hider::default();
        let body = json!({"name": "Ann", "Api-Key": "k-12345", "card": {"token": ["t-777777"], "tokens_left": 5}});
        let hidden = hider.hide(&body);
        assert_eq!(hidden["Api-Key"], HIDDEN);
        assert_eq!(hidden["card"]["token"], json!([HIDDEN]));
        assert_eq!(hidden["name"], "Ann");
        let input = hider.hide(&json!({"text": "with k-12345 and t-777777", "n": 1}));
        assert_eq!(input["text"], format!("with {HIDDEN} and {HIDDEN}"));
    }

    #[test]
    fn no_key_of_a_url_is_left() {
        let mut hider = Hider::default();
        let text = "Yes: https://a.example/hooks/f/resume/1/2/KEY?a=1\nNo: <http://b/hooks/f/KEY>";
        let hidden = hider.hide(&json!(text));
        assert_eq!(hidden, "Yes: https://a.example(hidden)\nNo: <http://b(hidden)>");
        assert_eq!(without_hidden(&json!({"text": hidden, "n": 1})), Some(json!({"n": 1})));
    }
}
