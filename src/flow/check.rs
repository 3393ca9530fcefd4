//! The one way from a flow file as typed to a flow as checked. Reports all problems at once.

mod call;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde_json::Value;

use super::file::{self, CallFile, DedupeFile, FlowFile, KindFile, SchemaFile, StepFile};
use super::fit::{Misfit, misfits};
use super::names::{self, InReach};
use super::problem::{self, Code, Problem, Severity, nearest, suggest};
use super::source::{At, Source, child};
use super::*;
use crate::connector::Need;
use crate::mapping::{Finding, ParseError};
use crate::schema::{Shape, Types};

pub fn load(path: &Path, text: &str, known: &Known<'_>) -> Loaded {
    let (source, value, problems) = Source::read(path, text);
    let mut checker = Checker { source, known, problems, connectors: BTreeSet::new(), files: Vec::new() };
    let Some(value) = value else { return checker.end(None, None) };
    let read = file::read(&checker.source, &value, &mut checker.problems);
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let id = match &read.id {
        Some(id) => Some(id.clone()),
        None if value.get("id").is_some() => None,
        None if is_flow_id(&stem) => Some(stem),
        None => {
            let what =
                format!("the file's name `{stem}` cannot be the flow's id: use small letters, digits, `_` and `-`");
            checker.say(problem::BAD_NAME, "", At::Value, what, Some("rename the file, or write `id:`".into()));
            None
        }
    };
    let flow = checker.flow(read, id.clone().unwrap_or_default());
    checker.end(Some(flow), id)
}

struct Checker<'k> {
    source: Source,
    known: &'k Known<'k>,
    problems: Vec<Problem>,
    connectors: BTreeSet<String>,
    files: Vec<String>,
}

