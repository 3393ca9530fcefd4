//! The main job and what can befall it, through HTTP, the command line and files.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::app::{App, Remote, Reply, eventually, http, repository, told};

/// A flow that posts the lead to `remote`.
fn forward(remote: &Remote, more: &str) -> String {
    format!(
        "trigger: {{type: request}}\nsteps:\n  - id: notify\n    action: http.request\n    with:\n      method: POST\n      \
         url: {}\n      json: {{name: \"{{{{trigger.body.userDetails.firstName}}}}\"}}\n{more}",
        remote.url("/leads")
    )
}

const QUICK: &str = "    retry: {attempts: 3, delay: 50ms, max_delay: 2s}\n";

fn lead_files() -> Vec<(&'static str, String)> {
    let files = ["flows/marketplace_lead.yaml", "connections.yaml", "examples/lead.schema.json"];
    files.into_iter().map(|name| (name, repository(name))).collect()
}

/// First name, last name, company, email, offer.
type Row = (Option<String>, Option<String>, Option<String>, Option<String>, Option<String>);

fn rows(app: &App) -> Value {
    let url = format!("sqlite:{}", app.path("leads.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(async {
        let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
        let sql = "SELECT first_name, last_name, company, email, offer FROM leads ORDER BY received_at";
        let rows: Vec<Row> = sqlx::query_as(sql).fetch_all(&pool).await.unwrap();
        rows
    });
    json!(rows)
}

#[test]
fn leads_in_either_casing_become_rows() {
    let files = lead_files();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let app = App::with(&files);

    for sample in ["marketplace", "marketplace-camel"] {
        let sent = app.cli_json(&["send", "marketplace_lead", "--sample", sample]);
        assert_eq!((&sent["status"], &sent["body"]["status"]), (&json!(202), &json!("accepted")));
        assert_eq!(app.ended(sent["run_id"].as_str().unwrap())["status"], "succeeded");
    }

    assert_eq!(
        rows(&app),
        json!([
            ["Ann", "O'Brien", "O'Brien & Sons", "ann@example.com", "Contoso Test Drive"],
            ["Zoë", "Müller", "Müller GmbH", "zoe@example.net", "Contoso Sélection de prospects"],
        ])
    );
}

