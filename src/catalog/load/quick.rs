//! A change that touches nobody else: the flow keeps its names and calls no other. Then what is live of all others stays, and
//! the snapshot is the one before with this flow put in, however many there are.

use std::path::PathBuf;
use std::sync::Arc;

use super::{LiveFlow, Loader, Stamp};
use crate::catalog::Snapshot;
use crate::flow::{CYCLE, Flow, TAKEN, UNKNOWN_FLOW};

impl Loader {
    /// Reads these files again and puts them into `before`; `None` if one of them may matter to others, and then
    /// nothing has been decided yet of what was read.
    pub(super) fn read_quickly(&mut self, changed: &[(PathBuf, Stamp)], before: &Snapshot) -> Option<Snapshot> {
        let was: Vec<Option<Arc<LiveFlow>>> = changed.iter().map(|(path, _)| self.settled(path, before)).collect();
        self.read_flows(changed.to_vec());
        let mut now = Vec::new();
        for ((path, _), was) in changed.iter().zip(was) {
            let (was, good) = (was?, self.files.get(path)?.good.clone()?);
            if !same_to_others(&was.flow, &good.flow) {
                return None;
            }
            now.push(good);
        }
        let mut after = before.clone();
        for ((path, _), good) in changed.iter().zip(now) {
            let file = self.files.get_mut(path)?;
            after.problems.retain(|problem| problem.file != good.file);
            after.problems.extend(file.problems.iter().cloned());
            if !file.live.as_ref().is_some_and(|live| Arc::ptr_eq(live, &good)) {
                self.copies.keep(&good);
                file.live = Some(good.clone());
            }
            after.flows.insert(good.flow.id.clone(), good);
        }
        self.copies.finish(false);
        Some(after)
    }

    /// What is live of a file with which nothing is wrong that another one has to do with.
    fn settled(&self, path: &PathBuf, before: &Snapshot) -> Option<Arc<LiveFlow>> {
        let file = self.files.get(path)?;
        let live = file.live.as_ref().filter(|live| file.good.as_ref().is_some_and(|good| Arc::ptr_eq(live, good)))?;
        let shared = [TAKEN.0, UNKNOWN_FLOW.0, CYCLE.0];
        let alone =
            |problem: &crate::flow::Problem| problem.file != live.file || !shared.contains(&problem.code.as_str());
        before.problems.iter().all(alone).then(|| live.clone())
    }
}

/// True if no other flow can tell the two apart.
fn same_to_others(was: &Flow, now: &Flow) -> bool {
    let schedules = |flow: &Flow| flow.trigger.schedule().is_some();
    was.id == now.id
        && was.aliases == now.aliases
        && was.calls.is_empty()
        && now.calls.is_empty()
        && schedules(was) == schedules(now)
}
