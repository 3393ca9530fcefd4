//! Many runs with few kept: what the server takes does not grow with what it has done.
//!
//! `tests/soak` is the long form, a million runs of a release build; the short one only holds that the store stays small.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::app::{App, PATIENCE, eventually};

/// Without it the short form runs.
const LONG: u64 = 200_000;
const CALLERS: usize = 16;
const PARTS: u64 = 10;
const MB: f64 = 1_000_000.0;

/// What was seen at the end of a part.
struct Seen {
    runs: u64,
    seconds: f64,
    store: u64,
    rss: u64,
    cpu: f64,
    kept: u64,
}

#[test]
fn what_a_server_takes_does_not_grow_with_what_it_has_done() {
    let runs: u64 = std::env::var("SOAK_RUNS").map_or(20_000, |runs| runs.parse().unwrap());
    let keep = if runs >= LONG { 20_000 } else { runs / 10 };
    let body = format!("{{\"n\":1,\"much\":\"{}\"}}", "x".repeat(if runs >= LONG { 400 } else { 4_000 }));
    let config =
        format!("outbound: {{allow: [127.0.0.0/8]}}\nretention: {{succeeded: {{count: {keep}}}, sweep: 10s}}\n");
    let flow = "trigger: {type: request}\nsteps:\n  - {id: keep, set: {n: '{{trigger.body.n}}'}}\n";
    let mut app = App::idle(&[("millstream.yaml", &config), ("flows/soak.yaml", flow)]);
    app.env = vec![("MILLSTREAM_LOG", "warn".to_owned())];
    app.start();
    let hook = app.hook("soak");
    let mut seen = vec![look(&app, 0, 0.0)];
    for _ in 0..PARTS {
        let begun = Instant::now();
        post_all(app.public, &hook, &body, runs / PARTS);
        let last = seen.last().map_or(0, |seen| seen.runs);
        seen.push(look(&app, last + runs / PARTS, begun.elapsed().as_secs_f64()));
    }
    // What is over goes, and its space with it.
    eventually(|| app.metric("millstream_runs_kept{status=\"succeeded\"}") <= keep);
    let table = table(&seen, keep);
    println!("{table}");
    if let Ok(file) = std::env::var("MILLSTREAM_TABLE") {
        fs::write(file, &table).unwrap();
    }

    let bytes_a_run = 2 * body.len() as u64 + 4_000;
    let most = 3 * keep * bytes_a_run + 4 * 16 * 1024 * 1024;
    eventually(|| size(&app.path(".millstream/store")) < most);
    if runs >= LONG {
        // The first part fills what is kept; what comes after must be as the second.
        let (second, last) = (&seen[2], &seen[PARTS as usize]);
        let cpu = |at: usize| (seen[at].cpu - seen[at - 1].cpu) / (seen[at].runs - seen[at - 1].runs) as f64;
        let early = (cpu(1) + cpu(2) + cpu(3)) / 3.0;
        let late = (cpu(8) + cpu(9) + cpu(10)) / 3.0;
        assert!(late < 1.25 * early, "CPU a run: {early} µs, then {late} µs");
        assert!(last.rss < second.rss * 3 / 2, "memory: {} bytes, then {}", second.rss, last.rss);
        assert!(last.store < 2 * second.store.max(seen[3].store), "the store: {}, then {}", second.store, last.store);
    }
    assert!(app.terminate().success());
    assert!(app.cli(&["store", "check"]).status.success());
}

fn table(seen: &[Seen], keep: u64) -> String {
    let mut text = format!(
        "{} runs, of which the newest {keep} are kept. After each tenth:\n\n| Runs | Kept | Store, MB | Memory, MB | CPU µs a \
         run | Runs/s |\n|---|---|---|---|---|---|\n",
        seen.last().map_or(0, |seen| seen.runs)
    );
    for pair in seen.windows(2) {
        let [before, now] = pair else { continue };
        let runs = (now.runs - before.runs) as f64;
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {:.0} | {:.0} | {:.0} |",
            now.runs,
            now.kept,
            now.store as f64 / MB,
            now.rss as f64 / MB,
            (now.cpu - before.cpu) / runs,
            runs / now.seconds
        );
    }
    text
}

fn look(app: &App, runs: u64, seconds: f64) -> Seen {
    let stat = fs::read_to_string(format!("/proc/{}/stat", app.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", app.pid())).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let rss = rss.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
    let kept = app.metric("millstream_runs_kept{status=\"succeeded\"}");
    // A tick is 10 ms on every Linux of today.
    Seen { runs, seconds, store: size(&app.path(".millstream/store")), rss, cpu: ticks * 10_000.0, kept }
}

fn size(folder: &Path) -> u64 {
    // Files go while they are looked at.
    fs::read_dir(folder).unwrap().flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

/// Posts so often, over connections that stay open; each answer must be a 202.
fn post_all(public: SocketAddr, hook: &str, body: &str, count: u64) {
    let request = format!(
        "POST {hook} HTTP/1.1\r\nhost: {public}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let left = AtomicU64::new(count);
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(public).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_nodelay(true).unwrap();
                let mut answers = BufReader::new(stream.try_clone().unwrap());
                while take() {
                    loop {
                        stream.write_all(request.as_bytes()).unwrap();
                        match answer(&mut answers) {
                            202 => break,
                            // Beyond what it can take it says so, and is asked again.
                            429 | 503 => std::thread::sleep(Duration::from_millis(5)),
                            other => panic!("answered {other}"),
                        }
                    }
                }
            });
        }
    });
}

/// The status of an answer, which is read to its end.
fn answer(answers: &mut BufReader<TcpStream>) -> u16 {
    let (mut status, mut length, mut line) = (0, 0, String::new());
    loop {
        line.clear();
        assert!(answers.read_line(&mut line).unwrap() > 0, "the server hung up");
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if status == 0 {
            status = text.split(' ').nth(1).unwrap().parse().unwrap();
        } else if let Some((name, value)) = text.split_once(": ")
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    answers.read_exact(&mut body).unwrap();
    status
}
