//! Explanations of keys, read from the pages of the reference that are built into the binary.

const FLOW: &str = include_str!("../../../docs/reference/flow.md");
const CONNECTORS: &str = include_str!("../../../docs/reference/connector-file.md");

/// What the reference says of `key` below this heading of the page on flows; empty if it says nothing.
pub(super) fn of_flow(heading: &str, key: &str) -> String {
    row(FLOW, heading, key).unwrap_or_default()
}

/// The same of the page on connectors.
pub(super) fn of_connector(heading: &str, key: &str) -> String {
    row(CONNECTORS, heading, key).unwrap_or_default()
}

/// The first paragraph about a kind of step.
pub(super) fn of_kind(kind: &str) -> String {
    let text = section(FLOW, kind).unwrap_or_default();
    let paragraph = text.trim_start().split("\n\n").next().unwrap_or_default();
    plain(&paragraph.replace('\n', " "))
}

/// The text below a heading of any level, up to the next heading.
fn section<'p>(page: &'p str, heading: &str) -> Option<&'p str> {
    let mut start = None;
    let mut offset = 0;
    let mut fenced = false;
    for line in page.split_inclusive('\n') {
        let begins = offset;
        offset += line.len();
        fenced ^= line.starts_with("```");
        if fenced || !line.starts_with('#') {
            continue;
        }
        match start {
            Some(start) => return page.get(start..begins),
            None if line.trim_start_matches('#').trim().trim_matches('`') == heading => start = Some(offset),
            None => {}
        }
    }
    page.get(start?..)
}

/// The row of a table whose first cell has the key; where a middle cell has a default, that is said too.
fn row(page: &str, heading: &str, key: &str) -> Option<String> {
    let quoted = format!("`{key}`");
    section(page, heading)?.lines().find_map(|line| {
        let mut cells: Vec<&str> =
            line.strip_prefix('|')?.trim_end().trim_end_matches('|').split('|').map(str::trim).collect();
        let names = cells.first()?;
        // Beside the key itself there may be an example: `credentials`, or `{NAME: …}`.
        if !names.split(", ").any(|name| name == quoted) {
            return None;
        }
        let text = plain(cells.pop()?);
        match cells.get(1).filter(|default| !default.is_empty()) {
            Some(default) => Some(format!("{text}. Default: {}", plain(default))),
            None => Some(text),
        }
    })
}

/// Markdown without its links.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("](") {
        let (before, after) = rest.split_at(at);
        match (before.rfind('['), after.find(')')) {
            (Some(open), Some(close)) => {
                out.push_str(&before[..open]);
                out.push_str(&before[open + 1..]);
                rest = &after[close + 1..];
            }
            _ => break,
        }
    }
    out.push_str(rest);
    out.replace(" (below)", "").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanations_are_those_of_the_reference() {
        assert_eq!(of_flow("action", "timeout"), "of one attempt; the connector's own unless set, else 30s");
        assert!(of_flow("action", "delay").ends_with("Default: 7s"));
        assert!(of_flow("A request", "encoding").contains("where the signature stands"));
        assert!(of_kind("wait").starts_with("Waits for a POST to the step's own URL"));
        assert!(of_connector("The file", "base_url").contains("template of `settings`"));
        assert_eq!(of_flow("action", "no_such_key"), "");
        assert_eq!(plain("see [a page](x.md#y) and [z](z)."), "see a page and z.");
    }
}
