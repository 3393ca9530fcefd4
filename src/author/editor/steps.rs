//! Steps in an editor: every kind with its keys, every action with its inputs.

use serde_json::{Map, Value, json};

use super::reference::{of_flow, of_kind};
use super::{Known, closed, duration, inputs, mapping, one_or_many, template, told};
use crate::connector::Need;
use crate::flow::{KEYS, MAX_ATTEMPTS};

/// Keys that belong to some kinds only.
const OWN: [(&str, &[&str]); 22] = [
    ("connection", &["action"]),
    ("with", &["action", "call"]),
    ("timeout", &["action", "call"]),
    ("retry", &["action", "call"]),
    ("on_doubt", &["action", "call"]),
    ("mock", &["action", "call"]),
    ("then", &["if"]),
    ("else", &["if"]),
    ("cases", &["switch"]),
    ("default", &["switch"]),
    ("do", &["foreach", "until"]),
    ("concurrency", &["foreach"]),
    ("collect", &["foreach"]),
    ("limit", &["until"]),
    ("on_limit", &["until"]),
    ("catch", &["scope"]),
    ("finally", &["scope"]),
    // What each of these cannot be without.
    ("if", &["then"]),
    ("switch", &["cases"]),
    ("foreach", &["do"]),
    ("until", &["do"]),
    ("id", &[]),
];

/// The definitions `step` and `steps`.
pub(super) fn definitions(known: &Known<'_>) -> Value {
    json!({"step": step(known), "steps": {"type": ["array", "null"], "items": {"$ref": "#/definitions/step"}}})
}

fn steps() -> Value {
    json!({"$ref": "#/definitions/steps"})
}

fn step(known: &Known<'_>) -> Value {
    let mut properties = Map::new();
    let of = |key: &str| of_flow("Steps", key);
    let mut add = |key: &str, text: String, schema: Value| {
        properties.insert(key.to_owned(), told(text, schema));
    };
    add("id", of("id"), json!({"type": "string", "pattern": "^[a-z][a-z0-9_]*$"}));
    add("when", of("when"), template());
    add("on_error", of("on_error"), json!({"enum": ["fail", "continue"]}));
    add(
        "run_after",
        of("run_after"),
        json!({"type": "object", "additionalProperties": one_or_many(&json!({"enum": keys("run_after")}))}),
    );
    add("secure", of("secure"), one_or_many(&json!({"enum": ["inputs", "outputs"]})));
    let action = |key: &str| of_flow("action", key);
    add("action", format!("{} {}", of_kind("action"), action("action")), actions(known));
    add("connection", action("connection"), json!({"type": "string"}));
    add("with", action("with"), json!({"type": ["object", "null"]}));
    add("timeout", action("timeout"), duration());
    add("retry", action("retry"), retry());
    add("on_doubt", action("on_doubt"), json!({"enum": ["repeat", "hold"]}));
    add("mock", action("mock"), closed(part(&[("output", mapping()), ("error", mapping())], |_| action("mock")), &[]));
    let call = if known.flows.is_empty() {
        json!({"type": "string"})
    } else {
        json!({"anyOf": [{"enum": known.flows}, {"type": "string"}]})
    };
    add("call", format!("{} {}", of_kind("call"), of_flow("call", "call")), call);
    let response = part(
        &[
            ("status", json!({"anyOf": [{"type": "integer", "minimum": 200, "maximum": 599}, template()]})),
            ("headers", json!({"anyOf": [{"type": "object"}, template()]})),
            ("body", mapping()),
        ],
        |key| of_flow("response", key),
    );
    add("response", of_kind("response"), json!({"anyOf": [closed(response, &[]), {"type": "null"}]}));
    add("set", of_kind("set"), json!({"type": "object", "propertyNames": {"pattern": "^[a-z][a-z0-9_]*$"}}));
    blocks(&mut add);
    add("delay", of_kind("delay"), duration_or_template());
    add("delay_until", of_kind("delay_until"), json!({"type": "string"}));
    let wait =
        closed(part(&[("timeout", duration())], |_| "the longest wait; then the step has timed out".to_owned()), &[]);
    add("wait", of_kind("wait"), json!({"anyOf": [duration(), wait, {"type": "null"}]}));
    let ended = json!({"enum": ["succeeded", "failed", "cancelled"]});
    let whole = closed(part(&[("status", ended.clone()), ("message", mapping())], |_| of_kind("terminate")), &[]);
    add("terminate", of_kind("terminate"), json!({"anyOf": [ended, whole]}));

    let mut schema = closed(properties, &["id"]);
    let one_kind: Vec<Value> = keys("kind").iter().map(|kind| json!({"required": [kind]})).collect();
    schema["oneOf"] = json!(one_kind);
    let mut dependencies = Map::new();
    for (key, needed) in OWN.iter().filter(|(_, needed)| !needed.is_empty()) {
        let any: Vec<Value> = needed.iter().map(|one| json!({"required": [one]})).collect();
        dependencies.insert((*key).to_owned(), if let [only] = needed { json!([only]) } else { json!({"anyOf": any}) });
    }
    schema["dependencies"] = Value::Object(dependencies);
    schema["allOf"] = Value::Array(by_action(known));
    schema
}

