//! Every place that names a step: its id, templates, `run_after`, and the tests of its flow.

use std::ops::Range;
use std::path::Path;

use serde_json::Value;

use super::steps::steps;
use super::text::Text;
use crate::flow::{Source, child};
use crate::mapping::Template;

/// Bytes of a text.
type Bytes = Range<usize>;

/// Without the quotes and the blanks around.
pub fn tidy(text: &str, bytes: Bytes) -> Bytes {
    let whole = &text[bytes.clone()];
    let cut = |c: char| c.is_whitespace() || c == '"' || c == '\'';
    let start = bytes.start + (whole.len() - whole.trim_start_matches(cut).len());
    let end = bytes.end - (whole.len() - whole.trim_end_matches(cut).len());
    start..end.max(start)
}

/// Where the text of a flow names one of its steps.
///
/// # Errors
/// If it is not YAML, so nobody can know.
pub fn in_flow(file: &Path, text: &str, id: &str) -> Result<Vec<Bytes>, String> {
    let (source, value, problems) = Source::read(file, text);
    let Some(value) = value else { return Err(unreadable(file, problems.first().map(|problem| problem.line))) };
    let lines = Text::new(text.to_owned());
    let mut found = Vec::new();
    let mut add = |extent: Option<crate::flow::Extent>| {
        found.extend(extent.and_then(|extent| within(text, lines.bytes(extent), id)));
    };
    for step in steps(&value) {
        if step.id == Some(id) {
            add(source.value_extent(&child(&step.pointer, "id")));
        }
        if step.value.get("run_after").is_some_and(|after| after.get(id).is_some()) {
            add(source.key_extent(&child(&child(&step.pointer, "run_after"), id)));
        }
    }
    let mut leaves = Vec::new();
    templates(&value, String::new(), &mut leaves);
    for (pointer, leaf) in leaves {
        let Some(extent) = source.value_extent(&pointer) else { continue };
        let bytes = lines.bytes(extent);
        found.extend(
            in_leaf(&text[bytes.clone()], leaf, id).into_iter().map(|at| at.start + bytes.start..at.end + bytes.start),
        );
    }
    Ok(sorted(found))
}

fn unreadable(file: &Path, line: Option<usize>) -> String {
    let line = line.map(|line| format!(", line {line}")).unwrap_or_default();
    format!("{}{line} is not YAML; mend it first", file.display())
}

fn sorted(mut found: Vec<Bytes>) -> Vec<Bytes> {
    found.sort_by_key(|bytes| bytes.start);
    found.dedup();
    found
}

/// Every text with a template, and its JSON Pointer.
fn templates<'v>(value: &'v Value, at: String, found: &mut Vec<(String, &'v str)>) {
    match value {
        Value::String(text) if text.contains("{{") => found.push((at, text)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| templates(item, child(&at, &index.to_string()), found));
        }
        Value::Object(map) => map.iter().for_each(|(key, value)| templates(value, child(&at, key), found)),
        _ => {}
    }
}

/// Where a text as written (`raw`) and as read (`leaf`) names a step, in bytes of the first.
fn in_leaf(raw: &str, leaf: &str, id: &str) -> Vec<Bytes> {
    let Ok(template) = Template::parse(leaf) else {
        // What cannot be read as a template is gone by its letters.
        let ways = ["steps.", "steps.[", "loops.", "loops.[", "run.resume_urls.", "run.resume_urls.["];
        return ways.iter().flat_map(|way| ends_of(raw, &format!("{way}{id}"), id.len())).collect();
    };
    let mut found = Vec::new();
    for (keys, written, offset) in template.places() {
        let key = |index: usize| keys.get(index).map(String::as_str).unwrap_or_default();
        let index = match key(0) {
            "steps" | "loops" if key(1) == id => 1,
            "run" if key(1).eq_ignore_ascii_case("resume_urls") && key(2).eq_ignore_ascii_case(id) => 2,
            _ => continue,
        };
        // The keys stand in the path as written, one after the other.
        let end = keys[..=index]
            .iter()
            .try_fold(0, |from, key| Some(from + written.get(from..)?.find(key.as_str())? + key.len()));
        let Some(prefix) = end.and_then(|end| written.get(..end)) else { continue };
        let (here, there) = (ends_of(leaf, prefix, key(index).len()), ends_of(raw, prefix, key(index).len()));
        let number = here.iter().position(|bytes| bytes.end == offset + prefix.len());
        match number.filter(|_| here.len() == there.len()).and_then(|number| there.get(number)) {
            Some(bytes) => found.push(bytes.clone()),
            None => found.extend(there),
        }
    }
    found
}

