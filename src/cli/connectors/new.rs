//! `millstream connectors new`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use serde_json::json;

use super::super::{Place, print_json, read_json};
use crate::author::{self, Exchange};
use crate::connector::Connector;
use crate::flow;

/// Makes a connector of a request that works: `connectors new crm --from-curl "curl https://… -H 'Authorization: …' -d '{…}'"`.
///
/// Secrets are recognised and never written; their places become credentials of the connection.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("source").required(true)))]
pub(super) struct Args {
    /// The connector's name; the file is connectors/NAME.yaml.
    name: String,
    /// A curl line, as documentation has it or a browser copies it; `-` reads stdin. It is read, not run.
    #[arg(long, value_name = "LINE", group = "source")]
    from_curl: Option<String>,
    /// A JSON file: {"request": {"method", "url", "headers", "body"}, "response": {"body"}}; `-` reads stdin.
    #[arg(long, value_name = "FILE", group = "source")]
    from: Option<PathBuf>,
    /// The action's name; by method and path unless given.
    #[arg(long, value_name = "NAME")]
    action: Option<String>,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let name = &self.name;
        for name in [Some(name), self.action.as_ref()].into_iter().flatten() {
            if !flow::is_name(name) {
                let hint = flow::snake_case(name).map(|name| format!(", as in `{name}`")).unwrap_or_default();
                bail!("`{name}` is not a name: small letters, digits and `_`, a letter first{hint}");
            }
        }
        let exchange = match (&self.from_curl, &self.from) {
            (Some(line), _) if line == "-" => {
                let line = std::io::read_to_string(std::io::stdin()).context("stdin could not be read")?;
                Exchange::of_curl(&line)
            }
            (Some(line), _) => Exchange::of_curl(line),
            (None, Some(file)) => Exchange::of_json(&read_json(file)?),
            (None, None) => bail!("give --from-curl or --from"),
        };
        let exchange = exchange.map_err(|why| anyhow!("the request cannot be read: {why}"))?;
        let described = exchange.describe(name, self.action.as_deref()).map_err(|why| anyhow!(why))?;
        let file = format!("connectors/{name}.yaml");
        let yaml = author::write_yaml(&described.file).context("the request holds what YAML cannot say")?;
        let host = described.file.pointer("/settings/properties/base_url/default").and_then(|url| url.as_str());
        let text = format!(
            "# Drafted from one request to {}. Say what its actions do, and what its errors mean.\n{yaml}",
            host.unwrap_or(name)
        );
        // Before anything is written: what is written passes `millstream check`.
        let connector = Connector::parse(&file, &text).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow!(
                "the draft does not load, which is a fault of Millstream; please report it:\n{}",
                problems.join("\n")
            )
        })?;
        let path = place.dir()?.join(&file);
        let folder = path.parent().context("a file has a folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let mut made = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("{file} cannot be made; remove it first, or choose another name"))?;
        made.write_all(text.as_bytes()).with_context(|| format!("{file} could not be written"))?;

        let (connection, secrets) = match author::connection(&connector, name) {
            Some((connection, secrets)) => (connection, secrets),
            None => (json!({"connector": name}), Vec::new()),
        };
        let lines = author::write_yaml(&json!({name: connection})).unwrap_or_default();
        if place.json {
            print_json(&json!({
                "file": file, "action": format!("{name}.{}", described.action), "connection": {name: connection},
                "secrets": secrets, "notes": described.notes,
            }))?;
            return Ok(ExitCode::SUCCESS);
        }
        println!("{file} has the action {name}.{}", described.action);
        described.notes.iter().for_each(|note| println!("  note: {note}"));
        println!("\nadd to connections.yaml:\n\n{lines}");
        secrets.iter().for_each(|secret| println!("set its secret:  millstream secret set {secret}"));
        println!(
            "try it:          millstream connectors call {name}.{} --connection {name} --with input.json",
            described.action
        );
        Ok(ExitCode::SUCCESS)
    }
}
