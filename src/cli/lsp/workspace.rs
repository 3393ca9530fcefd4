//! What is open: the projects, and the files that the editor holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use url::Url;

use super::Event;
use crate::catalog::Watch;
use crate::language::{Diagnostic, Location, Project, Text, diagnostics};

/// A file that the editor holds.
pub(super) struct Document {
    /// As the editor writes it.
    pub uri: String,
    /// The folder of its project.
    pub dir: PathBuf,
    /// Its path from there.
    pub file: PathBuf,
    pub text: Text,
    pub version: i64,
    /// The last text that was YAML.
    pub good: Option<String>,
}

impl Document {
    /// Notes the text as it is now, if it is YAML.
    pub fn note(&mut self) {
        if serde_yaml::from_str::<serde_yaml::Value>(self.text.as_str()).is_ok() {
            self.good = Some(self.text.as_str().to_owned());
        }
    }
}

struct Open {
    project: Project,
    _watch: Watch,
}

pub(super) struct Workspace {
    /// The one project folder, where the command line names it.
    fixed: Option<PathBuf>,
    handle: Handle,
    events: Sender<Event>,
    projects: BTreeMap<PathBuf, Open>,
    pub documents: HashMap<String, Document>,
    /// What the editor was told of each file.
    told: HashMap<String, Vec<Diagnostic>>,
    /// Texts that the projects do not know yet; `None`: the file was closed.
    edits: BTreeMap<PathBuf, BTreeMap<PathBuf, Option<String>>>,
    /// Projects whose files have changed on disk.
    changed: BTreeSet<PathBuf>,
}

