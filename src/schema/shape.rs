//! What a schema says of a value before it exists, in the few words that checks of templates need.
//!
//! A shape is never narrower than its schema: what it does not understand, it leaves open.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

/// Nodes a shape may have: references can make a small schema very large.
const MAX_NODES: usize = 4_000;
/// References followed within each other.
const MAX_REFERENCES: usize = 16;
/// Values listed of an `enum`.
const MAX_VALUES: usize = 100;

/// A set of JSON types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types(u8);

impl Types {
    pub const NONE: Types = Types(0);
    pub const NULL: Types = Types(1);
    pub const BOOLEAN: Types = Types(2);
    pub const NUMBER: Types = Types(4);
    pub const STRING: Types = Types(8);
    pub const ARRAY: Types = Types(16);
    pub const OBJECT: Types = Types(32);
    pub const ANY: Types = Types(63);

    pub const fn or(self, other: Types) -> Types {
        Types(self.0 | other.0)
    }
    pub const fn and(self, other: Types) -> Types {
        Types(self.0 & other.0)
    }
    pub const fn without(self, other: Types) -> Types {
        Types(self.0 & !other.0)
    }
    /// True if some type is in both.
    pub const fn meets(self, other: Types) -> bool {
        self.0 & other.0 != 0
    }
    /// True if every type of `self` is in `other`.
    pub const fn within(self, other: Types) -> bool {
        self.0 & !other.0 == 0
    }

    /// The type of a value.
    pub const fn of(value: &Value) -> Types {
        match value {
            Value::Null => Types::NULL,
            Value::Bool(_) => Types::BOOLEAN,
            Value::Number(_) => Types::NUMBER,
            Value::String(_) => Types::STRING,
            Value::Array(_) => Types::ARRAY,
            Value::Object(_) => Types::OBJECT,
        }
    }

    fn named(name: &str) -> Types {
        match name {
            "null" => Types::NULL,
            "boolean" => Types::BOOLEAN,
            "number" | "integer" => Types::NUMBER,
            "string" => Types::STRING,
            "array" => Types::ARRAY,
            "object" => Types::OBJECT,
            _ => Types::ANY,
        }
    }
}

/// What is known of a value before it exists: its possible types and, for objects and arrays, its parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    pub types: Types,
    pub properties: BTreeMap<String, Shape>,
    /// True if an object has no keys but `properties`.
    pub closed: bool,
    /// Shape of array items, if known.
    pub items: Option<Box<Shape>>,
    /// Keys that an object certainly has.
    pub required: Vec<String>,
    /// The only values it can have, if they are few and known.
    pub values: Vec<Value>,
    /// What its schema says of it for people: its `description`, or else its `title`.
    pub about: Option<Arc<str>>,
}

/// The answer of [`Shape::get`].
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup<'s> {
    /// The key is described.
    Known(&'s Shape),
    /// It is not described but may be there.
    Open,
    /// It cannot be there; `nearest` is a described key that may have been meant.
    Absent { nearest: Option<String> },
}

impl Shape {
    /// Nothing is known.
    pub fn any() -> Shape {
        Shape::of(Types::ANY)
    }

    /// True if something is known of it but that it may be null.
    pub fn is_known(&self) -> bool {
        !Types::ANY.without(Types::NULL).within(self.types)
    }

    /// Only the types are known.
    pub fn of(types: Types) -> Shape {
        Shape {
            types,
            properties: BTreeMap::new(),
            closed: false,
            items: None,
            required: Vec::new(),
            values: Vec::new(),
            about: None,
        }
    }

    /// What `schema` says; [`Shape::any`] where it says nothing that is understood here.
    pub fn of_schema(schema: &Value) -> Shape {
        let mut reader = Reader { root: schema, nodes: MAX_NODES, following: Vec::new() };
        reader.read(schema)
    }

