//! How much a target takes: calls at once, and requests in a time, as the connector declares. Counted in memory, so a
//! restart begins anew; what the target itself says (429, Retry-After) holds over restarts, in the journal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::Call;
use crate::connector::{Action, Class, Context, Declared, Failure, Limits, Rate};

/// More lanes than these are thinned out: those that nothing holds back.
const LANES: usize = 10_000;

/// Everyone passes here before a declared call.
#[derive(Default)]
pub(crate) struct Gate {
    lanes: Mutex<HashMap<String, Lane>>,
}

struct Lane {
    slots: Option<Arc<Semaphore>>,
    most: usize,
    rate: Option<Rate>,
    /// Requests that may go now; below zero: promised to those who sleep.
    tokens: f64,
    at: Instant,
}

impl Lane {
    fn new(limits: &Limits) -> Lane {
        Lane {
            slots: limits.concurrent.map(|count| Arc::new(Semaphore::new(count))),
            most: limits.concurrent.unwrap_or(0),
            rate: limits.rate,
            tokens: limits.rate.map_or(0.0, |rate| f64::from(rate.requests)),
            at: Instant::now(),
        }
    }

    fn refill(&mut self) {
        let now = Instant::now();
        if let Some(rate) = self.rate {
            let new = (now - self.at).as_secs_f64() * per_second(rate);
            self.tokens = (self.tokens + new).min(f64::from(rate.requests));
        }
        self.at = now;
    }

    fn is_idle(&mut self) -> bool {
        self.refill();
        let full = self.rate.is_none_or(|rate| self.tokens >= f64::from(rate.requests));
        full && self.slots.as_ref().is_none_or(|slots| slots.available_permits() == self.most)
    }
}

fn per_second(rate: Rate) -> f64 {
    f64::from(rate.requests) / rate.per.as_secs_f64()
}

/// Held during a call.
pub(crate) struct Slot {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Gate {
    /// Waits for the connector's and the action's limits, at most as long as the call's timeout.
    pub async fn enter(
        &self,
        declared: &Declared,
        action: &Action,
        context: &Context,
        call: &Call<'_>,
    ) -> Result<Slot, Failure> {
        let connection = call.connection.map_or("", |connection| connection.name.as_str());
        let mut permits = Vec::new();
        let whole = format!("{}\n{connection}", call.connector.name);
        let own = format!("{whole}\n{}", action.name);
        for (limits, name) in [(Some(&declared.limits), whole), (action.call.as_ref().map(|call| &call.limits), own)] {
            let Some(limits) = limits.filter(|limits| limits.concurrent.is_some() || limits.rate.is_some()) else {
                continue;
            };
            let key =
                limits.key.as_ref().map(|template| context.text(template)).transpose()?.flatten().unwrap_or_default();
            let passed = self.pass(format!("{name}\n{key}"), limits, call.timeout()).await;
            permits.extend(passed.map_err(|mut failure| {
                failure.message = format!("{}: {}", call.name(), failure.message);
                failure
            })?);
        }
        Ok(Slot { _permits: permits })
    }

    async fn pass(
        &self,
        key: String,
        limits: &Limits,
        patience: std::time::Duration,
    ) -> Result<Option<OwnedSemaphorePermit>, Failure> {
        let (slots, wait) = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            if lanes.len() >= LANES && !lanes.contains_key(&key) {
                lanes.retain(|_, lane| !lane.is_idle());
            }
            let lane = lanes.entry(key).or_insert_with(|| Lane::new(limits));
            lane.refill();
            let mut wait = 0.0;
            if let Some(rate) = lane.rate {
                wait = ((1.0 - lane.tokens) / per_second(rate)).max(0.0);
                if wait > patience.as_secs_f64() {
                    let what = "the connector's own rate limit is used up";
                    return Err(Failure::new(Class::Throttled, "outbound.rate_limit", what)
                        .with_wait(Some((wait * 1000.0) as u64)));
                }
                lane.tokens -= 1.0;
            }
            (lane.slots.clone(), std::time::Duration::from_secs_f64(wait))
        };
        if !wait.is_zero() {
            sleep(wait).await;
        }
        let Some(slots) = slots else { return Ok(None) };
        match timeout(patience, slots.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            Ok(Err(_)) | Err(_) => {
                let what = "all calls that the connector allows at once are under way";
                Err(Failure::new(Class::Throttled, "outbound.concurrency_limit", what))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_rate_lets_its_requests_go_then_spreads_the_rest_out() {
        let gate = Gate::default();
        let rate = Rate { requests: 2, per: Duration::from_millis(200) };
        let limits = Limits { rate: Some(rate), ..Limits::default() };
        let began = Instant::now();
        for _ in 0..3 {
            gate.pass("lane".into(), &limits, Duration::from_secs(5)).await.unwrap();
        }
        assert!(began.elapsed() >= Duration::from_millis(99), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_rate_that_is_used_up_says_how_long_to_wait_and_lanes_do_not_share() {
        let gate = Gate::default();
        let rate = Rate { requests: 1, per: Duration::from_secs(3600) };
        let limits = Limits { rate: Some(rate), ..Limits::default() };
        let pass = |lane: &str| gate.pass(lane.into(), &limits, Duration::from_secs(1));
        pass("one").await.unwrap();
        let refused = pass("one").await.unwrap_err();
        assert_eq!((refused.class, refused.code.as_str()), (Class::Throttled, "outbound.rate_limit"));
        assert!((3_590_000..=3_600_000).contains(&refused.wait_ms.unwrap()), "{refused:?}");
        assert!(pass("two").await.is_ok());
    }

    #[tokio::test]
    async fn no_more_calls_at_once_than_declared() {
        let gate = Gate::default();
        let limits = Limits { concurrent: Some(1), ..Limits::default() };
        let pass = || gate.pass("lane".into(), &limits, Duration::from_millis(20));
        let held = pass().await.unwrap();
        assert_eq!(pass().await.unwrap_err().code, "outbound.concurrency_limit");
        drop(held);
        assert!(pass().await.is_ok());
    }
}
