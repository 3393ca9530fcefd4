//! The facts of a run, as the journal keeps them.
//!
//! Only facts: what was decided and what came back. A record is one durable append: a version, a time, and the events
//! that happened at it. Enums are externally tagged, so that numbers keep their digits through serde.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::connector::Failure;
use crate::mapping::parse_json;

/// A run's name: a UUIDv7, so that order by id is order by start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<RunId, uuid::Error> {
        Uuid::from_str(text).map(RunId)
    }
}

/// SHA-256 of a definition (a flow with its schema and connectors), written as hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0u8; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(serde::de::Error::custom("a digest has 64 hexadecimal digits"));
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(serde::de::Error::custom)?;
            *byte = u8::from_str_radix(pair, 16).map_err(serde::de::Error::custom)?;
        }
        Ok(Digest(bytes))
    }
}

/// Where a step stands in the tree of a run: positions of steps, and between them the branch or iteration entered.
///
/// Written `2.0.1`: in the third step of the flow, in its first branch (or iteration), the second step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub Vec<u32>);

impl Place {
    /// The step at `position` of the flow's own list.
    pub fn root(position: u32) -> Place {
        Place(vec![position])
    }

    /// The step at `position` within branch or iteration `sub` of this step.
    pub fn within(&self, sub: u32, position: u32) -> Place {
        let mut path = Vec::with_capacity(self.0.len() + 2);
        path.extend_from_slice(&self.0);
        path.extend([sub, position]);
        Place(path)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            write!(f, "{part}")?;
        }
        Ok(())
    }
}

impl Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Place, D::Error> {
        let text = String::deserialize(deserializer)?;
        let path: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        match path {
            Ok(path) if path.len() % 2 == 1 => Ok(Place(path)),
            _ => Err(serde::de::Error::custom("a place is an odd count of numbers, as in 2.0.1")),
        }
    }
}

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

    pub fn text(&self) -> &str {
        self.raw.get()
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
    /// Names in lower case; authorization, cookies and signatures are already gone.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub headers: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub query: Map<String, Value>,
    pub body: Body,
}

/// Why a run exists although no caller asked anew.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The run this one repeats.
    pub run: RunId,
}

/// The first fact of a run that was let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Started {
    pub flow: String,
    pub definition: Digest,
    pub request: Request,
    /// Idempotency keys of calls derive from this: the run's own id, or that of the run it repeats.
    pub keys: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// A request with a good key that was not let in, kept so that it can be seen and mended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rejected {
    pub flow: String,
    pub method: String,
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
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub headers: Map<String, Value>,
    /// Null is an empty body.
    #[serde(default, deserialize_with = "exact::value")]
    pub body: Value,
}

/// One fact. What it says of a place, it says of the step there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Started(Arc<Started>),
    Rejected(Box<Rejected>),
    /// An attempt of a call begins. `input` only with the first: later ones repeat it.
    Called {
        place: Place,
        attempt: u32,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "exact::some")]
        input: Option<Arc<Value>>,
        key: Uuid,
    },
    /// A step ended well.
    Succeeded {
        place: Place,
        #[serde(deserialize_with = "exact::one")]
        output: Arc<Value>,
    },
    /// An attempt failed; with `retry_at` (ms since 1970) it is tried again then, without it the step has failed.
    Failed {
        place: Place,
        failure: Failure,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<i64>,
    },
    /// A step does not run: its `when` is false, or what it follows did not end as it asks (`unmet`).
    Skipped {
        place: Place,
        unmet: bool,
    },
    /// A step's branch or iteration begins.
    Entered {
        place: Place,
        sub: u32,
    },
    /// A step waits for a time, ms since 1970.
    Waiting {
        place: Place,
        until: i64,
    },
    /// A `set` step gave variables values.
    Assigned {
        place: Place,
        #[serde(deserialize_with = "exact::map")]
        vars: Map<String, Value>,
    },
    /// A `response` step answered.
    Responded {
        place: Place,
        response: Arc<Response>,
    },
    /// The process came back with this run open and at work; `crashed` unless it had been stopped in order.
    Recovered {
        crashed: bool,
    },
    /// The run waits for a person.
    Held {
        place: Option<Place>,
        failure: Failure,
    },
    /// A person let it go on.
    Released,
    /// The run ended.
    Finished {
        status: Status,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Queued,
    Running,
    Waiting,
    Held,
    Succeeded,
    Failed,
    Cancelled,
    TimedOut,
    Rejected,
}

