//! How a run stands, and what lists show of it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::RunId;

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
    /// The stable code of that reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The run that called this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
    /// About how many bytes its records have: whole once it has ended, less while it goes on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes: u64,
    /// Set once a person has dealt with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled: Option<Handled>,
}

/// What a person did about a run that did not go well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handled {
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub at: Timestamp,
    /// The run that was started in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resubmitted_as: Option<RunId>,
    /// In the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Summary {
    /// True if it waits for a person who decides what becomes of it. A run that was called and has ended does not: its
    /// caller was told, and answers for it.
    pub fn is_unhandled(&self) -> bool {
        match self.status {
            Status::Held => true,
            Status::Failed | Status::TimedOut | Status::Rejected => self.handled.is_none() && self.parent.is_none(),
            Status::Queued | Status::Running | Status::Waiting | Status::Succeeded | Status::Cancelled => false,
        }
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
