//! Connectors whose calls take several requests, or wait: pages, questions and attempts keep to the limits, a call goes on
//! with the connector it began with, and what was given once is not asked for again where that costs.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::app::{App, Remote, Reply, Seen, eventually, told};

/// A target that answers by `judge`, which is given what came and how many came before; and all that came.
fn target(judge: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> (SocketAddr, Arc<Mutex<Vec<Seen>>>) {
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let keep = seen.clone();
    let address = Remote::judged(move |request| {
        let mut seen = keep.lock().expect("no test panics while it holds this");
        let reply = judge(&request, seen.len());
        seen.push(request);
        reply
    });
    (address, seen)
}

fn all(seen: &Mutex<Vec<Seen>>) -> Vec<Seen> {
    seen.lock().expect("no test panics while it holds this").clone()
}

fn paths(seen: &Mutex<Vec<Seen>>) -> Vec<String> {
    all(seen).into_iter().map(|seen| seen.path).collect()
}

fn said(body: &Value) -> Reply {
    Reply { body: body.to_string(), ..Reply::from(200) }
}

fn asked_to_wait(seconds: &str) -> Reply {
    Reply { headers: vec![("retry-after".into(), seconds.into())], ..Reply::from(429) }
}

/// The page that was asked for, of `pages`.
fn page(seen: &Seen, pages: u64) -> Value {
    let at = seen.path.split("after=").nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    let next = (at + 1 < pages).then(|| (at + 1).to_string());
    json!({"value": [at], "next": next})
}

fn lists(at: SocketAddr, limits: &str) -> String {
    format!(
        r#"
connector: lists
version: 1
connection: required
base_url: http://{at}
{limits}
actions:
  all: {{ input: {{type: object}}, request: {{get: /list}}, pages: {{items: $.value, cursor: {{from: $.next, query: after}}}} }}
  one: {{ input: {{type: object}}, request: {{get: /one}} }}
  find:
    input: {{type: object}}
    request: {{post: /find, headers: {{Idempotency-Key: "{{{{ call.uuid }}}}"}}, json: {{}}}}
    pages: {{items: $.value, cursor: {{from: $.next, body: after}}}}
  book:
    repeat: unsafe
    input: {{type: object}}
    request: {{post: /book, json: {{}}}}
    pages: {{items: $.value, cursor: {{from: $.next, body: after}}}}
"#
    )
}

fn flow(action: &str, more: &str) -> String {
    format!(
        "trigger: {{type: request}}\nsteps:\n  - {{id: call, action: lists.{action}, connection: lists, with: {{}}, {more}}}\n"
    )
}

/// How long the first attempt of the first step was to wait after it had ended, ms.
fn waited(run: &Value) -> i64 {
    let attempt = &run["steps"][0]["attempts"][0];
    let at = |key: &str| attempt[key].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    match (at("retry_at"), at("ended_at")) {
        (Some(retry), Some(ended)) => retry.as_millisecond() - ended.as_millisecond(),
        _ => panic!("no wait: {run}"),
    }
}

fn gaps(seen: &[Seen]) -> Vec<Duration> {
    seen.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

#[test]
fn each_page_takes_its_turn_at_the_connectors_rate_and_others_come_in_between() {
    let (at, seen) = target(|request, _| match request.path.as_str() {
        "/one" => said(&json!({})),
        _ => said(&page(request, 4)),
    });
    let app = App::with(&[
        ("connectors/lists.yaml", &lists(at, "limits: {rate: {requests: 1, per: 300ms}, concurrent: 1}")),
        ("connections.yaml", "lists: {connector: lists}\n"),
        ("flows/all.yaml", &flow("all", "retry: none")),
        ("flows/one.yaml", &flow("one", "retry: none")),
    ]);
    let long = app.post("all", &json!({})).run();
    eventually(|| !all(&seen).is_empty());
    let short = app.post("one", &json!({})).run();
    for run in [&long, &short] {
        assert_eq!(app.ended(run)["status"], "succeeded");
    }
    let came = paths(&seen);
    assert_eq!(came.len(), 5);
    let place = came.iter().position(|path| path == "/one");
    assert!(place.is_some_and(|place| (1..4).contains(&place)), "it waits for no more than its turn: {came:?}");
    let (requests, gaps) = (all(&seen), gaps(&all(&seen)));
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(200)), "{gaps:?}");
    assert!(requests[4].at - requests[0].at >= Duration::from_millis(1_150), "{gaps:?}");
}

