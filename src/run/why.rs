//! Why a value of a run is what it is: through which expression it came, and from what, back to where it came in.
//!
//! Nothing is guessed: the records are folded up to the step that took the value, and its expression's paths are looked
//! up in what it saw.

mod asked;
mod origin;

use serde_json::{Value, json};

use self::asked::Asked;
use super::scope::InRun;
use super::*;
use crate::flow::{Flow, Kind, Step};
use crate::mapping::{Key, Mapping, Scope, Template, walk};

/// How far back it is told, steps; and how many values in all.
const DEEPEST: usize = 10;
const MOST: usize = 200;
/// What stands for a value that `secure` hides.
const HIDDEN: &str = "(secure)";

/// Where the value that `asked` names (`create_lead.record.firstname`, `steps.create_lead.output.id`,
/// `keep[2].row.email`) came from.
///
/// # Errors
/// What is wrong with what is asked, for a person.
pub fn why(run: RunId, flow: &Flow, records: &[Record], env: &Value, asked: &str) -> Result<Value, String> {
    let story = Story { run, flow, records, env, left: MOST.into() };
    let asked = Asked::read(asked)?;
    let step = flow.step_called(&asked.step).ok_or_else(|| {
        let hint = crate::flow::nearest(&asked.step, flow.addresses.keys().map(String::as_str));
        let hint = hint.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        format!("the flow has no step `{}`{hint}", asked.step)
    })?;
    let done = story.executions(&asked.step, usize::MAX);
    let number = asked.number.unwrap_or_else(|| done.len().saturating_sub(1));
    let execution = done.get(number).ok_or_else(|| match (done.len(), asked.number) {
        (0, _) => format!("step `{}` did not begin in this run", asked.step),
        (count, _) => format!("step `{}` ran {count} times, counted from 0", asked.step),
    })?;
    let output = asked.output.unwrap_or(!matches!(step.kind, Kind::Action(_) | Kind::Call(_)));
    let mut told = if output {
        story.output(step, execution, &asked.keys, DEEPEST)
    } else {
        story.input(step, execution, &asked.keys, DEEPEST)
    };
    told["step"] = json!(step.id);
    told["place"] = json!(execution.place);
    Ok(told)
}

/// One execution of a step.
#[derive(Debug, Clone)]
struct Execution {
    place: Place,
    /// The number of the event that begins it, over all records.
    begins: usize,
}

struct Story<'s> {
    run: RunId,
    flow: &'s Flow,
    records: &'s [Record],
    env: &'s Value,
    /// How many values may still be told.
    left: std::cell::Cell<usize>,
}

