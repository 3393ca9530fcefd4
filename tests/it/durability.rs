//! "Acknowledged" means durable: held by counting syncs under strace, and by killing a process that writes.
//!
//! The process under test is this test binary itself, started again with one of the ignored tests below by name.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use jiff::Timestamp;
use millstream::journal::{Append, Journal};
use millstream::run::{RunId, Status, Summary};
use uuid::Uuid;

use crate::app::{App, eventually};

/// Names the data folder to a child; without it the children below do nothing.
const FOLDER: &str = "MILLSTREAM_TEST_FOLDER";
const SEQUENTIAL: &str = "durability::child_that_appends_one_after_the_other";
const CONCURRENT: &str = "durability::child_that_appends_from_many_tasks";
const APPENDS: usize = 60;
const ROUNDS: usize = 10;

fn append(run: RunId, seq: u32, record: String) -> Append {
    let now = Timestamp::now();
    let summary = Summary {
        run_id: run,
        flow: "leads".to_string(),
        status: Status::Running,
        started_at: now,
        updated_at: now,
        origin: None,
        reason: None,
        code: None,
        parent: None,
        bytes: 0,
        handled: None,
    };
    Append { run, seq, record: record.into_bytes(), summary: Some(summary), claim: None, definition: None }
}

fn child_args(name: &str) -> [&str; 5] {
    [name, "--exact", "--ignored", "--nocapture", "--quiet"]
}

#[test]
#[ignore = "started by another test as its child process"]
fn child_that_appends_one_after_the_other() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let mut acks = std::fs::File::create(folder.join("acks")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let journal = Journal::open(&folder.join("data")).unwrap();
        for number in 0..APPENDS {
            let run = RunId(Uuid::now_v7());
            journal.append(append(run, 0, format!("<record {number}>"))).await.unwrap();
            acks.write_all(format!("<ack {number}>").as_bytes()).unwrap();
        }
        journal.close().await;
    });
}

