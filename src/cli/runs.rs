//! `millstream runs`: what happened, and what a person does about it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::door::Door;
use super::{Place, block_on, print_json, read_json, segment, show, text};
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
        #[arg(long)]
        flow: Option<String>,
        /// queued, running, waiting, held, succeeded, failed, cancelled, timed_out or rejected.
        #[arg(long)]
        status: Option<Status>,
        /// Started at or after this time (RFC 3339), or this long ago (`2h`).
        #[arg(long)]
        since: Option<String>,
        /// Started before this time, or longer ago.
        #[arg(long)]
        until: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// The last run of the page before.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Shows a run step by step.
    Show { run: String },
    /// Starts a new run with the request of this one; it keeps this one's idempotency keys.
    Resubmit {
        run: String,
        /// A mended body instead of the one that came in; `-` reads stdin.
        #[arg(long)]
        body: Option<PathBuf>,
        /// Targets that honour keys shall see new calls, not repeats.
        #[arg(long)]
        new_keys: bool,
    },
    /// Ends a run. A call on its way is broken off; it may have happened.
    Cancel { run: String },
    /// Lets a held run go on.
    Resume { run: String },
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        block_on(async {
            match self.what {
                What::List { flow, status, since, until, limit, cursor } => {
                    let mut query = url::form_urlencoded::Serializer::new(String::new());
                    let times = [("since", since), ("until", until)];
                    for (name, value) in times {
                        if let Some(value) = value {
                            query.append_pair(name, &moment(&value)?);
                        }
                    }
                    let others = [("flow", flow), ("status", status.map(|s| s.to_string())), ("cursor", cursor)];
                    for (name, value) in others {
                        if let Some(value) = value {
                            query.append_pair(name, &value);
                        }
                    }
                    let query = query.append_pair("limit", &limit.to_string()).finish();
                    let page = Door::open(place).await?.get(&format!("/api/v1/runs?{query}")).await?;
                    list(place, &page)?;
                }
                What::Show { run } => {
                    let told = Door::open(place).await?.get(&format!("/api/v1/runs/{}", segment(&run))).await?;
                    match place.json {
                        true => print_json(&told)?,
                        false => print!("{}", show::run(&told)),
                    }
                }
                What::Resubmit { run, body, new_keys } => {
                    let mut asked = json!({"new_keys": new_keys});
                    if let Some(path) = body {
                        asked["body"] = read_json(&path)?;
                    }
                    let door = Door::need_server(place).await?;
                    let done = door.post(&format!("/api/v1/runs/{}/resubmit", segment(&run)), asked).await?;
                    match place.json {
                        true => print_json(&done)?,
                        false => {
                            let many = done.get("run_ids").and_then(Value::as_array).into_iter().flatten();
                            let runs = done.get("run_id").into_iter().chain(many).filter_map(Value::as_str);
                            runs.for_each(|run| println!("{run}"));
                        }
                    }
                }
                What::Cancel { run } => act(place, &run, "cancel").await?,
                What::Resume { run } => act(place, &run, "resume").await?,
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn act(place: &Place, run: &str, verb: &str) -> anyhow::Result<()> {
    let door = Door::need_server(place).await?;
    let done = door.post(&format!("/api/v1/runs/{}/{verb}", segment(run)), json!({})).await?;
    if place.json {
        print_json(&done)?;
    }
    Ok(())
}

fn list(place: &Place, page: &Value) -> anyhow::Result<()> {
    let runs = page.get("runs").cloned().unwrap_or(json!([]));
    if place.json {
        return print_json(&runs);
    }
    for run in runs.as_array().into_iter().flatten() {
        let line = format!(
            "{}  {:<10}  {:<24}  {}  {}",
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

/// A time as it is, or so long ago.
fn moment(given: &str) -> anyhow::Result<String> {
    if let Ok(ago) = crate::flow::duration(given) {
        let then = jiff::Timestamp::now().checked_sub(jiff::SignedDuration::try_from(ago)?)?;
        return Ok(then.to_string());
    }
    let at: jiff::Timestamp = given
        .parse()
        .map_err(|_| anyhow::anyhow!("`{given}` is neither a time (RFC 3339) nor a length of time (`2h`)"))?;
    Ok(at.to_string())
}
