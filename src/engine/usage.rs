//! What of the limits' rates was used outlives the process: kept in the journal's settings, beside the runs.
//!
//! Not derived from the runs' `Called` events: for a rate over a day that would mean to read a day's runs at each start.
//! Nothing waits for it to be kept; how far that goes is said in `outbound/bucket.rs`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::*;
use crate::outbound::Used;

/// Settings that say so, each with a lane's mark behind it.
const PREFIX: &str = "used/";
/// What is full again is looked for this often.
const TIDY: Duration = Duration::from_secs(60);

impl Engine {
    /// Tells outbound what was used before the start; gives when each rate is full again, by its setting.
    pub(super) fn restore_usage(&self) -> Result<HashMap<String, i64>, crate::journal::Error> {
        let mut full_at = HashMap::new();
        let mut used = Vec::new();
        for (name, bytes) in self.journal.settings(PREFIX)? {
            // One that cannot be read is removed by and by.
            let found = serde_json::from_slice::<Used>(&bytes).ok();
            full_at.insert(name.clone(), found.as_ref().map_or(0, |used| used.full_at_ms));
            if let (Some(found), Some(mark)) = (found, name.strip_prefix(PREFIX)) {
                used.push(Used { mark: mark.to_owned(), ..found });
            }
        }
        self.outbound.restore(used);
        Ok(full_at)
    }

    /// Keeps what is used, as it is used, and forgets what is full again.
    pub(super) async fn keep_usage(self: Arc<Self>, mut full_at: HashMap<String, i64>) {
        let mut tidy = tokio::time::interval(TIDY);
        loop {
            tokio::select! {
                used = self.outbound.used() => self.keep_used(used, &mut full_at).await,
                _ = tidy.tick() => {
                    let now = super::now().as_millisecond();
                    let full: Vec<String> =
                        full_at.iter().filter(|(_, at)| **at < now).map(|(name, _)| name.clone()).collect();
                    join_all(full.iter().map(|name| self.journal.set(name, None))).await;
                    full_at.retain(|name, _| !full.contains(name));
                }
            }
        }
    }

    /// The last of it, before the journal is closed.
    pub(super) async fn keep_last_usage(&self) {
        self.keep_used(self.outbound.used_now(), &mut HashMap::new()).await;
    }

    async fn keep_used(&self, used: Vec<Used>, full_at: &mut HashMap<String, i64>) {
        // At once, so that they share a sync.
        let kept = join_all(used.iter().map(|used| async move {
            let name = format!("{PREFIX}{}", used.mark);
            let bytes = serde_json::to_vec(used).unwrap_or_default();
            let kept = self.journal.set(&name, Some(bytes)).await;
            (name, used.full_at_ms, kept)
        }));
        for (name, full, kept) in kept.await {
            full_at.insert(name, full);
            if let Err(error) = kept {
                tracing::debug!(%error, "what was used of a rate could not be kept");
            }
        }
    }
}
