//! Housekeeping, in a thread of its own: brings the index up to the log, and gives disk space back.
//!
//! Space comes back by the oldest segment: what of it is still needed is appended again, and then it is dropped. That is
//! begun where more than half of the log is not needed any more, so it writes at most as much as was written before.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::entry::{self, AROUND, MOVED};
use super::*;
use crate::points;

/// Segments that the log may take beside twice what is needed of it.
const SLACK: u64 = 2;
/// Bytes that are carried forward in one batch.
const CARRY_BYTES: usize = 256 * 1024;
/// When to try again what failed.
const AGAIN: Duration = Duration::from_secs(1);

/// True if the log has much that is not needed.
pub(super) fn wasteful(log: &Log, live: u64) -> bool {
    log.first() < log.end().segment && log.bytes() > 2 * live + SLACK * log.disk.segment_bytes
}

/// Starts the thread. Without it the index would not be written and no space come back, so the store does not open.
pub(super) fn start(shared: Arc<Shared>) -> Result<JoinHandle<()>, Unfit> {
    let thread = std::thread::Builder::new().name("journal-house".to_string()).spawn(move || {
        let kept = catch_unwind(AssertUnwindSafe(|| shared.keep_house()));
        if let Err(panic) = kept {
            shared.give_up(format!("the housekeeping of the journal broke off: {}", panic_text(&*panic)));
        }
        // No one may wait for a thread that has ended.
        let mut wants = shared.lock_wants();
        wants.ended = true;
        wants.compact.clear();
    });
    thread.map_err(|error| Unfit::Other(format!("the journal's housekeeping cannot be started: {error}")))
}

impl Shared {
    fn keep_house(&self) {
        let mut failed = false;
        loop {
            let close = {
                let mut wants = self.lock_wants();
                while !(wants.spill || wants.close || !wants.compact.is_empty()) {
                    wants = self.wake.wait(wants).unwrap_or_else(PoisonError::into_inner);
                }
                wants.spill = false;
                wants.close
            };
            if close {
                self.freeze();
            }
            match self.spill().and_then(|()| if close { self.spill_rest() } else { Ok(()) }) {
                Ok(()) => failed = false,
                Err(why) if close => {
                    tracing::warn!(%why, "the index of the journal could not be written; the next start will");
                }
                Err(why) => {
                    if !failed {
                        tracing::error!(%why, "the index of the journal could not be written; it is tried again");
                    }
                    failed = true;
                    self.wait_to_try_again();
                    continue;
                }
            }
            if close {
                return;
            }
            let asked = std::mem::take(&mut self.lock_wants().compact);
            if !asked.is_empty() {
                let done = self.compact();
                for reply in asked {
                    let answer = match &done {
                        Ok(()) => Ok(()),
                        Err(Fault::NoSpace) => {
                            Err("there is no room on the disk, or a backup is being made".to_string())
                        }
                        Err(Fault::Broken(why)) => Err(why.clone()),
                    };
                    // Who no longer waits has no use for it.
                    let _ = reply.send(answer);
                }
                if let Err(Fault::Broken(why)) = done {
                    return self.give_up(why);
                }
            }
            let mut segments = self.lock_log().segments().count();
            while self.is_wasteful() {
                match self.drop_oldest() {
                    // All was looked at: what is left is needed.
                    Ok(_) if segments <= 1 => self.all_is_needed(),
                    Ok(_) => segments -= 1,
                    Err(Fault::NoSpace) => {
                        self.wait_to_try_again();
                        break;
                    }
                    Err(Fault::Broken(why)) => return self.give_up(why),
                }
                if self.lock_wants().close {
                    break;
                }
            }
        }
    }

