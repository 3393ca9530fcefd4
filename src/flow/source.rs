//! A YAML file as read: its values from serde_yaml, its places from a second pass with positions.
//!
//! serde_yaml gives no positions, so the events of saphyr's parser say where each key and value stands, addressed by
//! JSON Pointer, and which keys stand twice. That second pass is made once something must be shown: most files have
//! nothing wrong, and with many of them it would be a third of their start.

mod extent;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Value};

use super::problem::{self, Code, Problem, Severity};

pub use extent::Extent;

/// Largest file, bytes.
pub const MAX_BYTES: usize = 1024 * 1024;
/// Levels of lists and maps that have places; serde_yaml reads no file with more. Each place has its whole pointer.
const DEEPEST: usize = 128;

/// A file's text, and where everything in it stands.
#[derive(Debug)]
pub struct Source {
    pub file: PathBuf,
    text: String,
    places: OnceLock<Places>,
    /// Two keys of a map are one in JSON, as `1` and `"1"`; serde_yaml itself refuses those that are equal in YAML.
    twice: AtomicBool,
}

/// Where everything in a file stands.
#[derive(Debug, Default)]
struct Places {
    /// By JSON Pointer: where the key stands (not for items), and where the value does.
    marks: HashMap<String, Mark>,
    duplicates: Vec<(String, Mark, usize)>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    key: Option<Span>,
    value: Span,
    style: Option<ScalarStyle>,
}

/// Which part of an entry to point at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Key,
    Value,
    /// A byte offset within a text value.
    Offset(usize),
}

