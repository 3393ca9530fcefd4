//! Plays one case: the same core that drives runs, with mocks for calls and a clock that goes where the next thing is.
//!
//! As the engine does it (`engine/drive.rs`), without journal, slots and network: decide until only the outside is left,
//! let the next of it happen, decide again.

mod calls;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::door::{self, Entered};
use super::file::Case;
use super::reader::StepName;
use crate::catalog::{LiveFlow, Snapshot};
use crate::connector::Failure;
use crate::flow::Kind;
use crate::run::{Around, Event, Next, Parent, Place, RECORD_VERSION, Record, Run, RunId, State, Status};

/// Events of one case, at most: a loop that does not end must not keep who tests it.
const MAX_EVENTS: usize = 500_000;

/// Why a case could not be played to its end.
#[derive(Debug, Clone)]
pub struct Fault {
    pub what: String,
    pub hint: Option<String>,
    /// A place in the test file, JSON Pointer; the case itself unless set.
    pub pointer: Option<String>,
}

impl Fault {
    fn new(what: impl Into<String>) -> Fault {
        Fault { what: what.into(), hint: None, pointer: None }
    }
}

/// What became of a case.
#[derive(Debug)]
pub struct Played {
    pub began: Began,
    /// First those that the request started, in order; then those that they called.
    pub runs: Vec<PlayedRun>,
    /// What the caller was answered; null where nobody waits.
    pub response: Value,
    pub fault: Option<Fault>,
}

/// What the request came to.
#[derive(Debug, Clone)]
pub enum Began {
    /// So many runs.
    Runs(usize),
    Skipped,
    Rejected {
        code: &'static str,
        message: String,
    },
}

/// One run of a case.
#[derive(Debug)]
pub struct PlayedRun {
    pub live: Arc<LiveFlow>,
    pub run: Run,
    pub records: Vec<Record>,
    pub status: Status,
    pub dedupe_key: Option<Value>,
    /// The run that called it, by its number, and where.
    pub parent: Option<(usize, Place)>,
}

/// Plays a case.
pub(super) fn play(case: &Case, snapshot: &Snapshot) -> Played {
    let nothing = |fault| Played { began: Began::Runs(0), runs: Vec::new(), response: Value::Null, fault };
    let Some(live) = snapshot.flows.get(&case.flow) else {
        return nothing(Some(Fault::new(format!("there is no flow `{}` without errors", case.flow))));
    };
    let began = match door::enter(case, live) {
        Entered::Skipped => {
            let response = json!({"status": 202, "headers": {}, "body": {"status": "skipped"}});
            return Played { began: Began::Skipped, response, ..nothing(None) };
        }
        Entered::Rejected { status, code, message } => {
            let response = json!({"status": status, "headers": {}, "body": {"code": code, "detail": message}});
            return Played { began: Began::Rejected { code, message }, response, ..nothing(None) };
        }
        Entered::Runs(runs) => runs,
    };
    let count = began.len();
    let mut stage = Stage {
        case,
        snapshot,
        now: case.now.as_millisecond(),
        actors: Vec::new(),
        flights: Vec::new(),
        served: HashMap::new(),
        resumed: HashMap::new(),
        events: 0,
        took_off: 0,
    };
    for (run, dedupe_key) in began {
        stage.join(run, live.clone(), dedupe_key, None);
    }
    let fault = stage.play().err();
    let response = stage.response(count);
    let runs = stage.actors.into_iter().map(|actor| actor.played).collect();
    Played { began: Began::Runs(count), runs, response, fault }
}

/// A run at work.
struct Actor {
    played: PlayedRun,
    /// What can happen to it next by itself.
    wake: Option<i64>,
    /// Applied and not recorded yet.
    fresh: Vec<Event>,
    /// True if something happened to it since it was decided last.
    stirred: bool,
}

/// Something on its way to a run.
struct Flight {
    actor: usize,
    place: Place,
    lands: i64,
    what: Cargo,
    /// Of two that land at once, the first that took off.
    number: usize,
}

enum Cargo {
    Answer(Box<Result<Value, Failure>>),
    Post(Arc<Value>),
}

struct Stage<'s> {
    case: &'s Case,
    snapshot: &'s Snapshot,
    /// ms since 1970.
    now: i64,
    actors: Vec<Actor>,
    flights: Vec<Flight>,
    /// Calls answered so far.
    served: HashMap<StepName, usize>,
    /// Waits that a POST is on its way to, or came to, so far.
    resumed: HashMap<StepName, usize>,
    events: usize,
    took_off: usize,
}

