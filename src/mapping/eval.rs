//! Evaluation: lazy, one pass, borrowing from the scope wherever a value is already there.

use std::borrow::Cow;
use std::cell::Cell;

use serde_json::Value;

use super::Scope;
use super::expr::{Block, Body, Call, Expr, Kind, Part, Path, Root};
use super::functions::{self, Args};
use super::path::walk;
use super::text;

/// Most bytes that one leaf, or one function's result, may have.
pub(super) const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Most rounds of all `#each`, `map`, `filter` and `sum` of one leaf together.
const MAX_ROUNDS: usize = 100_000;
/// Most characters and items that the functions of one leaf may go through together: about a second of work.
const MAX_WORK: usize = 64 * 1024 * 1024;

static NULL: Value = Value::Null;

/// Why an evaluation stopped; [`super::Error`] without its place.
#[derive(Debug)]
pub(super) struct Fault {
    pub code: &'static str,
    pub what: String,
}

impl Fault {
    pub fn new(code: &'static str, what: impl Into<String>) -> Fault {
        Fault { code, what: what.into() }
    }

    pub fn too_large() -> Fault {
        Fault::new("mapping.too_large", format!("a template renders to at most {MAX_BYTES} bytes; this one gives more"))
    }
}

/// What an expression sees: the scope, the open blocks, and how much work is left.
#[derive(Clone, Copy)]
pub(super) struct Context<'e> {
    pub scope: &'e dyn Scope,
    frame: Option<&'e Frame<'e>>,
    meter: &'e Meter<'e>,
}

/// Where the leaf stands, for what is random in it; used only to tell leaves from each other.
#[derive(Clone, Copy)]
pub(super) struct Leaf<'e> {
    pub source: &'e str,
    pub pointer: &'e str,
}

/// What the rendering of one leaf has used up.
pub(super) struct Meter<'e> {
    pub leaf: Leaf<'e>,
    /// Random values drawn.
    pub draws: Cell<u64>,
    rounds: Cell<usize>,
    work: Cell<usize>,
}

impl<'e> Context<'e> {
    pub fn meter(self) -> &'e Meter<'e> {
        self.meter
    }

    /// This context with an item of a list as `item` (and `this`), `index` its number.
    pub fn within<T>(self, item: &Value, index: usize, last: bool, work: impl for<'f> FnOnce(Context<'f>) -> T) -> T {
        let frame = Frame { this: item, key: Value::from(index), index, last, outer: self.frame };
        work(Context { frame: Some(&frame), ..self })
    }
}

impl Meter<'_> {
    /// Counts `count` rounds over what `what` describes.
    pub fn rounds(&self, count: usize, what: impl FnOnce() -> String) -> Result<(), Fault> {
        self.rounds.set(self.rounds.get().saturating_add(count));
        if self.rounds.get() <= MAX_ROUNDS {
            return Ok(());
        }
        Err(Fault::new("mapping.too_large", format!("{} is more than the {MAX_ROUNDS} rounds of one template", what())))
    }

    /// Counts work that a function is about to do.
    pub fn work(&self, amount: usize) -> Result<(), Fault> {
        self.work.set(self.work.get().saturating_add(amount));
        if self.work.get() <= MAX_WORK {
            return Ok(());
        }
        let what = "one template has too much to do on data of this size; do less in one step";
        Err(Fault::new("mapping.too_large", what))
    }
}

struct Frame<'e> {
    this: &'e Value,
    key: Value,
    index: usize,
    last: bool,
    outer: Option<&'e Frame<'e>>,
}

/// The value of a leaf; `None` where `{{optional x}}` found nothing.
pub(super) fn render(body: &Body, leaf: Leaf<'_>, scope: &dyn Scope) -> Result<Option<Value>, Fault> {
    with(body, leaf, scope, |value| value.map(Cow::into_owned))
}

/// As [`render`], without a copy of a value that is already there.
pub(super) fn with<T>(
    body: &Body,
    leaf: Leaf<'_>,
    scope: &dyn Scope,
    take: impl FnOnce(Option<Cow<'_, Value>>) -> T,
) -> Result<T, Fault> {
    let meter = Meter { leaf, draws: Cell::new(0), rounds: Cell::new(0), work: Cell::new(0) };
    let context = Context { scope, frame: None, meter: &meter };
    match body {
        Body::Literal(text) => Ok(take(Some(Cow::Owned(Value::String(text.clone()))))),
        Body::Whole(expr) => {
            let value = eval(expr, context)?;
            let absent = value.is_null() && matches!(expr, Expr::Call(call) if call.function.name == "optional");
            Ok(take((!absent).then_some(value)))
        }
        Body::Text(parts) => {
            let mut out = String::new();
            write(parts, context, &mut out)?;
            Ok(take(Some(Cow::Owned(Value::String(out)))))
        }
    }
}

fn write(parts: &[Part], context: Context<'_>, out: &mut String) -> Result<(), Fault> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Expr(expr) => text::append(out, eval(expr, context)?.as_ref()),
            Part::Block(block) => write_block(block, context, out)?,
        }
        if out.len() > MAX_BYTES {
            return Err(Fault::too_large());
        }
    }
    Ok(())
}

