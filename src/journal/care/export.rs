//! All of a store in one file, and a store made of such a file.
//!
//! The file is a segment with number 0, which no log has: the same header, the same frames, each entry that counts once. Its
//! last frame says how much there is, so a file that was cut short is known.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::disk::Disk;
use super::super::entry::{self, Batch, Entry};
use super::super::log::{FRAME_HEADER, Fault, Position, SEGMENT_HEADER, segment};
use super::super::store::Store;
use super::super::{Error, index, keys, marker};

/// Bytes of a frame, about.
const FRAME_BYTES: usize = 1024 * 1024;
/// Bytes of a frame that is read back, at most: no more is ever appended at once.
const MOST_BYTES: usize = 1024 * 1024 * 1024;
/// Keys of these files only: one that goes along, and the end.
const FILE: u8 = b'x';
const END: &[u8] = b"z";
/// Files that may go along.
const FILES: [&str; 2] = ["instance.key", "vault.json"];

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    pub runs: u64,
    pub entries: u64,
    pub bytes: u64,
}

/// What was read.
#[derive(Debug)]
pub struct Imported {
    pub runs: u64,
    pub entries: u64,
    /// Names of files that came along.
    pub files: Vec<String>,
}

/// Keeps a file that came along, by name.
pub type Keep<'k> = dyn FnMut(&str, &[u8]) -> Result<(), String> + 'k;

struct Out<'w> {
    to: &'w mut dyn Write,
    id: Uuid,
    at: u64,
    batch: Batch,
    done: Exported,
}

impl Out<'_> {
    fn put(&mut self, entry: &Entry<'_>) -> Result<(), String> {
        self.batch.push(entry);
        self.done.entries += 1;
        if self.batch.payload().len() >= FRAME_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), String> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        segment::seal(batch.frame(), self.id, Position { segment: 0, offset: self.at });
        self.at += batch.frame().len() as u64;
        self.to.write_all(batch.frame()).map_err(|error| format!("the file could not be written: {error}"))
    }
}

pub fn export(store: &Store, to: &mut dyn Write, files: &[(String, Vec<u8>)]) -> Result<Exported, String> {
    let id = Uuid::now_v7();
    to.write_all(&segment::header(id, 0)).map_err(|error| format!("the file could not be written: {error}"))?;
    let mut out = Out { to, id, at: SEGMENT_HEADER as u64, batch: Batch::default(), done: Exported::default() };
    for (name, bytes) in files {
        let key = [&[FILE], name.as_bytes()].concat();
        out.put(&Entry::Put { flags: 0, key: &key, value: bytes })?;
    }
    for entry in store.scan(&[]) {
        let (key, raw) = entry?;
        match key.first() {
            // Of this log, and of no other.
            None | Some(0) => {}
            _ if key == keys::FIRST => {}
            Some(&keys::RECORD) => {
                let (run, chunk) = keys::record_of(&key).ok_or("a key of the index is damaged")?;
                for (index, pointer) in raw.pointers().into_iter().enumerate() {
                    if pointer.segment == 0 {
                        continue;
                    }
                    let seq = chunk * keys::CHUNK + index as u32;
                    let bytes = store.read(&key, index)?.ok_or_else(|| format!("record {seq} of run {run} is gone"))?;
                    out.put(&Entry::Record { flags: 0, run, seq, bytes: &bytes })?;
                }
            }
            Some(&keys::DEFINITION) => {
                let hash = key[1..].first_chunk().ok_or("a key of the index is damaged")?;
                let text = store.read(&key, 0)?.ok_or("a definition is gone")?;
                out.put(&Entry::Definition { flags: 0, hash, text: &text })?;
            }
            Some(kind) => {
                out.done.runs += u64::from(*kind == keys::SUMMARY);
                out.put(&Entry::Put { flags: 0, key: &key, value: raw.value() })?;
            }
        }
    }
    out.flush()?;
    let mut done = out.done.clone();
    let told = serde_json::to_vec(&done).expect("numbers are plain JSON");
    out.batch.push(&Entry::Put { flags: 0, key: END, value: &told });
    out.flush()?;
    out.to.flush().map_err(|error| format!("the file could not be written: {error}"))?;
    done.bytes = out.at;
    Ok(done)
}

