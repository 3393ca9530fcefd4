//! `millstream schema`: JSON Schemas for editors.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use serde_json::{Map, Value, json};

use super::{Place, print_json};
use crate::author;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::data::Data;

/// Prints a JSON Schema by which an editor completes, explains and checks this project's files.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The kind of file.
    #[arg(default_value = "flow", value_parser = ["flow", "test", "connector", "connections", "config"])]
    kind: String,
    /// Writes the schemas of all kinds into `schema/` of the data folder, and prints what an editor needs to find them.
    #[arg(long)]
    write: bool,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let dir = place.dir()?;
        let catalog = Catalog::load(&dir, None, &Config::load(&dir)?);
        let snapshot = catalog.current();
        let connections = snapshot.connections.iter().map(|(name, found)| (name.clone(), found.connector.clone()));
        let mut flows: Vec<String> = snapshot.flows.keys().cloned().collect();
        flows.sort();
        let known = author::Known { connectors: &snapshot.connectors, connections: connections.collect(), flows };
        let schema =
            |kind: &str| author::editor_schema(kind, &known).ok_or_else(|| anyhow!("there is no schema `{kind}`"));
        if !self.write {
            let schema = schema(&self.kind)?;
            match place.json {
                true => print_json(&schema)?,
                false => println!("{}", serde_json::to_string_pretty(&schema)?),
            }
            return Ok(ExitCode::SUCCESS);
        }
        let data = Data::open(&place.data()?).map_err(anyhow::Error::msg)?;
        let folder = data.path().join("schema");
        fs::create_dir_all(&folder).with_context(|| format!("{} could not be made", folder.display()))?;
        let folder = fs::canonicalize(&folder)?;
        let mut settings = Map::new();
        let mut modelines = Vec::new();
        for (kind, globs) in author::KINDS {
            let path = folder.join(format!("{kind}.json"));
            fs::write(&path, serde_json::to_string_pretty(&schema(kind)?)? + "\n")
                .with_context(|| format!("{} could not be written", path.display()))?;
            let inside = path.strip_prefix(&dir).ok().map(|path| path.display().to_string());
            let (shown, up) = match &inside {
                Some(inside) => (
                    format!("./{inside}"),
                    if globs[0].contains('/') { format!("../{inside}") } else { format!("./{inside}") },
                ),
                None => (path.display().to_string(), path.display().to_string()),
            };
            settings.insert(shown, json!(globs));
            modelines.push((kind, format!("# yaml-language-server: $schema={up}")));
        }
        let settings = json!({"yaml.schemas": Value::Object(settings)});
        if place.json {
            print_json(
                &json!({"folder": folder, "settings": settings, "modelines": modelines.into_iter().collect::<std::collections::BTreeMap<_, _>>()}),
            )?;
            return Ok(ExitCode::SUCCESS);
        }
        println!("wrote {} schemas to {}", author::KINDS.len(), folder.display());
        println!("\nVS Code with the extension redhat.vscode-yaml: put this into .vscode/settings.json\n");
        println!("{}", serde_json::to_string_pretty(&settings)?);
        println!("\nany editor with yaml-language-server: or put this on the first line of a file\n");
        for (kind, line) in modelines {
            println!("{line}    ({kind})");
        }
        println!("\nrun this again after a change of connectors or connections");
        Ok(ExitCode::SUCCESS)
    }
}
