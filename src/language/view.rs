//! A file as an editor shows it, with the project around it: what every answer is made from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::cursor::Frame;
use super::last;
use super::seen::{Found, Seen};
use super::spot::{Spot, exactly, spots};
use super::text::{Position, Range, Text};
use crate::catalog::{Snapshot, plain_path};
use crate::flow::{Flow, Known, snake_case};
use crate::schema::{Shape, Types};

/// The kinds of files of a project, as `millstream schema` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Flow,
    Test,
    Connector,
    Connections,
    Config,
    /// What flows and tests may name: schemas, bodies.
    Other,
}

impl Kind {
    /// The kind of the file at a path from the project folder.
    pub fn of(file: &Path) -> Kind {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let yaml = name.ends_with(".yaml") || name.ends_with(".yml");
        let test = name.ends_with(".test.yaml") || name.ends_with(".test.yml");
        match file.components().next().map(|first| first.as_os_str().to_string_lossy().into_owned()).as_deref() {
            Some("flows") if yaml => Kind::Flow,
            Some("tests") if test => Kind::Test,
            Some("connectors") if yaml => Kind::Connector,
            Some("connections.yaml") => Kind::Connections,
            Some("millstream.yaml") => Kind::Config,
            _ => Kind::Other,
        }
    }

    /// The name of its schema for editors, if it has one.
    pub fn schema(self) -> Option<&'static str> {
        match self {
            Kind::Flow => Some("flow"),
            Kind::Test => Some("test"),
            Kind::Connector => Some("connector"),
            Kind::Connections => Some("connections"),
            Kind::Config => Some("config"),
            Kind::Other => None,
        }
    }
}

/// A file, and what the answers about it need to know.
pub struct View<'v> {
    /// From the project folder.
    pub file: &'v Path,
    pub text: &'v Text,
    /// Its last text that was YAML.
    pub good: Option<&'v str>,
    pub snapshot: &'v Snapshot,
    /// Names that templates may read as `env.NAME`.
    pub env: &'v [String],
    /// The schema for editors of this kind of file.
    pub schema: Option<&'v Value>,
    /// The text of another file, by its path from the project folder; as it is being edited, where it is.
    pub read: &'v dyn Fn(&Path) -> Option<String>,
    /// Histories of a flow's latest runs, newest first; none where no server runs.
    pub last: &'v dyn Fn(&str) -> Vec<Arc<Value>>,
    /// True if the editor takes snippets.
    pub snippets: bool,
}

/// An edit of a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TextEdit {
    pub range: Range,
    pub new_text: String,
}

/// A text with marks, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Markup {
    pub kind: &'static str,
    pub value: String,
}

impl Markup {
    pub fn new(value: String) -> Markup {
        Markup { kind: "markdown", value }
    }
}

/// A part of a file of the project.
#[derive(Debug, Clone, PartialEq)]
pub struct Location {
    /// From the project folder.
    pub file: PathBuf,
    pub range: Range,
}

impl View<'_> {
    pub fn kind(&self) -> Kind {
        Kind::of(self.file)
    }

    /// Where the cursor is, if the text can be read as it is; else where it is most likely.
    pub fn spot(&self, position: Position) -> Option<Spot> {
        let offset = self.text.offset(position);
        exactly(self.text.as_str(), offset).or_else(|| self.spots(position).into_iter().next())
    }

    /// Where the cursor may be, likelier places first.
    pub fn spots(&self, position: Position) -> Vec<Spot> {
        spots(self.text.as_str(), self.good, self.text.offset(position))
    }

    /// What a template at this place can name.
    pub fn seen(&self, spot: &Spot, frames: &[Frame]) -> Seen {
        let scope = match self.kind() {
            Kind::Flow => {
                self.scope(spot).unwrap_or_else(|| roots(&["trigger", "steps", "vars", "env", "flow", "run"]))
            }
            Kind::Test => roots(&["input", "attempt", "call"]),
            Kind::Connector => roots(&["settings", "input", "call", "token", "response"]),
            Kind::Connections | Kind::Config | Kind::Other => roots(&[]),
        };
        Seen::new(scope, frames)
    }

    fn scope(&self, spot: &Spot) -> Option<Shape> {
        let kinds: BTreeMap<String, String> =
            self.snapshot.connections.iter().map(|(name, one)| (name.clone(), one.connector.clone())).collect();
        let folder = self.folder();
        let read =
            |path: &str| (self.read)(&plain_path(&folder.join(path))).ok_or_else(|| "it cannot be read".to_owned());
        let known = Known {
            connectors: &self.snapshot.connectors,
            connections: Some(&kinds),
            env: Some(self.env),
            read: &read,
        };
        Flow::names_at(self.file, &spot.text, &known, &spot.pointer())
    }

    /// The folder of the file, from the project folder.
    pub fn folder(&self) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).to_owned()
    }

    /// The id of the flow that this file holds.
    pub fn flow_id(&self, file: &Value) -> Option<String> {
        let stem = || self.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        file.get("id").and_then(Value::as_str).map(str::to_owned).or_else(stem)
    }

    /// Histories of the latest runs of the flow in this file.
    pub fn histories(&self, file: &Value) -> Vec<Arc<Value>> {
        match self.kind() {
            Kind::Flow => self.flow_id(file).map(|id| (self.last)(&id)).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// The last real value of what a path leads to; `None` too where the file says by now that it is hidden.
    pub fn last_value(&self, file: &Value, histories: &[Arc<Value>], found: &Found) -> Option<String> {
        let keys = found.keys.as_deref()?;
        let hidden = |step: &super::steps::StepAt<'_>| match step.value.get("secure") {
            Some(Value::String(one)) => one == "outputs",
            Some(Value::Array(all)) => all.iter().any(|one| one == "outputs"),
            _ => false,
        };
        let named = keys.get(1).map(String::as_str);
        let steps = super::steps::steps(file);
        if keys[..1] == ["steps"] && steps.iter().any(|step| step.id == named && hidden(step)) {
            return None;
        }
        if keys[..1] == ["vars"] && steps.iter().any(|step| step.kind == Some("set") && hidden(step)) {
            return None;
        }
        let flow = self.flow_id(file).and_then(|id| self.snapshot.flow(&id)).map(|live| live.flow.as_ref());
        histories.iter().find_map(|told| last::value(told, keys, flow))
    }

    /// The bytes of the word around an offset, on its line.
    pub fn word(&self, offset: usize, part: impl Fn(char) -> bool) -> std::ops::Range<usize> {
        let (before, after) = self.text.as_str().split_at(offset);
        let start = before.char_indices().rev().take_while(|(_, c)| part(*c)).last().map_or(offset, |(at, _)| at);
        let end = after.char_indices().find(|(_, c)| !part(*c)).map_or(after.len(), |(at, _)| at);
        start..offset + end
    }
}

/// An object that has these names, of which nothing more is known.
fn roots(names: &[&str]) -> Shape {
    let properties = names.iter().map(|name| ((*name).to_owned(), Shape::any())).collect();
    let required = names.iter().map(|name| (*name).to_owned()).collect();
    Shape { properties, required, closed: true, ..Shape::of(Types::OBJECT) }
}

/// A name like `text` that is usable, as a hint.
pub fn usable(text: &str) -> String {
    snake_case(text).map(|name| format!("; for example `{name}`")).unwrap_or_default()
}
