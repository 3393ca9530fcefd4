//! One segment file: a header that says whose it is, then frames.
//!
//! ```text
//! header   "MILLSEG" 1, store id (16), number (4), checksum (4)
//! frame    "MFR" 1, payload length (4), payload checksum (4), checksum of these with store, segment and place (4), payload
//! ```
//! Behind the last frame of the last segment may stand zeros. The last checksum ties a frame to its place, so what an older file left on the disk is not taken for one. All are
//! CRC-32 (IEEE 802.3).

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::Position;
use crate::points;

pub const SEGMENT_HEADER: usize = 32;
pub const FRAME_HEADER: usize = 16;
const MAGIC: [u8; 8] = *b"MILLSEG\x01";
const FRAME: [u8; 4] = *b"MFR\x01";

/// The log cannot be read there.
#[derive(Debug, thiserror::Error)]
#[error("{}: byte {offset}: {why}", path.display())]
pub struct Damage {
    pub path: PathBuf,
    pub offset: u64,
    pub why: String,
    /// The system's error, if it did not give the bytes: that says nothing of what they are.
    pub os: Option<i32>,
}

impl Damage {
    pub fn new(path: &Path, offset: u64, why: impl ToString) -> Damage {
        Damage { path: path.to_path_buf(), offset, why: why.to_string(), os: None }
    }

    pub fn unread(path: &Path, offset: u64, error: &io::Error) -> Damage {
        Damage { os: error.raw_os_error(), ..Damage::new(path, offset, error) }
    }
}

pub fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:010}.log"))
}

/// Numbers of the segments in a folder, in order.
pub fn list(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse::<u32>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes an empty segment, durable with its name.
pub fn create(dir: &Path, id: Uuid, number: u32) -> io::Result<File> {
    let path = path(dir, number);
    let mut options = File::options();
    let file = options.create_new(true).read(true).write(true).mode(0o600).open(&path)?;
    points::reach("journal.segment.made");
    file.write_all_at(&header(id, number), 0)?;
    file.sync_all()?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// True for what a crash leaves of a segment that was being made: its header is not whole, so nothing was acknowledged in it.
pub fn is_unborn(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut head = vec![0; SEGMENT_HEADER.min(len as usize)];
    file.read_exact_at(&mut head, 0)?;
    Ok(len < SEGMENT_HEADER as u64 || (len == SEGMENT_HEADER as u64 && head.iter().all(|byte| *byte == 0)))
}

/// Opens the last segment for appending at `end`, and says how long its file is. What stands behind was never
/// acknowledged, and is cut off unless it is zeros.
pub fn open_tail(path: &Path, end: u64) -> io::Result<(File, u64)> {
    let file = File::options().read(true).write(true).open(path)?;
    let len = file.metadata()?.len();
    let mut rest = vec![0; usize::try_from(len.saturating_sub(end)).unwrap_or_default()];
    file.read_exact_at(&mut rest, end)?;
    let room = if rest.iter().all(|byte| *byte == 0) { len } else { end };
    if room < len {
        file.set_len(end)?;
    }
    // What was read may be in the page cache only: it counts as durable from now on.
    file.sync_all()?;
    Ok((file, room))
}

/// Fills in the header of a frame that is to stand at `at`.
pub fn seal(frame: &mut [u8], id: Uuid, at: Position) {
    let (head, payload) = frame.split_at_mut(FRAME_HEADER);
    let len = u32::try_from(payload.len()).expect("a batch is far below 4 GB: the queue is bounded");
    head[..4].copy_from_slice(&FRAME);
    head[4..8].copy_from_slice(&len.to_le_bytes());
    head[8..12].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    let check = frame_check(&head[..12], id, at);
    head[12..].copy_from_slice(&check.to_le_bytes());
}

pub fn header(id: Uuid, number: u32) -> [u8; SEGMENT_HEADER] {
    let mut bytes = [0; SEGMENT_HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..24].copy_from_slice(id.as_bytes());
    bytes[24..28].copy_from_slice(&number.to_le_bytes());
    let check = crc32fast::hash(&bytes[..28]);
    bytes[28..].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// True if it is the header of a segment with this number, but of another store.
pub fn is_foreign(head: &[u8], number: u32) -> bool {
    head.starts_with(&MAGIC) && head.get(24..28) == Some(&number.to_le_bytes())
}

fn frame_check(head: &[u8], id: Uuid, at: Position) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(head);
    hash.update(id.as_bytes());
    hash.update(&at.segment.to_le_bytes());
    hash.update(&at.offset.to_le_bytes());
    hash.finalize()
}

/// The frames of a segment, one after the other.
pub struct Frames {
    path: PathBuf,
    file: io::BufReader<File>,
    id: Uuid,
    number: u32,
    offset: u64,
    len: u64,
    payload: Vec<u8>,
}

impl Frames {
    pub fn open(path: &Path, id: Uuid, number: u32) -> Result<Frames, Damage> {
        let damage = |why: String| Damage::new(path, 0, why);
        let unread = |error: io::Error| Damage::unread(path, 0, &error);
        let mut file = File::open(path).map_err(unread)?;
        let len = file.metadata().map_err(unread)?.len();
        let mut head = [0; SEGMENT_HEADER];
        file.read_exact(&mut head).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damage("the segment's header is cut short".into()),
            _ => unread(error),
        })?;
        if head != header(id, number) {
            return Err(damage(if is_foreign(&head, number) {
                "the segment belongs to another store".into()
            } else {
                "the segment's header is damaged".into()
            }));
        }
        let file = io::BufReader::with_capacity(256 * 1024, file);
        let offset = SEGMENT_HEADER as u64;
        Ok(Frames { path: path.to_path_buf(), file, id, number, offset, len, payload: Vec::new() })
    }

    /// Goes on at a frame that begins at `offset`.
    pub fn seek(&mut self, offset: u64) -> Result<(), Damage> {
        self.offset = offset;
        self.file.seek(SeekFrom::Start(offset)).map_err(|error| Damage::unread(&self.path, offset, &error))?;
        Ok(())
    }

    /// Where the next frame begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The next frame's payload and where that begins; `None` at the end. In the last segment of a log, what comes after
    /// the last whole frame is the end too.
    pub fn next_or_end(&mut self, last: bool) -> Result<Option<(u64, &[u8])>, Damage> {
        if self.offset >= self.len {
            return Ok(None);
        }
        let begin = self.offset;
        match self.read() {
            Ok(()) => Ok(Some((begin + FRAME_HEADER as u64, &self.payload))),
            // A write that was cut short reaches to the end: no whole frame stands behind it.
            Err(Unread::Torn(why)) => match last {
                true if self.whole_after(begin)?.is_none() => Ok(None),
                _ => Err(self.damage(begin, why)),
            },
            Err(Unread::Io(error)) => Err(Damage::unread(&self.path, begin, &error)),
        }
    }

    /// Where the first whole frame after `begin` begins.
    pub fn whole_after(&mut self, begin: u64) -> Result<Option<u64>, Damage> {
        let failed = |this: &Frames, error: io::Error| Damage::unread(&this.path, begin, &error);
        let mut rest = Vec::new();
        self.file.seek(SeekFrom::Start(begin + 1)).map_err(|error| failed(self, error))?;
        self.file.read_to_end(&mut rest).map_err(|error| failed(self, error))?;
        Ok(first_whole(&rest, self.id, Position { segment: self.number, offset: begin + 1 }))
    }

    fn read(&mut self) -> Result<(), Unread> {
        let mut head = [0; FRAME_HEADER];
        self.fill(&mut head)?;
        let here = Position { segment: self.number, offset: self.offset };
        let Some((len, crc)) = check(&head, self.id, here) else {
            return Err(Unread::Torn("a frame's header is damaged".into()));
        };
        if self.offset + (FRAME_HEADER + len) as u64 > self.len {
            return Err(Unread::Torn("a frame is cut short".into()));
        }
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(len, 0);
        self.fill(&mut payload)?;
        self.payload = payload;
        if crc32fast::hash(&self.payload) != crc {
            return Err(Unread::Torn("a frame's checksum does not fit its bytes".into()));
        }
        self.offset += (FRAME_HEADER + len) as u64;
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Unread> {
        self.file.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Unread::Torn("a frame is cut short".into()),
            _ => Unread::Io(error),
        })
    }

    fn damage(&self, offset: u64, why: String) -> Damage {
        Damage::new(&self.path, offset, why)
    }
}

