//! The audit log: what was done through the admin API and the command line, by whom, from where, and what was refused.
//!
//! Lines of JSON in the data folder, for its owner alone. An entry is on disk before the caller has the answer. Deeds
//! and refused logins are apart, each in a ring of files, so that strangers who guess cannot push a deed out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Role, Who};

/// Bytes of one file, and files of one ring: some 100,000 deeds.
const FILE_BYTES: u64 = 4 * 1024 * 1024;
const FILES: usize = 5;
const DEEDS: &str = "audit.log";
const LOGINS: &str = "audit-logins.log";
/// Longest text of an entry that a caller chooses, letters.
const MOST: usize = 200;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done,
    /// The one who asked may not, or is unknown.
    Refused,
    /// It could not be done; `code` says why.
    Failed,
}

/// One line.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    pub at: Timestamp,
    /// The token's name, or `command line` for what needs no token; none if no token was good.
    pub who: Option<String>,
    pub role: Option<Role>,
    /// The deed, as in `cancel_run`; `login` for a token that was refused.
    pub what: String,
    /// The run, flow, token or secret that it was about.
    pub target: Option<String>,
    pub outcome: Outcome,
    /// Of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The run that it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The client's address; none where the command line did it without a server.
    pub from: Option<IpAddr>,
}

impl Entry {
    /// Something that the holder of a token wanted.
    pub fn deed(who: &Who, what: impl Into<String>, target: Option<String>, outcome: Outcome) -> Entry {
        let (name, role) = (who.name.to_string(), Some(who.role));
        Entry { role, ..Entry::of(Some(name), what.into(), target, outcome) }
    }

    /// A token that was refused; `who` if it was a good one once.
    pub fn login(who: Option<String>, target: Option<String>) -> Entry {
        Entry::of(who, "login".to_owned(), target, Outcome::Refused)
    }

    fn of(who: Option<String>, what: String, target: Option<String>, outcome: Outcome) -> Entry {
        let target = target.map(|target| target.chars().take(MOST).collect());
        Entry { at: Timestamp::now(), who, role: None, what, target, outcome, code: None, run_id: None, from: None }
    }

    fn ring(&self) -> &'static str {
        if self.what == "login" { LOGINS } else { DEEDS }
    }

    fn line(&self) -> String {
        serde_json::to_string(self).expect("an entry is plain JSON data") + "\n"
    }
}

/// A line on its way to a ring, and who waits until it is on disk.
type Job = (&'static str, String, oneshot::Sender<io::Result<()>>);

/// The audit log of one data folder.
pub struct Audit {
    dir: PathBuf,
    /// The writer's, once there was something to write: what comes while it syncs shares the next sync.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
}

impl Audit {
    pub fn of(data: &Path) -> Audit {
        Audit { dir: data.to_owned(), jobs: Mutex::default() }
    }

    /// On disk on return. If it cannot be written, the log has it: what was done cannot be taken back.
    pub async fn note(&self, entry: Entry) {
        let (tell, told) = oneshot::channel();
        let line = entry.line();
        let sent = self.writer().and_then(|jobs| {
            jobs.send((entry.ring(), line.clone(), tell)).map_err(|_| io::Error::other("its writer has ended"))
        });
        let written = match sent {
            Ok(()) => told.await.unwrap_or_else(|_| Err(io::Error::other("its writer has ended"))),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::error!(entry = line.trim_end(), "the audit log could not be written: {error}");
        }
    }

    /// The same for the command line.
    ///
    /// # Errors
    /// If it could not be written.
    pub fn note_of_command_line(&self, what: &str, target: Option<String>) -> io::Result<()> {
        let entry = Entry::of(Some("command line".to_owned()), what.to_owned(), target, Outcome::Done);
        Ring { dir: &self.dir, name: entry.ring(), file_bytes: FILE_BYTES }.append(&entry.line())
    }

    /// The newest entries first, `limit` at most.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn entries(&self, limit: usize) -> io::Result<Vec<Value>> {
        let mut found = Vec::new();
        for name in [DEEDS, LOGINS] {
            Ring { dir: &self.dir, name, file_bytes: FILE_BYTES }.newest(limit, &mut found)?;
        }
        let at = |entry: &Value| entry.get("at")?.as_str()?.parse::<Timestamp>().ok();
        found.sort_by_key(|entry| std::cmp::Reverse(at(entry)));
        found.truncate(limit);
        Ok(found)
    }

    fn writer(&self) -> io::Result<mpsc::Sender<Job>> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(jobs) = &*jobs {
            return Ok(jobs.clone());
        }
        let (send, receive) = mpsc::channel();
        let dir = self.dir.clone();
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || write(&dir, &receive))?;
        *jobs = Some(send.clone());
        Ok(send)
    }
}

