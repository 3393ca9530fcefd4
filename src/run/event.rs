//! The facts of a run, as the journal keeps them.
//!
//! Only facts: what was decided and what came back. Enums are externally tagged, so that numbers keep their digits
//! through serde.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::record::exact;
use super::{Place, Rejected, Response, Started, Status};
use crate::connector::Failure;

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
