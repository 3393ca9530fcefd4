//! The one way from a flow file as typed to a flow as checked. Reports all problems at once.

mod block;
mod call;
mod trigger;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde_json::Value;

use self::block::{address, answers, set_vars};
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
        let schema = read.trigger.schema.as_ref().and_then(|schema| self.schema(schema));
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
        let dedupe = read.trigger.dedupe.map(|dedupe| self.dedupe(dedupe, &reach));
        let steps = self.block(read.steps, &mut reach);
        let mut addresses = HashMap::new();
        address(&steps, &mut Vec::new(), &mut addresses);
        Flow {
            id,
            description: read.description,
            aliases: read.aliases,
            enabled: read.enabled,
            concurrency: read.concurrency,
            trigger: Trigger { schema, dedupe },
            answers: answers(&steps),
            steps,
            addresses,
            connectors: std::mem::take(&mut self.connectors).into_iter().collect(),
            files: self.files.clone(),
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
