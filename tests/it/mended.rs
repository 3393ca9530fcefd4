//! Bounds and promises that did not hold once: what is large, what is secure, what is missing, what fails at the end.

use std::fs;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::app::{App, PATIENCE, Remote, Reply, eventually, http};

const PLAIN: &str = "trigger: {type: request}\nsteps:\n  - id: note\n    set: {a: 1}\n";

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_flow_file_of_a_hundred_thousand_levels_is_named_and_takes_little() {
    let app = App::idle(&[("flows/deep.yaml", &"- ".repeat(100_000))]);
    let begun = Instant::now();
    // It was 20 GB.
    let output = Command::new("prlimit")
        .args(["--as=8000000000", env!("CARGO_BIN_EXE_millstream"), "--dir"])
        .arg(app.folder.path())
        .arg("check")
        .output()
        .unwrap();
    let told = said(&output);
    let start: String = told.chars().take(500).collect();
    assert!(told.contains("E-FLOW-019") && told.contains("write it flatter"), "{start}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn files_over_the_limit_are_not_read_whole_and_are_named() {
    let large = format!("a: {}\n", "x".repeat(2 * 1024 * 1024));
    let flow = "trigger: {type: request, schema: large.json}\nsteps:\n  - id: note\n    set: {a: 1}\n";
    let app = App::idle(&[
        ("flows/large.yaml", &large),
        ("connectors/large.yaml", &large),
        ("flows/schema.yaml", flow),
        ("flows/large.json", &large),
        ("flows/plain.yaml", PLAIN),
    ]);
    let told = said(&app.cli(&["check"]));
    assert_eq!(told.matches("the file has 2097156 bytes; the limit is 1048576").count(), 3, "{told}");
    assert_eq!(told.matches("E-FLOW-019").count(), 2, "{told}");
}

#[test]
fn bodies_of_very_many_values_take_bounded_memory_and_others_are_answered() {
    let app = App::with(&[("flows/plain.yaml", PLAIN)]);
    let hook = app.hook("plain");
    let list = |values: usize| format!("[{}0]", "0,".repeat(values - 1));
    let post =
        |body: &str| http(app.public, "POST", &hook, &[("content-type", "application/json")], body.as_bytes()).unwrap();
    let refused = post(&list(5_000_000));
    assert_eq!((refused.status, refused.json()["type"].as_str()), (413, Some("urn:millstream:error:body_too_large")));
    assert!(refused.text.contains("so many values"), "{}", refused.text);
    let body = list(1_400_000);
    let told = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let begun = Instant::now();
                loop {
                    let answer = post(&body);
                    told.lock().unwrap().push(answer.status);
                    if answer.status != 503 || begun.elapsed() > PATIENCE {
                        return;
                    }
                    assert!(answer.header("retry-after").is_some());
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
        }
        for _ in 0..20 {
            assert_eq!(post("{}").status, 202);
        }
    });
    let told = told.into_inner().unwrap();
    assert_eq!(told.iter().filter(|status| **status == 202).count(), 6, "{told:?}");
    assert!(told.iter().all(|status| [202, 503].contains(status)), "{told:?}");
    let most = app.memory("VmHWM");
    assert!(most < 512 * 1024, "it took {most} KB");
}

#[test]
fn a_rotation_ends_earlier_graces_no_later_than_its_own() {
    let app = App::with(&[("flows/plain.yaml", PLAIN)]);
    let first = app.hook("plain");
    app.cli(&["url", "rotate", "plain", "--grace", "24h"]);
    let second = app.hook("plain");
    assert_eq!(app.post_to(&first, "{}").status, 202);
    app.cli(&["url", "rotate", "plain", "--grace", "1s"]);
    eventually(|| [&first, &second].iter().all(|path| app.post_to(path, "{}").status == 404));
    let third = app.hook("plain");
    app.cli(&["url", "rotate", "plain", "--grace", "24h"]);
    assert_eq!(app.post_to(&third, "{}").status, 202);
    app.api("POST", "/flows/plain/url/rotate", None);
    let last = app.hook("plain");
    assert_eq!([&first, &second, &third, &last].map(|path| app.post_to(path, "{}").status), [404, 404, 404, 202]);
}

#[test]
fn what_a_target_says_of_a_secure_step_is_shown_nowhere() {
    let answer = || Reply { body: json!({"message": "no canary-4711 here"}).to_string(), ..Reply::from(400) };
    let remote = Remote::judged(move |_| answer());
    let flow = |secure: &str| {
        format!(
            "trigger: {{type: request}}\nsteps:\n  - id: send\n    action: http.request\n    {secure}with: {{method: POST, \
             url: \"http://{remote}/\", json: {{a: \"{{{{trigger.body.a}}}}\"}}}}\n"
        )
    };
    let app = App::with(&[
        ("flows/open.yaml", &flow("")),
        ("flows/given.yaml", &flow("secure: [inputs]\n    ")),
        ("flows/got.yaml", &flow("secure: [outputs]\n    ")),
    ]);
    let fails = |name: &str| {
        let run = app.post(name, &json!({"a": 1})).run();
        let told = app.ended(&run);
        (run, told.clone(), told.to_string() + &json!(app.runs(&format!("flow={name}"))).to_string())
    };
    for name in ["given", "got"] {
        let (_, told, all) = fails(name);
        assert_eq!(told["status"], "failed", "{told:#}");
        assert!(!all.contains("4711"), "{all}");
        let error = &told["steps"][0]["error"];
        assert_eq!((&error["status"], error["code"].is_string()), (&json!(400), true), "{told:#}");
    }
    assert!(!app.log().contains("4711"), "{}", app.log());
    // Where it is not secure it is shown.
    assert!(fails("open").2.contains("4711"));
}

