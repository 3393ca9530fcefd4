//! A flow that hears of runs that did not go well.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use serde_json::{Value, json};

use crate::app::{App, Remote, Reply, eventually};

/// Tells the remote what it is told.
fn alert(remote: &Remote) -> String {
    let url = remote.url("/alert");
    format!(
        "trigger: {{type: manual}}\nsteps:\n  - id: tell\n    action: http.request\n    with: {{method: POST, url: \"{url}\", json: \"{{{{trigger.body}}}}\"}}\n    retry: none\n"
    )
}

fn failing(remote: &Remote) -> String {
    let url = remote.url("/call");
    format!(
        "trigger: {{type: request}}\nsteps:\n  - id: call\n    action: http.request\n    with: {{method: POST, url: \"{url}\"}}\n    retry: none\n"
    )
}

fn config(rules: &str) -> String {
    format!("outbound: {{allow: [127.0.0.0/8]}}\nalerts: {rules}\n")
}

fn told(remote: &Remote) -> Vec<Value> {
    let seen = remote.seen().into_iter().filter(|seen| seen.path == "/alert");
    seen.map(|seen| serde_json::from_str(&seen.body).unwrap()).collect()
}

#[test]
fn a_run_that_fails_is_told_of_once_and_an_alert_that_fails_alerts_nobody() {
    let (remote, chat) = (Remote::start(), Remote::start());
    let app = App::with(&[
        ("millstream.yaml", &config("{flow: alert}")),
        ("flows/alert.yaml", &alert(&chat)),
        ("flows/orders.yaml", &failing(&remote)),
    ]);
    remote.answers([400]);
    chat.answers([400]);
    let run = app.post("orders", &json!({})).run();
    app.ended(&run);
    eventually(|| app.runs("flow=alert&status=failed").len() == 1);
    let told = told(&chat);
    let told = &told[0];
    assert_eq!((&told["run_id"], &told["flow"], &told["status"]), (&json!(run), &json!("orders"), &json!("failed")));
    assert_eq!(
        (&told["failed_step"], &told["code"], &told["more"]),
        (&json!("call"), &json!("http.rejected"), &json!(0))
    );
    assert_eq!(told["links"]["show"], json!(format!("millstream runs show {run}")));
    let well = app.post("orders", &json!({})).run();
    assert_eq!(app.ended(&well)["status"], "succeeded");
    assert_eq!(app.runs("flow=alert").len(), 1, "neither a run that went well nor the alert itself is told of");
    assert_eq!(app.metric("millstream_alerts_total"), 1);
}

#[test]
fn a_storm_of_failures_is_a_few_alerts_that_count_the_rest() {
    let (remote, chat) = (Remote::start(), Remote::start());
    let app = App::with(&[
        ("millstream.yaml", &config("{flow: alert, on: [failed], per_minute: 3}")),
        ("flows/alert.yaml", &alert(&chat)),
        ("flows/orders.yaml", &failing(&remote)),
    ]);
    remote.answers(std::iter::repeat_n(400, 30));
    let path = app.hook("orders");
    let runs: Vec<String> = (0..30).map(|_| app.post_to(&path, "{}").run()).collect();
    runs.iter().for_each(|run| drop(app.ended(run)));
    eventually(|| app.metric("millstream_alerts_total") == 3);
    eventually(|| told(&chat).len() == 3);
    let counted: u64 = told(&chat).iter().map(|told| 1 + told["more"].as_u64().unwrap()).sum();
    assert!(counted <= 30, "{counted}");
    assert_eq!(app.runs("flow=alert").len(), 3);
}

