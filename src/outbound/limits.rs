//! How much a target takes: calls at once, and requests in a time, as the connector declares and the connection's owner
//! says. What of a rate was used outlives a restart (`bucket.rs`); calls at once are made anew of those that are. What the
//! target itself says (429, Retry-After) holds over restarts too, in the journal.
//!
//! A call waits for its turn, and flows take turns: one that waits for its own target holds up no other flow's calls.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::Call;
use super::breaker::{Breakers, Trying};
use super::bucket::{Bucket, per_second};
use super::turns::{Turn, Turns};
use crate::connector::{Action, Class, Context, Declared, Failure, Keyed, Limits, Rate};

/// More lanes than these are thinned out: those that nothing holds back.
const LANES: usize = 10_000;
/// A longer wait for a rate is waited out on disk: the run is put aside until then.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was used is kept at least so often.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// How long a call waits in memory for a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// [`PATIENCE`]; then the run is put aside.
    Usual,
    /// It has begun already, and would begin anew.
    AsLongAsItTakes,
}

impl Patience {
    fn longest(self) -> Duration {
        match self {
            Patience::Usual => PATIENCE,
            Patience::AsLongAsItTakes => Duration::MAX,
        }
    }
}

/// Everyone passes here before a call.
#[derive(Default)]
pub(crate) struct Gate {
    lanes: Mutex<Lanes>,
    kept: Kept,
    pub breakers: Arc<Breakers>,
}

#[derive(Default)]
struct Lanes {
    all: HashMap<String, Arc<Lane>>,
    /// How many were left when they were last thinned out.
    left: usize,
}

/// What of the rates must outlive the process.
#[derive(Default)]
struct Kept {
    /// As it was before the start, by the lane's mark, until the lane is used again.
    before: Mutex<HashMap<String, Used>>,
    /// Lanes of which something was used that is not kept yet.
    changed: Mutex<HashSet<String>>,
    /// Told when something should be kept at once.
    due: Notify,
}

/// What is left of one rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// Names the lane without what it is counted by, which may be anybody's data.
    #[serde(skip)]
    pub mark: String,
    /// Requests that could go at `at_ms`.
    pub left: f64,
    /// ms since 1970.
    pub at_ms: i64,
    /// When it will be full again, ms since 1970: from then on it need not be known.
    pub full_at_ms: i64,
}

/// A lane, and its name.
type Named = (String, Arc<Lane>);

/// What is counted together.
#[derive(Default)]
struct Lane {
    at_once: Arc<Turns>,
    /// The one that waits for the rate; behind it the others.
    door: Arc<Turns>,
    at_door: AtomicUsize,
    bucket: Mutex<Option<Bucket>>,
    /// As it was before the start.
    before: Option<Used>,
}

/// Held during a call.
pub(crate) struct Slot {
    _turns: Vec<Turn>,
    _trying: Option<Trying>,
}

impl Gate {
    /// Waits for the limits of the connector, the action and the connection; the strictest holds.
    ///
    /// # Errors
    /// If a rate would be waited for longer than [`PATIENCE`], or the connection's breaker is open: the failure says how
    /// long.
    pub async fn enter(
        &self,
        call: &Call<'_>,
        declared: Option<(&Declared, &Action, &Context)>,
    ) -> Result<Slot, Failure> {
        self.enter_with(call, declared, Patience::Usual).await
    }

