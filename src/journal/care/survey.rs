//! All of a store, read without changing anything: what is whole of its log, and what log and index say.
//!
//! Both are held in memory: about a kilobyte a run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::super::index::{self, Checkpoint};
use super::super::keys;
use super::super::log::{Position, Salvage, segment};
use super::super::store::{KEPT_INDEX, Raw, State, apply};

/// Keys and entries of an index, as they are stored.
pub type Known = BTreeMap<Vec<u8>, Raw>;

pub struct Survey {
    pub segments: Vec<Part>,
    pub missing: Vec<u32>,
    /// The number that the log begins with; what is before it was dropped on purpose.
    pub first: u32,
    /// What the whole frames say.
    pub log: Known,
    pub index: Index,
}

/// A segment, without its bytes.
pub struct Part {
    pub number: u32,
    pub path: PathBuf,
    pub bytes: u64,
    pub frames: usize,
    /// First byte, last byte but one, and what is wrong.
    pub damaged: Vec<(u64, u64, String)>,
    pub unfinished: u64,
}

pub enum Index {
    /// What it says, brought up to the log by whole frames.
    Read(Known),
    Lost,
    Damaged(String),
}

impl Survey {
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && !self.segments.is_empty() && self.segments.iter().all(|part| part.damaged.is_empty())
    }

    /// The best that is known: of a damaged log the index has seen what stands there no longer.
    pub fn known(&self) -> &Known {
        match &self.index {
            Index::Read(_) if self.is_whole() => &self.log,
            Index::Read(known) => known,
            Index::Lost | Index::Damaged(_) => &self.log,
        }
    }
}

/// Reads the store in `folder`. An error is a file that the system does not give.
pub fn survey(folder: &Path, id: Uuid) -> Result<Survey, String> {
    let told = |error: std::io::Error| format!("{}: {error}", folder.display());
    let numbers = segment::list(folder).map_err(told)?;
    let last = numbers.last().copied();
    let mut log = State::new(None, Position { segment: 0, offset: 0 });
    let mut index = read_index(folder, id);
    let mut parts = Vec::new();
    for &number in &numbers {
        let path = segment::path(folder, number);
        let shown = |error: std::io::Error| format!("{}: {error}", path.display());
        let is_last = Some(number) == last;
        if is_last && numbers.len() > 1 && segment::is_unborn(&path).map_err(shown)? {
            continue;
        }
        let salvage = Salvage::read(folder, id, number, is_last).map_err(shown)?;
        let mut damaged: Vec<_> =
            salvage.damaged.iter().map(|(range, why)| (range.start, range.end, (*why).to_string())).collect();
        for (at, payload) in salvage.payloads() {
            let mut wrong = apply(&mut log, &|_| Ok(None), at, payload).err();
            if let Ok(Some((state, from))) = &mut index
                && at > *from
            {
                wrong = apply(state, &|_| Ok(None), at, payload).err().or(wrong);
            }
            damaged.extend(wrong.map(|why| (at.offset, at.offset + payload.len() as u64, why)));
        }
        let (bytes, frames) = (salvage.bytes.len() as u64, salvage.frames.len());
        parts.push(Part { number, path: path.clone(), bytes, frames, damaged, unfinished: salvage.unfinished });
    }
    let log = log.into_known();
    let index = match index {
        Ok(Some((state, _))) => {
            let mut known = state.into_known();
            // In what was mended already, things stand elsewhere than the index says.
            let moves = |key: &[u8]| matches!(key, [keys::RECORD | keys::DEFINITION, ..]);
            let mended = folder.join(KEPT_INDEX).exists();
            for (key, raw) in known.iter_mut().filter(|(key, _)| mended && moves(key)) {
                log.get(key).into_iter().for_each(|newer| raw.follow(newer));
            }
            Index::Read(known)
        }
        Ok(None) => Index::Lost,
        Err(why) => Index::Damaged(why),
    };
    let first_of =
        |known: &Known| known.get(keys::FIRST).and_then(|raw| Some(u32::from_le_bytes(*raw.value().first_chunk()?)));
    let known = if let Index::Read(known) = &index { first_of(known) } else { None };
    let known = known.max(first_of(&log));
    let whole = parts.iter().all(|part| part.damaged.is_empty());
    // What says it may itself be lost, but only with something else.
    let oldest = parts.first().map(|part| part.number);
    let first = known.unwrap_or(if whole { 1 } else { oldest.unwrap_or(1) });
    let newest = parts.last().map_or(first, |part| part.number);
    parts.retain(|part| part.number >= first);
    let missing = (first..=newest).filter(|number| !parts.iter().any(|part| part.number == *number)).collect();
    Ok(Survey { segments: parts, missing, first, log, index })
}

/// The index as it is, and the place in the log up to which it goes. It is read from a copy, as opening it changes it.
fn read_index(folder: &Path, id: Uuid) -> Result<Option<(State, Position)>, String> {
    // What a repair that was cut short has kept is whole; what stands beside it was made of a damaged log.
    let named = |name: &str| Some(folder.join(name)).filter(|file| file.exists());
    let Some(file) = named(KEPT_INDEX).or_else(|| named("index.redb")) else { return Ok(None) };
    let scratch = Scratch::make().map_err(|error| format!("a copy of it could not be made: {error}"))?;
    fs::copy(&file, scratch.0.join("index.redb")).map_err(|error| error.to_string())?;
    let index = index::opened(&scratch.0)?;
    let checkpoint = index.get(Checkpoint::KEY)?.as_deref().and_then(Checkpoint::decode);
    let Some(checkpoint) = checkpoint else { return Ok(None) };
    if checkpoint.id != id {
        return Err("it belongs to another store".to_string());
    }
    let mut state = State::new(Some(checkpoint), checkpoint.position);
    let mut low = Checkpoint::KEY.to_vec();
    loop {
        let page = index.range(std::ops::Bound::Excluded(&low), std::ops::Bound::Unbounded, false, 1_000)?;
        let Some((key, _)) = page.last() else { break };
        low.clone_from(key);
        page.into_iter().for_each(|(key, value)| state.know(&key, value));
    }
    Ok(Some((state, checkpoint.position)))
}

/// A folder of our own that goes with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> std::io::Result<Scratch> {
        let path = std::env::temp_dir().join(format!("millstream-{}", Uuid::now_v7()));
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
