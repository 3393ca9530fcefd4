//! Requests on the edge of HTTP: too many headers, framing that two readers may see differently, line breaks in data.
//!
//! | case | what is sent | test |
//! |---|---|---|
//! | 74 | 101 headers, a header of 500 KB, a URL of 70 KB | rows of `docs/reference/http.md`, `http.rs` |
//! | 75 | both lengths, two lengths, an odd Transfer-Encoding | rows of `http.rs`, and `framing_that_could_be_read_in_two_ways_gets_one_answer_and_an_end` |
//! | 77 | line breaks, NUL and `../` that are mapped into a header or a URL | `data_in_a_header_or_a_url_makes_one_request_or_none` |
//! | 78 | GET on a hook | `a_get_on_a_hook_is_told_what_is_taken_and_begins_no_run` |

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::app::{App, PATIENCE, Remote, http, told};

const NOTE: (&str, &str) =
    ("flows/note.yaml", "trigger: {type: request}\nsteps:\n  - id: note\n    set: {seen: true}\n");

/// All that comes until the server closes; `None` if it does not.
fn send(app: &App, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.public).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    String::from_utf8_lossy(&got).into_owned()
}

#[test]
fn framing_that_could_be_read_in_two_ways_gets_one_answer_and_an_end() {
    let app = App::with(&[NOTE, ("millstream.yaml", "limits: {header_seconds: 2, idle_seconds: 2}\n")]);
    let path = app.hook("note");
    // What a reader who believes the other header would take for a request of its own.
    let smuggled = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}");
    for framing in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "content-length: 2\r\ncontent-length: 3",
        "content-length: 2, 3",
        "content-length: +2",
        "content-length: -1",
        "content-length: 0x2",
        "content-length: 99999999999999999999",
        "transfer-encoding: identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: gzip",
        "transfer-encoding : chunked",
        "transfer-encoding: \u{b}chunked",
        " content-length: 2",
        "x: y\n content-length: 2",
    ] {
        let before = app.metric("millstream_requests_accepted_total");
        let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n0\r\n\r\n{smuggled}");
        let answer = send(&app, request.as_bytes());
        let answers = answer.matches("HTTP/1.1 ").count();
        let accepted = app.metric("millstream_requests_accepted_total") - before;
        assert!(answers <= 1 && accepted <= 1, "{framing}: {answers} answers, {accepted} runs: {answer}");
        let status = answer.split(' ').nth(1).unwrap_or("closed");
        let fits = matches!(status, "400" | "413" | "closed") || framing.contains("chunked") && status == "202";
        assert!(fits, "{framing}: {answer}");
    }
}

#[test]
fn a_get_on_a_hook_is_told_what_is_taken_and_begins_no_run() {
    let app = App::with(&[NOTE]);
    let path = app.hook("note");
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let answer = http(app.public, method, &path, &[], b"");
        // A HEAD has a length and no body.
        let Ok(answer) = answer else { continue };
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
    }
    assert_eq!(app.runs("limit=10").len(), 0);
}

const CONNECTOR: &str = r#"
connector: api
version: 1
settings: { type: object, required: [url], properties: { url: { type: string } } }
base_url: "{{ settings.url }}/v1"
actions:
  get:
    input: { type: object, properties: { name: { type: string } } }
    request: { get: "/things/{{ input.name }}" }
"#;

#[test]
fn data_in_a_header_or_a_url_makes_one_request_or_none() {
    let remote = Remote::start();
    let url = remote.url("/v1/x");
    let call = |with: &str| {
        format!(
            "trigger: {{type: request}}\nsteps:\n  - id: call\n    action: http.request\n    with: {{{with}}}\n    retry: none\n"
        )
    };
    let header = call(&format!("url: \"{url}\", headers: {{x-name: \"{{{{trigger.body.v}}}}\"}}"));
    let query = call(&format!("url: \"{url}\", query: {{name: \"{{{{trigger.body.v}}}}\"}}"));
    let in_url = call(&format!("url: \"{url}?name={{{{trigger.body.v}}}}\""));
    let below = "trigger: {type: request}\nsteps:\n  - id: call\n    action: http.request\n    connection: base\n    with: {url: \
                 \"{{trigger.body.v}}\"}\n    retry: none\n";
    let declared = "trigger: {type: request}\nsteps:\n  - id: call\n    action: api.get\n    connection: api\n    with: {name: \
                    \"{{trigger.body.v}}\"}\n    retry: none\n";
    let answered = "trigger: {type: request}\nsteps:\n  - {id: answer, response: {status: 200, headers: {x-name: \
                    \"{{trigger.body.v}}\"}, body: ok}}\n";
    let connections = format!(
        "api: {{connector: api, settings: {{url: \"{base}\"}}}}\nbase: {{connector: http, settings: {{base_url: \"{base}/v1\"}}}}\n",
        base = remote.url("")
    );
    let app = App::with(&[
        ("connectors/api.yaml", CONNECTOR),
        ("connections.yaml", &connections),
        ("flows/header.yaml", &header),
        ("flows/query.yaml", &query),
        ("flows/in_url.yaml", &in_url),
        ("flows/below.yaml", below),
        ("flows/declared.yaml", declared),
        ("flows/answered.yaml", answered),
    ]);
    for nasty in [
        "a\r\nx-evil: 1",
        "a\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
        "a\nb",
        "a\0b",
        "../../evil",
        "..%2f..%2fevil",
        "a/../../evil",
        "a?b#c",
    ] {
        for flow in ["header", "query", "in_url", "below", "declared"] {
            let before = remote.seen().len();
            let run = app.ended(&app.post(flow, &json!({"v": nasty})).run());
            let seen = remote.seen().split_off(before);
            assert!(seen.len() <= 1, "{flow} {nasty:?}: {} requests", seen.len());
            if flow == "header" && nasty.contains(['\r', '\n', '\0']) {
                assert_eq!((told(&run).as_str(), seen.len()), ("call #1 failed outbound.invalid_header\nfailed", 0));
            }
            for seen in seen {
                assert!(seen.header("x-evil").is_none(), "{flow} {nasty:?}: {seen:?}");
                assert!(seen.path.starts_with("/v1/"), "{flow} {nasty:?}: {}", seen.path);
            }
        }
        let answer = app.post("answered", &json!({"v": nasty}));
        assert_eq!((answer.status, answer.text.as_str()), (200, "ok"), "{nasty:?}: {answer:?}");
        assert_eq!(answer.header("x-evil"), None);
    }
}
