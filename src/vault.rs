//! Secrets at rest: each encrypted by itself, under a key derived from the instance key, in one file.
//!
//! Names are in the clear, values never. A file that was changed by someone else, or a wrong instance key, is an error.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::private;

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
    #[error("the secret `{name}` cannot be decrypted: the instance key is another one, or the file was changed")]
    Damaged { name: String },
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
    cipher: XChaCha20Poly1305,
    secrets: RwLock<Read>,
    /// One writer at a time.
    writing: Mutex<()>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({})", self.path.display())
    }
}

/// The file as last read: another process may have written it since.
#[derive(Default)]
struct Read {
    secrets: BTreeMap<String, Sealed>,
    stamp: Option<Stamp>,
}

/// Inode and time of change, ns: every write is a new file.
type Stamp = (u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|file| (file.ino(), file.ctime(), file.ctime_nsec()))
}

#[derive(Clone, Serialize, Deserialize)]
struct Sealed {
    nonce: String,
    sealed: String,
}

#[derive(Serialize, Deserialize)]
struct File {
    v: u32,
    secrets: BTreeMap<String, Sealed>,
}

impl Read {
    fn file(path: &Path) -> Result<Read, Error> {
        // Before the content, so that a write in between is seen as a change the next time.
        let stamp = stamp(path);
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Read::default()),
            Err(source) => return Err(Error::Read { path: path.to_owned(), source }),
        };
        let file: File =
            serde_json::from_slice(&bytes).map_err(|source| Error::Parse { path: path.to_owned(), source })?;
        if file.v != 1 {
            return Err(Error::Newer { path: path.to_owned(), version: file.v });
        }
        Ok(Read { secrets: file.secrets, stamp })
    }
}

impl Vault {
    /// Opens `data_dir/vault.json`; a missing file is an empty vault. Values are decrypted when they are asked for.
    pub fn open(data_dir: &Path, instance_key: &[u8]) -> Result<Vault, Error> {
        let path = data_dir.join("vault.json");
        private::check(&path).map_err(Error::OpenToOthers)?;
        let read = Read::file(&path)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(instance_key).expect("HMAC takes a key of any length");
        mac.update(b"millstream vault v1");
        let key: [u8; 32] = mac.finalize().into_bytes().into();
        let cipher = XChaCha20Poly1305::new(&Key::from(key));
        Ok(Vault { path, cipher, secrets: RwLock::new(read), writing: Mutex::new(()) })
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner).secrets.keys().cloned().collect()
    }

    /// The value; `None` if there is no such secret.
    pub fn get(&self, name: &str) -> Result<Option<SecretString>, Error> {
        self.refresh()?;
        let sealed = self.secrets.read().unwrap_or_else(PoisonError::into_inner).secrets.get(name).cloned();
        let Some(sealed) = sealed else { return Ok(None) };
        let damaged = || Error::Damaged { name: name.to_owned() };
        let nonce: [u8; 24] =
            STANDARD.decode(&sealed.nonce).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(damaged)?;
        let sealed = STANDARD.decode(&sealed.sealed).map_err(|_| damaged())?;
        // The name is authenticated too: a value cannot be moved under another name.
        let payload = Payload { msg: &sealed, aad: name.as_bytes() };
        let value = self.cipher.decrypt(&XNonce::from(nonce), payload).map_err(|_| damaged())?;
        String::from_utf8(value).map(|text| Some(text.into())).map_err(|_| damaged())
    }

    /// Reads the file again if another process has written it: a secret set beside a running server counts at once.
    fn refresh(&self) -> Result<(), Error> {
        let known = self.secrets.read().unwrap_or_else(PoisonError::into_inner).stamp;
        if known != stamp(&self.path) {
            let read = Read::file(&self.path)?;
            *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = read;
        }
        Ok(())
    }

    /// Adds or replaces. Durable when it returns `Ok`.
    pub fn set(&self, name: &str, value: &SecretString) -> Result<(), Error> {
        let letters = name.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_');
        if name.is_empty() || name.len() > 128 || !letters {
            return Err(Error::Name { name: name.chars().filter(|letter| !letter.is_control()).take(128).collect() });
        }
        let mut nonce = [0u8; 24];
        getrandom::fill(&mut nonce).map_err(|_| Error::Random)?;
        let payload = Payload { msg: value.expose_secret().as_bytes(), aad: name.as_bytes() };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| Error::Random)?;
        let sealed = Sealed { nonce: STANDARD.encode(nonce), sealed: STANDARD.encode(sealed) };
        self.change(|secrets| secrets.insert(name.to_owned(), sealed)).map(|_| ())
    }

    /// True if it was there. Durable when it returns `Ok`.
    pub fn remove(&self, name: &str) -> Result<bool, Error> {
        self.change(|secrets| secrets.remove(name)).map(|old| old.is_some())
    }

    /// Writes the changed file first, then changes what is read.
    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Sealed>) -> T) -> Result<T, Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.refresh()?;
        let mut secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner).secrets.clone();
        let result = change(&mut secrets);
        let file = File { v: 1, secrets };
        let bytes = serde_json::to_vec_pretty(&file).expect("names and base64 are plain JSON");
        private::write(&self.path, &bytes).map_err(|source| Error::Write { path: self.path.clone(), source })?;
        let read = Read { secrets: file.secrets, stamp: stamp(&self.path) };
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(damaged(&Vault::open(dir.path(), b"other").unwrap(), "A"));

        let path = dir.path().join("vault.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"A\"", "\"B\"")).unwrap();
        assert!(damaged(&Vault::open(dir.path(), b"key").unwrap(), "B"));

        let mut file: File = serde_json::from_str(&text).unwrap();
        let sealed = &mut file.secrets.get_mut("A").unwrap().sealed;
        let mut bytes = STANDARD.decode(&*sealed).unwrap();
        bytes[0] ^= 1;
        *sealed = STANDARD.encode(bytes);
        fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
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
