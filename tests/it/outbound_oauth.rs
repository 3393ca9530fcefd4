//! Tokens: fetched once for many, renewed once when they are refused, and a failure shared by all who waited.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::response::Response;
use millstream::connector::{Class, Connection, Connectors, Failure};
use millstream::outbound::Outbound;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::remote::{Arrived, Remote, connection, json_response, outbound, perform, response, verdict};

const CONNECTOR: &str = r#"
connector: api
version: 1
settings: { type: object, additionalProperties: false, required: [url], properties: { url: { type: string } } }
base_url: "{{ settings.url }}"
auth:
  type: oauth2_client_credentials
  token_url: "{{ settings.url }}/token"
  client_id: me
  client_secret: { connection: client_secret }
  scope: all
test: { get: /me, shows: $.name }
actions:
  create:
    input: { type: object }
    request: { post: /things, json: "{{ input }}" }
    output: { id: $.id }
"#;

struct Setup {
    connectors: Connectors,
    connection: Arc<Connection>,
    outbound: Outbound,
    _dir: tempfile::TempDir,
}

fn setup(remote: &Remote) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let (connectors, problems) = Connectors::from_sources([("connectors/api.yaml", CONNECTOR)]);
    assert_eq!(problems, []);
    let settings = json!({"url": remote.url("")});
    let connection = Arc::new(connection(dir.path(), "api", settings, &[("client_secret", "canary & secret")]));
    Setup { connectors, connection, outbound: outbound(), _dir: dir }
}

impl Setup {
    async fn create(&self) -> Result<Value, Failure> {
        perform(&self.outbound, &self.connectors, "api.create", Some(&self.connection), json!({})).await
    }

    async fn create_many(self: Arc<Setup>, count: usize) -> Vec<Result<Value, Failure>> {
        let mut calls = JoinSet::new();
        for _ in 0..count {
            let setup = self.clone();
            calls.spawn(async move { setup.create().await });
        }
        calls.join_all().await
    }
}

/// Gives token 1, 2, 3 …; things are created with the tokens from `first_good` on.
async fn api(first_good: usize) -> (Remote, Arc<AtomicUsize>) {
    let tokens = Arc::new(AtomicUsize::new(0));
    let given = tokens.clone();
    let remote = Remote::start(move |arrived: Arrived| -> Response {
        if arrived.uri == "/token" {
            assert_eq!(
                arrived.body,
                "grant_type=client_credentials&scope=all&client_id=me&client_secret=canary+%26+secret"
            );
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            return json_response(200, &json!({"access_token": format!("token-{number:08}"), "expires_in": 3600}));
        }
        let token = arrived.headers["authorization"].strip_prefix("Bearer token-").unwrap().parse::<usize>().unwrap();
        if token >= first_good { json_response(201, &json!({"id": "x", "name": "n"})) } else { response(401, &[], "") }
    })
    .await;
    (remote, tokens)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_calls_share_one_token() {
    let (remote, tokens) = api(1).await;
    let results = Arc::new(setup(&remote)).create_many(100).await;
    assert!(results.iter().all(|result| *result.as_ref().unwrap() == json!({"id": "x"})));
    assert_eq!(tokens.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_refusals_renew_the_token_exactly_once() {
    // The first token is good for one call, then the target knows only the second.
    let (remote, tokens) = api(2).await;
    let results = Arc::new(setup(&remote)).create_many(100).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(tokens.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn credentials_that_stay_refused_hold_the_run_after_one_renewal() {
    let (remote, tokens) = api(99).await;
    let failure = setup(&remote).create().await.unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (Class::Held, "connector.unauthorized"));
    assert!(failure.message.contains("`crm`"), "{}", failure.message);
    assert_eq!(tokens.load(Ordering::SeqCst), 2);
    let calls = remote.arrived().iter().filter(|arrived| arrived.uri == "/things").count();
    assert_eq!(calls, 2);
}

#[tokio::test]
async fn a_refused_secret_holds_the_run_and_is_not_shown() {
    let remote = Remote::start(|_| {
        let said = "client secret 'canary & secret' is wrong";
        json_response(401, &json!({"error": "invalid_client", "error_description": said}))
    })
    .await;
    let failure = setup(&remote).create().await.unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (Class::Held, "outbound.token_refused"));
    assert!(failure.message.contains("invalid_client") && !failure.message.contains("canary"), "{}", failure.message);
}

#[tokio::test]
async fn a_token_server_that_is_away_is_tried_again() {
    let remote = Remote::start(|_| response(503, &[("retry-after", "7")], "")).await;
    let failure = setup(&remote).create().await.unwrap_err();
    assert_eq!((failure.class, failure.wait_ms), (Class::Throttled, Some(7000)));
    assert_eq!(remote.arrived().len(), 1);
}

#[tokio::test]
async fn a_token_that_ends_soon_is_renewed_before_the_call() {
    let count = Arc::new(AtomicUsize::new(0));
    let given = count.clone();
    let remote = Remote::start(move |arrived: Arrived| {
        if arrived.uri == "/token" {
            given.fetch_add(1, Ordering::SeqCst);
            // So short that its last fifth has come as soon as it is there.
            return json_response(200, &json!({"access_token": "token-00000001", "expires_in": "0.000001"}));
        }
        json_response(201, &json!({"id": "x"}))
    })
    .await;
    let setup = setup(&remote);
    setup.create().await.unwrap();
    setup.create().await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_connection_can_be_tried_out() {
    let (remote, _) = api(1).await;
    let setup = setup(&remote);
    let shown = setup.outbound.test(setup.connectors.get("api").unwrap(), &setup.connection).await;
    assert_eq!(verdict(&shown), r#"done "n""#);
    let (remote, _) = api(99).await;
    let setup = self::setup(&remote);
    let shown = setup.outbound.test(setup.connectors.get("api").unwrap(), &setup.connection).await;
    assert_eq!(verdict(&shown), "Held connector.unauthorized");
}
