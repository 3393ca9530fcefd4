//! A real `millstream serve` in a process of its own, for benches that measure it from outside.

#![allow(dead_code, reason = "each bench asks for what it needs")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary that is measured: the one built with the bench, or another one that `MILLSTREAM_BINARY` names.
pub fn binary() -> OsString {
    std::env::var_os("MILLSTREAM_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_millstream").into())
}

/// Stopped when it is dropped.
pub struct Server {
    child: Child,
    pub public: SocketAddr,
    pub admin: SocketAddr,
    /// From its start to when it served.
    pub started_in: Duration,
}

impl Server {
    pub fn start(folder: &Path) -> Server {
        let mut command = Command::new(binary());
        command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--dir"]).arg(folder);
        Server::begin(command.env("MILLSTREAM_LOG", "warn"))
    }

    /// Any server whose first line says where it listens, as `serve --json` does.
    pub fn begin(command: &mut Command) -> Server {
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("its first line");
        let told: Value = serde_json::from_str(&line).expect("JSON");
        let address = |key: &str| {
            let url = told[key].as_str().unwrap_or("http://127.0.0.1:0");
            url.trim_start_matches("http://").parse().expect("an address")
        };
        Server { public: address("public"), admin: address("admin"), child, started_in: begun.elapsed() }
    }

    /// Any server at a known address; it serves once it answers there.
    pub fn at(command: &mut Command, public: SocketAddr) -> Server {
        let begun = Instant::now();
        let child = command.spawn().expect("a process");
        let mut server = Server { public, admin: public, child, started_in: Duration::ZERO };
        while !server.answers() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        server.started_in = begun.elapsed();
        server
    }

    /// True if it knows anything of `/accept`, whatever it says.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.public) else { return false };
        let request = "POST /accept HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let mut text = String::new();
        let asked = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut text));
        asked.is_ok() && text.starts_with("HTTP/1.1 2")
    }

    /// The path of a flow's URL.
    pub fn hook(&self, folder: &Path, flow: &str) -> String {
        let show = ["url", "show", flow, "--json", "--dir"];
        let output = Command::new(binary()).args(show).arg(folder).output().expect("the URL");
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let url = told["url"].as_str().expect("a URL");
        url[url.find("/hooks/").expect("a path")..].to_owned()
    }

    /// Posts these bodies one after the other over one connection.
    pub fn post(&self, path: &str, bodies: impl Iterator<Item = String>) {
        let mut stream = TcpStream::connect(self.public).expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        let mut buffer = vec![0; 16 * 1024];
        for body in bodies {
            let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
            let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(request.as_bytes()).expect("sent");
            let mut have = 0;
            // The answer's body is one JSON object, and it is the last of what comes.
            while !buffer[..have].ends_with(b"}") {
                let got = stream.read(&mut buffer[have..]).expect("an answer");
                assert!(got > 0, "the server closed the connection");
                have += got;
            }
            assert!(buffer.starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(&buffer[..have]));
        }
    }

    pub fn get(&self, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text.split_once("\r\n\r\n").expect("a body").1.to_owned()
    }

    pub fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics", "");
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no {name}"))
    }

    /// User and system time of the process, all threads (proc(5), /proc/pid/stat; a tick is 10 ms).
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("its accounting");
        let rest = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = rest.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Bytes sent to storage (proc(5), /proc/pid/io).
    pub fn written(&self) -> u64 {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.child.id())).unwrap_or_default();
        io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap_or(0)
    }

    /// Resident memory, MB (proc(5)): now.
    pub fn memory(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// The same, at most since the start.
    pub fn peak(&self) -> f64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
