//! kill -9 at each step of changing a key: afterwards the old key is good or the new one, never neither, and nothing is
//! unreadable. strace kills whoever comes to the n-th call of those that change a file.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::process::{Child, Command, Stdio};

use millstream::engine::InstanceKey;
use millstream::vault::{Master, Vault};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::app::{App, Remote, eventually};

/// Calls that change a file.
const CHANGES: [&str; 6] = ["openat", "unlink", "write", "fsync", "rename", "pwrite64"];
/// More than any of these changes makes of one call.
const MOST: usize = 12;
const NOTE: &str = "trigger: {type: request}\nsteps:\n  - {id: note, set: {a: 1}}\n";

/// strace that kills at the n-th of a call, each thread counting its own.
fn strace(calls: &str, time: usize) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={calls}"));
    command.args(["-e", &format!("inject={calls}:signal=KILL:when={time}")]);
    command
}

/// Does it at the first, the second, … of each call, until it is not killed any more.
fn at_each_of(calls: &[&str], mut killed: impl FnMut(&str, usize) -> bool) {
    for call in calls {
        assert!((1..MOST).any(|time| !killed(call, time)), "it was killed at each {call}");
    }
}

/// On a running server, all of its threads.
fn attached(app: &App, mut strace: Command) -> Child {
    let strace = strace.args(["-p", &app.pid().to_string()]).stderr(Stdio::null()).spawn();
    let strace = strace.expect("strace must be installed: this test kills with it");
    eventually(|| {
        let mut tasks = std::fs::read_dir(format!("/proc/{}/task", app.pid())).unwrap();
        tasks.all(|task| {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default();
            status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"))
        })
    });
    strace
}

/// Ends strace, and starts the server again where it was killed before it had `told` of the end.
fn went_down(app: &mut App, mut strace: Child, told: bool) -> bool {
    if !told {
        eventually(|| app.has_ended().is_some());
    }
    // Killed, it lets go of who lives; asked to end, it would wait for threads that are no more.
    strace.kill().unwrap();
    strace.wait().unwrap();
    if !told {
        app.kill();
        app.start();
    }
    !told
}

#[test]
fn a_url_that_is_rotated_when_the_server_is_killed_is_the_old_one_or_the_new_one() {
    let mut app = App::with(&[("flows/note.yaml", NOTE)]);
    let mut seen = [0, 0];
    at_each_of(&["pwrite64", "fdatasync", "fsync", "rename"], |call, time| {
        let old = app.hook("note");
        let strace = attached(&app, strace(call, time));
        let told = app.cli(&["url", "rotate", "note"]).status.success();
        let down = went_down(&mut app, strace, told);
        let new = app.hook("note");
        assert_eq!(app.post_to(&new, "{}").status, 202, "at {call} {time} no URL is good: {}", app.log());
        let rotated = new != old;
        assert!(rotated || down, "at {call} {time} what was told was lost");
        if rotated {
            assert_eq!(app.post_to(&old, "{}").status, 404, "at {call} {time}");
        }
        seen[usize::from(rotated)] += usize::from(down);
        down
    });
    assert!(seen[0] > 0 && seen[1] > 0, "it was not killed before and after it counted: {seen:?}");
}

