//! API tokens: 256 bits at random, kept as SHA-256 in the journal's settings, shown once.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Judged, Role, Who};
use crate::journal::{self, Journal};

/// Where the journal keeps them, by name.
const SETTING: &str = "token/";
/// What every token begins with, so that people and scanners of leaks know one when they see it.
const PREFIX: &str = "mst_";
/// The name of the token in the data folder; no other can have it, as names have no dot.
const ADMIN: &str = "admin.token";
const MOST_NAME: usize = 64;
/// More would make each request slow: all of them are compared.
const MOST: usize = 1_000;

/// A token as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub name: String,
    pub role: Role,
    /// Ms since 1970.
    pub created_ms: i64,
    /// From then on it lets nobody in; ms since 1970.
    pub expires_ms: Option<i64>,
}

/// Why tokens stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    #[error("`{0}` is not a token's name: small letters, digits, `_` and `-`, 64 at most, a letter or digit first")]
    Name(String),
    #[error("there is a token `{0}`; remove it first, or choose another name")]
    Exists(String),
    #[error("there is no token `{0}`")]
    None(String),
    #[error("there are {MOST} tokens; remove those that nobody uses")]
    TooMany,
    #[error("the system gives no random numbers")]
    Random,
    #[error(transparent)]
    Journal(#[from] journal::Error),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    role: Role,
    /// SHA-256 of the token, base64.
    hash: String,
    created_ms: i64,
    #[serde(default)]
    expires_ms: Option<i64>,
}

struct Known {
    token: Token,
    hash: [u8; 32],
}

pub(super) struct Tokens {
    journal: Journal,
    admin: [u8; 32],
    known: RwLock<BTreeMap<String, Known>>,
    /// One change at a time, so that a name is given once.
    changing: tokio::sync::Mutex<()>,
}

impl Tokens {
    pub fn load(journal: &Journal, admin: &SecretString) -> Result<Tokens, journal::Error> {
        let mut known = BTreeMap::new();
        for (setting, value) in journal.settings(SETTING)? {
            let name = setting.trim_start_matches(SETTING).to_owned();
            let broken = |why: String| journal::Error::Read(format!("the token `{name}`: {why}"));
            let kept: Kept = serde_json::from_slice(&value).map_err(|error| broken(error.to_string()))?;
            let hash = BASE64_URL_SAFE_NO_PAD.decode(&kept.hash).ok().and_then(|hash| hash.try_into().ok());
            let hash = hash.ok_or_else(|| broken("its hash is none".to_owned()))?;
            let Kept { role, created_ms, expires_ms, .. } = kept;
            known.insert(name.clone(), Known { token: Token { name, role, created_ms, expires_ms }, hash });
        }
        let (journal, admin) = (journal.clone(), hash(admin.expose_secret()));
        Ok(Tokens { journal, admin, known: RwLock::new(known), changing: tokio::sync::Mutex::default() })
    }

    pub fn judge(&self, given: &str, now_ms: i64) -> Judged {
        let given = hash(given);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        // Always all of them, whichever it is.
        let found = known.values().fold(None, |found, known| {
            let same: bool = known.hash.ct_eq(&given).into();
            if same { Some(&known.token) } else { found }
        });
        let is_admin: bool = self.admin.ct_eq(&given).into();
        match found {
            _ if is_admin => Judged::Good(Who { name: ADMIN.into(), role: Role::Admin }),
            Some(token) if token.expires_ms.is_some_and(|expires| expires <= now_ms) => {
                Judged::Expired(token.name.clone())
            }
            Some(token) => Judged::Good(Who { name: token.name.as_str().into(), role: token.role }),
            None => Judged::Unknown,
        }
    }

