//! Secrets and keys in every place where there can be one, the log at its loudest, calls that succeed and that fail: then
//! everything that was written or answered is searched, for them and for their encodings.
//!
//! Left out: what the command line and the API show because they were asked for exactly that (a flow's URL, a new token,
//! the `resume_url` of a waiting run), and resume URLs that a flow itself puts into its data.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::json;

use crate::app::{App, Remote, Reply, http};

/// What is searched for: a name for messages, and the text.
type Canary = (&'static str, String);

/// The text itself, hex, percent-encoded, and base64 at each of the three places that it can have in a longer text.
fn spellings(text: &str) -> Vec<String> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent = |upper: bool, keep: &dyn Fn(u8) -> bool| -> String {
        let encode = |byte: u8| match (keep(byte), upper) {
            (true, _) => char::from(byte).to_string(),
            (false, true) => format!("%{byte:02X}"),
            (false, false) => format!("%{byte:02x}"),
        };
        text.bytes().map(encode).collect()
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut found = vec![text.to_owned(), hex.to_uppercase(), hex];
    for upper in [true, false] {
        found.push(percent(upper, &|_| false));
        found.push(percent(upper, &plain));
        found.push(percent(upper, &plain).replace("%20", "+"));
    }
    let json = serde_json::to_string(text).unwrap();
    found.push(json[1..json.len() - 1].to_owned());
    for before in 0..3 {
        let bytes = [&[0; 3][..before], text.as_bytes()].concat();
        for encoded in [STANDARD.encode(&bytes), URL_SAFE.encode(&bytes)] {
            // Letters at the ends also depend on what stands beside.
            let first = [0, 2, 3][before];
            found.push(encoded[first..bytes.len() * 8 / 6].to_owned());
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Names of the canaries that are in `text`.
fn search(canaries: &[Canary], place: &str, bytes: &[u8], found: &mut Vec<String>) {
    let text = String::from_utf8_lossy(bytes);
    for (name, canary) in canaries {
        for spelling in spellings(canary) {
            if text.contains(&spelling) {
                found.push(format!("{name} is in {place} as {spelling}"));
            }
        }
    }
}

/// Every file below a folder, but those that hold keys because they must.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            files(&path, found);
        } else if !["instance.key", "admin.token"].contains(&name.as_str()) {
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
}

const CONNECTIONS: &str = "\
vault: {connector: http, settings: {base_url: \"REMOTE\"}, credentials: {token: {secret: CRM}}}
env: {connector: http, settings: {base_url: \"REMOTE\", api_key_header: X-Key}, credentials: {api_key: {env: CANARY}}}
file: {connector: http, settings: {base_url: \"REMOTE\", username: me}, credentials: {password: {file: pass.txt}}}
bad: {connector: http, settings: {base_url: \"REMOTE\"}, credentials: {token: {secret: BROKEN}}}
";

/// A URL that is a secret, and a connection whose tokens are renewed with each call.
const CONNECTORS: [(&str, &str); 2] = [
    (
        "connectors/hook.yaml",
        "connector: hook\nversion: 1\nbase_url: {connection: url}\nactions:\n  send: {input: {type: object}, request: {post: /, \
         json: \"{{ input }}\"}}\n",
    ),
    (
        "connectors/session.yaml",
        "connector: session\nversion: 1\nsettings: {type: object, properties: {url: {type: string}}}\nbase_url: \"{{ settings.url \
         }}\"\nauth: {type: oauth2_refresh, token_url: \"{{ settings.url }}/token\", client_id: me, client_secret: {connection: \
         secret}, refresh_token: {connection: refresh}}\nactions:\n  send: {input: {type: object}, request: {post: /x, json: \"{{ \
         input }}\"}}\n",
    ),
];

/// Gives tokens, and repeats all that it is sent otherwise: in the body, as a form in it, and in a header.
fn repeater() -> std::net::SocketAddr {
    Remote::judged(|seen| {
        if seen.path == "/token" {
            let tokens = json!({"access_token": ACCESS, "refresh_token": REFRESHED, "expires_in": 0.000001});
            return Reply { body: tokens.to_string(), ..Reply::from(200) };
        }
        let bearer = seen.header("authorization").unwrap_or_default().to_owned();
        let form: String = url::form_urlencoded::byte_serialize(seen.path.as_bytes()).collect();
        let body = json!({"you": bearer, "path": seen.path, "sent": format!("path={form}")}).to_string();
        Reply { body, headers: vec![("x-path".to_owned(), seen.path.clone())], ..Reply::from(200) }
    })
}

const ACCESS: &str = "canary/access+5e7~";
const REFRESHED: &str = "canary/refreshed+5e7&x~";

/// A call with each connection. What it fails with does not matter: it is searched all the same.
fn flow(connection: &str) -> String {
    format!(
        "trigger: {{type: request, auth: [{{bearer: {{secret: HOOK}}}}, {{hmac: github, secret: {{secret: SIGN}}}}]}}\n\
         steps:\n  - id: call\n    action: http.request\n    connection: {connection}\n    \
         with: {{url: /x, method: POST, json: {{a: \"{{{{trigger.body.a}}}}\"}}}}\n    \
         retry: {{attempts: 2, delay: 1s}}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_and_no_key_is_anywhere_but_where_it_belongs() {
    // Given a secret of its own in every place, and a log that says all there is to say.
    let secret = |name: &str| format!("canary/{name}+5e7&x=\"{name}\"~");
    // A file's and a header's value, without what these cannot hold.
    let (vault, env, file) = (secret("vault"), "canary/env+5e7&x=env~".to_owned(), secret("file"));
    let (hook, sign, broken) =
        ("canary/hook+5e7&x=hook~".to_owned(), secret("sign"), "canary/broken+\u{1}5e7".to_owned());
    let remote = Remote::start();
    let (repeater, refresh, client, hook_part) =
        (repeater(), secret("refresh"), secret("client"), "canary-hook-5e7-hook");
    let connections = CONNECTIONS.replace("REMOTE", &remote.url(""))
        + &format!(
            "session: {{connector: session, settings: {{url: \"http://{repeater}\"}}, credentials: {{secret: {{secret: CLIENT}}, refresh: {{secret: REFRESH}}}}}}\n"
        )
        + "webhook: {connector: hook, credentials: {url: {secret: WEBHOOK}}}\n";
    let other = |connector: &str, connection: &str| {
        format!(
            "trigger: {{type: request}}\nsteps:\n  - {{id: call, action: {connector}.send, connection: {connection}, with: {{a: 1}}}}\n"
        )
    };
    let mut app = App::idle(&[
        CONNECTORS[0],
        CONNECTORS[1],
        ("flows/webhook.yaml", &other("hook", "webhook")),
        ("flows/session.yaml", &other("session", "session")),
        ("connections.yaml", &connections),
        ("pass.txt", &file),
        ("flows/vault.yaml", &flow("vault")),
        ("flows/env.yaml", &flow("env")),
        ("flows/file.yaml", &flow("file")),
        ("flows/bad.yaml", &flow("bad")),
        ("flows/ask.yaml", "trigger: {type: request}\nsteps:\n  - id: ask\n    wait: {}\n"),
        ("flows/broken.yaml", "trigger: {type: request}\nsteps: 5\n"),
    ]);
    app.env.push(("CANARY", env.clone()));
    // The watcher would tell of each line of the log, in a line of the log.
    app.env.push(("MILLSTREAM_LOG", "trace,notify=debug".to_owned()));
    let webhook = format!("http://{repeater}/services/{hook_part}?sig={hook_part}");
    for (name, value) in [
        ("CRM", &vault),
        ("HOOK", &hook),
        ("SIGN", &sign),
        ("BROKEN", &broken),
        ("REFRESH", &refresh),
        ("CLIENT", &client),
        ("WEBHOOK", &webhook),
    ] {
        app.keep_secret(name, value);
    }
    app.start();
    let made = app.cli(&["token", "add", "ci", "--role", "operator"]);
    let api_token = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let flows = ["vault", "env", "file", "bad", "ask"];
    let paths = flows.map(|flow| (flow, app.hook(flow)));
    let key = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    let instance_key = std::fs::read_to_string(app.path(".millstream/instance.key")).unwrap();
    let mut canaries: Vec<Canary> = vec![
        ("the vault's secret", vault.clone()),
        ("the environment's secret", env.clone()),
        ("the file's secret", file.clone()),
        ("the caller's secret", hook.clone()),
        ("the signature's secret", sign.clone()),
        ("the secret that no header can hold", broken),
        ("the admin token", app.token().trim().to_owned()),
        ("the API token", api_token.clone()),
        ("a guessed token", "mst_canary-that-was-guessed".to_owned()),
        ("the instance key", instance_key.trim().to_owned()),
        ("the refresh token", refresh),
        ("the client's secret", client),
        ("the refresh token that came in its place", REFRESHED.to_owned()),
        ("the access token", ACCESS.to_owned()),
        ("a part of a URL that is a secret", hook_part.to_owned()),
    ];
    canaries.extend(paths.iter().map(|(_, path)| ("a URL's key", key(path))));

    // When calls succeed, are refused, fail for good, and are answered by a target that repeats what it was sent.
    let basic = format!("Basic {}", STANDARD.encode(format!("me:{file}")));
    let sent = [format!("Bearer {vault}"), env.clone(), basic, String::new()];
    let mut answers = Vec::new();
    let bearer = format!("Bearer {hook}");
    for status in [200, 400, 503, 401] {
        for ((flow, path), echo) in paths[..4].iter().zip(&sent) {
            // As text in JSON, in a form, and in a header.
            let form: String = url::form_urlencoded::byte_serialize(echo.as_bytes()).collect();
            let body = json!({"you": echo, "sent": format!("key={form}")}).to_string();
            let headers = vec![("x-echo".to_owned(), echo.clone())];
            let reply = Reply { body, headers, ..Reply::from(status) };
            // Exactly as many as are asked for: one of them would be another connection's.
            let asked = match (*flow, status) {
                ("bad", _) => 0,
                (_, 503) => 2,
                _ => 1,
            };
            remote.answers(vec![reply; asked]);
            let referer = format!("http://{}{path}", app.public);
            let headers = [("authorization", &*bearer), ("referer", &*referer), ("x-original-url", &**path)];
            let answer = http(app.public, "POST", path, &headers, br#"{"a": 1}"#).unwrap();
            let run = answer.run();
            let run = app.run_when(&run, &["succeeded", "failed", "held"]);
            answers.push((format!("the run of {flow} after {status}"), run.to_string()));
            answers.push((format!("the answer of {flow}"), format!("{answer:?}")));
        }
    }
    assert!(remote.seen().iter().any(|seen| seen.header("authorization") == Some(sent[0].as_str())));
    assert!(
        remote.seen().iter().any(|seen| seen.header("x-key") == Some(env.as_str())),
        "the credentials are really sent"
    );

    for flow in ["webhook", "session", "webhook", "session"] {
        let run = app.ended(&app.post(flow, &json!({})).run());
        assert_eq!(run["status"], "succeeded", "{run}");
        answers.push((format!("the run of {flow}"), run.to_string()));
    }

    // And what is sent is wrong in many ways, over HTTP/2 too.
    let lead = &paths[0].1;
    let wrong = [
        ("POST", lead.clone(), "{"),
        ("GET", lead.clone(), ""),
        ("POST", format!("/{lead}"), "{}"),
        ("POST", format!("{lead}x"), "{}"),
        ("POST", lead.replace("/vault/", "/nothing/"), "{}"),
        ("POST", lead.to_uppercase(), "{}"),
    ];
    for (method, path, body) in &wrong {
        let answer = http(app.public, method, path, &[("authorization", bearer.as_str())], body.as_bytes()).unwrap();
        answers.push((format!("the answer to {method} {path:.12}…"), format!("{answer:?}")));
        let answer = http(app.public, method, path, &[("authorization", "Bearer wrong")], body.as_bytes()).unwrap();
        answers.push((format!("the answer to an unproven {method}"), format!("{answer:?}")));
        let answer = http(app.admin, method, path, &[("authorization", bearer.as_str())], body.as_bytes()).unwrap();
        answers.push((format!("the admin listener's answer to {method}"), format!("{answer:?}")));
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http2 = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    for (url, token) in [
        (format!("http://{}{lead}", app.public), &hook),
        (format!("http://{}{lead}x", app.public), &hook),
        (format!("http://{}/api/v1/runs", app.admin), &api_token),
    ] {
        let answer = http2.post(url).bearer_auth(token).body("{}").send().await.unwrap();
        assert_eq!(answer.version(), reqwest::Version::HTTP_2);
        let head = format!("{:?}", answer.headers());
        answers.push(("an answer over HTTP/2".to_owned(), head + &answer.text().await.unwrap()));
    }
    app.api_as("mst_canary-that-was-guessed", "GET", "/runs", None);
    let waiting = app.post("ask", &json!({})).run();
    let waiting = app.run_when(&waiting, &["waiting"]);
    let resume = waiting["steps"][0]["resume_url"].as_str().unwrap().to_owned();
    canaries.push(("a resume URL's key", key(&resume)));
    let resume = &resume[resume.find("/hooks/").unwrap()..];
    for path in [format!("{resume}x"), resume.to_owned(), resume.to_owned()] {
        for method in ["GET", "POST"] {
            answers.push((
                "the answer of a wait".to_owned(),
                format!("{:?}", http(app.public, method, &path, &[], b"").unwrap()),
            ));
        }
    }
    assert_eq!(app.api("POST", "/flows/vault/url/rotate", Some(&json!({"grace_seconds": 60}))).status, 200);
    app.write("connections.yaml", "vault: {connector: http, credentials: 5}\n");
    crate::app::eventually(|| app.api("GET", "/problems", None).text.contains("connections.yaml"));

    // Then none of it is in what is told or kept.
    for path in ["/flows", "/runs", "/problems", "/tokens", "/audit", "/nothing"] {
        answers.push((format!("GET {path}"), app.api_as(&app.token(), "GET", path, None).text));
    }
    answers.push(("metrics".to_owned(), http(app.admin, "GET", "/metrics", &[], b"").unwrap().text));
    for args in [&["connections", "list"][..], &["connections", "test", "session"], &["secret", "rotate-key"]] {
        answers.push((format!("{args:?}"), format!("{:?}", app.cli(args))));
    }
    for args in [&["runs", "list"][..], &["audit"], &["token", "list"], &["secret", "list"], &["check"]] {
        let output = app.cli(args);
        answers.push((format!("{args:?}"), format!("{output:?}")));
        answers.push((format!("{args:?}"), String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    app.terminate();
    let log = app.log();
    assert!(log.contains("TRACE"), "the log is at its loudest");
    let mut kept = vec![("the log".to_owned(), log.into_bytes())];
    files(&app.path(".millstream"), &mut kept);
    assert!(kept.len() > 4, "{:?}", kept.iter().map(|(name, _)| name).collect::<Vec<_>>());
    kept.extend(answers.into_iter().map(|(place, text)| (place, text.into_bytes())));
    let mut found = Vec::new();
    for (place, bytes) in &kept {
        search(&canaries, place, bytes, &mut found);
    }
    found.dedup();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_panic_that_shows_what_holds_a_secret_shows_none() {
    use millstream::access::Access;
    use millstream::engine::InstanceKey;
    use millstream::journal::Journal;
    use millstream::vault::Vault;
    use secrecy::SecretString;

    let folder = tempfile::tempdir().unwrap();
    let secret = SecretString::from("canary/panic+5e7".to_owned());
    let key = InstanceKey::open(folder.path()).unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let vault = Vault::open(folder.path(), key.expose()).unwrap();
    vault.set("CRM", &secret).unwrap();
    let access = Access::open(&journal, folder.path(), &secret).unwrap();
    let judged = access.judge("canary/panic+5e7", 0);
    let shown = format!("{secret:?} {key:?} {vault:?} {:?} {judged:?}", vault.get("CRM").unwrap());
    let canaries = vec![
        ("the secret", "canary/panic+5e7".to_owned()),
        ("the instance key", std::fs::read_to_string(folder.path().join("instance.key")).unwrap()),
    ];
    let payload = std::panic::catch_unwind(|| panic!("{shown}")).unwrap_err();
    let told = payload.downcast_ref::<String>().unwrap();
    let mut found = Vec::new();
    search(&canaries, "a panic", told.as_bytes(), &mut found);
    assert!(found.is_empty() && told.contains("admin.token"), "{found:?} {told}");
}

#[cfg(feature = "crash-points")]
#[test]
fn a_panic_with_secrets_at_hand_leaves_none_of_them_in_the_log_or_on_disk() {
    let places = ["outbound.call.before", "outbound.token.given", "outbound.token.kept", "outbound.call.after"];
    for place in places {
        let repeater = repeater();
        let (refresh, client) = ("canary/refresh+5e7&x~".to_owned(), "canary/client+5e7&x~".to_owned());
        let connections = format!(
            "session: {{connector: session, settings: {{url: \"http://{repeater}\"}}, credentials: {{secret: {{secret: CLIENT}}, refresh: {{secret: REFRESH}}}}}}\n"
        );
        let flow = "trigger: {type: request}\nsteps:\n  - {id: call, action: session.send, connection: session, with: {a: 1}, \
                    retry: {attempts: 3, delay: 20ms}}\n";
        let mut app = App::idle(&[CONNECTORS[1], ("connections.yaml", &connections), ("flows/session.yaml", flow)]);
        app.keep_secret("REFRESH", &refresh);
        app.keep_secret("CLIENT", &client);
        app.env.extend([
            ("MILLSTREAM_LOG", "trace,notify=debug".to_owned()),
            ("RUST_BACKTRACE", "full".to_owned()),
            ("MILLSTREAM_PANIC", format!("{place}:1")),
        ]);
        app.start();
        let hook = app.hook("session");
        let run = app.ended(&app.post_to(&hook, "{}").run());
        assert_eq!(run["status"], "succeeded", "{place}: {run}");
        assert_eq!(run["steps"][0]["attempts"][0]["error"]["code"], "engine.panic", "{place}: {run}");
        let instance_key = std::fs::read_to_string(app.path(".millstream/instance.key")).unwrap();
        let canaries: Vec<Canary> = vec![
            ("the refresh token", refresh),
            ("the client's secret", client),
            ("the refresh token that came in its place", REFRESHED.to_owned()),
            ("the access token", ACCESS.to_owned()),
            ("the admin token", app.token().trim().to_owned()),
            ("the instance key", instance_key.trim().to_owned()),
            ("the URL's key", hook.rsplit('/').next().unwrap().to_owned()),
        ];
        app.terminate();
        let log = app.log();
        assert!(log.contains("a test wants a panic") && log.contains("stack backtrace"), "{place}: {log}");
        let mut kept =
            vec![("the log".to_owned(), log.into_bytes()), ("the run".to_owned(), run.to_string().into_bytes())];
        files(&app.path(".millstream"), &mut kept);
        let mut found = Vec::new();
        kept.iter().for_each(|(name, bytes)| search(&canaries, name, bytes, &mut found));
        assert!(found.is_empty(), "{place}: {}", found.join("\n"));
    }
}

#[test]
fn the_search_sees_what_it_looks_for_in_every_spelling() {
    let canaries = vec![("it", "canary/x+5e7&\"~".to_owned())];
    let seen = |text: String| {
        let mut found = Vec::new();
        search(&canaries, "there", text.as_bytes(), &mut found);
        !found.is_empty()
    };
    let canary = &canaries[0].1;
    for before in ["", "a", "ab", "abc"] {
        for after in ["", "z", "yz"] {
            assert!(seen(STANDARD.encode(format!("{before}{canary}{after}"))), "{before} {after}");
            assert!(seen(URL_SAFE.encode(format!("{before}{canary}{after}"))), "{before} {after}");
        }
    }
    assert!(seen(format!("x{canary}y")) && seen(json!({"a": canary}).to_string()));
    assert!(seen("63616E6172792F782B3565372622 7E".replace(' ', "")) && seen("canary%2fx%2b5e7%26%22~".to_owned()));
    assert!(seen("%63%61%6E%61%72%79%2F%78%2B%35%65%37%26%22%7E".to_owned()) && !seen("canary".to_owned()));
}