/// Makes the store of the data folder `dir`, which must have none, of what an export wrote.
///
/// # Errors
/// If there is a store, the file is none of ours or is not whole, or nothing can be written. Then there is no store.
pub fn import(dir: &Path, from: &mut dyn Read, keep: &mut Keep<'_>) -> Result<Imported, Error> {
    let (_lock, id) = marker::begin(dir).map_err(Error::Open)?;
    let folder = dir.join("store");
    let done = Store::create(&folder, id, Disk::default(), index::DEFAULT).map_err(|unfit| unfit.to_string()).and_then(
        |store| {
            let done = fill(&store, from, keep);
            store.close();
            done
        },
    );
    let done = done.and_then(|done| marker::finish(dir, id).map(|()| done));
    done.map_err(|why| {
        // Half a store would be taken for a whole one by nobody, and stand in the way of the next try.
        let _ = fs::remove_dir_all(&folder).and_then(|()| fs::remove_file(dir.join("generation")));
        Error::Open(format!("nothing was imported: {why}"))
    })
}

fn fill(store: &Store, from: &mut dyn Read, keep: &mut Keep<'_>) -> Result<Imported, String> {
    let mut head = [0; SEGMENT_HEADER];
    from.read_exact(&mut head).map_err(|error| format!("this is no export of Millstream: {error}"))?;
    let id = head.get(8..).and_then(<[u8]>::first_chunk).map_or(Uuid::nil(), |id| Uuid::from_bytes(*id));
    if head != segment::header(id, 0) {
        return Err("this is no export of Millstream".to_string());
    }
    let mut at = SEGMENT_HEADER as u64;
    let mut done = Imported { runs: 0, entries: 0, files: Vec::new() };
    loop {
        let payload = next(from, id, at)?.ok_or("the file is cut short")?;
        at += (FRAME_HEADER + payload.len()) as u64;
        let mut batch = Batch::default();
        for entry in entry::entries(&payload) {
            let (entry, _) = entry.map_err(|why| format!("the file is damaged: {why}"))?;
            if let Entry::Put { key, value, .. } = entry {
                if key == END {
                    let told: Exported = serde_json::from_slice(value).map_err(|error| error.to_string())?;
                    let whole = told.runs == done.runs && told.entries == done.entries;
                    return if whole { Ok(done) } else { Err("the file is not whole".to_string()) };
                }
                if key.first() == Some(&FILE) {
                    done.entries += 1;
                    let name = FILES.into_iter().find(|name| name.as_bytes() == &key[1..]);
                    let name = name.ok_or("the file has something that this version does not know")?;
                    keep(name, value)?;
                    done.files.push(name.to_string());
                    continue;
                }
                done.runs += u64::from(key.first() == Some(&keys::SUMMARY));
            }
            done.entries += 1;
            batch.push(&entry);
        }
        if !batch.is_empty() {
            store.commit(batch).map_err(|fault| match fault {
                Fault::NoSpace => "there is no room on the disk".to_string(),
                Fault::Broken(why) => why,
            })?;
        }
    }
}

/// The payload of the frame that comes next; `None` where the file ends.
fn next(from: &mut dyn Read, id: Uuid, at: u64) -> Result<Option<Vec<u8>>, String> {
    let mut frame = vec![0; FRAME_HEADER];
    match from.read_exact(&mut frame) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(format!("the file could not be read: {error}")),
    }
    let here = Position { segment: 0, offset: at };
    let damaged = || format!("the file is damaged at byte {at}");
    let len = segment::payload_len(&frame, id, here).filter(|len| *len <= MOST_BYTES).ok_or_else(damaged)?;
    frame.resize(FRAME_HEADER + len, 0);
    from.read_exact(&mut frame[FRAME_HEADER..]).map_err(|_| "the file is cut short".to_string())?;
    segment::whole(&frame, id, here).map(|payload| Some(payload.to_vec())).ok_or_else(damaged)
}
