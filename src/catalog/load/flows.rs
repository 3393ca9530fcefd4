//! Reads flow files, many at once on all cores.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::{FlowFile, LiveFlow, Loader, unreadable};
use crate::catalog::Definition;
use crate::catalog::drafts::Drafts;
use crate::catalog::folder::Stamp;
use crate::flow::{Flow, Known, Loaded};

/// Fewer files than this are not worth a second thread.
const SHARED: usize = 32;

/// A path, one for all that name it, and how what is there was just before it was read.
type Stamped = (Arc<Path>, Option<Stamp>);

/// Files that flows name, as they are during one load: many flows may name the same one.
pub(super) struct Others<'d> {
    drafts: &'d Drafts,
    stamps: Mutex<HashMap<PathBuf, Stamped>>,
    texts: Mutex<HashMap<PathBuf, Result<Arc<str>, String>>>,
}

impl<'d> Others<'d> {
    pub fn new(drafts: &'d Drafts) -> Others<'d> {
        Others { drafts, stamps: Mutex::default(), texts: Mutex::default() }
    }

    pub fn stamp(&self, path: &Path) -> Option<Stamp> {
        self.stamped(path).1
    }

    /// The path, one for all that name it, and its stamp.
    fn stamped(&self, path: &Path) -> Stamped {
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = stamps.get(path) {
            return found.clone();
        }
        let found: (Arc<Path>, _) = (Arc::from(path), self.drafts.stamp(path));
        stamps.insert(path.to_owned(), found.clone());
        found
    }

    fn text(&self, path: &Path) -> Result<Arc<str>, String> {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = texts.get(path) {
            return found.clone();
        }
        let read = self.drafts.read_text(path).map_err(|error| error.to_string());
        let found: Result<Arc<str>, String> = read.map(Arc::from);
        texts.insert(path.to_owned(), found.clone());
        found
    }
}

impl Loader {
    /// Reads these files, which the stamps belong to, and takes them in.
    pub(super) fn read_flows(&mut self, changed: Vec<(PathBuf, Stamp)>) {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.min(changed.len() / SHARED + 1);
        let work: Vec<_> = changed
            .into_iter()
            .map(|(path, stamp)| {
                let before = self.files.remove(&path);
                (path, stamp, before)
            })
            .collect();
        let others = Others::new(&self.drafts);
        let left = Mutex::new(work.into_iter());
        let read = || {
            let mut read = Vec::new();
            loop {
                let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((path, stamp, before)) = next else { return read };
                let file = self.read_flow(&path, stamp, before, &others);
                read.push((path, file));
            }
        };
        let all = thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads)
                .filter_map(|_| thread::Builder::new().name("load".into()).spawn_scoped(scope, read).ok())
                .collect();
            let mut all = read();
            for helper in helpers {
                all.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            all
        });
        self.files.extend(all);
    }

    fn read_flow(&self, path: &Path, stamp: Stamp, before: Option<FlowFile>, shared: &Others<'_>) -> FlowFile {
        let file = self.relative(path);
        let text = self.drafts.read_text(path);
        let (known_good, live) = before.map(|before| (before.good, before.live)).unwrap_or_default();
        let text = match text {
            Ok(text) => text,
            Err(why) => {
                let problems = vec![unreadable(&file, &why)];
                let good = known_good.or_else(|| self.copies.read(&file));
                return FlowFile { stamp, others: Vec::new(), good, live, problems };
            }
        };
        let folder = path.parent().unwrap_or(&self.dir).to_owned();
        let others: RefCell<BTreeMap<String, Stamped>> = RefCell::default();
        let texts: RefCell<BTreeMap<String, String>> = RefCell::default();
        let read = |name: &str| -> Result<String, String> {
            // The stamp first: what changes after it is read again. And each file once, so that the definition that
            // runs pin has the very text that was checked.
            let path = folder.join(name);
            others.borrow_mut().insert(name.to_owned(), shared.stamped(&path));
            let text = shared.text(&path)?.to_string();
            texts.borrow_mut().insert(name.to_owned(), text.clone());
            Ok(text)
        };
        let known = Known {
            connectors: &self.connectors,
            connections: Some(&self.connection_kinds),
            env: Some(&self.env_names),
            read: &read,
        };
        let Loaded { flow, problems, .. } = Flow::load(&file, &text, &known);
        // Also of a flow with errors: a file that is missing may come.
        let others = others.into_inner().into_values().collect();
        let good = match flow {
            Some(flow) => Some(self.seal(&file, text, texts.into_inner(), flow, known_good.as_ref())),
            None => known_good.or_else(|| self.copies.read(&file)),
        };
        FlowFile { stamp, others, good, live, problems }
    }

    fn seal(
        &self,
        file: &Path,
        text: String,
        files: BTreeMap<String, String>,
        flow: Flow,
        before: Option<&Arc<LiveFlow>>,
    ) -> Arc<LiveFlow> {
        let definition = Definition { file: file.to_owned(), flow: text, files, connectors: BTreeMap::new() };
        let connectors = flow.connectors.iter().filter_map(|name| self.connectors.get(name));
        let (digest, definition) = definition.seal(connectors);
        match before.filter(|before| before.digest == digest) {
            Some(same) => same.clone(),
            None => Arc::new(LiveFlow { flow: Arc::new(flow), digest, definition, file: file.to_owned() }),
        }
    }
}
