//! The functions of the template language: one row each, one family a file.
//!
//! A row says all that parser, checker, `millstream functions` and the reference page need to know. To add a function,
//! add a row to its family's `ROWS` and the `fn` that it names; its example runs as a test.

mod args;
mod binary;
mod blob;
mod collection;
mod convert;
mod csv;
mod culture;
mod dates;
mod digest;
mod each;
mod elsewhere;
mod lists;
mod logic;
mod math;
mod numbers;
mod object;
mod print;
mod random;
mod reference;
mod search;
mod sets;
mod text;
mod units;
mod uri;
mod xml;
mod xmltext;

use std::borrow::Cow;

use serde_json::Value;

use super::eval::Fault;
use crate::schema::{Shape, Types};

pub(super) use args::{Args, weight};
use args::{boolean, list, object, string};
pub(super) use elsewhere::{never_a_key, path_instead};
pub use reference::reference;

/// One function.
#[derive(Debug)]
pub struct Function {
    pub name: &'static str,
    pub family: &'static str,
    pub params: &'static [Param],
    /// The types that a result can have.
    pub result: Types,
    /// What it does, in a sentence or two.
    pub text: &'static str,
    pub example: Example,
    /// A closer answer than `result`, from the shapes of the arguments.
    pub(super) infer: Option<fn(&[Shape]) -> Shape>,
    pub(super) run: for<'e> fn(Args<'e>) -> Result<Cow<'e, Value>, Fault>,
}

/// One parameter.
#[derive(Debug)]
pub struct Param {
    pub name: &'static str,
    /// What it accepts; null is refused unless it is among these.
    pub types: Types,
    pub arity: Arity,
    /// True if it is a JSONPath, written out in quotes and compiled at load.
    pub query: bool,
    /// True if it is evaluated for each item of the first argument, with `item` and `index` in reach.
    pub each: bool,
}

/// How many arguments a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    One,
    /// One or none; only at the end.
    Optional,
    /// One or more; only at the end.
    Many,
}

/// A template, what it sees (JSON text) and what it gives (JSON text).
#[derive(Debug)]
pub struct Example {
    pub template: &'static str,
    pub scope: &'static str,
    pub result: &'static str,
}

const TEXT: Types = Types::STRING;
const BOOL: Types = Types::BOOLEAN;
/// What a condition accepts: null is false.
const CONDITION: Types = Types::BOOLEAN.or(Types::NULL);
const NUMBER: Types = Types::NUMBER;
const LIST: Types = Types::ARRAY;
const OBJECT: Types = Types::OBJECT;
const ANY: Types = Types::ANY;

const fn one(name: &'static str, types: Types) -> Param {
    Param { name, types, arity: Arity::One, query: false, each: false }
}

const fn maybe(name: &'static str, types: Types) -> Param {
    Param { name, types, arity: Arity::Optional, query: false, each: false }
}

const fn many(name: &'static str, types: Types) -> Param {
    Param { name, types, arity: Arity::Many, query: false, each: false }
}

const fn example(template: &'static str, scope: &'static str, result: &'static str) -> Example {
    Example { template, scope, result }
}

const FAMILIES: &[&[Function]] = &[
    logic::ROWS,
    text::ROWS,
    search::ROWS,
    xmltext::ROWS,
    collection::ROWS,
    lists::ROWS,
    sets::ROWS,
    each::ROWS,
    object::ROWS,
    convert::ROWS,
    binary::ROWS,
    math::ROWS,
    random::ROWS,
    digest::ROWS,
    csv::ROWS,
    uri::ROWS,
    dates::ROWS,
    numbers::ROWS,
    xml::ROWS,
];

/// Every function, family by family.
pub fn all() -> impl Iterator<Item = &'static Function> {
    FAMILIES.iter().copied().flatten()
}

/// The function of this name, ignoring case as Microsoft's language does.
pub fn find(name: &str) -> Option<&'static Function> {
    all().find(|function| function.name.eq_ignore_ascii_case(name))
}

/// The function whose name is most like `name`, if one is like it at all.
pub fn nearest(name: &str) -> Option<&'static str> {
    super::check::nearest(name, all().map(|function| function.name))
}

/// An XML document as JSON, as the function `json` gives it; the error says why there is none.
pub fn xml_to_json(text: &str) -> Result<Value, String> {
    xml::to_json(text)
}

/// An object with one property as XML, as the function `xml` gives it; the error says why there is none.
pub fn json_to_xml(map: &serde_json::Map<String, Value>) -> Result<String, String> {
    xml::build(map)
}

impl Function {
    /// `if(condition: boolean, then: any, else: any) → any`, as the table and the hints show it.
    pub fn signature(&self) -> String {
        let params = self.params.iter().map(|param| {
            let types = match (param.query, param.each) {
                (true, _) => "JSONPath".to_owned(),
                (_, true) => format!("expression of {}", words(param.types)),
                _ => words(param.types),
            };
            match param.arity {
                Arity::One => format!("{}: {types}", param.name),
                Arity::Optional => format!("{}?: {types}", param.name),
                Arity::Many => format!("{}…: {types}", param.name),
            }
        });
        format!("{}({}) → {}", self.name, params.collect::<Vec<_>>().join(", "), words(self.result))
    }

    /// Least and most arguments; `None` for no limit.
    pub(super) fn arity(&self) -> (usize, Option<usize>) {
        let optional = self.params.iter().filter(|p| p.arity == Arity::Optional).count();
        let endless = self.params.iter().any(|p| p.arity == Arity::Many);
        (self.params.len() - optional, (!endless).then_some(self.params.len()))
    }

    pub(super) fn arity_text(&self) -> String {
        let plural = |n: usize| {
            if n == 1 { "1 argument".to_owned() } else { format!("{n} arguments") }
        };
        match self.arity() {
            (0, Some(0)) => "no arguments".to_owned(),
            (least, Some(most)) if least == most => plural(least),
            (least, Some(most)) => format!("{least} to {}", plural(most)),
            (least, None) => format!("at least {}", plural(least)),
        }
    }

    /// The parameter that takes argument `i`.
    pub(super) fn param(&self, i: usize) -> Option<&'static Param> {
        self.params.get(i).or_else(|| self.params.last().filter(|param| param.arity == Arity::Many))
    }
}

/// The types in words: `text or null`.
pub fn words(types: Types) -> String {
    if Types::ANY.within(types) {
        return "any".to_owned();
    }
    if Types::ANY.without(Types::NULL).within(types) {
        return "any but null".to_owned();
    }
    let named = [
        (Types::STRING, "text"),
        (Types::NUMBER, "number"),
        (Types::BOOLEAN, "boolean"),
        (Types::ARRAY, "list"),
        (Types::OBJECT, "object"),
        (Types::NULL, "null"),
    ];
    let words: Vec<&str> = named.iter().filter(|(t, _)| types.meets(*t)).map(|(_, word)| *word).collect();
    words.join(" or ")
}

/// The union of what two values can be.
fn either(a: &Shape, b: &Shape) -> Shape {
    if a == b { a.clone() } else { a.clone().either(b.clone()) }
}

fn without_null(shape: &Shape) -> Shape {
    let mut shape = shape.clone();
    shape.types = shape.types.without(Types::NULL);
    shape
}
