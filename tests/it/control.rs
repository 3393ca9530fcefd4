//! Control flow through the door: children, waits, loops and branches, and what a kill -9 leaves of them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::app::{App, Remote, Reply, eventually, http, told};

const CHILD: &str = r#"
trigger:
  type: request
  schema: {type: object, required: [n], properties: {n: {type: number}}}
steps:
  - id: double
    set: {twice: "{{mul trigger.body.n 2}}"}
  - id: answer
    response: {status: 200, body: {twice: "{{vars.twice}}"}}
  - id: after
    delay: 10m
"#;

#[test]
fn a_flow_calls_another_and_goes_on_with_its_response() {
    let parent = r#"
trigger: {type: request}
steps:
  - id: ask
    call: child
    with: {n: "{{trigger.body.n}}"}
    on_error: continue
  - id: answer
    response: {body: {answer: "{{steps.ask.output.body.twice}}", error: "{{steps.ask.error.code}}"}}
"#;
    let app = App::with(&[("flows/child.yaml", CHILD), ("flows/parent.yaml", parent)]);
    let answer = app.post("parent", &json!({"n": 21}));
    assert_eq!((answer.status, answer.json()), (200, json!({"answer": 42, "error": null})));
    let run = app.ended(&answer.run());
    let child = run["steps"][0]["run"].as_str().expect("the step names the run it called").to_owned();
    assert_eq!(app.run_when(&child, &["waiting"])["flow"], json!("child"), "the child goes on after its response");
    let refused = app.post("parent", &json!({"n": "many"}));
    assert_eq!(refused.json(), json!({"answer": null, "error": "run.bad_input"}));
}

#[test]
fn a_flow_that_is_called_gets_the_defaults_of_its_inputs() {
    let child = r#"
trigger:
  type: manual
  inputs:
    name: {type: string}
    tone: {type: string, enum: [warm, cool], default: warm}
steps:
  - id: answer
    response: {body: "{{trigger.body.name}} is greeted in a {{trigger.body.tone}} tone"}
"#;
    let parent = r#"
trigger: {type: request}
steps:
  - {id: ask, call: child, with: {name: "{{trigger.body.name}}"}}
  - {id: answer, response: {body: "{{steps.ask.output.body}}"}}
"#;
    let app = App::with(&[("flows/child.yaml", child), ("flows/parent.yaml", parent)]);
    let answer = app.post("parent", &json!({"name": "Ann"}));
    assert_eq!((answer.status, answer.text.as_str()), (200, "Ann is greeted in a warm tone"));
}

