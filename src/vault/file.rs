//! The vault's file: what is sealed, under which key, and how one key takes the place of another.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::Error;

/// A key that the vault's own key is sealed under, or derived from.
pub struct Master {
    key: SecretBox<Vec<u8>>,
    /// As people call it.
    pub name: String,
}

impl Master {
    pub fn new(key: &[u8], name: impl Into<String>) -> Master {
        Master { key: SecretBox::new(Box::new(key.to_vec())), name: name.into() }
    }

    fn derived(&self, what: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose_secret()).expect("HMAC takes a key of any length");
        mac.update(what);
        mac.finalize().into_bytes().into()
    }

    /// Tells one from another, and nothing about either.
    pub(super) fn mark(&self) -> String {
        self.derived(b"millstream vault mark v1")[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn cipher(&self, what: &[u8]) -> Cipher {
        Cipher(XChaCha20Poly1305::new(&Key::from(self.derived(what))))
    }
}

#[derive(Clone)]
pub(super) struct Cipher(XChaCha20Poly1305);

impl Cipher {
    /// `aad` is authenticated too: a value cannot be moved under another name.
    pub fn seal(&self, value: &[u8], aad: &[u8]) -> Result<Sealed, Error> {
        let mut nonce = [0u8; 24];
        getrandom::fill(&mut nonce).map_err(|_| Error::Random)?;
        let sealed = self.0.encrypt(&XNonce::from(nonce), Payload { msg: value, aad }).map_err(|_| Error::Random)?;
        Ok(Sealed { nonce: STANDARD.encode(nonce), sealed: STANDARD.encode(sealed) })
    }

    pub fn open(&self, sealed: &Sealed, aad: &[u8]) -> Option<Vec<u8>> {
        let nonce: [u8; 24] = STANDARD.decode(&sealed.nonce).ok()?.try_into().ok()?;
        let sealed = STANDARD.decode(&sealed.sealed).ok()?;
        self.0.decrypt(&XNonce::from(nonce), Payload { msg: &sealed, aad }).ok()
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Sealed {
    nonce: String,
    sealed: String,
}

/// The key that the values are sealed under, itself sealed.
#[derive(Clone, Serialize, Deserialize)]
struct OwnKey {
    /// Counts up with each rotation.
    version: u32,
    sealed: Sealed,
}

/// What is kept apart, so that no name of one can be taken for one of the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Drawer {
    Secrets,
    Tokens,
}

impl Drawer {
    fn aad(self, name: &str) -> Vec<u8> {
        match self {
            Drawer::Secrets => name.as_bytes().to_vec(),
            // No secret's name holds a NUL.
            Drawer::Tokens => format!("token\0{name}").into_bytes(),
        }
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct File {
    v: u32,
    /// Which master it is under; none in the first version of the file, which knew the instance key alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    master: Option<String>,
    /// None until the first rotation: then the key is derived from the master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<OwnKey>,
    secrets: BTreeMap<String, Sealed>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tokens: BTreeMap<String, Sealed>,
}

/// Inode and time of change, ns: every write is a new file.
pub(super) type Stamp = (u64, i64, i64);

pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|file| (file.ino(), file.ctime(), file.ctime_nsec()))
}

impl File {
    /// A file that is not there is an empty one.
    pub fn read(path: &Path) -> Result<File, Error> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(File { v: 2, ..File::default() });
            }
            Err(source) => return Err(Error::Read { path: path.to_owned(), source }),
        };
        let file: File =
            serde_json::from_slice(&bytes).map_err(|source| Error::Parse { path: path.to_owned(), source })?;
        match file.v {
            1 | 2 => Ok(file),
            version => Err(Error::Newer { path: path.to_owned(), version }),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("names and base64 are plain JSON")
    }

    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.tokens.is_empty() && self.key.is_none()
    }

    /// The master that this is under: the first that fits.
    fn master<'m>(&self, path: &Path, masters: &'m [Master]) -> Result<&'m Master, Error> {
        let other = || Error::OtherKey { path: path.to_owned() };
        match &self.master {
            Some(mark) => masters.iter().find(|master| master.mark() == *mark).ok_or_else(other),
            // Nothing is in it yet, or it is of the first version, which the last of the masters made.
            None if self.is_empty() => masters.first().ok_or_else(other),
            None => masters.last().ok_or_else(other),
        }
    }

    /// What opens and seals the values, and the master's name.
    pub fn cipher(&self, path: &Path, masters: &[Master]) -> Result<(Cipher, String), Error> {
        let master = self.master(path, masters)?;
        let cipher = match &self.key {
            None => master.cipher(b"millstream vault v1"),
            Some(own) => {
                let key = master.cipher(b"millstream vault key v1").open(&own.sealed, &own.version.to_be_bytes());
                let key: Option<[u8; 32]> = key.and_then(|key| key.try_into().ok());
                let key = key.ok_or_else(|| Error::OtherKey { path: path.to_owned() })?;
                Cipher(XChaCha20Poly1305::new(&Key::from(key)))
            }
        };
        Ok((cipher, master.name.clone()))
    }

    pub fn names(&self, drawer: Drawer) -> impl Iterator<Item = &String> {
        self.drawer(drawer).keys()
    }

    fn drawer(&self, drawer: Drawer) -> &BTreeMap<String, Sealed> {
        match drawer {
            Drawer::Secrets => &self.secrets,
            Drawer::Tokens => &self.tokens,
        }
    }

    fn drawer_mut(&mut self, drawer: Drawer) -> &mut BTreeMap<String, Sealed> {
        match drawer {
            Drawer::Secrets => &mut self.secrets,
            Drawer::Tokens => &mut self.tokens,
        }
    }

    pub fn get(&self, drawer: Drawer, name: &str, cipher: &Cipher) -> Result<Option<SecretString>, Error> {
        let Some(sealed) = self.drawer(drawer).get(name) else { return Ok(None) };
        let value = cipher.open(sealed, &drawer.aad(name)).and_then(|value| String::from_utf8(value).ok());
        let value = value.ok_or_else(|| Error::Damaged { name: name.to_owned() })?;
        Ok(Some(value.into()))
    }

    pub fn set(
        &mut self,
        drawer: Drawer,
        name: &str,
        value: &SecretString,
        path: &Path,
        masters: &[Master],
    ) -> Result<(), Error> {
        let mark = self.master(path, masters)?.mark();
        let (cipher, _) = self.cipher(path, masters)?;
        let sealed = cipher.seal(value.expose_secret().as_bytes(), &drawer.aad(name))?;
        self.drawer_mut(drawer).insert(name.to_owned(), sealed);
        (self.v, self.master) = (2, Some(mark));
        Ok(())
    }

    pub fn remove(&mut self, drawer: Drawer, name: &str) -> bool {
        self.drawer_mut(drawer).remove(name).is_some()
    }

    /// The same under a new key, which is sealed under the first of the masters. Every value must be readable.
    pub fn rotated(&self, path: &Path, masters: &[Master]) -> Result<(File, u32), Error> {
        let (old, _) = self.cipher(path, masters)?;
        let master = masters.first().ok_or_else(|| Error::OtherKey { path: path.to_owned() })?;
        let mut key = [0u8; 32];
        getrandom::fill(&mut key).map_err(|_| Error::Random)?;
        let version = self.key.as_ref().map_or(1, |own| own.version).saturating_add(1);
        let new = Cipher(XChaCha20Poly1305::new(&Key::from(key)));
        let sealed = master.cipher(b"millstream vault key v1").seal(&key, &version.to_be_bytes())?;
        let mut file =
            File { v: 2, master: Some(master.mark()), key: Some(OwnKey { version, sealed }), ..File::default() };
        for drawer in [Drawer::Secrets, Drawer::Tokens] {
            for name in self.names(drawer) {
                let Some(value) = self.get(drawer, name, &old)? else { continue };
                let sealed = new.seal(value.expose_secret().as_bytes(), &drawer.aad(name))?;
                file.drawer_mut(drawer).insert(name.clone(), sealed);
            }
        }
        Ok((file, version))
    }
}

/// Held while the file is changed, over processes.
pub(super) struct Lock(#[expect(dead_code, reason = "the lock goes with the descriptor")] fs::File);

impl Lock {
    pub fn take(path: &Path) -> Result<Lock, Error> {
        let lock: PathBuf = path.with_extension("lock");
        let wrong = |source| Error::Write { path: lock.clone(), source };
        let mut options = fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(options.create(true).truncate(false).write(true), 0o600);
        let file = options.open(&lock).map_err(wrong)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).map_err(|error| wrong(error.into()))?;
        Ok(Lock(file))
    }
}
