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

#[test]
fn no_shape_of_a_secret_comes_into_the_file() {
    // The request, its secrets, and what must be in the file.
    for (line, hidden, says) in [
        (
            "curl https://hooks.slack.com/services/T0/B0/XXXXabcd1234 -d '{\"text\": \"x\"}'",
            &["XXXX", "T0", "B0"][..],
            "base_url: { connection: url }",
        ),
        (
            "curl https://api.telegram.org/bot123:AAHsecretletters/sendMessage -d chat_id=1",
            &["bot123", "AAH"],
            "post: /sendMessage",
        ),
        ("curl https://discord.com/api/webhooks/12345/aB3-xyz --json '{}'", &["12345", "xyz"], "connection: url"),
        (
            "curl 'https://prod.example.com/workflows/0123456789abcdef0123456789abcdef/paths/invoke?sv=1&sig=Ab-9' -d '{}'",
            &["0123456789abcdef", "Ab-9"],
            "post: /paths/invoke",
        ),
        ("curl https://0123456789abcdef0123456789.hooks.example/x -d '{}'", &["0123456789abcdef"], "connection: url"),
        ("curl https://a.example/x -H 'Ocp-Apim-Subscription-Key: hidden7'", &["hidden7"], "Ocp-Apim-Subscription-Key"),
        (
            "curl https://a.example/x -H 'X-Auth-Key: hidden7' -H 'X-Auth-Email: a@b.example'",
            &["hidden7"],
            "X-Auth-Key",
        ),
        ("curl https://a.example/x -H 'x-functions-key: hidden7'", &["hidden7"], "x-functions-key"),
        (
            "curl https://a.example/x -H 'DD-API-KEY: hidden7' -H 'DD-APPLICATION-KEY: hidden8'",
            &["hidden7", "hidden8"],
            "DD-API-KEY",
        ),
        ("curl https://a.example/x -H 'X-Tenant: 4eC39HqLyjWDarjtT1zdp7dc'", &["4eC39"], "name: X-Tenant"),
        ("curl 'https://a.example/x?code=hidden7&page=2'", &["hidden7"], "page: { type: string, default: \"2\" }"),
        (
            "curl 'https://a.example/x?subscriptionkey=hidden7&AccountSid=hidden8'",
            &["hidden7", "hidden8"],
            "subscriptionkey",
        ),
        ("curl 'https://a.example/x?ref=4eC39HqLyjWDarjtT1zdp7dc'", &["4eC39"], "ref: { type: string }"),
        (
            "curl 'https://a.example/x?sort_key=name&country_code=DE'",
            &[],
            "country_code: { type: string, default: DE }",
        ),
        ("curl https://ada:hidden7@a.example/x", &["hidden7", "ada"], "type: basic"),
        (
            "curl https://a.example/x -H 'Authorization: 4eC39HqLyjWDarjtT1zdp7dc hidden7'",
            &["4eC39", "hidden7"],
            "api_key",
        ),
        ("curl https://a.example/v1/s3cret-place/go -X PUT", &["s3cret"], "description: \"PUT /v1/{v1_id}/go\""),
    ] {
        let text = drafted(&Exchange::of_curl(line).unwrap());
        let file = text.split("\n# ").next().unwrap();
        for secret in hidden {
            assert!(!text.contains(secret), "{secret} of {line}\n{text}");
        }
        assert!(file.contains(says), "{says}: {line}\n{text}");
    }
}
