//! What many flows cost: the start, memory, runs, and files that change, come and go under a running server.
//!
//! `SCALE` lists how many flows (1,10,100,1000,10000 unless set). Each is a file of its own with the realistic lead flow:
//! one schema file for all, seven mapped fields, a call and a condition. `RUNS` (10,000) are posted to flows at random.

mod server;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use server::Server;

const CALLERS: u64 = 16;
/// Files that change, come and go, for each figure.
const EDITS: u64 = 11;
/// A change is seen sooner than this, or the bench gives up.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|t| t.parse().ok()).unwrap_or(default);
    let counts = std::env::var("SCALE").unwrap_or_else(|_| "1,10,100,1000,10000".to_owned());
    let runs = number("RUNS", 10_000);
    let crm = crm();
    println!(
        "| flows | first start ms | later start ms | RSS MB idle | KB a flow | CPU µs a run | RSS MB after the runs | \
         a file changes ms | comes ms | goes ms | CPU ms a change | `check` ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut least = None;
    for count in counts.split(',').filter_map(|text| text.trim().parse::<u64>().ok()) {
        row(count, runs, crm, &mut least);
    }
}

/// `least`: RSS of the smallest server, MB, and how many flows it has.
fn row(count: u64, runs: u64, crm: SocketAddr, least: &mut Option<(f64, u64)>) {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/lead.schema.json");
    std::fs::create_dir_all(dir.join("flows")).expect("a folder");
    std::fs::copy(schema, dir.join("lead.schema.json")).expect("the schema");
    std::fs::write(dir.join("millstream.yaml"), "outbound: {allow: [127.0.0.0/8]}\n").expect("a file");
    (0..count).for_each(|number| put(dir, number, "POST", crm));
    let check = middle((0..3).map(|_| timed(|| check(dir))));

    let times = if count > 1_000 { 3 } else { 9 };
    // Each first start finds no data folder, as after a fresh install.
    let first = middle((0..times).map(|_| {
        let _ = std::fs::remove_dir_all(dir.join(".millstream"));
        start(dir)
    }));
    let later = middle((0..times).map(|_| start(dir)));
    let server = Server::start(dir);
    std::thread::sleep(Duration::from_secs(1));
    let idle = server.memory();
    let (few_mb, few) = *least.get_or_insert((idle, count));
    let each = if count > few { (idle - few_mb) * 1024.0 / (count - few) as f64 } else { 0.0 };

    let mut admin = Caller::new(server.admin);
    let paths: Vec<String> = (0..count).map(|number| admin.url(dir, number).expect("a URL")).collect();
    let cpu = cpu_of_runs(&server, &paths, runs);
    let after = server.memory();

    let mut caller = Caller::new(server.public);
    let methods = ["PUT", "POST"];
    let change = middle((0..EDITS).map(|round| {
        let method = methods[round as usize % 2];
        put(dir, 0, method, crm);
        timed(|| caller.until(&paths[0], |head| head.contains(&format!("allow: {method}\r\n"))))
    }));
    // The same without anyone who asks, for what it costs.
    let before = server.cpu();
    for round in 0..2 * EDITS {
        put(dir, 0, methods[1 - round as usize % 2], crm);
        std::thread::sleep(Duration::from_millis(200));
    }
    let change_cpu = (server.cpu() - before).as_secs_f64() * 1e3 / (2 * EDITS) as f64;

    let fresh = count + 1;
    put(dir, fresh, "POST", crm);
    let begun = Instant::now();
    let path = loop {
        assert!(begun.elapsed() < PATIENCE, "a new file is not live");
        if let Some(path) = admin.url(dir, fresh) {
            break path;
        }
    };
    let (mut come, mut go) = (Vec::new(), Vec::new());
    for _ in 0..EDITS {
        std::fs::remove_file(file(dir, fresh)).expect("removed");
        go.push(timed(|| caller.until(&path, |head| head.starts_with("HTTP/1.1 404"))));
        put(dir, fresh, "POST", crm);
        come.push(timed(|| caller.until(&path, |head| head.starts_with("HTTP/1.1 405"))));
    }
    let (come, go) = (middle(come.into_iter()), middle(go.into_iter()));
    println!(
        "| {count} | {first:.0} | {later:.0} | {idle:.1} | {each:.1} | {cpu:.0} | {after:.1} | {change:.1} | {come:.1} | {go:.1} \
         | {change_cpu:.1} | {check:.0} |"
    );
    let _ = std::io::stdout().flush();
}

