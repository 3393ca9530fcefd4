//! Beginning and ending: open runs are taken up from the journal, and put down in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::again::BROKE_OFF;
use super::drive::Work;
use super::lanes::Seat;
use super::queue::Slot;
use super::*;
use crate::connector::{Class, Failure};
use crate::journal::{Append, Error};
use crate::points;
use crate::run::{Event, NEVER, Record, Run, State};

/// Present while no process is at work on the journal: the last one stopped in order.
const STOPPED: &str = "stopped";

impl Engine {
    /// Finds the open runs and lets requests in. Runs that can go on get in line; timers are set for the others.
    pub async fn begin(self: &Arc<Self>) -> Result<(), Error> {
        let started = std::time::Instant::now();
        let stopped = self.journal.setting(STOPPED)?.is_some();
        self.crashed.store(!stopped, Ordering::Release);
        if stopped {
            match self.journal.set(STOPPED, None).await {
                // No room to write: requests get 503 until there is, as after any other start.
                Err(Error::Busy) => tracing::warn!("the start could not be noted: the disk is nearly full"),
                noted => noted?,
            }
        }
        points::reach("recover.begin");
        lock(&self.rejected).extend(self.journal.rejected_runs()?);
        let open = self.journal.open_runs()?;
        self.limit_flows();
        let full_at = self.restore_usage()?;
        for (id, standing) in self.standings(&open).await {
            match standing {
                Ok(standing) => self.place(id, standing),
                Err(error) => {
                    tracing::error!(run = %id, %error, "an open run cannot be read; it is tried again");
                    self.place_later(id);
                }
            }
        }
        if !open.is_empty() {
            let ms = started.elapsed().as_millis();
            tracing::info!(runs = open.len(), ms, crashed = !stopped, "open runs go on");
        }
        self.ready.store(true, Ordering::Release);
        tokio::spawn(self.clone().settle_letters());
        self.find_alerts();
        let engine = self.clone();
        tokio::spawn(async move { while tokio::spawn(engine.clone().serve_alerts()).await.is_err() {} });
        let engine = self.clone();
        tokio::spawn(async move {
            // A panic must not strand the runs in line.
            while tokio::spawn(engine.clone().serve_queue()).await.is_err() {
                tracing::error!("letting runs go on broke off; it begins anew");
            }
        });
        let engine = self.clone();
        tokio::spawn(async move { while tokio::spawn(engine.clone().serve_timers()).await.is_err() {} });
        tokio::spawn(self.clone().follow_flows());
        tokio::spawn(self.clone().keep_usage(full_at));
        Ok(())
    }

    /// Puts an open run of before the start where it belongs.
    pub(super) fn place(&self, id: RunId, standing: Standing) {
        match standing {
            Standing::Waiting(seat, at) => {
                self.queue.has_begun(seat, id);
                at.into_iter().for_each(|at| self.timers.set(at, id, seat));
            }
            Standing::Now(seat) | Standing::Queued(seat) => {
                if self.crashed.load(Ordering::Acquire) {
                    lock(&self.suspects).insert(id);
                }
                if let Standing::Now(_) = standing {
                    self.queue.has_begun(seat, id);
                    self.queue.push(seat, id, None);
                } else {
                    self.queue.line_up(seat, id);
                }
            }
            Standing::Unwanted(seat) => self.queue.push(seat, id, Some(Command::Cancel)),
            Standing::Held => {}
        }
    }

