//! `http.request` and the client below it: what is sent, and what each way of failing counts as.

use std::sync::Arc;
use std::time::Duration;

use millstream::connector::{Class, Connectors};
use millstream::outbound::{Call, Outbound, Secrets};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::remote::{KEY, Remote, connection, get, http, json_response, outbound, perform, raw, response, verdict};

#[tokio::test]
async fn a_request_carries_what_was_asked_and_its_idempotency_key() {
    let remote = Remote::start(|_| json_response(201, &json!({"id": 7}))).await;
    let input = json!({
        "method": "post",
        "url": remote.url("/leads?a=1"),
        "query": {"q": "O'Brien & Sons", "tag": ["x", "y"], "none": null},
        "headers": {"X-Source": "test"},
        "json": {"big": 9007199254740993u64},
    });
    let output = http(&outbound(), input).await.unwrap();
    assert_eq!((&output["status"], &output["body"]), (&json!(201), &json!({"id": 7})));
    let arrived = &remote.arrived()[0];
    assert_eq!(arrived.method, "POST");
    assert_eq!(arrived.uri, "/leads?a=1&q=O%27Brien+%26+Sons&tag=x&tag=y");
    assert_eq!(arrived.body, r#"{"big":9007199254740993}"#);
    assert_eq!(arrived.headers["idempotency-key"], KEY.to_string());
    assert_eq!(arrived.headers["content-type"], "application/json");
    assert_eq!(arrived.headers["x-source"], "test");
    assert!(arrived.headers["user-agent"].starts_with("Millstream/"));
}

#[tokio::test]
async fn a_get_carries_no_idempotency_key() {
    let remote = Remote::statuses(&[200]).await;
    get(&outbound(), &remote.url("/")).await.unwrap();
    assert!(!remote.arrived()[0].headers.contains_key("idempotency-key"));
}

#[tokio::test]
async fn digits_of_numbers_come_back_as_they_were_sent() {
    let text = r#"{"a":9007199254740993,"b":0.1000000000000000055,"c":1e400}"#;
    let remote = Remote::start(move |_| response(200, &[("content-type", "application/json")], text)).await;
    let output = get(&outbound(), &remote.url("/")).await.unwrap();
    assert_eq!(output["body"].to_string(), text);
}

#[tokio::test]
async fn each_status_counts_as_the_design_says() {
    let mut table = String::new();
    for status in [200, 204, 301, 302, 307, 308, 400, 401, 403, 404, 408, 422, 429, 500, 502, 503] {
        let remote = Remote::start(move |_| {
            response(status, &[("location", "http://127.0.0.1:1/elsewhere?token=x"), ("retry-after", "2")], "why")
        })
        .await;
        let posted = http(&outbound(), json!({"url": remote.url("/"), "body": "x"})).await;
        let got = get(&outbound(), &remote.url("/")).await;
        assert_eq!(remote.arrived().len(), 2, "one request each, whatever the answer");
        let short = |result: &Result<_, millstream::connector::Failure>| match result {
            Ok(_) => "done".to_owned(),
            Err(failure) => {
                assert_eq!(failure.status, Some(status));
                format!("{} {:?}", verdict(&Err(failure.clone())), failure.wait_ms)
            }
        };
        table += &format!("{status} POST {} | GET {}\n", short(&posted), short(&got));
    }
    insta::assert_snapshot!(table, @r"
    200 POST done | GET done
    204 POST done | GET done
    301 POST Permanent outbound.redirect None | GET Permanent outbound.redirect None
    302 POST Permanent outbound.redirect None | GET Permanent outbound.redirect None
    307 POST Permanent outbound.redirect None | GET Permanent outbound.redirect None
    308 POST Permanent outbound.redirect None | GET Permanent outbound.redirect None
    400 POST Permanent http.rejected None | GET Permanent http.rejected None
    401 POST Permanent http.rejected None | GET Permanent http.rejected None
    403 POST Permanent http.rejected None | GET Permanent http.rejected None
    404 POST Permanent http.rejected None | GET Permanent http.rejected None
    408 POST Unknown http.unavailable Some(2000) | GET Retry http.unavailable Some(2000)
    422 POST Permanent http.rejected None | GET Permanent http.rejected None
    429 POST Throttled http.throttled Some(2000) | GET Throttled http.throttled Some(2000)
    500 POST Unknown http.unavailable Some(2000) | GET Retry http.unavailable Some(2000)
    502 POST Unknown http.unavailable Some(2000) | GET Retry http.unavailable Some(2000)
    503 POST Throttled http.throttled Some(2000) | GET Throttled http.throttled Some(2000)
    ");
}

#[tokio::test]
async fn a_refused_connection_certainly_did_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let result = http(&outbound(), json!({"url": format!("http://{address}/"), "body": "x"})).await;
    assert_eq!(verdict(&result), "Retry outbound.connect");
}

/// Reads a request's head, so that what follows is after sending.
async fn head(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => seen.extend_from_slice(&buffer[..count]),
        }
    }
}

