//! Reads the folders into a snapshot. Only files whose stamps changed are read again.

mod last_good;
mod parts;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::connections::Connections;
use super::folder::{self, Stamp};
use super::{Definition, LiveFlow, Snapshot, last_good};
use crate::connector::Connectors;
use crate::flow::{self, At, Flow, Known, Loaded, Problem, Source};

/// Files beside the last good flows: which file has which id, connector files by name, connections.
const OWNERS: &str = "ids.json";
const CONNECTORS: &str = "connectors.json";
const CONNECTIONS: &str = "connections.yaml";

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
    /// Which file has which id, over a restart too: it keeps it until it gives it up.
    owners: BTreeMap<String, PathBuf>,
    loaded_once: bool,
}

/// Files that a flow names, by name: how each was just before it was read, and its text if it could be.
type Others = BTreeMap<String, (Option<Stamp>, Option<String>)>;

/// One flow file as last read.
struct FlowFile {
    stamp: Stamp,
    /// Files that it names, as they were.
    others: Vec<(PathBuf, Option<Stamp>)>,
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
            owners,
            loaded_once: false,
        }
    }

    /// The folders that must be watched.
    pub fn folders(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.dir.clone()];
        for name in ["flows", "connectors"] {
            folders.extend(folder::walk(&self.dir.join(name)).folders.into_keys());
        }
        let others = self.files.values().flat_map(|file| &file.others);
        folders.extend(others.filter_map(|(path, _)| path.parent().map(Path::to_owned)));
        // A link's own folder does not change when what it leads to is swapped elsewhere.
        let real: Vec<PathBuf> = folders.iter().filter_map(|folder| fs::canonicalize(folder).ok()).collect();
        folders.extend(
            real.iter()
                .filter_map(|folder| folder.parent().map(Path::to_owned))
                .filter(|parent| parent.starts_with(fs::canonicalize(&self.dir).unwrap_or_default())),
        );
        folders.sort();
        folders.dedup();
        folders
    }

    /// Reads what changed since the last call; all that is live.
    pub fn load(&mut self) -> Snapshot {
        let connectors_changed = self.read_connectors();
        let connections_changed = self.read_connections(connectors_changed);
        let all = connectors_changed || connections_changed || !self.loaded_once;
        self.loaded_once = true;
        let folder::Tree { files: found, closed, .. } = folder::walk(&self.dir.join("flows"));
        let is_closed = |path: &Path| closed.iter().any(|(folder, _)| path.starts_with(folder));
        let gone = self.files.keys().filter(|path| !found.contains_key(*path) && !is_closed(path));
        let gone: Vec<PathBuf> = gone.cloned().collect();
        for path in gone {
            self.files.remove(&path);
            if let Some(copy) = self.copy_of(&path) {
                let _ = fs::remove_file(copy);
            }
        }
        for (path, stamp) in found {
            let unchanged = self.files.get(&path).is_some_and(|known| {
                known.stamp == stamp && known.others.iter().all(|(other, stamp)| Stamp::of(other) == *stamp)
            });
            if all || !unchanged {
                self.read_flow(&path, stamp);
            }
        }
        let mut taken = self.settle_ids();
        taken.extend(closed.iter().map(|(folder, why)| unreadable(&self.relative(folder), why)));
        self.snapshot(taken)
    }

    /// Decides which file has which id: the one that had it before keeps it. Returns what is wrong with the others.
    fn settle_ids(&mut self) -> Vec<Problem> {
        let claims = |id: &str, file: &Path| {
            let good = self.files.get(&self.dir.join(file)).and_then(|file| file.good.as_ref());
            good.is_some_and(|good| good.flow.id == id)
        };
        let mut owners = self.owners.clone();
        owners.retain(|id, file| claims(id, file));
        for good in self.files.values().filter_map(|file| file.good.as_ref()) {
            owners.entry(good.flow.id.clone()).or_insert_with(|| good.file.clone());
        }
        let mut problems = Vec::new();
        let mut settled = Vec::new();
        for (path, file) in &self.files {
            let Some(good) = &file.good else { continue };
            let live = match owners.get(&good.flow.id).filter(|owner| **owner != good.file) {
                None => {
                    self.keep_copy(path, good, file.live.as_ref());
                    Some(good.clone())
                }
                Some(owner) => {
                    let what = format!("{} already has the flow `{}`", owner.display(), good.flow.id);
                    problems.push(taken(good, "/id", what, "give one of them another `id:`"));
                    // What it was before stays, as with any other error.
                    let before = file.live.clone().or_else(|| self.read_copy(path));
                    before.filter(|before| !owners.contains_key(&before.flow.id))
                }
            };
            settled.push((path.clone(), live));
        }
        for (path, live) in settled {
            if let Some(file) = self.files.get_mut(&path) {
                file.live = live;
            }
        }
        if owners != self.owners {
            self.owners = owners;
            self.keep(OWNERS, &serde_json::to_vec(&self.owners).unwrap_or_default());
        }
        problems
    }

    fn snapshot(&self, taken_ids: Vec<Problem>) -> Snapshot {
        let mut problems = self.connector_problems.clone();
        problems.extend(self.connection_problems.iter().cloned());
        let mut flows: HashMap<String, Arc<LiveFlow>> = HashMap::with_capacity(self.files.len());
        let mut aliases = HashMap::new();
        for file in self.files.values() {
            problems.extend(file.problems.iter().cloned());
            if let Some(live) = &file.live {
                flows.insert(live.flow.id.clone(), live.clone());
            }
        }
        problems.extend(taken_ids);
        for live in self.files.values().filter_map(|file| file.live.as_ref()) {
            for (index, alias) in live.flow.aliases.iter().enumerate() {
                let owner = flows.get(alias).map(|live| live.flow.id.clone());
                let owner = owner.or_else(|| aliases.get(alias).cloned());
                match owner.filter(|owner| *owner != live.flow.id) {
                    Some(owner) => {
                        let what =
                            format!("the alias `{alias}` is already a name of flow `{owner}`, which its URL leads to");
                        problems.push(taken(live, &format!("/aliases/{index}"), what, "remove it here or there"));
                    }
                    None => {
                        aliases.insert(alias.clone(), live.flow.id.clone());
                    }
                }
            }
        }
        Snapshot {
            dir: self.dir.clone(),
            flows,
            aliases,
            connectors: self.connectors.clone(),
            connections: self.connections.clone(),
            env: Value::Object(self.env.clone()),
            problems,
        }
    }

    fn read_flow(&mut self, path: &Path, stamp: Stamp) {
        let file = self.relative(path);
        let before = self.files.remove(path);
        let text = fs::read(path)
            .map_err(|error| error.to_string())
            .and_then(|bytes| String::from_utf8(bytes).map_err(|error| format!("it is not UTF-8 ({error})")));
        let text = match text {
            Ok(text) => text,
            Err(why) => {
                let problems = vec![unreadable(&file, &why)];
                let (good, live) = before.map(|before| (before.good, before.live)).unwrap_or_default();
                let good = good.or_else(|| self.read_copy(path));
                self.files.insert(path.to_owned(), FlowFile { stamp, others: Vec::new(), good, live, problems });
                return;
            }
        };
        let folder = path.parent().unwrap_or(&self.dir).to_owned();
        let others: RefCell<Others> = RefCell::default();
        let read = |name: &str| {
            // The stamp first: what changes after it is read again. And each file once, so that the definition that
            // runs pin has the very text that was checked.
            let stamp = Stamp::of(&folder.join(name));
            let text = fs::read_to_string(folder.join(name)).map_err(|error| error.to_string());
            others.borrow_mut().insert(name.to_owned(), (stamp, text.clone().ok()));
            text
        };
        let known = Known {
            connectors: &self.connectors,
            connections: Some(&self.connection_kinds),
            env: Some(&self.env_names),
            read: &read,
        };
        let Loaded { flow, problems, .. } = Flow::load(&file, &text, &known);
        let mut stamps = Vec::new();
        let mut texts = BTreeMap::new();
        for (name, (stamp, text)) in others.into_inner() {
            // Also of a flow with errors: a file that is missing may come.
            stamps.push((folder.join(&name), stamp));
            texts.extend(text.map(|text| (name, text)));
        }
        let (known_good, live) = before.map(|before| (before.good, before.live)).unwrap_or_default();
        let good = match flow {
            Some(flow) => Some(self.seal(&file, text, texts, flow, known_good.as_ref())),
            None => known_good.or_else(|| self.read_copy(path)),
        };
        self.files.insert(path.to_owned(), FlowFile { stamp, others: stamps, good, live, problems });
    }

    fn seal(
        &self,
        file: &Path,
        text: String,
        files: BTreeMap<String, String>,
        flow: Flow,
        before: Option<&Arc<LiveFlow>>,
    ) -> Arc<LiveFlow> {
        let connectors = flow
            .connectors
            .iter()
            .filter_map(|name| Some((name.clone(), self.connectors.0.get(name)?.source.to_string())))
            .collect();
        let definition = Definition { file: file.to_owned(), flow: text, files, connectors };
        let (digest, definition) = definition.seal();
        match before.filter(|before| before.digest == digest) {
            Some(same) => same.clone(),
            None => Arc::new(LiveFlow { flow: Arc::new(flow), digest, definition, file: file.to_owned() }),
        }
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.dir).unwrap_or(path).to_owned()
    }
}

fn unreadable(file: &Path, why: &str) -> Problem {
    let (source, _, _) = Source::read(file, "");
    source.problem(flow::NO_FILE, "", At::Value, why.to_owned(), None)
}

fn taken(live: &LiveFlow, pointer: &str, what: String, hint: &str) -> Problem {
    let text = serde_json::from_str::<Definition>(&live.definition).map(|d| d.flow).unwrap_or_default();
    let (source, _, _) = Source::read(&live.file, &text);
    source.problem(flow::TAKEN, pointer, At::Value, what, Some(hint.to_owned()))
}
