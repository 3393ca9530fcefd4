//! Starts that have to make the index anew: what it is made of is on disk first, and a kill meanwhile does no harm. Needs the
//! feature `crash-points`, with which the parts of the store are small and the process dies at a named place.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use millstream::points::START;
use millstream::run::RunId;

use crate::app::{App, eventually};

const NOTE: &str = "trigger: {type: request}\nsteps:\n  - {id: note, set: {a: 1}}\n";

/// Lets so many runs through.
fn runs(app: &App, count: usize) -> Vec<String> {
    let hook = app.hook("note");
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..count / 4).map(|_| app.post_to(&hook, "{}").run()).collect::<Vec<_>>()))
            .collect();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    })
}

fn small() -> App {
    let mut app = App::idle(&[("flows/note.yaml", NOTE)]);
    app.env.push(("MILLSTREAM_SMALL_STORE", "1".to_owned()));
    app.start();
    app
}

/// How many of these runs the index knows.
fn indexed(app: &App, runs: &[String]) -> usize {
    let index = std::fs::read(app.path(".millstream/store/index.redb")).unwrap_or_default();
    let is_there = |run: &&String| {
        let id = run.parse::<RunId>().unwrap().0;
        index.windows(16).any(|bytes| bytes == id.as_bytes())
    };
    runs.iter().filter(is_there).count()
}

#[test]
fn an_index_that_is_lost_or_old_is_made_anew_and_a_kill_meanwhile_does_no_harm() {
    let mut app = small();
    let index = app.path(".millstream/store/index.redb");
    let mut all = runs(&app, 40);
    assert!(app.terminate().success());
    let old = std::fs::read(&index).unwrap();
    app.start();
    all.extend(runs(&app, 400));
    all.iter().for_each(|run| assert_eq!(app.ended(run)["status"], "succeeded"));
    app.kill();
    let newest = std::fs::read(&index).unwrap();
    for (case, place) in [None, Some(&old)].into_iter().flat_map(|case| START.iter().map(move |place| (case, place))) {
        let time = if case.is_some() { 2 } else { 1 };
        match case {
            None => std::fs::remove_file(&index).unwrap(),
            Some(old) => std::fs::write(&index, old).unwrap(),
        }
        let what = format!("{place}, {}", if case.is_some() { "old" } else { "lost" });
        app.env.push(("MILLSTREAM_CRASH", format!("{place}:{time}")));
        app.launch();
        assert!(!app.is_up(), "{what}: it was not come to");
        eventually(|| app.has_ended().is_some());
        assert_eq!(app.has_ended().and_then(|ended| ended.signal()), Some(9), "{what}: {}", app.log());
        app.kill();
        app.env.pop();
        app.start();
        let listed = app.runs("flow=note&status=succeeded&limit=1000");
        let ids: Vec<&str> = listed.iter().filter_map(|run| run["run_id"].as_str()).collect();
        assert_eq!(ids.len(), all.len(), "{what}");
        assert!(all.iter().all(|run| ids.contains(&run.as_str())), "{what}");
        app.kill();
        let checked = app.cli(&["store", "check"]);
        assert!(checked.status.success(), "{what}: {checked:?}");
    }
    // One that is newer than it was, but not as new as the log, follows it too.
    std::fs::write(&index, newest).unwrap();
    app.start();
    assert_eq!(app.runs("flow=note&limit=1000").len(), all.len());
}

#[test]
fn the_log_is_made_durable_before_the_index_takes_anything_over() {
    // Given a log in one part that is not synced as far as the next start knows, and no index.
    let mut app = small();
    let all = runs(&app, 160);
    app.kill();
    std::fs::remove_file(app.path(".millstream/store/index.redb")).unwrap();
    let log = app.path(".millstream/store/0000000001.log").canonicalize().unwrap();
    assert!(!app.path(".millstream/store/0000000002.log").exists(), "more than one part");
    let size = std::fs::metadata(&log).unwrap().len();

    // When the disk refuses to sync it.
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-P"])
        .arg(&log)
        .args(["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO"])
        .arg(env!("CARGO_BIN_EXE_millstream"))
        .arg("--dir")
        .arg(app.folder.path())
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .env("MILLSTREAM_SMALL_STORE", "1")
        .stdin(Stdio::null())
        .output()
        .expect("strace must be installed: this test makes calls fail with it");

    // Then it does not start, says which file, and the index has nothing that might be gone after a power cut.
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("E-STORE-001") && said.contains("0000000001.log"), "{said}");
    assert_eq!(indexed(&app, &all), 0);
    assert_eq!(std::fs::metadata(&log).unwrap().len(), size, "nothing was changed");
    app.start();
    assert_eq!(app.runs("flow=note&limit=1000").len(), all.len());
    app.kill();
    assert!(indexed(&app, &all) > 20, "a start gives it to the index");
}
