//! What a template can name at a cursor: the scope of its step, and what the blocks around it give names to.

use super::cursor::Frame;
use crate::mapping::functions::words;
use crate::schema::{Lookup, Shape, Types};

/// The names in reach of a cursor.
pub struct Seen {
    /// What the flow's checker says can be named at this place, as one object.
    scope: Shape,
    /// What each block's `this` is, outermost first, and the names for it and its key.
    frames: Vec<Opened>,
}

struct Opened {
    this: Found,
    key: Shape,
    names: Frame,
}

/// Something that a path leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub shape: Shape,
    /// The keys that lead to it from the scope, where it is one value: items of lists stand for their first.
    pub keys: Option<Vec<String>>,
}

/// A name that can follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    pub name: String,
    pub found: Found,
    /// True if the value need not be there.
    pub optional: bool,
}

/// A path as written, taken apart.
#[derive(Debug, PartialEq)]
pub struct Parts {
    /// Its keys but the last, with `this`, `..`, `@root` as they stand.
    pub keys: Vec<String>,
    /// The last one, which may be half typed.
    pub last: String,
    /// True if the last one is in brackets.
    pub bracket: bool,
}

/// Takes a path apart; the last key is what stands behind the last separator.
pub fn parts(path: &str) -> Parts {
    let mut keys = Vec::new();
    let (mut last, mut bracket) = (String::new(), false);
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' if !inside && last.is_empty() => (inside, bracket) = (true, true),
            ']' if inside => inside = false,
            '.' if !inside && last == "." => last = "..".to_owned(),
            '.' if !inside && last.is_empty() && !bracket => last = ".".to_owned(),
            '.' | '/' if !inside => {
                keys.push(std::mem::take(&mut last));
                bracket = false;
            }
            c => last.push(c),
        }
    }
    Parts { keys, last, bracket }
}

impl Seen {
    pub fn new(scope: Shape, frames: &[Frame]) -> Seen {
        let mut seen = Seen { scope, frames: Vec::new() };
        for frame in frames {
            let nothing = Found { shape: Shape::any(), keys: None };
            let subject = seen.path(&frame.subject).unwrap_or(nothing);
            let listed = subject.shape.types.meets(Types::ARRAY);
            let this = match frame.each {
                false => subject,
                true if listed => below(&subject, "0").unwrap_or(Found { shape: Shape::any(), keys: None }),
                true => Found { shape: Shape::any(), keys: None },
            };
            let key = Shape::of(if listed { Types::NUMBER } else { Types::STRING.or(Types::NUMBER) });
            seen.frames.push(Opened { this, key, names: frame.clone() });
        }
        seen
    }

    /// What a whole path leads to.
    pub fn path(&self, path: &str) -> Option<Found> {
        let Parts { mut keys, last, .. } = parts(path);
        keys.push(last);
        self.keys(&keys)
    }

    /// What these keys lead to, the first as it is written.
    pub fn keys(&self, keys: &[String]) -> Option<Found> {
        let (start, rest) = self.start(keys)?;
        rest.iter().try_fold(start, |at, key| below(&at, key))
    }

    /// What the first keys mean, and those that are left.
    fn start<'k>(&self, keys: &'k [String]) -> Option<(Found, &'k [String])> {
        let whole = || Found { shape: self.scope.clone(), keys: Some(Vec::new()) };
        let frame = |up: usize| self.frames.iter().rev().nth(up);
        let first = keys.first()?.as_str();
        let ups = keys.iter().take_while(|key| *key == "..").count();
        if ups > 0 {
            let this = frame(ups).map_or_else(whole, |frame| frame.this.clone());
            return Some((this, &keys[ups..]));
        }
        match first {
            "@root" => return Some((whole(), &keys[1..])),
            "this" | "." => return Some((frame(0).map_or_else(whole, |frame| frame.this.clone()), &keys[1..])),
            "@index" | "@key" => return Some((Found { shape: frame(0)?.key.clone(), keys: None }, &keys[1..])),
            "@first" | "@last" => return Some((Found { shape: Shape::of(Types::BOOLEAN), keys: None }, &keys[1..])),
            _ => {}
        }
        for frame in self.frames.iter().rev() {
            if frame.names.value.as_deref() == Some(first) {
                return Some((frame.this.clone(), &keys[1..]));
            }
            if frame.names.key.as_deref() == Some(first) {
                return Some((Found { shape: frame.key.clone(), keys: None }, &keys[1..]));
            }
        }
        if self.scope.properties.contains_key(first) || self.frames.is_empty() {
            return Some((whole(), keys));
        }
        Some((frame(0)?.this.clone(), keys))
    }

    /// The names that can follow these keys; at the beginning of a path, all that it can begin with.
    pub fn names(&self, keys: &[String]) -> Vec<Name> {
        if !keys.is_empty() {
            return self.keys(keys).map(|at| members(&at)).unwrap_or_default();
        }
        let mut found: Vec<Name> = Vec::new();
        let mut add = |name: &str, at: Found| {
            if !found.iter().any(|other| other.name == name) {
                found.push(Name { name: name.to_owned(), found: at, optional: false });
            }
        };
        for frame in self.frames.iter().rev() {
            if let Some(name) = &frame.names.value {
                add(name, frame.this.clone());
            }
            if let Some(name) = &frame.names.key {
                add(name, Found { shape: frame.key.clone(), keys: None });
            }
        }
        if let Some(frame) = self.frames.last() {
            add("this", frame.this.clone());
            if frame.names.each {
                add("@index", Found { shape: frame.key.clone(), keys: None });
                add("@first", Found { shape: Shape::of(Types::BOOLEAN), keys: None });
                add("@last", Found { shape: Shape::of(Types::BOOLEAN), keys: None });
            }
        }
        for (name, shape) in &self.scope.properties {
            add(name, Found { shape: shape.clone(), keys: Some(vec![name.clone()]) });
        }
        let own = self.frames.last().map(|frame| members(&frame.this)).unwrap_or_default();
        own.into_iter().for_each(|name| add(&name.name, name.found));
        found
    }
}

