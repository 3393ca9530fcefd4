//! What goes on inside of a step that holds other steps: which of them is next, and how it ends as they do.

use std::sync::Arc;

use serde_json::{Value, json};

use super::apply::weight;
use super::begin::{DEEPEST, readable};
use super::next::{Progress, Waits, Walk, words};
use super::*;
use crate::connector::{Class, Failure};
use crate::flow::{BODY, CATCH, FINALLY, Foreach, Guarded, Kind, Step, Until};

/// Most that a `foreach` collects, bytes.
const MAX_COLLECTED: usize = 32 * 1024 * 1024;

impl Walk<'_> {
    /// The branch of an `if` or `switch`, or the branches of a `parallel`.
    pub(super) fn branches(&self, step: &Step, node: &Node, path: &mut Vec<u32>, waits: &mut Waits) -> Option<Event> {
        if let Kind::Parallel(branches) = &step.kind
            && (node.entered as usize) < branches.len()
        {
            return Some(Event::Entered { place: Place(path.clone()), sub: node.entered, again: false });
        }
        let (mut live, mut failed) = (false, None);
        for sub in node.subs.keys() {
            match self.inner(step.block(*sub)?, node, *sub, path, waits) {
                Progress::Record(event) => return Some(event),
                Progress::Live => live = true,
                Progress::Ended(failure) => failed = failed.or(failure),
            }
        }
        if live {
            return None;
        }
        Some(ended(path, failed))
    }

    pub(super) fn each(&self, each: &Foreach, node: &Node, path: &mut Vec<u32>, waits: &mut Waits) -> Option<Event> {
        let looped = node.looped.as_ref()?;
        for sub in node.subs.keys() {
            match self.inner(&each.body, node, *sub, path, waits) {
                Progress::Record(event) => return Some(event),
                Progress::Live => {}
                Progress::Ended(failure) => return Some(self.leave(each, Place(path.clone()), *sub, failure)),
            }
        }
        let items = looped.items.len();
        if (node.entered as usize) < items {
            let room = node.subs.len() < each.concurrency as usize;
            return room.then(|| Event::Entered { place: Place(path.clone()), sub: node.entered, again: false });
        }
        if !node.subs.is_empty() {
            return None;
        }
        let failed = looped.first.as_ref().map(|(sub, first)| {
            let message = format!("{} of {items} items failed; item {sub}: {}", looped.failed, first.message);
            Failure { message, ..first.clone() }
        });
        Some(ended(path, failed))
    }

    /// The event that ends an iteration.
    fn leave(&self, each: &Foreach, place: Place, sub: u32, failure: Option<Failure>) -> Event {
        let value = match &each.collect {
            Some(collect) if failure.is_none() => {
                let path: Vec<u32> = place.0.iter().copied().chain([sub]).collect();
                let value = collect.render(&self.scope(&path)).map_err(Failure::from);
                let value = value.and_then(|value| readable("`collect`", value, DEEPEST));
                value.and_then(|value| self.with_room(&place, value)).map(Some)
            }
            _ => Ok(None),
        };
        match value {
            Ok(value) => Event::Left { place, sub, value: value.map(Arc::new), failure },
            Err(failure) => Event::Left { place, sub, value: None, failure: Some(failure) },
        }
    }

    /// What is collected stays in memory, and is an output that later steps read.
    fn with_room(&self, place: &Place, value: Value) -> Result<Value, Failure> {
        let so_far = self.run.node(place).and_then(|node| node.looped.as_ref()).map_or(0, |looped| looped.bytes);
        if so_far + weight(&value) <= MAX_COLLECTED {
            return Ok(value);
        }
        let megabytes = MAX_COLLECTED / (1024 * 1024);
        let message = format!("`collect` gave more than {megabytes} MB over all items; keep less of each");
        Err(Failure::new(Class::Permanent, "run.collected_too_much", message))
    }

    pub(super) fn again(&self, until: &Until, node: &Node, path: &mut Vec<u32>, waits: &mut Waits) -> Option<Event> {
        let sub = node.entered.checked_sub(1)?;
        match self.inner(&until.body, node, sub, path, waits) {
            Progress::Record(event) => return Some(event),
            Progress::Live => return None,
            Progress::Ended(Some(failure)) => return Some(ended(path, Some(failure))),
            Progress::Ended(None) => {}
        }
        path.push(sub);
        let met = until.condition.holds(&self.scope(path));
        path.pop();
        let met = match met {
            Ok(met) => met,
            Err(error) => return Some(ended(path, Some(error.into()))),
        };
        let time = i64::try_from(until.time.as_millis()).unwrap_or(NEVER);
        let over = node.entered >= until.count || self.now().saturating_sub(node.since) >= time;
        if !met && !over {
            return Some(Event::Entered { place: Place(path.clone()), sub: sub + 1, again: true });
        }
        if !met && until.fails {
            let (count, time) = (node.entered, words(until.time));
            let message =
                format!("the condition did not hold after {count} iterations (limit {}, {time})", until.count);
            return Some(ended(path, Some(Failure::new(Class::Permanent, "run.until_limit", message))));
        }
        let output = Arc::new(json!({"iterations": node.entered, "met": met}));
        Some(Event::Succeeded { place: Place(path.clone()), output })
    }

    pub(super) fn guarded(
        &self,
        scope: &Guarded,
        node: &Node,
        path: &mut Vec<u32>,
        waits: &mut Waits,
    ) -> Option<Event> {
        let mut result = None;
        for (sub, block) in
            [(BODY, Some(&scope.body)), (CATCH, scope.catch.as_ref()), (FINALLY, scope.finally.as_ref())]
        {
            let Some(block) = block.filter(|_| sub != CATCH || result.is_some()) else { continue };
            if !node.subs.contains_key(&sub) {
                return Some(Event::Entered { place: Place(path.clone()), sub, again: false });
            }
            match self.inner(block, node, sub, path, waits) {
                Progress::Record(event) => return Some(event),
                Progress::Live => return None,
                // A failure that `catch` handles is handled.
                Progress::Ended(failure) if sub == CATCH => result = failure,
                Progress::Ended(failure) => result = result.or(failure),
            }
        }
        Some(ended(path, result))
    }
}

fn ended(path: &[u32], failure: Option<Failure>) -> Event {
    let place = Place(path.to_vec());
    match failure {
        None => Event::Succeeded { place, output: Arc::new(Value::Null) },
        Some(failure) => Event::Failed { place, failure, retry_at: None },
    }
}
