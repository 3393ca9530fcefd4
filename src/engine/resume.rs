//! POSTs that end a `wait` step.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;

use super::*;
use crate::flow::{Flow, Kind};
use crate::points;
use crate::run::{Event, Run};

/// What became of a POST to a `wait` step's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// It is durable: the step ends with it, now or when its turn comes.
    Taken,
    /// The same came before: a sender that tries again is answered as the first time.
    Repeated,
    /// Something else came before.
    Late,
    /// The step, or the run, has ended without it.
    Gone,
    /// It is nested so deep that the journal could not read it again.
    TooDeep,
}

/// How long a caller waits until its POST is durable.
const PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// True if `key` is that of the `wait` step at `place` of `run`; the time taken tells nothing about it.
    pub fn may_resume(&self, run: RunId, place: &Place, key: &str) -> bool {
        self.keys.may_resume(run, place, key)
    }

    /// Most bytes of what a POST may bring to a `wait`: it becomes the step's output.
    pub fn output_limit(&self) -> usize {
        self.limits.output_bytes
    }

    /// The URL of the `wait` step at a place of a run.
    pub(super) fn resume_url(&self, flow: &str, run: RunId, place: &Place) -> String {
        let base = self.base.get().map(String::as_str).unwrap_or_default();
        format!("{base}{}", self.keys.resume_path(flow, run, place))
    }

    /// Hands a POST to the `wait` step at `place`, early or in time. Who asks has shown the step's key.
    pub async fn deliver(self: &Arc<Self>, run: RunId, place: Place, input: Value) -> Result<Delivered, Refusal> {
        let unavailable = |why: String| Refusal::Unavailable { retry_after: Duration::from_secs(2), why };
        if !self.is_ready() {
            return Err(unavailable("Millstream is starting or stopping".into()));
        }
        if crate::run::is_too_deep(&input) {
            return Ok(Delivered::TooDeep);
        }
        let summary = self.journal.summary(run).map_err(|error| unavailable(error.to_string()))?;
        if summary.is_none_or(|summary| summary.status.is_ended()) {
            let found = self.read(run).map_err(unavailable)?;
            return Ok(found.and_then(|(run, _)| before(&run, &place, &input)).unwrap_or(Delivered::Gone));
        }
        // One at a time: those that wait for their run to get a slot keep their bodies in memory.
        let key = (run, place.clone());
        if !lock(&self.delivering).insert(key.clone()) {
            return Err(Refusal::Busy { retry_after: Duration::from_secs(2) });
        }
        let (reply, receive) = oneshot::channel();
        let caller = Caller(Arc::new(Mutex::new(Some(Arc::new(input)))));
        let delivery = Delivery { reply, input: caller.0.clone(), _pending: Pending { engine: self.clone(), key } };
        points::reach("resume.deliver.before");
        self.command(run, Command::Deliver(place, delivery));
        match tokio::time::timeout(PATIENCE, receive).await {
            Ok(Ok(delivered)) => Ok(delivered),
            // The task ended before it came to it.
            Ok(Err(_)) => Err(unavailable("the run was being put aside; send it again".into())),
            Err(_) => Err(unavailable("every slot is taken; send it again".into())),
        }
    }

    /// Tells a run's task; a run that has none gets in line for one.
    pub(super) fn command(self: &Arc<Self>, run: RunId, command: Command) {
        if let Some(command) = self.tell_task(run, command) {
            self.line_up_again(run, vec![command]);
        }
    }

    /// Tells a run's task, or gives the command back if it has none.
    pub(super) fn tell_task(&self, run: RunId, command: Command) -> Option<Command> {
        match lock(&self.working).get(&run) {
            Some(task) => task.send(command).err().map(|mpsc::error::SendError(back)| back),
            None => Some(command),
        }
    }
}

/// Who waits for a POST to be durable.
pub(super) struct Delivery {
    reply: oneshot::Sender<Delivered>,
    /// What the POST brought; gone once its caller has.
    input: Brought,
    _pending: Pending,
}

impl Delivery {
    /// It has come to its run: who is told, and what the POST brought, if its caller still waits. From now on another is let
    /// in, and so before anyone is told.
    pub fn take(self) -> Option<(oneshot::Sender<Delivered>, Arc<Value>)> {
        let input = lock(&self.input).take().filter(|_| !self.reply.is_closed())?;
        Some((self.reply, input))
    }
}

type Brought = Arc<Mutex<Option<Arc<Value>>>>;

/// A caller who waits. Its POST may stay in line for long, but what it brought is not kept without it.
struct Caller(Brought);

impl Drop for Caller {
    fn drop(&mut self) {
        lock(&self.0).take();
    }
}

/// A POST that has not come to its run yet: as long as there is one, no other is let in to the same step.
struct Pending {
    engine: Arc<Engine>,
    key: (RunId, Place),
}

impl Drop for Pending {
    fn drop(&mut self) {
        lock(&self.engine.delivering).remove(&self.key);
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Delivery")
    }
}

/// The event that a POST for the step at `place` makes, or why it makes none.
pub(super) fn resumed(run: &Run, flow: &Flow, place: Place, input: Arc<Value>) -> Result<Event, Delivered> {
    let step = flow.step(&place.0);
    if !step.is_some_and(|step| matches!(step.kind, Kind::Wait { .. })) {
        return Err(Delivered::Gone);
    }
    match before(run, &place, &input) {
        Some(delivered) => Err(delivered),
        None if run.may_come(&place) && !is_passed_by(run, flow, &place) => Ok(Event::Resumed { place, input }),
        None => Err(Delivered::Gone),
    }
}

/// What a POST is told if one came before it. Headers do not count: proxies add to them.
fn before(run: &Run, place: &Place, input: &Value) -> Option<Delivered> {
    let first = run.resumed.get(place).or_else(|| run.node(place)?.output.as_ref())?;
    let same = ["body", "query"].iter().all(|part| first.get(part) == input.get(part));
    Some(if same { Delivered::Repeated } else { Delivered::Late })
}

/// True if the place is in a branch of an `if` or a `switch` that took another one.
fn is_passed_by(run: &Run, flow: &Flow, place: &Place) -> bool {
    (1..place.0.len()).step_by(2).any(|end| {
        let outer = Place(place.0[..end].to_vec());
        let branches = flow.step(&outer.0).is_some_and(|step| matches!(step.kind, Kind::If { .. } | Kind::Switch(_)));
        branches && run.node(&outer).is_some_and(|node| node.entered > 0 && !node.subs.contains_key(&place.0[end]))
    })
}
