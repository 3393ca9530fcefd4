//! One folder that no path leads out of: every part of a path is opened from the one before it, and links are not followed.
//! So it does not matter what a path says, nor what others change in the folder meanwhile.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Access, AtFlags, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::connector::{Class, Connection, Failure};

/// How Millstream's own folder is called by default.
const OWN: &str = ".millstream";
/// Deepest path, folders.
const DEEPEST: usize = 64;
/// Beginning of names that this connector keeps for itself.
pub(super) const HIDDEN: &str = ".millstream-";

/// The connection's folder, open.
pub(super) struct Folder {
    root: OwnedFd,
    /// The data folder, whatever it is called: keys and the journal. No step reads or writes there.
    own: Option<Identity>,
}

/// The same for one file or folder by all of its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    #[expect(clippy::unnecessary_cast, reason = "of another width on other systems")]
    fn of(found: &Stat) -> Identity {
        Identity { device: found.st_dev as u64, inode: found.st_ino as u64 }
    }
}

/// A name in an open folder, and how messages call it.
pub(super) struct Place {
    pub folder: OwnedFd,
    pub name: String,
    pub shown: String,
}

fn path_refused(path: &str, why: &str) -> Failure {
    let path: String = path.chars().filter(|letter| !letter.is_control()).take(200).collect();
    Failure::new(Class::Permanent, "file.path", format!("the path `{path}` {why}"))
}

impl Folder {
    /// `data` is Millstream's own folder, if there is one.
    pub fn open(connection: &Connection, data: Option<&Path>) -> Result<Folder, Failure> {
        let set = connection.settings.get("folder").and_then(serde_json::Value::as_str).unwrap_or_default();
        let path = connection.dir.join(set);
        let held = |why: String| {
            let what = format!("the folder {} of the connection `{}` {why}", path.display(), connection.name);
            Failure::new(Class::Held, "file.folder", what)
        };
        let whole = path.canonicalize().map_err(|error| held(format!("cannot be used ({error}); make it")))?;
        let own = data.and_then(|data| rustix::fs::stat(data).ok()).map(|found| Identity::of(&found));
        let is_own =
            |folder: &Path| own.is_some() && rustix::fs::stat(folder).ok().map(|found| Identity::of(&found)) == own;
        if whole.components().any(|part| part.as_os_str() == OWN) || whole.ancestors().any(is_own) {
            return Err(held("is Millstream's own, which no step may use; name another".to_owned()));
        }
        let root = rustix::fs::open(&whole, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let root = root.map_err(|error| held(format!("cannot be opened ({error}); mend it or its rights")))?;
        Ok(Folder { root, own })
    }

    /// Fails if this process may not write there.
    pub fn writable(&self, connection: &Connection) -> Result<(), Failure> {
        let asked = rustix::fs::accessat(&self.root, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty());
        asked.map_err(|error| {
            let name = &connection.name;
            let what = format!("files cannot be written to the folder of the connection `{name}` ({error}); mend its rights, or set `read_only`");
            Failure::new(Class::Held, "file.denied", what)
        })
    }

    /// The parts of a path that stays inside.
    fn parts(path: &str) -> Result<Vec<&str>, Failure> {
        if path.starts_with('/') {
            return Err(path_refused(path, "is absolute; it starts at the connection's folder"));
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        for part in &parts {
            if *part == ".." {
                return Err(path_refused(path, "holds `..`, which could lead out of the connection's folder"));
            }
            if part.contains('\0') || part.len() > 255 {
                return Err(path_refused(path, "has a part that no file can be called"));
            }
            if *part == OWN || part.starts_with(HIDDEN) {
                return Err(path_refused(path, "leads to what Millstream keeps for itself"));
            }
        }
        if parts.len() > DEEPEST {
            return Err(path_refused(path, "has too many folders"));
        }
        Ok(parts)
    }

    fn down(&self, path: &str, parts: &[&str], make: bool) -> Result<OwnedFd, Failure> {
        let mut folder = self.root.try_clone().map_err(|error| failed(path, &error))?;
        for part in parts {
            folder = match enter(&folder, part) {
                Err(Errno::NOENT) if make => {
                    match rustix::fs::mkdirat(&folder, *part, Mode::from_raw_mode(0o777)) {
                        Ok(()) => sync(&folder).map_err(|error| failed(path, &error))?,
                        Err(Errno::EXIST) => {}
                        Err(error) => return Err(failed(path, &error.into())),
                    }
                    enter(&folder, part)
                }
                entered => entered,
            }
            .map_err(|error| match error {
                Errno::LOOP | Errno::NOTDIR => no_folder(path, &folder, part),
                error => failed(path, &error.into()),
            })?;
            let found = rustix::fs::fstat(&folder).map_err(|error| failed(path, &error.into()))?;
            if self.own == Some(Identity::of(&found)) {
                return Err(path_refused(path, "leads to what Millstream keeps for itself"));
            }
        }
        Ok(folder)
    }

    /// The open folder at `path`, which may be this one itself.
    pub fn folder(&self, path: &str) -> Result<OwnedFd, Failure> {
        self.down(path, &Folder::parts(path)?, false)
    }

    /// The place of a file; its folder must be there, or is made.
    pub fn place(&self, path: &str, make: bool) -> Result<Place, Failure> {
        let parts = Folder::parts(path)?;
        let Some((name, folders)) = parts.split_last() else {
            return Err(path_refused(path, "names no file"));
        };
        if path.ends_with('/') {
            return Err(path_refused(path, "names a folder, and a file is wanted"));
        }
        Ok(Place { folder: self.down(path, folders, make)?, name: (*name).to_owned(), shown: parts.join("/") })
    }
}

/// What stands in the way is told by its kind: a link is refused, all else is simply no folder.
fn no_folder(path: &str, folder: &OwnedFd, part: &str) -> Failure {
    match rustix::fs::statat(folder, part, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if is(&found, rustix::fs::FileType::Symlink) => {
            path_refused(path, "leads over a symbolic link, which is not followed")
        }
        _ => path_refused(path, "leads through what is no folder"),
    }
}

/// What an error of the system says about the call.
pub(super) fn failed(path: &str, error: &io::Error) -> Failure {
    let make = |class: Class, code: &str, why: String| Failure::new(class, code, why);
    match error.kind() {
        io::ErrorKind::NotFound => make(Class::Permanent, "file.missing", format!("`{path}` is not there")),
        io::ErrorKind::AlreadyExists => make(Class::Permanent, "file.exists", format!("`{path}` is there already")),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            make(Class::Held, "file.denied", format!("`{path}`: {error}; mend the rights of file and folder"))
        }
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => {
            make(Class::Permanent, "file.path", format!("`{path}`: {error}"))
        }
        // A full disk, an I/O error: nothing of the file was changed.
        _ => make(Class::Retry, "file.unavailable", format!("`{path}`: {error}")),
    }
}

impl Place {
    /// The regular file here, open; `None` if nothing is here.
    pub fn open(&self, flags: OFlags) -> Result<Option<(File, Stat)>, Failure> {
        // Nonblocking, for a pipe would wait for its other end.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.folder, &self.name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(path_refused(&self.shown, "is a symbolic link, which is not followed")),
            Err(Errno::ISDIR | Errno::NXIO) => return Err(self.no_file()),
            Err(error) => return Err(self.failed(&error.into())),
        };
        let found = rustix::fs::fstat(&fd).map_err(|error| self.failed(&error.into()))?;
        if !is(&found, rustix::fs::FileType::RegularFile) {
            return Err(self.no_file());
        }
        Ok(Some((File::from(fd), found)))
    }

