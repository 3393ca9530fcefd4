//! A real `millstream serve` in a child process over a folder of its own, and a scripted remote: what stories are made of.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A project folder, and the server over it.
pub struct App {
    pub folder: tempfile::TempDir,
    /// Variables of the environment of every command.
    pub env: Vec<(&'static str, String)>,
    child: Option<Child>,
    pub public: SocketAddr,
    pub admin: SocketAddr,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The run that the request started.
    pub fn run(&self) -> String {
        self.header("x-run-id").unwrap_or_else(|| panic!("no run: {self:?}")).to_owned()
    }
}

impl App {
    /// Starts over a folder with these files. Loopback is allowed, as the remotes are there.
    pub fn with(files: &[(&str, &str)]) -> App {
        let mut app = App::idle(files);
        app.start();
        app
    }

    /// The folder alone; nothing serves yet.
    pub fn idle(files: &[(&str, &str)]) -> App {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let app =
            App { folder: tempfile::tempdir().unwrap(), env: Vec::new(), child: None, public: nowhere, admin: nowhere };
        app.write("millstream.yaml", "outbound: {allow: [127.0.0.0/8]}\n");
        files.iter().for_each(|(name, text)| app.write(name, text));
        app
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file as editors do: beside it, then renamed over it.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let fresh = path.with_extension("tmp-of-editor");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(&fresh, &path).unwrap();
    }

    /// The binary, told of this folder; another build of it where `MILLSTREAM_PROGRAM` names one.
    pub fn command(&self) -> Command {
        let own = || env!("CARGO_BIN_EXE_millstream").into();
        let mut command = Command::new(std::env::var_os("MILLSTREAM_PROGRAM").unwrap_or_else(own));
        command.arg("--dir").arg(self.folder.path()).env("MILLSTREAM_LOG", "warn,millstream=debug");
        command.envs(self.env.iter().cloned());
        command
    }

