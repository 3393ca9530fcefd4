//! When a step's turn has come, and how a list of steps ended.

use super::*;
use crate::flow::{After, Block, Ends, Step};

/// Whether a step's turn has come.
pub(super) enum Ready {
    Yes,
    No,
    NotYet,
}

pub(super) fn ready(block: &Block, step: &Step, frame: &Frame) -> Ready {
    let states = || step.after.iter().map(|after| (after, frame.state(after.position)));
    if states().any(|(_, state)| !state.is_ended()) {
        return Ready::NotYet;
    }
    let met = |(after, state): (&After, State)| {
        let continues = block.steps.get(after.position as usize).is_some_and(|before| before.continues);
        let passed_over = continues && after.on == Ends::DEFAULT && matches!(state, State::Failed | State::TimedOut);
        passed_over || after.on.has(end_of(state))
    };
    if states().all(met) { Ready::Yes } else { Ready::No }
}

fn end_of(state: State) -> Ends {
    match state {
        State::Succeeded => Ends::SUCCEEDED,
        State::Failed => Ends::FAILED,
        State::TimedOut => Ends::TIMED_OUT,
        State::Skipped => Ends::SKIPPED,
        State::Unmet
        | State::Pending
        | State::Running
        | State::InDoubt
        | State::Waiting(_)
        | State::Awaiting(_)
        | State::Held => Ends::UNMET,
    }
}

/// How a block ended: each branch end counts, and a skipped end takes the status of what it follows.
pub(super) fn verdict(block: &Block, frame: &Frame) -> Option<Failure> {
    // Asked again while a scope's `finally` goes on; most lists end well.
    if block.ends.iter().all(|end| frame.state(*end) == State::Succeeded) {
        return None;
    }
    let mut seen = vec![false; block.steps.len()];
    block.ends.iter().find_map(|end| failing(block, frame, *end, &mut seen))
}

/// Positions of the steps whose failure is that of the block, in order.
pub(super) fn culprits(block: &Block, frame: &Frame) -> Vec<u32> {
    let mut seen = vec![false; block.steps.len()];
    let mut open = block.ends.clone();
    let mut found = Vec::new();
    while let Some(position) = open.pop() {
        let Some(step) = block.steps.get(position as usize).filter(|_| !seen[position as usize]) else { continue };
        seen[position as usize] = true;
        match frame.state(position) {
            State::Failed | State::TimedOut if step.continues => {}
            State::Failed | State::TimedOut => found.push(position),
            State::Skipped | State::Unmet => open.extend(step.after.iter().map(|after| after.position)),
            State::Succeeded
            | State::Pending
            | State::Running
            | State::InDoubt
            | State::Waiting(_)
            | State::Awaiting(_)
            | State::Held => {}
        }
    }
    found.sort_unstable();
    found
}

/// `seen` are the steps that had nothing to tell: many paths can lead to each, and each is asked once.
fn failing(block: &Block, frame: &Frame, position: u32, seen: &mut [bool]) -> Option<Failure> {
    let step = block.steps.get(position as usize)?;
    if std::mem::replace(seen.get_mut(position as usize)?, true) {
        return None;
    }
    match frame.state(position) {
        State::Failed | State::TimedOut if step.continues => None,
        State::Failed | State::TimedOut => {
            let mut failure = frame.node(position)?.failure.clone()?;
            if !failure.message.starts_with("step `") {
                failure.message = format!("step `{}`: {}", step.id, failure.message);
            }
            Some(failure)
        }
        State::Skipped | State::Unmet => {
            step.after.iter().find_map(|after| failing(block, frame, after.position, seen))
        }
        State::Succeeded
        | State::Pending
        | State::Running
        | State::InDoubt
        | State::Waiting(_)
        | State::Awaiting(_)
        | State::Held => None,
    }
}
