//! What a request and a lead cost, side by side in one run: CPU of the server's own process, throughput, latency at a
//! fixed rate, memory, start, bytes written.
//!
//! `benches/run` builds it, installs Node-RED for it, and writes table and plot into `docs/`. Each server is a process of
//! its own; all of a group are started first, then asked in turns, several times, since others may share the machine:
//! a row is the median of its turns, and its ratio to the durable ceiling is made of turns next to each other.
//!
//! `BENCH_SECONDS`: of one turn (2). `BENCH_RATE`: requests a second of the open loop (1000). `BENCH_NODE_RED`: a folder
//! with Node-RED in `node_modules`. `BENCH_ONLY`: groups to measure, as in `accept,lead`. `MILLSTREAM_TABLE`,
//! `MILLSTREAM_PLOT`: files for the table and the plot.

mod flows;
mod load;
mod plot;
mod rivals;
mod rows;
#[path = "../server/mod.rs"]
mod server;

use std::path::Path;
use std::time::Duration;

use flows::Kind;
use load::Post;
use rows::{Contender, Rows};
use server::Server;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _ = rustls::crypto::ring::default_provider().install_default();
    match args.first().map(String::as_str) {
        Some("serve") => runtime.block_on(rivals::serve(&args[1], args.get(2).cloned().unwrap_or_default())),
        // What `cargo test --benches` asks of it.
        Some("--test") => {}
        _ => runtime.block_on(measure()),
    }
}

async fn measure() {
    let number = |name: &str, usual| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (turn, rate) = (Duration::from_secs_f64(number("BENCH_SECONDS", 2.0)), number("BENCH_RATE", 1000.0) as u64);
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let wanted = |group: &str| only.is_empty() || only.split(',').any(|one| one == group);
    // On a real disk, which /tmp often is not.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let folder = folder.path();
    let crm_server = rivals::own("crm", "", folder);
    let crm = format!("http://{}/leads", crm_server.public);
    if rivals::node_red_folder().is_none() {
        eprintln!("without Node-RED: BENCH_NODE_RED names no folder that has it (benches/run installs it)");
    }
    let mut rows = Rows::new(turn, rate);
    if wanted("accept") {
        rows.group("Accepting a lead of 0.6 KB", accept(folder, &crm)).await;
    }
    if wanted("lead") {
        rows.group("A lead: accept, map seven fields, post to the CRM", lead(folder, &crm)).await;
    }
    if wanted("bodies") {
        for kb in [0.5, 4.0, 32.0, 256.0] {
            // Large ones are written by the gigabyte, and take a millisecond each.
            (rows.turn, rows.rate) = if kb > 8.0 { (turn / 2, rate / 10) } else { (turn, rate) };
            rows.group(&format!("Accepting a body of {kb} KB"), bodies(folder, kb)).await;
        }
    }
    (rows.turn, rows.rate) = (turn, rate);
    if wanted("flows") {
        let contenders = [1, 100, 10_000].map(|count| many(folder, count));
        rows.group("Accepting a lead, by the number of flows that are loaded", contenders.into()).await;
    }
    rows.done();
}

/// A server of this binary that knows one path.
fn rival(name: &str, mode: &str, crm: &str, folder: &Path, body: &str, status: u16) -> Contender {
    let server = rivals::own(mode, crm, folder);
    let post = Post::new(server.public, "/", body, status);
    Contender {
        name: name.to_owned(),
        server,
        post,
        drains: false,
        is_ceiling: name.starts_with("the durable ceiling"),
    }
}

/// Millstream with `count` flows of one kind.
fn millstream(name: &str, folder: &Path, kind: &Kind<'_>, count: usize, body: &str, status: u16) -> Contender {
    let folder = flows::project(folder, &name.replace([' ', ','], "-"), kind, count);
    let server = Server::start(&folder);
    let path = server.hook(&folder, &format!("flow{}", count / 2));
    let post = Post::new(server.public, &path, body, status);
    Contender { name: name.to_owned(), server, post, drains: true, is_ceiling: false }
}

fn node_red(name: &str, folder: &Path, crm: &str, path: &str, status: u16) -> Option<Contender> {
    let modules = rivals::node_red_folder()?;
    let folder = folder.join(name.replace([' ', ','], "-") + path.trim_start_matches('/'));
    std::fs::create_dir_all(&folder).expect("a folder");
    let server = rivals::node_red(&modules, crm, &folder);
    let post = Post::new(server.public, path, &flows::lead(600), status);
    Some(Contender { name: name.to_owned(), server, post, drains: false, is_ceiling: false })
}

fn accept(folder: &Path, crm: &str) -> Vec<Contender> {
    let body = flows::lead(600);
    let own = |name: &str, kind: Kind<'_>| millstream(name, folder, &kind, 1, &body, 202);
    let mut all = vec![
        rival("bare axum handler, nothing kept", "bare", crm, folder, &body, 201),
        rival("the durable ceiling", "accept", crm, folder, &body, 202),
        own("Millstream", Kind::Accept),
        own("Millstream, 20 steps", Kind::Steps(20)),
    ];
    all.extend(node_red("Node-RED, nothing kept", folder, crm, "/accept", 202));
    all
}

fn lead(folder: &Path, crm: &str) -> Vec<Contender> {
    let body = flows::lead(600);
    let mut all = vec![
        rival("axum + reqwest, nothing kept", "forward", crm, folder, &body, 201),
        rival("the durable ceiling, 201 after the CRM", "ceiling", crm, folder, &body, 201),
        millstream("Millstream, 202 before the CRM", folder, &Kind::Lead(crm), 1, &body, 202),
        millstream("Millstream, 201 after the CRM", folder, &Kind::Sync(crm), 1, &body, 201),
    ];
    all.extend(node_red("Node-RED, nothing kept", folder, crm, "/lead", 201));
    all
}

fn bodies(folder: &Path, kb: f64) -> Vec<Contender> {
    let body = flows::order((kb * 1024.0) as usize);
    let name = format!("Millstream, {kb} KB");
    vec![
        rival("bare axum handler, nothing kept", "bare", "", folder, &body, 201),
        rival("the durable ceiling", "accept", "", folder, &body, 202),
        Contender { name: "Millstream".to_owned(), ..millstream(&name, folder, &Kind::Accept, 1, &body, 202) },
    ]
}

fn many(folder: &Path, count: usize) -> Contender {
    millstream(&format!("Millstream, {count} flows"), folder, &Kind::Accept, count, &flows::lead(600), 202)
}
