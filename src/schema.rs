//! JSON Schema: compiled once, validating request bodies, inputs and settings; and the [`Shape`] that checks read.

use std::collections::BTreeMap;

use serde_json::Value;

/// A compiled schema, draft-04 to 2020-12.
#[derive(Debug, Clone)]
pub struct Schema {}

/// Why a schema does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    /// JSON Pointer into the schema.
    pub pointer: String,
    pub what: String,
}

/// One place where a value breaks a schema. The text never holds the value (it may be personal data).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// JSON Pointer into the value.
    pub pointer: String,
    pub message: String,
}

impl Schema {
    /// Compiles; `$ref` never fetches anything.
    pub fn compile(source: &Value) -> Result<Schema, Error> {
        let _ = source;
        todo!()
    }
    /// Where `value` breaks the schema, 20 places at most; empty if it does not.
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        let _ = value;
        todo!()
    }
    /// What is known of a value that satisfies the schema.
    pub fn shape(&self) -> &Shape {
        todo!()
    }
}

/// A set of JSON types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types(u8);

impl Types {
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
}

impl Shape {
    /// Nothing is known.
    pub fn any() -> Shape {
        Shape::of(Types::ANY)
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
        }
    }
}
