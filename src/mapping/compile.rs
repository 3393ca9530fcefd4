//! From the handlebars syntax tree to typed expressions: resolves names, functions and blocks, and refuses the rest.

use handlebars::template::{BlockParam, HelperTemplate, Parameter, Template as Parsed, TemplateElement};
use serde_json::Value;

use super::ParseError;
use super::expr::{Block, Body, Call, Expr, Kind, Part, Path};
use super::functions::{self, Function};
use super::guard::guarded;
use super::loose;
use super::query::Query;
use super::resolve::{Frame, resolve};
use super::syntax::{self, Places, explain};

/// Deepest nesting of blocks and calls. What is compiled is evaluated by recursion, on any thread's stack.
const MAX_DEPTH: usize = 32;

/// Compiles one text leaf.
pub(super) fn compile(text: &str) -> Result<Body, ParseError> {
    if !text.contains("{{") {
        return Ok(Body::Literal(text.to_owned()));
    }
    guarded(text, |text| {
        let hidden = loose::hidden(text);
        let parsed = Parsed::compile(&hidden).map_err(|error| explain(text, &error))?;
        Compiler { text: &hidden, written: text, places: Places::new(text), cursor: 0, frames: Vec::new(), depth: 0 }
            .body(parsed)
    })
}

struct Compiler<'t> {
    text: &'t str,
    /// The text before [`loose::hidden`].
    written: &'t str,
    places: Places<'t>,
    /// The tree has no positions below its elements; names are found again by searching onward from here.
    cursor: usize,
    frames: Vec<Frame>,
    depth: usize,
}

