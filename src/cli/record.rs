//! `millstream runs record`: a run that was becomes a test case.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};

use super::door::Door;
use super::{Place, print_json, segment, text};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::rehearse::{self, Recorded};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    run: String,
    /// Writes the test file here instead of on stdout; a file that is there stays as it is, and that is an error.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

impl Args {
    pub async fn give(self, place: &Place) -> anyhow::Result<ExitCode> {
        let told = Door::open(place).await?.get(&format!("/api/v1/runs/{}", segment(&self.run))).await?;
        let dir = place.dir()?;
        let catalog = Catalog::load(&dir, None, &Config::load(&dir)?).current();
        let flow = text(&told, "flow");
        let Some(live) = catalog.flow(&flow) else {
            bail!("there is no flow `{flow}` without errors in this folder; see `millstream check`");
        };
        let env = if live.text().contains("env.") { catalog.env.clone() } else { Value::Null };
        let recorded = Recorded { told: &told, flow: &live.flow, env: &env };
        let made = rehearse::record(recorded).map_err(|why| anyhow!(why))?;
        let name = self.to.clone().unwrap_or_else(|| PathBuf::from("tests/recorded.test.yaml"));
        let tried = rehearse::run_text(&catalog, Path::new(&name), &made);
        if let Some(to) = &self.to {
            if let Some(folder) = to.parent() {
                std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
            }
            let file = OpenOptions::new().write(true).create_new(true).open(to);
            let written = file.and_then(|mut file| file.write_all(made.as_bytes()));
            written.with_context(|| format!("{} could not be written", to.display()))?;
        }
        let passed = tried.problems.is_empty() && tried.verdicts.iter().all(|verdict| verdict.passed);
        match (&self.to, place.json) {
            (_, true) => print_json(&json!({"file": self.to, "test": made, "passes": passed}))?,
            (Some(to), false) => println!("{}", to.display()),
            (None, false) => print!("{made}"),
        }
        if passed {
            eprintln!("the case passes with the flow as it is now");
        } else {
            eprintln!("the case does not pass as it is; what a play cannot give again has to be taken out:");
            tried.problems.iter().for_each(|problem| eprintln!("{problem}"));
            for mismatch in tried.verdicts.iter().flat_map(|verdict| &verdict.mismatches) {
                eprintln!("  line {}: {}", mismatch.line, mismatch.what);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
