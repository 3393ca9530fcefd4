//! kill -9 while runs are removed and their space is given back: what was acknowledged is so afterwards, old or new, never
//! between.
//!
//! With the feature `crash-points` (`tests/crash`) the process dies at each named place of the housekeeping; without, at
//! random.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use jiff::Timestamp;
use millstream::journal::{Append, Filter, Journal, care};
use millstream::run::{RunId, Status, Summary};
use uuid::Uuid;

const FOLDER: &str = "MILLSTREAM_TEST_REMOVAL";
const CHILD: &str = "removal::child_that_appends_and_removes";

/// What the child has said of its runs: records that are durable, and those that it was told are gone.
#[derive(Default)]
struct Told {
    records: BTreeMap<RunId, u32>,
    /// Asked to be removed: they may be there or not.
    leaving: BTreeSet<RunId>,
    gone: BTreeSet<RunId>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let (Some(word), Some(run)) = (words.next(), words.next().and_then(|run| run.parse().ok())) else { return };
        match word {
            "have" => drop(self.records.insert(run, words.next().unwrap().parse().unwrap())),
            "remove" => drop(self.leaving.insert(run)),
            "removed" => drop(self.gone.insert(run)),
            _ => {}
        }
    }
}

fn append(run: RunId, seq: u32, status: Status) -> Append {
    let now = Timestamp::from_millisecond(1_000).unwrap();
    let summary = Summary {
        run_id: run,
        flow: "leads".to_string(),
        status,
        started_at: now,
        updated_at: now,
        origin: None,
        reason: None,
        code: None,
        parent: None,
        bytes: 0,
        handled: None,
    };
    let record = format!("{run} {seq} {}", "x".repeat(200 + (run.0.as_u128() % 9_000) as usize)).into_bytes();
    Append { run, seq, record, summary: Some(summary), claim: None, definition: None }
}

#[test]
#[ignore = "started by another test as its child process"]
fn child_that_appends_and_removes() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let say = |text: String| std::io::stdout().lock().write_all(text.as_bytes()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let journal = Journal::open(Path::new(&folder)).unwrap();
        let mut ended: Vec<RunId> = Vec::new();
        for round in 0_u64.. {
            let runs = (0..32).map(|_| RunId(Uuid::now_v7())).collect::<Vec<_>>();
            let work = runs.iter().map(|run| {
                let (journal, run) = (journal.clone(), *run);
                // Every 16th run stays open.
                let stays = run.0.as_u128().is_multiple_of(16);
                tokio::spawn(async move {
                    for seq in 0..3 {
                        let status = if seq == 2 && !stays { Status::Succeeded } else { Status::Running };
                        journal.append(append(run, seq, status)).await.unwrap();
                        let line = format!("have {run} {}\n", seq + 1);
                        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                    }
                    (!stays).then_some(run)
                })
            });
            for done in work.collect::<Vec<_>>() {
                ended.extend(done.await.unwrap());
            }
            if round % 4 == 3 {
                let leaving: Vec<RunId> = ended.drain(..ended.len().saturating_sub(16)).collect();
                say(leaving.iter().map(|run| format!("remove {run}\n")).collect());
                journal.remove(leaving.clone()).await.unwrap();
                say(leaving.iter().map(|run| format!("removed {run}\n")).collect());
            }
        }
    });
}

/// Has the child at work until it has said so many lines, or dies.
fn killed(folder: &Path, told: &mut Told, place: Option<&str>, lines: usize) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([CHILD, "--exact", "--ignored", "--nocapture", "--quiet"]).env(FOLDER, folder).stdout(Stdio::piped());
    command.env("MILLSTREAM_SMALL_STORE", "1");
    if let Some(place) = place {
        command.env("MILLSTREAM_CRASH", place);
    }
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let (mut line, mut count) = (String::new(), 0);
    while said.read_line(&mut line).unwrap() > 0 {
        told.hear(&line);
        line.clear();
        count += 1;
        if count == lines {
            child.kill().unwrap();
        }
    }
    let ended = child.wait().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&ended);
    assert_eq!(signal, Some(9), "{place:?}: after {count} lines it ended by itself: {ended}");
    assert!(place.is_none() || count < lines, "{place:?} was not come to");
}

/// All that a journal says, in words; what it says must be what the child was told.
async fn state(folder: &Path, told: &Told) -> String {
    let journal = Journal::open(folder).unwrap();
    let open: BTreeSet<RunId> = journal.open_runs().unwrap().into_iter().collect();
    let mut text = format!("{open:?}\n");
    let listed = journal.summaries(&Filter::default(), None, 1_000_000).unwrap();
    let ids: BTreeSet<RunId> = listed.iter().map(|summary| summary.run_id).collect();
    for (run, count) in &told.records {
        let records = journal.records(*run).unwrap();
        if told.gone.contains(run) {
            assert!(records.is_empty() && !ids.contains(run) && !open.contains(run), "{run} was removed and is there");
            continue;
        }
        if told.leaving.contains(run) && records.is_empty() {
            assert!(!ids.contains(run), "{run} is half removed");
            continue;
        }
        assert!(records.len() >= *count as usize, "{run} has {} of {count} records", records.len());
        assert!(ids.contains(run), "{run} is in no list");
        for (seq, record) in records.iter().enumerate() {
            assert!(record.starts_with(format!("{run} {seq} x").as_bytes()), "record {seq} of {run} is another");
        }
    }
    for summary in &listed {
        let records = journal.records(summary.run_id).unwrap();
        text += &format!("{} {} {}\n", summary.run_id, summary.status, records.len());
        assert!(!records.is_empty());
        assert_eq!(open.contains(&summary.run_id), !summary.status.is_ended());
    }
    journal.close().await;
    text
}

async fn is_as_told(folder: &Path, told: &Told, at: &str) {
    let report = care::check(folder).unwrap();
    // Records of these runs are no events: only what the store itself is counts.
    assert!(report.problems.is_empty(), "{at}: {:?}", report.problems);
    let with_index = state(folder, told).await;
    std::fs::remove_file(folder.join("store/index.redb")).unwrap();
    assert_eq!(state(folder, told).await, with_index, "{at}: the log alone says something else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_during_removal_leaves_all_that_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    for round in 0..6 {
        killed(dir.path(), &mut told, None, 500 + (Uuid::now_v7().as_u128() % 1_500) as usize);
        is_as_told(dir.path(), &told, &format!("round {round}")).await;
    }
    assert!(!told.gone.is_empty());
}

#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_each_place_of_the_housekeeping_leaves_all_that_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    // The first segment is made where nothing is told yet.
    Journal::open(dir.path()).unwrap().close().await;
    let places = millstream::points::HOUSE.iter().chain(&["journal.index.before", "journal.sync.before"]);
    for time in [1, 3] {
        for place in places.clone() {
            let at = format!("{place}:{time}");
            killed(dir.path(), &mut told, Some(&at), 100_000);
            is_as_told(dir.path(), &told, &at).await;
        }
    }
    assert!(!told.gone.is_empty());
}
