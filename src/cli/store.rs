//! `millstream store`: is the store whole, mend it, copy it, move it, give space back.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use super::door::Door;
use super::{Place, block_on, print_json};
use crate::access::audit::Audit;
use crate::data::Data;
use crate::engine::InstanceKey;
use crate::journal::{Journal, care};
use crate::private;

/// Files that runs need on another machine, where URLs and secrets are to stay as they are.
const KEYS: [&str; 2] = ["instance.key", "vault.json"];

/// Checks, mends, copies and moves what the server keeps.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Shows what the store takes on the disk.
    Stats,
    /// Reads every byte of the store and says whether it is whole. Changes nothing; no server may run.
    Check,
    /// Saves what is whole of a damaged store; what is damaged is put aside. No server may run.
    Repair {
        /// Does it; without, only says what is wrong.
        #[arg(long)]
        yes: bool,
    },
    /// Gives back all disk space that can be given back, now.
    Compact,
    /// Copies the whole data folder into a new folder, while the server goes on.
    Backup { folder: PathBuf },
    /// Writes all runs into one file (`-`: stdout), to go on elsewhere. No server may run.
    Export {
        file: PathBuf,
        /// Puts instance.key and vault.json into the file too: whoever has it can read your secrets.
        #[arg(long)]
        with_keys: bool,
    },
    /// Makes the store of an empty data folder out of an exported file (`-`: stdin).
    Import { file: PathBuf },
    /// Makes an instance.key where the old one is lost for good: every URL changes.
    NewKey,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        match self.what {
            What::Stats => through_the_door(place, None, stats),
            What::Compact => through_the_door(place, Some(("compact", json!({}))), compacted),
            What::Backup { folder } => {
                let to = std::path::absolute(&folder)?;
                let to = to.to_str().context("the folder's name is not UTF-8")?;
                through_the_door(place, Some(("backup", json!({"to": to}))), copied)
            }
            What::Check => check(place),
            What::Repair { yes } => repair(place, yes),
            What::Export { file, with_keys } => export(place, &file, with_keys),
            What::Import { file } => import(place, &file),
            What::NewKey => new_key(place),
        }
    }
}

