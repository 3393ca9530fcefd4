//! The index of the log: keys to values, in order. It can be made anew from the log at any time, and is, if it is lost
//! or damaged.

mod redb;
#[cfg(test)]
mod sled;

use std::ops::Bound;
use std::path::Path;

use uuid::Uuid;

use super::log::Position;
use super::overlay::Overlay;

/// Keys and values, in order.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A store of keys and values. Its errors are texts that say what happened.
pub trait Index: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String>;

    /// At most `limit` pairs of a range, from its low end or from its high end.
    fn range(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, backwards: bool, limit: usize) -> Result<Pairs, String>;

    /// Makes the changes, and the checkpoint with them: all or nothing, durable when it returns.
    fn apply(&self, changes: &Overlay, checkpoint: &Checkpoint) -> Result<(), String>;
}

/// Opens or makes an index in a folder.
pub type Open = fn(&Path) -> Result<Box<dyn Index>, String>;

/// The index that is used.
pub const DEFAULT: Open = redb::open;

/// Opens the index in a folder; a panic of the crate below is an error.
pub fn opened(folder: &Path) -> Result<Box<dyn Index>, String> {
    super::store::caught(|| DEFAULT(folder))
}

#[cfg(test)]
pub const SLED: Open = sled::open;

/// How far the index has followed the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Of the store that it belongs to.
    pub id: Uuid,
    /// All before is in the index.
    pub position: Position,
    /// Bytes of the log that are still needed, about.
    pub live: u64,
}

impl Checkpoint {
    /// The key it stands at; no other begins with a zero.
    pub const KEY: &[u8] = &[0];

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.id.as_bytes().to_vec();
        bytes.extend_from_slice(&u64::from(self.position.segment).to_le_bytes());
        bytes.extend_from_slice(&self.position.offset.to_le_bytes());
        bytes.extend_from_slice(&self.live.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Checkpoint> {
        let (id, numbers) = bytes.split_first_chunk::<16>()?;
        let (numbers, []) = numbers.as_chunks::<8>() else { return None };
        let [segment, offset, live] = <[[u8; 8]; 3]>::try_from(numbers).ok()?.map(u64::from_le_bytes);
        let position = Position { segment: u32::try_from(segment).ok()?, offset };
        Some(Checkpoint { id: Uuid::from_bytes(*id), position, live })
    }
}
