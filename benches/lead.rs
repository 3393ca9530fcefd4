//! What a lead costs, side by side in one run: CPU of the server's own process, throughput, memory, bytes written.
//!
//! `cargo bench --bench lead` starts each server in a process of its own, on a free port, with a CRM stand-in that
//! answers 201 at once in another, and posts the same lead over 64 connections that stay open.

mod server;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use server::Server;

const CONNECTIONS: usize = 64;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _ = rustls::crypto::ring::default_provider().install_default();
    match args.first().map(String::as_str) {
        Some("serve") => runtime.block_on(serve(&args[1], args.get(2).cloned().unwrap_or_default())),
        _ => runtime.block_on(measure()),
    }
}

/// About 600 bytes, as the marketplace sends them.
fn lead() -> String {
    json!({
        "LeadSource": "AzureMarketplace", "ActionCode": "INS", "OfferTitle": "Contoso Test Drive",
        "Description": "x".repeat(250),
        "UserDetails": {
            "FirstName": "MSFT_TEST_636573304831318844", "LastName": "MSFT_TEST_636573304831318844",
            "Email": "MSFT_TEST_636573304831318844@test.com", "Phone": "1234567890", "Country": "US",
            "Company": "MSFT_TEST_636573304831318844", "Title": "MSFT_TEST_636573304831318844",
        },
    })
    .to_string()
}

// What is measured.

/// The seven fields, as a flow maps them.
const RECORD: &str = r#"{subject: "{{trigger.body.OfferTitle}}", firstname: "{{trigger.body.UserDetails.FirstName}}",
        lastname: "{{trigger.body.UserDetails.LastName}}", emailaddress1: "{{trigger.body.UserDetails.Email}}",
        companyname: "{{trigger.body.UserDetails.Company}}", telephone1: "{{trigger.body.UserDetails.Phone}}",
        description: "New lead from {{trigger.body.UserDetails.Country}}"}"#;

async fn measure() {
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let crm = own("crm", "");
    let crm_url = format!("http://{}/leads", crm.public);
    println!("| server | requests/s | CPU µs/request | p50 ms | p99 ms | RSS MB | written B/request |");
    println!("|---|---|---|---|---|---|---|");
    for name in ["bare axum handler", "axum + reqwest, nothing kept", "the durable ceiling"] {
        let mode = name.split(' ').next().unwrap_or_default();
        let mode = if name.starts_with("axum") {
            "forward"
        } else if mode == "the" {
            "ceiling"
        } else {
            "bare"
        };
        let server = own(mode, &crm_url);
        row(name, &server, "/", 201, seconds, None).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    let call = format!(
        "  - id: create\n    action: http.request\n    with:\n      method: POST\n      url: {crm_url}\n      json: {RECORD}\n"
    );
    let flow = |steps: &str| format!("trigger:\n  type: request\n  schema: ../lead.schema.json\nsteps:\n{steps}");
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/lead.schema.json");
    write("lead.schema.json", &std::fs::read_to_string(schema).expect("the schema"));
    write("millstream.yaml", "outbound: {allow: [127.0.0.0/8]}\n");
    write("flows/accept.yaml", &flow("  - id: note\n    set: {seen: true}\n"));
    write("flows/lead.yaml", &flow(&call));
    write("flows/sync.yaml", &flow(&format!("{call}  - id: answer\n    response: {{status: 201}}\n")));
    let rows = [
        ("millstream: durable accept", "accept", 202),
        ("lead flow, 202", "lead", 202),
        ("lead flow, 201 after the CRM", "sync", 201),
    ];
    for (name, flow, status) in rows {
        let server = Server::start(folder.path());
        let path = server.hook(folder.path(), flow);
        row(name, &server, &path, status, seconds, Some(&server)).await;
    }
}

/// One row: warm up, then count. `drain` waits until no run is open, so that the whole run is paid for.
async fn row(name: &str, server: &Server, path: &str, status: u16, seconds: u64, drain: Option<&Server>) {
    load(server.public, path, status, Duration::from_millis(500)).await;
    settle(drain).await;
    let (cpu, written) = (server.cpu(), server.written());
    let mut times = load(server.public, path, status, Duration::from_secs(seconds)).await;
    let rate = times.len() as f64 / seconds as f64;
    settle(drain).await;
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let count = times.len() as f64;
    println!(
        "| {name} | {rate:.0} | {:.1} | {:.2} | {:.2} | {:.0} | {:.0} |",
        (server.cpu() - cpu).as_secs_f64() * 1e6 / count,
        at(0.5),
        at(0.99),
        server.memory(),
        (server.written() - written) as f64 / count,
    );
    let _ = std::io::stdout().flush();
}

async fn settle(server: Option<&Server>) {
    let Some(server) = server else { return };
    loop {
        let text = reqwest_get(&format!("http://{}/metrics", server.admin)).await;
        let gauge = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        let open = ["millstream_runs_working ", "millstream_runs_queued ", "millstream_timers "];
        if open.iter().all(|name| gauge(name) == Some(0)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn reqwest_get(url: &str) -> String {
    let answer = reqwest::get(url).await.expect("an answer");
    answer.text().await.expect("text")
}

/// Posts leads over open connections until the time is over; how long each took.
async fn load(address: SocketAddr, path: &str, status: u16, length: Duration) -> Vec<Duration> {
    let body = lead();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let request: Arc<[u8]> = request.into_bytes().into();
    let until = Instant::now() + length;
    let callers = (0..CONNECTIONS).map(|_| {
        let request = request.clone();
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("a socket option");
            let (mut times, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
            while Instant::now() < until {
                let begun = Instant::now();
                stream.write_all(&request).await.expect("sent");
                let answered = answer(&mut stream, &mut buffer).await;
                assert_eq!(answered, status, "{}", String::from_utf8_lossy(&buffer[..200]));
                times.push(begun.elapsed());
            }
            times
        })
    });
    let mut times = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        times.extend(caller.await.expect("a caller"));
    }
    times
}

/// Reads one answer whole; its status.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> u16 {
    let mut have = 0;
    loop {
        let got = stream.read(&mut buffer[have..]).await.expect("an answer");
        assert!(got > 0, "the server closed the connection");
        have += got;
        let Some(end) = buffer[..have].windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end]).expect("a head in ASCII");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if have >= end + 4 + length.unwrap_or(0) {
            return head[9..12].parse().expect("a status");
        }
    }
}

