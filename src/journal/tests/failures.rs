//! When the disk says no: everyone who waits hears it, and nothing is tried again.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;

use super::super::writer::Disk;
use super::super::{Error, Journal};
use super::{first, new_run, open};
use crate::run::Status;

fn append() -> super::Append {
    first(new_run(), "leads", Status::Running, 1_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_fails_all_who_wait_and_the_journal_for_good() {
    // Given a journal whose third sync fails.
    let dir = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = syncs.clone();
    let sync = move |file: &File| match counted.fetch_add(1, Ordering::SeqCst) {
        2 => Err(io::Error::from_raw_os_error(5)),
        _ => file.sync_data(),
    };
    let journal = Journal::open_on(dir.path(), Disk { sync: Box::new(sync), ..Disk::default() }).unwrap();
    let kept = [append(), append()];
    let kept_runs = [kept[0].run, kept[1].run];
    for append in kept {
        journal.append(append).await.unwrap();
    }

    // When many wait.
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let journal = journal.clone();
            tokio::spawn(async move { journal.append(append()).await })
        })
        .collect();

    // Then all are told, the process is told, and no sync is tried again.
    for task in tasks {
        let error = task.await.unwrap().unwrap_err();
        assert!(matches!(&error, Error::Failed(reason) if reason.contains("Input/output error")), "{error}");
    }
    assert!(journal.failed().await.contains("Input/output error"));
    assert!(matches!(journal.append(append()).await, Err(Error::Failed(_))));
    assert!(matches!(journal.set("name", None).await, Err(Error::Failed(_))));
    assert_eq!(syncs.load(Ordering::SeqCst), 3);

    // And what was acknowledged is there for the next process.
    journal.close().await;
    let journal = open(dir.path());
    for run in kept_runs {
        assert_eq!(journal.records(run).unwrap().len(), 1);
    }
    journal.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_cut_short_anywhere_leaves_nothing_behind() {
    // A group of three batches needs four syncs: the note first. The last one makes it whole.
    for failing in 1..=3 {
        let dir = tempfile::tempdir().unwrap();
        let syncs = Arc::new(AtomicUsize::new(0));
        let counted = syncs.clone();
        let sync = move |file: &File| match counted.fetch_add(1, Ordering::SeqCst) {
            now if now == failing => Err(io::Error::from_raw_os_error(5)),
            _ => file.sync_data(),
        };
        let journal = Journal::open_on(dir.path(), Disk { sync: Box::new(sync), ..Disk::default() }).unwrap();
        let before = append();
        let kept = before.run;
        journal.append(before).await.unwrap();
        let group =
            |status| (0..2_500).map(move |_| super::claimed(first(new_run(), "leads", status, 1_000), 7, 9_000));
        let mut keys = 0_u64;
        let mut numbered = |mut append: super::Append| {
            if let Some(claim) = &mut append.claim {
                claim.key[..8].copy_from_slice(&keys.to_be_bytes());
                keys += 1;
            }
            append
        };
        let appends: Vec<_> = group(Status::Queued).map(&mut numbered).collect();
        let claim = appends[0].claim.clone();

        let told = journal.append_together(appends).await;

        assert!(matches!(told, Err(Error::Failed(_))), "{failing}");
        journal.close().await;
        let journal = open(dir.path());
        assert_eq!(journal.open_runs().unwrap(), [kept], "{failing}");
        assert_eq!(journal.summaries(&super::super::Filter::default(), None, 10).unwrap().len(), 1, "{failing}");
        assert_eq!(journal.settings("").unwrap(), [], "{failing}");
        let again = super::Append { claim, ..append() };
        assert_eq!(journal.append(again).await.unwrap(), super::super::Appended::Durable, "its claims are free");
        journal.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_writer_is_a_failure_and_not_a_hang() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk { sync: Box::new(|_| panic!("the store is upset")), ..Disk::default() };
    let journal = Journal::open_on(dir.path(), disk).unwrap();
    let answers = tokio::join!(journal.append(append()), journal.append(append()));
    for error in [answers.0.unwrap_err(), answers.1.unwrap_err()] {
        assert!(error.to_string().contains("the store is upset"), "{error}");
    }
    assert!(journal.failed().await.contains("the store is upset"));
    journal.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_busy_after_a_second_and_takes_more_once_it_has_room() {
    // Given a writer that is held in its sync, and a queue that is full.
    let dir = tempfile::tempdir().unwrap();
    let (release, held) = mpsc::channel::<()>();
    let sync = move |file: &File| {
        let _ = held.recv();
        file.sync_data()
    };
    let journal = Journal::open_on(dir.path(), Disk { sync: Box::new(sync), ..Disk::default() }).unwrap();
    let mut big = append();
    big.record = vec![0; 80 * 1024 * 1024];
    let first = tokio::spawn({
        let journal = journal.clone();
        async move { journal.append(big).await }
    });
    while journal.inner.room.available_permits() > 0 {
        tokio::task::yield_now().await;
    }

    assert!(matches!(journal.append(append()).await, Err(Error::Busy)));

    drop(release);
    first.await.unwrap().unwrap();
    journal.append(append()).await.unwrap();
    journal.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_almost_full_takes_nothing_in_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let space = Arc::new(AtomicU64::new(40_000_000));
    let seen = space.clone();
    let free = move |_: &std::path::Path| Ok(seen.load(Ordering::SeqCst));
    let journal = Journal::open_on(dir.path(), Disk { free: Box::new(free), ..Disk::default() }).unwrap();

    let refused = append();
    let run = refused.run;
    assert!(matches!(journal.append(refused).await, Err(Error::Busy)));
    assert!(journal.records(run).unwrap().is_empty());
    // Removing is how room comes back.
    journal.remove(vec![new_run()]).await.unwrap();

    space.store(u64::MAX, Ordering::SeqCst);
    journal.append(append()).await.unwrap();
    journal.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_to_files_that_the_sync_does_not_reach() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let mut ended = Vec::new();
    for size in [6_000, 5_999, 700_000, 1_000, 6_100].into_iter().cycle().take(60) {
        let mut append = first(new_run(), "leads", Status::Succeeded, 1_000);
        append.record = vec![7; size];
        ended.push(append.run);
        journal.append(append).await.unwrap();
    }
    // Pages that lose entries are merged, and grow by it.
    let removed = ended.iter().enumerate().filter(|(at, _)| at % 3 != 0).map(|(_, run)| *run);
    journal.remove(removed.collect()).await.unwrap();
    journal.close().await;
    let beside = std::fs::read_dir(dir.path().join("store/blobs")).unwrap();
    assert_eq!(beside.count(), 0);
}
