//! Where what an expression reads came from.

use serde_json::{Value, json};

use super::*;
use crate::flow::Foreach;

impl Story<'_> {
    /// Where the value at a path came from that a step read as it began. What is hidden there is told as `is`.
    pub(super) fn origin(&self, keys: &[Key], reader: &Execution, depth: usize) -> Value {
        let key = |index: usize| keys.get(index).map(String::as_str);
        let rest = |from: usize| keys.get(from..).unwrap_or_default();
        let because = |why: &str| json!({"because": why});
        match (key(0).unwrap_or_default(), key(1)) {
            ("trigger", Some("body")) => because("it came in with the request's body"),
            ("trigger", _) => because("it came in with the request"),
            ("steps", Some(id)) => {
                let Some(step) = self.flow.step_called(id) else { return because("there is no such step") };
                let Some(execution) = self.seen(id, reader) else { return because("the step had not begun") };
                match key(2) {
                    Some("output") if depth == 0 => because("told no further"),
                    Some("output") => self.output(step, &execution, rest(3), depth),
                    Some("error") => because("it is how the step failed"),
                    _ => because("it is how the step stood"),
                }
            }
            ("vars", Some(name)) => match self.assigned(name, reader) {
                None => because("no step had set the variable"),
                Some(_) if depth == 0 => because("told no further"),
                Some((step, execution)) => self.output(step, &execution, rest(1), depth),
            },
            ("item", _) => self.item(None, rest(1), reader, depth),
            ("loops", Some(id)) if key(2) == Some("item") => self.item(Some(id), rest(3), reader, depth),
            ("index" | "loops", _) => because("it is the number of the iteration, from 0"),
            ("env", _) => because("it is a variable of the environment, as it is now"),
            ("flow", _) => because("it is the flow's own"),
            ("run", _) => because("it is the run's own"),
            _ => because("it is no value of the run"),
        }
    }

    /// The execution of a step that a reader sees: the one that is in most of the iterations it is in itself, of these the last.
    fn seen(&self, id: &str, reader: &Execution) -> Option<Execution> {
        let shared = |place: &Place| place.0.iter().zip(&reader.place.0).take_while(|(a, b)| a == b).count();
        self.executions(id, reader.begins).into_iter().max_by_key(|one| (shared(&one.place), one.begins))
    }

    /// The `set` that gave a variable the value that a reader sees.
    fn assigned(&self, name: &str, reader: &Execution) -> Option<(&Step, Execution)> {
        let mut found = None;
        for (number, _, event) in self.events().take_while(|(number, ..)| *number < reader.begins) {
            if let Event::Assigned { place, vars, owner } = event
                && vars.contains_key(name)
                // One of another branch or iteration is not in reach.
                && reader.place.0.starts_with(&place.0[..(*owner).min(place.0.len())])
            {
                found = Some((self.flow.step(&place.0)?, Execution { place: place.clone(), begins: number }));
            }
        }
        found
    }

    /// What a step gave, at `keys` of its output.
    pub(super) fn output(&self, step: &Step, execution: &Execution, keys: &[Key], depth: usize) -> Value {
        let given = self.given(execution);
        let is = given.as_ref().and_then(|output| walk(output, keys));
        let mut told = match &step.kind {
            _ if step.mock.is_some() => json!({"because": "the flow mocks the step"}),
            Kind::Action(call) => {
                let name = format!("{}.{}", call.connector.name, call.action);
                json!({"because": format!("{name} answered it to step `{}`", step.id)})
            }
            Kind::Call(child) => {
                let run = self.events().filter_map(|(_, _, event)| match event {
                    Event::Invoked { place, child, .. } if *place == execution.place => Some(*child),
                    _ => None,
                });
                json!({"because": format!("flow `{}` answered it to step `{}`", child.flow, step.id), "run": run.last()})
            }
            Kind::Set(set) => self.mapped(&set.values, "/set", execution, keys, depth),
            Kind::Response(answering) => match keys.first().map(String::as_str) {
                Some("headers") => self.mapped(&answering.headers, "/response/headers", execution, &keys[1..], depth),
                Some("status") => self.mapped(&answering.status, "/response/status", execution, &keys[1..], depth),
                Some("body") => self.mapped(&answering.body, "/response/body", execution, &keys[1..], depth),
                _ => self.mapped(&answering.body, "/response/body", execution, &[], depth),
            },
            Kind::Wait { .. } => json!({"because": "it came with the POST that the step waited for"}),
            Kind::Foreach(each) => self.collected(each, execution, keys, depth),
            Kind::Until(_)
            | Kind::If { .. }
            | Kind::Switch(_)
            | Kind::Parallel(_)
            | Kind::Scope(_)
            | Kind::Delay(_)
            | Kind::DelayUntil(_)
            | Kind::Terminate { .. } => json!({"because": "a step of this kind gives nothing"}),
        };
        if self.is_taken_over(execution) {
            told = json!({"because": "it was taken over from the run that this one repeats"});
        }
        told["is"] = shown(is, step.secure.outputs);
        told
    }

    /// A step's output, as it was recorded.
    fn given(&self, execution: &Execution) -> Option<Value> {
        let mut collected: Vec<Value> = Vec::new();
        let mut found = None;
        for (_, _, event) in self.events() {
            match event {
                Event::Succeeded { place, output } if *place == execution.place => found = Some(Value::clone(output)),
                Event::Assigned { place, vars, .. } if *place == execution.place => {
                    found = Some(Value::Object(vars.clone()));
                }
                Event::Responded { place, response } if *place == execution.place => found = Some(json!(response)),
                Event::Left { place, sub, value: Some(value), .. } if *place == execution.place => {
                    let at = *sub as usize;
                    collected.resize(collected.len().max(at + 1), Value::Null);
                    collected[at] = Value::clone(value);
                }
                Event::TookOver(taken) => {
                    let mut steps = taken.steps.iter().filter(|taken| taken.place == execution.place);
                    found = steps.find_map(|taken| taken.output.as_deref().cloned());
                }
                _ => {}
            }
        }
        if collected.is_empty() { found } else { Some(Value::Array(collected)) }
    }

    fn is_taken_over(&self, execution: &Execution) -> bool {
        self.events().any(|(_, _, event)| {
            matches!(event, Event::TookOver(taken) if taken.steps.iter().any(|taken| taken.place == execution.place))
        })
    }

    /// What a `foreach` collected: of one item, through its expression as that iteration ended.
    fn collected(&self, each: &Foreach, execution: &Execution, keys: &[Key], depth: usize) -> Value {
        let Some(collect) = &each.collect else { return json!({"because": "the loop collects nothing"}) };
        let item = keys.first().and_then(|key| key.parse::<u32>().ok());
        let Some(item) = item else {
            return json!({"because": "it has what each iteration gave; ask for one of them"});
        };
        let ended = self.events().find_map(|(number, _, event)| match event {
            Event::Left { place, sub, .. } if *place == execution.place && *sub == item => Some(number),
            _ => None,
        });
        let Some(begins) = ended else { return json!({"because": "that iteration has not ended"}) };
        let path = execution.place.0.iter().copied().chain([item]).collect();
        self.mapped(collect, "/collect", &Execution { place: Place(path), begins }, &keys[1..], depth)
    }

    /// The item of the innermost loop around the reader, or of the one called `id`.
    fn item(&self, id: Option<&str>, rest: &[Key], reader: &Execution, depth: usize) -> Value {
        let handler = if reader.place.0.first() == Some(&crate::flow::HANDLER) { 2 } else { 0 };
        let found = (handler + 1..reader.place.0.len()).step_by(2).rev().find_map(|end| {
            let place = Place(reader.place.0[..end].to_vec());
            let step = self.flow.step(&place.0)?;
            let wanted = id.is_none_or(|id| id == step.id);
            match &step.kind {
                Kind::Foreach(each) if wanted => Some((each, step, place, reader.place.0[end])),
                _ => None,
            }
        });
        let Some((each, step, place, sub)) = found else { return json!({"because": "it is the item of a loop"}) };
        let begins = self.events().find_map(|(number, _, event)| match event {
            Event::Iterating { place: at, .. } if *at == place => Some(number),
            _ => None,
        });
        let because = format!("it is item {sub} of the loop `{}`", step.id);
        let Some(begins) = begins.filter(|_| depth > 0) else { return json!({"because": because}) };
        let keys: Vec<Key> = std::iter::once(sub.to_string()).chain(rest.iter().cloned()).collect();
        let mut told = self.rendered(&each.items, "/foreach", &Execution { place, begins }, &keys, depth);
        told["because"] = json!(because);
        if step.secure.inputs {
            told["is"] = json!(HIDDEN);
        }
        told
    }
}
