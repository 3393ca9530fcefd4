//! The door, over real sockets: every row of the bad-input table in `docs/reference/http.md`, answers, the API, and
//! connections that are slow, idle or there when the server stops.
#![allow(clippy::unwrap_used, reason = "a test that panics in a helper still says where")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream::access::Access;
use millstream::catalog::Catalog;
use millstream::config::Config;
use millstream::engine::{Engine, InstanceKey};
use millstream::journal::Journal;
use millstream::outbound::{Outbound, Secrets};
use millstream::server::Server;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::oneshot;

const TOKEN: &str = "a-token-of-the-tests-0123456789";
const LEAD: &str = r#"{"ActionCode":"INS","OfferTitle":"MSFT_TEST_1","UserDetails":{"Email":"MSFT_TEST_1@test.com"}}"#;

/// Where requests go.
struct Target {
    public: SocketAddr,
    hook_path: String,
}

/// A server in this process, over a folder with four flows.
struct App {
    lead: Target,
    admin: SocketAddr,
    engine: Arc<Engine>,
    access: Arc<Access>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<std::thread::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl App {
    fn start() -> App {
        App::with("limits: {header_seconds: 2, idle_seconds: 1}\n")
    }

    fn with(settings: &str) -> App {
        App::launch(settings, true)
    }

    /// With `begin` false the engine never learns of its open runs, as in the first moments of a start.
    fn launch(settings: &str, begin: bool) -> App {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/lead.schema.json");
        write("lead.schema.json", &std::fs::read_to_string(schema).unwrap());
        write("millstream.yaml", &format!("{settings}listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n"));
        let note = "steps:\n  - id: note\n    set: {seen: true}\n";
        write("flows/lead.yaml", &format!("trigger: {{type: request, schema: ../lead.schema.json}}\n{note}"));
        write("flows/other.yaml", &format!("trigger: {{type: request}}\n{note}"));
        write(
            "flows/answering.yaml",
            "trigger: {type: request}\nsteps:\n  - id: answer\n    response:\n      status: 201\n      \
             headers: {x-tag: \"{{trigger.query.tag}}\", Set-Cookie: no}\n      body: {you: \"{{trigger.path}}\"}\n",
        );
        let slow = "steps:\n  - {id: pause, delay: 1s}\n  - {id: answer, response: {status: 200}}\n";
        write("flows/slow.yaml", &format!("trigger: {{type: request}}\n{slow}"));
        let dir = folder.path().to_owned();
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let config = Config::load(&dir).unwrap();
                let data = dir.join(".millstream");
                std::fs::create_dir_all(&data).unwrap();
                let catalog = Arc::new(Catalog::load(&dir, Some(&data), &config));
                assert!(catalog.current().is_sound(), "{:?}", catalog.current().problems);
                let key = InstanceKey::open(&data).unwrap();
                let journal = Journal::open(&data).unwrap();
                let outbound = Outbound::new(&config.outbound, Secrets::default()).unwrap();
                let access = Access::open(&journal, &data, &SecretString::from(TOKEN.to_owned())).unwrap();
                let access = Arc::new(access);
                let engine = Engine::new(journal, outbound, catalog, key, config.limits.clone()).unwrap();
                let server = Server::bind(&config, engine.clone(), access.clone()).await.unwrap();
                if begin {
                    engine.begin().await.unwrap();
                }
                tell.send((server.public_addr(), server.admin_addr(), engine.clone(), access)).unwrap();
                server.run(async { stopped.await.unwrap_or_default() }, Duration::from_secs(5)).await;
                engine.stop(Duration::from_secs(5)).await;
            });
        });
        let (public, admin, engine, access) = told.recv().expect("the server starts");
        let hook_path = engine.hook_path("lead").unwrap();
        App {
            lead: Target { public, hook_path },
            admin,
            engine,
            access,
            stop: Some(stop),
            served: Some(served),
            _folder: folder,
        }
    }

    fn api(&self, method: &str, path: &str, body: &str) -> Answer {
        let head = format!("authorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n");
        send(self.admin, &request(method, &format!("/api/v1{path}"), &head, body.as_bytes()))
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(served) = self.served.take() {
            served.join().expect("the server ends well");
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}

/// What came back; no status if the connection closed without an answer.
#[derive(Debug)]
struct Answer {
    status: Option<u16>,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = match (method, headers.contains("ength:") || headers.contains("chunked")) {
        ("POST", false) => format!("content-length: {}\r\n", body.len()),
        _ => String::new(),
    };
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{length}{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// Sends bytes, whatever they are, and reads until the other side closes.
fn send(to: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut writing = stream.try_clone().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || {
        // The server may refuse before it has read all.
        let _ = writing.write_all(&bytes);
    });
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    drop(stream);
    let _ = writer.join();
    let text = String::from_utf8_lossy(&got).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    Answer {
        status: head.split(' ').nth(1).and_then(|status| status.parse().ok()),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// The bytes of a row of the table.
fn row(name: &str, target: &Target) -> Vec<u8> {
    let path = target.hook_path.as_str();
    let (flow, key) = path.strip_prefix("/hooks/").unwrap().split_once('/').unwrap();
    let wrong = format!("/hooks/{flow}/{}", "A".repeat(key.len()));
    let as_json = "content-type: application/json\r\n";
    let post = |body: &str| request("POST", path, as_json, body.as_bytes());
    let typed = |kind: &str, body: &str| request("POST", path, &format!("content-type: {kind}\r\n"), body.as_bytes());
    let at = |path: &str| request("POST", path, as_json, LEAD.as_bytes());
    let nested = |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
    match name {
        "good" => post(LEAD),
        "camel_case" => post(r#"{"actionCode":"INS","userDetails":{"firstName":"MSFT_TEST_1"},"description":"x"}"#),
        "not_json" => post(r#"{"ActionCode": "#),
        "trailing_bytes" => post("{} x"),
        "nan" => post(r#"{"a": NaN}"#),
        "lone_surrogate" => post(r#"{"a": "\ud800"}"#),
        "invalid_utf8" => request("POST", path, as_json, b"{\"a\": \"\xFF\"}"),
        "empty_body" => post(""),
        "null_body" => post("null"),
        "wrong_type" => post(r#"{"ActionCode": 5}"#),
        "duplicate_keys" => post(r#"{"ActionCode": 5, "ActionCode": "INS"}"#),
        "large_number" => post(r#"{"n": 9007199254740993}"#),
        "template_in_data" => post(r#"{"OfferTitle": "{{secrets.x}} O'Brien & Sons"}"#),
        "depth_127" => post(&nested(127)),
        "depth_128" => post(&nested(128)),
        "depth_million" => post(&nested(1_000_000)),
        "too_large_declared" => post(&" ".repeat(11 * 1024 * 1024)),
        "too_large_chunked" => {
            let chunk = format!("100000\r\n{}\r\n", " ".repeat(0x10_0000)).repeat(11) + "0\r\n\r\n";
            request("POST", path, "transfer-encoding: chunked\r\n", chunk.as_bytes())
        }
        "unknown_type" => typed("application/xml", "<lead/>"),
        "no_type" => request("POST", path, "", LEAD.as_bytes()),
        "text_plain" => typed("text/plain", LEAD),
        "form" => typed("application/x-www-form-urlencoded", "ActionCode=INS"),
        "multipart" => typed(
            "multipart/form-data; boundary=B",
            "--B\r\ncontent-disposition: form-data; name=\"f\"; filename=\"../../x\"\r\n\r\nhi\r\n--B--\r\n",
        ),
        "gzip" => request("POST", path, "content-encoding: gzip\r\n", b"\x1f\x8b\x08"),
        "get" => request("GET", path, "", b""),
        "head" => request("HEAD", path, "", b""),
        "options" => request("OPTIONS", path, "", b""),
        "wrong_key" => at(&wrong),
        "wrong_key_get" => request("GET", &wrong, "", b""),
        "wrong_key_large" => request("POST", &wrong, as_json, &vec![b' '; 11 * 1024 * 1024]),
        "unknown_flow" => at(&format!("/hooks/nothing/{key}")),
        "other_flow" => at(&format!("/hooks/other/{key}")),
        "unknown_path" => at("/nothing"),
        "dot_dot" => at(&format!("/hooks/../{flow}/{key}")),
        "encoded_slash" => at(&format!("/hooks/{flow}%2F{key}")),
        "long_url" => at(&format!("{path}?q={}", "x".repeat(20_000))),
        "very_long_url" => at(&format!("{path}?q={}", "x".repeat(70_000))),
        "large_headers" => request("POST", path, &headers(90, 1_000), b""),
        "many_headers" => request("POST", path, &headers(101, 1), b""),
        "very_large_header" => request("POST", path, &headers(1, 500_000), b""),
        "two_lengths" => request("POST", path, "content-length: 2\r\ncontent-length: 3\r\n", b"{} "),
        "length_and_chunked" => {
            let both = "content-length: 2\r\ntransfer-encoding: chunked\r\n";
            request("POST", path, both, b"2\r\n{}\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        }
        "slow_headers" => format!("POST {path} HTTP/1.1\r\nhost: x\r\nconten").into_bytes(),
        "slow_body" => request("POST", path, "content-length: 100\r\n", b"{"),
        _ => panic!("the table has a row `{name}` that this test does not know how to send"),
    }
}

fn headers(count: usize, size: usize) -> String {
    (0..count).map(|i| format!("x-{i}: {}\r\n", "y".repeat(size))).collect()
}

#[test]
fn every_row_of_the_bad_input_table_is_answered_as_it_says() {
    let app = App::start();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/http.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, table) = page.split_once("| name | request | status | code | kept |").expect("the page has the table");
    let mut wrong = Vec::new();
    let mut rows = 0;
    for line in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let (name, [status, code, kept]) = (cells[0], cells[cells.len() - 3..].try_into().unwrap());
        let answer = send(app.lead.public, &row(name, &app.lead));

        let found_status = answer.status.map_or("closed".to_owned(), |status| status.to_string());
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let found_code = body["code"].as_str().unwrap_or("-").to_owned();
        let refused = answer.status.is_none_or(|status| status >= 400);
        let found_kept = if refused && answer.header("x-run-id").is_some() { "yes" } else { "no" };
        let whole = status == "any" || found_status == status;
        if !whole || found_code != code || found_kept != kept {
            let head = answer.head.lines().next().unwrap_or_default();
            wrong.push(format!(
                "{name}: want {status} {code} {kept}, got {found_status} {found_code} {found_kept} ({head})"
            ));
        }
        rows += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows >= 40, "only {rows} rows were read");
}

#[test]
fn smuggled_requests_get_no_answer_of_their_own() {
    let app = App::start();
    let answer = send(app.lead.public, &row("length_and_chunked", &app.lead));
    assert!(!answer.body.contains("HTTP/1.1"), "{answer:?}");
}

#[test]
fn a_wrong_key_and_an_unknown_flow_look_the_same() {
    let app = App::start();
    let shape = |name: &str| {
        let answer = send(app.lead.public, &row(name, &app.lead));
        let mut body = answer.json();
        body.as_object_mut().unwrap().shift_remove("request_id").expect("a problem has a request id");
        let names: Vec<String> =
            answer.head.lines().skip(1).map(|line| line.split(':').next().unwrap().to_owned()).collect();
        (answer.status, names, body)
    };
    let wrong_key = shape("wrong_key");
    for name in ["unknown_flow", "other_flow", "wrong_key_get", "dot_dot", "unknown_path"] {
        assert_eq!(shape(name), wrong_key, "{name}");
    }
}

#[test]
fn a_response_step_answers_and_the_run_is_named() {
    let app = App::start();
    let path = app.engine.hook_path("answering").unwrap();
    let answer = send(app.lead.public, &request("POST", &format!("{path}/a%20b?tag=t1"), "", b"{}"));
    assert_eq!(answer.status, Some(201), "{answer:?}");
    assert_eq!(answer.json(), json!({"you": "a b"}));
    assert_eq!(answer.header("x-tag"), Some("t1"));
    assert_eq!(answer.header("set-cookie"), None);
    assert!(answer.header("x-run-id").is_some());
}

#[test]
fn the_api_lists_pages_mends_and_rotates() {
    let app = App::start();
    let none = send(app.admin, &request("GET", "/api/v1/runs", "", b""));
    assert_eq!((none.status, none.json()["code"].as_str()), (Some(401), Some("unauthorized")));

    // A refused request is kept, seen and mended.
    let refused = send(app.lead.public, &row("wrong_type", &app.lead));
    let run = refused.header("x-run-id").expect("it is kept").to_owned();
    assert_eq!(refused.json()["errors"][0]["pointer"], "/ActionCode");
    let shown = app.api("GET", &format!("/runs/{run}"), "");
    assert_eq!(shown.status, Some(200), "{shown:?}");
    let mended = app.api("POST", &format!("/runs/{run}/resubmit"), &format!(r#"{{"body":{LEAD}}}"#));
    assert_eq!(mended.status, Some(202), "{mended:?}");

    for _ in 0..3 {
        assert_eq!(send(app.lead.public, &row("good", &app.lead)).status, Some(202));
    }
    let first = app.api("GET", "/runs?limit=2&flow=lead", "").json();
    assert_eq!(first["runs"].as_array().unwrap().len(), 2);
    let cursor = first["next"].as_str().expect("there is a second page");
    let second = app.api("GET", &format!("/runs?limit=10&cursor={cursor}"), "").json();
    assert_eq!(second["runs"].as_array().unwrap().len(), 3);
    assert_eq!(second["next"], Value::Null);
    let rejected = app.api("GET", "/runs?status=rejected", "").json();
    assert_eq!(rejected["runs"][0]["run_id"], run.as_str());
    assert!(rejected["runs"][0]["started_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(app.api("GET", "/runs?stauts=failed", "").json()["code"], "invalid_request");
    assert_eq!(app.api("GET", "/runs/nonsense", "").json()["code"], "invalid_request");
    assert_eq!(app.api("GET", "/runs/0198c2a4-5b1e-7c33-9d8f-3a5b7c9d1e2f", "").json()["code"], "run_not_found");

    let url = app.api("GET", "/flows/lead/url", "").json();
    assert_eq!(url["url"], format!("http://{}{}", app.lead.public, app.lead.hook_path));
    assert_eq!(url["reachable_from_outside"], false);
    assert!(url["warning"].as_str().unwrap().contains("public_url"));
    assert_eq!(app.api("GET", "/flows/nothing/url", "").json()["code"], "flow_not_found");
    let rotated = app.api("POST", "/flows/lead/url/rotate", "").json();
    assert_ne!(rotated["url"], url["url"]);
    assert_eq!(send(app.lead.public, &row("good", &app.lead)).status, Some(404));

    let by_hand = app.api("POST", "/flows/lead/runs", r#"{"body":{"ActionCode":5}}"#);
    assert_eq!(by_hand.json()["code"], "schema_violation");
    let by_hand = app.api("POST", "/flows/lead/runs", &format!(r#"{{"body":{LEAD}}}"#));
    assert_eq!(by_hand.status, Some(202));
    assert_eq!(app.api("GET", "/flows", "").json()["flows"].as_array().unwrap().len(), 4);
    assert_eq!(app.api("GET", "/problems", "").json(), json!({"problems": []}));
    assert_eq!(app.api("DELETE", "/flows", "").json()["code"], "method_not_allowed");
    let metrics = send(app.admin, &request("GET", "/metrics", "", b""));
    assert_eq!(metrics.status, Some(200));
}

#[tokio::test]
async fn from_another_machine_metrics_need_a_token_that_may_read() {
    // Without a peer's address it is not this machine.
    let app = App::start();
    let api = millstream::server::api(&Config::default(), app.engine.clone(), app.access.clone());
    let status = async |token: Option<&str>| {
        let mut request = axum::http::Request::get("/metrics");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        tower::ServiceExt::oneshot(api.clone(), request).await.unwrap().status().as_u16()
    };
    assert_eq!(status(None).await, 401);
    assert_eq!(status(Some("wrong")).await, 401);
    assert_eq!(status(Some(TOKEN)).await, 200);
}

#[test]
fn silent_and_idle_connections_are_closed() {
    let app = App::start();
    let closed_after = |first: &[u8]| {
        let mut stream = TcpStream::connect(app.lead.public).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(first).unwrap();
        let start = Instant::now();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).expect("the server closes it");
        (String::from_utf8_lossy(&got).into_owned(), start.elapsed())
    };
    let (got, _) = closed_after(b"");
    assert_eq!(got, "");
    let (got, _) = closed_after(b"PRI * HT");
    assert_eq!(got, "");
    let (got, took) = closed_after(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(got.starts_with("HTTP/1.1 200") && got.ends_with("ok\n"), "{got}");
    assert!(took >= Duration::from_millis(900), "it stays open between requests: {took:?}");
}

#[test]
fn stopping_finishes_what_is_in_flight_and_refuses_what_is_new() {
    let mut app = App::with("limits: {header_seconds: 5, idle_seconds: 60}\n");
    let mut idle = TcpStream::connect(app.lead.public).unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();

    // Half a body is on its way when the stop comes.
    let whole = row("good", &app.lead);
    let (start, rest) = whole.split_at(whole.len() - 10);
    let mut busy = TcpStream::connect(app.lead.public).unwrap();
    busy.write_all(&[start, b""].concat()).unwrap();
    let ready = send(app.lead.public, &request("GET", "/readyz", "", b""));
    assert_eq!(ready.status, Some(200));
    drop(app.stop.take());
    // The idle one is closed first; then the listener is gone.
    let mut left = Vec::new();
    idle.read_to_end(&mut left).unwrap();
    busy.write_all(rest).unwrap();
    let mut got = String::new();
    busy.read_to_string(&mut got).unwrap();
    assert!(got.starts_with("HTTP/1.1 202"), "{got}");
    app.stop();
    assert!(TcpStream::connect(app.lead.public).is_err());
}

#[test]
fn while_starting_nothing_is_taken_and_health_says_so() {
    let app = App::launch("limits: {header_seconds: 1}\n", false);
    for name in ["good", "wrong_key", "get"] {
        let answer = send(app.lead.public, &row(name, &app.lead));
        assert_eq!((answer.status, answer.header("retry-after")), (Some(503), Some("2")), "{name}");
        assert_eq!(answer.json()["code"], "starting");
    }
    let get = |path: &str| send(app.lead.public, &request("GET", path, "", b"")).status;
    assert_eq!((get("/healthz"), get("/readyz")), (Some(200), Some(503)));
}

#[test]
fn a_caller_who_hangs_up_does_not_end_the_run() {
    let app = App::start();
    let path = app.engine.hook_path("slow").unwrap();
    let count =
        |filter: &str| app.api("GET", &format!("/runs?flow=slow{filter}"), "").json()["runs"].as_array().unwrap().len();
    let mut stream = TcpStream::connect(app.lead.public).unwrap();
    stream.write_all(&request("POST", &path, "", b"{}")).unwrap();
    until("the run starts", || count("") == 1);
    drop(stream);
    until("the run ends", || count("&status=succeeded") == 1);
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "this never came: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_key_and_no_token_is_ever_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_env_filter("debug,millstream=trace")
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).expect("no other test sets one");
    let app = App::start();
    for name in ["good", "get", "not_json", "wrong_type", "long_url", "other_flow", "encoded_slash", "slow_body"] {
        send(app.lead.public, &row(name, &app.lead));
    }
    assert_eq!(app.api("POST", "/flows/lead/url/rotate", r#"{"grace_seconds":60}"#).status, Some(200));
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("/hooks/lead/…"), "requests are logged: {text}");
    let key = app.lead.hook_path.rsplit('/').next().unwrap();
    let new = app.engine.hook_path("lead").unwrap();
    for secret in [key, new.rsplit('/').next().unwrap(), TOKEN] {
        assert!(!text.contains(secret), "a secret is in the log");
    }
}

#[test]
fn more_connections_than_allowed_wait_for_their_turn() {
    let app = App::with("limits: {connections: 1, header_seconds: 1, idle_seconds: 1}\n");
    let silent = TcpStream::connect(app.lead.public).unwrap();
    let start = Instant::now();
    assert_eq!(send(app.lead.public, &row("good", &app.lead)).status, Some(202));
    assert!(start.elapsed() >= Duration::from_millis(500), "it waited until the silent one was closed");
    drop(silent);
}

#[test]
fn a_changed_certificate_is_taken_up_and_a_broken_one_is_not() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pem = |name: &str| std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)).unwrap();
    let files = tempfile::tempdir().unwrap();
    let at = |name: &str| files.path().join(name);
    let put = |certificate: &[u8], key: &[u8]| {
        std::fs::write(at("key.pem"), key).unwrap();
        std::fs::write(at("cert.pem"), certificate).unwrap();
    };
    put(&pem("one.cert.pem"), &pem("one.key.pem"));
    let (cert, key) = (at("cert.pem").display().to_string(), at("key.pem").display().to_string());
    let app = App::with(&format!("tls: {{cert: {cert}, key: {key}}}\n"));
    let url = app.api("GET", "/flows/lead/url", "").json()["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");

    // A client that trusts one certificate and nothing else.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let post = |certificate: &str| {
        let root = reqwest::Certificate::from_pem(&pem(certificate)).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap();
        runtime.block_on(async {
            client.post(&url).body(LEAD).send().await.ok().map(|r| (r.status().as_u16(), r.version()))
        })
    };
    assert_eq!(post("one.cert.pem"), Some((202, reqwest::Version::HTTP_2)));
    assert_eq!(post("two.cert.pem"), None);

    put(&pem("two.cert.pem"), &pem("two.key.pem"));
    until("the new certificate is served", || post("two.cert.pem").is_some());
    // A key that does not belong to the certificate: the one in use stays. The files are looked at every two seconds.
    put(b"broken", &pem("one.key.pem"));
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        assert!(post("two.cert.pem").is_some());
        std::thread::sleep(Duration::from_millis(250));
    }
}
