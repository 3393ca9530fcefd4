//! Reads the folders into a snapshot. Only files whose stamps changed are read again; many at once share the cores.

mod calls;
mod flows;
mod ids;
mod last_good;
mod parts;
mod quick;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::connections::Connections;
use super::drafts::Drafts;
use super::folder::{self, Stamp};
use super::{LiveFlow, Snapshot, last_good};
use crate::connector::Connectors;
use crate::flow::{self, At, Problem, Source};
use last_good::Copies;

/// Files beside the last good flows: which file has which id, connector files by name, connections.
const OWNERS: &str = "ids.json";
const CONNECTORS: &str = "connectors.json";
/// Also its name in the project folder.
pub(super) const CONNECTIONS: &str = "connections.yaml";

/// Remembers what was read, so that a reload costs what has changed.
pub(super) struct Loader {
    dir: PathBuf,
    data: Option<PathBuf>,
    env_names: Vec<String>,
    env: Map<String, Value>,
    connector_files: BTreeMap<PathBuf, Stamp>,
    connectors: Connectors,
    connector_problems: Vec<Problem>,
    /// Texts of connector files as they were last without errors, by file.
    good_connectors: BTreeMap<String, String>,
    connections_stamp: Option<Stamp>,
    connections: Connections,
    /// The connector of each connection, as the checks want it.
    connection_kinds: BTreeMap<String, String>,
    connection_problems: Vec<Problem>,
    files: BTreeMap<PathBuf, FlowFile>,
    /// Flow folders as last walked.
    flow_folders: BTreeMap<PathBuf, Stamp>,
    /// Whether a link is in them.
    linked: bool,
    /// Folders that could not be read then, and why.
    closed: Vec<(PathBuf, String)>,
    copies: Copies,
    /// Which file has which id, over a restart too: it keeps it until it gives it up.
    owners: BTreeMap<String, PathBuf>,
    loaded_once: bool,
    drafts: Drafts,
}

/// One flow file as last read.
struct FlowFile {
    stamp: Stamp,
    /// Files that it names, as they were.
    others: Vec<(Arc<Path>, Option<Stamp>)>,
    /// The last version without errors.
    good: Option<Arc<LiveFlow>>,
    /// What is live of it: the last good version, unless another file has its id.
    live: Option<Arc<LiveFlow>>,
    problems: Vec<Problem>,
}

impl Loader {
    pub fn new(dir: PathBuf, data: Option<PathBuf>, env_names: Vec<String>, env: Map<String, Value>) -> Loader {
        let kept = |name: &str| data.as_deref().and_then(|data| fs::read(last_good(data).join(name)).ok());
        let owners = kept(OWNERS).and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let good_connectors = kept(CONNECTORS).and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Loader {
            copies: Copies::new(data.as_deref().map(last_good)),
            dir,
            data,
            env_names,
            env,
            connector_files: BTreeMap::new(),
            connectors: Connectors::default(),
            connector_problems: Vec::new(),
            good_connectors,
            connections_stamp: None,
            connections: Connections::new(),
            connection_kinds: BTreeMap::new(),
            connection_problems: Vec::new(),
            files: BTreeMap::new(),
            flow_folders: BTreeMap::new(),
            linked: false,
            closed: Vec::new(),
            owners,
            loaded_once: false,
            drafts: Drafts::default(),
        }
    }

    /// The folders that must be watched; of these the ones whose YAML files are flows; and whether links are in those.
    pub fn folders(&self) -> (BTreeSet<PathBuf>, Vec<PathBuf>, bool) {
        let mut folders = BTreeSet::from([self.dir.clone()]);
        folders.extend(folder::walk(&self.dir.join("connectors")).folders.into_keys());
        folders.extend(self.flow_folders.keys().cloned());
        let others: BTreeSet<&Path> =
            self.files.values().flat_map(|file| &file.others).filter_map(|(path, _)| path.parent()).collect();
        folders.extend(others.into_iter().map(Path::to_owned));
        // A link's own folder does not change when what it leads to is swapped elsewhere.
        let dir = fs::canonicalize(&self.dir).unwrap_or_default();
        let real: Vec<PathBuf> = folders.iter().filter_map(|folder| fs::canonicalize(folder).ok()).collect();
        folders.extend(
            real.iter().filter_map(|folder| folder.parent()).filter(|up| up.starts_with(&dir)).map(Path::to_owned),
        );
        (folders, self.flow_folders.keys().cloned().collect(), self.linked)
    }

