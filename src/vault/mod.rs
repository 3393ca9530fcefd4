//! Secrets and tokens at rest: each encrypted by itself, in one file, under a key that is derived from the instance key or,
//! after a rotation, sealed under it (or under one of the user's own).
//!
//! Names are in the clear, values never. A file that was changed by someone else, or a wrong key, is an error.

mod file;

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use secrecy::SecretString;

use crate::private;
use file::{Cipher, Drawer, File, Lock, Stamp, stamp};

pub use file::Master;

/// What is wrong with the vault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path} could not be read: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} could not be written: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a vault: {source}")]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("{path} was written by a newer Millstream (format {version})")]
    Newer { path: PathBuf, version: u32 },
    #[error("`{name}` cannot be decrypted: the key is another one, or the file was changed")]
    Damaged { name: String },
    #[error(
        "{path} is under another key than the instance key and `vault.key` of millstream.yaml; put the right one back, \
         or name it: `millstream secret rotate-key --old-key FILE`"
    )]
    OtherKey { path: PathBuf },
    #[error("`{name}` is not a secret's name: letters, digits and `_`, 128 at most")]
    Name { name: String },
    #[error("{0}")]
    OpenToOthers(String),
    #[error("the system gives no random numbers")]
    Random,
}

/// The vault of one data folder.
pub struct Vault {
    path: PathBuf,
    /// The first seals what is new; each may have sealed what is there.
    masters: Vec<Master>,
    read: RwLock<Read>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({})", self.path.display())
    }
}

/// The file as last read: another process may have written it since.
struct Read {
    file: File,
    /// With the name of what it is under; none if that is not at hand.
    cipher: Option<(Cipher, String)>,
    stamp: Option<Stamp>,
}

impl Read {
    fn open(path: &Path, masters: &[Master]) -> Result<Read, Error> {
        // Before the content, so that a write in between is seen as a change the next time.
        let stamp = stamp(path);
        let file = File::read(path)?;
        // A wrong key is no reason not to start: what needs no secret goes on.
        let cipher = match file.cipher(path, masters) {
            Err(Error::OtherKey { .. }) => None,
            found => Some(found?),
        };
        Ok(Read { file, cipher, stamp })
    }
}

impl Vault {
    /// Opens `data_dir/vault.json`; a missing file is an empty vault. Values are decrypted when they are asked for.
    pub fn open(data_dir: &Path, instance_key: &[u8]) -> Result<Vault, Error> {
        Vault::open_under(data_dir, vec![Master::new(instance_key, "the instance key")])
    }

    /// The same where there may be another key than the instance key, which is the last of `masters`. The first is for
    /// what is new.
    pub fn open_under(data_dir: &Path, masters: Vec<Master>) -> Result<Vault, Error> {
        let path = data_dir.join("vault.json");
        private::check(&path).map_err(Error::OpenToOthers)?;
        let read = Read::open(&path, &masters)?;
        Ok(Vault { path, masters, read: RwLock::new(read) })
    }

    /// The folder that it is in: the data folder.
    pub fn folder(&self) -> Option<&Path> {
        self.path.parent()
    }

    /// All names of secrets, sorted.
    pub fn names(&self) -> Vec<String> {
        self.look(|read| read.file.names(Drawer::Secrets).cloned().collect())
    }

    /// The value; `None` if there is no such secret.
    pub fn get(&self, name: &str) -> Result<Option<SecretString>, Error> {
        self.value(Drawer::Secrets, name)
    }

    /// What is kept of a connection's token.
    pub fn token(&self, connection: &str) -> Result<Option<SecretString>, Error> {
        self.value(Drawer::Tokens, connection)
    }

    /// Adds or replaces. Durable when it returns `Ok`.
    pub fn set(&self, name: &str, value: &SecretString) -> Result<(), Error> {
        let letters = name.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_');
        if name.is_empty() || name.len() > 128 || !letters {
            return Err(Error::Name { name: name.chars().filter(|letter| !letter.is_control()).take(128).collect() });
        }
        self.change(|file| file.set(Drawer::Secrets, name, value, &self.path, &self.masters))
    }

    /// Keeps a connection's token in place of the one before. Durable when it returns `Ok`.
    pub fn set_token(&self, connection: &str, token: &SecretString) -> Result<(), Error> {
        self.change(|file| file.set(Drawer::Tokens, connection, token, &self.path, &self.masters))
    }

    /// True if it was there. Durable when it returns `Ok`.
    pub fn remove(&self, name: &str) -> Result<bool, Error> {
        self.change(|file| Ok(file.remove(Drawer::Secrets, name)))
    }

    /// Seals everything anew, under a new key; that one is sealed under the first of the masters. After a crash at any
    /// moment the file is the old one or the new one, whole. Returns the key's version.
    pub fn rotate(&self) -> Result<u32, Error> {
        self.change(|file| {
            let (rotated, version) = file.rotated(&self.path, &self.masters)?;
            *file = rotated;
            Ok(version)
        })
    }

