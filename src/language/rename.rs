//! Renaming a step, and finding every place that names it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::occurrences::{in_flow, in_test};
use super::places::{Thing, called, thing};
use super::spot::tree;
use super::steps::steps;
use super::text::{Position, Range, Text};
use super::view::{Location, TextEdit, View, usable};
use crate::flow::is_name;
use crate::rehearse;

/// What can be renamed at a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Renamed {
    pub range: Range,
    pub name: String,
    /// The flow's file, from the project folder.
    file: PathBuf,
}

/// What would be renamed at a place.
///
/// # Errors
/// Why nothing can be, for a person.
pub fn prepare(view: &View<'_>, position: Position) -> Result<Renamed, String> {
    let nothing = || "only the id of a step can be renamed; put the cursor on one".to_owned();
    let unreadable = || in_flow(view.file, view.text.as_str(), "").err();
    let spot = view.spot(position).ok_or_else(|| unreadable().unwrap_or_else(nothing))?;
    let Some(Thing::Step { file, id }) = thing(view, &spot) else { return Err(nothing()) };
    let offset = view.text.offset(position);
    let bytes = view.word(offset, |c| c.is_ascii_alphanumeric() || c == '_');
    if view.text.as_str()[bytes.clone()] != id {
        return Err(nothing());
    }
    let text = text_of(view, &file).unwrap_or_default();
    let known = serde_yaml::from_str(&text).map(tree).unwrap_or_default();
    if !steps(&known).iter().any(|step| step.id == Some(&id)) {
        return Err(format!("there is no step `{id}` in {}", file.display()));
    }
    Ok(Renamed { range: view.text.range(bytes), name: id, file })
}

/// The edits that give the step at a place another id, by file.
///
/// # Errors
/// Why the new id will not do, or what must be mended before, for a person.
pub fn rename(view: &View<'_>, position: Position, to: &str) -> Result<BTreeMap<PathBuf, Vec<TextEdit>>, String> {
    let Renamed { name, file, .. } = prepare(view, position)?;
    if !is_name(to) {
        let example = usable(to);
        return Err(format!(
            "`{to}` is not a name: small letters, digits and `_`, a letter first, at most 80{example}"
        ));
    }
    let text = text_of(view, &file).unwrap_or_default();
    let tree = serde_yaml::from_str(&text).map(tree).unwrap_or_default();
    if to != name && steps(&tree).iter().any(|step| step.id == Some(to)) {
        return Err(format!("another step is already called `{to}`"));
    }
    let mut edits: BTreeMap<PathBuf, Vec<TextEdit>> = BTreeMap::new();
    for Location { file, range } in all(view, &file, &name)? {
        edits.entry(file).or_default().push(TextEdit { range, new_text: to.to_owned() });
    }
    Ok(edits)
}

/// Every place that names the step at a place; none where there is no step.
pub fn references(view: &View<'_>, position: Position) -> Vec<Location> {
    prepare(view, position).and_then(|found| all(view, &found.file, &found.name)).unwrap_or_default()
}

fn all(view: &View<'_>, file: &Path, id: &str) -> Result<Vec<Location>, String> {
    let text = text_of(view, file).ok_or_else(|| format!("{} cannot be read", file.display()))?;
    let mut found = Vec::new();
    let mut add = |file: &Path, text: String, places: Vec<std::ops::Range<usize>>| {
        let lines = Text::new(text);
        found.extend(places.into_iter().map(|bytes| Location { file: file.to_owned(), range: lines.range(bytes) }));
    };
    let places = in_flow(file, &text, id)?;
    add(file, text, places);
    // Tests know a flow by its last version without errors.
    let live = view.snapshot.flows.values().find(|live| live.file == file);
    for test in live.map(|_| rehearse::find(&view.snapshot.dir)).unwrap_or_default() {
        let (Some(live), Some(text)) = (live, text_of(view, &test)) else { continue };
        let same = |name: &str| view.snapshot.flow(name).is_some_and(|other| other.flow.id == live.flow.id);
        let places = in_test(&test, &text, &|flow, step| called(view, flow, step), &same, id);
        add(&test, text, places);
    }
    Ok(found)
}

fn text_of(view: &View<'_>, file: &Path) -> Option<String> {
    if file == view.file { Some(view.text.as_str().to_owned()) } else { (view.read)(file) }
}
