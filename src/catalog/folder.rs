//! Walks the user's folders. Follows links, so that a folder can be a link that is swapped whole.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells that a file or folder is another one than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed_ns: i128,
}

impl Stamp {
    /// The stamp of what `path` leads to; `None` if there is nothing.
    pub fn of(path: &Path) -> Option<Stamp> {
        fs::metadata(path).ok().map(|metadata| Stamp::from(&metadata))
    }

    /// The stamp of the draft of this number: no file has it.
    pub fn of_draft(number: u64) -> Stamp {
        Stamp { device: u64::MAX, inode: 0, size: number, changed_ns: 0 }
    }

    /// Which folder it is, whatever is in it.
    pub fn identity(self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Stamp {
        let changed_ns = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
        Stamp { device: metadata.dev(), inode: metadata.ino(), size: metadata.size(), changed_ns }
    }
}

/// What is in a folder and below: YAML files, and the folders themselves (to be watched).
#[derive(Debug, Default)]
pub struct Tree {
    pub files: BTreeMap<PathBuf, Stamp>,
    pub folders: BTreeMap<PathBuf, Stamp>,
    /// Folders that are there and cannot be read now: what is in them is not gone.
    pub closed: Vec<(PathBuf, String)>,
    /// True if a link is among them, so that a file or folder may have more names than one.
    pub linked: bool,
}

const MAX_DEPTH: usize = 16;

/// Reads the tree below `top`; a missing folder is an empty one. Hidden entries and editors' leavings are passed over.
pub fn walk(top: &Path) -> Tree {
    let mut tree = Tree::default();
    let mut open = vec![(top.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
                    tree.closed.push((folder, error.to_string()));
                }
                continue;
            }
        };
        if let Some(stamp) = Stamp::of(&folder) {
            tree.folders.insert(folder.clone(), stamp);
        }
        for entry in entries.flatten() {
            let path = entry.path();
            if is_passed_over(&entry.file_name()) {
                continue;
            }
            tree.linked |= entry.file_type().is_ok_and(|kind| kind.is_symlink());
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.is_dir() {
                if depth < MAX_DEPTH {
                    open.push((path, depth + 1));
                }
            } else if metadata.is_file() && is_flow(&entry.file_name()) {
                tree.files.insert(path, Stamp::from(&metadata));
            }
        }
    }
    tree
}

/// True for hidden entries and what editors leave behind.
pub fn is_passed_over(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".") || name.starts_with(b"#") || name.ends_with(b"~")
}

/// True for the name of a file that is read where flows are.
pub fn is_flow(name: &OsStr) -> bool {
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    matches!(extension, Some("yaml" | "yml")) && !is_passed_over(name)
}
