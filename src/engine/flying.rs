//! What of a run is on its way: its calls, and children that it waits for.
//!
//! Calls go on where the run is driven, while it waits and while it appends: a task for each would cost more than most of
//! what it does itself.

use std::any::Any;
use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};

use futures_util::FutureExt as _;
use futures_util::future::{AbortHandle, Abortable, Aborted};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde_json::Value;

use crate::connector::{Class, Failure};
use crate::run::Place;

/// What came of a call; `None` of a child that goes on by itself.
pub(super) type Outcome = Option<Result<Value, Failure>>;
type Ended = (u64, Place, Result<Outcome, Box<dyn Any + Send>>);

/// Calls on their way; dropped, they are broken off.
#[derive(Default)]
pub(super) struct Flying {
    calls: FuturesUnordered<Abortable<Pin<Box<dyn Future<Output = Ended> + Send>>>>,
    /// Those that ended while nobody asked.
    ended: VecDeque<Result<Ended, Aborted>>,
    flights: HashMap<Place, Flight>,
    /// How many took off so far.
    count: u64,
    /// Children that go on by themselves: looked at again when there is news.
    pub parked: HashSet<Place>,
    /// How often there was news of children.
    looks: u64,
}

struct Flight {
    number: u64,
    abort: AbortHandle,
    /// `Flying::looks` when it took off.
    looks: u64,
}

impl Flying {
    pub fn take_off(&mut self, place: Place, call: impl Future<Output = Outcome> + Send + 'static) {
        self.count += 1;
        let (number, at) = (self.count, place.clone());
        let (abort, registration) = AbortHandle::new_pair();
        let call = async move { (number, at, AssertUnwindSafe(call).catch_unwind().await) };
        self.calls.push(Abortable::new(Box::pin(call), registration));
        self.flights.insert(place, Flight { number, abort, looks: self.looks });
    }

    pub fn has(&self, place: &Place) -> bool {
        self.parked.contains(place) || self.flights.contains_key(place)
    }

    /// True if no call is on its way, and none came back that was not asked for.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.ended.is_empty()
    }

    /// There is news of a child: all of them are looked at again, also those that someone is looking at just now.
    pub fn look(&mut self) {
        self.looks += 1;
        self.parked.clear();
    }

    pub fn keep(&mut self, wanted: impl Fn(&Place) -> bool) {
        self.parked.retain(&wanted);
        self.flights.retain(|place, flight| {
            let keep = wanted(place);
            if !keep {
                flight.abort.abort();
            }
            keep
        });
    }

    /// Waits for `work`; calls go on meanwhile.
    pub async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(ended) = self.calls.next() => self.ended.push_back(ended),
            }
        }
    }

    /// Waits for a call to come back; `None` if none is on its way. What it gives is nothing where the call has become a
    /// child that goes on, or where nobody waits for it any more. A panic in a call counts as a call in doubt.
    pub async fn landed(&mut self) -> Option<Option<(Place, Result<Value, Failure>)>> {
        let ended = match self.ended.pop_front() {
            Some(ended) => ended,
            None => self.calls.next().await?,
        };
        Some(self.take(ended))
    }

    /// The same of calls that have come back already.
    pub fn landed_already(&mut self) -> Option<Option<(Place, Result<Value, Failure>)>> {
        self.landed().now_or_never().flatten()
    }

    fn take(&mut self, ended: Result<Ended, Aborted>) -> Option<(Place, Result<Value, Failure>)> {
        let (number, place, outcome) = ended.ok()?;
        let outcome = outcome.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            tracing::error!("an action panicked: {text}");
            let message = "the action broke off inside Millstream; please report it".to_owned();
            Some(Err(Failure::new(Class::Unknown, "engine.panic", message)))
        });
        if self.flights.get(&place)?.number != number {
            return None;
        }
        let Flight { looks, .. } = self.flights.remove(&place)?;
        match outcome {
            Some(result) => Some((place, result)),
            // It looked before the news came: the next decision looks once more.
            None if looks < self.looks => None,
            None => {
                self.parked.insert(place);
                None
            }
        }
    }
}
