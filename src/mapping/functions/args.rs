//! The arguments of a call, evaluated only when asked for and checked against the function's parameters.

use std::borrow::Cow;

use serde_json::{Number, Value};

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
            _ => Ok(value),
        }
    }

    fn refused(self, i: usize, param: &Param, value: &Value) -> Fault {
        let source = self.call.args.get(i).map(Expr::describe).unwrap_or_default();
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
        let whole = self.number(i)?.as_str().parse();
        whole.map_err(|_| self.wrong(i, "is not a whole number of reasonable size"))
    }

    pub fn query(self, i: usize) -> Result<&'e Query, Fault> {
        match self.call.args.get(i) {
            Some(Expr::Query(query)) => Ok(query),
            _ => Err(self.wrong(i, "is no compiled JSONPath")),
        }
    }

    /// A fault of argument `i`: `` `split`: `trigger.body.x` is … ``.
    pub fn wrong(self, i: usize, why: &str) -> Fault {
        let source = self.call.args.get(i).map_or_else(|| "what was left out".to_owned(), Expr::describe);
        Fault::new("mapping.value", format!("`{}`: {source} {why}", self.call.function.name))
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
