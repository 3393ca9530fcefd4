//! The papers are true: each code has its page, the reference has every key, its examples load, and links lead somewhere.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use millstream::connector::{self, Connectors};
use millstream::flow::{self, Flow, Known};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut open = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Literals in the sources (tests left out) that begin with one of these and go on in letters that `rest` allows.
fn literals(prefixes: &[&str], rest: impl Fn(char) -> bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in files(&root().join("src"), "rs") {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        if path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            // Every other part stands between quotes; taking all of them costs nothing and misses none.
            for quoted in line.split('"') {
                let tail = prefixes.iter().find_map(|prefix| quoted.strip_prefix(prefix));
                if tail.is_some_and(|tail| !tail.is_empty() && tail.chars().all(&rest)) {
                    found.insert(quoted.to_owned());
                }
            }
        }
    }
    found
}

/// Prefixes of the codes of files. Pages of other names (HTTP answers, tables) are held by tests of their own.
const CODES: [&str; 5] = ["E-FLOW-", "E-MAP-", "W-MAP-", "E-CON-", "W-FLOW-"];

#[test]
fn each_code_of_a_file_has_a_page_and_each_page_a_code() {
    let codes = literals(&CODES, |c| c.is_ascii_digit());
    let pages = files(&root().join("docs/errors"), "md");
    let names = pages.iter().map(|page| page.file_stem().unwrap().to_string_lossy().into_owned());
    let pages: BTreeSet<String> = names.filter(|name| CODES.iter().any(|prefix| name.starts_with(prefix))).collect();
    assert!(codes.len() > 40, "{codes:?}");
    assert_eq!(pages, codes);
    for code in &codes {
        let page = fs::read_to_string(root().join(format!("docs/errors/{code}.md"))).unwrap();
        assert!(page.starts_with(&format!("# {code}: ")), "{code}");
        assert!(page.contains("\n**What now.** "), "{code} does not say what to do");
    }
}

#[test]
fn each_refusal_of_the_store_has_a_page() {
    let text = fs::read_to_string(root().join("src/journal/marker.rs")).unwrap();
    let codes: BTreeSet<String> =
        text.match_indices("E-STORE-").filter_map(|(at, _)| Some(text.get(at..at + 11)?.to_owned())).collect();
    assert_eq!(codes.len(), 6, "{codes:?}");
    for code in codes {
        let page = fs::read_to_string(root().join(format!("docs/errors/{code}.md"))).unwrap_or_default();
        assert!(page.starts_with(&format!("# {code}: ")) && page.contains("\n**What now.** "), "{code} has no page");
    }
}

#[test]
fn the_lists_of_codes_are_whole_and_the_pages_have_their_titles() {
    let listed: BTreeSet<String> = flow::CODES.iter().map(|(code, _)| (*code).to_owned()).collect();
    assert_eq!(listed, literals(&["E-FLOW-", "W-FLOW-"], |c| c.is_ascii_digit()));
    let listed: BTreeSet<String> = connector::CODES.iter().map(|code| (*code).to_owned()).collect();
    assert_eq!(listed, literals(&["E-CON-"], |c| c.is_ascii_digit()));
    for (code, title) in flow::CODES {
        let page = fs::read_to_string(root().join(format!("docs/errors/{code}.md"))).unwrap();
        assert_eq!(page.lines().next(), Some(format!("# {code}: {title}").as_str()));
    }
}

