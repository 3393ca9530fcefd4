//! The log and its index: what a crash or a damaged disk leaves, and how space comes back.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::disk::Disk;
use super::super::{Filter, Journal, index};
use super::{claimed, defined, first, new_run, next, open, open_on};
use crate::run::{RunId, Status};

pub(super) fn segment(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("store/{number:010}.log"))
}

/// Where the last frame of the only segment ends; zeros stand behind it.
fn end(journal: &Journal) -> u64 {
    let store = journal.inner.store.read().unwrap();
    store.as_ref().unwrap().hold(|segments| segments[0].1)
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("store")).unwrap();
    for folder in [Path::new(""), Path::new("store")] {
        for entry in fs::read_dir(from.join(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), to.join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
}

/// Small enough for a few hundred runs to need many segments and many visits of the index.
pub(super) fn small() -> Disk {
    Disk { segment_bytes: 64 * 1024, overlay_bytes: 32 * 1024, ..Disk::default() }
}

/// All that can be read of a journal, in words.
pub(super) fn told(journal: &Journal) -> String {
    let mut text = format!("open {:?}\n", journal.open_runs().unwrap());
    for summary in journal.summaries(&Filter::default(), None, 100_000).unwrap() {
        let records = journal.records(summary.run_id).unwrap();
        let bytes: Vec<usize> = records.iter().map(Vec::len).collect();
        text += &format!("{} {} {} {bytes:?}\n", summary.run_id, summary.flow, summary.status);
    }
    let settings = journal.settings("").unwrap();
    text + &format!("rejected {:?} settings {settings:?}\n", journal.rejected_runs().unwrap())
}

#[tokio::test]
async fn a_tail_cut_off_anywhere_leaves_what_was_whole() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let appends = [0, 1, 2].map(|_| first(new_run(), "leads", Status::Running, 1_000));
    let runs = appends.each_ref().map(|append| append.run);
    let mut ends = Vec::new();
    for append in appends {
        journal.append(append).await.unwrap();
        ends.push(end(&journal));
    }
    // As a crash leaves it: the index has seen nothing yet.
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    journal.close().await;

    let whole = fs::read(segment(crashed.path(), 1)).unwrap();
    for len in (ends[1]..ends[2]).step_by(5).chain([ends[2] - 1, ends[2]]) {
        for flipped in [false, true] {
            let mut bytes = whole.clone();
            match flipped {
                // The last frame damaged is a frame that was not written to its end.
                true if len < ends[2] => bytes[len as usize] ^= 0x10,
                true => continue,
                // Cut off, or what was to stand there is still zeros.
                false if len % 2 == 0 => bytes.truncate(len as usize),
                false => bytes[len as usize..].fill(0),
            }
            let case = tempfile::tempdir().unwrap();
            copy(crashed.path(), case.path());
            fs::write(segment(case.path(), 1), bytes).unwrap();
            let journal = open(case.path());
            let expected = if len == ends[2] { &runs[..] } else { &runs[..2] };
            assert_eq!(journal.open_runs().unwrap(), expected, "{len} {flipped}");
            // It goes on from there.
            let more = first(new_run(), "leads", Status::Running, 1_000);
            let run = more.run;
            journal.append(more).await.unwrap();
            journal.close().await;
            let journal = open(case.path());
            assert_eq!(journal.open_runs().unwrap(), [expected, &[run]].concat());
            journal.close().await;
        }
    }
}

#[tokio::test]
async fn damage_before_the_last_frame_is_an_error_that_names_file_and_place() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let mut ends = vec![end(&journal)];
    let append = first(new_run(), "leads", Status::Running, 1_000);
    let run = append.run;
    let more = next(1, Status::Running, &append);
    for append in [append, more] {
        journal.append(append).await.unwrap();
        ends.push(end(&journal));
    }
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    journal.close().await;

    for at in (ends[0]..ends[1]).step_by(7) {
        let case = tempfile::tempdir().unwrap();
        copy(crashed.path(), case.path());
        let mut bytes = fs::read(segment(case.path(), 1)).unwrap();
        bytes[at as usize] ^= 1;
        fs::write(segment(case.path(), 1), &bytes).unwrap();
        let Err(error) = Journal::open(case.path()) else { panic!("opened with byte {at} flipped") };
        let text = error.to_string();
        let begins =
            format!("{}: E-STORE-006 the journal's log is damaged\n  at byte 32: ", segment(case.path(), 1).display());
        assert!(text.starts_with(&begins), "{text}");
        assert_eq!(fs::read(segment(case.path(), 1)).unwrap(), bytes, "nothing is changed");
    }

    // Once the index has it, only who reads it finds out.
    let mut bytes = fs::read(segment(dir.path(), 1)).unwrap();
    let at = bytes.windows(8).position(|eight| eight == b"first of").unwrap();
    bytes[at] ^= 1;
    fs::write(segment(dir.path(), 1), &bytes).unwrap();
    let journal = open(dir.path());
    let error = journal.records(run).unwrap_err().to_string();
    assert!(error.contains("0000000001.log: byte") && error.contains("checksum"), "{error}");
    journal.close().await;
}

