//! Flows that start by themselves, over restarts and under load.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::app::{App, Remote, Reply, eventually};

/// A flow that remembers its tick.
fn beat(trigger: &str) -> String {
    format!("trigger: {trigger}\nsteps:\n  - id: keep\n    set: {{at: \"{{{{trigger.body.scheduled_at}}}}\"}}\n")
}

/// The times of the ticks that have runs, ms, oldest first.
fn ticks(app: &App) -> Vec<i64> {
    let runs = app.runs("flow=beat&limit=1000");
    let time = |run: &Value| {
        let body = &app.run(run["run_id"].as_str().unwrap())["trigger"]["body"];
        body["scheduled_at"].as_str().unwrap_or_else(|| panic!("{body}")).parse::<Timestamp>().unwrap().as_millisecond()
    };
    let mut ticks: Vec<i64> = runs.iter().map(time).collect();
    ticks.sort();
    ticks
}

/// Waits until the newest tick that has a run is later than this time.
fn ticks_past(app: &App, time: i64) -> Vec<i64> {
    let mut found = Vec::new();
    eventually(|| {
        found = ticks(app);
        found.last().is_some_and(|last| *last > time)
    });
    found
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// What lies between neighbours, s.
fn steps(ticks: &[i64]) -> Vec<i64> {
    ticks.windows(2).map(|pair| (pair[1] - pair[0]) / 1000).collect()
}

/// Killed while at work, down for more than three seconds, and at work again for more than two.
fn interrupted(trigger: &str) -> (App, Vec<i64>) {
    let mut app = App::with(&[("flows/beat.yaml", &beat(trigger))]);
    let begun = now();
    ticks_past(&app, begun + 2_000);
    app.kill();
    let down = now();
    eventually(|| now() - down > 3_500);
    app.start();
    let ticks = ticks_past(&app, now() + 2_000);
    (app, ticks)
}

#[test]
fn each_tick_is_one_run_that_knows_its_time() {
    let app = App::with(&[("flows/beat.yaml", &beat("{type: schedule, every: 1s, timezone: Asia/Kathmandu}"))]);
    let found = ticks_past(&app, now() + 3_000);
    assert!(found.len() >= 3, "{found:?}");
    assert!(found.iter().all(|tick| tick % 1000 == 0), "{found:?}");
    assert!(steps(&found).iter().all(|step| *step == 1), "{found:?}");
    let newest = app.runs("flow=beat")[0]["run_id"].as_str().unwrap().to_owned();
    let run = app.ended(&newest);
    let body = &run["trigger"]["body"];
    let time = |key: &str| body[key].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(body["local"].as_str().unwrap().ends_with("+05:45"), "{body}");
    assert_eq!(time("local"), time("scheduled_at"));
    assert_eq!(time("scheduled_at").as_second() - time("previous").as_second(), 1);
    assert_eq!(run["status"], "succeeded");
    assert_eq!(run["steps"][0]["output"]["at"], body["scheduled_at"]);
}

#[test]
fn a_restart_neither_loses_nor_doubles_a_tick_that_is_to_be_caught_up() {
    let (app, found) = interrupted("{type: schedule, every: 1s, missed: catch_up}");
    assert!(steps(&found).iter().all(|step| *step == 1), "{:?}", steps(&found));
    assert!(!app.log().contains("passed over"));
}

#[test]
fn without_catching_up_only_the_newest_missed_tick_runs() {
    let (app, found) = interrupted("{type: schedule, every: 1s}");
    let gaps: Vec<i64> = steps(&found).into_iter().filter(|step| *step != 1).collect();
    assert!(gaps.len() == 1 && gaps[0] >= 3, "{:?}", steps(&found));
    assert!(app.log().contains("missed runs are passed over"), "{}", app.log());
}

#[test]
fn no_tick_is_lost_while_all_slots_are_taken() {
    let remote = Remote::start();
    remote.answers([Reply { after: Duration::from_secs(4), ..Reply::from(200) }]);
    let flow = format!(
        "trigger: {{type: schedule, every: 1s}}\nsteps:\n  - id: call\n    action: http.request\n    with: {{method: POST, url: \"{}\"}}\n",
        remote.url("/")
    );
    let config = "outbound: {allow: [127.0.0.0/8]}\nlimits: {runs: 1, queued_runs: 1}\n";
    let mut app = App::idle(&[("flows/beat.yaml", &flow), ("millstream.yaml", config)]);
    app.start();
    let found = ticks_past(&app, now() + 6_000);
    assert!(steps(&found).iter().all(|step| *step == 1), "{:?}", steps(&found));
    assert!(app.log().contains("a scheduled run waits until it is let in"));
}

#[test]
fn an_edit_takes_effect_at_once_and_a_pause_too() {
    let next = |app: &App| app.api("GET", "/flows", None).json()["flows"][0]["next_run_at"].clone();
    let app = App::with(&[("flows/beat.yaml", &beat("{type: schedule, cron: \"0 0 1 1 *\"}"))]);
    let shown = app.api("GET", "/flows", None).json()["flows"][0].clone();
    assert_eq!(shown["trigger"], "schedule");
    assert!(shown["next_run_at"].as_str().unwrap().ends_with("-01-01T00:00:00Z"), "{shown}");
    app.write("flows/beat.yaml", &beat("{type: schedule, every: 1s, missed: catch_up}"));
    let begun = now();
    let found = ticks_past(&app, begun);
    // From now, not from the year's beginning.
    assert!(found[0] > begun - 2_000, "{found:?}");
    app.write("flows/beat.yaml", &format!("enabled: false\n{}", beat("{type: schedule, every: 1s}")));
    eventually(|| next(&app).is_null());
}

#[test]
fn a_scheduled_flow_can_be_started_by_hand_and_has_no_url() {
    let app = App::with(&[("flows/beat.yaml", &beat("{type: schedule, cron: \"@yearly\", timezone: Europe/Berlin}"))]);
    let run = app.cli_json(&["run", "beat"]);
    assert_eq!(run["status"], "succeeded");
    assert!(run["trigger"]["body"]["previous"].as_str().unwrap().ends_with("-12-31T23:00:00Z"), "{run}");
    let refused = app.api("POST", "/flows/beat/runs", Some(&json!({"body": {"at": 1}})));
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(app.runs("flow=beat").len(), 1);
    let none = app.api("GET", "/flows/beat/url", None);
    assert_eq!((none.status, none.json()["code"].as_str()), (404, Some("no_url")), "{none:?}");
    assert!(none.text.contains("its trigger is `schedule`"), "{none:?}");
    assert!(app.cli(&["run", "beat", "--dry-run"]).status.success());
}

/// Looks at, or changes, how far the stopped server's journal says that the flow's schedule has come.
fn kept(app: &App, change: impl FnOnce(Option<Value>) -> Option<Value>) {
    let work = async {
        let journal = millstream::journal::Journal::open(&app.path(".millstream")).unwrap();
        let before = journal.setting("schedule/beat").unwrap().map(|kept| serde_json::from_slice(&kept).unwrap());
        if let Some(after) = change(before) {
            journal.set("schedule/beat", Some(after.to_string().into_bytes())).await.unwrap();
        }
        journal.close().await;
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

fn set_back(app: &App, to: i64) {
    kept(app, |before| {
        let mut kept = before.expect("it is kept how far the schedule has come");
        assert!(kept["handled"].as_i64().unwrap() > to, "{kept}");
        kept["handled"] = json!(to);
        Some(kept)
    });
}

#[test]
fn a_tick_whose_run_is_stored_already_starts_no_other() {
    let mut app = App::with(&[("flows/beat.yaml", &beat("{type: schedule, every: 1s, missed: catch_up}"))]);
    let before = ticks_past(&app, now() + 2_000);
    let second = app.runs("flow=beat").iter().rev().nth(1).unwrap()["run_id"].as_str().unwrap().to_owned();
    let history = app.ended(&second);
    app.terminate();
    set_back(&app, before[0]);
    app.start();
    let found = ticks_past(&app, now());
    assert_eq!(app.run(&second), history);
    assert!(steps(&found).iter().all(|step| *step == 1), "{:?}", steps(&found));
    assert_eq!(found[0], before[0]);
}

#[test]
fn after_a_long_time_the_newest_thousand_ticks_are_caught_up() {
    let mut app = App::with(&[("flows/beat.yaml", &beat("{type: schedule, every: 10m, missed: catch_up}"))]);
    app.terminate();
    let away = 1_500 * 600_000;
    set_back(&app, now() - away);
    app.start();
    eventually(|| app.runs("flow=beat&limit=1000&status=succeeded").len() == 1_000);
    assert!(app.log().contains("missed runs are passed over: 50"), "{}", app.log());
    let first = app.runs("flow=beat&limit=1000")[999].clone();
    let first = app.run(first["run_id"].as_str().unwrap())["trigger"]["body"]["scheduled_at"].clone();
    let first = first.as_str().unwrap().parse::<Timestamp>().unwrap().as_millisecond();
    assert!((now() - first - 1_000 * 600_000).abs() <= 600_000, "{first}");
}

#[test]
fn a_broken_file_keeps_the_schedule_going_and_a_flow_that_is_gone_is_forgotten() {
    let mut app = App::with(&[("flows/beat.yaml", &beat("{type: schedule, every: 1s}"))]);
    app.write("flows/beat.yaml", &beat("{type: schedule}"));
    eventually(|| app.api("GET", "/flows", None).json()["flows"][0]["has_problems"] == true);
    let found = ticks_past(&app, now() + 1_000);
    assert!(steps(&found).iter().all(|step| *step == 1), "{:?}", steps(&found));
    std::fs::remove_file(app.path("flows/beat.yaml")).unwrap();
    eventually(|| app.log().contains("how far the schedule had come is forgotten"));
    app.terminate();
    kept(&app, |before| {
        assert_eq!(before, None);
        None
    });
}
