//! The steps of a flow file as it is being typed, wherever they are nested.

use serde_json::Value;

use crate::flow::{KEYS, child};

/// One step of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct StepAt<'v> {
    pub id: Option<&'v str>,
    /// `action`, `foreach` …, if one is written.
    pub kind: Option<&'static str>,
    /// JSON Pointer of the step.
    pub pointer: String,
    /// That of the list it stands in.
    pub list: String,
    /// How many steps it is inside of.
    pub depth: usize,
    pub value: &'v Value,
}

/// Deepest nesting that is followed; the language allows less.
const MAX_DEPTH: usize = 40;

/// Every step of a flow file, in its order.
pub fn steps(file: &Value) -> Vec<StepAt<'_>> {
    let mut found = Vec::new();
    for key in ["steps", "on_failure"] {
        if let Some(list) = file.get(key) {
            add(list, &child("", key), 0, &mut found);
        }
    }
    found
}

fn add<'v>(list: &'v Value, at: &str, depth: usize, found: &mut Vec<StepAt<'v>>) {
    for (index, value) in list.as_array().into_iter().flatten().enumerate() {
        let pointer = child(at, &index.to_string());
        let Some(map) = value.as_object().filter(|_| depth < MAX_DEPTH) else { continue };
        let kinds = KEYS.iter().find(|(place, _)| *place == "kind").map_or(&[][..], |(_, kinds)| kinds);
        let kind = kinds.iter().find(|kind| map.contains_key(**kind)).copied();
        let id = map.get("id").and_then(Value::as_str);
        found.push(StepAt { id, kind, pointer: pointer.clone(), list: at.to_owned(), depth, value });
        for (key, inner) in map {
            let here = child(&pointer, key);
            match key.as_str() {
                "then" | "else" | "default" | "do" | "scope" | "catch" | "finally" => {
                    add(inner, &here, depth + 1, found);
                }
                "parallel" => named(inner, &here, depth, found),
                "cases" if inner.is_object() => named(inner, &here, depth, found),
                "cases" => {
                    for (index, case) in inner.as_array().into_iter().flatten().enumerate() {
                        if let Some(steps) = case.get("do") {
                            add(steps, &child(&child(&here, &index.to_string()), "do"), depth + 1, found);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// Lists of steps by name: branches, cases.
fn named<'v>(lists: &'v Value, at: &str, depth: usize, found: &mut Vec<StepAt<'v>>) {
    for (name, steps) in lists.as_object().into_iter().flatten() {
        add(steps, &child(at, name), depth + 1, found);
    }
}

/// The innermost step around a pointer.
pub fn around<'s, 'v>(steps: &'s [StepAt<'v>], pointer: &str) -> Option<&'s StepAt<'v>> {
    let inside = |step: &&StepAt<'_>| {
        pointer.strip_prefix(step.pointer.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    steps.iter().filter(inside).max_by_key(|step| step.pointer.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_are_found_in_every_kind_of_list() {
        let one = |id: &str| json!([{"id": id, "set": {}}]);
        let file = json!({"steps": [
            {"id": "i", "if": "{{x}}", "then": one("t"), "else": one("e")},
            {"id": "s", "switch": "x", "cases": {"a/b": one("c")}, "default": one("d")},
            {"id": "l", "switch": "x", "cases": [{"value": 1, "do": one("v")}]},
            {"id": "p", "parallel": {"left": one("left")}},
            {"id": "f", "foreach": "{{x}}", "do": [{"id": "g", "scope": one("b"), "catch": one("k"), "finally": one("y")}]},
            {"when": "x"}, 5,
        ], "on_failure": one("o")});
        let found = steps(&file);
        let ids: Vec<&str> = found.iter().filter_map(|step| step.id).collect();
        assert_eq!(ids.join(" "), "i t e s c d l v p left f g b k y o");
        assert_eq!(around(&found, "/steps/1/cases/a~1b/0/set/x").unwrap().id, Some("c"));
        assert_eq!(around(&found, "/steps/10"), None);
        assert!(found.iter().all(|step| file.pointer(&step.pointer) == Some(step.value)));
    }
}
