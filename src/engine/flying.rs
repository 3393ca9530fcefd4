//! What of a run is on its way: calls in tasks of their own, and children that it waits for.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use tokio::task::{self, AbortHandle, JoinSet};

use crate::connector::{Class, Failure};
use crate::run::Place;

/// Calls on their way, each in a task of its own; dropped, they are broken off.
#[derive(Default)]
pub(super) struct Flying {
    pub calls: JoinSet<Option<Result<Value, Failure>>>,
    places: HashMap<task::Id, Flight>,
    /// Children that go on by themselves: looked at again when there is news.
    pub parked: HashSet<Place>,
    /// How often there was news of children.
    looks: u64,
}

struct Flight {
    place: Place,
    task: AbortHandle,
    /// `Flying::looks` when it took off.
    looks: u64,
}

impl Flying {
    pub fn took_off(&mut self, place: Place, task: AbortHandle) {
        self.places.insert(task.id(), Flight { place, task, looks: self.looks });
    }

    pub fn has(&self, place: &Place) -> bool {
        self.parked.contains(place) || self.places.values().any(|flight| flight.place == *place)
    }

    /// There is news of a child: all of them are looked at again, also those that someone is looking at just now.
    pub fn look(&mut self) {
        self.looks += 1;
        self.parked.clear();
    }

    pub fn keep(&mut self, wanted: impl Fn(&Place) -> bool) {
        self.parked.retain(&wanted);
        self.places.retain(|_, flight| {
            let keep = wanted(&flight.place);
            if !keep {
                flight.task.abort();
            }
            keep
        });
    }

    /// Where a call belongs that came back; a panic in it counts as a call in doubt.
    pub fn landed(
        &mut self,
        task: Result<(task::Id, Option<Result<Value, Failure>>), task::JoinError>,
    ) -> Option<(Place, Result<Value, Failure>)> {
        let (id, result) = task.unwrap_or_else(|error| {
            if !error.is_cancelled() {
                tracing::error!(%error, "an action panicked");
            }
            let message = "the action broke off inside Millstream; please report it".to_owned();
            (error.id(), Some(Err(Failure::new(Class::Unknown, "engine.panic", message))))
        });
        let Flight { place, looks, .. } = self.places.remove(&id)?;
        match result {
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
