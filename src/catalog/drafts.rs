//! Drafts: texts that stand for what the disk has, as an editor holds them before they are saved.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use super::folder::{self, Stamp, Tree};

/// The drafts of one project folder; empty wherever nobody edits.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    texts: BTreeMap<PathBuf, (Stamp, String)>,
    /// Drafts seen so far: each has a stamp of its own.
    seen: u64,
}

impl Drafts {
    /// From now on this text is the file's; `None`: again what the disk has.
    pub fn set(&mut self, path: &Path, text: Option<String>) {
        match text {
            Some(text) => {
                self.seen += 1;
                self.texts.insert(path.to_owned(), (Stamp::of_draft(self.seen), text));
            }
            None => drop(self.texts.remove(path)),
        }
    }

    /// See [`Stamp::of`].
    pub fn stamp(&self, path: &Path) -> Option<Stamp> {
        self.draft(path).map(|(stamp, _)| *stamp).or_else(|| Stamp::of(path))
    }

    /// The stamp of what is a file there, or a draft of one.
    pub fn file(&self, path: &Path) -> Option<Stamp> {
        let draft = self.draft(path).map(|(stamp, _)| *stamp);
        draft.or_else(|| Some(Stamp::from(&fs::metadata(path).ok().filter(fs::Metadata::is_file)?)))
    }

    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.draft(path).map_or_else(|| fs::read(path), |(_, text)| Ok(text.clone().into_bytes()))
    }

    pub fn read_text(&self, path: &Path) -> io::Result<String> {
        self.draft(path).map_or_else(|| fs::read_to_string(path), |(_, text)| Ok(text.clone()))
    }

    fn draft(&self, path: &Path) -> Option<&(Stamp, String)> {
        if self.texts.is_empty() { None } else { self.texts.get(&plain_path(path)) }
    }

    /// See [`folder::walk`]; a draft of a file that is not on disk yet is there too.
    pub fn walk(&self, top: &Path) -> Tree {
        let mut tree = folder::walk(top);
        for (path, (stamp, _)) in &self.texts {
            if path.starts_with(top) && path.file_name().is_some_and(folder::is_flow) {
                tree.files.insert(path.clone(), *stamp);
            }
        }
        tree
    }
}

/// A path without `.` and `..`, by its letters alone.
pub fn plain_path(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if out.file_name().is_some() => drop(out.pop()),
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}
