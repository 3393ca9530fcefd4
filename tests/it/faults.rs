//! Targets that fail, and what becomes of the run: every row through the real door, a scripted target behind it.
//!
//! | case | what happens | test |
//! |---|---|---|
//! | 22 | 503 three times, then 200 | `three_503_make_four_attempts_with_one_key_and_waits_within_a_fifth` |
//! | 23 | 429 with Retry-After: 2, a date, junk, 10⁹ | `a_wait_that_the_target_asks_for_is_kept_junk_is_not_and_a_billion_is_clamped` |
//! | 24 | 400, 403, 404, 422 | `a_refusal_is_final_and_shows_the_targets_words_without_the_credentials` |
//! | 25 | refused; reset before it was read | `a_refused_or_reset_connection_is_tried_again` |
//! | 26 | reset or no answer after it was sent | `a_call_in_doubt_is_repeated_with_its_key_unless_the_step_says_hold` |
//! | 27 | drip, 2 GB, gzip bomb | `faults_answers.rs` |
//! | 28 | expired, self-signed, wrong host | `faults_answers.rs` |
//! | 29 | 301, 302, 307, 308 | `faults_answers.rs` |
//! | 30 | 100 times 401 at once | `a_hundred_refused_tokens_are_renewed_once_and_every_run_succeeds` |
//! | 31 | the same delivery twice, also with another body | `the_same_delivery_is_one_run_also_at_once_and_with_another_body` |
//! | 32 | two updates, the first is retried | `with_one_at_a_time_a_retried_update_keeps_its_place` |
//! | 33 | no attempts left, then resubmitted | `a_run_out_of_attempts_is_kept_and_resubmitting_it_keeps_its_keys` |
//! | 34 | 200 with a page or half a body | `faults_answers.rs` |

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::app::{App, Remote, Reply, eventually, told};
use crate::faulty::Faulty;

/// A flow that posts the request's `n` to `url`.
pub fn post(url: &str, more: &str) -> String {
    format!(
        "trigger: {{type: request}}\nsteps:\n  - id: call\n    action: http.request\n    with: {{method: POST, url: \
         \"{url}\", json: \"{{{{trigger.body.n}}}}\"}}\n{more}"
    )
}

/// How long each failed attempt of the first step was to wait, ms, as the journal has it.
fn waits(run: &Value) -> Vec<i64> {
    let at = |attempt: &Value, key: &str| attempt[key].as_str()?.parse::<jiff::Timestamp>().ok();
    let attempts = run["steps"][0]["attempts"].as_array().unwrap().iter();
    let waits = attempts.filter_map(|attempt| {
        Some(at(attempt, "retry_at")?.as_millisecond() - at(attempt, "ended_at")?.as_millisecond())
    });
    waits.collect()
}

#[test]
fn three_503_make_four_attempts_with_one_key_and_waits_within_a_fifth() {
    let remote = Remote::start();
    let app = App::with(&[("flows/call.yaml", &post(&remote.url("/"), "    retry: {attempts: 5, delay: 100ms}\n"))]);
    let mut first = BTreeSet::new();
    for round in 0..12_usize {
        remote.answers([503, 503, 503, 200]);
        let run = app.ended(&app.post("call", &json!({"n": round})).run());
        assert_eq!(run["status"], "succeeded", "{run}");
        let waits = waits(&run);
        assert_eq!(waits.len(), 3, "{run}");
        // Twice as long each time, and spread by a fifth either way.
        for (wait, plain) in waits.iter().zip([100, 200, 400]) {
            assert!((plain * 8 / 10..=plain * 12 / 10).contains(wait), "{waits:?}");
        }
        first.insert(waits[0]);
        let seen = &remote.seen()[round * 4..];
        let keys: BTreeSet<_> = seen.iter().map(|seen| seen.header("idempotency-key").unwrap()).collect();
        assert_eq!((seen.len(), keys.len()), (4, 1));
        for (pair, wait) in seen.windows(2).zip(waits) {
            let waited = pair[1].at - pair[0].at;
            assert!(waited >= Duration::from_millis(wait as u64 - 1), "{waited:?} of {wait} ms");
        }
    }
    // Of 41 milliseconds that it could be, twelve runs do not draw the same two.
    assert!(first.len() > 2, "runs that failed together come back together: {first:?}");
}

