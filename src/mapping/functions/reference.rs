//! The reference page of the functions, written from their table.

use std::fmt::Write;

use super::all;

/// The text of `docs/reference/functions.md`.
pub fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    let mut families: Vec<&str> = Vec::new();
    for function in all() {
        if !families.contains(&function.family) {
            families.push(function.family);
        }
    }
    // Several files may add to one family.
    let grouped = families.into_iter().flat_map(|family| {
        let members = all().filter(move |function| function.family == family);
        members.enumerate().map(move |(i, function)| ((i == 0).then_some(family), function))
    });
    for (heading, function) in grouped {
        // Writing to a String can't fail.
        if let Some(family) = heading {
            let _ = write!(out, "\n## {family}\n");
        }
        let (name, text, example) = (function.name, function.text, &function.example);
        let _ = write!(out, "\n### {name}\n\n`{}`\n\n{text}\n\n", function.signature());
        let with = if example.scope == "{}" { String::new() } else { format!(" with `{}`", example.scope) };
        let _ = writeln!(out, "`{}`{with} gives `{}`", example.template, example.result);
    }
    out
}

const INTRODUCTION: &str = "\
# Functions

Functions are called in templates: `{{toUpper trigger.body.Company}}`, nested in brackets:
`{{concat (trim trigger.body.FirstName) \" \" (trim trigger.body.LastName)}}`. They are pure. Names ignore case; names and
meanings are those of Microsoft's Workflow Definition Language where it has the function. A parameter refuses null unless
its types say `any` or `null`; `default` gives null another value. `x?` may be left out; `x…` is one argument or more. An
`expression` is evaluated for each item of the list, which it sees as `item`, with its number as `index`.

Bytes are a *content envelope*, `{\"$content-type\": …, \"$content\": base64}`, as in Microsoft's language. A result has at most 8 MB, the
loops of one template at most 100,000 rounds; all work together is bounded, and what is more fails with `mapping.too_large`.

This page is written from the table that the engine runs on; `millstream functions` shows the same.
";
