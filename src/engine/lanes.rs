//! Who goes on next: a lane a flow, slots shared by a threshold that follows what is free. Plain data, no waiting.
//!
//! A flow may take another slot only while those it holds are fewer than those that are free (a dynamic threshold, after
//! Choudhury and Hahne). So one flow that hangs takes half of the slots, `n` of them leave `1/(n+1)` free, and none has to
//! be told from the others. Of the flows that may, the one that holds fewest goes first, and of these the one that was
//! served longest ago. Within a flow it is first come first served. All of it costs O(log flows) an event.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::Command;
use crate::flow::Concurrency;
use crate::run::RunId;

/// Where a run lines up, and how many slots it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat {
    lane: u32,
    slots: u32,
}

/// What becomes of a new run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has its slots.
    Now,
    /// It may line up.
    Later,
    /// Its flow has as many in line as its `concurrency` allows.
    FlowFull,
    /// There are as many in line as there may be at all.
    Full,
}

/// All lanes. Slots are given out here and must be given back.
pub(super) struct Lanes {
    total: u32,
    free: u32,
    ids: HashMap<Arc<str>, u32>,
    lanes: Vec<Lane>,
    /// Lanes whose first in line waits for nothing but slots, best first.
    ready: BTreeSet<Claim>,
    /// Open runs that have begun and are not held: at work, in line once more, or waiting for something.
    begun: HashSet<RunId>,
    served: u64,
    waiting: usize,
    announced: usize,
}

#[derive(Default)]
struct Lane {
    limits: Option<Concurrency>,
    /// Slots taken.
    held: u32,
    /// How many of `begun` are of this flow.
    begun: u32,
    /// New runs in line, and those that are about to be.
    queued: u32,
    /// Runs that count as begun, and orders that end a run: they wait for slots alone.
    going: VecDeque<Entry>,
    /// Runs that must be let in by `concurrency` first.
    fresh: VecDeque<Entry>,
    /// When it was last served.
    served: u64,
    claim: Option<Claim>,
}

struct Entry {
    run: RunId,
    slots: u32,
    command: Option<Command>,
    /// Which came first, of `going` and `fresh`.
    arrival: u64,
    /// It has not begun before.
    new: bool,
}

/// What a lane asks for; the least is served first. Lanes that hold nothing come before all others, and what they need is
/// kept for them: while one of them waits for many slots, a flow makes do with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    holds: bool,
    /// So many slots must be free.
    required: u32,
    served: u64,
    lane: u32,
}

impl Lane {
    fn has_room(&self) -> bool {
        self.limits.is_none_or(|limits| self.begun < limits.running)
    }

    /// The first that waits for slots alone, and whether it is a fresh one.
    fn first(&self) -> Option<(&Entry, bool)> {
        let fresh = self.fresh.front().filter(|_| self.has_room());
        match (self.going.front(), fresh) {
            (Some(going), Some(fresh)) if fresh.arrival < going.arrival => Some((fresh, true)),
            (None, Some(fresh)) => Some((fresh, true)),
            (Some(going), _) => Some((going, false)),
            (None, None) => None,
        }
    }

    fn claim(&self, lane: u32, slots: u32) -> Claim {
        let holds = self.held > 0;
        Claim { holds, required: self.held + slots, served: self.served, lane }
    }
}

impl Lanes {
    pub fn new(total: usize) -> Lanes {
        let total = u32::try_from(total).unwrap_or(u32::MAX / 4).clamp(1, u32::MAX / 4);
        Lanes {
            total,
            free: total,
            ids: HashMap::new(),
            lanes: Vec::new(),
            ready: BTreeSet::new(),
            begun: HashSet::new(),
            served: 0,
            waiting: 0,
            announced: 0,
        }
    }

