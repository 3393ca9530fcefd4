//! Runs that are not at work: those in line for slots, and those waiting for a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::lanes::{Lanes, Seat, Turn};
use super::{Command, lock};
use crate::flow::Concurrency;
use crate::run::RunId;

/// The lanes, shared: whoever gives something back wakes the one task that lets the next run in.
pub(super) struct Queue {
    lanes: Mutex<Lanes>,
    /// Someone can go on.
    ready: Notify,
}

/// How a new run is let in.
pub(super) enum Admission {
    Now(Slot),
    Later(Ticket),
    FlowFull,
    Full,
}

impl Queue {
    pub fn new(slots: usize) -> Arc<Queue> {
        Arc::new(Queue { lanes: Mutex::new(Lanes::new(slots)), ready: Notify::new() })
    }

    /// See [`Lanes::seat`].
    pub fn seat(&self, flow: &str, slots: usize) -> Seat {
        lock(&self.lanes).seat(flow, slots)
    }

    /// See [`Lanes::admit`].
    pub fn admit(self: &Arc<Self>, seat: Seat, run: RunId, most: usize, must: bool) -> Admission {
        let turn = lock(&self.lanes).admit(seat, run, most, must);
        match turn {
            Turn::Now => Admission::Now(Slot { queue: self.clone(), seat, run, given_back: false }),
            Turn::Later => Admission::Later(Ticket { queue: self.clone(), seat, used: false }),
            Turn::FlowFull => Admission::FlowFull,
            Turn::Full => Admission::Full,
        }
    }

    /// See [`Lanes::outlook`]; a run of one slot.
    pub fn outlook(&self, flow: &str, most: usize) -> Turn {
        let mut lanes = lock(&self.lanes);
        let seat = lanes.seat(flow, 1);
        lanes.outlook(seat, most)
    }

    /// Announces one new run for each seat, all of one flow, all or none; see [`Lanes::announce`].
    pub fn announce(self: &Arc<Self>, seats: &[Seat], most: usize) -> Result<Vec<Ticket>, Admission> {
        let Some(first) = seats.first() else { return Ok(Vec::new()) };
        let count = u32::try_from(seats.len()).unwrap_or(u32::MAX);
        match lock(&self.lanes).announce(*first, count, most, false) {
            Turn::FlowFull => Err(Admission::FlowFull),
            Turn::Full => Err(Admission::Full),
            Turn::Now | Turn::Later => {
                Ok(seats.iter().map(|seat| Ticket { queue: self.clone(), seat: *seat, used: false }).collect())
            }
        }
    }

    /// A run gets in line again: its time has come, or a person gave an order.
    pub fn push(&self, seat: Seat, run: RunId, command: Option<Command>) {
        self.change(|lanes| lanes.push(seat, run, command));
    }

    /// An open run of before the start that has not begun.
    pub fn line_up(&self, seat: Seat, run: RunId) {
        self.change(|lanes| lanes.line_up(seat, run, false));
    }

    /// An open run of before the start that has begun.
    pub fn has_begun(&self, seat: Seat, run: RunId) {
        lock(&self.lanes).has_begun(seat, run);
    }

    /// Sets what flows' files say of `concurrency`.
    pub fn limit<'f>(&self, flows: impl Iterator<Item = (&'f str, Option<Concurrency>)>) {
        self.change(|lanes| flows.for_each(|(flow, limits)| lanes.limit(flow, limits)));
    }

    /// Runs in line, and those that are about to be.
    pub fn len(&self) -> usize {
        lock(&self.lanes).len()
    }

    /// Slots in all, and those that are free.
    pub fn slots(&self) -> (u32, u32) {
        lock(&self.lanes).slots()
    }

    /// The next run that can go on, with its slots; waits for one.
    pub async fn pop(self: &Arc<Self>) -> (Slot, Option<Command>) {
        loop {
            let next = lock(&self.lanes).pop();
            if let Some((seat, run, command)) = next {
                return (Slot { queue: self.clone(), seat, run, given_back: false }, command);
            }
            self.ready.notified().await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut Lanes)) {
        let mut lanes = lock(&self.lanes);
        change(&mut lanes);
        let ready = lanes.can_pop();
        drop(lanes);
        if ready {
            self.ready.notify_one();
        }
    }
}