    pub fn list(&self) -> Vec<Token> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().map(|known| known.token.clone()).collect()
    }

    pub async fn add(
        &self,
        name: &str,
        role: Role,
        created_ms: i64,
        expires_ms: Option<i64>,
    ) -> Result<(Token, SecretString), Denied> {
        let name = checked(name)?;
        let _changing = self.changing.lock().await;
        let (taken, count) = self.with(|known| (known.contains_key(&name), known.len()));
        if taken {
            return Err(Denied::Exists(name));
        }
        if count >= MOST {
            return Err(Denied::TooMany);
        }
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).map_err(|_| Denied::Random)?;
        let text = SecretString::from(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)));
        let hash = hash(text.expose_secret());
        let kept = Kept { role, hash: BASE64_URL_SAFE_NO_PAD.encode(hash), created_ms, expires_ms };
        let value = serde_json::to_vec(&kept).expect("text and numbers are plain JSON data");
        self.journal.set(&format!("{SETTING}{name}"), Some(value)).await?;
        let token = Token { name: name.clone(), role, created_ms, expires_ms };
        self.with(|known| known.insert(name, Known { token: token.clone(), hash }));
        Ok((token, text))
    }

    pub async fn remove(&self, name: &str) -> Result<(), Denied> {
        // A name that cannot be one is nobody's.
        let name = checked(name).map_err(|_| Denied::None(shown(name)))?;
        let _changing = self.changing.lock().await;
        if !self.with(|known| known.contains_key(&name)) {
            return Err(Denied::None(name));
        }
        self.journal.set(&format!("{SETTING}{name}"), None).await?;
        self.with(|known| known.remove(&name));
        Ok(())
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Known>) -> T) -> T {
        work(&mut self.known.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A token has 256 bits at random, so one round of a fast hash is as good as many of a slow one.
fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn checked(name: &str) -> Result<String, Denied> {
    let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let begins = name.bytes().next().is_some_and(letter);
    let sound = begins && name.len() <= MOST_NAME && name.bytes().all(|c| letter(c) || c == b'_' || c == b'-');
    if sound { Ok(name.to_owned()) } else { Err(Denied::Name(shown(name))) }
}

fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(MOST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMIN_TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    async fn opened(dir: &std::path::Path) -> (Journal, Tokens) {
        let journal = Journal::open(dir).unwrap();
        let tokens = Tokens::load(&journal, &ADMIN_TOKEN.to_owned().into()).unwrap();
        (journal, tokens)
    }

    #[tokio::test]
    async fn a_token_counts_at_once_over_a_restart_until_it_expires_and_not_after_its_removal() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, tokens) = opened(dir.path()).await;
        let (shown, text) = tokens.add("ci", Role::Operator, 1_000, Some(5_000)).await.unwrap();
        assert_eq!((shown.role, shown.expires_ms), (Role::Operator, Some(5_000)));
        let text = text.expose_secret();
        assert!(text.starts_with("mst_") && text.len() == 4 + 43, "256 bits");
        let good = Judged::Good(Who { name: "ci".into(), role: Role::Operator });
        assert_eq!(tokens.judge(text, 4_999), good);
        assert_eq!(tokens.judge(text, 5_000), Judged::Expired("ci".into()));
        // Nothing that was kept gives the token back.
        let kept = String::from_utf8(journal.setting("token/ci").unwrap().unwrap()).unwrap();
        assert!(!kept.contains(text) && !kept.contains(&text[4..]), "{kept}");

        drop(tokens);
        journal.close().await;
        let (_journal, tokens) = opened(dir.path()).await;
        assert_eq!(tokens.judge(text, 4_999), good);
        tokens.remove("ci").await.unwrap();
        assert_eq!(tokens.judge(text, 4_999), Judged::Unknown);
        assert!(matches!(tokens.remove("ci").await, Err(Denied::None(_))));
        assert!(tokens.list().is_empty());
    }

    #[tokio::test]
    async fn only_the_whole_token_lets_in() {
        let dir = tempfile::tempdir().unwrap();
        let (_journal, tokens) = opened(dir.path()).await;
        let (_, text) = tokens.add("ci", Role::Viewer, 0, None).await.unwrap();
        let text = text.expose_secret();
        let longer = format!("{text}x");
        for wrong in ["", "ci", "mst_", &text[..text.len() - 1], &longer, &text.to_uppercase(), "admin.token"] {
            assert_eq!(tokens.judge(wrong, 0), Judged::Unknown, "{wrong}");
        }
        assert_eq!(tokens.judge(ADMIN_TOKEN, 0), Judged::Good(Who { name: ADMIN.into(), role: Role::Admin }));
    }

    #[tokio::test]
    async fn names_are_plain_and_given_once() {
        let dir = tempfile::tempdir().unwrap();
        let (_journal, tokens) = opened(dir.path()).await;
        for wrong in ["", "-a", "A", "a b", "a/b", "admin.token", "ä", &"a".repeat(65)] {
            assert!(matches!(tokens.add(wrong, Role::Viewer, 0, None).await, Err(Denied::Name(_))), "{wrong}");
        }
        tokens.add("a-1_b", Role::Viewer, 0, None).await.unwrap();
        assert!(matches!(tokens.add("a-1_b", Role::Admin, 0, None).await, Err(Denied::Exists(_))));
        assert_eq!(tokens.list().len(), 1);
    }
}
