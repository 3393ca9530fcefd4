//! What a place of a file names (a step, a connection, a flow, a file …), and where that is defined.

use std::path::PathBuf;

use serde_json::Value;

use super::cursor::{Cursor, cursor};
use super::hover::upto;
use super::occurrences::tidy;
use super::seen::parts;
use super::spot::{On, Spot, tree};
use super::steps::{StepAt, around, steps};
use super::text::{Position, Text};
use super::view::{Kind, Location, View};
use super::words;
use crate::catalog::{files, plain_path};
use crate::flow::{At, Source, child};

/// Something that files name.
#[derive(Debug, Clone, PartialEq)]
pub enum Thing {
    /// A step, and the file of its flow from the project folder.
    Step {
        file: PathBuf,
        id: String,
    },
    Connection(String),
    /// A connector, or one of its actions.
    Action(String),
    Flow(String),
    /// A file, from the project folder.
    File(PathBuf),
    /// A variable of this file's flow.
    Variable(String),
    Trigger,
}

/// What the file at a place names.
pub fn thing(view: &View<'_>, spot: &Spot) -> Option<Thing> {
    let text = format!("{}{}", spot.before, spot.after);
    let last = spot.path.last()?.as_str();
    let above = spot.path.len().checked_sub(2).map(|index| spot.path[index].as_str()).unwrap_or_default();
    if spot.on == On::Value
        && let Some(cursor) = cursor(&spot.before, &spot.after)
    {
        return if view.kind() == Kind::Flow { in_template(view, spot, &cursor) } else { None };
    }
    let step = |id: &str| Thing::Step { file: view.file.to_owned(), id: id.to_owned() };
    match (view.kind(), spot.on) {
        (Kind::Flow, On::Key) if above == "run_after" => Some(step(last)),
        (Kind::Flow, On::Value) => {
            let pointer = spot.pointer();
            let steps = steps(&spot.value);
            let own = around(&steps, &pointer).filter(|step| child(&step.pointer, last) == pointer);
            match last {
                "id" if own.is_some() => Some(step(&text)),
                "connection" if own.is_some() => Some(Thing::Connection(text)),
                "call" if own.is_some() => Some(Thing::Flow(text)),
                "action" if own.is_some() => Some(Thing::Action(text)),
                "schema" if above == "trigger" => Some(Thing::File(plain_path(&view.folder().join(text)))),
                _ => None,
            }
        }
        (Kind::Test, on) => {
            let named = match on {
                On::Key => ["mocks", "resume", "steps", "calls"].contains(&above).then_some(last),
                On::Value if above == "order" => Some(text.as_str()),
                On::Value if last == "flow" => return Some(Thing::Flow(text)),
                On::Value if last == "body_file" => return Some(Thing::File(plain_path(&view.folder().join(text)))),
                On::Value => None,
            }?;
            let own = tested(view, spot);
            let (flow, id) = match named.split_once('.') {
                Some((flow, id)) => (flow.to_owned(), id),
                None => (own?, named),
            };
            let file = view.snapshot.flow(&flow)?.file.clone();
            Some(Thing::Step { file, id: id.to_owned() })
        }
        (Kind::Connections, On::Value) if last == "connector" => Some(Thing::Action(text)),
        (Kind::Connections, On::Key) if spot.path.len() == 1 => Some(Thing::Connection(last.to_owned())),
        (Kind::Config, On::Value) if above == "alerts" && last == "flow" => Some(Thing::Flow(text)),
        _ => None,
    }
}

fn in_template(view: &View<'_>, spot: &Spot, cursor: &Cursor) -> Option<Thing> {
    let path = parts(&upto(cursor));
    let written: Vec<String> = path.keys.into_iter().chain([path.last]).collect();
    // What a block or an item stands for is known only if it is described; what is written out always is.
    let keys = match written.first().map(String::as_str) {
        Some("steps" | "vars" | "loops" | "run" | "trigger") => written,
        _ => view.seen(spot, &cursor.frames).keys(&written)?.keys?,
    };
    let id = |index: usize| keys.get(index).map(|id| Thing::Step { file: view.file.to_owned(), id: id.clone() });
    match keys.first()?.as_str() {
        "steps" | "loops" => id(1),
        "run" if keys.get(1).is_some_and(|key| key.eq_ignore_ascii_case("resume_urls")) => id(2),
        "vars" => keys.get(1).map(|name| Thing::Variable(name.clone())),
        "trigger" => Some(Thing::Trigger),
        _ => None,
    }
}

/// The flow whose steps a place of a test file names.
fn tested(view: &View<'_>, spot: &Spot) -> Option<String> {
    let flow = |at: Option<&Value>| at?.get("flow")?.as_str().map(str::to_owned);
    let mut found = flow(Some(&spot.value));
    let case = spot.path.first().is_some_and(|first| first == "cases").then(|| spot.around(2)).flatten();
    found = flow(case).or(found);
    for (index, key) in spot.path.iter().enumerate() {
        let further = spot.path.get(index + 1).filter(|_| spot.path.len() > index + 2);
        if let (true, Some(step)) = (key == "calls", further) {
            found = called(view, &found?, step);
        }
    }
    found
}

/// The flow that a step calls.
pub fn called(view: &View<'_>, flow: &str, step: &str) -> Option<String> {
    match &view.snapshot.flow(flow)?.flow.step_called(step)?.kind {
        crate::flow::Kind::Call(child) => Some(child.flow.clone()),
        _ => None,
    }
}

