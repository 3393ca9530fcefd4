//! The checker's promise where steps are skipped, fail, are passed over and caught: whole runs of flows made at random.
//!
//! Runs are decided as the engine decides them, without journal, clock and outside; calls succeed or fail by chance.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use millstream::connector::{Class, Connector, Connectors, Failure};
use millstream::flow::{Flow, Known};
use millstream::run::{Around, Body, Digest, Event, Next, Request, Run, RunId, Started};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::Random;

const CONNECTOR: &str = r#"
connector: target
version: 1
description: Gives an id, and takes one
base_url: https://target.example.com
actions:
  give:
    description: Gives an id
    input: {type: object}
    output_schema: {type: object, required: [id], additionalProperties: false, properties: {id: {type: string}}}
    request: {post: /}
    repeat: safe
  take:
    description: Takes an id
    input: {type: object, required: [id], additionalProperties: false, properties: {id: {type: string}}}
    request: {post: /}
    repeat: safe
"#;

/// Makes flows.
struct Maker {
    random: Random,
    /// Steps that give an id, in the order of the file.
    givers: Vec<String>,
    count: usize,
    /// With variables, and then without what they are not followed through: loops and `run_after`.
    vars: bool,
}

impl Maker {
    fn id(&mut self) -> String {
        self.count += 1;
        format!("s{}", self.count)
    }

    fn chance(&mut self, of: u64) -> bool {
        self.random.below(of) == 0
    }

    fn flag(&mut self) -> String {
        format!("{{{{trigger.body.f{}}}}}", self.random.below(2))
    }

    /// A template that gives an id, or null.
    fn value(&mut self) -> String {
        let known = self.givers.len() as u64;
        if known == 0 && !self.vars {
            return "x".into();
        }
        if self.vars && (known == 0 || self.chance(4)) {
            return if self.chance(3) { "{{coalesce vars.v \"x\"}}".into() } else { "{{vars.v}}".into() };
        }
        // Of the last few, since those are most often sure.
        let back = self.random.below(known.min(4)) as usize;
        let giver = &self.givers[self.givers.len() - 1 - back];
        let path = format!("steps.{giver}.output.id");
        if self.chance(6) { format!("{{{{coalesce {path} \"x\"}}}}") } else { format!("{{{{{path}}}}}") }
    }

    fn block(&mut self, depth: u32) -> Value {
        let mut steps: Vec<Value> = Vec::new();
        for _ in 0..1 + self.random.below(if depth == 0 { 4 } else { 2 }) {
            let step = self.step(depth, &steps);
            steps.push(step);
        }
        json!(steps)
    }

    fn step(&mut self, depth: u32, above: &[Value]) -> Value {
        let id = self.id();
        let mut gives = false;
        let mut step = match self.random.below(if depth < 2 { 13 } else { 8 }) {
            0..=3 => {
                gives = true;
                json!({"action": "target.give", "with": {}, "retry": "none"})
            }
            4..=5 => json!({"action": "target.take", "with": {"id": self.value()}, "retry": "none"}),
            6 if self.vars => json!({"set": {"v": self.value()}}),
            6..=7 if depth > 0 && self.chance(2) => json!({"terminate": "succeeded"}),
            6..=7 => json!({"set": {(if self.vars { "v" } else { "w" }): "text"}}),
            8..=9 => json!({"if": self.flag(), "then": self.block(depth + 1), "else": self.block(depth + 1)}),
            10..=11 => {
                let mut scope = json!({"scope": self.block(depth + 1)});
                if !self.chance(3) {
                    scope["catch"] = self.block(depth + 1);
                }
                if self.chance(3) {
                    scope["finally"] = self.block(depth + 1);
                }
                scope
            }
            _ if self.vars => json!({"parallel": {"left": self.block(depth + 1), "right": self.block(depth + 1)}}),
            _ => json!({"foreach": "{{trigger.body.items}}", "do": self.block(depth + 1)}),
        };
        step["id"] = json!(id);
        if self.chance(5) {
            step["when"] = json!(self.flag());
        }
        if self.chance(6) && step.get("terminate").is_none() {
            step["on_error"] = json!("continue");
        }
        if !above.is_empty() && !self.vars && self.chance(4) {
            let on: [&[&str]; 4] = [&["succeeded"], &["succeeded", "failed"], &["failed"], &["succeeded", "skipped"]];
            let before = &above[self.random.below(above.len() as u64) as usize]["id"];
            let on = on[self.random.below(4) as usize];
            step["run_after"] = json!({before.as_str().expect("an id is text"): on});
        }
        if gives {
            self.givers.push(id);
        }
        step
    }

