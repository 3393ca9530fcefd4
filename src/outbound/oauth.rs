//! OAuth 2 client credentials: tokens fetched ahead of expiry, one fetch at a time for each connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::Inner;
use super::auth::{self, Attached};
use crate::connector::{Class, ClientCredentials, Connection, Context, Failure, HttpRequest, retry_after};

/// How long a token is used whose answer does not say.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);
/// A token is renewed this long before its end, or in the last fifth of its life if that is shorter.
const AHEAD: Duration = Duration::from_secs(300);
/// After a failed renewal a token that still holds is used at least this long before the next try.
const PAUSE: Duration = Duration::from_secs(15);
/// Longest answer of a token server.
const LIMIT: usize = 64 * 1024;

/// Tokens of all connections, in memory only.
#[derive(Default)]
pub(crate) struct Tokens {
    entries: Mutex<HashMap<String, Arc<Entry>>>,
}

#[derive(Default)]
struct Entry {
    state: Mutex<State>,
    /// Held while a token is fetched.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    renew_at: Option<Instant>,
    expires_at: Option<Instant>,
    generations: u64,
    /// So that all who waited for one fetch share its failure.
    failed: Option<(Instant, Failure)>,
}

/// A token, and which one it is.
#[derive(Clone)]
pub(crate) struct Token {
    pub value: SecretString,
    pub generation: u64,
}

impl State {
    /// The token, unless it has ended or is the one that was refused.
    fn usable(&self, stale: Option<u64>) -> Option<Token> {
        let token = self.token.as_ref().filter(|token| Some(token.generation) != stale)?;
        self.expires_at.is_some_and(|end| Instant::now() < end).then(|| token.clone())
    }
    fn is_due(&self) -> bool {
        self.renew_at.is_none_or(|at| Instant::now() >= at)
    }
}

impl Tokens {
    /// A token of this connection. `stale` is one that the target refused: it is not given again.
    pub async fn get(
        &self,
        inner: &Inner,
        connection: &Connection,
        grant: &ClientCredentials,
        context: &Context,
        deadline: Instant,
        stale: Option<u64>,
    ) -> Result<Token, Failure> {
        let request = Request::new(connection, grant, context)?;
        // Changed settings are another token.
        let key = format!("{}\n{}\n{}\n{:?}", connection.name, connection.connector, request.url, request.fields)
            + &connection.settings.to_string();
        let entry = self.entries.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();

        let began = Instant::now();
        let usable = entry.read(|state| state.usable(stale).map(|token| (token, state.is_due())));
        let _fetching = match usable {
            Some((token, false)) => return Ok(token),
            // Someone renews it already, and it still holds.
            Some((token, true)) => match entry.fetching.try_lock() {
                Ok(guard) => guard,
                Err(_) => return Ok(token),
            },
            None => match tokio::time::timeout_at(deadline, entry.fetching.lock()).await {
                Ok(guard) => guard,
                Err(_) => {
                    let what = format!("no token for the connection `{}` in time", connection.name);
                    return Err(Failure::new(Class::Retry, "outbound.timeout", what));
                }
            },
        };
        // While this one waited, another may have fetched it, or failed to.
        if let Some(token) = entry.read(|state| state.usable(stale).filter(|_| !state.is_due())) {
            return Ok(token);
        }
        let failed = entry.read(|state| state.failed.clone().filter(|(at, _)| *at >= began));
        if let Some((_, failure)) = failed {
            return Err(failure);
        }
        match request.fetch(inner, connection, grant, context, deadline).await {
            Ok((value, lifetime)) => Ok(entry.read(|state| {
                let now = Instant::now();
                state.generations += 1;
                let token = Token { value, generation: state.generations };
                state.renew_at = Some(now + lifetime - AHEAD.min(lifetime / 5));
                state.expires_at = Some(now + lifetime);
                state.failed = None;
                state.token = Some(token.clone());
                token
            })),
            Err(failure) => entry.read(|state| {
                let now = Instant::now();
                match state.usable(stale) {
                    Some(token) => {
                        tracing::warn!(connection = connection.name, code = failure.code, "{}", failure.message);
                        state.renew_at = Some(now + PAUSE);
                        Ok(token)
                    }
                    None => {
                        state.failed = Some((now, failure.clone()));
                        Err(failure)
                    }
                }
            }),
        }
    }
}