#[test]
fn a_wait_that_the_target_asks_for_is_kept_junk_is_not_and_a_billion_is_clamped() {
    let remote = Remote::start();
    let policy = "    retry: {attempts: 3, delay: 5s, backoff: fixed, max_delay: 20s}\n";
    let app = App::with(&[("flows/call.yaml", &post(&remote.url("/"), policy))]);
    let date = |seconds| httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds));
    let waited = |asked: String| {
        remote.answers([Reply { headers: vec![("retry-after".into(), asked)], ..Reply::from(429) }]);
        let run = app.post("call", &json!({"n": 1})).run();
        let told = app.run_when(&run, &["waiting", "succeeded"]);
        app.api("POST", &format!("/runs/{run}/cancel"), None);
        waits(&told)[0]
    };
    let clamped = |wait: i64, asked: &str| assert_eq!(wait, 20_000, "`{asked}`");
    assert_eq!(waited("2".into()), 2_000);
    assert_eq!(waited("0".into()), 0);
    // A date has whole seconds, and some time passes before it is read.
    let until = waited(date(15));
    assert!((12_000..=15_000).contains(&until), "{until}");
    assert_eq!(waited(date(0)), 0, "a time that has passed");
    for junk in ["soon", "-3", "", "NaN", "inf", "2 s", "Mon, 99 Foo 2026"] {
        let wait = waited(junk.into());
        assert!((4_000..=6_000).contains(&wait), "`{junk}`: {wait}");
    }
    for huge in ["1000000000", "1e300", "99999999999999999999999999"] {
        clamped(waited(huge.into()), huge);
    }
    clamped(waited(date(1_000_000_000)), "a date");
}

#[test]
fn a_refusal_is_final_and_shows_the_targets_words_without_the_credentials() {
    let remote = Remote::start();
    let connections = format!(
        "api:\n  connector: http\n  settings: {{base_url: \"{}\"}}\n  credentials: {{token: {{file: token}}}}\n",
        remote.url("")
    );
    let flow = post("/leads", "    retry: {attempts: 5, delay: 10ms}\n    connection: api\n");
    let app =
        App::with(&[("connections.yaml", &connections), ("flows/call.yaml", &flow), ("token", "canary-4711-token\n")]);
    for status in [400, 403, 404, 422] {
        let body = json!({"error": "no such table `laeds`", "you_sent": "Bearer canary-4711-token"}).to_string();
        remote.answers([Reply { body, headers: vec![("x-echo".into(), "canary-4711-token".into())], ..status.into() }]);
        let before = remote.seen().len();
        let run = app.ended(&app.post("call", &json!({"n": 1})).run());
        assert_eq!(told(&run), "call #1 failed http.rejected\nfailed", "{status}");
        let error = &run["steps"][0]["error"];
        let said = error["message"].as_str().unwrap();
        assert!(said.contains("laeds") && said.contains("[redacted]"), "{said}");
        assert_eq!((&error["status"], remote.seen().len()), (&json!(status), before + 1));
        assert!(!run.to_string().contains("canary"), "{run}");
    }
    assert!(remote.seen().iter().all(|seen| seen.header("authorization") == Some("Bearer canary-4711-token")));
    assert!(!app.log().contains("canary"));
}

#[test]
fn a_refused_or_reset_connection_is_tried_again() {
    // An address that no other test takes a port of.
    let listener = TcpListener::bind("127.0.0.77:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let reset = Faulty::start(|mut line| {
        if line.number > 2 {
            line.request();
            line.ok();
        }
    });
    let policy = "    retry: {attempts: 90, delay: 100ms, backoff: fixed}\n    on_doubt: ";
    let app = App::with(&[
        ("flows/refused.yaml", &post(&format!("http://{address}/"), &format!("{policy}hold\n"))),
        ("flows/reset.yaml", &post(&reset.url("/"), &format!("{policy}repeat\n"))),
    ]);
    // A call that certainly did not happen is in no doubt.
    let refused = app.post("refused", &json!({"n": 1})).run();
    eventually(|| app.run(&refused)["steps"][0]["attempts"].as_array().is_some_and(|attempts| attempts.len() > 3));
    let back = Faulty::at(TcpListener::bind(address).unwrap(), |mut line| {
        line.request();
        line.ok();
    });
    let ended = app.ended(&refused);
    assert_eq!((&ended["status"], back.keys().len()), (&json!("succeeded"), 1));
    assert!(told(&ended).starts_with("call #1 failed outbound.connect\ncall #2 failed outbound.connect\n"));

    let run = app.ended(&app.post("reset", &json!({"n": 2})).run());
    assert_eq!((&run["status"], reset.connections(), reset.keys().len()), (&json!("succeeded"), 3, 1), "{run}");
    assert_eq!(run["steps"][0]["key"], json!(reset.keys()[0]));
}

