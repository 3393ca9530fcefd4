//! What is said of names, functions and connectors in an editor.

use std::fmt::Write;

use super::seen::{Name, type_of};
use crate::connector::Connection;
use crate::mapping::functions::Function;

/// What a name is that templates always have.
pub fn root(name: &str) -> Option<&'static str> {
    Some(match name {
        "trigger" => "What started the run: its `body`, `headers`, `query`, `path` and `method`.",
        "steps" => "The steps that can have ended before this one: `steps.ID.output`, `.status`, `.error`.",
        "vars" => "The variables that `set` steps have given values by now.",
        "env" => "Variables of the server's environment that `millstream.yaml` opens to templates.",
        "flow" => "This flow: its `id` and `description`.",
        "run" => "This run: its `id`, `started_at`, and the URLs of steps that wait.",
        "item" => "The item that the innermost loop is at.",
        "index" => "The number of the iteration, from 0.",
        "loops" => "The loops around this step: `loops.ID.item`, `loops.ID.index`.",
        "this" => "The value that the block is about.",
        "@index" => "The number of the item, from 0.",
        "@first" => "True for the first item.",
        "@last" => "True for the last item.",
        _ => return None,
    })
}

/// A block of templates.
pub const BLOCKS: [(&str, &str); 4] = [
    ("if", "`{{#if condition}} … {{else}} … {{/if}}`: what is between, where the condition holds."),
    ("unless", "`{{#unless condition}} … {{/unless}}`: what is between, where the condition does not hold."),
    ("each", "`{{#each list}} … {{/each}}`: what is between, for each item, which is `this`."),
    ("with", "`{{#with value}} … {{/with}}`: what is between, with the value as `this`."),
];

/// What is known of a name, as Markdown: what its schema says, and its last value.
pub fn of_name(name: &Name, last: Option<&str>) -> String {
    let mut out = String::new();
    // A key of the data may be called `run` too.
    let own = name.found.keys.as_deref() == Some(std::slice::from_ref(&name.name))
        || ["this", "@index", "@first", "@last"].contains(&name.name.as_str());
    let known = || root(&name.name).filter(|_| own);
    let about = name.found.shape.about.as_deref().or_else(known);
    if let Some(about) = about {
        let _ = write!(out, "{about}\n\n");
    }
    if let Some(last) = last {
        let _ = write!(out, "Last value: {}\n\n", code(last));
    }
    out.trim_end().to_owned()
}

/// The same with the path and its type above.
pub fn of_path(path: &str, name: &Name, last: Option<&str>) -> String {
    let kind = type_of(&name.found.shape, name.optional);
    format!("{}: {kind}\n\n{}", code(path), of_name(name, last)).trim_end().to_owned()
}

/// What a function does, with an example.
pub fn of_function(function: &Function) -> String {
    let example = &function.example;
    let with = if example.scope == "{}" { String::new() } else { format!(" with {}", code(example.scope)) };
    format!("{}\n\n{}{with} gives {}", function.text, code(example.template), code(example.result))
}

/// What a connection leads to.
pub fn of_connection(connection: &Connection, about: Option<&str>) -> String {
    let about = about.map(|about| format!(": {about}")).unwrap_or_default();
    format!("A connection of `{}`{about}", connection.connector)
}

/// As code, also where it holds backticks.
pub fn code(text: &str) -> String {
    let text = text.replace('\n', " ");
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}