/// Posts to flows at random; µs of the server's CPU a run, until the last one has ended.
fn cpu_of_runs(server: &Server, paths: &[String], runs: u64) -> f64 {
    let post = |runs: u64, salt: u64| {
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(|| {
                    let mut caller = Caller::new(server.public);
                    let body = lead();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= runs {
                            return;
                        }
                        // Knuth's multiplier and the high bits: all flows as often, none in order.
                        let random = (number + salt).wrapping_mul(6_364_136_223_846_793_005) >> 33;
                        let head = caller.ask("POST", &paths[random as usize % paths.len()], "", &body).0;
                        assert!(head.starts_with("HTTP/1.1 202"), "{head}");
                    }
                });
            }
        });
        let open = || ["millstream_runs_working", "millstream_runs_queued"].map(|name| server.metric(name));
        while open() != [0, 0] {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    post(1_000, 1 << 40);
    let before = server.cpu();
    post(runs, 0);
    (server.cpu() - before).as_secs_f64() * 1e6 / runs as f64
}

/// From the start of the process until `/readyz` says so, ms; stops it again.
fn start(dir: &Path) -> f64 {
    let begun = Instant::now();
    let server = Server::start(dir);
    assert_eq!(server.get("/readyz", ""), "ready\n");
    begun.elapsed().as_secs_f64() * 1e3
}

fn check(dir: &Path) {
    let checked = Command::new(server::binary()).arg("check").arg("--dir").arg(dir).output();
    let checked = checked.expect("a process");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

fn timed(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64() * 1e3
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn file(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("flows/lead_{number}.yaml"))
}

/// Writes a flow's file as careful editors do: whole, under another name, then renamed.
fn put(dir: &Path, number: u64, method: &str, crm: SocketAddr) {
    let text = format!(
        r#"id: lead_{number}
description: Leads of the offer {number} become records of the CRM
trigger:
  type: request
  methods: [{method}]
  schema: ../lead.schema.json
steps:
  - id: create_lead
    action: http.request
    with:
      method: POST
      url: http://{crm}/leads
      json:
        subject: "{{{{trigger.body.OfferTitle}}}}"
        firstname: "{{{{trigger.body.UserDetails.FirstName}}}}"
        lastname: "{{{{trigger.body.UserDetails.LastName}}}}"
        emailaddress1: "{{{{optional trigger.body.UserDetails.Email}}}}"
        companyname: "{{{{trigger.body.UserDetails.Company}}}}"
        telephone1: "{{{{optional trigger.body.UserDetails.Phone}}}}"
        description: "Lead {number} from {{{{trigger.body.UserDetails.Country}}}}"
    timeout: 10s
    retry: {{attempts: 5, backoff: exponential, delay: 7s, max_delay: 1h}}
  - id: note_it
    when: '{{{{equals trigger.body.ActionCode "INS"}}}}'
    set: {{note: "New lead {{{{trigger.body.UserDetails.Company}}}}, {{{{steps.create_lead.output.status}}}}"}}
"#
    );
    let fresh = dir.join("flows/.fresh");
    std::fs::write(&fresh, text).expect("a file");
    std::fs::rename(fresh, file(dir, number)).expect("renamed");
}

/// About 600 bytes, as the marketplace sends them.
fn lead() -> String {
    let test = "MSFT_TEST_636573304831318844";
    json!({
        "LeadSource": "AzureMarketplace", "ActionCode": "INS", "OfferTitle": "Contoso Test Drive",
        "Description": "x".repeat(250),
        "UserDetails": {
            "FirstName": test, "LastName": test, "Email": format!("{test}@test.com"), "Phone": "1234567890",
            "Country": "US", "Company": test, "Title": test,
        },
    })
    .to_string()
}

/// One connection that stays open.
struct Caller {
    stream: BufReader<TcpStream>,
}

impl Caller {
    fn new(address: SocketAddr) -> Caller {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        Caller { stream: BufReader::new(stream) }
    }

    /// Head and body of the answer.
    fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> (String, String) {
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-type: application/json\r\n");
        let request = format!("{head}content-length: {length}\r\n\r\n{body}");
        self.stream.get_mut().write_all(request.as_bytes()).expect("sent");
        let (head, body) = message(&mut self.stream).expect("an answer");
        (head, String::from_utf8_lossy(&body).into_owned())
    }

    /// Asks until the answer's head is as it should be.
    fn until(&mut self, path: &str, right: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        while !right(&self.ask("GET", path, "", "").0) {
            assert!(begun.elapsed() < PATIENCE, "the change is not seen");
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// The path of a flow's URL, once it is live; for a caller of the admin listener.
    fn url(&mut self, dir: &Path, number: u64) -> Option<String> {
        let token = std::fs::read_to_string(dir.join(".millstream/admin.token")).expect("a token");
        let headers = format!("authorization: Bearer {}\r\n", token.trim());
        let (head, body) = self.ask("GET", &format!("/api/v1/flows/lead_{number}/url"), &headers, "");
        if !head.starts_with("HTTP/1.1 200") {
            return None;
        }
        let told: Value = serde_json::from_str(&body).expect("JSON");
        let url = told["url"].as_str().expect("a URL");
        Some(url[url.find("/hooks/").expect("a path")..].to_owned())
    }
}

/// Reads one message whole.
fn message(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// What flows call: answers 201 at once.
fn crm() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                while message(&mut stream).is_some() {
                    let answer =
                        "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\n{\"id\":1}";
                    if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
