//! Where events live: an append-only log (`log/`), and an index of it that can be made anew (`index/`).
//!
//! One writer thread drains a bounded queue into one batch, makes it durable, then answers every waiter. What is
//! appended is opaque here but for the indexes: open runs, history by flow and time, dedupe claims, definitions.
//! Nothing can be read before it is durable.

pub mod care;
mod disk;
mod draft;
mod entry;
mod index;
mod keys;
mod list;
mod log;
mod marker;
mod overlay;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use self::disk::Disk;
use self::store::Store;
use self::writer::{Done, Job, Task};
use crate::run::{Pinned, RunId, Summary};

/// One durable step of a run's history.
#[derive(Debug)]
pub struct Append {
    pub run: RunId,
    /// Position of this record in the run's history, from 0.
    pub seq: u32,
    /// The encoded events.
    pub record: Vec<u8>,
    /// The run as lists show it after this record; `None` leaves the indexes as they are. A run's first record must
    /// have it: a run that is in no index is not found again.
    pub summary: Option<Summary>,
    /// A dedupe claim, checked and made in the same batch. It is judged at `summary.updated_at`, or without a summary
    /// by the clock.
    pub claim: Option<Claim>,
    /// What the run pins, in parts that are stored unless they are there: SHA-256 and text of each. The first names the
    /// others, and is not stored without them.
    pub definition: Option<Pinned>,
}

/// "No second run of this flow with this key until then."
#[derive(Debug, Clone)]
pub struct Claim {
    pub flow: String,
    pub key: [u8; 32],
    /// Ms since 1970.
    pub until_ms: i64,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    Durable,
    /// The claim is held by this run, which has not failed; nothing was written.
    Duplicate(RunId),
}

/// Why nothing was written. Whoever waits must not acknowledge.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Try again later: there is no room in the queue, or none on the disk.
    #[error("the journal has no room for more now")]
    Busy,
    /// This append and all later ones: the process must stop.
    #[error("the journal could not be written: {0}")]
    Failed(String),
    /// There is such a record of the run already: somebody else has gone on with it. Nothing was written.
    #[error("the run has gone on meanwhile")]
    Taken,
    #[error("the store could not be read: {0}")]
    Read(String),
    /// The store cannot be opened: where, why, what now.
    #[error("{0}")]
    Open(String),
}

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub flow: Option<String>,
    pub status: Option<crate::run::Status>,
    /// Started at or after, before: ms since 1970.
    pub since_ms: Option<i64>,
    pub until_ms: Option<i64>,
}

/// Room in the queue, in permits: each job takes [`JOB_PERMITS`] and one for each KiB it carries. So at most 4096 jobs
/// and at most 64 MiB wait, whichever comes first.
const ROOM: u32 = 64 * 1024;
const JOB_PERMITS: usize = 16;
/// How long an append waits for room before it is told to come again.
const PATIENCE: Duration = Duration::from_secs(1);
const CLOSED: &str = "the journal is closed";

/// The journal of one data folder. Clones share it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use millstream::journal::Journal;
///
/// let journal = Journal::open(dir.path())?;
/// journal.set("colour", Some(b"green".to_vec())).await?;
/// journal.close().await;
///
/// let journal = Journal::open(dir.path())?;
/// assert_eq!(journal.setting("colour")?, Some(b"green".to_vec()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    tasks: UnboundedSender<Task>,
    room: Arc<Semaphore>,
    failed: watch::Sender<Option<String>>,
    /// `None` once closed. Reads hold the lock, so that closing can wait for them.
    store: RwLock<Option<Arc<Store>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Held for as long as the store may be touched.
    lock: Mutex<Option<marker::Lock>>,
}

impl Journal {
    /// Opens or creates the store in `dir/store`, under an exclusive lock.
    ///
    /// Refuses a folder that another process uses, and a store that is damaged, emptied, or not the one this folder had.
    pub fn open(dir: &Path) -> Result<Journal, Error> {
        Journal::open_on(dir, Disk::default(), index::DEFAULT)
    }

