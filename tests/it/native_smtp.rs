//! `smtp.send` against a real SMTP server (aiosmtpd, tests/standins/smtp.py), over TLS with a certificate of our own.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use millstream::config;
use millstream::connector::{Connectors, Failure};
use millstream::outbound::{Outbound, Secrets};
use serde_json::{Value, json};

use crate::app::{App, eventually};
use crate::remote::{KEY, connection, perform, verdict};

const PASSWORD: &str = "geheim-und-lang";

/// The server, ended by its own id.
pub struct Mailer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub port: u16,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn tls(name: &str) -> PathBuf {
    root().join("tests/tls").join(name)
}

impl Mailer {
    pub fn start(mode: &str) -> Mailer {
        let parts = std::env::var_os("MILLSTREAM_STANDINS").map(PathBuf::from);
        let parts = parts.unwrap_or_else(|| root().join("target/standins"));
        let mut child = Command::new(parts.join("venv/bin/python"))
            .arg(root().join("tests/standins/smtp.py"))
            .arg(mode)
            .args([tls("one.cert.pem"), tls("one.key.pem")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/standins/setup installs it");
        let (input, mut output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).expect("tests/standins/setup installs aiosmtpd");
        Mailer { child, input, output, port: said["port"].as_u64().unwrap() as u16 }
    }

    fn tell(&mut self, what: &str) -> Value {
        writeln!(self.input, "{what}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    pub fn mails(&mut self) -> Vec<Value> {
        self.tell("mails").as_array().unwrap().clone()
    }
}

impl Drop for Mailer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn header<'m>(mail: &'m Value, name: &str) -> Option<&'m str> {
    let headers = mail["headers"].as_array().unwrap();
    headers.iter().find(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name)).and_then(|pair| pair[1].as_str())
}

fn outbound(ca: Option<&str>) -> Outbound {
    let allow = vec!["127.0.0.0/8".parse().unwrap()];
    let config = config::Outbound { allow, ca_file: ca.map(tls), ..Default::default() };
    Outbound::new(&config, Secrets::default()).unwrap()
}

/// One attempt with these settings over those of the server.
async fn send(
    outbound: &Outbound,
    mailer: &Mailer,
    settings: Value,
    password: &str,
    input: Value,
) -> Result<Value, Failure> {
    let dir = tempfile::tempdir().unwrap();
    let mut set =
        json!({"host": "localhost", "port": mailer.port, "username": "ada", "from": "Millstream <leads@example.com>"});
    for (key, value) in settings.as_object().unwrap() {
        if value.is_null() {
            set.as_object_mut().unwrap().remove(key)
        } else {
            set.as_object_mut().unwrap().insert(key.clone(), value.clone())
        };
    }
    let credentials: &[(&str, &str)] = if password.is_empty() { &[] } else { &[("password", password)] };
    let connection = Arc::new(connection(dir.path(), "smtp", set, credentials));
    perform(outbound, &Connectors::shipped(), "smtp.send", Some(&connection), input).await
}

fn simple() -> Value {
    json!({"to": "ada@example.com", "subject": "Hello", "text": "A lead"})
}

