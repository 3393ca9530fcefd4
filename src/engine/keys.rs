//! The keys in flows' URLs: derived from the instance key, never stored, compared in constant time.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::RwLock;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::flow::Flow;
use crate::journal::{self, Journal};
use crate::private;
use crate::run::{Place, RunId};

/// Characters of the key of a `wait` step.
pub(super) const RESUME_KEY_LEN: usize = 32;

/// The secret that makes this instance's URLs its own. Whoever moves the file moves the URLs.
pub struct InstanceKey(SecretBox<[u8; 32]>);

impl fmt::Debug for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstanceKey(…)")
    }
}

impl InstanceKey {
    /// Reads `data/instance.key` (64 hexadecimal digits), or makes one, if there is no store yet that knew another.
    ///
    /// # Errors
    /// A sentence for a person, if the file cannot be read or written, is no key, is open to others, or is missing.
    pub fn open(data: &Path) -> Result<InstanceKey, String> {
        let path = data.join("instance.key");
        let shown = path.display();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if ["generation", "store"].iter().any(|name| data.join(name).exists()) {
                    return Err(format!(
                        "{shown}: E-STORE-007 the instance key is missing\n  the store beside it was in use: with another \
                         key every URL would change, and secrets could not be read\n  put the file back from a backup; if \
                         it is lost for good, `millstream store new-key` makes another"
                    ));
                }
                InstanceKey::make(data)?;
                fs::read_to_string(&path).map_err(|error| format!("{shown} could not be read: {error}"))?
            }
            Err(error) => return Err(format!("{shown} could not be read: {error}")),
        };
        private::check(&path)?;
        let digits = text.trim().as_bytes();
        let mut bytes = [0u8; 32];
        let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        let pairs: Option<Vec<u8>> = pairs.collect();
        match pairs {
            Some(found) if found.len() == 32 => bytes.copy_from_slice(&found),
            _ => {
                return Err(format!(
                    "{shown} is not an instance key (64 hexadecimal digits); put the right file back, \
                     or remove it and every URL changes"
                ));
            }
        }
        Ok(InstanceKey(SecretBox::new(Box::new(bytes))))
    }

    /// Makes `data/instance.key`, readable by its owner alone. Where another process made it meanwhile, that one stays.
    ///
    /// # Errors
    /// A sentence for a person.
    pub fn make(data: &Path) -> Result<(), String> {
        let path = data.join("instance.key");
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).map_err(|error| format!("no randomness for a new key: {error}"))?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let own = data.join(format!("instance.key.{}", std::process::id()));
        let made = private::write(&own, text.as_bytes()).and_then(|()| match fs::hard_link(&own, &path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            // A file system without links.
            Err(_) => fs::rename(&own, &path),
            Ok(()) => fs::File::open(data)?.sync_all(),
        });
        let _ = fs::remove_file(&own);
        made.map_err(|error| format!("{} could not be written: {error}", path.display()))
    }

    /// The key itself, for deriving others.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose_secret()
    }

    /// 192 bits for the `wait` step at one place of one run, as URL-safe base64 of 32 characters.
    pub(super) fn resume_key(&self, run: RunId, place: &Place) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.expose()).expect("HMAC takes keys of any length");
        mac.update(b"millstream resume 1\0");
        mac.update(run.0.as_bytes());
        mac.update(place.to_string().as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..RESUME_KEY_LEN / 4 * 3])
    }

    /// 192 bits for one flow name and key version, as URL-safe base64 of 32 characters.
    fn url_key(&self, flow: &str, version: u32) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.expose()).expect("HMAC takes keys of any length");
        mac.update(b"millstream url 1\0");
        mac.update(flow.as_bytes());
        mac.update(&[0]);
        mac.update(&version.to_be_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..24])
    }
}

/// Which key versions of a flow are good.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Versions {
    current: u32,
    /// Older versions in their grace, and until when (ms since 1970).
    #[serde(default)]
    older: Vec<(u32, i64)>,
}

/// Derived keys by flow name, and when each ends.
type Derived = HashMap<String, Vec<(String, Option<i64>)>>;

