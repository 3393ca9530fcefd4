//! Saves what is whole of a damaged store. What is damaged is put aside, never thrown away.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::super::disk::Disk;
use super::super::entry::{Batch, Entry, FRESH};
use super::super::log::{FRAME_HEADER, Fault, Position, Reader, Salvage, segment};
use super::super::store::{KEPT_INDEX, Store, forget_index, forget_kept_index};
use super::super::{Error, index, keys, list, marker};
use super::check::{Affected, Report, of, report};
use super::survey::{Index, Survey, survey};
use crate::connector::{Class, Failure};
use crate::run::{Event, Record, Run, RunId, Status};

/// Why a run is held or failed that lost records.
const CODE: &str = "run.records_lost";

/// What a repair did.
#[derive(Debug, Serialize)]
pub struct Repaired {
    /// What it found.
    pub found: Report,
    /// Where the damaged files are now.
    pub put_aside: Vec<PathBuf>,
    /// Entries that only the index had still, written again.
    pub restored: usize,
    /// Runs that lost records, as they stand now.
    pub runs: Vec<Affected>,
}

/// Makes the index of the data folder `dir` anew, and mends its log where that is damaged, under the folder's lock.
///
/// # Errors
/// If the folder is in use or is none, or a file cannot be read or written.
pub fn repair(dir: &Path) -> Result<Repaired, Error> {
    repair_until(dir, &mut || Ok(()))
}

/// The same; `replaced` is asked after each file that was replaced, and what it fails with ends the repair there, as a
/// crash would.
pub fn repair_until(dir: &Path, replaced: Replaced<'_>) -> Result<Repaired, Error> {
    let (_lock, id) = marker::known(dir).map_err(Error::Open)?;
    let folder = dir.join("store");
    make_folder(&folder).map_err(|error| failed(&folder, &error))?;
    let found = survey(&folder, id).map_err(Error::Read)?;
    let report = report(&folder, &found);
    let (put_aside, restored) = mend(dir, &folder, id, &found, replaced).map_err(|error| failed(&folder, &error))?;
    drop(found);
    forget_index(&folder).and_then(|()| forget_kept_index(&folder)).map_err(|error| failed(&folder, &error))?;
    let store = Store::open(&folder, id, Disk::default(), index::DEFAULT)
        .map_err(|unfit| Error::Open(format!("{}: {unfit}", folder.display())))?;
    let mut runs = report.affected.clone();
    for run in &mut runs {
        settle(&store, run)?;
    }
    store.close();
    Ok(Repaired { found: report, put_aside, restored, runs })
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::Open(format!("{}: {error}; what was damaged is untouched, or in `damaged` beside it", path.display()))
}

type Replaced<'r> = &'r mut dyn FnMut() -> io::Result<()>;

/// Replaces each damaged segment by what is whole of it; returns where those are now, and how many entries were written
/// again.
fn mend(
    dir: &Path,
    folder: &Path,
    id: Uuid,
    found: &Survey,
    replaced: Replaced<'_>,
) -> io::Result<(Vec<PathBuf>, usize)> {
    let (mut put_aside, mut restored) = (Vec::new(), 0);
    let newest = found.segments.last().map_or(found.first, |part| part.number);
    let damaged: Vec<u32> = (found.first..=newest)
        .filter(|number| {
            let part = found.segments.iter().find(|part| part.number == *number);
            part.is_none_or(|part| !part.damaged.is_empty())
        })
        .collect();
    let mut saved = Batch::default();
    if !damaged.is_empty() {
        restored = restore(folder, found, &mut saved);
        // It may have been in what is lost.
        saved.push(&Entry::Put { flags: 0, key: keys::FIRST, value: &found.first.to_le_bytes() });
        // In a mended segment things stand elsewhere: whoever starts before all is done must not believe the index. Who
        // repairs again still needs it.
        keep_index(folder)?;
    }
    // The last one first: it gets what was saved of all of them.
    for &number in damaged.iter().rev() {
        let path = segment::path(folder, number);
        let there = path.exists();
        let salvage = if there { Some(Salvage::read(folder, id, number, false)?) } else { None };
        let mut bytes = segment::header(id, number).to_vec();
        let mut add = |payload: &[u8]| {
            let at = Position { segment: number, offset: bytes.len() as u64 };
            let mut frame = vec![0; FRAME_HEADER];
            frame.extend_from_slice(payload);
            segment::seal(&mut frame, id, at);
            bytes.extend_from_slice(&frame);
        };
        for (_, payload) in salvage.iter().flat_map(Salvage::payloads) {
            if super::super::entry::entries(payload).all(|entry| entry.is_ok()) {
                add(payload);
            }
        }
        if Some(&number) == damaged.last() {
            add(saved.payload());
        }
        if there {
            put_aside.push(aside(dir, &path)?);
        }
        replace(folder, &path, &bytes)?;
        replaced()?;
    }
    put_aside.reverse();
    let kept = folder.join(KEPT_INDEX);
    if !put_aside.is_empty() && kept.exists() {
        put_aside.push(aside(dir, &kept)?);
    }
    Ok((put_aside, restored))
}

/// Gives the index another name, by which a start does not find it; durable when it returns.
fn keep_index(folder: &Path) -> io::Result<()> {
    let (index, kept) = (folder.join("index.redb"), folder.join(KEPT_INDEX));
    if index.exists() {
        // One that was kept before is whole; what came after it was made of a damaged log.
        if kept.exists() { fs::remove_file(&index)? } else { fs::rename(&index, &kept)? }
    }
    File::open(folder)?.sync_all()
}

