//! JSON Schema: compiled once, validating request bodies, inputs and settings; and the [`Shape`] that checks read.
//!
//! Pure: nothing is ever fetched, so a `$ref` that leaves the document does not compile. Patterns run in linear time.

mod prepare;
mod shape;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use crate::alike::{Alike, Made};

pub use shape::{Lookup, Shape, Types};

/// Violations listed at most.
const MAX_VIOLATIONS: usize = 20;
/// Values with more nodes than this show their first violation only: listing all costs memory for each.
const MAX_NODES_LISTED: usize = 20_000;
/// Longest message and pointer, characters: both may hold keys that the caller chose.
const MAX_TEXT: usize = 300;

/// A compiled schema, draft-04 to 2020-12.
///
/// ```
/// use millstream::schema::Schema;
/// use serde_json::json;
///
/// let schema = Schema::compile(&json!({"properties": {"Email": {"type": "string"}}})).unwrap();
/// assert!(schema.violations(&json!({"Email": "a@b.c"})).is_empty());
/// let violation = &schema.violations(&json!({"Email": 5}))[0];
/// assert_eq!((violation.pointer.as_str(), violation.message.as_str()), ("/Email", "value is not of type \"string\""));
/// ```
#[derive(Debug, Clone)]
pub struct Schema {
    compiled: Arc<Made<Compiled>>,
}

static SCHEMAS: Alike<Compiled> = Alike::new();

#[derive(Debug)]
struct Compiled {
    validator: Validator,
    shape: Shape,
    source: Value,
}

/// Why a schema does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    /// JSON Pointer into the schema.
    pub pointer: String,
    pub what: String,
}

/// One place where a value breaks a schema. The text never holds the value (it may be personal data).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Violation {
    /// JSON Pointer into the value.
    pub pointer: String,
    pub message: String,
}

impl Schema {
    /// Compiles; `$ref` never fetches anything. The draft is the one `$schema` names, else 2020-12.
    ///
    /// Schemas of the same text are one in memory, as long as one of them is held.
    pub fn compile(source: &Value) -> Result<Schema, Error> {
        let compiled = SCHEMAS.of(&source.to_string(), |_| compile(source))?;
        Ok(Schema { compiled })
    }

    /// As [`Schema::compile`] of what `read` makes of this text, which is not asked where the text is known.
    pub fn of_text<E: From<Error>>(text: &str, read: impl FnOnce(&str) -> Result<Value, E>) -> Result<Schema, E> {
        let compiled = SCHEMAS.of(text, |text| compile(&read(text)?).map_err(E::from))?;
        Ok(Schema { compiled })
    }

    /// Where `value` breaks the schema, 20 places at most, in order of pointer; empty if it does not.
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        let find = || {
            if self.compiled.validator.is_valid(value) {
                return Vec::new();
            }
            if !within_nodes(value, &mut MAX_NODES_LISTED.clone()) {
                return self.compiled.validator.validate(value).err().iter().map(violation).collect();
            }
            let mut found: Vec<Violation> = self.compiled.validator.iter_errors(value).map(|e| violation(&e)).collect();
            found.sort_unstable();
            found.dedup();
            found.truncate(MAX_VIOLATIONS);
            found
        };
        catch_unwind(AssertUnwindSafe(find)).unwrap_or_else(|_| {
            vec![Violation {
                pointer: String::new(),
                message: "the schema could not be applied to this value".to_owned(),
            }]
        })
    }

    /// The schema as it was written.
    pub fn source(&self) -> &Value {
        &self.compiled.source
    }

    /// What is known of a value that satisfies the schema.
    pub fn shape(&self) -> &Shape {
        &self.compiled.shape
    }
}

fn compile(source: &Value) -> Result<Compiled, Error> {
    let prepared = prepare::prepare(source)?;
    let build = || {
        jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex())
            .build(&prepared)
            .map_err(|error| compile_error(&error))
    };
    // The crate should never panic; a schema that makes it do so is a bad schema, not the end of the process.
    let validator = catch_unwind(AssertUnwindSafe(build)).unwrap_or_else(|_| {
        Err(Error {
            pointer: String::new(),
            what: "the schema could not be compiled: the validator gave up on it".to_owned(),
        })
    })?;
    Ok(Compiled { validator, shape: Shape::of_schema(&prepared), source: source.clone() })
}

fn violation(error: &ValidationError<'_>) -> Violation {
    let message = match error.kind() {
        // Its own text would show the inner error unmasked.
        ValidationErrorKind::PropertyNames { error } => format!("a property name is refused: {}", error.masked()),
        _ => error.masked().to_string(),
    };
    Violation { pointer: shorten(error.instance_path().as_str()), message: shorten(&message) }
}

fn compile_error(error: &ValidationError<'_>) -> Error {
    // The instance of a compile error is the schema itself, which is the author's own text and may be shown.
    let mut what = shorten(&error.to_string());
    if matches!(error.kind(), ValidationErrorKind::Format { format } if format == "regex") {
        what.push_str(" (patterns run in linear time, so look-around and back-references do not work)");
    }
    Error { pointer: error.instance_path().as_str().to_owned(), what }
}

/// Counts down `left` for each node of `value`; false once it would pass zero.
fn within_nodes(value: &Value, left: &mut usize) -> bool {
    if *left == 0 {
        return false;
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter().all(|item| within_nodes(item, left)),
        Value::Object(members) => members.values().all(|member| within_nodes(member, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