/// The slots of a run at work. Dropped, they are given back, and the run counts no more for its flow's `concurrency`.
pub(super) struct Slot {
    queue: Arc<Queue>,
    pub seat: Seat,
    pub run: RunId,
    given_back: bool,
}

impl Slot {
    /// Gives the slots back; the run goes on counting for its flow, as one that waits or that someone else drives.
    pub fn put_aside(&mut self) {
        if !self.given_back {
            self.given_back = true;
            self.queue.change(|lanes| lanes.give_back(self.seat));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.given_back {
            self.queue.change(|lanes| {
                lanes.leave(self.seat, self.run);
                lanes.give_back(self.seat);
            });
        }
    }
}

/// A place in line for a run that is not durable yet.
pub(super) struct Ticket {
    queue: Arc<Queue>,
    seat: Seat,
    used: bool,
}

impl Ticket {
    /// The run is durable: it gets in line.
    pub fn line_up(mut self, run: RunId) {
        self.used = true;
        self.queue.change(|lanes| lanes.line_up(self.seat, run, true));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.used {
            lock(&self.queue.lanes).renounce(self.seat);
        }
    }
}

/// Runs waiting for a time, ms since 1970: one each, the last that was set.
#[derive(Default)]
pub(super) struct Timers {
    set: Mutex<Set>,
    sooner: Notify,
}

#[derive(Default)]
struct Set {
    order: BTreeSet<(i64, RunId, Seat)>,
    /// A run that goes on for another reason, again and again, must not leave a line behind each time.
    of: HashMap<RunId, (i64, Seat)>,
}

impl Timers {
    pub fn set(&self, at_ms: i64, run: RunId, seat: Seat) {
        let mut set = lock(&self.set);
        let first = set.order.first().is_none_or(|(first, ..)| at_ms < *first);
        if let Some((at, seat)) = set.of.insert(run, (at_ms, seat)) {
            set.order.remove(&(at, run, seat));
        }
        set.order.insert((at_ms, run, seat));
        drop(set);
        if first {
            self.sooner.notify_one();
        }
    }

    /// The run has ended.
    pub fn forget(&self, run: RunId) {
        let mut set = lock(&self.set);
        if let Some((at, seat)) = set.of.remove(&run) {
            set.order.remove(&(at, run, seat));
        }
    }

    pub fn len(&self) -> usize {
        lock(&self.set).order.len()
    }

    /// The next run whose time has come; waits for it. A clock set back delays, it never skips.
    pub async fn due(&self) -> (RunId, Seat) {
        loop {
            let now = Timestamp::now().as_millisecond();
            let first = {
                let mut set = lock(&self.set);
                let first = set.order.first().copied();
                if let Some((at, run, seat)) = first
                    && at <= now
                {
                    set.order.pop_first();
                    set.of.remove(&run);
                    return (run, seat);
                }
                first.map(|(at, ..)| at)
            };
            // At most a second at a time: the wall clock can be set while the timer runs on another one.
            let Some(at) = first else {
                self.sooner.notified().await;
                continue;
            };
            let wait = Duration::from_millis(u64::try_from(at - now).unwrap_or(0)).min(Duration::from_secs(1));
            let _ = tokio::time::timeout(wait, self.sooner.notified()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_run_has_one_timer_and_none_once_it_has_ended() {
        let queue = Queue::new(8);
        let (timers, seat) = (Timers::default(), queue.seat("flow", 1));
        let run = |n: u128| RunId(Uuid::from_u128(n));
        for at in [30, 10, 20] {
            timers.set(at, run(1), seat);
        }
        timers.set(15, run(2), seat);
        timers.set(17, run(3), seat);
        timers.forget(run(3));
        assert_eq!(timers.len(), 2);
        assert_eq!([timers.due().await.0, timers.due().await.0], [run(2), run(1)]);
        assert_eq!(timers.len(), 0);
    }
}
