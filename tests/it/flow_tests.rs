//! `millstream test`, `runs record` and `runs show --why`, through the command line and the API.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use millstream::catalog::Catalog;
use millstream::config::Config;
use millstream::rehearse;
use serde_json::{Value, json};

use crate::app::{App, Remote, repository};

const LEAD: &str = r#"
trigger:
  type: request
  schema: { type: object, required: [email], properties: { email: { type: string }, name: { type: string } } }
steps:
  - id: tidy
    set: { email: "{{toLower (trim trigger.body.email)}}" }
  - id: create_lead
    action: http.request
    with: { method: POST, url: "http://127.0.0.1:9/leads", json: { firstname: "{{trigger.body.name}}", email: "{{vars.email}}" } }
  - id: known
    if: "{{greater steps.create_lead.output.body.id 5}}"
    then:
      - id: tell
        action: slack.post_message
        connection: slack
        with: { channel: leads, text: "New: {{vars.email}}" }
    else:
      - id: quiet
        set: { told: false }
"#;
const SLACK: &str = "slack: {connector: slack, credentials: {bot_token: {secret: NOT_THERE}}}\n";

fn program(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.arg("--dir").arg(dir).args(args).stdin(Stdio::null()).output().expect("the program starts")
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", words(&output.stderr)))
}

/// A folder with the lead's flow and this test file.
fn folder(test: &str) -> App {
    let app = App::idle(&[("flows/lead.yaml", LEAD), ("connections.yaml", SLACK)]);
    app.write("tests/lead.test.yaml", test);
    app
}

/// What `millstream test` says, and whether all passed.
fn tested(app: &App, args: &[&str]) -> (bool, String) {
    let output = app.cli(&[&["test"], args].concat());
    (output.status.success(), words(&output.stdout) + &words(&output.stderr))
}

#[test]
fn every_flow_of_this_repository_has_tests_that_reach_all_of_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let examples = fs::read_dir(root.join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let mut projects: Vec<PathBuf> = examples.filter(|path| path.join("flows").is_dir()).collect();
    projects.push(root.to_owned());
    assert!(projects.len() > 15, "{projects:?}");
    for project in projects {
        let told = parsed(&program(&project, &["test", "--coverage", "--json"]));
        let failed: Vec<&Value> =
            told["cases"].as_array().unwrap().iter().filter(|case| case["passed"] == false).collect();
        assert_eq!(told["ok"], true, "{}: {failed:#?} {}", project.display(), told["problems"]);
        for (flow, covered) in told["coverage"].as_object().unwrap() {
            assert_eq!(covered["not_reached"], json!([]), "{}: {flow}", project.display());
        }
    }
}

#[test]
fn a_case_that_fails_says_what_was_expected_and_what_came_and_where() {
    let app = folder(
        r#"
flow: lead
mocks: { create_lead: { status: 201, body: { id: 4 } }, tell: { output: { channel: leads, ts: "1" } } }
cases:
  - name: right
    request: { body: { email: " Ann@Example.com", name: Ann } }
    expect: { status: succeeded, steps: { create_lead: { input: { json: { email: ann@example.com } } }, known: { branch: else } } }
  - name: wrong
    request: { body: { email: " Ann@Example.com", name: Ann } }
    expect:
      status: failed
      response: { status: 201 }
      order: [known, create_lead]
      vars: { email: Ann@example.com, told: false }
      steps:
        create_lead: { attempts: 2, input: { json: { firstname: Ada } } }
        tell: succeeded
"#,
    );
    let (passed, said) = tested(&app, &[]);
    assert!(!passed && said.contains("ok    lead  right") && said.contains("1 passed, 1 failed"), "{said}");
    for line in [
        "FAIL  lead  wrong",
        "tests/lead.test.yaml:11:7  expect.status\n        expected failed, got succeeded",
        "expect.response.status\n        expected 201, got 202",
        "expect.vars.email\n        expected \"Ann@example.com\", got \"ann@example.com\"",
        "expect.steps.create_lead.input.json.firstname\n        expected \"Ada\", got \"Ann\"",
        "tests/lead.test.yaml:16:24  expect.steps.create_lead.attempts\n        expected 2, got 1",
        "expect.steps.tell.status\n        expected succeeded, got not_reached",
        "`create_lead` begins earlier than this list has it; the order was tidy, create_lead, known, quiet",
    ] {
        assert!(said.contains(line), "{line}\n-- in\n{said}");
    }
    // As a document, and only what is asked for.
    let told = parsed(&app.cli(&["test", "RIGHT", "--json"]));
    assert_eq!((&told["ok"], told["cases"].as_array().unwrap().len()), (&json!(true), 1), "{told}");
    let (passed, said) = tested(&app, &["nothing has this"]);
    assert!(!passed && said.contains("no case has `nothing has this`"), "{said}");
}