#[tokio::test]
async fn a_mail_arrives_with_all_its_parts_over_starttls_and_after_signing_in() {
    let mut mailer = Mailer::start("starttls");
    let input = json!({
        "to": "\"Doe, Jane\" <jane@example.com>, bob@example.com",
        "cc": ["Grüße <gruesse@example.com>"],
        "bcc": "hidden@example.com",
        "reply_to": "sales@example.com",
        "subject": "Neuer Lead: Müller & Söhne — 日本語, a subject that is long enough to be folded over several lines of it",
        "text": "Grüße\nzwei\n.\nein Punkt",
        "html": "<p>Grüße</p>",
        "attachments": [
            {"filename": "über.csv", "content_type": "text/csv", "content": "a;ü\n"},
            {"filename": "x.bin", "base64": "AAEC/w=="},
        ],
        "headers": {"List-Id": "<leads.example.com>", "X-Empty": null},
    });
    let sent = send(&outbound(Some("one.cert.pem")), &mailer, json!({}), PASSWORD, input).await.unwrap();
    let id = format!("<{KEY}@example.com>");
    assert_eq!(sent["message_id"], id);
    assert_eq!(
        sent["accepted"],
        json!(["jane@example.com", "bob@example.com", "gruesse@example.com", "hidden@example.com"])
    );
    let mails = mailer.mails();
    let [mail] = mails.as_slice() else { panic!("{mails:#?}") };
    assert_eq!((&mail["from"], &mail["to"]), (&json!("leads@example.com"), &sent["accepted"]));
    assert_eq!(header(mail, "message-id"), Some(id.as_str()));
    assert_eq!(header(mail, "from"), Some("Millstream <leads@example.com>"));
    assert_eq!(header(mail, "to"), Some("\"Doe, Jane\" <jane@example.com>, bob@example.com"));
    assert_eq!(header(mail, "cc"), Some("Grüße <gruesse@example.com>"));
    assert_eq!(header(mail, "reply-to"), Some("sales@example.com"));
    assert_eq!(header(mail, "list-id"), Some("<leads.example.com>"));
    assert!(header(mail, "subject").unwrap().starts_with("Neuer Lead: Müller & Söhne — 日本語, a subject that"));
    assert!(header(mail, "date").is_some() && header(mail, "bcc").is_none() && header(mail, "x-empty").is_none());
    assert_eq!((&mail["kind"], &mail["ascii"]), (&json!("multipart/mixed"), &json!(true)));
    let lines = |text: &str| text.replace("\r\n", "\n").trim_end().to_owned();
    let parts: Vec<(String, Option<&str>, String)> = mail["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| {
            let text = |key: &str| part[key].as_str();
            (text("type").unwrap().to_owned(), text("filename"), lines(text("content").unwrap()))
        })
        .collect();
    assert_eq!(
        parts,
        [
            ("text/plain".into(), None, "Grüße\nzwei\n.\nein Punkt".into()),
            ("text/html".into(), None, "<p>Grüße</p>".into()),
            ("text/csv".into(), Some("über.csv"), "a;ü".into()),
            ("application/octet-stream".into(), Some("x.bin"), "000102ff".into()),
        ]
    );
}

#[tokio::test]
async fn what_the_server_says_decides_what_follows() {
    let mut mailer = Mailer::start("tls");
    let (outbound, settings) = (outbound(Some("one.cert.pem")), json!({"security": "tls"}));
    mailer.tell("next 451 4.3.0 come again");
    let first = send(&outbound, &mailer, settings.clone(), PASSWORD, simple()).await;
    assert_eq!(verdict(&first), "Retry smtp.unavailable");
    assert!(first.unwrap_err().message.contains("451 4.3.0 come again"));
    assert!(send(&outbound, &mailer, settings.clone(), PASSWORD, simple()).await.is_ok());
    mailer.tell("next 554 5.6.0 this is spam");
    let spam = send(&outbound, &mailer, settings.clone(), PASSWORD, simple()).await;
    assert_eq!(verdict(&spam), "Permanent smtp.rejected");
    assert!(spam.unwrap_err().message.contains("this is spam"));
    let to = |to: &str| json!({"to": ["bob@example.com", to], "text": "x"});
    let refused = send(&outbound, &mailer, settings.clone(), PASSWORD, to("refused@example.com")).await;
    assert_eq!(verdict(&refused), "Permanent smtp.rejected");
    let refused = refused.unwrap_err().message;
    assert!(refused.contains("no such mailbox here") && refused.contains("refused@example.com"), "{refused}");
    let later = send(&outbound, &mailer, settings.clone(), PASSWORD, to("later@example.com")).await;
    assert_eq!(verdict(&later), "Retry smtp.unavailable");
    let wrong = send(&outbound, &mailer, settings, "another", simple()).await;
    assert_eq!(verdict(&wrong), "Held smtp.auth");
    assert!(!wrong.unwrap_err().message.contains("another"));
    assert_eq!(mailer.mails().len(), 1, "one was taken, and nobody got a part of the others");
}