    /// The same with this `patience` for a rate.
    pub async fn enter_with(
        &self,
        call: &Call<'_>,
        declared: Option<(&Declared, &Action, &Context)>,
        patience: Patience,
    ) -> Result<Slot, Failure> {
        call.connection.map_or(Ok(()), |connection| self.breakers.look(connection))?;
        let lanes = self.lanes_of(call, declared)?;
        let named = |mut failure: Failure| {
            failure.message = format!("{}: {}", call.name(), failure.message);
            failure
        };
        // Who is refused by one has used up nothing of the others.
        for ((_, lane), limits) in &lanes {
            limits.rate.map_or(Ok(()), |rate| lane.look(rate, patience.longest())).map_err(named)?;
        }
        let mut turns = Vec::new();
        for ((name, lane), limits) in &lanes {
            if let Some(most) = limits.concurrent {
                turns.push(lane.at_once.enter(call.flow, most).await);
            }
            if let Some(rate) = limits.rate {
                lane.pass(call.flow, rate, patience.longest()).await.map_err(named)?;
                self.kept.used(name, lane);
            }
        }
        // It may have opened while this call waited.
        let trying = call.connection.map(|connection| self.breakers.pass(connection)).transpose()?.flatten();
        Ok(Slot { _turns: turns, _trying: trying })
    }

    /// The lanes of a call, the narrowest first: who waits for one holds up none of those that do not. All calls take
    /// them in this order, so that no two wait for each other.
    fn lanes_of(
        &self,
        call: &Call<'_>,
        declared: Option<(&Declared, &Action, &Context)>,
    ) -> Result<Vec<(Named, Limits)>, Failure> {
        let connection = call.connection.map_or("", |connection| connection.name.as_str());
        let (mut keyed, mut lanes) = (Vec::new(), Vec::new());
        if let Some((declared, action, context)) = declared {
            let whole = format!("{}\n{connection}", call.connector.name);
            // What is counted by the same key is counted together, whichever action it is.
            let by =
                |limits: &Keyed| limits.key.as_ref().map_or(action.name.clone(), |key| format!("by {}", key.source()));
            let own = action.call.as_ref().map(|call| (&call.limits, format!("{whole}\n{}", by(&call.limits))));
            for (limits, name) in own.into_iter().chain([(&declared.limits, whole)]) {
                if !limits.limits.is_some() {
                    continue;
                }
                let key = limits.key.as_ref().map(|template| context.text(template)).transpose()?.flatten();
                let is_keyed = key.is_some();
                let lane = (self.named_lane(format!("{name}\n{}", key.unwrap_or_default())), limits.limits);
                if is_keyed { keyed.push(lane) } else { lanes.push(lane) }
            }
        }
        if let Some(connection) = call.connection.filter(|connection| connection.limits.is_some()) {
            lanes.push((self.named_lane(connection.name.clone()), connection.limits));
        }
        keyed.append(&mut lanes);
        Ok(keyed)
    }

    fn named_lane(&self, key: String) -> Named {
        let lane = self.lane(key.clone());
        (key, lane)
    }

    fn lane(&self, key: String) -> Arc<Lane> {
        let mut lanes = lock(&self.lanes);
        if let Some(lane) = lanes.all.get(&key) {
            return lane.clone();
        }
        // Only once there are twice as many as were left: looking at all of them for each new one would take longer and
        // longer.
        if lanes.all.len() >= LANES.max(2 * lanes.left) {
            lanes.all.retain(|_, lane| Arc::strong_count(lane) > 1 || !lane.is_idle());
            lanes.left = lanes.all.len();
        }
        let before = {
            let mut before = lock(&self.kept.before);
            if before.is_empty() { None } else { before.remove(&mark(&key)) }
        };
        let lane = Arc::new(Lane { before, ..Lane::default() });
        lanes.all.insert(key, lane.clone());
        lane
    }

    /// Says what was used before the start.
    pub fn restore(&self, used: Vec<Used>) {
        lock(&self.kept.before).extend(used.into_iter().map(|used| (used.mark.clone(), used)));
    }

    /// Waits until something was used that should be kept, and gives all of it.
    pub async fn used(&self) -> Vec<Used> {
        loop {
            // Whatever was used is kept before long; a lot of it, or of little, at once.
            let _ = tokio::time::timeout(KEEP_EVERY, self.kept.due.notified()).await;
            let used = self.used_now();
            if !used.is_empty() {
                return used;
            }
        }
    }

