//! `file`: reads, writes, appends to, lists, deletes and moves files in the connection's folder, and nowhere else.
//!
//! What is written is there whole or not at all, over crashes and power cuts too: a file is made beside, synced, and renamed.

mod append;
mod folder;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use self::folder::{Folder, Place, as_text, failed, is, sync};
use super::super::{Call, Inner};
use crate::connector::{Class, Connection, Failure};

/// Largest file where the connection does not say.
const MOST: u64 = 10_000_000;

pub(super) async fn perform(inner: &Inner, call: &Call<'_>) -> Result<Value, Failure> {
    let connection = call.connection.ok_or_else(|| {
        let what = format!("`{}` needs a connection", call.name());
        Failure::new(Class::Held, "connector.no_connection", what)
    })?;
    let job = Job {
        connection: Arc::clone(connection),
        data: data_folder(inner),
        action: call.action.to_owned(),
        input: call.input.clone(),
        key: call.key,
        limit: call.output_limit,
    };
    let (name, patience) = (call.name(), call.timeout());
    let work = tokio::task::spawn_blocking(move || job.run());
    match timeout(patience, work).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(Failure::new(Class::Unknown, "file.unavailable", format!("{name} ended before its time"))),
        Err(_) => {
            let what = format!("{name} did not end in time, and may have happened");
            Err(Failure::new(Class::Unknown, "outbound.timeout", what))
        }
    }
}

pub(super) fn preview(call: &Call<'_>) -> Result<Value, Failure> {
    let folder = call.connection.and_then(|connection| connection.settings.get("folder"));
    Ok(json!({"action": call.action, "folder": folder, "input": call.input}))
}

/// Opens the folder: whether it is there, and whether files can be written to it.
pub(super) async fn test(inner: &Inner, call: &Call<'_>) -> Result<Value, Failure> {
    let data = data_folder(inner);
    let connection = call.connection.cloned().ok_or_else(|| wrong("a connection is needed".to_owned()))?;
    let work = tokio::task::spawn_blocking(move || {
        let folder = Folder::open(&connection, data.as_deref())?;
        if is_read_only(&connection) {
            return Ok(json!("the folder can be read; `read_only` keeps steps from writing"));
        }
        folder.writable(&connection)?;
        Ok(json!("files can be written to the folder"))
    });
    let late = || Failure::new(Class::Retry, "file.unavailable", "the folder did not answer in time".to_owned());
    timeout(call.timeout(), work).await.map_err(|_| late())?.map_err(|_| late())?
}

fn is_read_only(connection: &Connection) -> bool {
    connection.settings.get("read_only").and_then(Value::as_bool).unwrap_or(false)
}

/// Millstream's own folder, which no step reaches.
fn data_folder(inner: &Inner) -> Option<PathBuf> {
    inner.secrets.vault().and_then(|vault| vault.folder()).map(Path::to_path_buf)
}

/// A call that another thread does: files block.
struct Job {
    connection: Arc<Connection>,
    /// Millstream's own folder.
    data: Option<PathBuf>,
    action: String,
    input: Value,
    key: Uuid,
    limit: usize,
}

fn wrong(what: String) -> Failure {
    Failure::new(Class::Permanent, "file.input", what)
}

fn too_large(path: &str, most: u64) -> Failure {
    let what = format!("`{path}` has, or would have, more than {most} bytes");
    Failure::new(Class::Permanent, "file.too_large", what)
}

fn modified(found: &Stat) -> String {
    Timestamp::from_second(found.st_mtime).map(|time| time.to_string()).unwrap_or_default()
}

impl Job {
    fn run(&self) -> Result<Value, Failure> {
        let folder = Folder::open(&self.connection, self.data.as_deref())?;
        if is_read_only(&self.connection) && !matches!(self.action.as_str(), "read" | "list") {
            let what = format!("the connection `{}` is for reading alone", self.connection.name);
            return Err(Failure::new(Class::Held, "file.denied", what + " (`read_only: true`)"));
        }
        match self.action.as_str() {
            "read" => self.read(&folder),
            "write" => self.write(&folder),
            "append" => self.append(&folder),
            "list" => self.list(&folder),
            "delete" => self.delete(&folder),
            _ => self.rename(&folder),
        }
    }

    fn text(&self, key: &str) -> &str {
        self.input.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        self.input.get(key).and_then(Value::as_bool).unwrap_or(default)
    }

