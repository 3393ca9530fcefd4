//! A connector's file, the requests it makes and what it thinks of answers.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

fn connection(connector: &str, settings: Value) -> Connection {
    Connection {
        name: "crm".into(),
        connector: connector.into(),
        settings,
        credentials: BTreeMap::new(),
        base_url: None,
        token_url: None,
        limits: Limits::default(),
        breaker: None,
        dir: PathBuf::new(),
    }
}

fn crm() -> Connection {
    let settings = json!({"org_url": "https://contoso.crm.dynamics.com/", "tenant_id": "t", "client_id": "c"});
    connection("dynamics365", settings)
}

const KEY: Uuid = Uuid::from_u128(0x0190_0000_0000_5000_8000_0000_0000_0007);

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn request_of(name: &str, connection: &Connection, input: Value) -> Result<HttpRequest, Failure> {
    let connectors = Connectors::shipped();
    let (connector, action) = connectors.action(name).unwrap();
    let context = Context::new(connector, action, Some(connection), &input, KEY, now());
    prepare(connector, action, Some(connection), &context)
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Answer { status, headers, body: body.into(), cut: false }
}

fn judged(name: &str, answer: &Answer) -> Outcome {
    let connectors = Connectors::shipped();
    let (connector, action) = connectors.action(name).unwrap();
    let connection = crm();
    let context = Context::new(connector, action, Some(&connection), &json!({}), KEY, now());
    judge(connector, action, context, answer, now())
}

/// Class, code and wait in one line.
fn verdict(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(value) => format!("done {value}"),
        Outcome::Unauthorized(failure) => format!("unauthorized {:?} {}", failure.class, failure.code),
        Outcome::Failed(failure) => format!("{:?} {} {:?}", failure.class, failure.code, failure.wait_ms),
    }
}

#[test]
fn the_shipped_connectors_have_no_problems() {
    for (file, text) in SHIPPED {
        let name = Connector::parse(file, text).map(|connector| connector.name);
        assert_eq!(name.map(|name| format!("connectors/{name}.yaml")).as_deref(), Ok(*file));
    }
    let connectors = Connectors::shipped();
    assert_eq!(connectors.all().count(), SHIPPED.len());
    let doubt = |name: &str| connectors.action(name).unwrap().1.on_doubt;
    assert_eq!(doubt("dynamics365.create_record"), OnDoubt::Repeat);
    assert_eq!(doubt("slack.post_message"), OnDoubt::Repeat);
    assert_eq!(doubt("http.request"), OnDoubt::Repeat);
    let need = |name: &str| connectors.get(name).unwrap().connection;
    assert_eq!((need("dynamics365"), need("http"), need("sql")), (Need::Required, Need::Optional, Need::Required));
}

#[test]
fn a_lead_becomes_one_patch_that_only_creates() {
    let input =
        json!({"table": "leads", "record": {"subject": "O'Brien & Sons", "numberofemployees": 9007199254740993u64}});
    let request = request_of("dynamics365.create_record", &crm(), input).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&request.preview()).unwrap(), @r#"
    {
      "method": "PATCH",
      "url": "https://contoso.crm.dynamics.com/api/data/v9.2/leads(01900000-0000-5000-8000-000000000007)",
      "headers": {
        "Accept": "application/json",
        "OData-Version": "4.0",
        "OData-MaxVersion": "4.0",
        "If-None-Match": "*",
        "Prefer": "return=representation",
        "MSCRM.SuppressDuplicateDetection": "false",
        "Content-Type": "application/json"
      },
      "body": {
        "subject": "O'Brien & Sons",
        "numberofemployees": 9007199254740993
      }
    }
    "#);
}

#[test]
fn a_default_of_the_input_can_be_overridden() {
    let input = json!({"table": "leads", "record": {}, "detect_duplicates": false});
    let request = request_of("dynamics365.create_record", &crm(), input).unwrap();
    assert!(request.headers.contains(&("MSCRM.SuppressDuplicateDetection".into(), "true".into())));
}

#[test]
fn keys_of_the_body_that_are_missing_are_left_out_where_the_connector_says_so() {
    let slack = connection("slack", json!({}));
    let request = request_of("slack.post_message", &slack, json!({"channel": "c", "text": "t"})).unwrap();
    assert_eq!(request.preview()["body"], json!({"channel": "c", "text": "t"}));
}

