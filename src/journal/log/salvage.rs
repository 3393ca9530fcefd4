//! What is whole of a segment, however damaged the rest is. Only reads.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;

use uuid::Uuid;

use super::segment::{self, SEGMENT_HEADER};
use super::{FRAME_HEADER, Position};

/// A segment as it lies on the disk.
pub struct Salvage {
    pub number: u32,
    pub bytes: Vec<u8>,
    /// Whole frames, in order.
    pub frames: Vec<Whole>,
    /// What is neither header nor frame, and why it is not.
    pub damaged: Vec<(Range<u64>, &'static str)>,
    /// Bytes behind the last frame of the last segment, of a write that was cut short: never acknowledged.
    pub unfinished: u64,
}

/// A whole frame: where its payload is.
pub struct Whole {
    pub payload: Range<usize>,
}

impl Salvage {
    /// Reads the segment. `last`: no segment comes after it, so it may end in a frame that was not written to its end.
    pub fn read(dir: &Path, id: Uuid, number: u32, last: bool) -> io::Result<Salvage> {
        let mut bytes = Vec::new();
        File::open(segment::path(dir, number))?.read_to_end(&mut bytes)?;
        let mut found = Salvage { number, frames: Vec::new(), damaged: Vec::new(), unfinished: 0, bytes };
        let head = found.bytes.get(..SEGMENT_HEADER);
        if head != Some(&segment::header(id, number)) {
            let why = match head {
                None => "the segment's header is cut short",
                Some(head) if segment::is_foreign(head, number) => "the segment belongs to another store",
                Some(_) => "the segment's header is damaged",
            };
            found.damaged.push((0..SEGMENT_HEADER.min(found.bytes.len()) as u64, why));
        }
        let mut at = SEGMENT_HEADER;
        while at < found.bytes.len() {
            let here = Position { segment: number, offset: at as u64 };
            if let Some(payload) = segment::whole(&found.bytes[at..], id, here) {
                let begin = at + FRAME_HEADER;
                at = begin + payload.len();
                found.frames.push(Whole { payload: begin..at });
                continue;
            }
            let after = Position { offset: here.offset + 1, ..here };
            let next = segment::first_whole(&found.bytes[at + 1..], id, after);
            let end = next.unwrap_or(found.bytes.len() as u64);
            if next.is_none() && last {
                found.unfinished = end - at as u64;
            } else {
                found.damaged.push((at as u64..end, "there is no whole frame"));
            }
            at = end as usize;
        }
        Ok(found)
    }

    /// Payloads with their places, in order.
    pub fn payloads(&self) -> impl Iterator<Item = (Position, &[u8])> {
        self.frames.iter().map(|frame| {
            let at = Position { segment: self.number, offset: frame.payload.start as u64 };
            (at, &self.bytes[frame.payload.clone()])
        })
    }
}