    fn open_on(dir: &Path, disk: Disk, index: index::Open) -> Result<Journal, Error> {
        let (lock, store) = marker::open(dir, disk, index).map_err(Error::Open)?;
        let store = Arc::new(store);
        let room = Arc::new(Semaphore::new(ROOM as usize));
        let (failed, _) = watch::channel(None);
        let tell = failed.clone();
        store.when_broken(move |why| {
            tell.send_replace(Some(why));
        });
        let (tasks, thread) = writer::start(store.clone(), room.clone(), failed.clone())
            .map_err(|error| Error::Open(format!("the journal's writer thread cannot be started: {error}")))?;
        let inner = Inner {
            tasks,
            room,
            failed,
            store: RwLock::new(Some(store)),
            thread: Mutex::new(Some(thread)),
            lock: Mutex::new(Some(lock)),
        };
        Ok(Journal { inner: Arc::new(inner) })
    }

    /// Durable when it returns `Ok`. Waits a second for room, then it is [`Error::Busy`].
    pub async fn append(&self, append: Append) -> Result<Appended, Error> {
        let summary = append.summary.as_ref().map(list::encode);
        let bytes = size(&append, summary.as_deref());
        self.submit(Job::Append { append, summary }, bytes).await.map(Done::one)
    }

    /// First records of several runs, durable together: all of them, but those whose claim is held, or none. One
    /// answer for each, in order; of two with one claim the second is a duplicate of the first. Waits a second for room.
    pub async fn append_together(&self, appends: Vec<Append>) -> Result<Vec<Appended>, Error> {
        let mut bytes = 0;
        let encode = |append: Append| {
            let summary = append.summary.as_ref().map(list::encode);
            bytes += size(&append, summary.as_deref());
            (append, summary)
        };
        let appends: Vec<_> = appends.into_iter().map(encode).collect();
        // However large, it leaves room for others to wait beside it.
        let room = bytes.min(ROOM as usize / 2 * 1024);
        match self.submit(Job::Together { appends, bytes }, room).await? {
            Done::Each(answers) => Ok(answers),
            Done::One(answer) => Ok(vec![answer]),
        }
    }

    /// A run's records in order; empty if there is no such run.
    pub fn records(&self, run: RunId) -> Result<Vec<Vec<u8>>, Error> {
        let mut records = Vec::new();
        self.each_record(run, |record| {
            records.push(record);
            Ok(())
        })?;
        Ok(records)
    }

    /// Shows a run's records in order, one at a time: a long run has more of them than should be in memory together.
    /// Returns how many there are; what `show` fails with ends it.
    pub fn each_record(&self, run: RunId, mut show: impl FnMut(Vec<u8>) -> Result<(), String>) -> Result<u32, Error> {
        self.read(|store| list::each_record(store, run, &mut show))
    }

    /// The first record of a run.
    pub fn first_record(&self, run: RunId) -> Result<Option<Vec<u8>>, Error> {
        self.read(|store| store.read(&keys::record(run, 0), 0))
    }

    /// Runs that have not ended, oldest first.
    pub fn open_runs(&self) -> Result<Vec<RunId>, Error> {
        self.read(list::open_runs)
    }

    /// Runs of refused requests, oldest first.
    pub fn rejected_runs(&self) -> Result<Vec<RunId>, Error> {
        self.read(list::rejected_runs)
    }

    /// Newest first, starting after `cursor`, at most `limit`.
    pub fn summaries(&self, filter: &Filter, cursor: Option<RunId>, limit: usize) -> Result<Vec<Summary>, Error> {
        self.read(|store| list::summaries(store, filter, cursor, limit))
    }

    /// Oldest first, starting after `after`, at most `limit`.
    pub fn oldest(&self, after: Option<RunId>, limit: usize) -> Result<Vec<Summary>, Error> {
        self.read(|store| list::oldest(store, after, limit))
    }

    pub fn summary(&self, run: RunId) -> Result<Option<Summary>, Error> {
        self.read(|store| list::summary(store, run))
    }

    pub fn definition(&self, hash: &[u8; 32]) -> Result<Option<String>, Error> {
        self.read(|store| {
            let Some(bytes) = store.read(&keys::definition(hash), 0)? else {
                return Ok(None);
            };
            String::from_utf8(bytes).map(Some).map_err(|error| error.to_string())
        })
    }

