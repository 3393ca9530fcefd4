//! What is acknowledged to those who answer a `wait`, and what a restart must find again.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::app::{App, Remote, Reply, eventually, http};

const JSON: (&str, &str) = ("content-type", "application/json");

fn path(run: &Value) -> String {
    let steps = run["steps"].as_array().cloned().unwrap_or_default();
    let url = steps.iter().find_map(|step| step["resume_url"].as_str().map(str::to_owned)).unwrap_or_default();
    url.split_once("/hooks/").map(|(_, rest)| format!("/hooks/{rest}")).unwrap_or_default()
}

const WAIT: &str = "trigger: {type: request}\nsteps:\n  - {id: approval, wait: {}}\n  - {id: keep, set: {said: \
                    \"{{steps.approval.output.body}}\"}}\n";

#[test]
fn an_answer_that_was_acknowledged_ends_its_wait_whenever_the_process_goes_down() {
    let mut app = App::with(&[("flows/ask.yaml", WAIT)]);
    for _ in 0..4 {
        let run = app.post("ask", &json!({})).run();
        let path = path(&app.run_when(&run, &["waiting"]));
        assert_eq!(app.post_to(&path, "\"yes\"").status, 202);
        app.kill();
        app.start();
        assert_eq!(app.ended(&run)["steps"][1]["output"]["said"], json!("yes"));
    }
}

#[test]
fn an_answer_that_could_not_be_read_again_is_refused_and_the_run_goes_on_waiting() {
    let app = App::with(&[("flows/ask.yaml", WAIT)]);
    let run = app.post("ask", &json!({})).run();
    let path = path(&app.run_when(&run, &["waiting"]));
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let refused = app.post_to(&path, &deep(127));
    assert_eq!((refused.status, refused.json()["code"].clone()), (400, json!("too_deep")));
    assert_eq!(app.post_to(&path, &format!("\"{}\"", "x".repeat(1024 * 1024 + 1))).status, 413);
    assert_eq!(app.run(&run)["status"], json!("waiting"));
    assert_eq!(app.post_to(&path, &deep(100)).status, 202);
    assert_eq!(app.ended(&run)["status"], json!("succeeded"));
}

#[test]
fn a_sender_who_tries_again_is_answered_alike_even_after_the_end() {
    let app = App::with(&[("flows/ask.yaml", WAIT)]);
    let run = app.post("ask", &json!({})).run();
    let path = path(&app.run_when(&run, &["waiting"]));
    let post = |id: &str, body: &str| http(app.public, "POST", &path, &[JSON, ("x-request-id", id)], body.as_bytes());
    assert_eq!(post("1", "\"yes\"").map(|answer| answer.status).ok(), Some(202));
    app.ended(&run);
    assert_eq!(post("2", "\"yes\"").map(|answer| answer.status).ok(), Some(202));
    assert_eq!(post("3", "\"no\"").map(|answer| answer.status).ok(), Some(409));
}

#[test]
fn a_call_in_doubt_is_made_again_at_each_start_though_another_branch_waits() {
    let remote = Remote::start();
    let flow = "trigger: {type: request}\nsteps:\n  - id: both\n    parallel:\n      one: [{id: rest, delay: 1h}]\n      two: \
                [{id: slow, action: http.request, with: {url: \"REMOTE\"}}]\n";
    let mut app = App::with(&[("flows/both.yaml", &flow.replace("REMOTE", &remote.url("/slow")))]);
    let slow = || Reply { after: std::time::Duration::from_secs(20), ..Reply::from(200) };
    remote.answers([slow(), slow()]);
    let run = app.post("both", &json!({})).run();
    for calls in 1..=3 {
        eventually(|| remote.seen().len() == calls);
        if calls < 3 {
            app.kill();
            app.start();
        }
    }
    let done = |run: &Value| {
        run["steps"]
            .as_array()
            .is_some_and(|steps| steps.iter().any(|s| s["id"] == "slow" && s["status"] == "succeeded"))
    };
    eventually(|| done(&app.run(&run)));
}

#[test]
fn a_long_decision_that_was_cut_short_goes_on() {
    let flow = "trigger: {type: request}\nsteps:\n  - id: both\n    parallel:\n      one: [{id: approval, wait: {}}]\n      \
                two:\n        - id: each\n          foreach: \"{{trigger.body}}\"\n          do: [{id: note, set: {n: \
                \"{{item}}\"}}]\n";
    let mut app = App::with(&[("flows/both.yaml", flow)]);
    let run = app.post("both", &json!((0..30_000).collect::<Vec<_>>())).run();
    let each = |app: &App| {
        let told = app.run(&run);
        let steps = told["steps"].as_array().cloned().unwrap_or_default();
        steps.into_iter().find(|step| step["id"] == "each").unwrap_or_default()
    };
    for _ in 0..2 {
        eventually(|| each(&app)["iterations"].as_u64().is_some_and(|count| count > 500));
        app.kill();
        app.start();
    }
    eventually(|| each(&app)["status"] == json!("succeeded"));
    assert_eq!(each(&app)["iterations"], json!(30_000));
    app.run_when(&run, &["waiting"]);
}

