//! What came in and what goes back: requests, their bodies, responses.

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::record::exact;
use super::{Digest, Place, RunId};
use crate::mapping::parse_json;

/// A JSON body: its text as it came, and the value parsed from it at most once.
#[derive(Clone)]
pub struct Body {
    raw: Arc<RawValue>,
    parsed: OnceLock<Arc<Value>>,
}

impl Body {
    /// From text that parsed to `value`: neither is copied again.
    pub fn parsed(raw: Box<RawValue>, value: Value) -> Body {
        let parsed = OnceLock::new();
        let _ = parsed.set(Arc::new(value));
        Body { raw: raw.into(), parsed }
    }

    /// From a value that had no JSON text of its own (a form, a test).
    pub fn of(value: Value) -> Body {
        let raw = serde_json::value::to_raw_value(&value).expect("a JSON value always has a text");
        Body::parsed(raw, value)
    }

    /// The text of a value that goes on living where it is.
    pub fn of_ref(value: &Value) -> Body {
        let raw = serde_json::value::to_raw_value(value).expect("a JSON value always has a text");
        Body { raw: raw.into(), parsed: OnceLock::new() }
    }

    pub fn text(&self) -> &str {
        self.raw.get()
    }

    /// The same text, without the value that was parsed from it, which takes many times as much memory.
    pub fn text_only(&self) -> Body {
        Body { raw: self.raw.clone(), parsed: OnceLock::new() }
    }

    /// The value. Text too deep for the parser (it cannot come in by the door) reads as null.
    pub fn value(&self) -> &Arc<Value> {
        self.parsed.get_or_init(|| Arc::new(parse_json(self.raw.get().as_bytes()).unwrap_or(Value::Null)))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.raw.get().len())
    }
}

impl Serialize for Body {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Body, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Body { raw: raw.into(), parsed: OnceLock::new() })
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
    /// Names in lower case; authorization, cookies and signatures are already gone.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub headers: Map<String, Value>,
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
            headers: Map::new(),
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
