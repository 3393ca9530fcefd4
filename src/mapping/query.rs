//! JSONPath (RFC 9535), compiled at load and bounded.
//!
//! The parser accepts more than the RFC, and the evaluator has no limits of its own: `$..a..a..a..a..a` ran 22 s on a
//! body of ordinary size. So a scan refuses what would be costly or wrong, and each use is weighed before it runs.

use jsonpath_rust::parser::model::JpQuery;
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde_json::Value;

/// Longest path, in bytes.
const MAX_TEXT: usize = 1024;
/// Deepest nesting of brackets; deeper ones make the parser slow beyond use.
const MAX_DEPTH: usize = 5;
/// Most `..` in one path.
const MAX_DESCENTS: usize = 2;
/// Most steps of one use: parts of the value times what the path can do with each.
const MAX_WORK: usize = 4_000_000;
/// Most parts that a result may have.
const MAX_PARTS: usize = 200_000;
/// Steps that one compilation of a pattern from the data counts for, and one repetition or class in a written one.
const PATTERN_FROM_DATA: usize = 40_000;
const PATTERN_REPEAT: usize = 500;
/// The functions of RFC 9535.
const FUNCTIONS: &[&str] = &["length", "count", "match", "search", "value"];

/// A compiled path.
#[derive(Debug, Clone)]
pub(super) struct Query {
    text: String,
    compiled: JpQuery,
    descents: usize,
    /// How many selectors stand beside each other, multiplied: `[0,0][*,*]` selects each part four times.
    spread: usize,
    /// What one part costs in the filter's `match` and `search`.
    patterns: usize,
    /// Paths from the root within filters: what they name is gone through once for each part.
    roots: Vec<JpQuery>,
}

impl Query {
    /// Compiles; the error says what is wrong with the path.
    pub fn compile(text: &str) -> Result<Query, String> {
        let mut scan = Scan::default();
        scan.run(text)?;
        let compiled =
            parse_json_path(text).map_err(|_| format!("`{text}` is not a JSONPath as RFC 9535 defines it"))?;
        let roots = scan.roots.iter().filter_map(|root| parse_json_path(root).ok()).collect();
        let (descents, patterns) = (scan.descents, scan.patterns);
        Ok(Query { text: text.to_owned(), compiled, descents, spread: scan.spread.max(1), patterns, roots })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Copies of all parts selected, in order, and how much work it was.
    pub fn select(&self, value: &Value) -> Result<(Vec<Value>, usize), String> {
        let too_much = || format!("`{}` would have too much to do on a value of this size", self.text);
        let (parts, depth) = weigh(value);
        let each = depth.saturating_pow(u32::try_from(self.descents.saturating_sub(1)).unwrap_or(u32::MAX));
        let mut each = each.saturating_mul(self.spread).saturating_mul(1 + self.patterns);
        for root in &self.roots {
            let named = js_path_process(root, value).map_err(|_| format!("`{}` can't be applied", self.text))?;
            each = each.saturating_add(named.into_iter().map(|part| size(part.val())).sum());
        }
        let work = parts.saturating_mul(each);
        if work > MAX_WORK {
            return Err(too_much());
        }
        let found = js_path_process(&self.compiled, value).map_err(|_| format!("`{}` can't be applied", self.text))?;
        let mut copied = 0;
        let mut items = Vec::with_capacity(found.len());
        for part in found {
            let part = part.val();
            copied += weigh(part).0;
            if copied > MAX_PARTS {
                return Err(too_much());
            }
            items.push(part.clone());
        }
        Ok((items, work))
    }
}

/// How many values a value holds, itself included, and how deep they are nested.
fn weigh(value: &Value) -> (usize, usize) {
    let all = |(parts, depth): (usize, usize), (p, d): (usize, usize)| (parts + p, depth.max(d));
    let (parts, depth) = match value {
        Value::Array(items) => items.iter().map(weigh).fold((0, 0), all),
        Value::Object(map) => map.values().map(weigh).fold((0, 0), all),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (0, 0),
    };
    (parts + 1, depth + 1)
}

/// How long it takes to compare a value: its parts, and its text by stretches of 64 bytes.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 1,
        Value::Object(map) => map.iter().map(|(key, value)| key.len() / 64 + size(value)).sum::<usize>() + 1,
        Value::String(text) => text.len() / 64,
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// What stands from `start` on up to where its brackets close, or to one of `ends` outside of any; quotes are passed over.
fn stretch<'c>(chars: &'c [char], start: usize, ends: &[char]) -> &'c [char] {
    let (mut depth, mut i) = (0_usize, start);
    while let Some(&c) = chars.get(i) {
        match c {
            '"' | '\'' => {
                i = end_of_text(chars, i, c);
                continue;
            }
            c if depth == 0 && ends.contains(&c) => break,
            '[' | '(' => depth += 1,
            ']' | ')' if depth == 0 => break,
            ']' | ')' => depth -= 1,
            _ => {}
        }
        i += 1;
    }
    chars.get(start..i.min(chars.len())).unwrap_or_default()
}

