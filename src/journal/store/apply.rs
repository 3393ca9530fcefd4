//! How a batch that is durable changes what can be read: the same whether it was just written or is read again.

use super::super::entry::{self, AROUND, Entry, FRESH, MOVED, REPLACES, weight};
use super::super::keys;
use super::super::log::{Pointer, Position};
use super::{STAMP, Shared, State};

impl Shared {
    /// Applies the batch whose payload begins at `at`.
    pub(super) fn apply(&self, state: &mut State, at: Position, payload: &[u8]) -> Result<(), String> {
        apply(state, &|key| self.on_index(|index| index.get(key)), at, payload)
    }

    /// An entry that is said to be new and is not would leave what it replaces in the index for ever.
    #[cfg(any(test, feature = "crash-points"))]
    pub(super) fn must_be_fresh(&self, payload: &[u8]) {
        for (entry, _) in entry::entries(payload).flatten() {
            let key = match entry {
                Entry::Record { flags, run, seq, .. } if flags & FRESH != 0 => keys::record(run, seq).to_vec(),
                Entry::Put { flags, key, .. } if flags & FRESH != 0 => key.to_vec(),
                _ => continue,
            };
            assert!(!matches!(self.raw(&key), Ok(Some(_))), "{} is not new", key.escape_ascii());
        }
    }
}

/// Looks a key up.
type Below<'b> = &'b dyn Fn(&[u8]) -> Result<Option<Vec<u8>>, String>;

/// `below` is the index: what neither layer in memory knows.
pub fn apply(state: &mut State, below: Below<'_>, at: Position, payload: &[u8]) -> Result<(), String> {
    for entry in entry::entries(payload) {
        let (entry, range) = entry?;
        let offset = at.offset + range.start as u64;
        let offset = u32::try_from(offset).map_err(|_| "a segment of the log is larger than 4 GB".to_string())?;
        let point = |bytes: &[u8]| Pointer {
            segment: at.segment,
            offset,
            len: bytes.len() as u32,
            crc: crc32fast::hash(bytes),
        };
        match entry {
            Entry::Record { flags, run, seq, bytes } => {
                let key = keys::record(run, seq);
                let slot = (seq % keys::CHUNK) as usize * Pointer::LEN;
                let fresh = flags & FRESH != 0;
                let State { active, frozen, .. } = state;
                let older = || match frozen.as_ref().and_then(|frozen| frozen.0.get(&key)) {
                    Some(chunk) => Ok(chunk.unwrap_or_default().to_vec()),
                    None => below(&key).map(Option::unwrap_or_default),
                };
                // What was removed may get a record all the same: a log that can be written can be read.
                active.edit(&key, fresh, older, |chunk| {
                    // Records that are carried forward may stand behind their followers: the hole is filled later.
                    chunk.resize(chunk.len().max(slot + Pointer::LEN), 0);
                    chunk[slot..slot + Pointer::LEN].copy_from_slice(&point(bytes).encode());
                })?;
                state.weigh(flags, weight(Pointer::LEN, bytes.len()));
            }
            Entry::Definition { flags, hash, text } => {
                state.active.put(&keys::definition(hash), point(text).encode().to_vec(), flags & FRESH != 0);
                state.weigh(flags, weight(hash.len(), text.len()));
            }
            Entry::Put { flags, key, value } => {
                let mut stamped = Vec::with_capacity(STAMP + value.len());
                stamped.extend_from_slice(&stamp(at.segment, offset));
                stamped.extend_from_slice(value);
                state.active.put(key, stamped, flags & FRESH != 0);
                state.weigh(flags, weight(key.len(), value.len()));
            }
            Entry::Remove { key, freed } => {
                state.active.remove(key);
                state.live = state.live.saturating_sub(u64::from(freed));
            }
        }
    }
    Ok(())
}

/// The place that a value was written at.
pub(super) fn stamp(segment: u32, offset: u32) -> [u8; STAMP] {
    (u64::from(segment) << 32 | u64::from(offset)).to_le_bytes()
}

impl State {
    fn weigh(&mut self, flags: u8, weight: u32) {
        // What replaces something as large, or carries it forward, leaves as much garbage as it adds.
        if flags & (MOVED | REPLACES) == 0 {
            self.live += u64::from(weight);
        }
    }
}

/// What the records of an entry weigh in the log, about.
pub fn weight_of(pointers: &[Pointer]) -> u32 {
    pointers.iter().map(|pointer| pointer.len + (Pointer::LEN + AROUND) as u32).sum()
}
