//! Watches the folders: waits until they are quiet, then reloads what changed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::Catalog;
use super::folder::{self, Stamp};
use super::load::CONNECTIONS;

/// How long the folders must be quiet where more is likely to come: editors write in several steps.
const QUIET: Duration = Duration::from_millis(40);
/// How long where each file that changed was closed, or renamed to where it is: then it is whole.
const SETTLED: Duration = Duration::from_millis(8);
/// The longest that constant writing can put a reload off.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often to look where the system cannot tell of changes.
const POLL: Duration = Duration::from_secs(2);

/// Stops watching when dropped.
pub struct Watch {
    stop: Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.stop.send(Signal::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

enum Signal {
    /// What happened, or that something did of which nothing is known.
    Changed(Option<Event>),
    Stop,
}

pub(super) fn start(catalog: Arc<Catalog>) -> Watch {
    let (send, receive) = channel();
    let events = send.clone();
    let run = move || Watching::new(catalog, events).run(&receive);
    let thread = std::thread::Builder::new().name("watch".into()).spawn(run);
    let thread = thread.map_err(|error| tracing::error!(%error, "the folders are not watched")).ok();
    Watch { stop: send, thread }
}

struct Watching {
    catalog: Arc<Catalog>,
    watcher: Option<RecommendedWatcher>,
    /// Folders under watch, and which folder each was: one that is replaced must be watched anew.
    folders: HashMap<PathBuf, (u64, u64)>,
    /// Those whose YAML files are flows, and that have this one name only: of these an event names the file.
    plain: HashSet<PathBuf>,
}

impl Watching {
    fn new(catalog: Arc<Catalog>, events: Sender<Signal>) -> Watching {
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.as_ref().is_ok_and(|event| is_reading(&event.kind)) {
                return;
            }
            let _ = events.send(Signal::Changed(event.ok()));
        });
        let watcher = watcher.map_err(|error| tracing::warn!(%error, "looking for changes every 2 s")).ok();
        Watching { catalog, watcher, folders: HashMap::new(), plain: HashSet::new() }
    }

    fn run(mut self, signals: &Receiver<Signal>) {
        self.cover();
        // Whatever changed between the first load and the first watch, a new folder too.
        self.catalog.reload();
        if self.cover() {
            self.catalog.reload();
        }
        loop {
            let signal = if self.watcher.is_some() {
                signals.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                signals.recv_timeout(POLL)
            };
            let changes = match signal {
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Signal::Changed(event)) => {
                    let mut changes = Changes::default();
                    let matters = |path: &Path| self.matters(path);
                    changes.add(event, &matters);
                    if changes.is_empty() {
                        continue;
                    }
                    if changes.settle(signals, &matters) {
                        return;
                    }
                    changes
                }
                Err(RecvTimeoutError::Timeout) => Changes { unknown: true, ..Changes::default() },
            };
            match self.files_of(&changes) {
                Some(files) if files.is_empty() => {}
                Some(files) => {
                    // What it names may be in a folder that was not watched before.
                    self.catalog.reload_only(&files);
                    if self.cover() {
                        self.catalog.reload();
                    }
                }
                None => {
                    self.cover();
                    self.catalog.reload();
                    // A file that the reload found may name others, in folders not watched before.
                    if self.cover() {
                        self.catalog.reload();
                    }
                }
            }
        }
    }

    /// False for a file of the project folder itself that nothing here reads, as a log that is written there without end.
    fn matters(&self, path: &Path) -> bool {
        let beside = path.parent().is_some_and(|folder| self.catalog.is_project(folder));
        let named = || path.file_name().is_some_and(|name| name == CONNECTIONS || self.catalog.is_named(name));
        // What went away may have been a folder, or a link to one.
        !beside || named() || !fs::symlink_metadata(path).is_ok_and(|one| one.is_file())
    }

    /// The flow files that changed, if nothing else did that matters.
    fn files_of(&self, changes: &Changes) -> Option<BTreeSet<PathBuf>> {
        if changes.unknown {
            return None;
        }
        let mut files = BTreeSet::new();
        for path in &changes.paths {
            let name = path.file_name().unwrap_or_default();
            let plain = path.parent().is_some_and(|parent| self.plain.contains(parent));
            let is_file = fs::symlink_metadata(path).map_or(!self.folders.contains_key(path), |one| one.is_file());
            if !plain || !is_file || self.catalog.is_named(name) {
                return None;
            }
            if folder::is_flow(name) {
                files.insert(path.clone());
            }
        }
        Some(files)
    }

    /// Watches each folder that matters; true if one is new.
    fn cover(&mut self) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let (folders, flows, linked) = self.catalog.folders();
        let mut wanted = HashMap::new();
        // The system knows a folder, not its names: watched under two of them, it tells of one, and leaving that one
        // off would leave off both.
        let mut seen: HashMap<(u64, u64), PathBuf> = HashMap::new();
        // Flow folders first, since their names are those of flow files.
        for folder in flows.iter().chain(&folders) {
            if let Some(stamp) = Stamp::of(folder) {
                let first = seen.entry(stamp.identity()).or_insert_with(|| folder.clone());
                if first == folder {
                    wanted.insert(folder.clone(), stamp.identity());
                }
            }
        }
        // Through a link a file has a second name, which no event tells of.
        let flows = if linked { Vec::new() } else { flows };
        let mut names: HashMap<(u64, u64), u32> = HashMap::new();
        let identities = flows.iter().filter_map(|folder| Stamp::of(folder)).map(Stamp::identity);
        identities.for_each(|identity| *names.entry(identity).or_default() += 1);
        let alone = |folder: &&PathBuf| wanted.get(*folder).is_some_and(|identity| names.get(identity) == Some(&1));
        self.plain = flows.iter().filter(alone).cloned().collect();
        for (folder, identity) in &self.folders {
            if wanted.get(folder) != Some(identity) {
                let _ = watcher.unwatch(folder);
            }
        }
        let mut grown = false;
        let mut failed = None;
        for (folder, identity) in &wanted {
            if self.folders.get(folder) != Some(identity) {
                grown = true;
                if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                    failed = Some(error);
                }
            }
        }
        self.folders = wanted;
        if let Some(error) = failed {
            tracing::warn!(%error, "a folder cannot be watched; looking for changes every 2 s instead");
            self.watcher = None;
        }
        grown
    }
}