/// What one use of a pattern costs: it is compiled anew for each part, and repetitions multiply its size.
fn pattern_cost(args: &[char]) -> usize {
    let second = stretch(args, 0, &[',']).len() + 1;
    let pattern: String = args.get(second..).unwrap_or_default().iter().collect();
    let pattern = pattern.trim();
    if !pattern.starts_with(['"', '\'']) {
        // It comes from the data, so it may be as bad as can be.
        return PATTERN_FROM_DATA;
    }
    let costly = pattern.matches(['{', '\\']).count();
    (pattern.len() + 50).saturating_add(costly.saturating_mul(PATTERN_REPEAT)).min(PATTERN_FROM_DATA)
}

/// One pass over a path's text.
#[derive(Default)]
struct Scan {
    /// Open brackets, and for each the commas directly inside it.
    open: Vec<(char, usize)>,
    descents: usize,
    spread: usize,
    patterns: usize,
    roots: Vec<String>,
}

impl Scan {
    fn run(&mut self, text: &str) -> Result<(), String> {
        if text.len() > MAX_TEXT {
            return Err(format!("a JSONPath has at most {MAX_TEXT} bytes; this one has {}", text.len()));
        }
        if !text.starts_with('$') || text.ends_with(char::is_whitespace) {
            return Err(format!("a JSONPath starts with `$` and has no blanks around it; here is `{text}`"));
        }
        self.spread = 1;
        let chars: Vec<char> = text.chars().collect();
        let mut i = 0;
        while i < chars.len() {
            i = self.step(&chars, i)?;
        }
        Ok(())
    }

    /// Looks at one character or one quoted text; returns where to go on.
    fn step(&mut self, chars: &[char], i: usize) -> Result<usize, String> {
        let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        match at(i) {
            quote @ ('"' | '\'') => return Ok(end_of_text(chars, i, quote)),
            '[' | '(' => self.enter(chars, i)?,
            ']' | ')' => self.leave(),
            ',' => {
                if let Some((_, commas)) = self.open.last_mut() {
                    *commas += 1;
                }
            }
            '.' if at(i + 1) == '.' => {
                self.descents += 1;
                if self.descents > MAX_DESCENTS {
                    return Err(format!("a JSONPath may hold {MAX_DESCENTS} `..` at most: each multiplies the work"));
                }
                if at(i + 2).is_whitespace() {
                    return Err("in a JSONPath no blank may follow `..`".to_owned());
                }
                return Ok(i + 2);
            }
            '.' if at(i + 1).is_whitespace() => return Err("in a JSONPath no blank may follow `.`".to_owned()),
            '$' if i > 0 => self.root_in_filter(chars, i)?,
            blank if blank.is_whitespace() => {
                let next = (i..chars.len()).find(|n| !at(*n).is_whitespace()).unwrap_or(chars.len());
                if i > 0 && is_name(at(i - 1)) && is_name(at(next)) {
                    return Err("in a JSONPath a name holds no blank; write `['a b']`".to_owned());
                }
                return Ok(next);
            }
            _ => {}
        }
        Ok(i + 1)
    }

    fn enter(&mut self, chars: &[char], i: usize) -> Result<(), String> {
        if self.open.len() == MAX_DEPTH {
            return Err(format!("a JSONPath may nest brackets {MAX_DEPTH} deep"));
        }
        let before = chars[..i].iter().rev().take_while(|c| c.is_ascii_alphanumeric() || **c == '_');
        let name: String = before.collect::<Vec<_>>().into_iter().rev().collect();
        if chars[i] == '(' && !name.is_empty() && !FUNCTIONS.contains(&name.as_str()) {
            let list = FUNCTIONS.join(", ");
            return Err(format!("RFC 9535 has no function `{name}`; it has {list}"));
        }
        if chars[i] == '(' && matches!(name.as_str(), "match" | "search") {
            self.patterns = self.patterns.saturating_add(pattern_cost(stretch(chars, i + 1, &[])));
        }
        self.open.push((chars[i], 0));
        Ok(())
    }

    fn leave(&mut self) {
        if let Some(('[', commas)) = self.open.pop() {
            self.spread = self.spread.saturating_mul(commas + 1);
        }
    }

    /// `$` inside a filter is applied once for each part that is filtered, so it may only name one value.
    fn root_in_filter(&mut self, chars: &[char], i: usize) -> Result<(), String> {
        let rest: String = chars[i + 1..].iter().collect();
        let path: &str = rest.split(['=', '<', '>', '!', '&', '|', ')', ',']).next().unwrap_or_default();
        if path.contains("..") || path.contains('*') || path.contains(':') || path.contains('?') {
            return Err("inside a filter `$` may only name a single value: each multiplies the work".to_owned());
        }
        let named: String = stretch(chars, i, &[' ', '=', '<', '>', '!', '&', '|', ',']).iter().collect();
        self.roots.push(named);
        Ok(())
    }
}

fn end_of_text(chars: &[char], start: usize, quote: char) -> usize {
    let mut i = start + 1;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}