#[tokio::test]
async fn nothing_is_sent_in_the_open_unless_the_connection_says_so_and_a_password_never() {
    let mut open = Mailer::start("open");
    let outbound = outbound(Some("one.cert.pem"));
    let starttls = send(&outbound, &open, json!({}), PASSWORD, simple()).await;
    assert_eq!(verdict(&starttls), "Held smtp.settings", "it offers none");
    let password = send(&outbound, &open, json!({"security": "none"}), PASSWORD, simple()).await;
    assert_eq!(verdict(&password), "Held smtp.settings");
    let half = send(&outbound, &open, json!({"security": "none"}), "", simple()).await;
    assert_eq!(verdict(&half), "Held smtp.settings", "a name without a password");
    assert_eq!(open.mails().len(), 0);
    let plain = send(&outbound, &open, json!({"security": "none", "username": null}), "", simple()).await;
    assert!(plain.is_ok(), "{plain:?}");
    assert_eq!(open.mails().len(), 1);
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_and_an_address_inside_end_the_call() {
    let mailer = Mailer::start("starttls");
    for (ca, host, settings) in [
        (None, "localhost", "starttls"),
        (Some("two.cert.pem"), "localhost", "starttls"),
        (Some("one.cert.pem"), "127.0.0.2", "starttls"),
    ] {
        let settings = json!({"host": host, "security": settings});
        let result = send(&outbound(ca), &mailer, settings, PASSWORD, simple()).await;
        // Nobody listens at the other address of this machine.
        let expected = if host == "127.0.0.2" { "Retry outbound.connect" } else { "Permanent outbound.tls" };
        assert_eq!(verdict(&result), expected, "{ca:?} {result:?}");
    }
    let guarded = Outbound::new(&config::Outbound::default(), Secrets::default()).unwrap();
    for host in ["localhost", "127.0.0.1", "127.1", "[::1]"] {
        let result = send(&guarded, &mailer, json!({"host": host}), PASSWORD, simple()).await;
        assert_eq!(verdict(&result), "Permanent outbound.blocked_address", "{host}");
    }
}

#[tokio::test]
async fn no_input_begins_a_header_or_a_command_of_its_own() {
    let mut mailer = Mailer::start("open");
    let settings = json!({"security": "none", "username": null});
    for (key, value) in [
        ("subject", json!("x\r\nBcc: evil@example.com")),
        ("to", json!("ada@example.com\r\nRCPT TO:<evil@example.com>")),
        ("to", json!("ada@example.com>\r\nX: y")),
        ("cc", json!(["A\nB <a@example.com>"])),
        ("from", json!("\"x\r\nBcc: e@example.com\" <a@example.com>")),
        ("reply_to", json!("a@example.com\u{0}")),
        ("headers", json!({"X-A": "b\nBcc: evil@example.com"})),
        ("headers", json!({"X-A: b\r\nBcc": "evil@example.com"})),
        ("headers", json!({"bcc": "evil@example.com"})),
        ("headers", json!({"Message-ID": "<mine@example.com>"})),
        ("attachments", json!([{"filename": "a\"\r\nX: y", "content": ""}])),
        ("attachments", json!([{"filename": "a", "content_type": "text/plain\r\nX: y", "content": ""}])),
        ("to", json!([])),
        ("to", json!("a@example.com; b@example.com")),
    ] {
        let mut input = simple();
        input[key] = value.clone();
        let result = send(&outbound(None), &mailer, settings.clone(), "", input).await;
        assert_eq!(verdict(&result), "Permanent smtp.input", "{key}: {value}");
    }
    // A line of its own within the text is text.
    let text = json!({"to": "ada@example.com", "text": "one\r\n.\r\nRCPT TO:<evil@example.com>\r\n"});
    assert!(send(&outbound(None), &mailer, settings, "", text).await.is_ok());
    let mails = mailer.mails();
    assert_eq!((mails.len(), &mails[0]["to"]), (1, &json!(["ada@example.com"])));
    assert!(mails[0]["parts"][0]["content"].as_str().unwrap().contains("RCPT TO"));
}

#[test]
fn a_mail_that_was_taken_without_an_answer_is_sent_again_under_the_same_message_id() {
    let mut mailer = Mailer::start("starttls");
    let connections = format!(
        "mail:\n  connector: smtp\n  settings: {{host: localhost, port: {}, username: ada, from: leads@example.com}}\n  \
         credentials: {{password: {{env: SMTP_PASSWORD}}}}\n",
        mailer.port
    );
    let flow = "id: lead\ntrigger: {type: request}\nsteps:\n  - id: write\n    action: smtp.send\n    connection: mail\n    \
                with: {to: sales@example.com, subject: \"{{trigger.body.name}}\", text: A lead}\n";
    let mut app = App::idle(&[("connections.yaml", &connections), ("flows/lead.yaml", flow)]);
    let ca = tls("one.cert.pem");
    app.write("millstream.yaml", &format!("outbound: {{allow: [127.0.0.0/8], ca_file: {}}}\n", ca.display()));
    app.env.push(("SMTP_PASSWORD", PASSWORD.to_owned()));
    app.start();
    mailer.tell("hang");
    let run = app.post("lead", &json!({"name": "ACME"})).run();
    eventually(|| mailer.mails().len() == 1);
    app.kill();
    app.start();
    assert_eq!(app.ended(&run)["status"], "succeeded");
    let mails = mailer.mails();
    assert_eq!(mails.len(), 2, "SMTP cannot tell a repeat; a reader can");
    assert_eq!(header(&mails[0], "message-id"), header(&mails[1], "message-id"));
    assert!(!app.log().contains(PASSWORD));
}
