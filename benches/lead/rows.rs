//! Turns, rows and the table.

use std::fmt::Write as _;
use std::time::Duration;

use super::load::{Post, at};
use super::plot;
use super::server::Server;

/// How often each server is asked as fast as it can.
const TURNS: usize = 3;

/// One server and what it is asked.
pub struct Contender {
    pub name: String,
    pub server: Server,
    pub post: Post,
    /// True for Millstream: its runs go on after the answer, and are paid for before the turn ends.
    pub drains: bool,
    /// The others of its group are compared with it.
    pub is_ceiling: bool,
}

/// What was measured of one.
pub struct Row {
    pub name: String,
    /// CPU of its process, µs a request.
    pub cpu: f64,
    /// That, divided by the ceiling's.
    pub ratio: Option<f64>,
    /// Requests a second, as fast as it can.
    pub rate: f64,
    /// p50, p99 and p99.9 at the fixed rate, ms.
    pub latency: [f64; 3],
    /// CPU at the fixed rate, µs a request.
    pub calm: f64,
    pub memory: f64,
    pub start: Duration,
    /// Bytes written to disk, a request.
    pub written: f64,
}

pub struct Rows {
    /// How long each turn is.
    pub turn: Duration,
    /// Requests a second of the open loop.
    pub rate: u64,
    text: String,
    plots: Vec<(String, Vec<(String, f64)>)>,
}

impl Rows {
    pub fn new(turn: Duration, rate: u64) -> Rows {
        Rows { turn, rate, text: String::new(), plots: Vec::new() }
    }

    /// Measures a group and prints its table.
    pub async fn group(&mut self, title: &str, contenders: Vec<Contender>) {
        let mut turns = vec![Vec::new(); contenders.len()];
        for contender in &contenders {
            // As long as a turn: Node-RED compiles what is asked often.
            contender.post.closed(self.turn).await;
            contender.settle().await;
        }
        for _ in 0..TURNS {
            for (contender, turns) in contenders.iter().zip(&mut turns) {
                turns.push(contender.turn(self.turn).await);
            }
        }
        let ceiling = contenders.iter().position(|one| one.is_ceiling);
        let mut rows = Vec::new();
        for (contender, own) in contenders.iter().zip(&turns) {
            let ratio =
                ceiling.map(|ceiling| median(own.iter().zip(&turns[ceiling]).map(|(own, its)| own.cpu / its.cpu)));
            let [cpu, rate, written] =
                [|t: &Turn| t.cpu, |t: &Turn| t.rate, |t: &Turn| t.written].map(|field| median(own.iter().map(field)));
            let (latency, calm) = contender.calm(self.rate, self.turn * 2).await;
            let (memory, start, name) =
                (contender.server.memory(), contender.server.started_in, contender.name.clone());
            rows.push(Row { name, cpu, ratio, rate, latency, calm, memory, start, written });
        }
        self.show(title, &rows);
    }

    fn show(&mut self, title: &str, rows: &[Row]) {
        let rate = self.rate;
        let mut text = format!(
            "**{title}**\n\n| server | CPU µs | × ceiling | requests/s | p50 / p99 / p99.9 ms at {rate}/s | CPU µs then \
             | RSS MB | start ms | written B |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        );
        for row in rows {
            let ratio = row.ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
            let [p50, p99, most] = row.latency;
            let _ = writeln!(
                text,
                "| {} | {:.1} | {ratio} | {:.0} | {p50:.2} / {p99:.2} / {most:.2} | {:.1} | {:.0} | {:.0} | {:.0} |",
                row.name,
                row.cpu,
                row.rate,
                row.calm,
                row.memory,
                row.start.as_secs_f64() * 1e3,
                row.written,
            );
        }
        println!("{text}");
        self.text += &text;
        self.text.push('\n');
        self.plots.push((title.to_owned(), rows.iter().map(|row| (row.name.clone(), row.cpu)).collect()));
    }

    /// Writes what was asked for.
    pub fn done(self) {
        if let Some(file) = std::env::var_os("MILLSTREAM_TABLE") {
            std::fs::write(file, self.text).expect("the table");
        }
        if let Some(file) = std::env::var_os("MILLSTREAM_PLOT") {
            std::fs::write(file, plot::bars("CPU µs a request, each group to its own scale", &self.plots))
                .expect("the plot");
        }
    }
}

#[derive(Clone)]
struct Turn {
    cpu: f64,
    rate: f64,
    written: f64,
}

impl Contender {
    async fn turn(&self, length: Duration) -> Turn {
        let (cpu, written) = (self.server.cpu(), self.server.written());
        let count = self.post.closed(length).await.len() as f64;
        self.settle().await;
        Turn {
            cpu: (self.server.cpu() - cpu).as_secs_f64() * 1e6 / count,
            rate: count / length.as_secs_f64(),
            written: (self.server.written() - written) as f64 / count,
        }
    }

    /// Latency and CPU where there is room.
    async fn calm(&self, rate: u64, length: Duration) -> ([f64; 3], f64) {
        let cpu = self.server.cpu();
        let times = self.post.open(rate, length).await;
        self.settle().await;
        let calm = (self.server.cpu() - cpu).as_secs_f64() * 1e6 / times.len() as f64;
        ([0.5, 0.99, 0.999].map(|share| at(&times, share)), calm)
    }

    /// Waits until no run is open.
    async fn settle(&self) {
        let open = ["millstream_runs_working ", "millstream_runs_queued ", "millstream_timers "];
        while self.drains && open.iter().any(|name| self.server.metric(name) > 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
