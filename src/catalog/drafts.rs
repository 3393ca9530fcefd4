//! Drafts: texts that stand for what the disk has, as an editor holds them before they are saved.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use crate::flow::MAX_BYTES;

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

    /// The text of a file.
    ///
    /// # Errors
    /// As [`fs::read_to_string`]; and [`io::ErrorKind::FileTooLarge`], before it is in memory.
    pub fn read_text(&self, path: &Path) -> io::Result<String> {
        match self.draft(path) {
            Some((_, text)) => Ok(text.clone()),
            None => read_text(path),
        }
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

fn read_text(path: &Path) -> io::Result<String> {
    let file = fs::File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(length.min(MAX_BYTES) + 1);
    // Some files have more than they say, as devices do.
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        let what = format!("the file has {} bytes; the limit is {MAX_BYTES}", length.max(bytes.len()));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    String::from_utf8(bytes).map_err(|error| io::Error::other(format!("it is not UTF-8 ({error})")))
}