#[tokio::test]
async fn a_connection_lost_after_sending_may_have_happened() {
    let (address, count) = raw(|mut stream| async move { head(&mut stream).await }).await;
    let result = http(&outbound(), json!({"url": format!("http://{address}/"), "body": "x"})).await;
    assert_eq!(verdict(&result), "Unknown outbound.connection_lost");
    assert_eq!(*count.lock().unwrap(), 1, "nothing repeats a call on its own");
}

#[tokio::test]
async fn an_answer_that_ends_too_soon_may_have_happened() {
    let (address, _) = raw(|mut stream| async move {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":").await.unwrap();
    })
    .await;
    let result = http(&outbound(), json!({"url": format!("http://{address}/"), "body": "x"})).await;
    assert_eq!(verdict(&result), "Unknown outbound.connection_lost");
}

#[tokio::test]
async fn an_answer_that_drips_ends_at_the_deadline() {
    let (address, _) = raw(|mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let connectors = Connectors::shipped();
    let input = json!({"url": format!("http://{address}/"), "body": "x"});
    let (connector, _) = connectors.action("http.request").unwrap();
    let call = Call {
        flow: "test",
        connector,
        action: "request",
        connection: None,
        input: &input,
        key: KEY,
        timeout: Some(Duration::from_millis(300)),
        output_limit: 1024 * 1024,
    };
    let result = outbound().perform(call).await;
    assert_eq!(verdict(&result), "Unknown outbound.timeout");
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_cut_off_also_if_it_was_small_on_the_wire() {
    let plain = Remote::start(|_| response(200, &[], vec![b'x'; 1024 * 1024 + 1])).await;
    assert_eq!(verdict(&get(&outbound(), &plain.url("/")).await), "Permanent outbound.response_too_large");

    let exact = Remote::start(|_| response(200, &[], vec![b'x'; 1024 * 1024])).await;
    assert!(get(&outbound(), &exact.url("/")).await.is_ok());

    let bomb = Remote::start(|_| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 200 * 1024 * 1024), &mut gzip).unwrap();
        response(200, &[("content-encoding", "gzip")], gzip.finish().unwrap())
    })
    .await;
    assert_eq!(verdict(&get(&outbound(), &bomb.url("/")).await), "Permanent outbound.response_too_large");
}

#[tokio::test]
async fn an_answer_that_says_it_is_json_and_is_not_is_a_failure() {
    let json = &[("content-type", "application/json; charset=utf-8")];
    let remote = Remote::start(|_| response(200, json, "<html>Sorry</html>")).await;
    assert_eq!(verdict(&get(&outbound(), &remote.url("/")).await), "Retry http.unexpected_answer");
}

#[tokio::test]
async fn a_line_break_in_a_header_sends_nothing() {
    let remote = Remote::statuses(&[200]).await;
    for value in ["a\r\nX-Evil: 1", "a\nb", "a\0b"] {
        let result = http(&outbound(), json!({"url": remote.url("/"), "headers": {"X-A": value}})).await;
        assert_eq!(verdict(&result), "Permanent outbound.invalid_header");
    }
    for name in ["X A", "X:A", "Host", "Transfer-Encoding", "content-length", "X\r\nY"] {
        let result = http(&outbound(), json!({"url": remote.url("/"), "headers": {name: "1"}})).await;
        assert_eq!(verdict(&result), "Permanent outbound.invalid_header");
    }
    assert_eq!(remote.arrived().len(), 0);
}