/// The last `length` bytes of each place where `text` has `prefix` as the beginning of a path, up to the end of a key.
fn ends_of(text: &str, prefix: &str, length: usize) -> Vec<Bytes> {
    let part = |c: char| c.is_alphanumeric() || "_-".contains(c);
    let places = text.match_indices(prefix).filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        let after = text[at + prefix.len()..].chars().next();
        !before.is_some_and(|c| part(c) || ".@/[".contains(c)) && !after.is_some_and(part)
    });
    places.map(|(at, _)| at + prefix.len() - length..at + prefix.len()).collect()
}

/// Where `word` stands in some bytes of a text.
fn within(text: &str, bytes: Bytes, word: &str) -> Option<Bytes> {
    let start = bytes.start + text.get(bytes)?.find(word)?;
    Some(start..start + word.len())
}

/// Where the text of a test file names a step of a flow. `same` says whether a name is that flow's, `called` which flow a
/// step of a flow calls.
pub fn in_test(
    file: &Path,
    text: &str,
    called: &dyn Fn(&str, &str) -> Option<String>,
    same: &dyn Fn(&str) -> bool,
    id: &str,
) -> Vec<Bytes> {
    let (source, Some(value), _) = Source::read(file, text) else { return Vec::new() };
    let lines = Text::new(text.to_owned());
    let mut search = Search { source: &source, text, lines, called, same, id, found: Vec::new() };
    let own = |value: &Value| value.get("flow").and_then(Value::as_str).map(str::to_owned);
    let outer = own(&value);
    search.names(&value, "", "mocks", outer.as_deref());
    for (index, case) in value.get("cases").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let at = child("/cases", &index.to_string());
        let own = own(case).or_else(|| outer.clone());
        search.names(case, &at, "mocks", own.as_deref());
        search.names(case, &at, "resume", own.as_deref());
        if let Some(expect) = case.get("expect") {
            search.expect(expect, &child(&at, "expect"), own.as_deref());
        }
    }
    sorted(search.found)
}

struct Search<'s> {
    source: &'s Source,
    text: &'s str,
    lines: Text,
    called: &'s dyn Fn(&str, &str) -> Option<String>,
    same: &'s dyn Fn(&str) -> bool,
    id: &'s str,
    found: Vec<Bytes>,
}