#[test]
fn a_page_that_is_refused_for_now_waits_as_long_as_was_asked() {
    let (at, seen) = target(|request, before| if before == 1 { asked_to_wait("1") } else { said(&page(request, 2)) });
    let app = App::with(&[
        ("connectors/lists.yaml", &lists(at, "")),
        ("connections.yaml", "lists: {connector: lists}\n"),
        ("flows/all.yaml", &flow("all", "retry: {attempts: 2, delay: 5ms}")),
    ]);
    let run = app.ended(&app.post("all", &json!({})).run());
    assert_eq!(told(&run), "call #1 failed connector.throttled\ncall #2 succeeded\nsucceeded");
    assert_eq!(run["steps"][0]["output"], json!({"items": [0, 1], "more": false}), "nothing twice, nothing left out");
    assert_eq!(waited(&run), 1_000);
    assert_eq!(paths(&seen), ["/list", "/list?after=1", "/list", "/list?after=1"]);
    assert!(gaps(&all(&seen))[1] >= Duration::from_millis(995), "{:?}", gaps(&all(&seen)));
}

#[test]
fn pages_that_fail_open_the_breaker_and_nobody_calls_until_its_pause_is_over() {
    let (at, seen) = target(|request, before| match before {
        1 | 3 => Reply::from(500),
        _ => said(&page(request, 2)),
    });
    let app = App::with(&[
        ("connectors/lists.yaml", &lists(at, "")),
        ("connections.yaml", "lists: {connector: lists, breaker: {failures: 2, pause: 1s}}\n"),
        ("flows/all.yaml", &flow("all", "retry: {attempts: 3, backoff: fixed, delay: 10ms}")),
    ]);
    let run = app.post("all", &json!({})).run();
    eventually(|| app.metric("millstream_breakers_opened_total") == 1);
    let run = app.ended(&run);
    assert_eq!(run["steps"][0]["output"]["items"], json!([0, 1]), "{run}");
    assert!(told(&run).contains("failed outbound.breaker_open\n"), "{run}");
    let came = all(&seen);
    assert_eq!(came.len(), 6, "{:?}", paths(&seen));
    assert!(came[4].at - came[3].at >= Duration::from_millis(900), "{:?}", gaps(&came));
    assert_eq!(app.api("GET", "/breakers", None).json(), json!({"breakers": []}));
}

#[test]
fn each_question_about_an_operation_takes_its_turn_at_the_connections_rate() {
    let (at, seen) = target(|_, before| match before {
        0..=2 => Reply { headers: vec![("location".into(), "/job".into())], ..Reply::from(202) },
        _ => said(&json!({"n": 1})),
    });
    let connections = format!(
        "api: {{connector: http, settings: {{base_url: \"http://{at}\"}}, limits: {{rate: {{requests: 1, per: 300ms}}}}}}\n"
    );
    let flow = "trigger: {type: request}\nsteps:\n  - {id: call, action: http.request, connection: api, with: {method: POST, url: \
                /jobs, json: {}, poll: {every: 100ms}}}\n";
    let app = App::with(&[("connections.yaml", &connections), ("flows/job.yaml", flow)]);
    let run = app.ended(&app.post("job", &json!({})).run());
    assert_eq!(run["steps"][0]["output"]["body"], json!({"n": 1}), "{run}");
    assert_eq!(paths(&seen), ["/jobs", "/job", "/job", "/job"]);
    let gaps = gaps(&all(&seen));
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(200)), "{gaps:?}");
}

