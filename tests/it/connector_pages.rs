//! Actions whose answers come in pages: each form, its end, and targets that lead astray.

use std::sync::Arc;

use millstream::connector::{Connection, Connectors, Limits, Rate};
use serde_json::{Value, json};
use url::Url;

use crate::remote::{Arrived, Remote, connection, json_response, outbound, perform, response, verdict};

const LISTS: &str = r#"
connector: lists
version: 1
base_url: http://127.0.0.1:1
auth: { type: bearer, token: { connection: token } }
actions:
  next_url: { request: { get: /list, query: { a: "b" } }, pages: { items: $.value, next_url: $.next } }
  link: { request: { get: /list }, pages: { items: $, link: true, max_items: 5 } }
  cursor: { request: { get: /list, query: { limit: 2 } }, pages: { items: $.value, cursor: { from: $.paging.after, query: after } } }
  search: { request: { post: /list, json: { filter: x } }, pages: { items: $.value, cursor: { from: $.paging.after, body: page.after } } }
  offset: { request: { get: /list }, pages: { items: $.value, offset: { query: offset, size: { query: limit, value: 2 } } } }
  page: { request: { get: /list }, pages: { items: $.value, page: { query: page } } }
  xml: { request: { get: /list }, answer: xml, pages: { items: $.R.Item, cursor: { from: $.R.Next, query: marker } } }
  capped: { request: { get: /list }, pages: { items: $.value, page: { query: page, first: 0 }, max_items: 3 } }
"#;

fn lists() -> Connectors {
    let (connectors, problems) = Connectors::from_sources([("connectors/lists.yaml", LISTS)]);
    assert!(problems.is_empty(), "{problems:?}");
    connectors
}

async fn list(remote: &Remote, action: &str) -> Result<Value, millstream::connector::Failure> {
    limited(remote, action, Limits::default()).await
}

async fn limited(remote: &Remote, action: &str, limits: Limits) -> Result<Value, millstream::connector::Failure> {
    let dir = tempfile::tempdir().expect("a folder");
    let at = connection(dir.path(), "lists", json!({}), &[("token", "a-long-secret")]);
    let at = Connection { base_url: Some(remote.url("/v1")), limits, ..at };
    perform(&outbound(), &lists(), &format!("lists.{action}"), Some(&Arc::new(at)), json!({})).await
}