fn blocks(add: &mut impl FnMut(&str, String, Value)) {
    add("if", of_kind("if"), template());
    add("then", "the steps where the condition holds".to_owned(), steps());
    add("else", "the steps where it does not".to_owned(), steps());
    add("switch", of_kind("switch"), json!({"type": "string"}));
    let values = json!({"type": ["string", "number", "boolean", "null"]});
    let case = part(&[("value", one_or_many(&values)), ("do", steps())], |key| match key {
        "value" => "the value, or a list of values, that this case is for".to_owned(),
        _ => "what to do in this case".to_owned(),
    });
    let listed = json!({"type": "array", "items": closed(case, &["value", "do"])});
    let by_value = json!({"type": "object", "additionalProperties": steps()});
    add("cases", "by value what to do, or a list of `value` and `do`".to_owned(), json!({"anyOf": [by_value, listed]}));
    add("default", "the steps where no case holds the value".to_owned(), steps());
    add("foreach", format!("{} {}", of_kind("foreach"), of_flow("foreach", "foreach")), template());
    add("do", "the steps of the loop".to_owned(), steps());
    add("concurrency", of_flow("foreach", "concurrency"), json!({"type": "integer", "minimum": 1, "maximum": 50}));
    add("collect", of_flow("foreach", "collect"), mapping());
    add("until", format!("{} {}", of_kind("until"), of_flow("until", "until")), template());
    let limit =
        part(&[("count", json!({"type": "integer", "minimum": 1, "maximum": 5000})), ("time", duration())], |_| {
            of_flow("until", "limit")
        });
    add("limit", of_flow("until", "limit"), closed(limit, &[]));
    add("on_limit", of_flow("until", "on_limit"), json!({"enum": ["fail", "continue"]}));
    add(
        "parallel",
        of_kind("parallel"),
        json!({"type": "object", "minProperties": 1, "additionalProperties": steps()}),
    );
    add("scope", of_kind("scope"), steps());
    add("catch", "the steps that run if those of `scope` failed".to_owned(), steps());
    add("finally", "the steps that run in any case, last".to_owned(), steps());
}

/// The names of all actions, each explained.
fn actions(known: &Known<'_>) -> Value {
    let mut names = Vec::new();
    let mut texts = Vec::new();
    for connector in known.connectors.all() {
        for action in connector.actions.values().filter(|action| !action.hidden) {
            names.push(format!("{}.{}", connector.name, action.name));
            texts.push(format!("{} ({})", action.description, connector.description));
        }
    }
    json!({"type": "string", "enum": names, "enumDescriptions": texts, "markdownEnumDescriptions": texts})
}

/// For each action what `with` and `connection` must be.
fn by_action(known: &Known<'_>) -> Vec<Value> {
    let mut found = Vec::new();
    for connector in known.connectors.all() {
        let own: Vec<&str> = known
            .connections
            .iter()
            .filter(|(_, kind)| *kind == connector.name)
            .map(|(name, _)| name.as_str())
            .collect();
        for action in connector.actions.values().filter(|action| !action.hidden) {
            let name = format!("{}.{}", connector.name, action.name);
            let mut properties = Map::new();
            let taken =
                told(format!("Inputs of {name}: {}", action.description), inputs::inputs(action.input.source()));
            let needed = taken.get("required").and_then(Value::as_array).is_some_and(|names| !names.is_empty());
            properties.insert("with".to_owned(), taken);
            let mut required = Vec::new();
            required.extend(needed.then_some("with"));
            if !own.is_empty() {
                let text = format!("A connection of {}: {}", connector.name, connector.description);
                properties.insert("connection".to_owned(), json!({"description": text, "enum": own}));
            }
            required.extend((connector.connection == Need::Required).then_some("connection"));
            let mut then = json!({"properties": properties});
            if !required.is_empty() {
                then["required"] = json!(required);
            }
            if connector.connection == Need::Never {
                then["not"] = json!({"required": ["connection"]});
            }
            found
                .push(json!({"if": {"properties": {"action": {"const": name}}, "required": ["action"]}, "then": then}));
        }
    }
    found
}

fn retry() -> Value {
    let keys = part(
        &[
            ("attempts", json!({"type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS})),
            ("backoff", json!({"enum": ["exponential", "fixed"]})),
            ("delay", duration()),
            ("max_delay", duration()),
        ],
        |key| of_flow("action", key),
    );
    json!({"anyOf": [{"const": "none"}, closed(keys, &[])]})
}

fn duration_or_template() -> Value {
    json!({"type": "string", "examples": ["30s", "5m", "1h 30m"]})
}

/// Keys with their schemas, explained.
pub(super) fn part(keys: &[(&str, Value)], text: impl Fn(&str) -> String) -> Map<String, Value> {
    keys.iter().map(|(key, schema)| ((*key).to_owned(), told(text(key), schema.clone()))).collect()
}

/// The keys of the language at this place.
pub(super) fn keys(place: &str) -> &'static [&'static str] {
    KEYS.iter().find(|(name, _)| *name == place).map_or(&[], |(_, keys)| keys)
}
