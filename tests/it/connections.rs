//! Connections of a real server: one renewal for a thousand steps, tokens that survive a crash, a person's login, and what
//! the command line says of them.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use crate::app::{App, Remote, Reply, Seen, eventually, http};
use crate::part::{Part, folders};

const CONNECTOR: &str = r#"connector: api
version: 1
settings: { type: object, properties: { url: { type: string } } }
base_url: "{{ settings.url }}"
auth: { type: oauth2_refresh, token_url: "{{ settings.url }}/token", client_id: me, refresh_token: { connection: refresh_token } }
test: { get: /me, shows: $.name }
timeout: 120s
actions:
  send: { input: { type: object }, request: { post: /things, json: "{{ input }}" } }
"#;

const FLOW: &str = "trigger: {type: request}\nsteps:\n  - id: send\n    action: api.send\n    connection: crm\n    with: {a: 1}\n    \
                    retry: {attempts: 2, backoff: fixed, delay: 100ms}\n";

fn connections(url: &str) -> String {
    format!("crm: {{connector: api, settings: {{url: \"{url}\"}}, credentials: {{refresh_token: {{env: REFRESH}}}}}}\n")
}

/// A token server that gives up a refresh token once its successor's access token was used, beside a target.
#[derive(Default)]
struct Vendor {
    /// Refreshes so far; the number of the last token.
    given: AtomicUsize,
    /// Number of the oldest refresh token that is still good.
    oldest: AtomicUsize,
    /// Refresh tokens that were asked with.
    asked: Mutex<Vec<String>>,
    /// While true, the token server does not answer.
    waits: AtomicBool,
    things: AtomicUsize,
    /// Gives up a refresh token as soon as another was given.
    strict: AtomicBool,
}

fn reply(status: u16, body: &Value) -> Reply {
    Reply { body: body.to_string(), ..Reply::from(status) }
}

impl Vendor {
    fn answer(&self, seen: &Seen, life: impl Fn(usize) -> u64) -> Reply {
        if seen.path == "/token" {
            let asked = seen.body.rsplit_once("refresh_token=").unwrap().1.to_owned();
            self.asked.lock().unwrap().push(asked.clone());
            while self.waits.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            let number: usize = asked.strip_prefix("canary-refresh-").unwrap().parse().unwrap();
            let last = self.given.load(Ordering::SeqCst);
            if number < self.oldest.load(Ordering::SeqCst) || number > last {
                return reply(400, &json!({"error": "invalid_grant", "error_description": "Token was revoked"}));
            }
            let next = self.given.fetch_add(1, Ordering::SeqCst) + 1;
            if self.strict.load(Ordering::SeqCst) {
                self.oldest.store(next, Ordering::SeqCst);
            }
            return reply(
                200,
                &json!({
                    "access_token": format!("canary-access-{next}"),
                    "refresh_token": format!("canary-refresh-{next}"),
                    "expires_in": life(next),
                }),
            );
        }
        let token = seen.header("authorization").unwrap().strip_prefix("Bearer canary-access-").unwrap();
        self.oldest.fetch_max(token.parse().unwrap(), Ordering::SeqCst);
        self.things.fetch_add(1, Ordering::SeqCst);
        reply(200, &json!({"name": "n"}))
    }
}

fn vendor(life: impl Fn(usize) -> u64 + Send + Sync + 'static) -> (Arc<Vendor>, String) {
    let vendor = Arc::new(Vendor::default());
    let own = vendor.clone();
    let address = Remote::judged(move |seen| own.answer(&seen, &life));
    (vendor, format!("http://{address}"))
}

fn app(url: &str, more: &[(&str, &str)]) -> App {
    let connections = connections(url);
    let mut files =
        vec![("connectors/api.yaml", CONNECTOR), ("flows/send.yaml", FLOW), ("connections.yaml", connections.as_str())];
    files.extend(more);
    let mut app = App::idle(&files);
    app.env.push(("REFRESH", "canary-refresh-0".to_owned()));
    app
}

