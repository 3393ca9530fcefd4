//! Connectors and connections: read when they changed, as they were before where they have errors now.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{CONNECTIONS, CONNECTORS, Loader, unreadable};
use crate::catalog::connections;
use crate::catalog::folder;
use crate::catalog::last_good;
use crate::connector::{Connectors, UNKNOWN_KEY};
use crate::flow::{self, At, Severity, Source};

impl Loader {
    pub(super) fn read_connectors(&mut self) -> bool {
        let folder::Tree { files, closed, .. } = self.drafts.walk(&self.dir.join("connectors"));
        if self.loaded_once && (files == self.connector_files || !closed.is_empty()) {
            return false;
        }
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        self.connector_problems.clear();
        for path in files.keys() {
            let file = self.relative(path);
            match self.drafts.read_text(path) {
                Ok(text) => {
                    texts.insert(file.to_string_lossy().into_owned(), text);
                }
                Err(error) => self.connector_problems.push(unreadable(&file, &error)),
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

    pub(super) fn read_connections(&mut self, connectors_changed: bool) -> bool {
        let path = self.dir.join(CONNECTIONS);
        let stamp = self.drafts.stamp(&path);
        if self.loaded_once && !connectors_changed && stamp == self.connections_stamp {
            return false;
        }
        self.connections_stamp = stamp;
        let mut good = None;
        let (connections, problems) = match self.drafts.read_text(&path) {
            Ok(text) => {
                let read = connections::read(&text, &self.dir, &self.connectors);
                good = Some(text);
                read
            }
            Err(_) if stamp.is_none() => Default::default(),
            Err(error) => {
                let problem = unreadable(Path::new("connections.yaml"), &error);
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
        self.connection_kinds = next.iter().map(|(name, one)| (name.clone(), one.connector.clone())).collect();
        self.connections = next;
        self.connection_problems = problems;
        changed
    }
}
