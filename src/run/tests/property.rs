//! Properties of generated flows: they come to what the model says, and no mishap changes that.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::json;

use super::model::{End, Model, Outside, Path, Step};
use super::play::{Mishap, Play};
use super::tree::{Dice, Tree};
use super::*;
use crate::flow::{Block, HANDLER, Kind};

/// Cases of a property: `PROPTEST_CASES`, or so many, which take a few seconds.
pub fn cases(usual: u32) -> ProptestConfig {
    // The default is 256, unless `PROPTEST_CASES` says otherwise.
    let default = ProptestConfig::default();
    let cases = if default.cases == 256 { usual } else { default.cases };
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 500, ..default }
}

pub fn dice() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..500)
}

pub fn outside() -> impl Strategy<Value = Outside> {
    (any::<u64>(), prop_oneof![Just(0u64), Just(25), Just(60)]).prop_map(|(seed, evil)| Outside { seed, evil })
}

pub fn grown(dice: Vec<u8>) -> (Tree, Flow) {
    let tree = Tree::grow(&mut Dice::new(dice));
    let flow = loaded(&tree.file());
    (tree, flow)
}

/// What the records tell of a step.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    begins: i64,
    /// When it ended, how, and with what.
    ended: Option<(i64, &'static str, Option<Value>)>,
}

/// What a run came to.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    steps: BTreeMap<Path, Told>,
    calls: Vec<(Path, u32)>,
    vars: Value,
    status: Option<Status>,
    failure: Option<Failure>,
    response: Option<Response>,
    /// When the last thing happened.
    over: i64,
    /// When `on_failure` began.
    failing: Option<(i64, Status)>,
}

/// Reads the records; on the way, holds that the order of events is one that the flow allows.
pub fn outcome(play: &Play<'_>, flow: &Flow) -> Outcome {
    let start = play.run.started_at.as_millisecond();
    let mut steps: BTreeMap<Path, Told> = BTreeMap::new();
    let mut alive: BTreeMap<Path, (u32, u32)> = BTreeMap::new();
    let (mut calls, mut failing, mut over) = (Vec::new(), None, 0);
    for record in &play.records[1..] {
        let at = record.at.as_millisecond() - start;
        for event in &record.events {
            if !matches!(event, Event::Recovered { .. } | Event::Held { .. } | Event::Released | Event::Resumed { .. })
            {
                over = at;
            }
            if let Event::Failing { status, .. } = event {
                failing = Some((at, *status));
            }
            let Some(place) = event.place().filter(|_| !matches!(event, Event::Resumed { .. })) else { continue };
            let step = flow.step(&place.0).expect("a place of the flow");
            if !steps.contains_key(&place.0) {
                let siblings = &place.0[..place.0.len() - 1];
                for after in &step.after {
                    let before: Path = siblings.iter().copied().chain([after.position]).collect();
                    let before = steps.get(&before).and_then(|told| told.ended.as_ref());
                    assert!(before.is_some(), "{place} began before what it follows had ended");
                }
                assert!(failing.is_none() || place.0[0] == HANDLER, "{place} began when the steps were over");
                steps.insert(place.0.clone(), Told { begins: at, ended: None });
            }
            match event {
                Event::Called { attempt, .. } | Event::Invoked { attempt, .. } if step.mock.is_none() => {
                    calls.push((place.0.clone(), *attempt));
                }
                Event::Entered { sub, .. } => {
                    if let Kind::Foreach(each) = &step.kind {
                        let (entered, now) = alive.entry(place.0.clone()).or_default();
                        assert_eq!(*sub, *entered, "iterations of {place} begin in order");
                        (*entered, *now) = (*entered + 1, *now + 1);
                        assert!(*now <= each.concurrency, "{place} has {now} iterations at once");
                    }
                    if let Kind::Scope(_) = step.kind {
                        (0..*sub).for_each(|part| all_ended(&steps, place, part, step.block(part)));
                    }
                }
                Event::Left { sub, .. } => {
                    alive.get_mut(&place.0).expect("entered before").1 -= 1;
                    all_ended(&steps, place, *sub, step.block(*sub));
                }
                _ => {}
            }
            let told = steps.get_mut(&place.0).expect("inserted above");
            let ended = match event {
                Event::Succeeded { output, .. } => Some(("succeeded", Some(Value::clone(output)))),
                Event::Assigned { vars, .. } => Some(("succeeded", Some(Value::Object(vars.clone())))),
                Event::Responded { .. } => Some(("succeeded", None)),
                Event::Skipped { .. } => Some(("skipped", None)),
                Event::Failed { failure, retry_at: None, .. } if TIMED_OUT.contains(&failure.code.as_str()) => {
                    Some(("timed_out", None))
                }
                Event::Failed { retry_at: None, .. } => Some(("failed", None)),
                _ => None,
            };
            if let Some((how, output)) = ended {
                assert!(told.ended.is_none(), "{place} ended twice");
                // What a `foreach` collected is in the state alone.
                let output = match &step.kind {
                    Kind::Foreach(each) if how == "succeeded" && each.collect.is_some() => {
                        play.run.node(place).and_then(|node| node.output.as_deref().cloned())
                    }
                    _ => output,
                };
                told.ended = Some((at, how, output));
            }
        }
    }
    let mut known = calls.clone();
    known.sort();
    known.dedup();
    assert_eq!(known.len(), calls.len(), "an attempt was begun twice");
    let run = &play.run;
    let (vars, response) = (json!(run.vars), run.response.as_deref().cloned());
    let (status, failure) = (run.finished, run.failure.clone());
    Outcome { steps, calls: known, vars, status, failure, response, over, failing }
}

