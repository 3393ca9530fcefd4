//! `dynamics365.create_record` against the stand-in of Dataverse: a real OData server behind the checks that Dataverse
//! makes, and a real OAuth 2 server (tests/standins).

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use millstream::connector::{Class, Connection, Connectors, Failure};
use millstream::outbound::{Call, Outbound};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{App, repository};
use crate::part::{Part, folders};
use crate::remote::{connection, http, outbound, verdict};

struct Tenant {
    entra: Part,
    dataverse: Part,
    outbound: Outbound,
    connectors: Connectors,
    connection: Arc<Connection>,
    _dir: tempfile::TempDir,
}

fn tenant() -> Tenant {
    let (parts, scripts) = folders();
    let python = parts.join("venv/bin/python");
    let entra = Part::start(
        Command::new("node").arg(scripts.join("entra.mjs")).arg(&parts).args(["client-7", "canary-secret"]),
    );
    let issuer = format!("http://127.0.0.1:{}", entra.port);
    let dataverse = Part::start(Command::new(python).arg(scripts.join("dataverse.py")).arg(&issuer));
    let dir = tempfile::tempdir().unwrap();
    let settings = json!({
        "org_url": format!("http://127.0.0.1:{}", dataverse.port),
        "tenant_id": "contoso",
        "client_id": "client-7",
    });
    let mut connection = connection(dir.path(), "dynamics365", settings, &[("client_secret", "canary-secret")]);
    connection.token_url = Some(format!("{issuer}/token"));
    Tenant {
        entra,
        dataverse,
        outbound: outbound(),
        connectors: Connectors::shipped(),
        connection: Arc::new(connection),
        _dir: dir,
    }
}

fn key(number: u128) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_5000_8000_0000_0000_0000 + number)
}

impl Tenant {
    async fn create(&self, number: u128, input: Value) -> Result<Value, Failure> {
        let (connector, _) = self.connectors.action("dynamics365.create_record").unwrap();
        let call = Call {
            flow: "test",
            connector,
            action: "create_record",
            connection: Some(&self.connection),
            input: &input,
            key: key(number),
            timeout: Some(Duration::from_secs(30)),
            output_limit: 1024 * 1024,
        };
        self.outbound.perform(call).await
    }

    async fn standin(&self, path: &str) -> Value {
        let url = format!("http://127.0.0.1:{}/standin/{path}", self.dataverse.port);
        http(&self.outbound, json!({"url": url})).await.unwrap()["body"].take()
    }

    /// The next API requests are answered with these.
    async fn next(&self, answers: Value) {
        let url = format!("http://127.0.0.1:{}/standin/next", self.dataverse.port);
        http(&self.outbound, json!({"url": url, "json": answers})).await.unwrap();
    }
}

fn lead(email: &str) -> Value {
    json!({"table": "leads", "record": {"subject": "O'Brien & Sons", "firstname": "Ada", "emailaddress1": email}})
}

#[tokio::test]
async fn a_lead_becomes_one_record_however_often_the_call_is_repeated() {
    let tenant = tenant();
    let created = json!({"id": key(1).to_string()});
    assert_eq!(tenant.create(1, lead("ada@example.com")).await.unwrap(), created);
    // The process died before it knew: the same call again, and once more.
    assert_eq!(tenant.create(1, lead("ada@example.com")).await.unwrap(), created);
    assert_eq!(tenant.create(1, lead("ada@example.com")).await.unwrap(), created);
    assert_eq!(
        tenant.standin("leads").await,
        json!([{
            "leadid": key(1).to_string(),
            "subject": "O'Brien & Sons",
            "firstname": "Ada",
            "emailaddress1": "ada@example.com",
        }])
    );
    assert_eq!(tenant.standin("seen").await, json!({"201": 1, "412": 2}));
}