    /// True if another key than the first of the masters has sealed what is there: a rotation would change that.
    pub fn is_under_another(&self) -> bool {
        let first = self.masters.first().map(|first| first.name.as_str());
        self.look(|read| !read.file.is_empty() && read.cipher.as_ref().map(|(_, under)| under.as_str()) != first)
    }

    fn look<T>(&self, look: impl FnOnce(&Read) -> T) -> T {
        look(&self.read.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn value(&self, drawer: Drawer, name: &str) -> Result<Option<SecretString>, Error> {
        // Another process may have written the file: a secret set beside a running server counts at once.
        if self.look(|read| read.stamp) != stamp(&self.path) {
            let read = Read::open(&self.path, &self.masters)?;
            *self.read.write().unwrap_or_else(PoisonError::into_inner) = read;
        }
        self.look(|read| match &read.cipher {
            Some((cipher, _)) => read.file.get(drawer, name, cipher),
            None if read.file.names(drawer).any(|known| known == name) => {
                Err(Error::OtherKey { path: self.path.clone() })
            }
            None => Ok(None),
        })
    }

    /// Writes the changed file first, then changes what is read. One writer at a time, over processes: a secret that is
    /// set beside a running server must not take back a token that the server has just kept.
    fn change<T>(&self, change: impl FnOnce(&mut File) -> Result<T, Error>) -> Result<T, Error> {
        let _lock = Lock::take(&self.path)?;
        let mut file = File::read(&self.path)?;
        let result = change(&mut file)?;
        private::write(&self.path, &file.bytes()).map_err(|source| Error::Write { path: self.path.clone(), source })?;
        let read = Read::open(&self.path, &self.masters)?;
        *self.read.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use secrecy::ExposeSecret;
    use serde_json::Value;

    use super::*;

    fn text(dir: &tempfile::TempDir) -> String {
        fs::read_to_string(dir.path().join("vault.json")).unwrap()
    }

    fn read(vault: &Vault, name: &str) -> Option<String> {
        vault.get(name).unwrap().map(|value| value.expose_secret().to_owned())
    }

    #[test]
    fn a_rotation_seals_everything_anew_while_others_read_on() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path(), b"key").unwrap();
        vault.set("A", &"canary-a".to_owned().into()).unwrap();
        vault.set_token("crm", &"canary-token".to_owned().into()).unwrap();
        let before: Value = serde_json::from_str(&text(&dir)).unwrap();
        // Another process, as far as the file knows.
        let other = Vault::open(dir.path(), b"key").unwrap();
        assert_eq!(other.rotate().unwrap(), 2);
        let after: Value = serde_json::from_str(&text(&dir)).unwrap();
        for place in ["/secrets/A/sealed", "/tokens/crm/sealed"] {
            assert_ne!(before.pointer(place).unwrap(), after.pointer(place).unwrap(), "{place}");
        }
        assert_eq!(read(&vault, "A").as_deref(), Some("canary-a"));
        assert_eq!(vault.token("crm").unwrap().unwrap().expose_secret(), "canary-token");
        vault.set("B", &"b".to_owned().into()).unwrap();
        assert_eq!(read(&other, "B").as_deref(), Some("b"));
        assert_eq!(other.rotate().unwrap(), 3);
        assert!(!text(&dir).contains("canary"));
    }

    #[test]
    fn a_rotation_moves_the_vault_to_a_key_of_ones_own_and_from_one_to_another() {
        let dir = tempfile::tempdir().unwrap();
        let under = |keys: &[&str]| {
            let own = keys.iter().map(|key| Master::new(key.as_bytes(), *key));
            Vault::open_under(dir.path(), own.chain([Master::new(b"instance", "instance")]).collect())
        };
        Vault::open(dir.path(), b"instance").unwrap().set("A", &"a".to_owned().into()).unwrap();
        // What is under the instance key is read on, until the rotation.
        let vault = under(&["own"]).unwrap();
        assert!(vault.is_under_another() && read(&vault, "A").as_deref() == Some("a"));
        vault.rotate().unwrap();
        assert!(!vault.is_under_another());
        let locked_out = |vault: Vault| matches!(vault.get("A"), Err(Error::OtherKey { .. }));
        assert!(locked_out(Vault::open(dir.path(), b"instance").unwrap()) && locked_out(under(&["next"]).unwrap()));
        assert!(under(&["next"]).unwrap().rotate().is_err());
        under(&["next", "own"]).unwrap().rotate().unwrap();
        assert_eq!(read(&under(&["next"]).unwrap(), "A").as_deref(), Some("a"));
        assert!(locked_out(under(&["own"]).unwrap()));
    }

    #[test]
    fn a_rotation_that_meets_a_value_it_cannot_read_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path(), b"key").unwrap();
        vault.set("A", &"a".to_owned().into()).unwrap();
        vault.set("B", &"b".to_owned().into()).unwrap();
        let mut file: Value = serde_json::from_str(&text(&dir)).unwrap();
        file["secrets"]["B"] = file["secrets"]["A"].clone();
        private::write(&dir.path().join("vault.json"), file.to_string().as_bytes()).unwrap();
        let before = text(&dir);
        assert!(matches!(vault.rotate(), Err(Error::Damaged { .. })));
        assert_eq!(text(&dir), before);
    }

    #[test]
    fn many_writers_at_once_take_nothing_back() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                // Each its own, as processes have.
                let vault = Vault::open(dir.path(), b"key").unwrap();
                scope.spawn(move || {
                    for number in 0..5 {
                        vault.set(&format!("S{writer}_{number}"), &"x".to_owned().into()).unwrap();
                        vault.set_token(&format!("t{writer}_{number}"), &"x".to_owned().into()).unwrap();
                        if number == 2 {
                            vault.rotate().unwrap();
                        }
                    }
                });
            }
        });
        let vault = Vault::open(dir.path(), b"key").unwrap();
        assert_eq!(vault.names().len(), 20);
        for name in vault.names() {
            assert_eq!(read(&vault, &name).as_deref(), Some("x"));
            assert!(vault.token(&name.to_lowercase().replacen('s', "t", 1)).unwrap().is_some(), "{name}");
        }
    }

    #[test]
    fn a_file_of_the_first_version_is_read_and_what_is_added_keeps_it_readable() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path(), b"key").unwrap();
        vault.set("A", &"a".to_owned().into()).unwrap();
        let mut file: Value = serde_json::from_str(&text(&dir)).unwrap();
        file["v"] = 1.into();
        file.as_object_mut().unwrap().remove("master");
        private::write(&dir.path().join("vault.json"), file.to_string().as_bytes()).unwrap();
        let vault =
            Vault::open_under(dir.path(), vec![Master::new(b"own", "own"), Master::new(b"key", "the instance key")]);
        let vault = vault.unwrap();
        vault.set("B", &"b".to_owned().into()).unwrap();
        assert_eq!((read(&vault, "A").as_deref(), read(&vault, "B").as_deref()), (Some("a"), Some("b")));
        assert!(vault.is_under_another());
        vault.rotate().unwrap();
        assert_eq!((read(&vault, "A").as_deref(), read(&vault, "B").as_deref()), (Some("a"), Some("b")));
    }

    #[test]
    fn a_secret_survives_a_restart_and_its_value_is_nowhere_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path(), b"instance key").unwrap();
        vault.set("CRM_SECRET", &"canary-value".to_owned().into()).unwrap();
        let vault = Vault::open(dir.path(), b"instance key").unwrap();
        assert_eq!(vault.get("CRM_SECRET").unwrap().unwrap().expose_secret(), "canary-value");
        assert_eq!(vault.names(), ["CRM_SECRET"]);
        let text = fs::read_to_string(dir.path().join("vault.json")).unwrap();
        assert!(!text.contains("canary") && !text.contains(&STANDARD.encode("canary-value")), "{text}");
        assert!(vault.remove("CRM_SECRET").unwrap());
        assert!(!vault.remove("CRM_SECRET").unwrap());
        assert!(Vault::open(dir.path(), b"instance key").unwrap().get("CRM_SECRET").unwrap().is_none());
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_can_read_the_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path(), b"key").unwrap();
        vault.set("A", &"x".to_owned().into()).unwrap();
        let mode = fs::metadata(dir.path().join("vault.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_wrong_key_a_flipped_bit_and_a_moved_value_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path(), b"key").unwrap();
        vault.set("A", &"value".to_owned().into()).unwrap();
        let damaged = |vault: &Vault, name: &str| matches!(vault.get(name), Err(Error::Damaged { .. }));
        let other = Vault::open(dir.path(), b"other").unwrap();
        assert!(matches!(other.get("A"), Err(Error::OtherKey { .. })) && other.get("B").unwrap().is_none());

        let path = dir.path().join("vault.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"A\"", "\"B\"")).unwrap();
        assert!(damaged(&Vault::open(dir.path(), b"key").unwrap(), "B"));

        let mut file: Value = serde_json::from_str(&text).unwrap();
        let mut bytes = STANDARD.decode(file["secrets"]["A"]["sealed"].as_str().unwrap()).unwrap();
        bytes[0] ^= 1;
        file["secrets"]["A"]["sealed"] = STANDARD.encode(bytes).into();
        fs::write(&path, file.to_string()).unwrap();
        assert!(damaged(&Vault::open(dir.path(), b"key").unwrap(), "A"));
    }

    #[test]
    fn a_broken_file_and_a_bad_name_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path(), b"key").unwrap();
        assert!(matches!(vault.set("no/name", &"x".to_owned().into()), Err(Error::Name { .. })));
        let path = dir.path().join("vault.json");
        fs::write(&path, "{").unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        assert!(matches!(Vault::open(dir.path(), b"key"), Err(Error::Parse { .. })));
    }
}
