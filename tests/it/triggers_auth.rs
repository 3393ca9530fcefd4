//! `auth` of request triggers over real sockets: who is let in, who is not, and that nothing of it is kept.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::io::Write;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use crate::app::{Answer, App, http};

const BODY: &[u8] = br#"{"id": "evt_1"}"#;
const NOTE: &str = "steps:\n  - id: note\n    set: {got: \"{{trigger.headers}}\"}\n";

fn flow(auth: &str) -> String {
    format!("trigger:\n  type: request\n  auth: {auth}\n{NOTE}")
}

fn app(auth: &str) -> App {
    App::with(&[("flows/shop.yaml", &flow(auth)), ("secret.txt", "s3cr3t of the tests\n")])
}

fn mac(parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"s3cr3t of the tests").unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn post(app: &App, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    http(app.public, "POST", &app.hook("shop"), headers, body).unwrap()
}

/// The code of a refusal that left no trace but a count.
fn refused(app: &App, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let (count, kept) = (app.metric("millstream_requests_unproven_total"), app.runs("").len());
    let answer = post(app, headers, body);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    assert_eq!(answer.header("x-run-id"), None);
    assert_eq!((app.metric("millstream_requests_unproven_total"), app.runs("").len()), (count + 1, kept));
    (answer.status, answer.json()["code"].as_str().unwrap().to_owned())
}

fn unauthorized() -> (u16, String) {
    (401, "authentication_failed".to_owned())
}

