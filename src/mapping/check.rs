//! Checks a compiled template before anything runs: do its paths exist, can its types fit.

use serde_json::Value;

use super::expr::{Block, Body, Call, Expr, Kind, Part, Path, Root};
use super::functions::words;
use super::path::{ROOTS, index, only_ignoring_case};
use super::{Finding, Key, Named, Names};
use crate::schema::{Shape, Types};

/// The shape that rendering will give, and what is wrong; `asking` where null is an answer like another.
pub(super) fn check(body: &Body, names: &dyn Names, asking: bool) -> (Shape, Vec<Finding>) {
    let (frames, asked, findings) = (Vec::new(), Vec::new(), Vec::new());
    let mut checker = Checker { names, frames, asking, asked, may_lack: false, takes_null: false, findings };
    let shape = match body {
        Body::Literal(text) => shape_of(&Value::String(text.clone())),
        Body::Whole(expr) => checker.expr(expr),
        Body::Text(parts) => {
            checker.parts(parts);
            Shape::of(Types::STRING)
        }
    };
    (shape, checker.findings)
}

/// All that is known of a value that is there.
pub(super) fn shape_of(value: &Value) -> Shape {
    let mut shape = Shape::of(Types::of(value));
    match value {
        Value::Object(map) => {
            shape.closed = true;
            shape.required = map.keys().cloned().collect();
            shape.properties = map.iter().map(|(key, value)| (key.clone(), shape_of(value))).collect();
        }
        Value::Array(items) => {
            shape.items = items.iter().map(shape_of).reduce(Shape::either).map(Box::new);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => shape.values = vec![value.clone()],
    }
    shape
}

/// The name most like `name`, if one is like it at all.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let rated = candidates.map(|candidate| (strsim::jaro_winkler(&name, &candidate.to_lowercase()), candidate));
    let best = rated.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness > 0.8).map(|(_, candidate)| candidate)
}

const CONVERT: &str = "convert it, as with `(string …)` or `(int …)`, or make the schema say what is sent";

struct Checker<'n> {
    names: &'n dyn Names,
    /// Null is an answer like another: this is a condition.
    asking: bool,
    /// Paths that a condition around asks about.
    asked: Vec<&'n [Key]>,
    /// What `this` and `@key` are in each open block.
    frames: Vec<(Shape, Shape)>,
    /// Within a function whose name says that a value may be missing.
    may_lack: bool,
    /// Within a function, or as the subject of a block, that has an answer to null.
    takes_null: bool,
    findings: Vec<Finding>,
}

/// What a walk into a shape found.
enum Walked {
    Found(Shape),
    Never {
        what: String,
        hint: Option<String>,
    },
    /// `near`: a described key is like it, so a slip is likely.
    Doubtful {
        what: String,
        hint: Option<String>,
        near: bool,
    },
}

impl<'n> Checker<'n> {
    fn parts(&mut self, parts: &'n [Part]) {
        for part in parts {
            match part {
                Part::Text(_) => {}
                Part::Expr(expr) => {
                    self.expr(expr);
                }
                Part::Block(block) => self.block(block),
            }
        }
    }

    fn block(&mut self, block: &'n Block) {
        self.takes_null = true;
        let subject = self.expr(&block.subject);
        self.takes_null = false;
        let numeric = Shape::of(Types::NUMBER);
        let asked = self.asked.len();
        self.ask(&block.subject);
        match block.kind {
            Kind::If | Kind::Unless => self.parts(&block.body),
            Kind::With => {
                let mut this = subject;
                this.types = this.types.without(Types::NULL);
                self.frames.push((this, Shape::any()));
                self.parts(&block.body);
                self.frames.pop();
            }
            Kind::Each => {
                if !subject.types.meets(Types::ARRAY.or(Types::OBJECT).or(Types::NULL)) {
                    let what = format!(
                        "#each goes over a list or an object, but {} is {}",
                        block.subject.describe(),
                        words(subject.types)
                    );
                    self.find("E-MAP-012", true, block.offset, what, None);
                }
                let listed = !subject.types.meets(Types::OBJECT);
                let this = if listed { subject.items.map_or_else(Shape::any, |items| *items) } else { Shape::any() };
                self.frames.push((this, if listed { numeric } else { Shape::any() }));
                self.parts(&block.body);
                self.frames.pop();
            }
        }
        self.parts(&block.otherwise);
        self.asked.truncate(asked);
    }

