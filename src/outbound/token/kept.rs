//! Tokens that are kept over restarts: those of a login, and refresh tokens that the server replaced. They lie in the
//! vault's file, encrypted, and are there before the one they replace is given up.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::request::{Asker, Given};
use crate::connector::{Class, Failure, Grounds, Login, Secret};
use crate::vault::{self, Vault};

/// The token of one connection as it is kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Whose it is: client, token server, and what it was first made of. Any other may not have it.
    of: String,
    pub token: String,
    /// Ms since 1970; `None` if the server did not say.
    pub expires_at: Option<i64>,
    pub refresh_token: Option<String>,
    pub answer: Value,
}

impl Kept {
    pub fn new(of: String, given: &Given, refresh_token: Option<&SecretString>, now_ms: i64) -> Kept {
        let text = |secret: &SecretString| secret.expose_secret().to_owned();
        Kept {
            of,
            token: text(&given.token),
            expires_at: given.lifetime.map(|lifetime| now_ms.saturating_add_unsigned(lifetime.as_millis() as u64)),
            refresh_token: refresh_token.map(text),
            answer: given.answer.clone(),
        }
    }
}

impl Asker<'_> {
    /// Whose the token is. Its server is part of it: a connection that is pointed elsewhere must not send it there.
    pub async fn whose(&self) -> Result<String, Failure> {
        let mut parts = vec![self.connector.name.clone(), self.url()?.to_string()];
        let first = match &self.grant.proof {
            Grounds::Refresh { first } => first.as_ref(),
            Grounds::None | Grounds::Assertion(_) => None,
        };
        if let Some(secret) = first {
            parts.push(self.first(secret).await?.expose_secret().to_owned());
        }
        if let Some(Login { client_id, .. }) = &self.grant.login {
            let id = self.text(client_id, &mut Vec::new()).await?.unwrap_or_default();
            parts.push(id.expose_secret().to_owned());
        }
        let digest = Sha256::digest(parts.join("\n"));
        Ok(digest[..16].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The refresh token that a person set.
    pub async fn first(&self, secret: &Secret) -> Result<SecretString, Failure> {
        super::super::auth::value(self.inner, self.connection, secret).await
    }

    /// What is kept of this connection, if it is whose it was.
    pub fn kept(&self, of: &str) -> Result<Option<Kept>, Failure> {
        let Some(vault) = self.inner.secrets.vault() else { return Ok(None) };
        let name = &self.connection.name;
        let unreadable = |why: &dyn std::fmt::Display| {
            let what = format!("the token of the connection `{name}` cannot be read: {why}");
            Failure::new(Class::Held, "secret.invalid", what)
        };
        let Some(text) = vault.token(name).map_err(|error| unreadable(&error))? else { return Ok(None) };
        let kept: Kept =
            serde_json::from_str(text.expose_secret()).map_err(|_| unreadable(&"it is of another form"))?;
        Ok((kept.of == of).then_some(kept))
    }

    /// Durable on return.
    pub async fn keep(&self, kept: &Kept) -> Result<(), vault::Error> {
        match self.inner.secrets.vault() {
            Some(vault) => write(vault.clone(), self.connection.name.clone(), kept).await,
            None => Ok(()),
        }
    }
}

/// On a thread that may wait for the disk; begun, it comes to its end. Durable on return.
pub(super) async fn write(vault: Arc<Vault>, connection: String, kept: &Kept) -> Result<(), vault::Error> {
    let text = SecretString::from(serde_json::to_string(kept).expect("texts and numbers are plain JSON data"));
    match tokio::task::spawn_blocking(move || vault.set_token(&connection, &text)).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
