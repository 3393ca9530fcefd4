//! Connectors drafted of requests: they load, they hold no secret, and they send what was sent.

use serde_json::json;

use super::*;
use crate::author::write_yaml;
use crate::connector::Connector;

fn drafted(exchange: &Exchange) -> String {
    let described = exchange.describe("api", None).unwrap();
    let text = write_yaml(&described.file).unwrap();
    let read = Connector::parse("connectors/api.yaml", &text);
    assert!(read.is_ok(), "{text}\n{:?}", read.unwrap_err());
    assert!(!text.contains("s3cr3t"), "{text}");
    format!("{text}# {}\n{}", described.action, described.notes.join("\n"))
}

#[test]
fn a_curl_line_becomes_a_connector_without_its_secret() {
    let line = r#"curl -X POST 'https://api.example.com/v1/lists/4711/contacts?limit=5&api_version=2' \
        -H 'Authorization: Bearer s3cr3t-token' -H 'Accept: application/json' -H 'X-Api-Key: s3cr3t-two' \
        -H 'Cookie: session=s3cr3t' -H 'sec-ch-ua: x' \
        -d '{"email": "ada@example.com", "tags": ["a"], "name": {"first": "Ada", "last": null}, "age": 36, "first": true}'"#;
    insta::assert_snapshot!(drafted(&Exchange::of_curl(line).unwrap()));
}

#[test]
fn every_kind_of_body_and_of_auth_becomes_one_that_loads() {
    for line in [
        "curl https://a.example/me -u user:s3cr3t",
        "curl 'https://a.example/v2/me?api_key=s3cr3t&x=1'",
        "curl https://a.example -H 'Authorization: Klaviyo-API-Key s3cr3t'",
        "curl https://a.example/x -H 'Authorization: s3cr3t'",
        "curl https://a.example/x -H 'PRIVATE-TOKEN: s3cr3t' -d 'a=1' -d 'b c=2'",
        "curl https://a.example/x -F note=hi -F 'file=@/tmp/report.csv;type=text/csv'",
        "curl https://a.example/x -H 'Content-Type: text/csv' --data-binary 'a;b'",
        "curl https://a.example/x --json '[{\"a\": 1}]' -H 'Idempotency-Key: 17'",
        "curl -X DELETE https://a.example/files/0f8fad5b-d9cb-469f-a165-70867728950e",
        "curl https://a.example/x --json '{\"password\": \"s3cr3t\", \"{{odd}} key\": \"{{x}}\", \"empty\": {}}'",
    ] {
        drafted(&Exchange::of_curl(line).unwrap());
    }
    let keyed = drafted(&Exchange::of_curl("curl https://a.example/x --json '{}' -H 'Idempotency-Key: 17'").unwrap());
    assert!(keyed.contains("Idempotency-Key: \"{{ call.uuid }}\"") && keyed.contains("repeat: safe"), "{keyed}");
}

#[test]
fn an_exchange_in_a_file_shows_what_comes_back_too() {
    let exchange = json!({
        "request": {"method": "get", "url": "https://a.example/v1/items/17", "headers": {"authorization": "Bearer s3cr3t"}},
        "response": {"status": 200, "body": "{\"id\": 17, \"mail\": \"a@example.com\"}"},
    });
    insta::assert_snapshot!(drafted(&Exchange::of_json(&exchange).unwrap()));
    assert!(Exchange::of_json(&json!({"request": {}})).is_err());
    let ftp = Exchange::of_json(&json!({"url": "ftp://a.example/x"})).unwrap();
    assert!(ftp.describe("api", None).is_err());
}
