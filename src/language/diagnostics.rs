//! Problems as the protocol has them.

use serde::Serialize;

use super::text::{Range, Text};
use crate::flow::{Problem, Severity};

/// A problem of a file that an editor shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diagnostic {
    pub range: Range,
    /// 1: an error; 2: a warning.
    pub severity: u8,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub code: String,
    pub source: &'static str,
    pub message: String,
}

/// The problems of one file, whose text this is.
pub fn diagnostics<'p>(problems: impl IntoIterator<Item = &'p Problem>, text: &Text) -> Vec<Diagnostic> {
    problems.into_iter().map(|problem| diagnostic(problem, text)).collect()
}

fn diagnostic(problem: &Problem, text: &Text) -> Diagnostic {
    let start = text.at((problem.line, problem.column));
    let end = match problem.length {
        // Of a place in a template only the beginning is known: what is there is marked to its end.
        0 | 1 => start + word(&text.as_str()[start..]),
        length => text.at((problem.line, problem.column + length)),
    };
    let hint = problem.hint.as_ref().map(|hint| format!("\n{hint}")).unwrap_or_default();
    let severity = match problem.severity {
        Severity::Error => 1,
        Severity::Warning => 2,
    };
    Diagnostic {
        range: text.range(start..end.max(start)),
        severity,
        code: problem.code.clone(),
        source: "millstream",
        message: format!("{}{hint}", problem.what),
    }
}

/// How far a name or path goes, in bytes; at least one character, unless the line ends.
fn word(text: &str) -> usize {
    let part = |c: char| c.is_alphanumeric() || "_.-@[]".contains(c);
    let first = text.chars().next().filter(|c| *c != '\n' && *c != '\r').map_or(0, char::len_utf8);
    text.find(|c| !part(c)).unwrap_or(text.len()).max(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{At, Source, UNKNOWN_STEP};

    #[test]
    fn a_problem_is_marked_in_units_of_utf16() {
        let text = "a: \"😀é {{steps.no.x}}\"\n";
        let (source, ..) = Source::read(std::path::Path::new("a.yaml"), text);
        let at = text.find("steps").unwrap() - text.find('😀').unwrap();
        let problem = source.problem(UNKNOWN_STEP, "/a", At::Offset(at), "no".into(), Some("now".into()));
        let found = diagnostics([&problem], &Text::new(text.to_owned())).remove(0);
        assert_eq!((found.range.start.character, found.range.end.character), (10, 20));
        assert_eq!((found.message.as_str(), found.severity), ("no\nnow", 1));
    }
}
