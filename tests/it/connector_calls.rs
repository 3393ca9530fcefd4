//! Calls of declared connectors as they go out and as their answers are judged: bodies, media types, XML, rules.

use std::sync::Arc;

use millstream::connector::{Connection, Connectors};
use serde_json::{Value, json};

use crate::remote::{Remote, connection, outbound, perform, response, verdict};

const FILES: &str = r#"
connector: files
version: 1
base_url: http://127.0.0.1:1
error_text: [$.problem.text, $.Error.Message]
errors:
  - { status: [403], header: { x-remaining: "0" }, then: throttled, wait: ["reset:x-reset"] }
  - { status: [403], header: { x-state: { matches: "^closed" }, x-kind: [a, b] }, then: retry }
  - { path: $.Error.Code, is: [SlowDown], then: throttled }
  - { path: $.state, is: [busy], then: permanent }
actions:
  upload:
    input: { type: object, additionalProperties: false, properties: { name: { type: string }, data: { type: string }, text: { type: string } } }
    request:
      post: /upload
      multipart: { note: "{{ input.text }}", none: "{{ input.name }}", file: { filename: "a \"b\".bin", content_type: image/png, base64: "{{ input.data }}" } }
  csv:
    input: { type: object, properties: { text: { type: string } } }
    request: { put: /csv, body: "{{ input.text }}", content_type: text/csv }
  bytes:
    input: { type: object, properties: { key: { type: string }, data: { type: string } } }
    request: { put: '/bytes/{{split input.key "/"}}', base64: "{{ input.data }}" }
  read:
    request: { get: /read }
    answer: base64
  text:
    request: { get: /text }
    answer: text
  xml:
    request: { get: /xml }
    answer: xml
    output: { name: $.Things.Thing.Name }
  act:
    request: { post: /act }
    errors:
      - { path: $.state, is: [busy], then: retry }
    success: { path: $.state, is: [done] }
"#;

fn files() -> Connectors {
    let (connectors, problems) = Connectors::from_sources([("connectors/files.yaml", FILES)]);
    assert!(problems.is_empty(), "{problems:?}");
    connectors
}

async fn call(remote: &Remote, action: &str, input: Value) -> Result<Value, millstream::connector::Failure> {
    let dir = tempfile::tempdir().expect("a folder");
    let at = Connection { base_url: Some(remote.url("")), ..connection(dir.path(), "files", json!({}), &[]) };
    perform(&outbound(), &files(), &format!("files.{action}"), Some(&Arc::new(at)), input).await
}

#[tokio::test]
async fn bodies_are_files_text_or_bytes_and_say_what_they_are() {
    let remote = Remote::start(|_| response(200, &[], "{}")).await;
    call(&remote, "upload", json!({"data": "aGk=", "text": "O'Brien"})).await.expect("it is taken");
    call(&remote, "csv", json!({"text": "a;b\n1;2\n"})).await.expect("it is taken");
    call(&remote, "bytes", json!({"key": "reports/2026 jan.csv", "data": "aGkh"})).await.expect("it is taken");
    let arrived = remote.arrived();
    let boundary = arrived[0].headers["content-type"].strip_prefix("multipart/form-data; boundary=").expect("one");
    assert_eq!(
        arrived[0].body.replace(boundary, "B"),
        "--B\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nO'Brien\r\n\
         --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a %22b%22.bin\"\r\n\
         Content-Type: image/png\r\n\r\nhi\r\n--B--\r\n"
    );
    assert_eq!((&*arrived[1].headers["content-type"], &*arrived[1].body), ("text/csv", "a;b\n1;2\n"));
    assert_eq!((&*arrived[2].headers["content-type"], &*arrived[2].body), ("application/octet-stream", "hi!"));
    assert_eq!(arrived[2].uri, "/bytes/reports/2026%20jan.csv", "a list is segments, each encoded by itself");
    // A list cannot lead elsewhere either.
    for key in ["a/../b", "a//b", ""] {
        let refused = call(&remote, "bytes", json!({"key": key, "data": ""})).await;
        assert_eq!(verdict(&refused), "Permanent connector.invalid_path", "{key}");
    }
    let refused = call(&remote, "bytes", json!({"key": "a", "data": "not base64!"})).await;
    assert_eq!(verdict(&refused), "Permanent connector.input");
    assert_eq!(remote.arrived().len(), 3, "nothing of that was sent");
}

