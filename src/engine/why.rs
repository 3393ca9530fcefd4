//! Why a value of a run is what it is, with the places in the flow's file as the run pinned it.

use serde_json::{Value, json};

use super::*;
use crate::flow::{At, NOT_YAML, Source, child};
use crate::run::{Event, why};

impl Engine {
    /// Where the value that `asked` names (`create_lead.record.firstname`) came from, step by step.
    ///
    /// # Errors
    /// If there is no such run or value, or its definition cannot be read.
    pub fn why(&self, run: RunId, asked: &str) -> Result<Value, Denied> {
        let Event::Started(started) = self.first_event(run)? else {
            return Err(Denied::Conflict(format!("run {run} was rejected: nothing came of it")));
        };
        let live = self.definition(&started.definition, &started.flow).map_err(unavailable)?;
        let mut records = Vec::new();
        let read = self.each_record(run, |record| {
            records.push(record);
            Ok(())
        });
        read.map_err(Denied::Unavailable)?;
        let env = self.catalog.current().env.clone();
        let mut told = why(run, &live.flow, &records, &env, asked).map_err(Denied::Invalid)?;
        let (source, value, _) = Source::read(&live.file, &live.text());
        place(&mut told, &source, &value.unwrap_or_default());
        told["run_id"] = json!(run);
        told["value"] = json!(asked);
        Ok(told)
    }

    /// The same for those who may only read.
    ///
    /// # Errors
    /// As [`Engine::why`].
    pub fn why_hidden(&self, run: RunId, asked: &str) -> Result<Value, Denied> {
        let mut told = self.why(run, asked)?;
        hidden::hide(&mut told, &self.keys_of(run)?);
        Ok(told)
    }
}

/// Adds to each expression the line of the file where it stands.
fn place(told: &mut Value, source: &Source, file: &Value) {
    if let (Some(step), Some(at)) = (told["step"].as_str(), told["at"].as_str())
        && let Some(pointer) = pointer_of(file, step, &mut String::new())
    {
        let problem = source.problem(NOT_YAML, &format!("{pointer}{at}"), At::Value, String::new(), None);
        told["file"] = json!(source.file);
        told["line"] = json!(problem.line);
    }
    for key in ["from", "parts"] {
        let inner = told.get_mut(key).and_then(Value::as_array_mut);
        inner.into_iter().flatten().for_each(|inner| place(inner, source, file));
    }
}

/// Where the step of this id stands, JSON Pointer.
fn pointer_of(value: &Value, step: &str, at: &mut String) -> Option<String> {
    match value {
        Value::Object(map) => {
            if map.get("id").and_then(Value::as_str) == Some(step) && !at.is_empty() {
                return Some(at.clone());
            }
            // Data of a step may look like a step.
            map.iter()
                .filter(|(key, _)| !["with", "trigger", "mock"].contains(&key.as_str()))
                .find_map(|(key, value)| pointer_of(value, step, &mut child(at, key)))
        }
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(index, item)| pointer_of(item, step, &mut format!("{at}/{index}")))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}