const PATHS: &str = r#"
connector: paths
version: 1
base_url: https://api.example.com/v1/
headers: { X-Name: "{{ input.name }}" }
actions:
  get:
    input: { type: object, properties: { name: { type: string }, tags: { type: array } } }
    request: { get: "/things/{{ input.name }}/parts", query: { q: "{{ input.name }}", "n n": 5 } }
"#;

fn at_path(name: &str) -> Result<HttpRequest, Failure> {
    let connector = Connector::parse("paths.yaml", PATHS).unwrap();
    let action = &connector.actions["get"];
    let context = Context::new(&connector, action, None, &json!({"name": name}), KEY, now());
    prepare(&connector, action, None, &context)
}

#[test]
fn data_can_never_change_the_path_or_the_headers() {
    let request = at_path("a/../b?c#d %2e O'Brien é").unwrap();
    assert_eq!(
        request.url.as_str(),
        "https://api.example.com/v1/things/a%2F..%2Fb%3Fc%23d%20%252e%20O%27Brien%20%C3%A9/parts\
         ?q=a%2F..%2Fb%3Fc%23d+%252e+O%27Brien+%C3%A9&n+n=5"
    );
    let code = |name: &str| at_path(name).unwrap_err().code;
    assert_eq!(code(".."), "connector.invalid_path");
    assert_eq!(code("."), "connector.invalid_path");
    assert_eq!(code(""), "connector.invalid_path");
    assert_eq!(code("a\r\nX-Other: b"), "outbound.invalid_header");
    assert_eq!(code("a\0"), "outbound.invalid_header");
}

