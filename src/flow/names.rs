//! What a flow's templates can name at one of its steps, before anything ran.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::check::Inside;
use super::doubt::{Asked, Doubt, Vars};
use super::problem::suggest;
use crate::mapping::{self, Key, Named, Names, Template};
use crate::schema::{Shape, Types};

/// The names in reach of a step. Grows as the checker walks the file.
#[derive(Debug, Clone)]
pub struct InReach<'n> {
    pub trigger: Shape,
    /// Steps that can have ended before: what `steps.<id>` holds where they succeeded.
    pub steps: BTreeMap<String, Shape>,
    /// The step that is being checked.
    pub own: String,
    /// Those of them that need not have run.
    pub doubts: BTreeMap<String, Doubt>,
    /// Every step of the flow.
    pub all_steps: &'n BTreeSet<String>,
    /// Every variable that some step sets.
    pub vars: &'n BTreeSet<String>,
    /// Those that can have a value by now.
    pub now: Vars,
    /// True where each step runs after the one above, so that what sets a variable last is known.
    pub in_turn: bool,
    /// What the conditions around ask about.
    pub asked: Asked,
    /// Conditions that have ended the run in one of their branches: the list they stand in knows them from there on.
    pub lasting: Vec<Template>,
    pub env: Option<&'n [String]>,
    /// What can be named from some places only.
    pub inside: &'n Inside,
    /// The loops around, outermost first, and what the items of each are (`None`: it has none).
    pub loops: Vec<(String, Option<Shape>)>,
    /// How many numbers of a step's place stand before its position here.
    pub depth: usize,
    /// How many of them name the branch or iteration that owns the variables set here; 0: the run.
    pub owner: usize,
    /// True in `on_failure`.
    pub failing: bool,
}

const ROOTS: [&str; 9] = ["trigger", "steps", "vars", "env", "flow", "run", "item", "index", "loops"];

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

/// What `steps.<id>` holds, given the shape of the step's output; a scope also lists its steps.
pub fn step(output: Shape, listed: bool) -> Shape {
    let error = Shape { types: Types::OBJECT.or(Types::NULL), ..error() };
    let mut step = object([("output", output), ("status", status()), ("error", error)]);
    if listed {
        let one = [("id", Shape::of(Types::STRING)), ("status", status()), ("output", Shape::any())];
        let nullable = Shape { types: Types::OBJECT.or(Types::NULL), ..self::error() };
        let one = object(one.into_iter().chain([("error", nullable)]));
        let all = Shape { items: Some(Box::new(one)), ..Shape::of(Types::ARRAY) };
        step.properties.insert("results".to_owned(), all);
    }
    step
}

/// How far a step is, as `State` of a run names it.
fn status() -> Shape {
    let names = ["pending", "running", "in_doubt", "waiting", "held", "succeeded", "failed", "timed_out", "skipped"];
    Shape { values: names.map(Into::into).to_vec(), ..Shape::of(Types::STRING) }
}

/// Why something failed.
pub fn error() -> Shape {
    let fields = [("code", Types::STRING), ("message", Types::STRING), ("status", Types::NUMBER.or(Types::NULL))];
    let mut error = object(fields.map(|(key, types)| (key, Shape::of(types))));
    error.required.clear();
    error
}

/// What a child's `response` was; null if it ended without one.
pub fn response() -> Shape {
    let fields = [("status", Shape::of(Types::NUMBER)), ("headers", Shape::of(Types::OBJECT)), ("body", Shape::any())];
    Shape { types: Types::OBJECT.or(Types::NULL), ..object(fields) }
}

/// What a POST brought that ended a `wait`.
pub fn resumed() -> Shape {
    let map = || Shape::of(Types::OBJECT);
    object([("body", Shape::any()), ("query", map()), ("headers", map()), ("method", Shape::of(Types::STRING))])
}

