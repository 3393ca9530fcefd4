//! Which file has which id, and what is live of all that was read.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::{Loader, OWNERS, calls, taken};
use crate::catalog::{LiveFlow, Snapshot};
use crate::flow::Problem;

impl Loader {
    /// Decides which file has which id: the one that had it before keeps it. Returns what is wrong with the others.
    pub(super) fn settle_ids(&mut self) -> Vec<Problem> {
        let goods = || self.files.values().filter_map(|file| file.good.as_ref());
        let claims: HashSet<(&str, &Path)> = goods().map(|good| (good.flow.id.as_str(), good.file.as_path())).collect();
        let mut owners = std::mem::take(&mut self.owners);
        let known = owners.len();
        owners.retain(|id, file| claims.contains(&(id.as_str(), file.as_path())));
        let mut changed = owners.len() < known;
        for good in goods() {
            if !owners.contains_key(&good.flow.id) {
                owners.insert(good.flow.id.clone(), good.file.clone());
                changed = true;
            }
        }
        let good = self.files.iter().filter_map(|(path, file)| Some((path.as_path(), file.good.as_ref()?)));
        let mut calls = calls::problems(good);
        let mut problems = Vec::new();
        let mut settled = Vec::new();
        for (path, file) in &self.files {
            let Some(good) = &file.good else { continue };
            let wrong_calls = calls.remove(path);
            let live = match owners.get(&good.flow.id).filter(|owner| **owner != good.file) {
                None if wrong_calls.is_some() => {
                    problems.extend(wrong_calls);
                    file.live.clone().or_else(|| self.copies.read(&good.file))
                }
                None if file.live.as_ref().is_some_and(|live| Arc::ptr_eq(live, good)) => continue,
                None => {
                    self.copies.keep(good);
                    Some(good.clone())
                }
                Some(owner) => {
                    let what = format!("{} already has the flow `{}`", owner.display(), good.flow.id);
                    problems.push(taken(good, "/id", what, "give one of them another `id:`"));
                    // What it was before stays, as with any other error.
                    let before = file.live.clone().or_else(|| self.copies.read(&good.file));
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
        self.owners = owners;
        if changed {
            self.keep(OWNERS, &serde_json::to_vec(&self.owners).unwrap_or_default());
        }
        problems
    }

    pub(super) fn snapshot(&self, taken_ids: Vec<Problem>) -> Snapshot {
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
}
