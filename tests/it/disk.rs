//! A disk that is full, and one that fails: what is acknowledged stays, and the rest is told so.
//!
//! The full disk is a real one, a small file system in memory: mounting it takes root. Failing calls are made by strace.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::app::{Answer, App, Remote, eventually, http};

const MB: usize = 1024 * 1024;
/// Two calls with a pause between them, which is longer than the disk is full.
const FLOW: &str = "trigger: {type: request}\nsteps:\n  - {id: one, action: http.request, with: {method: POST, url: URL, json: \
                    {}}}\n  - {id: rest, delay: 700ms}\n  - {id: two, action: http.request, with: {method: POST, url: URL, \
                    json: {}}}\n";

/// A file system of its own, for as long as this lives.
struct Small {
    at: tempfile::TempDir,
}

impl Small {
    fn mounted() -> Option<Small> {
        let at = tempfile::tempdir().unwrap();
        let size = format!("size={}m,mode=700", 96);
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "millstream-test"]).arg(at.path()).output();
        if mounted.is_ok_and(|done| done.status.success()) {
            return Some(Small { at });
        }
        // Around the harness, which would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "\nNOT RUN: a full disk needs `mount`, which this user may not do; run it as root"
        );
        None
    }

    fn fill_path(&self) -> PathBuf {
        self.at.path().join("filler")
    }

    /// Writes until so many bytes are free; with 0 until nothing more can be written.
    fn fill(&self, free: usize) {
        let mut file = fs::File::options().create(true).append(true).open(self.fill_path()).unwrap();
        let block = vec![0xa5; 64 * 1024];
        loop {
            let stat = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(self.at.path()).output().unwrap();
            let told: Vec<usize> =
                String::from_utf8(stat.stdout).unwrap().split_whitespace().map(|n| n.parse().unwrap()).collect();
            let left = told[0] * told[1];
            if free > 0 && left <= free {
                return;
            }
            let wanted = if free > 0 { left - free } else { usize::MAX };
            let mut done = 0;
            while done < wanted {
                match file.write(&block[..block.len().min(wanted - done)]) {
                    Ok(written) => done += written,
                    Err(_) => return,
                }
            }
        }
    }

    fn free(&self) {
        fs::remove_file(self.fill_path()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.at.path()).status();
    }
}

/// Callers at work, and what they were told.
struct Callers<'a> {
    hook: &'a str,
    acknowledged: Mutex<Vec<String>>,
    /// Answers by status.
    told: Mutex<BTreeMap<u16, u64>>,
    lacking: AtomicU64,
}

impl<'a> Callers<'a> {
    fn of(hook: &'a str) -> Callers<'a> {
        Callers { hook, acknowledged: Mutex::default(), told: Mutex::default(), lacking: AtomicU64::new(0) }
    }

    fn ask(&self, public: std::net::SocketAddr, body: &str) -> Option<Answer> {
        let answer = http(public, "POST", self.hook, &[("content-type", "application/json")], body.as_bytes()).ok()?;
        *self.told.lock().unwrap().entry(answer.status).or_default() += 1;
        match answer.status {
            202 => self.acknowledged.lock().unwrap().push(answer.run()),
            503 if answer.header("retry-after").is_none() => drop(self.lacking.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }
        Some(answer)
    }

    fn during<T>(&self, app: &mut App, until: impl FnOnce(&mut App) -> T) -> T {
        let stop = AtomicBool::new(false);
        let public = app.public;
        let body = json!({"n": 1, "much": "x".repeat(8_000)}).to_string();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        if self.ask(public, &body).is_none_or(|answer| answer.status != 202) {
                            std::thread::sleep(Duration::from_millis(5));
                        }
                    }
                });
            }
            // Whatever goes wrong in there, the callers come to an end.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| until(app)));
            stop.store(true, Ordering::Relaxed);
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn count(&self, status: u16) -> u64 {
        self.told.lock().unwrap().get(&status).copied().unwrap_or(0)
    }

    fn must_all_end(&self, app: &App) {
        for run in self.acknowledged.lock().unwrap().iter() {
            let told = app.run_when(run, &["succeeded", "failed", "held", "cancelled", "timed_out"]);
            assert_eq!(told["status"], "succeeded", "{told}");
        }
        assert_eq!(self.lacking.load(Ordering::Relaxed), 0, "503 without Retry-After");
        let strange: Vec<_> =
            self.told.lock().unwrap().keys().copied().filter(|status| ![202, 503].contains(status)).collect();
        assert!(strange.is_empty(), "answers {strange:?}");
    }
}

