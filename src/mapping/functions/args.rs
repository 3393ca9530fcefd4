//! The arguments of a call, evaluated only when asked for and checked against the function's parameters.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use super::{Param, words};
use crate::mapping::eval::{Context, Fault, MAX_BYTES, eval, kind};
use crate::mapping::expr::{Call, Expr};
use crate::mapping::query::Query;
use crate::mapping::text;
use crate::schema::Types;

/// The arguments of one call. None is evaluated before it is asked for, so a function is as lazy as it is written.
#[derive(Clone, Copy)]
pub struct Args<'e> {
    pub call: &'e Call,
    pub context: Context<'e>,
}

impl<'e> Args<'e> {
    pub fn len(self) -> usize {
        self.call.args.len()
    }

    /// Argument `i`, of a type that its parameter accepts; null if it was left out.
    pub fn value(self, i: usize) -> Result<Cow<'e, Value>, Fault> {
        let Some(expr) = self.call.args.get(i) else {
            return Ok(Cow::Owned(Value::Null));
        };
        let value = eval(expr, self.context)?;
        match self.call.function.param(i) {
            Some(param) if !Types::of(&value).within(param.types) => Err(self.refused(i, param, &value)),
            _ => {
                self.context.meter().work(breadth(&value))?;
                Ok(value)
            }
        }
    }

    /// As [`Args::value`], for a function that goes through all that is inside.
    pub fn deep(self, i: usize) -> Result<Cow<'e, Value>, Fault> {
        let value = self.value(i)?;
        if value.is_array() || value.is_object() {
            self.context.meter().work(weight(&value))?;
        }
        Ok(value)
    }

    /// Argument `i` for one item of a list, which it sees as `item`.
    pub fn of_item<T>(
        self,
        i: usize,
        (item, index, last): (&Value, usize, bool),
        take: impl FnOnce(&Value) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let Some(expr) = self.call.args.get(i) else {
            return take(item);
        };
        self.context.within(item, index, last, |context| {
            let value = eval(expr, context)?;
            match self.call.function.param(i) {
                Some(param) if !Types::of(&value).within(param.types) => Err(self.refused(i, param, &value)),
                _ => take(&value),
            }
        })
    }

    /// Argument `i` as a list to go through, each item a round.
    pub fn rounds(self, i: usize) -> Result<Cow<'e, Value>, Fault> {
        let list = self.value(i)?;
        let count = list.as_array().map_or(0, Vec::len);
        let name = self.call.function.name;
        self.context.meter().rounds(count, || format!("`{name}` over {}", self.source(i)))?;
        Ok(list)
    }

    fn refused(self, i: usize, param: &Param, value: &Value) -> Fault {
        let source = self.source(i);
        let (name, wanted) = (self.call.function.name, words(param.types));
        let what = format!("`{name}` needs {wanted} for `{}`, but {source} is {}", param.name, kind(value));
        if value.is_null() {
            return Fault::new("mapping.null", what + "; `default` or `coalesce` can give another value");
        }
        Fault::new("mapping.type", what)
    }

    pub fn text(self, i: usize) -> Result<Cow<'e, str>, Fault> {
        Ok(match self.value(i)? {
            Cow::Borrowed(value) => text::text(value),
            Cow::Owned(Value::String(text)) => Cow::Owned(text),
            Cow::Owned(value) => Cow::Owned(text::text(&value).into_owned()),
        })
    }

    /// A condition: null is false.
    pub fn holds(self, i: usize) -> Result<bool, Fault> {
        Ok(self.value(i)?.as_bool().unwrap_or(false))
    }

    pub fn number(self, i: usize) -> Result<Number, Fault> {
        match self.value(i)?.into_owned() {
            Value::Number(number) => Ok(number),
            _ => Err(self.wrong(i, "is no number")),
        }
    }

    /// A whole number that can count something.
    pub fn count(self, i: usize) -> Result<i64, Fault> {
        let whole = crate::mapping::number::plain(&self.number(i)?).parse();
        whole.map_err(|_| self.wrong(i, "is not a whole number of reasonable size"))
    }

    /// A whole number from 0.
    pub fn size(self, i: usize) -> Result<usize, Fault> {
        usize::try_from(self.count(i)?).map_err(|_| self.wrong(i, "is negative"))
    }

    /// As [`Args::text`]; `None` where it was left out.
    pub fn given_text(self, i: usize) -> Result<Option<Cow<'e, str>>, Fault> {
        if i < self.len() { self.text(i).map(Some) } else { Ok(None) }
    }

    /// Where argument `i` came from, in a message.
    pub fn source(self, i: usize) -> String {
        self.call.args.get(i).map_or_else(|| "what was left out".to_owned(), Expr::describe)
    }

    pub fn query(self, i: usize) -> Result<&'e Query, Fault> {
        match self.call.args.get(i) {
            Some(Expr::Query(query)) => Ok(query),
            _ => Err(self.wrong(i, "is no compiled JSONPath")),
        }
    }

    /// A fault of argument `i`: `` `take`: `trigger.body.n` for `count` is negative ``.
    pub fn wrong(self, i: usize, why: &str) -> Fault {
        let (name, source) = (self.call.function.name, self.source(i));
        let param = self.call.function.param(i).map_or("", |param| param.name);
        Fault::new("mapping.value", format!("`{name}`: {source} for `{param}` {why}"))
    }
}

pub(super) fn boolean<'e>(value: bool) -> Result<Cow<'e, Value>, Fault> {
    Ok(Cow::Owned(Value::Bool(value)))
}

/// A text of bounded size.
pub(super) fn string<'e>(text: String) -> Result<Cow<'e, Value>, Fault> {
    if text.len() > MAX_BYTES {
        return Err(Fault::too_large());
    }
    Ok(Cow::Owned(Value::String(text)))
}

/// A list of bounded size, from parts that may be large and many.
pub(super) fn list<'e, 'v>(items: impl Iterator<Item = Cow<'v, Value>>) -> Result<Cow<'e, Value>, Fault> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    for item in items {
        bytes += weight(&item);
        if bytes > MAX_BYTES {
            return Err(Fault::too_large());
        }
        all.push(item.into_owned());
    }
    Ok(Cow::Owned(Value::Array(all)))
}

/// An object of bounded size; of entries with one key the last is taken, at the place of the first.
pub(super) fn object<'e, 'v>(
    entries: impl Iterator<Item = (Cow<'v, str>, Cow<'v, Value>)>,
) -> Result<Cow<'e, Value>, Fault> {
    let (mut map, mut bytes) = (Map::new(), 0);
    for (key, value) in entries {
        bytes += key.len() + weight(&value);
        if bytes > MAX_BYTES {
            return Err(Fault::too_large());
        }
        map.insert(key.into_owned(), value.into_owned());
    }
    Ok(Cow::Owned(Value::Object(map)))
}

/// About how many bytes a value has, and so how much work a copy is.
pub(in crate::mapping) fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(number) => number.as_str().len(),
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 2,
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + 4 + weight(value)).sum::<usize>() + 2,
    }
}

/// Characters, digits, items or keys: what a function goes through at least.
fn breadth(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        Value::Number(number) => number.as_str().len(),
        Value::Null | Value::Bool(_) => 1,
    }
}
