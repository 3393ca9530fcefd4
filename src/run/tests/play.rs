//! Plays generated flows: journal, clock and outside, and the mishaps of a process.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::json;

use super::model::{Outside, Path};
use super::tree::{List, Tree, What};
use super::*;
use crate::flow::{HANDLER, Kind};

/// When the process goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    Never,
    /// Right after this append, counted from 1.
    After(usize),
    /// Before this one is durable.
    Before(usize),
    AfterEach,
    /// Before each, once.
    BeforeEach,
    /// Halfway through each wait.
    Waiting,
}

/// How often a call left, with which key and input, and the run that answers it if it is of another flow.
type Sent = (usize, Uuid, Value, Option<RunId>);

/// A run being played. Times are ms since 1970.
pub struct Play<'t> {
    flow: &'t Flow,
    outside: Outside,
    pub run: Run,
    pub records: Vec<Record>,
    pub now: i64,
    mishap: Mishap,
    /// Most events of one record.
    chunk: usize,
    appends: usize,
    /// The append before which the process went down last.
    lost: usize,
    /// Calls on their way, and when they land.
    flying: BTreeMap<Path, i64>,
    /// POSTs to come.
    posts: Vec<(i64, Path)>,
    /// Calls that left: how often, and with what.
    pub left: HashMap<(Path, u32), Sent>,
    /// Calls that were on their way when the process went down.
    doubtful: HashSet<(Path, u32)>,
    /// The run as it was folded after the process went down last.
    folded: String,
}

impl<'t> Play<'t> {
    pub fn new(tree: &Tree, flow: &'t Flow, outside: Outside, mishap: Mishap, chunk: usize) -> Play<'t> {
        let (records, run) = begun(flow, Tree::body());
        let now = run.started_at.as_millisecond();
        let mut waits = Vec::new();
        early(&tree.steps, &mut Vec::new(), &mut waits);
        tree.on_failure.iter().for_each(|steps| early(steps, &mut vec![HANDLER, 0], &mut waits));
        let posts = waits.into_iter().filter_map(|place| Some((now + outside.posted(&place)?, place))).collect();
        let (flying, left, doubtful, folded) = Default::default();
        let (appends, lost) = (0, 0);
        Play { flow, outside, run, records, now, mishap, chunk, appends, lost, flying, posts, left, doubtful, folded }
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now).unwrap()
    }

    /// Applies what can be decided and appends it, over and over if the process goes down.
    fn decide(&mut self) -> Next {
        let (env, at) = (json!({}), self.at());
        let mut events = Vec::new();
        loop {
            let around = Around { now: at, env: &env, resume_url: &|_, place| format!("/resume/{place}") };
            let next = self.run.next(self.flow, &around);
            if let Next::Record(event) = &next {
                self.run.apply(at, event).unwrap();
                events.push(event.clone());
            }
            let decided = !matches!(next, Next::Record(_));
            if !events.is_empty() && (decided || events.len() >= self.chunk) && !self.append(&mut events) {
                continue;
            }
            if decided {
                return next;
            }
        }
    }

    /// Appends `events`, which have been applied; false if the process went down and what is not durable is forgotten.
    fn append(&mut self, events: &mut Vec<Event>) -> bool {
        self.appends += 1;
        let before = match self.mishap {
            Mishap::Before(count) => self.appends == count,
            Mishap::BeforeEach => self.appends != self.lost + 1,
            _ => false,
        };
        let events = std::mem::take(events);
        if before {
            self.lost = self.appends;
            self.go_down();
            return false;
        }
        self.records.push(Record::decode(&Record::encode(self.at(), &events)).unwrap());
        self.listen(&events);
        if self.mishap == Mishap::AfterEach || self.mishap == Mishap::After(self.appends) {
            let live = format!("{:?}", self.run);
            self.go_down();
            assert_eq!(live, self.folded, "what is folded again is not what was");
            return false;
        }
        true
    }

    /// The process goes down and comes back, as `engine/recover.rs` has it.
    fn go_down(&mut self) {
        self.run = Run::replay(self.run.id, &self.records).unwrap();
        self.folded = format!("{:?}", self.run);
        for place in std::mem::take(&mut self.flying).into_keys() {
            if let Some(node) = self.run.node(&Place(place.clone()))
                && matches!(node.state, State::Running | State::InDoubt | State::Awaiting(_))
            {
                self.doubtful.insert((place, node.attempt));
            }
        }
        if self.run.finished.is_none() {
            self.note(Event::Recovered { crashed: true });
            self.run.each(&mut |place, node| {
                assert!(node.attempt == 0 || node.state != State::Running, "{place:?} is in doubt");
            });
        }
    }

    /// Appends where no process goes down.
    fn note(&mut self, event: Event) {
        let at = self.at();
        self.run.apply(at, &event).unwrap();
        self.records.push(Record { v: RECORD_VERSION, at, events: vec![event] });
    }