impl Search<'_> {
    /// The keys of a map that name steps: of the flow that it is about, or `flow.step`.
    fn names(&mut self, value: &Value, at: &str, key: &str, flow: Option<&str>) {
        let at = child(at, key);
        let own = flow.is_some_and(|flow| (self.same)(flow));
        for name in value.get(key).and_then(Value::as_object).into_iter().flat_map(|map| map.keys()) {
            let skip = match name.split_once('.') {
                None if own && name == self.id => 0,
                Some((flow, step)) if step == self.id && (self.same)(flow) => flow.len() + 1,
                _ => continue,
            };
            let Some(extent) = self.source.key_extent(&child(&at, name)) else { continue };
            if let Some(bytes) = within(self.text, self.lines.bytes(extent), name) {
                self.found.push(bytes.start + skip..bytes.end);
            }
        }
    }

    /// What is expected of a run of a flow.
    fn expect(&mut self, value: &Value, at: &str, flow: Option<&str>) {
        self.names(value, at, "steps", flow);
        self.names(value, at, "calls", flow);
        let own = flow.is_some_and(|flow| (self.same)(flow));
        let order = child(at, "order");
        for (index, name) in value.get("order").and_then(Value::as_array).into_iter().flatten().enumerate() {
            if own
                && name == self.id
                && let Some(extent) = self.source.value_extent(&child(&order, &index.to_string()))
            {
                self.found.extend(within(self.text, self.lines.bytes(extent), self.id));
            }
        }
        for (index, run) in value.get("runs").and_then(Value::as_array).into_iter().flatten().enumerate() {
            self.expect(run, &child(&child(at, "runs"), &index.to_string()), flow);
        }
        for (step, expect) in value.get("calls").and_then(Value::as_object).into_iter().flatten() {
            let called = flow.and_then(|flow| (self.called)(flow, step));
            let at = child(&child(at, "calls"), step);
            match expect {
                Value::Array(all) => {
                    for (index, one) in all.iter().enumerate() {
                        self.expect(one, &child(&at, &index.to_string()), called.as_deref());
                    }
                }
                one => self.expect(one, &at, called.as_deref()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text with each place in brackets.
    fn shown(text: &str, id: &str) -> String {
        let mut shown = text.to_owned();
        for bytes in in_flow(Path::new("flows/a.yaml"), text, id).unwrap().into_iter().rev() {
            shown.replace_range(bytes.clone(), &format!("<{}>", &text[bytes]));
        }
        shown
    }

    #[test]
    fn every_way_to_name_a_step_is_found_and_nothing_else() {
        for (text, found) in [
            ("  - id: \"a\"\n", "  - id: \"<a>\"\n"),
            ("  - id: b\n    run_after: {a: [failed], ab: x}\n", "  - id: b\n    run_after: {<a>: [failed], ab: x}\n"),
            ("  - set: {x: \"{{steps.a.output}} a steps.a\"}\n", "  - set: {x: \"{{steps.<a>.output}} a steps.a\"}\n"),
            (
                "  - set: {x: '{{concat \"steps.a\" steps.[a].status}}'}\n",
                "  - set: {x: '{{concat \"steps.a\" steps.[<a>].status}}'}\n",
            ),
            (
                "  - set: {x: \"{{steps.ab.output.a}}{{trigger.body.steps.a}}\"}\n",
                "  - set: {x: \"{{steps.ab.output.a}}{{trigger.body.steps.a}}\"}\n",
            ),
            ("  - when: \"{{equals loops.a.index 1}}\"\n", "  - when: \"{{equals loops.<a>.index 1}}\"\n"),
            (
                "  - set:\n      x: >-\n        one {{run.resume_urls.a}}\n        two \"{{@root.steps.a}}\"\n",
                "  - set:\n      x: >-\n        one {{run.resume_urls.<a>}}\n        two \"{{@root.steps.<a>}}\"\n",
            ),
            (
                "  - set: {x: \"é😀 {{#each vars.l}}{{../steps.a}}{{steps}}{{this.steps.a}}{{/each}}\"}\n",
                "  - set: {x: \"é😀 {{#each vars.l}}{{../steps.<a>}}{{steps}}{{this.steps.a}}{{/each}}\"}\n",
            ),
            (
                "  - set: {x: \"{{#if steps.a.error}}{{steps.a.x}} \\t\\\"{{/if}}\"}\n",
                "  - set: {x: \"{{#if steps.<a>.error}}{{steps.<a>.x}} \\t\\\"{{/if}}\"}\n",
            ),
            ("  - set: {x: \"{{concat steps.a.output\"}\n", "  - set: {x: \"{{concat steps.<a>.output\"}\n"),
        ] {
            let whole = format!("steps:\n{text}");
            assert_eq!(shown(&whole, "a"), format!("steps:\n{found}"));
        }
        assert!(in_flow(Path::new("flows/a.yaml"), "a: [", "a").unwrap_err().contains("mend it first"));
    }

    #[test]
    fn a_test_file_names_steps_in_mocks_and_in_what_it_expects() {
        let text = "flow: parent\nmocks: {a: {output: 1}, child.a: {output: 2}}\ncases:\n  - name: a\n    resume: {a: {}}\n    expect:\n      order: [a, b]\n      \
                    steps: {a: succeeded}\n      calls: {go: {steps: {a: {output: {a: 1}}}}}\n  - name: b\n    flow: child\n    mocks: {a: {}}\n";
        let called = |flow: &str, step: &str| (flow == "parent" && step == "go").then(|| "child".to_owned());
        let lines = |flow: &str| {
            let found = in_test(Path::new("tests/a.test.yaml"), text, &called, &|name| name == flow, "a");
            assert!(found.iter().all(|bytes| &text[bytes.clone()] == "a"), "{found:?}");
            found.iter().map(|bytes| text[..bytes.start].matches('\n').count() + 1).collect::<Vec<_>>()
        };
        assert_eq!(lines("parent"), [2, 5, 7, 8]);
        assert_eq!(lines("child"), [2, 9, 12]);
    }
}