#[test]
fn a_call_in_doubt_is_repeated_with_its_key_unless_the_step_says_hold() {
    let mut table = String::new();
    for fault in ["reset", "silence"] {
        let target = Faulty::start(move |mut line| {
            // Every odd call is in doubt, every even one succeeds.
            let odd = line.number % 2 == 1;
            match fault {
                "reset" if odd => line.reset(),
                _ if odd => {
                    line.request();
                    line.silence();
                }
                _ => {
                    line.request();
                    line.ok();
                }
            }
        });
        let policy = "    timeout: 400ms\n    retry: {attempts: 3, delay: 10ms}\n";
        let hold = format!("{policy}    on_doubt: hold\n");
        let app = App::with(&[
            ("flows/repeat.yaml", &post(&target.url("/"), policy)),
            ("flows/read.yaml", &post(&target.url("/"), &hold).replace("method: POST", "method: GET")),
            ("flows/hold.yaml", &post(&target.url("/"), &hold)),
        ]);
        for flow in ["repeat", "read", "hold"] {
            let before = target.connections();
            let run = app.post(flow, &json!({"n": 1})).run();
            let run = app.run_when(&run, &["succeeded", "failed", "held"]);
            let calls = target.connections() - before;
            table += &format!("{fault}, {flow}: {}; calls: {calls}\n", told(&run).replace('\n', ", "));
            if flow == "hold" {
                // A person who knows that it did not happen lets it go on: the same call with the same key.
                let id = run["run_id"].as_str().unwrap();
                assert_eq!(app.api("POST", &format!("/runs/{id}/resume"), None).status, 200);
                assert_eq!(app.ended(id)["status"], "succeeded");
                assert_eq!(target.keys().last().map(String::as_str), run["steps"][0]["key"].as_str());
            }
        }
    }
    assert_snapshot!(table, @r"
    reset, repeat: call #1 failed outbound.connection_lost, call #2 succeeded, succeeded; calls: 2
    reset, read: call #1 failed outbound.connection_lost, call #2 succeeded, succeeded; calls: 2
    reset, hold: call #1 held outbound.connection_lost, held; calls: 1
    silence, repeat: call #1 failed outbound.timeout, call #2 succeeded, succeeded; calls: 2
    silence, read: call #1 failed outbound.timeout, call #2 succeeded, succeeded; calls: 2
    silence, hold: call #1 held outbound.timeout, held; calls: 1
    ");
}

const CONNECTOR: &str = r#"
connector: api
version: 1
settings: { type: object, required: [url], properties: { url: { type: string } } }
base_url: "{{ settings.url }}"
auth: { type: oauth2_client_credentials, token_url: "{{ settings.url }}/token", client_id: me, client_secret: { connection: client_secret } }
actions:
  create:
    input: { type: object }
    request: { post: /things, json: "{{ input }}" }
    output: { id: $.id }
"#;

#[test]
fn a_hundred_refused_tokens_are_renewed_once_and_every_run_succeeds() {
    const RUNS: usize = 100;
    // The first token is refused, but only once all hundred calls have come with it.
    let came: Arc<(Mutex<usize>, Condvar)> = Arc::default();
    let shared = came.clone();
    let target = Faulty::start(move |mut line| {
        let Some(seen) = line.request() else { return };
        let json = "content-type: application/json\r\n";
        if seen.path == "/token" {
            let number = 1 + usize::from(*shared.0.lock().unwrap() > 0);
            let token = json!({"access_token": format!("token-{number:08}"), "expires_in": 3600});
            return line.answer(200, json, token.to_string().as_bytes());
        }
        if seen.header("authorization") != Some("Bearer token-00000001") {
            return line.answer(201, json, br#"{"id":"x"}"#);
        }
        let (count, bell) = &*shared;
        let mut count = count.lock().unwrap();
        *count += 1;
        bell.notify_all();
        while *count < RUNS {
            count = bell.wait(count).unwrap();
        }
        drop(count);
        line.answer(401, json, b"{}");
    });
    let connections = format!(
        "crm: {{connector: api, settings: {{url: \"{}\"}}, credentials: {{client_secret: {{file: secret}}}}}}\n",
        target.url("")
    );
    let flow = "trigger: {type: request}\nsteps:\n  - id: call\n    action: api.create\n    connection: crm\n    with: {n: 1}\n    \
                timeout: 25s\n    retry: none\n";
    let app = App::with(&[
        ("connectors/api.yaml", CONNECTOR),
        ("connections.yaml", &connections),
        ("secret", "canary-secret"),
        ("flows/call.yaml", flow),
    ]);
    let runs: Vec<String> = (0..RUNS).map(|n| app.post("call", &json!({"n": n})).run()).collect();
    for run in &runs {
        assert_eq!(told(&app.ended(run)), "call #1 succeeded\nsucceeded");
    }
    let seen = target.seen();
    let count = |path: &str| seen.iter().filter(|seen| seen.path == path).count();
    assert_eq!(*came.0.lock().unwrap(), RUNS, "all were refused at once");
    assert_eq!((count("/token"), count("/things")), (2, 2 * RUNS), "one token, and one renewal for all");
}

#[test]
fn the_same_delivery_is_one_run_also_at_once_and_with_another_body() {
    let remote = Remote::start();
    let dedupe = "trigger: {type: request, dedupe: {key: \"{{trigger.headers.[x-github-delivery]}}\", window: 7d}}";
    let flow = post(&remote.url("/"), "").replace("trigger: {type: request}", dedupe);
    let app = App::with(&[("flows/push.yaml", &flow)]);
    let (path, address) = (app.hook("push"), app.public);
    let deliver = |id: &str, body: &str| {
        let headers = [("content-type", "application/json"), ("x-github-delivery", id)];
        crate::app::http(address, "POST", &path, &headers, body.as_bytes()).unwrap()
    };
    // At once, from many connections.
    let runs: BTreeSet<String> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..16).map(|_| scope.spawn(|| deliver("d-1", r#"{"n":1}"#))).collect();
        let answers = senders.into_iter().map(|sender| sender.join().unwrap());
        answers.map(|answer| if answer.status == 202 { answer.run() } else { panic!("{answer:?}") }).collect()
    });
    assert_eq!(runs.len(), 1, "{runs:?}");
    let run = runs.first().unwrap();
    assert_eq!(app.ended(run)["status"], "succeeded");
    // Once more with another body: the key alone says what is the same.
    let other = deliver("d-1", r#"{"n":2}"#);
    assert_eq!((other.status, &other.run()), (202, run));
    let next = deliver("d-2", r#"{"n":3}"#).run();
    assert_eq!(app.ended(&next)["status"], "succeeded");
    let bodies: Vec<String> = remote.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, ["1", "3"], "one write for each delivery");
}

#[test]
fn with_one_at_a_time_a_retried_update_keeps_its_place() {
    let remote = Remote::start();
    remote.answers([503, 503]);
    let flow = post(&remote.url("/"), "    retry: {attempts: 5, delay: 200ms}\n");
    let flow = flow.replace("steps:\n", "concurrency: 1\nsteps:\n");
    let app = App::with(&[("flows/contact.yaml", &flow)]);
    let runs: Vec<String> = (1..=4).map(|n| app.post("contact", &json!({"n": n})).run()).collect();
    runs.iter().for_each(|run| assert_eq!(app.ended(run)["status"], "succeeded"));
    let order: Vec<String> = remote.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(order, ["1", "1", "1", "2", "3", "4"]);
}

#[test]
fn a_run_out_of_attempts_is_kept_and_resubmitting_it_keeps_its_keys() {
    let remote = Remote::start();
    remote.answers([503, 500, 503]);
    let flow = post(&remote.url("/"), "    retry: {attempts: 3, delay: 10ms}\n");
    let mut app = App::with(&[("flows/call.yaml", &flow)]);
    let failed = app.post("call", &json!({"n": 7})).run();
    assert_snapshot!(told(&app.ended(&failed)), @r"
    call #1 failed http.throttled
    call #2 failed http.unavailable
    call #3 failed http.throttled
    failed
    ");
    // It waits for a person, over a crash too.
    app.kill();
    app.start();
    assert_eq!(app.runs("status=failed").len(), 1);
    assert_eq!(remote.seen().len(), 3, "nothing goes on by itself");
    let again = app.cli_json(&["runs", "resubmit", &failed]);
    assert_eq!(app.ended(again["run_id"].as_str().unwrap())["status"], "succeeded");
    let seen = remote.seen();
    let keys: BTreeSet<_> = seen.iter().map(|seen| seen.header("idempotency-key").unwrap()).collect();
    assert_eq!((seen.len(), keys.len()), (4, 1), "the target can tell that it is the same");
}