#[test]
fn the_answers_of_dataverse_are_judged_by_body_before_status() {
    let of = |answer: &Answer| verdict(&judged("dynamics365.create_record", answer));
    let id = format!(r#"done {{"id":"{KEY}"}}"#);
    assert_eq!(of(&answer(204, &[], "")), id);
    assert_eq!(of(&answer(201, &[], r#"{"leadid":"x"}"#)), id);
    assert_eq!(of(&answer(412, &[], r#"{"error":{"code":"0x80060882","message":"exists"}}"#)), id);
    let duplicate = r#"{"error":{"code":"0x80040333","message":"A record was not created"}}"#;
    assert_eq!(of(&answer(500, &[], duplicate)), "Permanent connector.duplicate None");
    assert_eq!(of(&answer(412, &[], duplicate)), "Permanent connector.duplicate None");
    assert_eq!(of(&answer(401, &[], "")), "unauthorized Held connector.unauthorized");
    assert_eq!(of(&answer(400, &[], r#"{"error":{"code":"x"}}"#)), "Permanent connector.rejected None");
    assert_eq!(of(&answer(500, &[], "")), "Unknown connector.in_doubt None");
    assert_eq!(of(&answer(408, &[], "")), "Unknown connector.in_doubt None");
    assert_eq!(of(&answer(302, &[("location", "/login")], "")), "Permanent outbound.redirect None");
    // A sign-in page with a good status is no success.
    assert_eq!(of(&answer(200, &[], "<html>Sign in</html>")), "Unknown connector.unexpected_answer None");
    assert_eq!(of(&answer(206, &[], "{}")), "Unknown connector.unexpected_answer None");
}

#[test]
fn a_wait_is_read_from_seconds_and_dates_and_junk_is_no_wait() {
    let of = |header: &str| verdict(&judged("dynamics365.create_record", &answer(429, &[("retry-after", header)], "")));
    assert_eq!(of("2"), "Throttled connector.throttled Some(2000)");
    assert_eq!(of("0.5"), "Throttled connector.throttled Some(500)");
    assert_eq!(of("Sun, 01 Mar 2026 12:01:00 GMT"), "Throttled connector.throttled Some(60000)");
    assert_eq!(of("Sun, 01 Mar 2020 12:01:00 GMT"), "Throttled connector.throttled Some(0)");
    assert_eq!(of("1000000000"), "Throttled connector.throttled Some(1000000000000)");
    for junk in ["soon", "-5", "NaN", "inf", ""] {
        assert_eq!(of(junk), "Throttled connector.throttled None", "{junk}");
    }
}

#[test]
fn slack_says_no_with_status_200() {
    let of = |status: u16, body: &str| verdict(&judged("slack.post_message", &answer(status, &[], body)));
    assert_eq!(of(200, r#"{"ok":true,"channel":"C1","ts":"1.2","x":1}"#), r#"done {"channel":"C1","ts":"1.2"}"#);
    assert_eq!(of(200, r#"{"ok":false,"error":"channel_not_found"}"#), "Permanent connector.rejected None");
    assert_eq!(of(200, r#"{"ok":false,"error":"token_revoked"}"#), "unauthorized Held connector.unauthorized");
    assert_eq!(of(200, r#"{"ok":false,"error":"fatal_error"}"#), "Unknown connector.in_doubt None");
    assert_eq!(of(200, r#"{"ok":false,"error":"ratelimited"}"#), "Throttled connector.throttled None");
    assert_eq!(of(200, r#"{"ok":"#), "Unknown connector.unexpected_answer None");
}

#[test]
fn every_problem_of_a_file_comes_at_once_with_its_place() {
    let text = r#"
connector: Bad Name
version: 2
base_ur: https://api.example.com
auth: { type: bearer, token: very-secret }
errors:
  - { status: [700], then: explode }
  - { then: retry }
headers: { Host: x }
timeout: soon
actions:
  one:
    request: { post: "things", json: "{{ inputs.x }}" }
  two:
    input: { type: 5 }
    request: { get: /a, put: /b }
  three:
    request: { post: "/a/{{ input.x ", form: {} }
    on_doubt: maybe
"#;
    let problems = Connector::parse("connectors/bad.yaml", text).unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_problem_of_bodies_pages_choices_and_proofs_comes_at_once_too() {
    let text = r#"
connector: lists
version: 1
proof: { kind: guess, unverified: all }
docs: a page
base_url: https://api.example.com
error_text: [$.message, message]
errors:
  - { header: { x-a: { is: 1 }, x-b: [] }, then: retry }
  - { header: {}, then: retry }
actions:
  bodies:
    request: { post: /a, json: {}, base64: "{{ input.x }}", content_type: a/b }
  files:
    request: { post: /a, content_type: a/b, multipart: { f: { content: a, base64: b, name: c } } }
  forms:
    request: { get: /a }
    answer: html
    cache: 1m
    output: $.x
    pages: { items: $.value, next_url: $.next, link: true, max_items: 0 }
  cursors:
    request: { get: /a }
    pages: { items: value, cursor: { from: $.next, body: page.after } }
  offsets:
    request: { get: /a }
    pages: { offset: { query: o, body: p, size: { value: 0 } } }
  pages:
    request: { get: /a }
    pages: { items: $.value, page: { query: p, first: 7 }, link: no }
  choices:
    input:
      properties:
        a: { x-options: { action: nothing, value: $.id } }
        b: { x-options: { action: needs, value: id, labels: $.x } }
        c: { items: { properties: { d: { x-options: { action: needs, value: $.id } } } } }
    request: { get: /a }
    errors: { status: 4 }
    success: { is: [1] }
  needs:
    input: { required: [x], properties: { x: {} } }
    request: { get: /a }
"#;
    let problems = Connector::parse("connectors/lists.yaml", text).unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_file_says_how_it_was_proved_and_what_it_was_written_from() {
    let about = "proof: { kind: stand-in, by: tests/standins/vendors/paths.py, unverified: [one] }\ndocs: [\"A page — https://example.com\"]\nnotes: |\n  Mind the gap.\n";
    let connector = Connector::parse("paths.yaml", &format!("{PATHS}{about}")).unwrap();
    let proof = connector.proof.unwrap();
    assert_eq!((proof.kind.name(), proof.unverified), ("stand-in", vec!["one".to_owned()]));
    assert_eq!((connector.docs.len(), connector.notes.as_str()), (1, "Mind the gap.\n"));
}

#[test]
fn in_a_flows_test_one_answer_is_all_pages_there_are() {
    let text = PATHS.to_owned() + "    pages: { items: $.value, next_url: $.next, max_items: 2 }\n";
    let connector = Connector::parse("paths.yaml", &text).unwrap();
    let action = &connector.actions["get"];
    let judged = |body: &str| {
        let context = Context::new(&connector, action, None, &json!({"name": "x"}), KEY, now());
        verdict(&judge(&connector, action, context, &answer(200, &[], body), now()))
    };
    assert_eq!(judged(r#"{"value":[1],"next":null}"#), r#"done {"items":[1],"more":false}"#);
    assert_eq!(judged(r#"{"value":[1],"next":"/x"}"#), r#"done {"items":[1],"more":true}"#);
    assert_eq!(judged(r#"{"value":[1,2,3]}"#), r#"done {"items":[1,2],"more":true}"#);
    assert_eq!(judged("[]"), r#"done {"items":[],"more":false}"#);
    assert_eq!(judged(r#"{"value":7}"#), "Permanent connector.pages None");

    let text = text.replace("items: $.value,", "items: $.value, item: { n: $.a.b, all: $ },");
    let connector = Connector::parse("paths.yaml", &text).unwrap();
    let action = &connector.actions["get"];
    let context = Context::new(&connector, action, None, &json!({"name": "x"}), KEY, now());
    let body = r#"{"value":[{"a":{"b":1},"c":2},{}]}"#;
    let kept = verdict(&judge(&connector, action, context, &answer(200, &[], body), now()));
    assert_eq!(kept, r#"done {"items":[{"n":1,"all":{"a":{"b":1},"c":2}},{"n":null,"all":{}}],"more":false}"#);
}

#[test]
fn a_key_given_twice_and_a_file_that_is_not_yaml_are_problems() {
    for text in ["connector: a\nconnector: b\n", "a: [", "", "- 1"] {
        assert!(Connector::parse("x.yaml", text).is_err(), "{text}");
    }
}

#[test]
fn a_native_action_that_is_not_there_cannot_be_declared() {
    let text = "connector: http\nversion: 1\nnative: true\nactions: {explode: {}}\n";
    assert_eq!(Connector::parse("x.yaml", text).unwrap_err()[0].code, "E-CON-005");
}

#[test]
fn a_users_file_replaces_a_shipped_connector_and_a_bad_one_does_not() {
    let own = PATHS.replace("connector: paths", "connector: slack");
    let (connectors, problems) = Connectors::from_sources([("connectors/slack.yaml", own.as_str())]);
    assert!(problems.is_empty());
    assert!(connectors.action("slack.get").is_some() && connectors.action("slack.post_message").is_none());

    let (connectors, problems) = Connectors::from_sources([("connectors/slack.yaml", "connector: slack\n")]);
    assert!(!problems.is_empty());
    assert!(connectors.action("slack.post_message").is_some());

    let (_, problems) = Connectors::from_sources([("a.yaml", own.as_str()), ("b.yaml", own.as_str())]);
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["E-CON-008"]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_value_is_the_request_stays_below_its_path(name in "\\PC{1,12}|[./%\\\\?#@:]{1,6}") {
        if let Ok(request) = at_path(&name) {
            let url = request.url;
            proptest::prop_assert_eq!(url.origin().ascii_serialization(), "https://api.example.com");
            let segments: Vec<&str> = url.path_segments().unwrap().collect();
            proptest::prop_assert_eq!(segments.len(), 4, "{}", url);
            proptest::prop_assert_eq!((segments[0], segments[1], segments[3]), ("v1", "things", "parts"));
            let decoded = percent_encoding::percent_decode_str(segments[2]).decode_utf8().unwrap();
            proptest::prop_assert_eq!(decoded, name);
        }
    }

    #[test]
    fn a_file_that_lost_a_piece_is_read_or_refused_but_never_a_panic(file in 0..SHIPPED.len(), from in 0..4000usize, length in 1..60usize) {
        let text: Vec<char> = SHIPPED[file].1.chars().collect();
        let from = from % text.len();
        let until = (from + length).min(text.len());
        let cut: String = text[..from].iter().chain(&text[until..]).collect();
        if let Err(problems) = Connector::parse("cut.yaml", &cut) {
            proptest::prop_assert!(!problems.is_empty());
        }
    }
}