#[test]
fn a_signed_webhook_to_a_url_that_is_a_secret_is_taken_by_who_asks_for_the_signature() {
    let connector = "connector: hook\nversion: 1\nbase_url: {connection: url}\nauth: {type: standard_webhooks, secret: \
                     {connection: secret}}\nactions:\n  send: {input: {type: object}, request: {post: /, json: \"{{ input }}\"}}\n";
    let connections = "crm: {connector: hook, credentials: {url: {secret: URL}, secret: {secret: SIGN}}}\n";
    let send = "trigger: {type: request}\nsteps:\n  - {id: send, action: hook.send, connection: crm, with: {a: 1}}\n";
    let receive = "trigger: {type: request, auth: [{hmac: standard_webhooks, secret: {secret: SIGN}}]}\nsteps:\n  - {id: keep, set: \
                   {id: \"{{trigger.headers.webhook-id}}\"}}\n";
    let mut app = App::idle(&[
        ("connectors/hook.yaml", connector),
        ("connections.yaml", connections),
        ("flows/send.yaml", send),
        ("flows/receive.yaml", receive),
    ]);
    app.keep_secret("SIGN", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    app.start();
    app.keep_secret("URL", &format!("http://{}{}", app.public, app.hook("receive")));
    let sent = app.ended(&app.post("send", &json!({})).run());
    assert_eq!(sent["status"], "succeeded", "{sent}");
    let output = &sent["steps"][0]["output"];
    assert_eq!(app.ended(output["run_id"].as_str().unwrap())["status"], "succeeded");
    assert!(!sent.to_string().contains("/hooks/receive/"), "{sent}");

    // With another secret it is turned away.
    app.keep_secret("SIGN", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    app.write("flows/receive.yaml", &receive.replace("SIGN", "OTHER"));
    app.keep_secret("OTHER", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    eventually(|| {
        let sent = app.run_when(&app.post("send", &json!({})).run(), &["succeeded", "failed", "held"]);
        sent["status"] == "held" && sent.to_string().contains("connector.unauthorized")
    });
}

#[test]
fn a_thousand_steps_that_wait_for_a_token_make_one_renewal() {
    // Given a token that has ended, and a token server that takes its time.
    let (vendor, url) = vendor(|number| if number == 1 { 1 } else { 3600 });
    let limits = "outbound: {allow: [127.0.0.0/8]}\nlimits: {runs: 2100}\n";
    let mut app = app(&url, &[("millstream.yaml", limits)]);
    app.start();
    let first = app.post("send", &json!({})).run();
    assert_eq!(app.ended(&first)["status"], "succeeded");
    eventually(|| {
        app.cli_json(&["connections", "list"])[0]["token"]["expires_at"]
            .as_str()
            .is_some_and(|end| end.parse::<jiff::Timestamp>().unwrap() < jiff::Timestamp::now())
    });
    vendor.waits.store(true, Ordering::SeqCst);

    // When a thousand runs come to their call.
    let path = app.hook("send");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..125).for_each(|_| assert_eq!(app.post_to(&path, "{}").status, 202)));
        }
    });
    eventually(|| app.runs("status=running&limit=1000").len() == 1000);
    vendor.waits.store(false, Ordering::SeqCst);

    // Then one of them has renewed the token, and all have used it.
    eventually(|| {
        app.runs("status=succeeded&limit=1000").len() == 1000 && vendor.things.load(Ordering::SeqCst) == 1001
    });
    assert_eq!(vendor.given.load(Ordering::SeqCst), 2);
    assert_eq!(*vendor.asked.lock().unwrap(), ["canary-refresh-0", "canary-refresh-1"]);
    assert_eq!(vendor.things.load(Ordering::SeqCst), 1001);
}

#[test]
fn a_step_that_runs_out_of_time_during_a_renewal_loses_no_refresh_token() {
    // Given a server that answers late, and gives up the old refresh token at once.
    let (vendor, url) = vendor(|_| 3600);
    vendor.strict.store(true, Ordering::SeqCst);
    vendor.waits.store(true, Ordering::SeqCst);
    let flow = FLOW.replace("retry: {attempts: 2,", "timeout: 300ms\n    retry: {attempts: 90,");
    let mut app = app(&url, &[("flows/send.yaml", &flow)]);
    app.start();
    let run = app.post("send", &json!({})).run();
    eventually(|| app.run(&run).to_string().contains("outbound.timeout"));
    vendor.waits.store(false, Ordering::SeqCst);
    assert_eq!(app.ended(&run)["status"], "succeeded");
    assert_eq!(*vendor.asked.lock().unwrap(), ["canary-refresh-0"]);
}

