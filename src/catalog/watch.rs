//! Watches the folders: waits until they are quiet, then reloads.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::Catalog;
use super::folder::Stamp;

/// How long the folders must be quiet: editors write in several steps.
const QUIET: Duration = Duration::from_millis(40);
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
    Changed,
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
}

impl Watching {
    fn new(catalog: Arc<Catalog>, events: Sender<Signal>) -> Watching {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = events.send(Signal::Changed);
            }
        });
        let watcher = watcher.map_err(|error| tracing::warn!(%error, "looking for changes every 2 s")).ok();
        Watching { catalog, watcher, folders: HashMap::new() }
    }

    fn run(mut self, signals: &Receiver<Signal>) {
        self.cover();
        // Whatever changed between the first load and the first watch.
        self.catalog.reload();
        loop {
            let signal = if self.watcher.is_some() {
                signals.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                signals.recv_timeout(POLL)
            };
            match signal {
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Signal::Changed) => {
                    if settle(signals) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.cover();
            self.catalog.reload();
            // A file that the reload found may name others, in folders not watched before.
            if self.cover() {
                self.catalog.reload();
            }
        }
    }

    /// Watches each folder that matters; true if one is new.
    fn cover(&mut self) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let mut wanted = HashMap::new();
        for folder in self.catalog.folders() {
            if let Some(stamp) = Stamp::of(&folder) {
                wanted.insert(folder, stamp.identity());
            }
        }
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

/// Waits until nothing changes any more; true if it is time to stop.
fn settle(signals: &Receiver<Signal>) -> bool {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match signals.recv_timeout(QUIET) {
            Ok(Signal::Changed) => {}
            Err(RecvTimeoutError::Timeout) => return false,
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return true,
        }
    }
    false
}
