//! What the first name of a path means where it stands: the scope, a block's value, or a loop's own names.

use super::ParseError;
use super::expr::{Kind, Path, Root};
use super::path::{ROOTS, read};

/// An open `each` or `with`, with the names that its `as |…|` gives.
pub(super) struct Frame {
    pub kind: Kind,
    pub value: Option<String>,
    pub key: Option<String>,
}

/// Resolves a path as written at `offset`, inside the blocks `frames` (innermost last).
pub(super) fn resolve(raw: &str, offset: usize, frames: &[Frame]) -> Result<Path, ParseError> {
    let written = read(raw);
    let wrong =
        |what: String, hint: &str| Err(ParseError { code: "E-MAP-007", offset, what, hint: Some(hint.to_owned()) });
    let found = |root, keys| Ok(Path { root, keys, text: raw.to_owned(), offset });
    if written.ups > frames.len() {
        let what = format!("`{raw}` goes up {} times, but only {} blocks are open", written.ups, frames.len());
        return wrong(what, "only #each and #with count as blocks here");
    }
    if written.local {
        let innermost = frames.len() - written.ups;
        if !frames[..innermost].last().is_some_and(|frame| frame.kind == Kind::Each) {
            return wrong(format!("`{raw}` has a meaning only inside #each"), "put it there, or remove it");
        }
        let root = match written.keys.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["key"] => Root::Key(written.ups),
            ["index"] => Root::Index(written.ups),
            ["first"] => Root::First(written.ups),
            ["last"] => Root::Last(written.ups),
            _ => {
                return wrong(format!("there is no `{raw}`"), "inside #each there are @index, @key, @first, @last");
            }
        };
        return found(root, Vec::new());
    }
    let plain = !written.root && !written.this && written.ups == 0 && !written.bracketed;
    if let (true, Some(first)) = (plain, written.keys.first()) {
        for (up, frame) in frames.iter().rev().enumerate() {
            if frame.value.as_ref() == Some(first) {
                return found(Root::This(up), written.keys[1..].to_vec());
            }
            if frame.key.as_ref() == Some(first) {
                return found(Root::Key(up), Vec::new());
            }
        }
        if ROOTS.contains(&first.as_str()) {
            return found(Root::Scope, written.keys);
        }
    }
    if written.root || written.ups == frames.len() {
        if written.keys.is_empty() {
            return wrong(format!("`{raw}` has a meaning only inside #each and #with"), "name a value");
        }
        return found(Root::Scope, written.keys);
    }
    found(Root::This(written.ups), written.keys)
}
