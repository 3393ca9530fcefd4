//! When the disk says no: everyone who waits hears it, and nothing is tried again.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;

use super::super::Error;
use super::super::disk::Disk;
use super::{first, new_run, open, open_on};
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
    let journal = open_on(dir.path(), Disk { sync: Box::new(sync), ..Disk::default() });
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
async fn a_panic_in_the_writer_is_a_failure_and_not_a_hang() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk { sync: Box::new(|_| panic!("the store is upset")), ..Disk::default() };
    let journal = open_on(dir.path(), disk);
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
    let journal = open_on(dir.path(), Disk { sync: Box::new(sync), ..Disk::default() });
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
    let space = Arc::new(AtomicU64::new(20_000_000));
    let seen = space.clone();
    let free = move |_: &std::path::Path| Ok(seen.load(Ordering::SeqCst));
    let journal = open_on(dir.path(), Disk { free: Box::new(free), ..Disk::default() });

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
async fn runs_are_removed_on_an_almost_full_disk_beside_requests_that_are_refused() {
    // Given a writer that is held, so that what comes meanwhile is one batch.
    let dir = tempfile::tempdir().unwrap();
    let (release, held) = mpsc::channel::<()>();
    let (began, begun) = mpsc::channel::<()>();
    let sync = move |file: &File| {
        let _ = began.send(());
        let _ = held.recv();
        file.sync_data()
    };
    let space = Arc::new(AtomicU64::new(u64::MAX));
    let seen = space.clone();
    let free = move |_: &std::path::Path| Ok(seen.load(Ordering::SeqCst));
    let disk = Disk { free: Box::new(free), sync: Box::new(sync), ..Disk::default() };
    let journal = open_on(dir.path(), disk);
    let old = first(new_run(), "leads", Status::Succeeded, 1_000);
    let run = old.run;
    let kept = tokio::spawn({
        let journal = journal.clone();
        async move { journal.append(old).await }
    });
    tokio::task::spawn_blocking(move || begun.recv()).await.unwrap().unwrap();

    space.store(20_000_000, Ordering::SeqCst);
    let both = async { tokio::join!(journal.append(append()), journal.remove(vec![run]), journal.append(append())) };
    let (one, removed, other) = tokio::join!(both, async { drop(release) }).0;
    kept.await.unwrap().unwrap();
    assert!(matches!((one, other), (Err(Error::Busy), Err(Error::Busy))));
    removed.unwrap();
    assert!(journal.records(run).unwrap().is_empty());
    journal.close().await;
}