impl Names for InReach<'_> {
    fn find<'n>(&'n self, path: &[Key]) -> Named<'n> {
        let first = path.first().map(String::as_str).unwrap_or_default();
        let second = path.get(1).map(String::as_str);
        let inside = || Some("move the step into the loop's `do`".to_owned());
        match (first, second) {
            ("trigger", _) => Named::Known(Cow::Borrowed(&self.trigger), 1),
            ("steps", Some(id)) => self.step(id),
            ("vars", Some(name)) => match self.now.get(name) {
                Some(shape) => Named::Known(Cow::Borrowed(shape), 2),
                // That it has no value yet is a doubt.
                None if self.vars.contains(name) => Named::of(Shape::of(Types::NULL), 2),
                None if self.inside.vars.contains_key(name) => {
                    let owner = &self.inside.vars[name];
                    let hint = "bring it out with `collect`, or as a step's output".to_owned();
                    wrong(format!("`{name}` is a variable inside of `{owner}`, whose steps run at once"), Some(hint))
                }
                None => {
                    let hint = suggest(name, self.vars.iter().map(String::as_str));
                    let hint = hint.or_else(|| Some(format!("give it a value before: `set: {{{name}: …}}`")));
                    wrong(format!("no step sets a variable `{name}`"), hint)
                }
            },
            ("env", Some(name)) => match self.env {
                None => Named::of(Shape::of(Types::STRING.or(Types::NULL)), 2),
                Some(env) if env.iter().any(|known| known == name) => {
                    Named::of(Shape::of(Types::STRING.or(Types::NULL)), 2)
                }
                Some(_) => {
                    let hint = format!("allow it in millstream.yaml: `env: [{name}]`");
                    wrong(format!("`env.{name}` is not open to templates"), Some(hint))
                }
            },
            ("flow", _) => {
                let description = Shape::of(Types::STRING.or(Types::NULL));
                Named::of(object([("id", Shape::of(Types::STRING)), ("description", description)]), 1)
            }
            ("run", _) if second == Some("error") && !self.failing => {
                wrong("`run.error` is there only in `on_failure`".into(), Some("a `catch` has `steps.ID.error`".into()))
            }
            ("run", _) => self.run(path.get(2).map(String::as_str).filter(|_| second == Some("resume_urls"))),
            ("item", _) => match self.loops.iter().rev().find_map(|(_, item)| item.as_ref()) {
                Some(item) => Named::Known(Cow::Borrowed(item), 1),
                None => wrong("there is an `item` only inside of a `foreach`".into(), inside()),
            },
            ("index", _) if !self.loops.is_empty() => Named::of(Shape::of(Types::NUMBER), 1),
            ("index", _) => wrong("there is an `index` only inside of a `foreach` or an `until`".into(), inside()),
            ("loops", Some(id)) => match self.loops.iter().find(|(own, _)| own == id) {
                Some((_, item)) => {
                    let item = item.clone().map(|item| ("item", item));
                    Named::of(object([("index", Shape::of(Types::NUMBER))].into_iter().chain(item)), 2)
                }
                None => {
                    let hint = suggest(id, self.loops.iter().map(|(id, _)| id.as_str()));
                    wrong(format!("this is not inside of a loop `{id}`"), hint)
                }
            },
            ("steps" | "vars" | "env" | "loops", None) => {
                let one = match first {
                    "steps" => "steps.ID.output",
                    "loops" => "loops.ID.item",
                    first => &format!("{first}.NAME"),
                };
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
                } else if self.vars.contains(other) {
                    Some(format!("did you mean `vars.{other}`?"))
                } else {
                    suggest(other, ROOTS)
                };
                wrong(format!("there is nothing called `{other}` here"), hint)
            }
        }
    }

    fn doubt(&self, path: &[Key]) -> Option<mapping::Doubt> {
        let second = path.get(1)?;
        match path.first()?.as_str() {
            "vars" if self.vars.contains(second) && !self.now.contains_key(second) => {
                let what = format!("no step has given `{second}` a value before this one");
                Some(mapping::Doubt { what, hint: Some("move the `set` step up, or this one down".to_owned()) })
            }
            "steps" if path.get(2).is_none_or(|field| field.eq_ignore_ascii_case("output")) => {
                let doubt = self.doubts.get(second).filter(|doubt| !doubt.is_settled(&self.asked))?;
                let written = path.join(".");
                let what = format!("`{written}` may be null: {}", doubt.why);
                let hint = format!(
                    "write `{{{{coalesce {written} \"…\"}}}}` or `{{{{optional {written}}}}}`, or ask for `steps.{second}.status` in a `when`"
                );
                Some(mapping::Doubt { what, hint: Some(hint) })
            }
            _ => None,
        }
    }

    fn is_asked(&self, path: &[Key]) -> bool {
        self.asked.has(path)
    }
}

