//! A copy of the whole data folder, from which a server can be started, while others go on.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::Serialize;

use super::super::store::Store;

/// What a copy does not have: what belongs to a process, what can be made anew, and what comes last.
const LEFT_OUT: [&str; 5] = ["store", "lock", "server.json", "generation", "damaged"];
const CHUNK: usize = 1024 * 1024;

/// What was copied.
#[derive(Debug, Clone, Serialize)]
pub struct Backup {
    pub files: u64,
    pub bytes: u64,
}

struct Copying<'s> {
    store: &'s Store,
    done: Backup,
}

pub fn backup(store: &Store, to: &Path) -> Result<Backup, String> {
    let data = store.path().parent().ok_or("the store has no folder")?;
    let shown = to.display();
    if !to.is_absolute() {
        return Err(format!("{shown} is not an absolute path"));
    }
    let parent = to.parent().unwrap_or(to);
    let real = fs::canonicalize(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
    let own = fs::canonicalize(data).map_err(|error| format!("{}: {error}", data.display()))?;
    if real.starts_with(&own) {
        return Err(format!("{shown} lies in the data folder itself"));
    }
    match fs::read_dir(to).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return Err(format!("{shown} is not empty; name a new folder")),
        Ok(false) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            folder(to).map_err(|error| format!("{shown}: {error}"))?;
        }
        Err(error) => return Err(format!("{shown}: {error}")),
    }
    let mut copying = Copying { store, done: Backup { files: 0, bytes: 0 } };
    copying.all(data, to, parent).map_err(|error| format!("{shown}: {error}; what is there is no whole backup"))?;
    Ok(copying.done)
}

impl Copying<'_> {
    fn all(&mut self, data: &Path, to: &Path, parent: &Path) -> io::Result<()> {
        let store = to.join("store");
        folder(&store)?;
        self.store.hold(|segments| {
            segments.iter().try_for_each(|(path, len)| {
                let name = path.file_name().unwrap_or_default();
                self.file(path, &store.join(name), Some(*len))
            })
        })?;
        sync(&store)?;
        self.folder(data, to, &LEFT_OUT)?;
        // Without it nothing takes this for a data folder.
        self.file(&data.join("generation"), &to.join("generation"), None)?;
        sync(to)?;
        sync(parent)
    }

    /// What is beside the store: keys, tokens, secrets, last good files.
    fn folder(&mut self, from: &Path, to: &Path, left_out: &[&str]) -> io::Result<()> {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let name = entry.file_name();
            let text = name.to_string_lossy();
            if left_out.contains(&&*text) || text.ends_with(".new") {
                continue;
            }
            let (path, to) = (entry.path(), to.join(&name));
            if entry.file_type()?.is_dir() {
                folder(&to)?;
                self.folder(&path, &to, &[])?;
            } else if path.is_file() {
                match self.file(&path, &to, None) {
                    // Files come and go while the server is at work.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    copied => copied?,
                }
            }
        }
        sync(to)
    }

    /// Copies a file, of this many bytes, durable.
    fn file(&mut self, from: &Path, to: &Path, len: Option<u64>) -> io::Result<()> {
        let mut source = File::open(from)?;
        let mut copy = File::options().create_new(true).write(true).mode(0o600).open(to)?;
        let mut left = len.unwrap_or(u64::MAX);
        let mut buffer = vec![0; CHUNK];
        while left > 0 {
            if self.store.is_closing() {
                return Err(io::Error::other("the server is being stopped"));
            }
            let want = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let read = source.read(&mut buffer[..want])?;
            if read == 0 {
                break;
            }
            copy.write_all(&buffer[..read])?;
            left -= read as u64;
            self.done.bytes += read as u64;
        }
        if len.is_some() && left > 0 {
            return Err(io::Error::other(format!("{} is shorter than it must be", from.display())));
        }
        self.done.files += 1;
        copy.sync_all()
    }
}

fn folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
