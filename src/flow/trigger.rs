//! What starts a flow, as checked.

use std::time::Duration;

use crate::mapping::Template;
use crate::schema::Schema;

/// What starts a flow.
#[derive(Debug, Default)]
pub struct Trigger {
    pub schema: Option<Schema>,
    pub dedupe: Option<Dedupe>,
}

/// When two requests are the same.
#[derive(Debug)]
pub struct Dedupe {
    pub key: Vec<Template>,
    pub window: Duration,
}
