//! docs/reference/connectors.md says what the code does: its example is read, its list of codes is whole.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::collections::BTreeSet;
use std::path::Path;

use millstream::connector::Connector;

use crate::app::repository;

#[test]
fn the_example_of_the_page_is_a_connector_without_problems() {
    let page = repository("docs/reference/connectors.md");
    let example =
        page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("there is an example");
    let read = Connector::parse("the example", example);
    assert!(read.is_ok(), "{:#?}", read.unwrap_err());
}

/// Codes in quotes, as in `"outbound.tls"`, of every file below `folder`.
fn codes(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            codes(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
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
    let page = repository("docs/reference/connectors.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    codes(&root.join("src/connector"), &mut found);
    codes(&root.join("src/outbound"), &mut found);
    assert!(found.len() > 30, "{found:?}");
    let missing: Vec<&String> = found.iter().filter(|code| !page.contains(&format!("`{code}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
