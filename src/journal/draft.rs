//! One batch under construction: what jobs become as keys and values, and whether a claim stands.
//!
//! Only the writer thread makes drafts, one after the other, so what is in the store and in the draft is all there is.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::entry::{Batch, Entry, FRESH, REPLACES, weight};
use super::keys;
use super::list;
use super::store::{self, Store};
use super::{Append, Appended, Claim};
use crate::run::{Pinned, RunId, Status};

/// Definitions known to be stored; forgotten when there are many, which costs a look-up each.
const KNOWN: usize = 10_000;
/// What stands at a claim's key.
const CLAIM_BYTES: usize = keys::RUN_LEN + size_of::<i64>();
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
    claims: HashMap<Vec<u8>, (RunId, i64)>,
    /// How this batch leaves the runs that it speaks of.
    runs: HashMap<RunId, Status>,
    /// The later records that it has.
    records: HashSet<(RunId, u32)>,
}

impl<'s> Draft<'s> {
    pub fn new(store: &'s Store) -> Draft<'s> {
        let (claims, runs, records) = (HashMap::new(), HashMap::new(), HashSet::new());
        Draft { store, batch: Batch::default(), claims, runs, records }
    }

    /// The batch, or `None` if there is nothing to write.
    pub fn finish(self) -> Option<Batch> {
        (!self.batch.is_empty()).then_some(self.batch)
    }

    /// True if the run got this record just before: whoever appends it drives a run as it was, and must not. First records
    /// are not asked for, as their runs are new.
    pub fn is_taken(&self, append: &Append) -> bool {
        let Append { run, seq, .. } = *append;
        seq > 0 && (self.records.contains(&(run, seq)) || self.store.has_lately(run, seq))
    }

    pub fn append(&mut self, append: &Append, summary: Option<&[u8]>, memory: &mut Memory) -> Result<Appended, String> {
        if let Some(claim) = &append.claim {
            let now = append.summary.as_ref().map_or_else(Timestamp::now, |summary| summary.updated_at);
            if let Some(holder) = self.claim(append.run, claim, now.as_millisecond())? {
                // Of a list that was split only the first has the definition, for all of them.
                if let Some(parts) = &append.definition {
                    self.define(parts, memory)?;
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
        let Append { run, seq, ref record, .. } = *append;
        // The first of those that share an entry makes it.
        let flags = if seq % keys::CHUNK == 0 { FRESH } else { 0 };
        self.batch.push(&Entry::Record { flags, run, seq, bytes: record });
        if seq > 0 {
            self.records.insert((run, seq));
        }
        if let (Some(fields), Some(bytes)) = (&append.summary, summary) {
            self.put(if seq == 0 { FRESH } else { REPLACES }, &keys::summary(run), bytes);
            if seq == 0 {
                self.put(FRESH, &keys::history_of(&fields.flow, run), &[]);
            }
            if seq == 0 && fields.status == Status::Rejected {
                self.put(FRESH, &keys::rejected(run), &[]);
            }
            match (seq, fields.status.is_ended()) {
                (0, true) | (1.., false) => {}
                (0, false) => self.put(FRESH, &keys::open(run), &[]),
                (1.., true) => self.take_out(&keys::open(run), 0),
            }
            self.runs.insert(run, fields.status);
        }
        if let Some(parts) = &append.definition {
            self.define(parts, memory)?;
        }
        Ok(Appended::Durable)
    }

    pub fn set(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), String> {
        let key = keys::setting(name);
        match value {
            // As if the one before were as long: settings are few.
            Some(value) if self.store.contains(&key)? => self.put(REPLACES, &key, value),
            Some(value) => self.put(0, &key, value),
            None => {
                let value = self.store.get(&key)?;
                self.take_out(&key, value.map_or(0, |value| value.len()));
            }
        }
        Ok(())
    }

    fn put(&mut self, flags: u8, key: &[u8], value: &[u8]) {
        self.batch.push(&Entry::Put { flags, key, value });
    }

    /// Removes an entry whose value is of this length.
    fn take_out(&mut self, key: &[u8], value: usize) {
        self.batch.push(&Entry::Remove { key, freed: weight(key.len(), value) });
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
        // One that has run out is replaced.
        self.put(if held.is_some() { REPLACES } else { 0 }, &key, &encode(run, claim.until_ms));
        self.put(FRESH, &keys::claim_of(run), &key);
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

    fn define(&mut self, parts: &Pinned, memory: &mut Memory) -> Result<(), String> {
        let Some((hash, _)) = parts.first().filter(|(hash, _)| !memory.definitions.contains(hash)) else {
            return Ok(());
        };
        // Where there is the first there are the others.
        if !self.store.contains(&keys::definition(hash))? {
            for (hash, text) in parts.iter() {
                if !self.store.contains(&keys::definition(hash))? {
                    self.batch.push(&Entry::Definition { flags: 0, hash, text: text.as_bytes() });
                }
            }
        }
        if memory.definitions.len() >= KNOWN {
            memory.definitions.clear();
        }
        // True once the batch is durable; if it never is, there is no later batch.
        memory.definitions.insert(*hash);
        Ok(())
    }

    fn remove_one(&mut self, run: RunId) -> Result<(), String> {
        let summary = self.store.get(&keys::summary(run))?;
        for entry in self.store.scan(&keys::records(run)) {
            let (key, raw) = entry?;
            let freed = store::weight_of(&raw.pointers());
            self.batch.push(&Entry::Remove { key: &key, freed });
        }
        let fields = summary.as_deref().map(list::decode).transpose()?;
        if let Some(key) = self.store.get(&keys::claim_of(run))? {
            self.take_out(&keys::claim_of(run), key.len());
            let failed = fields.as_ref().is_some_and(|fields| has_failed(fields.status));
            let held = self.store.get(&key)?.map(|value| decode(&value)).transpose()?;
            if failed && held.is_some_and(|(holder, _)| holder == run) && !self.claims.contains_key(&key[..]) {
                self.take_out(&key, CLAIM_BYTES);
            }
        }
        if let Some(fields) = fields {
            self.take_out(&keys::history_of(&fields.flow, run), 0);
            self.take_out(&keys::summary(run), summary.map_or(0, |bytes| bytes.len()));
        }
        // Also where nothing else is left of the run.
        if self.store.contains(&keys::rejected(run))? {
            self.take_out(&keys::rejected(run), 0);
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
            let (key, raw) = entry?;
            if key.first() != Some(&keys::CLAIM) {
                last = None;
                break;
            }
            let (_, until_ms) = decode(raw.value())?;
            if until_ms <= now_ms && !self.claims.contains_key(&key[..]) {
                self.take_out(&key, CLAIM_BYTES);
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