    /// Stops letting requests in, gives runs at work `grace` to come to an end, and closes the journal.
    /// What has not ended then goes on at the next start.
    pub async fn stop(&self, grace: Duration) {
        self.stopping.store(true, Ordering::Release);
        let deadline = tokio::time::Instant::now() + grace;
        let mut told = false;
        while tokio::time::Instant::now() < deadline {
            // In this order: a run goes from the ones to the others.
            let taken_up = lock(&self.taken_up).len();
            let left = taken_up + lock(&self.working).len();
            if left == 0 {
                break;
            }
            if !told {
                tracing::info!(runs = left, seconds = grace.as_secs(), "waiting for runs at work");
                told = true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.keep_last_usage().await;
        // Callers whose runs go on after the start are told so, rather than cut off.
        self.answers.clear();
        if let Err(error) = self.journal.set(STOPPED, Some(b"1".to_vec())).await {
            tracing::warn!(%error, "the stop could not be noted");
        }
        self.journal.close().await;
    }

    async fn serve_queue(self: Arc<Self>) {
        loop {
            let (mut slot, command) = self.queue.pop().await;
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            let (id, seat) = (slot.run, slot.seat);
            // Before the look at those at work: a run is among these when its taking up is over.
            if let Some(more) = lock(&self.taken_up).get_mut(&id) {
                more.extend(command);
                // Whether it counts is the first one's to say.
                slot.put_aside();
                continue;
            }
            if let Some(other) = lock(&self.working).get(&id) {
                command.map(|command| other.send(command));
                slot.put_aside();
                continue;
            }
            let mut taking = Taking::begin(&self, id, seat);
            if let Some((run, bytes)) = self.in_line.take(id)
                && let Ok(live) = self.definition(&run.started.definition, &run.started.flow)
            {
                let work = Work::new(run, live, Status::Queued, slot, bytes);
                self.clone().set_to_work(work, None, command);
                taking.end();
                continue;
            }
            (taking.slot, taking.command) = (Some(slot), command);
            // In a task of its own: a large run takes a while to read, and others go on meanwhile.
            tokio::spawn(async move {
                let engine = taking.engine.clone();
                let taken = match engine.read_whole(id) {
                    // Nobody else takes it up, so it stays as it was read.
                    Ok(Some(read)) if read.run.finished.is_none() => engine.take_up(read, &mut taking).await,
                    Ok(_) => Ok(()),
                    Err(error) => Err(error),
                };
                match taken {
                    Ok(()) => taking.end(),
                    Err(error) => tracing::error!(run = %id, %error, "an open run cannot be read; it is tried again"),
                }
            });
        }
    }

    async fn serve_timers(self: Arc<Self>) {
        loop {
            let (id, seat) = self.timers.due().await;
            points::reach("timer.due");
            // One that is at work has been woken by something else, and sets its timers anew.
            if !lock(&self.working).contains_key(&id) {
                self.queue.push(seat, id, None);
            }
        }
    }

    /// Tells the lanes what the flows' files say, now and after each change.
    async fn follow_flows(self: Arc<Self>) {
        let mut changes = self.catalog.changes();
        loop {
            self.limit_flows();
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn limit_flows(&self) {
        let catalog = self.catalog.current();
        self.queue.limit(catalog.flows.values().map(|live| (live.flow.id.as_str(), live.flow.concurrency)));
    }

    /// Goes on with a run as the journal has it. An error is something that may be read another time.
    async fn take_up(self: &Arc<Self>, read: Read, taking: &mut Taking) -> Result<(), String> {
        let Read { mut run, seq, bytes } = read;
        let id = run.id;
        let now = super::now();
        let live = match self.definition(&run.started.definition, &run.started.flow) {
            Ok(live) => live,
            Err(_) if matches!(taking.command, Some(Command::Cancel)) => {
                let end = Event::Finished { status: Status::Cancelled, failure: None, by: None };
                self.append_one(&mut run, seq, now, end, Status::Cancelled).await;
                return Ok(());
            }
            Err(NoDefinition::Unread(why)) if !self.troubles.are_lasting(id) => return Err(why),
            Err(why) => {
                let message = format!("the version of the flow that this run began with cannot be read: {why}");
                tracing::error!(run = %id, flow = %run.started.flow, message, "run is held");
                if run.held.is_none() {
                    let failure = Failure::new(Class::Held, "run.no_definition", message);
                    self.append_one(&mut run, seq, now, Event::Held { place: None, failure }, Status::Held).await;
                }
                return Ok(());
            }
        };
        let mut events = Vec::new();
        // A run that could go on when the process went down may be what brought it down.
        if is_calling(&run) || lock(&self.suspects).remove(&id) {
            points::reach("recover.append.before");
            let recovered = Event::Recovered { crashed: self.crashed.load(Ordering::Acquire) };
            if let Err(illegal) = run.apply(now, &recovered) {
                tracing::error!(%illegal, "an open run cannot be taken up; it is left as it is");
                return Ok(());
            }
            events.push(recovered);
        }
        // What lists show now: a run that was queued, waiting or held until here must not go on being shown so.
        let shown = self.journal.summary(id).ok().flatten().map_or(Status::Queued, |summary| summary.status);
        if let Some(slot) = taking.slot.take() {
            let work = Work::new(run, live, shown, slot, bytes).taken_up(seq, events);
            self.clone().set_to_work(work, None, taking.command.take());
        }
        Ok(())
    }

    /// Appends to a run that cannot be driven.
    async fn append_one(&self, run: &mut Run, seq: u32, now: Timestamp, event: Event, status: Status) {
        if run.apply(now, &event).is_err() {
            return;
        }
        let events = [event];
        self.intend_alert(run, &events).await;
        let summary = Some(run.summary(status));
        let record = Record::encode(now, &events);
        loop {
            let (record, summary) = (record.clone(), summary.clone());
            let append = Append { run: run.id, seq, record, summary, claim: None, definition: None };
            match self.journal.append(append).await {
                Ok(_) => return self.alert(run, &events),
                Err(Error::Busy) => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(error) => {
                    tracing::error!(run = %run.id, %error, "the journal cannot be written");
                    return;
                }
            }
        }
    }

    /// How each of these runs stands, in the same order. Read on all cores: at a start there may be many.
    async fn standings(self: &Arc<Self>, runs: &[RunId]) -> Vec<(RunId, Result<Standing, String>)> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let parts = runs.chunks(runs.len().div_ceil(cores).max(1)).map(|part| {
            let (engine, part) = (self.clone(), part.to_vec());
            tokio::task::spawn_blocking(move || {
                part.into_iter().map(|id| (id, engine.standing_safely(id))).collect::<Vec<_>>()
            })
        });
        let mut found = Vec::with_capacity(runs.len());
        for part in parts.collect::<Vec<_>>() {
            match part.await {
                Ok(part) => found.extend(part),
                Err(error) => tracing::error!(%error, "reading open runs broke off; those are left as they are"),
            }
        }
        found
    }

    /// How a run stands; a panic over it must not strand the others.
    pub(super) fn standing_safely(&self, id: RunId) -> Result<Standing, String> {
        let found = catch_unwind(AssertUnwindSafe(|| self.standing(id)));
        found.unwrap_or_else(|_| Err(BROKE_OFF.to_owned()))
    }

    /// When a run can go on.
    fn standing(&self, id: RunId) -> Result<Standing, String> {
        let Some((run, _)) = self.read(id)? else {
            return Ok(Standing::Held);
        };
        if run.held.is_some() || run.finished.is_some() {
            return Ok(Standing::Held);
        }
        let seat = self.seat_of(&run);
        if run.begun_at.is_none() {
            return Ok(Standing::Queued(seat));
        }
        // Only what was recorded as waiting had nothing left to decide, and no call on its way. Nothing is decided here: a
        // run whose deciding brings the process down must not keep it from starting.
        let status = self.journal.summary(id).map_err(|error| error.to_string())?.map(|summary| summary.status);
        let mut first = None;
        let mut child = false;
        run.each(&mut |_, node| {
            if let State::Waiting(until) | State::Awaiting(until) = node.state {
                child |= node.child.is_some() && matches!(node.state, State::Awaiting(_));
                first = Some(first.map_or(until, |first: i64| first.min(until)));
            }
        });
        if !self.is_wanted(&run) {
            return Ok(Standing::Unwanted(seat));
        }
        // A child may have ended while nobody was there to tell.
        if status != Some(Status::Waiting) || child || is_calling(&run) {
            return Ok(Standing::Now(seat));
        }
        let deadline = self.definition(&run.started.definition, &run.started.flow);
        let deadline = match deadline {
            Ok(live) => run.deadline(&live.flow),
            Err(NoDefinition::Unread(why)) => return Err(why),
            Err(NoDefinition::Unfit(_)) => None,
        };
        Ok(match first.into_iter().chain(deadline).min() {
            Some(at) if at <= super::now().as_millisecond() => Standing::Now(seat),
            first => Standing::Waiting(seat, first.filter(|at| *at != NEVER)),
        })
    }

    /// A run as the journal has it, and the position of its next record.
    pub(super) fn read(&self, id: RunId) -> Result<Option<(Run, u32)>, String> {
        Ok(self.read_whole(id)?.map(|read| (read.run, read.seq)))
    }

    /// A run as the journal has it.
    pub(super) fn read_whole(&self, id: RunId) -> Result<Option<Read>, String> {
        let (mut run, mut bytes) = (None, 0);
        let fold = |record: Vec<u8>| {
            bytes += record.len() as u64;
            let record = Record::decode(&record).map_err(|error| error.to_string())?;
            Run::fold(&mut run, id, &record).map_err(|illegal| illegal.to_string())
        };
        let seq = self.journal.each_record(id, fold).map_err(|error| error.to_string())?;
        Ok(run.map(|run| Read { run, seq, bytes }))
    }

    /// Shows a run's records in order, decoded, one at a time; returns how many there are.
    pub(super) fn each_record(
        &self,
        id: RunId,
        mut show: impl FnMut(Record) -> Result<(), String>,
    ) -> Result<u32, String> {
        let show = |bytes: Vec<u8>| show(Record::decode(&bytes).map_err(|error| error.to_string())?);
        self.journal.each_record(id, show).map_err(|error| error.to_string())
    }
}

/// A run as the journal has it.
pub(super) struct Read {
    pub run: Run,
    /// Position of its next record.
    pub seq: u32,
    /// Of all its records.
    pub bytes: u64,
}

/// While a run is accepted or taken up. What was asked of it meanwhile gets in line again; so does the run itself, after a
/// while, if this is not brought to its end.
pub(super) struct Taking {
    engine: Arc<Engine>,
    run: RunId,
    seat: Seat,
    slot: Option<Slot>,
    command: Option<Command>,
    ended: bool,
}

impl Taking {
    pub fn begin(engine: &Arc<Engine>, run: RunId, seat: Seat) -> Taking {
        lock(&engine.taken_up).insert(run, Vec::new());
        Taking { engine: engine.clone(), run, seat, slot: None, command: None, ended: false }
    }

    /// It is driven, or there is nothing to drive.
    pub fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        if let Some(mut slot) = self.slot.take()
            && !self.ended
        {
            // It goes on counting for its flow, as one that waits.
            slot.put_aside();
        }
        let asked = lock(&self.engine.taken_up).remove(&self.run).unwrap_or_default();
        if self.ended {
            self.engine.troubles.end(self.run);
            asked.into_iter().for_each(|command| self.engine.queue.push(self.seat, self.run, Some(command)));
        } else {
            self.engine.again(self.run, self.command.take().into_iter().chain(asked).collect());
        }
    }
}

/// How an open run stands when the process starts.
pub(super) enum Standing {
    /// It has not begun.
    Queued(Seat),
    Now(Seat),
    /// The run that called it has ended, or given it up.
    Unwanted(Seat),
    /// It waits until then, ms since 1970, or for a POST.
    Waiting(Seat, Option<i64>),
    /// For a person.
    Held,
}

/// True if a call was on its way when the last event was written.
fn is_calling(run: &Run) -> bool {
    let mut calling = false;
    run.each(&mut |_, node| calling |= node.attempt > 0 && matches!(node.state, State::Running | State::InDoubt));
    calling
}