impl InReach<'_> {
    /// The same below a condition. `holds`: what is there runs only where it is true.
    pub fn asking(&self, condition: Option<&Template>, holds: bool) -> Self {
        let mut inside = self.clone();
        inside.lasting.clear();
        condition.into_iter().for_each(|condition| inside.asked.add(condition, holds));
        inside
    }

    /// The same with what has come to be known of variables since.
    pub fn knowing(&self, now: Vars) -> Self {
        InReach { now, ..self.clone() }
    }

    /// All that can be named, as one object.
    pub fn whole(&self) -> Shape {
        let map = |properties: BTreeMap<String, Shape>| {
            let required = properties.keys().cloned().collect();
            Shape { properties, closed: true, required, ..Shape::of(Types::OBJECT) }
        };
        let nullable = || Shape::of(Types::STRING.or(Types::NULL));
        let env = self.env.unwrap_or_default().iter().map(|name| (name.clone(), nullable())).collect();
        let Named::Known(run, _) = self.run(None) else { return Shape::any() };
        let mut all = vec![
            ("trigger", self.trigger.clone()),
            ("steps", map(self.steps.clone())),
            ("vars", map(self.now.iter().map(|(name, shape)| (name.clone(), shape.clone())).collect())),
            ("env", map(env)),
            ("flow", object([("id", Shape::of(Types::STRING)), ("description", nullable())])),
        ];
        let each = |item: &Option<Shape>| {
            let item = item.clone().map(|item| ("item", item));
            object([("index", Shape::of(Types::NUMBER))].into_iter().chain(item))
        };
        if !self.loops.is_empty() {
            all.push(("index", Shape::of(Types::NUMBER)));
            let item = self.loops.iter().rev().find_map(|(_, item)| item.clone());
            all.extend(item.map(|item| ("item", item)));
            all.push(("loops", map(self.loops.iter().map(|(id, item)| (id.clone(), each(item))).collect())));
        }
        all.push(("run", run.into_owned()));
        object(all)
    }

    /// What `run` holds; `wait` is the step whose URL is named.
    fn run(&self, wait: Option<&str>) -> Named<'static> {
        let text = || Shape::of(Types::STRING);
        let here = |loops: &[String]| {
            loops.len() <= self.loops.len() && loops.iter().zip(&self.loops).all(|(id, (own, _))| id == own)
        };
        let waits = || self.inside.waits.iter();
        if let Some(id) = wait {
            match self.inside.waits.get(id) {
                Some(loops) if !here(loops) => {
                    let each = loops.last().map(String::as_str).unwrap_or_default();
                    let what = format!("`{id}` waits inside of `{each}`, and has another URL in each iteration");
                    return wrong(what, Some("name it in a step of that loop".to_owned()));
                }
                Some(_) => {}
                None => {
                    let hint = suggest(id, waits().map(|(id, _)| id.as_str()));
                    return wrong(
                        format!("no step `{id}` waits"),
                        hint.or_else(|| Some("a `wait` step has one".into())),
                    );
                }
            }
        }
        let urls = waits().filter(|(_, loops)| here(loops)).map(|(id, _)| (id.clone(), text()));
        let urls = Shape { properties: urls.collect(), closed: true, ..Shape::of(Types::OBJECT) };
        let mut fields = vec![("id", text()), ("started_at", text()), ("resume_urls", urls)];
        if self.failing {
            let mut error = error();
            error.properties.insert("step".to_owned(), Shape::of(Types::STRING.or(Types::NULL)));
            fields.push(("error", error));
        }
        Named::of(object(fields), 1)
    }

    fn step(&self, id: &str) -> Named<'_> {
        if let Some(shape) = self.steps.get(id) {
            return Named::Known(Cow::Borrowed(shape), 2);
        }
        if let Some(each) = self.inside.foreach.get(id).filter(|each| self.loops.iter().all(|(own, _)| own != *each)) {
            let hint = format!("bring it out: `collect:` in `{each}` becomes `steps.{each}.output`");
            return wrong(
                format!("step `{id}` runs once an item of `{each}`, so from outside it has no one value"),
                Some(hint),
            );
        }
        if self.own == id {
            let hint = "name it in a step below".to_owned();
            return wrong(format!("step `{id}` has no output before it has run"), Some(hint));
        }
        if self.all_steps.contains(id) {
            let hint = "move it up, or put this step after it".to_owned();
            return wrong(format!("step `{id}` cannot have run before this"), Some(hint));
        }
        let hint = suggest(id, self.all_steps.iter().map(String::as_str));
        wrong(format!("there is no step `{id}`"), hint)
    }
}

fn wrong(what: String, hint: Option<String>) -> Named<'static> {
    Named::Wrong { what, hint }
}