    /// What is known of `key`: the exact one, else the only one equal to it ignoring case; of an array, an index.
    pub fn get(&self, key: &str) -> Lookup<'_> {
        let item = self.types.meets(Types::ARRAY) && key.bytes().all(|b| b.is_ascii_digit()) && !key.is_empty();
        if self.types.meets(Types::OBJECT) {
            if let Some(shape) = self.property(key) {
                return Lookup::Known(shape);
            }
            if !self.closed {
                return Lookup::Open;
            }
        }
        match &self.items {
            Some(items) if item => Lookup::Known(items),
            None if item => Lookup::Open,
            _ => Lookup::Absent { nearest: self.nearest(key) },
        }
    }

    /// A described key that `key` may have been meant to be.
    pub fn nearest(&self, key: &str) -> Option<String> {
        let wanted = key.to_lowercase();
        let distance = |name: &&String| strsim::damerau_levenshtein(&name.to_lowercase(), &wanted);
        let nearest = self.properties.keys().min_by_key(distance)?;
        (distance(&nearest) <= 1 + wanted.chars().count() / 4).then(|| nearest.clone())
    }

    fn property(&self, key: &str) -> Option<&Shape> {
        if let Some(shape) = self.properties.get(key) {
            return Some(shape);
        }
        let wanted = key.to_lowercase();
        let mut alike = self.properties.iter().filter(|(name, _)| name.to_lowercase() == wanted);
        match (alike.next(), alike.next()) {
            (Some((_, shape)), None) => Some(shape),
            _ => None,
        }
    }

    /// What holds of a value that has both shapes.
    fn both(self, other: Shape) -> Shape {
        let closed = self.closed || other.closed;
        let (self_closed, other_closed) = (self.closed, other.closed);
        let mut theirs = other.properties;
        let mut properties = BTreeMap::new();
        for (key, mine) in self.properties {
            match theirs.remove(&key) {
                Some(their) => properties.insert(key, mine.both(their)),
                None if other_closed => None,
                None => properties.insert(key, mine),
            };
        }
        if !self_closed {
            properties.extend(theirs);
        }
        let items = match (self.items, other.items) {
            (Some(mine), Some(their)) => Some(Box::new(mine.both(*their))),
            (mine, their) => mine.or(their),
        };
        let mut required = self.required;
        required.extend(other.required);
        required.sort_unstable();
        required.dedup();
        let values = match (self.values.is_empty(), other.values.is_empty()) {
            (_, true) => self.values,
            (true, false) => other.values,
            (false, false) => self.values.into_iter().filter(|value| other.values.contains(value)).collect(),
        };
        let about = self.about.or(other.about);
        Shape { types: self.types.and(other.types), properties, closed, items, required, values, about }
    }

    /// What holds of a value that has one of the shapes, it is not known which.
    pub fn either(self, other: Shape) -> Shape {
        let types = self.types.or(other.types);
        let about = self.about.clone().or_else(|| other.about.clone());
        let values = match (self.values.is_empty(), other.values.is_empty()) {
            (false, false) if self.values.len() + other.values.len() <= MAX_VALUES => {
                [self.values.clone(), other.values.clone()].concat()
            }
            _ => Vec::new(),
        };
        let items = match (self.types.meets(Types::ARRAY), other.types.meets(Types::ARRAY)) {
            (true, false) => self.items.clone(),
            (false, true) => other.items.clone(),
            _ => match (self.items.clone(), other.items.clone()) {
                (Some(mine), Some(their)) => Some(Box::new(mine.either(*their))),
                _ => None,
            },
        };
        // A branch that cannot be an object says nothing of one.
        let (properties, closed, required) = match (self.types.meets(Types::OBJECT), other.types.meets(Types::OBJECT)) {
            (true, false) => (self.properties, self.closed, self.required),
            (false, true) => (other.properties, other.closed, other.required),
            _ => {
                let closed = self.closed && other.closed;
                let required = self.required.iter().filter(|key| other.required.contains(key)).cloned().collect();
                (properties_of_either(self, other), closed, required)
            }
        };
        Shape { types, properties, closed, items, required, values, about }
    }
}