    /// A small named value, such as a flow's key version.
    pub fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.read(|store| store.get(&keys::setting(name)))
    }

    /// Durable when it returns `Ok`; `None` removes.
    pub async fn set(&self, name: &str, value: Option<Vec<u8>>) -> Result<(), Error> {
        let bytes = name.len() + value.as_ref().map_or(0, Vec::len);
        let name = name.to_string();
        self.submit(Job::Set { name, value }, bytes).await.map(|_| ())
    }

    /// Names and values of all settings that start with `prefix`, by name.
    pub fn settings(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.read(|store| list::settings(store, prefix))
    }

    /// Removes runs whole (an open one is left alone), with their claims' entries kept until they expire: only those of
    /// runs that failed go too, since they bar no one.
    pub async fn remove(&self, runs: Vec<RunId>) -> Result<(), Error> {
        let bytes = runs.len() * size_of::<RunId>();
        self.submit(Job::Remove(runs), bytes).await.map(|_| ())
    }

    /// While `work` reads the files of the store's folder, none of the log is dropped.
    pub fn hold<T>(&self, work: impl FnOnce() -> T) -> Result<T, Error> {
        self.read(|store| Ok(store.hold(|_| work())))
    }

    /// Resolves with the reason once the journal can no longer be written: the process must stop.
    pub async fn failed(&self) -> String {
        let mut failed = self.inner.failed.subscribe();
        match failed.wait_for(Option::is_some).await.map(|reason| reason.clone()) {
            Ok(Some(reason)) => reason,
            // The sender is ours, so it outlives this wait.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Writes what is queued, syncs, ends the writer thread and gives the folder free. A second call does nothing.
    pub async fn close(&self) {
        self.inner.room.close();
        let (reply, closed) = oneshot::channel();
        let task = Task { job: Job::Close, reply, _room: None };
        if self.inner.tasks.send(task).is_ok() {
            let _ = closed.await;
        }
        let inner = self.inner.clone();
        let release = tokio::task::spawn_blocking(move || inner.release());
        let _ = release.await;
    }

    async fn submit(&self, job: Job, bytes: usize) -> Result<Done, Error> {
        let permits = u32::try_from(JOB_PERMITS + bytes / 1024).unwrap_or(ROOM).min(ROOM);
        let room = self.room(permits).await?;
        let (reply, answer) = oneshot::channel();
        let task = Task { job, reply, _room: Some(room) };
        if self.inner.tasks.send(task).is_err() {
            return Err(self.stopped());
        }
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    async fn room(&self, permits: u32) -> Result<OwnedSemaphorePermit, Error> {
        // The usual way needs no timer.
        if let Ok(room) = self.inner.room.clone().try_acquire_many_owned(permits) {
            return Ok(room);
        }
        match tokio::time::timeout(PATIENCE, self.inner.room.clone().acquire_many_owned(permits)).await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_)) => Err(self.stopped()),
            Err(_) => Err(Error::Busy),
        }
    }

    /// Why the writer takes nothing more.
    fn stopped(&self) -> Error {
        let reason = self.inner.failed.borrow().clone();
        Error::Failed(reason.unwrap_or_else(|| CLOSED.to_string()))
    }

    /// The store is known to panic on some damage: that is an error of the read, not the end of its caller.
    fn read<T>(&self, read: impl FnOnce(&Store) -> Result<T, String>) -> Result<T, Error> {
        let guard = self.inner.store.read().unwrap_or_else(PoisonError::into_inner);
        let Some(store) = guard.as_deref() else {
            return Err(Error::Read(CLOSED.to_string()));
        };
        match catch_unwind(AssertUnwindSafe(|| read(store))) {
            Ok(result) => result.map_err(|reason| Error::Read(format!("{}: {reason}", store.path().display()))),
            Err(panic) => Err(Error::Read(format!(
                "{}: the store gave up: {}",
                store.path().display(),
                store::panic_text(&*panic)
            ))),
        }
    }
}

impl Done {
    fn one(self) -> Appended {
        match self {
            Done::One(answer) => answer,
            Done::Each(answers) => answers.first().copied().unwrap_or(Appended::Durable),
        }
    }
}

/// Bytes that an append carries.
fn size(append: &Append, summary: Option<&[u8]>) -> usize {
    let definition = append.definition.iter().flat_map(|parts| parts.iter()).map(|(_, text)| text.len()).sum::<usize>();
    append.record.len() + definition + summary.map_or(0, <[u8]>::len)
}

impl Inner {
    fn release(&self) {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It catches its panics, and says so through `failed`.
            let _ = thread.join();
        }
        // Whoever copies or compacts it gives up, so that nobody waits for them.
        if let Some(store) = self.store.read().unwrap_or_else(PoisonError::into_inner).as_deref() {
            store.begin_close();
        }
        let store = self.store.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(store) = store.and_then(Arc::into_inner) {
            store.close();
        }
        *lock = None;
    }
}
