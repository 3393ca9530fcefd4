//! Tokens: got ahead of expiry, one fetch at a time for each connection, and kept over restarts where the next one takes
//! the last.

mod jwt;
mod kept;
pub(super) mod login;
mod request;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;
use tokio::time::Instant;

use super::{Inner, LOGIN_NEEDED};
use crate::connector::{Class, Connection, Connector, Context, Failure, Grant, Grounds};
use crate::points;
use kept::Kept;
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
        let got = if grant.is_kept() { entry.renew(&asker, stale).await } else { entry.fetch(&asker).await };
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

    async fn fetch(&self, asker: &Asker<'_>) -> Result<Token, Failure> {
        let Given { token, lifetime, answer, .. } = asker.ask(&Ticket::None).await?;
        let lifetime = lifetime.unwrap_or(asker.grant.lifetime);
        Ok(self.read(|state| state.put(token, answer, lifetime, lifetime)))
    }

    /// The next token by the last one's refresh token. The new one is on disk before it is used.
    async fn renew(&self, asker: &Asker<'_>, stale: Option<u64>) -> Result<Token, Failure> {
        let of = asker.whose().await?;
        self.write_what_was_not(asker).await;
        let unwritten = self.read(|state| state.unwritten.clone());
        let on_disk;
        let kept = match &unwritten {
            Some(kept) => Some(&**kept),
            None => {
                on_disk = asker.kept(&of)?;
                on_disk.as_ref()
            }
        };
        let now = Timestamp::now().as_millisecond();
        if let Some(kept) = kept
            && self.read(|state| state.token.is_none() && stale.is_none())
            && let Some(left) = left(kept, now)
        {
            // What was got before this process began still holds.
            let (token, answer) = (kept.token.clone(), kept.answer.clone());
            return Ok(self.read(|state| state.put(token.into(), answer, left, left)));
        }
        let refresh_token = match (kept.and_then(|kept| kept.refresh_token.clone()), &asker.grant.proof) {
            (Some(last), _) => last.into(),
            (None, Grounds::Refresh { first: Some(first) }) => asker.first(first).await?,
            (None, _) => return Err(login_needed(asker.connection, kept.is_some())),
        };
        let given = asker.ask(&Ticket::Refresh(refresh_token.clone())).await?;
        points::reach("outbound.token.given");
        let next = given.refresh_token.clone().unwrap_or(refresh_token);
        let lifetime = given.lifetime.unwrap_or(asker.grant.lifetime);
        let kept = Arc::new(Kept::new(of, &given, Some(&next), now));
        self.read(|state| state.unwritten = Some(kept));
        self.write_what_was_not(asker).await;
        points::reach("outbound.token.kept");
        Ok(self.read(|state| state.put(given.token, given.answer, lifetime, lifetime)))
    }

    /// If it cannot be written, it is tried again with the next renewal, and used meanwhile: the server may have given up
    /// the one on disk already.
    async fn write_what_was_not(&self, asker: &Asker<'_>) {
        let Some(kept) = self.read(|state| state.unwritten.clone()) else { return };
        match asker.keep(&kept).await {
            Ok(()) => self.read(|state| state.unwritten = None),
            Err(error) => {
                let connection = &asker.connection.name;
                tracing::error!(connection, "a new token could not be written: {error}; it is lost with this process");
            }
        }
    }
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