/// Of a part that was entered, every step has ended.
fn all_ended(steps: &BTreeMap<Path, Told>, place: &Place, sub: u32, block: Option<&Block>) {
    let count = block.map_or(0, |block| block.steps.len() as u32);
    let ended = |position: u32| steps.get(&place.within(sub, position).0).is_some_and(|told| told.ended.is_some());
    let some = (0..count).any(|position| steps.contains_key(&place.within(sub, position).0));
    assert!(!some || (0..count).all(ended), "part {sub} of {place} was over before its steps");
}

/// Compares what happened with what the model has, as far as the time at which the run, or its steps, were cut off.
/// `cut`: something else than the steps' end ended them, so what happens at that very time is open.
fn compare(outcome: &Outcome, model: &Model, over: i64, cut: bool, handler: bool) {
    let told = outcome.steps.iter().filter(|(place, _)| (place[0] == HANDLER) == handler);
    for (place, told) in told {
        let Some(step) = model.steps.get(place) else { panic!("{place:?} should not have begun: {told:?}") };
        assert_eq!(told.begins, step.begins, "when {} at {place:?} begins", step.id);
    }
    for (place, Step { id, begins, ends, how, output }) in &model.steps {
        let Some(told) = outcome.steps.get(place) else {
            assert!(*begins > over || (cut && *begins == over), "{id} at {place:?} never began; it does at {begins}");
            continue;
        };
        assert!(*begins <= over, "{id} at {place:?} began too late");
        match &told.ended {
            Some((end, told_how, told_output)) => {
                assert_eq!((*end, *told_how), (*ends, how.name()), "how {id} at {place:?} ends");
                if let (Some(output), Some(told)) = (output, told_output) {
                    assert_eq!(told, output, "what {id} at {place:?} gives");
                }
            }
            None => {
                let open = *ends == NEVER || *ends > over || (cut && *ends == over);
                assert!(open, "{id} at {place:?} never ended; it does at {ends}");
            }
        }
    }
    let called = |place: &Path, attempt: u32| outcome.calls.contains(&(place.clone(), attempt));
    for (place, attempt, at) in &model.calls {
        let open = cut && *at == over;
        assert!(open || called(place, *attempt) == (*at <= over), "attempt {attempt} of {place:?}, at {at}");
    }
    let handler_calls = outcome.calls.iter().filter(|(place, _)| (place[0] == HANDLER) == handler);
    for (place, attempt) in handler_calls {
        assert!(model.calls.iter().any(|(p, a, _)| (p, a) == (place, attempt)), "{place:?} #{attempt} is one too many");
    }
    for (_, owner, name, _) in &model.set {
        let sets = || model.set.iter().filter(|(_, _, other, _)| other == name);
        if owner.is_empty() {
            let sure = sets().rfind(|(at, ..)| *at < over || (!cut && *at == over)).map(|set| set.3);
            let open = sets().filter(|(at, ..)| cut && *at == over).map(|set| Some(set.3));
            let is = outcome.vars.get(name).and_then(Value::as_i64);
            assert!(open.chain([sure]).any(|may| may == is), "{name} is {is:?}, not {sure:?}");
        }
    }
}

