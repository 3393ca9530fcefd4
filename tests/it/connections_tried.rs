//! `connections test` of built-in connectors: a missing role, a wrong region, and those that are tried without HTTP.

use std::process::Command;

use serde_json::{Value, json};

use crate::app::{App, Remote, Reply};
use crate::databases::{Database, PASSWORD};
use crate::native_smtp::{self, Mailer};
use crate::part::{Part, folders};

fn app(connections: &Value, config: &str) -> App {
    let config = format!("outbound: {{allow: [127.0.0.0/8]{config}}}\n");
    // JSON is YAML.
    let mut app = App::idle(&[("connections.yaml", &connections.to_string()), ("millstream.yaml", &config)]);
    for (name, value) in
        [("RIGHT", PASSWORD), ("WRONG", "wrong-and-long"), ("KEY", "sb_secret_test"), ("PAT", "patTest.0123456789")]
    {
        app.env.push((name, value.to_owned()));
    }
    app
}

fn tried(app: &App, name: &str) -> Value {
    app.cli_json(&["connections", "test", name])
}

fn xml(status: u16, body: &str) -> Reply {
    let headers = vec![("content-type".into(), "application/xml".into())];
    Reply { headers, body: body.to_owned(), ..Reply::from(status) }
}

#[test]
fn a_missing_role_and_a_wrong_region_are_told_from_a_wrong_key() {
    let remote = Remote::start();
    let url = remote.url("");
    let key = json!({"access_key_id": {"env": "RIGHT"}, "secret_access_key": {"env": "RIGHT"}});
    let settings = json!({"bucket": "reports", "region": "us-east-1"});
    let connections = json!({
        "s3": {"connector": "aws_s3", "base_url": format!("{url}/reports"), "settings": settings, "credentials": key},
        "chat": {"connector": "slack", "base_url": url, "credentials": {"bot_token": {"env": "RIGHT"}}},
        "pages": {"connector": "notion", "base_url": url, "credentials": {"token": {"env": "RIGHT"}}},
    });
    let mut app = app(&connections, "");
    app.start();
    let error = |code: &str, said: &str| format!("<Error><Code>{code}</Code><Message>{said}</Message></Error>");
    let reply = |status, body: Value| Reply { body: body.to_string(), ..Reply::from(status) };
    let role = "role or scope";
    for (name, answer, says, never) in [
        ("s3", xml(403, &error("AccessDenied", "Access Denied")), role, "signature"),
        (
            "s3",
            xml(
                403,
                &error(
                    "SignatureDoesNotMatch",
                    "The request signature we calculated does not match the signature you provided.",
                ),
            ),
            "the signature is refused",
            role,
        ),
        (
            "s3",
            xml(
                400,
                &error(
                    "AuthorizationHeaderMalformed",
                    "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-central-1'",
                ),
            ),
            "set `region: eu-central-1`",
            role,
        ),
        ("chat", reply(200, json!({"ok": false, "error": "missing_scope"})), role, "set them anew"),
        ("chat", reply(200, json!({"ok": false, "error": "invalid_auth"})), "set them anew", role),
        (
            "pages",
            reply(
                403,
                json!({"code": "restricted_resource", "message": "Insufficient permissions for this endpoint."}),
            ),
            role,
            "set them anew",
        ),
    ] {
        remote.answers([answer]);
        let said = tried(&app, name);
        assert_eq!(said["ok"], false, "{said}");
        let advice = said["advice"].to_string();
        assert!(advice.contains(says) && !advice.contains(never), "{says}: {said}");
    }
}

