//! What runs that wait for a time cost: memory, the start with many of them, and how late they go on.
//!
//! `TIMERS` runs (10,000 unless set) each wait at a `delay` until a time of their own, `RATE` of them (1,000) in a
//! second. When all of them wait the server is killed and started again, so that each comes from the journal.

mod server;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use server::Server;

const FLOW: &str = "\
trigger: {type: request}
steps:
  - id: wait
    delay: \"{{trigger.body.ms}}ms\"
  - id: note
    set: {done: true}
";
const CALLERS: u64 = 64;

fn main() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|t| t.parse().ok()).unwrap_or(default);
    let (timers, rate) = (number("TIMERS", 10_000), number("RATE", 1_000));
    // Time to post them all, and to start again.
    let lead = Duration::from_secs(number("LEAD", 15 + timers / 1_000));
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(folder.path().join("flows")).expect("a folder");
    std::fs::write(folder.path().join("flows/nap.yaml"), FLOW).expect("a file");
    std::fs::write(folder.path().join("millstream.yaml"), "limits: {queued_runs: 1000000}\n").expect("a file");

    let server = Server::start(folder.path());
    let idle = server.memory();
    let path = server.hook(folder.path(), "nap");
    let first = now_ms() + lead.as_millis() as u64;
    let begun = Instant::now();
    let share = timers / CALLERS + 1;
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (server, path) = (&server, &path);
            scope.spawn(move || {
                server.post(
                    path,
                    (caller * share..timers.min((caller + 1) * share)).map(|number| {
                        let ms = (first + number * 1000 / rate).saturating_sub(now_ms());
                        format!("{{\"number\":{number},\"ms\":{ms}}}")
                    }),
                )
            });
        }
    });
    let posted = begun.elapsed();
    while server.metric("millstream_runs_working") + server.metric("millstream_runs_queued") > 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.metric("millstream_timers"), timers, "some went on before all waited: set LEAD higher");
    let waiting = server.memory();
    drop(server);

    let begun = Instant::now();
    let server = Server::start(folder.path());
    let boot = begun.elapsed();
    let booted = server.memory();
    assert!(now_ms() < first, "the start took longer than the lead: set LEAD higher");
    let mut peak = booted;
    while server.metric("millstream_runs_ended_total{status=\"succeeded\"}") < timers {
        std::thread::sleep(Duration::from_millis(200));
        peak = peak.max(server.memory());
    }
    let mut late = lateness(&server, folder.path());
    late.sort_unstable();
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize];
    println!(
        "| waiting | posted in s | RSS MB idle / all wait / after start / most | start s | late ms p50 / p99 / most |"
    );
    println!("|---|---|---|---|---|");
    println!(
        "| {timers}, {rate} due a second | {:.1} | {idle:.0} / {waiting:.0} / {booted:.0} / {peak:.0} | {:.2} | {} / {} / {} |",
        posted.as_secs_f64(),
        boot.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

/// How long after its time each run went on to its end, ms.
fn lateness(server: &Server, folder: &Path) -> Vec<i64> {
    let token = std::fs::read_to_string(folder.join(".millstream/admin.token")).expect("a token");
    let auth = format!("authorization: Bearer {}\r\n", token.trim());
    let (mut late, mut cursor) = (Vec::new(), String::new());
    loop {
        let page: Value =
            serde_json::from_str(&server.get(&format!("/api/v1/runs?limit=1000{cursor}"), &auth)).expect("JSON");
        let runs = page["runs"].as_array().expect("runs");
        // One of ten: each takes a request for its body.
        for run in runs.iter().step_by(10) {
            let id = run["run_id"].as_str().expect("an id");
            let told: Value = serde_json::from_str(&server.get(&format!("/api/v1/runs/{id}"), &auth)).expect("JSON");
            let ms = told.pointer("/trigger/body/ms").and_then(Value::as_i64).expect("the request's body");
            let at = |key: &str| {
                let time = run[key].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
                time.expect("a time").as_millisecond()
            };
            late.push(at("updated_at") - at("started_at") - ms);
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return late,
        }
    }
}