#[test]
fn where_a_repeat_costs_a_later_page_that_fails_does_not_bring_back_the_first() {
    // The second of two pages is refused for now, which of one request would be certain not to have happened.
    let (at, seen) = target(|_, before| match before % 2 {
        0 => said(&json!({"value": [before], "next": "more"})),
        _ if before < 8 => asked_to_wait("0"),
        _ => said(&json!({"value": [before]})),
    });
    let native = format!(
        "trigger: {{type: request}}\nsteps:\n  - {{id: call, action: http.request, on_doubt: hold, retry: {{attempts: 3, delay: \
         10ms}}, with: {{method: POST, url: \"http://{at}/\", json: {{}}, pages: {{items: $.value, cursor: {{from: $.next, body: \
         after}}}}}}}}\n"
    );
    let retry = "retry: {attempts: 2, delay: 10ms}";
    let app = App::with(&[
        ("connectors/lists.yaml", &lists(at, "")),
        ("connections.yaml", "lists: {connector: lists}\n"),
        ("flows/book.yaml", &flow("book", retry)),
        ("flows/native.yaml", &native),
        ("flows/find.yaml", &flow("find", retry)),
    ]);
    for (flow, calls) in [("book", 2), ("native", 4)] {
        let run = app.run_when(&app.post(flow, &json!({})).run(), &["held", "succeeded", "failed"]);
        assert_eq!((&run["status"], all(&seen).len()), (&json!("held"), calls), "{flow}: {run}");
        assert!(run["reason"].to_string().contains("before"), "{run}");
    }
    // Where it does not cost, the call is made again from its first page, with the key it had.
    let run = app.ended(&app.post("find", &json!({})).run());
    assert_eq!(run["status"], "failed", "{run}");
    let found = all(&seen).split_off(4);
    let keys: BTreeSet<_> = found.iter().map(|seen| seen.header("idempotency-key")).collect();
    let bodies: Vec<&str> = found.iter().map(|seen| seen.body.as_str()).collect();
    assert_eq!(bodies, ["{}", r#"{"after":"more"}"#, "{}", r#"{"after":"more"}"#]);
    assert_eq!(keys.len(), 1, "{keys:?}");
}

/// A connector of which everything that a call meets can change.
fn shop(at: SocketAddr, path: &str, output: &str, rule: &str) -> String {
    format!(
        "connector: shop\nversion: 1\nconnection: required\nbase_url: http://{at}\nactions:\n  order:\n    input: {{type: object, \
         properties: {{n: {{type: integer}}}}}}\n    request: {{post: {path}, json: {{n: '{{{{ input.n }}}}'}}}}\n    output: \
         {{{output}: $.{output}}}\n    output_schema: {{type: object, additionalProperties: false, properties: {{{output}: {{type: \
         integer}}}}}}\n    errors: [{{status: [409], then: {rule}, wait: [retry-after]}}]\n"
    )
}

#[test]
fn a_run_in_a_delay_or_a_retry_keeps_its_connector_over_a_change_and_a_kill() {
    // The first call of each run is refused: the old rules try it again, the new ones do not.
    let (at, seen) = target(|request, _| {
        let n = request.body.clone();
        static KNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        if KNOWN.lock().expect("nobody panics here").insert(n.clone()) {
            let wait = if n == r#"{"n":1}"# { "3" } else { "0" };
            return Reply { headers: vec![("retry-after".into(), wait.into())], ..Reply::from(409) };
        }
        said(&json!({"id": 7, "number": 8}))
    });
    let flow = "trigger: {type: request}\nsteps:\n  - {id: rest, delay: \"{{trigger.body.rest}}\"}\n  - {id: order, action: \
                shop.order, connection: shop, with: {n: \"{{trigger.body.n}}\"}, retry: {attempts: 3, delay: 10ms}}\n  - {id: keep, \
                set: {got: \"{{steps.order.output}}\"}}\n";
    let mut app = App::with(&[
        ("connectors/shop.yaml", &shop(at, "/old", "id", "retry")),
        ("connections.yaml", "shop: {connector: shop}\n"),
        ("flows/buy.yaml", flow),
    ]);
    let start = |app: &App, n: u64, rest: &str| app.post("buy", &json!({"n": n, "rest": rest})).run();
    let retries = start(&app, 1, "1ms");
    eventually(|| all(&seen).len() == 1);
    let rests = start(&app, 2, "3s");
    for run in [&retries, &rests] {
        app.run_when(run, &["waiting"]);
    }

    app.write("connectors/shop.yaml", &shop(at, "/new", "number", "permanent"));
    let mut n = 2;
    let mut new = Value::Null;
    eventually(|| {
        n += 1;
        new = app.ended(&start(&app, n, "1ms"));
        new["status"] == "failed"
    });
    let changed = Instant::now();
    app.kill();
    app.start();
    for (run, n) in [(&retries, 1), (&rests, 2)] {
        let run = app.ended(run);
        let last = run["steps"].as_array().and_then(|steps| steps.last()).cloned().unwrap_or_default();
        assert_eq!(last["output"]["got"], json!({"id": 7}), "{run}");
        let body = json!({ "n": n }).to_string();
        let (before, after): (Vec<_>, Vec<_>) =
            all(&seen).into_iter().filter(|seen| seen.body == body).partition(|seen| seen.at < changed);
        assert_eq!((before.len(), after.len()), (2 - n, n), "it went on after the change");
        assert!(before.iter().chain(&after).all(|seen| seen.path == "/old"), "{run}");
    }
    // And what begins now, also what was refused by the new rules, is the new one's.
    let again = app.cli_json(&["runs", "resubmit", new["run_id"].as_str().unwrap_or_default()]);
    let again = app.ended(again["run_id"].as_str().unwrap_or_default());
    let last = again["steps"].as_array().and_then(|steps| steps.last()).cloned().unwrap_or_default();
    assert_eq!(last["output"]["got"], json!({"number": 8}), "{again}");
    assert_eq!(paths(&seen).last().map(String::as_str), Some("/new"));
}