/// Writes what has come together, a ring at a time, until nobody can send any more.
fn write(dir: &Path, jobs: &mpsc::Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        batch.extend(jobs.try_iter());
        for name in [DEEDS, LOGINS] {
            let lines: String =
                batch.iter().filter(|(ring, ..)| *ring == name).map(|(_, line, _)| line.as_str()).collect();
            if lines.is_empty() {
                continue;
            }
            let written = Ring { dir, name, file_bytes: FILE_BYTES }.append(&lines);
            batch = batch
                .into_iter()
                .filter_map(|(ring, line, tell)| {
                    if ring != name {
                        return Some((ring, line, tell));
                    }
                    let told =
                        written.as_ref().copied().map_err(|error| io::Error::new(error.kind(), error.to_string()));
                    // Who waited may have gone.
                    let _ = tell.send(told);
                    None
                })
                .collect();
        }
    }
}

/// Files of one name: the present one, and older ones with `.1`, `.2`, …
struct Ring<'r> {
    dir: &'r Path,
    name: &'r str,
    file_bytes: u64,
}

impl Ring<'_> {
    /// Appends whole lines; durable on return. The command line may write beside a server.
    fn append(&self, lines: &str) -> io::Result<()> {
        let folder = File::open(self.dir)?;
        folder.lock()?;
        let path = self.file(0);
        let size = fs::metadata(&path).map(|file| file.len()).unwrap_or(0);
        let fresh = size == 0 || size >= self.file_bytes;
        if size >= self.file_bytes {
            for index in (0..FILES - 1).rev() {
                match fs::rename(self.file(index), self.file(index + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(&path)?;
        // What a crash cut short stays a line of its own.
        let mut last = [b'\n'];
        if !fresh {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        let torn = if last == [b'\n'] { "" } else { "\n" };
        file.write_all(format!("{torn}{lines}").as_bytes())?;
        file.sync_data()?;
        if fresh { folder.sync_all() } else { Ok(()) }
    }

    fn newest(&self, limit: usize, found: &mut Vec<Value>) -> io::Result<()> {
        let folder = File::open(self.dir)?;
        folder.lock_shared()?;
        let mut left = limit;
        for index in 0..FILES {
            let bytes = match fs::read(self.file(index)) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let lines = bytes.rsplit(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let before = found.len();
            found.extend(lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok()).take(left));
            left -= found.len() - before;
            if left == 0 {
                break;
            }
        }
        Ok(())
    }

    fn file(&self, index: usize) -> PathBuf {
        match index {
            0 => self.dir.join(self.name),
            _ => self.dir.join(format!("{}.{index}", self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn entry(what: &str, target: &str) -> Entry {
        let who = Who { name: "ci".into(), role: Role::Operator };
        Entry::deed(&who, what, Some(target.to_owned()), Outcome::Done)
    }

    #[tokio::test]
    async fn entries_are_on_disk_for_the_owner_alone_and_shown_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::of(dir.path());
        audit.note(entry("cancel_run", "1")).await;
        audit.note(Entry::login(None, None)).await;
        audit.note_of_command_line("set_secret", Some("CRM".to_owned())).unwrap();
        let shown = Audit::of(dir.path()).entries(10).unwrap();
        let words: Vec<_> = shown.iter().map(|entry| entry["what"].as_str().unwrap().to_owned()).collect();
        assert_eq!(words, ["set_secret", "login", "cancel_run"]);
        assert_eq!((&shown[2]["who"], &shown[2]["role"]), (&"ci".into(), &"operator".into()));
        assert_eq!(Audit::of(dir.path()).entries(1).unwrap(), shown[..1]);
        for name in [DEEDS, LOGINS] {
            let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn the_oldest_go_first_and_a_torn_line_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Ring { dir: dir.path(), name: DEEDS, file_bytes: 1_000 };
        for number in 0..100 {
            ring.append(&entry("cancel_run", &number.to_string()).line()).unwrap();
            if number == 98 {
                let mut file = OpenOptions::new().append(true).open(ring.file(0)).unwrap();
                file.write_all(b"{\"at\": \"20").unwrap();
            }
        }
        let files = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, FILES);
        let mut found = Vec::new();
        ring.newest(1_000, &mut found).unwrap();
        let targets: Vec<u32> = found.iter().map(|entry| entry["target"].as_str().unwrap().parse().unwrap()).collect();
        let newest: Vec<u32> = (0..100).rev().take(targets.len()).collect();
        assert_eq!(targets, newest);
        assert!((20..60).contains(&targets.len()), "{}", targets.len());
    }

    #[tokio::test]
    async fn who_guesses_does_not_push_a_deed_out() {
        let dir = tempfile::tempdir().unwrap();
        Audit::of(dir.path()).note(entry("rotate_url", "lead")).await;
        let guesses = Ring { dir: dir.path(), name: LOGINS, file_bytes: 200 };
        for _ in 0..100 {
            guesses.append(&Entry::login(None, None).line()).unwrap();
        }
        let shown = Audit::of(dir.path()).entries(1_000).unwrap();
        assert!(shown.len() < 20 && shown.iter().any(|entry| entry["what"] == "rotate_url"), "{shown:?}");
    }
}
