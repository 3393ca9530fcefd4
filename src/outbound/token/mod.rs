//! Tokens: got ahead of expiry, one fetch at a time for each connection, and kept over restarts where the next one takes
//! the last.

mod jwt;
mod kept;
pub(super) mod login;
mod renewal;
mod request;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::{Inner, LOGIN_NEEDED};
use crate::connector::{Class, Connection, Connector, Context, Failure, Grant, Grounds};
use kept::Kept;
use renewal::{Refused, Renewal};
pub(super) use request::Asker;
use request::{Given, Ticket};

/// A token is renewed this long before its end, or in the last fifth of its life if that is shorter.
const AHEAD: Duration = Duration::from_secs(300);
/// After a failed renewal a token that still holds is used at least this long before the next try.
const PAUSE: Duration = Duration::from_secs(15);
/// How long a token is used that cannot be renewed and whose server named no end: until it is refused.
const NO_END: Duration = Duration::from_secs(3 * 365 * 24 * 3600);

/// Tokens of all connections.
#[derive(Default)]
pub(crate) struct Tokens {
    entries: Mutex<HashMap<String, Arc<Entry>>>,
    pub logins: login::Logins,
}

#[derive(Default)]
struct Entry {
    state: Mutex<State>,
    /// Held while a token is fetched.
    fetching: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    renew_at: Option<Instant>,
    expires_at: Option<Instant>,
    generations: u64,
    /// So that all who waited for one fetch share its failure.
    failed: Option<(Instant, Failure)>,
    /// What came last and could not be written yet: the server may know no other any more.
    unwritten: Option<Arc<Kept>>,
}

/// A token, and which one it is.
#[derive(Clone)]
pub(crate) struct Token {
    pub value: SecretString,
    pub generation: u64,
    /// What the answer said that brought it, without the token.
    pub answer: Arc<Value>,
}

/// What can be told of a token.
pub(crate) struct Known {
    /// True if it can be used, or be renewed without a person.
    pub is_good: bool,
    pub expires_at: Option<Timestamp>,
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
    /// Puts a token in use that has `left` to live of its whole `lifetime`.
    fn put(&mut self, value: SecretString, answer: Value, left: Duration, lifetime: Duration) -> Token {
        let now = Instant::now();
        self.generations += 1;
        let token = Token { value, generation: self.generations, answer: Arc::new(answer) };
        self.renew_at = Some(now + left.saturating_sub(AHEAD.min(lifetime / 5)));
        self.expires_at = Some(now + left);
        self.failed = None;
        self.token = Some(token.clone());
        token
    }
}

