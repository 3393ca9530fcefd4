//! Is the store whole? Nothing is changed.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::log::{Pointer, Reader};
use super::super::store::Raw;
use super::super::{Error, keys, list, marker};
use super::survey::{Index, Known, Survey, survey};
use crate::run::{Record, Run, RunId, Status};

/// What a look at the whole store found.
#[derive(Debug, Serialize)]
pub struct Report {
    pub segments: usize,
    pub bytes: u64,
    pub frames: usize,
    pub runs: u64,
    pub open_runs: u64,
    /// Bytes of a write that was cut short: it was never acknowledged, and goes at the next start.
    pub unfinished_bytes: u64,
    pub problems: Vec<Problem>,
    /// Runs that lost records, or cannot go on, as far as can be known.
    pub affected: Vec<Affected>,
}

/// Something that is not as it must be, and where.
#[derive(Debug, Serialize)]
pub struct Problem {
    pub file: PathBuf,
    /// From this byte of the file, to before that one.
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub what: String,
}

/// A run that is not whole.
#[derive(Debug, Clone, Serialize)]
pub struct Affected {
    pub run_id: RunId,
    pub flow: Option<String>,
    pub status: Option<Status>,
    pub what: String,
}

impl Report {
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty() && self.affected.is_empty()
    }
}

/// Reads every byte of the store in the data folder `dir`, under its lock.
///
/// # Errors
/// If the folder is in use or is none, or a file cannot be read at all.
pub fn check(dir: &Path) -> Result<Report, Error> {
    let (_lock, id) = marker::known(dir).map_err(Error::Open)?;
    let folder = dir.join("store");
    let found = survey(&folder, id).map_err(Error::Read)?;
    Ok(report(&folder, &found))
}

/// What there is to say of a survey.
pub fn report(folder: &Path, found: &Survey) -> Report {
    let mut problems = Vec::new();
    if found.segments.is_empty() {
        let what = "there is no segment of the log".to_string();
        problems.push(Problem { file: folder.to_path_buf(), from: None, to: None, what });
    }
    for number in &found.missing {
        let file = folder.join(format!("{number:010}.log"));
        problems.push(Problem { file, from: None, to: None, what: "this segment of the log is missing".to_string() });
    }
    for part in &found.segments {
        for (from, to, what) in &part.damaged {
            let what = what.clone();
            problems.push(Problem { file: part.path.clone(), from: Some(*from), to: Some(*to), what });
        }
    }
    let index = |what: String| Problem { file: folder.join("index.redb"), from: None, to: None, what };
    match &found.index {
        // It is made anew at the next start.
        Index::Lost => {}
        Index::Damaged(why) => problems.push(index(format!("the index cannot be read: {why}"))),
        Index::Read(known) if found.is_whole() => {
            let differ = differing(known, &found.log);
            if differ > 0 {
                problems.push(index(format!("{differ} entries of the index do not say what the log says")));
            }
        }
        Index::Read(_) => {}
    }
    let known = found.known();
    Report {
        segments: found.segments.len(),
        bytes: found.segments.iter().map(|part| part.bytes).sum(),
        frames: found.segments.iter().map(|part| part.frames).sum(),
        runs: of(known, &[keys::SUMMARY]).count() as u64,
        open_runs: of(known, &[keys::OPEN]).count() as u64,
        unfinished_bytes: found.segments.iter().map(|part| part.unfinished).sum(),
        problems,
        affected: affected(folder, known),
    }
}

/// Entries whose keys start so.
pub fn of<'k>(known: &'k Known, prefix: &'k [u8]) -> impl Iterator<Item = (&'k Vec<u8>, &'k Raw)> {
    known.range(prefix.to_vec()..).take_while(move |(key, _)| key.starts_with(prefix))
}

fn differing(a: &Known, b: &Known) -> usize {
    let other = |known: &Known, key: &Vec<u8>, raw: &Raw| known.get(key) != Some(raw);
    let changed = a.iter().filter(|(key, raw)| other(b, key, raw)).count();
    changed + b.keys().filter(|key| !a.contains_key(*key)).count()
}

/// Runs whose records are not all there, or that are open and cannot be read.
fn affected(folder: &Path, known: &Known) -> Vec<Affected> {
    let reader = Reader::new(folder);
    let mut found = Vec::new();
    let mut note = |run: RunId, what: String| {
        // A repair has told of it, and nobody will go on with it.
        if known.contains_key(&keys::lost(run)) && !known.contains_key(&keys::open(run)[..]) {
            return;
        }
        let summary = known.get(&keys::summary(run)[..]).and_then(|raw| list::decode(raw.value()).ok());
        let (flow, status) = summary.map(|summary| (summary.flow, summary.status)).unzip();
        found.push(Affected { run_id: run, flow, status, what });
    };
    for (key, raw) in of(known, &[keys::SUMMARY]) {
        let Some(run) = keys::run_at_end(key) else { continue };
        if let Err(why) = list::decode(raw.value()) {
            note(run, why);
        } else if !known.contains_key(&keys::record(run, 0)[..]) {
            note(run, "all its records are lost".to_string());
        }
    }
    let mut at = vec![keys::RECORD];
    loop {
        let next = known.range(at.clone()..).next().map(|(key, _)| key.clone());
        let Some(key) = next.filter(|key| key.starts_with(&[keys::RECORD])) else { break };
        let Some((run, _)) = keys::record_of(&key) else { break };
        let is_open = known.contains_key(&keys::open(run)[..]);
        if let Err(what) = read(&reader, known, run, is_open) {
            note(run, what);
        } else if !known.contains_key(&keys::summary(run)[..]) {
            note(run, "it has records and is in no list".to_string());
        }
        at = [&keys::records(run)[..], &[0xff; 5]].concat();
    }
    for (key, _) in of(known, &[keys::OPEN]) {
        let Some(run) = keys::run_at_end(key) else { continue };
        if !known.contains_key(&keys::summary(run)[..]) && !known.contains_key(&keys::record(run, 0)[..]) {
            note(run, "it is open, and nothing of it is there".to_string());
        }
    }
    found
}

/// Reads all records of a run; of an open one it also sees whether it can go on from them.
fn read(reader: &Reader, known: &Known, run: RunId, is_open: bool) -> Result<(), String> {
    let all = placed(known, run);
    let mut folded = None;
    for (seq, pointer) in all.iter().enumerate() {
        let lost = |why: String| format!("record {seq} of {} is lost: {why}", all.len());
        let Some(pointer) = pointer else { return Err(lost("nothing says where it was".to_string())) };
        let bytes = reader.read(*pointer).map_err(|damage| lost(damage.to_string()))?;
        let bytes = bytes.ok_or_else(|| lost(format!("segment {} is missing", pointer.segment)))?;
        if is_open {
            let record = Record::decode(&bytes).map_err(|error| format!("record {seq}: {error}"))?;
            Run::fold(&mut folded, run, &record).map_err(|illegal| format!("record {seq}: {illegal}"))?;
        }
    }
    Ok(())
}

/// Where a run's records are, in order; `None` for one whose place is not known, but that was there.
pub fn placed(known: &Known, run: RunId) -> Vec<Option<Pointer>> {
    let mut all = Vec::new();
    for (key, raw) in of(known, &keys::records(run)) {
        let chunk = key.last_chunk().map_or(0, |chunk| u32::from_be_bytes(*chunk));
        all.resize((chunk * keys::CHUNK) as usize, None);
        all.extend(raw.pointers().into_iter().map(|pointer| (pointer.segment > 0).then_some(pointer)));
    }
    all
}
