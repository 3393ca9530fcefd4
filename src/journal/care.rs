//! Care of a store: is it whole, mend it, copy it, move it. Commands that people call, none that a run depends on.

mod backup;
mod check;
mod export;
mod repair;
mod survey;

pub use self::backup::Backup;
pub use self::check::{Affected, Problem, Report, check};
pub use self::export::{Exported, Imported, import};
#[cfg(test)]
pub use self::repair::repair_until;
pub use self::repair::{Repaired, repair};

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::{Error, Journal, list};

/// What a store takes on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    pub segments: u32,
    /// Of the log.
    pub bytes: u64,
    /// What of it is needed still, about.
    pub live_bytes: u64,
    pub index_bytes: u64,
    pub open_runs: u64,
}

impl Journal {
    /// What the store takes on the disk. Reads the list of open runs.
    pub fn stats(&self) -> Result<Stats, Error> {
        self.read(|store| {
            let sizes = store.sizes();
            let index = std::fs::metadata(store.path().join("index.redb"));
            Ok(Stats {
                segments: sizes.last - sizes.first + 1,
                bytes: sizes.bytes,
                live_bytes: sizes.live_bytes,
                index_bytes: index.map_or(0, |index| index.len()),
                open_runs: list::open_runs(store)?.len() as u64,
            })
        })
    }

    /// Gives back all disk space that can be given back, and waits until that is done.
    pub fn compact(&self) -> Result<(), Error> {
        self.read(super::store::Store::compact)
    }

    /// Copies the whole data folder to `to`, a folder that is not there yet or is empty: as it is at one moment, durable
    /// when it returns, while others go on. What was begun and not finished is no data folder.
    pub fn backup(&self, to: &Path) -> Result<Backup, Error> {
        self.read(|store| backup::backup(store, to))
    }

    /// Writes all that the store holds, and files that are to go with it, for [`import`].
    pub fn export(&self, to: &mut dyn Write, files: &[(String, Vec<u8>)]) -> Result<Exported, Error> {
        self.read(|store| export::export(store, to, files))
    }
}
