//! What a run costs through the whole server: flows of 1, 5 and 20 steps, and loops over 1,000 and 100,000 items.
//!
//! CPU is that of the server's process, all threads, with HTTP, journal and syncs; `run` has deciding alone.

mod server;

use std::time::{Duration, Instant};

use server::Server;

const CALLERS: usize = 32;

fn main() {
    println!("| flow | runs | CPU µs a run | CPU µs a step or item | s in all | most RSS MB |");
    println!("|---|---|---|---|---|---|");
    for steps in [1, 5, 20] {
        let sets: String = (0..steps)
            .map(|n| format!("  - {{id: s{n}, set: {{v{n}: \"{{{{trigger.body.text}}}} {n}\"}}}}\n"))
            .collect();
        row(
            &format!("{steps} `set` steps"),
            &format!("steps:\n{sets}"),
            "{\"text\":\"some words\"}".into(),
            4_000,
            steps,
        );
    }
    for (items, runs) in [(1_000, 40), (10_000, 4), (100_000, 1)] {
        let list: Vec<String> = (0..items).map(|n| format!("{{\"sku\":\"A-{n:06}\",\"qty\":{}}}", n % 7)).collect();
        let body = format!("{{\"items\":[{}]}}", list.join(","));
        for collect in ["", "    collect: \"{{item.sku}}\"\n"] {
            let each = "steps:\n  - id: each\n    foreach: \"{{trigger.body.items}}\"\n    do:\n      - {id: note, set: {last: \"{{item.sku}}\"}}\n";
            let name = if collect.is_empty() { "" } else { ", collected" };
            row(&format!("`foreach`, {items} items{name}"), &format!("{each}{collect}"), body.clone(), runs, items);
        }
    }
}

fn row(name: &str, steps: &str, body: String, runs: usize, parts: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(folder.path().join("flows")).expect("a folder");
    std::fs::write(folder.path().join("flows/bench.yaml"), format!("trigger: {{type: request}}\n{steps}"))
        .expect("a file");
    let server = Server::start(folder.path());
    let path = server.hook(folder.path(), "bench");
    let callers = CALLERS.min(runs);
    // Everything once, so that first times are not counted.
    server.post(&path, std::iter::once(body.clone()));
    settle(&server, 1);
    let (cpu, begun) = (server.cpu(), Instant::now());
    std::thread::scope(|scope| {
        for caller in 0..callers {
            let (server, path, body) = (&server, &path, &body);
            let share = runs / callers + usize::from(caller < runs % callers);
            scope.spawn(move || server.post(path, std::iter::repeat_n(body.clone(), share)));
        }
    });
    settle(&server, 1 + runs as u64);
    let (cpu, took) = (server.cpu() - cpu, begun.elapsed());
    let each = cpu.as_secs_f64() * 1e6 / runs as f64;
    let part = each / parts as f64;
    println!("| {name} | {runs} | {each:.0} | {part:.1} | {:.1} | {:.0} |", took.as_secs_f64(), server.peak());
}

fn settle(server: &Server, runs: u64) {
    while server.metric("millstream_runs_ended_total{status=\"succeeded\"}") < runs {
        std::thread::sleep(Duration::from_millis(5));
    }
}
