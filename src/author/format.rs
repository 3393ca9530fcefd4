//! Formats a YAML file line by line: two spaces a level, one space after a colon and a dash, no blanks at line ends, templates
//! in double quotes.
//!
//! Comments, order and line breaks are the author's. What comes out is read back: it must hold the same values and, blanks
//! and quotes aside, the same characters, or it is refused.

use std::path::Path;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::flow::Source;

/// Why a file is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    #[error("it is not sound YAML; `millstream check` says where")]
    NotYaml,
    #[error("it could not be formatted without changing what it says")]
    Changed,
}

/// The text as it should be written; the same text if it is already.
///
/// # Errors
/// [`Unsafe`], if it is not YAML, or formatting would change what it says.
pub fn format(text: &str) -> Result<String, Unsafe> {
    let values = |text: &str| {
        let (_, value, problems) = Source::read(Path::new("file.yaml"), text);
        problems.is_empty().then_some(value).flatten()
    };
    // An empty file has nothing to be formatted.
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    let before = values(text).ok_or(Unsafe::NotYaml)?;
    let unix = text.replace("\r\n", "\n");
    // Blank lines at the end of a text block may belong to it.
    for squeeze in [true, false] {
        let Some(after) = formatted(&unix, squeeze) else { return Err(Unsafe::NotYaml) };
        let same = values(&after).as_ref() == Some(&before) && bare(&after) == bare(text);
        if same && formatted(&after, squeeze).as_ref() == Some(&after) {
            return Ok(after);
        }
    }
    Err(Unsafe::Changed)
}

/// The text without blanks and quotes, which is all that formatting may touch.
fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'')).collect()
}

/// What is known of the lines before they are changed.
struct Layout {
    /// For each line: whether it goes on what an earlier one began (a text over lines, a list in brackets).
    goes_on: Vec<bool>,
    /// Line, columns and what to put there; not two for one place.
    edits: Vec<(usize, usize, usize, String)>,
}

fn formatted(text: &str, squeeze: bool) -> Option<String> {
    let mut lines: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
    let mut layout = layout(text, &lines)?;
    layout.edits.sort_by(|a, b| b.cmp(a));
    for (line, from, to, with) in layout.edits {
        lines.get_mut(line)?.splice(from..to, with.chars());
    }
    let lines: Vec<String> = lines.into_iter().map(|line| line.into_iter().collect()).collect();
    let mut out = String::new();
    let mut blank = true;
    for (line, goes_on) in indented(&lines, &layout.goes_on).iter().zip(&layout.goes_on) {
        // Blanks at the end of a line of text are text.
        let line = if *goes_on { line.as_str() } else { line.trim_end() };
        let empty = line.trim().is_empty();
        if empty && blank && squeeze && !*goes_on {
            continue;
        }
        blank = empty;
        out.push_str(line);
        out.push('\n');
    }
    if squeeze {
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    Some(out)
}

/// Reads the events with their places. `None` where the parser gives up.
fn layout(text: &str, lines: &[Vec<char>]) -> Option<Layout> {
    let mut layout = Layout { goes_on: vec![false; lines.len()], edits: Vec::new() };
    // For each open collection: its key, if one waits for its value (in maps), and the line of its bracket.
    let mut open: Vec<(bool, Option<Span>, Option<usize>)> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.ok()?;
        let row = |span: Span| span.start.line().saturating_sub(1);
        match &event {
            Event::Scalar(..) | Event::Alias(_) | Event::SequenceStart(..) | Event::MappingStart(..) => {
                if let Event::Scalar(_, style, ..) = &event {
                    layout.scalar(*style, span, lines);
                }
                let starts = matches!(event, Event::SequenceStart(..) | Event::MappingStart(..));
                match open.last_mut() {
                    Some((true, key @ None, _)) if !starts => *key = Some(span),
                    // A collection as a key is nobody's flow file.
                    Some((true, None, _)) => return None,
                    Some((true, key, _)) => {
                        if let Some(key) = key.take() {
                            layout.gap(key, span, lines);
                        }
                    }
                    _ => {}
                }
                if starts {
                    let first = lines.get(row(span)).and_then(|line| line.get(span.start.col()));
                    let bracket = matches!(first, Some('{' | '[')).then(|| row(span));
                    open.push((matches!(event, Event::MappingStart(..)), None, bracket));
                }
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((_, _, Some(from))) = open.pop() {
                    layout.goes_on.iter_mut().take(row(span) + 1).skip(from + 1).for_each(|line| *line = true);
                }
            }
            _ => {}
        }
    }
    Some(layout)
}

