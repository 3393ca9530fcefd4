//! A first flow and its first test: what a request holds, carried into the inputs of one action.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fields::{self, Field};
use super::sample;
use crate::connector::{Action, Connection, Connector, Need};
use crate::flow::snake_case;
use crate::mapping::{JsonScope, Mapping};
use crate::schema::{Schema, Shape, Types};

/// Fields carried at most where no input asks for any by name.
const MAX_CARRIED: usize = 40;
/// Inputs that say where to or how, never from the request: whoever sends it must not choose.
const FIXED: [&str; 14] = [
    "url",
    "method",
    "headers",
    "query",
    "form",
    "multipart",
    "body",
    "sql",
    "params",
    "table",
    "key_column",
    "host",
    "channel",
    "thread_ts",
];

/// What a flow is drafted from.
pub struct Wish<'w> {
    pub name: &'w str,
    /// The body's schema, compiled.
    pub schema: &'w Schema,
    /// As the flow shall say it: the schema itself, or a path to it.
    pub shown: Value,
    /// A request that came.
    pub sample: Option<&'w Value>,
    pub action: Option<(&'w Connector, &'w Action)>,
    pub connection: Option<&'w str>,
    /// Inputs that the user has given.
    pub given: &'w BTreeMap<String, Value>,
}

/// A flow and its test, and what its author should look at.
#[derive(Debug)]
pub struct Draft {
    pub flow: Value,
    /// The request of the test.
    pub body: Value,
    /// The test without its request.
    pub mocks: Value,
    pub expect: Value,
    pub notes: Vec<String>,
}

