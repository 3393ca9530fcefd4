//! Starting flows by their schedules: one task for all of them.
//!
//! Of each flow the last tick that was dealt with is a setting of the journal, written once the tick's run is durable.
//! The run's id follows from flow and tick, so a tick whose run is there already starts no other: a restart between
//! the two neither loses nor doubles it. Ticks are times of the wall clock: one that is set back delays them.

mod progress;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use self::progress::Progress;
use super::accept::Entry;
use super::*;
use crate::points;
use crate::run::{Body, Request};

/// Where the settings are: `schedule/{flow}`.
const PREFIX: &str = "schedule/";
/// When a tick that was not let in is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// The longest sleep: the wall clock can be set while timers run on another one.
const LOOK: Duration = Duration::from_secs(1);

/// What the journal keeps of one flow's schedule.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The last tick that was dealt with, ms since 1970.
    handled: i64,
    /// What gave the ticks ([`Schedule::text`]): another schedule begins anew.
    ticks: String,
}

/// One flow with a schedule.
struct Plan {
    live: Arc<LiveFlow>,
    ticks: String,
    progress: Progress,
}

impl Plan {
    fn next(&self) -> Option<i64> {
        self.progress.next(self.live.flow.trigger.schedule()?)
    }

    fn due(&self) -> Option<i64> {
        self.progress.due(self.live.flow.trigger.schedule()?)
    }
}

impl Engine {
    /// From now on flows start by their schedules, until the engine stops. Runs that were open must be known already.
    pub fn keep_schedules(self: &Arc<Self>) {
        let engine = self.clone();
        tokio::spawn(async move {
            // A panic over one flow must not stop the others.
            while tokio::spawn(engine.clone().serve_schedules()).await.is_err() {
                tracing::error!("keeping the schedules broke off; it begins anew");
                tokio::time::sleep(LOOK).await;
            }
        });
    }

    async fn serve_schedules(self: Arc<Self>) {
        let mut changes = self.catalog.changes();
        let mut plans = HashMap::new();
        let mut stale = true;
        while !self.stopping.load(Ordering::Acquire) {
            if stale {
                stale = !self.plan(&mut plans).await;
            }
            let now = super::now().as_millisecond();
            for plan in plans.values_mut() {
                let Some(schedule) = plan.live.flow.trigger.schedule() else { continue };
                let count = plan.progress.look(schedule, now);
                if count > 0 {
                    let more = if count == progress::COUNTED { " or more" } else { "" };
                    tracing::warn!(flow = %plan.live.flow.id, "missed runs are passed over: {count}{more}");
                    self.keep(&plan.live.flow.id, plan.progress.handled, &plan.ticks).await;
                }
            }
            let refused = self.run_due(&mut plans).await;
            let next = plans.values().filter_map(Plan::next).min();
            let wait = match next {
                _ if refused => AGAIN,
                _ if stale => LOOK,
                Some(next) => {
                    let left = next - super::now().as_millisecond();
                    Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(LOOK)
                }
                None => Duration::MAX,
            };
            match tokio::time::timeout(wait, changes.changed()).await {
                Ok(Ok(())) => stale = true,
                // The catalog lives as long as the engine.
                Ok(Err(_)) => return,
                Err(_) => {}
            }
        }
    }