    /// From here on, what `expr` reads is asked about.
    fn ask(&mut self, expr: &'n Expr) {
        let mut paths = Vec::new();
        expr.paths(&mut paths);
        self.asked.extend(paths.into_iter().filter(|path| path.root == Root::Scope).map(|path| path.keys.as_slice()));
    }

    fn expr(&mut self, expr: &'n Expr) -> Shape {
        match expr {
            Expr::Literal(value) => shape_of(value),
            Expr::Query(query) => shape_of(&Value::String(query.text().to_owned())),
            Expr::Path(path) => self.path(path),
            Expr::Call(call) => self.call(call),
        }
    }

    fn call(&mut self, call: &'n Call) -> Shape {
        let name = call.function.name;
        let (outer, asked) = ((self.may_lack, self.takes_null), self.asked.len());
        self.may_lack = matches!(name, "optional" | "default" | "coalesce");
        let mut shapes: Vec<Shape> = Vec::with_capacity(call.args.len());
        for (i, arg) in call.args.iter().enumerate() {
            // What is evaluated for each item sees one, as the body of `#each` does.
            let each = call.function.param(i).is_some_and(|param| param.each);
            if each {
                let item = shapes.first().and_then(|list| list.items.as_deref().cloned()).unwrap_or_else(Shape::any);
                self.frames.push((item, Shape::of(Types::NUMBER)));
            }
            let condition = matches!(name, "and" | "or" | "not") || (name == "if" && i == 0);
            self.takes_null = self.may_lack || condition || matches!(name, "required" | "empty" | "equals");
            shapes.push(self.expr(arg));
            if each {
                self.frames.pop();
            }
            // What follows is evaluated, or chosen, by what this says.
            if condition {
                self.ask(arg);
            }
        }
        self.asked.truncate(asked);
        (self.may_lack, self.takes_null) = outer;
        for (i, (arg, shape)) in call.args.iter().zip(&shapes).enumerate() {
            let Some(param) = call.function.param(i) else { continue };
            let offset = offset(arg).unwrap_or(call.offset);
            let bare = shape.types.without(Types::NULL);
            // What fits only where it is null is as wrong as what never fits.
            if !(if bare == Types::NONE { shape.types } else { bare }).meets(param.types) {
                let (wanted, given) = (words(param.types), words(shape.types));
                let what = format!("`{name}` needs {wanted} for `{}`, but {} is {given}", param.name, arg.describe());
                let hint = Some(format!("it is written {}", call.function.signature()));
                self.find("E-MAP-012", true, offset, what, hint);
                continue;
            }
            // Of a value of which nothing is known, nothing is worth saying.
            if !shape.is_known() {
                continue;
            }
            let other = shape.types.without(param.types.or(Types::NULL));
            if other != Types::NONE {
                let (wanted, other) = (words(param.types), words(other));
                let what =
                    format!("`{name}` needs {wanted} for `{}`, but {} may be {other}", param.name, arg.describe());
                self.find("W-MAP-012", false, offset, what, Some(CONVERT.to_owned()));
            }
            if shape.types.meets(Types::NULL) && !param.types.meets(Types::NULL) {
                let what = format!("{} may be missing or null, and `{name}` refuses null", arg.describe());
                let fallback = super::fallback(param.types).unwrap_or("…");
                let path = if let Expr::Path(path) = arg { path.text.as_str() } else { "…" };
                let hint = Some(format!("give it another value there: `(default {path} {fallback})`"));
                self.find("W-MAP-013", false, offset, what, hint);
            }
        }
        if let ("less" | "lessOrEquals" | "greater" | "greaterOrEquals", [a, b]) = (name, shapes.as_slice()) {
            self.ordered(call, a, b);
        }
        if let ("equals", [a, b]) = (name, shapes.as_slice()) {
            self.equals(call, a, b);
        }
        match call.function.infer {
            Some(infer) => infer(&shapes),
            None => Shape::of(call.function.result),
        }
    }

    /// Two numbers can be put in order, or two texts.
    fn ordered(&mut self, call: &Call, a: &Shape, b: &Shape) {
        let ordered = Types::NUMBER.or(Types::STRING);
        let known = a.is_known() && b.is_known();
        let (a, b) = (a.types.and(ordered), b.types.and(ordered));
        if (a == b && a != ordered) || a == Types::NONE || b == Types::NONE {
            return;
        }
        let (left, right) = (call.args[0].describe(), call.args[1].describe());
        let hint = Some("compare two numbers or two texts: convert one with `int` or `string`".to_owned());
        if !a.meets(b) {
            let what = format!("`{}`: {left} is {}, but {right} is {}", call.function.name, words(a), words(b));
            self.find("E-MAP-012", true, call.offset, what, hint);
        } else if known {
            let what = format!("`{}`: {left} and {right} may be a text and a number", call.function.name);
            self.find("W-MAP-012", false, call.offset, what, hint);
        }
    }

