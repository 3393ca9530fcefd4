//! What the log holds: batches of entries, and how they are written.
//!
//! A batch is one frame of the log, so it is there whole or not at all. Numbers are little-endian.
//!
//! ```text
//! R flags run seq len bytes        a run's record
//! D flags sha256 len text          a definition
//! P flags keylen len key value     an entry of the index
//! X 0 keylen freed key             its removal
//! ```

use std::ops::Range;

use super::keys::RUN_LEN;
use super::log::FRAME_HEADER;
use crate::run::RunId;

/// The entry's key is not in the index yet.
pub const FRESH: u8 = 1;
/// What it replaces is as large as it is itself.
pub const REPLACES: u8 = 2;
/// It was written before and is only carried forward.
pub const MOVED: u8 = 4;

const RECORD: u8 = b'R';
const DEFINITION: u8 = b'D';
const PUT: u8 = b'P';
const REMOVE: u8 = b'X';

/// What an entry takes in the log beside its bytes, about.
pub const AROUND: usize = 32;

/// One entry, as it stands in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'b> {
    Record { flags: u8, run: RunId, seq: u32, bytes: &'b [u8] },
    Definition { flags: u8, hash: &'b [u8; 32], text: &'b [u8] },
    Put { flags: u8, key: &'b [u8], value: &'b [u8] },
    Remove { key: &'b [u8], freed: u32 },
}

/// Entries that become durable together. They stand in the bytes that are written, behind room for the frame's header.
#[derive(Debug)]
pub struct Batch {
    frame: Vec<u8>,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch { frame: vec![0; FRAME_HEADER] }
    }
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.frame.len() == FRAME_HEADER
    }

    /// The whole frame, its header still to be filled in.
    pub fn frame(&mut self) -> &mut Vec<u8> {
        &mut self.frame
    }

    pub fn payload(&self) -> &[u8] {
        &self.frame[FRAME_HEADER..]
    }

    pub fn push(&mut self, entry: &Entry<'_>) {
        let frame = &mut self.frame;
        let number = |frame: &mut Vec<u8>, value: usize| {
            let value = u32::try_from(value).expect("what is appended is far below 4 GB: requests are bounded");
            frame.extend_from_slice(&value.to_le_bytes());
        };
        match *entry {
            Entry::Record { flags, run, seq, bytes } => {
                frame.extend_from_slice(&[RECORD, flags]);
                frame.extend_from_slice(run.0.as_bytes());
                frame.extend_from_slice(&seq.to_le_bytes());
                number(frame, bytes.len());
                frame.extend_from_slice(bytes);
            }
            Entry::Definition { flags, hash, text } => {
                frame.extend_from_slice(&[DEFINITION, flags]);
                frame.extend_from_slice(hash);
                number(frame, text.len());
                frame.extend_from_slice(text);
            }
            Entry::Put { flags, key, value } => {
                frame.extend_from_slice(&[PUT, flags]);
                number(frame, key.len());
                number(frame, value.len());
                frame.extend_from_slice(key);
                frame.extend_from_slice(value);
            }
            Entry::Remove { key, freed } => {
                frame.extend_from_slice(&[REMOVE, 0]);
                number(frame, key.len());
                frame.extend_from_slice(&freed.to_le_bytes());
                frame.extend_from_slice(key);
            }
        }
    }
}

/// The entries of a payload, each with where its bytes (a record's, a text's, a value's) are in it. Ends after the first error.
pub fn entries(payload: &[u8]) -> impl Iterator<Item = Result<(Entry<'_>, Range<usize>), String>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= payload.len() {
            return None;
        }
        let one = entry(payload, &mut at).ok_or_else(|| format!("an entry at byte {at} of a frame is cut short"));
        if one.is_err() {
            at = payload.len();
        }
        Some(one)
    })
}

fn entry<'b>(payload: &'b [u8], at: &mut usize) -> Option<(Entry<'b>, Range<usize>)> {
    let [kind, flags] = *take(payload, at)?.first_chunk::<2>()?;
    *at += 2;
    let number = |at: &mut usize| {
        let value = u32::from_le_bytes(*take(payload, at)?.first_chunk()?);
        *at += 4;
        Some(value)
    };
    let bytes = |at: &mut usize, len: u32| {
        let range = *at..at.checked_add(len as usize)?;
        let bytes = payload.get(range.clone())?;
        *at = range.end;
        Some((bytes, range))
    };
    match kind {
        RECORD => {
            let run = RunId(uuid::Uuid::from_bytes(*take(payload, at)?.first_chunk::<RUN_LEN>()?));
            *at += RUN_LEN;
            let (seq, len) = (number(at)?, number(at)?);
            let (bytes, range) = bytes(at, len)?;
            Some((Entry::Record { flags, run, seq, bytes }, range))
        }
        DEFINITION => {
            let hash = take(payload, at)?.first_chunk::<32>()?;
            *at += hash.len();
            let len = number(at)?;
            let (text, range) = bytes(at, len)?;
            Some((Entry::Definition { flags, hash, text }, range))
        }
        PUT => {
            let (key_len, len) = (number(at)?, number(at)?);
            let (key, _) = bytes(at, key_len)?;
            let (value, range) = bytes(at, len)?;
            Some((Entry::Put { flags, key, value }, range))
        }
        REMOVE => {
            let (key_len, freed) = (number(at)?, number(at)?);
            let (key, range) = bytes(at, key_len)?;
            Some((Entry::Remove { key, freed }, range))
        }
        _ => None,
    }
}

fn take<'b>(payload: &'b [u8], at: &usize) -> Option<&'b [u8]> {
    payload.get(*at..)
}

/// What an entry weighs in the log, about.
pub fn weight(key: usize, value: usize) -> u32 {
    u32::try_from(key + value + AROUND).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_back_as_they_were_written() {
        let run = RunId(uuid::Uuid::now_v7());
        let written = [
            Entry::Record { flags: FRESH, run, seq: 7, bytes: b"events" },
            Entry::Definition { flags: MOVED, hash: &[9; 32], text: b"id: lead" },
            Entry::Put { flags: 0, key: b"key", value: b"" },
            Entry::Remove { key: b"key", freed: 40 },
        ];
        let mut batch = Batch::default();
        assert!(batch.is_empty());
        written.iter().for_each(|entry| batch.push(entry));
        let read: Vec<_> = entries(batch.payload()).map(|entry| entry.unwrap().0).collect();
        assert_eq!(read, written);
        // Cut anywhere it is an error, or fewer entries: never a panic.
        for cut in 0..batch.payload().len() {
            let read: Vec<_> = entries(&batch.payload()[..cut]).collect();
            assert!(read.len() <= written.len());
        }
    }
}
