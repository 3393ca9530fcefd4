//! What the lanes promise, on whatever comes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const FLOWS: [&str; 4] = ["a", "b", "c", "d"];

fn id(number: u128) -> RunId {
    RunId(Uuid::from_u128(number))
}

fn limits(running: u32, queued: u32) -> Option<Concurrency> {
    Some(Concurrency { running, queued })
}

/// New runs of a flow, all announced and lined up; those that began at once.
fn arrive(lanes: &mut Lanes, flow: &str, runs: std::ops::Range<u128>) -> Vec<(Seat, RunId)> {
    let mut began = Vec::new();
    for number in runs {
        let seat = lanes.seat(flow, 1);
        match lanes.admit(seat, id(number), usize::MAX, false) {
            Turn::Now => began.push((seat, id(number))),
            Turn::Later => lanes.line_up(seat, id(number), true),
            refused => panic!("{refused:?}"),
        }
    }
    began
}

fn end(lanes: &mut Lanes, (seat, run): (Seat, RunId)) {
    lanes.leave(seat, run);
    lanes.give_back(seat);
}

#[test]
fn one_flow_takes_half_and_each_further_one_leaves_a_smaller_share_free() {
    let mut lanes = Lanes::new(240);
    for (index, flow) in FLOWS.iter().enumerate() {
        let first = index as u128 * 1000;
        arrive(&mut lanes, flow, first..first + 500);
        while lanes.pop().is_some() {}
    }
    // What the first ones took is not taken from them, so they leave less than an even share.
    let free = lanes.slots().1;
    assert!((1..=240 / 5).contains(&free), "{free}");
    let mut alone = Lanes::new(8);
    assert_eq!(arrive(&mut alone, "a", 0..100).len(), 4);
    assert!(alone.pop().is_none());
    assert_eq!(arrive(&mut alone, "b", 100..101).len(), 1);
}

#[test]
fn a_single_slot_serves_flows_in_turn_and_each_in_order() {
    let mut lanes = Lanes::new(1);
    let mut at_work = arrive(&mut lanes, "a", 0..4).pop();
    arrive(&mut lanes, "b", 10..13);
    arrive(&mut lanes, "c", 20..22);
    let mut order = Vec::new();
    while let Some(work) = at_work {
        order.push(work.1.0.as_u128());
        end(&mut lanes, work);
        at_work = lanes.pop().map(|(seat, run, _)| (seat, run));
    }
    assert_eq!(order, [0, 10, 20, 1, 11, 21, 2, 12, 3]);
}

#[test]
fn a_large_run_gets_in_though_small_ones_keep_coming() {
    let mut lanes = Lanes::new(8);
    let mut small = arrive(&mut lanes, "a", 0..100);
    let seat = lanes.seat("b", 100);
    assert_eq!(seat.slots, 4, "no more than one flow may hold");
    small.extend(arrive(&mut lanes, "c", 200..201));
    assert_eq!(lanes.admit(seat, id(300), 1000, false), Turn::Later);
    lanes.line_up(seat, id(300), true);
    for work in small {
        end(&mut lanes, work);
        if let Some((_, run, _)) = lanes.pop() {
            assert_eq!(run, id(300), "those that hold slots wait for the one that holds none");
            return;
        }
    }
    panic!("it never got in");
}

#[test]
fn a_flow_at_its_limit_queues_then_refuses_and_goes_on_when_the_file_says_so() {
    let mut lanes = Lanes::new(8);
    lanes.limit("a", limits(1, 2));
    let mut began = arrive(&mut lanes, "a", 0..3);
    assert_eq!(began.len(), 1);
    let seat = lanes.seat("a", 1);
    assert_eq!(lanes.admit(seat, id(3), 1000, false), Turn::FlowFull);
    assert_eq!(lanes.admit(seat, id(3), 1000, true), Turn::Later, "one that must be let in is");
    lanes.renounce(seat);
    // Waiting for something, it still counts.
    lanes.give_back(seat);
    assert!(lanes.pop().is_none());
    // Raised: the next goes on; lowered again: none.
    lanes.limit("a", limits(2, 2));
    let (seat, run, _) = lanes.pop().expect("raised");
    assert_eq!(run, id(1));
    lanes.limit("a", limits(1, 2));
    assert!(lanes.pop().is_none());
    // The one that waited comes back though the flow is above its limit: it counts already.
    lanes.push(seat, id(0), None);
    let (seat, run, _) = lanes.pop().expect("it has begun");
    assert_eq!(run, id(0));
    began.push((seat, id(1)));
    lanes.leave(seat, id(1));
    assert!(lanes.pop().is_none());
    lanes.leave(seat, id(0));
    assert_eq!(lanes.pop().map(|(_, run, _)| run), Some(id(2)));
}

#[test]
fn an_order_to_end_a_queued_run_waits_for_slots_alone_and_frees_its_place() {
    let mut lanes = Lanes::new(8);
    lanes.limit("a", limits(1, 1));
    arrive(&mut lanes, "a", 0..2);
    let seat = lanes.seat("a", 1);
    assert_eq!(lanes.admit(seat, id(2), 1000, false), Turn::FlowFull);
    lanes.push(seat, id(1), Some(Command::Cancel));
    assert_eq!(lanes.pop().map(|(_, run, _)| run), Some(id(1)));
    assert_eq!(lanes.admit(seat, id(2), 1000, false), Turn::Later);
}

