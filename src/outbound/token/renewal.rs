//! One renewal by refresh token, from the request to the disk, in a task of its own: a step that is cancelled or out of time
//! while the server answers must not lose the only refresh token that the server still knows.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::super::auth::Attached;
use super::super::client::Client;
use super::kept::{Kept, write};
use super::request::{Given, LIMIT, given};
use super::{Entry, Token};
use crate::connector::{Answer, Failure, HttpRequest, Selection};
use crate::points;
use crate::vault::Vault;

/// How long a token server gets, however little time the step has that asks.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Renewal {
    pub client: Arc<Client>,
    pub vault: Option<Arc<Vault>>,
    pub entry: Arc<Entry>,
    pub connection: String,
    /// Whose the token is.
    pub of: String,
    /// What is asked with: it stays if the server gives no other.
    pub last: SecretString,
    pub request: HttpRequest,
    pub attached: Option<Attached>,
    pub token: Selection,
    pub expires_in: Selection,
    pub lifetime: Duration,
    /// Held until the end.
    pub fetching: OwnedMutexGuard<()>,
}

/// Why there is no new token.
pub(super) enum Refused {
    /// There was no answer.
    Sending(Failure),
    /// It brought none.
    Answer(Answer),
}

impl Renewal {
    /// The new one is on disk before it is used.
    pub async fn run(self) -> Result<Token, Refused> {
        let deadline = Instant::now() + PATIENCE;
        let sent = self.client.send(&self.request, self.attached.as_ref(), deadline, LIMIT).await;
        let answer = sent.map_err(Refused::Sending)?;
        let Some(given) = given(&answer, &self.token, &self.expires_in) else { return Err(Refused::Answer(answer)) };
        points::reach("outbound.token.given");
        let next = given.refresh_token.as_ref().unwrap_or(&self.last);
        let kept = Kept::new(self.of, &given, Some(next), Timestamp::now().as_millisecond());
        self.entry.read(|state| state.unwritten = Some(Arc::new(kept)));
        self.entry.write_what_was_not(self.vault.as_ref(), &self.connection).await;
        points::reach("outbound.token.kept");
        let Given { token, lifetime, answer, .. } = given;
        let lifetime = lifetime.unwrap_or(self.lifetime);
        let token = self.entry.read(|state| state.put(token, answer, lifetime, lifetime));
        // Only now may another begin.
        drop(self.fetching);
        Ok(token)
    }
}

impl Entry {
    /// If it cannot be written, it is tried again with the next renewal, and used meanwhile: the server may have given up
    /// the one on disk already.
    pub(super) async fn write_what_was_not(&self, vault: Option<&Arc<Vault>>, connection: &str) {
        let (Some(kept), Some(vault)) = (self.read(|state| state.unwritten.clone()), vault) else { return };
        match write(vault.clone(), connection.to_owned(), &kept).await {
            Ok(()) => self.read(|state| state.unwritten = None),
            Err(error) => {
                tracing::error!(connection, "a new token could not be written: {error}; it is lost with this process");
            }
        }
    }
}
