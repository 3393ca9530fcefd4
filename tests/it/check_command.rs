//! `millstream check` as a command: its forms, and how it goes on while files change.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use crate::app::App;

const GOOD: &str = "trigger: {type: request}\nsteps:\n  - id: a\n    set: {x: 1}\n";
const WRONG: &str = "trigger: {type: request}\nsteps:\n  - id: a\n    sett: {x: 1}\n";
const DOUBTFUL: &str = "\
trigger: {type: request, schema: {type: object, properties: {n: {type: number}}}}
steps:
  - id: a
    set: {x: '{{add trigger.body.n 1}}'}
";

fn said(app: &App, args: &[&str]) -> (Option<i32>, String) {
    let output = app.cli(args);
    (output.status.code(), String::from_utf8(output.stdout).expect("it is text"))
}

#[test]
fn problems_are_told_to_github_as_commands_that_mark_the_place() {
    let app = App::idle(&[("flows/wrong.yaml", WRONG), ("flows/doubtful.yaml", DOUBTFUL)]);

    let mut command = app.command();
    command.args(["check", "--format", "github"]).env("GITHUB_WORKSPACE", app.path("flows"));
    let output = command.output().unwrap();

    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    insta::assert_snapshot!(text, @r"
    ::warning file=doubtful.yaml,line=4,col=21,endColumn=21,title=W-MAP-013 a template that may not work::`trigger.body.n` may be missing or null, and `add` refuses null%0Agive it another value there: `(default trigger.body.n 0)`
    ::error file=wrong.yaml,line=4,col=5,endColumn=8,title=E-FLOW-006 a step has exactly one kind::this step has no kind; `sett` is none%0Adid you mean `set`?
    1 flow, 1 error, 1 warning
    ");
}

#[test]
fn json_is_one_document_by_either_name() {
    let app = App::idle(&[("flows/wrong.yaml", WRONG)]);
    let (code, by_format) = said(&app, &["check", "--format", "json"]);
    assert_eq!(code, Some(1));
    let told: Value = serde_json::from_str(&by_format).unwrap();
    assert_eq!(told["problems"][0]["code"], "E-FLOW-006");
    assert_eq!(said(&app, &["check", "--json"]), (Some(1), by_format));
}

#[test]
fn warnings_fail_the_check_only_where_it_is_strict() {
    let app = App::idle(&[("flows/doubtful.yaml", DOUBTFUL)]);
    let (code, text) = said(&app, &["check"]);
    assert_eq!(code, Some(0));
    assert!(text.ends_with("1 flow, 0 errors, 1 warning\n"), "{text}");
    assert_eq!(said(&app, &["check", "--strict"]), (Some(1), text));
}

/// A running `check --watch`, and its lines.
struct Watching {
    child: Child,
    lines: Receiver<String>,
}

impl Watching {
    fn start(app: &App) -> Watching {
        let mut child = app.command().args(["check", "--watch"]).stdout(Stdio::piped()).spawn().expect("it starts");
        let (send, lines) = channel();
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Watching { child, lines }
    }

    /// The lines up to the next summary.
    fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(20)).expect("it tells of the change");
            let ends = line.ends_with("warnings") || line.ends_with("warning");
            told.push(line);
            if ends {
                return told;
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn while_it_watches_only_what_changed_is_told() {
    let app = App::idle(&[("flows/good.yaml", GOOD), ("flows/doubtful.yaml", DOUBTFUL)]);
    let watching = Watching::start(&app);
    assert_eq!(watching.told().last().unwrap(), "2 flows, 0 errors, 1 warning");

    // A problem that only moves is not told again; the next thing that is told is what follows.
    app.write("flows/doubtful.yaml", &format!("# Moved.\n{DOUBTFUL}"));
    app.write("flows/good.yaml", WRONG);

    let told = watching.told();
    assert!(told[0].starts_with("flows/good.yaml:4:5  E-FLOW-006"), "{told:?}");
    assert!(!told.iter().any(|line| line.contains("W-MAP-013")), "{told:?}");
    assert_eq!(told.last().unwrap(), "1 flow, 1 error, 1 warning");

    app.write("flows/good.yaml", GOOD);

    let told = watching.told();
    assert!(told[0].starts_with("gone: flows/good.yaml:4:5  E-FLOW-006  "), "{told:?}");
    assert_eq!(told[1..], ["2 flows, 0 errors, 1 warning"]);
}
