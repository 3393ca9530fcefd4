//! Whether what a mapping will give can fit what an action takes.

use super::problem::{self, Code, suggest};
use super::source::{At, child};
use crate::schema::{Shape, Types};

/// One misfit: code, JSON Pointer within the mapping, where to point, what, and what to do.
pub type Misfit = (Code, String, At, String, Option<String>);

/// Compares `got` with `want`; only what can never fit is a misfit.
pub fn misfits(want: &Shape, got: &Shape, at: &str, found: &mut Vec<Misfit>) {
    if !got.types.meets(want.types) {
        let what = format!("this is {}; {} is wanted", words(got.types), words(want.types));
        found.push((problem::CANNOT_FIT, at.to_owned(), At::Value, what, None));
        return;
    }
    if !want.values.is_empty() && !got.values.is_empty() && !got.values.iter().any(|v| want.values.contains(v)) {
        let values: Vec<String> = want.values.iter().map(ToString::to_string).collect();
        let what = format!("{} is not one of the possible values", got.values[0]);
        let hint = Some(format!("possible: {}", values.join(", ")));
        found.push((problem::CANNOT_FIT, at.to_owned(), At::Value, what, hint));
    }
    if got.types == Types::OBJECT && want.types.meets(Types::OBJECT) {
        for (key, got) in &got.properties {
            match want.properties.get(key) {
                Some(want) => misfits(want, got, &child(at, key), found),
                None if want.closed => {
                    let hint = suggest(key, want.properties.keys().map(String::as_str));
                    let what = format!("there is no input `{key}`");
                    found.push((problem::UNKNOWN_KEY, child(at, key), At::Key, what, hint));
                }
                None => {}
            }
        }
        if got.closed {
            for key in want.required.iter().filter(|key| !got.properties.contains_key(*key)) {
                let kind = want.properties.get(key).map_or(Types::ANY, |shape| shape.types);
                let what = format!("the input `{key}` ({}) is missing", words(kind));
                found.push((problem::MISSING_INPUT, at.to_owned(), At::Value, what, None));
            }
        }
    }
}

/// A set of types, as a person says it.
pub fn words(types: Types) -> String {
    if types == Types::ANY {
        return "anything".to_owned();
    }
    let names = [
        (Types::STRING, "text"),
        (Types::NUMBER, "a number"),
        (Types::BOOLEAN, "true or false"),
        (Types::OBJECT, "an object"),
        (Types::ARRAY, "a list"),
        (Types::NULL, "null"),
    ];
    let present: Vec<&str> = names.iter().filter(|(one, _)| types.meets(*one)).map(|(_, name)| *name).collect();
    match present.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
