//! One run at work: decide, append, perform, wait; and again until it ends or only a time is left to wait for.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::accept::status;
use super::flying::Flying;
use super::lanes::Seat;
use super::metrics::Metrics;
use super::queue::Slot;
use super::*;
use crate::connector::{Class, Failure};
use crate::flow::Kind;
use crate::journal::{Append, Error};
use crate::outbound;
use crate::points;
use crate::run::{Around, Event, Next, Parent, Place, Record, Run, Summary};

/// Waits shorter than this are slept through; longer ones cost no task.
const NAP: Duration = Duration::from_millis(200);

/// Events of one record; a long loop without calls is written in several.
const MAX_EVENTS: usize = 512;

/// A run with everything that driving it takes.
pub(super) struct Work {
    run: Run,
    live: Arc<LiveFlow>,
    /// Position of the next record.
    seq: u32,
    /// The status that lists show.
    shown: Status,
    /// Of all its records.
    bytes: u64,
    /// Applied and not yet appended.
    events: Vec<Event>,
    /// Answered once what was applied is durable.
    deliveries: Vec<(oneshot::Sender<Delivered>, Delivered)>,
    /// Given back when the run ends or is put aside.
    slot: Slot,
}

impl Work {
    pub fn new(run: Run, live: Arc<LiveFlow>, shown: Status, slot: Slot, bytes: u64) -> Work {
        Work { run, live, seq: 1, shown, bytes, events: Vec::new(), deliveries: Vec::new(), slot }
    }

    /// A run as the journal has it: its next record goes to `seq`, and begins with `events`.
    pub fn taken_up(self, seq: u32, events: Vec<Event>) -> Work {
        Work { seq, events, ..self }
    }
}

impl Engine {
    /// Applies what can be decided without the outside; `events` gets what must be appended. Gives `Next::Record`, not
    /// applied, where there is more to decide than one record should hold.
    pub(super) fn decide(&self, run: &mut Run, live: &LiveFlow, now: Timestamp, events: &mut Vec<Event>) -> Next {
        let catalog = self.catalog.current();
        let resume_url = |run: RunId, place: &Place| self.resume_url(&live.flow.id, run, place);
        let around = Around { now, env: &catalog.env, resume_url: &resume_url };
        loop {
            match run.next(&live.flow, &around) {
                next @ Next::Record(_) if events.len() >= MAX_EVENTS => return next,
                Next::Record(event) => match run.apply(now, &event) {
                    Ok(()) => events.push(event),
                    Err(illegal) => {
                        // A fault of ours. The run is held rather than lost or spun.
                        tracing::error!(run = %run.id, %illegal, "a decision does not follow from the state");
                        let message = "Millstream reached a state it does not understand; please report it";
                        let failure = Failure::new(Class::Held, "engine.fault", message);
                        let held = Event::Held { place: None, failure };
                        if run.apply(now, &held).is_ok() {
                            events.push(held);
                        }
                        return Next::Wait { calls: Vec::new(), children: Vec::new(), wake: None, held: true };
                    }
                },
                next => return next,
            }
        }
    }

    /// Drives `work` in a task of its own, unless a task has it already.
    pub(super) fn set_to_work(self: Arc<Self>, mut work: Work, next: Option<Next>, command: Option<Command>) {
        let (id, seat) = (work.run.id, work.slot.seat);
        let (send, commands) = mpsc::unbounded_channel();
        {
            let mut working = lock(&self.working);
            let task = working.get(&id).unwrap_or(&send);
            if let Some(command) = command {
                let _ = task.send(command);
            }
            if working.contains_key(&id) {
                work.slot.put_aside();
                return;
            }
            working.insert(id, send);
        }
        // Boxed, as else the runtime moves the whole of it thrice.
        tokio::spawn(Box::pin(async move {
            let mut guard = Guard { engine: self.clone(), run: id, seat, done: false };
            self.clone().drive(work, next, commands).await;
            guard.done = true;
        }));
    }

