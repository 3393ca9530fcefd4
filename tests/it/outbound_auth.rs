//! How calls prove who makes them: keys in paths, URLs that are secrets, tokens of every kind, signatures. What arrives at
//! the target is what is looked at.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millstream::connector::{Class, Connection, Connectors, Failure};
use millstream::outbound::{Call, Outbound, Secrets};
use millstream::vault::Vault;
use serde_json::{Value, json};

use crate::app::repository;
use crate::remote::{Arrived, KEY, Remote, connection, json_response, perform, verdict};

/// A connector whose file has this `base_url` and `auth`.
fn connectors(base_url: &str, auth: &str) -> Connectors {
    let text = format!(
        "connector: api\nversion: 1\nsettings: {{type: object, properties: {{url: {{type: string}}}}}}\n\
         base_url: {base_url}\nauth: {auth}\nactions:\n  send:\n    input: {{type: object}}\n    request: {{post: /, json: \
         \"{{{{ input }}}}\"}}\n  go:\n    input: {{type: object}}\n    request: {{post: /things/1, query: {{q: \"a b\"}}, json: \
         \"{{{{ input }}}}\"}}\n"
    );
    let (connectors, problems) = Connectors::from_sources([("connectors/api.yaml", text.as_str())]);
    assert!(problems.is_empty(), "{problems:?}");
    connectors
}

struct Setup {
    connectors: Connectors,
    connection: Arc<Connection>,
    outbound: Outbound,
    dir: tempfile::TempDir,
}

impl Setup {
    fn new(base_url: &str, auth: &str, url: &str, credentials: &[(&str, &str)]) -> Setup {
        let dir = tempfile::tempdir().unwrap();
        let connection = Arc::new(connection(dir.path(), "api", json!({"url": url}), credentials));
        let outbound = keeping(dir.path());
        Setup { connectors: connectors(base_url, auth), connection, outbound, dir }
    }

    async fn call(&self, action: &str) -> Result<Value, Failure> {
        perform(&self.outbound, &self.connectors, &format!("api.{action}"), Some(&self.connection), json!({"a": 1}))
            .await
    }

    fn preview(&self, action: &str) -> Value {
        let (connector, _) = self.connectors.action("api.go").unwrap();
        let (connection, input) = (Some(&self.connection), json!({}));
        let (timeout, output_limit) = (None, 1000);
        let call = Call { flow: "test", connector, action, connection, input: &input, key: KEY, timeout, output_limit };
        Outbound::preview(call).unwrap()
    }

    /// The same after a restart.
    fn again(self) -> Setup {
        Setup { outbound: keeping(self.dir.path()), ..self }
    }
}

/// Outbound that may reach 127.0.0.0/8 and keeps tokens in `dir`.
fn keeping(dir: &Path) -> Outbound {
    let config = millstream::config::Outbound { allow: vec!["127.0.0.0/8".parse().unwrap()], ..Default::default() };
    let vault = Vault::open(dir, b"instance key").unwrap();
    Outbound::new(&config, Secrets::new(Some(Arc::new(vault)))).unwrap()
}

/// Answers with what it was sent.
async fn echo() -> Remote {
    Remote::start(|arrived: Arrived| {
        json_response(
            200,
            &json!({"uri": arrived.uri, "full": format!("http://host{}", arrived.uri), "sent": arrived.headers}),
        )
    })
    .await
}

const SETTINGS_URL: &str = "\"{{ settings.url }}/base/\"";

#[tokio::test]
async fn a_token_server_that_repeats_what_it_was_sent_shows_no_secret_in_any_spelling() {
    let login = Remote::start(|arrived: Arrived| {
        let said = json!({"error": "invalid_client", "error_description": format!("refused: {}", arrived.body)});
        json_response(401, &said)
    })
    .await;
    let auth = "{type: oauth2_client_credentials, token_url: \"{{ settings.url }}/token\", client_id: me, client_secret: \
                {connection: client_secret}}";
    let setup = Setup::new("\"{{ settings.url }}\"", auth, &login.url(""), &[("client_secret", "canary+of/the=sea")]);
    let failure = setup.call("go").await.unwrap_err();
    assert_eq!(failure.code, "outbound.token_refused");
    assert!(login.arrived()[0].body.contains("canary%2Bof"), "{:?}", login.arrived());
    assert!(failure.message.contains("[redacted]") && !failure.message.contains("canary"), "{}", failure.message);
}

