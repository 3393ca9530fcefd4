//! What must not be written twice, left half done, or stay for ever.

use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::disk::Disk;
use super::super::index::{self, Checkpoint, Index, Pairs};
use super::super::overlay::Overlay;
use super::super::{Error, Journal};
use super::{first, new_run, next, open};
use crate::run::Status;

#[tokio::test]
async fn a_record_is_not_written_over_one_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let start = first(new_run(), "leads", Status::Running, 1_000);
    let (run, again) = (start.run, next(1, Status::Failed, &start));
    let (one, other) = (next(1, Status::Running, &start), next(1, Status::Cancelled, &start));
    journal.append(start).await.unwrap();
    // In one batch or one after the other, the first stands.
    let (one, other) = tokio::join!(journal.append(one), journal.append(other));
    one.unwrap();
    for refused in [other, journal.append(again).await] {
        assert!(matches!(refused, Err(Error::Taken)), "{refused:?}");
    }
    assert_eq!(journal.records(run).unwrap().len(), 2);
    assert_eq!(journal.summary(run).unwrap().unwrap().status, Status::Running);
    journal.close().await;
}

#[tokio::test]
async fn a_rejected_run_that_was_handled_is_gone_once_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let start = first(new_run(), "leads", Status::Rejected, 1_000);
    let (run, handled) = (start.run, next(1, Status::Rejected, &start));
    journal.append(start).await.unwrap();
    journal.close().await;
    // Now the index has it, and nothing is in memory.
    let journal = open(dir.path());
    journal.append(handled).await.unwrap();
    journal.remove(vec![run]).await.unwrap();
    assert_eq!(journal.rejected_runs().unwrap(), []);
    journal.close().await;
    let journal = open(dir.path());
    assert_eq!(journal.rejected_runs().unwrap(), []);
    journal.close().await;
}

/// True while the index gives nothing.
static UPSET: AtomicBool = AtomicBool::new(false);

struct Moody(Box<dyn Index>);

impl Index for Moody {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        if UPSET.load(Ordering::SeqCst) { Err("the index is upset".to_owned()) } else { self.0.get(key) }
    }

    fn range(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, backwards: bool, limit: usize) -> Result<Pairs, String> {
        self.0.range(low, high, backwards, limit)
    }

    fn apply(&self, changes: &Overlay, checkpoint: &Checkpoint) -> Result<(), String> {
        self.0.apply(changes, checkpoint)
    }
}

fn moody(folder: &Path) -> Result<Box<dyn Index>, String> {
    Ok(Box::new(Moody((index::DEFAULT)(folder)?)))
}

#[tokio::test]
async fn a_batch_that_could_not_be_applied_whole_is_not_counted_as_read_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Journal::open_on(dir.path(), Disk::default(), moody).unwrap();
    let start = first(new_run(), "leads", Status::Running, 1_000);
    let (run, more) = (start.run, next(1, Status::Running, &start));
    let journal = open();
    journal.append(start).await.unwrap();
    journal.close().await;

    // The second record belongs beside the first one, which only the index knows. The index has something else to take.
    let journal = open();
    journal.set("name", Some(b"value".to_vec())).await.unwrap();
    UPSET.store(true, Ordering::SeqCst);
    let failed = journal.append(more).await;
    assert!(matches!(failed, Err(Error::Failed(_))), "{failed:?}");
    UPSET.store(false, Ordering::SeqCst);
    journal.close().await;

    // It is in the log, durable or not: the next start must find it there.
    let journal = open();
    assert_eq!(journal.records(run).unwrap().len(), 2);
    journal.close().await;
}
