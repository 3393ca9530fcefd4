//! The house keeps its order: who may name whom, what the core must not touch, and how large a file may grow.
//!
//! The table of directions is read from `ARCHITECTURE.md`, so that the page is true.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file, lines.
const MAX_LINES: usize = 450;
/// Files that are longer, with the reason.
const LONG: &[(&str, &str)] = &[];

/// Modules that decide and never act.
const CORE: &[&str] = &["run", "flow", "connector", "mapping", "schema"];
const OUTSIDE: &[&str] = &[
    "tokio",
    "axum",
    "hyper",
    "redb",
    "sled",
    "sqlx",
    "reqwest",
    "std::fs",
    "std::net",
    "std::env",
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "Zoned::now",
    "rand::",
    "getrandom",
    "now_v7",
    "new_v4",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file, by its path from the root.
fn sources() -> BTreeMap<String, String> {
    let mut open: Vec<PathBuf> = vec![root().join("src")];
    let mut found = BTreeMap::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("it lies below").to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(&path).expect("the file can be read"));
            }
        }
    }
    found
}

/// `run` of `src/run/next.rs` and `src/run.rs`; none for `lib.rs` and `main.rs`.
fn module(file: &str) -> Option<&str> {
    let inner = file.strip_prefix("src/")?;
    let name = inner.split('/').next()?.trim_end_matches(".rs");
    (!["lib", "main"].contains(&name)).then_some(name)
}

/// Lines of code: no comments, so that documentation may name whom it likes.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()));
    lines.filter(|(_, line)| !line.trim().is_empty())
}

/// True if `text` holds `word`, and not as a part of a longer word.
fn holds(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(part);
        let after = word.ends_with(|c: char| part(c)) && text[at + word.len()..].chars().next().is_some_and(part);
        !before && !after
    })
}

/// The modules of this crate that a line names: `crate::flow`, or `crate::{flow, run}`.
fn named<'t>(line: &'t str, modules: &BTreeSet<&str>) -> Vec<&'t str> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        if line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &line[at + "crate::".len()..];
        let listed = rest.strip_prefix('{').map(|inner| inner.split('}').next().unwrap_or_default());
        for item in listed.unwrap_or(rest).split(',') {
            let name = item.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
            if modules.contains(name) {
                found.push(name);
            }
            if listed.is_none() {
                break;
            }
        }
    }
    found
}

/// The table below `## Direction` of the architecture page.
fn directions(page: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let section = page.split("## Direction").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.trim_end_matches('|').split_once('|'));
    let rows = rows.map(|(module, names)| (module.trim(), names.split_whitespace().collect()));
    rows.filter(|(module, _)| *module != "Module").collect()
}

#[test]
fn arrows_point_one_way() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page is there");
    let table = directions(&page);
    let sources = sources();
    let modules: BTreeSet<&str> = sources.keys().filter_map(|file| module(file)).collect();
    assert_eq!(table.keys().copied().collect::<BTreeSet<_>>(), modules, "the table has exactly the modules of src/");
    let mut wrong = Vec::new();
    for (file, text) in &sources {
        let Some(own) = module(file) else { continue };
        for (number, line) in code(text) {
            for name in named(line, &modules) {
                if name != own && !table[own].contains(name) {
                    wrong.push(format!("{file}:{number}: `{own}` may not name `{name}`"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\nmove the shared type inward, or mend ARCHITECTURE.md", wrong.join("\n"));
}

#[test]
fn the_table_of_directions_has_no_way_back() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page is there");
    let table = directions(&page);
    for (from, names) in &table {
        for to in names {
            assert!(!table[to].contains(from), "`{from}` and `{to}` may name each other");
            let further = table[to].iter().filter(|further| !names.contains(*further));
            let further: Vec<_> =
                further.filter(|name| !["config", "vault", "data", "private", "points"].contains(*name)).collect();
            assert!(
                further.is_empty() || *from == "data",
                "`{from}` names `{to}`, but not what that names: {further:?}"
            );
        }
    }
    for siblings in ["journal", "outbound", "catalog"] {
        assert!(!["journal", "outbound", "catalog"].iter().any(|other| table[siblings].contains(other)));
    }
}

#[test]
fn the_core_decides_and_never_acts() {
    let mut wrong = Vec::new();
    for (file, text) in &sources() {
        if !module(file).is_some_and(|own| CORE.contains(&own)) {
            continue;
        }
        for (number, line) in code(text) {
            for word in OUTSIDE.iter().filter(|word| holds(line, word)) {
                wrong.push(format!("{file}:{number}: the core has no `{word}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\ntake it as an argument", wrong.join("\n"));
}

#[test]
fn only_the_journal_names_its_store() {
    for (file, text) in &sources() {
        let named = code(text).any(|(_, line)| holds(line, "sled"));
        assert!(!named || module(file) == Some("journal"), "{file} names the store crate");
    }
}

#[test]
fn each_file_says_what_lives_in_it_and_holds_one_idea() {
    let sources = sources();
    for (file, text) in &sources {
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//!") || first.starts_with("#![doc"), "{file} does not open with `//!`");
        let excused = LONG.iter().any(|(long, _)| long == file);
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES || excused, "{file} has {lines} lines: split it, or say in LONG why not");
    }
    for (file, reason) in LONG {
        let lines = sources.get(*file).map_or(0, |text| text.lines().count());
        assert!(lines > MAX_LINES, "{file} needs no excuse any more ({reason})");
    }
}

#[test]
fn every_crash_point_is_a_place_in_the_code() {
    let mut reached = BTreeSet::new();
    for text in sources().values() {
        for (_, line) in code(text) {
            let names = line.split("points::reach(\"").skip(1).filter_map(|rest| rest.split('"').next());
            names.for_each(|name| assert!(reached.insert(name.to_owned()), "two places are called {name}"));
        }
    }
    use millstream::points::{ALL, HOUSE, START, TOKENS};
    let lists = [ALL, HOUSE, START, TOKENS];
    let listed: BTreeSet<String> = lists.into_iter().flatten().map(|name| (*name).to_owned()).collect();
    assert_eq!(reached, listed, "src/points.rs lists the places there are");
}

#[test]
fn the_rules_themselves_see_what_they_look_for() {
    let modules = BTreeSet::from(["flow", "run", "journal"]);
    assert_eq!(named("use crate::{flow::Flow, run};", &modules), ["flow", "run"]);
    assert_eq!(named("let x: crate::journal::Error = y(crate::run::z());", &modules), ["journal", "run"]);
    assert!(named("use millcrate::flow;", &modules).is_empty());
    assert!(holds("use tokio::sync;", "tokio") && !holds("tokio_like()", "tokio") && !holds("Instantly", "Instant"));
    assert_eq!(module("src/run/next.rs"), Some("run"));
    assert_eq!(module("src/vault.rs"), Some("vault"));
}
