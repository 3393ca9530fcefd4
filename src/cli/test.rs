//! `millstream test`: plays the cases of `tests/**/*.test.yaml`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::json;

use super::{Place, print_json};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::rehearse::{self, Bless, Told};

/// Plays flows with mocks and a clock of their own, and compares what comes of it with what the cases expect.
///
/// Nothing is sent, no secret is read, and no time passes: cases are the files `tests/**/*.test.yaml`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only cases whose file, name or flow holds this, in any case.
    filter: Option<String>,
    /// Writes the snapshots that are not as they were, instead of failing.
    #[arg(long)]
    bless: bool,
    /// Writes the results as JUnit XML too.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Shows which steps and branches no case has reached.
    #[arg(long)]
    coverage: bool,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let begun = Instant::now();
        let dir = place.dir()?;
        let catalog = Catalog::load(&dir, None, &Config::load(&dir)?).current();
        let files = rehearse::find(&dir);
        if files.is_empty() {
            bail!("there are no test files: write one as tests/NAME.test.yaml, or record a run with `runs record`");
        }
        let bless = if self.bless { Bless::Write } else { Bless::Compare };
        let told = rehearse::run(&catalog, &files, self.filter.as_deref(), bless);
        let failed = told.verdicts.iter().filter(|verdict| !verdict.passed).count();
        let none = told.verdicts.is_empty() && told.problems.is_empty();
        let ok = failed == 0 && told.problems.is_empty() && !none;
        if let Some(path) = &self.junit {
            let written = std::fs::write(path, rehearse::junit(&told));
            written.with_context(|| format!("{} could not be written", path.display()))?;
        }
        if place.json {
            let mut document = json!({"ok": ok, "cases": told.verdicts, "problems": told.problems});
            if self.coverage {
                document["coverage"] = json!(told.coverage);
            }
            print_json(&document)?;
        } else {
            show(&told);
            if self.coverage {
                println!("\n{}", told.coverage.table());
            }
            let passed = told.verdicts.len() - failed;
            let wrong = told.problems.len();
            let wrong = if wrong == 0 { String::new() } else { format!(", {wrong} problems in test files") };
            println!("{passed} passed, {failed} failed{wrong}, in {:.2} s", begun.elapsed().as_secs_f64());
        }
        if none {
            let filter = self.filter.unwrap_or_default();
            eprintln!("no case has `{filter}` in its file, its name or its flow");
        }
        // A flow that does not load is why its cases are not found.
        if !catalog.is_sound() && !told.problems.is_empty() {
            eprintln!("some files of the project have errors: see `millstream check`");
        }
        Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn show(told: &Told) {
    for problem in &told.problems {
        println!("{problem}\n");
    }
    for verdict in &told.verdicts {
        let word = if verdict.passed { "ok  " } else { "FAIL" };
        let blessed = if verdict.blessed { "  (snapshot written)" } else { "" };
        println!("{word}  {}  {}{blessed}", verdict.flow, verdict.case);
        for mismatch in &verdict.mismatches {
            println!(
                "      {}:{}:{}  {}",
                verdict.file.display(),
                mismatch.line,
                mismatch.column,
                name(&mismatch.pointer)
            );
            mismatch.what.lines().chain(mismatch.hint.iter().flat_map(|hint| hint.lines())).for_each(|line| {
                println!("        {line}");
            });
        }
    }
}

/// An expectation as a person names it: `expect.steps.create_lead.input`.
fn name(pointer: &str) -> String {
    let mut parts = pointer.split('/').skip(1).peekable();
    if parts.peek() == Some(&"cases") {
        parts.nth(1);
    }
    parts.map(|part| part.replace("~1", "/").replace("~0", "~")).collect::<Vec<_>>().join(".")
}