/// This binary in another role, as a server.
fn own(mode: &str, crm: &str) -> Server {
    let binary = std::env::current_exe().expect("this binary");
    Server::begin(Command::new(binary).args(["serve", mode, crm]))
}

// What it is measured against.

#[derive(Clone)]
struct Shared {
    crm: String,
    client: reqwest::Client,
    records: Option<mpsc::Sender<(Vec<u8>, oneshot::Sender<()>)>>,
    count: Arc<AtomicU64>,
}

/// `bare` answers at once; `forward` maps and posts on; `ceiling` does so after one sync of an append-only file;
/// `crm` is what they post to.
async fn serve(mode: &str, crm: String) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let records = (mode == "ceiling").then(append_only);
    let shared = Shared { crm, client, records, count: Arc::default() };
    let handler = match mode {
        "bare" | "crm" => post(bare),
        _ => post(forward),
    };
    let app = Router::new().route("/", handler.clone()).route("/leads", handler).route("/count", get(count));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    println!("{}", json!({"public": format!("http://{address}")}));
    axum::serve(listener, app.with_state(shared)).await.expect("serving");
}

async fn bare(State(shared): State<Shared>, body: Bytes) -> StatusCode {
    shared.count.fetch_add(body.len().min(1) as u64, Ordering::Relaxed);
    StatusCode::CREATED
}

async fn count(State(shared): State<Shared>) -> String {
    shared.count.load(Ordering::Relaxed).to_string()
}

async fn forward(State(shared): State<Shared>, body: Bytes) -> StatusCode {
    let Ok(lead) = serde_json::from_slice::<Value>(&body) else { return StatusCode::BAD_REQUEST };
    if let Some(records) = &shared.records {
        let (done, durable) = oneshot::channel();
        let _ = records.send((body.to_vec(), done)).await;
        let _ = durable.await;
    }
    let user = &lead["UserDetails"];
    let country = user["Country"].as_str().unwrap_or_default();
    let record = json!({
        "subject": lead["OfferTitle"], "firstname": user["FirstName"], "lastname": user["LastName"],
        "emailaddress1": user["Email"], "companyname": user["Company"], "telephone1": user["Phone"],
        "description": format!("New lead from {country}"),
    });
    let sent = shared.client.post(&shared.crm).header("content-type", "application/json").body(record.to_string());
    match sent.send().await {
        Ok(answer) if answer.status().is_success() => {
            let _ = answer.bytes().await;
            StatusCode::CREATED
        }
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// The cheapest durable keeping there is: a thread that writes a batch, syncs once, and answers all.
fn append_only() -> mpsc::Sender<(Vec<u8>, oneshot::Sender<()>)> {
    let (send, mut receive) = mpsc::channel::<(Vec<u8>, oneshot::Sender<()>)>(4096);
    std::thread::spawn(move || {
        let mut file = tempfile::tempfile_in(".").expect("a file");
        while let Some(first) = receive.blocking_recv() {
            let mut batch = vec![first];
            while let Ok(next) = receive.try_recv() {
                batch.push(next);
            }
            let bytes: Vec<u8> = batch.iter().flat_map(|(record, _)| record.iter().copied()).collect();
            file.write_all(&bytes).expect("written");
            file.sync_data().expect("synced");
            for (_, done) in batch {
                let _ = done.send(());
            }
        }
    });
    send
}
