//! `millstream new`: a flow, its schema and its first test from a sample of what will come in.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};

use super::{Place, print_json, read_json};
use crate::author::{self, Wish};
use crate::catalog::{Catalog, Snapshot};
use crate::config::Config;
use crate::connector::{Action, Connector, Need};
use crate::flow::{self, Flow, Known, Severity, Source, suggest};
use crate::schema::Schema;

/// Longest schema and longest test request that stand in the file itself, lines.
const INLINE_LINES: usize = 40;

/// Writes a flow that fits a sample: `millstream new lead --from sample.json --action dynamics365.create_record`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The flow's id; the file is flows/NAME.yaml.
    name: String,
    /// A sample of the request's body, or several of them, or a JSON Schema; `-` reads stdin.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    from: Vec<PathBuf>,
    /// What the flow does with it, as in `http.request`.
    #[arg(long, value_name = "CONNECTOR.ACTION")]
    action: Option<String>,
    /// The connection of the action; the only one of its connector unless given.
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,
    /// Gives an input of the action a value, text or JSON: `--set table=leads`.
    #[arg(long, value_name = "INPUT=VALUE", value_parser = given)]
    set: Vec<(String, Value)>,
}

fn given(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write INPUT=VALUE")?;
    let value = crate::mapping::parse_json(value.as_bytes()).unwrap_or_else(|_| Value::from(value));
    Ok((name.trim().to_owned(), value))
}

/// A file to be written, from the project folder.
struct Fresh {
    path: String,
    text: String,
}

/// A connection that is to be added: its name, its text, the secrets it needs.
struct Added {
    name: String,
    connector: String,
    text: String,
    secrets: Vec<String>,
}

impl Args {
    pub fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let dir = place.dir()?;
        let name = self.name.clone();
        if !flow::is_flow_id(&name) {
            let hint = flow::snake_case(&name).map(|name| format!(", as in `{name}`")).unwrap_or_default();
            bail!("`{name}` is no id of a flow: small letters, digits, `_` and `-`, a letter first{hint}");
        }
        let config = Config::load(&dir)?;
        let catalog = Catalog::load(&dir, None, &config);
        let snapshot = catalog.current();
        if let Some(live) = snapshot.flow(&name) {
            bail!("there is a flow `{name}` already: {}", live.file.display());
        }
        let samples = self.from.iter().map(|path| read_json(path)).collect::<anyhow::Result<Vec<Value>>>()?;
        let schemas = samples.iter().filter(|sample| author::is_schema(sample)).count();
        if schemas > 0 && samples.len() > 1 {
            bail!(
                "give one JSON Schema, or one or more samples; these are {} files, {schemas} of them schemas",
                samples.len()
            );
        }
        let is_schema = schemas == 1;
        let schema = if is_schema { samples[0].clone() } else { author::infer_schema(&samples) };
        let compiled = Schema::compile(&schema).map_err(|error| anyhow!("the schema cannot be used: {error}"))?;
        let action = self.action.as_deref().map(|action| known_action(&snapshot, action)).transpose()?;
        let (connection, added) = match action {
            Some((connector, _)) => self.connection(connector, &snapshot)?,
            None if self.connection.is_some() => bail!("a connection belongs to an action: give `--action` too"),
            None => (None, None),
        };
        let given: BTreeMap<String, Value> = self.set.iter().cloned().collect();

        let mut files = Vec::new();
        let shown = self.schema_as_shown(&dir, &schema, is_schema, &mut files)?;
        let wish = Wish {
            name: &name,
            schema: &compiled,
            shown,
            sample: (!is_schema).then(|| &samples[0]),
            action,
            connection: connection.as_deref(),
            given: &given,
        };
        let draft = wish.draft();
        let text = author::write_yaml(&draft.flow).ok_or_else(|| anyhow!("the flow cannot be written as YAML"))?;
        check(&name, &text, &snapshot, added.as_ref(), &config, &files)?;
        files.insert(0, Fresh { path: format!("flows/{name}.yaml"), text });
        self.test(&draft, &mut files)?;
        let connections = added.as_ref().map(|added| extended(&dir, added)).transpose()?;
        write(&dir, &files, connections.as_deref())?;

