//! Callers who wait for their flow's answer.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::sync::oneshot;

use super::{Answer, lock};
use crate::run::RunId;

/// Callers by the run they wait for: several, where a repeated request stands for the same run.
#[derive(Default)]
pub(super) struct Answers {
    waiting: Mutex<HashMap<RunId, Vec<oneshot::Sender<Answer>>>>,
}

impl Answers {
    pub fn wait(&self, run: RunId) -> oneshot::Receiver<Answer> {
        let (send, receive) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        let callers = waiting.entry(run).or_default();
        callers.retain(|caller| !caller.is_closed());
        callers.push(send);
        receive
    }

    /// Tells everyone who waits for `run`. Callers that went away do not matter.
    pub fn give(&self, run: RunId, answer: &Answer) {
        for caller in lock(&self.waiting).remove(&run).unwrap_or_default() {
            let _ = caller.send(answer.clone());
        }
    }

    /// Lets everyone go without an answer.
    pub fn clear(&self) {
        lock(&self.waiting).clear();
    }

    pub fn forget(&self, run: RunId) {
        lock(&self.waiting).remove(&run);
    }
}