    async fn drive(
        self: Arc<Self>,
        mut work: Work,
        mut decided: Option<Next>,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        let id = work.run.id;
        let mut flying = Flying::default();
        let mut rested = false;
        let mut events = std::mem::take(&mut work.events);
        // Of all that is applied and goes into one record: what came is judged at the time that is journaled for it.
        let mut now = super::now();
        // Before anything is decided: if deciding is what panics, a suspect run must not come to it again.
        while let Ok(command) = commands.try_recv() {
            self.obey(&mut work, now, command, &mut events, &mut flying);
            decided = None;
        }
        // Likewise: that it was taken up again must be known before it can bring the process down once more.
        if !events.is_empty() {
            // Nothing is decided yet, so it must not look as if it waited: a restart would leave it waiting.
            let at_work = if work.run.held.is_some() { Status::Held } else { Status::Running };
            let at_work = work.run.finished.unwrap_or(at_work);
            if !flying.meanwhile(self.append(&mut work, now, &events, at_work)).await {
                return;
            }
            self.announce(&work.run, &events);
            events.clear();
            now = super::now();
        }
        loop {
            let next = match decided.take() {
                Some(next) => next,
                None => self.decide(&mut work.run, &work.live, now, &mut events),
            };
            let status = status(&work.run, &next);
            // That it only waits must be known at the next start, also where nothing else was decided.
            let idle = matches!(&next, Next::Wait { calls, .. } if calls.is_empty());
            if !events.is_empty() || (idle && status != work.shown) {
                if !flying.meanwhile(self.append(&mut work, now, &events, status)).await {
                    // The journal is broken: the process is about to stop, and goes on from what is durable. Or somebody
                    // else has gone on with the run.
                    return;
                }
                self.announce(&work.run, &events);
                events.clear();
            }
            let wake = match next {
                Next::Ended => {
                    self.timers.forget(id);
                    lock(&self.working).remove(&id);
                    return;
                }
                Next::Wait { calls, children, wake, held } => {
                    // While it is held, what is on its way may land; else what nobody waits for is broken off.
                    if !held {
                        flying.keep(|place| calls.contains(place) || children.contains(place));
                    }
                    for place in calls.into_iter().chain(children) {
                        if !flying.has(&place) {
                            self.clone().fly(&work, place, &mut flying);
                        }
                    }
                    if held && flying.is_empty() {
                        self.answers.give(id, &Answer::None(Status::Held));
                    }
                    wake
                }
                Next::Record(_) => {
                    // More to decide; but first what people ask for.
                    now = super::now();
                    while let Ok(command) = commands.try_recv() {
                        self.obey(&mut work, now, command, &mut events, &mut flying);
                    }
                    continue;
                }
            };
            let nap = wake.map(|at| Duration::from_millis(u64::try_from(at - now.as_millisecond()).unwrap_or(0)));
            // Children that have begun are given a moment before their parent is put aside.
            let nap = if flying.is_empty() && !flying.parked.is_empty() && !rested {
                rested = true;
                Some(nap.map_or(NAP, |nap| nap.min(NAP)))
            } else {
                nap
            };
            if flying.is_empty() && nap.is_none_or(|nap| nap > NAP) {
                let mut working = lock(&self.working);
                // A command that came meanwhile is in the channel; commands are sent under this lock.
                if commands.is_empty() {
                    working.remove(&id);
                    // Under the lock, so that whoever wakes it finds it counted, and sets its next timer after this one. A
                    // held run counts no more.
                    if let Some(at) = wake {
                        self.timers.set(at, id, work.slot.seat);
                    }
                    if work.shown != Status::Held {
                        work.slot.put_aside();
                    }
                    return;
                }
            }
            tokio::select! {
                Some(landed) = flying.landed() => {
                    now = super::now();
                    let mut landed = Some(landed);
                    while let Some(one) = landed {
                        if let Some((place, result)) = one {
                            self.land(&mut work, now, place, result, &mut events);
                            rested = false;
                        }
                        landed = flying.landed_already();
                    }
                }
                () = tokio::time::sleep(nap.unwrap_or(Duration::MAX)), if nap.is_some() => now = super::now(),
                Some(command) = commands.recv() => {
                    now = super::now();
                    self.obey(&mut work, now, command, &mut events, &mut flying);
                }
            }
        }
    }