#[tokio::test]
async fn answers_may_be_bytes_or_xml_and_errors_that_are_xml_are_understood() {
    let remote = Remote::start(|_| response(200, &[("content-type", "image/png")], vec![0u8, 255, 1])).await;
    assert_eq!(call(&remote, "read", json!({})).await, Ok(json!("AP8B")));
    let remote =
        Remote::start(|_| response(200, &[], "<?xml version=\"1.0\"?><Things><Thing><Name>a</Name></Thing></Things>"))
            .await;
    assert_eq!(call(&remote, "xml", json!({})).await, Ok(json!({"name": "a"})));
    let remote = Remote::start(|_| response(200, &[], "no xml")).await;
    assert_eq!(verdict(&call(&remote, "xml", json!({})).await), "Unknown connector.unexpected_answer");
    // Text is text, whatever it looks like.
    for said in ["{\"a\": 1}", "7", "", "ok"] {
        let remote = Remote::start(move |_| response(200, &[("content-type", "application/json")], said)).await;
        assert_eq!(call(&remote, "text", json!({})).await, Ok(json!(said)));
    }
    // XML where JSON is asked for is no JSON, whatever it says.
    let remote = Remote::start(|_| response(200, &[("content-type", "text/xml")], "<a/>")).await;
    assert_eq!(verdict(&call(&remote, "csv", json!({})).await), "Unknown connector.unexpected_answer");

    let slow = "<Error><Code>SlowDown</Code><Message>Please reduce your rate</Message></Error>";
    let remote =
        Remote::start(move |_| response(503, &[("content-type", "application/xml; charset=utf-8")], slow)).await;
    for action in ["read", "csv"] {
        let failure = call(&remote, action, json!({})).await.expect_err("it is refused");
        assert_eq!(failure.code, "connector.throttled");
        assert!(failure.message.ends_with(": Please reduce your rate"), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_rule_may_ask_headers_and_an_actions_own_rules_come_first() {
    let forbidden = |headers: &'static [(&'static str, &'static str)]| async move {
        let remote = Remote::start(move |_| response(403, headers, "{}")).await;
        call(&remote, "act", json!({})).await.expect_err("it is refused")
    };
    let throttled = forbidden(&[("X-Remaining", "0"), ("x-reset", "7")]).await;
    assert_eq!((throttled.code.as_str(), throttled.wait_ms), ("connector.throttled", Some(7_000)));
    assert_eq!(forbidden(&[("x-remaining", "1")]).await.code, "connector.rejected");
    assert_eq!(forbidden(&[("x-state", "closed for lunch"), ("x-kind", "b")]).await.code, "connector.retry");
    assert_eq!(forbidden(&[("x-state", "closed for lunch"), ("x-kind", "c")]).await.code, "connector.rejected");

    let remote = Remote::start(|_| response(200, &[], r#"{"state": "busy"}"#)).await;
    assert_eq!(verdict(&call(&remote, "act", json!({})).await), "Retry connector.retry");
    assert_eq!(verdict(&call(&remote, "csv", json!({})).await), "Permanent connector.rejected");
    let remote = Remote::start(|_| response(200, &[], r#"{"state": "unheard of"}"#)).await;
    assert_eq!(verdict(&call(&remote, "act", json!({})).await), "Unknown connector.unexpected_answer");
    assert!(call(&remote, "csv", json!({})).await.is_ok(), "the other action asks for nothing");
}
