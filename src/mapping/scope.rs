//! A scope over plain JSON, for `eval --with`, connector tests and tests of our own.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value;

use super::{Key, Scope};

/// `{"trigger": …, "steps": …, "vars": …}`, with a fixed present and seed.
///
/// ```
/// use millstream::mapping::{JsonScope, Template};
/// let scope = JsonScope::new(serde_json::json!({"trigger": {"body": {"Company": "O'Brien & Sons"}}}));
/// let text = Template::parse("New lead: {{trigger.body.company}}").unwrap().render(&scope).unwrap();
/// assert_eq!(text, Some("New lead: O'Brien & Sons".into()));
/// ```
#[derive(Debug, Clone)]
pub struct JsonScope {
    pub value: Value,
    pub now: Timestamp,
    pub seed: u64,
}

impl JsonScope {
    /// A scope whose present is 1970-01-01T00:00:00Z and whose seed is 0 until the fields are set.
    pub fn new(value: Value) -> JsonScope {
        JsonScope {
            value,
            now: Timestamp::UNIX_EPOCH,
            seed: 0,
        }
    }
}

impl Scope for JsonScope {
    fn find<'s>(&'s self, _path: &[Key]) -> Option<(Cow<'s, Value>, usize)> {
        Some((Cow::Borrowed(&self.value), 0))
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn seed(&self) -> u64 {
        self.seed
    }
}