    /// A file of another name beside this one, empty, open for writing, and locked: whoever else wants it waits until this
    /// one is renamed, removed or closed. What a crash left of that name is used again.
    pub fn fresh(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        loop {
            let file = File::from(rustix::fs::openat(&self.folder, name, flags, Mode::from_raw_mode(0o666))?);
            rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
            let opened = rustix::fs::fstat(&file)?;
            match rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                // Who had it before has renamed or removed it.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
                Ok(named) if Identity::of(&named) != Identity::of(&opened) => {}
                Ok(named) if named.st_nlink == 1 && is(&named, rustix::fs::FileType::RegularFile) => {
                    file.set_len(0)?;
                    return Ok(file);
                }
                // It is the file itself too: its writer died between the two names.
                Ok(_) => rustix::fs::unlinkat(&self.folder, name, AtFlags::empty())?,
            }
        }
    }

    fn no_file(&self) -> Failure {
        path_refused(&self.shown, "is no file")
    }

    pub fn failed(&self, error: &io::Error) -> Failure {
        failed(&self.shown, error)
    }
}

fn enter(folder: &OwnedFd, part: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, part, flags, Mode::empty())
}

/// A name is durable once its folder is.
pub(super) fn sync(folder: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::fsync(folder)?)
}

pub(super) fn is(found: &Stat, kind: rustix::fs::FileType) -> bool {
    rustix::fs::FileType::from_raw_mode(found.st_mode) == kind
}

/// A name as text; those that are not UTF-8 are left out of lists, since no step could name them.
pub(super) fn as_text(name: &std::ffi::CStr) -> Option<String> {
    Path::new(OsStr::from_bytes(name.to_bytes())).to_str().map(str::to_owned)
}
