//! What came in and what goes back: requests, their bodies, responses.

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::record::exact;
use super::{Digest, Headers, Place, RunId};
use crate::mapping::parse_json_text;

/// A JSON body: its text as it came, and the value parsed from it at most once.
#[derive(Clone)]
pub struct Body {
    /// Valid JSON, without blanks around it.
    text: Arc<str>,
    parsed: OnceLock<Arc<Value>>,
}

impl Body {
    /// Reads text.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn parse(text: &str) -> Result<Body, serde_json::Error> {
        let value = parse_json_text(text)?;
        // What JSON calls blank.
        Ok(Body::parsed(text.trim_matches([' ', '\t', '\n', '\r']), value))
    }

    fn parsed(text: &str, value: Value) -> Body {
        Body { text: text.into(), parsed: OnceLock::from(Arc::new(value)) }
    }

    /// From a value that had no JSON text of its own (a form, a test).
    pub fn of(value: Value) -> Body {
        Body::parsed(&text_of(&value), value)
    }

    /// The text of a value that goes on living where it is.
    pub fn of_ref(value: &Value) -> Body {
        Body { text: text_of(value).into(), parsed: OnceLock::new() }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same text, without the value that was parsed from it, which takes many times as much memory.
    pub fn text_only(&self) -> Body {
        Body { text: self.text.clone(), parsed: OnceLock::new() }
    }

    /// The value. Text too deep for the parser (it cannot come in by the door) reads as null.
    pub fn value(&self) -> &Arc<Value> {
        self.parsed.get_or_init(|| Arc::new(parse_json_text(&self.text).unwrap_or(Value::Null)))
    }

    /// The value alone; copied only if somebody else has it too.
    pub fn into_value(self) -> Value {
        let value = self.value().clone();
        drop(self);
        Arc::unwrap_or_clone(value)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.text.len())
    }
}

fn text_of(value: &Value) -> String {
    serde_json::to_string(value).expect("a JSON value always has a text")
}

impl Serialize for Body {
    /// As `RawValue` does it, which could only be had by reading the text once more. A test holds that it is the same.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut raw = serializer.serialize_struct(RAW, 1)?;
        raw.serialize_field(RAW, &*self.text)?;
        raw.end()
    }
}

/// By this name serde_json knows text that is JSON already.
const RAW: &str = "$serde_json::private::RawValue";

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Body, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Body { text: Box::<str>::from(raw).into(), parsed: OnceLock::new() })
    }
}

/// What a trigger brought: what templates see as `trigger`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    pub method: String,
    /// What follows the key in the URL, decoded; usually empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The parameters of the flow's `path`, if it has one: then templates see these as `trigger.path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
    /// Authorization, cookies and signatures are already gone.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub query: Map<String, Value>,
    pub body: Body,
    /// Where the body stood in the list that was split (`split_on`), from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
}

impl Request {
    /// A POST that brought nothing but this body: a run started by hand.
    pub fn posted(body: Body) -> Request {
        Request {
            method: "POST".into(),
            path: String::new(),
            params: None,
            headers: Headers::default(),
            query: Map::new(),
            body,
            item: None,
        }
    }

    /// What templates see as `trigger.path`.
    pub fn seen_path(&self) -> Value {
        match &self.params {
            Some(params) => Value::Object(params.clone()),
            None => Value::String(self.path.clone()),
        }
    }
}

/// Why a run exists although no caller asked anew.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The run this one repeats.
    pub run: RunId,
    /// The steps with which this one begins, by id, separated by commas; what came before them is taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_step: Option<String>,
}

/// The call of another flow that a run answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Parent {
    pub run: RunId,
    pub place: Place,
    /// How many runs stand above this one.
    pub depth: u32,
}

/// The first fact of a run that was let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Started {
    pub flow: String,
    pub definition: Digest,
    pub request: Request,
    /// Idempotency keys of calls derive from this and from the step: the run's own id, or that of the run it repeats.
    pub keys: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
}

impl Started {
    /// How deep a run stands that this one calls.
    pub fn depth_of_child(&self) -> u32 {
        self.parent.as_ref().map_or(0, |parent| parent.depth) + 1
    }
}

/// A request with a good key that was not let in, kept so that it can be seen and mended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rejected {
    pub flow: String,
    pub method: String,
    /// As in [`Request`]; absent from what older versions kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub query: Map<String, Value>,
    pub content_type: Option<String>,
    /// The body as text; cut where it was too long, lossy where it was not UTF-8.
    pub body: String,
    /// The stable code of the answer, and what it said.
    pub code: String,
    pub message: String,
}

/// What a `response` step answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    pub status: u16,
    #[serde(default, skip_serializing_if = "Map::is_empty", deserialize_with = "exact::map")]
    pub headers: Map<String, Value>,
    /// Null is an empty body.
    #[serde(default, deserialize_with = "exact::value")]
    pub body: Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_written_as_it_came_and_read_again() {
        for text in [r#"{"b":1.50,"a":[1E400, "é\\u0000"],"b":2}"#, "null", "  [ 1 ]\n", "\"text\""] {
            let body = Body::parse(text).unwrap();
            assert_eq!(body.text(), text.trim());
            let written = serde_json::to_string(&body).unwrap();
            assert_eq!(written, text.trim());
            let raw: Box<RawValue> = serde_json::from_str(text).unwrap();
            assert_eq!(written, serde_json::to_string(&raw).unwrap());
            assert_eq!(serde_json::from_str::<Body>(&written).unwrap().text(), text.trim());
        }
        assert!(Body::parse("[1] x").is_err());
    }
}
