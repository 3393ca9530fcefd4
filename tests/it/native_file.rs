//! `file` on real folders: nothing leads out, writes are whole, appends happen once.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use millstream::connector::{Class, Connection, Connectors, Failure};
use millstream::outbound::{Call, Outbound, Secrets};
use millstream::vault::Vault;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{App, eventually};
use crate::remote::{KEY, connection, outbound, perform, verdict};

struct Place {
    dir: tempfile::TempDir,
    outbound: Outbound,
    connection: Arc<Connection>,
}

impl Place {
    fn with(settings: Value) -> Place {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("out")).unwrap();
        std::fs::write(dir.path().join("secret"), "not for steps").unwrap();
        let connection = Arc::new(connection(dir.path(), "file", settings, &[]));
        Place { dir, outbound: outbound(), connection }
    }

    fn new() -> Place {
        Place::with(json!({"folder": "out"}))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("out").join(name)
    }

    fn content(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    async fn run(&self, action: &str, input: Value) -> Result<Value, Failure> {
        self.run_as(KEY, action, input).await
    }

    async fn run_as(&self, key: Uuid, action: &str, input: Value) -> Result<Value, Failure> {
        let connectors = Connectors::shipped();
        let (connector, _) = connectors.action(&format!("file.{action}")).unwrap();
        let connection = Some(&self.connection);
        let (timeout, output_limit) = (None, 100_000);
        let call = Call { flow: "test", connector, action, connection, input: &input, key, timeout, output_limit };
        self.outbound.perform(call).await
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_is_written_whole_read_back_and_written_again_without_harm() {
    let place = Place::new();
    let write = json!({"path": "leads/2026/a.txt", "content": "Grüße"});
    assert_eq!(
        place.run("write", write.clone()).await.unwrap(),
        json!({"path": "leads/2026/a.txt", "size": 7, "changed": true})
    );
    assert_eq!(place.run("write", write).await.unwrap()["changed"], false);
    assert_eq!(names(&place.path("leads/2026")), ["a.txt"], "nothing is left beside it");
    let read = place.run("read", json!({"path": "leads/2026/a.txt"})).await.unwrap();
    assert_eq!((&read["content"], &read["size"]), (&json!("Grüße"), &json!(7)));
    place.run("write", json!({"path": "b.bin", "base64": "AAEC/w=="})).await.unwrap();
    assert_eq!(place.run("read", json!({"path": "./b.bin", "as": "base64"})).await.unwrap()["base64"], "AAEC/w==");
    assert_eq!(verdict(&place.run("read", json!({"path": "b.bin"})).await), "Permanent file.input", "no text");
    let other = json!({"path": "b.bin", "content": "x", "overwrite": false});
    assert_eq!(verdict(&place.run("write", other).await), "Permanent file.exists");
    assert_eq!(
        place.run("write", json!({"path": "c", "content": "", "overwrite": false})).await.unwrap()["changed"],
        true
    );
    assert_eq!(verdict(&place.run("write", json!({"path": "c"})).await), "Permanent file.input");
    assert_eq!(verdict(&place.run("read", json!({"path": "none"})).await), "Permanent file.missing");
    let no_folder = json!({"path": "none/x", "content": "", "make_folders": false});
    assert_eq!(verdict(&place.run("write", no_folder).await), "Permanent file.missing");
}

#[tokio::test]
async fn no_path_leads_out_of_the_folder() {
    let place = Place::new();
    symlink("../secret", place.path("link")).unwrap();
    symlink("..", place.path("up")).unwrap();
    symlink(place.dir.path(), place.path("absolute")).unwrap();
    symlink("nowhere", place.path("dangling")).unwrap();
    assert!(Command::new("mkfifo").arg(place.path("pipe")).status().unwrap().success());
    std::fs::create_dir(place.path("folder")).unwrap();
    for path in [
        "../secret",
        "folder/../../secret",
        "/etc/passwd",
        "link",
        "up/secret",
        "up/out/x",
        "absolute/secret",
        "dangling",
        "pipe",
        "folder",
        "..",
        ".",
        "folder/..",
        ".millstream/instance.key",
        ".millstream-write-x",
        "a\0b",
        "link/x",
        "folder/",
    ] {
        for (action, input) in [
            ("read", json!({"path": path})),
            ("write", json!({"path": path, "content": "x"})),
            ("append", json!({"path": path, "content": "x"})),
            ("move", json!({"from": path, "to": "stolen"})),
        ] {
            let result = place.run(action, input).await;
            assert_eq!(verdict(&result), "Permanent file.path", "{action} {path:?}");
        }
    }
    for path in ["..", "up", "absolute", "/", "link"] {
        assert_eq!(verdict(&place.run("list", json!({"path": path})).await), "Permanent file.path", "list {path}");
    }
    std::fs::write(place.path("own"), "x").unwrap();
    for to in ["../own", "up/own", "absolute/own"] {
        assert_eq!(verdict(&place.run("move", json!({"from": "own", "to": to})).await), "Permanent file.path", "{to}");
        assert_eq!(verdict(&place.run("delete", json!({"path": to})).await), "Permanent file.path", "{to}");
    }
    assert_eq!(verdict(&place.run("delete", json!({"path": "folder"})).await), "Permanent file.path");
    // A link itself can be removed, and what it leads to stays.
    assert_eq!(place.run("delete", json!({"path": "link"})).await.unwrap(), json!({"deleted": true}));
    assert_eq!(std::fs::read_to_string(place.dir.path().join("secret")).unwrap(), "not for steps");
    assert_eq!(names(place.dir.path()), ["out", "secret"]);
}

#[tokio::test]
async fn a_repeated_append_adds_nothing_and_others_go_between() {
    let place = Place::new();
    let append = |text: &str| json!({"path": "log.txt", "content": text});
    let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert_eq!(
        place.run_as(a, "append", append("one\n")).await.unwrap(),
        json!({"path": "log.txt", "size": 4, "changed": true})
    );
    assert_eq!(place.run_as(b, "append", append("two\n")).await.unwrap()["changed"], true);
    assert_eq!(
        place.run_as(a, "append", append("one\n")).await.unwrap(),
        json!({"path": "log.txt", "size": 8, "changed": false})
    );
    assert_eq!(place.content("log.txt"), "one\ntwo\n");
    // What a crash cut off is taken back, and its own repeat adds all of it.
    std::fs::write(place.path("log.txt"), "one\ntw").unwrap();
    place.run_as(Uuid::from_u128(3), "append", append("three\n")).await.unwrap();
    place.run_as(b, "append", append("two\n")).await.unwrap();
    assert_eq!(place.content("log.txt"), "one\nthree\ntwo\n");
    // What others put where a crash kept a call from writing is theirs.
    std::fs::write(place.path("log.txt"), "one\nthree\nzz").unwrap();
    place.run_as(Uuid::from_u128(4), "append", append("four\n")).await.unwrap();
    assert_eq!(place.content("log.txt"), "one\nthree\nzzfour\n");
    // A log that was rotated is another file, of which nothing is known.
    std::fs::rename(place.path("log.txt"), place.path("log.1")).unwrap();
    std::fs::write(place.path("log.txt"), "new\n").unwrap();
    assert_eq!(place.run_as(a, "append", append("one\n")).await.unwrap()["changed"], true);
    assert_eq!(place.content("log.txt"), "new\none\n");
    let listed = place.run("list", json!({})).await.unwrap();
    let listed: Vec<&str> =
        listed["entries"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(listed, ["log.1", "log.txt"], "what the connector keeps for itself is not shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_at_once_are_each_whole() {
    let place = Arc::new(Place::new());
    let mut calls = tokio::task::JoinSet::new();
    for index in 0..20u128 {
        let place = place.clone();
        calls.spawn(async move {
            for _ in 0..2 {
                let input = json!({"path": "log.txt", "content": format!("{index:04}\n")});
                place.run_as(Uuid::from_u128(index), "append", input).await.unwrap();
            }
        });
    }
    calls.join_all().await;
    let content = place.content("log.txt");
    let mut lines: Vec<&str> = content.lines().collect();
    lines.sort_unstable();
    let expected: Vec<String> = (0..20).map(|index| format!("{index:04}")).collect();
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn files_are_listed_moved_and_deleted_and_a_repeat_finds_it_done() {
    let place = Place::new();
    for name in ["b.csv", "a.csv", "c.txt"] {
        place.run("write", json!({"path": format!("in/{name}"), "content": name})).await.unwrap();
    }
    let listed = place.run("list", json!({"path": "in", "ending": ".csv", "max": 1})).await.unwrap();
    assert_eq!(
        (&listed["entries"][0]["path"], &listed["entries"][0]["type"], &listed["more"]),
        (&json!("in/a.csv"), &json!("file"), &json!(true))
    );
    let all = place.run("list", json!({})).await.unwrap();
    assert_eq!((&all["entries"][0]["name"], &all["entries"][0]["type"]), (&json!("in"), &json!("folder")));
    let moving = json!({"from": "in/a.csv", "to": "done/a.csv"});
    assert_eq!(place.run("move", moving.clone()).await.unwrap(), json!({"path": "done/a.csv", "moved": true}));
    assert_eq!(place.run("move", moving).await.unwrap(), json!({"path": "done/a.csv", "moved": false}));
    assert_eq!(
        verdict(&place.run("move", json!({"from": "in/b.csv", "to": "done/a.csv"})).await),
        "Permanent file.exists"
    );
    let over = json!({"from": "in/b.csv", "to": "done/a.csv", "overwrite": true});
    assert_eq!(place.run("move", over).await.unwrap()["moved"], true);
    assert_eq!(place.content("done/a.csv"), "b.csv");
    assert_eq!(verdict(&place.run("move", json!({"from": "x", "to": "y"})).await), "Permanent file.missing");
    for deleted in [true, false] {
        assert_eq!(place.run("delete", json!({"path": "in/c.txt"})).await.unwrap(), json!({"deleted": deleted}));
    }
}

#[tokio::test]
async fn what_the_connection_forbids_and_what_is_too_large_is_refused() {
    let place = Place::with(json!({"folder": "out", "read_only": true}));
    std::fs::write(place.path("big"), vec![b'x'; 100_001]).unwrap();
    assert_eq!(verdict(&place.run("read", json!({"path": "big"})).await), "Permanent file.too_large");
    assert!(place.run("list", json!({})).await.is_ok());
    for (action, input) in [("write", json!({"path": "x", "content": ""})), ("delete", json!({"path": "big"}))] {
        assert_eq!(verdict(&place.run(action, input).await), "Held file.denied", "{action}");
    }
    let place = Place::with(json!({"folder": "out", "max_bytes": 3}));
    assert!(place.run("write", json!({"path": "x", "content": "123"})).await.is_ok());
    for action in ["write", "append"] {
        assert_eq!(
            verdict(&place.run(action, json!({"path": "x", "content": "1234"})).await),
            "Permanent file.too_large"
        );
    }
    assert_eq!(place.content("x"), "123");
    for folder in ["nowhere", "secret", "out/.millstream"] {
        let place = Place::with(json!({"folder": folder}));
        std::fs::create_dir(place.path(".millstream")).unwrap();
        let result = place.run("list", json!({})).await;
        assert_eq!(verdict(&result), "Held file.folder", "{folder}");
        assert_eq!(result.unwrap_err().class, Class::Held);
    }
}

#[cfg(feature = "crash-points")]
#[test]
fn a_server_that_dies_before_or_after_an_append_leaves_one_line() {
    let connections = "log: {connector: file, settings: {folder: out}}\n";
    let flow = "trigger: {type: request}\nsteps:\n  - {id: add, action: file.append, connection: log, with: {path: log.txt, content: \"one\\n\"}}\n";
    for (place, written) in [("outbound.call.before", false), ("outbound.call.after", true)] {
        let mut app = App::idle(&[("connections.yaml", connections), ("flows/add.yaml", flow)]);
        std::fs::create_dir(app.path("out")).unwrap();
        app.env.push(("MILLSTREAM_CRASH", format!("{place}:1")));
        app.start();
        let run = app.post("add", &json!({})).run();
        eventually(|| app.has_ended().is_some());
        assert_eq!(app.path("out/log.txt").exists(), written, "{place}");
        app.kill();
        app.env.retain(|(name, _)| *name != "MILLSTREAM_CRASH");
        app.start();
        assert_eq!(app.ended(&run)["status"], "succeeded");
        assert_eq!(std::fs::read_to_string(app.path("out/log.txt")).unwrap(), "one\n", "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_waits_for_the_attempt_that_still_writes_and_what_it_left_is_not_put_into_place() {
    // Given an attempt that ended by its timeout, and is in the middle of its bytes still.
    let place = Place::new();
    let fresh = place.path(&format!(".millstream-write-{}", KEY.simple()));
    std::fs::write(&fresh, "ha").unwrap();
    let writing = std::fs::File::open(&fresh).unwrap();
    rustix::fs::flock(&writing, rustix::fs::FlockOperation::LockExclusive).unwrap();
    // When it is repeated, then nothing is put into place while the first one writes.
    let input = json!({"path": "a.txt", "content": "whole"});
    let connectors = Connectors::shipped();
    let (connector, _) = connectors.action("file.write").unwrap();
    let (action, connection, timeout) = ("write", Some(&place.connection), Some(std::time::Duration::from_millis(200)));
    let (key, output_limit) = (KEY, 1000);
    let call = Call { flow: "test", connector, action, connection, input: &input, key, timeout, output_limit };
    assert_eq!(verdict(&place.outbound.perform(call).await), "Unknown outbound.timeout");
    assert!(!place.path("a.txt").exists());
    // And once it has ended, the next attempt writes all of it.
    drop(writing);
    place.run("write", input).await.unwrap();
    assert_eq!(place.content("a.txt"), "whole");
    eventually(|| names(&place.path("")) == ["a.txt"]);
    // One that died between a new file's two names left both: the file is not written over by its other name.
    std::fs::hard_link(place.path("a.txt"), &fresh).unwrap();
    place.run("write", json!({"path": "b.txt", "content": "another"})).await.unwrap();
    assert_eq!((place.content("a.txt"), place.content("b.txt")), ("whole".into(), "another".into()));
}

#[tokio::test]
async fn the_data_folder_is_out_of_reach_whatever_it_is_called() {
    // Given a data folder within, above and beside the folder of the connection.
    let place = Place::new();
    std::fs::create_dir_all(place.path("state/inner")).unwrap();
    std::fs::write(place.path("state/instance.key"), "key").unwrap();
    let vault = Vault::open(&place.path("state"), b"key").unwrap();
    let config = millstream::config::Outbound::default();
    let own = Outbound::new(&config, Secrets::new(Some(Arc::new(vault)))).unwrap();
    let run = async |folder: &str, action: &str, input: Value| {
        let connection = Arc::new(connection(place.dir.path(), "file", json!({"folder": folder}), &[]));
        verdict(&perform(&own, &Connectors::shipped(), &format!("file.{action}"), Some(&connection), input).await)
    };
    for path in ["state/instance.key", "state/inner/x", "./state//instance.key"] {
        for (action, input) in [
            ("read", json!({"path": path})),
            ("write", json!({"path": path, "content": "x"})),
            ("append", json!({"path": path, "content": "x"})),
            ("delete", json!({"path": path})),
            ("move", json!({"from": path, "to": "stolen"})),
        ] {
            assert_eq!(run("out", action, input).await, "Permanent file.path", "{action} {path}");
        }
    }
    assert_eq!(run("out", "list", json!({"path": "state"})).await, "Permanent file.path");
    assert_eq!(run("out/state", "read", json!({"path": "instance.key"})).await, "Held file.folder");
    assert_eq!(run("out/state/inner", "write", json!({"path": "x", "content": "x"})).await, "Held file.folder");
    assert!(run("out", "write", json!({"path": "x", "content": "x"})).await.starts_with("done"));
    assert_eq!(std::fs::read_to_string(place.path("state/instance.key")).unwrap(), "key");
}

#[test]
fn what_fails_for_a_while_is_tried_again_until_it_is_written() {
    // Given a file that somebody else is writing to, and does not let go of.
    let connections = "log: {connector: file, settings: {folder: out}}\n";
    let flow = "trigger: {type: request}\nsteps:\n  - {id: add, action: file.append, connection: log, with: {path: log.txt, content: \"one\\n\"}, timeout: 1s, retry: {attempts: 60, delay: 1s, max_delay: 1s}}\n";
    let mut app = App::idle(&[("connections.yaml", connections), ("flows/add.yaml", flow)]);
    std::fs::create_dir(app.path("out")).unwrap();
    let writing = std::fs::File::create(app.path("out/.millstream-appends-log.txt")).unwrap();
    writing.lock().unwrap();
    app.start();
    let run = app.post("add", &json!({})).run();
    let told = app.run_when(&run, &["waiting", "failed", "held"]);
    assert_eq!(told["steps"][0]["attempts"][0]["error"]["code"], "outbound.timeout", "{told}");
    // When it is let go, then the line is there once, whatever became of the attempts before.
    drop(writing);
    assert_eq!(app.ended(&run)["status"], "succeeded");
    assert_eq!(std::fs::read_to_string(app.path("out/log.txt")).unwrap(), "one\n");
}