#[test]
fn each_failure_of_a_run_has_a_row() {
    let prefixes = [
        "mapping.",
        "outbound.",
        "connector.",
        "connection.",
        "run.",
        "engine.",
        "secret.",
        "http.",
        "sql.",
        "smtp.",
        "file.",
        "data.",
    ];
    let mut codes = literals(&prefixes, |c| c.is_ascii_lowercase() || c == '_');
    // The name of an action, and a file's; no codes.
    codes.remove("http.request");
    codes.remove("file.yaml");
    let page = fs::read_to_string(root().join("docs/errors/run-failures.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells: Vec<&str> = rows.filter_map(|row| row.split('|').nth(1)).collect();
    let described: BTreeSet<String> =
        cells.iter().flat_map(|cell| cell.split(',')).map(|code| code.trim().trim_matches('`').to_owned()).collect();
    assert_eq!(described, codes);
}

fn reference() -> String {
    fs::read_to_string(root().join("docs/reference/flow.md")).unwrap()
}

#[test]
fn the_reference_has_every_key_of_the_language() {
    let page = reference();
    for (place, keys) in flow::KEYS {
        for key in *keys {
            assert!(page.contains(&format!("`{key}`")) || page.contains(&format!("### {key}\n")), "{place}: {key}");
        }
    }
    let steps = page.split("\n## Steps\n").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let kinds: Vec<&str> = steps.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let known = flow::KEYS.iter().find(|(place, _)| *place == "kind").unwrap().1;
    assert_eq!(kinds, known, "a section for each kind, in order");
    let limits = [format!("{} steps", flow::MAX_STEPS), format!("nested {} deep", flow::MAX_DEPTH)];
    assert!(limits.iter().all(|limit| page.contains(limit)));
    assert!(page.contains(&format!("1 to {}", flow::MAX_ATTEMPTS)));
    assert_eq!(flow::MAX_BYTES, 1024 * 1024, "the page says 1 MB");
    let retry = flow::Retry::default();
    assert_eq!((retry.attempts, retry.delay.as_secs(), retry.max_delay.as_secs()), (5, 7, 3600), "as the page says");
}

#[test]
fn each_example_of_the_reference_loads_without_a_problem() {
    let page = reference();
    let examples: Vec<&str> =
        page.split("```yaml flow\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(examples.len() >= 5, "{}", examples.len());
    let connectors = Connectors::shipped();
    let connections = [("crm", "dynamics365"), ("sales", "slack")];
    let connections: BTreeMap<String, String> = connections.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    let read = |path: &str| Err(format!("an example of the reference names the file {path}"));
    let known = Known { connectors: &connectors, connections: Some(&connections), env: Some(&[]), read: &read };
    for example in examples {
        let problems = Flow::load(Path::new("example.yaml"), example, &known).problems;
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(shown.is_empty(), "{}\n{example}", shown.join("\n"));
    }
}

/// The lines of a text without its common indentation; blank lines at its ends left out.
fn dedented(lines: &[&str]) -> Vec<String> {
    let width = |line: &&&str| line.len() - line.trim_start().len();
    let least = lines.iter().filter(|line| !line.trim().is_empty()).map(|line| width(&line)).min().unwrap_or(0);
    lines.iter().map(|line| line.get(least..).unwrap_or_default().trim_end().to_owned()).collect()
}

/// True if the lines of `excerpt` stand in `whole` one after the other, be it further to the right.
fn is_part(excerpt: &str, whole: &str) -> bool {
    let wanted = dedented(&excerpt.lines().collect::<Vec<_>>());
    let lines: Vec<&str> = whole.lines().collect();
    !wanted.is_empty() && lines.windows(wanted.len()).any(|part| dedented(part) == wanted)
}

#[test]
fn each_excerpt_of_the_guide_is_a_part_of_its_example() {
    let mut seen = 0;
    for page in files(&root().join("docs/guide"), "md") {
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("```yaml").skip(1) {
            let (file, excerpt) = block.split("```").next().unwrap().split_once('\n').unwrap();
            let shown = page.display();
            assert!(file.starts_with(" examples/"), "{shown}: an excerpt names no file of an example:\n{excerpt}");
            let whole = fs::read_to_string(root().join(file.trim())).unwrap();
            assert!(is_part(excerpt, &whole), "{shown}:{file} does not hold\n{excerpt}");
            seen += 1;
        }
    }
    assert!(seen >= 20, "only {seen} excerpts were found");
}

#[test]
fn an_excerpt_is_a_part_only_if_its_lines_and_their_indentation_are() {
    let whole = "a:\n  b: 1\n  c:\n    d: 2\n";
    assert!(is_part("b: 1\nc:\n  d: 2\n", whole));
    for wrong in ["b: 1\nd: 2\n", "b: 1\nc:\nd: 2\n", "b: 2\n", ""] {
        assert!(!is_part(wrong, whole), "{wrong}");
    }
}

#[test]
fn each_example_has_its_page_and_stands_in_both_lists() {
    let examples = root().join("examples");
    let lists =
        ["examples/README.md", "docs/guide/README.md"].map(|list| fs::read_to_string(root().join(list)).unwrap());
    let folders = fs::read_dir(&examples).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let mut tried = 0;
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let page = format!("{name}/README.md)");
        assert!(lists.iter().all(|list| list.contains(&page)), "{name} is not in both lists");
        assert!(folder.join("README.md").exists() && folder.join("flows").is_dir(), "{name}");
        tried += usize::from(folder.join("try").exists());
    }
    assert!(tried >= 15, "{tried}");
}

/// A heading's anchor, as the usual renderers make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The text outside of fenced blocks.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Where a text's links lead, code left out.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let plain: String = prose.split('`').step_by(2).collect::<Vec<_>>().join("`");
    let targets = plain.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.map(|target| target.split(' ').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn each_link_of_the_papers_leads_somewhere() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in files(root(), "md") {
        let text = fs::read_to_string(&page).unwrap();
        for target in links(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (file, part) = target.split_once('#').unwrap_or((&target, ""));
            let to = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let shown = page.strip_prefix(root()).unwrap().display();
            if !to.exists() {
                broken.push(format!("{shown}: {target} is not there"));
            } else if !part.is_empty() {
                let there = prose(&fs::read_to_string(&to).unwrap_or_default());
                let mut headings = there.lines().filter(|line| line.starts_with('#'));
                if !headings.any(|line| anchor(line.trim_start_matches('#')) == part) {
                    broken.push(format!("{shown}: {target} has no such heading"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(seen >= 10, "only {seen} links were found");
}

#[test]
fn links_and_anchors_are_read_as_renderers_do() {
    assert_eq!(anchor("How a run ends"), "how-a-run-ends");
    assert_eq!(anchor(" `dynamics365`"), "dynamics365");
    assert_eq!(links("[a](b.md#c) `[x](y)` and [d](e)\n```\n[f](g)\n```\n"), ["b.md#c", "e"]);
}