#[test]
fn nothing_is_sent_and_no_secret_is_read_and_a_call_without_a_mock_says_which() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/leads", listener.local_addr().unwrap());
    let app = folder(
        r#"
flow: lead
cases:
  - name: mocked
    request: { body: { email: a@b.c } }
    mocks: { create_lead: { status: 201, body: { id: 9 } }, tell: { status: 200, body: { ok: true, channel: C, ts: "1" } } }
    expect: { status: succeeded, steps: { tell: { output: { ts: "1" } } } }
  - name: not mocked
    request: { body: { email: a@b.c } }
    mocks: { create_lead: { status: 201, body: { id: 9 } } }
    expect: { status: succeeded }
"#,
    );
    app.write("flows/lead.yaml", &LEAD.replace("http://127.0.0.1:9/leads", &url));
    let (passed, said) = tested(&app, &[]);
    assert!(!passed && said.contains("ok    lead  mocked"), "{said}");
    assert!(
        said.contains("step `tell` of flow `lead` calls slack.post_message, and the case has no mock for it"),
        "{said}"
    );
    assert!(said.contains("`tell: { output: {\"channel\":"), "{said}");
    let nobody = listener.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock, "nothing came");
    assert!(!app.path(".millstream").exists(), "no data folder is made");
}

#[test]
fn a_wrong_test_file_says_what_is_wrong_with_it_all_at_once() {
    let app = folder(
        r#"
flow: lead
nwo: 2026-01-05T09:00:00Z
cases:
  - name: one
    reqest: { body: {} }
    mocks:
      create_laed: { output: {} }
      tidy: { output: {} }
      tell: { output: {}, status: 200 }
      create_lead: { error: { class: sometimes } }
    resume: { tell: { body: 1 } }
    expect: { status: done, took: soon, steps: { tell: suceeded, create_lead: { inputs: {} } } }
  - name: one
    tick: 2026-01-05T09:00:00Z
    expect: { status: succeeded }
  - request: { body_file: nowhere.json }
    expect: {}
  - name: nothing
    request: { body: {} }
"#,
    );
    let (passed, said) = tested(&app, &[]);
    assert!(!passed, "{said}");
    for line in [
        "tests/lead.test.yaml:3:1  E-FLOW-003  unknown key",
        "tests/lead.test.yaml:6:5  E-FLOW-003  unknown key",
        "did you mean `request`?",
        "flow `lead` has no step `create_laed`",
        "did you mean `create_lead`?",
        "step `tidy` makes no call, so nothing can be mocked",
        "a mock has exactly one of `output`, `status` (an HTTP answer) and `error`",
        "`sometimes` is no class of failures",
        "step `tell` does not wait for a POST",
        "`done` is no status",
        "`soon` is not a length of time",
        "`suceeded` is no status of a step",
        "did you mean `succeeded`?",
        "`inputs` means nothing here",
        "flow `lead` has no schedule, so it has no ticks",
        "the case has no name",
        "`nowhere.json`: No such file",
        "the case expects nothing, so it could not fail",
    ] {
        assert!(said.contains(line), "{line}\n-- in\n{said}");
    }
    app.write("tests/lead.test.yaml", "flow: leda\ncases: [{name: x, expect: {status: succeeded}}]\n");
    let (_, said) = tested(&app, &[]);
    assert!(said.contains("E-FLOW-023") && said.contains("did you mean `lead`?"), "{said}");
    app.write("tests/lead.test.yaml", "flow: lead\ncases: [{name: x, expect: {status: {{x}}}}]\n");
    assert!(tested(&app, &[]).1.contains("E-FLOW-013"));
}

const SNAPSHOT: &str = r#"
flow: lead
mocks: { create_lead: { status: 201, body: { id: 4 } } }
cases:
  - name: all of it!
    request: { body: { email: a@b.c, name: Ann } }
    snapshot: true
"#;

