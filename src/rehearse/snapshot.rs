//! Snapshots: the whole history of a case in a file beside it, compared, and written where that is wanted.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::diff::lines;
use super::stage::{Began, Played};
use crate::run::history;

/// What becomes of a snapshot that is not as the file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bless {
    /// The case fails.
    Compare,
    /// The file is written.
    Write,
}

/// Longest name of a file, bytes; file systems take 255.
const LONGEST: usize = 200;
/// Of histories, what changes with every change of the flow or says nothing.
const LEFT_OUT: [&str; 2] = ["definition", "key"];

/// The file of a case's snapshot: `__snapshots__/{test file}/{case}.json` beside its test file.
pub(super) fn path(file: &Path, case: &str) -> PathBuf {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.trim_end_matches(".yml").trim_end_matches(".yaml").trim_end_matches(".test");
    file.with_file_name("__snapshots__").join(stem).join(format!("{}.json", slug(case)))
}

/// A case's name as a file can have it.
pub(super) fn slug(case: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let mut slug: String = case.chars().map(plain).collect();
    slug.truncate(slug.floor_char_boundary(LONGEST));
    slug
}

/// All that came of a case, as a person reads it.
pub(super) fn told(played: &Played) -> String {
    let runs: Vec<Value> = played
        .runs
        .iter()
        .map(|run| {
            let mut told = history(run.run.id, &run.records, Some(&run.live.flow));
            if told["status"] == "running" {
                told["status"] = json!(run.status);
            }
            strip(&mut told);
            told
        })
        .collect();
    let began = match &played.began {
        Began::Runs(_) => Value::Null,
        Began::Skipped => json!("skipped"),
        Began::Rejected { code, message } => json!({"rejected": {"code": code, "message": message}}),
    };
    let mut whole = Map::new();
    if !began.is_null() {
        whole.insert("request".into(), began);
    }
    whole.insert("answer".into(), played.response.clone());
    whole.insert("runs".into(), Value::Array(runs));
    let mut text = serde_json::to_string_pretty(&Value::Object(whole)).unwrap_or_default();
    text.push('\n');
    text
}

fn strip(told: &mut Value) {
    if let Some(told) = told.as_object_mut() {
        LEFT_OUT.iter().for_each(|key| {
            told.shift_remove(*key);
        });
        for step in told.get_mut("steps").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(step) = step.as_object_mut() {
                LEFT_OUT.iter().for_each(|key| {
                    step.shift_remove(*key);
                });
            }
        }
    }
}

/// Compares with the file, or writes it; what is wrong, for a person. `Ok(true)`: the file was written.
pub(super) fn compare(dir: &Path, file: &Path, told: &str, bless: Bless) -> Result<bool, String> {
    let path = dir.join(file);
    let kept = fs::read_to_string(&path).ok();
    if kept.as_deref() == Some(told) {
        return Ok(false);
    }
    if bless == Bless::Write {
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, told));
        return written.map(|()| true).map_err(|error| format!("{} cannot be written: {error}", file.display()));
    }
    Err(match kept {
        None => format!("there is no {} yet; `millstream test --bless` writes it", file.display()),
        Some(kept) => format!(
            "the history is not as {} has it (- expected, + got); if it should be, `millstream test --bless` writes it\n{}",
            file.display(),
            lines(&kept, told)
        ),
    })
}