impl Entry {
    fn read<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A token request, but for the secret.
struct Request {
    url: Url,
    fields: Vec<(&'static str, String)>,
}

impl Request {
    fn new(connection: &Connection, grant: &ClientCredentials, context: &Context) -> Result<Request, Failure> {
        let text = match &connection.token_url {
            Some(text) => text.clone(),
            None => context.text(&grant.token_url)?.unwrap_or_default(),
        };
        let url = Url::parse(&text).map_err(|error| {
            let what = format!("the token URL `{text}` of the connection `{}` is not a URL: {error}", connection.name);
            Failure::new(Class::Held, "connector.token_url", what)
        })?;
        let mut fields = vec![("grant_type", "client_credentials".to_owned())];
        for (name, template) in [("scope", &grant.scope), ("audience", &grant.audience)] {
            if let Some(value) = template.as_ref().map(|template| context.text(template)).transpose()?.flatten() {
                fields.push((name, value));
            }
        }
        Ok(Request { url, fields })
    }

    async fn fetch(
        &self,
        inner: &Inner,
        connection: &Connection,
        grant: &ClientCredentials,
        context: &Context,
        deadline: Instant,
    ) -> Result<(SecretString, Duration), Failure> {
        let id = auth::text(inner, connection, context, &grant.client_id).await?;
        let secret = auth::value(inner, connection, &grant.client_secret).await?;
        let (form, attached) = {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(&self.fields);
            if grant.basic {
                (form.finish(), Some(Attached::basic(self.url.origin(), id.expose_secret(), secret.clone())))
            } else {
                form.append_pair("client_id", id.expose_secret()).append_pair("client_secret", secret.expose_secret());
                (form.finish(), None)
            }
        };
        let request = HttpRequest {
            method: "POST".into(),
            url: self.url.clone(),
            headers: vec![
                ("Content-Type".into(), "application/x-www-form-urlencoded".into()),
                ("Accept".into(), "application/json".into()),
            ],
            body: Some(form.into_bytes()),
        };
        let sent = inner.client.send(&request, attached.as_ref(), deadline, LIMIT).await;
        let answer = sent.map_err(|mut failure| {
            // Asking for a token does nothing that a second asking could double.
            if failure.class == Class::Unknown {
                failure.class = Class::Retry;
            }
            failure.message = format!("no token for the connection `{}`: {}", connection.name, failure.message);
            failure
        })?;
        let body = answer.json().unwrap_or(Value::Null);
        let status = answer.status;
        let named = |class: Class, code: &str, what: String| {
            let what = what.replace(secret.expose_secret(), "[redacted]");
            let what = format!("no token for the connection `{}`: {what}", connection.name);
            Failure::new(class, code, what).with_status(status)
        };
        if status == 429 || status >= 500 || status == 408 {
            let wait = retry_after(&answer, Timestamp::now());
            return Err(named(
                Class::Throttled,
                "outbound.token_unavailable",
                format!("the token server answered {status}"),
            )
            .with_wait(wait));
        }
        let token = body.get("access_token").and_then(Value::as_str).filter(|token| !token.is_empty());
        let Some(token) = token.filter(|_| (200..300).contains(&status)) else {
            let say = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
            // The secret goes before the rest is cut, so that no half of it stays.
            let said = format!("{} {}", say("error"), say("error_description"));
            let said: String = said.replace(secret.expose_secret(), "[redacted]").chars().take(300).collect();
            let what = format!(
                "the token server refused (status {status}) {}; check client id, secret and scope",
                said.split_whitespace().collect::<Vec<_>>().join(" ")
            );
            return Err(named(Class::Held, "outbound.token_refused", what));
        };
        let seconds = match body.get("expires_in") {
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        let lifetime = seconds.filter(|seconds| *seconds > 0.0 && *seconds < 1e8).map(Duration::from_secs_f64);
        Ok((token.into(), lifetime.unwrap_or(DEFAULT_LIFETIME)))
    }
}