    /// A comparison that can never be true is a slip: a misspelt code, a number in quotes.
    fn equals(&mut self, call: &Call, a: &Shape, b: &Shape) {
        let flag = Types::BOOLEAN.or(Types::NUMBER);
        let types_meet = a.types.meets(b.types) || (a.types.meets(flag) && b.types.meets(flag));
        let code = |value: &Value| value.is_string() || value.is_null();
        let texts = |shape: &Shape| shape.values.iter().all(code) && !shape.values.is_empty();
        let values_meet = !texts(a) || !texts(b) || a.values.iter().any(|value| b.values.contains(value));
        if types_meet && values_meet {
            return;
        }
        let (left, right) = (call.args[0].describe(), call.args[1].describe());
        let what = format!("{left} never equals {right}");
        let few = |shape: &Shape| shape.values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
        let hint = if types_meet {
            format!("one side can be {}, the other {}", few(a), few(b))
        } else {
            format!("one side is {}, the other {}", words(a.types), words(b.types))
        };
        self.find("W-MAP-015", false, call.offset, what, Some(hint));
    }

    fn path(&mut self, path: &'n Path) -> Shape {
        let nowhere = |_: usize| false;
        let frame = |up: usize| self.frames.iter().rev().nth(up);
        let walked = match path.root {
            Root::Key(up) => return frame(up).map_or_else(Shape::any, |(_, key)| key.clone()),
            Root::Index(_) => return Shape::of(Types::NUMBER),
            Root::First(_) | Root::Last(_) => return Shape::of(Types::BOOLEAN),
            Root::This(up) => match frame(up) {
                Some((this, _)) => walk(this, &path.keys, &path.text, &nowhere),
                None => Walked::Found(Shape::any()),
            },
            Root::Scope => match self.names.find(&path.keys) {
                Named::Known(shape, known) => {
                    let known = known.min(path.keys.len());
                    let asked = |more: usize| self.is_asked(&path.keys[..known + more]);
                    walk(&shape, &path.keys[known..], &path.text, &asked)
                }
                Named::Wrong { what, hint } => Walked::Never { what, hint: hint.or_else(|| self.this_hint(path)) },
                Named::Doubtful { what, hint } => Walked::Doubtful { what, hint, near: true },
            },
        };
        match walked {
            Walked::Found(shape) if path.root == Root::Scope => return self.doubted(shape, path),
            Walked::Found(shape) => return shape,
            Walked::Never { what, hint } => self.find("E-MAP-011", true, path.offset, what, hint),
            Walked::Doubtful { near: false, .. } if self.may_lack => {}
            Walked::Doubtful { what, hint, .. } => self.find("W-MAP-011", false, path.offset, what, hint),
        }
        Shape::any()
    }

    /// The shape of what need not be there: null too where that is taken, and else a warning.
    fn doubted(&mut self, mut shape: Shape, path: &Path) -> Shape {
        let same = |asked: &&[Key]| asked.len() > 1 && path.keys.starts_with(&asked[..2]);
        let Some(doubt) = self.names.doubt(&path.keys).filter(|_| !self.asked.iter().any(same)) else {
            return shape;
        };
        if self.asking || self.takes_null {
            shape.types = shape.types.or(Types::NULL);
        } else {
            self.find("W-MAP-016", false, path.offset, doubt.what, doubt.hint);
            // It is said once.
            if shape.types.within(Types::NULL) {
                return Shape::any();
            }
        }
        shape
    }

    /// True if a condition around asks about this path, or about a part of what it holds.
    fn is_asked(&self, path: &[Key]) -> bool {
        let within = |asked: &[Key]| {
            asked.len() >= path.len() && asked.iter().zip(path).all(|(asked, key)| asked.eq_ignore_ascii_case(key))
        };
        self.asked.iter().any(|asked| within(asked)) || self.names.is_asked(path)
    }

    /// Inside a block, one of the flow's own names may have been meant as a key of the item.
    fn this_hint(&self, path: &Path) -> Option<String> {
        let reserved = !self.frames.is_empty() && path.keys.first().is_some_and(|key| ROOTS.contains(&key.as_str()));
        reserved.then(|| format!("a key of the block's own value is written `this.{}`", path.text))
    }