impl Story<'_> {
    fn events(&self) -> impl Iterator<Item = (usize, Timestamp, &Event)> {
        let all = self.records.iter().flat_map(|record| record.events.iter().map(move |event| (record.at, event)));
        all.enumerate().map(|(number, (at, event))| (number, at, event))
    }

    /// How often a step was executed, in order, before the event of this number.
    fn executions(&self, id: &str, before: usize) -> Vec<Execution> {
        let mut found: Vec<Execution> = Vec::new();
        for (number, _, event) in self.events().take_while(|(number, ..)| *number < before) {
            let Some(place) = event.place() else { continue };
            let is_it = self.flow.step(&place.0).is_some_and(|step| step.id == id);
            if is_it && !matches!(event, Event::Resumed { .. }) && found.iter().all(|known| known.place != *place) {
                found.push(Execution { place: place.clone(), begins: number });
            }
        }
        found
    }

    /// The run as it was before the event of this number, and when that was.
    fn before(&self, wanted: usize) -> Option<(Run, Timestamp)> {
        let mut run: Option<Run> = None;
        for (number, at, event) in self.events() {
            if number == wanted {
                return run.map(|run| (run, at));
            }
            match (&mut run, event) {
                (None, Event::Started(started)) => {
                    run = Some(Run::new(self.run, at, started.clone()));
                }
                (Some(run), event) => run.apply(at, event).ok()?,
                (None, _) => return None,
            }
        }
        None
    }

    /// What a step was given, at `keys` of its inputs.
    fn input(&self, step: &Step, execution: &Execution, keys: &[Key], depth: usize) -> Value {
        let given = self.events().find_map(|(_, _, event)| match event {
            Event::Called { place, input: Some(input), .. } | Event::Invoked { place, input: Some(input), .. }
                if *place == execution.place =>
            {
                Some(input.clone())
            }
            _ => None,
        });
        let is = given.as_deref().and_then(|input| walk(input, keys)).cloned();
        let mapping = match &step.kind {
            Kind::Action(call) => Some(&call.input),
            Kind::Call(child) => Some(&child.body),
            _ => None,
        };
        let Some(mapping) = mapping else {
            return json!({"is": null, "because": "the step takes no inputs"});
        };
        let mut told = self.mapped(mapping, "/with", execution, keys, depth);
        told["is"] = shown(is.as_ref(), step.secure.inputs);
        told
    }

    /// The templates of a mapping that gave its value at `keys`.
    fn mapped(&self, mapping: &Mapping, base: &str, execution: &Execution, keys: &[Key], depth: usize) -> Value {
        let asked = pointer(keys);
        let below = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
        let all = mapping.templates();
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        let exact = all.iter().find(|(at, _)| same(at, &asked) || below(&asked.to_lowercase(), &at.to_lowercase()));
        if let Some((at, template)) = exact {
            let depth_of = at.matches('/').count();
            return self.rendered(template, &format!("{base}{at}"), execution, &keys[depth_of..], depth);
        }
        let inner: Vec<Value> = all
            .iter()
            .filter(|(at, _)| asked.is_empty() || below(at, &asked))
            .map(|(at, template)| self.rendered(template, &format!("{base}{at}"), execution, &[], depth))
            .collect();
        match inner.is_empty() {
            true => json!({"at": format!("{base}{asked}"), "because": "it stands so in the flow's file"}),
            false => json!({"at": format!("{base}{asked}"), "parts": inner}),
        }
    }

    /// What a template read when the step began; `rest` leads into its value.
    fn rendered(&self, template: &Template, at: &str, execution: &Execution, rest: &[Key], depth: usize) -> Value {
        // At the end of an iteration the place is the iteration's own.
        let place = &execution.place.0;
        let step = self.flow.step(&place[..place.len() - (place.len() + 1) % 2]);
        let hidden = step.is_some_and(|step| step.secure.inputs);
        let mut told = json!({"step": step.map(|step| step.id.as_str()), "at": at, "expression": template.source()});
        let Some((run, now)) = self.before(execution.begins) else { return told };
        let around = Around::new(now, self.env);
        let scope = InRun { run: &run, flow: self.flow, path: &execution.place.0, around: &around };
        let paths = template.paths();
        // Of one whole path the rest goes on where it leads; else nobody knows which part it came from.
        let whole = template.is_whole() && paths.len() == 1 && !template.source().contains(' ');
        let mut from = Vec::new();
        for keys in paths {
            let mut keys = keys.to_vec();
            if whole {
                keys.extend(rest.iter().cloned());
            }
            if self.left.get() == 0 {
                from.push(json!({"because": "there is more than is told here"}));
                break;
            }
            self.left.set(self.left.get() - 1);
            let is = found(&scope, &keys);
            let mut one = self.origin(&keys, execution, depth.saturating_sub(1));
            if one.get("is").is_none() {
                one["is"] = is.unwrap_or_default();
            }
            // What a step hides that it was given is not told as what it was made of.
            if hidden {
                one["is"] = json!(HIDDEN);
            }
            one["path"] = json!(keys.join("."));
            from.push(one);
        }
        if from.is_empty() {
            told["because"] = json!("it reads nothing of the run");
        } else {
            told["from"] = Value::Array(from);
        }
        told
    }
}

/// The value of a path in a scope.
fn found(scope: &dyn Scope, keys: &[Key]) -> Option<Value> {
    let (value, known) = scope.find(keys)?;
    walk(&value, keys.get(known..).unwrap_or_default()).cloned()
}

fn shown(value: Option<&Value>, hidden: bool) -> Value {
    match value {
        Some(_) if hidden => json!(HIDDEN),
        Some(value) => value.clone(),
        None => Value::Null,
    }
}

fn pointer(keys: &[Key]) -> String {
    keys.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1"))).collect()
}
