//! kill -9 in the middle of every kind of step: each run comes to what it would have come to, and no call has two keys.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::app::{App, Remote, eventually};

const KILLS: u64 = 12;
const RUNS: usize = 5;

const PARENT: &str = r#"
trigger: {type: request}
timeout: 1h
steps:
  - id: each
    foreach: "{{trigger.body.items}}"
    concurrency: 2
    do:
      - {id: send, action: http.request, with: {method: POST, url: "REMOTE", json: {run: "{{run.id}}", at: "each {{item}}"}}, retry: RETRY}
      - {id: rest, delay: 60ms}
      - {id: own, set: {seen: "{{steps.send.output.status}}"}}
    collect: "{{item}}:{{vars.seen}}"
  - id: both
    parallel:
      left:
        - {id: nap, delay: 120ms}
        - {id: one, action: http.request, with: {method: POST, url: "REMOTE", json: {run: "{{run.id}}", at: left}}, retry: RETRY}
      right:
        - {id: two, action: http.request, with: {method: POST, url: "REMOTE", json: {run: "{{run.id}}", at: right}}, retry: RETRY}
        - {id: far, delay_until: "2000-01-01T00:00:00Z"}
  - id: try
    scope:
      - {id: breaks, action: http.request, with: {url: "REMOTE"}, mock: {error: {code: x.no, message: "no"}}}
    catch:
      - {id: mend, action: http.request, with: {method: POST, url: "REMOTE", json: {run: "{{run.id}}", at: "{{steps.try.error.code}}"}}, retry: RETRY}
    finally:
      - {id: last, delay: 40ms}
  - id: poll
    until: "{{greaterOrEquals index 2}}"
    do:
      - {id: ask, action: http.request, with: {method: POST, url: "REMOTE", json: {run: "{{run.id}}", at: "poll {{index}}"}}, retry: RETRY}
      - {id: pause, delay: 30ms}
  - id: child
    call: child
    with: {of: "{{run.id}}"}
  - id: approval
    wait: 1h
  - id: route
    switch: "{{steps.approval.output.body.say}}"
    cases:
      yes: [{id: took, set: {way: "yes"}}]
  - id: all
    set:
      all: ["{{steps.each.output}}", "{{steps.one.output.status}}", "{{steps.two.output.status}}", "{{steps.try.status}}",
        "{{steps.poll.output.iterations}}", "{{steps.child.output.body}}", "{{vars.way}}"]
"#;

const CHILD: &str = r#"
trigger: {type: request}
steps:
  - {id: send, action: http.request, with: {method: POST, url: "REMOTE", json: {run: "{{trigger.body.of}}", at: child}}, retry: RETRY}
  - {id: rest, delay: 80ms}
  - {id: answer, response: {body: done}}
"#;

#[test]
fn every_kind_of_step_goes_on_after_kills() {
    let remote = Remote::start();
    let text = |flow: &str| {
        let retry = "{attempts: 9, backoff: fixed, delay: 20ms}";
        flow.replace("REMOTE", &remote.url("/steps")).replace("RETRY", retry)
    };
    let mut app = App::with(&[("flows/parent.yaml", &text(PARENT)), ("flows/child.yaml", &text(CHILD))]);
    let runs: Vec<String> = (0..RUNS).map(|_| app.post("parent", &json!({"items": [1, 2, 3, 4]})).run()).collect();
    let mut answered = BTreeSet::new();
    for kill in 0..KILLS {
        // Not the same moment each time; what it does in it depends on the machine, and must not matter.
        let until = Instant::now() + Duration::from_millis(40 + 37 * (kill % 5));
        while Instant::now() < until {
            answer(&app, &runs, &mut answered);
        }
        app.kill();
        app.start();
        release(&app, &runs);
    }
    let ended = |run: &String| app.run(run)["status"] == json!("succeeded");
    eventually(|| {
        answer(&app, &runs, &mut answered);
        release(&app, &runs);
        runs.iter().all(ended)
    });
    let expected = json!([["1:200", "2:200", "3:200", "4:200"], 200, 200, "succeeded", 3, "done", "yes"]);
    for run in &runs {
        let told = app.run(run);
        let last = told["steps"].as_array().and_then(|steps| steps.last()).cloned().unwrap_or_default();
        assert_eq!(last["output"]["all"], expected, "{told}");
    }
    assert_eq!(app.runs("flow=child").len(), RUNS, "each child began once");
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for seen in remote.seen() {
        keys.entry(seen.body.clone())
            .or_default()
            .insert(seen.header("idempotency-key").unwrap_or_default().to_owned());
    }
    assert_eq!(keys.len(), RUNS * (4 + 2 + 1 + 3 + 1), "{keys:?}");
    assert!(keys.values().all(|keys| keys.len() == 1), "a call was made with two keys: {keys:?}");
}

/// Answers each run that has come to its wait; and some before.
fn answer(app: &App, runs: &[String], answered: &mut BTreeSet<String>) {
    for run in runs {
        let told = app.run(run);
        let steps = told["steps"].as_array().cloned().unwrap_or_default();
        let url = steps.iter().find_map(|step| step["resume_url"].as_str().map(str::to_owned));
        if let Some(path) = url.and_then(|url| Some(format!("/hooks/{}", url.split_once("/hooks/")?.1)))
            && !answered.contains(run)
            && app.post_to(&path, r#"{"say": "yes"}"#).status == 202
        {
            answered.insert(run.clone());
        }
    }
}

/// A run that was at work in three crashes in a row waits for a person: that is a promise too.
fn release(app: &App, runs: &[String]) {
    for run in runs.iter().cloned().chain(app.runs("flow=child").iter().map(id)) {
        if app.run(&run)["status"] == json!("held") {
            app.api("POST", &format!("/runs/{run}/resume"), None);
        }
    }
}

fn id(run: &Value) -> String {
    run["run_id"].as_str().unwrap_or_default().to_owned()
}
