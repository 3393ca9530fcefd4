//! Limits over restarts, breakers, choices and hot reload, at a real server.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::app::{App, Remote, Reply, eventually};

const FLOW: &str = "trigger: {type: request}\nsteps:\n  - id: tell\n    action: api.tell\n    connection: api\n    with: {n: 1}\n    retry: {attempts: 2, backoff: fixed, delay: 50ms}\n";

fn connector(base: &str, more: &str) -> String {
    format!(
        "connector: api\nversion: 1\nconnection: required\nbase_url: {base}\n{more}actions:\n  tell:\n    input: {{type: object, additionalProperties: false, properties: {{n: {{type: integer}}}}}}\n    request: {{post: /tell, json: {{n: '{{{{ input.n }}}}'}}}}\n"
    )
}

#[test]
fn what_was_used_of_a_rate_is_known_after_a_crash_and_after_a_stop() {
    // Given a system that takes two calls a day, and two that were made.
    let remote = Remote::start();
    let api = connector(&remote.url(""), "limits: { rate: { requests: 2, per: 24h } }\n");
    let files = [
        ("flows/tell.yaml", FLOW),
        ("connectors/api.yaml", api.as_str()),
        ("connections.yaml", "api: {connector: api}\n"),
    ];
    let mut app = App::with(&files);
    for _ in 0..2 {
        let run = app.post("tell", &json!({})).run();
        assert_eq!(app.ended(&run)["status"], "succeeded");
    }
    // When the process is killed, and once more stopped in order: the third waits for the day to pass.
    app.kill();
    app.start();
    let third = app.post("tell", &json!({})).run();
    let waiting = app.run_when(&third, &["waiting"]);
    assert!(waiting.to_string().contains("outbound.rate_limit"), "{waiting}");
    app.terminate();
    app.start();
    let fourth = app.post("tell", &json!({})).run();
    app.run_when(&fourth, &["waiting"]);
    app.run_when(&third, &["waiting"]);
    assert_eq!(remote.seen().len(), 2);
}

#[test]
fn a_target_that_is_down_is_left_alone_and_no_run_fails_for_it() {
    // Given a target that fails, and a flow whose steps are tried twice.
    let remote = Remote::start();
    remote.answers([500; 3]);
    let api = connector(&remote.url(""), "");
    let mut app = App::with(&[
        ("flows/tell.yaml", FLOW),
        ("connectors/api.yaml", api.as_str()),
        ("connections.yaml", "api: {connector: api, breaker: {failures: 3, pause: 3s}}\n"),
    ]);
    // When a run uses up its attempts, and the next one its first.
    let first = app.post("tell", &json!({})).run();
    assert_eq!(app.ended(&first)["status"], "failed");
    let mut runs = vec![app.post("tell", &json!({})).run()];
    eventually(|| app.metric("millstream_breakers_opened_total") == 1);
    runs.extend((0..4).map(|_| app.post("tell", &json!({})).run()));
    // Then the target is called no more, and everyone can see why.
    let breakers = app.api("GET", "/breakers", None).json();
    let open = &breakers["breakers"][0];
    assert_eq!((&open["connection"], &open["failures"]), (&json!("api"), &json!(3)), "{breakers}");
    assert!(open["last_error"].as_str().unwrap().contains("status 500"), "{breakers}");
    assert_eq!(app.metric("millstream_breaker_open{connection=\"api\"}"), 1);
    let waiting = app.run_when(&runs[4], &["waiting"]);
    assert!(waiting.to_string().contains("outbound.breaker_open"), "{waiting}");
    let listed = app.runs("status=waiting");
    assert_eq!(listed[0]["code"], "outbound.breaker_open", "{listed:?}");
    // And once it is back, all go on, each with the attempts that it had.
    for run in &runs {
        assert_eq!(app.ended(run)["status"], "succeeded");
    }
    assert_eq!(app.api("GET", "/breakers", None).json(), json!({"breakers": []}));
    assert_eq!(remote.seen().len(), 3 + runs.len(), "no call but those was made");
    // After a restart it is closed, whatever it was.
    app.kill();
    app.start();
    assert_eq!(app.api("GET", "/breakers", None).json(), json!({"breakers": []}));
}