/// The parameter of this name.
fn asked(request: &Arrived, name: &str) -> Option<String> {
    let url = Url::parse(&format!("http://x{}", request.uri)).expect("a URL");
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn number(request: &Arrived, name: &str) -> u64 {
    asked(request, name).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Five items, two a page, however they are asked for.
fn five(request: &Arrived) -> Value {
    let at = [number(request, "after"), number(request, "offset")].into_iter().max().unwrap_or(0);
    let items: Vec<u64> = (at..(at + 2).min(5)).collect();
    let after = (at + 2 < 5).then(|| (at + 2).to_string());
    json!({"value": items, "paging": {"after": after}})
}

#[tokio::test]
async fn each_form_gathers_all_pages_with_credentials_and_the_request_as_it_was() {
    let all = json!({"items": [0, 1, 2, 3, 4], "more": false});

    let remote = Remote::start(|request| json_response(200, &five(&request))).await;
    for action in ["cursor", "offset"] {
        assert_eq!(list(&remote, action).await.as_ref(), Ok(&all), "{action}");
    }
    let uris: Vec<String> = remote.arrived().into_iter().map(|request| request.uri).collect();
    assert_eq!(uris[..3], ["/v1/list?limit=2", "/v1/list?limit=2&after=2", "/v1/list?limit=2&after=4"]);
    assert_eq!(uris[3..], ["/v1/list?limit=2", "/v1/list?limit=2&offset=2", "/v1/list?limit=2&offset=4"]);
    assert!(remote.arrived().iter().all(|request| request.headers["authorization"] == "Bearer a-long-secret"));

    // A URL, absolute or a path.
    let remote = Remote::start(|request: Arrived| {
        let at = number(&request, "at");
        let next = match at {
            0 => json!(format!("http://{}/v1/list?a=b&at=1", request.headers["host"])),
            1 => json!("/v1/list?at=2"),
            _ => Value::Null,
        };
        json_response(200, &json!({"value": [at], "next": next}))
    })
    .await;
    assert_eq!(list(&remote, "next_url").await, Ok(json!({"items": [0, 1, 2], "more": false})));

    // A header; no more than asked for.
    let remote = Remote::start(|request: Arrived| {
        let at = number(&request, "p");
        let next = format!(
            "<http://{}/x?a=1,2>; rel=\"prev\", </v1/list?p={}>; rel=\"last next\"",
            request.headers["host"],
            at + 1
        );
        response(200, &[("content-type", "application/json"), ("link", &next)], format!("[{at}, {at}]"))
    })
    .await;
    assert_eq!(list(&remote, "link").await, Ok(json!({"items": [0, 0, 1, 1, 2], "more": true})));
    assert_eq!(remote.arrived().len(), 3);

    // Numbers of pages, until one is empty; no more than asked for.
    let remote = Remote::start(|request: Arrived| {
        let at = number(&request, "page");
        json_response(200, &json!({"value": if at < 4 { vec![at] } else { vec![] }}))
    })
    .await;
    assert_eq!(list(&remote, "page").await, Ok(json!({"items": [1, 2, 3], "more": false})));
    assert_eq!(list(&remote, "capped").await, Ok(json!({"items": [0, 1, 2], "more": true})));
}

#[tokio::test]
async fn a_cursor_goes_into_the_body_and_in_xml_one_element_is_a_list_of_it() {
    let remote = Remote::start(|request: Arrived| {
        let body: Value = serde_json::from_str(&request.body).expect("JSON");
        assert_eq!(body["filter"], "x");
        let after = match body["page"]["after"].as_str() {
            None => json!("two"),
            Some(_) => json!(""),
        };
        json_response(200, &json!({"value": [body["page"]["after"]], "paging": {"after": after}}))
    })
    .await;
    assert_eq!(list(&remote, "search").await, Ok(json!({"items": [null, "two"], "more": false})));

    let remote = Remote::start(|request: Arrived| match asked(&request, "marker") {
        None => response(200, &[], "<R><Item><N>1</N></Item><Next>m</Next></R>"),
        Some(_) => response(200, &[], "<R><Next/></R>"),
    })
    .await;
    assert_eq!(list(&remote, "xml").await, Ok(json!({"items": [{"N": "1"}], "more": false})));
}

#[tokio::test]
async fn a_target_that_leads_astray_ends_in_an_error_and_not_in_a_loop() {
    // The same cursor again, the same URL again, the same page again.
    let remote =
        Remote::start(|_| json_response(200, &json!({"value": [1], "paging": {"after": "a"}, "next": "/v1/list"})))
            .await;
    for action in ["cursor", "next_url", "page", "offset"] {
        let before = remote.arrived().len();
        let failure = list(&remote, action).await;
        let requests = remote.arrived().len() - before;
        if action == "offset" {
            // A page that is not full is the last.
            assert_eq!((failure, requests), (Ok(json!({"items": [1], "more": false})), 1));
        } else {
            assert_eq!(verdict(&failure), "Permanent connector.pages", "{action}");
            assert!(requests <= 3, "{action}: {requests}");
        }
    }
    // Empty pages without end.
    let remote = Remote::start(|request: Arrived| {
        json_response(200, &json!({"value": [], "paging": {"after": number(&request, "after") + 1}}))
    })
    .await;
    assert_eq!(verdict(&list(&remote, "cursor").await), "Permanent connector.pages");
    assert_eq!(remote.arrived().len(), 1000);
    // Another host gets neither the request nor the credentials.
    let other = Remote::statuses(&[200]).await;
    let next = other.url("/v1/list");
    let remote = Remote::start(move |_| json_response(200, &json!({"value": [1], "next": next}))).await;
    assert_eq!(verdict(&list(&remote, "next_url").await), "Permanent outbound.other_host");
    assert!(other.arrived().is_empty());
    // More than an output may have.
    let remote = Remote::start(|request: Arrived| {
        json_response(200, &json!({"value": ["x".repeat(400_000)], "paging": {"after": number(&request, "after") + 1}}))
    })
    .await;
    assert_eq!(verdict(&list(&remote, "cursor").await), "Permanent outbound.response_too_large");
    // Something else than a list; a page that fails.
    let remote = Remote::start(|_| json_response(200, &json!({"value": 7}))).await;
    assert_eq!(verdict(&list(&remote, "cursor").await), "Permanent connector.pages");
    let remote = Remote::statuses(&[401]).await;
    assert_eq!(verdict(&list(&remote, "cursor").await), "Held connector.unauthorized");
}

#[tokio::test]
async fn each_page_keeps_to_the_limits() {
    let remote = Remote::start(|request| json_response(200, &five(&request))).await;
    let per = std::time::Duration::from_millis(300);
    let limits = Limits { rate: Some(Rate { requests: 1, per }), ..Limits::default() };
    let began = std::time::Instant::now();
    limited(&remote, "cursor", limits).await.expect("it ends");
    assert!(began.elapsed() >= per * 2, "{:?}", began.elapsed());
}
