//! One batch under construction: what jobs become as keys and values, and whether a claim stands.
//!
//! Only the writer thread makes drafts, one after the other, so what is in the store and in the draft is all there is.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::keys;
use super::list;
use super::store::{Batch, Store, part_count, part_key, put_parts};
use super::{Append, Appended, Claim};
use crate::run::{RunId, Status};

/// Definitions known to be stored; forgotten when there are many, which costs a look-up each.
const KNOWN: usize = 10_000;
/// Claims looked at by one removal, to find those that have expired.
const SWEPT: usize = 256;

/// What the writer remembers from one batch to the next. It may be lost at any time.
#[derive(Default)]
pub struct Memory {
    definitions: HashSet<[u8; 32]>,
    /// Where the sweep of claims goes on.
    swept: Vec<u8>,
    /// Claims made since the last sweep.
    claimed: usize,
}

/// A batch, and what later jobs of it must know of earlier ones.
pub struct Draft<'s> {
    store: &'s Store,
    batch: Batch,
    entries: usize,
    claims: HashMap<Vec<u8>, (RunId, i64)>,
    /// How this batch leaves the runs that it speaks of.
    runs: HashMap<RunId, Status>,
    /// Keys of settings, and how long the longest value is that this batch puts there.
    settings: HashMap<Vec<u8>, usize>,
}