/// Runs of every kind, over many segments.
pub(super) async fn busy(journal: &Journal, rounds: usize) -> Vec<RunId> {
    let mut ended = Vec::new();
    for round in 0..rounds {
        let status = [Status::Succeeded, Status::Failed, Status::Running, Status::Rejected][round % 4];
        let mut start = first(new_run(), ["a", "b"][round % 2], Status::Queued, 1_000);
        start.record = vec![b'x'; 100 + round % 700];
        let start = defined(start, [(round % 5) as u8; 32], "a definition");
        let run = start.run;
        let mut start = if round % 3 == 0 { claimed(start, 0, i64::MAX) } else { start };
        start.claim.iter_mut().for_each(|claim| claim.key[..16].copy_from_slice(run.0.as_bytes()));
        if status == Status::Rejected {
            journal.append(first(run, "a", status, 1_000)).await.unwrap();
        } else {
            let end = next(1, status, &start);
            journal.append(start).await.unwrap();
            journal.append(end).await.unwrap();
        }
        journal.set(&format!("setting/{}", round % 10), Some(round.to_string().into_bytes())).await.unwrap();
        if status != Status::Running {
            ended.push(run);
        }
    }
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_lost_or_damaged_is_made_anew_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_on(dir.path(), small());
    let ended = busy(&journal, 400).await;
    journal.remove(ended[..100].to_vec()).await.unwrap();
    let expected = told(&journal);
    journal.close().await;

    let index = dir.path().join("store/index.redb");
    for damage in ["lost", "emptied", "junk", "half"] {
        match damage {
            "lost" => fs::remove_file(&index).unwrap(),
            "emptied" => fs::write(&index, "").unwrap(),
            "junk" => fs::write(&index, vec![0xa5; 100_000]).unwrap(),
            _ => {
                let bytes = fs::read(&index).unwrap();
                fs::write(&index, &bytes[..bytes.len() / 2]).unwrap();
            }
        }
        let journal = open_on(dir.path(), small());
        assert_eq!(told(&journal), expected, "{damage}");
        journal.close().await;
    }
    // Another store's is not used either.
    let other = tempfile::tempdir().unwrap();
    open(other.path()).close().await;
    fs::copy(other.path().join("store/index.redb"), &index).unwrap();
    let journal = open_on(dir.path(), small());
    assert_eq!(told(&journal), expected);
    journal.close().await;
    // And one in another store altogether says the same.
    let journal = Journal::open_on(dir.path(), small(), index::SLED).unwrap();
    assert_eq!(told(&journal), expected);
    journal.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn space_comes_back_when_runs_are_removed_and_all_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_on(dir.path(), small());
    let kept = first(new_run(), "kept", Status::Waiting, 1_000);
    let (run, end) = (kept.run, next(1, Status::Succeeded, &kept));
    journal.append(claimed(defined(kept, [99; 32], "kept"), 77, i64::MAX)).await.unwrap();
    let size = || -> u64 {
        let files = fs::read_dir(dir.path().join("store")).unwrap().filter_map(|entry| entry.ok());
        files
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "log"))
            .map(|entry| entry.metadata().unwrap().len())
            .sum()
    };
    let mut most = 0;
    for _ in 0..20 {
        let ended = busy(&journal, 200).await;
        let open = journal.open_runs().unwrap();
        for open in open.into_iter().filter(|open| *open != run) {
            let summary = journal.summary(open).unwrap().unwrap();
            let mut end = first(open, &summary.flow, Status::Succeeded, 1_000);
            end.seq = 2;
            journal.append(end).await.unwrap();
            journal.remove(vec![open]).await.unwrap();
        }
        journal.remove(ended).await.unwrap();
        most = most.max(size());
    }
    // 20 rounds write some 3 MB; a round's 200 runs are below 200 KB.
    assert!(most < 700_000, "{most}");
    assert_eq!(journal.records(run).unwrap().len(), 1);
    assert_eq!(journal.definition(&[99; 32]).unwrap().as_deref(), Some("kept"));
    let expected = told(&journal);
    journal.close().await;

    fs::remove_file(dir.path().join("store/index.redb")).unwrap();
    let journal = open_on(dir.path(), small());
    assert_eq!(told(&journal), expected);
    assert_eq!(journal.open_runs().unwrap(), [run]);
    let again = claimed(first(new_run(), "kept", Status::Running, 1_000), 77, i64::MAX);
    assert_eq!(journal.append(again).await.unwrap(), super::super::Appended::Duplicate(run));
    journal.append(end).await.unwrap();
    assert_eq!(journal.records(run).unwrap().len(), 2);
    journal.close().await;
    // What was dropped on purpose is known; what is missing beyond that is told.
    let oldest =
        fs::read_dir(dir.path().join("store")).unwrap().filter_map(|entry| entry.ok()).map(|entry| entry.path());
    let oldest = oldest.filter(|path| path.extension().is_some_and(|end| end == "log")).min().unwrap();
    fs::remove_file(oldest).unwrap();
    let error = Journal::open(dir.path()).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("E-STORE-006") && error.contains("of the log are missing"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_taken_at_any_time_opens_with_all_that_was_acknowledged() {
    // What a crash leaves: files as they are at some moment, while segments are dropped and the index is written.
    let dir = tempfile::tempdir().unwrap();
    let journal = open_on(dir.path(), small());
    let mut ended = Vec::new();
    for round in 0..12 {
        let fresh = busy(&journal, 60).await;
        journal.remove(std::mem::replace(&mut ended, fresh)).await.unwrap();
        let expected = told(&journal);
        let case = tempfile::tempdir().unwrap();
        // A copy is not made in one moment: segments that are dropped meanwhile would be missed.
        journal.hold(|| copy(dir.path(), case.path())).unwrap();
        fs::remove_file(case.path().join("store/index.redb")).unwrap();
        let copied = open_on(case.path(), small());
        assert_eq!(told(&copied), expected, "{round}");
        copied.close().await;
    }
    journal.close().await;
}
