//! Many runs that are durable together, or not at all.
//!
//! The store holds on to all that a batch replaces until the batch is whole: 100,000 runs in one took 2.4 GB. So a
//! large group is written in several batches, between a note of its runs and the removal of that note. A note that
//! is there when the journal opens is of a group that was cut short: nobody was told of it, and it is taken back.

use std::fs::File;
use std::io;

use super::draft::{Draft, Memory};
use super::keys;
use super::store::Store;
use super::{Append, Appended};
use crate::run::RunId;

/// Most runs of one batch.
pub const CHUNK: usize = 250;
/// The setting that names the runs of a group that is being written.
const NOTE: &str = "together";

type Sync<'s> = &'s mut dyn FnMut(&File) -> io::Result<()>;

/// Writes the group and makes it durable. Nothing else may be written in between: what others would be told of its
/// runs might be taken back.
pub fn write(
    store: &Store,
    sync: Sync<'_>,
    appends: &[(Append, Option<Vec<u8>>)],
    memory: &mut Memory,
) -> Result<Vec<Appended>, String> {
    let runs: Vec<u8> = appends.iter().flat_map(|(append, _)| *append.run.0.as_bytes()).collect();
    let mut draft = Draft::new(store);
    draft.set(NOTE, Some(&runs))?;
    commit(store, sync, draft)?;
    let mut became = Vec::with_capacity(appends.len());
    for chunk in appends.chunks(CHUNK) {
        let mut draft = Draft::new(store);
        for (append, summary) in chunk {
            became.push(draft.append(append, summary.as_deref(), memory)?);
        }
        if became.len() == appends.len() {
            draft.set(NOTE, None)?;
        }
        commit(store, sync, draft)?;
    }
    Ok(became)
}

/// Takes back a group that was cut short, if there is one.
pub fn take_back(store: &Store, sync: Sync<'_>) -> Result<(), String> {
    let Some(runs) = store.get_parts(&keys::setting(NOTE))? else {
        return Ok(());
    };
    let runs: Vec<RunId> = runs.as_chunks::<16>().0.iter().map(|bytes| RunId(uuid::Uuid::from_bytes(*bytes))).collect();
    for chunk in runs.chunks(CHUNK) {
        let mut draft = Draft::new(store);
        for run in chunk {
            draft.undo(*run)?;
        }
        commit(store, sync, draft)?;
    }
    let mut draft = Draft::new(store);
    draft.set(NOTE, None)?;
    commit(store, sync, draft)
}

fn commit(store: &Store, sync: Sync<'_>, draft: Draft<'_>) -> Result<(), String> {
    draft.finish().map_or(Ok(()), |batch| store.commit(batch, sync))
}
