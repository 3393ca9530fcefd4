//! What the checker promises: a flow of which it says nothing fails no run for a null, a type, or inputs that do not fit.
//!
//! Small flows are made at random over small schemas, and those without a problem are given bodies that their trigger admits.

use std::path::Path;

use millstream::connector::{Connector, Connectors};
use millstream::flow::{Flow, Kind, Known, Step};
use millstream::mapping::JsonScope;
use millstream::schema::Schema;
use serde_json::{Map, Value, json};

use crate::app::Random;

/// Types that fields of bodies and inputs have.
const TYPES: [&str; 7] = ["text", "number", "flag", "maybe", "mixed", "list", "person"];

fn schema_of(kind: &str) -> Value {
    match kind {
        "text" => json!({"type": "string"}),
        "number" => json!({"type": "number"}),
        "flag" => json!({"type": "boolean"}),
        "maybe" => json!({"type": ["string", "null"]}),
        "mixed" => json!({"type": ["string", "number"]}),
        "list" => json!({"type": "array", "items": {"type": "string"}}),
        _ => json!({
            "type": "object", "required": ["name"], "additionalProperties": false,
            "properties": {"name": {"type": "string"}, "nick": {"type": "string"}}
        }),
    }
}

fn value_of(kind: &str, random: &mut Random) -> Value {
    match (kind, random.below(2)) {
        ("text" | "maybe" | "mixed", 0) => json!("a"),
        ("text", _) => json!(""),
        ("number" | "mixed", _) => json!(random.below(9)),
        ("flag", coin) => json!(coin == 0),
        ("maybe", _) => Value::Null,
        ("list", 0) => json!([]),
        ("list", _) => json!(["a", "b"]),
        (_, 0) => json!({"name": "Ann"}),
        _ => json!({"name": "Ann", "nick": "A"}),
    }
}

/// A closed schema with these fields.
fn object(fields: &[(String, &str, bool)]) -> Value {
    let properties: Map<String, Value> = fields.iter().map(|(name, kind, _)| (name.clone(), schema_of(kind))).collect();
    let required: Vec<&str> =
        fields.iter().filter(|(_, _, needed)| *needed).map(|(name, _, _)| name.as_str()).collect();
    json!({"type": "object", "additionalProperties": false, "properties": properties, "required": required})
}

fn fields(prefix: &str, count: u64, random: &mut Random) -> Vec<(String, &'static str, bool)> {
    let one =
        |number| (format!("{prefix}{number}"), TYPES[random.below(TYPES.len() as u64) as usize], random.below(3) > 0);
    (0..count).map(one).collect()
}

fn template(path: &str, random: &mut Random) -> String {
    let forms = [
        "{{P}}",
        "{{P}}",
        "{{optional P}}",
        "{{required P}}",
        "{{coalesce P \"x\"}}",
        "{{default P 0}}",
        "{{coalesce P (optional P) false}}",
        "about {{P}}",
        "{{#if P}}{{toUpper P}}{{/if}}",
        "{{toUpper P}}",
        "{{toUpper (string P)}}",
        "{{add P 1}}",
        "{{add (default P 1) 1}}",
        "{{if (empty P) \"none\" P}}",
        "{{if (equals P \"a\") P 7}}",
        "{{and P (not P)}}",
        "{{first P}}",
        "{{last (default P \"\")}}",
        "{{P.name}}",
        "{{optional P.nick}}",
        "{{length P}}",
        "{{join P \", \"}}",
        "{{less P 5}}",
    ];
    forms[random.below(forms.len() as u64) as usize].replace('P', path)
}

fn connector(input: &Value) -> String {
    json!({
        "connector": "target", "version": 1, "description": "Takes what it is given", "base_url": "https://target.example.com",
        "actions": {"take": {"description": "Takes it", "input": input, "request": {"post": "/"}, "repeat": "safe"}}
    })
    .to_string()
}

/// The first failure that the checker should have told of, if there is one.
fn failure(steps: &[Step], body: &Value) -> Option<String> {
    let mut vars = Map::new();
    for step in steps {
        let scope = JsonScope::new(json!({"trigger": {"body": body}, "vars": vars}));
        let rendered = match &step.kind {
            Kind::Set(set) => set.values.render(&scope),
            Kind::Action(call) => call.input.render(&scope),
            _ => unreachable!("no other kind is made here"),
        };
        let value = match rendered {
            Ok(value) => value,
            // That is what `required` is for.
            Err(error) if error.code == "mapping.required" => return None,
            Err(error) => return Some(format!("{}: {error}", error.code)),
        };
        match &step.kind {
            Kind::Action(call) => {
                let violations = call.connector.actions["take"].input.violations(&value);
                if let Some(first) = violations.first() {
                    return Some(format!("{value}: `{}` {}", first.pointer, first.message));
                }
            }
            _ => vars.extend(value.as_object().cloned().unwrap_or_default()),
        }
    }
    None
}

#[test]
fn a_flow_of_which_the_checker_says_nothing_fails_no_run_for_a_null_or_a_type() {
    let mut random = Random(20);
    let (mut silent, mut warned_and_failed) = (0, 0);
    for round in 0..4_000 {
        let sent = fields("f", 3, &mut random);
        let wanted = fields("t", 1 + random.below(4) / 3, &mut random);
        let any = |random: &mut Random| format!("trigger.body.{}", sent[random.below(3) as usize].0);
        let first = any(&mut random);
        let set = template(&first, &mut random);
        let mut with = Map::new();
        for (name, _, needed) in &wanted {
            if *needed || random.below(3) > 0 {
                let path = if random.below(3) == 0 { "vars.v".to_owned() } else { any(&mut random) };
                with.insert(name.clone(), json!(template(&path, &mut random)));
            }
        }
        let text = json!({
            "trigger": {"type": "request", "schema": object(&sent)},
            "steps": [{"id": "note", "set": {"v": set}}, {"id": "take", "action": "target.take", "with": with}],
        });
        let source = connector(&object(&wanted));
        let target = Connector::parse("target.yaml", &source).unwrap();
        let connectors = Connectors::only([target]);
        let read = |_: &str| Err("there are no files".to_owned());
        let known = Known { connectors: &connectors, connections: None, env: None, read: &read };
        let loaded = Flow::load(Path::new("flows/made.yaml"), &text.to_string(), &known);
        let Some(flow) = &loaded.flow else { continue };
        let admits = Schema::compile(&object(&sent)).unwrap();
        let failures: Vec<(Value, String)> = (0..8)
            .filter_map(|_| {
                let one = |(name, kind, needed): &(String, &str, bool)| {
                    (*needed || random.below(2) == 0).then(|| (name.clone(), value_of(kind, &mut random)))
                };
                let body = Value::Object(sent.iter().filter_map(one).collect());
                assert!(admits.violations(&body).is_empty(), "{body}");
                let failure = failure(&flow.steps.steps, &body)?;
                Some((body, failure))
            })
            .collect();
        if loaded.problems.is_empty() {
            silent += 1;
            let (text, source) = (serde_json::to_string_pretty(&text).unwrap(), &source);
            assert!(failures.is_empty(), "round {round}: {failures:#?}\n{text}\n{source}");
        } else {
            warned_and_failed += usize::from(!failures.is_empty());
        }
    }
    // Neither half is empty.
    assert!(silent >= 200, "only {silent} flows had no problem");
    assert!(warned_and_failed >= 100, "only {warned_and_failed} warnings came true");
}