#[test]
fn a_parent_waits_for_its_child_over_a_kill_and_calls_it_once() {
    let child = r#"
trigger: {type: request}
steps:
  - id: approval
    wait: {}
  - id: answer
    response: {body: {said: "{{steps.approval.output.body.say}}", link: "{{run.resume_urls.approval}}"}}
"#;
    let parent = r#"
trigger: {type: request}
steps:
  - id: ask
    call: child
  - id: keep
    set: {said: "{{steps.ask.output.body.said}}"}
"#;
    let mut app = App::with(&[("flows/child.yaml", child), ("flows/parent.yaml", parent)]);
    let run = app.post("parent", &json!({})).run();
    eventually(|| app.runs("flow=child&status=waiting").len() == 1 && app.runs("status=waiting").len() == 2);
    app.kill();
    app.start();
    eventually(|| app.runs("status=waiting").len() == 2);
    let waiting = app.runs("flow=child");
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    let id = waiting[0]["run_id"].as_str().unwrap_or_default();
    let url = resume_url(&app, "child", id);
    assert_eq!(app.post_to(&url, r#"{"say": "yes"}"#).status, 202);
    let ended = app.ended(&run);
    assert_eq!(ended["status"], json!("succeeded"), "{ended}");
    assert_eq!(ended["steps"][1]["output"], json!({"said": "yes"}));
    assert_eq!(app.runs("flow=child").len(), 1);
}

#[test]
fn cancelling_a_parent_cancels_the_child_it_waits_for() {
    let child = "trigger: {type: request}\nsteps:\n  - {id: rest, delay: 1h}\n";
    let parent = "trigger: {type: request}\nsteps:\n  - {id: ask, call: child}\n";
    let timed = "trigger: {type: request}\nsteps:\n  - {id: ask, call: child, timeout: 200ms}\n";
    let app = App::with(&[("flows/child.yaml", child), ("flows/parent.yaml", parent), ("flows/timed.yaml", timed)]);
    let run = app.post("parent", &json!({})).run();
    eventually(|| app.runs("flow=child&status=waiting").len() == 1);
    assert_eq!(app.api("POST", &format!("/runs/{run}/cancel"), None).status, 200);
    eventually(|| app.runs("flow=child&status=cancelled").len() == 1);
    let late = app.ended(&app.post("timed", &json!({})).run());
    assert_eq!((&late["status"], &late["steps"][0]["status"]), (&json!("failed"), &json!("timed_out")));
    eventually(|| app.runs("flow=child&status=cancelled").len() == 2);
}

/// The path of the URL of the only `wait` step, as the run's own template gave it to a remote or a variable.
fn resume_url(app: &App, flow: &str, run: &str) -> String {
    let shown = app.api("GET", &format!("/runs/{run}"), None).json();
    let steps = shown["steps"].as_array().cloned().unwrap_or_default();
    let step = steps.iter().find(|step| step["status"] == json!("waiting")).cloned().unwrap_or_default();
    let url = step["resume_url"].as_str().unwrap_or_else(|| panic!("no URL of {flow}: {shown}"));
    url.split_once("/hooks/").map(|(_, rest)| format!("/hooks/{rest}")).unwrap_or_default()
}

const APPROVAL: &str = r#"
trigger: {type: request}
steps:
  - id: tell
    action: http.request
    with: {method: POST, url: "REMOTE", json: {link: "{{run.resume_urls.approval}}?decision=yes"}}
  - id: approval
    wait: {timeout: 3d}
  - id: keep
    set: {decision: "{{steps.approval.output.query.decision}}", by: "{{steps.approval.output.method}}"}
"#;

#[test]
fn a_link_shows_a_page_and_its_button_ends_the_wait_once() {
    let remote = Remote::start();
    remote.answers([200, 200]);
    let app = App::with(&[("flows/ask.yaml", &APPROVAL.replace("REMOTE", &remote.url("/mail")))]);
    let run = app.post("ask", &json!({})).run();
    app.run_when(&run, &["waiting"]);
    let mail: Value = serde_json::from_str(&remote.seen()[0].body).unwrap_or_default();
    let link = mail["link"].as_str().unwrap_or_default().to_owned();
    let path = link.split_once(&app.public.to_string()).map(|(_, path)| path.to_owned()).unwrap_or_default();
    assert!(path.starts_with("/hooks/ask/resume/"), "{link}");

    let page = http(app.public, "GET", &path, &[("accept", "text/html")], b"").unwrap();
    assert_eq!((page.status, page.text.contains("<form method=\"post\">")), (200, true), "{page:?}");
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
    assert_eq!(app.run(&run)["status"], json!("waiting"), "a GET ends no wait");

    let wrong = path.replace("?decision", "x?decision");
    assert_eq!(http(app.public, "POST", &wrong, &[], b"").unwrap().status, 404);
    assert_eq!(http(app.public, "PUT", &path, &[], b"").unwrap().header("allow"), Some("GET, POST"));

    let form = [("content-type", "application/x-www-form-urlencoded"), ("accept", "text/html")];
    let pressed = http(app.public, "POST", &path, &form, b"").unwrap();
    assert_eq!((pressed.status, pressed.text.contains("Thank you")), (200, true), "{pressed:?}");
    let ended = app.ended(&run);
    assert_eq!(ended["steps"][2]["output"], json!({"decision": "yes", "by": "POST"}));
    let again = http(app.public, "POST", &path, &form, b"").unwrap();
    assert_eq!((again.status, again.text.contains("Thank you")), (200, true), "a double click is no error");
    let other = http(app.public, "POST", &path.replace("yes", "no"), &[], b"").unwrap();
    assert_eq!((other.status, other.json()["code"].clone()), (409, json!("already_resumed")));
    assert!(!app.log().contains(path.rsplit('/').next().unwrap_or_default().split('?').next().unwrap_or_default()));
}

#[test]
fn an_early_answer_is_kept_over_a_kill_and_another_one_is_refused() {
    let remote = Remote::start();
    let mut app = App::with(&[("flows/ask.yaml", &APPROVAL.replace("REMOTE", &remote.url("/mail")))]);
    remote.answers([503]);
    let run = app.post("ask", &json!({})).run();
    app.run_when(&run, &["waiting"]);
    let shown = app.run(&run);
    let url = shown["steps"][0]["inputs"]["json"]["link"].as_str().unwrap_or_default();
    let path = url.split_once(&app.public.to_string()).map(|(_, path)| path.to_owned()).unwrap_or_default();
    let answer = app.post_to(&path, r#"{"first": true}"#);
    assert_eq!((answer.status, answer.run()), (202, run.clone()));
    assert_eq!(app.post_to(&path, r#"{"first": true}"#).status, 202, "the same once more is no harm");
    let other = app.post_to(&path, r#"{"first": false}"#);
    assert_eq!((other.status, other.json()["code"].clone()), (409, json!("already_resumed")));
    app.kill();
    app.start();
    remote.answers([200]);
    let ended = app.ended(&run);
    assert_eq!(ended["status"], json!("succeeded"), "{ended}");
    assert_eq!(ended["steps"][2]["output"]["decision"], json!("yes"));
}

#[test]
fn terminate_breaks_off_what_is_in_flight() {
    let remote = Remote::start();
    let flow = r#"
trigger: {type: request}
steps:
  - id: both
    parallel:
      slow:
        - id: hang
          action: http.request
          with: {url: "REMOTE"}
      quick:
        - id: rest
          delay: 300ms
        - id: stop
          terminate: {status: cancelled}
"#;
    let slow = Reply { after: Duration::from_secs(5), ..Reply::from(200) };
    remote.answers([slow]);
    let app = App::with(&[("flows/stop.yaml", &flow.replace("REMOTE", &remote.url("/hang")))]);
    let run = app.post("stop", &json!({})).run();
    eventually(|| remote.seen().len() == 1);
    let ended = app.ended(&run);
    assert_eq!(ended["status"], json!("cancelled"));
    assert_eq!(told(&ended), "both cancelled\nhang #1\nrest succeeded\nstop succeeded\ncancelled");
}

#[test]
fn loops_go_on_after_kills_without_repeating_what_has_ended() {
    let remote = Remote::start();
    let flow = r#"
trigger: {type: request}
steps:
  - id: each
    foreach: "{{trigger.body}}"
    concurrency: 3
    do:
      - id: store
        action: http.request
        with: {method: POST, url: "REMOTE", json: {n: "{{item}}"}}
        retry: {attempts: 9, backoff: fixed, delay: 10ms}
    collect: "{{item}}"
  - id: done
    set: {all: "{{length steps.each.output}}"}
"#;
    let mut app = App::with(&[("flows/each.yaml", &flow.replace("REMOTE", &remote.url("/store")))]);
    // Slow enough that each of the kills comes while items are left.
    let slow = Reply { after: Duration::from_millis(20), ..Reply::from(200) };
    remote.answers(std::iter::repeat_n(slow, 200));
    let run = app.post("each", &json!((0..40).collect::<Vec<_>>())).run();
    for count in [5, 15, 25] {
        eventually(|| remote.seen().len() >= count);
        app.kill();
        app.start();
    }
    let ended = app.ended(&run);
    assert_eq!((&ended["status"], &ended["recoveries"]), (&json!("succeeded"), &json!(3)), "{ended}");
    let mut keys: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
    for seen in remote.seen() {
        let key = seen.header("idempotency-key").unwrap_or_default().to_owned();
        keys.entry(key).or_default().push(seen.body.clone());
    }
    assert_eq!(keys.len(), 40, "each item has one key");
    let repeated = keys.values().filter(|bodies| bodies.len() > 1).count();
    assert!(repeated <= 9, "only what was in flight is repeated: {keys:?}");
    assert!(keys.values().all(|bodies| bodies.iter().all(|body| *body == bodies[0])));
}

#[test]
fn a_flow_that_calls_in_a_circle_or_nowhere_does_not_go_live() {
    let calls = |name: &str| format!("trigger: {{type: request}}\nsteps:\n  - {{id: ask, call: {name}}}\n");
    let app = App::with(&[("flows/a.yaml", &calls("b")), ("flows/b.yaml", "trigger: {type: request}\nsteps: []\n")]);
    let path = app.hook("a");
    assert_eq!(app.post_to(&path, "{}").status, 202);
    app.write("flows/b.yaml", &calls("a"));
    app.write("flows/c.yaml", &calls("nowhere"));
    let problems = || {
        let all = app.api("GET", "/problems", None).json();
        let all = all["problems"].as_array().cloned().unwrap_or_default();
        let mut all: Vec<String> =
            all.iter().map(|p| format!("{} {}", p["code"], p["what"]).replace('"', "")).collect();
        all.sort();
        all.join("\n")
    };
    eventually(|| problems().lines().count() == 3);
    insta::assert_snapshot!(problems(), @r"
    E-FLOW-023 there is no flow `nowhere`
    E-FLOW-024 this call leads back here: a → b → a
    E-FLOW-024 this call leads back here: b → a → b
    ");
    // The last good versions stay.
    let run = app.ended(&app.post_to(&path, "{}").run());
    assert_eq!(run["status"], json!("succeeded"));
}