impl Compiler<'_> {
    fn body(mut self, parsed: Parsed) -> Result<Body, ParseError> {
        let mut parts = self.parts(parsed)?;
        let alone = parts.len() == 1;
        Ok(match parts.pop() {
            Some(Part::Expr(expr)) if alone => Body::Whole(expr),
            Some(Part::Text(text)) if alone => Body::Literal(text),
            last => {
                parts.extend(last);
                Body::Text(parts)
            }
        })
    }

    fn parts(&mut self, parsed: Parsed) -> Result<Vec<Part>, ParseError> {
        let places = parsed.mapping;
        let mut parts = Vec::with_capacity(parsed.elements.len());
        for (i, element) in parsed.elements.into_iter().enumerate() {
            if let Some(place) = places.get(i) {
                self.cursor = self.cursor.max(self.places.offset(place.0, place.1));
            }
            parts.extend(self.part(element)?);
        }
        Ok(parts)
    }

    fn part(&mut self, element: TemplateElement) -> Result<Option<Part>, ParseError> {
        match element {
            TemplateElement::RawString(text) => Ok((!text.is_empty()).then_some(Part::Text(text))),
            TemplateElement::Comment(_) => Ok(None),
            TemplateElement::Expression(helper) | TemplateElement::HtmlExpression(helper) => {
                self.expression(*helper, false).map(|expr| Some(Part::Expr(expr)))
            }
            TemplateElement::HelperBlock(helper) => self.block(*helper).map(Some),
            TemplateElement::PartialExpression(_) | TemplateElement::PartialBlock(_) => {
                Err(self.refused("partials (`{{> …}}`) are not part of this language", "write the text in place"))
            }
            TemplateElement::DecoratorExpression(_) | TemplateElement::DecoratorBlock(_) => {
                Err(self.refused("decorators (`{{* …}}`) are not part of this language", "remove it"))
            }
            other => Err(self.refused(&format!("this element is not known: {other:?}"), "remove it")),
        }
    }

    fn block(&mut self, helper: HelperTemplate) -> Result<Part, ParseError> {
        let offset = self.cursor;
        if self.text[offset..].starts_with("{{{{") {
            return Err(self.refused("raw blocks (`{{{{…}}}}`) are not part of this language", "write `\\{{` instead"));
        }
        let name = helper.name.as_name().unwrap_or_default().to_owned();
        let Some(kind) = Kind::named(&name) else {
            let what = format!("there is no block `#{name}`");
            return Err(self.error("E-MAP-006", what, Some("blocks are #if, #unless, #each and #with".to_owned())));
        };
        self.no_hash(&name, &helper)?;
        let [_] = helper.params.as_slice() else {
            let what = format!("`#{name}` takes one value; here are {}", helper.params.len());
            return Err(self.error(
                "E-MAP-006",
                what,
                Some("put a call in brackets: `{{#if (equals a b)}}`".to_owned()),
            ));
        };
        self.deeper()?;
        let mut subject = Vec::new();
        for param in helper.params {
            subject.push(self.argument(param)?);
        }
        let (value, key) = names(helper.block_param);
        if value.is_some() && !kind.opens_frame() {
            return Err(self.error("E-MAP-006", format!("`#{name}` gives no value to name with `as |…|`"), None));
        }
        if kind.opens_frame() {
            self.frames.push(Frame { kind, value, key });
        }
        let body = helper.template.map(|template| self.parts(template)).transpose()?.unwrap_or_default();
        if kind.opens_frame() {
            self.frames.pop();
        }
        let otherwise = helper.inverse.map(|template| self.parts(template)).transpose()?.unwrap_or_default();
        self.depth -= 1;
        let subject = subject.pop().unwrap_or(Expr::Literal(Value::Null));
        Ok(Part::Block(Box::new(Block { kind, subject, body, otherwise, offset })))
    }

    /// `{{x}}`, `{{f a b}}`, and in brackets `(f)`, `(f a b)`.
    fn expression(&mut self, helper: HelperTemplate, brackets: bool) -> Result<Expr, ParseError> {
        let name = match helper.name {
            Parameter::Subexpression(inner) => return self.subexpression(*inner.element),
            Parameter::Literal(value) => return Ok(Expr::Literal(value)),
            Parameter::Name(ref name) => name.clone(),
            Parameter::Path(ref path) => {
                let call = !helper.params.is_empty() || (brackets && !raw(path).contains(['.', '/', '[', '@']));
                match self.bare(raw(path), call)? {
                    Bare::Done(expr) => return Ok(expr),
                    Bare::Function(name) => name,
                }
            }
            ref other => return Err(self.refused(&format!("this is not known: {other:?}"), "write a path or a call")),
        };
        self.no_hash(&name, &helper)?;
        let offset = self.locate(&name);
        let Some(function) = functions::find(&name) else {
            let hint = functions::path_instead(&name).map(|path| format!("this is a path here: {path}"));
            let near = || syntax::elsewhere(&name).or_else(|| functions::nearest(&name));
            let hint = hint.or_else(|| near().map(|near| format!("did you mean `{near}`?")));
            let hint = hint.or_else(|| Some("`millstream functions` lists them all".to_owned()));
            return Err(ParseError { code: "E-MAP-004", offset, what: format!("there is no function `{name}`"), hint });
        };
        self.call(function, helper.params, offset)
    }

    /// A lone name: a literal, a function without arguments, or a path.
    fn bare(&mut self, raw: &str, call: bool) -> Result<Bare, ParseError> {
        let literal = match raw {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => Some(Value::Null),
            digits => self.number(digits),
        };
        if let Some(value) = literal.filter(|_| !call) {
            return Ok(Bare::Done(Expr::Literal(value)));
        }
        let name = |text: &String| text == raw;
        let named = self.frames.iter().any(|f| f.value.as_ref().is_some_and(name) || f.key.as_ref().is_some_and(name));
        if call || (!named && (functions::find(raw).is_some() || functions::never_a_key(raw))) {
            return Ok(Bare::Function(raw.to_owned()));
        }
        self.path(raw).map(|path| Bare::Done(Expr::Path(path)))
    }

    fn subexpression(&mut self, element: TemplateElement) -> Result<Expr, ParseError> {
        self.deeper()?;
        let expr = match element {
            TemplateElement::Expression(helper) => self.expression(*helper, true)?,
            other => return Err(self.refused(&format!("this can't stand in brackets: {other:?}"), "write a call")),
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn argument(&mut self, param: Parameter) -> Result<Expr, ParseError> {
        match param {
            Parameter::Literal(value) => Ok(Expr::Literal(value)),
            Parameter::Subexpression(inner) => self.subexpression(*inner.element),
            // The parser takes a number with a small `e` for a path.
            Parameter::Path(path) => match self.number(raw(&path)) {
                Some(number) => Ok(Expr::Literal(number)),
                None => self.path(raw(&path)).map(Expr::Path),
            },
            Parameter::Name(name) => self.path(&name).map(Expr::Path),
            other => Err(self.refused(&format!("this is not known: {other:?}"), "write a path or a call")),
        }
    }

    fn call(&mut self, function: &'static Function, params: Vec<Parameter>, offset: usize) -> Result<Expr, ParseError> {
        let (least, most) = function.arity();
        let given = params.len();
        if given < least || most.is_some_and(|most| given > most) {
            let what = format!("`{}` takes {}; here are {given}", function.name, function.arity_text());
            let mut hint = format!("it is written {}", function.signature());
            if given == 0 {
                hint += &format!("; a key of this name is read by `this.{}`", function.name);
            }
            return Err(ParseError { code: "E-MAP-005", offset, what, hint: Some(hint) });
        }
        let mut args = Vec::with_capacity(given);
        for (i, param) in params.into_iter().enumerate() {
            let each = function.param(i).is_some_and(|param| param.each);
            if each {
                let (value, key) = (Some("item".to_owned()), Some("index".to_owned()));
                self.frames.push(Frame { kind: Kind::Each, value, key });
            }
            let arg = self.argument(param);
            if each {
                self.frames.pop();
            }
            let arg = arg?;
            args.push(if function.param(i).is_some_and(|p| p.query) {
                self.query(function, arg, offset)?
            } else {
                arg
            });
        }
        Ok(Expr::Call(Box::new(Call { function, args, offset })))
    }

    fn query(&self, function: &Function, arg: Expr, offset: usize) -> Result<Expr, ParseError> {
        let Expr::Literal(Value::String(text)) = arg else {
            let what = format!("the path of `{}` must be written out in quotes", function.name);
            let hint = Some("it is compiled when the flow is loaded, so it can't come from data".to_owned());
            return Err(ParseError { code: "E-MAP-008", offset, what, hint });
        };
        let offset = self.text[offset..].find(&text).map_or(offset, |at| offset + at);
        match Query::compile(&text) {
            Ok(query) => Ok(Expr::Query(Box::new(query))),
            Err(what) => Err(ParseError { code: "E-MAP-008", offset, what, hint: None }),
        }
    }

    fn path(&mut self, raw: &str) -> Result<Path, ParseError> {
        let offset = self.locate(raw);
        resolve(raw, offset, &self.frames)
    }

    /// The number that a name stands for, as it was written.
    fn number(&mut self, raw: &str) -> Option<Value> {
        if !raw.contains('$') {
            return super::number::parse(raw).map(Value::Number);
        }
        let offset = self.locate(raw);
        let written = self.written.get(offset..offset + raw.len()).filter(|written| *written != raw)?;
        loose::read(written).map(Value::Number)
    }

    fn no_hash(&self, name: &str, helper: &HelperTemplate) -> Result<(), ParseError> {
        let Some(key) = helper.hash.keys().min() else {
            return Ok(());
        };
        let what = format!("`{name}` takes no named arguments; here is `{key}=`");
        Err(self.error("E-MAP-003", what, Some("give the value alone, in its place".to_owned())))
    }

    fn deeper(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth <= MAX_DEPTH {
            return Ok(());
        }
        let what = format!("blocks and brackets are nested more than {MAX_DEPTH} deep");
        Err(self.error("E-MAP-002", what, Some("do a part of it in an earlier `set` step".to_owned())))
    }

    fn locate(&mut self, name: &str) -> usize {
        let offset = self.text[self.cursor..].find(name).map_or(self.cursor, |at| self.cursor + at);
        if self.text[offset..].starts_with(name) {
            self.cursor = offset + name.len();
        }
        offset
    }

    fn refused(&self, what: &str, hint: &str) -> ParseError {
        self.error("E-MAP-003", what.to_owned(), Some(hint.to_owned()))
    }

    fn error(&self, code: &'static str, what: String, hint: Option<String>) -> ParseError {
        ParseError { code, offset: self.cursor, what, hint }
    }
}

enum Bare {
    Done(Expr),
    Function(String),
}

fn raw(path: &handlebars::Path) -> &str {
    match path {
        handlebars::Path::Relative((_, raw)) | handlebars::Path::Local((_, _, raw)) => raw,
    }
}

fn names(param: Option<BlockParam>) -> (Option<String>, Option<String>) {
    let name = |p: Parameter| p.as_name().map(str::to_owned);
    match param {
        Some(BlockParam::Single(value)) => (name(value), None),
        Some(BlockParam::Pair((value, key))) => (name(value), name(key)),
        _ => (None, None),
    }
}