    /// Where runs of `flow` line up that want so many slots. They get at most what one flow may ever hold.
    pub fn seat(&mut self, flow: &str, slots: usize) -> Seat {
        let slots = u32::try_from(slots).unwrap_or(u32::MAX).clamp(1, (self.total / 2).max(1));
        if let Some(lane) = self.ids.get(flow) {
            return Seat { lane: *lane, slots };
        }
        let lane = u32::try_from(self.lanes.len()).expect("fewer flows than 2^32: each is a file");
        self.lanes.push(Lane::default());
        self.ids.insert(flow.into(), lane);
        Seat { lane, slots }
    }

    /// Sets what a flow's file says of `concurrency`.
    pub fn limit(&mut self, flow: &str, limits: Option<Concurrency>) {
        if limits.is_none() && !self.ids.contains_key(flow) {
            return;
        }
        let seat = self.seat(flow, 1);
        self.lanes[seat.lane as usize].limits = limits;
        self.place(seat.lane);
    }

    /// Lets a new run in: at once if nobody is before it, else it is announced, unless there is no room for it.
    /// `most` is how many may be in line over all; a run that `must` be let in is refused by neither bound.
    pub fn admit(&mut self, seat: Seat, run: RunId, most: usize, must: bool) -> Turn {
        if self.is_free(seat) {
            self.begin(seat.lane, run);
            self.take(seat);
            return Turn::Now;
        }
        self.announce(seat, 1, most, must)
    }

    /// What would become of a new run, see [`Lanes::admit`]: nothing is kept of the question.
    pub fn outlook(&self, seat: Seat, most: usize) -> Turn {
        if self.is_free(seat) { Turn::Now } else { self.room(seat, 1, most) }
    }

    /// Announces new runs of one request, all or none: never [`Turn::Now`]. A flow with room for one has it for all, as
    /// else a long list would be refused for ever.
    pub fn announce(&mut self, seat: Seat, runs: u32, most: usize, must: bool) -> Turn {
        let turn = if must { Turn::Later } else { self.room(seat, runs, most) };
        if turn == Turn::Later {
            self.lanes[seat.lane as usize].queued += runs;
            self.announced += runs as usize;
        }
        turn
    }

    /// True if a new run has its slots at once: nobody is before it, and they are free.
    fn is_free(&self, seat: Seat) -> bool {
        let lane = &self.lanes[seat.lane as usize];
        let claim = lane.claim(seat.lane, seat.slots);
        let last = Claim { served: u64::MAX, ..claim };
        let is_next =
            lane.going.is_empty() && lane.fresh.is_empty() && self.ready.first().is_none_or(|first| last < *first);
        is_next && lane.has_room() && claim.required <= self.free
    }

    /// Whether so many runs more may line up.
    fn room(&self, seat: Seat, runs: u32, most: usize) -> Turn {
        let lane = &self.lanes[seat.lane as usize];
        if self.len() + runs as usize > most {
            Turn::Full
        } else if lane.limits.is_some_and(|limits| lane.queued >= limits.queued) {
            Turn::FlowFull
        } else {
            Turn::Later
        }
    }

    /// An announced run does not come.
    pub fn renounce(&mut self, seat: Seat) {
        let lane = &mut self.lanes[seat.lane as usize];
        lane.queued = lane.queued.saturating_sub(1);
        self.announced = self.announced.saturating_sub(1);
    }

    /// A new run gets in line behind those that were accepted before it. `announced`: [`Lanes::admit`] has counted it.
    pub fn line_up(&mut self, seat: Seat, run: RunId, announced: bool) {
        let lane = &mut self.lanes[seat.lane as usize];
        if announced {
            self.announced = self.announced.saturating_sub(1);
        } else {
            lane.queued += 1;
        }
        self.served += 1;
        let mut entry = Entry { run, slots: seat.slots, command: None, arrival: self.served, new: true };
        // Ids are in the order of acceptance, but whoever wrote them to disk may come back in another.
        let mut at = lane.fresh.len();
        while at > 0 && lane.fresh[at - 1].new && lane.fresh[at - 1].run > run {
            entry.arrival = entry.arrival.min(lane.fresh[at - 1].arrival);
            at -= 1;
        }
        lane.fresh.insert(at, entry);
        self.waiting += 1;
        self.place(seat.lane);
    }

