//! Turns the parser's errors into words for people, and its places into byte offsets.

use handlebars::{TemplateError, TemplateErrorReason};

use super::ParseError;

/// Byte offset of the parser's 1-based line and column, which counts characters.
pub(super) fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let mut start = 0;
    for _ in 1..line {
        match text[start..].find('\n') {
            Some(at) => start += at + 1,
            None => return start,
        }
    }
    let rest = &text[start..];
    start
        + rest
            .char_indices()
            .nth(column.saturating_sub(1))
            .map_or(rest.len(), |(at, _)| at)
}

/// Says what is wrong with a text that the parser refused.
pub(super) fn explain(text: &str, error: &TemplateError) -> ParseError {
    let (line, column) = error.pos().unwrap_or((1, 1));
    let offset = offset_of(text, line, column);
    let (what, hint) = match error.reason() {
        TemplateErrorReason::MismatchingClosedHelper(open, close)
        | TemplateErrorReason::MismatchingClosedDecorator(open, close) => (
            format!("`{{{{#{open}}}}}` is closed by `{{{{/{close}}}}}`"),
            format!("close it with `{{{{/{open}}}}}`"),
        ),
        TemplateErrorReason::InvalidParam(param) => (
            format!("`{param}` is not a value"),
            "numbers are written 1, 1.5 or 1E5; text in double quotes".to_owned(),
        ),
        _ => (
            "the template can't be read from here on".to_owned(),
            likely(text).to_owned(),
        ),
    };
    ParseError {
        code: "E-MAP-001",
        offset,
        what,
        hint: Some(hint),
    }
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
    } else if bracket_on_name(text) {
        "an item or key is read by `items.0` or `items.[a key]`, with a dot before the bracket"
    } else if text.contains("{{}}") {
        "`{{}}` holds nothing; write a path or a call inside"
    } else {
        "inside `{{ }}` stands a path (`trigger.body.items.0`, `[@odata.type]`) or a call (`concat a \"b\"`)"
    }
}

/// `items[0]`, as most languages write it.
fn bracket_on_name(text: &str) -> bool {
    text.as_bytes()
        .windows(2)
        .any(|pair| pair[1] == b'[' && (pair[0].is_ascii_alphanumeric() || pair[0] == b'_'))
}