impl Layout {
    fn scalar(&mut self, style: ScalarStyle, span: Span, lines: &[Vec<char>]) {
        let (first, last) = (span.start.line().saturating_sub(1), span.end.line().saturating_sub(1));
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let from = if block { first } else { first + 1 };
        let to = if span.end.col() == 0 { last } else { last + 1 };
        self.goes_on.iter_mut().take(to).skip(from).for_each(|line| *line = true);
        let (begin, end) = (span.start.col(), span.end.col());
        let Some(written) = lines.get(first).and_then(|line| line.get(begin..end)).filter(|_| first == last) else {
            return;
        };
        if style != ScalarStyle::SingleQuoted || written.len() < 2 {
            return;
        }
        let inner: String = written[1..written.len() - 1].iter().collect();
        if inner.contains("{{") && !inner.contains(['"', '\'', '\\']) {
            self.edits.push((first, begin, end, format!("\"{inner}\"")));
        }
    }

    /// One space between a key's colon and its value on the same line.
    fn gap(&mut self, key: Span, value: Span, lines: &[Vec<char>]) {
        let line = key.end.line().saturating_sub(1);
        if value.start.line().saturating_sub(1) != line {
            return;
        }
        let (from, to) = (key.end.col(), value.start.col());
        let between: String = lines.get(line).and_then(|line| line.get(from..to)).into_iter().flatten().collect();
        if between != ": " && between.trim() == ":" && between.ends_with(' ') {
            self.edits.push((line, from, to, ": ".to_owned()));
        }
    }
}

/// The lines with two spaces a level.
fn indented(lines: &[String], goes_on: &[bool]) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(lines.len());
    // Columns as they were and as they are, the innermost last.
    let mut levels: Vec<(usize, usize)> = Vec::new();
    let mut shift = (0, 0);
    let mut comments: Vec<usize> = Vec::new();
    for (line, goes_on) in lines.iter().zip(goes_on) {
        let content = line.trim_start_matches(' ');
        let column = line.len() - content.len();
        if *goes_on {
            // Goes with the line that it belongs to.
            let kept = if content.trim().is_empty() { line.clone() } else { spaces(moved(column, shift)) + content };
            out.push(kept);
            continue;
        }
        if content.trim().is_empty() {
            out.push(String::new());
            continue;
        }
        if content.starts_with('#') {
            comments.push(out.len());
            out.push(line.clone());
            continue;
        }
        let above = levels.clone();
        let at = level(&mut levels, column);
        let text = dashes(content, column, at, &mut levels);
        shift = (column, at);
        for index in comments.drain(..) {
            let comment = out[index].trim_start_matches(' ').to_owned();
            let stood = out[index].len() - comment.len();
            let of_level =
                |levels: &[(usize, usize)]| levels.iter().find(|(old, _)| *old == stood).map(|(_, new)| *new);
            let to = if stood == column { Some(at) } else { of_level(&above).or_else(|| of_level(&levels)) };
            out[index] = spaces(to.unwrap_or_else(|| moved(stood, shift))) + &comment;
        }
        out.push(spaces(at) + &text);
    }
    out
}

/// The column that a line at `column` gets; what is further to the right is a level more.
fn level(levels: &mut Vec<(usize, usize)>, column: usize) -> usize {
    while levels.last().is_some_and(|(old, _)| *old > column) {
        levels.pop();
    }
    match levels.last() {
        Some((old, new)) if *old == column => *new,
        outer => {
            let new = outer.map_or(0, |(_, new)| new + 2);
            levels.push((column, new));
            new
        }
    }
}