fn write_block(block: &Block, context: Context<'_>, out: &mut String) -> Result<(), Fault> {
    let subject = eval(&block.subject, context)?;
    match block.kind {
        Kind::If if truthy(&subject) => write(&block.body, context, out),
        Kind::Unless if !truthy(&subject) => write(&block.body, context, out),
        Kind::With if truthy(&subject) => {
            let frame = Frame { this: &subject, key: Value::Null, index: 0, last: true, outer: context.frame };
            write(&block.body, Context { frame: Some(&frame), ..context }, out)
        }
        Kind::Each => match &*subject {
            Value::Array(items) if !items.is_empty() => {
                let items = items.iter().enumerate().map(|(i, item)| (Value::from(i), item));
                write_rounds(block, items, context, out)
            }
            Value::Object(map) if !map.is_empty() => {
                write_rounds(block, map.iter().map(|(key, value)| (Value::String(key.clone()), value)), context, out)
            }
            Value::Null | Value::Array(_) | Value::Object(_) => write(&block.otherwise, context, out),
            other => {
                let what =
                    format!("#each goes over a list or an object; {} is {}", block.subject.describe(), kind(other));
                Err(Fault::new("mapping.type", what))
            }
        },
        Kind::If | Kind::Unless | Kind::With => write(&block.otherwise, context, out),
    }
}

fn write_rounds<'v>(
    block: &Block,
    rounds: impl ExactSizeIterator<Item = (Value, &'v Value)>,
    context: Context<'_>,
    out: &mut String,
) -> Result<(), Fault> {
    let count = rounds.len();
    context.meter.rounds(count, || format!("#each over {}", block.subject.describe()))?;
    for (index, (key, this)) in rounds.enumerate() {
        let frame = Frame { this, key, index, last: index + 1 == count, outer: context.frame };
        write(&block.body, Context { frame: Some(&frame), ..context }, out)?;
    }
    Ok(())
}

/// What `#if` takes for yes: anything but null, false, zero and what is empty.
fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => !super::number::Decimal::of(number).is_zero(),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// The value of one expression.
pub(super) fn eval<'e>(expr: &'e Expr, context: Context<'e>) -> Result<Cow<'e, Value>, Fault> {
    match expr {
        Expr::Literal(value) => Ok(Cow::Borrowed(value)),
        Expr::Path(path) => Ok(find(path, context)),
        Expr::Call(call) => apply(call, context),
        Expr::Query(query) => Ok(Cow::Owned(Value::String(query.text().to_owned()))),
    }
}

fn apply<'e>(call: &'e Call, context: Context<'e>) -> Result<Cow<'e, Value>, Fault> {
    let value = (call.function.run)(Args { call, context })?;
    // What is deep was made by going through all of it; arguments count by their breadth alone.
    if let Cow::Owned(made @ (Value::String(_) | Value::Array(_) | Value::Object(_))) = &value {
        context.meter.work(functions::weight(made))?;
    }
    Ok(value)
}

fn find<'e>(path: &'e Path, context: Context<'e>) -> Cow<'e, Value> {
    let frame = |up: usize| {
        let outward = std::iter::successors(context.frame, |frame| frame.outer);
        outward.into_iter().nth(up)
    };
    let own = |value: Option<Value>| Cow::Owned(value.unwrap_or(Value::Null));
    match path.root {
        Root::Scope => match context.scope.find(&path.keys) {
            Some((Cow::Borrowed(value), known)) => borrow(walk(value, path.keys.get(known..).unwrap_or_default())),
            Some((Cow::Owned(value), known)) if known >= path.keys.len() => Cow::Owned(value),
            Some((Cow::Owned(value), known)) => own(walk(&value, &path.keys[known..]).cloned()),
            None => Cow::Borrowed(&NULL),
        },
        Root::This(up) => borrow(frame(up).and_then(|frame| walk(frame.this, &path.keys))),
        Root::Key(up) => borrow(frame(up).map(|frame| &frame.key)),
        Root::Index(up) => own(frame(up).map(|frame| frame.index.into())),
        Root::First(up) => own(frame(up).map(|frame| (frame.index == 0).into())),
        Root::Last(up) => own(frame(up).map(|frame| frame.last.into())),
    }
}

fn borrow(value: Option<&Value>) -> Cow<'_, Value> {
    Cow::Borrowed(value.unwrap_or(&NULL))
}

/// The word for a value's type.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
