//! The store crate, walled in: batches in, ranges out, and a sync that is one.
//!
//! sled's `flush` hands pages to the kernel but does not sync the file (docs/decisions/sled.md), so [`Store::commit`]
//! does, on a handle of its own. Values over about 7 KB would push sled's pages into files that nothing syncs: long
//! values are therefore cut into parts.

use std::any::Any;
use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sled::{Config, Db};

pub use sled::{Batch, IVec};

use crate::points;

/// A page holds up to 19 entries and must stay under a quarter of sled's segment of 512 KiB: 19 × 6,000 does.
pub const PART: usize = 6_000;
/// sled keeps about twice this in memory.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// How long sled's own lock may outlive its last handle in this process.
const RELEASE: Duration = Duration::from_secs(10);

/// An open store. Reading is quick and may be done anywhere; one thread commits.
pub struct Store {
    db: Db,
    /// A second handle of the file sled writes, for the sync sled leaves out.
    file: File,
    path: PathBuf,
}

impl Store {
    /// Opens or creates the store at `path`. The caller holds the lock of the data folder.
    pub fn open(path: &Path) -> Result<Store, String> {
        let config = Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            // No timer thread: every batch is flushed, and its errors would only be logged.
            .flush_every_ms(None);
        let started = Instant::now();
        let db = loop {
            // sled panics on some kinds of damage.
            match catch_unwind(AssertUnwindSafe(|| config.open())) {
                Ok(Ok(db)) => break db,
                // The folder is ours, so it is a handle of our own that is still being dropped.
                Ok(Err(sled::Error::Io(error)))
                    if error.to_string().contains("could not acquire lock") && started.elapsed() < RELEASE =>
                {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(Err(error)) => return Err(error.to_string()),
                Err(panic) => return Err(panic_text(&*panic)),
            }
        };
        let file = File::options().read(true).write(true).open(path.join("db"));
        let file = file.map_err(|error| error.to_string())?;
        Ok(Store { db, file, path: path.to_path_buf() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Applies the batch whole and makes it durable with `sync`. After an error nothing more may be committed: what the
    /// kernel failed to write it may have forgotten.
    pub fn commit(&self, batch: Batch, sync: &mut dyn FnMut(&File) -> io::Result<()>) -> Result<(), String> {
        points::reach("journal.append.before");
        self.db.apply_batch(batch).map_err(|error| error.to_string())?;
        self.db.flush().map_err(|error| error.to_string())?;
        points::reach("journal.sync.before");
        sync(&self.file).map_err(|error| format!("sync of {}: {error}", self.path.join("db").display()))?;
        points::reach("journal.sync.after");
        Ok(())
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<IVec>, String> {
        self.db.get(key).map_err(|error| error.to_string())
    }

    pub fn contains(&self, key: &[u8]) -> Result<bool, String> {
        self.db.contains_key(key).map_err(|error| error.to_string())
    }

    /// All entries whose keys start with `prefix`, in order.
    pub fn scan(&self, prefix: &[u8]) -> impl Iterator<Item = Result<(IVec, IVec), String>> + use<> {
        self.db.scan_prefix(prefix).map(|entry| entry.map_err(|error| error.to_string()))
    }

    /// Entries after `from`, in order.
    pub fn after(&self, from: &[u8]) -> impl Iterator<Item = Result<(IVec, IVec), String>> + use<> {
        let range = (Bound::Excluded(from), Bound::Unbounded);
        self.db.range::<&[u8], _>(range).map(|entry| entry.map_err(|error| error.to_string()))
    }

    /// Entries from `low` to before `high`, last first.
    pub fn backwards(&self, low: &[u8], high: &[u8]) -> impl Iterator<Item = Result<(IVec, IVec), String>> + use<> {
        let range = (Bound::Included(low), Bound::Excluded(high));
        self.db.range::<&[u8], _>(range).rev().map(|entry| entry.map_err(|error| error.to_string()))
    }

    /// The value that [`put_parts`] wrote.
    pub fn get_parts(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let mut value = Vec::new();
        for number in 0.. {
            let Some(part) = self.get(&part_key(prefix, number))? else {
                if number == 0 {
                    return Ok(None);
                }
                return Err(format!("part {number} of an entry is missing"));
            };
            value.extend_from_slice(&part);
            if part.len() < PART {
                break;
            }
        }
        Ok(Some(value))
    }

    /// Drops the store, and returns when its folder can be opened again.
    pub fn close(self) {
        let Store { db, file, path: _ } = self;
        drop(db);
        let started = Instant::now();
        // sled's last handles are dropped by its own threads, a little later.
        while let Err(TryLockError::WouldBlock) = file.try_lock() {
            if started.elapsed() > RELEASE {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Puts a value of any length under keys that start with `prefix`. The last part is the one that is not full.
pub fn put_parts(batch: &mut Batch, prefix: &[u8], value: &[u8]) {
    for number in 0..part_count(value.len()) {
        let start = number as usize * PART;
        let end = value.len().min(start + PART);
        batch.insert(part_key(prefix, number), &value[start..end]);
    }
}

/// How many parts a value of this length has: at least one.
pub fn part_count(len: usize) -> u32 {
    u32::try_from(len / PART + 1).expect("a value is far below 2^32 parts of 6 KB")
}

/// The key of a part.
pub fn part_key(prefix: &[u8], number: u32) -> IVec {
    [prefix, &number.to_be_bytes()].concat().into()
}

/// True if the part ends the value it belongs to.
pub fn is_last(part: &[u8]) -> bool {
    part.len() < PART
}

/// Syncs every file and folder of a store that was just made: the crate leaves that to luck.
pub fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_string()
}
