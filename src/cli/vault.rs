//! The vault with the keys that it may be under: the instance key, or one of the user's own.

use std::path::Path;

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};

use crate::config::{Config, KeySource};
use crate::data::Data;
use crate::engine::InstanceKey;
use crate::vault::{Master, Vault};

/// Shorter keys can be guessed.
const SHORTEST: usize = 32;

/// Opens the vault of `data`. `dir` is the project folder; `old_key` is a file with a key of before.
///
/// # Errors
/// If a key cannot be read or is too short, or the file is no vault.
pub(super) fn open(
    dir: &Path,
    data: &Data,
    config: &Config,
    key: &InstanceKey,
    old_key: Option<&Path>,
) -> anyhow::Result<Vault> {
    let mut masters = Vec::new();
    if let Some(source) = &config.vault.key {
        let text = read(dir, source).context("vault.key of millstream.yaml")?;
        masters.push(Master::new(text.expose_secret().as_bytes(), "vault.key of millstream.yaml"));
    }
    let instance = || Master::new(key.expose(), "the instance key");
    if let Some(old) = old_key {
        // What is new goes under the present key, whichever that is.
        if masters.is_empty() {
            masters.push(instance());
        }
        let text = read(Path::new(""), &KeySource::File(old.to_owned()))?;
        masters.push(Master::new(text.expose_secret().as_bytes(), "the old key"));
    }
    masters.push(instance());
    let vault = Vault::open_under(data.path(), masters).context("the vault could not be opened")?;
    if config.vault.key.is_some() && vault.is_under_another() {
        tracing::warn!("the vault is not under vault.key yet; `millstream secret rotate-key` puts it there");
    }
    Ok(vault)
}

fn read(dir: &Path, source: &KeySource) -> anyhow::Result<SecretString> {
    let (text, shown) = match source {
        KeySource::Env(name) => {
            let text = std::env::var(name);
            (text.with_context(|| format!("the environment variable `{name}` is not set"))?, format!("`{name}`"))
        }
        KeySource::File(path) => {
            let path = dir.join(path);
            let text = std::fs::read_to_string(&path);
            (text.with_context(|| format!("{} could not be read", path.display()))?, path.display().to_string())
        }
    };
    let text = SecretString::from(text.trim().to_owned());
    if text.expose_secret().len() < SHORTEST {
        bail!("{shown} is no key: it has fewer than {SHORTEST} characters; make one with `openssl rand -hex 32`");
    }
    Ok(text)
}
