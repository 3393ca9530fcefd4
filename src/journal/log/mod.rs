//! The append-only log: numbered segment files of checksummed frames, one frame a batch.
//!
//! A frame is acknowledged once its file is synced, so what stands after the last whole frame of the last segment was
//! never acknowledged: it is cut off at the next start. Damage anywhere else is an error that names file and place.

mod salvage;
pub mod segment;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

pub use self::salvage::Salvage;
pub use self::segment::{Damage, FRAME_HEADER, Frames, SEGMENT_HEADER};
use super::disk::Disk;
use crate::points;

/// Zeros that are written ahead of the frames: a sync that need not tell the file system of a new length is quicker.
const AHEAD: u64 = 1024 * 1024;
/// Files kept open for reading.
const OPEN_FILES: usize = 32;

/// A place in the log: the segment's number, and bytes from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub segment: u32,
    pub offset: u64,
}

/// Where bytes are in the log, and their checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointer {
    pub segment: u32,
    pub offset: u32,
    pub len: u32,
    pub crc: u32,
}

impl Pointer {
    pub const LEN: usize = 16;

    pub fn encode(&self) -> [u8; Pointer::LEN] {
        let mut bytes = [0; Pointer::LEN];
        for (place, number) in bytes.chunks_exact_mut(4).zip([self.segment, self.offset, self.len, self.crc]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    pub fn decode(bytes: &[u8; Pointer::LEN]) -> Pointer {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Pointer { segment: number(0), offset: number(4), len: number(8), crc: number(12) }
    }
}

/// Is shown frames: where each payload begins, and the payload.
pub type Show<'s> = &'s mut dyn FnMut(Position, &[u8]) -> Result<(), String>;

/// Why a frame was not written.
#[derive(Debug)]
pub enum Fault {
    /// The disk is full; the log is as it was.
    NoSpace,
    /// No one can say what reached the disk: nothing more may be written.
    Broken(String),
}

/// The log, open for appending. One owner appends at a time.
pub struct Log {
    dir: PathBuf,
    id: Uuid,
    tail: Arc<File>,
    /// Where the next frame begins.
    end: Position,
    /// Bytes of the last segment's file; behind its end stand zeros.
    room: u64,
    /// Bytes of each segment.
    sizes: BTreeMap<u32, u64>,
    pub disk: Disk,
    /// Why nothing more may be written.
    broken: Option<String>,
}

/// Reads parts of the log that are durable; clones of its files live as long as someone reads.
pub struct Reader {
    dir: PathBuf,
    files: Mutex<Vec<(u32, Arc<File>)>>,
}

impl Log {
    /// Makes a log with one empty segment in a folder that has none.
    pub fn create(dir: &Path, id: Uuid, disk: Disk) -> io::Result<Log> {
        let tail = segment::create(dir, id, 1)?;
        let end = Position { segment: 1, offset: SEGMENT_HEADER as u64 };
        let sizes = BTreeMap::from([(1, end.offset)]);
        Ok(Log { dir: dir.to_path_buf(), id, tail: Arc::new(tail), end, room: end.offset, sizes, disk, broken: None })
    }

    /// Opens the log and shows every frame from `from` on (`None`: from the beginning) with where its payload begins.
    /// A tail that was cut short is cut off.
    pub fn open(dir: &Path, id: Uuid, disk: Disk, from: Option<Position>, show: Show<'_>) -> Result<Log, Damage> {
        let mut numbers = segment::list(dir).map_err(|error| Damage::unread(dir, 0, &error))?;
        if let [.., newest] = numbers[..]
            && numbers.len() > 1
        {
            let path = segment::path(dir, newest);
            let unread = |error: io::Error| Damage::unread(&path, 0, &error);
            if segment::is_unborn(&path).map_err(unread)? {
                fs::remove_file(&path).map_err(unread)?;
                numbers.pop();
            }
        }
        let Some(&last) = numbers.last() else {
            return Err(Damage::new(dir, 0, "there is no segment of the log"));
        };
        // What stands before a gap was to be dropped, or is missed by whoever knows what the first must be.
        let first = last
            - numbers.iter().rev().zip(0..).take_while(|(number, back)| **number == last - back).count() as u32
            + 1;
        let mut sizes = BTreeMap::new();
        let mut end = Position { segment: last, offset: 0 };
        for number in first..=last {
            let path = segment::path(dir, number);
            if number == last {
                // What is read may be in the page cache only: the index must not be durable ahead of the log.
                let synced = File::open(&path).and_then(|file| file.sync_all());
                synced.map_err(|error| Damage::unread(&path, 0, &error))?;
            }
            let mut frames = Frames::open(&path, id, number)?;
            if from.is_none_or(|from| from.segment <= number) {
                if let Some(from) = from.filter(|from| from.segment == number) {
                    if from.offset > frames.len() {
                        return Err(Damage::new(&path, frames.len(), "the log ends before what was read of it"));
                    }
                    frames.seek(from.offset)?;
                }
                while let Some((offset, payload)) = frames.next_or_end(number == last)? {
                    show(Position { segment: number, offset }, payload)
                        .map_err(|why| Damage::new(&path, offset, why))?;
                }
                end.offset = frames.offset();
            }
            sizes.insert(number, frames.len());
        }
        if from.is_some_and(|from| from > end) {
            return Err(Damage::new(&segment::path(dir, last), end.offset, "the log ends before what was read of it"));
        }
        let path = segment::path(dir, last);
        let (tail, room) =
            segment::open_tail(&path, end.offset).map_err(|error| Damage::unread(&path, end.offset, &error))?;
        sizes.insert(last, end.offset);
        Ok(Log { dir: dir.to_path_buf(), id, tail: Arc::new(tail), end, room, sizes, disk, broken: None })
    }

    /// Writes a frame (its payload behind [`FRAME_HEADER`] bytes) and syncs it. Returns where its payload begins.
    /// After a failure no one can say what reached the disk, so all that follow fail too.
    pub fn append(&mut self, frame: &mut [u8]) -> Result<Position, Fault> {
        if let Some(why) = &self.broken {
            return Err(Fault::Broken(why.clone()));
        }
        let done = self.write(frame);
        self.noted(done)
    }

    fn noted<T>(&mut self, done: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(Fault::Broken(why)) = &done {
            self.broken = Some(why.clone());
        }
        done
    }

    fn write(&mut self, frame: &mut [u8]) -> Result<Position, Fault> {
        if self.end.offset + frame.len() as u64 > self.disk.segment_bytes && self.end.offset > SEGMENT_HEADER as u64 {
            self.next_segment()?;
        }
        let Position { segment, offset } = self.end;
        segment::seal(frame, self.id, self.end);
        points::reach("journal.append.before");
        let next = offset + frame.len() as u64;
        if next > self.room {
            self.make_room(next)?;
        }
        if let Err(error) = self.tail.write_all_at(frame, offset) {
            return Err(self.unwritten(error));
        }
        points::reach("journal.sync.before");
        if let Err(error) = (self.disk.sync)(&self.tail) {
            let path = segment::path(&self.dir, segment);
            return Err(Fault::Broken(format!("sync of {}: {error}", path.display())));
        }
        points::reach("journal.sync.after");
        self.end.offset += frame.len() as u64;
        self.sizes.insert(segment, self.end.offset);
        Ok(Position { segment, offset: offset + FRAME_HEADER as u64 })
    }

    pub fn end(&self) -> Position {
        self.end
    }

    /// The oldest segment's number.
    pub fn first(&self) -> u32 {
        self.sizes.first_key_value().map_or(self.end.segment, |(number, _)| *number)
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.sizes.values().sum()
    }

    /// Segments, oldest first, with their bytes.
    pub fn segments(&self) -> impl Iterator<Item = (PathBuf, u64)> + '_ {
        self.sizes.iter().map(|(number, bytes)| (segment::path(&self.dir, *number), *bytes))
    }

    /// Writes zeros up to `next` and beyond; the sync of the frame is theirs too.
    fn make_room(&mut self, next: u64) -> Result<(), Fault> {
        static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
        let wanted = next.max(self.disk.segment_bytes.min(self.room + AHEAD));
        let mut at = self.room;
        while at < wanted {
            let some = &ZEROS[..ZEROS.len().min((wanted - at) as usize)];
            if let Err(error) = self.tail.write_all_at(some, at) {
                return Err(self.unwritten(error));
            }
            at += some.len() as u64;
        }
        self.room = wanted;
        Ok(())
    }

    /// Begins a new segment, so that all before can be dropped once it is carried forward.
    pub fn roll(&mut self) -> Result<(), Fault> {
        let done = self.next_segment();
        self.noted(done)
    }

    fn next_segment(&mut self) -> Result<(), Fault> {
        // A closed segment ends with its last frame.
        let closed = self.tail.set_len(self.end.offset).and_then(|()| self.tail.sync_all());
        self.room = self.end.offset;
        closed.map_err(|error| self.unwritten(error))?;
        let number = self.end.segment + 1;
        match segment::create(&self.dir, self.id, number) {
            Ok(tail) => {
                self.tail = Arc::new(tail);
                self.end = Position { segment: number, offset: SEGMENT_HEADER as u64 };
                self.room = self.end.offset;
                self.sizes.insert(number, self.end.offset);
                Ok(())
            }
            Err(error) => {
                // A file that is half made must not be taken for the last segment.
                let path = segment::path(&self.dir, number);
                match fs::remove_file(&path) {
                    Err(gone) if gone.kind() != io::ErrorKind::NotFound => {
                        Err(Fault::Broken(format!("{}: {error}; {gone}", path.display())))
                    }
                    _ if is_full(&error) || no_files(error.raw_os_error()) => Err(Fault::NoSpace),
                    _ => Err(Fault::Broken(format!("{}: {error}", path.display()))),
                }
            }
        }
    }

    /// Removes the segments before this number, but never the last one.
    pub fn drop_before(&mut self, number: u32) -> io::Result<()> {
        for old in segment::list(&self.dir)? {
            if old < number.min(self.end.segment) {
                fs::remove_file(segment::path(&self.dir, old))?;
                self.sizes.remove(&old);
            }
        }
        Ok(())
    }

    /// The frames of a closed segment.
    pub fn frames(&self, number: u32) -> Result<Frames, Damage> {
        Frames::open(&segment::path(&self.dir, number), self.id, number)
    }

    /// A full disk leaves the log as it was, if what was written of the frame can be taken away.
    fn unwritten(&mut self, error: io::Error) -> Fault {
        let path = segment::path(&self.dir, self.end.segment);
        if !is_full(&error) {
            return Fault::Broken(format!("write to {}: {error}", path.display()));
        }
        match self.tail.set_len(self.end.offset) {
            Ok(()) => {
                self.room = self.end.offset;
                Fault::NoSpace
            }
            Err(cut) => Fault::Broken(format!("write to {}: {error}; {cut}", path.display())),
        }
    }
}

/// True if too many files are open: that passes.
pub fn no_files(os: Option<i32>) -> bool {
    use rustix::io::Errno;
    os.is_some_and(|os| [Errno::MFILE.raw_os_error(), Errno::NFILE.raw_os_error()].contains(&os))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Reader {
    pub fn new(dir: &Path) -> Reader {
        Reader { dir: dir.to_path_buf(), files: Mutex::default() }
    }

    /// The bytes there, or `None` if their segment is gone: they were carried forward meanwhile, or removed.
    pub fn read(&self, pointer: Pointer) -> Result<Option<Vec<u8>>, Damage> {
        let path = || segment::path(&self.dir, pointer.segment);
        let offset = u64::from(pointer.offset);
        let damage = |why: String| Damage::new(&path(), offset, why);
        let file = match self.file(pointer.segment) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(damage(error.to_string())),
        };
        let len = file.metadata().map_err(|error| damage(error.to_string()))?.len();
        if offset + u64::from(pointer.len) > len {
            return Err(damage(format!("{} bytes should stand here, the file ends before", pointer.len)));
        }
        let mut bytes = vec![0; pointer.len as usize];
        file.read_exact_at(&mut bytes, offset).map_err(|error| damage(error.to_string()))?;
        if crc32fast::hash(&bytes) != pointer.crc {
            return Err(damage("the checksum does not fit the bytes".into()));
        }
        Ok(Some(bytes))
    }

    /// Forgets a segment that is to be removed.
    pub fn forget(&self, segment: u32) {
        self.lock().retain(|(number, _)| *number != segment);
    }

    fn file(&self, segment: u32) -> io::Result<Arc<File>> {
        let mut files = self.lock();
        if let Some(at) = files.iter().position(|(number, _)| *number == segment) {
            let found = files.remove(at);
            let file = found.1.clone();
            files.push(found);
            return Ok(file);
        }
        let file = Arc::new(File::open(segment::path(&self.dir, segment))?);
        if files.len() >= OPEN_FILES {
            files.remove(0);
        }
        files.push((segment, file.clone()));
        Ok(file)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(u32, Arc<File>)>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