impl<'s> Draft<'s> {
    pub fn new(store: &'s Store) -> Draft<'s> {
        Draft {
            store,
            batch: Batch::default(),
            entries: 0,
            claims: HashMap::new(),
            runs: HashMap::new(),
            settings: HashMap::new(),
        }
    }

    /// The batch, or `None` if there is nothing to write.
    pub fn finish(self) -> Option<Batch> {
        (self.entries > 0).then_some(self.batch)
    }

    pub fn append(&mut self, append: &Append, summary: Option<&[u8]>, memory: &mut Memory) -> Result<Appended, String> {
        if let Some(claim) = &append.claim {
            let now = append.summary.as_ref().map_or_else(Timestamp::now, |summary| summary.updated_at);
            if let Some(holder) = self.claim(append.run, claim, now.as_millisecond())? {
                // Of a list that was split only the first has the definition, for all of them.
                if let Some((hash, text)) = &append.definition {
                    self.define(hash, text, memory)?;
                }
                return Ok(Appended::Duplicate(holder));
            }
            // As many are looked at as were made, so that expired ones cannot pile up.
            memory.claimed += 1;
            if memory.claimed >= SWEPT {
                memory.claimed = 0;
                self.sweep(memory)?;
            }
        }
        self.entries += 1;
        put_parts(&mut self.batch, &keys::record(append.run, append.seq), &append.record);
        if let (Some(fields), Some(bytes)) = (&append.summary, summary) {
            self.batch.insert(&keys::summary(append.run)[..], bytes);
            if append.seq == 0 {
                self.batch.insert(keys::history_of(&fields.flow, append.run), &[]);
            }
            if fields.status == Status::Rejected {
                self.batch.insert(&keys::rejected(append.run)[..], &[]);
            }
            if fields.status.is_ended() {
                self.batch.remove(&keys::open(append.run)[..]);
            } else {
                // Where it is there already this costs a look in the store, but no write.
                self.batch.insert(&keys::open(append.run)[..], &[]);
            }
            self.runs.insert(append.run, fields.status);
        }
        if let Some((hash, text)) = &append.definition {
            self.define(hash, text, memory)?;
        }
        Ok(Appended::Durable)
    }

    pub fn set(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), String> {
        self.entries += 1;
        let key = keys::setting(name);
        // Parts of a value before this one, in the store and in this batch. Of one key, the batch keeps the last word.
        for entry in self.store.scan(&key) {
            let (old, _) = entry?;
            if old.len() == key.len() + size_of::<u32>() {
                self.batch.remove(old);
            }
        }
        let drafted = self.settings.get(&key).copied();
        for number in drafted.map_or(0..0, |longest| 0..part_count(longest)) {
            self.batch.remove(part_key(&key, number));
        }
        if let Some(value) = value {
            put_parts(&mut self.batch, &key, value);
            self.settings.insert(key, value.len().max(drafted.unwrap_or(0)));
        }
        Ok(())
    }

    pub fn remove(&mut self, runs: &[RunId], memory: &mut Memory) -> Result<(), String> {
        for &run in runs {
            // What this batch says of a run is newer than what the store says: it can be removed another time.
            if self.runs.contains_key(&run) || self.store.contains(&keys::open(run))? {
                continue;
            }
            self.remove_one(run)?;
        }
        self.sweep(memory)
    }

    /// The run that holds the claim, or else the claim is made.
    fn claim(&mut self, run: RunId, claim: &Claim, now_ms: i64) -> Result<Option<RunId>, String> {
        let key = keys::claim(&claim.flow, &claim.key);
        let held = match self.claims.get(&key) {
            Some(held) => Some(*held),
            None => self.store.get(&key)?.map(|value| decode(&value)).transpose()?,
        };
        if let Some((holder, until_ms)) = held
            && holder != run
            && until_ms > now_ms
            && !self.has_failed(holder)?
        {
            return Ok(Some(holder));
        }
        self.batch.insert(key.clone(), encode(run, claim.until_ms));
        self.batch.insert(&keys::claim_of(run)[..], key.clone());
        self.claims.insert(key, (run, claim.until_ms));
        Ok(None)
    }

    /// A run that was removed has not failed: failed ones take their claims with them.
    fn has_failed(&self, run: RunId) -> Result<bool, String> {
        let status = match self.runs.get(&run) {
            Some(status) => Some(*status),
            None => list::summary(self.store, run)?.map(|summary| summary.status),
        };
        Ok(status.is_some_and(has_failed))
    }

    fn define(&mut self, hash: &[u8; 32], text: &str, memory: &mut Memory) -> Result<(), String> {
        if memory.definitions.contains(hash) {
            return Ok(());
        }
        let key = keys::definition(hash);
        if self.store.scan(&key).next().transpose()?.is_none() {
            put_parts(&mut self.batch, &key, text.as_bytes());
        }
        if memory.definitions.len() >= KNOWN {
            memory.definitions.clear();
        }
        // True once the batch is durable; if it never is, there is no later batch.
        memory.definitions.insert(*hash);
        Ok(())
    }

    /// Takes a run back that nobody was told of, with its claim.
    pub fn undo(&mut self, run: RunId) -> Result<(), String> {
        if let Some(key) = self.store.get(&keys::claim_of(run))? {
            let held = self.store.get(&key)?.map(|value| decode(&value)).transpose()?;
            if held.is_some_and(|(holder, _)| holder == run) {
                self.batch.remove(key);
            }
        }
        self.entries += 1;
        self.batch.remove(&keys::open(run)[..]);
        self.remove_one(run)
    }

    fn remove_one(&mut self, run: RunId) -> Result<(), String> {
        let summary = list::summary(self.store, run)?;
        for entry in self.store.scan(&keys::records(run)) {
            self.entries += 1;
            self.batch.remove(entry?.0);
        }
        if let Some(key) = self.store.get(&keys::claim_of(run))? {
            self.entries += 1;
            self.batch.remove(&keys::claim_of(run)[..]);
            let failed = summary.as_ref().is_some_and(|summary| has_failed(summary.status));
            let held = self.store.get(&key)?.map(|value| decode(&value)).transpose()?;
            if failed && held.is_some_and(|(holder, _)| holder == run) && !self.claims.contains_key(&key[..]) {
                self.batch.remove(key);
            }
        }
        if let Some(summary) = summary {
            self.entries += 1;
            self.batch.remove(keys::history_of(&summary.flow, run));
            self.batch.remove(&keys::summary(run)[..]);
            if summary.status == Status::Rejected {
                self.batch.remove(&keys::rejected(run)[..]);
            }
        }
        Ok(())
    }

    /// Removes expired claims: some at each removal of runs, and after as many new ones.
    fn sweep(&mut self, memory: &mut Memory) -> Result<(), String> {
        let now_ms = Timestamp::now().as_millisecond();
        if memory.swept.is_empty() {
            memory.swept.push(keys::CLAIM);
        }
        let mut last = None;
        for entry in self.store.after(&memory.swept).take(SWEPT) {
            let (key, value) = entry?;
            if key.first() != Some(&keys::CLAIM) {
                last = None;
                break;
            }
            let (_, until_ms) = decode(&value)?;
            if until_ms <= now_ms && !self.claims.contains_key(&key[..]) {
                self.entries += 1;
                self.batch.remove(key.clone());
            }
            last = Some(key);
        }
        memory.swept.clear();
        if let Some(key) = last {
            memory.swept.extend_from_slice(&key);
        }
        Ok(())
    }
}

/// True if a run with this status bars no other from its claim.
fn has_failed(status: Status) -> bool {
    match status {
        Status::Failed | Status::Cancelled | Status::TimedOut | Status::Rejected => true,
        Status::Queued | Status::Running | Status::Waiting | Status::Held | Status::Succeeded => false,
    }
}

fn encode(run: RunId, until_ms: i64) -> Vec<u8> {
    [&run.0.as_bytes()[..], &until_ms.to_be_bytes()].concat()
}

fn decode(value: &[u8]) -> Result<(RunId, i64), String> {
    let parts = value.split_first_chunk::<16>();
    let parts = parts.and_then(|(run, rest)| Some((run, <[u8; 8]>::try_from(rest).ok()?)));
    let (run, until_ms) = parts.ok_or("a dedupe claim is damaged")?;
    Ok((RunId(uuid::Uuid::from_bytes(*run)), i64::from_be_bytes(until_ms)))
}