/// Holds a play to the model.
fn hold(tree: &Tree, outside: Outside, outcome: &Outcome) {
    let status = |fault: Option<End>| if fault.is_some() { Status::Failed } else { Status::Succeeded };
    let named = |how: &str| how.parse::<Status>().unwrap();
    let (model, (end, fault)) = Model::of(tree, outside);
    let mut ways: Vec<(i64, Status, bool)> = model.terminated.iter().map(|(at, how)| (*at, named(how), true)).collect();
    ways.push((end, status(fault), false));
    ways.extend(tree.timeout.map(|timeout| (timeout, Status::TimedOut, true)));
    let over = ways.iter().map(|(at, ..)| *at).min().unwrap();
    ways.retain(|(at, ..)| *at == over);
    let cut = ways.iter().any(|way| way.2);
    compare(outcome, &model, over, cut, false);
    let handled = |status: Status| tree.on_failure.is_some() && matches!(status, Status::Failed | Status::TimedOut);
    let ended = match outcome.failing {
        Some((at, status)) => {
            assert_eq!(at, over);
            assert!(handled(status));
            Some(status)
        }
        None => outcome.status,
    };
    if over == NEVER {
        return assert_eq!((ended, outcome.failing), (None, None));
    }
    let ended = ended.expect("the run ends");
    assert!(ways.iter().any(|way| way.1 == ended), "{ended} is none of {ways:?}");
    if !handled(ended) {
        assert_eq!((outcome.over, outcome.failing), (over, None));
        return;
    }
    assert!(outcome.failing.is_some(), "on_failure did not run");
    let (model, (end, _)) = Model::of_handler(tree.on_failure.as_ref().unwrap(), outside, over);
    let mut ways: Vec<(i64, Status, bool)> = model.terminated.iter().map(|(at, how)| (*at, named(how), true)).collect();
    ways.push((end, ended, false));
    let over = ways.iter().map(|(at, ..)| *at).min().unwrap();
    ways.retain(|(at, ..)| *at == over);
    compare(outcome, &model, over, ways.iter().any(|way| way.2), true);
    if over == NEVER {
        return assert_eq!(outcome.status, None);
    }
    // A `terminate` there ends what is left to do, and the run as it would have ended.
    let ways = ways.iter().map(|_| ended);
    assert!(ways.clone().any(|way| Some(way) == outcome.status), "{:?}", outcome.status);
    assert_eq!(outcome.over, over);
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_run_comes_to_what_the_rules_say(dice in dice(), outside in outside()) {
        let (tree, flow) = grown(dice);
        let play = Play::new(&tree, &flow, outside, Mishap::Never, 512).play();
        hold(&tree, outside, &outcome(&play, &flow));
    }
}

#[test]
fn generated_flows_are_of_all_kinds() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut text, mut steps, mut ends) = (String::new(), 0, BTreeMap::new());
    for _ in 0..200 {
        let dice = dice().new_tree(&mut runner).unwrap().current();
        let outside = outside().new_tree(&mut runner).unwrap().current();
        let (tree, flow) = grown(dice);
        text += &tree.file();
        steps += flow.addresses.len();
        let play = Play::new(&tree, &flow, outside, Mishap::Never, 512).play();
        let outcome = outcome(&play, &flow);
        *ends.entry(format!("{:?}", outcome.status)).or_insert(0) += 1;
        for told in outcome.steps.values() {
            *ends.entry(told.ended.as_ref().map_or("unended", |ended| ended.1).to_owned()).or_insert(0) += 1;
        }
    }
    let missing: Vec<_> = KINDS.iter().filter(|kind| !text.contains(&format!("\"{kind}\":"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(steps > 800, "{steps} steps");
    let few: Vec<_> = ends.iter().filter(|(_, count)| **count < 3).collect();
    assert!(ends.len() == 10 && few.is_empty(), "{ends:?}");
}

const KINDS: [&str; 14] = [
    "action",
    "call",
    "response",
    "set",
    "if",
    "switch",
    "foreach",
    "until",
    "parallel",
    "scope",
    "delay",
    "delay_until",
    "wait",
    "terminate",
];
