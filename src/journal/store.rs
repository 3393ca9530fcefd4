//! The log and its index as one ordered store: batches in, ranges out.
//!
//! A batch is durable in the log before it can be read. What the index has not taken over yet lies over it in memory
//! (`overlay.rs`): one part that grows, and one that `house.rs` is writing to the index.

mod apply;
mod house;
mod open;
mod range;

pub use self::apply::{apply, weight_of};
pub use self::open::{KEPT_INDEX, forget_index, forget_kept_index};

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};
use std::thread::JoinHandle;

use uuid::Uuid;

use super::disk::Disk;
use super::entry::{Batch, Entry};
use super::index::{self, Checkpoint, Index};
use super::keys;
use super::log::{Damage, Fault, Log, Pointer, Position, Reader, no_files};
use super::overlay::Overlay;
use crate::run::RunId;

/// Where the index cannot take them, no more batches are taken beyond this.
const MOST_OVERLAY_BYTES: usize = 64 * 1024 * 1024;
/// Free bytes without which the index is not written to.
const INDEX_RESERVE: u64 = 8 * 1024 * 1024;

/// An open store. Reading may be done anywhere.
pub struct Store {
    shared: Arc<Shared>,
    house: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    folder: PathBuf,
    id: Uuid,
    open: index::Open,
    /// Taken before `state`, never after it.
    log: Mutex<Log>,
    reader: Reader,
    state: RwLock<State>,
    index: RwLock<Box<dyn Index>>,
    wants: Mutex<Wants>,
    wake: Condvar,
}

/// What is known beside the index, and how far that has come.
pub struct State {
    active: Overlay,
    /// On its way to the index, with the checkpoint that it leads to.
    frozen: Option<Arc<(Overlay, Checkpoint)>>,
    /// Bytes of the log that are still needed, about.
    live: u64,
    /// The index has all before this.
    followed: Position,
    /// A batch was applied in part: what is here must never reach the index.
    torn: bool,
}

/// What the housekeeping thread is asked for.
#[derive(Default)]
struct Wants {
    spill: bool,
    close: bool,
    /// Who wants all segments carried forward.
    compact: Vec<mpsc::Sender<Result<(), String>>>,
    /// There is no such thread any more.
    ended: bool,
    /// The log's drops wait for as many who read its files.
    held: usize,
    broken: Option<String>,
    /// Who is told once it is broken.
    tell: Option<Box<dyn FnOnce(String) + Send>>,
}

/// What a log takes on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Numbers of its oldest and of its newest segment.
    pub first: u32,
    pub last: u32,
    pub bytes: u64,
    /// What of that is needed still, about.
    pub live_bytes: u64,
}

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The log is damaged: what was acknowledged may be lost.
    #[error(transparent)]
    Log(#[from] Damage),
    #[error("{0}")]
    Other(String),
}

impl Store {
    /// Makes an empty store in an empty folder, durable.
    pub fn create(folder: &Path, id: Uuid, disk: Disk, open: index::Open) -> Result<Store, Unfit> {
        let log = Log::create(folder, id, disk).map_err(|error| Unfit::Other(error.to_string()))?;
        let index = open(folder).map_err(Unfit::Other)?;
        let state = State::new(None, log.end());
        Store::start(folder, id, open, log, index, state)
    }

    fn start(
        folder: &Path,
        id: Uuid,
        open: index::Open,
        log: Log,
        index: Box<dyn Index>,
        state: State,
    ) -> Result<Store, Unfit> {
        let shared = Arc::new(Shared {
            folder: folder.to_path_buf(),
            id,
            open,
            log: Mutex::new(log),
            reader: Reader::new(folder),
            state: RwLock::new(state),
            index: RwLock::new(index),
            wants: Mutex::default(),
            wake: Condvar::new(),
        });
        let house = house::start(shared.clone())?;
        Ok(Store { shared, house: Mutex::new(Some(house)) })
    }

    pub fn path(&self) -> &Path {
        &self.shared.folder
    }

    /// Makes the batch durable, whole, and then lets it be read.
    pub fn commit(&self, mut batch: Batch) -> Result<(), Fault> {
        let mut log = self.shared.lock_log();
        self.shared.write(&mut log, &mut batch)
    }

    /// Bytes that may still be written.
    pub fn free(&self) -> u64 {
        let mut log = self.shared.lock_log();
        // A disk that does not say how much is free is not held against the journal.
        (log.disk.free)(&self.shared.folder).unwrap_or(u64::MAX)
    }

