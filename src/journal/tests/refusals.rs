//! What is not opened, and what the person reads then.

use std::fs;
use std::path::Path;

use super::super::Journal;
use super::{first, new_run, open};
use crate::run::Status;

/// A folder with one run in it.
async fn used(dir: &Path) {
    let journal = open(dir);
    journal.append(first(new_run(), "leads", Status::Running, 1_000)).await.unwrap();
    journal.close().await;
}

/// The error, with the folder's path left out.
fn refusal(dir: &Path) -> String {
    match Journal::open(dir) {
        Ok(_) => panic!("the folder was opened"),
        Err(error) => error.to_string().replace(&dir.display().to_string(), "DIR"),
    }
}

#[tokio::test]
async fn a_second_journal_on_the_same_folder_is_refused_with_the_holder_named() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let text = refusal(dir.path()).replace(&std::process::id().to_string(), "PID");
    insta::assert_snapshot!(text, @r"
    DIR: E-STORE-002 another Millstream process uses this data folder
      process PID holds the lock DIR/lock
      stop that process, or give this one a folder of its own with --data
    ");
    journal.close().await;
    open(dir.path()).close().await;
}

#[tokio::test]
async fn an_emptied_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    used(dir.path()).await;
    fs::remove_file(dir.path().join("store/0000000001.log")).unwrap();

    insta::assert_snapshot!(refusal(dir.path()), @r"
    DIR/store: E-STORE-006 the journal's log is damaged
      at byte 0: there is no segment of the log
      bring back a backup of the whole data folder; without one, `millstream store check` tells what is lost
      and `millstream store repair` saves the rest
    ");
}

#[tokio::test]
async fn a_store_that_is_gone_is_refused_and_not_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    used(dir.path()).await;
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    for _ in 0..2 {
        assert!(refusal(dir.path()).contains("E-STORE-003 the store is gone"));
    }
    assert!(!dir.path().join("store").exists());
}

#[tokio::test]
async fn a_store_of_another_folder_is_refused() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    used(dir.path()).await;
    used(other.path()).await;
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    fs::rename(other.path().join("store"), dir.path().join("store")).unwrap();
    assert!(refusal(dir.path()).contains("the segment belongs to another store"));
}

#[tokio::test]
async fn a_store_without_its_marker_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    used(dir.path()).await;
    fs::remove_file(dir.path().join("generation")).unwrap();
    insta::assert_snapshot!(refusal(dir.path()), @r"
    DIR/store: E-STORE-004 there is a store, but the file that names it is missing
      without DIR/generation no one can tell whether the store is whole
      bring that file back, or a backup of the whole data folder; to begin anew, move the store away
    ");
}

#[tokio::test]
async fn a_folder_whose_making_was_cut_short_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().await;
    let marker = dir.path().join("generation");
    let text = fs::read_to_string(&marker).unwrap();
    fs::write(&marker, text.replace("ready", "creating")).unwrap();
    fs::write(dir.path().join("store/0000000001.log"), "half a segment").unwrap();
    used(dir.path()).await;
    assert_eq!(open(dir.path()).open_runs().unwrap().len(), 1);
}

#[tokio::test]
async fn a_folder_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().await;
    fs::write(dir.path().join("generation"), r#"{"format":3,"what":"else"}"#).unwrap();
    assert!(refusal(dir.path()).contains("E-STORE-005"));
}

#[test]
fn things_that_are_not_folders_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(refusal(&file).contains("E-STORE-001"));
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("store"), "").unwrap();
    assert!(refusal(&data).contains("E-STORE-001"));
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_data_folder_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("deep/data");
    open(&data).close().await;
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}