    /// What was used and is not kept yet; it counts as kept.
    pub fn used_now(&self) -> Vec<Used> {
        let changed = std::mem::take(&mut *lock(&self.kept.changed));
        if changed.is_empty() {
            return Vec::new();
        }
        let now = Timestamp::now().as_millisecond();
        let lanes = lock(&self.lanes);
        let used = changed.iter().filter_map(|name| {
            let mut bucket = lock(&lanes.all.get(name)?.bucket);
            let bucket = bucket.as_mut()?;
            let left = bucket.keep();
            if bucket.is_full() {
                return None;
            }
            let full_at_ms = now.saturating_add(i64::try_from(bucket.until_full().as_millis()).unwrap_or(i64::MAX));
            Some(Used { mark: mark(name), left, at_ms: now, full_at_ms })
        });
        used.collect()
    }
}

impl Kept {
    /// A request of this lane's rate has gone.
    fn used(&self, name: &str, lane: &Lane) {
        {
            let mut changed = lock(&self.changed);
            if !changed.contains(name) {
                changed.insert(name.to_owned());
            }
        }
        if lock(&lane.bucket).as_ref().is_some_and(Bucket::is_due) {
            self.due.notify_one();
        }
    }
}

/// A lane's name as it is kept: nothing can be read of it.
fn mark(name: &str) -> String {
    Sha256::digest(name.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl Lane {
    /// Refuses one that would have to wait for longer than `patience`; takes nothing.
    fn look(&self, rate: Rate, patience: Duration) -> Result<(), Failure> {
        let ahead = self.at_door.load(Ordering::Relaxed);
        let mut bucket = lock(&self.bucket);
        refuse(bucket_of(&mut bucket, rate, self.before.as_ref()), ahead, patience)
    }

    /// Waits until the rate lets one more request go.
    async fn pass(&self, flow: &str, rate: Rate, patience: Duration) -> Result<(), Failure> {
        let ahead = self.at_door.load(Ordering::Relaxed);
        {
            let mut bucket = lock(&self.bucket);
            let bucket = bucket_of(&mut bucket, rate, self.before.as_ref());
            if ahead == 0 && bucket.take() {
                return Ok(());
            }
            refuse(bucket, ahead, patience)?;
            self.at_door.fetch_add(1, Ordering::Relaxed);
        }
        let _waiting = Waiting(&self.at_door);
        let _door = self.door.enter(flow, 1).await;
        loop {
            let wait = {
                let mut bucket = lock(&self.bucket);
                let bucket = bucket_of(&mut bucket, rate, self.before.as_ref());
                if bucket.take() {
                    return Ok(());
                }
                (1.0 - bucket.tokens) / per_second(rate)
            };
            // A rate of years is asked about again: the file may change.
            sleep(Duration::from_secs_f64(wait.min(PATIENCE.as_secs_f64())).max(Duration::from_millis(1))).await;
        }
    }

    fn is_idle(&self) -> bool {
        let full = lock(&self.bucket).as_mut().is_none_or(|bucket| {
            bucket.refill();
            bucket.tokens >= f64::from(bucket.rate.requests)
        });
        full && self.at_once.is_idle()
    }
}

fn refuse(bucket: &Bucket, ahead: usize, patience: Duration) -> Result<(), Failure> {
    let wait = ((1 + ahead) as f64 - bucket.tokens).max(0.0) / per_second(bucket.rate);
    if wait <= patience.as_secs_f64() {
        return Ok(());
    }
    let what = "the rate that the connector or the connection allows is used up";
    Err(Failure::new(Class::Throttled, "outbound.rate_limit", what).with_wait(Some((wait * 1000.0) as u64)))
}

/// The bucket as it is now; a rate that was changed goes on with what was left of the old one.
fn bucket_of<'b>(bucket: &'b mut Option<Bucket>, rate: Rate, before: Option<&Used>) -> &'b mut Bucket {
    let bucket = bucket.get_or_insert_with(|| match before {
        None => Bucket::full(rate),
        Some(used) => {
            let ago = Timestamp::now().as_millisecond().saturating_sub(used.at_ms);
            Bucket::left(rate, used.left, Duration::from_millis(u64::try_from(ago).unwrap_or(0)))
        }
    });
    bucket.refill();
    bucket.rate = rate;
    bucket.tokens = bucket.tokens.min(f64::from(rate.requests));
    bucket
}