#[test]
fn a_revoked_refresh_token_holds_the_run_and_a_new_one_lets_it_go_on() {
    let (vendor, url) = vendor(|_| 3600);
    vendor.oldest.store(5, Ordering::SeqCst);
    vendor.given.store(9, Ordering::SeqCst);
    let mut app = app(&url, &[]);
    app.start();
    let run = app.post("send", &json!({})).run();
    let held = app.run_when(&run, &["held"]);
    assert!(held["reason"].as_str().unwrap().contains("set the credential `refresh_token` to a new one"), "{held}");
    assert!(held.to_string().contains("outbound.login_needed"), "{held}");
    let tried = app.cli(&["connections", "test", "crm"]);
    assert!(!tried.status.success() && String::from_utf8_lossy(&tried.stdout).contains("outbound.login_needed"));
    app.terminate();
    app.env = vec![("REFRESH", "canary-refresh-9".to_owned())];
    app.start();
    assert_eq!(app.api("POST", &format!("/runs/{run}/resume"), None).status, 200);
    assert_eq!(app.ended(&run)["status"], "succeeded");
}

/// Kills the server at a place of the renewal, and lets it go on.
#[cfg(feature = "crash-points")]
fn killed_at(place: &str, strict: bool) -> (Arc<Vendor>, Value) {
    let (vendor, url) = vendor(|_| 3600);
    vendor.strict.store(strict, Ordering::SeqCst);
    let mut app = app(&url, &[]);
    app.env.push(("MILLSTREAM_CRASH", format!("{place}:1")));
    app.start();
    vendor.waits.store(true, Ordering::SeqCst);
    let run = app.post("send", &json!({})).run();
    vendor.waits.store(false, Ordering::SeqCst);
    eventually(|| app.has_ended().is_some());
    app.kill();
    app.env.retain(|(name, _)| *name != "MILLSTREAM_CRASH");
    app.start();
    let run = app.ended(&run);
    app.terminate();
    app.start();
    let again = app.post("send", &json!({})).run();
    assert_eq!(app.ended(&again)["status"], "succeeded", "the token is good over another restart");
    (vendor, run)
}

#[cfg(feature = "crash-points")]
#[test]
fn a_crash_between_a_new_refresh_token_and_its_use_locks_nobody_out() {
    // Before it was kept: the old one is still on disk, and the server knows it until the new one is used.
    let (vendor, run) = killed_at("outbound.token.given", false);
    assert_eq!(run["status"], "succeeded");
    assert_eq!(vendor.given.load(Ordering::SeqCst), 2);
    // After: the new one is on disk, though the server gave up the old one at once.
    let (vendor, run) = killed_at("outbound.token.kept", true);
    assert_eq!(run["status"], "succeeded");
    assert_eq!(vendor.given.load(Ordering::SeqCst), 1, "the access token was kept too");
}

/// A service with a sign-in, and a folder with a connection to it.
struct Service {
    part: Part,
    app: App,
}

impl Service {
    fn new() -> Service {
        let (parts, scripts) = folders();
        let part = Part::start(
            Command::new("node").arg(scripts.join("login.mjs")).arg(&parts).args(["client-7", "canary-secret"]),
        );
        let target = Remote::judged(|seen| match seen.header("authorization") {
            Some(bearer) if bearer.starts_with("Bearer ey") => reply(200, &json!({"name": "Ada"})),
            _ => reply(401, &json!({})),
        });
        let connector = format!(
            "connector: api\nversion: 1\nbase_url: \"http://{target}\"\nauth:\n  type: oauth2_code\n  authorize_url: \
             \"http://127.0.0.1:{port}/authorize?x=1\"\n  token_url: \"http://127.0.0.1:{port}/token\"\n  client_id: client-7\n  \
             client_secret: {{connection: client_secret}}\n  scope: things\n  extra: {{access_type: offline}}\ntest: {{get: /me, \
             shows: $.name}}\nactions:\n  send: {{input: {{type: object}}, request: {{post: /things, json: \"{{{{ input }}}}\"}}}}\n",
            port = part.port
        );
        let connections = "crm: {connector: api, credentials: {client_secret: {env: SECRET}}}\n";
        let mut app = App::idle(&[
            ("connectors/api.yaml", &connector),
            ("flows/send.yaml", FLOW),
            ("connections.yaml", connections),
        ]);
        app.env.push(("SECRET", "canary-secret".to_owned()));
        Service { part, app }
    }

