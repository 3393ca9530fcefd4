//! What a run's caller gets, if another run called it.

use serde_json::{Value, json};

use super::*;
use crate::connector::{Class, Failure};

/// How much of a child's own words its caller's error has, characters.
const WORDS: usize = 300;

impl Run {
    /// What the step that called this run gets: its response, or how it ended; `None` while it can still answer.
    pub fn outcome(&self) -> Option<Result<Value, Failure>> {
        let flow = &self.started.flow;
        if let Some(response) = &self.response {
            return Some(answered(flow, self.id, response));
        }
        let failed = |class: Class, how: &str| {
            let why = self.failure.as_ref().map(|failure| format!(": {}", failure.message)).unwrap_or_default();
            let message = format!("flow `{flow}` {how} (run {}){why}", self.id);
            Some(Err(Failure::new(class, "run.child_failed", message)))
        };
        match self.finished? {
            Status::Succeeded => Some(Ok(Value::Null)),
            Status::Cancelled => failed(Class::Permanent, "was cancelled"),
            Status::TimedOut => failed(Class::Retry, "timed out"),
            _ => failed(Class::Retry, "failed"),
        }
    }
}

/// What the step that called `flow` gets from this response of run `run`.
///
/// # Errors
/// If the response is one of a failure.
pub fn answered(flow: &str, run: RunId, response: &Response) -> Result<Value, Failure> {
    let status = response.status;
    if status < 400 {
        return Ok(json!({"status": status, "headers": response.headers, "body": response.body}));
    }
    let class = if status == 408 || status == 429 || status >= 500 { Class::Retry } else { Class::Permanent };
    let words: String = response.body.to_string().chars().take(WORDS).collect();
    let message = format!("flow `{flow}` answered {status} (run {run}): {words}");
    Err(Failure { status: Some(status), ..Failure::new(class, "run.child_answered", message) })
}
