//! Last good versions, kept in the data folder so that a restart has them too.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use sha2::{Digest as _, Sha256};

use super::Loader;
use crate::catalog::{Definition, LiveFlow, last_good};
use crate::run::Digest;

/// So many copies are written before the flows are live. More than that, as at the first start with many flows, are
/// written while they are: nobody should wait for them.
const AT_ONCE: usize = 64;
/// More files than this are synced with all else that the file system has, which is sooner done.
const ONE_BY_ONE: usize = 16;

/// The copies of flows that are live. Without a folder nothing is kept.
pub(super) struct Copies {
    folder: Option<PathBuf>,
    pending: Mutex<Vec<Arc<LiveFlow>>>,
    writing: Mutex<Option<JoinHandle<()>>>,
}

impl Copies {
    pub fn new(folder: Option<PathBuf>) -> Copies {
        Copies { folder, pending: Mutex::default(), writing: Mutex::default() }
    }

    /// This version is good: once [`Copies::finish`] is called its copy is written, if it is not there.
    pub fn keep(&self, live: &Arc<LiveFlow>) {
        if self.folder.is_some() {
            lock(&self.pending).push(live.clone());
        }
    }

    /// Writes what is pending; `first`: at a start, when many may be written later.
    pub fn finish(&self, first: bool) {
        let pending = std::mem::take(&mut *lock(&self.pending));
        let Some(folder) = self.folder.clone().filter(|_| !pending.is_empty()) else { return };
        self.wait();
        if first && pending.len() > AT_ONCE {
            let write = {
                let (folder, pending) = (folder.clone(), pending.clone());
                move || write(&folder, &pending)
            };
            if let Ok(thread) = thread::Builder::new().name("copies".into()).spawn(write) {
                *lock(&self.writing) = Some(thread);
                return;
            }
        }
        write(&folder, &pending);
    }

    /// The last good version of a file, by its path from the project folder.
    pub fn read(&self, file: &Path) -> Option<Arc<LiveFlow>> {
        let folder = self.folder.as_deref()?;
        self.wait();
        let text = fs::read_to_string(copy_of(folder, file)).ok()?;
        let live = Definition::open(&text, |hash| Ok(fs::read_to_string(part_of(folder, hash)).ok()));
        live.map_err(|why| tracing::warn!(file = %file.display(), %why, "the last good version could not be read"))
            .ok()
            .map(Arc::new)
    }

    pub fn remove(&self, file: &Path) {
        let Some(folder) = &self.folder else { return };
        self.wait();
        let _ = fs::remove_file(copy_of(folder, file));
    }

    /// What is written later must not be older than what is written now.
    fn wait(&self) {
        if let Some(thread) = lock(&self.writing).take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.wait();
    }
}

impl Loader {
    /// Keeps what a restart must know beside the last good flows.
    pub(super) fn keep(&self, name: &str, content: &[u8]) {
        let Some(data) = &self.data else { return };
        let path = last_good(data).join(name);
        if fs::read(&path).is_ok_and(|kept| kept == content) {
            return;
        }
        if let Err(error) = prepare(&path, content).and_then(|()| settle(&last_good(data), std::slice::from_ref(&path)))
        {
            tracing::warn!(file = %path.display(), %error, "what is good now could not be kept for a restart");
        }
    }
}

fn write(folder: &Path, all: &[Arc<LiveFlow>]) {
    let mut fresh = Vec::new();
    let mut there = HashSet::new();
    for live in all {
        if let Err(error) = write_one(folder, live, &mut fresh, &mut there) {
            tracing::warn!(file = %live.file.display(), %error, "the last good version could not be kept");
        }
    }
    if let Err(error) = settle(folder, &fresh) {
        tracing::warn!(folder = %folder.display(), %error, "the last good versions could not be kept");
    }
}

/// Writes what is missing of a copy beside its place, in the order in which it may take it: what the copy names first.
fn write_one(
    folder: &Path,
    live: &LiveFlow,
    fresh: &mut Vec<PathBuf>,
    there: &mut HashSet<PathBuf>,
) -> std::io::Result<()> {
    let copy = copy_of(folder, &live.file);
    let Some(((_, own), connectors)) = live.definition.split_first() else { return Ok(()) };
    if fs::read(&copy).is_ok_and(|text| text == own.as_bytes()) {
        return Ok(());
    }
    for (hash, text) in connectors {
        let part = part_of(folder, hash);
        if !there.contains(&part) && !part.exists() {
            prepare(&part, text.as_bytes())?;
            fresh.push(part.clone());
        }
        there.insert(part);
    }
    prepare(&copy, own.as_bytes())?;
    fresh.push(copy);
    Ok(())
}

/// Where the text of a connector is that copies name by its hash.
fn part_of(folder: &Path, hash: &[u8; 32]) -> PathBuf {
    folder.join(Digest(*hash).to_string())
}

fn copy_of(folder: &Path, file: &Path) -> PathBuf {
    let name = Sha256::digest(file.to_string_lossy().as_bytes());
    let name: String = name.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    folder.join(name)
}

/// Writes what is to be a file beside its place.
fn prepare(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = match fs::File::create(&fresh) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            fs::File::create(&fresh)?
        }
        file => file?,
    };
    file.write_all(content)
}

/// Puts these files of a folder in their places, once all are on disk: after a crash each is the old one or the new one,
/// never half of either.
fn settle(folder: &Path, fresh: &[PathBuf]) -> std::io::Result<()> {
    if fresh.is_empty() {
        return Ok(());
    }
    let folder = fs::File::open(folder)?;
    if fresh.len() > ONE_BY_ONE {
        rustix::fs::syncfs(&folder)?;
    } else {
        fresh.iter().try_for_each(|path| fs::File::open(path.with_extension("new"))?.sync_all())?;
    }
    fresh.iter().try_for_each(|path| fs::rename(path.with_extension("new"), path))?;
    folder.sync_all()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