    /// Plays a run to its end; the failure that the checker should have told of, if there is one.
    fn play(&mut self, flow: &Flow) -> Option<String> {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().expect("a time");
        let items: &[&str] = if self.chance(2) { &["a", "b"] } else { &[] };
        let body = json!({"f0": self.chance(2), "f1": self.chance(2), "items": items});
        let (id, env) = (RunId(Uuid::from_u128(7)), json!({}));
        let (flow_id, request) = (flow.id.clone(), Request::posted(Body::of(body.clone())));
        let definition = Digest([0; 32]);
        let started = Started { flow: flow_id, definition, request, keys: id.0, origin: None, parent: None };
        let mut run = Run::new(id, now, Arc::new(started));
        let around = Around { now, env: &env, resume_url: &|_, place| place.to_string() };
        for _ in 0..10_000 {
            let event = match run.next(flow, &around) {
                Next::Record(event) => event,
                Next::Wait { calls, .. } => {
                    let refused = || Failure::new(Class::Permanent, "connector.refused", "no");
                    let result = if self.chance(4) { Err(refused()) } else { Ok(json!({"id": "7"})) };
                    let call = &calls[self.random.below(calls.len() as u64) as usize];
                    run.settle(flow, call, result, now, 0)
                }
                Next::Ended => return None,
            };
            if let Event::Failed { place, failure, .. } = &event
                && (failure.code == "run.bad_input" || failure.code.starts_with("mapping."))
            {
                return Some(format!("{body}: at {place}: {}: {}", failure.code, failure.message));
            }
            run.apply(now, &event).expect("it was decided");
        }
        panic!("the run does not end");
    }
}

#[test]
fn a_flow_of_which_the_checker_says_nothing_uses_no_output_that_is_not_there() {
    let connectors = Connectors::only([Connector::parse("t.yaml", CONNECTOR).unwrap()]);
    let read = |_: &str| Err("there are no files".to_owned());
    let known = Known { connectors: &connectors, connections: None, env: None, read: &read };
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["f0", "f1", "items"], "properties": {
        "f0": {"type": "boolean"}, "f1": {"type": "boolean"}, "items": {"type": "array", "items": {"type": "string"}}}});
    let (mut silent, mut came_true) = (0, 0);
    for round in 0..2_000 {
        let mut maker = Maker { random: Random(round), givers: Vec::new(), count: 0, vars: round % 2 == 0 };
        let mut text = json!({"trigger": {"type": "request", "schema": schema}, "steps": maker.block(0)});
        if maker.chance(5) {
            text["on_failure"] = maker.block(1);
        }
        let loaded = Flow::load(Path::new("flows/made.yaml"), &text.to_string(), &known);
        let Some(flow) = &loaded.flow else { continue };
        let failures: Vec<String> = (0..12).filter_map(|_| maker.play(flow)).collect();
        if loaded.problems.is_empty() {
            // Where no template names anything, there is nothing to be right about.
            silent += usize::from(text.to_string().contains("{{steps.") || text.to_string().contains("{{vars."));
            assert!(
                failures.is_empty(),
                "round {round}: {failures:#?}\n{}",
                serde_json::to_string_pretty(&text).unwrap()
            );
        } else {
            came_true += usize::from(!failures.is_empty());
        }
    }
    // Neither half is empty.
    assert!(silent >= 60, "only {silent} flows had no problem");
    assert!(came_true >= 40, "only {came_true} warnings came true");
}
