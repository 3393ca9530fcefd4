//! Last good versions, kept in the data folder so that a restart has them too.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::Loader;
use crate::catalog::{Definition, LiveFlow, last_good};

impl Loader {
    /// Keeps what a restart must know beside the last good flows.
    pub(super) fn keep(&self, name: &str, content: &[u8]) {
        let Some(data) = &self.data else { return };
        let path = last_good(data).join(name);
        if fs::read(&path).is_ok_and(|kept| kept == content) {
            return;
        }
        if let Err(error) = replace(&path, content) {
            tracing::warn!(file = %path.display(), %error, "what is good now could not be kept for a restart");
        }
    }

    /// Where the last good version of `path` is kept.
    pub(super) fn copy_of(&self, path: &Path) -> Option<PathBuf> {
        let name = Sha256::digest(self.relative(path).to_string_lossy().as_bytes());
        let name: String = name.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Some(last_good(self.data.as_deref()?).join(name))
    }

    pub(super) fn keep_copy(&self, path: &Path, live: &LiveFlow, before: Option<&Arc<LiveFlow>>) {
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

    pub(super) fn read_copy(&self, path: &Path) -> Option<Arc<LiveFlow>> {
        let text = fs::read_to_string(self.copy_of(path)?).ok()?;
        let live = Definition::open(&text);
        live.map_err(|why| tracing::warn!(file = %path.display(), %why, "the last good version could not be read"))
            .ok()
            .map(Arc::new)
    }
}

/// Replaces a file whole.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    let fresh = path.with_extension("new");
    fs::File::create(&fresh)?.write_all(content)?;
    fs::rename(&fresh, path)
}
