//! Connectors as described: settings, credentials, actions with their inputs and outputs, and how an answer is judged.
//!
//! Pure: it prepares requests ([`prepare`]) and judges answers ([`judge`]); `outbound` sends them. A connector is a
//! YAML file, shipped in the binary or found in the user's `connectors/`. A *native* one only describes; its work is
//! in `outbound/builtin`.

mod about;
mod auth;
mod base;
mod body;
mod choices;
mod declared;
mod judge;
mod multipart;
mod pages;
mod prepare;
mod read;
mod select;
mod shipped;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::schema::{Schema, Shape};

pub use about::{Proof, ProofKind};
pub use auth::{ApiKeyPlace, Auth, Aws, AzureService, Grant, Secret, Signature, Text};
pub(crate) use auth::{Assertion, Grounds, Leaf, Login, TokenBody};
pub(crate) use base::{base_url, of_secret, preview, secret_base};
pub use body::{body_text, plain_text};
pub use choices::Choices;
pub(crate) use declared::Keyed;
pub use declared::{Declared, Limits, Rate};
pub use judge::{Answer, Outcome, judge, retry_after};
pub(crate) use judge::{judge_page, judge_test, redirected, shorten, too_large};
pub(crate) use multipart::multipart;
pub(crate) use pages::{MAX_ITEMS, Next, Pager, Pages, Place as PagePlace};
pub use prepare::{Context, HttpRequest, prepare, safe_header};
pub(crate) use prepare::{prepare_test, test_context};
pub(crate) use select::Selection;
pub use shipped::{Connectors, SHIPPED};

/// A described system.
#[derive(Debug)]
pub struct Connector {
    pub name: String,
    pub description: String,
    /// What its users should know, in Markdown; empty if nothing is said.
    pub notes: String,
    /// How it was proved; a shipped one always says so.
    pub proof: Option<Proof>,
    /// The pages that it was written from.
    pub docs: Vec<String>,
    /// What a connection must set.
    pub settings: Schema,
    /// Names of the credentials that a connection may carry, and whether it must.
    pub credentials: BTreeMap<String, bool>,
    /// Whether a step must name a connection.
    pub connection: Need,
    pub actions: BTreeMap<String, Action>,
    /// How its calls are made.
    pub kind: Kind,
    /// Longest time of one attempt, where the connector says so.
    pub timeout: Option<Duration>,
    /// Values that a connection's settings have where they are not set.
    pub defaults: Map<String, Value>,
    /// The file's text: part of what a run pins.
    pub source: Arc<str>,
    /// SHA-256 of it.
    pub hash: [u8; 32],
}

/// How a connector's calls are made.
#[derive(Debug)]
pub enum Kind {
    /// In Rust, by `outbound/builtin`.
    Native,
    /// By the HTTP requests that its file declares.
    Declared(Box<Declared>),
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
    /// For other actions and the editor, not for steps.
    pub hidden: bool,
    /// Values that the input has where it leaves them out.
    pub defaults: Map<String, Value>,
    /// How long what it gives is kept for editors; only for a hidden one.
    pub cache: Option<Duration>,
    /// Inputs whose choices another action lists, by the way to them.
    pub choices: BTreeMap<String, Choices>,
    /// The call, for an action of a declared connector.
    pub(crate) call: Option<declared::Call>,
}

impl Action {
    /// How its answer is one page of several, if it is.
    pub(crate) fn pages(&self) -> Option<&Pages> {
        self.call.as_ref()?.pages.as_ref()
    }
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
    /// What the owner allows, beside what the connector declares; the stricter holds.
    pub limits: Limits,
    /// When its target counts as down; `None`: never.
    pub breaker: Option<Breaker>,
    /// The project folder: relative paths in settings start here.
    pub dir: PathBuf,
}

/// After how many failures in a row a target is left alone, and for how long at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    pub failures: u32,
    pub pause: Duration,
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker { failures: 5, pause: Duration::from_secs(30) }
    }
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

impl Failure {
    /// A failure that has neither a status nor a wait.
    pub fn new(class: Class, code: impl Into<String>, message: impl Into<String>) -> Failure {
        Failure { class, code: code.into(), message: message.into(), status: None, wait_ms: None }
    }
    /// The same, with the status that came back.
    pub fn with_status(mut self, status: u16) -> Failure {
        self.status = Some(status);
        self
    }
    /// The same, with the wait that the target asked for.
    pub fn with_wait(mut self, wait_ms: Option<u64>) -> Failure {
        self.wait_ms = wait_ms;
        self
    }
}

/// Code of a key that means nothing where it stands.
pub const UNKNOWN_KEY: &str = "E-CON-002";

/// Every code of a connector's file; each has a page in `docs/errors/`.
pub const CODES: [&str; 8] =
    ["E-CON-001", UNKNOWN_KEY, "E-CON-003", "E-CON-004", "E-CON-005", "E-CON-006", "E-CON-007", "E-CON-008"];

/// What is wrong with a connector's file: where, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable code, `E-CON-…`.
    pub code: &'static str,
    pub file: String,
    /// JSON Pointer to the place within the file; empty for the whole.
    pub pointer: String,
    pub what: String,
    pub hint: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = if self.pointer.is_empty() { "/" } else { &self.pointer };
        write!(f, "{} at {at}: {} {}", self.file, self.code, self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

/// Every `type` that `auth` of a connector's file can have.
pub fn auth_types() -> Vec<&'static str> {
    read::auth_types()
}

impl Connector {
    /// Reads one file; all problems at once. `file` is how problems name it.
    pub fn parse(file: &str, text: &str) -> Result<Connector, Vec<Problem>> {
        read::connector(file, text)
    }

    /// True if it is built in, and not a file of the project folder.
    pub fn is_shipped(&self) -> bool {
        SHIPPED.iter().any(|(_, text)| *text == &*self.source)
    }

    /// A connection's settings, with the defaults of those it leaves out.
    pub fn complete(&self, settings: &Value) -> Value {
        declared::with_defaults(settings, &self.defaults)
    }
}

#[cfg(test)]
mod tests;