/// One space after each dash that begins an item; what follows it is a level of its own.
fn dashes(content: &str, column: usize, at: usize, levels: &mut Vec<(usize, usize)>) -> String {
    let (mut rest, mut column, mut at) = (content, column, at);
    let mut text = String::new();
    while let Some(after) = rest.strip_prefix("- ") {
        let inner = after.trim_start_matches(' ');
        if inner.is_empty() || inner.starts_with('#') {
            break;
        }
        column += rest.len() - inner.len();
        at += 2;
        levels.push((column, at));
        text.push_str("- ");
        rest = inner;
    }
    text + rest
}

fn moved(column: usize, (old, new): (usize, usize)) -> usize {
    (column + new).saturating_sub(old)
}

fn spaces(count: usize) -> String {
    " ".repeat(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_put_in_order_and_its_comments_stay() {
        let text = "\n# A lead\nid:   lead   # its name\n\n\ntrigger:\n    type :  request\n    # what comes\n    schema: {type: object,\n        properties: {}}\n\
                    steps:\n  -   id: a   \n      # note\n      set:\n          x: '{{trigger.body.x}}'\n          y: 'it''s'\n          z: |\n            a\n\
              \n             b\n          n: '{{equals trigger.body.x \"1\"}}'\n      # last of a\n  # second\n  - {id: b, delay:   5s}\n# end\n\n";
        let expected = "# A lead\nid: lead   # its name\n\ntrigger:\n  type: request\n  # what comes\n  schema: {type: object,\n      properties: {}}\n\
                        steps:\n  - id: a\n    # note\n    set:\n      x: \"{{trigger.body.x}}\"\n      y: 'it''s'\n      z: |\n        a\n\
              \n         b\n      n: '{{equals trigger.body.x \"1\"}}'\n    # last of a\n  # second\n  - {id: b, delay: 5s}\n# end\n";
        assert_eq!(format(text).unwrap(), expected);
        assert_eq!(format(expected).unwrap(), expected);
        assert_eq!(format(&text.replace('\n', "\r\n")).unwrap(), expected);
    }

    #[test]
    fn texts_over_several_lines_keep_every_blank() {
        for text in [
            "a: |+\n  x  \n\n\nb: 1\n",
            "a: >-\n  x\n  y\n\n  z\nb: \"c\n  d\\\n  e\"\n",
            "a:\n- b\n- c: 1\n  d: 2\n",
            "---\na: 1\n",
            "a: |\n  # no comment\n  - none\nb: &x {c: 1}\nd: *x\n",
        ] {
            assert_eq!(format(text).as_deref(), Ok(text));
        }
        assert_eq!(
            format("a:\n    b: |2\n        x\n").as_deref(),
            Ok("a:\n  b: |2\n      x\n"),
            "the block moves with its key"
        );
    }

    #[test]
    fn what_is_not_yaml_is_left() {
        assert_eq!(format("a: {{b}}\n"), Err(Unsafe::NotYaml));
        assert_eq!(format("a: [\n"), Err(Unsafe::NotYaml));
        assert_eq!(format("").as_deref(), Ok(""));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]
        #[test]
        fn whatever_the_text_nothing_it_says_is_changed(lines in proptest::collection::vec("[ ]{0,6}(- ){0,2}[ab]?(:|: | :  )?[|>{\\[\"'&*#]?[ab{}\\[\\]:,'\" ]{0,6}(#c)?", 0..8)) {
            let text = lines.join("\n");
            let read = |text: &str| Source::read(Path::new("a.yaml"), text).1;
            if let Ok(after) = format(&text)
                && !text.trim().is_empty()
            {
                proptest::prop_assert_eq!(read(&after), read(&text));
                proptest::prop_assert_eq!(format(&after), Ok(after.clone()));
            }
        }
    }
}
