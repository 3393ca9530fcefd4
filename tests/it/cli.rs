//! The command line on files alone and on a store without a server: exit codes, stdout and its JSON.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use millstream::journal::Journal;
use serde_json::Value;

use crate::app::{App, Remote, http};

const HELLO: &str = "\
trigger: { type: request }
steps:
  - id: greet
    response:
      body: { hello: '{{coalesce trigger.body.name \"world\"}}' }
";

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the command line writes UTF-8")
}

/// Fails as a command should: code 1, nothing that looks like an answer on stdout, these words on stderr.
fn refused(output: &Output, words: &[&str]) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(text(&output.stdout), "", "{said}");
    assert!(said.lines().any(|line| line.starts_with("error: ")), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

#[test]
fn check_succeeds_only_if_every_file_is_sound() {
    let app = App::idle(&[("flows/hello.yaml", HELLO)]);
    let sound = app.cli(&["check"]);
    assert!(sound.status.success());
    assert_eq!(text(&sound.stdout), "1 flow, 0 errors, 0 warnings\n");

    app.write("flows/broken.yaml", "trigger: { type: request }\nsteps:\n  - id: a\n    respnose: {}\n");
    let broken = app.cli(&["check"]);
    assert_eq!(broken.status.code(), Some(1));
    let said = text(&broken.stdout);
    assert!(said.contains("flows/broken.yaml:4:5") && said.contains("did you mean `response`?"), "{said}");
    assert!(said.ends_with("1 flow, 1 error, 0 warnings\n"), "{said}");

    let told = app.cli(&["check", "--json"]);
    assert_eq!(told.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["ok"], false);
    assert_eq!(told["flows"], serde_json::json!(["hello"]));
    assert_eq!(told["problems"].as_array().map(Vec::len), Some(1));
    assert!(!app.path(".millstream").exists(), "check works on files alone");
}

#[test]
fn a_project_folder_that_is_not_there_is_an_error() {
    let app = App::idle(&[]);
    let nowhere = app.path("nowhere");
    for command in ["check", "serve"] {
        let output = Command::new(env!("CARGO_BIN_EXE_millstream")).arg(command).arg("--dir").arg(&nowhere).output();
        refused(&output.unwrap(), &["nowhere", "cannot be opened"]);
    }
}

#[test]
fn eval_keeps_every_digit() {
    let app = App::idle(&[]);
    for number in ["9007199254740993", "1e400", "1E400", "0.1000000000000000055", "-0.0"] {
        let scope = app.path("scope.json");
        std::fs::write(&scope, format!(r#"{{"trigger": {{"body": {{"n": {number}}}}}}}"#)).unwrap();
        let scope = scope.to_str().unwrap();
        let whole = app.cli(&["eval", "{{trigger.body.n}}", "--with", scope, "--json"]);
        assert_eq!(text(&whole.stdout), format!("{number}\n"), "{}", text(&whole.stderr));
        let part = app.cli(&["eval", "n = {{trigger.body.N}}", "--with", scope]);
        assert_eq!(text(&part.stdout), format!("n = {number}\n"));
    }
}

#[test]
fn eval_says_what_is_wrong_with_a_template_and_with_its_data() {
    let app = App::idle(&[]);
    refused(&app.cli(&["eval", "{{toUper trigger.body.a}}"]), &["did you mean `toUpper`?"]);
    refused(&app.cli(&["eval", "{{required trigger.body.a}}"]), &["trigger.body.a"]);
    refused(&app.cli(&["eval", "{{vars.a}}", "--with", "no-such.json"]), &["no-such.json", "could not be read"]);
    assert_eq!(text(&app.cli(&["eval", "{{trigger.body.a}}", "--json"]).stdout), "null\n");
    assert_eq!(text(&app.cli(&["eval", "{{toUpper \"é\"}}", "--json"]).stdout), "\"É\"\n");
    assert_eq!(text(&app.cli(&["eval", "{{toUpper \"é\"}}"]).stdout), "É\n");
}

#[test]
fn functions_lists_a_row_for_each() {
    let app = App::idle(&[]);
    let told = app.cli_json(&["functions"]);
    let rows = told.as_array().unwrap();
    assert!(rows.len() >= 15, "{}", rows.len());
    for row in rows {
        for key in ["name", "family", "signature", "text", "example"] {
            assert!(row[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {row}");
        }
    }
    let found = app.cli_json(&["functions", "toUpper"]);
    assert!(found.as_array().unwrap().iter().any(|row| row["name"] == "toUpper"));
}

#[test]
fn a_dry_run_prints_each_call_and_sends_nothing() {
    // Given a flow that calls a remote twice, the second time after a delay.
    let remote = Remote::start();
    let flow = format!(
        "trigger: {{ type: request }}\nsteps:\n  - id: tell\n    action: http.request\n    with: {{ url: '{}', json: \
         {{ who: '{{{{trigger.body.name}}}}' }} }}\n  - id: wait\n    delay: 2h\n  - id: again\n    action: \
         http.request\n    with: {{ method: PUT, url: '{}', body: done }}\n",
        remote.url("/first"),
        remote.url("/second"),
    );
    let app = App::idle(&[("flows/tell.yaml", &flow), ("body.json", r#"{"name": "O'Brien & Sons"}"#)]);
    let body = app.path("body.json");

    // When it is rehearsed.
    let told = app.cli_json(&["run", "tell", "--body", body.to_str().unwrap(), "--dry-run"]);

    // Then both calls are shown, rendered, and nothing was sent or stored.
    let shown: Vec<_> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|call| (&call["step"], &call["action"], &call["request"]["method"], &call["request"]["url"]))
        .map(|(step, action, method, url)| format!("{step} {action} {method} {url}").replace('"', ""))
        .collect();
    let (first, second) = (remote.url("/first"), remote.url("/second"));
    assert_eq!(shown, [format!("tell http.request POST {first}"), format!("again http.request PUT {second}")]);
    assert_eq!(told[0]["request"]["body"]["who"], "O'Brien & Sons");
    assert!(remote.seen().is_empty());
    assert!(!app.path(".millstream").exists());
}

#[test]
fn url_show_works_without_a_server_and_says_who_cannot_reach_it() {
    let app = App::idle(&[("flows/hello.yaml", HELLO)]);
    let first = app.cli(&["url", "show", "hello", "--json"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let told: Value = serde_json::from_slice(&first.stdout).unwrap();
    let keys: Vec<&String> = told.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["flow", "url"]);
    assert_eq!(told["flow"], "hello");
    assert!(told["url"].as_str().unwrap().starts_with("http://127.0.0.1:8080/hooks/hello/"), "{told}");
    assert!(text(&first.stderr).contains("callers outside cannot use this URL"), "{}", text(&first.stderr));
    assert_eq!(app.cli_json(&["url", "show", "hello"]), told, "it is the same each time");
}

#[test]
fn an_unknown_flow_is_an_error_that_names_it() {
    let app = App::idle(&[("flows/hello.yaml", HELLO)]);
    refused(&app.cli(&["url", "show", "helo"]), &["`helo`"]);
    refused(&app.cli(&["run", "helo"]), &["helo"]);
    refused(&app.cli(&["run", "helo", "--dry-run"]), &["`helo`"]);
    refused(&app.cli(&["runs", "show", "helo"]), &["helo"]);
    refused(&app.cli(&["send", "hello", "--sample", "marketplace"]), &["no server runs", "millstream serve"]);
}

#[test]
fn a_held_store_without_a_server_is_an_error_that_says_who_holds_it() {
    let app = App::idle(&[("flows/hello.yaml", HELLO)]);
    assert!(app.cli(&["url", "show", "hello"]).status.success());
    let held = Journal::open(&app.path(".millstream")).unwrap();
    let pid = std::process::id().to_string();
    refused(&app.cli(&["runs", "list"]), &["no server answers", "another Millstream process", &pid, "--data"]);
    drop(held);
}

#[test]
fn run_carries_a_flow_through_without_a_server_and_its_run_is_kept() {
    let app = App::idle(&[("flows/hello.yaml", HELLO), ("body.json", r#"{"name": "Ann"}"#)]);
    let body = app.path("body.json");
    let told = app.cli_json(&["run", "hello", "--body", body.to_str().unwrap()]);
    assert_eq!(told["status"], "succeeded");
    assert_eq!(told["response"]["body"]["hello"], "Ann");
    let kept = app.cli_json(&["runs", "list", "--flow", "hello"]);
    assert_eq!(kept[0]["run_id"], told["run_id"]);
    assert_eq!((&kept[0]["flow"], &kept[0]["status"]), (&"hello".into(), &"succeeded".into()));
}

#[test]
fn the_binary_completes_itself() {
    let app = App::idle(&[]);
    for shell in ["bash", "zsh", "fish"] {
        let output = app.cli(&["completions", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("millstream"), "{shell}");
    }
}

/// Every folder under `examples/` is a project folder whose files have no errors.
#[test]
fn every_example_is_sound() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let folders = std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let mut checked = 0;
    for folder in folders {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        let output = command.args(["check", "--dir"]).arg(&folder).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}:\n{}", folder.display(), text(&output.stdout));
        checked += 1;
    }
    assert!(checked >= 2);
}

#[test]
fn the_example_respond_answers_while_the_caller_waits() {
    let flow = crate::app::repository("examples/respond/flows/new_lead.yaml");
    let app = App::with(&[("flows/new_lead.yaml", &flow)]);
    let hook = app.hook("new_lead");
    let good = app.post_to(&hook, r#"{"name": " Ann ", "email": "ANN@example.com"}"#);
    assert_eq!(good.status, 201, "{}", good.text);
    assert_eq!(good.header("location"), Some(format!("/leads/{}", good.run()).as_str()));
    assert_eq!(good.json()["message"], "Thank you, Ann: we write to ann@example.com.");
    assert_eq!(good.json()["company"], "(private person)");

    let bad = app.post_to(&hook, r#"{"name": "Ann", "email": " "}"#);
    assert_eq!((bad.status, &bad.json()["given"]["name"]), (422, &"Ann".into()), "{}", bad.text);

    let form = [("content-type", "application/x-www-form-urlencoded")];
    let posted = http(app.public, "POST", &hook, &form, b"name=Bo&email=bo%40example.com&company=Bo+Ltd").unwrap();
    assert_eq!((posted.status, &posted.json()["company"]), (201, &"Bo Ltd".into()), "{}", posted.text);
}