impl Tokens {
    /// A token of this connection. `stale` is one that the target refused: it is not given again.
    #[expect(clippy::too_many_arguments, reason = "each is a different thing, and there is one caller")]
    pub async fn get(
        &self,
        inner: &Inner,
        connector: &Connector,
        connection: &Connection,
        grant: &Grant,
        context: &Context,
        deadline: Instant,
        stale: Option<u64>,
    ) -> Result<Token, Failure> {
        let asker = Asker { inner, connector, connection, grant, context, deadline };
        let entry = self.entry(&asker)?;
        let began = Instant::now();
        let usable = entry.read(|state| state.usable(stale).map(|token| (token, state.is_due())));
        let fetching = match usable {
            Some((token, false)) => return Ok(token),
            // Someone renews it already, and it still holds.
            Some((token, true)) => match entry.fetching.clone().try_lock_owned() {
                Ok(guard) => guard,
                Err(_) => return Ok(token),
            },
            None => match tokio::time::timeout_at(deadline, entry.fetching.clone().lock_owned()).await {
                Ok(guard) => guard,
                Err(_) => return Err(not_in_time(connection)),
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
        let got = match grant.is_kept() {
            true => entry.renew(&asker, stale, fetching).await,
            false => entry.fetch(&asker, fetching).await,
        };
        match got {
            Ok(token) => Ok(token),
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

    fn entry(&self, asker: &Asker<'_>) -> Result<Arc<Entry>, Failure> {
        // Changed settings are another token, and so is another way to get one.
        let Asker { connection, connector, grant, .. } = asker;
        let parts =
            [connection.name.as_str(), &connector.name, asker.url()?.as_str(), &connection.settings.to_string()]
                .join("\n");
        let key = format!("{parts}\n{}", grant.source);
        Ok(self.entries.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone())
    }

    /// What is known of the token: in memory, or kept from before.
    pub async fn standing(&self, asker: &Asker<'_>) -> Option<Known> {
        let now = Timestamp::now();
        if let Ok(entry) = self.entry(asker)
            && let Some(end) = entry.read(|state| state.token.as_ref().and(state.expires_at))
        {
            let left = end.saturating_duration_since(Instant::now());
            let is_endless = left > NO_END / 2;
            let expires_at = now.checked_add(left).ok().filter(|_| !is_endless);
            return Some(Known { is_good: asker.grant.is_kept() || !left.is_zero(), expires_at });
        }
        let of = asker.whose().await.ok().filter(|_| asker.grant.is_kept())?;
        let kept = asker.kept(&of).ok()??;
        let expires_at = kept.expires_at.and_then(|end| Timestamp::from_millisecond(end).ok());
        let is_good = kept.refresh_token.is_some() || expires_at.is_none_or(|end| end > now);
        Some(Known { is_good, expires_at })
    }

    /// What a person's login brought, in place of what was there. Durable on return.
    async fn logged_in(&self, asker: &Asker<'_>, given: &Given) -> Result<(), Failure> {
        let entry = self.entry(asker)?;
        // A renewal that is under way would put the old one back.
        let _fetching = entry.fetching.lock().await;
        let kept =
            Kept::new(asker.whose().await?, given, given.refresh_token.as_ref(), Timestamp::now().as_millisecond());
        asker.keep(&kept).await.map_err(|error| {
            let name = &asker.connection.name;
            let what = format!("the login of the connection `{name}` could not be written: {error}; log in again");
            Failure::new(Class::Held, "secret.invalid", what)
        })?;
        self.forget(&asker.connection.name);
        Ok(())
    }

    /// The tokens of this connection in memory are not used any more: another is kept.
    fn forget(&self, connection: &str) {
        let start = format!("{connection}\n");
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| !key.starts_with(&start));
    }
}

impl Entry {
    fn read<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn fetch(&self, asker: &Asker<'_>, _fetching: OwnedMutexGuard<()>) -> Result<Token, Failure> {
        let Given { token, lifetime, answer, .. } = asker.ask(&Ticket::None).await?;
        let lifetime = lifetime.unwrap_or(asker.grant.lifetime);
        Ok(self.read(|state| state.put(token, answer, lifetime, lifetime)))
    }

    /// The next token by the last one's refresh token.
    async fn renew(
        self: &Arc<Entry>,
        asker: &Asker<'_>,
        stale: Option<u64>,
        fetching: OwnedMutexGuard<()>,
    ) -> Result<Token, Failure> {
        let of = asker.whose().await?;
        let vault = asker.inner.secrets.vault().cloned();
        self.write_what_was_not(vault.as_ref(), &asker.connection.name).await;
        let unwritten = self.read(|state| state.unwritten.clone());
        let on_disk;
        let kept = match &unwritten {
            Some(kept) => Some(&**kept),
            None => {
                on_disk = asker.kept(&of)?;
                on_disk.as_ref()
            }
        };
        if let Some(kept) = kept
            && self.read(|state| state.token.is_none() && stale.is_none())
            && let Some(left) = left(kept, Timestamp::now().as_millisecond())
        {
            // What was got before this process began still holds.
            let (token, answer) = (kept.token.clone(), kept.answer.clone());
            return Ok(self.read(|state| state.put(token.into(), answer, left, left)));
        }
        let last: SecretString = match (kept.and_then(|kept| kept.refresh_token.clone()), &asker.grant.proof) {
            (Some(last), _) => last.into(),
            (None, Grounds::Refresh { first: Some(first) }) => asker.first(first).await?,
            (None, _) => return Err(login_needed(asker.connection, kept.is_some())),
        };
        let mut secrets = Vec::new();
        let (request, attached) = asker.request(&Ticket::Refresh(last.clone()), &mut secrets).await?;
        let renewal = Renewal {
            client: asker.inner.client.clone(),
            vault,
            entry: self.clone(),
            connection: asker.connection.name.clone(),
            of,
            last,
            request,
            attached,
            token: asker.grant.token.clone(),
            expires_in: asker.grant.expires_in.clone(),
            lifetime: asker.grant.lifetime,
            fetching,
        };
        match tokio::time::timeout_at(asker.deadline, tokio::spawn(renewal.run())).await {
            Ok(Ok(Ok(token))) => Ok(token),
            Ok(Ok(Err(Refused::Sending(failure)))) => Err(asker.unsent(failure)),
            Ok(Ok(Err(Refused::Answer(answer)))) => Err(asker.no_token(&answer, &secrets)),
            Ok(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            // It goes on, and the next who asks finds what it brought.
            Err(_) => Err(not_in_time(asker.connection)),
        }
    }
}

fn not_in_time(connection: &Connection) -> Failure {
    let what = format!("no token for the connection `{}` in time", connection.name);
    Failure::new(Class::Retry, "outbound.timeout", what)
}

/// How long a kept token still holds; `None` if it has ended, or ends so soon that it must be renewed.
fn left(kept: &Kept, now_ms: i64) -> Option<Duration> {
    let Some(end) = kept.expires_at else {
        // One that can be renewed is, at a start: nobody knows how old it is.
        return kept.refresh_token.is_none().then_some(NO_END);
    };
    let left = Duration::from_millis(u64::try_from(end - now_ms).ok()?);
    (!left.is_zero()).then_some(left)
}

fn login_needed(connection: &Connection, had: bool) -> Failure {
    let name = &connection.name;
    let why = if had { "the login has ended" } else { "nobody has logged in yet" };
    let what = format!("no token for the connection `{name}`: {why}; run `millstream connections login {name}`");
    Failure::new(Class::Held, LOGIN_NEEDED, what)
}
