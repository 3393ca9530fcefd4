//! Wrong flow files: each says in itself what must be found and where, and its messages are kept as a snapshot.
//!
//! A comment `# expect: LINE:COLUMN CODE` stands for one problem; a file has as many as it has problems.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use millstream::catalog::{Catalog, Snapshot};
use millstream::config::Config;
use millstream::connector::Connectors;
use millstream::flow::{Flow, Known, Loaded, Problem};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder of cases is there");
    let paths = entries.map(|entry| entry.expect("the entry can be read").path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    paths.sort();
    paths
}

/// Loads one file as if it stood in `flows/`, beside these connections.
fn load(path: &Path) -> Loaded {
    load_text(path, &fs::read_to_string(path).expect("the case can be read"))
}

fn load_text(path: &Path, text: &str) -> Loaded {
    static CONNECTORS: LazyLock<Connectors> = LazyLock::new(Connectors::shipped);
    let connections = [("crm", "dynamics365"), ("sales", "slack"), ("leads", "sql"), ("api", "http")];
    let connections: BTreeMap<String, String> =
        connections.into_iter().map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
    let env = ["COMPANY".to_owned()];
    let beside = path.parent().expect("a file has a folder").to_owned();
    let read = move |name: &str| fs::read_to_string(beside.join(name)).map_err(|error| error.to_string());
    let known = Known { connectors: &CONNECTORS, connections: Some(&connections), env: Some(&env), read: &read };
    let name = path.file_name().expect("a file has a name");
    Flow::load(&Path::new("flows").join(name), text, &known)
}

/// The `# expect:` comments of a text, with `prefix` before each.
fn expected(text: &str, prefix: &str) -> Vec<String> {
    let comments = text.lines().filter_map(|line| line.split_once("# expect: "));
    let mut expected: Vec<String> = comments.map(|(_, expect)| format!("{prefix}{}", expect.trim())).collect();
    expected.sort();
    expected
}

fn show(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n\n")
}

fn snapshot(folder: &str, name: &str, problems: &[Problem]) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("../{folder}/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, show(problems)));
}

#[test]
fn each_wrong_flow_file_gives_the_problems_that_it_names_and_no_others() {
    let cases = files(&folder("check"), "yaml");
    assert!(cases.len() >= 150, "only {} wrong files were found", cases.len());
    let mut wrong = Vec::new();
    for path in cases {
        let expected = expected(&fs::read_to_string(&path).expect("the case can be read"), "");
        let problems = load(&path).problems;
        let mut found: Vec<String> = problems.iter().map(|p| format!("{}:{} {}", p.line, p.column, p.code)).collect();
        found.sort();
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        if found != expected || found.is_empty() {
            wrong.push(format!("{name}: expected {expected:#?}, found {found:#?}\n{}", show(&problems)));
            continue;
        }
        snapshot("check", &name, &problems);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_good_flow_file_gives_no_problem_at_all() {
    let cases = files(&folder("check_good"), "yaml");
    assert!(cases.len() >= 4, "only {} good files were found", cases.len());
    for path in cases {
        let loaded = load(&path);
        assert!(loaded.problems.is_empty(), "{}", show(&loaded.problems));
        assert!(loaded.flow.is_some());
    }
}

#[test]
fn a_file_cut_off_or_torn_anywhere_gives_problems_at_places_that_it_has() {
    for path in files(&folder("check_good"), "yaml") {
        let text = fs::read_to_string(&path).expect("the case can be read");
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        for (round, at) in ends.iter().enumerate().step_by(3) {
            let torn = match round % 4 {
                0 => text[..*at].to_owned(),
                1 => format!("{}{}", &text[..*at], text[*at..].chars().skip(1).collect::<String>()),
                2 => format!("{}{{{{{}", &text[..*at], &text[*at..]),
                _ => format!("{}\n{}", &text[..*at], &text[*at..]),
            };
            let lines: Vec<&str> = torn.lines().collect();
            for problem in load_text(&path, &torn).problems {
                let end = lines.len().max(1) + 1;
                assert!((1..=end).contains(&problem.line), "{problem}\n---\n{torn}");
                let width = lines.get(problem.line - 1).map_or(0, |line| line.chars().count());
                assert!((1..=width + 1).contains(&problem.column), "{problem}\n---\n{torn}");
                assert!(problem.to_string().contains(&problem.code));
            }
        }
    }
}

/// Loads a whole project folder; every file of it may carry expectations.
fn load_project(name: &str) -> (Snapshot, Vec<String>) {
    let dir = folder("check").join(name);
    let catalog = Catalog::load(&dir, None, &Config::default());
    let snapshot = catalog.current();
    let mut all = Vec::new();
    for below in ["", "flows", "connectors"] {
        let here = dir.join(below);
        if here.is_dir() {
            for path in files(&here, "yaml") {
                let file = path.strip_prefix(&dir).expect("it lies below").display().to_string();
                all.extend(expected(&fs::read_to_string(&path).expect("the case can be read"), &format!("{file}:")));
            }
        }
    }
    all.sort();
    drop(catalog);
    (std::sync::Arc::into_inner(snapshot).expect("nobody else holds it"), all)
}

#[test]
fn problems_between_files_are_found_and_the_good_files_stay_live() {
    let cases = [
        ("two_flows_with_one_id", vec!["lead"]),
        ("alias_taken", vec!["first", "second", "third"]),
        ("broken_connector", vec!["works"]),
        ("broken_connections", vec!["works"]),
        ("broken_flow", vec!["works"]),
    ];
    for (name, live) in cases {
        let (project, expected) = load_project(name);
        let place = |p: &Problem| format!("{}:{}:{} {}", p.file.display(), p.line, p.column, p.code);
        let mut found: Vec<String> = project.problems.iter().map(place).collect();
        found.sort();
        assert_eq!(found, expected, "{name}\n{}", show(&project.problems));
        assert!(!found.is_empty(), "{name} has nothing to find");
        let mut flows: Vec<&str> = project.flows.keys().map(String::as_str).collect();
        flows.sort_unstable();
        assert_eq!(flows, live, "{name}");
        snapshot("check", name, &project.problems);
    }
}

#[test]
fn a_credential_that_stands_in_the_file_is_not_shown() {
    let (project, _) = load_project("broken_connections");
    assert!(project.problems.iter().any(|problem| problem.shown.contains("client_secret: ••••")));
    assert!(!format!("{:?}", project.problems).contains("s3cret"));
}

#[test]
fn a_flow_whose_schema_file_appears_later_becomes_live() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("it lies below")).expect("the folder can be made");
        fs::write(path, text).expect("the file can be written");
    };
    write("flows/lead.yaml", "trigger: {type: request, schema: ../lead.json}\nsteps: []\n");
    let catalog = Catalog::load(dir.path(), None, &Config::default());
    assert!(catalog.current().flow("lead").is_none());

    write("lead.json", "{}");
    catalog.reload();

    assert!(catalog.current().flow("lead").is_some());
    assert!(catalog.current().problems.is_empty());
}
