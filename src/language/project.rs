//! A project folder as it is being edited: what its files say, drafts before what the disk has, and what is wrong.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::view::Kind;
use crate::author;
use crate::catalog::{Catalog, Snapshot};
use crate::config::Config;
use crate::flow::{Problem, Severity};
use crate::rehearse;

const CONFIG: &str = "millstream.yaml";

/// A project folder that is being edited.
pub struct Project {
    dir: PathBuf,
    catalog: Arc<Catalog>,
    config: Config,
    /// What is wrong with `millstream.yaml`; its last good version counts.
    config_problem: Option<Problem>,
    /// Texts of files that are open, by their paths from the folder.
    drafts: BTreeMap<PathBuf, String>,
    /// What is wrong with each test file.
    tests: BTreeMap<PathBuf, Vec<Problem>>,
    /// Schemas for editors, as long as what they name stays.
    schemas: RefCell<Schemas>,
}

#[derive(Default)]
struct Schemas {
    named: Named,
    made: HashMap<&'static str, Arc<Value>>,
}

/// What of a project the schemas for editors name.
#[derive(Default, PartialEq)]
struct Named {
    /// Names and texts.
    connectors: Vec<(String, Arc<str>)>,
    connections: Vec<(String, String)>,
    flows: Vec<String>,
}

impl Project {
    /// The nearest folder above a path, or the path itself, that is a project's.
    pub fn find(path: &Path) -> Option<PathBuf> {
        let is_project = |folder: &&Path| folder.join(CONFIG).is_file() || folder.join("flows").is_dir();
        path.ancestors().filter(|folder| !folder.as_os_str().is_empty()).find(is_project).map(Path::to_owned)
    }

    /// Reads all files of the folder.
    pub fn open(dir: PathBuf) -> Project {
        let text = std::fs::read_to_string(dir.join(CONFIG)).unwrap_or_default();
        let (config, config_problem) = match Config::parse(&text) {
            Ok(config) => (config, None),
            Err(error) => (Config::default(), Some(broken(&text, &error))),
        };
        let catalog = Arc::new(Catalog::load(&dir, None, &config));
        let mut project = Project {
            dir,
            catalog,
            config,
            config_problem,
            drafts: BTreeMap::new(),
            tests: BTreeMap::new(),
            schemas: RefCell::default(),
        };
        project.check_tests(true);
        project
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.catalog.current()
    }

    pub fn env(&self) -> &[String] {
        &self.config.env
    }

    /// The text of a file, by its path from the folder: its draft, or else what the disk has.
    pub fn text(&self, file: &Path) -> Option<String> {
        self.drafts.get(file).cloned().or_else(|| std::fs::read_to_string(self.dir.join(file)).ok())
    }

    /// Takes these texts for what is in files; `None`: what the disk has. True if the catalog is another one now.
    pub fn edit(&mut self, edits: BTreeMap<PathBuf, Option<String>>) -> bool {
        let mut renewed = false;
        for (file, text) in edits {
            match &text {
                Some(text) => drop(self.drafts.insert(file.clone(), text.clone())),
                None => drop(self.drafts.remove(&file)),
            }
            match Kind::of(&file) {
                Kind::Test => drop(self.tests.remove(&file)),
                Kind::Config => renewed |= self.configure(),
                Kind::Flow | Kind::Connector | Kind::Connections | Kind::Other => {
                    self.catalog.edit(&self.dir.join(&file), text);
                }
            }
        }
        self.check_tests(renewed);
        renewed
    }

    /// Reads `millstream.yaml` again; true if the catalog is another one now.
    pub fn configure(&mut self) -> bool {
        let text = self.text(Path::new(CONFIG)).unwrap_or_default();
        let config = match Config::parse(&text) {
            Ok(config) => config,
            Err(error) => {
                self.config_problem = Some(broken(&text, &error));
                return false;
            }
        };
        self.config_problem = None;
        let told = |config: &Config| format!("{:?}{:?}", config.env, config.alerts);
        let same = told(&config) == told(&self.config);
        self.config = config;
        if same {
            return false;
        }
        self.catalog = Arc::new(Catalog::load(&self.dir, None, &self.config));
        for (file, text) in self.drafts.iter().filter(|(file, _)| Kind::of(file) != Kind::Test) {
            self.catalog.edit(&self.dir.join(file), Some(text.clone()));
        }
        true
    }

    /// Checks the test files that are open, or all.
    pub fn check_tests(&mut self, all: bool) {
        let snapshot = self.snapshot();
        let found: Vec<PathBuf> = match all {
            true => {
                let open = self.drafts.keys().filter(|file| Kind::of(file) == Kind::Test).cloned();
                let mut found: Vec<PathBuf> = rehearse::find(&self.dir).into_iter().chain(open).collect();
                found.sort();
                found.dedup();
                self.tests.clear();
                found
            }
            false => self.drafts.keys().filter(|file| Kind::of(file) == Kind::Test).cloned().collect(),
        };
        for file in found {
            let Some(text) = self.text(&file) else { continue };
            let problems = rehearse::check_text(&snapshot, &file, &text);
            self.tests.insert(file, problems);
        }
    }

    /// What is wrong with each file, by its path from the folder.
    pub fn problems(&self) -> BTreeMap<PathBuf, Vec<Problem>> {
        let snapshot = self.snapshot();
        let tests = self.tests.values().flatten();
        let mut found: BTreeMap<PathBuf, Vec<Problem>> = BTreeMap::new();
        for problem in self.config_problem.iter().chain(&snapshot.problems).chain(tests) {
            found.entry(problem.file.clone()).or_default().push(problem.clone());
        }
        found
    }

    /// The schema for editors of a kind of file.
    pub fn schema(&self, kind: Kind) -> Option<Arc<Value>> {
        let name = kind.schema()?;
        let snapshot = self.snapshot();
        let mut flows: Vec<String> = snapshot.flows.keys().cloned().collect();
        flows.sort_unstable();
        let connectors = snapshot.connectors.all().map(|one| (one.name.clone(), one.source.clone())).collect();
        let connections: Vec<(String, String)> =
            snapshot.connections.iter().map(|(name, one)| (name.clone(), one.connector.clone())).collect();
        let named = Named { connectors, connections, flows };
        let mut schemas = self.schemas.borrow_mut();
        if schemas.named != named {
            *schemas = Schemas { named, made: HashMap::new() };
        }
        if let Some(made) = schemas.made.get(name) {
            return Some(made.clone());
        }
        let known = author::Known {
            connectors: &snapshot.connectors,
            connections: schemas.named.connections.clone(),
            flows: schemas.named.flows.clone(),
        };
        let made = Arc::new(author::editor_schema(name, &known)?);
        schemas.made.insert(name, made.clone());
        Some(made)
    }
}

/// Why `millstream.yaml` cannot be used.
fn broken(text: &str, error: &serde_yaml::Error) -> Problem {
    let (line, column) = error.location().map_or((1, 1), |place| (place.line().max(1), place.column().max(1)));
    let shown = text.lines().nth(line - 1).unwrap_or_default().to_owned();
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or(&what).to_owned();
    Problem {
        severity: Severity::Error,
        code: String::new(),
        title: "the settings cannot be used".to_owned(),
        file: CONFIG.into(),
        line,
        column,
        length: 1,
        shown,
        what,
        hint: None,
    }
}
