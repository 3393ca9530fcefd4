//! A target that is down is left alone for a while: a breaker for each connection.
//!
//! Closed, calls go. After so many failures in a row that mean that the target is down, it opens: calls are held back, which
//! uses up none of their attempts, until the pause is over. Then one call tries; if it gets through, the breaker closes, else
//! the pause begins anew, twice as long, at most ten times. Nothing of it outlives the process: after a start it is closed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use crate::connector::{Breaker, Class, Connection, Failure};

/// Code of a call that was held back.
const OPEN: &str = "outbound.breaker_open";
/// A pause grows to so many times its length.
const LONGEST: u32 = 10;

/// The breakers of all connections, made when the first call fails.
#[derive(Default)]
pub(super) struct Breakers {
    states: Mutex<BTreeMap<String, State>>,
    opened: AtomicU64,
}

#[derive(Default)]
struct State {
    /// In a row.
    failures: u32,
    open: Option<Open>,
    /// What the last of them said.
    last: String,
}

struct Open {
    since: Timestamp,
    until: Instant,
    pause: Duration,
    /// One call is trying whether the target is back.
    trying: bool,
}

/// A breaker that is not closed, as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BreakerState {
    pub connection: String,
    /// `open`, or `half_open` while one call tries or may try.
    pub state: &'static str,
    pub since: Timestamp,
    /// When the next call may try, ms from now; 0 once it may.
    pub tries_in_ms: u64,
    /// Failures in a row.
    pub failures: u32,
    /// What the last of them said.
    pub last_error: String,
}

/// Held by the one call that tries; given up without a verdict, the next one tries.
pub(super) struct Trying(Arc<Breakers>, String);

impl Drop for Trying {
    fn drop(&mut self) {
        if let Some(open) = self.0.lock().get_mut(&self.1).and_then(|state| state.open.as_mut()) {
            open.trying = false;
        }
    }
}

impl Breakers {
    /// Refuses a call while the breaker is open.
    ///
    /// # Errors
    /// Throttled, with the time until a call may try.
    pub fn look(&self, connection: &Connection) -> Result<(), Failure> {
        let Some(settings) = connection.breaker else { return Ok(()) };
        match self.lock().get(&connection.name).and_then(|state| Some((state, state.open.as_ref()?))) {
            Some((state, open)) => open.refuses(connection, state, settings).map_or(Ok(()), Err),
            None => Ok(()),
        }
    }

    /// The same for a call that goes now: where the pause is over it is the one that tries.
    ///
    /// # Errors
    /// As [`Breakers::look`].
    pub fn pass(self: &Arc<Self>, connection: &Connection) -> Result<Option<Trying>, Failure> {
        let Some(settings) = connection.breaker else { return Ok(None) };
        let mut states = self.lock();
        let Some(state) = states.get_mut(&connection.name) else { return Ok(None) };
        let Some(open) = &state.open else { return Ok(None) };
        if let Some(refused) = open.refuses(connection, state, settings) {
            return Err(refused);
        }
        if let Some(open) = &mut state.open {
            open.trying = true;
        }
        Ok(Some(Trying(self.clone(), connection.name.clone())))
    }

    /// Takes in how a call ended.
    pub fn note<T>(&self, connection: &Connection, result: &Result<T, Failure>) {
        let Some(settings) = connection.breaker else { return };
        match result {
            Ok(_) => self.is_up(connection),
            Err(failure) if is_down(failure) => self.is_down(connection, settings, failure),
            // It answered, though not as was hoped.
            Err(failure) if failure.status.is_some() => self.is_up(connection),
            Err(_) => {}
        }
    }

    fn is_up(&self, connection: &Connection) {
        // Most targets are up, and have no entry.
        if let Some(state) = self.lock().remove(&connection.name)
            && state.open.is_some()
        {
            tracing::info!(connection = connection.name, "the target answers again; calls go on");
        }
    }

    fn is_down(&self, connection: &Connection, settings: Breaker, failure: &Failure) {
        let mut states = self.lock();
        let state = states.entry(connection.name.clone()).or_default();
        state.failures = state.failures.saturating_add(1);
        state.last.clone_from(&failure.message);
        match &mut state.open {
            // Calls that had gone before it opened say nothing new.
            Some(open) if !open.trying && Instant::now() < open.until => {}
            Some(open) => {
                open.pause = (open.pause * 2).min(settings.pause * LONGEST);
                open.until = Instant::now() + open.pause;
                open.trying = false;
            }
            None if state.failures >= settings.failures => {
                let until = Instant::now() + settings.pause;
                state.open = Some(Open { since: Timestamp::now(), until, pause: settings.pause, trying: false });
                self.opened.fetch_add(1, Ordering::Relaxed);
                let (failures, why) = (state.failures, &failure.message);
                tracing::warn!(connection = connection.name, failures, why, "the target is down; its calls wait");
            }
            None => {}
        }
    }

