//! The one way from a flow file as typed to a flow as checked. Reports all problems at once.

mod block;
mod call;
mod course;
mod kind;
mod nested;
mod secure;
mod trigger;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde_json::Value;

pub(super) use self::block::Inside;
use self::block::{address, answers, forget, set_vars};
use self::course::Course;
use super::doubt::{Doubt, Vars, either, possibly};
use super::file::{
    self, CallFile, DedupeFile, FlowFile, KindFile, MockFile, RequestFile, SchemaFile, StepFile, TriggerFile,
    TriggerKindFile,
};
use super::fit::{Misfit, NAMES_NO_ONE, Remedy, convert, mend, misfits};
use super::names::{self, InReach};
use super::problem::{self, Code, Problem, Severity, nearest, suggest};
use super::source::{At, Source, child};
use super::*;
use crate::connector::{Connector, Need};
use crate::mapping::{Condition, Finding, Mapping, ParseError, Template};
use crate::schema::{Schema, Shape, Types};

pub fn load(path: &Path, text: &str, known: &Known<'_>) -> Loaded {
    let (checker, flow, id) = read(path, text, known, None);
    checker.end(flow, id)
}

/// See [`Flow::names_at`].
pub fn names_at(path: &Path, text: &str, known: &Known<'_>, pointer: &str) -> Option<Shape> {
    let probe = Probe { pointer: pointer.to_owned(), found: None };
    read(path, text, known, Some(probe)).0.probe?.found
}

fn read<'k>(
    path: &Path,
    text: &str,
    known: &'k Known<'k>,
    probe: Option<Probe>,
) -> (Checker<'k>, Option<Flow>, Option<String>) {
    let (source, value, problems) = Source::read(path, text);
    let mut checker = Checker {
        source,
        known,
        problems,
        connectors: BTreeSet::new(),
        calls: BTreeMap::new(),
        files: Vec::new(),
        raw: Vec::new(),
        given: Vars::new(),
        value: Value::Null,
        probe,
    };
    let Some(value) = value else { return (checker, None, None) };
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
    checker.value = value;
    let flow = checker.flow(read, id.clone().unwrap_or_default());
    (checker, Some(flow), id)
}

/// Asks what can be named at one place.
struct Probe {
    pointer: String,
    /// The answer so far: each place that is nearer to it knows better.
    found: Option<Shape>,
}

struct Checker<'k> {
    source: Source,
    known: &'k Known<'k>,
    problems: Vec<Problem>,
    connectors: BTreeSet<String>,
    /// Flows that are called, and the place of each one's first call.
    calls: BTreeMap<String, String>,
    files: Vec<String>,
    /// What stands where a secret's place should: no message may show it.
    raw: Vec<String>,
    /// What variables have been given by any step so far.
    given: Vars,
    /// The file as it was read.
    value: Value,
    probe: Option<Probe>,
}

