//! Finds test files, plays their cases at once, and says what came of each.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::coverage::Coverage;
use super::file::{Case, TestFile};
use super::judge::judge;
use super::snapshot::{self, Bless};
use super::stage::{Fault, Played, play};
use crate::catalog::{Snapshot, files};
use crate::flow::{At, Problem, Source};

/// What came of the cases that were played.
#[derive(Debug, Default)]
pub struct Told {
    /// In the order of files and cases.
    pub verdicts: Vec<Verdict>,
    /// What is wrong with the test files; their cases are not played.
    pub problems: Vec<Problem>,
    pub coverage: Coverage,
}

/// What came of one case.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// From the project folder.
    pub file: PathBuf,
    pub case: String,
    pub flow: String,
    pub passed: bool,
    /// What is not as expected, in the order of the file.
    pub mismatches: Vec<Mismatch>,
    /// True if its snapshot was written.
    pub blessed: bool,
    /// How long it took in truth.
    #[serde(rename = "took_us", serialize_with = "microseconds")]
    pub took: Duration,
}

/// One thing that is not as expected.
#[derive(Debug, Clone, Serialize)]
pub struct Mismatch {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Of the expectation within the test file, JSON Pointer.
    pub pointer: String,
    pub what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

fn microseconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
}

/// Every test file below the `tests` of the project folder, by its path from there, in order.
pub fn find(dir: &Path) -> Vec<PathBuf> {
    let is_test = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.ends_with(".test.yaml") || name.ends_with(".test.yml")
    };
    let found = files(&dir.join("tests")).into_iter().filter(is_test);
    found.map(|path| path.strip_prefix(dir).map(Path::to_owned).unwrap_or(path)).collect()
}

/// What is wrong with the test files of the project.
pub fn check(snapshot: &Snapshot) -> Vec<Problem> {
    likely(snapshot, read(snapshot, &find(&snapshot.dir)).1)
}

/// What is wrong with the text of one test file, whose path is from the project folder.
pub fn check_text(snapshot: &Snapshot, file: &Path, text: &str) -> Vec<Problem> {
    likely(snapshot, TestFile::read(file, text, snapshot).1)
}

fn likely(snapshot: &Snapshot, mut problems: Vec<Problem>) -> Vec<Problem> {
    if !snapshot.is_sound() {
        // The flow is there, most likely, with an error that is told where it is.
        problems.retain(|problem| problem.code != crate::flow::UNKNOWN_FLOW.0);
    }
    problems
}

fn read(snapshot: &Snapshot, tests: &[PathBuf]) -> (Vec<TestFile>, Vec<Problem>) {
    let (mut read, mut problems) = (Vec::new(), Vec::new());
    for file in tests {
        match std::fs::read_to_string(snapshot.dir.join(file)) {
            Ok(text) => {
                let (test, found) = TestFile::read(file, &text, snapshot);
                problems.extend(found);
                read.push(test);
            }
            Err(error) => {
                let (source, _, _) = Source::read(file, "");
                problems.push(source.problem(crate::flow::NO_FILE, "", At::Value, error.to_string(), None));
            }
        }
    }
    (read, problems)
}

/// Plays the cases of these files whose file, name or flow holds `filter`, some at once.
pub fn run(snapshot: &Snapshot, tests: &[PathBuf], filter: Option<&str>, bless: Bless) -> Told {
    let (read, problems) = read(snapshot, tests);
    let mut told = Told { problems, ..Told::default() };
    let filter = filter.map(str::to_lowercase);
    let wanted = |test: &TestFile, case: &Case| {
        let fits = |text: &str| filter.as_ref().is_none_or(|filter| text.to_lowercase().contains(filter));
        fits(&test.file.to_string_lossy()) || fits(&case.name) || fits(&case.flow)
    };
    let cases = read.iter().flat_map(|test| test.cases.iter().map(move |case| (test, case)));
    let cases: Vec<(&TestFile, &Case)> = cases.filter(|(test, case)| wanted(test, case)).collect();
    let flows = cases.iter().map(|(_, case)| case.flow.as_str());
    let coverage = match filter {
        None => Coverage::of(snapshot, snapshot.flows.keys().map(String::as_str)),
        Some(_) => Coverage::of(snapshot, flows),
    };
    let (next, done, coverage) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(coverage));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(cases.len().max(1));
    let locked = "no thread panics while it holds this";
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((test, case)) = cases.get(number) else { return };
                    let begun = Instant::now();
                    let played = play(case, snapshot);
                    let verdict = Verdict { took: begun.elapsed(), ..verdict(snapshot, test, case, &played, bless) };
                    coverage.lock().expect(locked).add(&played);
                    done.lock().expect(locked).push((number, verdict));
                }
            });
        }
    });
    let mut done = done.into_inner().expect(locked);
    done.sort_by_key(|(number, _)| *number);
    told.verdicts = done.into_iter().map(|(_, verdict)| verdict).collect();
    told.coverage = coverage.into_inner().expect(locked);
    told
}

/// Plays the cases of a test file's text that stands in no folder yet, as if it were at `file`.
pub fn run_text(snapshot: &Snapshot, file: &Path, text: &str) -> Told {
    let (test, problems) = TestFile::read(file, text, snapshot);
    let one = |case| verdict(snapshot, &test, case, &play(case, snapshot), Bless::Compare);
    Told { verdicts: test.cases.iter().map(one).collect(), problems, coverage: Coverage::default() }
}

fn verdict(snapshot: &Snapshot, test: &TestFile, case: &Case, played: &Played, bless: Bless) -> Verdict {
    let mut mismatches = Vec::new();
    let mut say = |pointer: &str, what: String, hint: Option<String>| {
        let problem = test.source.problem(crate::flow::BAD_VALUE, pointer, At::Key, String::new(), None);
        let (line, column) = (problem.line, problem.column);
        mismatches.push(Mismatch { line, column, pointer: pointer.to_owned(), what, hint });
    };
    let mut blessed = false;
    match &played.fault {
        Some(Fault { what, hint, pointer }) => {
            say(pointer.as_deref().unwrap_or(&case.pointer), what.clone(), hint.clone());
        }
        None => {
            if !case.expect.pointer.is_empty() {
                for unmet in judge(&case.expect, played) {
                    say(&unmet.pointer, unmet.what, None);
                }
            }
            if case.snapshot {
                let file = snapshot::path(&test.file, &case.name);
                match snapshot::compare(&snapshot.dir, &file, &snapshot::told(played), bless) {
                    Ok(written) => blessed = written,
                    Err(what) => say(&format!("{}/snapshot", case.pointer), what, None),
                }
            }
        }
    }
    Verdict {
        file: test.file.clone(),
        case: case.name.clone(),
        flow: case.flow.clone(),
        passed: mismatches.is_empty(),
        mismatches,
        blessed,
        took: Duration::ZERO,
    }
}
