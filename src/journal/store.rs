//! The log and its index as one ordered store: batches in, ranges out.
//!
//! A batch is durable in the log before it can be read. What the index has not taken over yet lies over it in memory
//! (`overlay.rs`): one part that grows, and one that `house.rs` is writing to the index.

mod apply;
mod house;
mod range;

pub use self::apply::weight_of;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::{any::Any, fs};

use uuid::Uuid;

use super::disk::Disk;
use super::entry::{Batch, Entry};
use super::index::{self, Checkpoint, Index};
use super::keys;
use super::log::{Damage, Fault, Log, Pointer, Position, Reader};
use super::overlay::Overlay;

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

struct State {
    active: Overlay,
    /// On its way to the index, with the checkpoint that it leads to.
    frozen: Option<Arc<(Overlay, Checkpoint)>>,
    /// Bytes of the log that are still needed, about.
    live: u64,
    /// The index has all before this.
    followed: Position,
}

/// What the housekeeping thread is asked for.
#[derive(Default)]
struct Wants {
    spill: bool,
    close: bool,
    /// The log's drops wait for as many who read its files.
    held: usize,
    broken: Option<String>,
    /// Who is told once it is broken.
    tell: Option<Box<dyn FnOnce(String) + Send>>,
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
        Ok(Store::start(folder, id, open, log, index, state))
    }

    /// Opens the store in `folder`. An index that is lost or damaged is made anew from the log.
    pub fn open(folder: &Path, id: Uuid, disk: Disk, open: index::Open) -> Result<Store, Unfit> {
        let mut disk = Some(disk);
        if let Some((index, checkpoint)) = usable(folder, id, open) {
            match follow(folder, id, &mut disk, index, Some(checkpoint)) {
                Ok((log, index, state)) => return Ok(Store::start(folder, id, open, log, index, state)),
                Err(Follow::Index(why)) => tracing::warn!(%why, "the index of the journal is made anew"),
                Err(Follow::Log(damage)) => return Err(Unfit::Log(damage)),
            }
        }
        forget_index(folder).map_err(|error| Unfit::Other(error.to_string()))?;
        let index = open(folder).map_err(Unfit::Other)?;
        match follow(folder, id, &mut disk, index, None) {
            Ok((log, index, state)) => Ok(Store::start(folder, id, open, log, index, state)),
            Err(Follow::Index(why)) => Err(Unfit::Other(why)),
            Err(Follow::Log(damage)) => Err(Unfit::Log(damage)),
        }
    }

    fn start(folder: &Path, id: Uuid, open: index::Open, log: Log, index: Box<dyn Index>, state: State) -> Store {
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
        let house = house::start(shared.clone());
        Store { shared, house: Mutex::new(house) }
    }

    pub fn path(&self) -> &Path {
        &self.shared.folder
    }

    /// Makes the batch durable, whole, and then lets it be read.
    pub fn commit(&self, mut batch: Batch) -> Result<(), Fault> {
        let mut log = self.shared.lock_log();
        self.shared.write(&mut log, &mut batch)
    }

    /// True if less than `needed` bytes may still be written.
    pub fn lacks(&self, needed: u64) -> bool {
        let mut log = self.shared.lock_log();
        // A disk that does not say how much is free is not held against the journal.
        (log.disk.free)(&self.shared.folder).unwrap_or(u64::MAX) < needed
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

    /// Brings the index up to the log and ends the housekeeping. A second call does nothing.
    pub fn close(&self) {
        self.shared.want(|wants| wants.close = true);
        let house = self.house.lock().unwrap_or_else(PoisonError::into_inner).take();
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
        let position = log.append(batch.frame())?;
        let mut state = self.state_mut();
        self.apply(&mut state, position, batch.payload()).map_err(Fault::Broken)?;
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
    fn new(checkpoint: Option<Checkpoint>, begin: Position) -> State {
        let (live, followed) = checkpoint.map_or((0, begin), |checkpoint| (checkpoint.live, checkpoint.position));
        State { active: Overlay::default(), frozen: None, live, followed }
    }

    /// What the layers in memory say of a key; `None` if nothing.
    fn known(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.active.get(key).or_else(|| self.frozen.as_ref()?.0.get(key))
    }

    /// Gives what was changed so far to the housekeeping.
    fn freeze(&mut self, id: Uuid, position: Position) {
        let checkpoint = Checkpoint { id, position, live: self.live };
        self.frozen = Some(Arc::new((std::mem::take(&mut self.active), checkpoint)));
    }
}

/// The index in a folder, if it can be used for this store.
fn usable(folder: &Path, id: Uuid, open: index::Open) -> Option<(Box<dyn Index>, Checkpoint)> {
    let opened = caught(|| {
        let index = open(folder)?;
        let checkpoint = index.get(Checkpoint::KEY)?;
        Ok((index, checkpoint.as_deref().and_then(Checkpoint::decode)))
    });
    match opened {
        Ok((index, Some(checkpoint))) if checkpoint.id == id => Some((index, checkpoint)),
        Ok((_, Some(_))) => {
            tracing::warn!("the index of the journal belongs to another one: it is made anew");
            None
        }
        // It had not taken over anything yet.
        Ok((_, None)) => None,
        Err(why) => {
            tracing::warn!(%why, "the index of the journal cannot be opened: it is made anew");
            None
        }
    }
}

/// Removes what an index left in the folder. The log stays.
fn forget_index(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("index.") {
            if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
        }
    }
    Ok(())
}