/// A second name for a file, in `damaged`: durable before the first is taken away.
fn aside(dir: &Path, path: &Path) -> io::Result<PathBuf> {
    let damaged = dir.join("damaged");
    make_folder(&damaged)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stamp = Timestamp::now().as_millisecond();
    let to = damaged.join(format!("{name}.{stamp}"));
    if fs::hard_link(path, &to).is_err() {
        fs::copy(path, &to)?;
        File::open(&to)?.sync_all()?;
    }
    File::open(&damaged)?.sync_all()?;
    File::open(dir)?.sync_all()?;
    Ok(to)
}

fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn replace(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = folder.join("repair.new");
    let mut file = File::options().create(true).write(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}

/// Writes again what the index knows and the whole frames do not have: values, and what of the damaged frames' records and
/// definitions is as it was, by their own checksums. What comes after the damage has had its say in both.
fn restore(folder: &Path, found: &Survey, batch: &mut Batch) -> usize {
    let Index::Read(known) = &found.index else { return 0 };
    let reader = Reader::new(folder);
    let mut restored = 0;
    for (key, raw) in of(known, &[keys::RECORD]) {
        let Some((run, chunk)) = keys::record_of(key) else { continue };
        let there = found.log.get(key).map(|raw| raw.pointers()).unwrap_or_default();
        for (index, pointer) in raw.pointers().into_iter().enumerate().filter(|(_, pointer)| pointer.segment > 0) {
            if there.get(index).is_none_or(|there| there.segment == 0)
                && let Ok(Some(bytes)) = reader.read(pointer)
            {
                let seq = chunk * keys::CHUNK + index as u32;
                batch.push(&Entry::Record { flags: 0, run, seq, bytes: &bytes });
                restored += 1;
            }
        }
    }
    for (key, raw) in of(known, &[keys::DEFINITION]).filter(|(key, _)| !found.log.contains_key(*key)) {
        if let (Some(hash), Some(pointer)) = (key[1..].first_chunk(), raw.pointers().first())
            && let Ok(Some(text)) = reader.read(*pointer)
        {
            batch.push(&Entry::Definition { flags: 0, hash, text: &text });
            restored += 1;
        }
    }
    for kind in keys::VALUES {
        for (key, raw) in of(known, &[kind]) {
            if found.log.get(key).map(|raw| raw.value()) != Some(raw.value()) {
                batch.push(&Entry::Put { flags: 0, key, value: raw.value() });
                restored += 1;
            }
        }
        for (key, _) in of(&found.log, &[kind]).filter(|(key, _)| !known.contains_key(*key)) {
            batch.push(&Entry::Remove { key, freed: 0 });
            restored += 1;
        }
    }
    restored
}

/// Has a run that is not whole wait for a person, or ends it where nobody could read it.
fn settle(store: &Store, affected: &mut Affected) -> Result<(), Error> {
    let run = affected.run_id;
    let mut batch = Batch::default();
    let summary = list::summary(store, run).map_err(Error::Read)?;
    affected.flow = summary.as_ref().map(|summary| summary.flow.clone()).or(affected.flow.take());
    affected.status = summary.as_ref().map(|summary| summary.status);
    // So that nobody is told of it again.
    batch.push(&Entry::Put { flags: 0, key: &keys::lost(run), value: &[] });
    if !store.contains(&keys::open(run)).map_err(Error::Read)? {
        return commit(store, batch);
    }
    let now = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap_or(Timestamp::UNIX_EPOCH);
    let message = format!("records of this run were lost with a damaged part of the store: {}", affected.what);
    match fold(store, run) {
        // Its last records are lost: it can go on from before them, once somebody has looked.
        Ok((mut folded, seq)) => {
            let failure = Failure::new(Class::Held, CODE, message);
            let event = Event::Held { place: None, failure };
            if folded.apply(now, &event).is_ok() {
                let record = Record::encode(now, &[event]);
                let flags = if seq % keys::CHUNK == 0 { FRESH } else { 0 };
                batch.push(&Entry::Record { flags, run, seq, bytes: &record });
                let held = list::encode(&folded.summary(Status::Held));
                batch.push(&Entry::Put { flags: 0, key: &keys::summary(run), value: &held });
                affected.status = Some(Status::Held);
            }
        }
        Err(_) => {
            batch.push(&Entry::Remove { key: &keys::open(run), freed: 0 });
            if let Some(mut summary) = summary {
                summary.status = Status::Failed;
                summary.reason = Some(message);
                summary.code = Some(CODE.to_string());
                summary.updated_at = now;
                batch.push(&Entry::Put { flags: 0, key: &keys::summary(run), value: &list::encode(&summary) });
                affected.status = Some(Status::Failed);
            }
        }
    }
    commit(store, batch)
}

fn fold(store: &Store, run: RunId) -> Result<(Run, u32), String> {
    let mut folded = None;
    let count = list::each_record(store, run, &mut |bytes| {
        let record = Record::decode(&bytes).map_err(|error| error.to_string())?;
        Run::fold(&mut folded, run, &record).map_err(|illegal| illegal.to_string())
    })?;
    folded.map(|run| (run, count)).ok_or_else(|| "it has no records".to_string())
}

fn commit(store: &Store, batch: Batch) -> Result<(), Error> {
    if batch.is_empty() {
        return Ok(());
    }
    store.commit(batch).map_err(|fault| match fault {
        Fault::NoSpace => Error::Open("there is no room on the disk; make some, and repair again".to_string()),
        Fault::Broken(why) => Error::Failed(why),
    })
}
