//! Where a cursor stands in the tree of a YAML file, also while its line is half typed.
//!
//! A mark is put where the cursor is, and the text is read as YAML: the mark's place in the tree is the cursor's. Where
//! the text cannot be read, the cursor's line is mended in the ways that a half-typed line needs; then the last text that
//! could be read is taken with this line in it.

use serde_json::{Map, Value};

use crate::flow::{MAX_BYTES, child};

/// Two characters of the private use area: nothing else has them, and YAML takes them anywhere.
const MARK: &str = "\u{e0a1}\u{e0a2}";

/// Where a cursor stands in the tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Spot {
    /// The keys that lead to it; where it is in a key, that key as it is without the mark is the last.
    pub path: Vec<String>,
    pub on: On,
    /// The key or text value up to the cursor, and from it on, read as YAML.
    pub before: String,
    pub after: String,
    /// The whole file, without the mark.
    pub value: Value,
    /// The text that could be read, the mark taken out.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Key,
    Value,
}

impl Spot {
    /// The JSON Pointer of its path.
    pub fn pointer(&self) -> String {
        pointer(&self.path)
    }

    /// The value at the first `depth` keys of its path.
    pub fn around(&self, depth: usize) -> Option<&Value> {
        self.value.pointer(&pointer(self.path.get(..depth)?))
    }
}

/// The JSON Pointer of a path.
pub fn pointer(path: &[String]) -> String {
    path.iter().fold(String::new(), |at, key| child(&at, key))
}

/// The place at a byte offset of a text that can be read as it is.
pub fn exactly(text: &str, offset: usize) -> Option<Spot> {
    let (before, after) = text.split_at_checked(offset)?;
    read(&[before, MARK, after].concat())
}