/// Appends one key to a JSON Pointer (RFC 6901).
pub fn child(pointer: &str, key: &str) -> String {
    if !key.contains(['~', '/']) {
        return [pointer, "/", key].concat();
    }
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

impl Source {
    /// Reads YAML text. The value is `None` if the text is not YAML at all; the problems then say why.
    pub fn read(file: &Path, text: &str) -> (Source, Option<Value>, Vec<Problem>) {
        let kept = if text.len() > MAX_BYTES { "" } else { text };
        let (file, text_kept) = (file.to_owned(), kept.to_owned());
        let source = Source { file, text: text_kept, places: OnceLock::new(), twice: AtomicBool::new(false) };
        if text.len() > MAX_BYTES {
            let what = format!("the file has {} bytes; the limit is {MAX_BYTES}", text.len());
            let problem = source.at_line(problem::TOO_LARGE, 1, 1, 1, what, Some("split it into several flows".into()));
            return (source, None, vec![problem]);
        }
        let value = match serde_yaml::from_str::<serde_yaml::Value>(text) {
            Ok(value) => value,
            Err(error) => {
                let mut problems = source.twice();
                if problems.is_empty() {
                    problems.push(source.not_yaml(text, &error));
                }
                return (source, None, problems);
            }
        };
        let mut problems = Vec::new();
        let value = source.json(value, String::new(), &mut problems);
        if source.twice.load(Ordering::Relaxed) {
            problems.extend(source.twice());
        }
        (source, Some(value), problems)
    }

    /// A problem at a place of this file; an unknown pointer falls back to the nearest enclosing one.
    pub fn problem(&self, code: Code, pointer: &str, at: At, what: String, hint: Option<String>) -> Problem {
        let (line, column, length) = self.place(pointer, at);
        self.at_line(code, line, column, length, what, hint)
    }

    /// True if the file has something at this pointer.
    pub fn has(&self, pointer: &str) -> bool {
        self.places().marks.contains_key(pointer)
    }

    fn at_line(
        &self,
        code: Code,
        line: usize,
        column: usize,
        length: usize,
        what: String,
        hint: Option<String>,
    ) -> Problem {
        let shown = self.text.lines().nth(line - 1).unwrap_or_default().to_owned();
        let (file, code, title) = (self.file.clone(), code.0.to_owned(), code.1.to_owned());
        let severity = if code.starts_with('W') { Severity::Warning } else { Severity::Error };
        Problem { severity, code, title, file, line, column, length, shown, what, hint }
    }

    fn place(&self, pointer: &str, at: At) -> (usize, usize, usize) {
        let mut pointer = pointer;
        let mut exact = true;
        let mark = loop {
            if let Some(mark) = self.places().marks.get(pointer) {
                break mark;
            }
            exact = false;
            match pointer.rfind('/') {
                Some(cut) => pointer = &pointer[..cut],
                None => return (1, 1, 1),
            }
        };
        match at {
            At::Key => span_of(mark.key.unwrap_or(mark.value)),
            At::Offset(offset) if exact => self.within(mark, offset),
            At::Value | At::Offset(_) => span_of(mark.value),
        }
    }

    /// Where a byte offset of a text value stands. Exact for text on one line and for literal blocks; in folded text
    /// and text over several lines, the start of the value.
    fn within(&self, mark: &Mark, offset: usize) -> (usize, usize, usize) {
        let whole = span_of(mark.value);
        let found = match mark.style {
            Some(ScalarStyle::Literal) => self.within_block(mark, offset),
            Some(style) if mark.value.start.line() == mark.value.end.line() => self.within_line(mark, style, offset),
            Some(_) | None => None,
        };
        found.map_or(whole, |(line, column)| (line, column, 1))
    }

    fn within_line(&self, mark: &Mark, style: ScalarStyle, offset: usize) -> Option<(usize, usize)> {
        let (line, column, length) = span_of(mark.value);
        let text: Vec<char> = self.text.lines().nth(line - 1)?.chars().skip(column - 1).take(length).collect();
        let mut at = usize::from(style != ScalarStyle::Plain);
        let mut decoded = 0;
        while decoded < offset {
            let (written, bytes) = match (style, text.get(at)?) {
                (ScalarStyle::SingleQuoted, '\'') => (2, 1),
                (ScalarStyle::DoubleQuoted, '\\') => escape(text.get(at + 1..)?)?,
                (_, c) => (1, c.len_utf8()),
            };
            at += written;
            decoded += bytes;
        }
        (at < length).then_some((line, column + at))
    }

    fn within_block(&self, mark: &Mark, offset: usize) -> Option<(usize, usize)> {
        // The parser starts a block at its first line that is not blank; the blank ones above it are text too.
        let (first, indent) = (mark.value.start.line().checked_sub(1)?, mark.value.start.col());
        let lines: Vec<&str> = self.text.lines().collect();
        let blank = lines.get(..first)?.iter().rev().take_while(|line| line.trim().is_empty()).count();
        let mut left = offset;
        for (index, line) in lines.iter().enumerate().skip(first - blank) {
            let content = line.get(indent..).unwrap_or_default();
            if left <= content.len() {
                return Some((index + 1, indent + content.get(..left)?.chars().count() + 1));
            }
            left -= content.len() + 1;
        }
        None
    }

    /// The keys that stand twice.
    fn twice(&self) -> Vec<Problem> {
        let problem = |(pointer, mark, first): &(String, Mark, usize)| {
            let name = pointer.rsplit('/').next().unwrap_or_default().replace("~1", "/").replace("~0", "~");
            let (line, column, length) = span_of(mark.key.unwrap_or(mark.value));
            let what = format!("`{name}` already stands on line {first}; of two equal keys only one could count");
            let hint = Some("remove one, or rename it".to_owned());
            self.at_line(problem::DUPLICATE_KEY, line, column, length, what, hint)
        };
        self.places().duplicates.iter().map(problem).collect()
    }

    fn not_yaml(&self, text: &str, error: &serde_yaml::Error) -> Problem {
        let (line, column) = error.location().map_or((1, 1), |place| (place.line().max(1), place.column().max(1)));
        if let Some((line, column)) = unquoted(text, line) {
            let what = "`{{` begins a YAML map here, because the text is not quoted".to_owned();
            let hint = Some("put the whole value in quotes: \"{{…}}\"".to_owned());
            return self.at_line(problem::UNQUOTED, line, column, 2, what, hint);
        }
        let lines: Vec<&str> = self.text.lines().collect();
        let shown = lines.get(line - 1).copied().unwrap_or_default();
        let text = error.to_string();
        let (what, hint) = match text.split(" at line ").next().unwrap_or(&text) {
            "repetition limit exceeded" => {
                let hint = Some("write out what they stand for".to_owned());
                let what = "the aliases (`*name`) of this file stand for too much".to_owned();
                return self.at_line(problem::TOO_LARGE, line, column, 1, what, hint);
            }
            "recursion limit exceeded" => {
                let what = "lists and maps are nested too deep to be read".to_owned();
                return self.at_line(problem::TOO_LARGE, line, column, 1, what, Some("write it flatter".to_owned()));
            }
            "deserializing from YAML containing more than one document is not supported" => {
                let next = lines.iter().rposition(|line| line.starts_with("---")).unwrap_or_default();
                let hint = Some("put each into a file of its own".to_owned());
                let what = "a second document begins here; a file holds one".to_owned();
                return self.at_line(problem::NOT_YAML, next + 1, 1, 3, what, hint);
            }
            _ if line > lines.len() => {
                ("the file ends before a `[`, a `{` or a quote is closed", Some("close it, or remove what opened it"))
            }
            what if shown.contains('\t') => (what, Some("YAML indents with spaces; this line has a tab")),
            what if shown.trim_start().starts_with('@') => {
                (what, Some("a key that starts with `@` needs quotes: \"@odata.type\":"))
            }
            what if what.starts_with("did not find expected '-'") || what.starts_with("did not find expected key") => (
                what,
                Some("compare the indent of this line with the lines above: one may have a space too many or too few"),
            ),
            what => (what, None),
        };
        self.at_line(problem::NOT_YAML, line, column, 1, what.to_owned(), hint.map(str::to_owned))
    }

    /// Values as JSON; a key that is no text, a tag, or a number that JSON lacks is a problem.
    fn json(&self, value: serde_yaml::Value, pointer: String, problems: &mut Vec<Problem>) -> Value {
        match value {
            serde_yaml::Value::Null => Value::Null,
            serde_yaml::Value::Bool(value) => Value::Bool(value),
            serde_yaml::Value::String(text) => Value::String(text),
            serde_yaml::Value::Number(number) => {
                let text = number.to_string();
                serde_json::from_str(&text).unwrap_or_else(|_| {
                    let what = format!("`{text}` is not a JSON number");
                    problems.push(self.problem(problem::WRONG_TYPE, &pointer, At::Value, what, None));
                    Value::Null
                })
            }
            serde_yaml::Value::Sequence(items) => Value::Array(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| self.json(item, format!("{pointer}/{index}"), problems))
                    .collect(),
            ),
            serde_yaml::Value::Mapping(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    let key = match key {
                        serde_yaml::Value::String(text) => text,
                        serde_yaml::Value::Number(number) => number.to_string(),
                        serde_yaml::Value::Bool(value) => value.to_string(),
                        serde_yaml::Value::Mapping(_) => {
                            let what = "`{{` begins a YAML map here, because the text is not quoted".to_owned();
                            let hint = Some("put the whole value in quotes: \"{{…}}\"".to_owned());
                            problems.push(self.problem(problem::UNQUOTED, &pointer, At::Value, what, hint));
                            return Value::Null;
                        }
                        _ => {
                            let what = "a key must be text".to_owned();
                            problems.push(self.problem(problem::WRONG_TYPE, &pointer, At::Value, what, None));
                            continue;
                        }
                    };
                    let at = child(&pointer, &key);
                    let value = self.json(value, at, problems);
                    if map.insert(key, value).is_some() {
                        self.twice.store(true, Ordering::Relaxed);
                    }
                }
                Value::Object(map)
            }
            serde_yaml::Value::Tagged(tagged) => {
                let what = format!("the YAML tag `{}` means nothing here", tagged.tag);
                problems.push(self.problem(problem::WRONG_TYPE, &pointer, At::Value, what, None));
                self.json(tagged.value, pointer, problems)
            }
        }
    }

    fn places(&self) -> &Places {
        self.places.get_or_init(|| Places::of(&self.text))
    }
}

