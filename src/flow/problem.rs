//! What is wrong with a file: where, what, why, what now.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file is not used.
    Error,
    /// The file is used; a run may not do what its author meant.
    Warning,
}

/// One problem of a file that a person wrote.
///
/// ```
/// use millstream::flow::{Problem, Severity, UNKNOWN_CONNECTION};
/// let problem = Problem {
///     severity: Severity::Error,
///     code: UNKNOWN_CONNECTION.0.into(),
///     title: UNKNOWN_CONNECTION.1.into(),
///     file: "flows/order-paid.yaml".into(),
///     line: 14,
///     column: 17,
///     length: 4,
///     shown: "    connection: slak".into(),
///     what: "step `notify` uses connection `slak`; connections.yaml has no such name".into(),
///     hint: Some("did you mean `slack`?".into()),
/// };
/// assert!(problem.to_string().starts_with("flows/order-paid.yaml:14:17  E-FLOW-007  unknown connection\n"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Problem {
    pub severity: Severity,
    /// Stable; each has a page in `docs/errors/`.
    pub code: String,
    /// What every problem with this code has in common.
    pub title: String,
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How many characters to mark.
    pub length: usize,
    /// The line as it stands in the file.
    pub shown: String,
    /// What is wrong here, and why.
    pub what: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        writeln!(f, "{file}:{}:{}  {}  {}", self.line, self.column, self.code, self.title)?;
        if !self.shown.trim().is_empty() {
            let (shown, indent) = self.window();
            writeln!(f, "{:>5} | {shown}", self.line)?;
            let room = shown.chars().count().saturating_sub(indent).max(1);
            let marks = "^".repeat(self.length.clamp(1, room));
            writeln!(f, "      | {:indent$}{marks}", "")?;
        }
        write!(f, "  {}", self.what)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  {hint}")?;
        }
        Ok(())
    }
}

impl Problem {
    /// As much of the line as fits on a screen, and how far in the marked part stands.
    fn window(&self) -> (String, usize) {
        const WIDTH: usize = 140;
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let start = if self.column <= WIDTH - 20 { 0 } else { self.column - WIDTH / 2 };
        let cut = if start > 0 { "…" } else { "" };
        let shown: String = self.shown.chars().skip(start).take(WIDTH).map(plain).collect();
        let more = if self.shown.chars().count() > start + WIDTH { "…" } else { "" };
        (format!("{cut}{shown}{more}"), self.column.saturating_sub(1 + start) + cut.chars().count())
    }
}

/// A code and its title.
pub type Code = (&'static str, &'static str);

pub const NOT_YAML: Code = ("E-FLOW-001", "not YAML");
pub const DUPLICATE_KEY: Code = ("E-FLOW-002", "duplicate key");
pub const UNKNOWN_KEY: Code = ("E-FLOW-003", "unknown key");
pub const WRONG_TYPE: Code = ("E-FLOW-004", "wrong kind of value");
pub const MISSING_KEY: Code = ("E-FLOW-005", "missing key");
pub const STEP_KIND: Code = ("E-FLOW-006", "a step has exactly one kind");
pub const UNKNOWN_CONNECTION: Code = ("E-FLOW-007", "unknown connection");
pub const UNKNOWN_ACTION: Code = ("E-FLOW-008", "unknown connector or action");
pub const DUPLICATE_ID: Code = ("E-FLOW-009", "duplicate id");
pub const BAD_NAME: Code = ("E-FLOW-010", "not a usable name");
pub const BAD_SCHEMA: Code = ("E-FLOW-011", "the schema does not compile");
pub const NO_FILE: Code = ("E-FLOW-012", "a file cannot be read");
pub const UNQUOTED: Code = ("E-FLOW-013", "unquoted template");
pub const BAD_VALUE: Code = ("E-FLOW-014", "not a possible value");
pub const MISSING_INPUT: Code = ("E-FLOW-015", "missing required input");
pub const CANNOT_FIT: Code = ("E-FLOW-016", "a type that cannot fit");
pub const WRONG_CONNECTION: Code = ("E-FLOW-017", "a connection of another connector");
pub const TAKEN: Code = ("E-FLOW-018", "a name that is taken");
pub const TOO_LARGE: Code = ("E-FLOW-019", "over a limit");
pub const BAD_CONNECTOR: Code = ("E-FLOW-020", "a connector that does not load");
pub const UNKNOWN_STEP: Code = ("E-FLOW-021", "unknown step");
pub const LEAK: Code = ("E-FLOW-022", "a variable of the outside");
pub const UNKNOWN_FLOW: Code = ("E-FLOW-023", "unknown flow");
pub const CYCLE: Code = ("E-FLOW-024", "flows that call each other in a circle");
pub const MAY_NOT_FIT: Code = ("W-FLOW-025", "a type that may not fit");
pub const MAY_BE_NULL: Code = ("W-FLOW-026", "null where a value is needed");
pub const NOT_LITERAL: Code = ("E-FLOW-027", "a template where none may be");

/// Judgements of types and paths: the flow is whole all the same, and its runs fail where they must.
pub const JUDGEMENTS: [&str; 5] = [MISSING_INPUT.0, CANNOT_FIT.0, "E-MAP-011", "E-MAP-012", "E-MAP-014"];

/// Every code of this module, for the pages and the tests. One with a `W` is a warning.
pub const CODES: [Code; 27] = [
    NOT_YAML,
    DUPLICATE_KEY,
    UNKNOWN_KEY,
    WRONG_TYPE,
    MISSING_KEY,
    STEP_KIND,
    UNKNOWN_CONNECTION,
    UNKNOWN_ACTION,
    DUPLICATE_ID,
    BAD_NAME,
    BAD_SCHEMA,
    NO_FILE,
    UNQUOTED,
    BAD_VALUE,
    MISSING_INPUT,
    CANNOT_FIT,
    WRONG_CONNECTION,
    TAKEN,
    TOO_LARGE,
    BAD_CONNECTOR,
    UNKNOWN_STEP,
    LEAK,
    UNKNOWN_FLOW,
    CYCLE,
    MAY_NOT_FIT,
    MAY_BE_NULL,
    NOT_LITERAL,
];

/// The name nearest to `wrong`, if one is near enough to have been meant.
pub fn nearest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let scored = names.into_iter().map(|name| {
        let score = strsim::jaro_winkler(&wrong.to_lowercase(), &name.to_lowercase());
        (score, name)
    });
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then_some(best.1)
}

/// "did you mean `x`?", else the first of the possible names.
pub fn suggest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str> + Clone) -> Option<String> {
    if let Some(name) = nearest(wrong, names.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let names: Vec<&str> = names.into_iter().take(12).collect();
    if names.is_empty() { None } else { Some(format!("possible: {}", names.join(", "))) }
}