impl Stage<'_> {
    fn join(&mut self, run: Run, live: Arc<LiveFlow>, dedupe_key: Option<Value>, parent: Option<(usize, Place)>) {
        let fresh = vec![Event::Started(run.started.clone())];
        let records = Vec::new();
        let played = PlayedRun { live, run, records, status: Status::Running, dedupe_key, parent };
        self.actors.push(Actor { played, wake: None, fresh, stirred: true });
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now).unwrap_or(Timestamp::MAX)
    }

    fn play(&mut self) -> Result<(), Fault> {
        for _ in 0..MAX_EVENTS {
            // Runs that are called join while others are decided.
            let mut index = 0;
            while index < self.actors.len() {
                if std::mem::take(&mut self.actors[index].stirred) {
                    self.decide(index)?;
                }
                index += 1;
            }
            self.tell_relatives();
            if self.actors.iter().any(|actor| actor.stirred) {
                continue;
            }
            let wakes = self.actors.iter().filter_map(|actor| actor.wake);
            let Some(then) = self.flights.iter().map(|flight| flight.lands).chain(wakes).min() else { return Ok(()) };
            self.now = then.max(self.now);
            if !self.land() {
                let now = self.now;
                for actor in self.actors.iter_mut().filter(|actor| actor.wake.is_some_and(|wake| wake <= now)) {
                    actor.stirred = true;
                }
            }
        }
        Err(Fault::new("the case goes round in circles; please report it"))
    }

    /// Decides what follows for one run, and sends off what it calls.
    fn decide(&mut self, index: usize) -> Result<(), Fault> {
        let at = self.at();
        let live = self.actors[index].played.live.clone();
        let url = |run: RunId, place: &Place| {
            let step = live.flow.step(&place.0).map_or("", |step| step.id.as_str());
            let inner = if place.0.len() > 1 { format!("/{place}") } else { String::new() };
            format!("https://millstream.example/resume/{run}/{step}{inner}")
        };
        let around = Around { now: at, env: &self.case.env, resume_url: &url };
        let actor = &mut self.actors[index];
        let next = loop {
            match actor.played.run.next(&live.flow, &around) {
                Next::Record(event) => {
                    let applied = actor.played.run.apply(at, &event);
                    applied.map_err(|illegal| Fault::new(format!("a fault of Millstream's: {illegal}")))?;
                    actor.fresh.push(event);
                    self.events += 1;
                    if self.events > MAX_EVENTS {
                        return Err(Fault::new(format!("the case goes on and on: more than {MAX_EVENTS} events")));
                    }
                }
                next => break next,
            }
        };
        actor.record(at);
        actor.wake = None;
        let (calls, children, held) = match next {
            Next::Wait { calls, children, wake, held } => {
                actor.wake = wake;
                (calls, children, held)
            }
            Next::Ended | Next::Record(_) => (Vec::new(), Vec::new(), false),
        };
        actor.played.status = match actor.played.run.finished {
            Some(status) => status,
            None if held => Status::Held,
            None if calls.is_empty() => Status::Waiting,
            None => Status::Running,
        };
        // While it is held, what is on its way may land; else what nobody waits for is broken off.
        if !held {
            self.flights.retain(|flight| {
                let wanted = matches!(flight.what, Cargo::Post(_)) || calls.contains(&flight.place);
                flight.actor != index || wanted || children.contains(&flight.place)
            });
        }
        for place in calls {
            if !self.is_flying(index, &place) {
                self.call(index, place)?;
            }
        }
        for place in children {
            if !self.is_flying(index, &place) {
                self.invoke(index, place)?;
            }
        }
        self.post(index);
        Ok(())
    }

    fn is_flying(&self, index: usize, place: &Place) -> bool {
        self.flights.iter().any(|flight| flight.actor == index && flight.place == *place)
    }

    fn take_off(&mut self, actor: usize, place: Place, lands: i64, what: Cargo) {
        self.took_off += 1;
        self.flights.push(Flight { actor, place, lands, what, number: self.took_off });
    }

    /// Lets what is due land; false if nothing was.
    fn land(&mut self) -> bool {
        let due = |flight: &&Flight| flight.lands <= self.now;
        let Some(number) = self.flights.iter().filter(due).map(|f| (f.lands, f.number)).min() else { return false };
        let Some(index) = self.flights.iter().position(|flight| flight.number == number.1) else { return false };
        let Flight { actor, place, what, .. } = self.flights.swap_remove(index);
        let at = self.at();
        let actor = &mut self.actors[actor];
        let run = &mut actor.played.run;
        let event = match what {
            // No spread: waits between attempts are as written.
            Cargo::Answer(answer) => run.settle(&actor.played.live.flow, &place, *answer, at, u64::MAX / 2),
            Cargo::Post(input) => Event::Resumed { place, input },
        };
        // Refused: it came too late.
        if run.apply(at, &event).is_ok() {
            actor.fresh.push(event);
        }
        actor.stirred = true;
        true
    }

    /// Sends the POSTs that the case has for steps that began to wait.
    fn post(&mut self, index: usize) {
        let played = &self.actors[index].played;
        let mut waiting = Vec::new();
        played.run.each(&mut |place, node| {
            let place = Place(place.to_vec());
            if matches!(node.state, State::Awaiting(_)) && !played.run.resumed.contains_key(&place) {
                waiting.push((place, node.since));
            }
        });
        for (place, since) in waiting {
            let flow = &self.actors[index].played.live.flow;
            let Some(step) = flow.step(&place.0).filter(|step| matches!(step.kind, Kind::Wait { .. })) else {
                continue;
            };
            let name = (flow.id.clone(), step.id.clone());
            if self.is_flying(index, &place) {
                continue;
            }
            let came = self.resumed.entry(name.clone()).or_default();
            let Some(resume) = self.case.resumes.get(&name).and_then(|all| all.get(*came)) else { continue };
            *came += 1;
            let after = i64::try_from(resume.after.as_millis()).unwrap_or(i64::MAX / 4);
            let lands = since.max(self.now).saturating_add(after);
            let (body, query, headers) = (&resume.body, &resume.query, &resume.headers);
            let input = json!({"body": body, "query": query, "headers": headers, "method": "POST"});
            self.take_off(index, place, lands, Cargo::Post(Arc::new(input)));
        }
    }

    /// Parents of runs that have answered or ended hear of it, and runs that nobody waits for any more are cancelled.
    fn tell_relatives(&mut self) {
        let at = self.at();
        for index in 0..self.actors.len() {
            let actor = &self.actors[index];
            let Some((parent, place)) = actor.played.parent.clone() else { continue };
            let caller = &self.actors[parent].played.run;
            let waits = caller.children().iter().any(|(at, id)| *at == place && *id == actor.played.run.id);
            if !waits || caller.finished.is_some() {
                let actor = &mut self.actors[index];
                let event = Event::Finished { status: Status::Cancelled, failure: None, by: None };
                if actor.played.run.response.is_none() && actor.played.run.apply(at, &event).is_ok() {
                    actor.fresh.push(event);
                    actor.stirred = true;
                }
                continue;
            }
            if let Some(outcome) = actor.played.run.outcome()
                && !self.is_flying(parent, &place)
            {
                self.take_off(parent, place, self.now, Cargo::Answer(Box::new(outcome)));
            }
        }
    }

    /// What the caller was answered: by the first run, or for the request as a whole.
    fn response(&self, count: usize) -> Value {
        let told = |status: u16, body: Value| json!({"status": status, "headers": {}, "body": body});
        let Some(actor) = self.actors.first().filter(|_| count > 0) else {
            return told(202, json!({"status": "accepted", "count": 0, "run_ids": []}));
        };
        let PlayedRun { live, run, .. } = &actor.played;
        let Some(trigger) = live.flow.trigger.request() else { return Value::Null };
        if trigger.split_on.is_some() {
            let runs: Vec<String> = self.actors[..count].iter().map(|actor| actor.played.run.id.to_string()).collect();
            return told(202, json!({"status": "accepted", "count": count, "run_ids": runs}));
        }
        if !live.flow.answers {
            return told(202, json!({"run_id": run.id, "status": "accepted"}));
        }
        let answered = actor
            .played
            .records
            .iter()
            .find(|record| record.events.iter().any(|event| matches!(event, Event::Responded { .. })));
        let late = |at: Timestamp| at.as_millisecond() - run.started_at.as_millisecond() > PATIENCE;
        match (&run.response, answered) {
            (Some(response), Some(record)) if !late(record.at) => json!(response),
            (None, _) if run.finished.is_some() && !late(run.updated_at) => told(502, json!({"code": "no_response"})),
            _ => told(504, json!({"code": "response_timeout"})),
        }
    }
}

/// How long a caller waits for a response, ms.
const PATIENCE: i64 = 120_000;

impl Actor {
    fn record(&mut self, at: Timestamp) {
        if !self.fresh.is_empty() {
            let events = std::mem::take(&mut self.fresh);
            self.played.records.push(Record { v: RECORD_VERSION, at, events });
        }
    }

    /// The call at a place, as the case names its step.
    fn step_name(&self, place: &Place) -> StepName {
        let flow = &self.played.live.flow;
        (flow.id.clone(), flow.step(&place.0).map(|step| step.id.clone()).unwrap_or_default())
    }

    /// Makes known who a run is called by.
    fn as_parent(&self, place: Place) -> Parent {
        Parent { run: self.played.run.id, place, depth: self.played.run.started.depth_of_child() }
    }
}
