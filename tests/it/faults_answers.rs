//! Answers that are not what was asked for: too slow, too much, from somebody else, or nonsense. The table of cases is in
//! `faults.rs`.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::app::{App, Remote, Reply, repository, told};
use crate::faults::post;
use crate::faulty::Faulty;
use crate::outbound_tls;

const ONCE: &str = "    retry: none\n";

#[test]
fn an_answer_that_drips_ends_at_the_steps_deadline() {
    // What holds where neither the step nor the connector says.
    assert_eq!(millstream::outbound::DEFAULT_TIMEOUT, Duration::from_secs(30));
    let dripping = |head: &'static str, drop: &'static str| {
        Faulty::start(move |mut line| {
            line.request();
            line.drip(head, drop.as_bytes());
        })
    };
    let body = dripping("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", "x");
    let chunks = dripping("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\nx\r\n");
    let heads = dripping("HTTP/1.1 200 OK\r\nx-long: ", "x");
    let continues = dripping("", "HTTP/1.1 100 Continue\r\n\r\n");
    let policy = format!("    timeout: 500ms\n{ONCE}");
    let targets = [&body, &chunks, &heads, &continues];
    let flows: Vec<(String, String)> = (targets.iter().enumerate())
        .map(|(index, target)| (format!("flows/f{index}.yaml"), post(&target.url("/"), &policy)))
        .collect();
    let files: Vec<(&str, &str)> = flows.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let app = App::with(&files);
    for index in 0..targets.len() {
        let begun = Instant::now();
        let run = app.ended(&app.post(&format!("f{index}"), &json!({"n": 1})).run());
        assert_eq!(told(&run), "call #1 failed outbound.timeout\nfailed", "target {index}");
        let took = begun.elapsed();
        assert!((500..10_000).contains(&took.as_millis()), "target {index}: {took:?}");
    }
}

