//! A target that fails as a test says: it resets, falls silent, drips, never ends, or speaks nonsense.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::app::Seen;

/// An HTTP server with one request a connection, each answered by the test's own code.
pub struct Faulty {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    sent: AtomicU64,
}

/// A connection whose request was read, or not yet.
pub struct Line {
    stream: TcpStream,
    state: Arc<State>,
    /// Which connection it is, from 1.
    pub number: usize,
}

impl Faulty {
    /// Each connection is given to `serve` in a thread of its own, and closed when that returns.
    pub fn start(serve: impl Fn(Line) + Send + Sync + 'static) -> Faulty {
        Faulty::at(TcpListener::bind("127.0.0.1:0").unwrap(), serve)
    }

    pub fn at(listener: TcpListener, serve: impl Fn(Line) + Send + Sync + 'static) -> Faulty {
        let faulty = Faulty { address: listener.local_addr().unwrap(), state: Arc::default() };
        let (state, serve) = (faulty.state.clone(), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = state.connections.fetch_add(1, Ordering::SeqCst) + 1;
                let (line, serve) = (Line { stream, state: state.clone(), number }, serve.clone());
                std::thread::spawn(move || serve(line));
            }
        });
        faulty
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Requests that were read whole.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Bytes that the other side took, or that lie in the kernel's buffers.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }

    /// Every idempotency key that came, in order.
    pub fn keys(&self) -> Vec<String> {
        self.seen().iter().filter_map(|seen| Some(seen.header("idempotency-key")?.to_owned())).collect()
    }
}

impl Line {
    /// Reads the request and remembers it.
    pub fn request(&mut self) -> Option<Seen> {
        let mut reader = BufReader::new(&self.stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let path = line.split_whitespace().nth(1)?.to_owned();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let mut body = vec![0; length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)];
        reader.read_exact(&mut body).ok()?;
        let seen = Seen { path, headers, body: String::from_utf8_lossy(&body).into_owned(), at: Instant::now() };
        self.state.seen.lock().unwrap().push(seen.clone());
        Some(seen)
    }

    /// Breaks off after the request was sent and before it was read: what is unread makes the kernel reset it.
    pub fn reset(self) {
        let _ = self.stream.peek(&mut [0]);
    }

    /// Says nothing until the other side hangs up.
    pub fn silence(mut self) {
        self.stream.set_read_timeout(None).unwrap();
        while self.stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
    }

    /// False once the other side has hung up.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        let written = self.stream.write_all(bytes).is_ok();
        if written {
            self.state.sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        }
        written
    }

    /// A whole answer; `headers` are lines that end with `\r\n`.
    pub fn answer(&mut self, status: u16, headers: &str, body: &[u8]) {
        let head = format!("HTTP/1.1 {status} Faulty\r\nconnection: close\r\n{headers}");
        self.write(&[format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat());
    }

    pub fn ok(&mut self) {
        self.answer(200, "content-type: application/json\r\n", b"{}");
    }

    /// `head`, then one more byte again and again, as long as somebody listens.
    pub fn drip(mut self, head: &str, drop: &[u8]) {
        let mut open = self.write(head.as_bytes());
        while open {
            std::thread::sleep(Duration::from_millis(20));
            open = self.write(drop);
        }
    }

    /// `head`, then `size` bytes as fast as they are taken.
    pub fn pour(mut self, head: &str, size: u64) {
        let block = vec![b'x'; 64 * 1024];
        let mut left = if self.write(head.as_bytes()) { size } else { 0 };
        while left > 0 {
            let part = left.min(block.len() as u64);
            if !self.write(&block[..part as usize]) {
                return;
            }
            left -= part;
        }
    }
}
