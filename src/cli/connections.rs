//! `millstream connections`: how they stand, whether they work, and how a person logs in.

use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use serde_json::{Value, json};

use super::door::Door;
use super::login::{self, Login};
use super::{Place, block_on, print_json, segment, text};

/// Shows connections, tries them out, and logs in where a person must.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists them: who uses them, which credentials are missing, when their tokens end.
    List,
    /// Makes the request that the connector declares for this, and says what is wrong and what to do.
    Test { name: String },
    /// Lets you log in with a browser on this machine; the connection uses your login from then on.
    Login(Login),
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        block_on(async {
            let door = Door::open(place).await?;
            match self.what {
                What::List => list(place, &door).await,
                What::Test { name } => test(place, &door, &name).await,
                What::Login(login) => login::run(place, &door, &login).await,
            }
        })
    }
}

async fn list(place: &Place, door: &Door) -> anyhow::Result<ExitCode> {
    let told = door.get("/api/v1/connections").await?;
    let connections = told["connections"].as_array().cloned().unwrap_or_default();
    if place.json {
        print_json(&connections)?;
        return Ok(ExitCode::SUCCESS);
    }
    for connection in &connections {
        println!("{}  {}", text(connection, "name"), text(connection, "connector"));
        let users = connection["used_by"].as_array().into_iter().flatten();
        let users: Vec<String> = users.map(|user| format!("{}.{}", text(user, "flow"), text(user, "step"))).collect();
        println!("  used by  {}", if users.is_empty() { "no flow".to_owned() } else { users.join(", ") });
        for credential in connection["credentials"].as_array().into_iter().flatten() {
            let (name, problem) = (text(credential, "name"), text(credential, "problem"));
            match problem.is_empty() {
                true => println!("  {name}  {}", text(credential, "from")),
                false => println!("  {name}  MISSING: {problem}"),
            }
        }
        if connection["login"] == json!("needed") {
            println!("  login  NEEDED: run `millstream connections login {}`", text(connection, "name"));
        }
        if let Some(token) = connection["token"].as_object() {
            let end = token.get("expires_at").and_then(Value::as_str).unwrap_or("nobody said when");
            println!("  token  until {end}, renewed before");
        }
    }
    if connections.is_empty() {
        println!("there are no connections that can be used; `millstream check` shows problems of connections.yaml");
    }
    Ok(ExitCode::SUCCESS)
}

async fn test(place: &Place, door: &Door, name: &str) -> anyhow::Result<ExitCode> {
    let told = door.post(&format!("/api/v1/connections/{}/test", segment(name)), json!({})).await?;
    let code = if told["ok"] == json!(false) { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    if place.json {
        print_json(&told)?;
        return Ok(code);
    }
    match told["ok"].as_bool() {
        Some(true) => match &told["shows"] {
            Value::Null => println!("{name} works"),
            shows => println!("{name} works: {}", shows.as_str().map_or_else(|| shows.to_string(), str::to_owned)),
        },
        Some(false) => {
            println!("{name} does not work: {} ({})", text(&told, "message"), text(&told, "code"));
            for line in told["advice"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                println!("  - {line}");
            }
        }
        None if told["message"].is_string() => println!("{name}: {}", text(&told, "message")),
        None => bail!("the server did not say what came of it"),
    }
    Ok(code)
}
