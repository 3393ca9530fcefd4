//! The data folder: its lock, and the mark that ties it to its store.
//!
//! A random id stands both in the log's files and in the file `generation` beside them, and the two must agree before
//! anything is served. The file is written first, as `creating`, and becomes `ready` once the store is durable: what is
//! half made can be told from what was lost.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::disk::Disk;
use super::index;
use super::log::Damage;
use super::store::{Store, Unfit};

/// The layout of the store that this version writes.
const FORMAT: u32 = 2;

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Creating,
    Ready,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    format: u32,
    id: Uuid,
    state: State,
}

/// Locks the folder and opens its store, or makes both. The error is for a person.
pub fn open(dir: &Path, disk: Disk, index: index::Open) -> Result<(Lock, Store), String> {
    create_folder(dir).map_err(|error| {
        let dir = dir.display();
        format!(
            "{dir}: E-STORE-001 the data folder cannot be used\n  {error}\n  give Millstream a folder that it may write \
             to, with --data"
        )
    })?;
    let lock = lock(dir)?;
    let path = dir.join("store");
    let file = dir.join("generation");
    let marker = read(&file)?;
    let there = path.try_exists().map_err(|error| unusable(&path, &error))?;
    if there && !path.is_dir() {
        return Err(unusable(&path, &"it is not a folder"));
    }
    let store = match marker {
        Some(marker) if marker.state == State::Ready => open_known(&path, &file, &marker, disk, index)?,
        // Nothing was acknowledged before the marker was ready.
        Some(_) => {
            if there {
                fs::remove_dir_all(&path).map_err(|error| unusable(&path, &error))?;
            }
            create(dir, &path, &file, disk, index)?
        }
        None if there => return Err(unmarked(&path, &file)),
        None => create(dir, &path, &file, disk, index)?,
    };
    Ok((lock, store))
}

/// Locks a folder that has a store, and tells its id. Nothing of the store is opened.
pub fn known(dir: &Path) -> Result<(Lock, Uuid), String> {
    let file = dir.join("generation");
    if !dir.is_dir() {
        return Err(unusable(dir, &"there is no such folder"));
    }
    let lock = lock(dir)?;
    match read(&file)? {
        Some(marker) if marker.state == State::Ready => Ok((lock, marker.id)),
        Some(_) => Err(unusable(&file, &"its store was never begun: there is nothing in it")),
        None if dir.join("store").exists() => Err(unmarked(&dir.join("store"), &file)),
        None => Err(unusable(&file, &"there is no store in this folder")),
    }
}

/// Locks a folder that has no store, and begins one; until [`finish`] it counts for nothing.
pub fn begin(dir: &Path) -> Result<(Lock, Uuid), String> {
    create_folder(dir).map_err(|error| unusable(dir, &error))?;
    let lock = lock(dir)?;
    let (path, file) = (dir.join("store"), dir.join("generation"));
    let marker = read(&file)?;
    if marker.as_ref().is_some_and(|marker| marker.state == State::Ready) || (marker.is_none() && path.exists()) {
        return Err(unusable(dir, &"there is a store in it already, which is left as it is"));
    }
    if path.exists() {
        fs::remove_dir_all(&path).map_err(|error| unusable(&path, &error))?;
    }
    let marker = Marker { format: FORMAT, id: Uuid::now_v7(), state: State::Creating };
    write(dir, &file, &marker).map_err(|error| unusable(&file, &error))?;
    create_folder(&path).map_err(|error| unusable(&path, &error))?;
    Ok((lock, marker.id))
}

/// From now on the store that was begun counts.
pub fn finish(dir: &Path, id: Uuid) -> Result<(), String> {
    let file = dir.join("generation");
    let marker = Marker { format: FORMAT, id, state: State::Ready };
    write(dir, &file, &marker).map_err(|error| unusable(&file, &error))
}

fn create_folder(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    // Of each folder that is made the one above must be durable too.
    let made: Vec<&Path> = dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.is_dir()).collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)?;
    for parent in made.into_iter().filter_map(Path::parent) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// The data folder is this process's alone while this lives; it never outlives the process.
pub struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file would not do: a child that another thread starts at this moment has it open too, until it
        // becomes its program, and the lock (flock(2)) belongs to all that have it open.
        let _ = self.0.unlock();
    }
}