#[test]
fn an_alert_that_was_due_when_the_process_went_down_is_sent_after_the_start_and_held_runs_are_told_of() {
    let (remote, chat) = (Remote::start(), Remote::start());
    let held =
        "trigger: {type: request}\nsteps:\n  - {id: pay, action: http.request, connection: crm, with: {url: /x}}\n";
    let crm =
        "crm: {connector: http, settings: {base_url: \"http://127.0.0.1:1\"}, credentials: {token: {secret: NONE}}}\n";
    let mut app = App::idle(&[
        ("millstream.yaml", &config("{flow: alert}")),
        ("connections.yaml", crm),
        ("flows/orders.yaml", &failing(&remote)),
        ("flows/held.yaml", held),
    ]);
    app.start();
    let problems = app.api("GET", "/problems", None).json();
    let problem = &problems["problems"][0];
    assert_eq!((&problem["code"], &problem["file"]), (&json!("E-FLOW-023"), &json!("millstream.yaml")), "{problems}");
    assert_eq!((&problem["line"], &problem["column"]), (&json!(2), &json!(16)));
    remote.answers([400]);
    let failed = app.post("orders", &json!({})).run();
    let waits = app.post("held", &json!({})).run();
    app.ended(&failed);
    app.run_when(&waits, &["held"]);
    // Nobody can be told: the flow is not there.
    app.kill();
    app.write("flows/alert.yaml", &alert(&chat));
    app.start();
    eventually(|| !told(&chat).is_empty());
    let told = told(&chat);
    let mut named: Vec<&str> = told
        .iter()
        .flat_map(|told| std::iter::once(told).chain(told["others"].as_array().unwrap()))
        .map(|told| told["run_id"].as_str().unwrap())
        .collect();
    named.sort_unstable();
    let mut both = vec![failed.as_str(), waits.as_str()];
    both.sort_unstable();
    assert_eq!(named, both);
    app.kill();
    app.start();
    eventually(|| app.runs("flow=alert&status=succeeded").len() == told.len());
    assert!(app.api("GET", "/problems", None).json()["problems"].as_array().unwrap().is_empty());
}

#[test]
fn a_kill_in_the_middle_of_failing_loses_no_alert() {
    let (remote, chat) = (Remote::start(), Remote::start());
    let mut app = App::with(&[
        ("millstream.yaml", &config("{flow: alert, per_minute: 1000}")),
        ("flows/alert.yaml", &alert(&chat)),
        ("flows/orders.yaml", &failing(&remote)),
    ]);
    remote.answers(std::iter::repeat_n(Reply::from(400), 60));
    let mut runs = Vec::new();
    for _ in 0..3 {
        let path = app.hook("orders");
        runs.extend((0..10).map(|_| app.post_to(&path, "{}").run()));
        app.kill();
        app.start();
    }
    runs.iter().for_each(|run| assert_eq!(app.ended(run)["status"], "failed"));
    eventually(|| {
        let told = told(&chat);
        let mut named = told
            .iter()
            .flat_map(|told| std::iter::once(told).chain(told["others"].as_array().unwrap()))
            .map(|told| told["run_id"].as_str().unwrap().to_owned());
        let named: std::collections::BTreeSet<String> = named.by_ref().collect();
        runs.iter().all(|run| named.contains(run))
    });
}

#[test]
fn a_run_that_an_alert_calls_and_that_is_held_alerts_nobody() {
    let remote = Remote::start();
    let alert = "trigger: {type: manual}\nsteps:\n  - {id: tell, call: chat, timeout: 1s, retry: none}\n";
    let chat =
        "trigger: {type: manual}\nsteps:\n  - {id: say, action: http.request, connection: chat, with: {url: /x}}\n";
    let connections =
        "chat: {connector: http, settings: {base_url: \"http://127.0.0.1:1\"}, credentials: {token: {secret: NONE}}}\n";
    let app = App::with(&[
        ("millstream.yaml", &config("{flow: alert, per_minute: 100}")),
        ("connections.yaml", connections),
        ("flows/alert.yaml", alert),
        ("flows/chat.yaml", chat),
        ("flows/orders.yaml", &failing(&remote)),
    ]);
    remote.answers([400, 400]);
    for count in 1..=2 {
        app.ended(&app.post("orders", &json!({})).run());
        // Held, or given up by the alert that waited in vain: either is over before the next one.
        eventually(|| app.runs("flow=alert&status=failed").len() == count);
    }
    assert_eq!(app.metric("millstream_alerts_total"), 2);
    assert_eq!(app.runs("flow=chat").len(), 2);
}