/// What is at one key of something.
fn below(at: &Found, key: &str) -> Option<Found> {
    let shape = match at.shape.get(key) {
        Lookup::Known(shape) => shape.clone(),
        Lookup::Open => Shape::any(),
        Lookup::Absent { .. } => return None,
    };
    let keys = at.keys.clone().map(|mut keys| {
        keys.push(key.to_owned());
        keys
    });
    Some(Found { shape, keys })
}

fn members(at: &Found) -> Vec<Name> {
    let mut names = Vec::new();
    for key in at.shape.properties.keys() {
        let optional = !at.shape.required.contains(key);
        names.extend(below(at, key).map(|found| Name { name: key.clone(), found, optional }));
    }
    if at.shape.types.meets(Types::ARRAY) && at.shape.is_known() {
        names.extend(below(at, "0").map(|found| Name { name: "0".to_owned(), found, optional: true }));
    }
    names
}

/// A shape in a few words: `text or null`, `"INS" or "PLT"`.
pub fn type_of(shape: &Shape, optional: bool) -> String {
    let mut words = words(shape.types);
    if !shape.values.is_empty() && shape.values.len() <= 6 {
        words = shape.values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    }
    if optional { format!("{words}, may be missing") } else { words }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(frames: &[Frame]) -> Seen {
        let text = json!({"type": "string"});
        let item = json!({"type": "object", "properties": {"sku": text, "steps": text}, "required": ["sku"]});
        let body = json!({"type": "object", "properties": {"Items": {"type": "array", "items": item}}});
        let map = |properties| json!({"type": "object", "additionalProperties": false, "properties": properties});
        let scope = map(json!({"trigger": map(json!({"body": body})), "steps": map(json!({"a": text}))}));
        Seen::new(Shape::of_schema(&scope), frames)
    }

    fn frame(each: bool, subject: &str, value: Option<&str>) -> Frame {
        Frame { each, subject: subject.to_owned(), value: value.map(str::to_owned), key: None }
    }

    #[test]
    fn paths_are_taken_apart_while_they_are_typed() {
        let told = |path: &str| {
            let parts = parts(path);
            format!("{}|{}{}", parts.keys.join(" "), parts.last, if parts.bracket { "]" } else { "" })
        };
        assert_eq!(told("trigger.body.Us"), "trigger body|Us");
        assert_eq!(told("a.[b.c].[d"), "a b.c|d]");
        assert_eq!(told("../../x"), ".. ..|x");
        assert_eq!(told("./x"), ".|x");
        assert_eq!(told("this."), "this|");
        assert_eq!(told(""), "|");
    }

    #[test]
    fn a_path_leads_through_the_scope_and_through_blocks() {
        let names = |seen: &Seen, path: &str| {
            let names = seen.names(&parts(path).keys);
            names.iter().map(|name| name.name.clone()).collect::<Vec<_>>().join(" ")
        };
        let plain = seen(&[]);
        assert_eq!(names(&plain, ""), "steps trigger");
        assert_eq!(names(&plain, "trigger.body."), "Items");
        assert_eq!(names(&plain, "trigger.body.items.0."), "sku steps", "as lookups ignore case");
        assert_eq!(names(&plain, "trigger.nothing."), "");
        let inner = seen(&[frame(true, "trigger.body.Items", Some("one"))]);
        assert_eq!(names(&inner, ""), "one this @index @first @last steps trigger sku");
        assert_eq!(names(&inner, "one."), "sku steps");
        assert_eq!(names(&inner, "steps."), "a", "a root is a root inside of a block too");
        assert_eq!(names(&inner, "../"), "steps trigger");
        let sku = inner.path("sku").unwrap();
        assert_eq!(sku.keys.unwrap().join("."), "trigger.body.Items.0.sku");
        let with = seen(&[frame(true, "trigger.body.Items", None), frame(false, "this.sku", None)]);
        assert_eq!(type_of(&with.path("this").unwrap().shape, true), "text, may be missing");
        assert_eq!(names(&with, "../"), "sku steps");
    }
}
