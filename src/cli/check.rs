//! `millstream check`: all problems of all files at once, tests included, in the form that a person, a program or GitHub reads.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;

use super::{Place, block_on, print_json};
use crate::catalog::{Catalog, Snapshot};
use crate::config::Config;
use crate::flow::{Problem, Severity};
use crate::rehearse;

/// Checks all files of the project folder and says everything that is wrong with them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Warnings count as errors.
    #[arg(long)]
    strict: bool,
    /// Checks again whenever a file changes, and says what is new and what is gone, until it is stopped.
    #[arg(long)]
    watch: bool,
    /// How problems are shown; `github` marks them in a pull request (workflow commands). `--json` is `json`.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
    Github,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let dir = place.dir()?;
        let config = Config::load(&dir)?;
        let catalog = Arc::new(Catalog::load(&dir, None, &config));
        let format = self.format.unwrap_or(if place.json { Format::Json } else { Format::Text });
        let told = Told { format, strict: self.strict, dir };
        let first = Checked::now(&catalog);
        told.all(&first)?;
        if self.watch {
            return watch(&catalog, first, &told);
        }
        Ok(if told.is_sound(&first) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What is live, and what is wrong with it and its tests.
struct Checked {
    snapshot: Arc<Snapshot>,
    problems: Vec<Problem>,
}

impl Checked {
    fn now(catalog: &Catalog) -> Checked {
        let snapshot = catalog.current();
        let mut problems = snapshot.problems.clone();
        problems.extend(rehearse::check(&snapshot));
        Checked { snapshot, problems }
    }
}

/// Tells of each change, for ever.
fn watch(catalog: &Arc<Catalog>, mut before: Checked, told: &Told) -> anyhow::Result<ExitCode> {
    let mut changes = catalog.changes();
    let _watching = catalog.watch();
    block_on(async {
        while changes.changed().await.is_ok() {
            changes.borrow_and_update();
            let after = Checked::now(catalog);
            told.change(&before, &after)?;
            before = after;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// How problems are told.
struct Told {
    format: Format,
    strict: bool,
    dir: PathBuf,
}

impl Told {
    fn is_sound(&self, checked: &Checked) -> bool {
        checked.problems.iter().all(|problem| problem.severity != Severity::Error)
            && (!self.strict || checked.problems.is_empty())
    }

    fn all(&self, checked: &Checked) -> anyhow::Result<()> {
        if self.format == Format::Json {
            return self.document(checked);
        }
        self.lines(&[], &checked.problems.iter().collect::<Vec<_>>(), checked)
    }

    /// What differs; nothing where a problem only moved.
    fn change(&self, before: &Checked, after: &Checked) -> anyhow::Result<()> {
        let same = |problem: &Problem| {
            let Problem { severity, code, file, what, hint, .. } = problem.clone();
            (severity, code, file, what, hint)
        };
        let old: HashSet<_> = before.problems.iter().map(same).collect();
        let new: HashSet<_> = after.problems.iter().map(same).collect();
        if old == new && sound(before).count() == sound(after).count() {
            return Ok(());
        }
        if self.format == Format::Json {
            return self.document(after);
        }
        let gone: Vec<&Problem> = before.problems.iter().filter(|problem| !new.contains(&same(problem))).collect();
        let fresh: Vec<&Problem> = after.problems.iter().filter(|problem| !old.contains(&same(problem))).collect();
        self.lines(&gone, &fresh, after)
    }

    fn lines(&self, gone: &[&Problem], fresh: &[&Problem], checked: &Checked) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        for Problem { file, line, column, code, what, .. } in gone {
            writeln!(out, "gone: {}:{line}:{column}  {code}  {what}", file.display())?;
        }
        for problem in fresh {
            match self.format {
                Format::Text | Format::Json => writeln!(out, "{problem}\n")?,
                Format::Github => {
                    writeln!(out, "{}", command(problem, &in_repository(&self.dir.join(&problem.file))))?;
                }
            }
        }
        writeln!(out, "{}", summary(checked))?;
        out.flush()?;
        Ok(())
    }

    fn document(&self, checked: &Checked) -> anyhow::Result<()> {
        let mut flows: Vec<&String> = sound(checked).collect();
        flows.sort();
        print_json(&json!({"ok": self.is_sound(checked), "flows": flows, "problems": checked.problems}))
    }
}

/// The flows whose files are as they should be; that of another stays live as it last was.
fn sound(checked: &Checked) -> impl Iterator<Item = &String> {
    let wrong = checked.problems.iter().filter(|problem| problem.severity == Severity::Error);
    let wrong: HashSet<&Path> = wrong.map(|problem| problem.file.as_path()).collect();
    checked.snapshot.flows.iter().filter(move |(_, live)| !wrong.contains(live.file.as_path())).map(|(id, _)| id)
}

fn summary(checked: &Checked) -> String {
    let errors = checked.problems.iter().filter(|p| p.severity == Severity::Error).count();
    let warnings = checked.problems.len() - errors;
    let flows = sound(checked).count();
    format!("{}, {}, {}", counted(flows, "flow"), counted(errors, "error"), counted(warnings, "warning"))
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A problem as a workflow command of GitHub.
fn command(problem: &Problem, file: &Path) -> String {
    let Problem { line, column, length, code, title, what, hint, .. } = problem;
    let kind = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let (file, title) = (property(&file.display().to_string()), property(&format!("{code} {title}")));
    let end = column + (*length).max(1) - 1;
    let message = hint.as_ref().map_or_else(|| what.clone(), |hint| format!("{what}\n{hint}"));
    format!("::{kind} file={file},line={line},col={column},endColumn={end},title={title}::{}", data(&message))
}

/// The path from the checked-out repository, where the command runs in one, or else from here.
fn in_repository(file: &Path) -> PathBuf {
    let roots = [std::env::var_os("GITHUB_WORKSPACE").map(PathBuf::from), std::env::current_dir().ok()];
    let roots = roots.into_iter().flatten().filter_map(|root| std::fs::canonicalize(root).ok());
    let mut inside = roots.filter_map(|root| Some(file.strip_prefix(root).ok()?.to_owned()));
    inside.next().unwrap_or_else(|| file.to_owned())
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_for_github_is_one_line_whatever_the_problem_says() {
        let problem = Problem {
            severity: Severity::Warning,
            code: "W-FLOW-025".into(),
            title: "a type, that: may not fit".into(),
            file: "flows/a.yaml".into(),
            line: 7,
            column: 13,
            length: 4,
            shown: String::new(),
            what: "100 % wrong\r\n::error::no".into(),
            hint: Some("see, here: there".into()),
        };
        let expected = "::warning file=app/a%2Cb%3A.yaml,line=7,col=13,endColumn=16,title=W-FLOW-025 a type%2C that%3A may not fit\
                        ::100 %25 wrong%0D%0A::error::no%0Asee, here: there";
        assert_eq!(command(&problem, Path::new("app/a,b:.yaml")), expected);
    }
}