/// Asks the running server, or the store itself where none runs.
fn through_the_door(
    place: &Place,
    ask: Option<(&str, Value)>,
    shown: fn(&Value) -> String,
) -> anyhow::Result<ExitCode> {
    block_on(async {
        let door = Door::open(place).await?;
        let told = match ask {
            None => door.get("/api/v1/store").await?,
            Some((what, body)) => door.post(&format!("/api/v1/store/{what}"), body).await?,
        };
        match place.json {
            true => print_json(&told)?,
            false => println!("{}", shown(&told)),
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn mb(value: &Value) -> String {
    format!("{:.1} MB", value.as_f64().unwrap_or(0.0) / 1_000_000.0)
}

fn stats(told: &Value) -> String {
    let (all, live, index) = (mb(&told["bytes"]), mb(&told["live_bytes"]), mb(&told["index_bytes"]));
    format!(
        "log    {all} in {} segments, {live} needed\nindex  {index}\nruns   {} open",
        told["segments"], told["open_runs"]
    )
}

fn compacted(told: &Value) -> String {
    format!("the log had {}, now {}", mb(&told["before"]["bytes"]), mb(&told["after"]["bytes"]))
}

fn copied(told: &Value) -> String {
    format!(
        "{} files, {}: start a server with `--data` on that folder, or on a copy of it",
        told["files"],
        mb(&told["bytes"])
    )
}

/// The data folder, if no server runs on it.
fn alone(place: &Place) -> anyhow::Result<PathBuf> {
    let data = place.data()?;
    if !data.is_dir() {
        bail!("there is no data folder {}", data.display());
    }
    if let Some(door) = block_on(Door::server(place))? {
        bail!(
            "{} uses the store: stop it first, or make a backup with `millstream store backup FOLDER` and name that with --data",
            door.name()
        );
    }
    Ok(data)
}

fn check(place: &Place) -> anyhow::Result<ExitCode> {
    let report = care::check(&alone(place)?)?;
    match place.json {
        true => print_json(&report)?,
        false => tell(&report),
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(report: &care::Report) {
    for problem in &report.problems {
        let place = match (problem.from, problem.to) {
            (Some(from), Some(to)) => format!(" bytes {from} to {to}:"),
            _ => String::new(),
        };
        println!("{}:{place} {}", problem.file.display(), problem.what);
    }
    runs(&report.affected);
    let care::Report { segments, bytes, frames, runs, open_runs, unfinished_bytes, .. } = report;
    println!("{segments} segments, {bytes} bytes, {frames} batches; {runs} runs, {open_runs} open");
    if *unfinished_bytes > 0 {
        println!("the last {unfinished_bytes} bytes are of a write that was cut short; it was never acknowledged");
    }
    println!(
        "{}",
        match report.is_sound() {
            true => "the store is whole",
            false => "the store is not whole: bring back a backup, or save the rest with `millstream store repair`",
        }
    );
}

fn runs(runs: &[care::Affected]) {
    for run in runs {
        let flow = run.flow.as_deref().unwrap_or("unknown flow");
        let status = run.status.map_or_else(|| "lost".to_owned(), |status| status.to_string());
        println!("run {} ({flow}, {status}): {}", run.run_id, run.what);
    }
}

fn repair(place: &Place, yes: bool) -> anyhow::Result<ExitCode> {
    let data = alone(place)?;
    if !yes {
        let report = care::check(&data)?;
        tell(&report);
        bail!(
            "nothing was changed: to save what is whole, run `millstream store repair --yes`, best on a copy of {}",
            data.display()
        );
    }
    let done = care::repair(&data)?;
    if place.json {
        print_json(&done)?;
        return Ok(ExitCode::SUCCESS);
    }
    for path in &done.put_aside {
        println!("put aside: {}", path.display());
    }
    if done.restored > 0 {
        println!("{} entries were written again out of the index", done.restored);
    }
    if done.runs.is_empty() {
        println!("no run is known to have lost anything");
    } else {
        println!("{} runs lost records:", done.runs.len());
        runs(&done.runs);
    }
    println!("the index was made anew; the store can be served again");
    Ok(ExitCode::SUCCESS)
}

fn export(place: &Place, file: &Path, with_keys: bool) -> anyhow::Result<ExitCode> {
    let data = alone(place)?;
    let mut files = Vec::new();
    if with_keys {
        for name in KEYS {
            match std::fs::read(data.join(name)) {
                Ok(bytes) => files.push((name.to_owned(), bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(anyhow!(error).context(data.join(name).display().to_string())),
            }
        }
        eprintln!("warning: the file holds your instance key and your secrets: whoever has it can read them");
    }
    let journal = Journal::open(&data)?;
    let done = if file.as_os_str() == "-" {
        journal.export(&mut BufWriter::new(std::io::stdout().lock()), &files)?
    } else {
        let shown = file.display();
        let mut options = File::options();
        let out = options.create_new(true).write(true).mode(0o600).open(file).with_context(|| format!("{shown}"))?;
        let mut out = BufWriter::new(out);
        let done = journal.export(&mut out, &files).inspect_err(|_| drop(std::fs::remove_file(file)))?;
        out.flush().and_then(|()| out.get_ref().sync_all()).with_context(|| format!("{shown}"))?;
        done
    };
    block_on(async {
        journal.close().await;
        Ok(())
    })?;
    match place.json {
        // Stdout may be the export itself.
        true if file.as_os_str() != "-" => print_json(&done)?,
        _ => eprintln!("{} runs, {} bytes", done.runs, done.bytes),
    }
    if !with_keys {
        eprintln!("URLs and secrets stay as they are where instance.key and vault.json go along too");
    }
    eprintln!("do not serve this folder any more where the file is imported: its runs would go on twice");
    Ok(ExitCode::SUCCESS)
}

fn import(place: &Place, file: &Path) -> anyhow::Result<ExitCode> {
    let data = Data::open(&place.data()?).map_err(|why| anyhow!(why))?;
    let mut from: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(file).with_context(|| file.display().to_string())?)),
    };
    let done = care::import(data.path(), &mut from, &mut |name, bytes| {
        let path = data.path().join(name);
        match std::fs::read(&path) {
            Ok(there) if there == bytes => Ok(()),
            Ok(_) => Err(format!("{} is there already, and is another one", path.display())),
            Err(_) => private::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display())),
        }
    })?;
    match place.json {
        true => print_json(&json!({"runs": done.runs, "files": done.files}))?,
        false => println!("{} runs; they go on with `millstream serve`", done.runs),
    }
    if !data.path().join(KEYS[0]).exists() {
        eprintln!(
            "warning: {} is not there: put the old one there before you serve, or every URL changes (`store new-key`)",
            data.path().join(KEYS[0]).display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn new_key(place: &Place) -> anyhow::Result<ExitCode> {
    let data = Data::open(&place.data()?).map_err(|why| anyhow!(why))?;
    let path = data.path().join(KEYS[0]);
    if path.exists() {
        bail!("{} is there; move it away first, if it is really another one that you want", path.display());
    }
    InstanceKey::make(data.path()).map_err(|why| anyhow!(why))?;
    let noted = Audit::of(data.path()).note_of_command_line("new_instance_key", None);
    noted.context("it is done, but the audit log could not be written")?;
    match place.json {
        true => print_json(&json!({"made": path}))?,
        false => println!("{} is new: all URLs have changed", path.display()),
    }
    if data.path().join(KEYS[1]).exists() {
        eprintln!("if {} was under the old key, move it away and set its secrets anew", KEYS[1]);
    }
    Ok(ExitCode::SUCCESS)
}
