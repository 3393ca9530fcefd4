//! Orders for many runs at once: which they are, one after the other, how far it has come.
//!
//! Each run is one request to the API, so that an interruption between any two leaves each of them done or not begun;
//! what was done before is passed over when the command is repeated.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::{Map, Value, json};

use super::door::Door;
use super::{Place, print_json, segment, text};
use crate::run::Status;

/// Runs of one page.
const PAGE: usize = 1_000;
/// How often an order is given again that the server has no room for now, a second apart.
const PATIENCE: usize = 120;

/// Which runs an order is for: these, or those that all filters fit.
#[derive(Debug, clap::Args)]
pub(super) struct Selection {
    runs: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// Shows what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Where the filters fit more than one run: does it.
    #[arg(long)]
    yes: bool,
    /// At most so many, those that started first.
    #[arg(long)]
    limit: Option<usize>,
}

/// Which runs fit.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Filter {
    #[arg(long)]
    flow: Option<String>,
    /// queued, running, waiting, held, succeeded, failed, cancelled, timed_out or rejected; several with commas.
    #[arg(long, value_delimiter = ',')]
    status: Vec<Status>,
    /// Started at or after this time (RFC 3339), or this long ago (`2h`).
    #[arg(long)]
    since: Option<String>,
    /// Started before this time, or longer ago.
    #[arg(long)]
    until: Option<String>,
    /// A part of the reason, or of its code.
    #[arg(long)]
    reason: Option<String>,
}

impl Filter {
    fn is_empty(&self) -> bool {
        let texts = [&self.flow, &self.since, &self.until, &self.reason];
        self.status.is_empty() && texts.iter().all(|text| text.is_none())
    }

    /// As the API wants it.
    pub fn query(&self, statuses: &[Status]) -> anyhow::Result<url::form_urlencoded::Serializer<'static, String>> {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("since", &self.since), ("until", &self.until)] {
            if let Some(value) = value {
                query.append_pair(name, &moment(value)?);
            }
        }
        let statuses = if self.status.is_empty() { statuses } else { &self.status };
        let statuses = (!statuses.is_empty()).then(|| statuses.iter().map(|s| s.name()).collect::<Vec<_>>().join(","));
        for (name, value) in [("flow", &self.flow), ("reason", &self.reason), ("status", &statuses)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        Ok(query)
    }
}

/// What is to be done to each run.
pub(super) struct Order {
    /// The last part of the API's path.
    pub verb: &'static str,
    /// What was done, for the count at the end.
    pub done: &'static str,
    /// What filters fit unless they say so themselves.
    pub statuses: &'static [Status],
    /// True if runs that somebody has dealt with are passed over, and those whose callers answer for them.
    pub unhandled: bool,
    /// True if the API knows `dry_run`.
    pub tries: bool,
    /// True if it can be done where no server runs.
    pub offline: bool,
    pub asked: Map<String, Value>,
}

/// What became of the order, by run.
#[derive(Default)]
struct Outcome {
    done: Vec<Value>,
    /// Done before.
    skipped: Vec<Value>,
    refused: Vec<Value>,
}

impl Selection {
    /// True if exactly one run is named.
    pub fn is_one(&self) -> bool {
        self.runs.len() == 1 && self.filter.is_empty()
    }

    /// Gives the order for each run, the oldest first.
    pub async fn give(&self, place: &Place, order: &Order) -> anyhow::Result<ExitCode> {
        if self.runs.is_empty() == self.filter.is_empty() {
            bail!("say which runs: name them, or filter by --flow, --status, --since, --until or --reason (not both)");
        }
        let door = match order.offline || self.dry_run {
            true => Door::open(place).await?,
            false => Door::need_server(place).await?,
        };
        let runs = match self.runs.is_empty() {
            true => self.fitting(&door, order).await?,
            false => self.runs.iter().map(|run| json!({"run_id": run})).collect(),
        };
        if runs.is_empty() {
            eprintln!("no run fits");
        }
        if !self.runs.is_empty() || runs.len() <= 1 || self.yes || self.dry_run {
            return self.each(place, &door, order, runs).await;
        }
        bail!("{} runs fit; see which with --dry-run, then add --yes (--limit N takes only the oldest)", runs.len())
    }