#[test]
fn a_snapshot_is_written_when_asked_for_and_compared_from_then_on() {
    let app = folder(SNAPSHOT);
    let file = app.path("tests/__snapshots__/lead/all_of_it_.json");
    let (passed, said) = tested(&app, &[]);
    assert!(!passed && said.contains("`millstream test --bless` writes it") && !file.exists(), "{said}");
    let (passed, said) = tested(&app, &["--bless"]);
    assert!(passed && said.contains("snapshot written"), "{said}");
    let kept = fs::read_to_string(&file).unwrap();
    assert!(kept.contains("\"firstname\": \"Ann\"") && kept.contains("2026-01-01T00:00:00Z"), "{kept}");
    let (passed, said) = tested(&app, &[]);
    assert!(passed && !said.contains("snapshot written"), "each play gives the same: {said}");

    app.write("flows/lead.yaml", &LEAD.replace("firstname:", "first_name:"));
    let (passed, said) = tested(&app, &[]);
    assert!(!passed, "{said}");
    assert!(said.contains("\"firstname\": \"Ann\"") && said.contains("+ "), "{said}");
    assert!(said.lines().any(|line| line.trim_start().starts_with('-') && line.contains("\"firstname\"")), "{said}");
    assert!(said.lines().any(|line| line.trim_start().starts_with('+') && line.contains("\"first_name\"")), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), kept, "without --bless nothing is written");
}

#[test]
fn junit_and_coverage_tell_the_same_for_machines_and_people() {
    let app = folder(
        r#"
flow: lead
mocks: { create_lead: { status: 201, body: { id: 4 } } }
cases:
  - { name: "good <&>", request: { body: { email: a@b.c } }, expect: { status: succeeded } }
  - { name: bad, request: { body: { email: a@b.c } }, expect: { status: failed } }
"#,
    );
    let report = app.path("report.xml");
    let output = app.cli(&["test", "--coverage", "--junit", report.to_str().unwrap()]);
    let said = words(&output.stdout);
    let row = said.lines().find(|line| line.starts_with("lead")).unwrap();
    let row: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(row, ["lead", "4/5", "1/2", "known:", "then,", "tell"], "{said}");
    let xml = fs::read_to_string(report).unwrap();
    assert!(
        xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"2\" failures=\"1\""),
        "{xml}"
    );
    assert!(
        xml.contains("<testcase name=\"good &lt;&amp;&gt;\" classname=\"lead\" file=\"tests/lead.test.yaml\""),
        "{xml}"
    );
    assert!(xml.contains("<failure message=\"expected failed, got succeeded\">tests/lead.test.yaml:6:"), "{xml}");
}

#[test]
fn hours_of_waiting_pass_at_once_and_by_the_minute() {
    let app = App::idle(&[(
        "flows/slow.yaml",
        "trigger: {type: manual}\nsteps:\n  - id: pause\n    delay: 3d\n  - id: call\n    action: http.request\n    with: {url: \"http://127.0.0.1:9/\"}\n    timeout: 10s\n    retry: {attempts: 3, delay: 1h, backoff: fixed}\n  - id: when\n    set: {at: \"{{utcNow}}\"}\n",
    )]);
    app.write(
        "tests/slow.test.yaml",
        r#"
flow: slow
now: 2026-02-27T12:00:00Z
cases:
  - name: over the end of the month
    mocks: { call: [{ status: 503 }, { status: 200, delay: 11s }, { status: 200, delay: 5s }] }
    expect:
      status: succeeded
      took: 74h 15s
      steps: { call: { attempts: 3 } }
      vars: { at: "2026-03-02T14:00:15.0000000Z" }
  - name: a list of mocks that is too short
    mocks: { call: [{ status: 503 }] }
    expect: { status: succeeded }
"#,
    );
    let (_, said) = tested(&app, &[]);
    assert!(said.contains("ok    slow  over the end of the month"), "{said}");
    assert!(said.contains("step `call` makes call number 2, and its list of mocks has 1"), "{said}");
}