#[test]
#[ignore = "started by another test as its child process"]
fn child_that_appends_from_many_tasks() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let journal = Journal::open(Path::new(&folder)).unwrap();
        let tasks = (0..32).map(|_| {
            let journal = journal.clone();
            tokio::spawn(async move {
                for _ in 0_u64.. {
                    let run = RunId(Uuid::now_v7());
                    for seq in 0..3 {
                        let filler = "x".repeat(1 + (run.0.as_u128() % 9_000) as usize);
                        let text = format!("{run} {seq} {filler}");
                        journal.append(append(run, seq, text)).await.unwrap();
                        // Lines go out as they end: no buffer dies with the process.
                        let line = format!("ack {run} {seq}\n");
                        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                    }
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn no_append_is_acknowledged_before_its_bytes_are_synced() {
    // Given a process that appends one record after the other, watched by strace.
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("strace");
    let status = Command::new("strace")
        .args(["-f", "-y", "-s", "1000000", "-e", "trace=write,pwrite64,fsync,fdatasync", "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(child_args(SEQUENTIAL))
        .env(FOLDER, dir.path())
        .stdout(Stdio::null())
        .status()
        .expect("strace must be installed: this test counts syncs with it");
    assert!(status.success());

    // When what it did is read in order.
    let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    let mut watch = Watch::default();
    text.lines().for_each(|line| watch.see(line));

    // Then every acknowledgement came after a sync that came after its bytes.
    assert_eq!(watch.acked, APPENDS);
    assert!(watch.synced >= APPENDS, "{} syncs for {APPENDS} acknowledgements", watch.synced);
}

/// Follows a strace log: which records are written, which are synced, and that no other is acknowledged.
#[derive(Default)]
struct Watch {
    /// Bytes written to the store, by record, whose write has returned.
    written: HashSet<usize>,
    durable: HashSet<usize>,
    /// Calls of a thread that have not returned: what they write, or what is durable when they return.
    pending: HashMap<String, (Call, HashSet<usize>)>,
    acked: usize,
    synced: usize,
}

#[derive(Clone, Copy)]
enum Call {
    Write,
    Sync,
    Other,
}

impl Watch {
    fn see(&mut self, line: &str) {
        let (thread, event) = line.split_once(' ').unwrap_or((line, ""));
        let event = event.trim_start();
        if !event.starts_with("<...") {
            self.begin(thread, event);
        }
        if !event.ends_with("<unfinished ...>") {
            self.end(thread, event);
        }
    }

    fn begin(&mut self, thread: &str, event: &str) {
        let on_store = event.contains("/data/store/") && event.contains(".log>");
        let call = if event.starts_with("pwrite64(") && on_store {
            (Call::Write, numbers(event, "<record "))
        } else if (event.starts_with("fdatasync(") || event.starts_with("fsync(")) && on_store {
            (Call::Sync, self.written.clone())
        } else {
            if event.starts_with("write(") && event.contains("/acks>") {
                for number in numbers(event, "<ack ") {
                    assert!(self.durable.contains(&number), "append {number} was acknowledged before it was synced");
                    self.acked += 1;
                }
            }
            (Call::Other, HashSet::new())
        };
        self.pending.insert(thread.to_string(), call);
    }

    fn end(&mut self, thread: &str, event: &str) {
        let result = event.rsplit(" = ").next().unwrap_or_default().trim();
        match self.pending.remove(thread) {
            Some((Call::Write, records)) if !result.starts_with('-') => self.written.extend(records),
            Some((Call::Sync, records)) if result == "0" => {
                self.synced += 1;
                self.durable.extend(records);
            }
            Some(_) | None => {}
        }
    }
}

/// The numbers that stand behind `marker` in `text`.
fn numbers(text: &str, marker: &str) -> HashSet<usize> {
    let found = text.split(marker).skip(1);
    found.filter_map(|rest| rest.split('>').next()?.parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut acked: Vec<(RunId, u32)> = Vec::new();
    for round in 0..ROUNDS {
        // Given a process under load, when it is killed after a random number of acknowledgements.
        let child = Command::new(std::env::current_exe().unwrap())
            .args(child_args(CONCURRENT))
            .env(FOLDER, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let after = 1 + (Uuid::now_v7().as_u128() % 1_500) as usize;
        let fresh = kill_after(child, after);
        assert!(fresh.len() >= after, "round {round}: the child ended by itself after {} acks", fresh.len());
        acked.extend(fresh);

        // Then all that it acknowledged, in this round and before, is there.
        let journal = Journal::open(dir.path()).unwrap();
        let open: HashSet<RunId> = journal.open_runs().unwrap().into_iter().collect();
        for (run, seq) in &acked {
            let records = journal.records(*run).unwrap();
            let record = records.get(*seq as usize);
            let start = format!("{run} {seq} x");
            assert!(
                record.is_some_and(|record| record.starts_with(start.as_bytes())) && open.contains(run),
                "round {round}: record {seq} of run {run} was acknowledged and is lost"
            );
        }
        journal.close().await;
    }
}

/// What the child acknowledged: all lines up to its end, killed when `count` of them have come.
fn kill_after(mut child: Child, count: usize) -> Vec<(RunId, u32)> {
    let mut lines = BufReader::new(child.stdout.take().expect("its output is piped"));
    let mut acked = Vec::new();
    let mut line = String::new();
    while acked.len() < count && lines.read_line(&mut line).expect("the pipe is readable") > 0 {
        acked.extend(ack(&line));
        line.clear();
    }
    child.kill().expect("it runs until it is killed");
    child.wait().expect("it was started here");
    let mut rest = String::new();
    lines.read_to_string(&mut rest).expect("the pipe is readable");
    // The test harness writes lines of its own.
    acked.extend(rest.lines().filter_map(ack));
    acked
}

fn ack(line: &str) -> Option<(RunId, u32)> {
    let (run, seq) = line.trim().strip_prefix("ack ")?.split_once(' ')?;
    Some((run.parse().ok()?, seq.parse().ok()?))
}

#[test]
fn no_202_leaves_the_server_before_a_sync() {
    let app = App::with(&[("flows/note.yaml", "trigger: {type: request}\nsteps:\n  - id: note\n    set: {a: 1}\n")]);
    let path = app.hook("note");
    let log = app.path("strace");
    let calls = "trace=fdatasync,write,writev,sendto,sendmsg";
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-s", "40", "-e", calls, "-o"])
        .arg(&log)
        .args(["-p", &app.pid().to_string()])
        .spawn()
        .expect("strace must be installed: this test counts syncs with it");
    let seen = || std::fs::read_to_string(&log).unwrap_or_default();
    // Until strace is attached, answers leave unseen.
    eventually(|| app.post_to(&path, "{}").status == 202 && seen().contains("202 Accepted"));

    for _ in 0..20 {
        assert_eq!(app.post_to(&path, "{}").status, 202);
    }
    eventually(|| seen().matches("202 Accepted").count() > 20);
    assert!(Command::new("kill").args(["-INT", &strace.id().to_string()]).status().unwrap().success());
    strace.wait().unwrap();

    let (mut syncs, mut answers) = (0, 0);
    for line in seen().lines() {
        // A call that another thread interrupts is told in two lines; it is done with the second.
        let done = line.contains("fdatasync") && line.trim_end().ends_with("= 0");
        syncs += usize::from(done);
        if line.contains("202 Accepted") {
            answers += 1;
            assert!(answers == 1 || syncs > 0, "an answer without a sync before it: {line}");
            syncs = 0;
        }
    }
    assert!(answers > 20);
}