/// Why there is no frame: what stands there is none, or it could not be read at all, which says nothing about it.
enum Unread {
    Torn(String),
    Io(io::Error),
}

/// Bytes of the payload behind this header of a frame, if it is one at this place.
pub fn payload_len(head: &[u8], id: Uuid, at: Position) -> Option<usize> {
    check(head.get(..FRAME_HEADER)?, id, at).map(|(len, _)| len)
}

/// Where the first whole frame begins within `bytes`, which stand at `at`.
pub fn first_whole(bytes: &[u8], id: Uuid, at: Position) -> Option<u64> {
    let here = |index: usize| Position { offset: at.offset + index as u64, ..at };
    let places = bytes.windows(FRAME.len()).enumerate().filter(|(_, four)| **four == FRAME);
    let whole = |index: &usize| whole(&bytes[*index..], id, here(*index)).is_some();
    places.map(|(index, _)| index).find(whole).map(|index| here(index).offset)
}

/// The payload of the frame that `bytes` begin with, if it is whole.
pub fn whole(bytes: &[u8], id: Uuid, at: Position) -> Option<&[u8]> {
    let (head, rest) = bytes.split_at_checked(FRAME_HEADER)?;
    let (len, crc) = check(head, id, at)?;
    rest.get(..len).filter(|payload| crc32fast::hash(payload) == crc)
}

/// Length and checksum of the payload, if this is the header of a frame at this place.
fn check(head: &[u8], id: Uuid, at: Position) -> Option<(usize, u32)> {
    let number = |from: usize| Some(u32::from_le_bytes(*head.get(from..)?.first_chunk()?));
    let sound = head.starts_with(&FRAME) && number(12)? == frame_check(&head[..12], id, at);
    sound.then_some((number(4)? as usize, number(8)?))
}
