//! Checks `trigger:`.

use super::*;

impl Checker<'_> {
    /// The trigger as checked. `reach` then has what its steps see of it.
    pub(super) fn trigger(&mut self, read: TriggerFile, reach: &mut InReach<'_>) -> Trigger {
        let schema = read.schema.as_ref().and_then(|schema| self.schema(schema));
        let body = schema.as_ref().map_or_else(Shape::any, |schema| schema.shape().clone());
        let kind = match read.kind {
            TriggerKindFile::Request(read) => TriggerKind::Request(Box::new(self.request(*read, body, reach))),
            TriggerKindFile::Schedule(schedule) => {
                reach.trigger = names::trigger(names::tick(), None::<std::iter::Empty<&str>>);
                TriggerKind::Schedule(schedule)
            }
            TriggerKindFile::Manual(manual) => {
                reach.trigger = names::trigger(body, None::<std::iter::Empty<&str>>);
                TriggerKind::Manual(manual)
            }
        };
        Trigger { schema, kind }
    }

    fn request(&mut self, read: RequestFile, mut body: Shape, reach: &mut InReach<'_>) -> RequestTrigger {
        self.raw.extend(read.raw);
        // The schema is not asked about a request of these methods that has no body.
        if read.methods.iter().any(|method| BODYLESS.contains(&method.as_str())) {
            body.types = body.types.or(Types::NULL);
        }
        let RequestFile { methods, path, auth, conditions, split_on, dedupe, raw: _ } = read;
        let seen = |body| names::trigger(body, path.as_ref().map(PathPattern::parameters));
        reach.trigger = seen(body);
        self.look("/trigger", reach);
        let conditions = conditions.into_iter().filter_map(|(text, at)| {
            let condition = self.condition(&text, &at, reach)?;
            self.before_a_run(condition.template(), &at);
            Some(condition)
        });
        let conditions: Vec<Condition> = conditions.collect();
        let split_on = split_on.and_then(|text| {
            let (template, item) = self.split_on(&text, reach)?;
            reach.trigger = seen(item);
            Some(template)
        });
        let dedupe = dedupe.map(|dedupe| self.dedupe(dedupe, reach));
        RequestTrigger { methods, path, auth, conditions, split_on, dedupe }
    }

    /// The template, and the shape of one item of what it gives.
    fn split_on(&mut self, text: &str, reach: &InReach<'_>) -> Option<(Template, Shape)> {
        let at = "/trigger/split_on";
        let (template, shape) = self.template(text, at, reach)?;
        if !template.is_whole() {
            let hint = Some("write `{{trigger.body.items}}`, with nothing before or after it".to_owned());
            let what = "this must be one whole `{{expression}}` that gives a list".to_owned();
            self.say(problem::BAD_VALUE, at, At::Value, what, hint);
            return None;
        }
        self.before_a_run(&template, at);
        // A request without the list is refused at the door.
        self.fits(&Shape::of(Types::ARRAY.or(Types::NULL)), &shape, at);
        Some((template, shape.items.map_or_else(Shape::any, |item| *item)))
    }

    /// A caller cannot be answered by many runs.
    pub(super) fn split_answers(&mut self, trigger: &Trigger, answers: bool) {
        if answers && trigger.request().is_some_and(|request| request.split_on.is_some()) {
            let what = "a flow with a `response` step cannot split a request into several runs".to_owned();
            let hint =
                Some("take one of them away: the caller gets the ids of all runs, and no other answer".to_owned());
            self.say(problem::BAD_VALUE, "/trigger/split_on", At::Key, what, hint);
        }
    }

    /// What is judged before there is a run can name nothing of one.
    fn before_a_run(&mut self, template: &Template, at: &str) {
        let first = |path: &&[crate::mapping::Key]| path.first().map(String::as_str).unwrap_or_default().to_owned();
        if let Some(root) = template.paths().iter().map(first).find(|root| ["run", "vars"].contains(&root.as_str())) {
            let what = format!("`{root}` has no value here: this is judged before there is a run");
            self.say(problem::BAD_VALUE, at, At::Value, what, Some("name what came in: `trigger.…`".into()));
        }
    }

    /// The lines that problems show go to screens and logs: what should have been a secret is blotted out of them.
    pub(super) fn mask(&mut self) {
        for line in self.raw.iter().flat_map(|raw| raw.lines()).map(str::trim).filter(|line| !line.is_empty()) {
            let blot = "•".repeat(line.chars().count());
            for problem in &mut self.problems {
                problem.shown = problem.shown.replace(line, &blot);
            }
        }
    }

    fn schema(&mut self, schema: &SchemaFile) -> Option<Schema> {
        let at = match schema {
            SchemaFile::Inline(_, "inputs") => "/trigger/inputs",
            SchemaFile::Inline(..) | SchemaFile::File(_) => "/trigger/schema",
        };
        let compiled = match schema {
            SchemaFile::Inline(value, _) => Schema::compile(value),
            SchemaFile::File(path) => {
                self.files.push(path.clone());
                let text = (self.known.read)(path);
                let hint = Some("the path starts at the folder of this flow's file".to_owned());
                let text = text
                    .map_err(|why| {
                        let why = why.split(" (os error").next().unwrap_or_default().to_owned();
                        self.say(problem::NO_FILE, at, At::Value, format!("`{path}`: {why}"), hint);
                    })
                    .ok()?;
                match Schema::of_text(&text, read_schema) {
                    Ok(schema) => Ok(schema),
                    Err(Unusable::Schema(error)) => Err(error),
                    Err(Unusable::Text(error)) => {
                        let what = format!("`{path}` is neither JSON nor YAML: {error}");
                        self.say(problem::NO_FILE, at, At::Value, what, None);
                        return None;
                    }
                }
            }
        };
        compiled
            .map_err(|error| {
                let inline = matches!(schema, SchemaFile::Inline(_, "schema"));
                let pointer = if inline { format!("{at}{}", error.pointer) } else { at.to_owned() };
                let place = if inline { String::new() } else { format!(" (at `{}`)", error.pointer) };
                let hint = error.pointer.ends_with("/type").then(|| {
                    "a type is array, boolean, integer, null, number, object or string, or a list of these".to_owned()
                });
                self.say(problem::BAD_SCHEMA, &pointer, At::Value, format!("{}{place}", error.what), hint);
            })
            .ok()
    }

    fn dedupe(&mut self, read: DedupeFile, reach: &InReach<'_>) -> Dedupe {
        let mut key = Vec::new();
        for (index, text) in read.key.iter().enumerate() {
            let at = format!("/trigger/dedupe/key/{index}");
            key.extend(self.template(text, &at, reach).map(|(template, _)| template));
        }
        if !key.is_empty() && key.iter().all(Template::is_literal) {
            let what = "the key is the same for every request, so only one would be let in".to_owned();
            let hint = Some("name what tells requests apart, as in `{{trigger.body.id}}`".to_owned());
            self.say(problem::BAD_VALUE, "/trigger/dedupe/key", At::Value, what, hint);
        }
        Dedupe { key, window: read.window }
    }
}

/// Why a schema's file gives no schema.
enum Unusable {
    Text(serde_yaml::Error),
    Schema(crate::schema::Error),
}

impl From<crate::schema::Error> for Unusable {
    fn from(error: crate::schema::Error) -> Unusable {
        Unusable::Schema(error)
    }
}

fn read_schema(text: &str) -> Result<Value, Unusable> {
    serde_json::from_str(text).or_else(|_| serde_yaml::from_str(text)).map_err(Unusable::Text)
}