/// The places that a byte offset of a text may be meant to be, likelier ones first. `good` is the last text that could be
/// read.
pub fn spots(text: &str, good: Option<&str>, offset: usize) -> Vec<Spot> {
    let Some((before, after)) = text.split_at_checked(offset) else { return Vec::new() };
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let end = offset + after.find('\n').unwrap_or(after.len());
    let (head, tail) = (&text[start..offset], text[offset..end].trim_end_matches('\r'));
    let lines = mended(head, tail);
    let (above, below) = (&text[..start], &text[end..]);
    let mut ways = vec![(above.to_owned(), below.to_owned())];
    if let Some(good) = good {
        ways.push(spliced(good, text, above.matches('\n').count()));
    }
    ways.push((above.to_owned(), String::new()));
    for (above, below) in ways {
        let found: Vec<Spot> =
            lines.iter().filter_map(|line| read(&[above.as_str(), line, below.as_str()].concat())).collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// What stands above and below line `line` of `text` in `good`: where both differ, only this line is taken over.
fn spliced(good: &str, text: &str, line: usize) -> (String, String) {
    let (old, new): (Vec<&str>, Vec<&str>) = (good.lines().collect(), text.lines().collect());
    // The line itself is being typed, so it is like any.
    let pairs = old.iter().zip(new.iter().enumerate());
    let same = pairs.take_while(|(a, (number, b))| a == b || *number == line).count();
    let most = old.len().min(new.len()) - same;
    let pairs = old.iter().rev().zip(new.iter().enumerate().rev()).take(most);
    let tail = pairs.take_while(|(a, (number, b))| a == b || *number == line).count();
    let (upto, from) = if line < same {
        (line, line + 1)
    } else if line + tail >= new.len() {
        let at = (line + old.len()).saturating_sub(new.len()).min(old.len());
        (at, at + 1)
    } else {
        (same, old.len() - tail)
    };
    let join = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let below = old.get(from..).map(join).unwrap_or_default();
    (old.get(..upto).map(join).unwrap_or_default(), format!("\n{below}"))
}

/// Ways to read a line with a cursor between `head` and `tail`, likelier ones first; each has the mark.
fn mended(head: &str, tail: &str) -> Vec<String> {
    let Lexed { quote, brackets, comment } = lex(head);
    if comment {
        return Vec::new();
    }
    let plain = [head, MARK, tail].concat();
    let closers: String = brackets.iter().rev().collect();
    if let Some(open) = head.rfind("{{").filter(|open| !head[*open..].contains("}}")) {
        let before = &head[..open];
        if lex(before).quote.is_none() && begins_value(before) {
            let closers: String = lex(before).brackets.iter().rev().collect();
            let tail = tail.split("}}").next().filter(|_| tail.contains("}}")).unwrap_or_default();
            // Within a text over several lines it is right as it stands.
            let quoted = format!("{before}\"{}{MARK}{tail}}}}}\"{closers}", head[open..].replace('"', "'"));
            return vec![plain, quoted];
        }
        let quote = quote.map(String::from).unwrap_or_default();
        return vec![plain, [head, MARK, "}}", &quote, &closers].concat()];
    }
    let quoted = quote.map(|quote| [head, MARK, &String::from(quote), &closers].concat());
    let closed = [head, MARK, &closers].concat();
    let body = head.trim_start_matches([' ', '-']);
    let typed = head.len() - body.len();
    let word = |c: char| !c.is_whitespace() && !":{}[],\"'#".contains(c);
    let rest = &tail[tail.find(|c| !word(c)).unwrap_or(tail.len())..];
    if quote.is_none() && brackets.is_empty() && body.chars().all(word) && rest.trim().is_empty() {
        // A word alone: a key that is begun, or an item.
        let key = [&head[..typed], body, MARK, tail.trim_end(), ":"].concat();
        return vec![key, plain];
    }
    if head.ends_with(':') {
        return vec![plain, format!("{head} {MARK}{closers}")];
    }
    [Some(plain), quoted, Some(closed)].into_iter().flatten().collect()
}

fn begins_value(before: &str) -> bool {
    let trimmed = before.trim_end();
    trimmed.is_empty() || trimmed.ends_with([':', '-', ',', '[', '{'])
}

/// What is open at the end of a part of a line.
struct Lexed {
    quote: Option<char>,
    /// The brackets that would close it.
    brackets: Vec<char>,
    comment: bool,
}

fn lex(head: &str) -> Lexed {
    let mut lexed = Lexed { quote: None, brackets: Vec::new(), comment: false };
    let mut last = ' ';
    let mut begins = true;
    let mut chars = head.chars().peekable();
    while let Some(c) = chars.next() {
        match (lexed.quote, c) {
            (Some('"'), '\\') => drop(chars.next()),
            (Some('\''), '\'') if chars.peek() == Some(&'\'') => drop(chars.next()),
            (Some(quote), c) if c == quote => lexed.quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if begins => lexed.quote = Some(c),
            (None, '#') if last.is_whitespace() => {
                lexed.comment = true;
                return lexed;
            }
            (None, '{') if begins => lexed.brackets.push('}'),
            (None, '[') if begins => lexed.brackets.push(']'),
            (None, '}' | ']') if lexed.brackets.last() == Some(&c) => drop(lexed.brackets.pop()),
            (None, _) => {}
        }
        let flow = !lexed.brackets.is_empty();
        begins = match c {
            ' ' | '\t' => begins || [':', '-'].contains(&last),
            '{' | '[' | ',' => flow,
            _ => false,
        };
        last = c;
    }
    lexed
}

fn read(text: &str) -> Option<Spot> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let mut value = tree(serde_yaml::from_str(text).ok()?);
    let mut path = Vec::new();
    let (on, before, after) = take(&mut value, &mut path)?;
    Some(Spot { path, on, before, after, value, text: text.replacen(MARK, "", 1) })
}

/// As the checker reads YAML, but without a word about what is wrong.
pub fn tree(value: serde_yaml::Value) -> Value {
    match value {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(value) => Value::Bool(value),
        serde_yaml::Value::Number(number) => serde_json::from_str(&number.to_string()).unwrap_or_default(),
        serde_yaml::Value::String(text) => Value::String(text),
        serde_yaml::Value::Sequence(items) => items.into_iter().map(tree).collect(),
        serde_yaml::Value::Mapping(entries) => {
            let text = |key| match key {
                serde_yaml::Value::String(text) => Some(text),
                serde_yaml::Value::Number(number) => Some(number.to_string()),
                serde_yaml::Value::Bool(value) => Some(value.to_string()),
                _ => None,
            };
            Value::Object(entries.into_iter().filter_map(|(key, value)| Some((text(key)?, tree(value)))).collect())
        }
        serde_yaml::Value::Tagged(tagged) => tree(tagged.value),
    }
}

/// Takes the mark out of the tree; where it was, and what stood on both sides of it.
fn take(value: &mut Value, path: &mut Vec<String>) -> Option<(On, String, String)> {
    match value {
        Value::String(text) => {
            let (before, after) = text.split_once(MARK).map(|(a, b)| (a.to_owned(), b.to_owned()))?;
            *text = [before.as_str(), after.as_str()].concat();
            Some((On::Value, before, after))
        }
        Value::Array(items) => items.iter_mut().enumerate().find_map(|(index, item)| {
            path.push(index.to_string());
            let found = take(item, path);
            if found.is_none() {
                path.pop();
            }
            found
        }),
        Value::Object(map) => {
            if let Some(key) = map.keys().find(|key| key.contains(MARK)).cloned() {
                let (before, after) = key.split_once(MARK)?;
                let whole = [before, after].concat();
                let entries = std::mem::take(map);
                for (name, value) in entries {
                    let name = if name == key { whole.clone() } else { name };
                    if !name.is_empty() {
                        map.entry(name).or_insert(value);
                    }
                }
                path.push(whole);
                return Some((On::Key, before.to_owned(), after.to_owned()));
            }
            entries(map, path)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn entries(map: &mut Map<String, Value>, path: &mut Vec<String>) -> Option<(On, String, String)> {
    map.iter_mut().find_map(|(key, value)| {
        path.push(key.clone());
        let found = take(value, path);
        if found.is_none() {
            path.pop();
        }
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The likeliest place of `‸` in a text: path, kind, what stands on both sides.
    fn at(text: &str) -> String {
        after(text, None)
    }

    fn after(text: &str, good: Option<&str>) -> String {
        let offset = text.find('‸').unwrap();
        let found = spots(&text.replace('‸', ""), good, offset);
        found.first().map_or("nowhere".to_owned(), |spot| {
            format!("{} {:?} {}|{}", spot.path.join("/"), spot.on, spot.before, spot.after)
        })
    }

    #[test]
    fn a_cursor_is_found_in_keys_values_and_templates() {
        assert_eq!(at("steps:\n  - id: a\n    act‸ion: x\n"), "steps/0/action Key act|ion");
        assert_eq!(at("steps:\n  - id: a\n    action: sl‸ack\n"), "steps/0/action Value sl|ack");
        assert_eq!(at("with: {text: \"a \\\"b\\\" {{x‸}}\"}\n"), "with/text Value a \"b\" {{x|}}");
        assert_eq!(at("text: |\n  one\n  {{#if a}}\n  {{b‸}}\n"), "text Value one\n{{#if a}}\n{{b|}}\n");
    }

    #[test]
    fn a_line_that_is_half_typed_is_read_as_what_it_is_going_to_be() {
        for (text, found) in [
            ("steps:\n  - id: a\n    conn‸\n", "steps/0/conn Key conn|"),
            ("steps:\n  - id: a\n    ‸\n  - id: b\n", "steps/0/ Key |"),
            ("steps:\n  - ‸\n", "steps/0/ Key |"),
            ("steps:\n  - id: a\n    action: ‸\n", "steps/0/action Value |"),
            ("steps:\n  - id: a\n    action:‸\n", "steps/0/action Value |"),
            ("a: \"{{trigger.body.‸\nb: 1\n", "a Value {{trigger.body.|}}"),
            ("a: {{trigger.body.‸\nb: 1\n", "a Value {{trigger.body.|}}"),
            ("a: {{trigger.body.‸}}\nb: 1\n", "a Value {{trigger.body.|}}"),
            ("- {a: 1, b: \"{{x ‸\n- c\n", "0/b Value {{x |}}"),
            ("- {a: 1, b: [{{x.‸\n- c\n", "0/b/0 Value {{x.|}}"),
            ("with: {chan‸\nb: 1\n", "with/chan Key chan|"),
            ("a: 'it''s {{x‸\nb: 1\n", "a Value it's {{x|}}"),
            ("a: 1 # see ‸\n", "nowhere"),
        ] {
            assert_eq!(at(text), found, "{text}");
        }
    }

    #[test]
    fn a_break_elsewhere_is_bridged_by_the_last_text_that_could_be_read() {
        let good = "a: 1\nb: [1, 2]\nsteps:\n  - id: x\n    text: \"t\"\nz: 1\n";
        let broken = "a: 1\nb: [1, 2\nsteps:\n  - id: x\n    text: \"{{y.‸\"\nz: 1\n";
        assert_eq!(after(broken, Some(good)), "steps/0/text Value {{y.|");
        let broken = "a: 1\nb: [1, 2\nsteps:\n  - id: x\n    text: \"t\"\nz: ‸\n";
        assert_eq!(after(broken, Some(good)), "z Value |");
        assert_eq!(after("a: ‸\nb: [1,\nc: }\n", None), "a Value |", "what stands below is left out");
        assert_eq!(after("\tb: [1,\n‸", None), "nowhere");
    }
}
