//! Connections that want more than their share: idle ones, slow ones, too many of them. The table of cases is in
//! `overload.rs`.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::app::{App, PATIENCE, Remote, eventually};
use crate::flood::Target;
use crate::overload::{quiet, report, runtime, size};

const NOTE: (&str, &str) =
    ("flows/note.yaml", "trigger: {type: request}\nsteps:\n  - id: note\n    set: {seen: true}\n");

/// This process holds the other ends, so it needs as many descriptors as the server.
fn descriptors(wanted: u64) {
    let found = getrlimit(Resource::Nofile);
    if found.current.is_some_and(|current| current < wanted) {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..found });
        assert!(
            raised.is_ok(),
            "this test needs {wanted} file descriptors and may have {:?} at most: raise the hard limit (ulimit -Hn)",
            found.maximum
        );
    }
}

fn connect(to: SocketAddr, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(4 * PATIENCE)).unwrap();
    stream.write_all(first).unwrap();
    stream
}

/// Waits until the server has closed this connection; what came before.
fn closed(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("it is not closed: {error}"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn idle_connections_cost_little_and_are_closed_in_time_while_others_are_served() {
    let (count, long) = size("OVERLOAD_IDLE", 1000);
    descriptors(count + 1000);
    let idle = Duration::from_secs(if long { 60 } else { 6 });
    let settings = format!("limits: {{connections: {}, idle_seconds: {}}}\n", count + 1000, idle.as_secs());
    let app = quiet(&[("millstream.yaml", &settings), NOTE]);
    let (runtime, note) = (runtime(), Target::post(app.public, &app.hook("note"), "{}"));
    runtime.block_on(note.closed(8, Duration::from_millis(300)));
    let before = app.memory("VmRSS");
    // Given connections that had one request each.
    let mut streams: Vec<(TcpStream, Instant)> = (0..count)
        .map(|_| {
            let mut stream = connect(app.public, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
            let mut answer = [0; 512];
            let got = stream.read(&mut answer).unwrap();
            assert!(answer[..got].starts_with(b"HTTP/1.1 200"));
            (stream, Instant::now())
        })
        .collect();
    let each = app.memory("VmRSS").saturating_sub(before) as f64 / count as f64;
    // Then others are served.
    let served = runtime.block_on(note.open(100.0, Duration::from_secs(1), 64));
    assert_eq!(served.answers.keys().collect::<Vec<_>>(), [&202], "{:?}", served.broken);
    // And none is kept for longer than it may be.
    let mut late = Duration::ZERO;
    for (stream, since) in &mut streams {
        assert_eq!(closed(stream), "");
        late = late.max(since.elapsed());
    }
    assert!(late >= idle.mul_f64(0.9) && late < idle + Duration::from_secs(15), "{late:?}");
    report(
        "17",
        &format!("{count} idle connections"),
        "≤ 200 MB for 10,000; closed at 60 s; service normal",
        &format!(
            "{each:.1} KB each, {:.0} MB; the last closed after {:.1} s of {} s; p99 of others meanwhile {:.1} ms",
            each * count as f64 / 1024.0,
            late.as_secs_f64(),
            idle.as_secs(),
            served.percentile(0.99)
        ),
    );
    // Without optimisation what a task keeps is larger.
    let most = if cfg!(debug_assertions) { 32.0 } else { 24.0 };
    assert!(each <= most, "{each:.1} KB for each");
}

#[test]
fn partial_headers_are_closed_at_the_deadline_while_others_are_served() {
    let (count, long) = size("OVERLOAD_SLOW", 300);
    descriptors(count + 1000);
    let deadline = Duration::from_secs(if long { 10 } else { 3 });
    let settings = format!("limits: {{header_seconds: {}}}\n", deadline.as_secs());
    let app = quiet(&[("millstream.yaml", &settings), NOTE]);
    let (path, runtime) = (app.hook("note"), runtime());
    let note = Target::post(app.public, &path, "{}");
    runtime.block_on(note.open(100.0, Duration::from_secs(1), 64));
    let alone = runtime.block_on(note.open(100.0, Duration::from_secs(2), 64));
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nx-slow: ");
    let mut slow: Vec<(TcpStream, Instant)> =
        (0..count).map(|_| (connect(app.public, head.as_bytes()), Instant::now())).collect();
    // Each sends one more byte again and again, so it is never silent for long.
    let dripping: Vec<TcpStream> = slow.iter().map(|(stream, _)| stream.try_clone().unwrap()).collect();
    let drip = std::thread::spawn(move || {
        let mut open = dripping;
        while !open.is_empty() {
            open.retain_mut(|stream| stream.write_all(b"y").is_ok());
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    let beside = runtime.block_on(note.open(100.0, Duration::from_secs(2), 64));
    assert_eq!(beside.answers.keys().collect::<Vec<_>>(), [&202], "{:?}", beside.broken);
    let mut took = Duration::ZERO;
    for (stream, since) in &mut slow {
        closed(stream);
        took = took.max(since.elapsed());
    }
    drop(slow);
    drip.join().unwrap();
    assert!(took < deadline + Duration::from_secs(if long { 3 } else { 10 }), "{took:?}");
    assert_eq!(app.runs("limit=1000").len(), app.metric("millstream_requests_accepted_total") as usize);
    let (alone, beside) = (alone.percentile(0.99), beside.percentile(0.99));
    report(
        "15",
        &format!("{count} connections that drip headers"),
        "closed ≤ 10 s; p99 of others < 2 × (below 10 ms: < 10 ms)",
        &format!("each closed within {:.1} s; p99 {alone:.1} ms alone, {beside:.1} ms beside", took.as_secs_f64()),
    );
    if long {
        assert!(beside < (2.0 * alone).max(10.0), "{beside} ms of {alone} ms");
    }
}

#[test]
fn a_body_that_trickles_is_a_408_at_its_deadline_and_no_run() {
    let app = App::with(&[("millstream.yaml", "limits: {header_seconds: 2, body_seconds: 3}\n"), NOTE]);
    let head = format!("POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{{", app.hook("note"));
    for head in [head.clone(), head.replace("content-length: 1000\r\n\r\n{", "transfer-encoding: chunked\r\n\r\n")] {
        let chunked = head.contains("chunked");
        let begun = Instant::now();
        let mut stream = connect(app.public, head.as_bytes());
        let mut writing = stream.try_clone().unwrap();
        let drip = std::thread::spawn(move || {
            while writing.write_all(if chunked { b"1\r\n \r\n" } else { b" " }).is_ok() {
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        let said = closed(&mut stream);
        let took = begun.elapsed();
        drop(stream);
        drip.join().unwrap();
        assert!(said.starts_with("HTTP/1.1 408") && said.contains("request_timeout"), "{said}");
        assert!((2_900..9_500).contains(&took.as_millis()), "{took:?}");
    }
    assert_eq!(app.runs("limit=10").len(), 0);
}

#[test]
fn one_byte_too_many_is_413_both_ways_and_memory_stays_flat() {
    const LIMIT: usize = 10 * 1024 * 1024;
    let app = quiet(&[NOTE]);
    let path = app.hook("note");
    let send = |size: usize, chunked: bool| {
        let mut body = vec![b' '; size];
        body[..2].copy_from_slice(b"{}");
        let length = if chunked { "transfer-encoding: chunked".to_owned() } else { format!("content-length: {size}") };
        let mut stream = connect(
            app.public,
            format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{length}\r\n\r\n").as_bytes(),
        );
        let mut writing = stream.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            // The server may have hung up.
            for part in body.chunks(1 << 16) {
                let whole = match chunked {
                    true => [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat(),
                    false => part.to_vec(),
                };
                if writing.write_all(&whole).is_err() {
                    return;
                }
            }
            let _ = writing.write_all(if chunked { b"0\r\n\r\n" } else { b"" });
        });
        let said = closed(&mut stream);
        drop(stream);
        writer.join().unwrap();
        said.split(' ').nth(1).unwrap_or("closed").to_owned()
    };
    assert_eq!([send(LIMIT, false), send(LIMIT, true)], ["202", "202"]);
    assert_eq!([send(LIMIT + 1, false), send(LIMIT + 1, true)], ["413", "413"]);
    let again = |times: usize| {
        (0..times).for_each(|_| assert_eq!([send(LIMIT + 1, false), send(LIMIT + 1, true)], ["413", "413"]));
        app.memory("VmHWM")
    };
    // Until each thread has had its turn.
    let before = again(10);
    let grown = again(20).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KB more after twice as many again");
}

#[test]
fn where_all_connections_are_taken_the_longest_idle_make_room() {
    let app = quiet(&[("millstream.yaml", "limits: {connections: 40, header_seconds: 60, idle_seconds: 600}\n"), NOTE]);
    let path = app.hook("note");
    let get = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    // Given as many as there may be: half are idle, half have sent half a request.
    let mut all: Vec<TcpStream> =
        (0..40).map(|n| connect(app.public, if n % 2 == 0 { get } else { &get[..20] })).collect();
    for stream in all.iter_mut().step_by(2) {
        assert!(stream.read(&mut [0; 512]).unwrap() > 0);
    }
    // When others come.
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(app.post_to(&path, "{}").status, 202);
    }
    // Then they are served, long before anyone's own deadline, and only as many as needed have left.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let mut left = 0;
    for stream in &mut all {
        stream.set_nonblocking(true).unwrap();
        left += usize::from(!stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    }
    assert!((1..=25).contains(&left), "{left} of 40 have left");
}

#[test]
fn with_few_file_descriptors_it_neither_falls_nor_spins_and_serves_again() {
    const FEW: u64 = 64;
    let remote = Remote::start();
    let call = format!(
        "trigger: {{type: request}}\nsteps:\n  - id: call\n    action: http.request\n    with: {{method: POST, url: \"{}\", json: \
         1}}\n    retry: none\n",
        remote.url("/")
    );
    let mut app = App::idle(&[NOTE, ("flows/call.yaml", &call)]);
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={FEW}:{FEW}")).arg(env!("CARGO_BIN_EXE_millstream"));
    command.arg("--dir").arg(app.folder.path()).env("MILLSTREAM_LOG", "warn,millstream=info");
    app.start_by(command);
    let (note, call) = (app.hook("note"), app.hook("call"));
    assert!(app.log().contains("file descriptors"), "it says that there are few: {}", app.log());
    // Given far more connections than it has descriptors, all silent.
    let begun = Instant::now();
    let cpu = app.cpu();
    let silent: Vec<TcpStream> = (0..200).map(|_| connect(app.public, b"")).collect();
    let held = Instant::now();
    while held.elapsed() < Duration::from_secs(2) {
        // The owner still gets in by the other door.
        assert_eq!(app.api("GET", "/flows", None).status, 200);
        std::thread::sleep(Duration::from_millis(100));
    }
    let share = (app.cpu() - cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
    assert!(share < 0.5, "{:.0} % of a CPU while nothing happens", share * 100.0);
    let complaints = app.log().matches("no connection could be accepted").count();
    assert!(complaints <= 4, "{complaints} in {:?}", begun.elapsed());
    drop(silent);
    // When they are gone, then it serves: requests, many calls at once though there are few sockets, and changed files.
    assert_eq!(app.post_to(&note, "{}").status, 202);
    let runs: Vec<String> = (0..100).map(|_| app.post_to(&call, "{}").run()).collect();
    for run in &runs {
        let ended = app.ended(run);
        assert_eq!(ended["status"], "succeeded", "{ended}");
    }
    app.write("flows/fresh.yaml", NOTE.1);
    eventually(|| app.api("GET", "/flows/fresh/url", None).status == 200);
    assert_eq!(app.post("fresh", &json!({})).status, 202);
    let open = std::fs::read_dir(format!("/proc/{}/fd", app.pid())).unwrap().count();
    report(
        "–",
        &format!("{FEW} file descriptors, 200 silent connections"),
        "no crash, no spin; serves again",
        &format!(
            "{:.0} % of a CPU meanwhile, {complaints} complaints; then 100 calls at once; {open} open at the end",
            share * 100.0
        ),
    );
    assert!(app.terminate().success());
}
