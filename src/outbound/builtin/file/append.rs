//! Adding to the end of a file, once for each call.
//!
//! Beside the file lies a list of the calls that added to it: key, place and length of each, written before the bytes are.
//! A repeat finds its key there; what a crash cut off is taken back by whoever comes next. One writer at a time (`flock`).

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::folder::{Place, sync};

/// Calls that are remembered, at least; far more than can be in doubt at once.
const REMEMBERED: usize = 10_000;

/// So much of what is added is remembered, bytes: what a crash cut off is known again by it.
const BEGINNING: usize = 64;

/// One call's part of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    key: Uuid,
    /// Where it begins, bytes.
    at: u64,
    bytes: u64,
    /// Of the file, so that another one of this name (a log that was rotated) is not taken for it.
    inode: u64,
    /// How it begins, at most [`BEGINNING`], as base64.
    #[serde(default)]
    begins: String,
}

impl Part {
    /// True if its writer died in the middle of it: the file ends within it, and what is there begins as it does. Bytes
    /// that others put there are none of ours to cut.
    fn is_cut(&self, file: &File, inode: u64, size: u64) -> io::Result<bool> {
        if self.inode != inode || self.at >= size || size >= self.at + self.bytes {
            return Ok(false);
        }
        let begins = STANDARD.decode(&self.begins).unwrap_or_default();
        let mut found = vec![0; begins.len().min(usize::try_from(size - self.at).unwrap_or(usize::MAX))];
        file.read_exact_at(&mut found, self.at)?;
        Ok(!found.is_empty() && begins.starts_with(&found))
    }
}

/// The name of the list of a file.
pub(super) fn list_of(name: &str) -> String {
    format!("{}appends-{name}", super::folder::HIDDEN)
}

/// The file's size then, and false if an earlier attempt had added the bytes. `Ok(None)` if it would grow beyond `most`.
pub(super) fn append(place: &Place, bytes: &[u8], key: Uuid, most: u64) -> io::Result<Option<(u64, bool)>> {
    let open = |name: &str| -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&place.folder, name, flags, Mode::from_raw_mode(0o666))?))
    };
    let mut list = open(&list_of(&place.name))?;
    rustix::fs::flock(&list, FlockOperation::LockExclusive)?;
    let file = open(&place.name)?;
    let found = rustix::fs::fstat(&file)?;
    let (inode, mut size) = (found.st_ino, found.st_size.unsigned_abs());
    let parts = read(&mut list)?;
    if let Some(last) = parts.last()
        && last.is_cut(&file, inode, size)?
    {
        // Its repeat adds all of it.
        file.set_len(last.at)?;
        size = last.at;
    }
    if is_there(&parts, key, inode, size) {
        return Ok(Some((size, false)));
    }
    let Some(grown) = size.checked_add(bytes.len() as u64).filter(|grown| *grown <= most) else { return Ok(None) };
    let begins = STANDARD.encode(&bytes[..bytes.len().min(BEGINNING)]);
    let part = Part { key, at: size, bytes: bytes.len() as u64, inode, begins };
    note(&mut list, &parts, part)?;
    file.write_all_at(bytes, size)?;
    file.sync_all()?;
    sync(&place.folder)?;
    Ok(Some((grown, true)))
}

/// True if this call's bytes are in the file: where they were not written, the next call's begin at the same place.
fn is_there(parts: &[Part], key: Uuid, inode: u64, size: u64) -> bool {
    let Some(index) = parts.iter().rposition(|part| part.key == key && part.inode == inode) else { return false };
    let end = parts[index].at + parts[index].bytes;
    let next = parts[index + 1..].iter().find(|part| part.inode == inode).map_or(size, |part| part.at);
    end <= next && end <= size
}

/// Lines that do not read as a part were cut by a crash before their bytes were written.
fn read(list: &mut File) -> io::Result<Vec<Part>> {
    list.seek(SeekFrom::Start(0))?;
    let lines = BufReader::new(list.take(64 * 1024 * 1024)).lines();
    let mut parts = Vec::new();
    for line in lines {
        parts.extend(serde_json::from_str::<Part>(&line?).ok());
    }
    Ok(parts)
}

fn note(list: &mut File, parts: &[Part], part: Part) -> io::Result<()> {
    let line = |part: &Part| serde_json::to_string(part).map(|text| text + "\n").map_err(io::Error::other);
    if parts.len() >= 2 * REMEMBERED {
        // The old ones go. A crash within this loses keys of calls that ended long ago, or this one, which wrote nothing yet.
        let kept: Result<String, io::Error> = parts[parts.len() - REMEMBERED..].iter().map(line).collect();
        list.set_len(0)?;
        list.seek(SeekFrom::Start(0))?;
        list.write_all(kept?.as_bytes())?;
    }
    let end = list.seek(SeekFrom::End(0))?;
    // After a line that was cut, this one begins on its own.
    let mut last = [b'\n'];
    if end > 0 {
        list.read_exact_at(&mut last, end - 1)?;
    }
    let begin = if last == [b'\n'] { "" } else { "\n" };
    list.write_all(format!("{begin}{}", line(&part)?).as_bytes())?;
    list.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_was_noted_and_not_written_is_not_there() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let part = |key, at, bytes| Part { key, at, bytes, inode: 7, begins: String::new() };
        assert!(is_there(&[part(a, 0, 5), part(b, 5, 5)], a, 7, 10));
        assert!(!is_there(&[part(a, 0, 5)], a, 7, 3), "cut off");
        assert!(!is_there(&[part(a, 0, 5), part(b, 0, 9)], a, 7, 9), "the next one began at its place");
        assert!(is_there(&[part(a, 0, 5), part(b, 0, 9), part(a, 9, 5)], a, 7, 14), "added by its repeat");
        assert!(!is_there(&[part(a, 0, 5)], a, 8, 100), "another file of this name");
    }
}