        for note in &draft.notes {
            eprintln!("note: {note}");
        }
        if let Some(added) = &added {
            eprintln!("note: connections.yaml has a new connection `{}`; put your own settings into it:", added.name);
            eprint!("{}", added.text.lines().fold(String::new(), |text, line| text + "    " + line + "\n"));
            for secret in &added.secrets {
                eprintln!("note: it needs a secret: `millstream secret set {secret}`");
            }
        }
        let mut paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        if added.is_some() {
            paths.push("connections.yaml");
        }
        if place.json {
            print_json(&json!({
                "flow": name, "files": paths, "notes": draft.notes,
                "connection": added.map(|added| json!({"name": added.name, "connector": added.connector, "secrets": added.secrets})),
            }))?;
            return Ok(ExitCode::SUCCESS);
        }
        for path in paths {
            println!("wrote {path}");
        }
        println!("\nnext:");
        println!("  millstream check              # says what is wrong, if anything is");
        println!("  millstream test {name:<14}# plays the first test; add your own cases to it");
        println!("  millstream serve              # the flow is live");
        println!("  millstream url show {name:<10}# where to send requests");
        Ok(ExitCode::SUCCESS)
    }

    /// Which connection the step names, and one to be added where there is none.
    fn connection(
        &self,
        connector: &Connector,
        snapshot: &Snapshot,
    ) -> anyhow::Result<(Option<String>, Option<Added>)> {
        let own = author::choose(connector, snapshot.connections.values().map(AsRef::as_ref));
        let added = |name: &str| -> anyhow::Result<(Option<String>, Option<Added>)> {
            if !flow::is_name(name) {
                bail!("`{name}` is no name of a connection: small letters, digits and `_`, a letter first");
            }
            let (value, secrets) = author::connection(connector, name).ok_or_else(|| {
                anyhow!(
                    "describe a connection of connector `{}` in connections.yaml first: `{name}: {{connector: {}, …}}`",
                    connector.name,
                    connector.name
                )
            })?;
            let text = author::write_yaml(&json!({name: value})).context("the connection cannot be written as YAML")?;
            let added = Added { name: name.to_owned(), connector: connector.name.clone(), text, secrets };
            Ok((Some(name.to_owned()), Some(added)))
        };
        match (self.connection.as_deref(), &own[..]) {
            (Some(name), _) if connector.connection == Need::Never => {
                bail!("connector `{}` takes no connection, but `{name}` is given", connector.name)
            }
            (Some(name), own) => match snapshot.connections.get(name) {
                Some(found) if found.connector != connector.name => {
                    let hint = suggest(name, own.iter().copied()).map(|hint| format!("; {hint}")).unwrap_or_default();
                    bail!("connection `{name}` is of connector `{}`, not `{}`{hint}", found.connector, connector.name)
                }
                Some(_) => Ok((Some(name.to_owned()), None)),
                None => added(name),
            },
            (None, [only]) => Ok((Some((*only).to_owned()), None)),
            (None, []) if connector.connection == Need::Required => added(&connector.name.clone()),
            (None, _) if connector.connection != Need::Required => Ok((None, None)),
            (None, several) => bail!(
                "there are several connections of `{}`: choose one with `--connection`: {}",
                connector.name,
                several.join(", ")
            ),
        }
    }

    /// The schema itself where it is short; else the path to it from `flows/`, with a file of its own unless it has one.
    fn schema_as_shown(
        &self,
        dir: &Path,
        schema: &Value,
        is_schema: bool,
        files: &mut Vec<Fresh>,
    ) -> anyhow::Result<Value> {
        if is_schema && let Ok(path) = fs::canonicalize(&self.from[0]) {
            let inside = path.strip_prefix(dir).ok().and_then(Path::to_str);
            if let Some(inside) = inside.filter(|inside| !inside.starts_with('.')) {
                return Ok(json!(format!("../{inside}")));
            }
        }
        if author::write_yaml(schema).is_some_and(|text| text.lines().count() <= INLINE_LINES) {
            return Ok(schema.clone());
        }
        let path = format!("schemas/{}.json", self.name);
        files.push(Fresh { path: path.clone(), text: serde_json::to_string_pretty(schema)? + "\n" });
        Ok(json!(format!("../{path}")))
    }

    /// The test, with its request beside it where it is long or would be read otherwise in YAML.
    fn test(&self, draft: &author::Draft, files: &mut Vec<Fresh>) -> anyhow::Result<()> {
        let name = &self.name;
        let case = |request: &Value, expect: &Value| {
            let mut case = json!({"name": "a request like the sample succeeds", "request": request});
            if draft.mocks != json!({}) {
                case["mocks"] = draft.mocks.clone();
            }
            case["expect"] = expect.clone();
            author::write_yaml(&json!({"flow": name, "cases": [case]}))
        };
        let inline = author::write_yaml(&draft.body)
            .is_some_and(|text| text.lines().count() <= INLINE_LINES && !text.contains("{{"));
        let text = match case(&json!({"body": draft.body}), &draft.expect).filter(|_| inline) {
            Some(text) => text,
            None => {
                let path = format!("tests/{name}.json");
                files.push(Fresh { path, text: serde_json::to_string_pretty(&draft.body)? + "\n" });
                let request = json!({"body_file": format!("{name}.json")});
                // Numbers that YAML does not have can be sent, but not be written down as expected.
                let written = case(&request, &draft.expect);
                let written = written.or_else(|| case(&request, &json!({"status": "succeeded"})));
                written.context("the test cannot be written as YAML")?
            }
        };
        files.push(Fresh { path: format!("tests/{name}.test.yaml"), text });
        Ok(())
    }
}