    /// Plays to the end, or until nothing can happen any more.
    pub fn play(mut self) -> Play<'t> {
        for _ in 0..20_000 {
            let (calls, children, wake) = match self.decide() {
                Next::Ended => return self,
                Next::Wait { held: true, .. } => {
                    assert_eq!(self.run.held.as_ref().unwrap().code, "run.suspected");
                    self.note(Event::Released);
                    continue;
                }
                Next::Wait { calls, children, wake, .. } => (calls, children, wake),
                Next::Record(_) => unreachable!("decided"),
            };
            self.fly(calls.into_iter().chain(children).map(|place| place.0).collect());
            let posts = self.posts.iter().map(|(at, _)| *at);
            let Some(then) = self.flying.values().copied().chain(posts).chain(wake).min() else { return self };
            if self.mishap == Mishap::Waiting && then > self.now + 1 {
                self.now += (then - self.now) / 2;
                self.go_down();
                continue;
            }
            assert!(wake.is_none_or(|wake| wake > self.now), "it waits for what has passed");
            self.now = then.max(self.now);
            if !self.posted() {
                self.land();
            }
        }
        panic!("it goes round in circles: {:?}", self.records.last());
    }

    /// Sends the calls that are not on their way, and breaks off those that nobody waits for.
    fn fly(&mut self, wanted: Vec<Path>) {
        self.flying.retain(|place, _| wanted.contains(place));
        for place in wanted {
            if self.flying.contains_key(&place) {
                continue;
            }
            let node = self.run.node(&Place(place.clone())).unwrap();
            let input = node.input.as_deref().cloned().expect("a call has inputs");
            let id = (place.clone(), node.attempt);
            let now = (1, node.key, input, node.child);
            let lands = (node.since + self.outside.takes(&place, node.attempt)).max(self.now);
            let first = self.left.entry(id.clone()).or_insert_with(|| (0, now.1, now.2.clone(), now.3));
            first.0 += 1;
            assert_eq!(
                (&first.1, &first.2, &first.3),
                (&now.1, &now.2, &now.3),
                "call {id:?} left otherwise than before"
            );
            assert!(first.0 == 1 || self.doubtful.remove(&id), "call {id:?} left twice");
            self.flying.insert(place, lands);
        }
    }

    /// Delivers the POSTs that are due; true if there was one that a step takes.
    fn posted(&mut self) -> bool {
        let due: Vec<Path> =
            self.posts.iter().filter(|(at, _)| *at <= self.now).map(|(_, place)| place.clone()).collect();
        let mut events = Vec::new();
        for place in &due {
            let (at, input) = (self.at(), Arc::new(json!({"for": place})));
            let event = Event::Resumed { place: Place(place.clone()), input };
            // Refused: the step, or one around it, has ended.
            if self.run.apply(at, &event).is_ok() {
                events.push(event);
            }
        }
        let taken = !events.is_empty();
        if !taken || self.append(&mut events) {
            self.posts.retain(|(_, place)| !due.contains(place));
        }
        taken
    }

    /// The first call that is due comes back.
    fn land(&mut self) {
        let Some(place) = self.flying.iter().find(|(_, at)| **at <= self.now).map(|(place, _)| place.clone()) else {
            return;
        };
        let attempt = self.run.node(&Place(place.clone())).unwrap().attempt;
        let answer = self.outside.answer(&place, attempt);
        let event = self.run.settle(self.flow, &Place(place.clone()), answer, self.at(), u64::MAX / 2);
        let at = self.at();
        self.run.apply(at, &event).unwrap();
        if self.append(&mut vec![event]) {
            self.flying.remove(&place);
        }
    }
}

impl Play<'_> {
    /// Goes on from a state that may have come of a damaged history: whatever comes of it, it must not panic.
    pub fn wander(&mut self) {
        let env = json!({});
        for _ in 0..2_000 {
            let at = self.at();
            let around = Around { now: at, env: &env, resume_url: &|_, place| format!("/resume/{place}") };
            let event = match self.run.next(self.flow, &around) {
                Next::Record(event) => event,
                Next::Ended => return,
                Next::Wait { held: true, .. } => Event::Released,
                Next::Wait { calls, children, wake, .. } => match calls.into_iter().chain(children).next() {
                    Some(place) => self.run.settle(self.flow, &place, Ok(Value::Null), at, 0),
                    None => match wake {
                        Some(wake) => {
                            self.now = wake;
                            continue;
                        }
                        None => return,
                    },
                },
            };
            // Refused by the gate: the engine holds such a run.
            if self.run.apply(at, &event).is_err() {
                return;
            }
        }
    }

    /// A POST for a `wait` in a loop comes so long after the wait began.
    fn listen(&mut self, events: &[Event]) {
        for event in events {
            if let Event::Listening { place, .. } = event
                && self.in_loop(place)
                && let Some(after) = self.outside.posted(&place.0)
            {
                self.posts.push((self.now + after, place.0.clone()));
            }
        }
    }

    fn in_loop(&self, place: &Place) -> bool {
        let handler = if place.0[0] == HANDLER { 2 } else { 0 };
        (handler + 1..place.0.len()).step_by(2).any(|length| {
            let step = self.flow.step(&place.0[..length]).unwrap();
            matches!(step.kind, Kind::Foreach(_) | Kind::Until(_))
        })
    }
}

/// Places of `wait` steps that are in no loop, so that their URLs are known from the start.
fn early(list: &List, path: &mut Path, found: &mut Vec<Path>) {
    for (position, twig) in list.iter().enumerate() {
        path.push(position as u32);
        let lists: Vec<&List> = match &twig.what {
            What::If(_, then, otherwise) => vec![then, otherwise],
            What::Switch(_, lists) | What::Parallel(lists) => lists.iter().collect(),
            What::Scope(body, catch, last) => {
                // Their numbers are those of the parts, present or not.
                for (sub, list) in [(0, Some(body)), (1, catch.as_ref()), (2, last.as_ref())] {
                    path.push(sub);
                    list.into_iter().for_each(|list| early(list, path, found));
                    path.pop();
                }
                Vec::new()
            }
            What::Wait(_) => {
                found.push(path.clone());
                Vec::new()
            }
            _ => Vec::new(),
        };
        for (sub, list) in lists.into_iter().enumerate() {
            path.push(sub as u32);
            early(list, path, found);
            path.pop();
        }
        path.pop();
    }
}
