//! Performs an action: auth, limits, address guard.
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::connector::{Connection, Connector, Failure};

/// One attempt of an action.
pub struct Call<'a> {
    pub connector: &'a Arc<Connector>,
    pub action: &'a str,
    pub connection: Option<&'a Arc<Connection>>,
    pub input: &'a Value,
    pub key: Uuid,
    pub timeout: Duration,
    pub output_limit: usize,
}

#[derive(Clone)]
pub struct Outbound {}

impl Outbound {
    pub async fn perform(&self, call: Call<'_>) -> Result<Value, Failure> { let _ = call.key; todo!() }
}
