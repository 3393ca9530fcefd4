//! The flow language.

use crate::schema::Schema;

/// A flow as checked: every name resolved, every template parsed.
#[derive(Debug)]
pub struct Flow {
    pub id: String,
    pub description: Option<String>,
    pub trigger: Trigger,
    /// True if a step answers the caller, who then waits for it.
    pub answers: bool,
}

/// What starts a flow.
#[derive(Debug)]
pub struct Trigger {
    pub schema: Option<Schema>,
}
