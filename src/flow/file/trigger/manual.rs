//! `type: manual` as typed: inputs become a JSON Schema, which all else goes by.

use serde_json::{Map, Value, json};

use super::super::super::problem::{self, suggest};
use super::super::super::reader::Reader;
use super::super::super::source::{At, child};
use super::super::super::trigger::{Input, ManualTrigger};
use super::{SchemaFile, TriggerFile, TriggerKindFile};

pub const INPUT_KEYS: &[&str] = &["type", "required", "default", "enum", "description"];
const TYPES: [&str; 6] = ["string", "number", "integer", "boolean", "array", "object"];

impl Reader<'_> {
    pub(super) fn manual(&mut self, map: &Map<String, Value>, at: &str) -> TriggerFile {
        let mut schema = self.schema(map);
        let mut inputs = Vec::new();
        if let Some(value) = map.get("inputs") {
            let here = child(at, "inputs");
            if schema.is_some() {
                let what = "a trigger has `inputs` or a `schema`, not both".to_owned();
                self.say(problem::BAD_VALUE, &here, At::Key, what, Some("keep one of them".into()));
            }
            if let Some(map) = self.map(value, &here, "{email: {type: string}}") {
                let mut properties = Map::new();
                for (name, value) in map {
                    let at = child(&here, name);
                    self.check_name(name, &at, At::Key);
                    if let Some((input, property)) = self.input(name, value, &at) {
                        inputs.push(input);
                        properties.insert(name.clone(), property);
                    }
                }
                let needed = inputs.iter().filter(|input| input.required || input.default.is_some());
                let required: Vec<&str> = needed.map(|input| input.name.as_str()).collect();
                let made = json!({
                    "type": "object", "properties": properties, "required": required, "additionalProperties": false,
                });
                schema = schema.or(Some(SchemaFile::Inline(made, "inputs")));
            }
        }
        TriggerFile { schema, kind: TriggerKindFile::Manual(ManualTrigger { inputs }) }
    }

    /// The input, and what its values must be.
    fn input(&mut self, name: &str, value: &Value, at: &str) -> Option<(Input, Value)> {
        let map = self.map(value, at, "{type: string}")?;
        self.keys(map, at, INPUT_KEYS);
        let kind = self.text(map, at, "type");
        if !map.contains_key("type") {
            self.missing(at, "type", "what may be given: `type: string`");
        }
        let kind = TYPES.iter().copied().find(|known| Some(*known) == kind.as_deref()).or_else(|| {
            if let Some(other) = &kind {
                let hint = suggest(other, TYPES);
                self.say(problem::BAD_VALUE, &child(at, "type"), At::Value, format!("`{other}` is no type"), hint);
            }
            None
        });
        let default = map.get("default").cloned();
        let required = self.boolean(map, at, "required");
        if required == Some(true) && default.is_some() {
            let what = "an input that is required never takes its default".to_owned();
            self.say(problem::BAD_VALUE, &child(at, "default"), At::Key, what, Some("keep one of them".into()));
        }
        let choices = map.get("enum");
        if choices.is_some_and(|choices| choices.as_array().is_none_or(Vec::is_empty)) {
            let what = "`enum` is a list of the values that may be given".to_owned();
            self.say(problem::BAD_VALUE, &child(at, "enum"), At::Value, what, None);
        }
        let description = self.text(map, at, "description");
        let kind = kind?;
        let mut property = json!({"type": kind});
        if let Some(choices) = choices {
            property["enum"] = choices.clone();
        }
        if let Some(default) = &default {
            self.default_fits(default, &property, at);
        }
        let required = required.unwrap_or(default.is_none());
        Some((Input { name: name.to_owned(), kind, required, default, description }, property))
    }

    fn default_fits(&mut self, default: &Value, property: &Value, at: &str) {
        let Ok(schema) = crate::schema::Schema::compile(property) else { return };
        if let Some(violation) = schema.violations(default).first() {
            let what = format!("the default does not fit the input: {}", violation.message);
            self.say(problem::CANNOT_FIT, &child(at, "default"), At::Value, what, None);
        }
    }
}