impl Wish<'_> {
    /// Drafts the flow. Nothing is left open: what no field fits gets a value that loads, and a note.
    pub fn draft(&self) -> Draft {
        let fields = fields::fields(self.schema.shape());
        let mut notes = Vec::new();
        let body = self.sample.cloned().unwrap_or_else(|| sample::of(self.schema.source()));
        let (step, with) = match self.action {
            Some((connector, action)) => {
                let with = Value::Object(self.inputs(action, &fields, &mut notes));
                let mut step = Map::new();
                step.insert("id".into(), json!(snake_case(&action.name).unwrap_or_else(|| "call".to_owned())));
                step.insert("action".into(), json!(format!("{}.{}", connector.name, action.name)));
                if let Some(connection) = self.connection {
                    step.insert("connection".into(), json!(connection));
                }
                step.insert("with".into(), with.clone());
                (Value::Object(step), with)
            }
            None => {
                let values = carried(&fields, false);
                let values = if values.is_empty() {
                    Map::from_iter([("body".to_owned(), json!("{{trigger.body}}"))])
                } else {
                    values
                };
                (json!({"id": "keep", "set": values}), Value::Object(values))
            }
        };
        let id = step["id"].clone();
        let key = id.as_str().unwrap_or_default();
        let rendered = Mapping::parse(&with)
            .ok()
            .and_then(|with| with.render(&JsonScope::new(json!({"trigger": {"body": body}}))).ok());
        let (mocks, expect) = match self.action {
            Some((_, action)) => {
                let mut step = json!({"status": "succeeded"});
                if let Some(rendered) = rendered {
                    step["input"] = rendered;
                }
                let output = sample::of_shape(&action.output, "output");
                (json!({key: {"output": output}}), json!({"status": "succeeded", "steps": {key: step}}))
            }
            None => (json!({}), json!({"status": "succeeded", "vars": rendered.unwrap_or_else(|| json!({}))})),
        };
        let what = self.action.and_then(|(_, action)| action.description.split(';').next());
        let what = what.map(str::trim).filter(|text| !text.is_empty()).unwrap_or("is kept in variables");
        let flow = json!({
            "id": self.name, "description": format!("Each request {}", lower(what)),
            "trigger": {"type": "request", "schema": self.shown}, "steps": [step],
        });
        Draft { flow, body, mocks, expect, notes }
    }

    fn inputs(&self, action: &Action, fields: &[Field], notes: &mut Vec<String>) -> Map<String, Value> {
        let source = action.input.source();
        let shape = action.input.shape();
        let mut with = Map::new();
        let properties = source.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let inside = shape.properties.get(name).cloned().unwrap_or_else(Shape::any);
            let value = if let Some(given) = self.given.get(name) {
                Some(given.clone())
            } else if shape.required.contains(name) && !action.defaults.contains_key(name) {
                Some(self.required(name, property, &inside, fields, notes))
            } else if FIXED.contains(&name.as_str()) || action.defaults.contains_key(name) {
                None
            } else {
                // Of what is optional only what is meant beyond doubt.
                fields::best(name, inside.types, fields)
                    .filter(|(field, rate)| *rate >= 88 && !field.inner)
                    .map(|(field, _)| optional(field))
            };
            with.extend(value.map(|value| (name.clone(), value)));
        }
        for (name, value) in self.given {
            with.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self.payload(shape, &mut with, fields);
        with
    }

    /// A call that could carry the whole request and so far carries nothing of it, as `http.request` with its `json`.
    fn payload(&self, shape: &Shape, with: &mut Map<String, Value>, fields: &[Field]) {
        let takes = shape.properties.get("json").is_some_and(|json| json.types.meets(Types::OBJECT));
        if !takes
            || with.contains_key("json")
            || ["body", "form", "multipart"].iter().any(|key| with.contains_key(*key))
        {
            return;
        }
        let values = carried(fields, true);
        if shape.properties.contains_key("method") && !with.contains_key("method") {
            with.shift_insert(0, "method".to_owned(), json!("POST"));
        }
        with.insert(
            "json".to_owned(),
            if values.is_empty() { json!("{{trigger.body}}") } else { Value::Object(values) },
        );
    }

    fn required(
        &self,
        name: &str,
        property: &Value,
        shape: &Shape,
        fields: &[Field],
        notes: &mut Vec<String>,
    ) -> Value {
        if shape.types == Types::OBJECT && !FIXED.contains(&name) {
            return object(property, shape, fields);
        }
        if let Some((field, _)) = fields::best(name, shape.types, fields).filter(|_| !FIXED.contains(&name)) {
            return needed(field, shape.types);
        }
        let value = self.literal(name, property, shape, fields);
        notes.push(format!(
            "no field of the request fits the input `{name}`; it is {value}, which you may want to change"
        ));
        value
    }

    /// A value of the author's: what the schema proposes, else what its description has as an example, else the flow's name.
    fn literal(&self, name: &str, property: &Value, shape: &Shape, fields: &[Field]) -> Value {
        let listed = |key: &str| property.get(key).and_then(|values| values.get(0)).cloned();
        let proposed = property.get("const").cloned().or_else(|| listed("enum")).or_else(|| listed("examples"));
        if let Some(value) = proposed {
            return value;
        }
        let types = shape.types;
        if !types.meets(Types::STRING) {
            return if types.meets(Types::NUMBER) {
                property.get("minimum").cloned().unwrap_or_else(|| json!(0))
            } else if types.meets(Types::BOOLEAN) {
                json!(false)
            } else if types.meets(Types::ARRAY) {
                json!([])
            } else {
                json!({})
            };
        }
        let texts = ["text", "message", "content", "comment", "note", "summary", "description", "title", "subject"];
        if texts.contains(&name) && !fields.is_empty() {
            let named = fields.iter().filter(|field| field.types.meets(Types::STRING) && !field.inner).take(3);
            let parts: Vec<String> = named.map(|field| format!("{{{{{}}}}}", field.path)).collect();
            return json!(format!("{}: {}", self.name, parts.join(", ")));
        }
        let mut candidates: Vec<String> = Vec::new();
        let description = property.get("description").and_then(Value::as_str).unwrap_or_default();
        let example = description.split("as in ").nth(1).and_then(|rest| rest.split_whitespace().next());
        candidates.extend(example.map(|text| text.trim_end_matches([',', ';', '.']).to_owned()));
        match name {
            "sql" => candidates.push("SELECT 1".to_owned()),
            "url" if self.connection.is_some() => candidates.push(format!("/{}", self.name)),
            _ => {}
        }
        candidates.extend([snake_case(self.name).unwrap_or_default(), format!("https://example.com/{}", self.name)]);
        if name == "url" && self.connection.is_none() {
            candidates.reverse();
        }
        let takes =
            |text: &String| Schema::compile(property).is_ok_and(|schema| schema.violations(&json!(text)).is_empty());
        json!(candidates.iter().find(|text| takes(text)).cloned().unwrap_or_else(|| self.name.to_owned()))
    }
}

/// An object: the keys that its schema names, those of its example, or all fields under names of their own.
fn object(property: &Value, shape: &Shape, fields: &[Field]) -> Value {
    let example = property.get("examples").and_then(|examples| examples.get(0)).and_then(Value::as_object);
    let keys: Vec<(String, Types, bool)> = if shape.properties.is_empty() {
        let keys = example.into_iter().flatten();
        keys.map(|(key, value)| (key.clone(), Types::of(value), false)).collect()
    } else {
        let keys = shape.properties.iter();
        keys.map(|(key, inside)| (key.clone(), inside.types, shape.required.contains(key))).collect()
    };
    let mut free: Vec<Field> = fields.to_vec();
    let mut found = Map::new();
    for (key, types, required) in keys {
        let Some((field, _)) = fields::best(&key, types, &free) else { continue };
        found.insert(key, if required { needed(field, types) } else { optional(field) });
        let path = field.path.clone();
        free.retain(|field| field.path != path);
    }
    if !found.is_empty() {
        return Value::Object(found);
    }
    let all = carried(fields, true);
    if all.is_empty() { json!({"body": "{{trigger.body}}"}) } else { Value::Object(all) }
}

