//! Records: what one durable append holds, and how it is written.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Event;

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
        // Room for what nearly all of it is, so that it is not moved as it grows.
        let body = match events.first() {
            Some(Event::Started(started)) => started.request.body.text().len(),
            _ => 0,
        };
        let mut bytes = Vec::with_capacity(body + 1024);
        serde_json::to_writer(&mut bytes, &Borrowed { v: RECORD_VERSION, at, events })
            .expect("events are plain JSON data");
        bytes
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
pub(super) mod exact {
    use std::sync::Arc;

    use serde::de::{Deserialize, Deserializer, Error};
    use serde_json::value::RawValue;
    use serde_json::{Map, Value};

    use crate::mapping::parse_json_text;

    pub fn value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        parse_json_text(raw.get()).map_err(D::Error::custom)
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