    /// Starts the call at `place`.
    fn fly(self: Arc<Self>, work: &Work, place: Place, flying: &mut Flying) {
        Metrics::count(&self.metrics.calls);
        let live = work.live.clone();
        let node = work.run.node(&place);
        let input = node.and_then(|node| node.input.clone()).unwrap_or_default();
        let key = node.map(|node| node.key).unwrap_or_default();
        let at = place.clone();
        match node.and_then(|node| node.child) {
            Some(child) => {
                let parent = Parent { run: work.run.id, place: at, depth: work.run.started.depth_of_child() };
                flying.take_off(place, async move { self.child(&live, parent, child, input, key).await });
            }
            None => flying.take_off(place, async move { Some(self.perform(&live, &at, &input, key).await) }),
        }
    }

    async fn perform(&self, live: &LiveFlow, place: &Place, input: &Value, key: uuid::Uuid) -> Result<Value, Failure> {
        let Some(Kind::Action(call)) = live.flow.step(&place.0).map(|step| &step.kind) else {
            return Err(Failure::new(Class::Permanent, "engine.fault", format!("there is no action at {place}")));
        };
        let catalog = self.catalog.current();
        let connection = match &call.connection {
            None => None,
            Some(name) => Some(catalog.connections.get(name).ok_or_else(|| {
                let message =
                    format!("connections.yaml has no working connection `{name}`; the run goes on once it has");
                Failure::new(Class::Held, "connection.missing", message)
            })?),
        };
        let call = outbound::Call {
            flow: &live.flow.id,
            connector: &call.connector,
            action: &call.action,
            connection,
            input,
            key,
            timeout: call.timeout,
            output_limit: self.limits.output_bytes,
        };
        self.outbound.perform_fitting(call).await
    }

    /// A call came back.
    fn land(
        &self,
        work: &mut Work,
        now: Timestamp,
        place: Place,
        result: Result<Value, Failure>,
        events: &mut Vec<Event>,
    ) {
        if result.is_err() {
            Metrics::count(&self.metrics.failed_calls);
        }
        // Only the wait for another attempt is random.
        let random = if result.is_err() { getrandom::u64().unwrap_or(u64::MAX / 2) } else { 0 };
        let event = work.run.settle(&work.live.flow, &place, result, now, random);
        // As it is recorded, for the words of a secure step are for no log.
        if let Event::Failed { failure, .. } | Event::Held { failure, .. } = &event {
            let (flow, code) = (&work.live.flow.id, &failure.code);
            tracing::debug!(run = %work.run.id, %flow, %place, %code, message = %failure.message, "a call failed");
        }
        self.take(work, now, event, events);
    }

    fn obey(&self, work: &mut Work, now: Timestamp, command: Command, events: &mut Vec<Event>, flying: &mut Flying) {
        let event = match command {
            Command::Cancel => Event::Finished { status: Status::Cancelled, failure: None, by: None },
            Command::Resume if work.run.held.is_some() => Event::Released,
            Command::Resume => return,
            Command::Suspect => {
                let message = "Millstream broke off while driving this run; please report it".to_owned();
                Event::Held { place: None, failure: Failure::new(Class::Held, "engine.panic", message) }
            }
            Command::Look => return flying.look(),
            Command::Deliver(place, delivery) => {
                // Else who asked has gone, and was told to come again.
                let Some((reply, input)) = delivery.take() else { return };
                match super::resume::resumed(&work.run, &work.live.flow, place, input) {
                    Ok(event) => {
                        work.deliveries.push((reply, Delivered::Taken));
                        event
                    }
                    // What came before is durable, or will be with what is applied and not appended yet.
                    Err(delivered) if events.is_empty() => {
                        let _ = reply.send(delivered);
                        return;
                    }
                    Err(delivered) => return work.deliveries.push((reply, delivered)),
                }
            }
        };
        self.take(work, now, event, events);
    }