#[test]
fn a_failed_call_is_retried_with_the_same_key_and_the_run_succeeds() {
    let remote = Remote::start();
    remote.answers([503, 500, 200]);
    let app = App::with(&[("flows/notify.yaml", &forward(&remote, QUICK))]);

    let run = app.post("notify", &json!({"UserDetails": {"FirstName": "Ann"}})).run();

    assert_snapshot!(told(&app.ended(&run)), @r"
    notify #1 failed http.throttled
    notify #2 failed http.unavailable
    notify #3 succeeded
    succeeded
    ");
    let seen = remote.seen();
    let keys: Vec<_> = seen.iter().map(|seen| seen.header("idempotency-key").unwrap()).collect();
    assert!(keys.len() == 3 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert!(seen.iter().all(|seen| seen.body == r#"{"name":"Ann"}"#));
}

#[test]
fn a_dead_target_fails_the_run_and_resubmitting_repeats_it_with_its_keys() {
    let remote = Remote::start();
    remote.answers([400]);
    let app = App::with(&[("flows/notify.yaml", &forward(&remote, QUICK))]);
    let failed = app.post("notify", &json!({"n": 1})).run();
    assert_eq!(app.ended(&failed)["status"], "failed");

    let again = app.cli_json(&["runs", "resubmit", &failed])["run_id"].as_str().unwrap().to_owned();

    let again = app.ended(&again);
    assert_eq!((&again["status"], &again["origin"]), (&json!("succeeded"), &json!(failed)));
    let seen = remote.seen();
    assert_eq!(seen[0].header("idempotency-key"), seen[1].header("idempotency-key"));
}

#[test]
fn a_restart_in_the_middle_of_a_back_off_waits_out_only_the_rest() {
    let remote = Remote::start();
    remote.answers([Reply { headers: vec![("retry-after".into(), "4".into())], ..Reply::from(429) }]);
    let mut app = App::with(&[("flows/notify.yaml", &forward(&remote, "    retry: {attempts: 3, max_delay: 1m}\n"))]);
    let run = app.post("notify", &json!({})).run();
    app.run_when(&run, &["waiting"]);

    app.kill();
    let down = Instant::now();
    while down.elapsed() < Duration::from_secs(1) {
        std::thread::yield_now();
    }
    app.start();
    let up = Instant::now();

    assert_eq!(app.ended(&run)["status"], "succeeded");
    let seen = remote.seen();
    let waited = seen[1].at.duration_since(seen[0].at);
    assert!(waited >= Duration::from_millis(3900), "{waited:?}");
    // The rest is at most three seconds, however long the start took.
    let rest = seen[1].at.duration_since(up);
    assert!(rest < Duration::from_millis(3900), "{rest:?}");
}

#[test]
fn a_response_step_answers_the_caller_and_the_rest_goes_on() {
    let remote = Remote::start();
    remote.answers([Reply { after: Duration::from_millis(300), ..Reply::from(200) }]);
    let steps = format!(
        "trigger: {{type: request}}\nsteps:\n  - id: answer\n    response:\n      status: 201\n      headers: {{x-lead: \
         \"{{{{trigger.body.id}}}}\"}}\n      body: {{got: \"{{{{trigger.body}}}}\"}}\n  - id: later\n    action: \
         http.request\n    with: {{url: {}}}\n",
        remote.url("/later")
    );
    let app = App::with(&[("flows/answer.yaml", &steps)]);

    let body = r#"{"id":9007199254740993,"big":1e400,"small":0.1000000000000000055}"#;
    let answer = app.post_to(&app.hook("answer"), body);

    assert_eq!((answer.status, answer.header("x-lead")), (201, Some("9007199254740993")));
    assert_eq!(answer.text, format!(r#"{{"got":{body}}}"#));
    assert_eq!(app.ended(&answer.run())["status"], "succeeded");
    assert_eq!(remote.seen().len(), 1);
}

#[test]
fn a_flow_that_ends_without_its_response_answers_502() {
    let flow = "trigger: {type: request}\nsteps:\n  - id: answer\n    when: '{{equals trigger.body.go true}}'\n    response: {status: 200}\n";
    let app = App::with(&[("flows/maybe.yaml", flow)]);
    assert_eq!(app.post("maybe", &json!({"go": true})).status, 200);
    assert_eq!(app.post("maybe", &json!({"go": false})).status, 502);
}

#[test]
fn an_equal_request_gets_the_run_that_stands_for_it() {
    let remote = Remote::start();
    remote.answers([200, 400]);
    let dedupe = "trigger: {type: request, dedupe: {key: [\"{{trigger.body.id}}\"], window: 1h}}";
    let flow = forward(&remote, QUICK).replace("trigger: {type: request}", dedupe);
    let mut app = App::with(&[("flows/once.yaml", &flow)]);

    let first = app.post("once", &json!({"id": 1})).run();
    app.ended(&first);
    assert_eq!(app.post("once", &json!({"id": 1})).run(), first);
    app.kill();
    app.start();
    assert_eq!(app.post("once", &json!({"id": 1})).run(), first, "also after a crash");

    let failed = app.post("once", &json!({"id": 2})).run();
    assert_eq!(app.ended(&failed)["status"], "failed");
    let anew = app.post("once", &json!({"id": 2})).run();
    assert_ne!(anew, failed, "a failed one starts anew");
    let [one, two] = [0, 1].map(|_| app.post("once", &json!({"other": 1})).run());
    assert_ne!(one, two, "a missing key part turns it off");
}

#[test]
fn a_url_survives_restarts_and_is_rotated_with_grace() {
    let flow = "aliases: [old_name]\ntrigger: {type: request}\nsteps:\n  - id: note\n    set: {a: 1}\n";
    let mut app = App::with(&[("flows/named.yaml", flow)]);
    let first = app.hook("named");
    app.terminate();
    app.start();
    assert_eq!(app.hook("named"), first);

    app.cli(&["url", "rotate", "named", "--grace", "1h"]);
    let second = app.hook("named");
    assert_ne!(first, second);
    assert_eq!([&first, &second].map(|path| app.post_to(path, "{}").status), [202, 202]);

    app.cli(&["url", "rotate", "named"]);
    assert_eq!(
        [&first, &second].map(|path| app.post_to(path, "{}").status),
        [404, 404],
        "no grace: none of old either"
    );
    app.kill();
    app.start();
    let third = app.hook("named");
    assert_eq!([&second, &third].map(|path| app.post_to(path, "{}").status), [404, 202]);
    assert!(!app.log().contains(third.rsplit('/').next().unwrap()), "the key is in the log");
}

#[test]
fn a_second_process_on_the_same_data_exits_at_once_and_says_why() {
    let app = App::with(&[]);
    let begun = Instant::now();
    let second = app.cli(&["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    assert!(!second.status.success() && begun.elapsed() < Duration::from_secs(5));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("another") && said.contains("process"), "{said}");
}

#[test]
fn sigterm_lets_calls_on_their_way_end_and_loses_nothing() {
    let remote = Remote::start();
    remote.answers([Reply { after: Duration::from_millis(700), ..Reply::from(200) }]);
    let more = "  - id: pause\n    delay: 2s\n  - id: after\n    set: {done: true}\n";
    let mut app = App::with(&[("flows/slow.yaml", &forward(&remote, more))]);
    let run = app.post("slow", &json!({})).run();
    eventually(|| !remote.seen().is_empty());

    assert!(app.terminate().success());
    app.start();

    assert_snapshot!(told(&app.ended(&run)), @r"
    notify #1 succeeded
    pause succeeded
    after succeeded
    succeeded
    ");
    assert_eq!(remote.seen().len(), 1, "a call that ended is not repeated");
}

#[test]
fn a_caller_whose_run_goes_on_after_the_stop_is_told_so() {
    let flow =
        "trigger: {type: request}\nsteps:\n  - id: pause\n    delay: 2s\n  - id: answer\n    response: {body: late}\n";
    let mut app = App::with(&[("flows/late.yaml", flow)]);
    let (path, address) = (app.hook("late"), app.public);
    let caller = std::thread::spawn(move || http(address, "POST", &path, &[], b"{}").unwrap());
    eventually(|| app.runs("status=waiting").len() == 1);

    let begun = Instant::now();
    assert!(app.terminate().success());

    let answer = caller.join().unwrap();
    assert_eq!((answer.status, answer.json()["retry"].as_bool()), (504, Some(false)), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    app.start();
    assert_eq!(app.ended(&answer.run())["status"], "succeeded");
}

#[test]
fn a_call_without_its_secret_holds_the_run_until_it_is_there() {
    let remote = Remote::start();
    let connections = format!(
        "crm:\n  connector: http\n  settings: {{base_url: {}}}\n  credentials: {{token: {{secret: CRM_TOKEN}}}}\n",
        remote.url("/")
    );
    let flow = forward(&remote, QUICK).replace("    with:", "    connection: crm\n    with:");
    let app = App::with(&[("connections.yaml", &connections), ("flows/notify.yaml", &flow)]);
    let run = app.post("notify", &json!({})).run();
    let held = app.run_when(&run, &["held"]);
    assert!(held["reason"].as_str().unwrap().contains("CRM_TOKEN"), "{held}");

    let mut set = app.command();
    let mut set = set.args(["secret", "set", "CRM_TOKEN"]).stdin(Stdio::piped()).spawn().unwrap();
    set.stdin.take().unwrap().write_all(b"s3cret-value\n").unwrap();
    assert!(set.wait().unwrap().success());
    assert!(app.cli(&["runs", "resume", &run]).status.success());

    assert_eq!(app.ended(&run)["status"], "succeeded");
    assert_eq!(remote.seen()[0].header("authorization"), Some("Bearer s3cret-value"));
    let everything = format!("{}{}", app.log(), app.run(&run));
    assert!(!everything.contains("s3cret-value"));
}

#[test]
fn a_waiting_run_can_be_cancelled_and_a_rejected_one_mended() {
    let schema =
        "trigger: {type: request, schema: {type: object, required: [email]}}\nsteps:\n  - id: pause\n    delay: 1h\n";
    let app = App::with(&[("flows/strict.yaml", schema)]);

    let refused = app.post("strict", &json!({"mail": "a@b.c"}));
    assert_eq!(refused.status, 422);
    let rejected = refused.run();
    assert_eq!(app.run(&rejected)["status"], "rejected");
    app.write("mended.json", r#"{"email":"a@b.c"}"#);
    let path = app.path("mended.json");
    let mended = app.cli_json(&["runs", "resubmit", &rejected, "--body", path.to_str().unwrap()]);
    let run = mended["run_id"].as_str().unwrap();

    app.run_when(run, &["waiting"]);
    assert!(app.cli(&["runs", "cancel", run]).status.success());
    assert_eq!(app.ended(run)["status"], "cancelled");
    let listed = app.cli_json(&["runs", "list", "--flow", "strict"]);
    let statuses: Vec<&str> = listed.as_array().unwrap().iter().map(|run| run["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["cancelled", "rejected"]);
}

#[test]
fn a_run_that_waited_is_shown_as_running_once_it_goes_on() {
    let remote = Remote::start();
    let slow = Reply { after: Duration::from_secs(3), ..Reply::from(200) };
    remote.answers([slow]);
    let call = forward(&remote, "");
    let app = App::with(&[("flows/later.yaml", &call.replace("steps:\n", "steps:\n  - id: pause\n    delay: 1s\n"))]);
    let run = app.post("later", &json!({})).run();
    app.run_when(&run, &["waiting"]);

    eventually(|| remote.seen().len() == 1);
    assert_eq!(app.run(&run)["status"], "running");
    assert_eq!(app.runs("status=waiting").len(), 0);
    assert_eq!(app.ended(&run)["status"], "succeeded");
}

#[test]
fn a_run_by_hand_that_is_refused_still_stops_in_order() {
    let remote = Remote::start();
    let slow = || Reply { after: Duration::from_secs(1), ..Reply::from(200) };
    remote.answers([slow(), slow()]);
    let mut app = App::with(&[("flows/slow.yaml", &forward(&remote, ""))]);
    let run = app.post("slow", &json!({})).run();
    eventually(|| remote.seen().len() == 1);
    app.kill();

    // It may take up the open runs before it finds that there is no such flow; cut off, they would count a crash.
    assert!(!app.cli(&["run", "no_such_flow"]).status.success());
    app.start();
    assert_eq!(app.ended(&run)["status"], "succeeded");
    assert!(app.log().contains("crashed=false") || !app.log().contains("open runs go on"), "it did not stop in order");
}

#[test]
fn runs_with_large_bodies_take_more_than_one_slot() {
    let remote = Remote::start();
    let slow = || Reply { after: Duration::from_millis(300), ..Reply::from(200) };
    remote.answers([slow(), slow(), slow()]);
    let settings = "limits: {runs: 8}\noutbound: {allow: [127.0.0.0/8]}\n";
    let app = App::with(&[("flows/large.yaml", &forward(&remote, "")), ("millstream.yaml", settings)]);

    let large = json!({"filler": "x".repeat(300 * 1024)});
    let runs: Vec<String> = (0..3).map(|_| app.post("large", &large).run()).collect();

    assert_eq!((app.metric("millstream_runs_working "), app.runs("status=queued").len()), (1, 2));
    for run in &runs {
        assert_eq!(app.ended(run)["status"], "succeeded");
    }
}

#[test]
fn only_the_newest_rejected_requests_are_kept_over_a_restart_too() {
    let strict = "trigger: {type: request, schema: {required: [email]}}\nsteps:\n  - id: note\n    set: {a: 1}\n";
    let mut app = App::idle(&[("flows/strict.yaml", strict), ("millstream.yaml", "limits: {rejected_runs: 3}\n")]);
    app.start();
    let refused: Vec<String> = (0..4).map(|_| app.post("strict", &json!({})).run()).collect();
    app.kill();
    app.start();
    let last = app.post("strict", &json!({})).run();

    let kept = || -> Vec<String> {
        let runs = app.runs("status=rejected");
        runs.iter().map(|run| run["run_id"].as_str().unwrap().to_owned()).collect()
    };
    eventually(|| kept() == [&last, &refused[3], &refused[2]].map(String::clone));
}

#[test]
fn a_run_keeps_the_flow_it_began_with() {
    let remote = Remote::start();
    let flow = |word: &str| {
        let note = format!("  - id: pause\n    delay: 2s\n  - id: note\n    set: {{word: {word}}}\n");
        forward(&remote, &note)
    };
    let mut app = App::with(&[("flows/pinned.yaml", &flow("old"))]);
    let old = app.post("pinned", &json!({})).run();
    app.run_when(&old, &["waiting"]);

    app.write("flows/pinned.yaml", &flow("new"));
    eventually(|| app.log().contains("flow changed"));
    app.kill();
    app.start();
    let new = app.post("pinned", &json!({})).run();

    let word = |run: &str| app.ended(run)["steps"][2]["output"]["word"].as_str().unwrap().to_owned();
    assert_eq!((word(&old), word(&new)), ("old".to_owned(), "new".to_owned()));
}

#[test]
fn a_run_of_one_step_costs_two_writes() {
    let remote = Remote::start();
    let app = App::with(&[("flows/notify.yaml", &forward(&remote, ""))]);
    for _ in 0..5 {
        app.ended(&app.post("notify", &json!({})).run());
    }
    // The last one is readable a moment before it is durable and counted.
    eventually(|| app.metric("millstream_journal_appends_total ") >= 10);
    assert_eq!(app.metric("millstream_journal_appends_total "), 10);
    assert!(remote.seen().iter().all(|seen| seen.path == "/leads"));
}

#[test]
fn the_api_needs_its_token() {
    let app = App::with(&[]);
    for headers in [&[][..], &[("authorization", "Bearer wrong")][..]] {
        assert_eq!(http(app.admin, "GET", "/api/v1/runs", headers, b"").unwrap().status, 401);
    }
}
