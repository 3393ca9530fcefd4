//! The facts of a run, as the journal keeps them.
//!
//! Only facts: what was decided and what came back. Enums are externally tagged, so that numbers keep their digits
//! through serde.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::record::exact;
use super::{Body, Handled, Place, Rejected, Response, RunId, Started, Status, TookOver};
use crate::connector::Failure;

/// One fact. What it says of a place, it says of the step there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Started(Arc<Started>),
    Rejected(Box<Rejected>),
    /// The run does not begin with the first step: this is what the run that it repeats had given until then.
    TookOver(Box<TookOver>),
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
    /// A `foreach` begins; `collects` if each iteration gives a value.
    Iterating {
        place: Place,
        items: Body,
        #[serde(default, skip_serializing_if = "is_false")]
        collects: bool,
    },
    /// A step's branch or iteration begins; `again`: the iteration before it is forgotten.
    Entered {
        place: Place,
        sub: u32,
        #[serde(default, skip_serializing_if = "is_false")]
        again: bool,
    },
    /// An iteration of a `foreach` ended, with the value collected of it, or in this failure.
    Left {
        place: Place,
        sub: u32,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "exact::some")]
        value: Option<Arc<Value>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// A step waits for a time, ms since 1970.
    Waiting {
        place: Place,
        until: i64,
    },
    /// A `wait` step waits for its POST; at most until then, ms since 1970.
    Listening {
        place: Place,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<i64>,
    },
    /// The POST that a `wait` step waits for, or will wait for, came.
    Resumed {
        place: Place,
        #[serde(deserialize_with = "exact::one")]
        input: Arc<Value>,
    },
    /// An attempt of a call of another flow begins, as the run `child`. `input` as with `Called`; at most until then.
    Invoked {
        place: Place,
        attempt: u32,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "exact::some")]
        input: Option<Arc<Value>>,
        key: Uuid,
        child: RunId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<i64>,
    },
    /// A `set` step gave variables values. `owner` is how many leading numbers of the place name the branch or
    /// iteration that has them; 0: the run.
    Assigned {
        place: Place,
        #[serde(deserialize_with = "exact::map")]
        vars: Map<String, Value>,
        #[serde(default, skip_serializing_if = "is_zero")]
        owner: usize,
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
    /// The run will end like this, after the flow's `on_failure`.
    Failing {
        status: Status,
        failure: Failure,
        /// The `terminate` that ended it, if one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Place>,
    },
    /// The run ended.
    Finished {
        status: Status,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// The `terminate` that ended it, if one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Place>,
    },
    /// A person has dealt with it; the only fact that can follow its end.
    Handled(Handled),
}

impl Event {
    /// The step that an event says something of, unless it comes from the outside or holds the run.
    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Event::Called { place, .. }
            | Event::Succeeded { place, .. }
            | Event::Failed { place, .. }
            | Event::Skipped { place, .. }
            | Event::Iterating { place, .. }
            | Event::Entered { place, .. }
            | Event::Left { place, .. }
            | Event::Waiting { place, .. }
            | Event::Listening { place, .. }
            | Event::Resumed { place, .. }
            | Event::Invoked { place, .. }
            | Event::Assigned { place, .. }
            | Event::Responded { place, .. }
            | Event::Held { place: Some(place), .. } => Some(place),
            Event::Started(_)
            | Event::Rejected(_)
            | Event::TookOver(_)
            | Event::Handled(_)
            | Event::Recovered { .. }
            | Event::Held { place: None, .. }
            | Event::Released
            | Event::Failing { .. }
            | Event::Finished { .. } => None,
        }
    }

    /// As it is written.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Event::Started(_) => "started",
            Event::Rejected(_) => "rejected",
            Event::Called { .. } => "called",
            Event::Succeeded { .. } => "succeeded",
            Event::Failed { .. } => "failed",
            Event::Skipped { .. } => "skipped",
            Event::Iterating { .. } => "iterating",
            Event::Entered { .. } => "entered",
            Event::Left { .. } => "left",
            Event::Waiting { .. } => "waiting",
            Event::Listening { .. } => "listening",
            Event::Resumed { .. } => "resumed",
            Event::Invoked { .. } => "invoked",
            Event::Assigned { .. } => "assigned",
            Event::Responded { .. } => "responded",
            Event::Recovered { .. } => "recovered",
            Event::Held { .. } => "held",
            Event::Released => "released",
            Event::Failing { .. } => "failing",
            Event::Finished { .. } => "finished",
            Event::TookOver(_) => "took_over",
            Event::Handled(_) => "handled",
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}
