//! Loads the user's folders, watches them, and swaps what is live whole, flow by flow.
//!
//! A file with errors never takes down what is live: its last good version stays, over a restart too (a copy lies in
//! the data folder), and its problems are kept for the command line, the API and the log.

mod alerts;
mod connections;
mod definition;
mod drafts;
mod folder;
mod load;
mod watch;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use serde_json::{Map, Value};
use tokio::sync::watch as watch_channel;

use crate::config::{Alerts, Config};
use crate::connector::Connectors;
use crate::flow::{Flow, Problem, Severity};
use crate::run::{Digest, Pinned};

pub use connections::Connections;
pub use definition::Definition;
pub use drafts::plain_path;
pub use watch::Watch;

/// A flow that is live, with the definition that its runs pin.
#[derive(Debug)]
pub struct LiveFlow {
    pub flow: Arc<Flow>,
    pub digest: Digest,
    /// What its runs pin, in parts: SHA-256 and text of each ([`Definition`]). The first is the flow's own, and its hash
    /// is the digest; the others are connectors, which all flows that use them share.
    pub definition: Pinned,
    /// The file it was read from, from the project folder.
    pub file: PathBuf,
}

impl LiveFlow {
    /// The file's text as it was read.
    pub fn text(&self) -> String {
        let own = self.definition.first().map_or("", |(_, text)| text);
        serde_json::from_str::<Definition>(own).map(|definition| definition.flow).unwrap_or_default()
    }
}

/// Everything that is live at one moment.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    /// The project folder.
    pub dir: PathBuf,
    pub flows: HashMap<String, Arc<LiveFlow>>,
    /// Former ids and the flows they lead to.
    pub aliases: HashMap<String, String>,
    pub connectors: Connectors,
    pub connections: Connections,
    /// The allow-listed environment, an object.
    pub env: Value,
    /// What is wrong with the files as they are now.
    pub problems: Vec<Problem>,
}

impl Snapshot {
    /// The flow of this id, or of this former id.
    pub fn flow(&self, name: &str) -> Option<&Arc<LiveFlow>> {
        self.flows.get(name).or_else(|| self.flows.get(self.aliases.get(name)?))
    }

    fn check_alerts(&mut self, alerts: Option<&Alerts>) {
        self.problems.retain(|problem| problem.file != Path::new(alerts::FILE));
        let found = alerts.and_then(|alerts| alerts::problem(alerts, self));
        self.problems.extend(found);
    }

    /// True if no file has an error.
    pub fn is_sound(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity != Severity::Error)
    }
}

/// The live flows, connections and connectors of one project folder.
pub struct Catalog {
    current: ArcSwap<Snapshot>,
    loader: Mutex<load::Loader>,
    changed: watch_channel::Sender<()>,
    alerts: Option<Alerts>,
}

impl Catalog {
    /// Reads the folder `dir`. With `data`, last good versions are kept there and used where a file has errors.
    pub fn load(dir: &Path, data: Option<&Path>, config: &Config) -> Catalog {
        let env: Map<String, Value> = config
            .env
            .iter()
            .filter_map(|name| Some((name.clone(), Value::String(std::env::var(name).ok()?))))
            .collect();
        let mut loader = load::Loader::new(dir.to_owned(), data.map(Path::to_owned), config.env.clone(), env);
        let mut snapshot = loader.load();
        let alerts = config.alerts.clone();
        snapshot.check_alerts(alerts.as_ref());
        let changed = watch_channel::Sender::new(());
        Catalog { current: ArcSwap::from_pointee(snapshot), loader: Mutex::new(loader), changed, alerts }
    }

    /// What is live now.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Reads what has changed and swaps it in; writes one log line for each change and each problem.
    pub fn reload(&self) {
        self.swap(|loader, _| loader.load());
    }

    /// The same where nothing but these flow files has changed.
    fn reload_only(&self, files: &BTreeSet<PathBuf>) {
        self.swap(|loader, before| loader.load_only(files, before));
    }

    /// Takes `text` for what is in the file at `path` (absolute, in the project folder), whatever the disk has; `None`:
    /// what the disk has again. Reads what that concerns. Nobody is told, since who edits knows.
    pub fn edit(&self, path: &Path, text: Option<String>) {
        let mut loader = self.loader();
        let before = self.current.load_full();
        let mut after = loader.edit(path, text, &before);
        after.check_alerts(self.alerts.as_ref());
        self.current.store(Arc::new(after));
    }

    fn swap(&self, load: impl FnOnce(&mut load::Loader, &Snapshot) -> Snapshot) {
        let mut loader = self.loader();
        let before = self.current.load_full();
        let mut after = load(&mut loader, &before);
        after.check_alerts(self.alerts.as_ref());
        let after = Arc::new(after);
        self.current.store(after.clone());
        self.changed.send_replace(());
        tell(&before, &after);
    }

    /// Tells of each reload from now on.
    pub fn changes(&self) -> watch_channel::Receiver<()> {
        self.changed.subscribe()
    }

    /// Reloads whenever the folders change, until the returned guard is dropped.
    pub fn watch(self: &Arc<Self>) -> Watch {
        watch::start(self.clone())
    }

    /// See [`load::Loader::folders`].
    fn folders(&self) -> (BTreeSet<PathBuf>, Vec<PathBuf>, bool) {
        self.loader().folders()
    }

    /// See [`load::Loader::is_named`].
    fn is_named(&self, name: &OsStr) -> bool {
        self.loader().is_named(name)
    }

    /// True for the project folder itself.
    fn is_project(&self, folder: &Path) -> bool {
        self.current.load().dir == folder
    }

    fn loader(&self) -> MutexGuard<'_, load::Loader> {
        self.loader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every YAML file in a folder and below, in order; hidden ones and editors' leavings are passed over.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    folder::walk(folder).files.into_keys().collect()
}

/// The folder where the last good versions lie.
fn last_good(data: &Path) -> PathBuf {
    data.join("last-good")
}

/// One log line for each change and each new problem.
fn tell(before: &Snapshot, after: &Snapshot) {
    for (id, live) in &after.flows {
        match before.flows.get(id) {
            None => tracing::info!(flow = %id, file = %live.file.display(), "flow is live"),
            Some(old) if old.digest != live.digest => {
                tracing::info!(flow = %id, file = %live.file.display(), "flow changed");
            }
            Some(_) => {}
        }
    }
    for (id, live) in before.flows.iter().filter(|(id, _)| !after.flows.contains_key(*id)) {
        tracing::info!(flow = %id, file = %live.file.display(), "flow is gone");
    }
    for (name, connection) in &after.connections {
        if before.connections.get(name) != Some(connection) {
            tracing::info!(connection = %name, "connection is live");
        }
    }
    let known: HashSet<&Problem> = before.problems.iter().collect();
    after.problems.iter().filter(|problem| !known.contains(problem)).for_each(log_problem);
}

/// One log line for a problem.
pub fn log_problem(problem: &Problem) {
    let place = format!("{}:{}:{}", problem.file.display(), problem.line, problem.column);
    let hint = problem.hint.as_deref().unwrap_or_default();
    match problem.severity {
        Severity::Error => {
            tracing::error!(%place, code = %problem.code, "{}: {} {hint}", problem.title, problem.what);
        }
        Severity::Warning => {
            tracing::warn!(%place, code = %problem.code, "{}: {} {hint}", problem.title, problem.what);
        }
    }
}