#[test]
fn a_used_store_without_its_key_does_not_start_and_a_command_makes_another() {
    let mut app = App::with(&[("flows/plain.yaml", PLAIN)]);
    let before = app.hook("plain");
    app.terminate();
    let key = app.path(".millstream/instance.key");
    let old = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    for args in [&serve[..], &["secret", "list"]] {
        let refused = app.cli(args);
        let told = said(&refused);
        assert!(!refused.status.success() && told.contains("E-STORE-007") && told.contains("store new-key"), "{told}");
        assert!(!key.exists());
    }
    fs::write(&key, &old).unwrap();
    Command::new("chmod").arg("600").arg(&key).status().unwrap();
    app.start();
    assert_eq!(app.hook("plain"), before);
    app.terminate();
    assert!(!app.cli(&["store", "new-key"]).status.success(), "it is there");
    fs::remove_file(&key).unwrap();
    assert!(app.cli(&["store", "new-key"]).status.success());
    app.start();
    assert_ne!(app.hook("plain"), before);
}

#[test]
fn last_good_versions_are_on_disk_before_they_take_their_places() {
    let mut app = App::idle(&[("flows/plain.yaml", PLAIN), ("flows/other.yaml", PLAIN)]);
    let log = app.path("strace");
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-y", "-qq", "-e", "trace=fsync,syncfs,rename,renameat,renameat2", "-o"]).arg(&log);
    command.arg(env!("CARGO_BIN_EXE_millstream")).arg("--dir").arg(app.folder.path());
    app.start_by(command);
    app.terminate();
    let traced = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = traced.lines().collect();
    let mut renamed = 0;
    for (at, line) in
        lines.iter().enumerate().filter(|(_, line)| line.contains("rename") && line.contains("/last-good/"))
    {
        let file = line.split('"').nth(1).unwrap();
        let synced = |line: &&&str| line.contains("syncfs(") || line.contains("fsync(") && line.contains(file);
        assert!(lines[..at].iter().any(|line| synced(&line)), "{file} was not synced:\n{traced}");
        renamed += 1;
    }
    assert!(renamed >= 2, "{traced}");
}

#[test]
fn a_journal_that_fails_during_the_stop_ends_it_at_once_and_not_well() {
    let remote = Remote::start();
    remote.answers([Reply { after: Duration::from_secs(3), ..Reply::from(200) }]);
    let flow = format!(
        "trigger: {{type: request}}\nsteps:\n  - {{id: one, action: http.request, with: {{method: POST, url: {}, json: {{}}}}}}\n",
        remote.url("/")
    );
    let mut app = App::with(&[("flows/slow.yaml", &flow)]);
    app.post("slow", &json!({}));
    eventually(|| !remote.seen().is_empty() || app.metric("millstream_calls_total") > 0);
    let pid = app.pid();
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO", "-o", "/dev/null", "-p"])
        .arg(pid.to_string())
        .spawn()
        .expect("strace must be installed: this test makes calls fail with it");
    eventually(|| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"))
    });
    let begun = Instant::now();
    let ended = app.terminate();
    let _ = strace.wait();
    assert_eq!(ended.code(), Some(1), "{}", app.log());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(app.log().contains("the journal cannot be written"), "{}", app.log());
}

#[test]
fn a_run_whose_flow_is_deleted_meanwhile_ends_as_it_began() {
    let flow = "trigger: {type: request}\nsteps:\n  - {id: rest, delay: 2s}\n  - {id: note, set: {a: 1}}\n";
    let mut app = App::with(&[("flows/gone.yaml", flow)]);
    let hook = app.hook("gone");
    let run = app.post_to(&hook, "{}").run();
    fs::remove_file(app.path("flows/gone.yaml")).unwrap();
    eventually(|| app.post_to(&hook, "{}").status == 404);
    app.kill();
    app.start();
    assert_eq!(app.ended(&run)["status"], "succeeded");
}

#[test]
fn flows_that_call_each_other_more_than_ten_deep_are_stopped() {
    let calls =
        |next: usize| format!("trigger: {{type: request}}\nsteps:\n  - {{id: next, call: f{next}, retry: none}}\n");
    let mut files: Vec<_> = (0..11).map(|number| (format!("flows/f{number}.yaml"), calls(number + 1))).collect();
    files.push(("flows/f11.yaml".to_owned(), PLAIN.to_owned()));
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let app = App::with(&files);
    let run = app.post("f0", &json!({})).run();
    assert_eq!(app.ended(&run)["status"], "failed");
    let all = app.runs("limit=100");
    let told: Vec<String> = all.iter().map(|run| app.run(run["run_id"].as_str().unwrap()).to_string()).collect();
    assert!(told.iter().any(|told| told.contains("run.call_depth")), "{all:?}");
    assert_eq!(all.len(), 11, "{all:?}");
}
