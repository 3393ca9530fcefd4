//! Who may ask the admin API for what: tokens and their roles, how often one may guess, and the log of what was done.
//!
//! ```text
//! tokens.rs   API tokens, stored as hashes         throttle.rs  bad tokens of one address
//! audit.rs    what was done, by whom, and what was refused
//! ```

pub mod audit;
mod throttle;
mod tokens;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::journal::{self, Journal};
use audit::Audit;
use throttle::Throttle;
use tokens::Tokens;

pub use throttle::Attempt;
pub use tokens::{Denied, Token};

/// What a token may do; each role may also do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads flows and runs, with their data.
    Viewer,
    /// Also starts runs and handles them.
    Operator,
    /// Also tokens, the audit log, and whatever shows or changes a key.
    Admin,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        let found = Role::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| "a role is viewer, operator or admin".to_owned())
    }
}

/// Whose token a request carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The token's name; `admin.token` for the one in the data folder.
    pub name: Arc<str>,
    pub role: Role,
}

/// What a token is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    Good(Who),
    /// It was a good one, of this name.
    Expired(String),
    Unknown,
}

/// The tokens of one data folder, its audit log, and who guesses.
pub struct Access {
    tokens: Tokens,
    throttle: Mutex<Throttle>,
    pub audit: Audit,
}

impl Access {
    /// Reads the tokens; `admin` is the one that lies in the data folder, and has the role of that name.
    ///
    /// # Errors
    /// If the journal cannot be read, or holds a token that this version does not understand.
    pub fn open(journal: &Journal, data: &Path, admin: &SecretString) -> Result<Access, journal::Error> {
        Ok(Access { tokens: Tokens::load(journal, admin)?, throttle: Mutex::default(), audit: Audit::of(data) })
    }

    /// What a token is worth at this time, ms since 1970. Compares hashes with all of them, in constant time.
    pub fn judge(&self, given: &str, now_ms: i64) -> Judged {
        self.tokens.judge(given, now_ms)
    }

    /// Counts a bad token of this address.
    pub fn refused(&self, from: Option<IpAddr>, now_ms: i64) -> Attempt {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.refused(from, now_ms)
    }

    /// All tokens by name, without what they are.
    pub fn tokens(&self) -> Vec<Token> {
        self.tokens.list()
    }

    /// Makes a token, durable on return. The text is in no other place: it can be shown once.
    ///
    /// # Errors
    /// If the name cannot be one or is taken, or the journal cannot be written.
    pub async fn add(
        &self,
        name: &str,
        role: Role,
        now_ms: i64,
        expires_ms: Option<i64>,
    ) -> Result<(Token, SecretString), Denied> {
        self.tokens.add(name, role, now_ms, expires_ms).await
    }

    /// From now on the token lets nobody in.
    ///
    /// # Errors
    /// If there is none of this name, or the journal cannot be written.
    pub async fn remove(&self, name: &str) -> Result<(), Denied> {
        self.tokens.remove(name).await
    }
}