#[test]
fn a_counterpart_that_knows_the_key_says_so_and_one_without_a_test_is_told_in_words() {
    let (parts, scripts) = folders();
    let part = |name: &str| {
        let script = scripts.join(format!("vendors/{name}.py"));
        Part::start(Command::new(parts.join("venv/bin/python")).arg(script).env("MILLSTREAM_STANDINS", &parts))
    };
    let (tables, rows) = (part("airtable"), part("supabase"));
    let base = json!({"base_id": "appContoso0000001"});
    let air = |key: &str| json!({"connector": "airtable", "base_url": format!("http://127.0.0.1:{}/v0", tables.port), "settings": base, "credentials": {"token": {"env": key}}});
    let supa = |key: &str| json!({"connector": "supabase", "base_url": format!("http://127.0.0.1:{}/rest/v1", rows.port), "settings": {"project": "contoso"}, "credentials": {"secret_key": {"env": key}}});
    let hook = |key: &str| json!({"connector": "slack_webhook", "credentials": {"webhook_url": {"env": key}}});
    let connections = json!({
        "air": air("PAT"), "air_wrong": air("WRONG"), "supa": supa("KEY"), "supa_wrong": supa("WRONG"),
        "hook": hook("RIGHT"), "hook_missing": hook("NOT_SET"),
    });
    let mut app = app(&connections, "");
    app.start();
    assert_eq!(tried(&app, "air"), json!({"ok": true, "shows": "usrContoso0000001", "connection": "air"}));
    assert_eq!(tried(&app, "supa"), json!({"ok": true, "shows": "standard public schema", "connection": "supa"}));
    for name in ["air_wrong", "supa_wrong"] {
        let said = tried(&app, name);
        assert!(said["code"] == "connector.unauthorized" && said["advice"].to_string().contains("WRONG"), "{said}");
    }
    let said = tried(&app, "hook");
    assert!(said["ok"].is_null() && said["message"].as_str().unwrap().contains("nothing to ask"), "{said}");
    assert_eq!(tried(&app, "hook_missing")["code"], "secret.missing");
}

#[test]
fn a_database_a_mail_server_and_a_folder_are_tried_and_nothing_is_written() {
    let database = Database::postgres();
    let mut mailer = Mailer::start("starttls");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let password = |key: &str| json!({"password": {"env": key}});
    let sql = |host: &str, port: u16, key: &str| json!({"connector": "sql", "settings": {"url": format!("postgres://ada@{host}:{port}/postgres")}, "credentials": password(key)});
    let smtp = |host: &str, port: u16, key: &str| json!({"connector": "smtp", "settings": {"host": host, "port": port, "username": "ada"}, "credentials": password(key)});
    let file = |folder: &str, more: Value| {
        let mut settings = json!({"folder": folder});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"connector": "file", "settings": settings})
    };
    let connections = json!({
        "db": sql("localhost", database.port, "RIGHT"),
        "db_password": sql("localhost", database.port, "WRONG"),
        "db_host": sql("no-such-host.invalid", database.port, "RIGHT"),
        "db_port": sql("127.0.0.1", gone, "RIGHT"),
        "mail": smtp("localhost", mailer.port, "RIGHT"),
        "mail_password": smtp("localhost", mailer.port, "WRONG"),
        "mail_host": smtp("no-such-host.invalid", mailer.port, "RIGHT"),
        "mail_port": smtp("localhost", gone, "RIGHT"),
        "folder": file("out", json!({})),
        "folder_read": file("out", json!({"read_only": true})),
        "folder_gone": file("nowhere", json!({})),
    });
    let ca = format!(", ca_file: {}", native_smtp::tls("one.cert.pem").display());
    let mut app = app(&connections, &ca);
    std::fs::create_dir(app.path("out")).unwrap();
    app.start();
    for (name, shows) in
        [("db", "SELECT 1"), ("mail", "ada"), ("folder", "can be written"), ("folder_read", "read_only")]
    {
        let said = tried(&app, name);
        assert!(said["ok"] == true && said["shows"].as_str().unwrap().contains(shows), "{name}: {said}");
    }
    for (name, code) in [
        ("db_password", "sql.auth"),
        ("db_host", "outbound.connect"),
        ("db_port", "outbound.connect"),
        ("mail_password", "smtp.auth"),
        ("mail_host", "outbound.connect"),
        ("mail_port", "outbound.connect"),
        ("folder_gone", "file.folder"),
    ] {
        let said = tried(&app, name);
        assert!(said["ok"] == false && said["code"] == code, "{name}: {said}");
        assert!(!said["advice"].as_array().unwrap().is_empty(), "{name}: {said}");
        assert!(!said.to_string().contains("and-long"), "{said}");
    }
    assert!(mailer.mails().is_empty());
    assert_eq!(std::fs::read_dir(app.path("out")).unwrap().count(), 0);
}