impl Checker<'_> {
    fn end(mut self, flow: Option<Flow>, id: Option<String>) -> Loaded {
        // An unquoted template reads as null, which is refused in most places once more.
        let unquoted: BTreeSet<(usize, usize)> =
            self.problems.iter().filter(|p| p.code == problem::UNQUOTED.0).map(|p| (p.line, p.column)).collect();
        self.problems.retain(|p| p.code == problem::UNQUOTED.0 || !unquoted.contains(&(p.line, p.column)));
        self.problems.sort_by(|a, b| (a.line, a.column, &a.code, &a.what).cmp(&(b.line, b.column, &b.code, &b.what)));
        self.problems.dedup();
        self.mask();
        // A run keeps the definition that it began with: what later checks find out about it does not stop it.
        let pinned = self.known.connections.is_none();
        let stops = |problem: &&Problem| !pinned || !problem::JUDGEMENTS.contains(&problem.code.as_str());
        let failed = self.problems.iter().filter(stops).any(|problem| problem.severity == Severity::Error);
        Loaded { flow: if failed { None } else { flow }, id, files: self.files, problems: self.problems }
    }

    fn flow(&mut self, read: FlowFile, id: String) -> Flow {
        let mut all_steps = BTreeSet::new();
        let mut vars = BTreeSet::new();
        let mut inside = Inside::default();
        for steps in [Some(&read.steps), read.on_failure.as_ref()].into_iter().flatten() {
            self.step_ids(steps, &mut all_steps);
            set_vars(steps, &mut vars);
            inside.look(steps, &mut Vec::new(), None, None);
        }
        let mut reach = InReach {
            trigger: Shape::any(),
            steps: BTreeMap::new(),
            own: String::new(),
            doubts: BTreeMap::new(),
            all_steps: &all_steps,
            vars: &vars,
            now: Vars::new(),
            in_turn: true,
            asked: Default::default(),
            lasting: Vec::new(),
            env: self.known.env,
            inside: &inside,
            loops: Vec::new(),
            depth: 0,
            owner: 0,
            failing: false,
        };
        let trigger = self.trigger(read.trigger, &mut reach);
        let mut steps = self.block(read.steps, &mut reach);
        let mut on_failure = read.on_failure.map(|steps| {
            // Whichever step failed: those below it, and it, left nothing behind.
            for id in reach.steps.keys() {
                let why = format!("`{id}` need not have succeeded when `on_failure` begins");
                reach.doubts.insert(id.clone(), Doubt::new(id, why, None));
            }
            reach.now = self.given.iter().map(|(name, shape)| (name.clone(), possibly(shape.clone()))).collect();
            reach.now.retain(|name, _| vars.contains(name));
            (reach.asked, reach.in_turn) = (Default::default(), true);
            (reach.failing, reach.depth) = (true, 2);
            self.block(steps, &mut reach)
        });
        secure::spread([Some(&mut steps), on_failure.as_mut()]);
        let answers = answers(&steps) || on_failure.as_ref().is_some_and(answers);
        self.split_answers(&trigger, answers);
        let mut addresses = HashMap::new();
        address(&steps, &mut Vec::new(), &mut addresses);
        if let Some(block) = &on_failure {
            address(block, &mut vec![Hop::Handler], &mut addresses);
        }
        Flow {
            id,
            description: read.description,
            aliases: read.aliases,
            enabled: read.enabled,
            concurrency: read.concurrency,
            trigger,
            answers,
            steps,
            on_failure,
            timeout: read.timeout,
            addresses,
            connectors: std::mem::take(&mut self.connectors).into_iter().collect(),
            calls: std::mem::take(&mut self.calls),
            files: self.files.clone(),
        }
    }

    /// Notes what can be named at `at` and below, where that is asked for.
    fn look(&mut self, at: &str, reach: &InReach<'_>) {
        if let Some(probe) = &mut self.probe
            && probe.pointer.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        {
            probe.found = Some(reach.whole());
        }
    }

    fn mapping(&mut self, value: &Value, at: &str, reach: &InReach<'_>) -> (Option<Mapping>, Shape) {
        self.look(at, reach);
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
        self.look(at, reach);
        let template = Template::parse(text).map_err(|error| self.unparsed(error, at)).ok()?;
        let (shape, findings) = template.check(reach);
        findings.into_iter().for_each(|finding| self.found(finding, at));
        Some((template, shape))
    }

    fn condition(&mut self, text: &str, at: &str, reach: &InReach<'_>) -> Option<Condition> {
        self.look(at, reach);
        let condition = Condition::parse(text).map_err(|error| self.unparsed(error, at)).ok()?;
        condition.check(reach).into_iter().for_each(|finding| self.found(finding, at));
        Some(condition)
    }

    fn fits(&mut self, want: &Shape, got: &Shape, at: &str) {
        let mut found: Vec<Misfit> = Vec::new();
        misfits(want, got, at, &mut found);
        for Misfit { code, pointer, at, what, remedy } in found {
            let hint = match remedy {
                Remedy::None => None,
                Remedy::Hint(hint) => Some(hint),
                Remedy::Convert(wanted) => self.value.pointer(&pointer).and_then(|given| convert(given, wanted)),
                Remedy::Null { wanted, needed } => {
                    let mended = self.value.pointer(&pointer).and_then(|given| mend(given, wanted, needed));
                    Some(mended.unwrap_or_else(|| NAMES_NO_ONE.to_owned()))
                }
            };
            self.say(code, &pointer, at, what, hint);
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
        self.problems.push(self.source.problem((finding.code, title), at, place, finding.what, finding.hint));
    }
}
