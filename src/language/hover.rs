//! Hover: what is said of what stands under a cursor.

use serde::Serialize;
use serde_json::Value;

use super::complete::connection;
use super::cursor::{Cursor, cursor};
use super::places::{self, Thing};
use super::schema;
use super::seen::{Parts, Seen, parts, type_of};
use super::spot::{On, Spot};
use super::text::{Position, Range};
use super::view::{Kind, Markup, View};
use super::words;
use crate::mapping::functions;

/// What an editor shows, and what it is about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hover {
    pub contents: Markup,
    pub range: Range,
}

/// What is said at a place of a file.
pub fn hover(view: &View<'_>, position: Position) -> Option<Hover> {
    let spot = view.spot(position)?;
    let offset = view.text.offset(position);
    let part = |c: char| c.is_alphanumeric() || "_-@$".contains(c);
    let mut bytes = view.word(offset, part);
    let told = match cursor(&spot.before, &spot.after).filter(|_| spot.on == On::Value) {
        Some(cursor) => in_template(view, &spot, &cursor)?,
        None => {
            bytes = view.word(offset, |c| part(c) || c == '.');
            outside(view, &spot)?
        }
    };
    Some(Hover { contents: Markup::new(told), range: view.text.range(bytes) })
}

fn in_template(view: &View<'_>, spot: &Spot, cursor: &Cursor) -> Option<String> {
    if cursor.block {
        let name = format!("{}{}", cursor.word, cursor.rest);
        return words::BLOCKS.iter().find(|(block, _)| *block == name).map(|(_, about)| (*about).to_owned());
    }
    let path = upto(cursor);
    let whole = format!("{}{}", cursor.word, cursor.rest);
    if let Some(function) = functions::find(&whole).filter(|_| cursor.head) {
        return Some(format!("{}\n\n{}", words::code(&function.signature()), words::of_function(function)));
    }
    let seen = view.seen(spot, &cursor.frames);
    let name = named(&seen, &path)?;
    let last = view.last_value(&spot.value, &view.histories(&spot.value), &name.found);
    Some(words::of_path(&path, &name, last.as_deref()))
}

/// The path up to the end of the key that the cursor is in.
pub fn upto(cursor: &Cursor) -> String {
    let bracket = cursor.word.rfind('[') > cursor.word.rfind(']');
    let end = match bracket {
        true => cursor.rest.find(']').map_or(cursor.rest.len(), |at| at + 1),
        false => cursor.rest.find(['.', '/']).unwrap_or(cursor.rest.len()),
    };
    format!("{}{}", cursor.word, &cursor.rest[..end])
}

fn named(seen: &Seen, path: &str) -> Option<super::seen::Name> {
    let Parts { keys, last, .. } = parts(path);
    let same = |name: &&super::seen::Name| name.name == last || name.name.eq_ignore_ascii_case(&last);
    let listed = seen.names(&keys);
    let exact = listed.iter().find(|name| name.name == last).cloned();
    exact.or_else(|| listed.iter().find(same).cloned()).or_else(|| {
        let found = seen.path(path)?;
        Some(super::seen::Name { name: last.clone(), found, optional: true })
    })
}

fn outside(view: &View<'_>, spot: &Spot) -> Option<String> {
    let root = view.schema;
    let about = |path: &[String]| {
        let schemas = schema::at(root?, &spot.value, path);
        schema::about(&schemas).map(str::to_owned)
    };
    let last = spot.path.last()?;
    if let Some(Thing::Step { file, id }) = places::thing(view, spot) {
        let text = if file == view.file { Some(view.text.as_str().to_owned()) } else { (view.read)(&file) };
        if let Some(told) = places::step_told(&text?, &id) {
            return Some(told);
        }
    }
    if spot.on == On::Key {
        let told = about(&spot.path)?;
        return Some(format!("{}\n\n{told}", words::code(last)));
    }
    let text = format!("{}{}", spot.before, spot.after);
    if view.kind() == Kind::Flow && last == "connection" {
        return connection(view, &text);
    }
    if last == "call" || last == "flow" {
        let live = view.snapshot.flow(&text)?;
        let about = live.flow.description.as_deref().unwrap_or_default();
        let body = live.flow.trigger.schema.as_ref().map(|schema| type_of(schema.shape(), false));
        let body = body.map(|kind| format!("\n\nIts body: {kind}")).unwrap_or_default();
        return Some(format!(
            "Flow `{}`, in {}\n\n{about}{body}",
            live.flow.id,
            words::code(&live.file.to_string_lossy())
        ));
    }
    let schemas = schema::at(root?, &spot.value, &spot.path);
    let choices = schema::choices(&schemas);
    let given = spot.around(spot.path.len()).cloned().unwrap_or(Value::Null);
    let chosen = choices.iter().find(|choice| choice.value == given && !choice.about.is_empty());
    match chosen {
        Some(choice) => Some(format!("{}\n\n{}", words::code(&text), choice.about)),
        None => about(&spot.path),
    }
}
