//! What Millstream is measured against: small servers of our own, in this binary's other roles, and Node-RED.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::server::Server;

/// This binary in another role. `bare` answers 201 at once; `forward` parses, maps seven fields and posts them on;
/// `accept` parses and answers 202 after one sync of an append-only file; `ceiling` does that and then what `forward`
/// does; `crm` is what they post to.
pub fn own(mode: &str, crm: &str, folder: &Path) -> Server {
    let binary = std::env::current_exe().expect("this binary");
    Server::begin(Command::new(binary).args(["serve", mode, crm]).current_dir(folder))
}

/// Node-RED from npm, in `modules`: `/accept` answers 202, `/lead` maps, posts to the CRM and answers 201.
pub fn node_red(modules: &Path, crm: &str, folder: &Path) -> Server {
    let map = "const u = msg.payload.UserDetails;\n\
        msg.payload = {subject: msg.payload.OfferTitle, firstname: u.FirstName, lastname: u.LastName, \
        emailaddress1: u.Email, companyname: u.Company, telephone1: u.Phone, description: 'New lead from ' + u.Country};\n\
        msg.headers = {'content-type': 'application/json'};\nreturn msg;";
    let node = |id: &str, kind: &str, to: &[&str]| json!({"id": id, "type": kind, "z": "tab", "wires": [to]});
    let with = |mut node: Value, more: Value| {
        let more = more.as_object().cloned().unwrap_or_default();
        node.as_object_mut().expect("a node is an object").extend(more);
        node
    };
    let flows = json!([
        {"id": "tab", "type": "tab", "label": "leads"},
        with(node("note", "http in", &["noted"]), json!({"url": "/accept", "method": "post"})),
        with(node("noted", "http response", &[]), json!({"statusCode": "202"})),
        with(node("in", "http in", &["map"]), json!({"url": "/lead", "method": "post"})),
        with(node("map", "function", &["call"]), json!({"func": map, "outputs": 1})),
        with(node("call", "http request", &["out"]), json!({"method": "POST", "ret": "txt", "url": crm, "persist": true})),
        with(node("out", "http response", &[]), json!({"statusCode": "201"})),
    ]);
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("a file");
    write("flows.json", flows.to_string());
    let quiet = "module.exports = {httpAdminRoot: false, uiHost: '127.0.0.1', logging: {console: {level: 'error'}}, \
                 diagnostics: {enabled: false}, telemetry: {enabled: false}};\n";
    write("settings.js", quiet.to_owned());
    let public = free_address();
    let mut command = Command::new("node");
    command.arg(modules.join("node_modules/node-red/red.js")).arg("--userDir").arg(folder);
    command.args(["--port", &public.port().to_string()]).arg("flows.json").stdout(Stdio::null()).stderr(Stdio::null());
    Server::at(&mut command, public)
}

/// Where Node-RED is installed, if it is: `BENCH_NODE_RED` names the folder.
pub fn node_red_folder() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("BENCH_NODE_RED")?);
    folder.join("node_modules/node-red/red.js").exists().then_some(folder)
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

type Kept = (Bytes, oneshot::Sender<()>);

#[derive(Clone)]
struct Shared {
    crm: String,
    client: reqwest::Client,
    records: Option<mpsc::Sender<Kept>>,
    count: Arc<AtomicU64>,
}

pub async fn serve(mode: &str, crm: String) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let records = matches!(mode, "accept" | "ceiling").then(append_only);
    let shared = Shared { crm, client, records, count: Arc::default() };
    let handler = match mode {
        "bare" | "crm" => post(bare),
        "accept" => post(accept),
        _ => post(forward),
    };
    let app = Router::new().route("/", handler.clone()).route("/leads", handler).route("/count", get(count));
    let app = app.layer(axum::extract::DefaultBodyLimit::max(8 * 1024 * 1024));
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

async fn accept(State(shared): State<Shared>, body: Bytes) -> StatusCode {
    if serde_json::from_slice::<Value>(&body).is_err() {
        return StatusCode::BAD_REQUEST;
    }
    keep(&shared, body).await;
    StatusCode::ACCEPTED
}

async fn forward(State(shared): State<Shared>, body: Bytes) -> StatusCode {
    let Ok(lead) = serde_json::from_slice::<Value>(&body) else { return StatusCode::BAD_REQUEST };
    keep(&shared, body).await;
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

/// Returns once it is on disk, where the server keeps anything at all.
async fn keep(shared: &Shared, body: Bytes) {
    let Some(records) = &shared.records else { return };
    let (done, durable) = oneshot::channel();
    let _ = records.send((body, done)).await;
    let _ = durable.await;
}

/// The cheapest durable keeping there is: a thread that writes a batch, syncs once, and answers all.
fn append_only() -> mpsc::Sender<Kept> {
    let (send, mut receive) = mpsc::channel::<Kept>(4096);
    std::thread::spawn(move || {
        let mut file = tempfile::tempfile_in(".").expect("a file");
        let (mut batch, mut bytes) = (Vec::new(), Vec::new());
        while receive.blocking_recv_many(&mut batch, 4096) > 0 {
            bytes.clear();
            batch.iter().for_each(|(record, _)| bytes.extend_from_slice(record));
            file.write_all(&bytes).expect("written");
            file.sync_data().expect("synced");
            for (_, done) in batch.drain(..) {
                let _ = done.send(());
            }
        }
    });
    send
}
