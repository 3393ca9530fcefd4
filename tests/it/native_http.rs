//! `http.request` beyond one answer: files, redirects, and operations that are done later.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use millstream::connector::{Connectors, Failure, Limits, Rate};
use millstream::outbound::{Call, Outbound};
use serde_json::{Value, json};

use crate::remote::{Arrived, KEY, Remote, connection, http, json_response, outbound, perform, response, verdict};

#[tokio::test]
async fn an_answer_becomes_what_the_step_asks_for() {
    let bytes = [0u8, 159, 146, 150, 255];
    let remote = Remote::start(move |arrived| match arrived.uri.as_str() {
        "/file" => response(200, &[("content-type", "application/octet-stream")], Body::from(bytes.to_vec())),
        "/big" => response(200, &[], Body::from(vec![0u8; 900_000])),
        "/text" => response(200, &[("content-type", "text/plain")], "{\"a\": 1}"),
        _ => response(204, &[], ""),
    })
    .await;
    let get =
        async |path: &str, answer: &str| http(&outbound(), json!({"url": remote.url(path), "answer": answer})).await;
    assert_eq!(get("/file", "base64").await.unwrap()["body"], "AJ+Slv8=");
    assert_eq!(get("/text", "auto").await.unwrap()["body"], "{\"a\": 1}");
    assert_eq!(get("/text", "json").await.unwrap()["body"], json!({"a": 1}));
    assert_eq!(get("/none", "json").await.unwrap()["body"], Value::Null);
    assert_eq!(verdict(&get("/file", "json").await), "Retry http.unexpected_answer");
    // 900,000 bytes fit an output; as base64 they would not.
    assert!(get("/big", "text").await.is_ok());
    assert_eq!(verdict(&get("/big", "base64").await), "Permanent outbound.response_too_large");
}

fn to(status: u16, place: &str) -> Response {
    response(status, &[("location", place)], "")
}

#[tokio::test]
async fn redirects_are_followed_as_far_as_the_step_says_and_as_http_means_them() {
    let remote = Remote::start(|arrived| match arrived.uri.as_str() {
        "/301" => to(301, "/end"),
        "/303" => to(303, "end"),
        "/307" => to(307, "/end"),
        "/twice" => to(302, "/303"),
        "/round" => to(302, "/round"),
        "/file" => to(302, "file:///etc/passwd"),
        "/user" => to(302, "http://a:b@example.com/"),
        _ => json_response(200, &json!({"method": arrived.method, "body": arrived.body})),
    })
    .await;
    let post = async |path: &str, redirects: u64| {
        http(&outbound(), json!({"url": remote.url(path), "body": "x", "redirects": redirects})).await
    };
    for (path, method, body) in [("/301", "GET", ""), ("/303", "GET", ""), ("/307", "POST", "x"), ("/twice", "GET", "")]
    {
        let output = post(path, 2).await.unwrap();
        assert_eq!(output["body"], json!({"method": method, "body": body}), "{path}");
    }
    for (path, redirects) in [("/301", 0), ("/twice", 1), ("/round", 10), ("/file", 5), ("/user", 5)] {
        assert_eq!(verdict(&post(path, redirects).await), "Permanent outbound.redirect", "{path}");
    }
    let put = json!({"url": remote.url("/301"), "method": "PUT", "body": "x", "redirects": 1});
    assert_eq!(http(&outbound(), put).await.unwrap()["body"]["method"], "PUT");
}

