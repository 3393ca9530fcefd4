//! A load generator of our own: an open loop sends by the clock, whatever became of the requests before; a closed loop
//! has so many callers, each with one request under way.
//!
//! wrk and its like are closed loops: where the server slows down they send less, and overload never comes about.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where requests go, and what they are.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    request: Arc<[u8]>,
}

/// What came of many requests.
#[derive(Default)]
pub struct Outcome {
    /// How often each status came.
    pub answers: BTreeMap<u16, usize>,
    /// 429 and 503 that do not say when to come again.
    pub without_wait: usize,
    /// No whole answer came.
    pub broken: Vec<String>,
    /// Due while as many requests were under way as the generator has connections.
    pub unsent: usize,
    /// Of answers below 300, from the time that the request was due.
    pub latencies: Vec<Duration>,
    /// Runs of one in a hundred 202.
    pub runs: Vec<String>,
    pub took: Duration,
}

impl Outcome {
    pub fn count(&self, status: u16) -> usize {
        self.answers.get(&status).copied().unwrap_or(0)
    }

    /// Good answers in a second.
    pub fn rate(&self) -> f64 {
        let good: usize = self.answers.iter().filter(|(status, _)| **status < 300).map(|(_, count)| *count).sum();
        good as f64 / self.took.as_secs_f64()
    }

    /// Below which this share of good answers took, ms.
    pub fn percentile(&self, share: f64) -> f64 {
        let mut all = self.latencies.clone();
        all.sort_unstable();
        let at = (all.len().saturating_sub(1) as f64 * share) as usize;
        all.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
    }

    fn add(&mut self, due: Instant, answer: io::Result<(u16, String)>) {
        match answer {
            Ok((status, head)) => {
                let count = self.answers.entry(status).or_default();
                *count += 1;
                if status < 300 {
                    self.latencies.push(due.elapsed());
                    if *count % 100 == 1 {
                        self.runs.extend(header(&head, "x-run-id").map(str::to_owned));
                    }
                }
                if [429, 503].contains(&status) {
                    let wait = header(&head, "retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
                    self.without_wait += usize::from(wait.is_none_or(|seconds| seconds == 0));
                }
            }
            Err(error) => self.broken.push(error.to_string()),
        }
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

impl Target {
    pub fn post(address: SocketAddr, path: &str, body: &str) -> Target {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        Target { address, request: request.into_bytes().into() }
    }

    /// `callers` of which each sends again once it has its answer.
    pub async fn closed(&self, callers: usize, length: Duration) -> Outcome {
        let begun = Instant::now();
        let outcome: Arc<Mutex<Outcome>> = Arc::default();
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let (target, outcome) = (self.clone(), outcome.clone());
            tasks.spawn(async move {
                let mut stream = None;
                while begun.elapsed() < length {
                    let due = Instant::now();
                    let answer = target.exchange(&mut stream).await;
                    outcome.lock().unwrap().add(due, answer);
                }
            });
        }
        tasks.join_all().await;
        finish(&outcome, begun)
    }

    /// `rate` requests a second, each sent when it is due; at most `most` under way.
    pub async fn open(&self, rate: f64, length: Duration, most: usize) -> Outcome {
        let begun = Instant::now();
        let outcome: Arc<Mutex<Outcome>> = Arc::default();
        let (idle, under_way): (Arc<Mutex<Vec<TcpStream>>>, Arc<AtomicUsize>) = Default::default();
        let mut tasks = JoinSet::new();
        let mut clock = interval(Duration::from_millis(1));
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sent = 0_u64;
        while begun.elapsed() < length {
            clock.tick().await;
            while tasks.try_join_next().is_some() {}
            let due_by_now = (begun.elapsed().min(length).as_secs_f64() * rate) as u64;
            for number in sent..due_by_now {
                if under_way.load(Ordering::Relaxed) >= most {
                    outcome.lock().unwrap().unsent += 1;
                    continue;
                }
                under_way.fetch_add(1, Ordering::Relaxed);
                let due = begun + Duration::from_secs_f64(number as f64 / rate);
                let (target, outcome) = (self.clone(), outcome.clone());
                let (idle, under_way) = (idle.clone(), under_way.clone());
                tasks.spawn(async move {
                    let mut stream = idle.lock().unwrap().pop();
                    let answer = target.exchange(&mut stream).await;
                    idle.lock().unwrap().extend(stream);
                    outcome.lock().unwrap().add(due, answer);
                    under_way.fetch_sub(1, Ordering::Relaxed);
                });
            }
            sent = sent.max(due_by_now);
        }
        sleep_until(begun + length).await;
        let length = begun.elapsed();
        tasks.join_all().await;
        let mut outcome = finish(&outcome, begun);
        outcome.took = length;
        outcome
    }

    /// One request over `stream`, or a new connection, which is kept there if it can be used again.
    async fn exchange(&self, stream: &mut Option<TcpStream>) -> io::Result<(u16, String)> {
        let mut connection = match stream.take() {
            Some(connection) => connection,
            None => TcpStream::connect(self.address).await?,
        };
        connection.set_nodelay(true)?;
        let exchange = async {
            connection.write_all(&self.request).await?;
            let mut bytes = Vec::with_capacity(1024);
            loop {
                if connection.read_buf(&mut bytes).await? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
                let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
                let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
                let length: usize = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
                if bytes.len() < end + 4 + length {
                    continue;
                }
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
                return Ok((status.ok_or(io::Error::from(io::ErrorKind::InvalidData))?, head));
            }
        };
        let answer = timeout(PATIENCE, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if header(&answer.1, "connection") != Some("close") {
            *stream = Some(connection);
        }
        Ok(answer)
    }
}

fn finish(outcome: &Mutex<Outcome>, begun: Instant) -> Outcome {
    let mut outcome = std::mem::take(&mut *outcome.lock().unwrap());
    outcome.took = begun.elapsed();
    outcome
}

/// A target for calls that answers `{}` at once and remembers nothing.
pub async fn sink() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = Vec::with_capacity(2048);
                while stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
                    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
                    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
                    let length: usize = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
                    if bytes.len() < end + 4 + length {
                        continue;
                    }
                    bytes.clear();
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