enum Follow {
    Index(String),
    Log(Damage),
}

/// Reads the log from the checkpoint on, and brings the index along.
fn follow(
    folder: &Path,
    id: Uuid,
    disk: &mut Option<Disk>,
    index: Box<dyn Index>,
    checkpoint: Option<Checkpoint>,
) -> Result<(Log, Box<dyn Index>, State), Follow> {
    let mut state = State::new(checkpoint, Position { segment: 0, offset: 0 });
    let mut failed = None;
    let disk = disk.take().unwrap_or_default();
    let overlay_bytes = disk.overlay_bytes;
    let mut show = |at: Position, payload: &[u8]| {
        let end = Position { offset: at.offset + payload.len() as u64, ..at };
        let shown = caught(|| {
            apply::apply(&mut state, &|key| index.get(key), at, payload)?;
            if state.active.bytes() > overlay_bytes {
                let overlay = std::mem::take(&mut state.active);
                index.apply(&overlay, &Checkpoint { id, position: end, live: state.live })?;
                state.followed = end;
            }
            Ok(())
        });
        shown.map_err(|why: String| {
            failed = Some(why.clone());
            why
        })
    };
    let mut log = match Log::open(folder, id, disk, checkpoint.map(|checkpoint| checkpoint.position), &mut show) {
        Ok(log) => log,
        Err(damage) => return Err(failed.map_or(Follow::Log(damage), Follow::Index)),
    };
    if checkpoint.is_some_and(|checkpoint| checkpoint.position.segment < log.first()) {
        return Err(Follow::Index("it is older than the log".into()));
    }
    // Segments are dropped on purpose only after this says so.
    let first = match state.active.get(keys::FIRST) {
        Some(value) => value.map(<[u8]>::to_vec),
        None => index.get(keys::FIRST).map_err(Follow::Index)?,
    };
    let first = first.map(unstamped).and_then(|value| Some(u32::from_le_bytes(*value.first_chunk()?))).unwrap_or(1);
    if log.first() > first {
        let why = format!("segments {first} to {} of the log are missing", log.first() - 1);
        return Err(Follow::Log(Damage::new(folder, 0, why)));
    }
    log.drop_before(first).map_err(|error| Follow::Log(Damage::new(folder, 0, error)))?;
    Ok((log, index, state))
}

/// Values stand behind the place they were last written at, which tells whether they can be dropped there.
const STAMP: usize = 8;

fn unstamped(mut raw: Vec<u8>) -> Vec<u8> {
    raw.drain(..STAMP.min(raw.len()));
    raw
}

/// An entry as it is stored.
pub struct Raw(Vec<u8>);

impl Raw {
    /// Of all but records and definitions.
    pub fn value(&self) -> &[u8] {
        self.0.get(STAMP..).unwrap_or_default()
    }

    /// Of records and definitions.
    pub fn pointers(&self) -> Vec<Pointer> {
        pointers(&self.0)
    }
}

/// The pointers that an entry is made of.
fn pointers(raw: &[u8]) -> Vec<Pointer> {
    raw.as_chunks().0.iter().map(Pointer::decode).collect()
}

/// A panic is an error with the same words: crates below are known to panic on some damage.
fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panic_text(&*panic)))
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_string()
}
