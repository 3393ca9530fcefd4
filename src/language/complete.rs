//! Completion: what can be typed at a cursor. Inside of `{{ }}` here; elsewhere by the schemas for editors.

use serde::Serialize;
use serde_json::{Map, Value};

use super::cursor::{Cursor, cursor};
use super::places::siblings;
use super::schema;
use super::seen::{Name, Parts, parts, type_of};
use super::spot::{On, Spot};
use super::text::Position;
use super::view::{Kind, Markup, TextEdit, View};
use super::words;
use crate::mapping::functions::{self, Arity, Function};

/// One proposal, as the protocol has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    pub label: String,
    /// The protocol's number of what it is.
    pub kind: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documentation: Option<Markup>,
    pub sort_text: String,
    pub filter_text: String,
    pub text_edit: TextEdit,
    /// 1: plain text; 2: a snippet.
    pub insert_text_format: u8,
}

const FUNCTION: u8 = 3;
const FIELD: u8 = 5;
const VARIABLE: u8 = 6;
const PROPERTY: u8 = 10;
const VALUE: u8 = 12;
const KEYWORD: u8 = 14;

/// What can be typed at a place of a file, the likelier first.
pub fn complete(view: &View<'_>, position: Position) -> Vec<Item> {
    let offset = view.text.offset(position);
    for spot in view.spots(position) {
        if spot.on == On::Value
            && let Some(cursor) = cursor(&spot.before, &spot.after)
        {
            return in_template(view, &spot, &cursor, offset);
        }
        let found = outside(view, &spot, offset);
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// Makes proposals that take the place of what is typed.
struct Proposals {
    edit: TextEdit,
    found: Vec<Item>,
}

impl Proposals {
    fn new(view: &View<'_>, typed: std::ops::Range<usize>) -> Proposals {
        let edit = TextEdit { range: view.text.range(typed), new_text: String::new() };
        Proposals { edit, found: Vec::new() }
    }

    /// `class` puts the likelier kinds of proposals first.
    fn add(&mut self, class: char, kind: u8, label: &str, text: &str) -> &mut Item {
        let sort_text = format!("{class}{:03}{label}", self.found.len());
        let text_edit = TextEdit { new_text: text.to_owned(), ..self.edit.clone() };
        let (label, filter_text) = (label.to_owned(), label.to_owned());
        let item = Item {
            label,
            kind,
            detail: None,
            documentation: None,
            sort_text,
            filter_text,
            text_edit,
            insert_text_format: 1,
        };
        self.found.push(item);
        self.found.last_mut().expect("it was pushed just now")
    }
}

fn in_template(view: &View<'_>, spot: &Spot, cursor: &Cursor, offset: usize) -> Vec<Item> {
    let Parts { keys, bracket, .. } = parts(&cursor.word);
    let inside = |c: char| !"[].{}\"'\n".contains(c);
    let part = |c: char| c.is_alphanumeric() || "_-@$".contains(c);
    let typed = if bracket { view.word(offset, inside) } else { view.word(offset, part) };
    let closed = view.text.as_str()[typed.end..].starts_with(']');
    let mut proposals = Proposals::new(view, typed);
    if cursor.block {
        for (name, about) in words::BLOCKS {
            proposals.add('0', KEYWORD, name, &format!("{name} ")).documentation = Some(Markup::new(about.to_owned()));
        }
        return proposals.found;
    }
    let seen = view.seen(spot, &cursor.frames);
    let histories = view.histories(&spot.value);
    for name in seen.names(&keys) {
        let text = match (bracket, plain(&name.name)) {
            (true, _) if !closed => format!("{}]", name.name),
            (true, _) | (_, true) => name.name.clone(),
            (false, false) => format!("[{}]", name.name),
        };
        let last = view.last_value(&spot.value, &histories, &name.found);
        let kind = if keys.is_empty() { VARIABLE } else { FIELD };
        let item = proposals.add('0', kind, &name.name, &text);
        item.detail = Some(detail(&name));
        let told = words::of_name(&name, last.as_deref());
        item.documentation = (!told.is_empty()).then(|| Markup::new(told));
    }
    if keys.is_empty() && !bracket {
        for function in functions::all() {
            let (text, snippet) = called(function, cursor.head, view.snippets);
            let item = proposals.add('1', FUNCTION, function.name, &text);
            item.detail = Some(function.signature());
            item.documentation = Some(Markup::new(words::of_function(function)));
            item.insert_text_format = if snippet { 2 } else { 1 };
        }
        if !cursor.head {
            for word in ["true", "false", "null"] {
                proposals.add('2', KEYWORD, word, word);
            }
        }
    }
    proposals.found
}

fn detail(name: &Name) -> String {
    type_of(&name.found.shape, name.optional)
}

/// True if a key needs no brackets.
fn plain(key: &str) -> bool {
    let word = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    word || ["@index", "@first", "@last"].contains(&key)
}

/// A call as it is written, and whether that is a snippet.
fn called(function: &Function, head: bool, snippets: bool) -> (String, bool) {
    let needed = function.params.iter().filter(|param| param.arity != Arity::Optional);
    let args: Vec<String> = match snippets {
        true => needed.enumerate().map(|(index, param)| format!(" ${{{}:{}}}", index + 1, param.name)).collect(),
        false => Vec::new(),
    };
    let takes = !function.params.is_empty();
    let space = if takes && args.is_empty() { " " } else { "" };
    let call = format!("{}{}{space}", function.name, args.concat());
    let text = match head {
        true => call,
        false if snippets => format!("({call})"),
        false => format!("({call}"),
    };
    (text, snippets && takes)
}

/// Keys and values outside of templates.
fn outside(view: &View<'_>, spot: &Spot, offset: usize) -> Vec<Item> {
    let part = |c: char| c.is_alphanumeric() || "_-./$@".contains(c);
    let typed = view.word(offset, part);
    let followed = view.text.as_str()[typed.end..].trim_start_matches(['"', '\'']).starts_with(':');
    let mut proposals = Proposals::new(view, typed);
    let depth = spot.path.len().saturating_sub(usize::from(spot.on == On::Key));
    let none = Map::new();
    let around = spot.around(depth).and_then(Value::as_object).unwrap_or(&none);
    match spot.on {
        On::Key => {
            let colon = if followed { "" } else { ": " };
            let mut names: Vec<(String, String)> = siblings(view, spot);
            names.retain(|(name, _)| !around.contains_key(name) || *name == spot.before);
            for (name, about) in names {
                proposals.add('0', VALUE, &name, &format!("{name}{colon}")).documentation = Some(Markup::new(about));
            }
            let Some(root) = view.schema else { return proposals.found };
            let schemas = schema::at(root, &spot.value, &spot.path[..depth]);
            let mut present = around.clone();
            present.shift_remove(spot.path.last().map_or("", String::as_str));
            for key in schema::keys(&schemas, &present) {
                let class = if key.required { '1' } else { '2' };
                let item = proposals.add(class, PROPERTY, key.name, &format!("{}{colon}", key.name));
                item.detail = key.required.then(|| "required".to_owned());
                item.documentation = (!key.about.is_empty()).then(|| Markup::new(key.about.to_owned()));
            }
        }
        On::Value => {
            let Some(root) = view.schema else { return proposals.found };
            let schemas = schema::at(root, &spot.value, &spot.path);
            let mut choices: Vec<(Value, String)> =
                schema::choices(&schemas).into_iter().map(|choice| (choice.value, choice.about.to_owned())).collect();
            let last = spot.path.last().map(String::as_str).unwrap_or_default();
            if view.kind() == Kind::Flow && last == "connection" {
                if choices.is_empty() {
                    let all = view.snapshot.connections.keys();
                    choices = all.map(|name| (Value::String(name.clone()), String::new())).collect();
                }
                for (name, about) in &mut choices {
                    *about = name.as_str().and_then(|name| connection(view, name)).unwrap_or_default();
                }
            }
            if last == "call" || last == "flow" {
                for (name, about) in &mut choices {
                    let live = name.as_str().and_then(|name| view.snapshot.flow(name));
                    *about = live.and_then(|live| live.flow.description.clone()).unwrap_or_default();
                }
            }
            if spot.path.iter().any(|key| key == "order") {
                choices.extend(siblings(view, spot).into_iter().map(|(name, about)| (Value::String(name), about)));
            }
            let quoted = ["\"", "'"].iter().any(|quote| view.text.as_str()[..offset].ends_with(quote));
            for (value, about) in choices {
                let text = match &value {
                    Value::String(text) if quoted || needs_no_quotes(text) => text.clone(),
                    other => other.to_string(),
                };
                let label = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let colon = view.text.as_str()[..offset].ends_with(':');
                let text = if colon { format!(" {text}") } else { text };
                let item = proposals.add('0', VALUE, &label, &text);
                item.documentation = (!about.is_empty()).then(|| Markup::new(about));
            }
        }
    }
    proposals.found
}

/// What is said of a connection.
pub fn connection(view: &View<'_>, name: &str) -> Option<String> {
    let connection = view.snapshot.connections.get(name)?;
    let connector = view.snapshot.connectors.get(&connection.connector);
    Some(words::of_connection(connection, connector.map(|connector| connector.description.as_str())))
}

/// True for text that YAML reads as it stands.
fn needs_no_quotes(text: &str) -> bool {
    serde_yaml::from_str::<serde_yaml::Value>(&format!("a: {text}")).is_ok_and(|value| value["a"] == *text)
}