    fn most(&self) -> u64 {
        self.connection.settings.get("max_bytes").and_then(Value::as_u64).unwrap_or(MOST)
    }

    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        let given = |key: &str| self.input.get(key).and_then(Value::as_str);
        match (given("content"), given("base64")) {
            (Some(content), None) => Ok(content.as_bytes().to_vec()),
            (None, Some(encoded)) => STANDARD.decode(encoded).map_err(|_| wrong("`base64` is not base64".to_owned())),
            _ => Err(wrong("give one of `content` and `base64`".to_owned())),
        }
    }

    fn read(&self, folder: &Folder) -> Result<Value, Failure> {
        let place = folder.place(self.text("path"), false)?;
        let missing = || failed(&place.shown, &std::io::ErrorKind::NotFound.into());
        let (file, found) = place.open(OFlags::RDONLY)?.ok_or_else(missing)?;
        let encoded = self.text("as") == "base64";
        // Base64 makes four letters of three bytes.
        let most = if encoded { self.limit as u64 / 4 * 3 } else { self.limit as u64 };
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes).map_err(|error| place.failed(&error))?;
        if bytes.len() as u64 > most {
            let limit = self.limit;
            let what = format!(
                "`{}` gives more than {limit} bytes; raise `limits.output_bytes` in millstream.yaml",
                place.shown
            );
            return Err(Failure::new(Class::Permanent, "file.too_large", what));
        }
        let mut output = Map::new();
        output.insert("path".into(), json!(place.shown));
        output.insert("size".into(), json!(bytes.len()));
        output.insert("modified".into(), json!(modified(&found)));
        if encoded {
            output.insert("base64".into(), json!(STANDARD.encode(bytes)));
        } else {
            let text = String::from_utf8(bytes)
                .map_err(|_| wrong(format!("`{}` is not UTF-8 text; read it with `as: base64`", place.shown)))?;
            output.insert("content".into(), json!(text));
        }
        Ok(Value::Object(output))
    }

    fn write(&self, folder: &Folder) -> Result<Value, Failure> {
        let bytes = self.bytes()?;
        let place = folder.place(self.text("path"), self.flag("make_folders", true))?;
        if bytes.len() as u64 > self.most() {
            return Err(too_large(&place.shown, self.most()));
        }
        let written = |changed: bool| json!({"path": place.shown, "size": bytes.len(), "changed": changed});
        // A link or a folder of this name is refused here.
        if let Some((mut file, found)) = place.open(OFlags::RDONLY)? {
            let mut there = Vec::new();
            if found.st_size.unsigned_abs() == bytes.len() as u64 {
                file.read_to_end(&mut there).map_err(|error| place.failed(&error))?;
            }
            if there == bytes && found.st_size.unsigned_abs() == bytes.len() as u64 {
                // An earlier attempt may have died before its folder was durable.
                sync(&place.folder).map_err(|error| place.failed(&error))?;
                return Ok(written(false));
            }
            if !self.flag("overwrite", true) {
                return Err(failed(&place.shown, &std::io::ErrorKind::AlreadyExists.into()));
            }
        }
        let fresh = format!("{}write-{}", folder::HIDDEN, self.key.simple());
        // An attempt that ended by its timeout may still be at it: this one waits until it has the name for itself.
        let mut file = place.fresh(&fresh).map_err(|error| place.failed(&error))?;
        let done = self.replace(&place, &fresh, &mut file, &bytes);
        if done.is_err() {
            let _ = rustix::fs::unlinkat(&place.folder, &fresh, AtFlags::empty());
        }
        done.map_err(|error| place.failed(&error))?;
        Ok(written(true))
    }

    fn replace(&self, place: &Place, fresh: &str, file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
        file.write_all(bytes)?;
        file.sync_all()?;
        if self.flag("overwrite", true) {
            rustix::fs::renameat(&place.folder, fresh, &place.folder, &place.name)?;
        } else {
            // Unlike a rename, this does not replace what came meanwhile.
            rustix::fs::linkat(&place.folder, fresh, &place.folder, &place.name, AtFlags::empty())?;
            rustix::fs::unlinkat(&place.folder, fresh, AtFlags::empty())?;
        }
        sync(&place.folder)
    }

    fn append(&self, folder: &Folder) -> Result<Value, Failure> {
        let bytes = self.bytes()?;
        let place = folder.place(self.text("path"), self.flag("make_folders", true))?;
        place.open(OFlags::RDWR)?;
        let added = append::append(&place, &bytes, self.key, self.most()).map_err(|error| place.failed(&error))?;
        let (size, changed) = added.ok_or_else(|| too_large(&place.shown, self.most()))?;
        Ok(json!({"path": place.shown, "size": size, "changed": changed}))
    }

    fn list(&self, folder: &Folder) -> Result<Value, Failure> {
        let path = self.input.get("path").and_then(Value::as_str).unwrap_or(".");
        let ending = self.text("ending");
        let most = self.input.get("max").and_then(Value::as_u64).unwrap_or(1000) as usize;
        let open = folder.folder(path)?;
        let broken = |error: Errno| failed(path, &error.into());
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&open).map_err(broken)? {
            let Some(name) = as_text(entry.map_err(broken)?.file_name()) else { continue };
            if name != "." && name != ".." && !name.starts_with(".millstream") && name.ends_with(ending) {
                names.push(name);
            }
        }
        names.sort();
        let more = names.len() > most;
        let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
        let above: String = parts.map(|part| format!("{part}/")).collect();
        let mut entries = Vec::new();
        for name in names.into_iter().take(most) {
            // One that is gone meanwhile is not in the list.
            let Ok(found) = rustix::fs::statat(&open, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let kind = match FileType::from_raw_mode(found.st_mode) {
                FileType::RegularFile => "file",
                FileType::Directory => "folder",
                _ => "other",
            };
            let size = if kind == "file" { found.st_size } else { 0 };
            let path = format!("{above}{name}");
            entries.push(json!({"name": name, "path": path, "type": kind, "size": size, "modified": modified(&found)}));
        }
        Ok(json!({"entries": entries, "more": more}))
    }

    fn delete(&self, folder: &Folder) -> Result<Value, Failure> {
        let path = self.text("path");
        let place = match folder.place(path, false) {
            Err(failure) if failure.code == "file.missing" => return Ok(json!({"deleted": false})),
            place => place?,
        };
        let deleted = match rustix::fs::unlinkat(&place.folder, &place.name, AtFlags::empty()) {
            Ok(()) => true,
            Err(Errno::NOENT) => false,
            Err(Errno::ISDIR | Errno::PERM) if is_folder(&place) => {
                return Err(Failure::new(Class::Permanent, "file.path", format!("`{}` is a folder", place.shown)));
            }
            Err(error) => return Err(place.failed(&error.into())),
        };
        // What was added to it is gone with it.
        let _ = rustix::fs::unlinkat(&place.folder, append::list_of(&place.name), AtFlags::empty());
        sync(&place.folder).map_err(|error| place.failed(&error))?;
        Ok(json!({"deleted": deleted}))
    }

    fn rename(&self, folder: &Folder) -> Result<Value, Failure> {
        let from = folder.place(self.text("from"), false)?;
        let to = folder.place(self.text("to"), self.flag("make_folders", true))?;
        if from.open(OFlags::RDONLY)?.is_none() {
            return if to.open(OFlags::RDONLY)?.is_some() {
                Ok(json!({"path": to.shown, "moved": false}))
            } else {
                Err(failed(&from.shown, &std::io::ErrorKind::NotFound.into()))
            };
        }
        to.open(OFlags::RDONLY)?;
        let broken = |error: Errno| to.failed(&error.into());
        if self.flag("overwrite", false) {
            rustix::fs::renameat(&from.folder, &from.name, &to.folder, &to.name).map_err(broken)?;
        } else {
            rustix::fs::linkat(&from.folder, &from.name, &to.folder, &to.name, AtFlags::empty()).or_else(|error| {
                // Both names of one file: an earlier attempt died between the two.
                if error == Errno::EXIST && same(&from, &to) { Ok(()) } else { Err(broken(error)) }
            })?;
            rustix::fs::unlinkat(&from.folder, &from.name, AtFlags::empty()).map_err(broken)?;
        }
        // Who repeats an append to either name must not find what the other file had.
        let lists = (append::list_of(&from.name), append::list_of(&to.name));
        let _ = rustix::fs::renameat(&from.folder, &lists.0, &to.folder, &lists.1);
        for place in [&from, &to] {
            sync(&place.folder).map_err(|error| place.failed(&error))?;
        }
        Ok(json!({"path": to.shown, "moved": true}))
    }
}

fn is_folder(place: &Place) -> bool {
    rustix::fs::statat(&place.folder, &place.name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|found| is(&found, FileType::Directory))
}

fn same(one: &Place, other: &Place) -> bool {
    let stat = |place: &Place| rustix::fs::statat(&place.folder, &place.name, AtFlags::SYMLINK_NOFOLLOW).ok();
    match (stat(one), stat(other)) {
        (Some(one), Some(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}