impl Places {
    /// The second pass. It keeps its own stack, so depth costs no call stack. A file that serde_yaml refused as too deep
    /// comes here too.
    fn of(text: &str) -> Places {
        let mut places = Places::default();
        places.locate(text);
        places
    }

    fn locate(&mut self, text: &str) {
        let mut open: Vec<Open> = Vec::new();
        for event in Parser::new_from_str(text) {
            let Ok((event, span)) = event else { return };
            match event {
                Event::Scalar(text, style, _, _) => {
                    if let Some(top) = open.last_mut()
                        && top.expects_key()
                    {
                        top.key = Some((text.into_owned(), span));
                        continue;
                    }
                    self.place_value(&mut open, span, Some(style));
                }
                Event::Alias(_) => {
                    if let Some(top) = open.last_mut()
                        && top.expects_key()
                    {
                        top.key = Some((String::from("?"), span));
                        continue;
                    }
                    self.place_value(&mut open, span, None);
                }
                Event::SequenceStart(..) | Event::MappingStart(..) => {
                    let complex_key = open.last().is_some_and(Open::expects_key);
                    let pointer = if complex_key { String::from("?") } else { self.place_value(&mut open, span, None) };
                    if open.len() > DEEPEST {
                        return;
                    }
                    let map = matches!(event, Event::MappingStart(..));
                    open.push(Open { pointer, map, complex_key, key: None, next: 0, seen: HashMap::new() });
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    let Some(closed) = open.pop() else { return };
                    if closed.complex_key
                        && let Some(top) = open.last_mut()
                    {
                        top.key = Some((String::from("?"), span));
                    }
                }
                Event::Nothing
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_)
                | Event::DocumentEnd => {}
            }
        }
    }

    /// Notes where the next value of the innermost open collection stands; its pointer.
    fn place_value(&mut self, open: &mut [Open], value: Span, style: Option<ScalarStyle>) -> String {
        let (pointer, key) = match open.last_mut() {
            None => (String::new(), None),
            Some(top) if top.map => {
                let (name, span) = top.key.take().unwrap_or_default();
                let pointer = child(&top.pointer, &name);
                let mark = Mark { key: Some(span), value, style };
                match top.seen.get(&name) {
                    Some(first) => self.duplicates.push((pointer.clone(), mark, *first)),
                    None => {
                        top.seen.insert(name, span.start.line());
                    }
                }
                (pointer, Some(span))
            }
            Some(top) => {
                top.next += 1;
                (format!("{}/{}", top.pointer, top.next - 1), None)
            }
        };
        self.marks.insert(pointer.clone(), Mark { key, value, style });
        pointer
    }
}