fn properties_of_either(mine: Shape, other: Shape) -> BTreeMap<String, Shape> {
    let mut theirs = other.properties;
    let mut properties = BTreeMap::new();
    // Described by one only: the other leaves it out if it is closed, and if it is open it may hold anything there.
    let alone = |shape: Shape, closed: bool| if closed { shape } else { Shape::any() };
    for (key, shape) in mine.properties {
        let merged = match theirs.remove(&key) {
            Some(their) => shape.either(their),
            None => alone(shape, other.closed),
        };
        properties.insert(key, merged);
    }
    properties.extend(theirs.into_iter().map(|(key, shape)| (key, alone(shape, mine.closed))));
    properties
}

struct Reader<'s> {
    root: &'s Value,
    nodes: usize,
    /// References being followed: one of them again is a recursive schema.
    following: Vec<&'s str>,
}

impl<'s> Reader<'s> {
    fn read(&mut self, schema: &'s Value) -> Shape {
        if self.nodes == 0 {
            return Shape::any();
        }
        self.nodes -= 1;
        let members = match schema {
            Value::Object(members) => members,
            Value::Bool(false) => return Shape::of(Types::NONE),
            _ => return Shape::any(),
        };
        let mut shape = self.read_own(members);
        if let Some(Value::String(reference)) = members.get("$ref") {
            shape = shape.both(self.follow(reference));
        }
        if let Some(Value::Array(parts)) = members.get("allOf") {
            for part in parts {
                shape = shape.both(self.read(part));
            }
        }
        for keyword in ["anyOf", "oneOf"] {
            let Some(Value::Array(parts)) = members.get(keyword) else {
                continue;
            };
            let parts: Vec<Shape> = parts.iter().map(|part| self.read(part)).collect();
            if let Some(union) = parts.into_iter().reduce(Shape::either) {
                shape = shape.both(union);
            }
        }
        shape
    }

    /// What the schema says without its references and combinations.
    fn read_own(&mut self, members: &'s Map<String, Value>) -> Shape {
        let mut types = match members.get("type") {
            Some(Value::String(name)) => Types::named(name),
            Some(Value::Array(names)) => {
                names.iter().fold(Types::NONE, |types, name| types.or(name.as_str().map_or(Types::ANY, Types::named)))
            }
            _ => Types::ANY,
        };
        let mut shape = Shape::any();
        let values = match (members.get("const"), members.get("enum")) {
            (Some(value), _) => std::slice::from_ref(value),
            (None, Some(Value::Array(values))) => values.as_slice(),
            _ => &[],
        };
        if !values.is_empty() {
            types = types.and(values.iter().fold(Types::NONE, |types, value| types.or(Types::of(value))));
            if values.len() <= MAX_VALUES {
                shape.values = values.to_vec();
            }
        }
        shape.types = types;
        if let Some(Value::Object(properties)) = members.get("properties") {
            for (key, property) in properties {
                let property = self.read(property);
                shape.properties.insert(key.clone(), property);
            }
        }
        shape.closed = members.get("additionalProperties") == Some(&Value::Bool(false))
            && !members.contains_key("patternProperties");
        if let Some(items @ (Value::Object(_) | Value::Bool(_))) = members.get("items")
            && !members.contains_key("prefixItems")
        {
            shape.items = Some(Box::new(self.read(items)));
        }
        if let Some(Value::Array(required)) = members.get("required") {
            shape.required = required.iter().filter_map(|key| key.as_str().map(str::to_owned)).collect();
        }
        let words = members.get("description").or_else(|| members.get("title"));
        shape.about = words.and_then(Value::as_str).filter(|words| !words.is_empty()).map(Arc::from);
        shape
    }

    fn follow(&mut self, reference: &'s str) -> Shape {
        if self.following.len() >= MAX_REFERENCES || self.following.contains(&reference) {
            return Shape::any();
        }
        let Some(target) = self.target(reference) else {
            return Shape::any();
        };
        self.following.push(reference);
        let shape = self.read(target);
        self.following.pop();
        shape
    }

    /// The schema in this document that a reference of the form `#/…` means.
    fn target(&self, reference: &str) -> Option<&'s Value> {
        let pointer = reference.strip_prefix('#')?;
        let pointer = percent_encoding::percent_decode_str(pointer).decode_utf8().ok()?;
        self.root.pointer(&pointer)
    }
}
