//! Templates: parsed once by the handlebars crate, compiled to typed expressions of our own, evaluated without copying.
//!
//! A [`Mapping`] is a JSON shape whose text leaves may be templates; a [`Template`] is one such leaf; a [`Condition`]
//! is a template that must be one whole boolean expression. What a path means is the caller's: it hands in a
//! [`Scope`] to evaluate against and [`Names`] to check against.

mod check;
mod compile;
mod eval;
mod expr;
pub mod functions;
mod guard;
mod json;
mod loose;
mod number;
mod path;
mod query;
mod resolve;
mod rounded;
mod scope;
mod syntax;
mod text;
mod tree;

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::alike::{Alike, Made};
use crate::schema::{Shape, Types};

pub(crate) use functions::xml_to_json;
pub use json::{parse_json, parse_json_text};
pub use path::walk;
pub use scope::JsonScope;
pub use tree::Mapping;

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
    fn find<'n>(&'n self, path: &[Key]) -> Named<'n>;

    /// Why nothing need be at `path`, though all of it is described.
    fn doubt(&self, _path: &[Key]) -> Option<Doubt> {
        None
    }

    /// True where a condition around has asked about `path`, so whoever wrote it knows that it may be null.
    fn is_asked(&self, _path: &[Key]) -> bool {
        false
    }
}

/// What a template names that need not have happened.
pub struct Doubt {
    pub what: String,
    pub hint: Option<String>,
}

/// The answer of [`Names::find`].
pub enum Named<'n> {
    /// The first `usize` keys hold a value of this shape; the checker walks the rest.
    Known(Cow<'n, Shape>, usize),
    /// There can never be such a value: what is wrong, and what to do.
    Wrong { what: String, hint: Option<String> },
    /// There may be such a value, but not for certain.
    Doubtful { what: String, hint: Option<String> },
}

impl Named<'static> {
    /// What is described nowhere else.
    pub fn of(shape: Shape, keys: usize) -> Named<'static> {
        Named::Known(Cow::Owned(shape), keys)
    }
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
///
/// ```
/// use millstream::mapping::{JsonScope, Template};
/// let scope = JsonScope::new(serde_json::json!({"vars": {"n": 9007199254740993_u64}}));
/// let whole = Template::parse("{{vars.n}}").unwrap();
/// assert_eq!(whole.render(&scope).unwrap(), Some(9007199254740993_u64.into()));
/// assert!(Template::parse("{{toUper vars.n}}").unwrap_err().hint.unwrap().contains("toUpper"));
/// ```
#[derive(Debug, Clone)]
pub struct Template {
    compiled: Arc<Made<expr::Body>>,
    /// JSON Pointer of the leaf within its mapping; empty for a lone template.
    pointer: Box<str>,
}

static TEMPLATES: Alike<expr::Body> = Alike::new();

impl Template {
    /// Compiles `text`; text without `{{` is a literal. Templates of the same text are one in memory.
    pub fn parse(text: &str) -> Result<Template, ParseError> {
        Ok(Template { compiled: TEMPLATES.of(text, compile::compile)?, pointer: Box::default() })
    }

    /// The value, or `None` where `{{optional x}}` found nothing.
    pub fn render(&self, scope: &dyn Scope) -> Result<Option<Value>, Error> {
        eval::render(&self.compiled, self.leaf(), scope).map_err(|fault| self.error(fault.code, fault.what))
    }

    /// As [`Template::render`], but shows the value where it is instead of copying it.
    pub fn look<T>(&self, scope: &dyn Scope, look: impl FnOnce(Option<&Value>) -> T) -> Result<T, Error> {
        eval::with(&self.compiled, self.leaf(), scope, |value| look(value.as_deref()))
            .map_err(|fault| self.error(fault.code, fault.what))
    }

    /// Checks names and types; the shape is what rendering will give.
    pub fn check(&self, names: &dyn Names) -> (Shape, Vec<Finding>) {
        check::check(&self.compiled, names, false)
    }

    /// The same where null is an answer like another: to ask for what need not be there is no slip.
    pub fn check_asking(&self, names: &dyn Names) -> (Shape, Vec<Finding>) {
        check::check(&self.compiled, names, true)
    }

    /// True if the text holds no expression.
    pub fn is_literal(&self) -> bool {
        matches!(**self.compiled, expr::Body::Literal(_))
    }

