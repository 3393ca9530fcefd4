//! What became of runs that were acknowledged: read from the API, added up, and told as a table.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::app::App;

/// Status and reason of each run.
pub type Runs = HashMap<String, (String, String)>;

/// A run that has not ended.
pub struct Open {
    flow: String,
    run: String,
    status: String,
}

/// All runs that began after `since`.
pub fn runs(app: &App, since: Timestamp) -> Runs {
    let mut runs = Runs::new();
    pages(app, &format!("since={since}"), |shown| {
        let text = |key: &str| shown[key].as_str().unwrap_or_default().to_owned();
        runs.insert(text("run_id"), (text("status"), text("reason")));
    });
    runs
}

/// Runs that have not ended; of those that the clock begins, the ones up to `now`, ms since 1970.
pub fn open(app: &App, now: u64) -> Vec<Open> {
    let mut open = Vec::new();
    for status in ["queued", "running", "waiting", "held"] {
        pages(app, &format!("status={status}"), |shown| {
            let text = |key: &str| shown[key].as_str().unwrap().to_owned();
            let (flow, run) = (text("flow"), text("run_id"));
            // A run that the clock begins has the time of its tick in its id.
            let at = u64::from_str_radix(&run.replace('-', "")[..12], 16).unwrap();
            if flow != "beat" || at <= now {
                open.push(Open { flow, run, status: status.to_owned() });
            }
        });
    }
    open
}

/// A run that was at work in three crashes in a row waits for a person: that is a promise too. It is let go on.
pub fn release(app: &App, open: &[Open]) {
    for held in open.iter().filter(|open| open.status == "held") {
        let reason = app.run(&held.run)["reason"].as_str().unwrap_or_default().to_owned();
        if reason.contains("went down") {
            app.api("POST", &format!("/runs/{}/resume", held.run), Some(&json!({})));
        }
    }
}

fn pages(app: &App, query: &str, mut show: impl FnMut(&Value)) {
    let mut cursor = String::new();
    loop {
        let page = app.api("GET", &format!("/runs?limit=1000&{query}{cursor}"), None).json();
        page["runs"].as_array().unwrap_or_else(|| panic!("{page}")).iter().for_each(&mut show);
        let Some(next) = page["next"].as_str() else { return };
        cursor = format!("&cursor={next}");
    }
}

/// Sums of one kind of run.
#[derive(Default, Clone, Copy)]
struct Row {
    acknowledged: u64,
    /// Effects that happened more than once, with the key of the first time.
    repeated: u64,
    lost: u64,
    other_key: u64,
    not_ended: u64,
}

/// What became of everything.
#[derive(Default)]
pub struct Tally {
    rows: BTreeMap<&'static str, Row>,
    /// What must not be, in words.
    pub strange: Vec<String>,
}

impl Tally {
    /// A run that was acknowledged: how it ended, and which of its effects is missing.
    pub fn begun(&mut self, kind: &str, run: &str, found: Option<&(String, String)>, missing: Option<&str>) {
        let row = self.row(kind);
        row.acknowledged += 1;
        match found {
            None => {
                row.lost += 1;
                self.strange.push(format!("{kind} run {run} is not there"));
            }
            Some((status, reason)) if status != "succeeded" => {
                row.not_ended += 1;
                self.strange.push(format!("{kind} run {run} is {status}: {reason}"));
            }
            Some(_) if missing.is_some() => {
                row.lost += 1;
                self.strange.push(format!("{kind} run {run} succeeded without its effect {missing:?}"));
            }
            Some(_) => {}
        }
    }

    /// An answer to a `wait` step that was acknowledged.
    pub fn resumed(&mut self, run: &str, found: Option<&(String, String)>) {
        let ended = found.is_some_and(|(status, _)| status == "succeeded");
        let row = self.row("answer to a wait");
        row.acknowledged += 1;
        if !ended {
            row.lost += 1;
            self.strange.push(format!("the answer to run {run} is not there: {found:?}"));
        }
    }

    /// Runs that did not end in time, acknowledged or not.
    pub fn still_open(&mut self, open: &[Open]) {
        for Open { flow, run, status } in open {
            self.strange.push(format!("{flow} run {run} is still {status}"));
        }
    }

    /// A tick of the clock is a promise as well.
    pub fn tick(&mut self, tick: u64, happened: bool) {
        let row = self.row("beat");
        row.acknowledged += 1;
        if !happened {
            row.lost += 1;
            self.strange.push(format!("the tick of {tick} has no run"));
        }
    }

    /// What happened at the remote, and with which keys.
    pub fn effect(&mut self, kind: &str, what: &str, times: u64, keys: &BTreeSet<String>) {
        let row = self.row(kind);
        row.repeated += times.saturating_sub(1);
        if keys.len() != 1 || keys.contains("") {
            row.other_key += 1;
            self.strange.push(format!("{kind} {what} was asked for with the keys {keys:?}"));
        }
    }

    /// The table of `docs/reliability.md`.
    pub fn table(&self) -> String {
        let mut table =
            "| Kind of run | acknowledged | lost | not ended | effects repeated, same key | repeated, other \
                         key |\n|---|---|---|---|---|---|\n"
                .to_owned();
        let mut sum = Row::default();
        for (_, name) in NAMES {
            let row = self.rows.get(name).copied().unwrap_or_default();
            sum.acknowledged += row.acknowledged;
            sum.lost += row.lost;
            sum.not_ended += row.not_ended;
            sum.repeated += row.repeated;
            sum.other_key += row.other_key;
            writeln!(table, "{}", line(name, row)).unwrap();
        }
        table + &line("**all**", sum) + "\n"
    }

    /// Fails unless nothing was lost, left behind or done twice under two names.
    pub fn must_be_whole(&self) {
        for (_, name) in NAMES {
            assert!(self.rows.get(name).is_some_and(|row| row.acknowledged > 0), "no {name}:\n{}", self.table());
        }
        let some: Vec<_> = self.strange.iter().take(20).map(String::as_str).collect();
        assert!(some.is_empty(), "{} faults:\n{}\n\n{}", self.strange.len(), some.join("\n"), self.table());
    }

    fn row(&mut self, kind: &str) -> &mut Row {
        let name = NAMES.iter().find(|(own, _)| *own == kind).unwrap_or_else(|| panic!("no kind {kind}")).1;
        self.rows.entry(name).or_default()
    }
}

/// Kinds of runs, and what the table calls them.
const NAMES: [(&str, &str); 10] = [
    ("accept", "accepted only"),
    ("sync", "answered after a call"),
    ("retry", "retried"),
    ("delay", "delayed"),
    ("foreach", "`foreach`"),
    ("child", "calls another flow"),
    ("wait", "waits for a POST"),
    ("answer to a wait", "the POSTs it waits for"),
    ("split", "items of a split list"),
    ("beat", "ticks of the clock"),
];

fn line(name: &str, row: Row) -> String {
    let Row { acknowledged, repeated, lost, other_key, not_ended } = row;
    format!("| {name} | {acknowledged} | {lost} | {not_ended} | {repeated} | {other_key} |")
}