#[tokio::test]
async fn a_key_can_stand_in_the_path() {
    let remote = echo().await;
    let auth = "{type: api_key, in: path, prefix: /bot, key: {connection: bot_token}}";
    let setup = Setup::new(SETTINGS_URL, auth, &remote.url(""), &[("bot_token", "123456:canary/x?y")]);
    let output = setup.call("go").await.unwrap();
    assert_eq!(remote.arrived()[0].uri, "/base/bot123456:canary%2Fx%3Fy/things/1?q=a+b");
    assert!(!output.to_string().contains("canary"), "{output}");
    assert!(!setup.preview("go").to_string().contains("canary"));
}

#[tokio::test]
async fn a_base_url_can_be_a_secret_and_is_shown_nowhere() {
    let remote = echo().await;
    let url = remote.url("/services/T0canary/B0canary/canary-of-the-path?sig=canary-of-the-query");
    let setup = Setup::new("{connection: webhook_url}", "{type: none}", "http://unused", &[("webhook_url", &url)]);
    let outputs = [setup.call("send").await.unwrap(), setup.call("go").await.unwrap()];
    let uris: Vec<String> = remote.arrived().into_iter().map(|arrived| arrived.uri).collect();
    assert_eq!(
        uris,
        [
            "/services/T0canary/B0canary/canary-of-the-path?sig=canary-of-the-query",
            "/services/T0canary/B0canary/canary-of-the-path/things/1?sig=canary-of-the-query&q=a+b"
        ]
    );
    for output in outputs {
        assert!(!output.to_string().contains("canary"), "{output}");
    }
    assert_eq!(setup.preview("send")["url"], "(webhook_url)");
    assert_eq!(setup.preview("go")["url"], "(webhook_url)/things/1?q=a+b");

    // What is wrong with it is said without it.
    let wrong = Setup::new("{connection: webhook_url}", "{type: none}", "", &[("webhook_url", "canary://nowhere")]);
    let failure = wrong.call("send").await.unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (Class::Held, "connector.base_url"));
    assert!(failure.message.contains("`webhook_url`") && !failure.message.contains("canary"), "{}", failure.message);
    let away =
        Setup::new("{connection: webhook_url}", "{type: none}", "", &[("webhook_url", "http://127.0.0.1:1/canary")]);
    let failure = away.call("send").await.unwrap_err();
    assert!(failure.code == "outbound.connect" && !failure.message.contains("canary"), "{}", failure.message);
}

#[tokio::test]
async fn a_tokens_answer_says_where_calls_go_and_only_there_does_the_token_go() {
    let api = echo().await;
    let instance = api.url("/instance");
    let login = Remote::start(move |_| {
        json_response(200, &json!({"access_token": "canary-token", "instance_url": instance, "expires_in": 3600}))
    })
    .await;
    let auth = "{type: oauth2_client_credentials, token_url: \"{{ settings.url }}/token\", client_id: me, client_secret: \
                {connection: client_secret}, prefix: \"Zoho-oauthtoken \", send: basic}";
    let base = "\"{{ token.instance_url }}/v1\"";
    let setup = Setup::new(base, auth, &login.url(""), &[("client_secret", "canary-secret")]);
    assert_eq!(setup.preview("go")["url"], "{{ token.instance_url }}/v1/things/1?q=a+b");
    let output = setup.call("go").await.unwrap();
    assert_eq!(output["uri"], "/instance/v1/things/1?q=a+b");
    assert_eq!(api.arrived()[0].headers["authorization"], "Zoho-oauthtoken canary-token");
    assert_eq!(login.arrived()[0].headers["authorization"], "Basic bWU6Y2FuYXJ5LXNlY3JldA==");
    assert_eq!(login.arrived()[0].body, "grant_type=client_credentials");
    assert!(!output.to_string().contains("canary"), "{output}");
}

