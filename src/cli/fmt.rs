//! `millstream fmt`: the project's YAML files, put in order.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;

use super::{Place, print_json};
use crate::author;

/// Folders whose YAML files are the project's, and files beside them.
const FOLDERS: [&str; 3] = ["flows", "tests", "connectors"];
const FILES: [&str; 2] = ["connections.yaml", "millstream.yaml"];
const MAX_DEPTH: usize = 16;

/// Formats YAML files: indentation, blanks, quotes of templates. Comments and order stay, and so does what the files say.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files or folders; the whole project unless given.
    paths: Vec<PathBuf>,
    /// Changes nothing; the exit code is 1 if a file would change.
    #[arg(long)]
    check: bool,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let dir = place.dir()?;
        let mut files = Vec::new();
        if self.paths.is_empty() {
            FOLDERS.iter().for_each(|folder| walk(&dir.join(folder), 0, &mut files));
            files.extend(FILES.iter().map(|file| dir.join(file)).filter(|file| file.is_file()));
        }
        for path in &self.paths {
            match path.is_dir() {
                true => walk(path, 0, &mut files),
                false => files.push(path.clone()),
            }
        }
        files.sort();
        let (mut changed, mut left) = (Vec::new(), Vec::new());
        for file in &files {
            let shown = file.strip_prefix(&dir).unwrap_or(file).display().to_string();
            let before = fs::read_to_string(file).with_context(|| format!("{shown} could not be read"))?;
            match author::format(&before) {
                Ok(after) if after == before => {}
                Ok(after) => {
                    if !self.check {
                        replace(file, &after).with_context(|| format!("{shown} could not be written"))?;
                    }
                    changed.push(shown);
                }
                Err(why) => {
                    eprintln!("{shown}: left as it is: {why}");
                    left.push(shown);
                }
            }
        }
        if place.json {
            print_json(&json!({"files": files.len(), "changed": changed, "left": left}))?;
        } else {
            let word = if self.check { "would change" } else { "formatted" };
            changed.iter().for_each(|file| println!("{word} {file}"));
            println!("{} {word}, {} left as they are, of {}", changed.len(), left.len(), files.len());
        }
        let well = left.is_empty() && (changed.is_empty() || !self.check);
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Written beside it and renamed over it: a server that watches never reads half a file.
pub(super) fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let file = fs::canonicalize(file)?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let fresh = file.with_file_name(format!(".{name}.fmt"));
    fs::write(&fresh, text)?;
    fs::set_permissions(&fresh, fs::metadata(&file)?.permissions())?;
    fs::rename(&fresh, &file)
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        match path.is_dir() {
            true if !hidden && depth < MAX_DEPTH => walk(&path, depth + 1, files),
            false if !hidden && yaml => files.push(path),
            _ => {}
        }
    }
}