    /// True if this record of a run is among what was written lately; of what only the index has it says nothing, so it
    /// costs little.
    pub fn has_lately(&self, run: RunId, seq: u32) -> bool {
        let state = self.shared.state();
        let chunk = state.known(&keys::record(run, seq)).flatten().unwrap_or_default();
        let place = chunk.as_chunks().0.get((seq % keys::CHUNK) as usize).map(Pointer::decode);
        place.is_some_and(|place| place.segment > 0)
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(self.shared.raw(key)?.map(unstamped))
    }

    pub fn contains(&self, key: &[u8]) -> Result<bool, String> {
        Ok(self.shared.raw(key)?.is_some())
    }

    /// Where the things are that an entry of records, or of a definition, names; empty if there is no such entry.
    pub fn pointers(&self, key: &[u8]) -> Result<Vec<Pointer>, String> {
        Ok(pointers(&self.shared.raw(key)?.unwrap_or_default()))
    }

    /// What the pointer at `index` of an entry points to. Between the look at the entry and the file the bytes may have
    /// been carried forward, so it is looked at again.
    pub fn read(&self, key: &[u8], index: usize) -> Result<Option<Vec<u8>>, String> {
        let mut last = None;
        loop {
            let Some(pointer) = self.pointers(key)?.get(index).copied().filter(|pointer| pointer.segment > 0) else {
                return Ok(None);
            };
            if last == Some(pointer) {
                return Err(format!("segment {} of the log is missing", pointer.segment));
            }
            if let Some(bytes) = self.shared.reader.read(pointer).map_err(|damage| damage.to_string())? {
                return Ok(Some(bytes));
            }
            last = Some(pointer);
        }
    }

    /// Why the housekeeping gave up, if it did: the process must stop.
    pub fn broken(&self) -> Option<String> {
        self.shared.lock_wants().broken.clone()
    }

    /// Who is told, then. It must not ask the store for anything.
    pub fn when_broken(&self, tell: impl FnOnce(String) + Send + 'static) {
        self.shared.lock_wants().tell = Some(Box::new(tell));
    }

