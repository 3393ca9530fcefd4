//! Who may use the admin API: tokens, roles, the audit log, guessing, foreign hosts and pages, files that others can read.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;

use millstream::access::Role;
use serde_json::{Value, json};

use crate::app::{Answer, App, eventually, http};

const FLOW: &str = "trigger: {type: request}\nsteps:\n  - id: note\n    set: {seen: true}\n";
const RUN: &str = "0198c2a4-5b1e-7c33-9d8f-3a5b7c9d1e2f";

/// Makes a token through the command line.
fn token(app: &App, name: &str, role: &str, more: &[&str]) -> String {
    let made = app.cli(&[&["token", "add", name, "--role", role][..], more].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

fn status(answer: &Answer) -> (u16, String) {
    let body: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    (answer.status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn every_route_asks_for_a_token_and_for_its_role() {
    let app = App::with(&[("flows/lead.yaml", FLOW)]);
    let tokens = Role::ALL.map(|role| (role, token(&app, &format!("{role}-1"), role.name(), &[])));
    let routes = millstream::server::routes();
    for role in Role::ALL {
        assert!(routes.iter().any(|(_, _, least)| *least == role), "no route is for the role {role}");
    }
    for (method, path, least) in &routes {
        let path = path.replace("{flow}", "lead").replace("{run}", RUN).replace("{name}", "nobody");
        assert!(!path.contains('{'), "the test does not know what to put into {path}");
        let shown = format!("{method} {path}");
        let none = http(app.admin, method.as_str(), &format!("/api/v1{path}"), &[], b"").unwrap();
        assert_eq!(status(&none), refusal(401, "unauthorized"), "{shown}");
        for (role, token) in &tokens {
            let found = status(&app.api_as(token, method.as_str(), &path, None));
            match role < least {
                true => assert_eq!(found, refusal(403, "forbidden"), "{shown} as {role}"),
                false => assert!(![401, 403].contains(&found.0), "{shown} as {role}: {found:?}"),
            }
        }
    }
    let nothing = http(app.admin, "GET", "/api/v1/nothing", &[], b"").unwrap();
    assert_eq!(status(&nothing), refusal(401, "unauthorized"), "what there is, a stranger does not learn");
}

#[test]
fn the_reference_has_each_route_with_its_role() {
    let page = crate::app::repository("docs/reference/http.md");
    for (method, path, role) in millstream::server::routes() {
        let begins = [format!("| `{method} {path}`"), format!("| `{method} {path}?"), format!("| `{method} {path} ")];
        let row = page.lines().find(|line| begins.iter().any(|begin| line.starts_with(begin)));
        let row = row.unwrap_or_else(|| panic!("docs/reference/http.md lacks {method} {path}"));
        assert!(row.contains(&format!(" | {role} | ")), "{row}");
    }
}

#[test]
fn a_token_counts_at_once_with_or_without_a_server_and_not_after_its_end() {
    let mut app = App::with(&[("flows/lead.yaml", FLOW)]);
    let get = |app: &App, token: &str| app.api_as(token, "GET", "/runs", None).status;
    let made = app.cli_json(&["token", "add", "ci", "--role", "viewer", "--expires", "90d"]);
    let ci = made["token"].as_str().unwrap();
    assert!(ci.starts_with("mst_") && made["expires_at"].is_string(), "{made}");
    assert_eq!(get(&app, ci), 200);

    let listed = app.cli_json(&["token", "list"]);
    assert_eq!(
        (&listed[0]["name"], &listed[0]["role"], listed.as_array().unwrap().len()),
        (&json!("ci"), &json!("viewer"), 1)
    );
    assert!(!listed.to_string().contains("mst_"), "{listed}");
    let again = app.cli(&["token", "add", "ci", "--role", "admin"]);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("token_exists"));

    // A short life ends by itself.
    let brief = token(&app, "brief", "viewer", &["--expires", "1s"]);
    eventually(|| get(&app, &brief) == 401);

    app.terminate();
    let offline = token(&app, "offline", "operator", &[]);
    app.start();
    assert_eq!((get(&app, ci), get(&app, &offline)), (200, 200));
    assert!(app.cli(&["token", "rm", "ci"]).status.success());
    assert_eq!(get(&app, ci), 401);
    app.terminate();
    app.start();
    assert_eq!((get(&app, ci), get(&app, &offline)), (401, 200));
    assert!(!app.cli(&["token", "rm", "ci"]).status.success());
}

#[test]
fn who_may_only_read_gets_no_url_that_lets_a_run_go_on() {
    let flow = "trigger: {type: request}\nsteps:\n  - id: mail\n    set: {link: \"{{run.resume_urls.ask}}\", parts: \
                \"{{split run.resume_urls.ask '/'}}\"}\n  - id: ask\n    wait: {}\n  - {id: stop, terminate: {status: \
                failed, message: \"nobody came to {{run.resume_urls.ask}}\"}}\n";
    let app = App::with(&[("flows/ask.yaml", flow)]);
    let viewer = token(&app, "viewer", "viewer", &[]);
    let run = app.post("ask", &json!({})).run();
    app.run_when(&run, &["waiting"]);
    let seen = |token: &str| app.api_as(token, "GET", &format!("/runs/{run}"), None).text;
    let whole = seen(&app.token());
    let (_, after) = whole.split_once(&format!("/resume/{run}/1/")).unwrap_or_else(|| panic!("{whole}"));
    let key = after.split('"').next().unwrap();
    assert_eq!(key.len(), 32);
    let hidden = seen(&viewer);
    assert!(hidden.contains("/resume/") && !hidden.contains(key), "{hidden}");
    // Nor from what it ended with, in the list too, where it cannot be searched for either.
    assert_eq!(app.post_to(&format!("/hooks/ask/resume/{run}/1/{key}"), "{}").status, 202);
    app.ended(&run);
    assert!(!seen(&viewer).contains(key));
    let list = |token: &str, query: &str| app.api_as(token, "GET", &format!("/runs?{query}"), None).text;
    let (all, hidden) = (list(&app.token(), "limit=9"), list(&viewer, "limit=9"));
    assert!(all.contains(key) && hidden.contains("nobody came to") && !hidden.contains(key), "{all}\n{hidden}");
    assert!(list(&app.token(), &format!("reason={key}")).contains(&run));
    assert!(!list(&viewer, &format!("reason={key}")).contains(&run));
}

#[test]
fn what_was_done_and_refused_is_in_the_audit_log_over_restarts() {
    let mut app = App::with(&[("flows/lead.yaml", FLOW)]);
    let (operator, viewer) = (token(&app, "ops", "operator", &[]), token(&app, "board", "viewer", &[]));
    let started = app.api_as(&operator, "POST", "/flows/lead/runs", Some(&json!({"body": {"canary": 1}})));
    assert_eq!(started.status, 202);
    let run = started.run();
    app.ended(&run);
    app.api_as(&operator, "POST", &format!("/runs/{run}/cancel"), None);
    app.api_as(&viewer, "POST", &format!("/runs/{run}/cancel"), None);
    app.api_as("mst_guessed", "GET", "/runs", None);
    app.api_as(&viewer, "GET", "/runs", None);
    app.api("POST", "/flows/lead/url/rotate", None);
    let mut secret = app.command();
    secret.args(["secret", "set", "CRM"]).stdin(std::process::Stdio::piped());
    let mut child = secret.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"canary-secret").unwrap();
    assert!(child.wait().unwrap().success());

    let told = |app: &App| {
        let entries = app.cli_json(&["audit"]);
        let line = |entry: &Value| {
            let text = |key: &str| entry[key].as_str().unwrap_or("-").replace(&run, "RUN");
            ["who", "role", "what", "target", "outcome", "code", "run_id", "from"].map(text).join(" ")
        };
        entries.as_array().unwrap().iter().rev().map(line).collect::<Vec<_>>()
    };
    let want = [
        "admin.token admin add_token ops done - - 127.0.0.1",
        "admin.token admin add_token board done - - 127.0.0.1",
        "ops operator start_run lead done - RUN 127.0.0.1",
        "ops operator cancel_run RUN failed conflict - 127.0.0.1",
        "board viewer cancel_run RUN refused forbidden - 127.0.0.1",
        "- - login - refused unauthorized - 127.0.0.1",
        "admin.token admin rotate_url lead done - - 127.0.0.1",
        "command line - set_secret CRM done - - -",
    ];
    assert_eq!(told(&app), want);
    app.kill();
    assert_eq!(told(&app), want, "also without a server");
    app.start();
    assert_eq!(told(&app), want);
    for name in ["audit.log", "audit-logins.log"] {
        let path = app.path(".millstream").join(name);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(path).unwrap();
        assert!(!text.contains("canary") && !text.contains("mst_"), "{text}");
    }
    assert_eq!(app.api("GET", "/audit?limit=1", None).json()["entries"].as_array().unwrap().len(), 1);
    assert_eq!(app.api("GET", "/audit?limit=0", None).status, 400);
}

#[test]
fn who_guesses_must_wait_and_who_has_a_token_passes() {
    let app = App::with(&[("flows/lead.yaml", FLOW)]);
    for guess in 0..10 {
        let refused = app.api_as(&format!("mst_guess{guess}"), "GET", "/runs", None);
        assert_eq!(status(&refused), refusal(401, "unauthorized"));
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    }
    for _ in 0..5 {
        let refused = app.api_as("mst_guess", "GET", "/runs", None);
        assert_eq!(status(&refused), refusal(429, "too_many_attempts"));
        let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert_eq!(app.api("GET", "/runs", None).status, 200, "a good token passes, from there too");
    }
    let logins = app.cli_json(&["audit"]);
    let codes: Vec<&str> = logins.as_array().unwrap().iter().filter_map(|entry| entry["code"].as_str()).collect();
    assert_eq!(codes.iter().filter(|code| **code == "unauthorized").count(), 10);
    assert_eq!(codes.iter().filter(|code| **code == "too_many_attempts").count(), 1, "once a window");
}

#[test]
fn who_listens_where_a_server_was_is_not_sent_the_token() {
    let mut app = App::with(&[("flows/lead.yaml", FLOW)]);
    let admin = app.admin;
    app.kill();
    assert!(app.path(".millstream/server.json").exists(), "the address is left behind");
    let stranger = std::net::TcpListener::bind(admin).unwrap();
    stranger.set_nonblocking(true).unwrap();
    assert!(app.cli(&["runs", "list"]).status.success(), "it opens the store instead");
    assert!(stranger.accept().is_err(), "nobody has asked there");
}

/// A GET with exactly these headers.
fn raw(to: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_admin_listener_answers_to_its_own_names_only_and_to_no_page_of_others() {
    let app = App::with(&[
        ("flows/lead.yaml", FLOW),
        ("millstream.yaml", "outbound: {allow: [127.0.0.0/8]}\nadmin_hosts: [millstream.internal]\n"),
    ]);
    let bearer = format!("authorization: Bearer {}\r\n", app.token());
    let code = |path: &str, headers: &str| {
        let text = raw(app.admin, path, &format!("{bearer}{headers}"));
        let body = text.split_once("\r\n\r\n").unwrap().1;
        let code = serde_json::from_str::<Value>(body).ok().and_then(|body| Some(body["code"].as_str()?.to_owned()));
        (text.split(' ').nth(1).unwrap().parse::<u16>().unwrap(), code.unwrap_or_default())
    };
    let port = app.admin.port();
    for host in [format!("127.0.0.1:{port}"), "localhost".into(), format!("[::1]:{port}"), "millstream.internal".into()]
    {
        for path in ["/api/v1/runs", "/metrics", "/healthz", "/readyz"] {
            assert_eq!(code(path, &format!("host: {host}\r\n")).0, 200, "{host}{path}");
        }
    }
    for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "169.254.169.254", "127.0.0.1.evil.example:80"] {
        for path in ["/api/v1/runs", "/metrics", "/healthz", "/nothing"] {
            assert_eq!(code(path, &format!("host: {host}\r\n")), refusal(403, "foreign_host"), "{host}{path}");
        }
    }
    let own = format!("host: 127.0.0.1:{port}\r\n");
    assert_eq!(code("/api/v1/runs", &format!("{own}origin: http://127.0.0.1:{port}\r\n")).0, 200);
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost.evil.example"] {
        let found = code("/api/v1/runs", &format!("{own}origin: {origin}\r\n"));
        assert_eq!(found, refusal(403, "foreign_origin"), "{origin}");
    }
}

#[test]
fn every_answer_tells_browsers_to_keep_away() {
    let pages = "trigger: {type: request}\nsteps:\n  - id: page\n    response: {status: 200, headers: {content-type: \
                 text/html, cache-control: max-age=60}, body: \"<p>{{trigger.body.name}}</p>\"}\n";
    let app = App::with(&[("flows/lead.yaml", FLOW), ("flows/page.yaml", pages)]);
    let csp = "default-src 'none'; frame-ancestors 'none'";
    let check = |shown: &str, answer: &Answer, cache: &str, policy: Option<&str>| {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{shown}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{shown}");
        assert_eq!(answer.header("cache-control"), Some(cache), "{shown}");
        assert_eq!(answer.header("content-security-policy"), policy, "{shown}");
    };
    for path in ["/api/v1/runs", "/metrics", "/healthz", "/nothing"] {
        check(path, &http(app.admin, "GET", path, &[], b"").unwrap(), "no-store", Some(csp));
    }
    check("the API", &app.api("GET", "/runs", None), "no-store", Some(csp));
    check("a 202", &app.post("lead", &json!({})), "no-store", Some(csp));
    check("a wrong key", &app.post_to("/hooks/lead/wrong", "{}"), "no-store", Some(csp));
    // What a flow says of its page stands.
    let page = app.post("page", &json!({"name": "<script>alert(1)</script>"}));
    check("a page of a flow", &page, "max-age=60", None);
    // What came in is shown as data, never as a page.
    let shown = app.api("GET", &format!("/runs/{}", page.run()), None);
    assert_eq!(shown.header("content-type"), Some("application/json"));
    assert!(shown.text.contains("<script>"), "as text, in JSON");
}

#[test]
fn files_that_others_can_read_keep_it_from_starting_and_the_remedy_is_said() {
    let mut app = App::with(&[("flows/lead.yaml", FLOW)]);
    let mut secret = app.command();
    secret.args(["secret", "set", "CRM"]).stdin(std::process::Stdio::piped());
    let mut child = secret.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"value").unwrap();
    assert!(child.wait().unwrap().success());
    app.terminate();
    let chmod = |name: &str, mode: u32| {
        let path = app.path(".millstream").join(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for (name, loose, tight) in [
        ("instance.key", 0o644, 0o600),
        ("instance.key", 0o640, 0o600),
        ("admin.token", 0o604, 0o600),
        ("vault.json", 0o644, 0o600),
        (".", 0o755, 0o700),
    ] {
        chmod(name, loose);
        for args in [&["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"][..], &["runs", "list"]] {
            let refused = app.cli(args);
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(!refused.status.success() && said.contains(&format!("chmod {tight:o} ")), "{name}: {said}");
        }
        chmod(name, tight);
    }
    app.start();
}
