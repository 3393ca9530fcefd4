//! `millstream token`: who else may use the admin API, and for what.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::door::Door;
use super::{Place, block_on, print_json, segment, text};
use crate::access::Role;

/// Makes and removes tokens for the admin API.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Makes a token and prints it, this once: only a hash of it is kept.
    Add {
        /// Small letters, digits, `_` and `-`.
        name: String,
        /// viewer (reads), operator (also starts and handles runs) or admin (also tokens and URLs).
        #[arg(long)]
        role: Role,
        /// How long it works, as in `90d`; without it, until it is removed.
        #[arg(long, value_parser = crate::flow::duration)]
        expires: Option<std::time::Duration>,
    },
    /// Lists the tokens, without what they are.
    List,
    /// Removes a token; from now on it lets nobody in.
    Rm { name: String },
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        block_on(async {
            let door = Door::open(place).await?;
            let path = |name: &str| format!("/api/v1/tokens/{}", segment(name));
            match &self.what {
                What::Add { name, role, expires } => {
                    let asked = json!({"role": role, "expires_seconds": expires.map(|expires| expires.as_secs())});
                    let made = door.post(&path(name), asked).await?;
                    match place.json {
                        true => print_json(&made)?,
                        false => println!("{}", text(&made, "token")),
                    }
                }
                What::List => {
                    let answer = door.get("/api/v1/tokens").await?;
                    let tokens = answer.get("tokens").cloned().unwrap_or(json!([]));
                    if place.json {
                        print_json(&tokens)?;
                        return Ok(ExitCode::SUCCESS);
                    }
                    for token in tokens.as_array().into_iter().flatten() {
                        let expires = token.get("expires_at").and_then(Value::as_str);
                        let expires = expires.map(|at| format!("  until {at}")).unwrap_or_default();
                        let (name, role) = (text(token, "name"), text(token, "role"));
                        println!("{name:<24}  {role:<8}  since {}{expires}", text(token, "created_at"));
                    }
                }
                What::Rm { name } => {
                    let done = door.delete(&path(name)).await?;
                    if place.json {
                        print_json(&done)?;
                    }
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