/// Gives access token 1, 2, 3 …, each for the refresh token that it gave last, and no other.
async fn rotating(expires_in: &'static str) -> (Remote, Arc<AtomicUsize>) {
    let given = Arc::new(AtomicUsize::new(0));
    let count = given.clone();
    let remote = Remote::start(move |arrived: Arrived| {
        if arrived.uri != "/token" {
            return json_response(200, &json!({"you": arrived.headers["authorization"]}));
        }
        let last = count.load(Ordering::SeqCst);
        let expected =
            format!("grant_type=refresh_token&client_id=me&client_secret=canary-secret&refresh_token=canary-{last}");
        if arrived.body != expected {
            return json_response(
                400,
                &json!({"error": "invalid_grant", "error_description": "Token is expired or revoked"}),
            );
        }
        let next = count.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = json!({"access_token": format!("access-{next}"), "refresh_token": format!("canary-{next}")});
        let mut answer = answer;
        answer["expires_in"] = json!(expires_in);
        json_response(200, &answer)
    })
    .await;
    (remote, given)
}

const REFRESH: &str = "{type: oauth2_refresh, token_url: \"{{ settings.url }}/token\", client_id: me, client_secret: \
                       {connection: client_secret}, refresh_token: {connection: refresh_token}}";
const REFRESH_SECRETS: &[(&str, &str)] = &[("client_secret", "canary-secret"), ("refresh_token", "canary-0")];

#[tokio::test]
async fn a_refresh_token_that_the_server_replaces_is_kept_over_restarts() {
    // So short that each call needs a new token.
    let (remote, given) = rotating("0.000001").await;
    let mut setup = Setup::new("\"{{ settings.url }}\"", REFRESH, &remote.url(""), REFRESH_SECRETS);
    for restart in 0..3 {
        setup.call("go").await.unwrap();
        setup.call("go").await.unwrap();
        assert_eq!(given.load(Ordering::SeqCst), 2 * (restart + 1));
        setup = setup.again();
    }
    let vault = std::fs::read_to_string(setup.dir.path().join("vault.json")).unwrap();
    assert!(vault.contains("\"crm\"") && !vault.contains("canary"), "{vault}");
}