/// A collection whose end has not been seen.
struct Open {
    pointer: String,
    map: bool,
    /// True if it stands where a key should.
    complex_key: bool,
    key: Option<(String, Span)>,
    next: usize,
    /// Keys seen, and their lines.
    seen: HashMap<String, usize>,
}

impl Open {
    fn expects_key(&self) -> bool {
        self.map && self.key.is_none()
    }
}

/// How many characters an escape of a double-quoted text has, and how many bytes it means; `after` begins behind `\`.
fn escape(after: &[char]) -> Option<(usize, usize)> {
    let digits = match after.first()? {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        'N' | '_' => return Some((2, 2)),
        'L' | 'P' => return Some((2, 3)),
        _ => return Some((2, 1)),
    };
    let code: String = after.get(1..=digits)?.iter().collect();
    let c = char::from_u32(u32::from_str_radix(&code, 16).ok()?)?;
    Some((2 + digits, c.len_utf8()))
}

/// Line, column and length, from 1, in characters.
fn span_of(span: Span) -> (usize, usize, usize) {
    let length = if span.start.line() == span.end.line() { span.end.col().saturating_sub(span.start.col()) } else { 1 };
    (span.start.line().max(1), span.start.col() + 1, length.max(1))
}

/// A `{{` that stands where a YAML value begins, on or shortly before the line where the parser gave up.
fn unquoted(text: &str, line: usize) -> Option<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let from = line.saturating_sub(3).max(1);
    (from..=line.min(lines.len())).rev().find_map(|number| {
        let shown = lines[number - 1];
        let start = shown.find("{{")?;
        let before = shown[..start].trim_end();
        let bare = before.is_empty() || before.ends_with([':', '-', ',', '[']);
        bare.then(|| (number, shown[..start].chars().count() + 1))
    })
}

#[cfg(test)]
mod tests;
