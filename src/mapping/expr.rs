//! What a template is compiled to: typed expressions in which every name is resolved.

use serde_json::Value;

use super::Key;
use super::functions::Function;
use super::query::Query;

/// A compiled text leaf.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// No expression: the text itself.
    Literal(String),
    /// One whole `{{expression}}`: keeps its JSON type.
    Whole(Expr),
    /// Anything else is text.
    Text(Vec<Part>),
}

/// A piece of text, or what renders to one.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Text(String),
    Expr(Expr),
    Block(Box<Block>),
}

/// `{{#if}}` and its kin. Only `each` and `with` open a frame that `this` and `../` see.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub kind: Kind,
    pub subject: Expr,
    pub body: Vec<Part>,
    pub otherwise: Vec<Part>,
    pub offset: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    If,
    Unless,
    Each,
    With,
}

impl Kind {
    pub fn named(name: &str) -> Option<Kind> {
        match name {
            "if" => Some(Kind::If),
            "unless" => Some(Kind::Unless),
            "each" => Some(Kind::Each),
            "with" => Some(Kind::With),
            _ => None,
        }
    }

    pub fn opens_frame(self) -> bool {
        match self {
            Kind::If | Kind::Unless => false,
            Kind::Each | Kind::With => true,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum Expr {
    Literal(Value),
    Path(Path),
    Call(Box<Call>),
    /// The JSONPath argument of a function, compiled at load.
    Query(Box<Query>),
}

#[derive(Debug, Clone)]
pub(super) struct Call {
    pub function: &'static Function,
    pub args: Vec<Expr>,
    pub offset: usize,
}

/// A path whose first name is resolved.
#[derive(Debug, Clone)]
pub(super) struct Path {
    pub root: Root,
    pub keys: Vec<Key>,
    /// As written, for messages.
    pub text: String,
    pub offset: usize,
}

/// Where a path starts. The number counts frames outward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Scope,
    This(usize),
    Key(usize),
    Index(usize),
    First(usize),
    Last(usize),
}

impl Body {
    /// Every path in the template, in the order written.
    pub fn paths(&self) -> Vec<&Path> {
        let mut found = Vec::new();
        match self {
            Body::Literal(_) => {}
            Body::Whole(expr) => expr.paths(&mut found),
            Body::Text(parts) => paths_of(parts, &mut found),
        }
        found
    }
}

fn paths_of<'a>(parts: &'a [Part], found: &mut Vec<&'a Path>) {
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Expr(expr) => expr.paths(found),
            Part::Block(block) => {
                block.subject.paths(found);
                paths_of(&block.body, found);
                paths_of(&block.otherwise, found);
            }
        }
    }
}

impl Expr {
    /// Adds every path in it, in the order written.
    pub fn paths<'a>(&'a self, found: &mut Vec<&'a Path>) {
        match self {
            Expr::Literal(_) | Expr::Query(_) => {}
            Expr::Path(path) => found.push(path),
            Expr::Call(call) => call.args.iter().for_each(|arg| arg.paths(found)),
        }
    }

    /// How a message names this expression; never the data behind it.
    pub fn describe(&self) -> String {
        match self {
            Expr::Literal(_) => "the literal".to_owned(),
            Expr::Path(path) => format!("`{}`", path.text),
            Expr::Call(call) => format!("the result of `{}`", call.function.name),
            Expr::Query(query) => format!("`{}`", query.text()),
        }
    }
}