impl Status {
    pub const ALL: [Status; 9] = [
        Status::Queued,
        Status::Running,
        Status::Waiting,
        Status::Held,
        Status::Succeeded,
        Status::Failed,
        Status::Cancelled,
        Status::TimedOut,
        Status::Rejected,
    ];

    /// True if nothing more can happen to the run.
    pub fn is_ended(self) -> bool {
        match self {
            Status::Queued | Status::Running | Status::Waiting | Status::Held => false,
            Status::Succeeded | Status::Failed | Status::Cancelled | Status::TimedOut | Status::Rejected => true,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Running => "running",
            Status::Waiting => "waiting",
            Status::Held => "held",
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
            Status::TimedOut => "timed_out",
            Status::Rejected => "rejected",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Status {
    type Err = String;
    fn from_str(text: &str) -> Result<Status, String> {
        let found = Status::ALL.into_iter().find(|status| status.name() == text);
        found.ok_or_else(|| {
            let names = Status::ALL.map(Status::name).join(", ");
            format!("`{text}` is not a run status; it is one of {names}")
        })
    }
}

/// A run as lists show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    pub run_id: RunId,
    pub flow: String,
    pub status: Status,
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub started_at: Timestamp,
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub updated_at: Timestamp,
    /// The run this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<RunId>,
    /// Why it failed or is held, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The version that [`Record::encode`] writes.
pub const RECORD_VERSION: u32 = 1;

/// One durable append: events that happened at one time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub v: u32,
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub at: Timestamp,
    pub events: Vec<Event>,
}

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the record was written by a newer version of Millstream (format {0}, this one reads {RECORD_VERSION})")]
    Newer(u32),
    #[error("the record is not what Millstream writes: {0}")]
    Damaged(#[from] serde_json::Error),
}

impl Record {
    pub fn encode(at: Timestamp, events: &[Event]) -> Vec<u8> {
        #[derive(Serialize)]
        struct Borrowed<'e> {
            v: u32,
            #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
            at: Timestamp,
            events: &'e [Event],
        }
        serde_json::to_vec(&Borrowed { v: RECORD_VERSION, at, events }).expect("events are plain JSON data")
    }

    pub fn decode(bytes: &[u8]) -> Result<Record, Unreadable> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        match serde_json::from_slice::<Record>(bytes) {
            Ok(record) if record.v == RECORD_VERSION => Ok(record),
            Ok(record) => Err(Unreadable::Newer(record.v)),
            Err(error) => match serde_json::from_slice::<Version>(bytes) {
                Ok(version) if version.v > RECORD_VERSION => Err(Unreadable::Newer(version.v)),
                _ => Err(Unreadable::Damaged(error)),
            },
        }
    }
}

/// Reads values with every number as it was written, exponents included.
mod exact {
    use std::sync::Arc;

    use serde::de::{Deserialize, Deserializer, Error};
    use serde_json::value::RawValue;
    use serde_json::{Map, Value};

    use crate::mapping::parse_json;

    pub fn value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        parse_json(raw.get().as_bytes()).map_err(D::Error::custom)
    }

    pub fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Value>, D::Error> {
        value(deserializer).map(Arc::new)
    }

    pub fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<Value>>, D::Error> {
        one(deserializer).map(Some)
    }

    pub fn map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
        match value(deserializer)? {
            Value::Object(map) => Ok(map),
            _ => Err(D::Error::custom("variables are an object")),
        }
    }
}