#[test]
fn more_than_a_megabyte_is_not_even_received_and_memory_stays_flat() {
    const TWO_GB: u64 = 2 << 30;
    let pouring = |head: String| {
        Faulty::start(move |mut line| {
            line.request();
            line.pour(&head, TWO_GB);
        })
    };
    let whole = pouring(format!("HTTP/1.1 200 OK\r\ncontent-length: {TWO_GB}\r\n\r\n"));
    let unsaid = pouring("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".into());
    let error = pouring(format!("HTTP/1.1 400 Bad\r\ncontent-length: {TWO_GB}\r\n\r\n"));
    let bomb = Faulty::start(|mut line| {
        line.request();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 200 << 20), &mut gzip).unwrap();
        line.answer(200, "content-type: application/json\r\ncontent-encoding: gzip\r\n", &gzip.finish().unwrap());
    });
    let headers = pouring("HTTP/1.1 200 OK\r\nx-long: ".into());
    let policy = format!("    timeout: 20s\n{ONCE}");
    let targets = [("whole", &whole), ("unsaid", &unsaid), ("error", &error), ("bomb", &bomb), ("headers", &headers)];
    let flows: Vec<(String, String)> = (targets.iter())
        .map(|(name, target)| (format!("flows/{name}.yaml"), post(&target.url("/"), &policy)))
        .collect();
    let files: Vec<(&str, &str)> = flows.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let app = App::with(&files);
    let mut table = String::new();
    for (name, target) in targets {
        let before = app.memory("VmHWM");
        let run = app.ended(&app.post(name, &json!({"n": 1})).run());
        table += &format!("{name}: {}\n", told(&run).replace('\n', ", "));
        let grown = app.memory("VmHWM").saturating_sub(before);
        assert!(grown < 48 * 1024, "{name}: {grown} KB more");
        // What the kernel had taken when the server hung up is all there ever was.
        assert!(target.sent() < 64 << 20, "{name}: {} bytes", target.sent());
    }
    assert_snapshot!(table, @r"
    whole: call #1 failed outbound.response_too_large, failed
    unsaid: call #1 failed outbound.response_too_large, failed
    error: call #1 failed http.rejected, failed
    bomb: call #1 failed outbound.response_too_large, failed
    headers: call #1 failed outbound.connection_lost, failed
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_does_not_hold_fails_the_run_at_once_without_a_fallback() {
    let (other_host, at_other) = outbound_tls::serve("127.0.0.2", "one").await;
    let (expired, at_expired) = outbound_tls::serve("127.0.0.1", "expired").await;
    let (unknown, at_unknown) = outbound_tls::serve("127.0.0.1", "two").await;
    let (good, at_good) = outbound_tls::serve("127.0.0.1", "one").await;
    let retry = "    retry: {attempts: 5, delay: 10ms}\n";
    let flow = |address| post(&format!("https://{address}/"), retry);
    let flows = [("other_host", other_host), ("expired", expired), ("unknown", unknown), ("good", good)];
    let flows = flows.map(|(name, address)| (format!("flows/{name}.yaml"), flow(address)));
    let roots = repository("tests/tls/one.cert.pem") + &repository("tests/tls/expired.cert.pem");
    let table = tokio::task::spawn_blocking(move || {
        let settings = "outbound: {allow: [127.0.0.0/8], ca_file: roots.pem}\n";
        let app = App::idle(&[]);
        app.write("roots.pem", &roots);
        app.write("millstream.yaml", &settings.replace("roots.pem", &app.path("roots.pem").display().to_string()));
        flows.iter().for_each(|(name, text)| app.write(name, text));
        let mut app = app;
        app.start();
        let mut table = String::new();
        for name in ["other_host", "expired", "unknown", "good"] {
            let run = app.ended(&app.post(name, &json!({"n": 1})).run());
            table += &format!("{name}: {}\n", told(&run).replace('\n', ", "));
        }
        table
    })
    .await
    .unwrap();
    assert_snapshot!(table, @r"
    other_host: call #1 failed outbound.tls, failed
    expired: call #1 failed outbound.tls, failed
    unknown: call #1 failed outbound.tls, failed
    good: call #1 succeeded, succeeded
    ");
    // One connection each: neither a storm of tries nor another one without TLS.
    let counts = [at_other, at_expired, at_unknown, at_good].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(counts, [1, 1, 1, 1]);
}

#[test]
fn no_redirect_is_followed_and_no_credential_crosses_to_another_host() {
    let (own, other) = (Remote::start(), Remote::start());
    let connections = format!(
        "api:\n  connector: http\n  settings: {{base_url: \"{}\"}}\n  credentials: {{token: {{file: token}}}}\n",
        own.url("")
    );
    let retry = "    retry: {attempts: 5, delay: 10ms}\n    connection: api\n";
    let app = App::with(&[
        ("connections.yaml", &connections),
        ("flows/call.yaml", &post("/leads", retry)),
        ("flows/read.yaml", &post("/leads", retry).replace("method: POST", "method: GET")),
        ("token", "canary-token"),
    ]);
    let mut calls = 0;
    for status in [301, 302, 303, 307, 308] {
        for to in [other.url("/steal?token=canary-token"), own.url("/elsewhere"), "/relative".to_owned()] {
            for flow in ["call", "read"] {
                own.answers([Reply { headers: vec![("location".into(), to.clone())], ..status.into() }]);
                let run = app.ended(&app.post(flow, &json!({"n": 1})).run());
                assert_eq!(told(&run), "call #1 failed outbound.redirect\nfailed", "{status} {flow}");
                assert!(!run.to_string().contains("canary"), "{run}");
                calls += 1;
            }
        }
    }
    let seen = own.seen();
    assert_eq!((seen.len(), other.seen().len()), (calls, 0));
    assert!(seen.iter().all(|seen| seen.path == "/leads"));
}

const CONNECTOR: &str = r#"
connector: api
version: 1
settings: { type: object, required: [url], properties: { url: { type: string } } }
base_url: "{{ settings.url }}"
actions:
  create:
    input: { type: object }
    request: { post: /things, json: "{{ input }}" }
    output: { id: $.id }
"#;

#[test]
fn a_good_status_with_a_page_or_half_a_body_is_an_error_that_says_so() {
    let json = "content-type: application/json\r\n";
    let page = "<html><title>Sign in</title>";
    let target = Faulty::start(move |mut line| {
        let Some(seen) = line.request() else { return };
        let n: Value = serde_json::from_str(&seen.body).unwrap();
        let n = n.get("n").unwrap_or(&n).as_u64().unwrap();
        match n {
            1 => line.answer(200, json, page.as_bytes()),
            2 => line.answer(200, "content-type: text/html\r\n", page.as_bytes()),
            3 => drop(
                line.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{\"id\":"),
            ),
            4 => drop(line.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{\"id\":\"x\r\n")),
            5 => line.answer(200, json, br#"{"id":"#),
            6 => line.answer(200, "content-type: application/json\r\ncontent-encoding: gzip\r\n", b"no gzip"),
            7 => drop(line.write(b"SSH-2.0-OpenSSH_9.2\r\n")),
            _ => line.answer(200, json, br#"{"id":"x"}"#),
        }
    });
    let connections = format!("api: {{connector: api, settings: {{url: \"{}\"}}}}\n", target.url(""));
    let declared = "trigger: {type: request}\nsteps:\n  - id: call\n    action: api.create\n    connection: api\n    with: {n: \
                    \"{{trigger.body.n}}\"}\n    retry: none\n";
    let app = App::with(&[
        ("connectors/api.yaml", CONNECTOR),
        ("connections.yaml", &connections),
        ("flows/declared.yaml", declared),
        ("flows/plain.yaml", &post(&target.url("/"), ONCE)),
    ]);
    let what = ["", "page as JSON", "page", "short body", "short chunks", "half JSON", "no gzip", "no HTTP", "good"];
    let mut table = String::new();
    for (n, what) in what.iter().enumerate().skip(1) {
        let end = |flow: &str| {
            let run = app.ended(&app.post(flow, &json!({"n": n})).run());
            told(&run).split('\n').next().unwrap().trim_start_matches("call #1 ").to_owned()
        };
        table += &format!("{what}: {} | {}\n", end("declared"), end("plain"));
    }
    assert_snapshot!(table, @r"
    page as JSON: failed connector.unexpected_answer | failed http.unexpected_answer
    page: failed connector.unexpected_answer | succeeded
    short body: failed outbound.connection_lost | failed outbound.connection_lost
    short chunks: failed outbound.connection_lost | failed outbound.connection_lost
    half JSON: failed connector.unexpected_answer | failed http.unexpected_answer
    no gzip: failed outbound.bad_answer | failed outbound.bad_answer
    no HTTP: failed outbound.connection_lost | failed outbound.connection_lost
    good: succeeded | succeeded
    ");
}