    /// Those that are not closed, by name.
    pub fn states(&self) -> Vec<BreakerState> {
        let now = Instant::now();
        let states = self.lock();
        let open = states.iter().filter_map(|(connection, state)| {
            let open = state.open.as_ref()?;
            let wait = open.until.saturating_duration_since(now);
            Some(BreakerState {
                connection: connection.clone(),
                state: if wait.is_zero() { "half_open" } else { "open" },
                since: open.since,
                tries_in_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                failures: state.failures,
                last_error: state.last.clone(),
            })
        });
        open.collect()
    }

    /// How often one has opened since the start.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn refuses(&self, connection: &Connection, state: &State, settings: Breaker) -> Option<Failure> {
        let left = self.until.saturating_duration_since(Instant::now());
        let wait = match (left.is_zero(), self.trying) {
            (true, false) => return None,
            // What the one that tries finds out, the next ones hear soon.
            (true, true) => (settings.pause / 4).max(Duration::from_millis(100)),
            (false, _) => left,
        };
        let what = format!(
            "the connection `{}` is not called for now, since its target is down ({} failures in a row; the last: {})",
            connection.name, state.failures, state.last
        );
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        Some(Failure::new(Class::Throttled, OPEN, what).with_wait(Some(wait_ms)))
    }
}

/// True if the target cannot be reached, gives no answer, or one of its own failure. A rule that knows better (a duplicate
/// that is told with 500) is an answer.
fn is_down(failure: &Failure) -> bool {
    let told = matches!(failure.class, Class::Retry | Class::Throttled | Class::Unknown);
    match failure.status {
        Some(status) => told && status >= 500,
        None => {
            let kind = failure.code.rsplit('.').next().unwrap_or_default();
            told && matches!(kind, "connect" | "timeout" | "connection_lost" | "token_unavailable")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::SecretSource;

    fn connection() -> Connection {
        Connection {
            name: "crm".into(),
            connector: "http".into(),
            settings: serde_json::Value::Null,
            credentials: BTreeMap::<String, SecretSource>::new(),
            base_url: None,
            token_url: None,
            limits: Default::default(),
            breaker: Some(Breaker { failures: 2, pause: Duration::from_secs(30) }),
            dir: Default::default(),
        }
    }

    fn failed(class: Class, code: &str, status: Option<u16>) -> Result<(), Failure> {
        Err(Failure { status, ..Failure::new(class, code, "why") })
    }

    fn down() -> Result<(), Failure> {
        failed(Class::Retry, "outbound.connect", None)
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_lets_one_try_and_closes_when_that_gets_through() {
        let (breakers, crm) = (Arc::new(Breakers::default()), connection());
        breakers.note(&crm, &down());
        breakers.note(&crm, &Ok(()));
        breakers.note(&crm, &down());
        assert!(breakers.look(&crm).is_ok(), "not in a row");
        breakers.note(&crm, &down());
        let refused = breakers.look(&crm).unwrap_err();
        assert_eq!((refused.class, refused.code.as_str()), (Class::Throttled, OPEN));
        assert_eq!(refused.wait_ms, Some(30_000));
        assert_eq!(breakers.states()[0].state, "open");

        // Once the pause is over, one tries; it fails, and the pause is twice as long.
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(breakers.states()[0].state, "half_open");
        let trying = breakers.pass(&crm).unwrap();
        assert!(trying.is_some());
        assert_eq!(breakers.pass(&crm).err().unwrap().wait_ms, Some(7_500));
        breakers.note(&crm, &down());
        drop(trying);
        assert_eq!(breakers.look(&crm).unwrap_err().wait_ms, Some(60_000));

        // One that is broken off lets the next one try.
        tokio::time::advance(Duration::from_secs(60)).await;
        drop(breakers.pass(&crm).unwrap());
        let trying = breakers.pass(&crm).unwrap();
        breakers.note(&crm, &Ok(()));
        drop(trying);
        assert!(breakers.pass(&crm).unwrap().is_none());
        assert!(breakers.states().is_empty());
        assert_eq!(breakers.opened(), 1);
    }

    #[test]
    fn only_what_means_that_the_target_is_down_counts() {
        let counts = |class, code: &str, status| is_down(&failed(class, code, status).unwrap_err());
        assert!(counts(Class::Unknown, "outbound.timeout", None));
        assert!(counts(Class::Unknown, "outbound.connection_lost", None));
        assert!(counts(Class::Unknown, "connector.in_doubt", Some(500)));
        assert!(counts(Class::Throttled, "http.throttled", Some(503)));
        assert!(!counts(Class::Throttled, "http.throttled", Some(429)));
        assert!(!counts(Class::Permanent, "http.rejected", Some(404)));
        assert!(!counts(Class::Permanent, "connector.duplicate", Some(500)));
        assert!(!counts(Class::Throttled, "outbound.rate_limit", None));
        assert!(!counts(Class::Held, "secret.missing", None));
    }

    #[test]
    fn a_connection_without_one_is_always_called() {
        let breakers = Arc::new(Breakers::default());
        let never = Connection { breaker: None, ..connection() };
        (0..9).for_each(|_| breakers.note(&never, &down()));
        assert!(breakers.look(&never).is_ok() && breakers.states().is_empty());
    }
}
