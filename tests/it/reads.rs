//! Reads that fail once, or for a while: no run that was acknowledged is left behind for it.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::fs;
use std::os::unix::fs::FileExt as _;

use serde_json::json;

use crate::app::{App, eventually};

/// Flips a bit of the body that holds `mark`, in place: its record cannot be read until it is flipped again.
fn flip(app: &App, mark: &str) {
    let path = app.path(".millstream/store/0000000001.log");
    let bytes = fs::read(&path).unwrap();
    let flipped = [mark.as_bytes()[0] ^ 1];
    let at = bytes.windows(mark.len()).position(|window| {
        window[1..] == mark.as_bytes()[1..] && (window[0] == mark.as_bytes()[0] || window[0] == flipped[0])
    });
    let at = at.unwrap_or_else(|| panic!("{mark} is not in the log"));
    let byte = [bytes[at] ^ 1];
    fs::File::options().write(true).open(&path).unwrap().write_all_at(&byte, at as u64).unwrap();
}

const UNREAD: &str = "it is tried again";

#[test]
fn a_run_that_cannot_be_read_when_its_time_comes_goes_on_once_it_can() {
    let app = App::with(&[("flows/rest.yaml", "trigger: {type: request}\nsteps:\n  - {id: rest, delay: 2s}\n")]);
    let run = app.post("rest", &json!({"n": "mark-of-this-run"})).run();
    app.run_when(&run, &["waiting"]);
    flip(&app, "mark-of-this-run");
    eventually(|| app.log().contains(UNREAD));
    flip(&app, "mark-of-this-run");
    assert_eq!(app.ended(&run)["status"], "succeeded");
}

#[test]
fn an_order_for_a_run_that_cannot_be_read_takes_effect_once_it_can() {
    let app = App::with(&[("flows/rest.yaml", "trigger: {type: request}\nsteps:\n  - {id: rest, delay: 1h}\n")]);
    let run = app.post("rest", &json!({"n": "mark-of-this-run"})).run();
    app.run_when(&run, &["waiting"]);
    flip(&app, "mark-of-this-run");
    std::thread::scope(|scope| {
        let order = scope.spawn(|| app.api("POST", &format!("/runs/{run}/cancel"), None).status);
        eventually(|| app.log().contains(UNREAD));
        flip(&app, "mark-of-this-run");
        assert_eq!(order.join().unwrap(), 200);
    });
    assert_eq!(app.ended(&run)["status"], "cancelled");
}

#[test]
fn a_caller_that_cannot_be_read_when_the_run_it_waits_for_ends_is_told_once_it_can() {
    let parent = "trigger: {type: request}\nsteps:\n  - {id: ask, call: child, with: {n: mark-of-the-child}}\n";
    let child = "trigger: {type: manual, inputs: {n: {type: string}}}\nsteps:\n  - {id: rest, delay: 2s}\n";
    let app = App::with(&[("flows/parent.yaml", parent), ("flows/child.yaml", child)]);
    let run = app.post("parent", &json!({"n": "mark-of-the-parent"})).run();
    app.run_when(&run, &["waiting"]);
    flip(&app, "mark-of-the-parent");
    eventually(|| app.log().contains(UNREAD));
    flip(&app, "mark-of-the-parent");
    assert_eq!(app.ended(&run)["status"], "succeeded");
}

#[test]
fn runs_that_cannot_be_read_at_a_start_go_on_once_they_can() {
    let mut app = App::with(&[("flows/rest.yaml", "trigger: {type: request}\nsteps:\n  - {id: rest, delay: 1s}\n")]);
    let run = app.post("rest", &json!({"n": "mark-of-this-run"})).run();
    app.run_when(&run, &["waiting"]);
    // In order, so that the start has no need of the log.
    assert!(app.terminate().success());
    flip(&app, "mark-of-this-run");
    app.start();
    eventually(|| app.log().contains(UNREAD));
    flip(&app, "mark-of-this-run");
    assert_eq!(app.ended(&run)["status"], "succeeded");
}
