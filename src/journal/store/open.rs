//! Opening a store: its index is brought up to the log, or made anew of it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use uuid::Uuid;

use super::super::disk::Disk;
use super::super::index::{self, Checkpoint, Index};
use super::super::keys;
use super::super::log::{Damage, Log, Position};
use super::{INDEX_RESERVE, MOST_OVERLAY_BYTES, State, Store, Unfit, apply, caught, unstamped};
use crate::points;

impl Store {
    /// Opens the store in `folder`. An index that is lost or damaged is made anew from the log; one that only cannot be
    /// read now is not.
    pub fn open(folder: &Path, id: Uuid, mut disk: Disk, open: index::Open) -> Result<Store, Unfit> {
        let mut place = Place { folder, id, overlay_bytes: disk.overlay_bytes, room: true };
        // A disk that does not say how much is free is not held against the store.
        let mut look = || (disk.free)(folder).unwrap_or(u64::MAX) >= INDEX_RESERVE;
        place.room = look();
        let mut begun = None;
        if let Some((index, checkpoint)) = usable(folder, id, open)? {
            match place.follow(index, Some(checkpoint)) {
                Ok(followed) => begun = Some(followed),
                Err(Follow::Index(why)) if look() => tracing::warn!(%why, "the index of the journal is made anew"),
                Err(Follow::Index(why)) => return Err(Unfit::Other(format!("the disk is full: {why}"))),
                Err(Follow::Log(damage)) => return Err(Unfit::Log(damage)),
            }
        }
        let (mut log, index, state) = match begun {
            Some(begun) => begun,
            None => {
                forget_index(folder).map_err(|error| Unfit::Other(error.to_string()))?;
                place.room = look();
                let index = open(folder).map_err(Unfit::Other)?;
                place.follow(index, None).map_err(|why| match why {
                    Follow::Index(why) => Unfit::Other(why),
                    Follow::Log(damage) => Unfit::Log(damage),
                })?
            }
        };
        log.disk = disk;
        let store = Store::start(folder, id, open, log, index, state)?;
        // The log is whole, so nobody needs it any more; it would tell of what is no longer so.
        forget_kept_index(folder).map_err(|error| Unfit::Other(error.to_string()))?;
        Ok(store)
    }
}

/// An index, and how far it has come.
type Usable = (Box<dyn Index>, Checkpoint);

/// The index in a folder, if it can be used for this store.
fn usable(folder: &Path, id: Uuid, open: index::Open) -> Result<Option<Usable>, Unfit> {
    let opened = caught(|| {
        let index = open(folder)?;
        let checkpoint = index.get(Checkpoint::KEY)?;
        Ok((index, checkpoint.as_deref().and_then(Checkpoint::decode)))
    });
    match opened {
        Ok((index, Some(checkpoint))) if checkpoint.id == id => Ok(Some((index, checkpoint))),
        Ok((_, Some(_))) => {
            tracing::warn!("the index of the journal belongs to another one: it is made anew");
            Ok(None)
        }
        // It had not taken over anything yet.
        Ok((_, None)) => Ok(None),
        Err(why) => {
            // What cannot be read says nothing of what it is: then nothing is changed.
            read_through(folder).map_err(|error| Unfit::Other(error.to_string()))?;
            tracing::warn!(%why, "the index of the journal cannot be opened: it is made anew");
            Ok(None)
        }
    }
}

/// The index as it was before a repair, until that is done. Nothing is looked up in it.
pub const KEPT_INDEX: &str = "index.repair";

/// Removes what a repair that was cut short has kept.
pub fn forget_kept_index(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(KEPT_INDEX)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Files of an index in the folder.
fn index_files(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("index.") && name != KEPT_INDEX {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Fails if a byte of the index cannot be read.
fn read_through(folder: &Path) -> io::Result<()> {
    for path in index_files(folder)?.into_iter().filter(|path| path.is_file()) {
        let read = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut io::sink()));
        read.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    }
    Ok(())
}

/// Removes what an index left in the folder. The log stays.
pub fn forget_index(folder: &Path) -> io::Result<()> {
    for path in index_files(folder)? {
        if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
    }
    Ok(())
}

enum Follow {
    Index(String),
    Log(Damage),
}

struct Place<'p> {
    folder: &'p Path,
    id: Uuid,
    overlay_bytes: usize,
    /// The index may be written to.
    room: bool,
}

impl Place<'_> {
    /// Reads the log from the checkpoint on, and brings the index along.
    fn follow(
        &self,
        index: Box<dyn Index>,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(Log, Box<dyn Index>, State), Follow> {
        let mut state = State::new(checkpoint, Position { segment: 0, offset: 0 });
        let mut failed = None;
        // On a full disk it stays in memory, as far as it fits.
        let most = if self.room { self.overlay_bytes } else { MOST_OVERLAY_BYTES };
        let mut show = |at: Position, payload: &[u8]| {
            let end = Position { offset: at.offset + payload.len() as u64, ..at };
            let shown = caught(|| {
                apply::apply(&mut state, &|key| index.get(key), at, payload)?;
                if state.active.bytes() > most {
                    let overlay = std::mem::take(&mut state.active);
                    points::reach("journal.follow.before");
                    index.apply(&overlay, &Checkpoint { id: self.id, position: end, live: state.live })?;
                    points::reach("journal.follow.after");
                    state.followed = end;
                }
                Ok(())
            });
            shown.inspect_err(|why: &String| failed = Some(why.clone()))
        };
        let from = checkpoint.map(|checkpoint| checkpoint.position);
        let mut log = match Log::open(self.folder, self.id, Disk::default(), from, &mut show) {
            Ok(log) => log,
            Err(damage) => return Err(failed.map_or(Follow::Log(damage), Follow::Index)),
        };
        if from.is_some_and(|from| from.segment < log.first()) {
            return Err(Follow::Index("the index is older than the log".to_string()));
        }
        // Segments are dropped on purpose only after this says so.
        let first = match state.active.get(keys::FIRST) {
            Some(value) => value.map(<[u8]>::to_vec),
            None => index.get(keys::FIRST).map_err(Follow::Index)?,
        };
        let first = first.map(unstamped).and_then(|value| Some(u32::from_le_bytes(*value.first_chunk()?))).unwrap_or(1);
        if log.first() > first {
            let why = format!("segments {first} to {} of the log are missing", log.first() - 1);
            return Err(Follow::Log(Damage::new(self.folder, 0, why)));
        }
        log.drop_before(first).map_err(|error| Follow::Log(Damage::unread(self.folder, 0, &error)))?;
        Ok((log, index, state))
    }
}
