//! Where things stand in a file.

use serde_json::json;

use super::*;

fn source(text: &str) -> Source {
    let (source, _, problems) = Source::read(Path::new("flows/a.yaml"), text);
    assert!(problems.is_empty(), "{problems:?}");
    source
}

/// Line and column of what stands `needle` bytes into the value at `pointer`.
fn place(text: &str, pointer: &str, at: At) -> (usize, usize) {
    let problem = source(text).problem(problem::BAD_VALUE, pointer, at, String::new(), None);
    (problem.line, problem.column)
}

/// Finds `needle` in the value at `pointer`, and whether the place found in the file is that of `needle` too.
fn finds(text: &str, pointer: &str, needle: &str) -> bool {
    let (source, value, _) = Source::read(Path::new("flows/a.yaml"), text);
    let value = value.expect("it is YAML");
    let offset =
        value.pointer(pointer).and_then(Value::as_str).and_then(|text| text.find(needle)).expect("it is there");
    let problem = source.problem(problem::BAD_VALUE, pointer, At::Offset(offset), String::new(), None);
    let shown: String = problem.shown.chars().skip(problem.column - 1).collect();
    shown.starts_with(needle)
}

#[test]
fn a_key_and_its_value_have_each_its_place() {
    let text = "a: 1\nb:\n  - x\n  - {c: y}\n";
    assert_eq!(place(text, "/b", At::Key), (2, 1));
    assert_eq!(place(text, "/b", At::Value), (3, 3));
    assert_eq!(place(text, "/b/1/c", At::Key), (4, 6));
    assert_eq!(place(text, "/b/1/c", At::Value), (4, 9));
}

#[test]
fn what_is_not_there_is_shown_at_the_nearest_enclosing_value() {
    assert_eq!(place("a:\n  b: 1\n", "/a/c/d", At::Value), (2, 3));
    assert_eq!(place("", "/a", At::Value), (1, 1));
}

#[test]
fn keys_with_slashes_and_tildes_have_places() {
    let text = "\"a/b\": {\"c~d\": x}\n";
    assert_eq!(place(text, "/a~1b/c~0d", At::Value), (1, 16));
    assert_eq!(child(&child("", "a/b"), "c~d"), "/a~1b/c~0d");
}

#[test]
fn an_offset_is_found_in_plain_and_quoted_text() {
    assert!(finds("a: Größe {{x}}\n", "/a", "{{x}}"));
    assert!(finds("a: 'it''s {{x}}'\n", "/a", "{{x}}"));
    assert!(finds(r#"a: "é \"q\" \t \u00e9 \x41 {{x}}""#, "/a", "{{x}}"));
    assert!(finds("größe: {ä: \"ü {{x}}\"}\n", "/größe/ä", "{{x}}"));
}

#[test]
fn an_offset_is_found_in_a_literal_block() {
    let text = "a:\n  b: |\n\n    first {{x}}\n\n      größer {{y}}\n    last {{z}}\n  c: |-\n    {{w}}\n";
    for needle in ["first", "{{x}}", "größer", "{{y}}", "{{z}}"] {
        assert!(finds(text, "/a/b", needle), "{needle}");
    }
    assert!(finds(text, "/a/c", "{{w}}"));
}

#[test]
fn an_offset_in_folded_text_is_the_start_of_its_value() {
    assert_eq!(place("a: >\n  one\n  two\n", "/a", At::Offset(5)), (2, 3));
    assert_eq!(place("a: \"one\n  two\"\n", "/a", At::Offset(5)), (1, 4));
}

#[test]
fn what_an_alias_stands_for_is_shown_where_the_alias_is() {
    let text = "a: &x {b: 1}\nc: *x\n";
    assert_eq!(place(text, "/a/b", At::Value), (1, 11));
    assert_eq!(place(text, "/c", At::Value), (2, 4));
    assert_eq!(place(text, "/c/b", At::Value), (2, 4));
}

#[test]
fn equal_keys_are_found_at_every_depth_and_name_the_first() {
    let (_, value, problems) = Source::read(Path::new("a.yaml"), "a: 1\nb:\n  - {c: 1, c: 2}\na: 3\n");
    let found: Vec<_> = problems.iter().map(|p| (p.line, p.column, p.code.as_str())).collect();
    assert_eq!((value, found), (None, vec![(3, 12, "E-FLOW-002"), (4, 1, "E-FLOW-002")]));
    assert!(problems[1].what.contains("line 1"), "{}", problems[1].what);
}

#[test]
fn values_become_json_with_their_numbers_as_written() {
    let text = "a: 9007199254740993\nb: 0x10\nc: yes\nd: null\ne: [1.5, true]\n1: one\n";
    let (_, value, problems) = Source::read(Path::new("a.yaml"), text);
    assert!(problems.is_empty(), "{problems:?}");
    let expected = json!({"a": 9007199254740993_u64, "b": 16, "c": "yes", "d": null, "e": [1.5, true], "1": "one"});
    assert_eq!(value, Some(expected));
}

#[test]
fn a_file_that_is_too_large_is_refused_before_it_is_read() {
    let (_, value, problems) = Source::read(Path::new("a.yaml"), &"x".repeat(MAX_BYTES + 1));
    assert_eq!((value, problems[0].code.as_str()), (None, "E-FLOW-019"));
}

#[test]
fn any_text_is_read_without_a_panic() {
    let odd = [
        "a: [\n",
        "? {a: b}\n: c\n",
        "*x : 1\n",
        "&a *a",
        "- - - -\n",
        "a: |\n",
        "\u{feff}a: 1\n",
        "a: \"\\",
        "%YAML 9\n---\na",
        "!!binary x",
    ];
    for text in odd {
        let (source, _, _) = Source::read(Path::new("a.yaml"), text);
        source.problem(problem::BAD_VALUE, "/a/b", At::Offset(7), String::new(), None);
    }
}

#[test]
fn of_a_hundred_thousand_levels_few_have_places() {
    for text in ["- ".repeat(100_000), "? ".repeat(100_000), "[".repeat(100_000)] {
        let (source, value, problems) = Source::read(Path::new("a.yaml"), &text);
        assert!(value.is_none() && !problems.is_empty());
        let levels = source.places().marks.keys().map(|pointer| pointer.matches('/').count()).max();
        assert!(levels.is_none_or(|levels| levels <= DEEPEST + 1), "{levels:?}");
    }
}

#[test]
fn words_and_numbers_of_old_yaml_are_text() {
    let (_, value, problems) = Source::read(Path::new("a.yaml"), "[NO, yes, 012, 12:30, 0x10, 1_000]");
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(value, Some(json!(["NO", "yes", "012", "12:30", 16, "1_000"])));
}
