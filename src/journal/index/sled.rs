//! The index in sled: what the journal was first built on, kept to the same cases (docs/decisions/store.md).

use std::fs::File;
use std::ops::Bound;
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::overlay::Overlay;
use super::{Checkpoint, Index, Pairs};

struct Sled {
    db: sled::Db,
    /// `flush` hands pages to the kernel and does not sync them.
    file: File,
}

pub fn open(folder: &Path) -> Result<Box<dyn Index>, String> {
    let path = folder.join("index.sled");
    let config = sled::Config::new().path(&path).cache_capacity(8 * 1024 * 1024).flush_every_ms(None);
    let begun = Instant::now();
    let db = loop {
        match config.open() {
            Ok(db) => break db,
            // Its own threads drop the last handle a little later than we do.
            Err(error) if error.to_string().contains("lock") && begun.elapsed() < Duration::from_secs(10) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error.to_string()),
        }
    };
    let file = File::open(path.join("db")).map_err(|error| error.to_string())?;
    Ok(Box::new(Sled { db, file }))
}

impl Index for Sled {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let value = self.db.get(key).map_err(|error| error.to_string())?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn range(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, backwards: bool, limit: usize) -> Result<Pairs, String> {
        let mut range = self.db.range::<&[u8], _>((low, high));
        let mut pairs = Vec::new();
        while pairs.len() < limit {
            let Some(pair) = (if backwards { range.next_back() } else { range.next() }) else { break };
            let (key, value) = pair.map_err(|error| error.to_string())?;
            pairs.push((key.to_vec(), value.to_vec()));
        }
        Ok(pairs)
    }

    fn apply(&self, changes: &Overlay, checkpoint: &Checkpoint) -> Result<(), String> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes.changes() {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        batch.insert(Checkpoint::KEY, checkpoint.encode());
        self.db.apply_batch(batch).map_err(|error| error.to_string())?;
        self.db.flush().map_err(|error| error.to_string())?;
        self.file.sync_data().map_err(|error| error.to_string())
    }
}
