//! The index in redb, a single file. The only code that names it.

use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use redb::backends::FileBackend;
use redb::{Database, Durability, ReadableDatabase as _, TableDefinition};

use super::super::overlay::Overlay;
use super::{Checkpoint, Index, Pairs};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("index");
const CACHE_BYTES: usize = 8 * 1024 * 1024;

struct Redb(Database);

pub fn open(folder: &Path) -> Result<Box<dyn Index>, String> {
    let file = folder.join("index.redb");
    let new = !file.exists();
    let handle = std::fs::File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(file);
    let handle = handle.map_err(text)?;
    let backend = FileBackend::new(handle).map_err(text)?;
    let db = redb::Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend).map_err(text)?;
    if new {
        // So that reading needs not ask whether there is a table.
        let write = db.begin_write().map_err(text)?;
        write.open_table(TABLE).map_err(text)?;
        write.commit().map_err(text)?;
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(text)?;
    }
    Ok(Box::new(Redb(db)))
}

impl Index for Redb {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let table = self.0.begin_read().map_err(text)?.open_table(TABLE).map_err(text)?;
        let value = table.get(key).map_err(text)?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn range(&self, low: Bound<&[u8]>, high: Bound<&[u8]>, backwards: bool, limit: usize) -> Result<Pairs, String> {
        let table = self.0.begin_read().map_err(text)?.open_table(TABLE).map_err(text)?;
        let mut range = table.range::<&[u8]>((low, high)).map_err(text)?;
        let mut pairs = Vec::new();
        while pairs.len() < limit {
            let Some(pair) = (if backwards { range.next_back() } else { range.next() }) else { break };
            let (key, value) = pair.map_err(text)?;
            pairs.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(pairs)
    }

    fn apply(&self, changes: &Overlay, checkpoint: &Checkpoint) -> Result<(), String> {
        let mut write = self.0.begin_write().map_err(text)?;
        write.set_durability(Durability::Immediate).map_err(text)?;
        // Opens at once after a crash, however large it is.
        write.set_quick_repair(true);
        {
            let mut table = write.open_table(TABLE).map_err(text)?;
            for (key, value) in changes.changes() {
                match value {
                    Some(value) => table.insert(key, value).map_err(text)?,
                    None => table.remove(key).map_err(text)?,
                };
            }
            table.insert(Checkpoint::KEY, &checkpoint.encode()[..]).map_err(text)?;
        }
        write.commit().map_err(text)
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
