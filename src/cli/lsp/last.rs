//! Histories of a flow's latest runs, asked of the running server. No server, no histories, and no waiting.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Handle;

use crate::cli::door::Door;
use crate::cli::{Place, segment, text};

/// How long an answer counts.
const FRESH: Duration = Duration::from_secs(2);
/// How long an editor is kept waiting for one.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long the server may take, in the background.
const LONGEST: Duration = Duration::from_secs(5);
/// Runs looked at: the latest may have been refused.
const RUNS: usize = 10;

/// What is known of the latest runs.
pub(super) struct Last {
    place: Place,
    handle: Handle,
    known: Arc<Known>,
}

#[derive(Default)]
struct Known {
    flows: Mutex<HashMap<(PathBuf, String), Entry>>,
    answered: Condvar,
}

struct Entry {
    asked: Instant,
    /// True while the answer is on its way.
    open: bool,
    told: Vec<Arc<Value>>,
}

impl Last {
    pub fn new(place: &Place, handle: Handle) -> Last {
        Last { place: place.clone(), handle, known: Arc::default() }
    }

    /// The histories of a flow's latest runs, newest first: that of the latest, and that of the latest that went well.
    pub fn of(&self, dir: &Path, flow: &str) -> Vec<Arc<Value>> {
        let place = Place { dir: dir.to_owned(), ..self.place.clone() };
        if !place.data().is_ok_and(|data| data.join("server.json").exists()) {
            return Vec::new();
        }
        let key = (dir.to_owned(), flow.to_owned());
        let mut flows = self.known.flows.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = flows.get(&key);
        if entry.is_none_or(|entry| !entry.open && entry.asked.elapsed() > FRESH) {
            let told = entry.map(|entry| entry.told.clone()).unwrap_or_default();
            flows.insert(key.clone(), Entry { asked: Instant::now(), open: true, told });
            let (known, key) = (self.known.clone(), key.clone());
            self.handle.spawn(async move {
                let asked = tokio::time::timeout(LONGEST, ask(&place, &key.1)).await;
                let told = asked.ok().and_then(Result::ok).unwrap_or_default();
                let entry = Entry { asked: Instant::now(), open: false, told };
                known.flows.lock().unwrap_or_else(PoisonError::into_inner).insert(key, entry);
                known.answered.notify_all();
            });
        }
        let is_open = |flows: &mut HashMap<_, Entry>| flows.get(&key).is_some_and(|entry| entry.open);
        let waited = self.known.answered.wait_timeout_while(flows, PATIENCE, is_open);
        let (flows, _) = waited.unwrap_or_else(PoisonError::into_inner);
        flows.get(&key).map(|entry| entry.told.clone()).unwrap_or_default()
    }
}

async fn ask(place: &Place, flow: &str) -> anyhow::Result<Vec<Arc<Value>>> {
    let Some(door) = Door::server(place).await? else { return Ok(Vec::new()) };
    let page = door.get(&format!("/api/v1/runs?flow={}&limit={RUNS}", segment(flow))).await?;
    let runs: Vec<&Value> = page["runs"].as_array().into_iter().flatten().collect();
    let is = |run: &&&Value, status: &str| text(run, "status") == status;
    let latest = runs.iter().find(|run| !is(run, "rejected"));
    let well = runs.iter().find(|run| is(run, "succeeded"));
    let mut ids: Vec<String> = latest.into_iter().chain(well).map(|run| text(run, "run_id")).collect();
    ids.dedup();
    let mut told = Vec::new();
    for id in ids {
        told.push(Arc::new(door.get(&format!("/api/v1/runs/{}", segment(&id))).await?));
    }
    Ok(told)
}