#[test]
fn a_run_keeps_its_connector_while_the_file_changes_and_the_next_takes_the_new_one() {
    let remote = Remote::start();
    let old = connector(&remote.url("/old"), "");
    let flow = "trigger: {type: request}\nsteps:\n  - id: wait\n    wait: {}\n  - id: tell\n    run_after: {wait: [succeeded]}\n    action: api.tell\n    connection: api\n    with: {n: 1}\n";
    let app = App::with(&[
        ("flows/tell.yaml", flow),
        ("connectors/api.yaml", old.as_str()),
        ("connections.yaml", "api: {connector: api}\n"),
    ]);
    let first = app.post("tell", &json!({})).run();
    app.run_when(&first, &["waiting"]);
    // When the file is broken, and then another one.
    app.write("connectors/api.yaml", &format!("{old}nonsense: 1\n"));
    eventually(|| !app.api("GET", "/problems", None).json()["problems"].as_array().unwrap().is_empty());
    app.write("connectors/api.yaml", &connector(&remote.url("/new"), ""));
    eventually(|| app.api("GET", "/problems", None).json()["problems"].as_array().unwrap().is_empty());
    let second = app.post("tell", &json!({})).run();
    for run in [&first, &second] {
        app.run_when(run, &["waiting"]);
    }
    let url_of = |run: &str| {
        let found = app.run(run);
        let text = found.to_string();
        let at = text.find("/hooks/tell/resume/").unwrap_or_else(|| panic!("{text}"));
        text[at..].split('"').next().unwrap().to_owned()
    };
    for run in [&first, &second] {
        assert_eq!(app.post_to(&url_of(run), "").status, 202);
        assert_eq!(app.ended(run)["status"], "succeeded");
    }
    let paths: Vec<String> = remote.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/old/tell", "/new/tell"]);
}

#[test]
fn editors_get_the_choices_of_an_input_and_they_are_kept_for_a_while() {
    let remote = Remote::start();
    let list = Reply {
        body: json!({"channels": [{"id": "C1", "name": "leads"}, {"id": "C2"}]}).to_string(),
        ..Reply::from(200)
    };
    remote.answers([list]);
    let chat = format!(
        "connector: chat\nversion: 1\nconnection: required\nbase_url: {}\nactions:\n  post:\n    input: {{type: object, properties: {{to: {{type: object, properties: {{channel: {{type: string, x-options: {{action: list, value: $.id, label: $.name}}}}}}}}}}}}\n    request: {{post: /post}}\n  list:\n    hidden: true\n    request: {{get: /list}}\n    pages: {{items: $.channels, next_url: $.next}}\n    cache: 10m\n",
        remote.url("")
    );
    let app = App::with(&[("connectors/chat.yaml", &chat), ("connections.yaml", "chat: {connector: chat}\n")]);
    let path = "/connections/chat/options?action=post&input=to.channel";
    let expected =
        json!({"options": [{"value": "C1", "label": "leads"}, {"value": "C2", "label": "C2"}], "more": false});
    for _ in 0..2 {
        let answer = app.api("GET", path, None);
        assert_eq!((answer.status, answer.json()), (200, expected.clone()));
    }
    assert_eq!(remote.seen().len(), 1, "the second time they are known");
    let told = app.cli_json(&["connectors", "options", "chat", "chat.post", "to.channel"]);
    assert_eq!(told, expected);
    for (path, status) in [
        ("/connections/none/options?action=post&input=to.channel", 400),
        ("/connections/chat/options?action=post&input=to", 400),
        ("/connections/chat/options?action=post", 400),
        ("/connections/chat/options?action=list&input=x", 400),
    ] {
        assert_eq!(app.api("GET", path, None).status, status, "{path}");
    }
    // A target that does not say.
    remote.answers([Reply::from(403)]);
    app.write("connections.yaml", "chat: {connector: chat, timeout: 1}\n");
    app.write("connections.yaml", "other: {connector: chat}\n");
    let began = Instant::now();
    let other = || app.api("GET", "/connections/other/options?action=post&input=to.channel", None);
    let mut answer = other();
    while answer.status == 400 && began.elapsed() < Duration::from_secs(20) {
        answer = other();
    }
    let problem: Value = answer.json();
    assert_eq!(answer.status, 503, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("was refused"), "{problem}");
}
