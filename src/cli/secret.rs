//! `millstream secret`: the vault. Values come from stdin, never from the command line, which others can see.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use secrecy::SecretString;
use serde_json::json;

use super::door::Door;
use super::{Place, block_on, print_json, vault};
use crate::access::audit::Audit;
use crate::config::Config;
use crate::data::Data;
use crate::engine::InstanceKey;
use crate::journal::Journal;

/// Keeps secrets for connections, encrypted at rest.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Stores the value that is read from stdin: `millstream secret set CRM_SECRET < file`.
    Set { name: String },
    /// Lists the names.
    List,
    /// Removes a secret.
    Rm { name: String },
    /// Encrypts all secrets and tokens anew, under a new key. Works beside a running server.
    RotateKey {
        /// The file with the key that they are under, if that is neither the instance key nor `vault.key` of
        /// millstream.yaml. No server may run.
        #[arg(long)]
        old_key: Option<PathBuf>,
    },
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        if let What::RotateKey { old_key } = &self.what {
            return rotate(place, old_key.as_deref());
        }
        let data = Data::open(&place.data()?).map_err(|why| anyhow!(why))?;
        let key = InstanceKey::open(data.path()).map_err(|why| anyhow!(why))?;
        let vault = vault::open(&place.dir, &data, &Config::load(&place.dir)?, &key, None)?;
        match self.what {
            What::RotateKey { .. } => {}
            What::Set { name } => {
                if std::io::stdin().is_terminal() {
                    eprintln!("type the value of {name}, then Ctrl-D:");
                }
                let mut value = String::new();
                std::io::stdin().read_to_string(&mut value).context("stdin could not be read")?;
                let value = value.strip_suffix('\n').unwrap_or(&value);
                let value = value.strip_suffix('\r').unwrap_or(value);
                if value.is_empty() {
                    bail!("the value is empty; nothing was stored");
                }
                vault.set(&name, &SecretString::from(value.to_owned()))?;
                noted(&data, "set_secret", name)?;
            }
            What::List => {
                let names = vault.names();
                match place.json {
                    true => print_json(&names)?,
                    false => names.iter().for_each(|name| println!("{name}")),
                }
            }
            What::Rm { name } => {
                if !vault.remove(&name)? {
                    bail!("the vault has no secret `{name}`");
                }
                noted(&data, "remove_secret", name)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// By the running server, which then knows the new key at once; or, with a key of old, alone.
fn rotate(place: &Place, old_key: Option<&Path>) -> anyhow::Result<ExitCode> {
    let version = block_on(async {
        let Some(old_key) = old_key else {
            let told = Door::open(place).await?.post("/api/v1/vault/rotate-key", json!({})).await?;
            return told["version"].as_u64().context("the server did not say what it did");
        };
        if let Some(door) = Door::server(place).await? {
            bail!("{} does not know the old key: stop it first", door.name());
        }
        let data = Data::open(&place.data()?).map_err(|why| anyhow!(why))?;
        let key = InstanceKey::open(data.path()).map_err(|why| anyhow!(why))?;
        let _lock = Journal::open(data.path())?;
        let vault = vault::open(&place.dir, &data, &Config::load(&place.dir)?, &key, Some(old_key))?;
        let version = vault.rotate()?;
        let noted = Audit::of(data.path()).note_of_command_line("rotate_vault_key", None);
        noted.context("it is done, but the audit log could not be written")?;
        Ok(version.into())
    })?;
    match place.json {
        true => print_json(&json!({"version": version}))?,
        false => println!("all secrets and tokens are under a new key (version {version})"),
    }
    Ok(ExitCode::SUCCESS)
}

fn noted(data: &Data, what: &str, name: String) -> anyhow::Result<()> {
    let noted = Audit::of(data.path()).note_of_command_line(what, Some(name));
    noted.context("it is done, but the audit log could not be written")
}
