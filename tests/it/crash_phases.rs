//! One run, killed at a named place: exactly what is promised for that place. Needs the feature `crash-points`;
//! `tests/crash` builds with it.

use std::collections::BTreeSet;

use serde_json::json;

use crate::app::{App, Remote, eventually, http};

const FLOW: &str = "trigger: {type: request}\nsteps:\n  - id: call\n    action: http.request\n    with: {method: POST, url: URL, \
                    json: {}}\n    retry: {attempts: 3, delay: 20ms}\n";

/// Posts once to a server that is to die at a place; then the same folder without that.
fn killed_at(place: &str) -> (App, Remote, bool) {
    let remote = Remote::start();
    let mut app = App::with(&[("flows/lead.yaml", &FLOW.replace("URL", &remote.url("/")))]);
    let hook = app.hook("lead");
    app.kill();
    app.env = vec![("MILLSTREAM_CRASH", place.to_owned())];
    app.start();
    let answer = http(app.public, "POST", &hook, &[("content-type", "application/json")], b"{}");
    eventually(|| app.has_ended().is_some());
    app.kill();
    app.env.clear();
    app.start();
    (app, remote, answer.is_ok_and(|answer| answer.status == 202))
}

#[test]
fn each_phase_of_a_call_comes_to_what_is_promised() {
    // Place; whether the caller had its 202, if that is certain; runs; calls.
    let phases = [
        ("accept.append.before:1", Some(false), 0, 0),
        ("journal.append.before:1", Some(false), 0, 0),
        ("journal.sync.after:1", Some(false), 1, 1),
        ("accept.append.after:1", Some(false), 1, 1),
        ("server.accepted.before:1", Some(false), 1, 1),
        ("outbound.call.before:1", None, 1, 1),
        ("outbound.call.after:1", None, 1, 2),
        ("drive.append.before:1", None, 1, 2),
        ("drive.append.after:1", None, 1, 1),
    ];
    for (place, acknowledged, runs, calls) in phases {
        let (app, remote, was) = killed_at(place);
        assert!(acknowledged.is_none_or(|acknowledged| acknowledged == was), "{place}: acknowledged {was}");
        let found = app.runs("flow=lead");
        assert_eq!(found.len(), runs, "{place}");
        for run in &found {
            let told = app.ended(run["run_id"].as_str().unwrap_or_default());
            assert_eq!(told["status"], json!("succeeded"), "{place}: {told}");
        }
        // The call may be on its way when another thread of the process dies.
        let seen = remote.seen();
        let most = if place.starts_with("server.") { calls + 1 } else { calls };
        assert!((calls..=most).contains(&seen.len()), "{place}: {} calls", seen.len());
        let keys: BTreeSet<_> = seen.iter().filter_map(|seen| seen.header("idempotency-key")).collect();
        assert_eq!(keys.len(), calls.min(1), "{place}: {keys:?}");
    }
}

#[test]
fn a_run_that_brings_the_process_down_is_held_and_others_go_on() {
    let remote = Remote::start();
    let other = "trigger: {type: request}\nsteps: [{id: keep, set: {a: 1}}]\n";
    let flow = FLOW.replace("URL", &remote.url("/"));
    let mut app = App::with(&[("flows/lead.yaml", &flow), ("flows/other.yaml", other)]);
    let (lead, other) = (app.hook("lead"), app.hook("other"));
    app.kill();
    app.env = vec![("MILLSTREAM_CRASH", "outbound.call.before:1".to_owned())];
    app.start();
    let json = [("content-type", "application/json")];
    let _ = http(app.public, "POST", &lead, &json, b"{}");
    let bearer = format!("Bearer {}", app.token());
    let mut starts = 1;
    let held = loop {
        let mut held = json!([]);
        eventually(|| {
            let listed = http(app.admin, "GET", "/api/v1/runs?status=held", &[("authorization", bearer.as_str())], b"");
            held = listed.map_or(json!([]), |answer| answer.json()["runs"].clone());
            held[0].is_object() || app.has_ended().is_some()
        });
        if app.has_ended().is_none() {
            break held[0].clone();
        }
        app.kill();
        // It may go down before it has said that it is up.
        app.launch();
        app.is_up();
        starts += 1;
        assert!(starts < 8, "it goes down again and again");
    };
    assert_eq!((held["flow"].clone(), starts), (json!("lead"), 4), "{held}");
    let run = app.post_to(&other, "{}").run();
    assert_eq!(app.ended(&run)["status"], json!("succeeded"));
    assert!(remote.seen().is_empty());
}