    /// Brings the plans in line with the flows that are live; false if the journal could not be asked.
    async fn plan(&self, plans: &mut HashMap<String, Plan>) -> bool {
        let catalog = self.catalog.current();
        let on = |id: &str| catalog.flows.get(id).is_some_and(|live| live.flow.enabled);
        plans.retain(|id, _| on(id));
        let kept = match self.journal.settings(PREFIX) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::error!(%error, "the schedules cannot be read");
                return false;
            }
        };
        let kept: HashMap<&str, &[u8]> =
            kept.iter().filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value.as_slice()))).collect();
        let scheduled = catalog.flows.iter().filter_map(|(id, live)| Some((id, live, live.flow.trigger.schedule()?)));
        for (id, live, schedule) in scheduled {
            let ticks = schedule.text();
            if let Some(plan) = plans.get_mut(id).filter(|plan| plan.ticks == ticks) {
                plan.live = live.clone();
                continue;
            }
            if !live.flow.enabled {
                continue;
            }
            let handled = match kept.get(id.as_str()).and_then(|kept| serde_json::from_slice::<Kept>(kept).ok()) {
                Some(kept) if kept.ticks == ticks => kept.handled,
                Some(_) | None => {
                    let now = super::now().as_millisecond();
                    self.keep(id, now, &ticks).await;
                    now
                }
            };
            plans.insert(id.clone(), Plan { live: live.clone(), ticks, progress: Progress::after(handled) });
        }
        plans.retain(|id, _| catalog.flows.get(id).is_some_and(|live| live.flow.trigger.schedule().is_some()));
        // A flow whose file has errors is not gone.
        if catalog.is_sound() {
            let is_gone = |id: &&str| catalog.flows.get(*id).is_none_or(|live| live.flow.trigger.schedule().is_none());
            for id in kept.keys().copied().filter(is_gone) {
                match self.journal.set(&format!("{PREFIX}{id}"), None).await {
                    Ok(()) => tracing::debug!(flow = id, "how far the schedule had come is forgotten"),
                    Err(error) => tracing::warn!(flow = id, %error, "the schedule of a flow that is gone stays kept"),
                }
            }
        }
        true
    }

    /// Starts the runs of ticks that are due, for each flow in order, until none is left or one was not let in; true
    /// in the latter case.
    async fn run_due(self: &Arc<Self>, plans: &mut HashMap<String, Plan>) -> bool {
        let mut refused = false;
        let mut at_work = JoinSet::new();
        for plan in plans.values() {
            let Some(tick) = plan.due() else { continue };
            let (engine, live, ticks) = (self.clone(), plan.live.clone(), plan.ticks.clone());
            at_work.spawn(async move {
                let done = engine.run_tick(&live, tick).await;
                if done {
                    engine.keep(&live.flow.id, tick, &ticks).await;
                }
                (live, tick, done)
            });
        }
        while let Some(done) = at_work.join_next().await {
            match done {
                Ok((live, tick, true)) => {
                    if let Some(plan) = plans.get_mut(&live.flow.id) {
                        plan.progress.handled = tick;
                    }
                }
                Ok((_, _, false)) => refused = true,
                Err(panic) => {
                    tracing::error!(%panic, "starting a scheduled run broke off; it is tried again");
                    refused = true;
                }
            }
        }
        refused
    }

    /// Starts the run of a tick, unless it is there; false if it could not be let in.
    async fn run_tick(self: &Arc<Self>, live: &Arc<LiveFlow>, tick: i64) -> bool {
        let Some(schedule) = live.flow.trigger.schedule() else { return true };
        let flow = &live.flow.id;
        let id = run_of(flow, tick);
        match self.journal.summary(id) {
            Ok(Some(_)) => return true,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%flow, %error, "a scheduled run waits: the journal cannot be read");
                return false;
            }
        }
        let request = Request { method: String::new(), ..Request::posted(Body::of(schedule.body(tick))) };
        points::reach("schedule.tick.before");
        let admitted = self.admit(live, Entry { id, ..Entry::new(request) }).await;
        points::reach("schedule.tick.after");
        if let Err(refusal) = &admitted {
            tracing::debug!(%flow, ?refusal, "a scheduled run waits until it is let in");
        }
        admitted.is_ok()
    }

    /// Keeps the last tick that was dealt with. Where that fails, the next start finds the tick's run instead.
    async fn keep(&self, flow: &str, handled: i64, ticks: &str) {
        let kept = json!(Kept { handled, ticks: ticks.to_owned() }).to_string();
        if let Err(error) = self.journal.set(&format!("{PREFIX}{flow}"), Some(kept.into_bytes())).await
            && !self.stopping.load(Ordering::Acquire)
        {
            tracing::warn!(flow, %error, "how far the schedule has come could not be kept");
        }
    }

    /// The body of a run that is started by hand: inputs that are missing get their defaults, and a scheduled flow sees
    /// what it would if there were a tick now.
    ///
    /// # Errors
    /// If a body is given to a flow whose schedule makes it.
    pub fn body_by_hand(&self, live: &LiveFlow, body: Value) -> Result<Value, Denied> {
        match live.flow.trigger.schedule() {
            None => Ok(live.flow.trigger.fill(body)),
            Some(schedule) if body.is_null() => Ok(schedule.body(super::now().as_millisecond())),
            Some(_) => Err(Denied::Invalid("a scheduled flow makes its body itself: start it without one".into())),
        }
    }
}

/// The run of a flow's tick: its time, and in place of chance what names the tick.
fn run_of(flow: &str, tick: i64) -> RunId {
    let mut hash = Sha256::new();
    hash.update(flow.as_bytes());
    hash.update(tick.to_be_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    let mut random = [0; 10];
    random.copy_from_slice(&hash[..10]);
    let millis = u64::try_from(tick).unwrap_or(0);
    RunId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}
