//! Where a cursor stands in a template: which path or call it is in, and which blocks are open around it.
//!
//! The template may be half typed, so it is not parsed but read from its beginning up to the cursor.

use crate::mapping::functions;

/// A cursor inside of `{{ }}`.
#[derive(Debug, Default, PartialEq)]
pub struct Cursor {
    /// The path or name that it is in, up to it and from it on.
    pub word: String,
    pub rest: String,
    /// True where the name of a function may stand bare: at the beginning, or after a bracket.
    pub head: bool,
    /// True right after `{{#`: the name of a block.
    pub block: bool,
    /// The innermost call that it is an argument of, and which one, from 0.
    pub call: Option<(String, usize)>,
    /// What `this` is, outermost first.
    pub frames: Vec<Frame>,
}

/// A block, or an argument that is evaluated for each item, with names of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// True if `this` is an item of the subject, false if it is the subject.
    pub each: bool,
    /// The path of the list or value; empty where it is no path.
    pub subject: String,
    pub value: Option<String>,
    pub key: Option<String>,
}

/// An open block.
enum Open {
    Plain,
    Frame(Frame),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text { closed: bool },
    Names(Vec<String>),
    Bracket,
    Close,
}

/// The cursor between two parts of a template's text; `None` outside of `{{ }}`, in a text and in a comment.
pub fn cursor(before: &str, after: &str) -> Option<Cursor> {
    let mut blocks: Vec<Open> = Vec::new();
    let mut rest = before;
    loop {
        let at = rest.find("{{")?;
        let escaped = rest[..at].ends_with('\\') && !rest[..at].ends_with("\\\\");
        let inner = rest[at + 2..].trim_start_matches('{');
        if escaped {
            rest = inner;
            continue;
        }
        if let Some(comment) = inner.strip_prefix('!') {
            let end = if comment.starts_with("--") { "--}}" } else { "}}" };
            rest = comment.split_once(end)?.1;
            continue;
        }
        let (tokens, end) = tokens(inner);
        match end {
            Some(end) => {
                note(&tokens, &mut blocks);
                rest = inner[end..].trim_start_matches('}');
            }
            None => return inside(inner, tokens, after, &blocks),
        }
    }
}

/// The tokens of a tag, and where it ends; `None`: it goes on to the end.
fn tokens(tag: &str) -> (Vec<Token>, Option<usize>) {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = tag[at..].chars().next() {
        let here = &tag[at..];
        if here.starts_with("}}") || here.starts_with("~}}") {
            return (found, Some(at));
        }
        at += match c {
            '"' | '\'' => {
                let mut escaped = false;
                let end = here[1..].char_indices().find(|(_, next)| {
                    let ends = *next == c && !escaped;
                    escaped = *next == '\\' && !escaped;
                    ends
                });
                found.push(Token::Text { closed: end.is_some() });
                end.map_or(here.len(), |(end, _)| end + 2)
            }
            '|' => {
                let end = here[1..].find('|');
                let names = here[1..].get(..end.unwrap_or(here.len() - 1)).unwrap_or_default();
                found.push(Token::Names(names.split_whitespace().map(str::to_owned).collect()));
                end.map_or(here.len(), |end| end + 2)
            }
            '(' => {
                found.push(Token::Bracket);
                1
            }
            ')' => {
                found.push(Token::Close);
                1
            }
            c if c.is_whitespace() || c == '~' || c == '&' => c.len_utf8(),
            _ => {
                let length = word_length(here);
                found.push(Token::Word(here[..length].to_owned()));
                length
            }
        };
    }
    (found, None)
}

/// How far a path goes; in `[…]` it may hold anything.
fn word_length(text: &str) -> usize {
    let mut bracket = false;
    for (at, c) in text.char_indices() {
        match c {
            '[' => bracket = true,
            ']' => bracket = false,
            _ if bracket => {}
            '(' | ')' | '"' | '\'' | '|' | '}' | '~' => return at.max(1),
            c if c.is_whitespace() => return at.max(1),
            _ => {}
        }
    }
    text.len()
}

/// Opens and closes blocks.
fn note(tokens: &[Token], blocks: &mut Vec<Open>) {
    let Some(Token::Word(first)) = tokens.first() else { return };
    if first.starts_with('/') {
        blocks.pop();
    } else if let Some(name) = first.strip_prefix('#') {
        let each = name == "each";
        if !each && name != "with" {
            blocks.push(Open::Plain);
            return;
        }
        let subject = match tokens.get(1) {
            Some(Token::Word(path)) => path.clone(),
            _ => String::new(),
        };
        let mut names = tokens.iter().filter_map(|token| match token {
            Token::Names(names) => Some(names.clone()),
            _ => None,
        });
        let mut names = names.next().unwrap_or_default().into_iter();
        blocks.push(Open::Frame(Frame { each, subject, value: names.next(), key: names.next() }));
    }
}

