//! An action of a connector's file: its input, its call, what becomes of the answer, and what a repeat does.

use super::*;
use crate::connector::declared::{Form, Output, Test};

impl Reader<'_> {
    pub(super) fn action(&mut self, at: &str, name: &str, value: &Value, native: bool) -> Option<Action> {
        const KEYS: &[&str] = &[
            "description",
            "input",
            "request",
            "repeat",
            "on_doubt",
            "output",
            "output_schema",
            "answer",
            "hidden",
            "limits",
            "errors",
            "success",
            "pages",
            "cache",
        ];
        let fields = self.object(at, value, KEYS)?;
        let description = self.text(&format!("{at}/description"), fields.get("description")).unwrap_or_default();
        let hidden = self.flag(&format!("{at}/hidden"), fields.get("hidden"), false);
        let default = json!({"type": "object", "additionalProperties": false});
        let input_source = fields.get("input").unwrap_or(&default);
        let input = self.schema(&format!("{at}/input"), input_source);
        let input_shape = input.as_ref().map_or(Shape::any(), |input| input.shape().clone());
        let mut call = match (native, fields.get("request")) {
            (true, None) => None,
            (true, Some(_)) => {
                self.wrong("E-CON-003", &format!("{at}/request"), "a native action has no `request`".into(), None);
                None
            }
            (false, Some(request)) => self.request(&format!("{at}/request"), request, &input_shape),
            (false, None) => {
                self.missing(at, "request", "request: {post: /things, json: \"{{ input }}\"}");
                return None;
            }
        };
        let on_doubt = self.on_doubt(at, fields);
        let mut shape = Shape::any();
        if let Some(value) = fields.get("output") {
            let at = format!("{at}/output");
            if native {
                let hint = "say what it gives in `output_schema`".to_owned();
                self.wrong("E-CON-003", &at, "a native action makes its output itself".into(), Some(hint));
            }
            let (output, known) = self.output(&at, value, &input_shape);
            shape = known;
            if let Some(call) = &mut call {
                call.output = output;
            }
        }
        if let Some(value) = fields.get("output_schema") {
            shape = self.schema(&format!("{at}/output_schema"), value)?.shape().clone();
        }
        let limits = self.limits(&format!("{at}/limits"), fields.get("limits"), &input_shape);
        if let Some(call) = &mut call {
            call.limits = limits;
            call.answer = self.form(at, fields.get("answer"));
            call.errors = self.rules(&format!("{at}/errors"), fields.get("errors"));
            call.success = self.success(&format!("{at}/success"), fields.get("success"));
            if let Some(value) = fields.get("pages") {
                call.pages = self.pages(&format!("{at}/pages"), value, &call.body);
                if fields.contains_key("output") {
                    let hint = "leave it out; `items` says what of an answer is kept".to_owned();
                    let what = "an action with `pages` gives {items, more}".to_owned();
                    self.wrong("E-CON-003", &format!("{at}/output"), what, Some(hint));
                }
                if !fields.contains_key("output_schema") {
                    shape = paged();
                }
            }
        }
        if native {
            for key in ["answer", "errors", "success", "pages", "limits"] {
                if fields.contains_key(key) {
                    let hint = "a native action only describes; leave the key out".to_owned();
                    self.wrong("E-CON-003", &format!("{at}/{key}"), "it has no effect here".into(), Some(hint));
                }
            }
        }
        let cache = self.duration(&format!("{at}/cache"), fields.get("cache"));
        if cache.is_some() && !hidden {
            let hint = "what a step gets is always asked for anew; leave the key out, or add `hidden: true`".to_owned();
            let what = "only what is not for steps is kept".to_owned();
            self.wrong("E-CON-003", &format!("{at}/cache"), what, Some(hint));
        }
        let choices = self.choices(&format!("{at}/input"), input_source);
        if !native && call.is_none() {
            return None;
        }
        let defaults = defaults(input_source);
        Some(Action {
            name: name.into(),
            description,
            input: input?,
            output: shape,
            on_doubt,
            hidden,
            defaults,
            cache,
            choices,
            call,
        })
    }

    pub(super) fn form(&mut self, at: &str, value: Option<&Value>) -> Form {
        let Some(value) = value else { return Form::Json };
        match Form::NAMES.into_iter().find(|(name, _)| value.as_str() == Some(name)) {
            Some((_, form)) => form,
            None => {
                let names = Form::NAMES.map(|(name, _)| name).join(", ");
                self.wrong("E-CON-004", &format!("{at}/answer"), format!("it is one of {names}"), None);
                Form::Json
            }
        }
    }

    pub(super) fn success(&mut self, at: &str, value: Option<&Value>) -> Option<Test> {
        self.test(at, value?, &["status", "header", "path", "is", "matches"])
    }

    /// Explicit, or from `repeat`: what its author calls unsafe is held, all else is repeated.
    fn on_doubt(&mut self, at: &str, fields: &Map<String, Value>) -> OnDoubt {
        let safe = match fields.get("repeat").map(Value::as_str) {
            None | Some(Some("safe")) => true,
            Some(Some("unsafe")) => false,
            Some(_) => {
                self.wrong("E-CON-004", &format!("{at}/repeat"), "it is `safe` or `unsafe`".into(), None);
                false
            }
        };
        match fields.get("on_doubt").map(Value::as_str) {
            Some(Some("repeat")) => OnDoubt::Repeat,
            Some(Some("hold")) => OnDoubt::Hold,
            None if safe => OnDoubt::Repeat,
            None => OnDoubt::Hold,
            Some(_) => {
                self.wrong("E-CON-004", &format!("{at}/on_doubt"), "it is `repeat` or `hold`".into(), None);
                OnDoubt::Hold
            }
        }
    }

    fn output(&mut self, at: &str, value: &Value, input: &Shape) -> (Output, Shape) {
        match value {
            Value::String(text) if text.starts_with('$') => {
                let output = self.selection(at, value).map_or(Output::Body, Output::Path);
                (output, Shape::any())
            }
            Value::String(_) => match self.template_and_shape(at, value, input, true) {
                Some((template, shape)) => (Output::Template(template), shape),
                None => (Output::Body, Shape::any()),
            },
            Value::Object(fields) => {
                let mut shape = Shape::of(Types::OBJECT);
                shape.closed = true;
                let mut output = Vec::new();
                for (key, value) in fields {
                    let (field, known) = self.output(&format!("{at}/{key}"), value, input);
                    if !known.types.meets(Types::NULL) {
                        shape.required.push(key.clone());
                    }
                    shape.properties.insert(key.clone(), known);
                    output.push((key.clone(), field));
                }
                (Output::Object(output), shape)
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                let list = items.map(|(index, value)| self.output(&format!("{at}/{index}"), value, input).0).collect();
                (Output::List(list), Shape::of(Types::ARRAY))
            }
            other => (Output::Literal(other.clone()), Shape::any()),
        }
    }
}

/// What an action with pages gives.
fn paged() -> Shape {
    let mut shape = Shape::of(Types::OBJECT);
    shape.closed = true;
    shape.required = vec!["items".into(), "more".into()];
    shape.properties.insert("items".into(), Shape::of(Types::ARRAY));
    shape.properties.insert("more".into(), Shape::of(Types::BOOLEAN));
    shape
}
