//! Reads the folders into a snapshot. Only files whose stamps changed are read again.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::connections::{self, Connections};
use super::folder::{self, Stamp};
use super::{Definition, LiveFlow, Snapshot, last_good};
use crate::connector::{Connectors, UNKNOWN_KEY};
use crate::flow::{self, At, Flow, Known, Loaded, Problem, Severity, Source};

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

    /// Keeps what a restart must know beside the last good flows.
    fn keep(&self, name: &str, content: &[u8]) {
        let Some(data) = &self.data else { return };
        let path = last_good(data).join(name);
        if fs::read(&path).is_ok_and(|kept| kept == content) {
            return;
        }
        if let Err(error) = replace(&path, content) {
            tracing::warn!(file = %path.display(), %error, "what is good now could not be kept for a restart");
        }
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
            flows,
            aliases,
            connectors: self.connectors.clone(),
            connections: self.connections.clone(),
            env: Value::Object(self.env.clone()),
            problems,
        }
    }

    fn read_connectors(&mut self) -> bool {
        let folder::Tree { files, closed, .. } = folder::walk(&self.dir.join("connectors"));
        if self.loaded_once && (files == self.connector_files || !closed.is_empty()) {
            return false;
        }
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        self.connector_problems.clear();
        for path in files.keys() {
            let file = self.relative(path);
            match fs::read_to_string(path) {
                Ok(text) => {
                    texts.insert(file.to_string_lossy().into_owned(), text);
                }
                Err(error) => self.connector_problems.push(unreadable(&file, &error.to_string())),
            }
        }
        let read = |texts: &BTreeMap<String, String>| {
            Connectors::from_sources(texts.iter().map(|(file, text)| (file.as_str(), text.as_str())))
        };
        let (mut connectors, broken) = read(&texts);
        // A file with errors counts as it was before; else a shipped connector of the same name would take its place.
        let mut good = texts.clone();
        broken.iter().for_each(|problem| drop(good.remove(&problem.file)));
        for path in files.keys() {
            let file = self.relative(path).to_string_lossy().into_owned();
            if let Some(before) = self.good_connectors.get(&file).filter(|_| !good.contains_key(&file)) {
                good.insert(file, before.clone());
            }
        }
        if good != texts {
            connectors = read(&good).0;
        }
        self.keep(CONNECTORS, &serde_json::to_vec(&good).unwrap_or_default());
        self.good_connectors = good;
        for problem in broken {
            let text = texts.get(&problem.file).map(String::as_str).unwrap_or_default();
            let (source, _, _) = Source::read(Path::new(&problem.file), text);
            let code = (problem.code, flow::BAD_CONNECTOR.1);
            let at = if problem.code == UNKNOWN_KEY { At::Key } else { At::Value };
            self.connector_problems.push(source.problem(code, &problem.pointer, at, problem.what, problem.hint));
        }
        self.connectors = connectors;
        self.connector_files = files;
        true
    }

    fn read_connections(&mut self, connectors_changed: bool) -> bool {
        let path = self.dir.join("connections.yaml");
        let stamp = Stamp::of(&path);
        if self.loaded_once && !connectors_changed && stamp == self.connections_stamp {
            return false;
        }
        self.connections_stamp = stamp;
        let mut good = None;
        let (connections, problems) = match fs::read_to_string(&path) {
            Ok(text) => {
                let read = connections::read(&text, &self.dir, &self.connectors);
                good = Some(text);
                read
            }
            Err(_) if stamp.is_none() => Default::default(),
            Err(error) => {
                let problem = unreadable(Path::new("connections.yaml"), &error.to_string());
                (self.connections.clone(), vec![problem])
            }
        };
        // A connection whose entry has errors now keeps working as it did.
        let mut next = connections;
        if problems.iter().all(|problem| problem.severity != Severity::Error) {
            self.keep(CONNECTIONS, good.unwrap_or_default().as_bytes());
        } else {
            if !self.loaded_once {
                let kept = self.data.as_deref().map(|data| fs::read_to_string(last_good(data).join(CONNECTIONS)));
                let kept = kept.and_then(Result::ok).unwrap_or_default();
                self.connections = connections::read(&kept, &self.dir, &self.connectors).0;
            }
            for (name, connection) in &self.connections {
                next.entry(name.clone()).or_insert_with(|| connection.clone());
            }
        }
        let changed = next != self.connections || problems != self.connection_problems;
        self.connections = next;
        self.connection_problems = problems;
        changed
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
        let of: BTreeMap<String, String> =
            self.connections.iter().map(|(name, connection)| (name.clone(), connection.connector.clone())).collect();
        let known =
            Known { connectors: &self.connectors, connections: Some(&of), env: Some(&self.env_names), read: &read };
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

    /// Where the last good version of `path` is kept.
    fn copy_of(&self, path: &Path) -> Option<PathBuf> {
        let name = Sha256::digest(self.relative(path).to_string_lossy().as_bytes());
        let name: String = name.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Some(last_good(self.data.as_deref()?).join(name))
    }

    fn keep_copy(&self, path: &Path, live: &LiveFlow, before: Option<&Arc<LiveFlow>>) {
        if before.is_some_and(|old| old.digest == live.digest) {
            return;
        }
        let Some(copy) = self.copy_of(path) else { return };
        if fs::read_to_string(&copy).is_ok_and(|text| *text == *live.definition) {
            return;
        }
        if let Err(error) = replace(&copy, live.definition.as_bytes()) {
            tracing::warn!(file = %live.file.display(), %error, "the last good version could not be kept");
        }
    }

    fn read_copy(&self, path: &Path) -> Option<Arc<LiveFlow>> {
        let text = fs::read_to_string(self.copy_of(path)?).ok()?;
        let live = Definition::open(&text);
        live.map_err(|why| tracing::warn!(file = %path.display(), %why, "the last good version could not be read"))
            .ok()
            .map(Arc::new)
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.dir).unwrap_or(path).to_owned()
    }
}

/// Replaces a file whole.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    let fresh = path.with_extension("new");
    fs::File::create(&fresh)?.write_all(content)?;
    fs::rename(&fresh, path)
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