/// Ids of steps that may be named where the cursor is, with what is said of each.
pub fn siblings(view: &View<'_>, spot: &Spot) -> Vec<(String, String)> {
    let above = spot.path.len().checked_sub(2).map(|index| spot.path[index].as_str()).unwrap_or_default();
    let told = |step: &StepAt<'_>| Some((step.id?.to_owned(), describe(step)));
    if view.kind() == Kind::Flow && above == "run_after" {
        let all = steps(&spot.value);
        let Some(own) = around(&all, &spot.pointer()) else { return Vec::new() };
        let before = all.iter().take_while(|step| step.pointer != own.pointer);
        return before.filter(|step| step.list == own.list).filter_map(told).collect();
    }
    let kinds: &[&str] = match above {
        "mocks" => &["action", "call"],
        "resume" => &["wait"],
        "calls" => &["call"],
        "steps" | "order" => &[],
        _ => return Vec::new(),
    };
    if view.kind() != Kind::Test {
        return Vec::new();
    }
    let Some(live) = tested(view, spot).and_then(|flow| view.snapshot.flow(&flow)) else { return Vec::new() };
    let Some(text) = (view.read)(&live.file) else { return Vec::new() };
    let file = read(&text);
    let all = steps(&file);
    let fits = |step: &&StepAt<'_>| kinds.is_empty() || step.kind.is_some_and(|kind| kinds.contains(&kind));
    all.iter().filter(fits).filter_map(told).collect()
}

fn read(text: &str) -> Value {
    serde_yaml::from_str(text).map(tree).unwrap_or_default()
}

fn describe(step: &StepAt<'_>) -> String {
    let text = |key: &str| step.value.get(key).and_then(Value::as_str);
    match step.kind {
        Some(kind @ ("action" | "call")) => {
            let connection = text("connection").map(|name| format!(", connection {}", words::code(name)));
            format!("{kind} {}{}", words::code(text(kind).unwrap_or_default()), connection.unwrap_or_default())
        }
        Some(kind) => kind.to_owned(),
        None => "a step without a kind".to_owned(),
    }
}

/// What is said of a step of a flow file.
pub fn step_told(text: &str, id: &str) -> Option<String> {
    let file = read(text);
    let all = steps(&file);
    let step = all.iter().find(|step| step.id == Some(id))?;
    Some(format!("Step {}: {}", words::code(id), describe(step)))
}

/// Where the thing at a place is defined.
pub fn definition(view: &View<'_>, position: Position) -> Option<Location> {
    let spot = view.spot(position)?;
    match thing(view, &spot)? {
        Thing::Step { file, id } => {
            let text = text_of(view, &file)?;
            let tree = read(&text);
            let step = steps(&tree).into_iter().find(|step| step.id == Some(&id))?.pointer;
            Some(located(file, text, &child(&step, "id"), At::Value))
        }
        Thing::Variable(name) => {
            let text = view.text.as_str().to_owned();
            let tree = read(&text);
            let sets = |step: &StepAt<'_>| step.value.get("set").is_some_and(|values| values.get(&name).is_some());
            let step = steps(&tree).into_iter().find(sets)?.pointer;
            let pointer = child(&child(&step, "set"), &name);
            Some(located(view.file.to_owned(), text, &pointer, At::Key))
        }
        Thing::Trigger => {
            let text = view.text.as_str().to_owned();
            Some(located(view.file.to_owned(), text, "/trigger", At::Key))
        }
        Thing::Connection(name) => {
            let file = PathBuf::from("connections.yaml");
            let text = text_of(view, &file)?;
            let pointer = child("", &name);
            let (source, ..) = Source::read(&file, &text);
            source.has(&pointer).then(|| located(file, text, &pointer, At::Key))
        }
        Thing::Flow(name) => {
            let file = view.snapshot.flow(&name)?.file.clone();
            let text = text_of(view, &file)?;
            let (source, ..) = Source::read(&file, &text);
            let pointer = if source.has("/id") { "/id" } else { "" };
            Some(located(file, text, pointer, At::Value))
        }
        Thing::File(file) => {
            (view.read)(&file)?;
            Some(Location { file, range: Default::default() })
        }
        Thing::Action(name) => {
            let (connector, action) = name.split_once('.').unwrap_or((&name, ""));
            let folder = view.snapshot.dir.join("connectors");
            files(&folder).into_iter().find_map(|path| {
                let file = path.strip_prefix(&view.snapshot.dir).ok()?.to_owned();
                let text = text_of(view, &file)?;
                (read(&text).get("connector")? == connector).then_some(())?;
                let pointer = if action.is_empty() { "/connector".to_owned() } else { child("/actions", action) };
                Some(located(file, text, &pointer, At::Key))
            })
        }
    }
}

fn text_of(view: &View<'_>, file: &std::path::Path) -> Option<String> {
    if file == view.file { Some(view.text.as_str().to_owned()) } else { (view.read)(file) }
}

fn located(file: PathBuf, text: String, pointer: &str, at: At) -> Location {
    let (source, ..) = Source::read(&file, &text);
    let extent = match at {
        At::Key => source.key_extent(pointer),
        At::Value | At::Offset(_) => None,
    };
    let extent = extent.or_else(|| source.value_extent(pointer)).filter(|_| !pointer.is_empty());
    let text = Text::new(text);
    let range = extent.map(|extent| text.range(tidy(text.as_str(), text.bytes(extent)))).unwrap_or_default();
    Location { file, range }
}
