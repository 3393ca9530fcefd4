//! Processes that go down, histories that were damaged: generated flows again.

use proptest::prelude::*;

use super::play::{Mishap, Play};
use super::property::{Outcome, cases, dice, grown, outcome, outside};
use super::*;

/// What people see, but for what tells of the mishap. Steps by place: what happens within one millisecond (a call comes
/// back as a timer is due) may be taken in either order.
fn seen(play: &Play<'_>, flow: &Flow) -> Value {
    let mut told = history(play.run.id, &play.records, Some(flow));
    let whole = told.as_object_mut().unwrap();
    whole.shift_remove("recoveries");
    whole.shift_remove("reason");
    for attempt in whole["steps"].as_array_mut().unwrap().iter_mut().filter_map(|step| step["attempts"].as_array_mut())
    {
        attempt.iter_mut().for_each(|attempt| drop(attempt.as_object_mut().unwrap().shift_remove("recovered")));
    }
    whole["steps"].as_array_mut().unwrap().sort_by_key(|step| step["place"].to_string());
    told
}

proptest! {
    #![proptest_config(cases(60))]

    /// Whenever the process goes down: the run comes to the same, at the same time, and only calls on their way are
    /// made again, with the same input and key.
    #[test]
    fn a_run_comes_to_the_same_whenever_the_process_goes_down(
        dice in dice(), outside in outside(), chunk in prop_oneof![Just(512usize), Just(1), Just(3)], at in any::<usize>(),
    ) {
        let (tree, flow) = grown(dice);
        let play = |mishap| Play::new(&tree, &flow, outside, mishap, chunk).play();
        let plain = play(Mishap::Never);
        let (result, shown): (Outcome, Value) = (outcome(&plain, &flow), seen(&plain, &flow));
        let once = 1 + at % plain.records.len().max(1);
        for mishap in [
            Mishap::After(once), Mishap::Before(once), Mishap::AfterEach, Mishap::BeforeEach, Mishap::Waiting,
        ] {
            let disturbed = play(mishap);
            prop_assert_eq!(&outcome(&disturbed, &flow), &result, "{:?}", mishap);
            prop_assert_eq!(&seen(&disturbed, &flow), &shown, "{:?}", mishap);
            let state = |run: &Run| {
                let run = Run { recoveries: 0, updated_at: run.started_at, ..run.clone() };
                format!("{run:?}").replace("InDoubt", "Running")
            };
            prop_assert_eq!(state(&disturbed.run), state(&plain.run), "{:?}", mishap);
        }
    }

    /// A history with an event too many, too few or in another place is refused, and leaves the run as it was; or it is
    /// one that can have happened, and the run goes on from it.
    #[test]
    fn a_damaged_history_is_refused_or_goes_on(
        dice in dice(), outside in outside(), at in any::<usize>(), how in 0..4u8, distance in 1..6usize,
    ) {
        let (tree, flow) = grown(dice);
        let mut play = Play::new(&tree, &flow, outside, Mishap::Never, 512).play();
        let mut events: Vec<(Timestamp, Event)> = play.records[1..]
            .iter().flat_map(|record| record.events.iter().map(|event| (record.at, event.clone()))).collect();
        prop_assume!(!events.is_empty());
        let at = at % events.len();
        let other = (at + distance) % events.len();
        match how {
            0 => drop(events.remove(at)),
            1 => events.insert(other, events[at].clone()),
            2 => events.swap(at, other),
            _ => events.truncate(at),
        }
        let (mut records, mut run) = begun(&flow, super::tree::Tree::body());
        for (at, event) in events {
            let before = state(&run);
            match run.apply(at, &event) {
                Ok(()) => records.push(Record { v: RECORD_VERSION, at, events: vec![event] }),
                Err(_) => prop_assert_eq!(before, state(&run), "{:?} was refused and left something", event),
            }
        }
        history(run.id, &records, Some(&flow));
        (play.now, play.run, play.records) = (run.updated_at.as_millisecond(), run, records);
        play.wander();
    }

    #[test]
    fn records_are_read_as_they_were_written(dice in dice(), outside in outside()) {
        let (tree, flow) = grown(dice);
        for record in Play::new(&tree, &flow, outside, Mishap::AfterEach, 512).play().records {
            let bytes = Record::encode(record.at, &record.events);
            let read = Record::decode(&bytes).unwrap();
            prop_assert_eq!(format!("{:?}", &read.events[..]), format!("{:?}", &record.events[..]));
            prop_assert_eq!(Record::encode(read.at, &read.events), bytes);
        }
    }
}

/// All of a run that means something: a step that has not begun may be a node, or none.
fn state(run: &Run) -> String {
    let mut nodes = String::new();
    let mut look = |place: &[u32], node: &Node| {
        if node.state != State::Pending {
            nodes += &format!("{place:?} {:?}\n", Node { subs: BTreeMap::new(), ..node.clone() });
        }
    };
    run.root.each(&mut Vec::new(), &mut look);
    run.handler.each(&mut Vec::new(), &mut look);
    let rest = (&run.vars, &run.resumed, &run.response, &run.held, &run.failing, run.finished, run.recoveries);
    format!("{rest:?} {:?}\n{nodes}", run.begun_at)
}