    fn wait_to_try_again(&self) {
        let mut wants = self.lock_wants();
        wants.spill = true;
        if !wants.close {
            drop(self.wake.wait_timeout(wants, AGAIN).unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn is_wasteful(&self) -> bool {
        let log = self.lock_log();
        let wants = self.lock_wants();
        wants.held == 0 && wasteful(&log, self.state().live)
    }

    fn give_up(&self, why: String) {
        tracing::error!(%why, "the journal can no longer be written");
        let mut wants = self.lock_wants();
        if let Some(tell) = wants.tell.take() {
            tell(why.clone());
        }
        wants.broken = Some(why);
    }

    /// Takes what was changed so far out of the way, unless something is in the way still.
    fn freeze(&self) {
        let log = self.lock_log();
        let mut state = self.state_mut();
        if state.frozen.is_none() {
            state.freeze(self.id, log.end());
        }
    }

    /// After a freeze that found something in its way.
    fn spill_rest(&self) -> Result<(), String> {
        self.freeze();
        self.spill()
    }

    /// Gives the index what is frozen.
    fn spill(&self) -> Result<(), String> {
        let Some(frozen) = self.state().frozen.clone() else {
            return Ok(());
        };
        let free = (self.lock_log().disk.free)(&self.folder).unwrap_or(u64::MAX);
        if free < INDEX_RESERVE {
            return Err(format!("only {} MB are free", free / 1_000_000));
        }
        let (overlay, checkpoint) = &*frozen;
        points::reach("journal.index.before");
        let moved = checkpoint.position.segment != self.state().followed.segment;
        if moved || !overlay.is_empty() {
            self.on_index(|index| index.apply(overlay, checkpoint))?;
        }
        let mut state = self.state_mut();
        state.followed = checkpoint.position;
        state.frozen = None;
        Ok(())
    }

    /// Opens the index anew, after an error: what went wrong in it may be over.
    pub(super) fn reopen_index(&self) -> Result<(), String> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        *index = Box::new(Gone);
        *index = caught(|| (self.open)(&self.folder))?;
        Ok(())
    }

    /// Carries forward what is needed of every segment.
    fn compact(&self) -> Result<(), Fault> {
        let last = {
            let mut log = self.lock_log();
            let last = log.end().segment;
            log.roll()?;
            last
        };
        while self.lock_log().first() <= last {
            if self.lock_wants().close || !self.drop_oldest()? {
                return Err(Fault::NoSpace);
            }
        }
        self.all_is_needed();
        Ok(())
    }

    fn all_is_needed(&self) {
        let log = self.lock_log();
        self.state_mut().live = log.bytes();
    }

    /// Carries forward what is needed of the oldest segment, and drops it: false if somebody reads it.
    fn drop_oldest(&self) -> Result<bool, Fault> {
        let (number, mut frames) = {
            let log = self.lock_log();
            let number = log.first();
            (number, log.frames(number).map_err(broken)?)
        };
        let mut carry = Vec::new();
        let mut bytes = 0;
        while let Some((offset, payload)) = frames.next_or_end(false).map_err(broken)? {
            let at = Position { segment: number, offset };
            for entry in entry::entries(payload) {
                let (entry, range) = entry.map_err(|why| Fault::Broken(format!("segment {number}: {why}")))?;
                let place = Position { offset: at.offset + range.start as u64, ..at };
                if self.is_needed(&entry, place).map_err(Fault::Broken)? {
                    bytes += range.len() + AROUND;
                    carry.push((Carried::from(entry), place));
                }
            }
            if bytes > CARRY_BYTES {
                self.carry(&carry)?;
                carry.clear();
                bytes = 0;
            }
        }
        self.carry(&carry)?;
        points::reach("journal.carry.after");
        // Nothing may point there any more, on disk too.
        for _ in 0..2 {
            self.freeze();
            if let Err(why) = self.spill() {
                tracing::error!(%why, "the index of the journal could not be written; it is tried again");
                return Err(Fault::NoSpace);
            }
        }
        let mut log = self.lock_log();
        if self.lock_wants().held > 0 {
            // Whoever reads it now finds it as it is; it is dropped another time, with little left to carry.
            return Ok(false);
        }
        let mut batch = Batch::default();
        batch.push(&Entry::Put { flags: 0, key: keys::FIRST, value: &(number + 1).to_le_bytes() });
        self.write(&mut log, &mut batch)?;
        points::reach("journal.drop.before");
        let dropped = log.drop_before(number + 1);
        // After it is gone, so that nobody opens it again: the disk has its space once the last handle is closed.
        self.reader.forget(number);
        points::reach("journal.drop.after");
        dropped.map(|()| true).map_err(|error| match no_files(error.raw_os_error()) {
            // It is tried again once there are fewer; what is needed of it stands further on already.
            true => Fault::NoSpace,
            false => Fault::Broken(format!("segment {number} could not be removed: {error}")),
        })
    }

    /// Appends entries again that are needed still.
    fn carry(&self, entries: &[(Carried, Position)]) -> Result<(), Fault> {
        // While this is held nothing changes.
        let mut log = self.lock_log();
        let mut batch = Batch::default();
        for (entry, place) in entries {
            if self.is_needed(&entry.entry(), *place).map_err(Fault::Broken)? {
                batch.push(&entry.entry());
            }
        }
        if batch.is_empty() { Ok(()) } else { self.write(&mut log, &mut batch) }
    }

    /// True if what was written at this place is what counts.
    fn is_needed(&self, entry: &Entry<'_>, place: Position) -> Result<bool, String> {
        let here = |pointer: &Pointer| pointer.segment == place.segment && u64::from(pointer.offset) == place.offset;
        match entry {
            Entry::Record { run, seq, .. } => {
                let chunk = self.raw(&keys::record(*run, *seq))?.unwrap_or_default();
                Ok(pointers(&chunk).get((seq % keys::CHUNK) as usize).is_some_and(here))
            }
            Entry::Definition { hash, .. } => {
                let pointer = self.raw(&keys::definition(hash))?.unwrap_or_default();
                Ok(pointers(&pointer).first().is_some_and(here))
            }
            Entry::Put { key, .. } => {
                let offset = u32::try_from(place.offset).unwrap_or(u32::MAX);
                Ok(self.raw(key)?.is_some_and(|raw| raw.starts_with(&apply::stamp(place.segment, offset))))
            }
            Entry::Remove { .. } => Ok(false),
        }
    }
}

/// An entry that is carried forward.
enum Carried {
    Record { run: crate::run::RunId, seq: u32, bytes: Vec<u8> },
    Definition { hash: [u8; 32], text: Vec<u8> },
    Put { key: Vec<u8>, value: Vec<u8> },
}

impl From<Entry<'_>> for Carried {
    fn from(entry: Entry<'_>) -> Carried {
        match entry {
            Entry::Record { run, seq, bytes, .. } => Carried::Record { run, seq, bytes: bytes.to_vec() },
            Entry::Definition { hash, text, .. } => Carried::Definition { hash: *hash, text: text.to_vec() },
            Entry::Put { key, value, .. } => Carried::Put { key: key.to_vec(), value: value.to_vec() },
            // Never needed; an empty value nobody looks up would be as good.
            Entry::Remove { key, .. } => Carried::Put { key: key.to_vec(), value: Vec::new() },
        }
    }
}

impl Carried {
    fn entry(&self) -> Entry<'_> {
        let flags = MOVED;
        match self {
            Carried::Record { run, seq, bytes } => Entry::Record { flags, run: *run, seq: *seq, bytes },
            Carried::Definition { hash, text } => Entry::Definition { flags, hash, text },
            Carried::Put { key, value } => Entry::Put { flags, key, value },
        }
    }
}

/// Stands where the index was while it is opened anew.
struct Gone;

impl Index for Gone {
    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Err(GONE.to_string())
    }

    fn range(
        &self,
        _: std::ops::Bound<&[u8]>,
        _: std::ops::Bound<&[u8]>,
        _: bool,
        _: usize,
    ) -> Result<index::Pairs, String> {
        Err(GONE.to_string())
    }

    fn apply(&self, _: &Overlay, _: &Checkpoint) -> Result<(), String> {
        Err(GONE.to_string())
    }
}

const GONE: &str = "the index of the journal could not be opened again";

fn broken(damage: Damage) -> Fault {
    // It is tried again once there are fewer.
    if no_files(damage.os) { Fault::NoSpace } else { Fault::Broken(damage.to_string()) }
}
