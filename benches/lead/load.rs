//! Callers: as fast as answers come (closed loop), or at times set before (open loop).
//!
//! In a closed loop a slow server is asked less, so its latency looks better than it is. In the open one each request
//! has a time at which it is due; its latency counts from there, also while it waits for a free connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};

pub const CONNECTIONS: usize = 64;

/// One request, posted again and again, and the status it must be answered with.
#[derive(Clone)]
pub struct Post {
    pub address: SocketAddr,
    status: u16,
    bytes: Arc<[u8]>,
}

impl Post {
    pub fn new(address: SocketAddr, path: &str, body: &str, status: u16) -> Post {
        let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n");
        let text = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        Post { address, status, bytes: text.into_bytes().into() }
    }

    /// Over open connections until the time is over; how long each took.
    pub async fn closed(&self, length: Duration) -> Vec<Duration> {
        let until = Instant::now() + length;
        let callers = (0..CONNECTIONS).map(|_| {
            let post = self.clone();
            tokio::spawn(async move {
                let mut caller = Caller::connect(post.address).await.expect("a connection");
                let mut times = Vec::new();
                while Instant::now() < until {
                    let begun = Instant::now();
                    caller.post(&post).await;
                    times.push(begun.elapsed());
                }
                times
            })
        });
        gather(callers.collect()).await
    }

    /// `rate` requests a second, spread evenly; how long each took from when it was due.
    pub async fn open(&self, rate: u64, length: Duration) -> Vec<Duration> {
        let (due, times) = mpsc::unbounded_channel::<Instant>();
        let times = Arc::new(Mutex::new(times));
        let callers = (0..CONNECTIONS).map(|_| {
            let (post, times) = (self.clone(), times.clone());
            tokio::spawn(async move {
                let mut caller = Caller::connect(post.address).await.expect("a connection");
                let mut took = Vec::new();
                loop {
                    let next = times.lock().await.recv().await;
                    let Some(at) = next else { return took };
                    caller.post(&post).await;
                    took.push(at.elapsed());
                }
            })
        });
        let callers: Vec<_> = callers.collect();
        // A thread, since the runtime's timers are a millisecond coarse.
        let pace = std::thread::spawn(move || {
            let (start, gap) = (Instant::now(), Duration::from_secs(1) / u32::try_from(rate).expect("a small number"));
            for number in 0..u32::try_from(rate * length.as_millis() as u64 / 1000).expect("a short time") {
                let at = start + gap * number;
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                if due.send(at).is_err() {
                    return;
                }
            }
        });
        let took = gather(callers).await;
        pace.join().expect("it only sleeps");
        took
    }
}

async fn gather(callers: Vec<tokio::task::JoinHandle<Vec<Duration>>>) -> Vec<Duration> {
    let mut times = Vec::new();
    for caller in callers {
        times.extend(caller.await.expect("a caller"));
    }
    times.sort_unstable();
    times
}

/// The time below which this share of them lies, ms; `times` are in order.
pub fn at(times: &[Duration], share: f64) -> f64 {
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * share) as usize).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// One connection that stays open.
struct Caller {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Caller {
    async fn connect(address: SocketAddr) -> std::io::Result<Caller> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Caller { stream, buffer: vec![0; 16 * 1024] })
    }

    async fn post(&mut self, post: &Post) {
        let status = self.ask(&post.bytes).await;
        let said = String::from_utf8_lossy(&self.buffer[..200]);
        assert_eq!(status, Some(post.status), "{said}");
    }

    /// The status of the answer, once it is there whole; `None` if the connection was closed before.
    async fn ask(&mut self, request: &[u8]) -> Option<u16> {
        self.stream.write_all(request).await.ok()?;
        let mut have = 0;
        loop {
            let got = self.stream.read(&mut self.buffer[have..]).await.ok().filter(|got| *got > 0)?;
            have += got;
            let Some(end) = self.buffer[..have].windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.buffer[..end]).expect("a head in ASCII").to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if have >= end + 4 + length.unwrap_or(0) {
                return head[9..12].parse().ok();
            }
        }
    }
}
