//! What is read back: records, summaries and their lists, settings.

use super::Filter;
use super::keys::{self, RUN_LEN};
use super::store::{Raw, Store};
use crate::run::{RunId, Summary};

/// The first byte of a stored summary; JSON follows.
const SUMMARY_VERSION: u8 = 1;
/// A reason is one line in a list. Longer ones are in the records.
const REASON_BYTES: usize = 1_000;
/// A run's id and its start are taken from the clock one after the other; lists by time look this much further.
const SLACK_MS: i64 = 60_000;

/// A summary as stored.
pub fn encode(summary: &Summary) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(320);
    bytes.push(SUMMARY_VERSION);
    let long = summary.reason.as_ref().filter(|reason| reason.len() > REASON_BYTES);
    let result = match long {
        None => serde_json::to_writer(&mut bytes, summary),
        Some(reason) => {
            let cut = reason.floor_char_boundary(REASON_BYTES);
            let reason = Some(format!("{}…", &reason[..cut]));
            serde_json::to_writer(&mut bytes, &Summary { reason, ..summary.clone() })
        }
    };
    result.expect("a summary is plain JSON data, and a Vec takes it");
    bytes
}

pub fn decode(bytes: &[u8]) -> Result<Summary, String> {
    match bytes.split_first() {
        Some((&SUMMARY_VERSION, json)) => {
            serde_json::from_slice(json).map_err(|error| format!("a run's summary is damaged: {error}"))
        }
        Some((version, _)) => Err(format!("a run's summary was written by a newer version of Millstream ({version})")),
        None => Err("a run's summary is empty".to_string()),
    }
}

pub fn summary(store: &Store, run: RunId) -> Result<Option<Summary>, String> {
    store.get(&keys::summary(run))?.map(|bytes| decode(&bytes)).transpose()
}

/// Shows a run's records in order, one at a time; returns how many there are.
pub fn each_record(
    store: &Store,
    run: RunId,
    show: &mut dyn FnMut(Vec<u8>) -> Result<(), String>,
) -> Result<u32, String> {
    for seq in 0.. {
        let key = keys::record(run, seq);
        match store.read(&key, (seq % keys::CHUNK) as usize)? {
            Some(record) => show(record)?,
            // A hole means that what follows happened on grounds we no longer have.
            None if has_more(store, run, seq)? => return Err(format!("record {seq} of run {run} is missing")),
            None => return Ok(seq),
        }
    }
    Ok(u32::MAX)
}

/// True if there is a record of the run after this one.
fn has_more(store: &Store, run: RunId, seq: u32) -> Result<bool, String> {
    let behind = store.pointers(&keys::record(run, seq))?.len() > (seq % keys::CHUNK) as usize + 1;
    let next = seq.saturating_add(keys::CHUNK);
    Ok(behind || store.contains(&keys::record(run, next))?)
}

pub fn open_runs(store: &Store) -> Result<Vec<RunId>, String> {
    let runs = store.scan(&[keys::OPEN]);
    runs.map(|entry| entry.and_then(|(key, _)| run_of(&key))).collect()
}

/// Oldest first.
pub fn rejected_runs(store: &Store) -> Result<Vec<RunId>, String> {
    let runs = store.scan(&[keys::REJECTED]);
    runs.map(|entry| entry.and_then(|(key, _)| run_of(&key))).collect()
}

pub fn summaries(store: &Store, filter: &Filter, cursor: Option<RunId>, limit: usize) -> Result<Vec<Summary>, String> {
    let base = filter.flow.as_deref().map_or_else(|| vec![keys::SUMMARY], keys::history);
    let since = filter.since_ms.map(|ms| first_at(ms.saturating_sub(SLACK_MS)));
    let until = filter.until_ms.map(|ms| first_at(ms.saturating_add(SLACK_MS)));
    let cursor = cursor.map(|run| *run.0.as_bytes());
    let before = cursor.into_iter().chain(until).min();

    let low = [&base[..], &since.unwrap_or([0; RUN_LEN])].concat();
    let high = match before {
        Some(before) => [&base[..], &before].concat(),
        // One byte longer than any run's key.
        None => [&base[..], &[0xff; RUN_LEN + 1]].concat(),
    };
    let mut found = Vec::new();
    if limit == 0 || low >= high {
        return Ok(found);
    }
    for entry in store.backwards(&low, &high) {
        let (key, raw) = entry?;
        let summary = match filter.flow {
            None => decode(raw.value())?,
            Some(_) => match summary(store, run_of(&key)?)? {
                Some(summary) => summary,
                // Removed since the scan came by its index entry.
                None => continue,
            },
        };
        if fits(filter, &summary) {
            found.push(summary);
            if found.len() == limit {
                break;
            }
        }
    }
    Ok(found)
}

pub fn oldest(store: &Store, after: Option<RunId>, limit: usize) -> Result<Vec<Summary>, String> {
    let from = after.map_or_else(|| vec![keys::SUMMARY], |run| keys::summary(run).to_vec());
    let mut found = Vec::new();
    for entry in store.after(&from).take(limit) {
        let (key, raw) = entry?;
        if key.first() != Some(&keys::SUMMARY) {
            break;
        }
        found.push(decode(raw.value())?);
    }
    Ok(found)
}

pub fn settings(store: &Store, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
    let setting = |entry: Result<(Vec<u8>, Raw), String>| {
        let (key, raw) = entry?;
        let name = std::str::from_utf8(&key[1..]).map_err(|error| error.to_string())?;
        Ok((name.to_string(), raw.value().to_vec()))
    };
    store.scan(&keys::setting(prefix)).map(setting).collect()
}

fn fits(filter: &Filter, summary: &Summary) -> bool {
    let at = summary.started_at.as_millisecond();
    filter.status.is_none_or(|status| status == summary.status)
        && filter.flow.as_ref().is_none_or(|flow| *flow == summary.flow)
        && filter.since_ms.is_none_or(|since| at >= since)
        && filter.until_ms.is_none_or(|until| at < until)
}

/// The least id a run can have that starts at `ms`: ids begin with it, in 48 bits.
fn first_at(ms: i64) -> [u8; RUN_LEN] {
    let mut id = [0; RUN_LEN];
    let ms = ms.clamp(0, (1 << 48) - 1);
    id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    id
}

fn run_of(key: &[u8]) -> Result<RunId, String> {
    keys::run_at_end(key).ok_or_else(|| "an index key is too short".to_string())
}
