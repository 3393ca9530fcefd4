//! Templates: parsed once by the handlebars crate, compiled to typed expressions of our own, evaluated without copying.
//!
//! A [`Mapping`] is a JSON shape whose text leaves may be templates; a [`Template`] is one such leaf; a [`Condition`]
//! is a template that must be one whole boolean expression. What a path means is the caller's: it hands in a
//! [`Scope`] to evaluate against and [`Names`] to check against.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value;

use crate::schema::Shape;

/// One key of a path: `UserDetails`, `0`, `@odata.type`.
pub type Key = String;

/// What a template can see while it is evaluated.
pub trait Scope {
    /// The value at the longest prefix of `path` that this scope knows, and how many keys that prefix has.
    ///
    /// The evaluator walks the remaining keys itself (exact key, else the only key equal ignoring case, else null).
    /// `None` means that nothing is there, which reads as null.
    fn find<'s>(&'s self, path: &[Key]) -> Option<(Cow<'s, Value>, usize)>;

    /// The run's present: the same on each repeat of a step, so a repeat renders the same.
    fn now(&self) -> Timestamp;

    /// The run's random seed, likewise.
    fn seed(&self) -> u64;
}

/// What a checker knows about paths before anything ran.
pub trait Names {
    /// What `path` will hold.
    fn find(&self, path: &[Key]) -> Named;
}

/// The answer of [`Names::find`].
pub enum Named {
    /// The first `usize` keys hold a value of this shape; the checker walks the rest.
    Known(Shape, usize),
    /// There can never be such a value: what is wrong, and what to do.
    Wrong { what: String, hint: Option<String> },
    /// There may be such a value, but not for certain.
    Doubtful { what: String, hint: Option<String> },
}

/// Why a template's text could not be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Stable code, `E-MAP-…`.
    pub code: &'static str,
    /// Byte offset within the template's text.
    pub offset: usize,
    pub what: String,
    pub hint: Option<String>,
}

/// What a check found in a template that compiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable code, `E-MAP-…` or `W-MAP-…`.
    pub code: &'static str,
    /// True where a run can never succeed: an error; false: a warning.
    pub certain: bool,
    /// Byte offset within the template's text.
    pub offset: usize,
    pub what: String,
    pub hint: Option<String>,
}

/// Why a template could not be evaluated on the data at hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    /// Stable code, `mapping.…`.
    pub code: &'static str,
    /// What went wrong, naming function, argument and type; never the data itself.
    pub what: String,
    /// The template's source text.
    pub template: String,
    /// JSON Pointer of the leaf within its mapping; empty for a lone template.
    pub pointer: String,
}

/// One text leaf.
#[derive(Debug, Clone)]
pub struct Template {}

impl Template {
    /// Compiles `text`; text without `{{` is a literal.
    pub fn parse(text: &str) -> Result<Template, ParseError> {
        let _ = text;
        todo!()
    }
    /// The value, or `None` where `{{optional x}}` found nothing.
    pub fn render(&self, scope: &dyn Scope) -> Result<Option<Value>, Error> {
        let _ = scope;
        todo!()
    }
    /// Checks names and types; the shape is what rendering will give.
    pub fn check(&self, names: &dyn Names) -> (Shape, Vec<Finding>) {
        let _ = names;
        todo!()
    }
    /// True if the text holds no expression.
    pub fn is_literal(&self) -> bool {
        todo!()
    }
}

/// A JSON shape with templates at its leaves.
#[derive(Debug, Clone)]
pub struct Mapping {}

impl Mapping {
    /// Compiles every leaf; all errors at once, each with the JSON Pointer of its leaf.
    pub fn parse(json: &Value) -> Result<Mapping, Vec<(String, ParseError)>> {
        let _ = json;
        todo!()
    }
    /// The rendered value. A leaf `{{optional x}}` that finds nothing leaves its key (or item) out.
    pub fn render(&self, scope: &dyn Scope) -> Result<Value, Error> {
        let _ = scope;
        todo!()
    }
    /// Checks names and types of every leaf, each finding with the JSON Pointer of its leaf.
    pub fn check(&self, names: &dyn Names) -> (Shape, Vec<(String, Finding)>) {
        let _ = names;
        todo!()
    }
}

/// A template that is one whole expression of type boolean; null is false.
#[derive(Debug, Clone)]
pub struct Condition {}

impl Condition {
    /// Compiles `text`; a text that is not one whole `{{expression}}` is an error.
    pub fn parse(text: &str) -> Result<Condition, ParseError> {
        let _ = text;
        todo!()
    }
    /// Anything but a boolean or null is an error.
    pub fn holds(&self, scope: &dyn Scope) -> Result<bool, Error> {
        let _ = scope;
        todo!()
    }
    /// As [`Template::check`]; a type that can never be boolean or null is a certain finding.
    pub fn check(&self, names: &dyn Names) -> Vec<Finding> {
        let _ = names;
        todo!()
    }
}

/// Walks `keys` into `value`: the exact key, else the only key equal to it ignoring case; digits index arrays.
pub fn walk<'v>(value: &'v Value, keys: &[Key]) -> Option<&'v Value> {
    let _ = (value, keys);
    todo!()
}