    /// True if the whole text is one `{{expression}}`, whose value keeps its type.
    pub fn is_whole(&self) -> bool {
        matches!(**self.compiled, expr::Body::Whole(_))
    }

    /// True if rendering may give `None`: the whole text is one `{{optional x}}`.
    pub fn is_optional(&self) -> bool {
        matches!(&**self.compiled, expr::Body::Whole(expr::Expr::Call(call)) if call.function.name == "optional")
    }

    /// The text as it was written.
    pub fn source(&self) -> &str {
        self.compiled.text()
    }

    /// The paths that this template reads from its scope, in the order written.
    pub fn paths(&self) -> Vec<&[Key]> {
        let scoped = self.compiled.paths().into_iter().filter(|path| path.root == expr::Root::Scope);
        scoped.map(|path| path.keys.as_slice()).collect()
    }

    /// The same, each with the path as written and its byte offset in the text.
    pub fn places(&self) -> Vec<(&[Key], &str, usize)> {
        let scoped = self.compiled.paths().into_iter().filter(|path| path.root == expr::Root::Scope);
        scoped.map(|path| (path.keys.as_slice(), path.text.as_str(), path.offset)).collect()
    }

    fn leaf(&self) -> eval::Leaf<'_> {
        eval::Leaf { source: self.source(), pointer: &self.pointer }
    }

    fn error(&self, code: &'static str, what: String) -> Error {
        Error { code, what, template: self.source().to_owned(), pointer: self.pointer.to_string() }
    }
}

/// A template that is one whole expression of type boolean; null is false.
///
/// ```
/// use millstream::mapping::{Condition, JsonScope};
/// let scope = JsonScope::new(serde_json::json!({"trigger": {"body": {"actionCode": "INS"}}}));
/// let acquired = Condition::parse(r#"{{equals trigger.body.ActionCode "INS"}}"#).unwrap();
/// assert_eq!(acquired.holds(&scope), Ok(true));
/// assert!(Condition::parse("yes").is_err());
/// ```
#[derive(Debug, Clone)]
pub struct Condition {
    template: Template,
}

impl Condition {
    /// Compiles `text`; a text that is not one whole `{{expression}}` is an error.
    pub fn parse(text: &str) -> Result<Condition, ParseError> {
        let template = Template::parse(text)?;
        if template.is_whole() {
            return Ok(Condition { template });
        }
        let what = "a condition must be one whole `{{expression}}`".to_owned();
        let hint = Some("write `{{equals a b}}`, with nothing before or after it".to_owned());
        Err(ParseError { code: "E-MAP-009", offset: 0, what, hint })
    }

    /// Anything but a boolean or null is an error.
    pub fn holds(&self, scope: &dyn Scope) -> Result<bool, Error> {
        match self.template.render(scope)? {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(yes)) => Ok(yes),
            Some(other) => {
                let what = format!("a condition must be a boolean or null; this one is {}", eval::kind(&other));
                Err(self.template.error("mapping.condition", what))
            }
        }
    }

    /// As [`Template::check`]; a type that can never be boolean or null is a certain finding.
    pub fn check(&self, names: &dyn Names) -> Vec<Finding> {
        let (shape, mut findings) = self.template.check_asking(names);
        let judged = Types::BOOLEAN.or(Types::NULL);
        let hint = Some("compare it: `{{equals … …}}`, or ask `{{not (empty …)}}`".to_owned());
        let other = shape.types.without(judged);
        if !shape.types.meets(judged) {
            let what = format!("a condition must be a boolean or null; this one is {}", functions::words(shape.types));
            findings.push(Finding { code: "E-MAP-014", certain: true, offset: 0, what, hint });
        } else if shape.is_known() && other != Types::NONE {
            let what = format!("a condition must be a boolean or null; this one may be {}", functions::words(other));
            findings.push(Finding { code: "W-MAP-012", certain: false, offset: 0, what, hint });
        }
        findings
    }

    /// The template behind it, for its text and paths.
    pub fn template(&self) -> &Template {
        &self.template
    }
}

/// Something to write in place of null where these types are wanted; `None` where that cannot be written in a template.
pub fn fallback(types: Types) -> Option<&'static str> {
    let kinds = [(Types::STRING, "\"…\""), (Types::NUMBER, "0"), (Types::BOOLEAN, "false")];
    kinds.into_iter().find(|(one, _)| types.meets(*one)).map(|(_, text)| text)
}
