//! The clock is set three days on, and back, under a running server: no timer is early by it, none fires twice, and nothing storms.
//! The clock is libfaketime's (package faketime), which leaves the monotonic clock alone, as setting the time does.

use serde_json::{Value, json};

use crate::app::{App, Remote, eventually};

/// The newest that was missed, and those whose minute comes while this test runs.
const TICKS: usize = 4;

fn set(app: &App, clock: &str) {
    app.write("clock", clock);
}

fn start(app: &mut App) {
    let libraries = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|machine| format!("/usr/lib/{machine}/faketime/libfaketimeMT.so.1"));
    let library = libraries.into_iter().find(|path| std::path::Path::new(path).exists());
    set(app, "+0");
    let mut command = app.command();
    command.env("LD_PRELOAD", library.expect("libfaketime of the package faketime, which tests/run installs"));
    command.env("FAKETIME_TIMESTAMP_FILE", app.path("clock"));
    command.envs([("FAKETIME_NO_CACHE", "1"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]);
    app.start_by(command);
}

fn count(app: &App, query: &str) -> usize {
    app.runs(&format!("{query}&limit=1000")).len()
}

#[test]
fn a_clock_that_jumps_makes_no_timer_early_and_no_storm() {
    let remote = Remote::start();
    let call = |retry: &str| {
        format!(
            "trigger: {{type: request}}\nsteps:\n  - id: call\n    action: http.request\n    with: {{method: POST, url: \
             \"{}\"}}\n    retry: {retry}\n",
            remote.url("/")
        )
    };
    let mut app = App::idle(&[
        ("flows/nap.yaml", "trigger: {type: request}\nsteps:\n  - {id: nap, delay: \"{{trigger.body.nap}}\"}\n"),
        ("flows/retry.yaml", &call("{attempts: 3, backoff: fixed, delay: 1h}")),
        ("flows/beat.yaml", "trigger: {type: schedule, every: 1m}\nsteps:\n  - {id: note, set: {seen: true}}\n"),
    ]);
    start(&mut app);
    let nap = |nap: &str| app.post("nap", &json!({"nap": nap})).run();
    let status = |run: &str| app.run(run)["status"].clone();
    let (days, hours) = (nap("96h"), nap("1h"));
    remote.answers([503, 503]);
    let retried = app.post("retry", &Value::Null).run();
    // Its hour counts from when the answer is there.
    eventually(|| status(&retried) == "waiting");

    // Three days on, what was due in that time is done, once; of 4,320 ticks only the newest counts.
    set(&app, "+3d");
    assert_eq!(app.ended(&hours)["status"], "succeeded");
    eventually(|| remote.seen().len() == 2);
    eventually(|| count(&app, "flow=beat") > 0);
    // What is not due yet waits, also the attempt after this one: a new run proves that the clock was looked at since.
    let soon = nap("1s");
    assert_eq!(app.ended(&soon)["status"], "succeeded");
    assert_eq!((status(&days), status(&retried)), (json!("waiting"), json!("waiting")));
    assert_eq!(remote.seen().len(), 2);
    assert!(count(&app, "flow=beat") <= TICKS);

    // Six days back nothing is due again, and what begins now keeps its time.
    set(&app, "-3d");
    let soon = nap("1s");
    assert_eq!(app.ended(&soon)["status"], "succeeded");
    assert_eq!((status(&days), status(&retried)), (json!("waiting"), json!("waiting")));
    assert_eq!(remote.seen().len(), 2);
    assert!(count(&app, "flow=beat") <= TICKS);

    // A restart there changes nothing of it.
    app.kill();
    let mut command = app.command();
    command.env("MILLSTREAM_LOG", "warn");
    app.start_by(command);
    assert_eq!(app.run(&days)["status"], "waiting");
    assert_eq!(remote.seen().len(), 2);
    assert!(count(&app, "flow=beat") <= TICKS);
    assert_eq!(app.runs("status=failed"), [] as [Value; 0]);
}