fn lock(dir: &Path) -> Result<Lock, String> {
    let path = dir.join("lock");
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| unusable(&path, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_string(),
                pid => format!("process {pid}"),
            };
            return Err(format!(
                "{}: E-STORE-002 another Millstream process uses this data folder\n  {holder} holds the lock {}\n  stop \
                 that process, or give this one a folder of its own with --data",
                dir.display(),
                path.display()
            ));
        }
        Err(TryLockError::Error(error)) => return Err(unusable(&path, &error)),
    }
    // The number only serves the message above: on a full disk the lock holds without it.
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
    Ok(Lock(file))
}

fn create(dir: &Path, path: &Path, file: &Path, disk: Disk, index: index::Open) -> Result<Store, String> {
    let mut marker = Marker { format: FORMAT, id: Uuid::now_v7(), state: State::Creating };
    write(dir, file, &marker).map_err(|error| unusable(file, &error))?;
    create_folder(path).map_err(|error| unusable(path, &error))?;
    let store = Store::create(path, marker.id, disk, index).map_err(|error| unusable(path, &error))?;
    marker.state = State::Ready;
    // Its rename is synced with the folder, which also holds the store's name.
    write(dir, file, &marker).map_err(|error| unusable(file, &error))?;
    Ok(store)
}

fn open_known(path: &Path, file: &Path, marker: &Marker, disk: Disk, index: index::Open) -> Result<Store, String> {
    if !path.try_exists().map_err(|error| unusable(path, &error))? {
        return Err(lost(path, file, "the store is gone"));
    }
    Store::open(path, marker.id, disk, index).map_err(|unfit| match unfit {
        Unfit::Log(damage) => damaged(&damage),
        Unfit::Other(error) => unusable(path, &error),
    })
}

/// Reads the file, or `None` if there is none.
fn read(file: &Path) -> Result<Option<Marker>, String> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(file, &error)),
    };
    match serde_json::from_slice::<Format>(&bytes) {
        Ok(Format { format }) if format > FORMAT => Err(format!(
            "{}: E-STORE-005 the data folder was written by a newer version of Millstream\n  it has format {format}, \
             this version reads {FORMAT}\n  start the newer version again",
            file.display()
        )),
        Ok(Format { format }) if format < FORMAT => Err(format!(
            "{}: E-STORE-005 the data folder was written by an older version of Millstream\n  it has format {format}, \
             this version reads {FORMAT}\n  let its runs end with the older version, then give this one a folder of its own",
            file.display()
        )),
        Ok(_) => serde_json::from_slice(&bytes).map(Some).map_err(|error| unusable(file, &error)),
        Err(error) => Err(unusable(file, &error)),
    }
}

/// Replaces the file whole and durably.
fn write(dir: &Path, file: &Path, marker: &Marker) -> io::Result<()> {
    let fresh = dir.join("generation.new");
    let mut handle = File::options().create(true).write(true).truncate(true).mode(0o600).open(&fresh)?;
    handle.write_all(&encode(marker))?;
    handle.sync_all()?;
    fs::rename(&fresh, file)?;
    File::open(dir)?.sync_all()
}

fn encode(marker: &Marker) -> Vec<u8> {
    serde_json::to_vec(marker).expect("a marker is plain JSON data")
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!(
        "{}: E-STORE-001 the data folder cannot be used\n  {error}\n  see to its owner, its rights and the disk it is on, \
         or give Millstream another folder with --data",
        path.display()
    )
}

fn damaged(damage: &Damage) -> String {
    if damage.os.is_some() {
        return unusable(&damage.path, &format!("at byte {}: {}", damage.offset, damage.why));
    }
    format!(
        "{}: E-STORE-006 the journal's log is damaged\n  at byte {}: {}\n  bring back a backup of the whole data \
         folder; without one, `millstream store check` tells what is lost\n  and `millstream store repair` saves the rest",
        damage.path.display(),
        damage.offset,
        damage.why
    )
}

fn lost(path: &Path, file: &Path, problem: &str) -> String {
    format!(
        "{}: E-STORE-003 {problem}\n  {} names the store that was here, and runs that it acknowledged may be lost with \
         it\n  bring back a backup of the whole data folder; to begin anew without those runs, move the folder away",
        path.display(),
        file.display()
    )
}

fn unmarked(path: &Path, file: &Path) -> String {
    format!(
        "{}: E-STORE-004 there is a store, but the file that names it is missing\n  without {} no one can tell whether \
         the store is whole\n  bring that file back, or a backup of the whole data folder; to begin anew, move the \
         store away",
        path.display(),
        file.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_let_go_though_a_child_that_is_being_started_has_its_file_open_too() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(lock(dir.path()).is_err());
        let of_the_child = held.0.try_clone().unwrap();
        drop(held);
        assert!(lock(dir.path()).is_ok());
        drop(of_the_child);
    }
}
