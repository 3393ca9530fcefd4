//! What a crash may leave half begun, and what must not stop a later start.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::disk::Disk;
use super::super::{Error, Journal};
use super::{first, new_run, next, open, open_on};
use crate::run::Status;

fn small() -> Disk {
    Disk { segment_bytes: 64 * 1024, overlay_bytes: 32 * 1024, ..Disk::default() }
}

fn newest(dir: &Path) -> u32 {
    let names = fs::read_dir(dir.join("store")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter_map(|name| name.to_str()?.strip_suffix(".log")?.parse().ok()).max().unwrap()
}

#[tokio::test]
async fn a_segment_whose_making_was_cut_short_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut runs = Vec::new();
    for junk in [vec![], b"MILLSEG\x01half".to_vec(), vec![0; 32]] {
        let journal = open(dir.path());
        let append = first(new_run(), "leads", Status::Running, 1_000);
        runs.push(append.run);
        journal.append(append).await.unwrap();
        journal.close().await;
        let path = dir.path().join(format!("store/{:010}.log", newest(dir.path()) + 1));
        fs::write(&path, junk).unwrap();

        let journal = open(dir.path());
        assert_eq!(journal.open_runs().unwrap(), runs);
        assert!(!path.exists());
        journal.close().await;
    }
    // A header that is whole in length and wrong is damage.
    fs::write(dir.path().join("store/0000000002.log"), vec![7; 32]).unwrap();
    assert!(Journal::open(dir.path()).err().is_some_and(|error| error.to_string().contains("E-STORE-006")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_sync_that_failed_nothing_is_written_though_the_next_would_succeed() {
    let dir = tempfile::tempdir().unwrap();
    let fail = Arc::new(AtomicBool::new(false));
    let asked = fail.clone();
    let sync = move |file: &fs::File| match asked.swap(false, Ordering::SeqCst) {
        true => Err(std::io::Error::from_raw_os_error(5)),
        false => file.sync_data(),
    };
    let journal = open_on(dir.path(), Disk { sync: Box::new(sync), ..small() });
    let kept = first(new_run(), "leads", Status::Running, 1_000);
    let run = kept.run;
    journal.append(kept).await.unwrap();
    fail.store(true, Ordering::SeqCst);
    // Whoever notices first: the store is not written to by anyone any more.
    let failed = journal.read(|store| Ok(store.compact())).unwrap();
    assert!(failed.is_ok() || failed.is_err_and(|why| why.contains("Input/output")));
    let later = journal.append(first(new_run(), "leads", Status::Running, 1_000)).await;
    assert!(matches!(later, Err(Error::Failed(_))) || !fail.load(Ordering::SeqCst));
    journal.close().await;
    let journal = open(dir.path());
    assert_eq!(journal.records(run).unwrap().len(), 1);
    journal.close().await;
}

#[tokio::test]
async fn a_record_for_a_run_that_was_removed_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let start = first(new_run(), "leads", Status::Succeeded, 1_000);
    let late = next(1, Status::Succeeded, &start);
    let run = start.run;
    journal.append(start).await.unwrap();
    journal.remove(vec![run]).await.unwrap();
    journal.append(late).await.unwrap();
    let other = first(new_run(), "leads", Status::Running, 1_000);
    let other_run = other.run;
    journal.append(other).await.unwrap();
    journal.close().await;
    fs::remove_file(dir.path().join("store/index.redb")).unwrap();
    let journal = open(dir.path());
    assert_eq!(journal.open_runs().unwrap(), [other_run]);
    journal.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_a_full_disk_reads_the_log_and_leaves_the_index_for_later() {
    // Given a log that the index has not followed far, and no room.
    let dir = tempfile::tempdir().unwrap();
    let space = Arc::new(AtomicU64::new(u64::MAX));
    let disk = || {
        let space = space.clone();
        Disk { free: Box::new(move |_| Ok(space.load(Ordering::SeqCst))), ..small() }
    };
    let journal = open_on(dir.path(), disk());
    space.store(0, Ordering::SeqCst);
    let index = dir.path().join("store/index.redb");
    let before = fs::read(&index).unwrap();
    space.store(u64::MAX, Ordering::SeqCst);
    let mut runs = Vec::new();
    for _ in 0..300 {
        let append = first(new_run(), "leads", Status::Running, 1_000);
        runs.push(append.run);
        journal.append(append).await.unwrap();
    }
    journal.close().await;
    fs::File::options().write(true).truncate(true).open(&index).unwrap().write_all_at(&before, 0).unwrap();

    space.store(0, Ordering::SeqCst);
    let journal = open_on(dir.path(), disk());
    assert_eq!(journal.open_runs().unwrap(), runs);
    assert!(matches!(journal.append(first(new_run(), "a", Status::Running, 1_000)).await, Err(Error::Busy)));
    space.store(u64::MAX, Ordering::SeqCst);
    journal.append(first(new_run(), "a", Status::Running, 1_000)).await.unwrap();
    assert_eq!(journal.open_runs().unwrap().len(), 301);
    journal.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compacting_leaves_what_is_needed_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_on(dir.path(), small());
    let mut kept = Vec::new();
    for round in 0..400 {
        let mut append = first(new_run(), "leads", Status::Succeeded, 1_000);
        append.record = vec![b'x'; 2_000];
        let run = append.run;
        journal.append(append).await.unwrap();
        match round % 40 {
            0 => kept.push(run),
            _ => journal.remove(vec![run]).await.unwrap(),
        }
    }
    journal.compact().unwrap();
    let stats = journal.stats().unwrap();
    assert!(stats.bytes < 64 * 1024 && stats.bytes > 20_000, "{stats:?}");
    for run in &kept {
        assert_eq!(journal.records(*run).unwrap(), [vec![b'x'; 2_000]]);
    }
    journal.close().await;
    let journal = open_on(dir.path(), small());
    assert_eq!(journal.summaries(&super::super::Filter::default(), None, 1_000).unwrap().len(), kept.len());
    journal.close().await;
}
