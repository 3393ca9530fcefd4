//! A repair that is cut short: the next start, and the next repair, find all that an uncut one saves.

use std::fs;
use std::io;
use std::path::Path;

use super::super::Journal;
use super::super::care::repair_until;
use super::log::{busy, copy, segment, small, told};
use super::{Append, first, open, open_on};
use crate::run::Status;

/// Damages the header of one frame in the middle of a segment: what it holds is whole still, by its own checksums.
fn damage(dir: &Path, number: u32) {
    let mut bytes = fs::read(segment(dir, number)).unwrap();
    let frames: Vec<usize> =
        bytes.windows(4).enumerate().filter(|(_, four)| *four == b"MFR\x01").map(|(at, _)| at).collect();
    bytes[frames[frames.len() / 2] + 12] ^= 1;
    fs::write(segment(dir, number), bytes).unwrap();
}

fn repair(dir: &Path, cut_after: usize) -> bool {
    let mut left = cut_after;
    let done = repair_until(dir, &mut || {
        left -= 1;
        if left == 0 { Err(io::Error::other("the process died")) } else { Ok(()) }
    });
    done.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_that_is_cut_short_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_on(dir.path(), small());
    busy(&journal, 300).await;
    // What these records say nobody can read, so that a repair would fail those that are open.
    for run in journal.open_runs().unwrap() {
        let flow = journal.summary(run).unwrap().unwrap().flow;
        let end = Append { seq: 2, ..first(run, &flow, Status::Succeeded, 1_000) };
        journal.append(end).await.unwrap();
    }
    let expected = told(&journal);
    journal.close().await;
    assert!(segment(dir.path(), 3).exists(), "there are several segments");

    // After the first replacement, with one damaged segment: the start makes the index anew.
    let one = tempfile::tempdir().unwrap();
    copy(dir.path(), one.path());
    damage(one.path(), 1);
    let whole = tempfile::tempdir().unwrap();
    copy(one.path(), whole.path());
    assert!(repair(whole.path(), usize::MAX));
    assert!(!repair(one.path(), 1));
    for case in [&whole, &one] {
        let journal = open(case.path());
        assert!(told(&journal) == expected);
        journal.close().await;
        let left = fs::read_dir(case.path().join("store")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(!left.iter().any(|name| name.starts_with("index.") && name != "index.redb"), "{left:?}");
    }

    // With two: the start says that one is damaged still, and a second repair has what the first one had.
    for tried in [false, true] {
        let two = tempfile::tempdir().unwrap();
        copy(dir.path(), two.path());
        [1, 2].into_iter().for_each(|number| damage(two.path(), number));
        assert!(!repair(two.path(), 1));
        if tried {
            let error = Journal::open(two.path()).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("E-STORE-006"), "{error}");
        }
        assert!(repair(two.path(), usize::MAX));
        let journal = open(two.path());
        assert!(told(&journal) == expected, "{tried}");
        journal.close().await;
    }
}