    /// Puts a secret into the vault.
    pub fn keep_secret(&self, name: &str, value: &str) {
        let mut child = self.command().args(["secret", "set", name]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Starts the server and waits until it lets requests in.
    pub fn start(&mut self) {
        let command = self.command();
        self.start_by(command);
    }

    /// As [`App::start`], by a command that is the binary, or becomes it.
    pub fn start_by(&mut self, command: Command) {
        self.launch_by(command);
        assert!(self.is_up(), "it did not start: {}", self.log());
    }

    /// Starts the server, and does not wait for it.
    pub fn launch(&mut self) {
        let command = self.command();
        self.launch_by(command);
    }

    fn launch_by(&mut self, mut command: Command) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        self.child = Some(command.stdout(Stdio::piped()).stderr(log).spawn().unwrap());
    }

    /// Waits until the server lets requests in; false if it ends before that.
    pub fn is_up(&mut self) -> bool {
        let stdout = self.child.as_mut().expect("it runs").stdout.take().unwrap();
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let Ok(told) = serde_json::from_str::<Value>(&line) else { return false };
        let address = |key: &str| {
            let url = told[key].as_str().unwrap();
            url.split("://").nth(1).unwrap().parse().unwrap()
        };
        (self.public, self.admin) = (address("public"), address("admin"));
        true
    }

    /// How the server ended by itself; `None` while it runs.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().expect("it runs").try_wait().unwrap()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("-TERM");
        self.child.take().expect("it runs").wait().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Runs a command on the same folder.
    pub fn cli(&self, args: &[&str]) -> Output {
        self.command().args(args).stdin(Stdio::null()).output().unwrap()
    }

    /// As [`App::cli`], with `--json`, read back.
    pub fn cli_json(&self, args: &[&str]) -> Value {
        let output = self.cli(&[args, &["--json"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{args:?}: {error}: {text}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Path of the flow's URL.
    pub fn hook(&self, flow: &str) -> String {
        let url = self.api("GET", &format!("/flows/{flow}/url"), None).json();
        let url = url["url"].as_str().unwrap_or_else(|| panic!("no URL of {flow}: {}", self.log())).to_owned();
        url[url.find("/hooks/").unwrap()..].to_owned()
    }

    /// Posts to a path of the public listener.
    pub fn post_to(&self, path: &str, body: &str) -> Answer {
        http(self.public, "POST", path, &[("content-type", "application/json")], body.as_bytes()).unwrap()
    }

    /// Posts to a flow's URL.
    pub fn post(&self, flow: &str, body: &Value) -> Answer {
        self.post_to(&self.hook(flow), &body.to_string())
    }

    pub fn token(&self) -> String {
        std::fs::read_to_string(self.path(".millstream/admin.token")).unwrap()
    }

    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.api_as(&self.token(), method, path, body)
    }

    /// The same with another token.
    pub fn api_as(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = body.map(Value::to_string).unwrap_or_default();
        http(self.admin, method, &format!("/api/v1{path}"), &headers, body.as_bytes()).unwrap()
    }

    /// One number of `/metrics`.
    pub fn metric(&self, name: &str) -> u64 {
        let text = http(self.admin, "GET", "/metrics", &[], b"").unwrap().text;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// Memory of the process by proc(5), KB: `VmRSS` now, `VmHWM` at most.
    pub fn memory(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        line.unwrap().split_whitespace().next().unwrap().parse().unwrap()
    }

    /// CPU time of the process, all threads (proc(5); a tick is 10 ms).
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let rest = stat.rsplit(')').next().unwrap();
        let ticks: u64 = rest.split_whitespace().skip(11).take(2).map(|text| text.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// The run as the API tells it.
    pub fn run(&self, run: &str) -> Value {
        self.api("GET", &format!("/runs/{run}"), None).json()
    }

    /// The run once it is in one of these statuses.
    pub fn run_when(&self, run: &str, statuses: &[&str]) -> Value {
        let mut last = Value::Null;
        eventually(|| {
            last = self.run(run);
            statuses.contains(&last["status"].as_str().unwrap_or_default())
        });
        last
    }

    /// The run once it has ended.
    pub fn ended(&self, run: &str) -> Value {
        self.run_when(run, &["succeeded", "failed", "cancelled", "timed_out"])
    }

    /// Every run of a flow, newest first.
    pub fn runs(&self, query: &str) -> Vec<Value> {
        self.api("GET", &format!("/runs?{query}"), None).json()["runs"].as_array().unwrap().clone()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// A run's history, a line a fact: attempts, ends of steps, the end of the run.
pub fn told(run: &Value) -> String {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let mut lines = Vec::new();
    for step in run["steps"].as_array().into_iter().flatten() {
        for attempt in step["attempts"].as_array().into_iter().flatten() {
            let line = format!(
                "{} #{} {} {}",
                text(step, "id"),
                attempt["attempt"],
                text(attempt, "status"),
                text(&attempt["error"], "code")
            );
            lines.push(line.trim_end().to_owned());
        }
        if step["attempts"].is_null() {
            lines.push(format!("{} {}", text(step, "id"), text(step, "status")));
        }
    }
    lines.push(text(run, "status"));
    lines.join("\n")
}

/// Waits for a condition, never for a duration.
pub fn eventually(mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "it did not come to be");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One HTTP/1.1 exchange on a connection of its own.
pub fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, rest) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or(std::io::ErrorKind::InvalidData)?;
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.into(), value.into())).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    if length.is_some_and(|length: usize| length > rest.len()) {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Answer { status, headers, text: rest.to_owned() })
}

/// One request that a [`Remote`] saw.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub at: Instant,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What a [`Remote`] answers.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// How long it takes to answer.
    pub after: Duration,
}

impl From<u16> for Reply {
    fn from(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: json!({"ok": status < 300}).to_string(), after: Duration::ZERO }
    }
}

/// An HTTP server that answers by script and remembers what it saw.
pub struct Remote {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<VecDeque<Reply>>>,
}

/// Decides on the answer to a request.
type Judge = dyn Fn(Seen) -> Reply + Send + Sync;

impl Remote {
    /// Answers 200 until told otherwise.
    pub fn start() -> Remote {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let script = Arc::<Mutex<VecDeque<Reply>>>::default();
        let (keep, answers) = (seen.clone(), script.clone());
        let address = Remote::judged(move |request| {
            let reply = answers.lock().unwrap().pop_front().unwrap_or_else(|| Reply::from(200));
            keep.lock().unwrap().push(request);
            reply
        });
        Remote { address, seen, script }
    }

    /// A server whose answers, and all that is remembered, are up to `judge`.
    pub fn judged(judge: impl Fn(Seen) -> Reply + Send + Sync + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let judge: Arc<Judge> = Arc::new(judge);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let judge = judge.clone();
                std::thread::spawn(move || converse(stream, &*judge));
            }
        });
        address
    }

    /// The next answers, in order; after them 200 again.
    pub fn answers<R: Into<Reply>>(&self, replies: impl IntoIterator<Item = R>) {
        self.script.lock().unwrap().extend(replies.into_iter().map(Into::into));
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn converse(stream: TcpStream, judge: &Judge) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let mut parts = line.split_whitespace().map(str::to_owned);
        let path = parts.nth(1)?;
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
        let body = String::from_utf8_lossy(&body).into_owned();
        let reply = judge(Seen { path, headers, body, at: Instant::now() });
        std::thread::sleep(reply.after);
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
        if !reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            head.push_str("content-type: application/json\r\n");
        }
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let answer = format!("{head}content-length: {}\r\n\r\n{}", reply.body.len(), reply.body);
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

/// The repository's own file.
pub fn repository(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