    /// A run gets in line again: its time has come, or a person gave an order.
    pub fn push(&mut self, seat: Seat, run: RunId, command: Option<Command>) {
        let ends = matches!(command, Some(Command::Cancel | Command::Suspect));
        let begun = self.begun.contains(&run);
        let lane = &mut self.lanes[seat.lane as usize];
        if ends
            && !begun
            && let Some(at) = lane.fresh.iter().position(|entry| entry.run == run)
        {
            // It ends instead of beginning.
            if lane.fresh.remove(at).is_some_and(|entry| entry.new) {
                lane.queued = lane.queued.saturating_sub(1);
            }
            self.waiting -= 1;
        }
        self.served += 1;
        let entry = Entry { run, slots: seat.slots, command, arrival: self.served, new: false };
        let line = if ends || begun { &mut lane.going } else { &mut lane.fresh };
        line.push_back(entry);
        self.waiting += 1;
        self.place(seat.lane);
    }

    /// Who goes on now, if anyone can: its slots are taken.
    pub fn pop(&mut self) -> Option<(Seat, RunId, Option<Command>)> {
        let claim = self.ready.first().filter(|claim| claim.required <= self.free)?;
        let id = claim.lane;
        let lane = &mut self.lanes[id as usize];
        let (_, fresh) = lane.first()?;
        let entry = if fresh { lane.fresh.pop_front()? } else { lane.going.pop_front()? };
        if entry.new {
            lane.queued = lane.queued.saturating_sub(1);
        }
        self.waiting -= 1;
        if fresh {
            self.begin(id, entry.run);
        }
        let seat = Seat { lane: id, slots: entry.slots };
        self.take(seat);
        Some((seat, entry.run, entry.command))
    }

    /// True if [`Lanes::pop`] would give someone.
    pub fn can_pop(&self) -> bool {
        self.ready.first().is_some_and(|claim| claim.required <= self.free)
    }

    /// Counts a run as begun, whatever its flow allows: an open one of before the start.
    pub fn has_begun(&mut self, seat: Seat, run: RunId) {
        self.begin(seat.lane, run);
        self.place(seat.lane);
    }

    /// Slots come back.
    pub fn give_back(&mut self, seat: Seat) {
        self.free += seat.slots;
        self.lanes[seat.lane as usize].held -= seat.slots;
        self.place(seat.lane);
    }

    /// The run has ended, or is held for a person: it counts no more.
    pub fn leave(&mut self, seat: Seat, run: RunId) {
        if self.begun.remove(&run) {
            self.lanes[seat.lane as usize].begun -= 1;
            self.place(seat.lane);
        }
    }

    /// Runs in line, and those that are about to be.
    pub fn len(&self) -> usize {
        self.waiting + self.announced
    }

    /// Slots in all, and those that are free.
    pub fn slots(&self) -> (u32, u32) {
        (self.total, self.free)
    }

    fn begin(&mut self, lane: u32, run: RunId) {
        if self.begun.insert(run) {
            self.lanes[lane as usize].begun += 1;
        }
    }

    fn take(&mut self, seat: Seat) {
        self.served += 1;
        self.free -= seat.slots;
        let lane = &mut self.lanes[seat.lane as usize];
        lane.held += seat.slots;
        lane.served = self.served;
        self.place(seat.lane);
    }

    /// Puts a lane where its claim now belongs.
    fn place(&mut self, id: u32) {
        let lane = &mut self.lanes[id as usize];
        let claim = lane.first().map(|(first, _)| lane.claim(id, first.slots));
        if claim == lane.claim {
            return;
        }
        if let Some(old) = std::mem::replace(&mut lane.claim, claim) {
            self.ready.remove(&old);
        }
        if let Some(claim) = claim {
            self.ready.insert(claim);
        }
    }
}

#[cfg(test)]
mod tests;
