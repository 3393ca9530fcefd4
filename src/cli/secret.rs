//! `millstream secret`: the vault. Values come from stdin, never from the command line, which others can see.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use secrecy::SecretString;

use super::{Place, print_json};
use crate::access::audit::Audit;
use crate::data::Data;
use crate::engine::InstanceKey;
use crate::vault::Vault;

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
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let data = Data::open(&place.data()?).map_err(|why| anyhow!(why))?;
        let key = InstanceKey::open(data.path()).map_err(|why| anyhow!(why))?;
        let vault = Vault::open(data.path(), key.expose()).context("the vault could not be opened")?;
        match self.what {
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

fn noted(data: &Data, what: &str, name: String) -> anyhow::Result<()> {
    let noted = Audit::of(data.path()).note_of_command_line(what, Some(name));
    noted.context("it is done, but the audit log could not be written")
}