fn with_flow(remote: &Remote) -> App {
    App::idle(&[("flows/crm.yaml", &FLOW.replace("URL", &remote.url("/")))])
}

#[test]
fn a_full_disk_is_503_and_with_room_again_it_is_served_again_and_nothing_is_lost() {
    let Some(small) = Small::mounted() else { return };
    let remote = Remote::start();
    let mut app = with_flow(&remote);
    fs::create_dir(small.at.path().join("data")).unwrap();
    fs::set_permissions(small.at.path().join("data"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    symlink(small.at.path().join("data"), app.path(".millstream")).unwrap();
    app.start();
    let hook = app.hook("crm");
    let callers = Callers::of(&hook);

    // Twice: down to what is kept in reserve, then to the last byte, against the log and its index.
    for free in [16 * MB, 0] {
        let (refused, taken) = (callers.count(503), callers.count(202));
        callers.during(&mut app, |app| {
            eventually(|| callers.count(202) > taken + 20);
            small.fill(free);
            eventually(|| callers.count(503) > refused + 20);
            // Runs that were let in are due meanwhile.
            std::thread::sleep(Duration::from_millis(1_200));
            assert!(app.has_ended().is_none(), "{}", app.log());
            let taken = callers.count(202);
            let begun = Instant::now();
            small.free();
            eventually(|| callers.count(202) > taken + 5);
            assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?} to serve again", begun.elapsed());
        });
        callers.must_all_end(&app);
    }

    // A process that dies on a full disk, and one that starts there.
    callers.during(&mut app, |app| {
        let refused = callers.count(503);
        small.fill(0);
        eventually(|| callers.count(503) > refused + 5);
        app.signal("-KILL");
    });
    app.kill();
    app.start();
    assert_eq!(callers.ask(app.public, "{}").map(|answer| answer.status), Some(503), "{}", app.log());
    small.free();
    eventually(|| callers.ask(app.public, "{}").is_some_and(|answer| answer.status == 202));
    // Commands find the server, which could not leave word of where it is before.
    eventually(|| app.cli(&["url", "show", "crm"]).status.success());
    callers.must_all_end(&app);

    // A stop in order on a full disk.
    small.fill(0);
    assert!(app.terminate().success(), "{}", app.log());
    small.free();
    app.start();
    callers.must_all_end(&app);
}

/// Starts strace on a process; what it did is in the file.
fn trace(pid: u32, log: &Path, inject: &str) -> std::process::Child {
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-ttt", "-e", "trace=fdatasync,pwrite64", "-e", inject, "-o"])
        .arg(log)
        .args(["-p", &pid.to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace must be installed: this test makes calls fail with it");
    drop(strace.stderr.take());
    strace
}

/// With callers at work the call fails: the process ends within a second, and what was acknowledged is there afterwards.
fn stops_at(inject: &str) {
    let remote = Remote::start();
    let mut app = with_flow(&remote);
    app.start();
    let hook = app.hook("crm");
    let callers = Callers::of(&hook);
    let log = app.path("strace");
    let mut strace = trace(app.pid(), &log, inject);
    let ended = callers.during(&mut app, |app| {
        let begun = Instant::now();
        loop {
            if let Some(ended) = app.has_ended() {
                return (ended, SystemTime::now());
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{inject}: it goes on: {}", app.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let _ = strace.wait();
    assert_eq!(ended.0.code(), Some(1), "{inject}: {}", app.log());
    assert!(app.log().contains("the journal cannot be written"), "{inject}: {}", app.log());
    let seen = fs::read_to_string(&log).unwrap();
    let first = seen.lines().find(|line| line.contains("INJECTED")).expect("a call failed");
    let at: f64 = first.split_whitespace().nth(1).unwrap().parse().unwrap();
    let over = ended.1.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(over - at < 1.0, "{inject}: it went on for {:.3} s", over - at);
    assert_eq!(seen.matches("INJECTED").count(), 1, "{inject}: what failed is never tried again:\n{seen}");

    app.kill();
    app.start();
    assert!(!callers.acknowledged.lock().unwrap().is_empty());
    for run in callers.acknowledged.lock().unwrap().iter() {
        assert_eq!(app.ended(run)["status"], "succeeded");
    }
}

#[test]
fn a_failed_sync_stops_the_process_within_a_second_and_nothing_acknowledged_is_lost() {
    stops_at("inject=fdatasync:error=EIO:when=25+");
}

#[test]
fn a_sync_that_fails_for_want_of_room_is_a_failed_sync_all_the_same() {
    // What was written may be gone from memory, so room that comes later does not help.
    stops_at("inject=fdatasync:error=ENOSPC:when=25+");
}

#[test]
fn a_write_that_fails_but_not_for_want_of_room_stops_the_process_too() {
    stops_at("inject=pwrite64:error=EIO:when=25+");
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named_and_nothing_is_served() {
    // The owner of a folder without the right to write, and no power to do it all the same.
    let without_power = ["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"];
    let mut app = with_flow(&Remote::start());
    app.start();
    app.post("crm", &json!({}));
    assert!(app.terminate().success());
    let mode =
        |path: &Path, mode| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    let data = app.path(".millstream");
    for (folder, data) in [(data.clone(), data.clone()), (data.join("store"), data), (app.path(""), app.path("fresh"))]
    {
        mode(&folder, 0o500);
        let probe = Command::new("setpriv").args(without_power).arg("touch").arg(folder.join("probe")).status();
        let probe = probe.expect("setpriv must be installed: this test gives power away with it");
        assert!(!probe.success(), "the folder can be written all the same: this test cannot be made here");
        let before = content(&app);
        let output = Command::new("timeout")
            .args(["20", "setpriv"])
            .args(without_power)
            .arg(env!("CARGO_BIN_EXE_millstream"))
            .arg("--dir")
            .arg(app.folder.path())
            .arg("--data")
            .arg(&data)
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        mode(&folder, 0o700);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
        let named = if data.exists() { &folder } else { &data }.display().to_string();
        for word in [named.as_str(), "E-STORE-001", "Permission denied", "--data"] {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(content(&app) == before, "something was changed");
    }
    app.start();
    assert_eq!(app.runs("limit=100").len(), 1);
}

/// Every file of the data folder with its bytes, but those that a start may change.
fn content(app: &App) -> BTreeMap<PathBuf, Vec<u8>> {
    let data = app.path(".millstream");
    let folders = [data.clone(), data.join("store")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.is_file() && path.file_name().is_none_or(|name| name != "lock"));
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn a_file_that_cannot_be_read_at_the_start_is_named_and_nothing_is_changed() {
    let mut app = with_flow(&Remote::start());
    app.start();
    let hook = app.hook("crm");
    for _ in 0..5 {
        app.post_to(&hook, "{}");
    }
    app.kill();
    let secret = app.command().args(["secret", "set", "A"]).stdin(Stdio::piped()).spawn().and_then(|mut child| {
        child.stdin.take().unwrap().write_all(b"x")?;
        child.wait()
    });
    assert!(secret.unwrap().success());
    for file in ["store/0000000001.log", "store/index.redb", "generation", "instance.key", "vault.json"] {
        let path = app.path(".millstream").join(file).canonicalize().unwrap();
        let before = content(&app);
        let begun = Instant::now();
        let output = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-P"])
            .arg(&path)
            .args(["-e", "trace=read,pread64", "-e", "inject=read,pread64:error=EIO"])
            .arg(env!("CARGO_BIN_EXE_millstream"))
            .arg("--dir")
            .arg(app.folder.path())
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{file}: {said}");
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(said.contains(&*name) && said.contains("Input/output error"), "{file}: {said}");
        assert!(begun.elapsed() < Duration::from_secs(10));
        let after = content(&app);
        for (path, bytes) in &before {
            // Opening the index marks it as in use; it says nothing that the log does not.
            let same = after.get(path) == Some(bytes) || path.ends_with("index.redb");
            assert!(same, "{file}: {} was changed", path.display());
        }
        assert_eq!(after.len(), before.len(), "{file}");
    }
    app.start();
    assert_eq!(app.runs("limit=100").len(), 5);
}