fn known_action<'s>(snapshot: &'s Snapshot, name: &str) -> anyhow::Result<(&'s Connector, &'s Action)> {
    let connectors = &snapshot.connectors;
    if let Some((connector, action)) = connectors.action(name).filter(|(_, action)| !action.hidden) {
        return Ok((connector, action));
    }
    let all: Vec<String> = connectors
        .all()
        .flat_map(|connector| {
            connector
                .actions
                .values()
                .filter(|action| !action.hidden)
                .map(|action| format!("{}.{}", connector.name, action.name))
        })
        .collect();
    let hint = suggest(name, all.iter().map(String::as_str)).unwrap_or_default();
    bail!(
        "there is no action `{name}`: {}",
        if hint.is_empty() { format!("there are {}", all.join(", ")) } else { hint }
    )
}

/// Loads the draft as `check` will, so that nothing is written that it would refuse.
fn check(
    name: &str,
    text: &str,
    snapshot: &Snapshot,
    added: Option<&Added>,
    config: &Config,
    files: &[Fresh],
) -> anyhow::Result<()> {
    let mut connections: BTreeMap<String, String> =
        snapshot.connections.iter().map(|(name, connection)| (name.clone(), connection.connector.clone())).collect();
    connections.extend(added.map(|added| (added.name.clone(), added.connector.clone())));
    let read = |path: &str| {
        let inside = path.trim_start_matches("../");
        let fresh = files.iter().find(|file| file.path == inside).map(|file| Ok(file.text.clone()));
        fresh.unwrap_or_else(|| fs::read_to_string(snapshot.dir.join(inside)).map_err(|error| error.to_string()))
    };
    let known = Known {
        connectors: &snapshot.connectors,
        connections: Some(&connections),
        env: Some(&config.env),
        read: &read,
    };
    let loaded = Flow::load(Path::new(&format!("flows/{name}.yaml")), text, &known);
    let errors: Vec<String> =
        loaded.problems.iter().filter(|problem| problem.severity == Severity::Error).map(ToString::to_string).collect();
    match errors.is_empty() {
        true => Ok(()),
        false => bail!(
            "what was drafted does not load; give the inputs in question with `--set INPUT=VALUE`\n\n{}",
            errors.join("\n\n")
        ),
    }
}

/// The text of `connections.yaml` with the new one at its end; all that is there stays as it is written.
fn extended(dir: &Path, added: &Added) -> anyhow::Result<String> {
    let path = dir.join("connections.yaml");
    let before = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context("connections.yaml could not be read"),
    };
    let gap = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    let after = format!("{before}{gap}{}", added.text);
    let read = |text: &str| Source::read(Path::new("connections.yaml"), text);
    let (_, there, problems) = read(&before);
    let mut expected = there.filter(|value| !value.is_null()).unwrap_or_else(|| json!({}));
    if !problems.is_empty() || expected.get(&added.name).is_some() {
        bail!("connections.yaml has errors; mend them first: `millstream check` says where they are");
    }
    let (_, value, problems) = read(&after);
    if let (Some(expected), Some(Value::Object(addition))) = (expected.as_object_mut(), read(&added.text).1) {
        expected.extend(addition);
    }
    if !problems.is_empty() || value.as_ref() != Some(&expected) {
        bail!(
            "connections.yaml is written so that nothing can be added at its end; add this, then try again:\n{}",
            added.text
        );
    }
    Ok(after)
}

/// All files or, if one is there already, none.
fn write(dir: &Path, files: &[Fresh], connections: Option<&str>) -> anyhow::Result<()> {
    for file in files {
        if dir.join(&file.path).exists() {
            bail!("{} is there already; nothing was written", file.path);
        }
    }
    // What is referred to comes first, so that a server that watches never sees a flow without it.
    if let Some(text) = connections {
        let path = dir.join("connections.yaml");
        let written = if path.exists() { super::fmt::replace(&path, text) } else { fs::write(&path, text) };
        written.context("connections.yaml could not be written")?;
    }
    for file in files.iter().rev() {
        let path = dir.join(&file.path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("{} could not be made", folder.display()))?;
        }
        let mut open = fs::File::create_new(&path).with_context(|| format!("{} could not be made", file.path))?;
        open.write_all(file.text.as_bytes()).with_context(|| format!("{} could not be written", file.path))?;
    }
    Ok(())
}