#[test]
fn a_signed_body_is_let_in_and_any_other_is_not_even_parsed() {
    let app = app("{hmac: github, secret: {file: secret.txt}}");
    let good = format!("sha256={}", hex(&mac(&[BODY])));

    let run = post(&app, &[("x-hub-signature-256", &good), ("x-github-delivery", "7")], BODY).run();

    let told = app.ended(&run);
    assert_eq!(told["steps"][0]["output"]["got"]["x-github-delivery"], "7");
    assert!(!told.to_string().contains(&good[7..]), "the signature is nowhere in the history");
    assert_eq!(refused(&app, &[("x-hub-signature-256", &good)], br#"{"id": "evt_2"}"#), unauthorized());
    assert_eq!(refused(&app, &[("x-hub-signature-256", &good)], b"not even JSON"), unauthorized());
    assert_eq!(refused(&app, &[], BODY), unauthorized());
    for wrong in ["", "sha256=", &good[..20], &good.replace("sha256", "sha1")] {
        assert_eq!(refused(&app, &[("x-hub-signature-256", wrong)], BODY), unauthorized(), "{wrong}");
    }
    let large = vec![b'x'; 11 * 1024 * 1024];
    let large = post(&app, &[], &large);
    assert_eq!(large.status, 413, "the limit of bodies comes before the signature");
    let malformed = format!("sha256={}", hex(&mac(&[b"{"])));
    let malformed = post(&app, &[("x-hub-signature-256", &malformed)], b"{");
    assert_eq!((malformed.status, app.runs("status=rejected").len()), (400, 1), "who is known is kept as ever");
}

#[test]
fn signatures_with_a_time_are_good_for_a_while() {
    let both = "\n    - {hmac: standard_webhooks, secret: {file: secret.txt}}\n    - {hmac: stripe, secret: {file: secret.txt}, tolerance: 1m}";
    let app = app(both);
    let now = jiff::Timestamp::now().as_second();
    let standard = |time: i64| {
        let time = time.to_string();
        let signature = mac(&[b"msg_1.", time.as_bytes(), b".", BODY]);
        let signature = format!("v1,AAAA v1,{}", STANDARD.encode(signature));
        [("webhook-id", "msg_1".to_owned()), ("webhook-timestamp", time), ("webhook-signature", signature)]
    };
    let stripe = |time: i64| {
        let signature = hex(&mac(&[time.to_string().as_bytes(), b".", BODY]));
        [("stripe-signature", format!("t={time},v1={signature}"))]
    };
    fn shown<'h>(headers: &'h [(&'h str, String)]) -> Vec<(&'h str, &'h str)> {
        headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    let run = post(&app, &shown(&standard(now)), BODY).run();
    assert_eq!(app.ended(&run)["steps"][0]["output"]["got"]["webhook-id"], "msg_1", "what `dedupe` goes by");
    assert_eq!(post(&app, &shown(&stripe(now)), BODY).status, 202);
    for time in [now - 400, now + 400] {
        assert_eq!(refused(&app, &shown(&standard(time)), BODY), unauthorized());
    }
    for time in [now - 100, now + 100] {
        assert_eq!(refused(&app, &shown(&stripe(time)), BODY), unauthorized());
    }
}

#[test]
fn a_header_of_ones_own_is_judged_and_hidden() {
    let app = app("{hmac: sha256, secret: {file: secret.txt}, header: X-Proof, encoding: base64, prefix: \"v0:\"}");
    let good = format!("v0:{}", STANDARD.encode(mac(&[BODY])));

    let told = app.ended(&post(&app, &[("x-proof", &good), ("x-tag", "1")], BODY).run());

    assert_eq!(told["steps"][0]["output"]["got"]["x-tag"], "1");
    assert_eq!(told["steps"][0]["output"]["got"]["x-proof"], json!(null));
    assert_eq!(refused(&app, &[("x-proof", &good[3..])], BODY), unauthorized());
}

#[test]
fn any_one_of_several_ways_lets_in_and_each_refusal_says_how_to_ask() {
    let app =
        app("\n    - {basic: {username: shop, password: {file: secret.txt}}}\n    - {bearer: {file: secret.txt}}");
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));

    let named = post(&app, &[("authorization", &basic("shop:s3cr3t of the tests"))], BODY);
    let bearer = post(&app, &[("authorization", "bearer s3cr3t of the tests")], BODY);

    assert_eq!((named.status, bearer.status), (202, 202));
    assert_eq!(app.ended(&named.run())["steps"][0]["output"]["got"]["authorization"], json!(null));
    let wrong = ["shop:", "shop", ":s3cr3t of the tests", "Shop:s3cr3t of the tests", "shop:s3cr3t of the test"];
    for wrong in wrong.map(basic).into_iter().chain(["Bearer".into(), "Bearer x".into(), "Basic ???".into()]) {
        assert_eq!(refused(&app, &[("authorization", &wrong)], BODY), unauthorized(), "{wrong}");
    }
    let stranger = post(&app, &[], BODY);
    let asked = stranger.headers.iter().filter(|(name, _)| name == "www-authenticate").map(|(_, value)| value.as_str());
    let asked: Vec<&str> = asked.collect();
    assert_eq!(asked, ["Basic realm=\"millstream\", charset=\"UTF-8\"", "Bearer realm=\"millstream\""]);
    assert!(!app.log().contains("s3cr3t"), "no secret is in the log");
}

#[test]
fn an_address_and_a_secret_in_one_map_are_both_needed() {
    let app = app("{ip: [127.0.0.0/8], bearer: {file: secret.txt}}");
    assert_eq!(post(&app, &[("authorization", "Bearer s3cr3t of the tests")], BODY).status, 202);
    assert_eq!(refused(&app, &[("authorization", "Bearer x")], BODY), unauthorized());

    app.write("flows/shop.yaml", &flow("{ip: [203.0.113.0/24, \"2001:db8::1\"], bearer: {file: secret.txt}}"));
    let elsewhere = (403, "address_refused".to_owned());
    crate::app::eventually(|| post(&app, &[("authorization", "Bearer s3cr3t of the tests")], BODY).status == 403);
    assert_eq!(refused(&app, &[("authorization", "Bearer s3cr3t of the tests")], BODY), elsewhere);
    let claims = [("authorization", "Bearer s3cr3t of the tests"), ("x-forwarded-for", "203.0.113.7")];
    assert_eq!(refused(&app, &claims, BODY), elsewhere, "anyone can send that header");
}

#[test]
fn behind_a_trusted_proxy_the_address_that_it_saw_counts() {
    let mut app = App::idle(&[("flows/shop.yaml", &flow("{ip: 203.0.113.0/24}"))]);
    app.write("millstream.yaml", "trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]\n");
    app.start();
    let from = |chain: &str| post(&app, &[("x-forwarded-for", chain)], BODY).status;

    assert_eq!(from("203.0.113.7"), 202);
    assert_eq!(from("198.51.100.1, 203.0.113.7, 10.1.2.3"), 202);
    assert_eq!(from("203.0.113.7, 198.51.100.1"), 403, "what stands further left came from outside");
    assert_eq!(from("unknown"), 403);
    assert_eq!(post(&app, &[], BODY).status, 403);
    assert_eq!(post(&app, &[("forwarded", "for=203.0.113.7;proto=https")], BODY).status, 202);
}

#[test]
fn a_secret_that_is_not_there_lets_nobody_in_until_it_is() {
    let app = app("{bearer: {secret: SHOP_TOKEN}}");

    let lacking = post(&app, &[("authorization", "Bearer t0ken")], BODY);

    assert_eq!((lacking.status, &lacking.json()["code"]), (503, &json!("secret_missing")));
    assert!(lacking.header("retry-after").is_some());
    assert!(!lacking.text.contains("SHOP_TOKEN"), "a stranger learns nothing of the vault");
    assert!(app.log().contains("millstream secret set SHOP_TOKEN"));
    let mut set = app.command().args(["secret", "set", "SHOP_TOKEN"]).stdin(Stdio::piped()).spawn().unwrap();
    set.stdin.take().unwrap().write_all(b"t0ken").unwrap();
    assert!(set.wait().unwrap().success());
    assert_eq!(post(&app, &[("authorization", "Bearer t0ken")], BODY).status, 202, "at once");

    let empty = App::with(&[("flows/shop.yaml", &flow("{bearer: {file: empty.txt}}")), ("empty.txt", "\n")]);
    for given in ["Bearer ", "Bearer", "Bearer x"] {
        assert_eq!(post(&empty, &[("authorization", given)], BODY).status, 503, "{given}");
    }
}
