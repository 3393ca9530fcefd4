//! Turns the parser's errors into words for people, and its places into byte offsets.

use handlebars::{TemplateError, TemplateErrorReason};

use super::ParseError;

/// Turns the parser's places (1-based lines, and columns that count characters) into byte offsets.
///
/// Goes on from the last place asked for: starting over for each would take quadratic time.
pub(super) struct Places<'t> {
    text: &'t str,
    line: usize,
    column: usize,
    offset: usize,
}

impl<'t> Places<'t> {
    pub fn new(text: &'t str) -> Places<'t> {
        Places { text, line: 1, column: 1, offset: 0 }
    }

    pub fn offset(&mut self, line: usize, column: usize) -> usize {
        if (line, column) < (self.line, self.column) {
            *self = Places::new(self.text);
        }
        while self.line < line {
            let Some(at) = self.text[self.offset..].find('\n') else {
                return self.text.len();
            };
            (self.line, self.column, self.offset) = (self.line + 1, 1, self.offset + at + 1);
        }
        let rest = &self.text[self.offset..];
        let step = rest.char_indices().nth(column.saturating_sub(self.column)).map_or(rest.len(), |(at, _)| at);
        (self.column, self.offset) = (column, self.offset + step);
        self.offset
    }
}

/// Says what is wrong with a text that the parser refused.
pub(super) fn explain(text: &str, error: &TemplateError) -> ParseError {
    let (line, column) = error.pos().unwrap_or((1, 1));
    let offset = Places::new(text).offset(line, column);
    let (what, hint) = match error.reason() {
        TemplateErrorReason::MismatchingClosedHelper(open, close)
        | TemplateErrorReason::MismatchingClosedDecorator(open, close) => {
            (format!("`{{{{#{open}}}}}` is closed by `{{{{/{close}}}}}`"), format!("close it with `{{{{/{open}}}}}`"))
        }
        TemplateErrorReason::InvalidParam(param) => {
            (format!("`{param}` is not a value"), "numbers are written 1, 1.5 or 1E5; text in double quotes".to_owned())
        }
        _ => ("the template can't be read from here on".to_owned(), likely(text).to_owned()),
    };
    ParseError { code: "E-MAP-001", offset, what, hint: Some(hint) }
}

/// The most likely slip behind a text that does not parse.
fn likely(text: &str) -> &'static str {
    let count = |what: &str| text.matches(what).count();
    if count("{{") > count("}}") {
        "a `{{` is never closed by `}}`; text that needs two braces is written `\\{{`"
    } else if count("{{#") != count("{{/") {
        "each `{{#if}}`, `{{#each}}` … needs its `{{/if}}`, `{{/each}}` …"
    } else if count("(") != count(")") {
        "a bracket `(` is never closed by `)`"
    } else if text.as_bytes().windows(2).any(|pair| pair[0] == b'\\' && !b"\\\"'/bfnrtu{".contains(&pair[1])) {
        "inside a quoted text a backslash is written twice (`\\\\`); a letter that a format shows as it is may stand in quotes instead: `'h'`"
    } else if let Some(operator) = operator(text) {
        operator
    } else if called(text) {
        "a function and its arguments stand side by side, without brackets and commas: `{{concat a \"b\"}}`"
    } else if bracket_on_name(text) {
        "an item or key is read by `items.0` or `items.[a key]`, with a dot before the bracket"
    } else if text.contains("{{}}") {
        "`{{}}` holds nothing; write a path or a call inside"
    } else {
        "inside `{{ }}` stands a path (`trigger.body.items.0`, `[@odata.type]`) or a call (`concat a \"b\"`)"
    }
}

/// `a == b`, as most languages write it: what it is here.
fn operator(text: &str) -> Option<&'static str> {
    const OPERATORS: [(&str, &str); 13] = [
        ("===", "compare with `{{equals a b}}`"),
        ("==", "compare with `{{equals a b}}`"),
        ("!=", "compare with `{{not (equals a b)}}`"),
        ("<=", "compare with `{{lessOrEquals a b}}`"),
        (">=", "compare with `{{greaterOrEquals a b}}`"),
        ("<", "compare with `{{less a b}}`"),
        (">", "compare with `{{greater a b}}`"),
        ("&&", "both are asked for by `{{and a b}}`"),
        ("||", "one of two is asked for by `{{or a b}}`, the first that is there by `{{coalesce a b}}`"),
        ("??", "the first that is there is `{{coalesce a b}}`"),
        ("?", "one of two values is chosen by `{{if condition a b}}`"),
        ("+", "numbers are added by `{{add a b}}`, texts by `{{concat a b}}`"),
        ("|", "functions stand before what they are given: `{{toLower a}}`"),
    ];
    let inside = || text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
    let words = || inside().flat_map(str::split_whitespace);
    OPERATORS.iter().find(|(operator, _)| words().any(|word| word == *operator)).map(|(_, way)| *way)
}

/// `concat(a, b)`, likewise.
fn called(text: &str) -> bool {
    text.as_bytes().windows(2).any(|pair| pair[1] == b'(' && pair[0].is_ascii_alphanumeric())
}

/// What a function of other languages is called here.
pub(super) fn elsewhere(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "lower" | "lowercase" | "downcase" => "toLower",
        "upper" | "uppercase" | "upcase" => "toUpper",
        "eq" | "is" => "equals",
        "ne" | "neq" | "notequals" => "not (equals …)",
        "gt" => "greater",
        "gte" => "greaterOrEquals",
        "lt" => "less",
        "lte" => "lessOrEquals",
        "len" | "size" | "count" => "length",
        "number" | "parseint" | "tonumber" => "int",
        "str" | "tostring" => "string",
        "iif" | "ternary" => "if",
        "ifempty" | "isnull" | "nvl" => "coalesce",
        "now" => "utcNow",
        _ => return None,
    })
}

/// `items[0]`, as most languages write it.
fn bracket_on_name(text: &str) -> bool {
    text.as_bytes().windows(2).any(|pair| pair[1] == b'[' && (pair[0].is_ascii_alphanumeric() || pair[0] == b'_'))
}
