//! What an append costs: 64 tasks, records of 1 KB, runs of two appends as a flow of one step makes them.
//!
//! `cargo bench --bench journal`. Prints appends per second, and user and system time per append of the whole process
//! (tasks, writer, the store's own threads), which is steadier than speed on a shared machine. With `wave` as argument
//! it writes far more and removes old runs as retention would, and prints the size of the store as it goes.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use millstream::journal::{Append, Claim, Journal};
use millstream::run::{RunId, Status, Summary};
use uuid::Uuid;

const TASKS: usize = 64;
const RECORD_BYTES: usize = 1_000;

fn main() {
    let wave = std::env::args().any(|argument| argument == "wave");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        println!("{:<28} {:>10} {:>12} {:>12}", "case", "appends/s", "user us/app", "sys us/app");
        if wave {
            retention().await;
            return;
        }
        for round in 1..=3 {
            measure(&format!("64 tasks, round {round}"), TASKS, 400, false).await;
        }
        measure("64 tasks, with claims", TASKS, 400, true).await;
        measure("1 task", 1, 1_500, false).await;
    });
}

async fn measure(name: &str, tasks: usize, runs_each: usize, claims: bool) {
    let dir = tempfile::tempdir_in(".").expect("a folder on a real disk");
    let journal = Journal::open(dir.path()).expect("a new folder opens");
    let (user, system) = cpu_us();
    let started = Instant::now();
    load(&journal, tasks, runs_each, claims).await;
    report(name, tasks * runs_each * 2, started, (user, system));
    journal.close().await;
}

fn report(name: &str, appends: usize, started: Instant, before: (f64, f64)) {
    let rate = appends as f64 / started.elapsed().as_secs_f64();
    let (user, system) = cpu_us();
    let per = |now: f64, then: f64| (now - then) / appends as f64;
    println!("{name:<28} {rate:>10.0} {:>12.1} {:>12.1}", per(user, before.0), per(system, before.1));
}

/// Runs of two appends; returns the runs.
async fn load(journal: &Journal, tasks: usize, runs_each: usize, claims: bool) -> Vec<RunId> {
    let record: Arc<[u8]> = vec![b'x'; RECORD_BYTES].into();
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (journal, record) = (journal.clone(), record.clone());
            tokio::spawn(async move {
                let mut runs = Vec::with_capacity(runs_each);
                for _ in 0..runs_each {
                    let run = RunId(Uuid::now_v7());
                    runs.push(run);
                    for append in [
                        step(run, 0, Status::Running, &record, claims),
                        step(run, 1, Status::Succeeded, &record, false),
                    ] {
                        journal.append(append).await.expect("the journal takes it");
                    }
                }
                runs
            })
        })
        .collect();
    let mut runs = Vec::new();
    for task in tasks {
        runs.extend(task.await.expect("no task panics"));
    }
    runs
}

fn step(run: RunId, seq: u32, status: Status, record: &[u8], claim: bool) -> Append {
    let now = Timestamp::now();
    let mut key = [0; 32];
    key[..16].copy_from_slice(run.0.as_bytes());
    let until_ms = now.as_millisecond() + 60_000;
    let flow = "marketplace_lead".to_string();
    Append {
        run,
        seq,
        record: record.to_vec(),
        claim: claim.then(|| Claim { flow: flow.clone(), key, until_ms }),
        definition: None,
        summary: Some(Summary {
            run_id: run,
            flow,
            status,
            started_at: now,
            updated_at: now,
            origin: None,
            reason: None,
            code: None,
            parent: None,
            bytes: 0,
            handled: None,
        }),
    }
}

/// 20,000 newest runs are kept, some 45 MB; twelve waves of 6,400 come.
async fn retention() {
    let dir = tempfile::tempdir_in(".").expect("a folder on a real disk");
    let journal = Journal::open(dir.path()).expect("a new folder opens");
    let mut kept: std::collections::VecDeque<RunId> = std::collections::VecDeque::new();
    for wave in 1..=12 {
        let before = cpu_us();
        let started = Instant::now();
        let runs = load(&journal, TASKS, 100, false).await;
        let appends = runs.len() * 2;
        kept.extend(runs);
        while kept.len() > 20_000 {
            let old: Vec<RunId> = kept.drain(..200).collect();
            journal.remove(old).await.expect("the journal takes it");
        }
        report(&format!("wave {wave}, {} MB on disk", size(dir.path()) / 1_000_000), appends, started, before);
    }
    journal.close().await;
}

fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// User and system time of this process so far, in microseconds, from Linux's own count in ticks of 10 ms.
fn cpu_us() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name may hold spaces; what follows its bracket does not.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (field(11) * 10_000.0, field(12) * 10_000.0)
}