#[tokio::test]
async fn a_duplicate_is_permanent_and_can_be_let_in() {
    let tenant = tenant();
    tenant.create(1, lead("ada@example.com")).await.unwrap();
    let refused = tenant.create(2, lead("ada@example.com")).await.unwrap_err();
    assert_eq!((refused.class, refused.code.as_str()), (Class::Permanent, "connector.duplicate"));
    assert_eq!(refused.status, Some(500));
    assert!(refused.message.contains("duplicate of the current record"), "{}", refused.message);
    let mut input = lead("ada@example.com");
    input["detect_duplicates"] = json!(false);
    tenant.create(2, input).await.unwrap();
    assert_eq!(tenant.standin("leads").await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_throttled_call_waits_as_long_as_dataverse_asks() {
    let tenant = tenant();
    let body = json!({"error": {"code": "0x80072322", "message": "Number of requests exceeded the limit of 6000."}});
    tenant.next(json!([{"status": 429, "headers": {"Retry-After": "17"}, "body": body}])).await;
    let failure = tenant.create(1, lead("a@example.com")).await.unwrap_err();
    assert_eq!((failure.class, failure.wait_ms), (Class::Throttled, Some(17_000)));
    assert!(failure.message.contains("limit of 6000"), "{}", failure.message);
    tenant.create(1, lead("a@example.com")).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_leaves_doubt_is_told_from_one_that_does_not() {
    let tenant = tenant();
    let page = "<html>Sign in to your account</html>";
    tenant.next(json!([{"status": 502}, {"status": 200, "body": page}, {"status": 503}])).await;
    assert_eq!(verdict(&tenant.create(1, lead("a@example.com")).await), "Unknown connector.in_doubt");
    assert_eq!(verdict(&tenant.create(1, lead("a@example.com")).await), "Unknown connector.unexpected_answer");
    assert_eq!(verdict(&tenant.create(1, lead("a@example.com")).await), "Throttled connector.throttled");
    let unknown = json!({"table": "leads", "record": {"frstname": "Ada"}});
    let failure = tenant.create(1, unknown).await.unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (Class::Permanent, "connector.rejected"));
    assert!(failure.message.contains("Invalid property 'frstname'"), "{}", failure.message);
    assert_eq!(tenant.standin("leads").await, json!([]));
}

#[tokio::test]
async fn a_token_that_has_ended_is_renewed_and_the_call_goes_through() {
    let mut tenant = tenant();
    tenant.entra.tell("expired");
    tenant.create(1, lead("a@example.com")).await.unwrap();
    let seen = tenant.standin("seen").await;
    assert_eq!(seen["201"], 1);
    assert_eq!(seen["401"], 1, "the first token was refused, the second was not");
}

#[tokio::test]
async fn a_wrong_secret_holds_the_run_and_sends_nothing() {
    let mut tenant = tenant();
    let wrong = connection(tenant._dir.path(), "dynamics365", json!({}), &[("client_secret", "wrong-canary")]);
    let mut own = (*tenant.connection).clone();
    own.credentials = wrong.credentials;
    tenant.connection = Arc::new(own);
    let failure = tenant.create(1, lead("a@example.com")).await.unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (Class::Held, "outbound.token_refused"));
    assert!(failure.message.contains("AADSTS7000215") && !failure.message.contains("canary"), "{}", failure.message);
    assert_eq!(tenant.standin("seen").await, json!({}));
}

#[tokio::test]
async fn the_connection_can_be_tried_out() {
    let tenant = tenant();
    let shown = tenant.outbound.test(tenant.connectors.get("dynamics365").unwrap(), &tenant.connection).await;
    assert_eq!(shown.unwrap(), json!("00000000-0000-0000-0000-00000000000a"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_makes_a_record_of_a_lead_and_a_resubmitted_run_makes_no_second_one() {
    let tenant = tenant();
    let dynamics = format!("http://127.0.0.1:{}", tenant.dataverse.port);
    let flow = repository("examples/dynamics365/flows/marketplace_lead.yaml");
    let schema = repository("examples/dynamics365/lead.schema.json");
    let token_url = tenant.connection.token_url.clone().unwrap();
    // What the README asks for: an address, ids and a secret; and here, where the token server is.
    let connections = repository("examples/dynamics365/connections.yaml")
        .replace("https://contoso.crm.dynamics.com", &dynamics)
        .replace("client_id: 00000000-0000-0000-0000-000000000000", "client_id: client-7")
        .replace("{ secret: CRM_SECRET }", "{ file: secret }")
        + &format!("  token_url: {token_url}\n");
    let body = json!({
        "LeadSource": "AzureMarketplace",
        "ActionCode": "INS",
        "OfferTitle": "Contoso Test Drive",
        "UserDetails": {"FirstName": "Ann", "LastName": "O'Brien", "Email": "ann@example.com", "Company": "O'Brien & Sons"},
    });
    let created = tokio::task::spawn_blocking(move || {
        let app = App::with(&[
            ("flows/marketplace_lead.yaml", flow.as_str()),
            ("lead.schema.json", schema.as_str()),
            ("connections.yaml", connections.as_str()),
            ("secret", "canary-secret\n"),
        ]);
        let answer = app.post("marketplace_lead", &body);
        assert_eq!(answer.status, 202, "{answer:?}");
        let run = app.ended(&answer.run());
        assert_eq!(run["status"], "succeeded", "{run}");
        let again = app.api("POST", &format!("/runs/{}/resubmit", answer.run()), Some(&json!({}))).json();
        let again = app.ended(again["run_id"].as_str().unwrap());
        assert_eq!(again["status"], "succeeded", "{again}");
        let told = format!("{run}{again}{}", app.log());
        assert!(!told.contains("canary"), "a secret was told");
        run
    })
    .await
    .unwrap();
    let leads = tenant.standin("leads").await;
    let lead = &leads.as_array().unwrap()[0];
    assert_eq!(leads.as_array().unwrap().len(), 1, "{leads}");
    assert_eq!(lead["companyname"], "O'Brien & Sons");
    assert_eq!(lead["subject"], "Contoso Test Drive");
    assert!(created.to_string().contains(lead["leadid"].as_str().unwrap()), "{created}");
    assert_eq!(tenant.standin("seen").await, json!({"201": 1, "412": 1}));
}
