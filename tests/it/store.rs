//! `millstream store`: whole or not, mended, copied, moved, given back; through the command line alone.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::app::{App, eventually};

const WELL: &str = "trigger: {type: request}\nsteps:\n  - {id: keep, set: {n: '{{trigger.body.n}}'}}\n";
const WAITS: &str =
    "trigger: {type: request}\nsteps:\n  - {id: rest, delay: 1s}\n  - {id: keep, set: {n: '{{trigger.body.n}}'}}\n";
const HOUR: &str = "trigger: {type: request}\nsteps:\n  - {id: rest, delay: 1h}\n";

fn app() -> App {
    App::with(&[("flows/well.yaml", WELL), ("flows/waits.yaml", WAITS), ("flows/hour.yaml", HOUR)])
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn segment(app: &App) -> PathBuf {
    app.path(".millstream/store/0000000001.log")
}

/// Every byte below a folder, but the lock's.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.file_name().is_some_and(|name| name != "lock") {
                found.push((path.clone(), fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_store_that_is_whole_is_said_to_be_and_looking_changes_nothing() {
    let mut app = app();
    let hook = app.hook("well");
    (0..30).for_each(|n| drop(app.post_to(&hook, &json!({"n": n}).to_string())));
    app.post("hour", &json!({}));
    let refused = app.cli(&["store", "check"]);
    assert!(!refused.status.success() && said(&refused).contains("the running server"), "{}", said(&refused));

    // After a crash, and after a stop in order.
    for crashed in [true, false] {
        if crashed {
            app.kill()
        } else {
            assert!(app.terminate().success())
        }
        let before = content(&app.path(".millstream"));
        let output = app.cli(&["store", "check", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
        assert!(output.status.success(), "{report}");
        assert_eq!((&report["runs"], &report["open_runs"]), (&json!(31), &json!(1)), "{report}");
        assert_eq!((&report["problems"], &report["affected"]), (&json!([]), &json!([])));
        assert!(content(&app.path(".millstream")) == before, "checking changed something");
        app.start();
    }
}

#[test]
fn a_flipped_byte_is_found_and_named_and_a_repair_saves_all_other_runs() {
    for index_is_there in [true, false] {
        let mut app = app();
        let (well, hour) = (app.hook("well"), app.hook("hour"));
        let ended: Vec<String> =
            (0..10).map(|n| app.post_to(&well, &json!({"n": format!("mark-{n}-")}).to_string()).run()).collect();
        let open: Vec<String> =
            (0..4).map(|n| app.post_to(&hour, &json!({"n": format!("open-{n}-")}).to_string()).run()).collect();
        ended.iter().for_each(|run| drop(app.ended(run)));
        app.run_when(&open[3], &["waiting"]);
        let secret_url = app.hook("well");
        assert!(app.cli(&["url", "rotate", "well"]).status.success());
        let rotated = app.hook("well");
        assert_ne!(rotated, secret_url);
        assert!(app.terminate().success());

        // Given a flipped byte in the records of one run that ended and of one that waits.
        let mut bytes = fs::read(segment(&app)).unwrap();
        for mark in ["mark-4-", "open-1-"] {
            let at = bytes.windows(mark.len()).position(|window| window == mark.as_bytes()).unwrap();
            bytes[at] ^= 0x20;
        }
        fs::write(segment(&app), &bytes).unwrap();
        if !index_is_there {
            fs::remove_file(app.path(".millstream/store/index.redb")).unwrap();
            // Then the start reads the whole log, and says what to do.
            let begun = Instant::now();
            let output = app.cli(&["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
            let text = said(&output);
            assert_eq!(output.status.code(), Some(1));
            assert!(begun.elapsed() < Duration::from_secs(5));
            for word in ["E-STORE-006", "0000000001.log", "store check", "store repair"] {
                assert!(text.contains(word), "{word}: {text}");
            }
        }

        // When it is looked at, it is said where; nothing is changed without --yes.
        let before = content(&app.path(".millstream"));
        for command in [&["store", "check"][..], &["store", "repair"]] {
            let output = app.cli(command);
            let text = said(&output);
            assert!(!output.status.success(), "{text}");
            assert!(text.contains("0000000001.log: bytes ") && text.contains("whole frame"), "{text}");
            if index_is_there {
                assert!(text.contains(&ended[4]) && text.contains(&open[1]), "{text}");
            }
        }
        assert!(content(&app.path(".millstream")) == before);
        let repaired = app.cli(&["store", "repair", "--yes"]);
        let text = said(&repaired);
        assert!(repaired.status.success(), "{text}");
        let kept = fs::read_dir(app.path(".millstream/damaged")).unwrap();
        let kept: Vec<_> = kept.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
        assert!(kept.contains(&bytes), "the damaged segment is put aside as it was");

        // Then all others are there, the damaged ones are in no one's way, and it serves.
        assert!(app.cli(&["store", "check"]).status.success(), "{}", said(&app.cli(&["store", "check"])));
        app.start();
        for (index, run) in ended.iter().enumerate().filter(|(index, _)| *index != 4) {
            assert_eq!(app.run(run)["status"], "succeeded", "{index}");
        }
        for run in [&open[0], &open[2], &open[3]] {
            assert_eq!(app.run(run)["status"], "waiting");
        }
        if index_is_there {
            let lost = app.runs("limit=100");
            let lost = lost.iter().find(|run| run["run_id"] == json!(open[1])).unwrap_or_else(|| panic!("{lost:?}"));
            assert_eq!(lost["status"], "failed");
            assert!(lost["reason"].as_str().unwrap().contains("were lost"), "{lost}");
        }
        assert_eq!(app.hook("well"), rotated, "a key that was retired stays retired");
        assert_eq!(app.post("well", &json!({"n": 1})).status, 202);
    }
}

#[test]
fn a_run_that_lost_its_last_records_is_held_for_a_person() {
    // Given a run that has done something, and then waits.
    let flow = "trigger: {type: request}\nsteps:\n  - {id: rest, delay: 300ms}\n  - {id: mark, set: {n: some-mark}}\n  - {id: \
                more, delay: 1h}\n";
    let mut app = App::with(&[("flows/two.yaml", flow)]);
    let run = app.post("two", &json!({})).run();
    eventually(|| app.run(&run)["steps"].to_string().contains("some-mark"));
    app.run_when(&run, &["waiting"]);
    assert!(app.terminate().success());
    let mut bytes = fs::read(segment(&app)).unwrap();
    let all: Vec<usize> =
        bytes.windows(9).enumerate().filter(|(_, nine)| *nine == b"some-mark").map(|(at, _)| at).collect();
    // The definition has it too; the last place is the record's.
    bytes[*all.last().unwrap()] ^= 1;
    fs::write(segment(&app), &bytes).unwrap();
    let repaired = app.cli(&["store", "repair", "--yes"]);
    assert!(repaired.status.success(), "{}", said(&repaired));
    app.start();
    let told = app.run(&run);
    assert_eq!(told["status"], "held", "{told}");
    assert!(told["reason"].as_str().unwrap_or_default().contains("were lost"), "{told}");
    // And goes on once somebody says so.
    assert!(app.cli(&["runs", "resume", &run]).status.success());
    eventually(|| app.run(&run)["steps"].to_string().contains("some-mark"));
}

#[test]
fn a_backup_taken_under_load_is_a_data_folder_with_all_that_was_acknowledged_before() {
    let mut app = app();
    let (well, hour) = (app.hook("well"), app.hook("hour"));
    let open = app.post_to(&hour, "{}").run();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("backup");
    let mut acknowledged = Vec::new();
    std::thread::scope(|scope| {
        let (app, stop, well) = (&app, &stop, &well);
        for _ in 0..3 {
            scope.spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    app.post_to(well, r#"{"n":1}"#);
                }
            });
        }
        acknowledged.extend((0..50).map(|n| app.post_to(well, &json!({"n": n}).to_string()).run()));
        let output = app.cli(&["store", "backup", copy.to_str().unwrap()]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(output.status.success(), "{}", said(&output));
    });
    // A second one into the same folder, or into the data folder, is refused.
    assert!(!app.cli(&["store", "backup", copy.to_str().unwrap()]).status.success());
    let within = app.path(".millstream/copy");
    assert!(!app.cli(&["store", "backup", within.to_str().unwrap()]).status.success());
    assert!(!within.exists());
    for (path, _) in content(&copy) {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o700);

    let first = app.hook("well");
    app.kill();
    let checked = app.cli(&["store", "check", "--data", copy.to_str().unwrap()]);
    assert!(checked.status.success(), "{}", said(&checked));
    fs::remove_dir_all(app.path(".millstream")).unwrap();
    fs::rename(&copy, app.path(".millstream")).unwrap();
    app.start();
    assert_eq!(app.hook("well"), first);
    for run in &acknowledged {
        assert_eq!(app.ended(run)["status"], "succeeded");
    }
    assert_eq!(app.run(&open)["status"], "waiting");
    // Without a server it works too.
    app.terminate();
    let again = copies.path().join("again");
    let output = app.cli(&["store", "backup", again.to_str().unwrap()]);
    assert!(output.status.success() && again.join("generation").exists(), "{}", said(&output));
}

#[test]
fn an_exported_store_goes_on_on_another_machine() {
    let mut here = app();
    assert!(here.cli(&["url", "rotate", "well"]).status.success());
    let ended = here.post("well", &json!({"n": 7})).run();
    here.ended(&ended);
    let url = here.hook("well");
    let waiting = here.post("waits", &json!({"n": 8})).run();
    here.run_when(&waiting, &["waiting"]);
    here.kill();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.export");
    let output = here.cli(&["store", "export", file.to_str().unwrap(), "--with-keys"]);
    assert!(output.status.success() && said(&output).contains("whoever has it"), "{}", said(&output));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let mut there = App::idle(&[("flows/well.yaml", WELL), ("flows/waits.yaml", WAITS)]);
    // What is cut short, or damaged, or no export leaves nothing behind.
    let whole = fs::read(&file).unwrap();
    let bad = folder.path().join("bad");
    for bytes in [whole[..whole.len() - 10].to_vec(), whole[..40].to_vec(), b"something else".to_vec(), {
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 1;
        bytes
    }] {
        fs::write(&bad, bytes).unwrap();
        let output = there.cli(&["store", "import", bad.to_str().unwrap()]);
        assert!(!output.status.success() && said(&output).contains("nothing was imported"), "{}", said(&output));
        assert!(!there.path(".millstream/generation").exists());
        let _ = fs::remove_file(there.path(".millstream/instance.key"));
    }
    let output = there.cli(&["store", "import", file.to_str().unwrap()]);
    assert!(output.status.success() && said(&output).contains("2 runs"), "{}", said(&output));
    let output = there.cli(&["store", "import", file.to_str().unwrap()]);
    assert!(!output.status.success() && said(&output).contains("already"), "{}", said(&output));
    assert!(there.cli(&["store", "check"]).status.success());
    there.start();
    assert_eq!(there.hook("well"), url);
    assert_eq!(there.run(&ended)["status"], "succeeded");
    assert_eq!(there.ended(&waiting)["status"], "succeeded");
    assert_eq!(there.post_to(&url, "{}").status, 202);
}

#[test]
fn compacting_gives_back_what_removed_runs_took() {
    let rules = "outbound: {allow: [127.0.0.0/8]}\nretention: {succeeded: {count: 3}, sweep: 500ms}\n";
    let mut app = App::with(&[("millstream.yaml", rules), ("flows/well.yaml", WELL)]);
    let well = app.hook("well");
    let body = json!({"n": 1, "much": "x".repeat(50_000)}).to_string();
    let runs: Vec<String> = (0..40).map(|_| app.post_to(&well, &body).run()).collect();
    eventually(|| app.runs("limit=100").len() == 3);
    let told = app.cli_json(&["store", "compact"]);
    let (before, after) = (told["before"]["bytes"].as_u64().unwrap(), told["after"]["bytes"].as_u64().unwrap());
    assert!(before > 2_000_000 && after < 400_000, "{told}");
    assert_eq!(app.cli_json(&["store", "stats"])["segments"], told["after"]["segments"]);
    assert_eq!(app.run(&runs[39])["status"], "succeeded");
    app.kill();
    assert!(app.cli(&["store", "check"]).status.success(), "{}", said(&app.cli(&["store", "check"])));
    app.start();
    assert_eq!(app.run(&runs[39])["status"], "succeeded");
    assert_eq!(app.runs("limit=100").len(), 3);
}

#[test]
fn a_second_server_on_the_same_folder_ends_within_a_second() {
    let app = app();
    let begun = Instant::now();
    let output = app.cli(&["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(
        said(&output).contains("E-STORE-002") && said(&output).contains(&app.pid().to_string()),
        "{}",
        said(&output)
    );
    assert_eq!(app.post("well", &json!({"n": 1})).status, 202);
}