#[tokio::test]
async fn credentials_go_to_their_own_host_only() {
    let own = Remote::statuses(&[200]).await;
    let other = Remote::statuses(&[200]).await;
    let dir = tempfile::tempdir().unwrap();
    let settings = json!({"base_url": own.url("/api")});
    let connection = Arc::new(connection(dir.path(), "http", settings, &[("token", "canary-token")]));
    let connectors = Connectors::shipped();
    let outbound = outbound();
    let call = |url: String| perform(&outbound, &connectors, "http.request", Some(&connection), json!({"url": url}));

    call("things?a=1".into()).await.unwrap();
    call(own.url("/elsewhere")).await.unwrap();
    let uris: Vec<String> = own.arrived().iter().map(|arrived| arrived.uri.clone()).collect();
    assert_eq!(uris, ["/api/things?a=1", "/elsewhere"]);
    assert!(own.arrived().iter().all(|arrived| arrived.headers["authorization"] == "Bearer canary-token"));

    assert_eq!(verdict(&call(other.url("/")).await), "Permanent outbound.other_host");
    // A sibling whose name begins as the base's does is another place.
    for out in ["../../x", "../apix/secret", "../api2", "..%2fapi2/../../api2"] {
        assert_eq!(verdict(&call(out.into()).await), "Permanent http.input", "{out}");
    }
    assert_eq!(own.arrived().len(), 2);
    assert_eq!(other.arrived().len(), 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_takes_no_credentials_along() {
    let other = Remote::statuses(&[200]).await;
    let to = other.url("/");
    let own = Remote::start(move |_| response(307, &[("location", to.as_str())], "")).await;
    let dir = tempfile::tempdir().unwrap();
    let settings = json!({"base_url": own.url("/")});
    let connection = Arc::new(connection(dir.path(), "http", settings, &[("token", "canary-token")]));
    let connectors = Connectors::shipped();
    let result = perform(&outbound(), &connectors, "http.request", Some(&connection), json!({"url": "/"})).await;
    assert_eq!(verdict(&result), "Permanent outbound.redirect");
    assert_eq!(other.arrived().len(), 0);
}

#[tokio::test]
async fn a_target_that_repeats_the_credentials_does_not_bring_them_into_the_output() {
    let remote = Remote::start(|arrived| {
        let seen = arrived.headers["authorization"].clone();
        response(if arrived.uri.ends_with("bad") { 400 } else { 200 }, &[("x-echo", seen.as_str())], seen.clone())
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let settings = json!({"base_url": remote.url("/"), "username": "me"});
    let connection = Arc::new(connection(dir.path(), "http", settings, &[("password", "canary-password")]));
    let connectors = Connectors::shipped();
    let outbound = outbound();
    for path in ["/good", "/bad"] {
        let result = perform(&outbound, &connectors, "http.request", Some(&connection), json!({"url": path})).await;
        let text = format!("{result:?}");
        // `bWU6Y2FuYXJ5` is base64 of `me:canary`.
        assert!(text.contains("[redacted]") && !text.contains("canary") && !text.contains("bWU6Y2FuYXJ5"), "{text}");
    }
}

#[tokio::test]
async fn what_surrounds_a_secret_does_not_hide_it_from_the_search_for_it() {
    let remote = Remote::start(|arrived| {
        let seen = arrived.headers["authorization"].clone();
        response(200, &[("x-echo", seen.as_str())], seen.clone())
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let settings = json!({"base_url": remote.url("/")});
    for around in ["canary-token\r\n", "canary-token\n\n", " canary-token ", "\tcanary-token"] {
        let connection = Arc::new(connection(dir.path(), "http", settings.clone(), &[("token", around)]));
        let connectors = Connectors::shipped();
        let result = perform(&outbound(), &connectors, "http.request", Some(&connection), json!({"url": "/"})).await;
        let text = format!("{result:?}");
        assert!(text.contains("[redacted]") && !text.contains("canary"), "{around:?}: {text}");
        assert_eq!(remote.arrived().last().unwrap().headers["authorization"], "Bearer canary-token");
    }
    // Line ends are no part of a password, blanks are.
    let settings = json!({"base_url": remote.url("/"), "username": "me"});
    let connection = Arc::new(connection(dir.path(), "http", settings, &[("password", "canary word \n")]));
    let connectors = Connectors::shipped();
    perform(&outbound(), &connectors, "http.request", Some(&connection), json!({"url": "/"})).await.unwrap();
    assert_eq!(remote.arrived().last().unwrap().headers["authorization"], "Basic bWU6Y2FuYXJ5IHdvcmQg");
}

#[tokio::test]
async fn a_missing_credential_holds_the_run_and_says_where_it_belongs() {
    let dir = tempfile::tempdir().unwrap();
    let settings = json!({"base_url": "http://127.0.0.1:1/"});
    let mut connection = connection(dir.path(), "http", settings, &[]);
    let connectors = Connectors::shipped();
    for (source, place) in [
        (json!({"env": "MILLSTREAM_TEST_UNSET"}), "the environment variable `MILLSTREAM_TEST_UNSET`"),
        (json!({"secret": "CRM"}), "the vault has no secret `CRM`"),
        (json!({"file": "nowhere"}), "nowhere"),
    ] {
        connection.credentials = [("token".to_owned(), serde_json::from_value(source).unwrap())].into();
        let connection = Arc::new(connection.clone());
        let result = perform(&outbound(), &connectors, "http.request", Some(&connection), json!({"url": "/"})).await;
        let failure = result.unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (Class::Held, "secret.missing"));
        assert!(failure.message.contains(place) && failure.message.contains("`crm`"), "{}", failure.message);
    }
}

#[tokio::test]
async fn an_input_that_is_not_what_the_action_takes_sends_nothing() {
    for input in
        [json!({}), json!({"url": 5}), json!({"url": "/x", "bdy": "x"}), json!({"url": "http://a/", "method": "BREW"})]
    {
        assert_eq!(verdict(&http(&outbound(), input).await), "Permanent connector.input");
    }
    let two = json!({"url": "http://a/", "json": 1, "body": "x"});
    assert_eq!(verdict(&http(&outbound(), two).await), "Permanent http.input");
    assert_eq!(verdict(&http(&outbound(), json!({"url": "/relative"})).await), "Permanent http.input");
    assert_eq!(verdict(&http(&outbound(), json!({"url": "http://u:p@a/"})).await), "Permanent http.input");
}

#[test]
fn a_preview_shows_the_request_without_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let settings = json!({"base_url": "https://api.example.com/v1"});
    let connection = Arc::new(connection(dir.path(), "http", settings, &[("token", "canary-token")]));
    let connectors = Connectors::shipped();
    let (connector, _) = connectors.action("http.request").unwrap();
    let input = json!({"url": "leads", "json": {"a": 1}});
    let connection = Some(&connection);
    let call = Call {
        flow: "test",
        connector,
        action: "request",
        connection,
        input: &input,
        key: KEY,
        timeout: None,
        output_limit: 1,
    };
    let preview = Outbound::preview(call).unwrap();
    assert_eq!(
        preview,
        json!({
            "method": "POST",
            "url": "https://api.example.com/v1/leads",
            "headers": {"Content-Type": "application/json", "Idempotency-Key": KEY.to_string()},
            "body": {"a": 1},
        })
    );
}

#[tokio::test]
async fn a_file_of_roots_that_cannot_be_used_is_an_error_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let config = millstream::config::Outbound { ca_file: Some(path.clone()), ..Default::default() };
    assert!(Outbound::new(&config, Secrets::default()).is_err());
    std::fs::write(&path, "not a certificate").unwrap();
    assert!(Outbound::new(&config, Secrets::default()).is_err());
}