#[test]
fn secrets_whose_key_is_changed_when_the_server_is_killed_can_be_read_and_changed() {
    let remote = Remote::start();
    let connections = format!(
        "crm: {{connector: http, settings: {{base_url: \"{}\"}}, credentials: {{token: {{secret: CRM}}}}}}\n",
        remote.url("")
    );
    let flow =
        "trigger: {type: request}\nsteps:\n  - {id: call, action: http.request, connection: crm, with: {url: /x}}\n";
    let mut app = App::idle(&[("connections.yaml", &connections), ("flows/call.yaml", flow)]);
    app.keep_secret("CRM", "canary-4711");
    app.start();
    let mut killed = 0;
    at_each_of(&CHANGES, |call, time| {
        let mut strace = strace(call, time);
        for file in ["vault.json", "vault.json.new"] {
            strace.arg("-P").arg(app.path(".millstream").canonicalize().unwrap().join(file));
        }
        let strace = attached(&app, strace);
        let told = app.cli(&["secret", "rotate-key"]).status.success();
        let down = went_down(&mut app, strace, told);
        let run = app.ended(&app.post("call", &json!({})).run());
        assert_eq!(run["status"], "succeeded", "at {call} {time}: {run}");
        let sent = remote.seen().last().unwrap().header("authorization").map(str::to_owned);
        assert_eq!(sent.as_deref(), Some("Bearer canary-4711"), "at {call} {time}");
        killed += usize::from(down);
        down
    });
    assert!(killed > 5, "it was killed at {killed} steps");
    app.keep_secret("MORE", "x");
    let names = String::from_utf8(app.cli(&["secret", "list"]).stdout).unwrap();
    assert_eq!(names.lines().collect::<Vec<_>>(), ["CRM", "MORE"]);
}

/// The secret as whoever has these keys reads it, the first being the one that is meant.
fn read(app: &App, keys: &[&str]) -> Option<String> {
    let data = app.path(".millstream");
    let instance = InstanceKey::open(&data).unwrap();
    let own =
        keys.iter().map(|key| Master::new(std::fs::read_to_string(app.path(key)).unwrap().trim().as_bytes(), *key));
    let masters = own.chain([Master::new(instance.expose(), "the instance key")]).collect();
    let vault = Vault::open_under(&data, masters).unwrap();
    vault.get("CRM").ok().flatten().map(|value| value.expose_secret().to_owned())
}

#[test]
fn a_vault_that_moves_to_another_key_is_under_one_of_both_wherever_the_command_is_killed() {
    let config = |key: &str| format!("outbound: {{allow: [127.0.0.0/8]}}\nvault: {{key: {{file: {key}}}}}\n");
    let app = App::idle(&[
        ("a.key", &"a".repeat(64)),
        ("b.key", &"b".repeat(64)),
        ("millstream.yaml", &config("a.key")),
        ("flows/note.yaml", NOTE),
    ]);
    app.keep_secret("CRM", "canary-4711");
    let (mut from, mut to) = ("a.key", "b.key");
    let mut killed = [0, 0];
    let data = app.path(".millstream").canonicalize().unwrap();
    at_each_of(&CHANGES, |call, time| {
        app.write("millstream.yaml", &config(to));
        let mut command = strace(call, time);
        for file in ["vault.json", "vault.json.new"] {
            command.arg("-P").arg(data.join(file));
        }
        let rotate = |mut command: Command| {
            command
                .args(["secret", "rotate-key", "--old-key"])
                .arg(app.path(from))
                .stdin(Stdio::null())
                .output()
                .unwrap()
        };
        command.arg(env!("CARGO_BIN_EXE_millstream")).arg("--dir").arg(app.folder.path());
        let done = rotate(command).status.success();
        let moved = read(&app, &[to]).is_some();
        let keys: &[&str] = if moved { &[to] } else { &[from] };
        assert_eq!(read(&app, keys).as_deref(), Some("canary-4711"), "at {call} {time} neither key is good");
        assert!(moved || !done, "at {call} {time} what was told was lost");
        // The same command again brings it to its end.
        let again = rotate(app.command());
        assert!(again.status.success(), "at {call} {time}: {again:?}");
        assert_eq!(read(&app, &[to]).as_deref(), Some("canary-4711"));
        assert_eq!(read(&app, &[from]), None, "at {call} {time} the old key is of no use any more");
        killed[usize::from(moved)] += usize::from(!done);
        std::mem::swap(&mut from, &mut to);
        !done
    });
    assert!(killed[0] > 3 && killed[1] > 0, "it was not killed before and after it counted: {killed:?}");
    assert!(!data.join("vault.json.new").exists());
}
