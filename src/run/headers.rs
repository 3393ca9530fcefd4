//! The headers of a request, as templates see them and the journal keeps them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Names in lower case, each once, with their values, in the order in which they came.
///
/// A list and no map: a request has a handful, nearly always nobody asks for one, and to hash the names of all costs more
/// than to look through them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers(Vec<(String, Value)>);

impl Headers {
    pub fn with_capacity(count: usize) -> Headers {
        Headers(Vec::with_capacity(count))
    }

    /// Adds a header; there must be none of this name yet.
    pub fn add(&mut self, name: &str, text: String) {
        self.0.push((name.to_owned(), Value::String(text)));
    }

    /// The value of the header with this name, in lower case.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them as templates see them.
    pub fn to_map(&self) -> Map<String, Value> {
        self.0.iter().cloned().collect()
    }
}

impl From<Map<String, Value>> for Headers {
    fn from(map: Map<String, Value>) -> Headers {
        Headers(map.into_iter().collect())
    }
}

impl Serialize for Headers {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Headers, D::Error> {
        Map::deserialize(deserializer).map(Headers::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_written_and_read_as_the_map_that_they_stand_for() {
        let text = r#"{"host":"a:1","content-type":"text/plain"}"#;
        let headers: Headers = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&headers).unwrap(), text);
        assert_eq!(headers.get("host"), Some(&Value::from("a:1")));
        assert_eq!(headers.get("Host"), None);
        assert_eq!(Headers::from(headers.to_map()), headers);
        assert!(Headers::default().is_empty() && !headers.is_empty());
    }
}