    fn take(&self, work: &mut Work, now: Timestamp, event: Event, events: &mut Vec<Event>) {
        match work.run.apply(now, &event) {
            Ok(()) => events.push(event),
            Err(illegal) => tracing::warn!(%illegal, "an event came too late"),
        }
    }

    /// Appends until it is durable; false if it never will be.
    async fn append(self: &Arc<Self>, work: &mut Work, now: Timestamp, events: &[Event], status: Status) -> bool {
        self.intend_alert(&work.run, events).await;
        loop {
            let record = Record::encode(now, events);
            let bytes = work.bytes + record.len() as u64;
            let summary = (status != work.shown).then(|| Summary { bytes, ..work.run.summary(status) });
            let append = Append { run: work.run.id, seq: work.seq, record, summary, claim: None, definition: None };
            points::reach("drive.append.before");
            match self.journal.append(append).await {
                Ok(_) => {
                    points::reach("drive.append.after");
                    Metrics::count(&self.metrics.appends);
                    work.seq += 1;
                    work.shown = status;
                    work.bytes = bytes;
                    if let Some(status) = work.run.finished {
                        self.kept.ended(status, bytes);
                    }
                    for (reply, delivered) in work.deliveries.drain(..) {
                        points::reach("resume.append.after");
                        let _ = reply.send(delivered);
                    }
                    return true;
                }
                // It was accepted before, so it waits for room as long as it takes.
                Err(Error::Busy) => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(Error::Taken) => {
                    tracing::error!(run = %work.run.id, "a run was driven twice; it goes on as the journal has it");
                    work.slot.put_aside();
                    lock(&self.working).remove(&work.run.id);
                    self.again(work.run.id, Vec::new());
                    return false;
                }
                Err(error) => {
                    tracing::error!(run = %work.run.id, %error, "the journal cannot be written");
                    return false;
                }
            }
        }
    }

    /// Tells those who wait, now that `events` are durable.
    pub(super) fn announce(self: &Arc<Self>, run: &Run, events: &[Event]) {
        self.tell_relatives(run, events);
        self.alert(run, events);
        for event in events {
            match event {
                Event::Responded { response, .. } => {
                    self.answers.give(run.id, &Answer::Response(response.clone()));
                }
                Event::Finished { status, failure, .. } => {
                    self.answers.give(run.id, &Answer::None(*status));
                    self.metrics.ended(*status);
                    let reason = failure.as_ref().map(|failure| failure.message.as_str()).unwrap_or_default();
                    match status {
                        Status::Failed => {
                            tracing::warn!(run = %run.id, flow = %run.started.flow, reason, "run failed");
                        }
                        status => tracing::debug!(run = %run.id, flow = %run.started.flow, %status, "run ended"),
                    }
                }
                Event::Held { failure, .. } => {
                    let reason = &failure.message;
                    tracing::warn!(run = %run.id, flow = %run.started.flow, reason, "run is held for a person");
                }
                Event::Started(_)
                | Event::Rejected(_)
                | Event::Called { .. }
                | Event::Succeeded { .. }
                | Event::Failed { .. }
                | Event::Skipped { .. }
                | Event::Entered { .. }
                | Event::Iterating { .. }
                | Event::Left { .. }
                | Event::Waiting { .. }
                | Event::Listening { .. }
                | Event::Resumed { .. }
                | Event::Invoked { .. }
                | Event::Assigned { .. }
                | Event::Failing { .. }
                | Event::TookOver(_)
                | Event::Handled(_)
                | Event::Recovered { .. }
                | Event::Released => {}
            }
        }
    }
}

/// Sees to it that a panic while driving holds the run instead of forgetting it.
struct Guard {
    engine: Arc<Engine>,
    run: RunId,
    seat: Seat,
    done: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.done && std::thread::panicking() {
            lock(&self.engine.working).remove(&self.run);
            self.engine.queue.push(self.seat, self.run, Some(Command::Suspect));
        }
    }
}
