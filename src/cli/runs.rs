//! `millstream runs`: what happened, and what a person does about it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::door::Door;
use super::letters::{Filter, Order, Selection};
use super::{Place, block_on, print_json, read_json, segment, show, text};
use crate::mapping::parse_json;
use crate::run::Status;

/// Lists, shows and handles runs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists runs, newest first.
    List {
        #[command(flatten)]
        filter: Filter,
        /// Only those that wait for a person: held ones, and failed, timed out and rejected ones that nobody has handled.
        #[arg(long)]
        unhandled: bool,
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// The last run of the page before.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Shows a run step by step.
    Show {
        run: String,
        /// Tells where a value came from instead: from which input, through which expressions. A step's inputs are named
        /// `STEP.KEY…`, its output `STEP.output.KEY…`, its third execution in a loop `STEP[2].KEY…`.
        #[arg(long, value_name = "STEP.KEY")]
        why: Option<String>,
    },
    /// Turns a run that has ended into a test case, secrets hidden; see `millstream test`.
    Record(super::record::Args),
    /// Starts new runs with the requests of these, which are handled then; they keep the idempotency keys.
    ///
    /// By filter it takes failed and timed out runs unless --status says otherwise, without those that were handled and
    /// those that other runs called. The command can be interrupted and repeated: no run is resubmitted twice.
    // Its own `--version` is of the flow.
    #[command(disable_version_flag = true)]
    Resubmit(Box<Resubmit>),
    /// Marks runs as dealt with, without starting new ones.
    Handle {
        #[command(flatten)]
        runs: Selection,
        /// What was done, in your words.
        #[arg(long)]
        note: Option<String>,
        /// Held runs are cancelled.
        #[arg(long)]
        cancel_held: bool,
    },
    /// Ends runs. A call on its way is broken off; it may have happened.
    Cancel {
        #[command(flatten)]
        runs: Selection,
    },
    /// Lets held runs go on.
    Resume {
        #[command(flatten)]
        runs: Selection,
    },
}

#[derive(Debug, clap::Args)]
struct Resubmit {
    #[command(flatten)]
    runs: Selection,
    /// A mended body instead of the one that came in, for one run: a file, JSON, or `-` for stdin.
    #[arg(long)]
    body: Option<String>,
    /// Begins with this step, or with what failed (`failed`): what came before it is taken over.
    #[arg(long)]
    from_step: Option<String>,
    /// The flow's version: the present one, or that of the run.
    #[arg(long, default_value = "new")]
    version: Version,
    /// Targets that honour keys shall see new calls, not repeats.
    #[arg(long)]
    new_keys: bool,
    /// Also runs that were resubmitted before.
    #[arg(long)]
    again: bool,
    /// Held runs are cancelled, and the new ones take their place.
    #[arg(long)]
    cancel_held: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Version {
    Old,
    New,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        block_on(async {
            match self.what {
                What::List { filter, unhandled, limit, cursor } => {
                    let mut query = filter.query(&[])?;
                    if unhandled {
                        query.append_pair("unhandled", "true");
                    }
                    if let Some(cursor) = cursor {
                        query.append_pair("cursor", &cursor);
                    }
                    let query = query.append_pair("limit", &limit.to_string()).finish();
                    let page = Door::open(place).await?.get(&format!("/api/v1/runs?{query}")).await?;
                    list(place, &page)?;
                    Ok(ExitCode::SUCCESS)
                }
                What::Show { run, why } => {
                    let mut path = format!("/api/v1/runs/{}", segment(&run));
                    if let Some(why) = &why {
                        path = format!("{path}/why?value={}", segment(why));
                    }
                    let told = Door::open(place).await?.get(&path).await?;
                    match place.json {
                        true => print_json(&told)?,
                        false if why.is_some() => print!("{}", show::why(&told)),
                        false => print!("{}", show::run(&told)),
                    }
                    Ok(ExitCode::SUCCESS)
                }
                What::Record(args) => args.give(place).await,
                What::Resubmit(resubmit) => resubmit.give(place).await,
                What::Handle { runs, note, cancel_held } => {
                    let mut asked = Map::new();
                    asked.insert("cancel_held".to_owned(), json!(cancel_held));
                    if let Some(note) = note {
                        asked.insert("note".to_owned(), json!(note));
                    }
                    let statuses = &[Status::Failed, Status::TimedOut, Status::Rejected];
                    let order =
                        Order { unhandled: true, offline: true, asked, ..Order::plain("handle", "handled", statuses) };
                    runs.give(place, &order).await
                }
                What::Cancel { runs } => {
                    let statuses = &[Status::Queued, Status::Running, Status::Waiting, Status::Held];
                    runs.give(place, &Order::plain("cancel", "cancelled", statuses)).await
                }
                What::Resume { runs } => runs.give(place, &Order::plain("resume", "resumed", &[Status::Held])).await,
            }
        })
    }
}

impl Resubmit {
    async fn give(self, place: &Place) -> anyhow::Result<ExitCode> {
        let mut asked = Map::new();
        if let Some(body) = &self.body {
            if !self.runs.is_one() {
                bail!("--body is the body of one run: name that run");
            }
            asked.insert("body".to_owned(), body_of(body)?);
        }
        if let Some(step) = &self.from_step {
            asked.insert("from_step".to_owned(), json!(step));
        }
        if self.version == Version::Old {
            asked.insert("version".to_owned(), json!("old"));
        }
        for (name, flag) in [("new_keys", self.new_keys), ("again", self.again), ("cancel_held", self.cancel_held)] {
            asked.insert(name.to_owned(), json!(flag));
        }
        let order = Order::plain("resubmit", "resubmitted", &[Status::Failed, Status::TimedOut]);
        self.runs.give(place, &Order { unhandled: !self.again, tries: true, asked, ..order }).await
    }
}

impl Order {
    fn plain(verb: &'static str, done: &'static str, statuses: &'static [Status]) -> Order {
        Order { verb, done, statuses, unhandled: false, tries: false, offline: false, asked: Map::new() }
    }
}

/// A body as typed: JSON itself, or where it is.
fn body_of(text: &str) -> anyhow::Result<Value> {
    if text.trim_start().starts_with(['{', '[', '"']) {
        return parse_json(text.as_bytes()).map_err(|error| anyhow::anyhow!("--body is not JSON: {error}"));
    }
    read_json(Path::new(text))
}

fn list(place: &Place, page: &Value) -> anyhow::Result<()> {
    let runs = page.get("runs").cloned().unwrap_or(json!([]));
    if place.json {
        return print_json(&runs);
    }
    for run in runs.as_array().into_iter().flatten() {
        let handled = match run.pointer("/handled/resubmitted_as").and_then(Value::as_str) {
            Some(new) => format!("(resubmitted as {new}) "),
            None if run["handled"].is_object() => format!("(handled: {}) ", text(&run["handled"], "note")),
            None => String::new(),
        };
        let line = format!(
            "{}  {:<10}  {:<24}  {}  {handled}{}",
            text(run, "run_id"),
            text(run, "status"),
            text(run, "flow"),
            text(run, "started_at"),
            text(run, "reason"),
        );
        println!("{}", line.trim_end());
    }
    if let Some(next) = page.get("next").and_then(Value::as_str) {
        eprintln!("more: --cursor {next}");
    }
    Ok(())
}
