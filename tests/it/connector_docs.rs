//! The papers of connectors say what the code does: the page on their file, the table and a page for each that is built in.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use millstream::author::{connector_page, connector_table};
use millstream::connector::{Connector, Connectors, SHIPPED};

use crate::app::repository;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_file_of_the_folder_is_built_in_and_says_how_it_was_proved() {
    let files = fs::read_dir(root().join("connectors")).unwrap();
    let files: BTreeSet<String> =
        files.map(|file| format!("connectors/{}", file.unwrap().file_name().to_string_lossy())).collect();
    let listed: BTreeSet<String> = SHIPPED.iter().map(|(file, _)| (*file).to_owned()).collect();
    let lacking: Vec<String> =
        files.difference(&listed).map(|file| format!("    (\"{file}\", include_str!(\"../../{file}\")),")).collect();
    assert!(lacking.is_empty(), "add to `SHIPPED` in src/connector/shipped.rs:\n{}", lacking.join("\n"));
    assert_eq!(files, listed);
    assert!(SHIPPED.is_sorted(), "in order, so that two who add one each do not meet");
    for connector in Connectors::shipped().all() {
        let file = format!("connectors/{}.yaml", connector.name);
        assert!(listed.contains(&file), "{file} has another name than its connector");
        let proof = connector.proof.as_ref().unwrap_or_else(|| panic!("{file} does not say how it was proved"));
        let by = Path::new(&proof.by);
        assert!(proof.by.contains(' ') || root().join(by).exists(), "{file}: there is no {}", proof.by);
        let played = root().join(format!("tests/connectors/{}.yaml", connector.name));
        assert!(played.exists(), "{file}: there is no {}", played.display());
    }
}

/// Compares a page with what it should be, or writes it.
fn held(page: &str, expected: &str) {
    let path = root().join(page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{page}: run this test with UPDATE_DOCS=1 to renew it");
}

#[test]
fn the_table_and_the_pages_are_made_of_the_files() {
    let connectors = Connectors::shipped();
    held("docs/reference/connectors.md", &connector_table(&connectors));
    for connector in connectors.all() {
        let example = root().join(format!("examples/connectors/flows/{}.yaml", connector.name));
        let example = fs::read_to_string(example).ok();
        let page = format!("docs/reference/connectors/{}.md", connector.name);
        held(&page, &connector_page(connector, example.as_deref()));
    }
    let pages = fs::read_dir(root().join("docs/reference/connectors")).unwrap();
    for page in pages {
        let name = page.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        assert!(connectors.get(&name).is_some(), "{name} is gone; remove its page");
    }
}

#[test]
fn the_example_of_the_page_is_a_connector_without_problems() {
    let page = repository("docs/reference/connector-file.md");
    let example =
        page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("there is an example");
    let read = Connector::parse("the example", example);
    assert!(read.is_ok(), "{:#?}", read.unwrap_err());
}

/// Codes in quotes, as in `"outbound.tls"`, of every file below `folder`.
fn codes(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            codes(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            for quoted in text.split('"') {
                let code = ["outbound.", "connector.", "secret.", "http.", "sql.", "smtp.", "file.", "data."]
                    .iter()
                    .any(|prefix| {
                        let rest = quoted.strip_prefix(prefix).unwrap_or_default();
                        !rest.is_empty() && rest.bytes().all(|letter| letter.is_ascii_lowercase() || letter == b'_')
                    });
                if code {
                    found.insert(quoted.to_owned());
                }
            }
        }
    }
}

#[test]
fn every_code_of_a_failed_call_is_on_the_page() {
    let page = repository("docs/reference/connector-file.md");
    let mut found = BTreeSet::new();
    codes(&root().join("src/connector"), &mut found);
    codes(&root().join("src/outbound"), &mut found);
    assert!(found.len() > 30, "{found:?}");
    let missing: Vec<&String> = found.iter().filter(|code| !page.contains(&format!("`{code}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
