//! `alerts`: which flow hears of runs that did not go well.

use serde::Deserialize;

/// A flow that is started when runs of other flows end badly or are held.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alerts {
    /// Its id.
    pub flow: String,
    #[serde(default = "usual")]
    pub on: Vec<AlertOn>,
    /// Most alerts in a minute; what comes beyond it is told together in the next one.
    #[serde(default = "ten")]
    pub per_minute: u32,
}

/// How a run can stand that is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertOn {
    Failed,
    TimedOut,
    Held,
    Cancelled,
    Rejected,
}

impl AlertOn {
    /// As runs' statuses are written.
    pub fn name(self) -> &'static str {
        match self {
            AlertOn::Failed => "failed",
            AlertOn::TimedOut => "timed_out",
            AlertOn::Held => "held",
            AlertOn::Cancelled => "cancelled",
            AlertOn::Rejected => "rejected",
        }
    }
}

fn usual() -> Vec<AlertOn> {
    vec![AlertOn::Failed, AlertOn::TimedOut, AlertOn::Held]
}

fn ten() -> u32 {
    10
}