impl Checker<'_> {
    fn end(mut self, flow: Option<Flow>, id: Option<String>) -> Loaded {
        // An unquoted template reads as null, which is refused in most places once more.
        let unquoted: BTreeSet<(usize, usize)> =
            self.problems.iter().filter(|p| p.code == problem::UNQUOTED.0).map(|p| (p.line, p.column)).collect();
        self.problems.retain(|p| p.code == problem::UNQUOTED.0 || !unquoted.contains(&(p.line, p.column)));
        self.problems.sort_by(|a, b| (a.line, a.column, &a.code, &a.what).cmp(&(b.line, b.column, &b.code, &b.what)));
        self.problems.dedup();
        let failed = self.problems.iter().any(|problem| problem.severity == Severity::Error);
        Loaded { flow: if failed { None } else { flow }, id, files: self.files, problems: self.problems }
    }

    fn flow(&mut self, read: FlowFile, id: String) -> Flow {
        let schema = read.schema.as_ref().and_then(|schema| self.schema(schema));
        let body = schema.as_ref().map_or_else(Shape::any, |schema| schema.shape().clone());
        let mut all_steps = BTreeSet::new();
        self.step_ids(&read.steps, &mut all_steps);
        let mut vars = BTreeMap::new();
        set_vars(&read.steps, &mut vars);
        let mut reach = InReach {
            trigger: names::trigger(body),
            steps: BTreeMap::new(),
            all_steps: &all_steps,
            vars: &vars,
            env: self.known.env,
        };
        let dedupe = read.dedupe.map(|dedupe| self.dedupe(dedupe, &reach));
        let steps = self.block(read.steps, &mut reach);
        let mut addresses = HashMap::new();
        address(&steps, &mut Vec::new(), &mut addresses);
        Flow {
            id,
            description: read.description,
            aliases: read.aliases,
            enabled: read.enabled,
            trigger: Trigger { schema, dedupe },
            answers: answers(&steps),
            steps,
            addresses,
            connectors: std::mem::take(&mut self.connectors).into_iter().collect(),
            files: self.files.clone(),
        }
    }

    fn schema(&mut self, schema: &SchemaFile) -> Option<Schema> {
        let at = "/trigger/schema";
        let value = match schema {
            SchemaFile::Inline(value) => value.clone(),
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
                let parsed = serde_json::from_str(&text).or_else(|_| serde_yaml::from_str(&text));
                parsed
                    .map_err(|error| {
                        let what = format!("`{path}` is neither JSON nor YAML: {error}");
                        self.say(problem::NO_FILE, at, At::Value, what, None);
                    })
                    .ok()?
            }
        };
        let compiled = Schema::compile(&value);
        compiled
            .map_err(|error| {
                let inline = matches!(schema, SchemaFile::Inline(_));
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

    /// Notes every step's id; a second use of one is a problem.
    fn step_ids(&mut self, steps: &[StepFile], ids: &mut BTreeSet<String>) {
        for step in steps {
            if let Some(id) = &step.id
                && !ids.insert(id.clone())
            {
                let what = format!("another step is already called `{id}`");
                let hint = Some("ids are unique in the whole flow, so that `steps.<id>` means one step".to_owned());
                self.say(problem::DUPLICATE_ID, &child(&step.at, "id"), At::Value, what, hint);
            }
            if let Some(KindFile::If { then, otherwise, .. }) = &step.kind {
                self.step_ids(then, ids);
                self.step_ids(otherwise, ids);
            }
        }
    }

    fn block(&mut self, read: Vec<StepFile>, reach: &mut InReach<'_>) -> Block {
        let mut steps: Vec<Step> = Vec::with_capacity(read.len());
        for (position, step) in read.into_iter().enumerate() {
            let after = match &step.run_after {
                Some(after) => self.after(after, &step, &steps),
                None if position == 0 => Vec::new(),
                None => vec![After { position: position as u32 - 1, on: Ends::DEFAULT }],
            };
            if let Some(text) = &step.when {
                self.condition(text, &child(&step.at, "when"), reach);
            }
            let when = step.when.as_ref().and_then(|text| Condition::parse(text).ok());
            let (kind, output) = match step.kind {
                Some(kind) => self.kind(kind, &step.at, reach),
                None => (None, Shape::any()),
            };
            // A step that may be skipped, or fail and be passed over, leaves null where its output would be.
            let sure = when.is_none() && !step.continues;
            let types = if sure { output.types } else { output.types.or(Types::NULL) };
            if let Some(id) = &step.id {
                reach.steps.insert(id.clone(), names::step(Shape { types, ..output }));
            }
            // What has no kind is a problem, so the flow is not used; something must keep positions right.
            let kind = kind.unwrap_or(Kind::Delay(Template::parse("").expect("text without braces is a template")));
            steps.push(Step { id: step.id.unwrap_or_default(), kind, when, continues: step.continues, after });
        }
        let mut ends: Vec<u32> = (0..steps.len() as u32).collect();
        ends.retain(|end| !steps.iter().any(|step| step.after.iter().any(|after| after.position == *end)));
        Block { steps, ends }
    }

    fn after(&mut self, after: &[(String, Vec<String>)], step: &StepFile, before: &[Step]) -> Vec<After> {
        let mut found = Vec::new();
        for (id, statuses) in after {
            let Some(position) = before.iter().position(|other| other.id == *id) else {
                let at = child(&child(&step.at, "run_after"), id);
                let what = format!("`{id}` is not a step above this one in the same list");
                let before = before.iter().map(|step| step.id.as_str()).filter(|id| !id.is_empty());
                let hint = suggest(id, before.collect::<Vec<_>>());
                self.say(problem::UNKNOWN_STEP, &at, At::Key, what, hint);
                continue;
            };
            let on = statuses.iter().fold(Ends(0), |on, status| match status.as_str() {
                "succeeded" => on.or(Ends::SUCCEEDED),
                "failed" => on.or(Ends::FAILED),
                "skipped" => on.or(Ends::SKIPPED).or(Ends::UNMET),
                "timed_out" => on.or(Ends::TIMED_OUT),
                _ => on,
            });
            found.push(After { position: position as u32, on });
        }
        found
    }

    /// The kind as checked, and the shape of its output.
    fn kind(&mut self, kind: KindFile, at: &str, reach: &mut InReach<'_>) -> (Option<Kind>, Shape) {
        let null = Shape::of(Types::NULL);
        match kind {
            KindFile::Action(call) => self.call(call, at, reach),
            KindFile::Response { status, headers, body } => {
                let here = child(at, "response");
                let whole = [("status", Types::NUMBER), ("headers", Types::OBJECT), ("body", Types::ANY)];
                let mut parts = Vec::new();
                for ((key, types), value) in whole.into_iter().zip([status, headers, body]) {
                    let at = child(&here, key);
                    let (mapping, shape) = self.mapping(&value, &at, reach);
                    self.fits(&Shape::of(types), &shape, &at);
                    if key == "status" && value.is_number() && !value.as_u64().is_some_and(|s| (200..600).contains(&s))
                    {
                        let what = format!("{value} is not a status that can be answered: 200 to 599");
                        self.say(problem::BAD_VALUE, &at, At::Value, what, None);
                    }
                    parts.extend(mapping);
                }
                let [status, headers, body] = match <[Mapping; 3]>::try_from(parts) {
                    Ok(parts) => parts,
                    Err(_) => return (None, null),
                };
                (Some(Kind::Response(Box::new(Answering { status, headers, body }))), null)
            }
            KindFile::Set(value) => {
                let (mapping, shape) = self.mapping(&value, &child(at, "set"), reach);
                (mapping.map(Kind::Set), shape)
            }
            KindFile::If { condition, then, otherwise } => {
                let parsed = condition.and_then(|text| self.condition(&text, &child(at, "if"), reach));
                let before: BTreeSet<String> = reach.steps.keys().cloned().collect();
                let mut inner = reach.clone();
                let then = self.block(then, &mut inner);
                let mut seen = inner.steps;
                inner = reach.clone();
                let otherwise = self.block(otherwise, &mut inner);
                seen.extend(inner.steps);
                // From below, a step in a branch can be named; it is null where the branch was not taken.
                for (id, mut shape) in seen.into_iter().filter(|(id, _)| !before.contains(id)) {
                    if let Some(output) = shape.properties.get_mut("output") {
                        output.types = output.types.or(Types::NULL);
                    }
                    reach.steps.insert(id, shape);
                }
                (parsed.map(|condition| Kind::If { condition, then, otherwise }), null)
            }
            KindFile::Delay(text) => {
                let at = child(at, "delay");
                let Some((template, shape)) = self.template(&text, &at, reach) else { return (None, null) };
                if template.is_literal()
                    && let Err(what) = duration(&text)
                {
                    self.say(problem::BAD_VALUE, &at, At::Value, what, None);
                }
                self.fits(&Shape::of(Types::STRING), &shape, &at);
                (Some(Kind::Delay(template)), null)
            }
            KindFile::Terminate { status, message } => {
                let here = child(at, "terminate");
                let termination = match status.as_str() {
                    "succeeded" => Some(Termination::Succeeded),
                    "failed" => Some(Termination::Failed),
                    "cancelled" => Some(Termination::Cancelled),
                    other => {
                        let pointer = child(&here, "status");
                        let hint = suggest(other, ["succeeded", "failed", "cancelled"]);
                        let what = format!("`{other}` is not how a run can be ended");
                        self.say(problem::BAD_VALUE, &pointer, At::Value, what, hint);
                        None
                    }
                };
                let (message, _) = self.mapping(&message, &child(&here, "message"), reach);
                let kind = termination.zip(message).map(|(status, message)| Kind::Terminate { status, message });
                (kind, null)
            }
        }
    }

    fn mapping(&mut self, value: &Value, at: &str, reach: &InReach<'_>) -> (Option<Mapping>, Shape) {
        match Mapping::parse(value) {
            Ok(mapping) => {
                let (shape, findings) = mapping.check(reach);
                for (pointer, finding) in findings {
                    self.found(finding, &format!("{at}{pointer}"));
                }
                (Some(mapping), shape)
            }
            Err(errors) => {
                for (pointer, error) in errors {
                    self.unparsed(error, &format!("{at}{pointer}"));
                }
                self.leaves(value, at, reach);
                (None, Shape::any())
            }
        }
    }

    /// Checks each template that can be read beside others that cannot.
    fn leaves(&mut self, value: &Value, at: &str, reach: &InReach<'_>) {
        match value {
            Value::String(text) => {
                let findings = Template::parse(text).map(|template| template.check(reach).1).unwrap_or_default();
                findings.into_iter().for_each(|finding| self.found(finding, at));
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, item)| self.leaves(item, &format!("{at}/{index}"), reach));
            }
            Value::Object(map) => map.iter().for_each(|(key, value)| self.leaves(value, &child(at, key), reach)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn template(&mut self, text: &str, at: &str, reach: &InReach<'_>) -> Option<(Template, Shape)> {
        let template = Template::parse(text).map_err(|error| self.unparsed(error, at)).ok()?;
        let (shape, findings) = template.check(reach);
        findings.into_iter().for_each(|finding| self.found(finding, at));
        Some((template, shape))
    }

    fn condition(&mut self, text: &str, at: &str, reach: &InReach<'_>) -> Option<Condition> {
        let condition = Condition::parse(text).map_err(|error| self.unparsed(error, at)).ok()?;
        condition.check(reach).into_iter().for_each(|finding| self.found(finding, at));
        Some(condition)
    }

    fn fits(&mut self, want: &Shape, got: &Shape, at: &str) {
        let mut found: Vec<Misfit> = Vec::new();
        misfits(want, got, at, &mut found);
        for (code, pointer, place, what, hint) in found {
            self.say(code, &pointer, place, what, hint);
        }
    }

    fn say(&mut self, code: Code, pointer: &str, at: At, what: String, hint: Option<String>) {
        self.problems.push(self.source.problem(code, pointer, at, what, hint));
    }

    fn unparsed(&mut self, error: ParseError, at: &str) {
        let code = (error.code, "a template that cannot be read");
        self.say(code, at, At::Offset(error.offset), error.what, error.hint);
    }

    fn found(&mut self, finding: Finding, at: &str) {
        let title = if finding.certain { "a template that cannot work" } else { "a template that may not work" };
        let place = At::Offset(finding.offset);
        let mut problem = self.source.problem((finding.code, title), at, place, finding.what, finding.hint);
        if !finding.certain {
            problem.severity = Severity::Warning;
        }
        self.problems.push(problem);
    }
}

/// Shapes of the variables that `set` steps give values; what a template gives is not known yet.
fn set_vars(steps: &[StepFile], vars: &mut BTreeMap<String, Shape>) {
    for step in steps {
        match &step.kind {
            Some(KindFile::Set(Value::Object(values))) => {
                for name in values.keys() {
                    vars.insert(name.clone(), Shape::any());
                }
            }
            Some(KindFile::If { then, otherwise, .. }) => {
                set_vars(then, vars);
                set_vars(otherwise, vars);
            }
            None
            | Some(
                KindFile::Set(_)
                | KindFile::Action(_)
                | KindFile::Response { .. }
                | KindFile::Delay(_)
                | KindFile::Terminate { .. },
            ) => {}
        }
    }
}

fn address(block: &Block, path: &mut Vec<Hop>, found: &mut HashMap<String, Address>) {
    for (position, step) in block.steps.iter().enumerate() {
        path.push(Hop::Position(position as u32));
        found.insert(step.id.clone(), Address(path.clone()));
        for (sub, inner) in step.blocks() {
            path.push(Hop::Branch(sub));
            address(inner, path, found);
            path.pop();
        }
        path.pop();
    }
}

fn answers(block: &Block) -> bool {
    block.steps.iter().any(|step| {
        matches!(step.kind, Kind::Response(_)) || step.blocks().into_iter().any(|(_, inner)| answers(inner))
    })
}