/// Every field that is no object, under a name of its own.
fn carried(fields: &[Field], optionally: bool) -> Map<String, Value> {
    let mut values = Map::new();
    for field in fields.iter().filter(|field| !field.inner) {
        let short = field.keys.last().and_then(|key| snake_case(key));
        let long = || snake_case(&field.keys.join("_"));
        let name = short.filter(|name| !values.contains_key(name)).or_else(long);
        if let Some(name) = name.filter(|_| values.len() < MAX_CARRIED) {
            let value = if optionally { optional(field) } else { json!(format!("{{{{{}}}}}", field.path)) };
            values.entry(name).or_insert(value);
        }
    }
    values
}

/// For an input of these types that must be there: where the field is not, the step fails and names it.
fn needed(field: &Field, types: Types) -> Value {
    let may_be_null = !field.certain || field.types.meets(Types::NULL);
    let required = if may_be_null && !types.meets(Types::NULL) { "required " } else { "" };
    json!(format!("{{{{{required}{}}}}}", field.path))
}

fn optional(field: &Field) -> Value {
    let optional = if field.certain { "" } else { "optional " };
    json!(format!("{{{{{optional}{}}}}}", field.path))
}

/// A sentence's beginning within another sentence; what is written in capitals stays.
fn lower(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(chars).collect(),
        (Some('A'), Some(' ')) => format!("a{}", chars.as_str()),
        _ => text.to_owned(),
    }
}

/// What `connections.yaml` must say for this connector, and the secrets it then needs; settings are examples.
pub fn connection(connector: &Connector, name: &str) -> Option<(Value, Vec<String>)> {
    if connector.connection == Need::Never {
        return None;
    }
    let mut settings = Map::new();
    let shape = connector.settings.shape();
    for key in shape.required.iter().filter(|key| !connector.defaults.contains_key(*key)) {
        let property =
            connector.settings.source().pointer(&format!("/properties/{key}")).cloned().unwrap_or_else(|| json!({}));
        settings.insert(key.clone(), setting(key, &property, name)?);
    }
    if !connector.settings.violations(&connector.complete(&Value::Object(settings.clone()))).is_empty() {
        return None;
    }
    let needed = connector.credentials.iter().filter(|(_, required)| **required).map(|(name, _)| name);
    let secrets: Vec<(String, String)> =
        needed.map(|key| (key.clone(), format!("{name}_{key}").to_ascii_uppercase())).collect();
    let mut made = Map::new();
    made.insert("connector".to_owned(), json!(connector.name));
    if !settings.is_empty() {
        made.insert("settings".to_owned(), Value::Object(settings));
    }
    if !secrets.is_empty() {
        let credentials = secrets.iter().map(|(key, secret)| (key.clone(), json!({"secret": secret})));
        made.insert("credentials".to_owned(), credentials.collect());
    }
    Some((Value::Object(made), secrets.into_iter().map(|(_, secret)| secret).collect()))
}

fn setting(key: &str, property: &Value, name: &str) -> Option<Value> {
    let listed = |key: &str| property.get(key).and_then(|values| values.get(0)).cloned();
    let description = property.get("description").and_then(Value::as_str).unwrap_or_default();
    let example = description.split("as in ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let texts = [
        example.map(str::to_owned),
        Some(format!("YOUR_{}", key.to_ascii_uppercase())),
        Some(format!("sqlite:{name}.db")),
        Some("https://example.com".to_owned()),
    ];
    let candidates = [listed("enum"), listed("examples")].into_iter().flatten();
    let candidates = candidates.chain(texts.into_iter().flatten().map(Value::from)).chain([json!(1), json!(false)]);
    let schema = Schema::compile(property).ok()?;
    candidates.into_iter().find(|value| schema.violations(value).is_empty())
}

/// The connection to use: the one that is named, else the only one of this connector.
pub fn choose<'c>(connector: &Connector, connections: impl IntoIterator<Item = &'c Connection>) -> Vec<&'c str> {
    let own = connections.into_iter().filter(|connection| connection.connector == connector.name);
    own.map(|connection| connection.name.as_str()).collect()
}