#[test]
fn a_real_run_becomes_a_case_that_passes_and_holds_no_secret() {
    let remote = Remote::start();
    let flow = r#"
trigger: { type: request }
steps:
  - id: ask
    action: http.request
    with: { method: POST, url: "URL/ask", json: { name: "{{trigger.body.name}}", note: "key {{trigger.body.api_key}}", answer_at: "{{run.resume_urls.yes}}" } }
    retry: { attempts: 3, delay: 1ms, backoff: fixed }
  - id: yes
    wait: { timeout: 1h }
  - id: each
    foreach: "{{trigger.body.items}}"
    do:
      - id: keep
        action: http.request
        with: { method: POST, url: "URL/keep", json: { n: "{{item.n}}", by: "{{steps.yes.output.body.by}}" } }
"#;
    let app = App::with(&[("flows/lead.yaml", &flow.replace("URL", &remote.url("")))]);
    remote.answers([503, 200, 200, 200]);
    let body =
        json!({"name": "Ann {{x}}", "api_key": "s3cr3t-k3y", "items": [{"n": 1}, {"n": 2}], "lines": "a\n b: c\n"});
    let run = app.post("lead", &body).run();
    let waiting = app.run_when(&run, &["waiting"]);
    let mut url = String::new();
    crate::app::eventually(|| {
        let told = app.run(&run);
        let step = told["steps"].as_array().unwrap().iter().find(|step| step["id"] == "yes").cloned();
        url = step.and_then(|step| step["resume_url"].as_str().map(str::to_owned)).unwrap_or_default();
        !url.is_empty()
    });
    let path = url[url.find("/hooks/").unwrap()..].to_owned();
    assert_eq!(app.post_to(&path, r#"{"by": "Bob"}"#).status, 202, "{waiting}");
    assert_eq!(app.ended(&run)["status"], "succeeded");

    let output = app.cli(&["runs", "record", &run, "--to", app.path("tests/real.test.yaml").to_str().unwrap()]);
    let said = words(&output.stderr);
    assert!(output.status.success() && said.contains("the case passes with the flow as it is now"), "{said}");
    let text = fs::read_to_string(app.path("tests/real.test.yaml")).unwrap();
    assert!(!text.contains("s3cr3t-k3y") && !text.contains("/hooks/"), "{text}");
    assert!(
        text.contains("api_key: \"(hidden)\"") && text.contains("note: key \"") || text.contains("key (hidden)"),
        "{text}"
    );
    let (passed, said) = tested(&app, &[]);
    assert!(passed && said.contains("1 passed, 0 failed"), "{said}\n{text}");
    // It is a test: a change of the flow shows.
    app.write("flows/lead.yaml", &flow.replace("URL", &remote.url("")).replace("{{item.n}}", "{{index}}"));
    let (passed, said) = tested(&app, &[]);
    assert!(!passed && said.contains("expect.steps.keep.0.input.json.n"), "{said}");
    // What is there is not written over.
    let again = app.cli(&["runs", "record", &run, "--to", app.path("tests/real.test.yaml").to_str().unwrap()]);
    assert!(!again.status.success());
}

#[test]
fn the_history_says_which_steps_the_flow_mocks() {
    let flow = "trigger: {type: request}\nsteps:\n  - id: call\n    action: http.request\n    with: {url: \"http://127.0.0.1:9/\"}\n    mock: {output: {status: 200, headers: {}, body: {id: 7}}}\n  - id: other\n    set: {id: \"{{steps.call.output.body.id}}\"}\n";
    let app = App::with(&[("flows/lead.yaml", flow)]);
    let run = app.post("lead", &json!({})).run();
    let told = app.ended(&run);
    assert_eq!((&told["steps"][0]["mocked"], told["steps"][1].get("mocked")), (&json!(true), None), "{told}");
    let shown = words(&app.cli(&["runs", "show", &run]).stdout);
    let line = shown.lines().find(|line| line.contains("call  succeeded")).unwrap();
    assert!(line.ends_with("mocked"), "{shown}");
    let why = words(&app.cli(&["runs", "show", &run, "--why", "other.id"]).stdout);
    assert!(why.contains("the flow mocks the step"), "{why}");
}

#[test]
fn a_value_is_traced_through_its_expressions_to_what_came_in() {
    let remote = Remote::start();
    let flow = r#"
trigger: { type: request }
steps:
  - id: tidy
    set: { first: "{{trim trigger.body.name}}" }
  - id: each
    foreach: "{{trigger.body.items}}"
    do:
      - id: create_lead
        action: http.request
        with:
          method: POST
          url: URL/leads
          json: { record: { firstname: "{{vars.first}}", n: "{{item.n}}", fixed: 7 } }
    collect: { id: "{{steps.create_lead.output.status}}", n: "{{loops.each.item.n}}" }
  - id: hidden
    set: { other: "{{trigger.body.name}}" }
    secure: [inputs, outputs]
  - id: last
    action: http.request
    with: { method: POST, url: URL/last, json: { lines: "Dear\n{{vars.first}}", sum: "{{length steps.each.output}} of {{steps.each.output.[1].id}}", last: "{{steps.each.output.[1].n}}" } }
"#;
    let app = App::with(&[("flows/lead.yaml", &flow.replace("URL", &remote.url("")))]);
    let run = app.post("lead", &json!({"name": " Ada ", "items": [{"n": 1}, {"n": 2}]})).run();
    assert_eq!(app.ended(&run)["status"], "succeeded", "{}", app.run(&run));
    let why = |asked: &str| app.cli_json(&["runs", "show", &run, "--why", asked]);

    let told = why("create_lead[0].json.record.firstname");
    assert_eq!((&told["is"], &told["expression"]), (&json!("Ada"), &json!("{{vars.first}}")), "{told:#}");
    assert_eq!((&told["file"], &told["line"]), (&json!("flows/lead.yaml"), &json!(14)), "{told:#}");
    let set = &told["from"][0];
    assert_eq!(
        (&set["path"], &set["is"], &set["expression"]),
        (&json!("vars.first"), &json!("Ada"), &json!("{{trim trigger.body.name}}"))
    );
    let came = &set["from"][0];
    assert_eq!((&came["path"], &came["is"]), (&json!("trigger.body.name"), &json!(" Ada ")), "{told:#}");
    assert_eq!(came["because"], "it came in with the request's body");

    // The last execution unless another is asked for, and the item it had.
    let n = why("create_lead.json.record.n");
    assert_eq!(
        (&n["is"], &n["from"][0]["is"], &n["from"][0]["from"][0]["is"]),
        (&json!(2), &json!(2), &json!(2)),
        "{n:#}"
    );
    assert_eq!(n["from"][0]["from"][0]["path"], "trigger.body.items.1.n");
    assert_eq!(why("create_lead.json.record.fixed")["because"], "it stands so in the flow's file");
    let last = why("last.json.last");
    assert_eq!((&last["is"], &last["from"][0]["expression"]), (&json!(2), &json!("{{loops.each.item.n}}")), "{last:#}");
    let answered = why("create_lead.output.status");
    assert_eq!(
        (&answered["is"], &answered["because"]),
        (&json!(200), &json!("http.request answered it to step `create_lead`"))
    );
    let hidden = why("hidden.output.other");
    assert_eq!((&hidden["is"], &hidden["from"][0]["is"]), (&json!("(secure)"), &json!("(secure)")), "{hidden:#}");

    let same = app.api("GET", &format!("/runs/{run}/why?value=create_lead[0].json.record.firstname"), None).json();
    assert_eq!(same, told);
    let shown = words(&app.cli(&["runs", "show", &run, "--why", "create_lead.json.record.firstname"]).stdout);
    assert_eq!(
        shown,
        "create_lead.json.record.firstname = \"Ada\"\n  through {{vars.first}}  (flows/lead.yaml:14)\n  from vars.first = \"Ada\"\n    through {{trim trigger.body.name}}  (flows/lead.yaml:5)\n    from trigger.body.name = \" Ada \"\n      it came in with the request's body\n"
    );
    for (asked, said) in
        [("create_laed.x", "did you mean `create_lead`?"), ("create_lead[9].x", "ran 2 times"), ("[", "names no value")]
    {
        let output = app.cli(&["runs", "show", &run, "--why", asked]);
        assert!(!output.status.success() && words(&output.stderr).contains(said), "{asked}: {}", words(&output.stderr));
    }
}

#[test]
fn a_damaged_test_file_is_told_of_or_played_and_never_breaks_what_reads_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut wrong, mut failed, mut passed) = (0, 0, 0);
    for project in ["child-flow", "approval-by-link", "page-through-an-api", "dynamics365", "nightly-digest"] {
        let dir = root.join("examples").join(project);
        let snapshot = Catalog::load(&dir, None, &Config::default()).current();
        for file in rehearse::find(&dir) {
            let text = fs::read_to_string(dir.join(&file)).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            for at in 0..lines.len() {
                let less = |line: &str| line.strip_prefix("  ").unwrap_or(line).to_owned();
                let swapped =
                    |line: &str| line.replace(['[', '{'], "\u{1}").replace([']', '}'], "").replace('\u{1}', "- ");
                let changes: [&dyn Fn(&str) -> String; 3] = [&|_| String::new(), &less, &swapped];
                for change in changes {
                    let mut damaged: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
                    damaged[at] = change(lines[at]);
                    let told = rehearse::run_text(&snapshot, &file, &damaged.join("\n"));
                    wrong += usize::from(!told.problems.is_empty());
                    failed += told.verdicts.iter().filter(|verdict| !verdict.passed).count();
                    passed += told.verdicts.iter().filter(|verdict| verdict.passed).count();
                }
            }
        }
    }
    assert!(wrong > 100 && failed > 30 && passed > 100, "{wrong} {failed} {passed}");
}

#[test]
fn the_reference_has_every_key_of_a_test_file() {
    let page = repository("docs/reference/test-files.md");
    for (place, keys) in millstream::rehearse::KEYS {
        let heading = page.split("\n## ").find(|part| part.contains(&format!("<!-- {place} -->")));
        let part = heading.unwrap_or_else(|| panic!("no part for `{place}`"));
        for key in *keys {
            assert!(part.contains(&format!("| `{key}`")), "{place}: `{key}` is not told");
        }
    }
}
