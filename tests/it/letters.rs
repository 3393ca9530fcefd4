//! Dead letters: resubmitting one run and many, from a step, over interruptions; handling them.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::app::{App, Remote, Reply, eventually, told};

/// Two calls; the second is not tried again.
fn orders(remote: &Remote) -> String {
    format!(
        r#"
trigger: {{type: request}}
steps:
  - id: customer
    action: http.request
    with: {{method: POST, url: "{0}", json: {{n: "{{{{trigger.body.n}}}}"}}}}
  - id: kept
    set: {{name: "{{{{steps.customer.output.body.ok}}}}"}}
  - id: book
    action: http.request
    with: {{method: POST, url: "{1}", json: {{n: "{{{{trigger.body.n}}}}", kept: "{{{{vars.name}}}}"}}}}
    retry: none
"#,
        remote.url("/customer"),
        remote.url("/book")
    )
}

/// One call that is not tried again.
fn one_call(remote: &Remote) -> String {
    let url = remote.url("/call");
    format!(
        "trigger: {{type: request}}\nsteps:\n  - id: call\n    action: http.request\n    with: {{method: POST, url: \"{url}\", json: {{n: \"{{{{trigger.body.n}}}}\"}}}}\n    retry: none\n"
    )
}

fn paths(remote: &Remote) -> Vec<String> {
    remote.seen().iter().map(|seen| seen.path.clone()).collect()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs of the flow `notify`, all of which fail.
fn failed_runs(app: &App, remote: &Remote, count: usize) -> Vec<String> {
    remote.answers(std::iter::repeat_n(400, count));
    let runs: Vec<String> = (0..count).map(|n| app.post("notify", &json!({"n": n})).run()).collect();
    runs.iter().for_each(|run| assert_eq!(app.ended(run)["status"], "failed"));
    runs
}

#[test]
fn a_failed_run_goes_on_from_the_failed_step_with_its_key_and_without_repeating_what_succeeded() {
    let remote = Remote::start();
    let app = App::with(&[("flows/orders.yaml", &orders(&remote))]);
    remote.answers([200, 400]);
    let failed = app.post("orders", &json!({"n": 1})).run();
    assert_eq!(app.ended(&failed)["status"], "failed");

    let again = app.cli_json(&["runs", "resubmit", &failed, "--from-step", "failed"]);
    let again = again["run_id"].as_str().unwrap().to_owned();
    let told_again = app.ended(&again);
    assert_eq!(told(&told_again), "customer succeeded\nkept succeeded\nbook #1 succeeded\nsucceeded");
    assert_eq!((&told_again["origin"], &told_again["from_step"]), (&json!(failed), &json!("book")));
    assert_eq!(told_again["steps"][0]["taken_over"], json!(true));
    assert_eq!(paths(&remote), ["/customer", "/book", "/book"]);
    let seen = remote.seen();
    assert_eq!(seen[1].header("idempotency-key"), seen[2].header("idempotency-key"));
    assert_eq!(seen[2].body, r#"{"n":1,"kept":true}"#);

    let origin = app.run(&failed);
    assert_eq!(origin["handled"]["resubmitted_as"], json!(again));
    let shown = words(&app.cli(&["runs", "show", &again]).stdout);
    assert!(shown.contains("from step book on") && shown.contains("customer  succeeded  0 ms  taken over"), "{shown}");
}

#[test]
fn a_run_from_a_step_survives_a_kill_and_new_keys_are_new() {
    let remote = Remote::start();
    let mut app = App::with(&[("flows/orders.yaml", &orders(&remote))]);
    remote.answers([200, 400]);
    let failed = app.post("orders", &json!({"n": 1})).run();
    app.ended(&failed);
    remote.answers([Reply { after: std::time::Duration::from_secs(20), ..Reply::from(200) }]);
    let asked = json!({"from_step": "book", "new_keys": true});
    let again = app.api("POST", &format!("/runs/{failed}/resubmit"), Some(&asked)).run();
    eventually(|| remote.seen().len() == 3);
    app.kill();
    app.start();
    assert_eq!(app.ended(&again)["status"], "succeeded");
    let seen = remote.seen();
    assert_eq!(paths(&remote), ["/customer", "/book", "/book", "/book"]);
    assert_ne!(seen[1].header("idempotency-key"), seen[2].header("idempotency-key"));
    assert_eq!(seen[2].header("idempotency-key"), seen[3].header("idempotency-key"));
}

#[test]
fn the_old_version_is_that_of_the_run_and_the_new_one_must_have_the_step() {
    let remote = Remote::start();
    let old = orders(&remote);
    let app = App::with(&[("flows/orders.yaml", &old)]);
    remote.answers([200, 400]);
    let failed = app.post("orders", &json!({"n": 1})).run();
    let definition = app.ended(&failed)["definition"].clone();
    app.write("flows/orders.yaml", &old.replace("id: book", "id: order"));
    eventually(|| app.api("GET", "/flows", None).json()["flows"][0]["definition"] != definition);

    let refused = app.api("POST", &format!("/runs/{failed}/resubmit"), Some(&json!({"from_step": "failed"})));
    assert_eq!(refused.status, 409);
    assert!(refused.json()["detail"].as_str().unwrap().contains("step `book` failed"), "{refused:?}");
    let tried = app.cli_json(&["runs", "resubmit", &failed, "--from-step", "failed", "--version", "old", "--dry-run"]);
    assert_eq!((&tried["done"][0]["from_step"], &tried["done"][0]["run_id"]), (&json!("book"), &json!(failed)));
    let again = app.cli_json(&["runs", "resubmit", &failed, "--from-step", "failed", "--version", "old"]);
    let again = app.ended(again["run_id"].as_str().unwrap());
    assert_eq!((&again["status"], &again["definition"]), (&json!("succeeded"), &definition));
}

#[test]
fn many_runs_are_resubmitted_by_filter_each_once_however_often_it_is_said() {
    let remote = Remote::start();
    let app = App::with(&[("flows/notify.yaml", &one_call(&remote))]);
    let failed = failed_runs(&app, &remote, 5);
    let by_hand = app.post("notify", &json!({"n": 9})).run();
    app.ended(&by_hand);

    let asks = app.cli(&["runs", "resubmit", "--flow", "notify"]);
    assert_eq!(asks.status.code(), Some(1));
    assert!(words(&asks.stderr).contains("5 runs fit") && words(&asks.stderr).contains("--yes"), "{asks:?}");
    let dry = app.cli_json(&["runs", "resubmit", "--flow", "notify", "--dry-run"]);
    let listed: Vec<&str> = dry["done"].as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap()).collect();
    assert_eq!(listed, failed, "the oldest first");
    assert_eq!(app.runs("flow=notify").len(), 6, "a dry run begins nothing");

    let first = app.cli_json(&["runs", "resubmit", "--flow", "notify", "--reason", "400", "--limit", "2", "--yes"]);
    assert_eq!(first["done"].as_array().map(Vec::len), Some(2), "{first}");
    assert_eq!(first["done"][0]["run_id"], json!(failed[0]));
    let rest = app.cli(&["runs", "resubmit", "--flow", "notify", "--yes"]);
    assert!(rest.status.success());
    assert_eq!((words(&rest.stdout).lines().count(), words(&rest.stderr)), (3, "3 resubmitted\n".to_owned()));
    let none = app.cli(&["runs", "resubmit", "--flow", "notify", "--yes"]);
    assert!(none.status.success() && words(&none.stderr).contains("no run fits"), "{none:?}");
    let origins: Vec<Value> = app.runs("flow=notify&limit=1000").iter().map(|run| run["origin"].clone()).collect();
    let named: BTreeSet<String> = origins.iter().filter_map(|origin| origin.as_str().map(str::to_owned)).collect();
    assert_eq!((named, origins.len()), (failed.iter().cloned().collect(), 11));

    let once_more = app.cli(&["runs", "resubmit", &failed[0]]);
    assert!(once_more.status.success());
    assert_eq!(words(&once_more.stdout).trim(), first["done"][0]["resubmitted_as"].as_str().unwrap());
    assert_eq!(app.api("POST", &format!("/runs/{}/resubmit", failed[0]), None).status, 409);
    assert!(app.cli(&["runs", "resubmit", &failed[0], "--again"]).status.success());
    assert_eq!(app.runs("flow=notify&limit=1000").len(), 12);
}

#[test]
fn a_resubmission_that_is_killed_again_and_again_resubmits_each_run_exactly_once() {
    let remote = Remote::start();
    let mut app = App::with(&[("flows/notify.yaml", &one_call(&remote))]);
    let failed = failed_runs(&app, &remote, 40);
    let repeats = |app: &App| app.runs("flow=notify&limit=1000").iter().filter(|run| !run["origin"].is_null()).count();
    for round in 1..=4 {
        let mut command = app.command();
        command.args(["runs", "resubmit", "--status", "failed", "--yes"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        eventually(|| repeats(&app) >= round * 8);
        // In turn the one who asks and the one who is asked, wherever they are.
        if round % 2 == 0 {
            app.kill();
            app.start();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let last = app.cli(&["runs", "resubmit", "--status", "failed", "--yes"]);
    assert!(last.status.success(), "{last:?}");
    let runs = app.runs("flow=notify&limit=1000");
    let origins: Vec<&str> = runs.iter().filter_map(|run| run["origin"].as_str()).collect();
    let named: BTreeSet<&str> = origins.iter().copied().collect();
    assert_eq!((origins.len(), named), (40, failed.iter().map(String::as_str).collect()));
    assert!(app.runs("unhandled=true&limit=1000").is_empty());
}

#[test]
fn what_is_handled_is_not_listed_as_unhandled_also_without_a_server() {
    let remote = Remote::start();
    let mut app = App::with(&[("flows/notify.yaml", &one_call(&remote)), ("flows/strict.yaml", STRICT)]);
    let failed = failed_runs(&app, &remote, 2);
    let rejected = app.post("strict", &json!({})).run();
    let well = app.post("notify", &json!({"n": 9})).run();
    app.ended(&well);
    let unhandled = |app: &App| {
        let runs = app.cli_json(&["runs", "list", "--unhandled"]);
        runs.as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(unhandled(&app), [rejected.clone(), failed[1].clone(), failed[0].clone()]);
    assert!(app.cli(&["runs", "handle", &failed[0], "--note", "told the customer"]).status.success());
    assert_eq!(app.run(&failed[0])["handled"]["note"], json!("told the customer"));
    app.terminate();
    assert_eq!(unhandled(&app), [rejected.clone(), failed[1].clone()]);
    let rest = app.cli(&["runs", "handle", "--since", "1h", "--yes"]);
    assert!(rest.status.success() && words(&rest.stderr).contains("2 handled"), "{rest:?}");
    assert!(unhandled(&app).is_empty());
    app.start();
    assert_eq!(app.run(&rejected)["status"], json!("rejected"));
    assert!(app.run(&rejected)["handled"]["at"].is_string());
    assert_eq!(app.run(&failed[0])["steps"][0]["status"], json!("failed"), "the history is whole");
}

const STRICT: &str = "trigger: {type: request, schema: {type: object, required: [a]}}\nsteps: []\n";

/// Calls without a credential that it needs.
const HELD: &str = "trigger: {type: request}\nsteps:\n  - {id: kept, set: {a: 1}}\n  - {id: call, action: http.request, connection: crm, with: {url: /x}}\n";

#[test]
fn a_held_run_is_resumed_unless_somebody_gives_it_up() {
    let remote = Remote::start();
    let crm = format!(
        "crm:\n  connector: http\n  settings: {{base_url: \"{}\"}}\n  credentials: {{token: {{secret: CRM}}}}\n",
        remote.url("")
    );
    let app = App::with(&[("flows/held.yaml", HELD), ("connections.yaml", &crm)]);
    let runs: Vec<String> = (0..3).map(|n| app.post("held", &json!({"n": n})).run()).collect();
    runs.iter().for_each(|run| drop(app.run_when(run, &["held"])));
    let refused = app.cli(&["runs", "resubmit", "--status", "held", "--yes"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused.stderr).contains("--cancel-held") && words(&refused.stderr).contains("3 refused"));
    let given_up = app.cli_json(&["runs", "resubmit", &runs[0], "--cancel-held", "--from-step", "failed"]);
    let again = given_up["run_id"].as_str().unwrap();
    assert_eq!(app.run_when(again, &["held"])["from_step"], json!("call"));
    let origin = app.run(&runs[0]);
    assert_eq!((&origin["status"], &origin["handled"]["resubmitted_as"]), (&json!("cancelled"), &json!(again)));
    assert!(app.cli(&["runs", "handle", &runs[1], "--cancel-held"]).status.success());
    assert_eq!(app.run(&runs[1])["status"], json!("cancelled"));

    let mut set = app.command();
    let mut set = set.args(["secret", "set", "CRM"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut set.stdin.take().unwrap(), b"token").unwrap();
    assert!(set.wait().unwrap().success());
    let resumed = app.cli(&["runs", "resume", "--flow", "held", "--yes"]);
    assert!(resumed.status.success() && words(&resumed.stderr).contains("2 resumed"), "{resumed:?}");
    assert_eq!(app.ended(&runs[2])["status"], json!("succeeded"));
    assert_eq!(app.ended(again)["status"], json!("succeeded"));
}

#[test]
fn a_called_run_is_resubmitted_with_its_caller_and_not_by_itself() {
    let remote = Remote::start();
    let parent =
        "trigger: {type: request}\nsteps:\n  - {id: ask, call: notify, with: {n: 1}, retry: none}\n".to_owned();
    let app = App::with(&[("flows/notify.yaml", &one_call(&remote)), ("flows/parent.yaml", &parent)]);
    remote.answers([400]);
    let run = app.post("parent", &json!({})).run();
    assert_eq!(app.ended(&run)["status"], "failed");
    assert_eq!(app.runs("flow=notify")[0]["parent"], json!(run));
    let done = app.cli_json(&["runs", "resubmit", "--status", "failed", "--yes"]);
    assert_eq!(done["done"].as_array().map(Vec::len), Some(1), "{done}");
    assert_eq!(done["done"][0]["run_id"], json!(run));
    assert_eq!(app.ended(done["done"][0]["resubmitted_as"].as_str().unwrap())["status"], "succeeded");
    let keys: BTreeSet<_> =
        remote.seen().iter().map(|seen| seen.header("idempotency-key").map(str::to_owned)).collect();
    assert_eq!((remote.seen().len(), keys.len()), (2, 1));
}