    /// Runs the login as a person does; the page that the browser ends at, and what the command said.
    fn login(&self) -> (u16, std::process::Output) {
        let mut command = self.app.command();
        command.args(["connections", "login", "crm", "--no-browser", "--json"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (url, mut said) = address(&mut child);
        assert_eq!(url.query_pairs().find(|(name, _)| name == "x").unwrap().1, "1");
        // The browser: to the service, and from there back to this machine.
        let at = |url: &Url| -> (std::net::SocketAddr, String) {
            let address = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap()).parse().unwrap();
            (address, url[url::Position::BeforePath..].to_owned())
        };
        let (service, path) = at(&url);
        let back = http(service, "GET", &path, &[], b"").unwrap();
        let back = Url::parse(back.header("location").unwrap_or_else(|| panic!("{back:?}"))).unwrap();
        let (here, path) = at(&back);
        assert_eq!(http(here, "GET", "/favicon.ico", &[], b"").unwrap().status, 404);
        let page = http(here, "GET", &path, &[], b"").unwrap();
        let mut rest = Vec::new();
        said.read_to_end(&mut rest).unwrap();
        let mut output = child.wait_with_output().unwrap();
        output.stderr = rest;
        (page.status, output)
    }
}

/// The address that the command tells a person to open.
fn address(child: &mut Child) -> (Url, BufReader<std::process::ChildStderr>) {
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut all = String::new();
    loop {
        let mut line = String::new();
        assert!(said.read_line(&mut line).unwrap() > 0, "it gave no address: {all}");
        all.push_str(&line);
        if line.trim().starts_with("http") {
            return (Url::parse(line.trim()).unwrap(), said);
        }
    }
}

#[test]
fn a_person_logs_in_once_and_flows_use_it_until_it_is_revoked() {
    let mut service = Service::new();
    service.app.start();
    // Before the login the run is held, and says what to do.
    let run = service.app.post("send", &json!({})).run();
    let held = service.app.run_when(&run, &["held"]);
    assert!(held["reason"].as_str().unwrap().contains("run `millstream connections login crm`"), "{held}");
    let listed = &service.app.cli_json(&["connections", "list"])[0];
    assert_eq!((&listed["login"], &listed["token"]), (&json!("needed"), &Value::Null));
    assert_eq!(listed["used_by"], json!([{"flow": "send", "step": "send"}]));

    // The login, then the same run goes on, and the test of the connection is good.
    service.part.tell("short");
    let (page, output) = service.login();
    assert!(page == 200 && output.status.success(), "{output:?}");
    assert_eq!(
        serde_json::from_slice::<Value>(&output.stdout).unwrap(),
        json!({"connection": "crm", "logged_in": true})
    );
    assert_eq!(service.app.api("POST", &format!("/runs/{run}/resume"), None).status, 200);
    assert_eq!(service.app.ended(&run)["status"], "succeeded");
    let listed = &service.app.cli_json(&["connections", "list"])[0];
    assert!(listed["login"] == "done" && listed["token"]["expires_at"].is_string(), "{listed}");

    // Over restarts, each with a renewal that gives another refresh token.
    for _ in 0..2 {
        service.app.terminate();
        service.app.start();
        let tried = service.app.cli(&["connections", "test", "crm"]);
        assert!(String::from_utf8_lossy(&tried.stdout).contains("crm works: Ada"), "{tried:?}");
    }

    // Revoked, the next renewal holds the run.
    service.part.tell("revoke");
    service.app.terminate();
    service.app.start();
    let mut held = Value::Null;
    eventually(|| {
        // The last token lives for a second.
        let run = service.app.post("send", &json!({})).run();
        held = service.app.run_when(&run, &["held", "succeeded"]);
        held["status"] == "held"
    });
    assert!(held.to_string().contains("outbound.login_needed"), "{held}");
    assert!(held["reason"].as_str().unwrap().contains("run `millstream connections login crm`"), "{held}");

    // What was done is in the audit log, and no token is in the files.
    let audit = service.app.api("GET", "/audit", None).text;
    assert!(audit.contains("log_in_connection") && audit.contains("test_connection"), "{audit}");
    let vault = std::fs::read_to_string(service.app.path(".millstream/vault.json")).unwrap();
    assert!(vault.contains("\"crm\"") && !vault.contains("access_token") && !vault.contains("eyJ"), "{vault}");
}

#[test]
fn a_login_works_where_no_server_runs_too() {
    let mut service = Service::new();
    let (page, output) = service.login();
    assert!(page == 200 && output.status.success(), "{output:?}");
    let tried = service.app.cli_json(&["connections", "test", "crm"]);
    assert_eq!(tried, json!({"ok": true, "shows": "Ada", "connection": "crm"}));
    service.app.start();
    let run = service.app.post("send", &json!({})).run();
    assert_eq!(service.app.ended(&run)["status"], "succeeded");
}

#[test]
fn a_login_that_is_refused_or_is_another_ones_is_said_in_words_and_keeps_nothing() {
    let mut service = Service::new();
    service.app.start();
    for (what, words) in
        [("refuse", "somebody said no (The user did not consent)"), ("other_state", "`state` is wrong")]
    {
        service.part.tell(what);
        let (page, output) = service.login();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(page == 400 && !output.status.success() && said.contains(words), "{said}");
    }
    let wrong = service.app.api("POST", "/connections/crm/login/code", Some(&json!({"state": "x", "code": "y"})));
    assert_eq!((wrong.status, wrong.json()["code"].clone()), (409, json!("login_failed")));
    let away =
        service.app.api("POST", "/connections/crm/login", Some(&json!({"redirect_uri": "https://evil.example/"})));
    assert_eq!(away.status, 409);
    let none =
        service.app.api("POST", "/connections/nobody/login", Some(&json!({"redirect_uri": "http://127.0.0.1:1/"})));
    assert_eq!(none.json()["code"], "connection_not_found");
    assert_eq!(service.app.cli_json(&["connections", "list"])[0]["login"], "needed");
}

#[test]
fn a_test_says_what_is_wrong_and_what_to_do() {
    let remote = Remote::start();
    let connector = "connector: api\nversion: 1\nsettings: {type: object, properties: {url: {type: string}}}\nbase_url: \"{{ \
                     settings.url }}\"\nauth: {type: bearer, token: {connection: token}}\nerror_text: $.error\ntest: {get: /me, \
                     shows: $.name}\nactions: {}\n";
    let one = |name: &str, url: &str| {
        format!("{name}: {{connector: api, settings: {{url: \"{url}\"}}, credentials: {{token: {{env: TOKEN}}}}}}\n")
    };
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let connections = one("good", &remote.url(""))
        + &one("unknown", "http://no-such-host.invalid")
        + &one("refused", &format!("http://{gone}"))
        + &one("blocked", "http://10.0.0.1")
        + &one("tls", &remote.url("").replace("http:", "https:"))
        + &format!(
            "missing: {{connector: api, settings: {{url: \"{}\"}}, credentials: {{token: {{secret: NOT}}}}}}\n",
            remote.url("")
        )
        + "web: {connector: http, settings: {base_url: \"http://127.0.0.1\"}}\n";
    let mut app = App::idle(&[("connectors/api.yaml", connector), ("connections.yaml", &connections)]);
    app.env.push(("TOKEN", "canary-token".to_owned()));
    app.start();
    let told = |name: &str| app.cli_json(&["connections", "test", name]);
    remote.answers([Reply { body: json!({"name": "Ada"}).to_string(), ..Reply::from(200) }]);
    assert_eq!(told("good"), json!({"ok": true, "shows": "Ada", "connection": "good"}));
    for (name, code, says) in [
        ("unknown", "outbound.connect", "name is not known (DNS)"),
        ("refused", "outbound.connect", "nothing listens"),
        ("blocked", "outbound.blocked_address", "outbound.allow"),
        ("tls", "outbound.connect", "does not speak TLS"),
        ("missing", "secret.missing", "millstream secret set NOT"),
    ] {
        let said = told(name);
        assert!(said["ok"] == false && said["code"] == code && said.to_string().contains(says), "{said}");
        assert!(!said["advice"].as_array().unwrap().is_empty(), "{said}");
    }
    for (status, error, code, says) in [
        (401, "bad token", "connector.unauthorized", "set them anew (env TOKEN)"),
        (403, "needs the role Lead.Write", "connector.rejected", "needs the role Lead.Write"),
        (404, "", "connector.rejected", "another region"),
    ] {
        remote.answers([reply(status, &json!({"error": error}))]);
        let said = told("good");
        assert!(said["code"] == code && said.to_string().contains(says), "{said}");
        assert_eq!(said["status"], status);
    }
    assert_eq!(told("web")["ok"], Value::Null);
    let listed = app.cli_json(&["connections", "list"]);
    let missing = listed.as_array().unwrap().iter().find(|one| one["name"] == "missing").unwrap();
    assert!(missing["credentials"][0]["problem"].as_str().unwrap().contains("millstream secret set NOT"), "{missing}");
    assert!(!listed.to_string().contains("canary"));
}

#[test]
fn a_test_shows_which_certificate_was_refused() {
    let certificates = |name: &str| format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let tls = format!(
        "tls: {{cert: {}, key: {}}}\noutbound: {{allow: [127.0.0.0/8]}}\n",
        certificates("expired.cert.pem"),
        certificates("expired.key.pem")
    );
    let target = App::with(&[("millstream.yaml", &tls)]);
    let connector = "connector: api\nversion: 1\nsettings: {type: object, properties: {url: {type: string}}}\nbase_url: \"{{ \
                     settings.url }}\"\ntest: {get: /healthz}\nactions: {}\n";
    let connections = format!("tls: {{connector: api, settings: {{url: \"https://{}\"}}}}\n", target.public);
    let app = App::with(&[("connectors/api.yaml", connector), ("connections.yaml", &connections)]);
    let said = app.cli_json(&["connections", "test", "tls"]);
    assert_eq!(said["code"], "outbound.tls");
    assert!(said.to_string().contains("it shows a certificate of `"), "{said}");
}

#[test]
fn the_vaults_key_is_replaced_while_the_server_runs_and_its_runs_go_on() {
    let remote = Remote::start();
    let connections = format!(
        "crm: {{connector: http, settings: {{base_url: \"{}\"}}, credentials: {{token: {{secret: CRM}}}}}}\n",
        remote.url("")
    );
    let flow = "trigger: {type: request}\nsteps:\n  - {id: send, action: http.request, connection: crm, with: {url: /x, json: {}}}\n";
    let mut app = App::idle(&[("connections.yaml", &connections), ("flows/send.yaml", flow)]);
    let set = |app: &App, value: &str| app.keep_secret("CRM", value);
    set(&app, "canary-1");
    app.start();
    let works = |app: &App, value: &str| {
        let run = app.post("send", &json!({})).run();
        assert_eq!(app.ended(&run)["status"], "succeeded");
        assert_eq!(remote.seen().last().unwrap().header("authorization"), Some(format!("Bearer {value}").as_str()));
    };
    works(&app, "canary-1");
    let before = std::fs::read(app.path(".millstream/vault.json")).unwrap();
    assert_eq!(app.cli_json(&["secret", "rotate-key"]), json!({"version": 2}));
    assert_ne!(std::fs::read(app.path(".millstream/vault.json")).unwrap(), before);
    works(&app, "canary-1");
    set(&app, "canary-2");
    works(&app, "canary-2");
    assert!(app.api("GET", "/audit", None).text.contains("rotate_vault_key"));
    app.terminate();

    // To a key of one's own, without a server, and back from one that was lost to the configuration.
    let config = "outbound: {allow: [127.0.0.0/8]}\nvault: {key: {file: vault.key}}\n";
    app.write("vault.key", &"k".repeat(32));
    app.write("millstream.yaml", config);
    assert_eq!(app.cli_json(&["secret", "rotate-key"]), json!({"version": 3}));
    app.start();
    works(&app, "canary-2");
    let refused = app.cli(&["secret", "rotate-key", "--old-key", "vault.key"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("stop it first"));
    app.terminate();
    app.write("old.key", &"k".repeat(32));
    app.write("vault.key", &"n".repeat(32));
    app.start();
    let run = app.post("send", &json!({})).run();
    let held = app.run_when(&run, &["held"]);
    assert!(held["reason"].as_str().unwrap().contains("another key"), "{held}");
    app.terminate();
    let old = app.path("old.key");
    assert_eq!(app.cli_json(&["secret", "rotate-key", "--old-key", old.to_str().unwrap()]), json!({"version": 4}));
    app.start();
    works(&app, "canary-2");
    app.terminate();
    app.write("vault.key", "short");
    let refused = app.cli(&["secret", "list"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("fewer than 32"));
}