/// One that waits at the door.
struct Waiting<'l>(&'l AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_rate_lets_its_requests_go_then_spreads_the_rest_out() {
        let lane = Lane::default();
        let rate = Rate { requests: 2, per: Duration::from_millis(200) };
        let began = Instant::now();
        for _ in 0..3 {
            lane.pass("flow", rate, PATIENCE).await.unwrap();
        }
        assert!(began.elapsed() >= Duration::from_millis(99), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_rate_that_is_used_up_says_how_long_to_wait_and_lanes_do_not_share() {
        let gate = Gate::default();
        let rate = Rate { requests: 1, per: Duration::from_secs(3600) };
        let (one, two) = (gate.lane("one".into()), gate.lane("two".into()));
        one.pass("flow", rate, PATIENCE).await.unwrap();
        let refused = gate.lane("one".into()).pass("flow", rate, PATIENCE).await.unwrap_err();
        assert_eq!((refused.class, refused.code.as_str()), (Class::Throttled, "outbound.rate_limit"));
        assert!((3_590_000..=3_600_000).contains(&refused.wait_ms.unwrap()), "{refused:?}");
        assert!(two.pass("flow", rate, PATIENCE).await.is_ok());
    }

    #[tokio::test]
    async fn what_was_used_is_known_after_a_restart_and_names_nobody() {
        // Given a rate that one gate has used up.
        let rate = Rate { requests: 1, per: Duration::from_secs(3600) };
        let gate = Gate::default();
        let (name, lane) = gate.named_lane("crm\nada@example.com".into());
        lane.pass("flow", rate, PATIENCE).await.unwrap();
        gate.kept.used(&name, &lane);
        let used = gate.used().await;
        assert!(gate.used_now().is_empty());
        assert!(!format!("{used:?}").contains("ada"), "{used:?}");
        // Then it is used up at another one that is told so, and nothing else is.
        let after = Gate::default();
        after.restore(used);
        assert!(after.lane(name).pass("flow", rate, PATIENCE).await.is_err());
        assert!(after.lane("crm\nbob@example.com".into()).pass("flow", rate, PATIENCE).await.is_ok());
    }

    #[tokio::test]
    async fn lanes_are_not_all_looked_at_for_each_new_one() {
        // Given more lanes than are kept for nothing, all of them with something to remember.
        let gate = Gate::default();
        let rate = Rate { requests: 1, per: Duration::from_secs(3600) };
        for number in 0..=LANES {
            gate.lane(number.to_string()).pass("flow", rate, PATIENCE).await.unwrap();
        }
        assert_eq!(lock(&gate.lanes).left, LANES);
        // Then the next time is when there are twice as many.
        gate.lane("idle".into());
        for number in 0..100 {
            gate.lane(format!("more {number}")).pass("flow", rate, PATIENCE).await.unwrap();
        }
        assert!(lock(&gate.lanes).all.contains_key("idle"));
    }

    #[tokio::test]
    async fn a_lane_with_something_to_remember_is_not_thinned_out() {
        let gate = Gate::default();
        let rate = Rate { requests: 1, per: Duration::from_secs(3600) };
        gate.lane("used".into()).pass("flow", rate, PATIENCE).await.unwrap();
        for number in 0..=LANES {
            gate.lane(number.to_string());
        }
        assert!(lock(&gate.lanes).all.len() < LANES);
        assert!(gate.lane("used".into()).pass("flow", rate, PATIENCE).await.is_err());
    }
}
