//! Keys of the index: the first byte says what an entry is.
//!
//! ```text
//! r run chunk         where its records are, 64 each     o run              an open run
//! s run               its summary                        f len flow run     a flow's history
//! k len flow key      a dedupe claim                     c run              the claim a run made
//! d sha256            where a definition is              m name             a setting
//! j run               a rejected run                     l                  the first segment of the log
//! ```
//! Numbers are big-endian, so order by bytes is order by run and by record. Runs start in the order of their ids, so
//! new entries meet in few pages.

use crate::run::RunId;

/// Segments before this number were dropped on purpose.
pub const FIRST: &[u8] = b"l";
pub const OPEN: u8 = b'o';
pub const SUMMARY: u8 = b's';
pub const REJECTED: u8 = b'j';
pub const CLAIM: u8 = b'k';
pub const SETTING: u8 = b'm';
pub const RECORD: u8 = b'r';
const FLOW: u8 = b'f';
const CLAIM_OF: u8 = b'c';
pub const DEFINITION: u8 = b'd';
/// Kinds of entries whose values are in the index itself.
pub const VALUES: [u8; 7] = [OPEN, SUMMARY, REJECTED, CLAIM, CLAIM_OF, SETTING, FLOW];
/// Records whose places stand in one entry.
pub const CHUNK: u32 = 64;

pub const RUN_LEN: usize = 16;

/// The entry of `kind` that a run has one of.
fn of_run(kind: u8, run: RunId) -> [u8; 1 + RUN_LEN] {
    let mut key = [kind; 1 + RUN_LEN];
    key[1..].copy_from_slice(run.0.as_bytes());
    key
}

pub fn open(run: RunId) -> [u8; 1 + RUN_LEN] {
    of_run(OPEN, run)
}

pub fn summary(run: RunId) -> [u8; 1 + RUN_LEN] {
    of_run(SUMMARY, run)
}

pub fn rejected(run: RunId) -> [u8; 1 + RUN_LEN] {
    of_run(REJECTED, run)
}

pub fn claim_of(run: RunId) -> [u8; 1 + RUN_LEN] {
    of_run(CLAIM_OF, run)
}

/// What the entries of all records of a run start with.
pub fn records(run: RunId) -> [u8; 1 + RUN_LEN] {
    of_run(RECORD, run)
}

/// The entry that says where this record of a run is, with 63 others.
pub fn record(run: RunId, seq: u32) -> [u8; 5 + RUN_LEN] {
    let mut key = [0; 5 + RUN_LEN];
    key[..=RUN_LEN].copy_from_slice(&records(run));
    key[1 + RUN_LEN..].copy_from_slice(&(seq / CHUNK).to_be_bytes());
    key
}

/// The run and the number of 64 records whose places an entry has.
pub fn record_of(key: &[u8]) -> Option<(RunId, u32)> {
    let (run, chunk) = key.get(1..)?.split_first_chunk::<RUN_LEN>()?;
    Some((RunId(uuid::Uuid::from_bytes(*run)), u32::from_be_bytes(chunk.try_into().ok()?)))
}

pub fn definition(hash: &[u8; 32]) -> [u8; 33] {
    let mut key = [DEFINITION; 33];
    key[1..].copy_from_slice(hash);
    key
}

/// A setting, and what all settings start with whose names do.
pub fn setting(name: &str) -> Vec<u8> {
    [&[SETTING], name.as_bytes()].concat()
}

/// What a flow's whole history starts with. The length keeps flows apart of which one begins with the other.
pub fn history(flow: &str) -> Vec<u8> {
    with_flow(FLOW, flow, &[])
}

pub fn history_of(flow: &str, run: RunId) -> Vec<u8> {
    with_flow(FLOW, flow, run.0.as_bytes())
}

/// Stands for a run that is known to have lost records.
pub fn lost(run: RunId) -> Vec<u8> {
    setting(&format!("lost/{run}"))
}

pub fn claim(flow: &str, key: &[u8; 32]) -> Vec<u8> {
    with_flow(CLAIM, flow, key)
}

fn with_flow(kind: u8, flow: &str, rest: &[u8]) -> Vec<u8> {
    // Flow ids are short by the rules of the language; a longer one would only sort oddly.
    let len = u16::try_from(flow.len()).unwrap_or(u16::MAX);
    let mut key = Vec::with_capacity(3 + flow.len() + rest.len());
    key.push(kind);
    key.extend_from_slice(&len.to_be_bytes());
    key.extend_from_slice(flow.as_bytes());
    key.extend_from_slice(rest);
    key
}

/// The run that the last bytes of a key name.
pub fn run_at_end(key: &[u8]) -> Option<RunId> {
    let bytes = key.last_chunk::<RUN_LEN>()?;
    Some(RunId(uuid::Uuid::from_bytes(*bytes)))
}
