//! kill -9 under load, at random and at each named place: what was acknowledged ends, and a repeat carries the key of
//! the first try.
//!
//! `tests/crash --kills 200` is the long form. Named places need the feature `crash-points`; without it all kills are
//! random.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant, SystemTime};

use millstream::points;

use crate::app::{App, Random};
use crate::load::Load;

/// Kills after which all that was begun is let end, and looked at.
const ROUND: usize = 10;
/// Longest time until a place is come to.
const PATIENCE: Duration = Duration::from_secs(20);
/// Places that are come to once a start, or not often.
const SELDOM: [&str; 6] = [
    "journal.index.before",
    "recover.begin",
    "recover.append.before",
    "schedule.tick.before",
    "schedule.tick.after",
    "timer.due",
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kill {
    /// When the process comes to this place for the so-manieth time.
    At(&'static str, u64),
    /// After so many ms of load.
    UnderLoad(u64),
    /// So many ms after the start, before or while open runs are taken up.
    Starting(u64),
}

#[test]
fn whatever_was_acknowledged_ends_and_repeats_carry_the_same_key() {
    let kills: usize = std::env::var("MILLSTREAM_KILLS").map_or(8, |kills| kills.parse().unwrap());
    let mut random = Random(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("seed {}", random.0);
    let planned = plan(kills, &mut random);
    let mut app = App::idle(&[]);
    let mut load = Load::over(&mut app);
    app.kill();
    for round in planned.chunks(ROUND) {
        for kill in round {
            bring_down(&mut app, &load, *kill);
        }
        app.start();
        load.settle(&app);
        app.kill();
    }
    let count = |of: fn(&Kill) -> bool| planned.iter().filter(|kill| of(kill)).count();
    let at = count(|kill| matches!(kill, Kill::At(..)));
    let starting = count(|kill| matches!(kill, Kill::Starting(_)));
    let words = format!(
        "{} times kill -9: {at} at {} named places, {} at random under load, {starting} at random while starting.\n\n",
        planned.len(),
        if at > 0 { points::ALL.len() } else { 0 },
        planned.len() - at - starting
    );
    let table = words + &load.tally.table();
    println!("{table}");
    load.tally.must_be_whole();
    if let Ok(file) = std::env::var("MILLSTREAM_TABLE") {
        std::fs::write(file, table).unwrap();
    }
}

/// Half of the kills at places, each place at least once; in an order that chance gives.
fn plan(kills: usize, random: &mut Random) -> Vec<Kill> {
    let at_places = if cfg!(feature = "crash-points") { (kills / 2).max(points::ALL.len()) } else { 0 };
    let mut planned = Vec::new();
    for place in points::ALL.iter().cycle().take(at_places) {
        let time = if SELDOM.contains(place) { 1 } else { 1 + random.below(25) };
        planned.push(Kill::At(place, time));
    }
    for number in 0..kills.saturating_sub(at_places) {
        planned.push(if number % 5 == 4 {
            Kill::Starting(random.below(120))
        } else {
            Kill::UnderLoad(60 + random.below(300))
        });
    }
    for index in (1..planned.len()).rev() {
        planned.swap(index, usize::try_from(random.below(index as u64 + 1)).unwrap());
    }
    planned
}

/// Starts the server, and has it killed.
fn bring_down(app: &mut App, load: &Load, kill: Kill) {
    let begun = Instant::now();
    match kill {
        Kill::At(place, time) => {
            // What a kill leaves behind for the next start is wanted where a start is what is looked at.
            if place.starts_with("recover.") {
                bring_down(app, load, Kill::UnderLoad(250));
            }
            app.env = vec![("MILLSTREAM_CRASH", format!("{place}:{time}")), ("MILLSTREAM_SMALL_STORE", "1".to_owned())];
            app.launch();
            if app.is_up() {
                load.during(app, |app| {
                    while app.has_ended().is_none() && begun.elapsed() < PATIENCE {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                });
            } else {
                while app.has_ended().is_none() && begun.elapsed() < PATIENCE {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            app.env.clear();
            let ended = app.has_ended();
            assert_eq!(ended.and_then(|status| status.signal()), Some(9), "{kill:?} was not come to: {ended:?}");
        }
        Kill::UnderLoad(ms) => {
            app.start();
            load.during(app, |app| {
                std::thread::sleep(Duration::from_millis(ms));
                app.signal("-KILL");
            });
        }
        Kill::Starting(ms) => {
            app.launch();
            std::thread::sleep(Duration::from_millis(ms));
        }
    }
    app.kill();
}

#[test]
fn a_stop_in_order_under_load_is_quick_and_loses_nothing() {
    let mut app = App::idle(&[]);
    let mut load = Load::over(&mut app);
    for _ in 0..3 {
        let begun = load.during(&mut app, |app| {
            std::thread::sleep(Duration::from_millis(400));
            app.signal("-TERM");
            let begun = Instant::now();
            while app.has_ended().is_none() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(5));
            }
            begun
        });
        assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?} to stop", begun.elapsed());
        assert!(app.has_ended().is_some_and(|ended| ended.success()));
        app.start();
        load.settle(&app);
    }
    load.tally.must_be_whole();
}