impl Workspace {
    pub fn new(fixed: Option<PathBuf>, handle: Handle, events: Sender<Event>) -> Workspace {
        Workspace {
            fixed,
            handle,
            events,
            projects: BTreeMap::new(),
            documents: HashMap::new(),
            told: HashMap::new(),
            edits: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    pub fn project(&self, dir: &Path) -> Option<&Project> {
        self.projects.get(dir).map(|open| &open.project)
    }

    /// Opens the project that a folder of the workspace is in, or --dir.
    pub fn open_folder(&mut self, uri: Option<&str>) {
        let found = match (&self.fixed, uri.and_then(path)) {
            (Some(fixed), _) => Some(fixed.clone()),
            (None, Some(folder)) => Project::find(&folder),
            (None, None) => None,
        };
        if let Some(dir) = found {
            self.open_project(dir);
        }
    }

    fn open_project(&mut self, dir: PathBuf) {
        if self.projects.contains_key(&dir) {
            return;
        }
        let project = Project::open(dir.clone());
        let watch = self.watch(&project);
        self.projects.insert(dir.clone(), Open { project, _watch: watch });
        self.changed.insert(dir);
    }

    /// Watches the project's files; the session hears of changes.
    fn watch(&self, project: &Project) -> Watch {
        let (mut changes, events, dir) = (project.catalog().changes(), self.events.clone(), project.dir().to_owned());
        self.handle.spawn(async move {
            while changes.changed().await.is_ok() && events.send(Event::Changed(dir.clone())).is_ok() {}
        });
        project.catalog().watch()
    }

    /// Takes a file in; one that is in no project is left alone.
    pub fn open(&mut self, uri: &str, text: &str, version: i64) {
        let Some(path) = path(uri) else { return };
        let inside = self.fixed.clone().filter(|fixed| path.starts_with(fixed));
        let Some(dir) = inside.or_else(|| Project::find(path.parent()?)) else { return };
        let Ok(file) = path.strip_prefix(&dir).map(Path::to_owned) else { return };
        self.open_project(dir.clone());
        let text = Text::new(text.to_owned());
        let mut document = Document { uri: uri.to_owned(), dir, file, text, version, good: None };
        document.note();
        self.edited(&document);
        self.documents.insert(uri.to_owned(), document);
    }

    /// Notes that the project is to see this file's text.
    pub fn edited(&mut self, document: &Document) {
        let edits = self.edits.entry(document.dir.clone()).or_default();
        edits.insert(document.file.clone(), Some(document.text.as_str().to_owned()));
    }

    pub fn close(&mut self, uri: &str) {
        if let Some(document) = self.documents.remove(uri) {
            self.edits.entry(document.dir).or_default().insert(document.file, None);
        }
    }

    /// Notes that files of a project, or of all, have changed on disk.
    pub fn changed(&mut self, dir: Option<PathBuf>) {
        match dir {
            Some(dir) => drop(self.changed.insert(dir)),
            None => self.changed.extend(self.projects.keys().cloned()),
        }
    }

    /// True if `flush` would do something.
    pub fn is_behind(&self) -> bool {
        !self.edits.is_empty() || !self.changed.is_empty()
    }

    /// Checks what was edited, and gives what the editor must be told: the parameters of `publishDiagnostics`.
    pub fn flush(&mut self) -> Vec<Value> {
        let mut edited: BTreeSet<(PathBuf, PathBuf)> = BTreeSet::new();
        let mut dirs = std::mem::take(&mut self.changed);
        for dir in &dirs {
            let Some(open) = self.projects.get_mut(dir) else { continue };
            let renewed = open.project.configure();
            open.project.check_tests(true);
            self.renew(dir, renewed);
        }
        for (dir, edits) in std::mem::take(&mut self.edits) {
            let Some(open) = self.projects.get_mut(&dir) else { continue };
            edited.extend(edits.keys().map(|file| (dir.clone(), file.clone())));
            let renewed = open.project.edit(edits);
            self.renew(&dir, renewed);
            dirs.insert(dir);
        }
        dirs.iter().flat_map(|dir| self.publish(dir, &edited)).collect()
    }

    /// Watches anew where the catalog is another one.
    fn renew(&mut self, dir: &Path, renewed: bool) {
        if !renewed {
            return;
        }
        if let Some(watch) = self.projects.get(dir).map(|open| self.watch(&open.project))
            && let Some(open) = self.projects.get_mut(dir)
        {
            open._watch = watch;
        }
    }

    /// What is new of a project's problems; of files that were edited, all of it.
    fn publish(&mut self, dir: &Path, edited: &BTreeSet<(PathBuf, PathBuf)>) -> Vec<Value> {
        let Some(open) = self.projects.get(dir) else { return Vec::new() };
        let mut problems = open.project.problems();
        let documents = || self.documents.values().filter(|document| document.dir == dir);
        for document in documents() {
            problems.entry(document.file.clone()).or_default();
        }
        let mut found: Vec<(String, Option<i64>, Vec<Diagnostic>, bool)> = Vec::new();
        for (file, problems) in &problems {
            let document = documents().find(|document| document.file == *file);
            let Some(uri) = document.map(|document| document.uri.clone()).or_else(|| uri(&dir.join(file))) else {
                continue;
            };
            let told = match document {
                Some(document) => diagnostics(problems, &document.text),
                None => diagnostics(problems, &Text::new(open.project.text(file).unwrap_or_default())),
            };
            let anew = edited.contains(&(dir.to_owned(), file.clone()));
            found.push((uri, document.map(|document| document.version), told, anew));
        }
        let here = |uri: &str| path(uri).is_some_and(|path| path.starts_with(dir));
        let gone: Vec<String> = self
            .told
            .iter()
            .filter(|(uri, told)| !told.is_empty() && here(uri) && found.iter().all(|(other, ..)| other != *uri))
            .map(|(uri, _)| uri.clone())
            .collect();
        found.extend(gone.into_iter().map(|uri| (uri, None, Vec::new(), false)));
        let mut news = Vec::new();
        for (uri, version, told, anew) in found {
            if !anew && self.told.get(&uri).map_or(told.is_empty(), |before| *before == told) {
                continue;
            }
            let mut params = json!({"uri": uri, "diagnostics": told});
            if let Some(version) = version {
                params["version"] = json!(version);
            }
            news.push(params);
            self.told.insert(uri, told);
        }
        news
    }

    /// A place as the protocol has it.
    pub fn location(&self, dir: &Path, location: &Location) -> Option<Value> {
        Some(json!({"uri": self.uri_of(dir, &location.file)?, "range": location.range}))
    }

    /// The name of a project's file, as the editor writes it where it has it open.
    pub fn uri_of(&self, dir: &Path, file: &Path) -> Option<String> {
        let open = self.documents.values().find(|document| document.dir == dir && document.file == file);
        open.map(|document| document.uri.clone()).or_else(|| uri(&dir.join(file)))
    }
}

/// The file that a URI names, by the real path of its folder.
fn path(uri: &str) -> Option<PathBuf> {
    let path = Url::parse(uri).ok()?.to_file_path().ok()?;
    let real = path.parent().and_then(|folder| std::fs::canonicalize(folder).ok());
    Some(match (real, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    })
}

fn uri(path: &Path) -> Option<String> {
    Url::from_file_path(path).ok().map(String::from)
}