    /// Reads what changed since the last call; all that is live.
    pub fn load(&mut self) -> Snapshot {
        let connectors_changed = self.read_connectors();
        let connections_changed = self.read_connections(connectors_changed);
        let all = connectors_changed || connections_changed || !self.loaded_once;
        let folder::Tree { files: found, closed, folders, linked } = self.drafts.walk(&self.dir.join("flows"));
        let is_closed = |path: &Path| closed.iter().any(|(folder, _)| path.starts_with(folder));
        let gone = self.files.keys().filter(|path| !found.contains_key(*path) && !is_closed(path));
        let gone: Vec<PathBuf> = gone.cloned().collect();
        gone.iter().for_each(|path| self.forget(path));
        (self.flow_folders, self.closed, self.linked) = (folders, closed, linked);
        let stamps = flows::Others::new(&self.drafts);
        let changed = |path: &Path, stamp: Stamp| {
            all || self.files.get(path).is_none_or(|known| {
                known.stamp != stamp || known.others.iter().any(|(other, stamp)| stamps.stamp(other) != *stamp)
            })
        };
        let changed: Vec<_> = found.into_iter().filter(|(path, stamp)| changed(path, *stamp)).collect();
        self.read_flows(changed);
        let snapshot = self.settle();
        self.loaded_once = true;
        snapshot
    }

    /// Reads these flow files again, whatever else may have changed; all that is live. Each is a path as a walk of the
    /// flow folders gives it. `before` is what is live.
    pub fn load_only(&mut self, paths: &BTreeSet<PathBuf>, before: &Snapshot) -> Snapshot {
        let mut changed = Vec::new();
        let mut gone = false;
        for path in paths {
            match self.drafts.file(path) {
                Some(stamp) => changed.push((path.clone(), stamp)),
                None => {
                    self.forget(path);
                    gone = true;
                }
            }
        }
        if gone {
            self.read_flows(changed);
        } else if let Some(after) = self.read_quickly(&changed, before) {
            return after;
        }
        self.settle()
    }

    /// See [`super::Catalog::edit`].
    pub fn edit(&mut self, path: &Path, text: Option<String>, before: &Snapshot) -> Snapshot {
        self.drafts.set(path, text);
        let name = path.file_name().unwrap_or_default();
        let in_flows = path.starts_with(self.dir.join("flows")) && folder::is_flow(name);
        if !in_flows || self.is_named(name) {
            return self.load();
        }
        self.load_only(&BTreeSet::from([path.to_owned()]), before)
    }

    /// True if a flow names a file of this name, in whatever folder.
    pub fn is_named(&self, name: &OsStr) -> bool {
        // Most flows name the same few, and those are one in memory.
        let mut last: Option<&Arc<Path>> = None;
        let mut others = self.files.values().flat_map(|file| &file.others);
        others.any(|(path, _)| {
            let seen = last.replace(path).is_some_and(|last| Arc::ptr_eq(last, path));
            !seen && path.file_name() == Some(name)
        })
    }

    fn forget(&mut self, path: &Path) {
        if self.files.remove(path).is_some() {
            self.copies.remove(&self.relative(path));
        }
    }

    /// Decides what is live of what was read.
    fn settle(&mut self) -> Snapshot {
        let mut taken = self.settle_ids();
        taken.extend(
            self.closed
                .iter()
                .map(|(folder, why)| unreadable(&self.relative(folder), &std::io::Error::other(why.clone()))),
        );
        self.copies.finish(!self.loaded_once);
        self.snapshot(taken)
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.dir).unwrap_or(path).to_owned()
    }
}

fn unreadable(file: &Path, why: &std::io::Error) -> Problem {
    let (source, _, _) = Source::read(file, "");
    let (code, hint) = match why.kind() {
        std::io::ErrorKind::FileTooLarge => (flow::TOO_LARGE, Some("split it into several".to_owned())),
        _ => (flow::NO_FILE, None),
    };
    source.problem(code, "", At::Value, why.to_string(), hint)
}

fn taken(live: &LiveFlow, pointer: &str, what: String, hint: &str) -> Problem {
    problem_of(flow::TAKEN, live, pointer, what, Some(hint.to_owned()))
}

/// A problem at a place of a flow that was read before.
fn problem_of(code: flow::Code, live: &LiveFlow, pointer: &str, what: String, hint: Option<String>) -> Problem {
    let (source, _, _) = Source::read(&live.file, &live.text());
    source.problem(code, pointer, At::Value, what, hint)
}
