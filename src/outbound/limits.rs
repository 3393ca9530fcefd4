//! How much a target takes: calls at once, and requests in a time, as the connector declares and the connection's owner
//! says. Counted in memory, so a restart begins anew; what the target itself says (429, Retry-After) holds over restarts,
//! in the journal.
//!
//! A call waits for its turn, and flows take turns: one that waits for its own target holds up no other flow's calls.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Call;
use super::turns::{Turn, Turns};
use crate::connector::{Action, Class, Context, Declared, Failure, Rate};

/// More lanes than these are thinned out: those that nothing holds back.
const LANES: usize = 10_000;
/// A longer wait for a rate is waited out on disk: the run is put aside until then.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everyone passes here before a call.
#[derive(Default)]
pub(crate) struct Gate {
    lanes: Mutex<HashMap<String, Arc<Lane>>>,
}

/// What is counted together.
#[derive(Default)]
struct Lane {
    at_once: Arc<Turns>,
    /// The one that waits for the rate; behind it the others.
    door: Arc<Turns>,
    at_door: AtomicUsize,
    bucket: Mutex<Option<Bucket>>,
}

struct Bucket {
    rate: Rate,
    /// Requests that may go now.
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn refill(&mut self) {
        let now = Instant::now();
        let new = (now - self.at).as_secs_f64() * per_second(self.rate);
        self.tokens = (self.tokens + new).min(f64::from(self.rate.requests));
        self.at = now;
    }

    fn take(&mut self) -> bool {
        let there = self.tokens >= 1.0;
        if there {
            self.tokens -= 1.0;
        }
        there
    }
}

fn per_second(rate: Rate) -> f64 {
    f64::from(rate.requests) / rate.per.as_secs_f64()
}

/// Held during a call.
pub(crate) struct Slot {
    _turns: Vec<Turn>,
}

impl Gate {
    /// Waits for the limits of the connector, the action and the connection; the strictest holds.
    ///
    /// # Errors
    /// If a rate would be waited for longer than [`PATIENCE`]: the failure says how long.
    pub async fn enter(
        &self,
        call: &Call<'_>,
        declared: Option<(&Declared, &Action, &Context)>,
    ) -> Result<Slot, Failure> {
        let connection = call.connection.map_or("", |connection| connection.name.as_str());
        let mut lanes = Vec::new();
        if let Some((declared, action, context)) = declared {
            let whole = format!("{}\n{connection}", call.connector.name);
            let own = format!("{whole}\n{}", action.name);
            let limits = [(Some(&declared.limits), whole), (action.call.as_ref().map(|call| &call.limits), own)];
            for (keyed, name) in limits {
                let Some(keyed) = keyed.filter(|keyed| keyed.limits.is_some()) else { continue };
                let key = keyed.key.as_ref().map(|template| context.text(template)).transpose()?.flatten();
                lanes.push((self.lane(format!("{name}\n{}", key.unwrap_or_default())), keyed.limits));
            }
        }
        if let Some(connection) = call.connection.filter(|connection| connection.limits.is_some()) {
            lanes.push((self.lane(connection.name.clone()), connection.limits));
        }
        let mut turns = Vec::new();
        for (lane, limits) in &lanes {
            if let Some(most) = limits.concurrent {
                turns.push(lane.at_once.enter(call.flow, most).await);
            }
        }
        for (lane, limits) in &lanes {
            if let Some(rate) = limits.rate {
                lane.pass(call.flow, rate, PATIENCE).await.map_err(|mut failure| {
                    failure.message = format!("{}: {}", call.name(), failure.message);
                    failure
                })?;
            }
        }
        Ok(Slot { _turns: turns })
    }

    fn lane(&self, key: String) -> Arc<Lane> {
        let mut lanes = lock(&self.lanes);
        if lanes.len() >= LANES && !lanes.contains_key(&key) {
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1 || !lane.is_idle());
        }
        lanes.entry(key).or_default().clone()
    }
}

impl Lane {
    /// Waits until the rate lets one more request go.
    async fn pass(&self, flow: &str, rate: Rate, patience: Duration) -> Result<(), Failure> {
        let ahead = self.at_door.load(Ordering::Relaxed);
        {
            let mut bucket = lock(&self.bucket);
            let bucket = bucket_of(&mut bucket, rate);
            if ahead == 0 && bucket.take() {
                return Ok(());
            }
            let wait = ((1 + ahead) as f64 - bucket.tokens).max(0.0) / per_second(rate);
            if wait > patience.as_secs_f64() {
                let what = "the rate that the connector or the connection allows is used up";
                return Err(
                    Failure::new(Class::Throttled, "outbound.rate_limit", what).with_wait(Some((wait * 1000.0) as u64))
                );
            }
            self.at_door.fetch_add(1, Ordering::Relaxed);
        }
        let _waiting = Waiting(&self.at_door);
        let _door = self.door.enter(flow, 1).await;
        loop {
            let wait = {
                let mut bucket = lock(&self.bucket);
                let bucket = bucket_of(&mut bucket, rate);
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

/// The bucket as it is now; a rate that was changed goes on with what was left of the old one.
fn bucket_of(bucket: &mut Option<Bucket>, rate: Rate) -> &mut Bucket {
    let tokens = f64::from(rate.requests);
    let bucket = bucket.get_or_insert_with(|| Bucket { rate, tokens, at: Instant::now() });
    bucket.refill();
    bucket.rate = rate;
    bucket.tokens = bucket.tokens.min(tokens);
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
    async fn a_lane_with_something_to_remember_is_not_thinned_out() {
        let gate = Gate::default();
        let rate = Rate { requests: 1, per: Duration::from_secs(3600) };
        gate.lane("used".into()).pass("flow", rate, PATIENCE).await.unwrap();
        for number in 0..=LANES {
            gate.lane(number.to_string());
        }
        assert!(lock(&gate.lanes).len() < LANES);
        assert!(gate.lane("used".into()).pass("flow", rate, PATIENCE).await.is_err());
    }
}
