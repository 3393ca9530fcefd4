//! What a flow's templates can name at one of its steps, before anything ran.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::suggest;
use crate::mapping::{Key, Named, Names};
use crate::schema::{Shape, Types};

/// The names in reach of a step. Grows as the checker walks the file.
#[derive(Debug, Clone)]
pub struct InReach<'n> {
    pub trigger: Shape,
    /// Steps that can have ended before: what `steps.<id>` holds.
    pub steps: BTreeMap<String, Shape>,
    /// Every step of the flow.
    pub all_steps: &'n BTreeSet<String>,
    /// Every variable that some step sets.
    pub vars: &'n BTreeMap<String, Shape>,
    pub env: Option<&'n [String]>,
}

const ROOTS: [&str; 6] = ["trigger", "steps", "vars", "env", "flow", "run"];

/// An object with just these keys.
pub fn object(fields: impl IntoIterator<Item = (&'static str, Shape)>) -> Shape {
    let properties: BTreeMap<String, Shape> = fields.into_iter().map(|(key, shape)| (key.to_owned(), shape)).collect();
    let required = properties.keys().cloned().collect();
    Shape { properties, closed: true, required, ..Shape::of(Types::OBJECT) }
}

/// What `trigger` holds, given the shape of its body and the names of its path's parameters, if it has a pattern.
pub fn trigger<'p>(body: Shape, parameters: Option<impl Iterator<Item = &'p str>>) -> Shape {
    let texts = || Shape::of(Types::OBJECT);
    let text = || Shape::of(Types::STRING);
    let path = match parameters {
        None => text(),
        Some(parameters) => {
            let properties: BTreeMap<String, Shape> = parameters.map(|name| (name.to_owned(), text())).collect();
            let required = properties.keys().cloned().collect();
            Shape { properties, closed: true, required, ..texts() }
        }
    };
    object([("body", body), ("headers", texts()), ("query", texts()), ("path", path), ("method", text())])
}

/// What `trigger.body` holds where a schedule starts the flow.
pub fn tick() -> Shape {
    let text = || Shape::of(Types::STRING);
    object([("scheduled_at", text()), ("local", text()), ("previous", Shape::of(Types::STRING.or(Types::NULL)))])
}

/// What `steps.<id>` holds, given the shape of the step's output.
pub fn step(output: Shape) -> Shape {
    let fields = [("code", Types::STRING), ("message", Types::STRING), ("status", Types::NUMBER.or(Types::NULL))];
    let error = object(fields.map(|(key, types)| (key, Shape::of(types))));
    let error = Shape { types: Types::OBJECT.or(Types::NULL), ..error };
    object([("output", output), ("status", Shape::of(Types::STRING)), ("error", error)])
}

impl Names for InReach<'_> {
    fn find(&self, path: &[Key]) -> Named {
        let first = path.first().map(String::as_str).unwrap_or_default();
        let second = path.get(1).map(String::as_str);
        match (first, second) {
            ("trigger", _) => Named::Known(self.trigger.clone(), 1),
            ("steps", Some(id)) => self.step(id),
            ("vars", Some(name)) => match self.vars.get(name) {
                Some(shape) => Named::Known(Shape { types: shape.types.or(Types::NULL), ..shape.clone() }, 2),
                None => {
                    let hint = suggest(name, self.vars.keys().map(String::as_str));
                    let hint = hint.or_else(|| Some(format!("give it a value before: `set: {{{name}: …}}`")));
                    wrong(format!("no step sets a variable `{name}`"), hint)
                }
            },
            ("env", Some(name)) => match self.env {
                None => Named::Known(Shape::of(Types::STRING.or(Types::NULL)), 2),
                Some(env) if env.iter().any(|known| known == name) => {
                    Named::Known(Shape::of(Types::STRING.or(Types::NULL)), 2)
                }
                Some(_) => {
                    let hint = format!("allow it in millstream.yaml: `env: [{name}]`");
                    wrong(format!("`env.{name}` is not open to templates"), Some(hint))
                }
            },
            ("flow", _) => {
                let description = Shape::of(Types::STRING.or(Types::NULL));
                Named::Known(object([("id", Shape::of(Types::STRING)), ("description", description)]), 1)
            }
            ("run", _) => {
                let text = || Shape::of(Types::STRING);
                Named::Known(object([("id", text()), ("started_at", text())]), 1)
            }
            ("steps" | "vars" | "env", None) => {
                let one = if first == "steps" { "steps.ID.output" } else { &format!("{first}.NAME") };
                wrong(format!("`{first}` alone has no value"), Some(format!("name one: `{one}`")))
            }
            ("secrets" | "secret", _) => {
                let hint = "put it into the connection's credentials: the connector sends it, and nothing can print it";
                wrong("templates cannot read secrets".into(), Some(hint.into()))
            }
            (other, _) => {
                let body = self.trigger.properties.get("body");
                let in_body = body.is_some_and(|body| body.properties.keys().any(|k| k.eq_ignore_ascii_case(other)));
                let hint = if in_body {
                    Some(format!("did you mean `trigger.body.{other}`?"))
                } else if self.all_steps.contains(other) {
                    Some(format!("did you mean `steps.{other}.output`?"))
                } else if self.trigger.properties.contains_key(other) {
                    Some(format!("did you mean `trigger.{other}`?"))
                } else if self.vars.contains_key(other) {
                    Some(format!("did you mean `vars.{other}`?"))
                } else {
                    suggest(other, ROOTS)
                };
                wrong(format!("there is nothing called `{other}` here"), hint)
            }
        }
    }
}

impl InReach<'_> {
    fn step(&self, id: &str) -> Named {
        if let Some(shape) = self.steps.get(id) {
            return Named::Known(shape.clone(), 2);
        }
        if self.all_steps.contains(id) {
            let hint = "move it up, or put this step after it".to_owned();
            return wrong(format!("step `{id}` cannot have run before this"), Some(hint));
        }
        let hint = suggest(id, self.all_steps.iter().map(String::as_str));
        wrong(format!("there is no step `{id}`"), hint)
    }
}

fn wrong(what: String, hint: Option<String>) -> Named {
    Named::Wrong { what, hint }
}