#[test]
fn new_runs_line_up_by_their_ids() {
    let mut lanes = Lanes::new(1);
    let mut at_work = arrive(&mut lanes, "a", 0..1).pop();
    let seat = lanes.seat("a", 1);
    for number in [3, 1, 2] {
        assert_eq!(lanes.admit(seat, id(number), 1000, false), Turn::Later);
    }
    for number in [3, 1, 2] {
        lanes.line_up(seat, id(number), true);
    }
    let mut order = Vec::new();
    while let Some(work) = at_work {
        end(&mut lanes, work);
        at_work = lanes.pop().map(|(seat, run, _)| (seat, run));
        order.extend(at_work.map(|(_, run)| run.0.as_u128()));
    }
    assert_eq!(order, [1, 2, 3]);
}

proptest! {
    /// Whatever comes: slots are never overdrawn, a flow's limit holds, its new runs begin in order, and all of them
    /// get through once those at work end.
    #[test]
    fn slots_limits_and_order_hold_and_nobody_starves(
        total in 1_usize..10,
        allowed in 0_u32..4,
        acts in prop::collection::vec((0_usize..4, 0_u8..5, 1_usize..4), 1..150),
    ) {
        let mut lanes = Lanes::new(total);
        lanes.limit("a", (allowed > 0).then_some(Concurrency { running: allowed, queued: 1_000 }));
        let mut at_work: Vec<(Seat, RunId)> = Vec::new();
        let mut aside: Vec<(Seat, RunId)> = Vec::new();
        let mut begun: BTreeMap<Seat, u128> = BTreeMap::new();
        let (mut number, mut came, mut ended) = (0_u128, 0, 0);
        let mut began = |seat: Seat, run: RunId| {
            let lane = Seat { slots: 0, ..seat };
            let last = begun.insert(lane, run.0.as_u128());
            prop_assert!(last < Some(run.0.as_u128()), "{run:?} after {last:?}");
            Ok(())
        };
        let mut waits = std::collections::HashSet::new();
        for (flow, act, slots) in acts {
            match act {
                0 | 1 => {
                    number += 1;
                    came += 1;
                    let (seat, run) = (lanes.seat(FLOWS[flow], slots), id(number));
                    match lanes.admit(seat, run, 1_000, false) {
                        Turn::Now => {
                            began(seat, run)?;
                            at_work.push((seat, run));
                        }
                        Turn::Later => lanes.line_up(seat, run, true),
                        refused => prop_assert!(false, "{refused:?}"),
                    }
                }
                2 if !at_work.is_empty() => {
                    end(&mut lanes, at_work.swap_remove(flow % at_work.len()));
                    ended += 1;
                }
                3 if !at_work.is_empty() => {
                    let work = at_work.swap_remove(flow % at_work.len());
                    lanes.give_back(work.0);
                    aside.push(work);
                }
                _ => {
                    if let Some((seat, run)) = aside.pop() {
                        waits.insert(run);
                        lanes.push(seat, run, None);
                    } else if let Some((seat, run, _)) = lanes.pop() {
                        if !waits.remove(&run) {
                            began(seat, run)?;
                        }
                        at_work.push((seat, run));
                    }
                }
            }
            let held: u32 = at_work.iter().map(|(seat, _)| seat.slots).sum();
            prop_assert_eq!(lanes.slots(), (total as u32, total as u32 - held));
            let lane = lanes.seat("a", 1).lane;
            let open = |all: &[(Seat, RunId)]| all.iter().filter(|(seat, _)| seat.lane == lane).count();
            prop_assert!(allowed == 0 || open(&at_work) + open(&aside) <= allowed as usize);
        }
        // Then everyone ends.
        for (seat, run) in aside {
            waits.insert(run);
            lanes.push(seat, run, None);
        }
        loop {
            while let Some((seat, run, _)) = lanes.pop() {
                if !waits.remove(&run) {
                    began(seat, run)?;
                }
                at_work.push((seat, run));
            }
            let Some(work) = at_work.pop() else { break };
            end(&mut lanes, work);
            ended += 1;
        }
        prop_assert_eq!((came, lanes.len(), lanes.begun.len()), (ended, 0, 0));
        prop_assert_eq!(lanes.slots(), (total as u32, total as u32));
    }
}

#[test]
fn the_outlook_says_what_becomes_of_a_run_and_changes_nothing() {
    let mut lanes = Lanes::new(4);
    lanes.limit("a", limits(1, 2));
    let (a, b) = (lanes.seat("a", 1), lanes.seat("b", 1));
    for number in 0..5 {
        let outlook = lanes.outlook(a, 100);
        assert_eq!(lanes.outlook(a, 100), outlook);
        assert_eq!(lanes.admit(a, id(number), 100, false), outlook, "{number}");
    }
    assert_eq!((lanes.outlook(a, 100), lanes.outlook(a, 2)), (Turn::FlowFull, Turn::Full));
    assert_eq!(lanes.outlook(b, 2), Turn::Now, "a full line holds up no flow whose slots are free");
}
