//! Old runs go, as `millstream.yaml` says; what waits for a person stays.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::app::{App, Remote, Reply, eventually};

const WELL: &str = "trigger: {type: request}\nsteps:\n  - {id: a, set: {x: \"{{trigger.body.n}}\"}}\n";
const BAD: &str = "trigger: {type: request}\nsteps:\n  - {id: stop, terminate: failed}\n";
const WAITS: &str = "trigger: {type: request}\nsteps:\n  - {id: rest, delay: 1h}\n";

fn config(rules: &str) -> String {
    format!("outbound: {{allow: [127.0.0.0/8]}}\nretention: {rules}\n")
}

fn with(rules: &str) -> App {
    let config = config(rules);
    let flows = [("flows/well.yaml", WELL), ("flows/bad.yaml", BAD), ("flows/waits.yaml", WAITS)];
    App::with(&[&[("millstream.yaml", config.as_str())], &flows[..]].concat())
}

#[test]
fn only_the_newest_runs_that_went_well_are_kept_and_failed_and_open_ones_all_are() {
    let mut app = with("{succeeded: {count: 10}, sweep: 1s}");
    let (well, bad, waits) = (app.hook("well"), app.hook("bad"), app.hook("waits"));
    let mut newest = Vec::new();
    for n in 0..60 {
        newest.push(app.post_to(&well, &json!({"n": n}).to_string()).run());
        if n < 15 {
            app.post_to(&bad, "{}");
            app.post_to(&waits, "{}");
        }
    }
    let count = |app: &App, query: &str| app.runs(&format!("{query}&limit=1000")).len();
    eventually(|| count(&app, "flow=well&status=succeeded") == 10);
    eventually(|| app.metric("millstream_runs_removed_total") == 50);
    let kept: Vec<String> =
        app.runs("flow=well").iter().rev().map(|run| run["run_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kept, newest[50..], "the oldest go");
    assert_eq!((count(&app, "status=failed"), count(&app, "status=waiting")), (15, 15));
    assert_eq!(app.api("GET", &format!("/runs/{}", newest[0]), None).status, 404);

    app.kill();
    app.start();
    let well = app.hook("well");
    (0..5).for_each(|n| drop(app.post_to(&well, &json!({"n": n}).to_string())));
    eventually(|| app.metric("millstream_runs_removed_total") == 5);
    assert_eq!((count(&app, "flow=well"), count(&app, "status=failed")), (10, 15));
    assert_eq!(app.metric("millstream_runs_kept{status=\"succeeded\"}"), 10);
}

#[test]
fn what_is_too_large_together_goes_from_the_oldest_on() {
    let app = with("{succeeded: {bytes: 200KB}, sweep: 1s}");
    let well = app.hook("well");
    let body = json!({"n": 1, "much": "x".repeat(20_000)}).to_string();
    (0..30).for_each(|_| drop(app.post_to(&well, &body)));
    eventually(|| app.metric("millstream_runs_removed_total") > 15);
    eventually(|| (8..=10).contains(&app.runs("flow=well").len()));
}

#[test]
fn what_was_handled_goes_at_its_age_and_what_was_not_stays() {
    let app = with("{handled: {age: 1s}, succeeded: {age: 1s}, sweep: 500ms}");
    let (bad, well) = (app.hook("bad"), app.hook("well"));
    let runs: Vec<String> = (0..4).map(|_| app.post_to(&bad, "{}").run()).collect();
    app.post_to(&well, "{}");
    runs.iter().for_each(|run| drop(app.ended(run)));
    assert!(app.cli(&["runs", "handle", &runs[0]]).status.success());
    eventually(|| app.runs("limit=1000").len() == 3);
    let left = app.runs("limit=1000");
    assert!(left.iter().all(|run| run["status"] == json!("failed") && run["run_id"] != json!(runs[0])), "{left:?}");
}

#[test]
fn what_is_held_for_longer_than_its_age_is_cancelled_and_told_of_and_the_younger_stays() {
    // A target that does not know the caller: a person has to see to it.
    let remote = Remote::judged(|_| Reply::from(401));
    let connector = format!(
        "connector: api\nversion: 1\nbase_url: http://{remote}\nactions:\n  tell: {{input: {{type: object}}, request: {{post: /}}}}\n"
    );
    let flow = "trigger: {type: request}\nsteps:\n  - {id: tell, action: api.tell, with: {}}\n";
    let alarm = "trigger: {type: manual}\nsteps:\n  - {id: keep, set: {told: \"{{trigger.body.run_id}}\", as: \
                 \"{{trigger.body.status}}\"}}\n";
    let config = config("{held: {age: 2s}, sweep: 300ms}") + "alerts: {flow: alarm, on: [cancelled]}\n";
    let mut app = App::with(&[
        ("millstream.yaml", &config),
        ("connectors/api.yaml", &connector),
        ("flows/tell.yaml", flow),
        ("flows/alarm.yaml", alarm),
    ]);
    // When it came to be as it is.
    let time = |app: &App, run: &str, status: &str| {
        app.run_when(run, &[status]);
        let listed = app.runs(&format!("flow=tell&status={status}"));
        let found = listed.iter().find(|found| found["run_id"] == run).and_then(|found| found["updated_at"].as_str());
        found.and_then(|text| text.parse::<Timestamp>().ok()).unwrap()
    };
    let old = app.post("tell", &json!({})).run();
    let held = time(&app, &old, "held");
    // Its age goes on over a crash.
    app.kill();
    app.start();
    eventually(|| Timestamp::now().duration_since(held) > SignedDuration::from_millis(1_200));
    let young = app.post("tell", &json!({})).run();
    let later = time(&app, &young, "held");
    for (run, held) in [(&old, held), (&young, later)] {
        let age = time(&app, run, "cancelled").duration_since(held);
        assert!((2_000..12_000).contains(&age.as_millis()), "{age:?}");
        if run == &old {
            assert_eq!(app.run(&young)["status"], "held", "it is younger");
        }
        assert!(
            app.log().lines().any(|line| line.contains(run.as_str()) && line.contains("held for too long: cancelled"))
        );
        let alarms = || app.runs("flow=alarm&status=succeeded");
        let tells = |alarm: &Value| app.run(alarm["run_id"].as_str().unwrap())["steps"][0]["output"].clone();
        eventually(|| alarms().iter().any(|alarm| tells(alarm) == json!({"told": run, "as": "cancelled"})));
    }
    assert_eq!(app.runs("flow=tell").len(), 2, "what was cancelled is kept as other cancelled runs are");
}

#[test]
fn a_called_run_stays_as_long_as_its_caller_may_ask_for_it() {
    let remote = Remote::start();
    let url = remote.url("/slow");
    let parent = format!(
        "trigger: {{type: request}}\nsteps:\n  - {{id: ask, call: well, with: {{n: 1}}}}\n  - {{id: rest, delay: 3s}}\n  - {{id: tell, action: http.request, with: {{url: \"{url}\"}}}}\n"
    );
    let config = config("{succeeded: {count: 0}, sweep: 500ms}");
    let app = App::with(&[("millstream.yaml", &config), ("flows/well.yaml", WELL), ("flows/parent.yaml", &parent)]);
    let lone = app.post("well", &json!({})).run();
    app.post("parent", &json!({}));
    // The lone run goes; the called one, which ended as long ago, is there as long as its caller goes on.
    eventually(|| app.api("GET", &format!("/runs/{lone}"), None).status == 404);
    assert_eq!(app.runs("flow=well").len(), 1);
    eventually(|| remote.seen().len() == 1);
    eventually(|| app.runs("limit=1000").is_empty());
    assert_eq!(remote.seen().len(), 1);
}

#[test]
fn rules_that_would_lose_what_failed_are_refused() {
    for (rules, word) in
        [("{failed: {count: 5}}", "count"), ("{succeeded: {age: soon}}", "soon"), ("{sucess: {}}", "sucess")]
    {
        let app = App::idle(&[("millstream.yaml", &config(rules))]);
        let said = app.cli(&["check"]);
        assert!(!said.status.success());
        assert!(String::from_utf8_lossy(&said.stderr).contains(word), "{rules}: {said:?}");
    }
}

#[test]
fn a_repeat_of_a_run_that_is_kept_no_longer_is_told_so() {
    let flow = "trigger: {type: request, dedupe: {key: [\"{{trigger.body.id}}\"], window: 1h}}\nsteps:\n  - id: answer\n    \
                response: {body: {ok: true}}\n";
    let app = App::with(&[("millstream.yaml", &config("{succeeded: {age: 1s}, sweep: 1s}")), ("flows/ask.yaml", flow)]);
    let post = || app.post("ask", &json!({"id": 7}));
    assert_eq!(post().json(), json!({"ok": true}));
    eventually(|| app.runs("flow=ask").is_empty());
    let repeat = post();
    assert_eq!((repeat.status, repeat.json()["code"].clone()), (502, json!("no_response")));
    assert!(repeat.text.contains("kept no longer"), "{}", repeat.text);
}