#[tokio::test]
async fn on_a_redirect_credentials_stay_and_each_hop_is_guarded() {
    let elsewhere = Remote::start(|arrived| json_response(200, &json!({"headers": arrived.headers}))).await;
    let (other, open) = (elsewhere.url("/x"), elsewhere.address);
    let remote = Remote::start(move |arrived| match arrived.uri.as_str() {
        "/away" => to(307, &other),
        "/here" => to(307, "/end"),
        "/inside" => to(307, &format!("http://127.0.0.2:{}/", open.port())),
        _ => json_response(200, &json!({"headers": arrived.headers})),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let own =
        Arc::new(connection(dir.path(), "http", json!({"base_url": remote.url("")}), &[("token", "geheim-und-lang")]));
    let headers = json!({"Cookie": "a=b", "X-Own": "1", "Authorization-Like": "y", "Accept": "text/plain"});
    let go = async |path: &str| {
        let input = json!({"url": path, "body": "x", "headers": headers, "redirects": 3});
        perform(&outbound(), &Connectors::shipped(), "http.request", Some(&own), input).await.unwrap()["body"]["headers"].take()
    };
    let here = go("/here").await;
    assert_eq!(here["cookie"], "a=b");
    assert!(remote.arrived().iter().all(|arrived| arrived.headers["authorization"] == "Bearer geheim-und-lang"));
    let away = go("/away").await;
    assert_eq!(away["accept"], "text/plain");
    assert_eq!(away["idempotency-key"], KEY.to_string());
    for gone in ["authorization", "cookie", "x-own", "authorization-like"] {
        assert!(away.get(gone).is_none(), "{gone}: {away}");
    }
    assert!(!elsewhere.arrived()[0].headers.values().any(|value| value.contains("geheim")));
    // Only this machine's first address is allowed here.
    let config = millstream::config::Outbound { allow: vec!["127.0.0.1/32".parse().unwrap()], ..Default::default() };
    let guarded = Outbound::new(&config, Default::default()).unwrap();
    let inside = http(&guarded, json!({"url": remote.url("/inside"), "redirects": 1})).await;
    assert_eq!(verdict(&inside), "Permanent outbound.blocked_address");
    assert_eq!(elsewhere.arrived().len(), 1);
}

/// A service that takes an order and is done with it at the third question.
async fn slow(begin: &'static [(&'static str, &'static str)], states: &'static [(u16, &'static str)]) -> Remote {
    let asked = Arc::new(AtomicUsize::new(0));
    Remote::start(move |arrived: Arrived| {
        let body = |text: &str| if text.is_empty() { "{}".to_owned() } else { text.to_owned() };
        match (arrived.method.as_str(), arrived.uri.as_str()) {
            ("POST", _) => response(202, begin, ""),
            (_, "/result") => json_response(200, &json!({"rows": 7})),
            _ => {
                let index = asked.fetch_add(1, Ordering::SeqCst).min(states.len() - 1);
                let (status, text) = states[index];
                let headers = [("content-type", "application/json"), ("retry-after", "0"), ("location", "/result")];
                response(status, if status == 303 { &headers } else { &headers[..2] }, body(text))
            }
        }
    })
    .await
}

async fn polled(remote: &Remote, poll: Value, timeout: Duration) -> Result<Value, Failure> {
    let connectors = Connectors::shipped();
    let (connector, _) = connectors.action("http.request").unwrap();
    let input = json!({"url": remote.url("/orders"), "json": {"a": 1}, "poll": poll});
    let (action, connection, key, output_limit) = ("request", None, KEY, 100_000);
    let call =
        Call { flow: "test", connector, action, connection, input: &input, key, timeout: Some(timeout), output_limit };
    outbound().perform(call).await
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_operation_is_asked_about_until_it_has_ended_and_its_result_is_the_output() {
    let after = [("retry-after", "0"), ("operation-location", "/operations/1"), ("location", "/result")];
    let remote = slow(
        Box::leak(Box::new(after)),
        &[(200, r#"{"status": "Running"}"#), (503, ""), (200, r#"{"status": "Succeeded"}"#)],
    )
    .await;
    let done = polled(&remote, json!(true), LONG).await.unwrap();
    assert_eq!((&done["status"], &done["body"]), (&json!(200), &json!({"rows": 7})));
    let arrived: Vec<String> =
        remote.arrived().iter().map(|arrived| format!("{} {}", arrived.method, arrived.uri)).collect();
    assert_eq!(arrived, ["POST /orders", "GET /operations/1", "GET /operations/1", "GET /operations/1", "GET /result"]);
    assert!(!remote.arrived()[1].headers.contains_key("idempotency-key") && remote.arrived()[1].body.is_empty());

    // Without a place of its own, the operation's last answer is the result.
    let remote =
        slow(&[("retry-after", "0"), ("azure-asyncoperation", "/o")], &[(200, r#"{"status": "Succeeded", "n": 1}"#)])
            .await;
    assert_eq!(polled(&remote, json!(true), LONG).await.unwrap()["body"]["n"], 1);
    // A place that says 202 until the result is there, or leads to it.
    const LASTS: [&[(u16, &str)]; 2] = [&[(202, ""), (200, "{\"n\": 2}")], &[(202, ""), (303, "")]];
    for last in LASTS {
        let remote = slow(&[("retry-after", "0"), ("location", "/o")], last).await;
        assert_eq!(polled(&remote, json!({"every": "100ms"}), LONG).await.unwrap()["status"], 200);
    }
    // States of the target's own.
    let remote = slow(
        &[("location", "/o")],
        &[(200, r#"{"job": {"state": "baking"}}"#), (200, r#"{"job": {"state": "Baked"}}"#)],
    )
    .await;
    let own = json!({"every": "100ms", "status": "$.job.state", "done": ["baked"], "failed": ["burnt"]});
    assert_eq!(polled(&remote, own, LONG).await.unwrap()["body"]["job"]["state"], "Baked");
}

#[tokio::test]
async fn an_operation_that_fails_hangs_or_leads_elsewhere_says_so() {
    let operation = &[("retry-after", "0"), ("operation-location", "/o")];
    let remote = slow(operation, &[(200, r#"{"status": "Failed", "error": {"message": "no such customer"}}"#)]).await;
    let failed = polled(&remote, json!(true), LONG).await;
    assert_eq!(verdict(&failed), "Permanent http.operation_failed");
    assert!(failed.unwrap_err().message.contains("no such customer"));
    let remote = slow(operation, &[(200, r#"{"status": "Running"}"#)]).await;
    assert_eq!(verdict(&polled(&remote, json!(true), Duration::from_millis(700)).await), "Unknown http.not_done");
    let remote = slow(operation, &[(404, "{}")]).await;
    assert_eq!(verdict(&polled(&remote, json!(true), LONG).await), "Permanent http.rejected");
    let remote = slow(&[("retry-after", "0"), ("operation-location", "http://127.0.0.1:1/o")], &[(200, "")]).await;
    assert_eq!(verdict(&polled(&remote, json!(true), LONG).await), "Permanent outbound.other_host");
    assert_eq!(remote.arrived().len(), 1);
    // 202 alone is an answer like any other, and so it is where nobody asked.
    let remote = slow(&[], &[(200, "")]).await;
    assert_eq!(polled(&remote, json!(true), LONG).await.unwrap()["status"], 202);
    let remote = slow(operation, &[(200, "")]).await;
    assert_eq!(polled(&remote, json!(false), LONG).await.unwrap()["status"], 202);
}

#[tokio::test]
async fn pages_are_gathered_however_the_target_says_where_the_next_one_is() {
    let remote = Remote::start(|arrived: Arrived| {
        let (path, query) = arrived.uri.split_once('?').unwrap_or((&arrived.uri, ""));
        let asked = |name: &str| -> u64 {
            let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned);
            let in_body = serde_json::from_str::<Value>(&arrived.body).ok().and_then(|body| body[name].as_u64());
            found.and_then(|text| text.parse().ok()).or(in_body).unwrap_or(0)
        };
        let page = |from: u64| -> Vec<u64> { (from..(from + 2).min(5)).collect() };
        match path {
            "/url" => {
                let from = asked("from");
                let next = (from + 2 < 5).then(|| format!("/url?from={}", from + 2));
                json_response(200, &json!({"value": page(from), "next": next}))
            }
            "/link" => {
                let from = asked("from");
                let link = format!("</link?from={}>; rel=\"next\"", from + 2);
                let headers = [("content-type", "application/json"), ("link", link.as_str())];
                response(
                    200,
                    if from + 2 < 5 { &headers } else { &headers[..1] },
                    json!({"value": page(from)}).to_string(),
                )
            }
            "/cursor" => {
                let from = asked("after");
                json_response(200, &json!({"value": page(from), "after": (from + 2 < 5).then_some(from + 2)}))
            }
            "/offset" => json_response(200, &json!({"value": page(asked("skip"))})),
            "/page" => json_response(200, &json!({"value": page((asked("number") - 1) * 2)})),
            "/away" => json_response(200, &json!({"value": [1], "next": "http://127.0.0.1:1/x"})),
            "/late" if asked("from") > 0 => response(503, &[("retry-after", "0")], ""),
            "/late" => json_response(200, &json!({"value": [1], "next": "/late?from=1"})),
            _ => json_response(200, &json!({"value": 7, "next": null})),
        }
    })
    .await;
    let go = async |path: &str, method: &str, pages: Value| {
        let mut input = json!({"url": remote.url(path), "method": method, "pages": pages});
        if method == "POST" {
            input["json"] = json!({"all": true});
        }
        http(&outbound(), input).await
    };
    let whole = json!({"items": [0, 1, 2, 3, 4], "more": false});
    for (path, method, how) in [
        ("/url", "GET", json!({"next_url": "$.next"})),
        ("/link", "GET", json!({"link": true})),
        ("/cursor", "GET", json!({"cursor": {"from": "$.after", "query": "after"}})),
        ("/cursor", "POST", json!({"cursor": {"from": "$.after", "body": "after"}})),
        ("/offset", "GET", json!({"offset": {"query": "skip", "size": {"query": "top", "value": 2}}})),
        ("/page", "GET", json!({"page": {"query": "number", "first": 1}})),
    ] {
        let mut pages = how;
        pages["items"] = json!("$.value");
        let output = go(path, method, pages.clone()).await.unwrap();
        assert_eq!((&output["status"], &output["body"]), (&json!(200), &whole), "{path}");
        pages["max_items"] = json!(3);
        assert_eq!(go(path, method, pages).await.unwrap()["body"], json!({"items": [0, 1, 2], "more": true}), "{path}");
    }
    let next = json!({"items": "$.value", "next_url": "$.next"});
    assert_eq!(verdict(&go("/away", "GET", next.clone()).await), "Permanent outbound.other_host");
    assert_eq!(verdict(&go("/late", "GET", next.clone()).await), "Throttled http.throttled");
    assert_eq!(verdict(&go("/odd", "GET", next).await), "Permanent connector.pages");
    for wrong in [
        json!({"items": "$.value"}),
        json!({"items": "$.value", "link": true, "next_url": "$.n"}),
        json!({"items": "$.value", "page": {}}),
    ] {
        assert_eq!(verdict(&go("/url", "GET", wrong).await), "Permanent http.input");
    }
}

#[tokio::test]
async fn what_was_accepted_is_not_sent_again_when_its_result_cannot_be_had() {
    // Given targets that accept an order, and then refuse to say what became of it.
    for (accepted, poll) in [(303, json!(false)), (202, json!(true))] {
        for (status, class) in [(503, "Unknown http.throttled"), (429, "Unknown http.throttled"), (500, "Unknown")] {
            let remote = Remote::start(move |arrived: Arrived| match (arrived.method.as_str(), arrived.uri.as_str()) {
                ("POST", _) if accepted == 202 => {
                    response(202, &[("retry-after", "0"), ("operation-location", "/o"), ("location", "/result")], "")
                }
                ("POST", _) => to(303, "/result"),
                (_, "/o") => json_response(200, &json!({"status": "Succeeded"})),
                _ => response(status, &[("retry-after", "0")], ""),
            })
            .await;
            let failed = short(&remote, json!({"body": "x", "redirects": 1, "poll": poll})).await;
            assert!(verdict(&failed).starts_with(class), "{accepted} {status}: {}", verdict(&failed));
            let posts = remote.arrived().iter().filter(|arrived| arrived.method == "POST").count();
            assert_eq!(posts, 1, "{accepted} {status}");
            assert!(remote.arrived().len() > 3, "it is asked again: {:?}", remote.arrived());
        }
    }
    // One that nothing listens at any more, and one that comes back in time.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}/", gone.local_addr().unwrap());
    drop(gone);
    let remote = Remote::start(move |_| to(303, &place)).await;
    let failed = short(&remote, json!({"body": "x", "redirects": 1})).await;
    assert_eq!(verdict(&failed), "Unknown outbound.connect", "{failed:?}");
    let read = short(&remote, json!({"redirects": 1})).await;
    assert_eq!(verdict(&read), "Retry outbound.connect", "what only reads may be made again");
    let asked = Arc::new(AtomicUsize::new(0));
    let remote = Remote::start(move |arrived: Arrived| match arrived.method.as_str() {
        "POST" => to(303, "/result"),
        _ if asked.fetch_add(1, Ordering::SeqCst) < 2 => response(503, &[("retry-after", "0")], ""),
        _ => json_response(200, &json!({"id": 7})),
    })
    .await;
    let done = short(&remote, json!({"body": "x", "redirects": 1})).await.unwrap();
    assert_eq!(done["body"]["id"], 7);
}

/// A call that has a second.
async fn short(remote: &Remote, mut input: Value) -> Result<Value, Failure> {
    let connectors = Connectors::shipped();
    let (connector, _) = connectors.action("http.request").unwrap();
    input["url"] = json!(remote.url("/orders"));
    let (action, connection, key, output_limit) = ("request", None, KEY, 100_000);
    let timeout = Some(Duration::from_secs(1));
    let call = Call { flow: "test", connector, action, connection, input: &input, key, timeout, output_limit };
    outbound().perform(call).await
}

#[tokio::test]
async fn each_request_of_a_row_takes_its_turn_under_the_connections_limits() {
    // Given a connection that lets one request go in 200 ms, one at a time.
    let remote = Remote::start(|arrived| match arrived.uri.as_str() {
        "/1" => to(302, "/2"),
        "/2" => to(302, "/3"),
        _ => json_response(200, &json!({})),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let mut own = connection(dir.path(), "http", json!({"base_url": remote.url("")}), &[]);
    let per = Duration::from_millis(200);
    own.limits = Limits { concurrent: Some(1), rate: Some(Rate { requests: 1, per }) };
    let own = Arc::new(own);
    let began = Instant::now();
    let go = json!({"url": "/1", "redirects": 3});
    perform(&outbound(), &Connectors::shipped(), "http.request", Some(&own), go).await.unwrap();
    // Then three requests take two of them.
    assert_eq!(remote.arrived().len(), 3);
    assert!(began.elapsed() >= 2 * per - Duration::from_millis(5), "{:?}", began.elapsed());
}