    /// While `work` reads the log's files, none is dropped, and each is whole up to the length it has by then.
    pub fn hold<T>(&self, work: impl FnOnce(&[(PathBuf, u64)]) -> T) -> T {
        struct Held<'s>(&'s Shared);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                self.0.want(|wants| {
                    wants.held -= 1;
                    wants.spill = true;
                });
            }
        }
        // In this order: the housekeeping looks at the count with the log in its hands.
        let log = self.shared.lock_log();
        self.shared.lock_wants().held += 1;
        let held = Held(&self.shared);
        let segments: Vec<_> = log.segments().collect();
        drop(log);
        let done = work(&segments);
        drop(held);
        done
    }

    /// Gives back all space that can be given back; waits until that is done.
    pub fn compact(&self) -> Result<(), String> {
        const ENDED: &str = "the housekeeping of the journal has ended";
        let (reply, done) = mpsc::channel();
        if self.lock_house().is_none() {
            return Err(ENDED.to_string());
        }
        self.shared.want(|wants| {
            if !wants.ended {
                wants.compact.push(reply)
            }
        });
        done.recv().unwrap_or_else(|_| Err(ENDED.to_string()))
    }

    /// What the log takes, and what of it is needed.
    pub fn sizes(&self) -> Sizes {
        let log = self.shared.lock_log();
        let live = self.shared.state().live;
        Sizes { first: log.first(), last: log.end().segment, bytes: log.bytes(), live_bytes: live.min(log.bytes()) }
    }

    /// Long work comes to an end from now on.
    pub fn begin_close(&self) {
        self.shared.want(|wants| wants.close = true);
    }

    pub fn is_closing(&self) -> bool {
        self.shared.lock_wants().close
    }

    fn lock_house(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.house.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the index up to the log and ends the housekeeping. A second call does nothing.
    pub fn close(&self) {
        self.begin_close();
        let house = self.lock_house().take();
        if let Some(house) = house {
            // It catches its panics.
            let _ = house.join();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Appends to the log, and then to what is read.
    fn write(&self, log: &mut Log, batch: &mut Batch) -> Result<(), Fault> {
        if self.state().active.bytes() > MOST_OVERLAY_BYTES {
            tracing::error!("the index of the journal cannot be written: nothing is taken in until it can");
            return Err(Fault::NoSpace);
        }
        if self.state().torn {
            return Err(Fault::Broken("a batch could not be applied to the index".to_string()));
        }
        #[cfg(any(test, feature = "crash-points"))]
        self.must_be_fresh(batch.payload());
        let position = log.append(batch.frame())?;
        let mut state = self.state_mut();
        // Until it is applied whole; a panic leaves it so too.
        state.torn = true;
        self.apply(&mut state, position, batch.payload()).map_err(Fault::Broken)?;
        state.torn = false;
        let full = state.active.bytes() > log.disk.overlay_bytes;
        if full && state.frozen.is_none() {
            state.freeze(self.id, log.end());
        }
        let wanted = full || house::wasteful(log, state.live);
        drop(state);
        if wanted {
            self.want(|wants| wants.spill = true);
        }
        Ok(())
    }

    /// A key's entry as it is stored, from the newest layer that has it.
    fn raw(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        {
            let state = self.state();
            if let Some(value) = state.known(key) {
                return Ok(value.map(<[u8]>::to_vec));
            }
        }
        // Read after the layers above: what has left them meanwhile is in there.
        self.on_index(|index| index.get(key))
    }

    /// Asks the index; where it fails it is opened anew, once.
    fn on_index<T>(&self, ask: impl Fn(&dyn Index) -> Result<T, String>) -> Result<T, String> {
        let asked = |ask: &dyn Fn(&dyn Index) -> Result<T, String>| {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            caught(|| ask(index.as_ref()))
        };
        asked(&ask).or_else(|_| {
            self.reopen_index()?;
            asked(&ask)
        })
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_wants(&self) -> std::sync::MutexGuard<'_, Wants> {
        self.wants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want(&self, change: impl FnOnce(&mut Wants)) {
        change(&mut self.lock_wants());
        self.wake.notify_all();
    }
}

impl State {
    pub fn new(checkpoint: Option<Checkpoint>, begin: Position) -> State {
        let (live, followed) = checkpoint.map_or((0, begin), |checkpoint| (checkpoint.live, checkpoint.position));
        State { active: Overlay::default(), frozen: None, live, followed, torn: false }
    }

    /// An entry as it is stored, told from elsewhere.
    pub fn know(&mut self, key: &[u8], raw: Vec<u8>) {
        self.active.put(key, raw, false);
    }

    /// All entries that there are, where there is no index below.
    pub fn into_known(self) -> BTreeMap<Vec<u8>, Raw> {
        self.active.into_entries().into_iter().map(|(key, raw)| (key, Raw(raw))).collect()
    }

    /// What the layers in memory say of a key; `None` if nothing.
    fn known(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.active.get(key).or_else(|| self.frozen.as_ref()?.0.get(key))
    }

    /// Gives what was changed so far to the housekeeping.
    fn freeze(&mut self, id: Uuid, position: Position) {
        if self.torn {
            return;
        }
        let checkpoint = Checkpoint { id, position, live: self.live };
        self.frozen = Some(Arc::new((std::mem::take(&mut self.active), checkpoint)));
    }
}

/// Values stand behind the place they were last written at, which tells whether they can be dropped there.
const STAMP: usize = 8;

fn unstamped(mut raw: Vec<u8>) -> Vec<u8> {
    raw.drain(..STAMP.min(raw.len()));
    raw
}

/// An entry as it is stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Raw(Vec<u8>);

impl Raw {
    /// Of all but records and definitions.
    pub fn value(&self) -> &[u8] {
        value(&self.0)
    }

    /// Of records and definitions.
    pub fn pointers(&self) -> Vec<Pointer> {
        pointers(&self.0)
    }

    /// Points to where `newer` does, as far as that points anywhere.
    pub fn follow(&mut self, newer: &Raw) {
        for (old, new) in self.0.as_chunks_mut::<{ Pointer::LEN }>().0.iter_mut().zip(newer.0.as_chunks().0) {
            if Pointer::decode(new).segment > 0 {
                *old = *new;
            }
        }
    }
}

/// The value of an entry as it is stored.
pub fn value(raw: &[u8]) -> &[u8] {
    raw.get(STAMP..).unwrap_or_default()
}

/// The pointers that an entry is made of.
pub fn pointers(raw: &[u8]) -> Vec<Pointer> {
    raw.as_chunks().0.iter().map(Pointer::decode).collect()
}

/// A panic is an error with the same words: crates below are known to panic on some damage.
pub fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panic_text(&*panic)))
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_string()
}
