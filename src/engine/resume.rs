//! POSTs that end a `wait` step.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;

use super::*;
use crate::flow::Kind;
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
}

/// How long a caller waits until its POST is durable.
const PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// True if `key` is that of the `wait` step at `place` of `run`; the time taken tells nothing about it.
    pub fn may_resume(&self, run: RunId, place: &Place, key: &str) -> bool {
        self.keys.may_resume(run, place, key)
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
        match self.journal.summary(run).map_err(|error| unavailable(error.to_string()))? {
            Some(summary) if !summary.status.is_ended() => {}
            _ => return Ok(Delivered::Gone),
        }
        let (send, receive) = oneshot::channel();
        self.command(run, Command::Deliver(place, Arc::new(input), send));
        match tokio::time::timeout(PATIENCE, receive).await {
            Ok(Ok(delivered)) => Ok(delivered),
            // The task ended before it came to it.
            Ok(Err(_)) => Err(unavailable("the run was being put aside; send it again".into())),
            Err(_) => Err(unavailable("every slot is taken; send it again".into())),
        }
    }

    /// Tells a run's task; a run that has none gets in line for one.
    pub(super) fn command(&self, run: RunId, command: Command) {
        let mut command = Some(command);
        if let Some(task) = lock(&self.working).get(&run)
            && let Some(told) = command.take()
            && let Err(mpsc::error::SendError(back)) = task.send(told)
        {
            command = Some(back);
        }
        if command.is_none() {
            return;
        }
        match self.read(run) {
            Ok(Some((found, _))) if found.finished.is_none() => self.queue.push(self.seat_of(&found), run, command),
            Ok(_) => {}
            Err(error) => tracing::error!(%run, %error, "an open run cannot be read; it is left as it is"),
        }
    }
}

/// The event that a POST for the step at `place` makes, or why it makes none.
pub(super) fn resumed(run: &Run, live: &LiveFlow, place: Place, input: Arc<Value>) -> Result<Event, Delivered> {
    let step = live.flow.step(&place.0);
    if !step.is_some_and(|step| matches!(step.kind, Kind::Wait { .. })) {
        return Err(Delivered::Gone);
    }
    let node = run.node(&place);
    if let Some(first) = run.resumed.get(&place).or(node.and_then(|node| node.output.as_ref())) {
        return Err(if *first == input { Delivered::Repeated } else { Delivered::Late });
    }
    if run.may_come(&place) { Ok(Event::Resumed { place, input }) } else { Err(Delivered::Gone) }
}