#[tokio::test]
async fn an_access_token_that_still_holds_is_used_after_a_restart() {
    let (remote, given) = rotating("3600").await;
    let setup = Setup::new("\"{{ settings.url }}\"", REFRESH, &remote.url(""), REFRESH_SECRETS);
    setup.call("go").await.unwrap();
    assert_eq!(verdict(&setup.again().call("go").await), "done {\"you\":\"Bearer [redacted]\"}");
    assert_eq!(given.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refresh_token_that_a_person_sets_anew_takes_the_place_of_what_was_kept() {
    let (remote, given) = rotating("0.000001").await;
    let setup = Setup::new("\"{{ settings.url }}\"", REFRESH, &remote.url(""), REFRESH_SECRETS);
    setup.call("go").await.unwrap();
    // Revoked at the server: whoever comes with the last one is refused.
    given.store(70, Ordering::SeqCst);
    let failure = setup.call("go").await.unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (Class::Held, "outbound.login_needed"));
    assert!(failure.message.contains("`refresh_token`") && !failure.message.contains("canary"), "{}", failure.message);
    std::fs::write(setup.dir.path().join("refresh_token"), "canary-70\n").unwrap();
    setup.call("go").await.unwrap();
    setup.again().call("go").await.unwrap();
    assert_eq!(given.load(Ordering::SeqCst), 72);
}

#[tokio::test]
async fn a_kept_refresh_token_goes_to_the_server_that_gave_it_and_to_no_other() {
    let (remote, _) = rotating("0.000001").await;
    let setup = Setup::new("\"{{ settings.url }}\"", REFRESH, &remote.url(""), REFRESH_SECRETS);
    setup.call("go").await.unwrap();
    let other = echo().await;
    let moved = Connection { token_url: Some(other.url("/token")), ..(*setup.connection).clone() };
    let setup = Setup { connection: Arc::new(moved), ..setup }.again();
    assert_eq!(verdict(&setup.call("go").await), "Held outbound.token_refused");
    assert!(other.arrived()[0].body.ends_with("&refresh_token=canary-0"), "{}", other.arrived()[0].body);
}

#[tokio::test]
async fn a_failed_renewal_leaves_the_token_that_still_holds_in_use() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let remote = Remote::start(move |arrived: Arrived| {
        if arrived.uri != "/token" {
            return json_response(200, &json!({"with": arrived.headers["authorization"].len()}));
        }
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => json_response(
                200,
                &json!({"access_token": "the-first-token", "refresh_token": "next", "expires_in": 5}),
            ),
            _ => json_response(503, &json!({})),
        }
    })
    .await;
    let setup = Setup::new("\"{{ settings.url }}\"", REFRESH, &remote.url(""), REFRESH_SECRETS);
    setup.call("go").await.unwrap();
    // In the last fifth of its five seconds it is asked for anew, in vain.
    let begun = std::time::Instant::now();
    while asked.load(Ordering::SeqCst) < 2 {
        assert!(begun.elapsed().as_millis() < 4900, "it was not renewed ahead of its end");
        setup.call("go").await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_service_account_proves_itself_with_a_signed_statement() {
    let remote = Remote::start(|arrived: Arrived| match arrived.uri.as_str() {
        "/token" => json_response(200, &json!({"access_token": "token-of-the-account"})),
        _ => json_response(200, &json!({})),
    })
    .await;
    let auth = "{type: oauth2_jwt, token_url: \"{{ settings.url }}/token\", claims: {iss: me@example.com, scope: all, aud: \
                \"{{ settings.url }}/token\"}, key: {connection: private_key}, key_id: k1, lifetime: 3m}";
    let key = repository("tests/keys/rfc7515-a2.pem").replace('\n', "\\n");
    let setup = Setup::new("\"{{ settings.url }}\"", auth, &remote.url(""), &[("private_key", &key)]);
    setup.call("go").await.unwrap();
    let asked: Vec<(String, String)> =
        url::form_urlencoded::parse(remote.arrived()[0].body.as_bytes()).into_owned().collect();
    assert_eq!(asked[0], ("grant_type".into(), "urn:ietf:params:oauth:grant-type:jwt-bearer".into()));
    assert_eq!(asked[1].0, "assertion");
    let part = |index: usize| -> Value {
        let part = asked[1].1.split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    assert_eq!(part(0), json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    let claims = part(1);
    assert_eq!(claims["iss"], "me@example.com");
    assert_eq!(claims["aud"], remote.url("/token"));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 180);
    assert_eq!(remote.arrived()[1].headers["authorization"], "Bearer token-of-the-account");

    let broken = Setup::new("\"{{ settings.url }}\"", auth, &remote.url(""), &[("private_key", "canary")]);
    let failure = broken.call("go").await.unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (Class::Held, "secret.invalid"));
    assert!(!failure.message.contains("canary"), "{}", failure.message);
}

#[tokio::test]
async fn a_token_can_come_from_any_request() {
    let remote = Remote::start(|arrived: Arrived| match arrived.uri.as_str() {
        "/login?tenant=7" => json_response(200, &json!({"data": {"jwt": "token-of-the-session", "ttl": "60"}})),
        _ => json_response(200, &json!({"seen": arrived.headers["x-session"]})),
    })
    .await;
    let auth = "{type: token_request, request: {put: \"{{ settings.url }}/login\", query: {tenant: 7}, headers: {X-App: \
                {connection: app}}, json: {user: {name: me, password: {connection: password}}, list: [1, true]}}, token: \
                $.data.jwt, expires_in: $.data.ttl, header: X-Session, prefix: \"\"}";
    let secrets = [("app", "canary-app"), ("password", "canary-\"password")];
    let setup = Setup::new("\"{{ settings.url }}\"", auth, &remote.url(""), &secrets);
    let output = setup.call("go").await.unwrap();
    let login = &remote.arrived()[0];
    assert_eq!((login.method.as_str(), login.headers["x-app"].as_str()), ("PUT", "canary-app"));
    let body: Value = serde_json::from_str(&login.body).unwrap();
    assert_eq!(body, json!({"user": {"name": "me", "password": "canary-\"password"}, "list": [1, true]}));
    assert_eq!(remote.arrived()[1].headers["x-session"], "token-of-the-session");
    assert_eq!(output, json!({"seen": "[redacted]"}));
}

#[tokio::test]
async fn requests_are_signed_as_they_go_out() {
    let remote = echo().await;
    let aws = "{type: aws_sigv4, region: eu-central-1, service: sqs, access_key_id: {connection: id}, secret_access_key: \
               {connection: secret}, session_token: {connection: session}}";
    let setup = Setup::new(SETTINGS_URL, aws, &remote.url(""), &[("id", "AKIDEXAMPLE"), ("secret", "canary")]);
    setup.call("go").await.unwrap();
    let arrived = &remote.arrived()[0];
    assert_eq!(arrived.uri, "/base/things/1?q=a%20b");
    let signed = &arrived.headers["authorization"];
    assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{signed}");
    assert!(signed.contains("SignedHeaders=content-type;host;x-amz-date,"), "{signed}");

    let azure = "{type: azure_shared_key_lite, account: acct, key: {connection: key}, service: blob}";
    let setup = Setup::new(SETTINGS_URL, azure, &remote.url(""), &[("key", "Y2FuYXJ5")]);
    setup.call("go").await.unwrap();
    let arrived = &remote.arrived()[1];
    assert!(arrived.headers["authorization"].starts_with("SharedKeyLite acct:"), "{arrived:?}");
    assert!(arrived.headers["x-ms-date"].ends_with(" GMT"), "{arrived:?}");

    let webhooks = "{type: standard_webhooks, secret: {connection: secret}}";
    let setup = Setup::new(SETTINGS_URL, webhooks, &remote.url(""), &[("secret", "whsec_Y2FuYXJ5")]);
    setup.call("go").await.unwrap();
    assert_eq!(remote.arrived()[2].headers["webhook-id"], KEY.to_string());
    let setup = Setup::new(SETTINGS_URL, webhooks, &remote.url(""), &[("secret", "whsec_*")]);
    assert_eq!(verdict(&setup.call("go").await), "Held secret.invalid");
}

#[test]
fn what_is_wrong_with_auth_is_said_with_its_place() {
    let problems = |auth: &str| {
        let text = format!("connector: api\nversion: 1\nbase_url: https://x\nauth: {auth}\nactions: {{}}\n");
        let (_, problems) = Connectors::from_sources([("connectors/api.yaml", text.as_str())]);
        problems.iter().map(|problem| format!("{} {}", problem.code, problem.pointer)).collect::<Vec<_>>().join(", ")
    };
    for (auth, expected) in [
        ("{type: magic}", "E-CON-004 /auth/type"),
        ("{type: api_key, in: path, name: X, key: {connection: k}}", "E-CON-003 /auth/name"),
        ("{type: api_key, in: path, prefix: bot, key: {connection: k}}", "E-CON-004 /auth/prefix"),
        ("{type: bearer, token: written-out}", "E-CON-004 /auth/token"),
        ("{type: bearer, token: {connection: t}, prefix: x}", "E-CON-002 /auth/prefix"),
        ("{type: oauth2_client_credentials, token_url: x, client_id: x}", "E-CON-003 /auth"),
        ("{type: oauth2_refresh, token_url: x, client_id: x}", "E-CON-003 /auth"),
        ("{type: oauth2_code, token_url: x, client_id: x}", "E-CON-003 /auth"),
        ("{type: oauth2_jwt, token_url: x, claims: {exp: 5}, key: {connection: k}}", "E-CON-003 /auth/claims/exp"),
        (
            "{type: oauth2_jwt, token_url: x, claims: {}, key: {connection: k}, lifetime: 0s}",
            "E-CON-004 /auth/lifetime",
        ),
        ("{type: token_request}", "E-CON-003 /auth"),
        ("{type: token_request, request: {post: x, form: {}, json: {}}}", "E-CON-004 /auth/request"),
        ("{type: token_request, request: {get: x, post: x}}", "E-CON-004 /auth/request"),
        ("{type: token_request, request: {post: \"{{ token.x }}\"}}", "E-CON-006 /auth/request/post"),
        ("{type: token_request, request: {post: x}, token: data}", "E-CON-004 /auth/token"),
        ("{type: azure_shared_key_lite, account: a, key: {connection: k}, service: disk}", "E-CON-004 /auth/service"),
        ("{type: aws_sigv4, region: r, service: s}", "E-CON-003 /auth, E-CON-003 /auth"),
        ("{type: standard_webhooks}", "E-CON-003 /auth"),
    ] {
        assert_eq!(problems(auth), expected, "{auth}");
    }
}
