//! Paths: how they are read from a template, and how their keys are looked up in data.

use serde_json::Value;

use super::Key;

/// Names that mean the flow's (or the connector's) own data everywhere, inside blocks too.
///
/// Elsewhere in a block a bare name is a key of `this`. Were these looked up in the data first, a sender could shadow
/// `trigger` with a key of that name. `this.item` reaches a key of such a name.
pub(super) const ROOTS: &[&str] = &[
    "trigger", "steps", "vars", "env", "flow", "run", "loops", "item", "index", "settings", "input", "call", "token",
    "response",
];

/// A path as written, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// `@root.x`
    pub root: bool,
    /// `@index`
    pub local: bool,
    /// How many `../`.
    pub ups: usize,
    /// `this.x` or `./x`: certainly a key of the block's value.
    pub this: bool,
    /// True if the first key was written in brackets, and so is no name.
    pub bracketed: bool,
    pub keys: Vec<Key>,
}

/// Takes a path apart that the handlebars grammar has accepted.
pub(super) fn read(raw: &str) -> Written {
    let mut rest = raw;
    let mut strip = |prefixes: &[&str]| {
        let found = prefixes.iter().find_map(|p| rest.strip_prefix(p));
        rest = found.unwrap_or(rest);
        found.is_some()
    };
    let mut this = strip(&["this.", "this/", "./"]);
    let root = strip(&["@root.", "@root/"]);
    let local = strip(&["@"]);
    let mut ups = 0;
    while strip(&["../", "..."]) {
        ups += 1;
    }
    let bracketed = rest.starts_with('[');
    let mut keys = split(rest);
    if !bracketed && keys.first().is_some_and(|key| key == "this") {
        keys.remove(0);
        this = true;
    }
    Written { root, local, ups, this, bracketed, keys }
}

/// What is at a key with dots of its own, if there is one; otherwise at the path that it is when taken apart.
pub(super) fn inside<'v>(value: &'v Value, whole: &str, keys: &[Key]) -> Option<&'v Value> {
    value.get(whole).or_else(|| walk(value, keys))
}

/// The keys of `a.b/[c d].0`.
pub(super) fn split(mut rest: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    while !rest.is_empty() {
        let (key, after) = match rest.strip_prefix('[') {
            Some(inner) => inner.split_once(']').unwrap_or((inner, "")),
            None => rest.split_at(rest.find(['.', '/']).unwrap_or(rest.len())),
        };
        keys.push(key.to_owned());
        rest = after.strip_prefix(['.', '/']).unwrap_or(after);
    }
    keys
}

/// Walks `keys` into `value`: the exact key, else the only key equal to it ignoring case; digits index arrays.
///
/// ```
/// use millstream::mapping::walk;
/// let lead = serde_json::json!({"userDetails": {"Email": "ann@example.org"}, "tags": ["new"]});
/// assert_eq!(walk(&lead, &["UserDetails".into(), "email".into()]), Some(&lead["userDetails"]["Email"]));
/// assert_eq!(walk(&lead, &["tags".into(), "0".into()]), Some(&lead["tags"][0]));
/// assert_eq!(walk(&lead, &["tags".into(), "1".into()]), None);
/// ```
pub fn walk<'v>(value: &'v Value, keys: &[Key]) -> Option<&'v Value> {
    keys.iter().try_fold(value, |at, key| match at {
        Value::Object(map) => map.get(key).or_else(|| only_ignoring_case(map.iter(), key).map(|(_, found)| found)),
        Value::Array(items) => items.get(index(key)?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

/// `0`, `12`; not `01` or `+1`, so that each item has one name.
pub(super) fn index(key: &str) -> Option<usize> {
    let canonical = key == "0" || (!key.starts_with('0') && key.bytes().all(|b| b.is_ascii_digit()));
    canonical.then(|| key.parse().ok()).flatten()
}

/// The only entry whose key equals `key` ignoring case; none if two do, for either would be a guess.
pub(super) fn only_ignoring_case<K: AsRef<str>, T>(entries: impl Iterator<Item = (K, T)>, key: &str) -> Option<(K, T)> {
    let mut found = None;
    for entry in entries {
        if !same_ignoring_case(entry.0.as_ref(), key) {
            continue;
        }
        if found.is_some() {
            return None;
        }
        found = Some(entry);
    }
    found
}

fn same_ignoring_case(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(b);
    }
    a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_as_written() {
        let keys = |raw: &str| read(raw).keys.join("|");
        assert_eq!(keys("trigger.body.[@odata.type].0"), "trigger|body|@odata.type|0");
        assert_eq!(keys("a/[b.c/d]/e"), "a|b.c/d|e");
        assert_eq!(keys("this.a"), "a");
        assert_eq!(keys("[this].a"), "this|a");
        assert_eq!((read("../../a").ups, read("@../index").ups, read("@root.a").root), (2, 1, true));
        assert!(read("this").this && read("./a").this && !read("[this]").this);
    }

    #[test]
    fn two_keys_that_differ_in_case_only_are_never_guessed_between() {
        let value = serde_json::json!({"Email": 1, "EMAIL": 2, "ÄRA": 3});
        let at = |key: &str| walk(&value, &[key.to_owned()]).and_then(Value::as_i64);
        assert_eq!((at("Email"), at("EMAIL"), at("email"), at("ära")), (Some(1), Some(2), None, Some(3)));
    }
}