    /// The runs that fit, the oldest first.
    async fn fitting(&self, door: &Door, order: &Order) -> anyhow::Result<Vec<Value>> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = self.filter.query(order.statuses)?;
            query.append_pair("limit", &PAGE.to_string());
            if let Some(cursor) = &cursor {
                query.append_pair("cursor", cursor);
            }
            let mut page = door.get(&format!("/api/v1/runs?{}", query.finish())).await?;
            let runs = page.get_mut("runs").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
            let open = |run: &Value| {
                let held = text(run, "status") == Status::Held.name();
                run["handled"].is_null() && (held || run["parent"].is_null())
            };
            found.extend(runs.into_iter().filter(|run| !order.unhandled || open(run)));
            cursor = page.get("next").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        found.reverse();
        found.truncate(self.limit.unwrap_or(usize::MAX));
        Ok(found)
    }

    async fn each(&self, place: &Place, door: &Door, order: &Order, runs: Vec<Value>) -> anyhow::Result<ExitCode> {
        let mut asked = order.asked.clone();
        if self.dry_run && order.tries {
            asked.insert("dry_run".to_owned(), json!(true));
        }
        let (mut outcome, mut progress) = (Outcome::default(), Progress::new(runs.len()));
        let mut stopped = false;
        let interrupt = tokio::signal::ctrl_c();
        tokio::pin!(interrupt);
        for run in &runs {
            let id = text(run, "run_id");
            progress.show(&outcome);
            let answer = match self.dry_run && !order.tries {
                true => Ok(run.clone()),
                false => {
                    let path = format!("/api/v1/runs/{}/{}", segment(&id), order.verb);
                    tokio::select! {
                        answer = patiently(door, &path, &asked) => answer?,
                        // The server does what it was asked to all the same, and knows it when it is asked again.
                        _ = &mut interrupt => {
                            stopped = true;
                            break;
                        }
                    }
                }
            };
            match answer {
                Ok(mut answer) if self.dry_run => {
                    for key in ["flow", "status", "reason", "started_at"] {
                        answer[key] = run[key].clone();
                    }
                    outcome.done.push(answer);
                }
                Ok(answer) if self.is_one() => {
                    progress.clear();
                    show_one(place, &answer)?;
                    return Ok(ExitCode::SUCCESS);
                }
                Ok(answer) => outcome.done.push(told(&id, &answer)),
                Err(problem) if text(&problem, "code") == "already_resubmitted" && !asked.contains_key("body") => {
                    if self.is_one() {
                        eprintln!("run {id} was resubmitted before; `--again` starts another");
                        show_one(place, &json!({"run_id": problem["run_id"], "status": "already_resubmitted"}))?;
                        return Ok(ExitCode::SUCCESS);
                    }
                    outcome.skipped.push(json!({"run_id": id, "resubmitted_as": problem["run_id"]}));
                }
                Err(problem) if self.is_one() => bail!("{} ({})", text(&problem, "detail"), text(&problem, "code")),
                Err(problem) => {
                    outcome.refused.push(json!({"run_id": id, "code": problem["code"], "why": problem["detail"]}));
                }
            }
        }
        progress.clear();
        if stopped {
            let done = outcome.done.len();
            eprintln!("stopped after {done} of {}; the same command again goes on with the rest", runs.len());
        }
        outcome.show(place, self.dry_run, order.done)?;
        Ok(if stopped || !outcome.refused.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// Gives an order, again while the server has no room for it.
async fn patiently(door: &Door, path: &str, asked: &Map<String, Value>) -> anyhow::Result<Result<Value, Value>> {
    let mut tries = 0;
    loop {
        tries += 1;
        match door.tell(path, Value::Object(asked.clone())).await? {
            Err(problem) if problem["retry"] == json!(true) && tries < PATIENCE => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            answer => return Ok(answer),
        }
    }
}

/// What an order for one run of several came to.
fn told(run: &str, answer: &Value) -> Value {
    let mut told = json!({"run_id": run});
    match answer.get("run_ids") {
        Some(runs) => told["resubmitted_as"] = runs.clone(),
        None if answer["run_id"] != json!(run) => told["resubmitted_as"] = answer["run_id"].clone(),
        None => {}
    }
    told
}

/// The answer to an order for one run that was named: ids of new runs, one a line.
fn show_one(place: &Place, answer: &Value) -> anyhow::Result<()> {
    if place.json {
        return print_json(answer);
    }
    // Other orders begin no runs.
    if ["accepted", "already_resubmitted"].contains(&text(answer, "status").as_str()) {
        let many = answer.get("run_ids").and_then(Value::as_array).into_iter().flatten();
        let runs = answer.get("run_id").into_iter().chain(many).filter_map(Value::as_str);
        runs.for_each(|run| println!("{run}"));
    }
    Ok(())
}

impl Outcome {
    fn show(&self, place: &Place, dry_run: bool, done: &str) -> anyhow::Result<()> {
        let Outcome { done: all, skipped, refused } = self;
        if place.json {
            return print_json(&json!({"dry_run": dry_run, "done": all, "skipped": skipped, "refused": refused}));
        }
        for one in all {
            if dry_run {
                let from = one.get("from_step").and_then(Value::as_str).map(|step| format!("from step {step}  "));
                let (run, status, flow) = (text(one, "run_id"), text(one, "status"), text(one, "flow"));
                let line =
                    format!("{run}  {status:<10}  {flow:<24}  {}{}", from.unwrap_or_default(), text(one, "reason"));
                println!("{}", line.trim_end());
            } else if let Some(new) = one.get("resubmitted_as").and_then(Value::as_str) {
                println!("{new}");
            } else {
                let many = one.get("resubmitted_as").and_then(Value::as_array).into_iter().flatten();
                many.filter_map(Value::as_str).for_each(|new| println!("{new}"));
            }
        }
        for one in skipped {
            let (run, new) = (text(one, "run_id"), text(one, "resubmitted_as"));
            eprintln!("{run}: was resubmitted before, as {new}; `--again` starts another");
        }
        refused.iter().for_each(|one| eprintln!("{}: {}", text(one, "run_id"), text(one, "why")));
        let would = if dry_run { "would be " } else { "" };
        let mut words = format!("{} {would}{done}", all.len());
        for (count, what) in [(skipped.len(), "passed over"), (refused.len(), "refused")] {
            if count > 0 {
                words += &format!(", {count} {what}");
            }
        }
        eprintln!("{words}");
        Ok(())
    }
}

/// How far it has come, on one line of a terminal; elsewhere nothing.
struct Progress {
    all: usize,
    shown: Option<Instant>,
    seen: bool,
}

impl Progress {
    const WIDTH: usize = 30;

    fn new(all: usize) -> Progress {
        Progress { all, shown: None, seen: all > 1 && std::io::stderr().is_terminal() }
    }

    fn show(&mut self, outcome: &Outcome) {
        if !self.seen || self.shown.is_some_and(|shown| shown.elapsed() < Duration::from_millis(100)) {
            return;
        }
        self.shown = Some(Instant::now());
        let (skipped, refused) = (outcome.skipped.len(), outcome.refused.len());
        let past = outcome.done.len() + skipped + refused;
        let full = past * Progress::WIDTH / self.all.max(1);
        let bar = format!("{}{}", "#".repeat(full), ".".repeat(Progress::WIDTH - full));
        let aside =
            if skipped + refused > 0 { format!("  ({skipped} passed over, {refused} refused)") } else { String::new() };
        eprint!("\r[{bar}] {past} of {}{aside}", self.all);
        let _ = std::io::stderr().flush();
    }

    fn clear(&mut self) {
        if self.shown.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
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