pub(super) struct Keys {
    instance: InstanceKey,
    versions: RwLock<HashMap<String, Versions>>,
    derived: RwLock<Derived>,
    /// What an unknown flow's key is compared with, so that it takes as long.
    nobody: String,
}

const PREFIX: &str = "url/";

impl Keys {
    pub fn load(instance: InstanceKey, journal: &Journal) -> Result<Keys, journal::Error> {
        let mut versions = HashMap::new();
        for (name, value) in journal.settings(PREFIX)? {
            let flow = name.trim_start_matches(PREFIX).to_owned();
            let found = serde_json::from_slice(&value)
                .map_err(|error| journal::Error::Read(format!("the key version of flow `{flow}`: {error}")))?;
            versions.insert(flow, found);
        }
        let nobody = instance.url_key("", 0);
        Ok(Keys { instance, versions: RwLock::new(versions), derived: RwLock::default(), nobody })
    }

    /// True if `given` is a good key of the flow called `flow`.
    pub fn is_right(&self, flow: &str, given: &str, known: bool, now_ms: i64) -> bool {
        if !known {
            let _ = self.nobody.as_bytes().ct_eq(given.as_bytes());
            return false;
        }
        let judge = |keys: &[(String, Option<i64>)]| {
            keys.iter().fold(false, |right, (key, until)| {
                let same: bool = key.as_bytes().ct_eq(given.as_bytes()).into();
                right | (same & until.is_none_or(|until| now_ms < until))
            })
        };
        let derived = self.derived.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(keys) = derived.get(flow) {
            return judge(keys);
        }
        drop(derived);
        // Derived under the lock: a rotation in between would leave the retired keys here, and the new one out.
        let mut derived = self.derived.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        judge(derived.entry(flow.to_owned()).or_insert_with(|| self.derive(flow)))
    }

    /// Path of the URL that ends the `wait` step at a place of a run of this flow.
    ///
    /// Where a flow's URL has its key, it has a word that is too short to be one.
    pub fn resume_path(&self, flow: &str, run: RunId, place: &Place) -> String {
        format!("/hooks/{flow}/resume/{run}/{place}/{}", self.instance.resume_key(run, place))
    }

    /// See [`InstanceKey::resume_key`].
    pub fn resume_key(&self, run: RunId, place: &Place) -> String {
        self.instance.resume_key(run, place)
    }

    /// True if `given` is the key for the step at this place of this run.
    pub fn may_resume(&self, run: RunId, place: &Place, given: &str) -> bool {
        self.instance.resume_key(run, place).as_bytes().ct_eq(given.as_bytes()).into()
    }

    pub fn path(&self, flow: &str) -> String {
        let version = self.versions_of(flow).current;
        format!("/hooks/{flow}/{}", self.instance.url_key(flow, version))
    }

    /// A new version for the flow and its former names. After `grace` no other is good, those of earlier graces neither.
    pub async fn rotate(
        &self,
        journal: &Journal,
        flow: &Flow,
        now_ms: i64,
        grace: Duration,
    ) -> Result<(), journal::Error> {
        for name in std::iter::once(&flow.id).chain(&flow.aliases) {
            let mut versions = self.versions_of(name);
            let end = now_ms.saturating_add(i64::try_from(grace.as_millis()).unwrap_or(i64::MAX));
            versions.older.push((versions.current, end));
            versions.older.iter_mut().for_each(|(_, until)| *until = end.min(*until));
            versions.older.retain(|(_, until)| *until > now_ms);
            versions.current += 1;
            let value = serde_json::to_vec(&versions).expect("numbers are plain JSON data");
            journal.set(&format!("{PREFIX}{name}"), Some(value)).await?;
            self.versions.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(name.clone(), versions);
            self.derived.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(name);
        }
        Ok(())
    }

    fn versions_of(&self, flow: &str) -> Versions {
        let versions = self.versions.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        versions.get(flow).cloned().unwrap_or_default()
    }

    fn derive(&self, flow: &str) -> Vec<(String, Option<i64>)> {
        let versions = self.versions_of(flow);
        let older = versions.older.iter().map(|(version, until)| (self.instance.url_key(flow, *version), Some(*until)));
        std::iter::once((self.instance.url_key(flow, versions.current), None)).chain(older).collect()
    }
}