/// A cursor behind these tokens of its tag.
fn inside(tag: &str, mut tokens: Vec<Token>, after: &str, blocks: &[Open]) -> Option<Cursor> {
    if matches!(tokens.last(), Some(Token::Text { closed: false } | Token::Names(_))) {
        return None;
    }
    let mut found = Cursor::default();
    found.frames.extend(blocks.iter().filter_map(|open| match open {
        Open::Frame(frame) => Some(frame.clone()),
        Open::Plain => None,
    }));
    // A word is the cursor's if nothing stands between.
    if let Some(Token::Word(word)) = tokens.last().cloned().filter(|_| !tag.ends_with(char::is_whitespace)) {
        found.word = word;
        tokens.pop();
    }
    found.rest = after[..word_length_of_rest(after)].to_owned();
    if let Some(name) = found.word.strip_prefix('#') {
        (found.word, found.block) = (name.to_owned(), true);
        return Some(found);
    }
    let mut calls: Vec<Vec<Token>> = vec![Vec::new()];
    for token in tokens {
        match token {
            Token::Bracket => calls.push(Vec::new()),
            Token::Close => {
                calls.pop();
                // A call in brackets is one argument.
                calls.last_mut()?.push(Token::Close);
            }
            other => calls.last_mut()?.push(other),
        }
    }
    found.head = calls.last()?.is_empty();
    for call in &calls {
        let Some(Token::Word(name)) = call.first() else { continue };
        let Some(function) = functions::find(name) else { continue };
        let index = call.len() - 1;
        let param = function.params.get(index).or_else(|| function.params.last());
        if param.is_some_and(|param| param.each) {
            let subject = match call.get(1) {
                Some(Token::Word(path)) => path.clone(),
                _ => String::new(),
            };
            let (value, key) = (Some("item".to_owned()), Some("index".to_owned()));
            found.frames.push(Frame { each: true, subject, value, key });
        }
    }
    if let Some(Token::Word(name)) = calls.last()?.first() {
        found.call = Some((name.trim_start_matches('#').to_owned(), calls.last()?.len() - 1));
    }
    Some(found)
}

fn word_length_of_rest(after: &str) -> usize {
    let ends = |c: char| c.is_whitespace() || "()\"'|}~".contains(c);
    after.find(ends).unwrap_or(after.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<Cursor> {
        let (before, after) = text.split_once('‸').unwrap();
        cursor(before, after)
    }

    #[test]
    fn a_cursor_knows_the_word_and_the_call_it_is_in() {
        let told = |text: &str| {
            let found = at(text)?;
            Some(format!("{}|{} {} {:?}", found.word, found.rest, found.head, found.call))
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(told("a {{trigger.bo‸dy.x}} b"), is("trigger.bo|dy.x true None"));
        assert_eq!(told("{{‸}}"), is("| true None"));
        assert_eq!(told("{{ concat trigger.x ‸"), is("| false Some((\"concat\", 1))"));
        assert_eq!(told("{{if (equals a \"x)}}\") (toUp‸"), is("toUp| true None"));
        assert_eq!(told("{{if (equals a \"x)}}\") st‸"), is("st| false Some((\"if\", 1))"));
        assert_eq!(told("{{trigger.body.[a b‸"), is("trigger.body.[a b| true None"));
        for outside in ["a ‸ {{x}}", "{{x}}‸", "\\{{x‸", "{{! x‸", "{{!-- }} x‸ --}}", "{{concat \"a‸\"}}", "{{)‸"]
        {
            assert_eq!(told(outside), None, "{outside}");
        }
        assert_eq!(told("{{!-- }} --}}{{x‸"), is("x| true None"));
        assert_eq!(at("{{#ea‸").map(|found| (found.word, found.block)), Some(("ea".to_owned(), true)));
    }

    #[test]
    fn a_cursor_knows_what_this_is() {
        let told = |text: &str| {
            let frames = at(text).unwrap().frames;
            frames.iter().map(|f| format!("{} {} {:?}", f.each, f.subject, f.value)).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(told("{{#each trigger.body.items}}{{‸"), "true trigger.body.items None");
        assert_eq!(told("{{#each a as |one n|}}{{#with one.b}}{{‸"), "true a Some(\"one\"), false one.b None");
        assert_eq!(told("{{#each a}}{{/each}}{{#if b}}{{‸"), "");
        assert_eq!(told("{{map trigger.body.items ‸"), "true trigger.body.items Some(\"item\")");
    }
}