#[test]
fn a_list_that_is_split_keeps_its_flow_though_its_first_item_came_before() {
    let flow = |word: &str| {
        format!(
            "description: {word}\ntrigger: {{type: request, split_on: \"{{{{trigger.body}}}}\", dedupe: {{key: \
             \"{{{{trigger.body.id}}}}\"}}}}\nconcurrency: 1\nsteps:\n  - {{id: rest, delay: \"{{{{trigger.body.rest}}}}\"}}\n  \
             - {{id: say, set: {{word: {word}}}}}\n"
        )
    };
    let mut app = App::with(&[("flows/split.yaml", &flow("first"))]);
    let live = |app: &App, word: &str| {
        let flows = app.api("GET", "/flows", None).json();
        flows["flows"].as_array().is_some_and(|flows| flows.iter().any(|flow| flow["description"] == word))
    };
    let item = |id: &str, rest: &str| json!({"id": id, "rest": rest});
    assert_eq!(app.post("split", &json!([item("a", "3s")])).status, 202);
    app.write("flows/split.yaml", &flow("second"));
    eventually(|| live(&app, "second"));
    // The first item is that of the run before; only the second becomes a run, of the flow as it is now.
    let runs = app.post("split", &json!([item("a", "3s"), item("b", "1ms")])).json();
    let run = runs["run_ids"][1].as_str().unwrap_or_default().to_owned();
    app.write("flows/split.yaml", &flow("third"));
    eventually(|| live(&app, "third"));
    app.kill();
    app.start();
    let ended = app.ended(&run);
    assert_eq!(
        (&ended["status"], &ended["steps"][1]["output"]["word"]),
        (&json!("succeeded"), &json!("second")),
        "{ended}"
    );
}

#[test]
fn urls_that_proxies_repeat_are_not_kept() {
    let flow = "trigger: {type: request}\nsteps:\n  - {id: keep, set: {headers: \"{{trigger.headers}}\"}}\n";
    let app = App::with(&[("flows/keep.yaml", flow)]);
    let path = app.hook("keep");
    let headers = [JSON, ("x-forwarded-uri", path.as_str()), ("x-kept", "yes")];
    let run = http(app.public, "POST", &path, &headers, b"{}").map(|answer| answer.run()).unwrap_or_default();
    let told = app.ended(&run).to_string();
    assert!(told.contains("x-kept") && !told.contains(path.rsplit('/').next().unwrap_or("?")), "{told}");
}

#[test]
fn large_answers_that_wait_for_their_runs_stay_within_the_memory_for_bodies() {
    // The only slot is taken until the target answers, so answers to waits have to wait.
    static GO_ON: AtomicBool = AtomicBool::new(false);
    let target = Remote::judged(move |_| {
        eventually(|| GO_ON.load(Ordering::SeqCst));
        Reply::from(200)
    });
    let slow = format!(
        "trigger: {{type: request}}\nsteps:\n  - {{id: call, action: http.request, with: {{url: \"http://{target}/\"}}}}\n"
    );
    let flow = "trigger: {type: request}\nsteps:\n  - {id: approval, wait: {}}\n";
    let app = App::with(&[
        ("millstream.yaml", "outbound: {allow: [127.0.0.0/8]}\nlimits: {runs: 1}\n"),
        ("flows/ask.yaml", flow),
        ("flows/slow.yaml", &slow),
    ]);
    let runs: Vec<String> = (0..5).map(|_| app.post("ask", &json!({})).run()).collect();
    let paths: Vec<String> = runs.iter().map(|run| path(&app.run_when(run, &["waiting"]))).collect();
    app.post("slow", &json!({}));
    eventually(|| app.metric("millstream_calls_total") == 1);

    // A megabyte of small values takes some sixty while it is on its way: not more than four fit.
    let body = format!("[{}0]", "0,".repeat(490_000));
    std::thread::scope(|scope| {
        let waiting: Vec<_> = paths[..4].iter().map(|path| scope.spawn(|| app.post_to(path, &body))).collect();
        // They were read, and are in line.
        eventually(|| app.metric("millstream_runs_queued") == 4);
        for path in [&paths[4], &app.hook("ask")] {
            let refused = app.post_to(path, &body);
            assert_eq!((refused.status, refused.json()["code"].clone()), (503, json!("busy")), "{}", refused.text);
            assert!(refused.header("retry-after").is_some(), "{refused:?}");
        }
        GO_ON.store(true, Ordering::SeqCst);
        for answer in waiting {
            assert_eq!(answer.join().map(|answer| answer.status).ok(), Some(202));
        }
    });
    // What they took is given back.
    assert_eq!(app.post_to(&paths[4], &body).status, 202);
    for run in &runs {
        assert_eq!(app.ended(run)["status"], "succeeded");
    }
}