/// What happened since the last reload.
#[derive(Default)]
struct Changes {
    paths: BTreeSet<PathBuf>,
    /// Something else happened: only a look at everything tells what.
    unknown: bool,
    /// Files that are being written.
    open: HashSet<PathBuf>,
    /// Files that went away; what replaces it may follow.
    gone: HashSet<PathBuf>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.unknown
    }

    fn add(&mut self, event: Option<Event>, matters: &dyn Fn(&Path) -> bool) {
        let Some(event) = event.filter(|event| !event.need_rescan() && !event.paths.is_empty()) else {
            self.unknown = true;
            return;
        };
        for path in event.paths {
            if is_leaving(&path, &event.kind) || !matters(&path) {
                continue;
            }
            match event.kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write))
                | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)) => {
                    self.open.remove(&path);
                    self.gone.remove(&path);
                }
                EventKind::Create(CreateKind::Folder) | EventKind::Modify(ModifyKind::Metadata(_)) => {}
                EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => {
                    self.open.remove(&path);
                    self.gone.insert(path.clone());
                }
                _ => {
                    self.open.insert(path.clone());
                }
            }
            self.paths.insert(path);
        }
    }

    /// Waits until nothing changes any more; true if it is time to stop.
    fn settle(&mut self, signals: &Receiver<Signal>, matters: &dyn Fn(&Path) -> bool) -> bool {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let settled = self.open.is_empty() && self.gone.is_empty() && !self.unknown;
            match signals.recv_timeout(if settled { SETTLED } else { QUIET }) {
                Ok(Signal::Changed(event)) => self.add(event, matters),
                Err(RecvTimeoutError::Timeout) => return false,
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
        false
    }
}

/// True for what editors leave behind beside the files they write. Not for links and folders, since what they lead to
/// may be what matters, nor for what is taken away, which may have been one.
fn is_leaving(path: &Path, kind: &EventKind) -> bool {
    let named = path.file_name().is_some_and(folder::is_passed_over);
    named && !kind.is_remove() && fs::symlink_metadata(path).map_or(true, |one| one.is_file())
}

/// True for what changes no file.
fn is_reading(kind: &EventKind) -> bool {
    kind.is_access() && !matches!(kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}