    fn find(&mut self, code: &'static str, certain: bool, offset: usize, what: String, hint: Option<String>) {
        self.findings.push(Finding { code, certain, offset, what, hint });
    }
}

fn offset(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Path(path) => Some(path.offset),
        Expr::Call(call) => Some(call.offset),
        Expr::Literal(_) | Expr::Query(_) => None,
    }
}

/// Walks a shape as [`super::walk`] walks a value; what is `asked` about after so many keys is taken to be there.
fn walk(shape: &Shape, keys: &[Key], text: &str, asked: &dyn Fn(usize) -> bool) -> Walked {
    let any = Shape::any();
    // No longer than `any` lives, which stands for what is not described.
    let mut shape: &Shape = shape;
    let mut nullable = false;
    for (i, key) in keys.iter().enumerate() {
        nullable = (nullable || shape.types.meets(Types::NULL)) && !asked(i);
        let holder = || holder(keys, i, text);
        if !shape.types.meets(Types::OBJECT.or(Types::ARRAY)) {
            if shape.types.within(Types::NULL) {
                return Walked::Found(Shape::of(Types::NULL));
            }
            let what = format!("`{text}`: {} is {} and has no `{key}`", holder(), words(shape.types));
            return Walked::Never { what, hint: None };
        }
        if !shape.types.meets(Types::OBJECT) {
            if index(key).is_none() {
                let what = format!("`{text}`: {} is a list and has no `{key}`", holder());
                return Walked::Never { what, hint: Some(format!("one item is read by its number: `0.{key}`")) };
            }
            nullable = true;
            shape = shape.items.as_deref().unwrap_or(&any);
            continue;
        }
        if shape.types.meets(Types::ARRAY) && index(key).is_some() {
            return Walked::Found(Shape::any());
        }
        let exact = shape.properties.get_key_value(key);
        let Some((name, found)) = exact.or_else(|| only_ignoring_case(shape.properties.iter(), key)) else {
            let near = nearest(key, shape.properties.keys().map(String::as_str));
            let further = || {
                let before = text.strip_suffix(keys[i..].join(".").as_str()).unwrap_or_default();
                Some(format!("{before}{}", further(shape, key)?))
            };
            let meant = near.map(str::to_owned).or_else(further).map(|meant| format!("did you mean `{meant}`?"));
            let hint = meant.or_else(|| known(shape));
            let what = format!("`{text}`: {} has no `{key}`", holder());
            return match (shape.closed, shape.properties.is_empty()) {
                (true, _) => Walked::Never { what, hint },
                (false, false) => {
                    let what = what + " that is described; it may be null";
                    Walked::Doubtful { what, hint, near: near.is_some() }
                }
                (false, true) => Walked::Found(Shape::any()),
            };
        };
        nullable |= !shape.required.contains(name);
        shape = found;
    }
    let mut shape = shape.clone();
    if asked(keys.len()) && !shape.types.within(Types::NULL) {
        shape.types = shape.types.without(Types::NULL);
    } else if nullable {
        shape.types = shape.types.or(Types::NULL);
        if !shape.values.is_empty() && !shape.values.contains(&Value::Null) {
            shape.values.push(Value::Null);
        }
    }
    Walked::Found(shape)
}

/// What should have the key `i`: the key before it, or what stands before all of them.
fn holder(keys: &[Key], i: usize, text: &str) -> String {
    if let Some(before) = i.checked_sub(1) {
        return format!("`{}`", keys[before]);
    }
    let before = text.strip_suffix(keys.join(".").as_str()).and_then(|before| before.strip_suffix('.'));
    before.filter(|before| !before.is_empty()).map_or_else(|| "the value".to_owned(), |before| format!("`{before}`"))
}

/// The way to a key that stands one level further in.
fn further(shape: &Shape, key: &str) -> Option<String> {
    let mut found = shape.properties.iter().filter_map(|(outer, inner)| {
        let (name, _) = only_ignoring_case(inner.properties.iter(), key)?;
        Some(format!("{outer}.{name}"))
    });
    found.next().filter(|_| found.next().is_none())
}

fn known(shape: &Shape) -> Option<String> {
    let names: Vec<&str> = shape.properties.keys().take(8).map(String::as_str).collect();
    (!names.is_empty())
        .then(|| format!("it has {}{}", names.join(", "), if shape.properties.len() > 8 { ", …" } else { "" }))
}
