//! How each kind of step begins: its inputs are rendered, and what follows is one event.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::next::{SECURE, Walk};
use super::scope::{InRun, call_key};
use super::*;
use crate::connector::{Class, Failure};
use crate::flow::{Call, ELSE, Kind, Step, THEN, Termination, duration};

/// Most items of a `foreach`.
const MAX_ITEMS: usize = 100_000;
/// How deep flows can call each other.
const MAX_CALLS: u32 = 10;

impl Walk<'_> {
    /// The event that begins a step.
    pub(super) fn begin(&self, step: &Step, place: Place) -> Event {
        let scope = self.scope(&place.0);
        let begun = self.try_begin(step, &place, &scope);
        begun.unwrap_or_else(|mut failure| {
            // What it says may hold what the step was given.
            if step.secure.inputs {
                failure.message = SECURE.to_owned();
            }
            Event::Failed { place, failure, retry_at: None }
        })
    }

    fn try_begin(&self, step: &Step, place: &Place, scope: &InRun<'_>) -> Result<Event, Failure> {
        if let Some(when) = &step.when
            && !when.holds(scope)?
        {
            return Ok(Event::Skipped { place: place.clone(), unmet: false });
        }
        let place = place.clone();
        Ok(match &step.kind {
            Kind::Call(child) if step.mock.is_none() => {
                let body = readable("the body", child.body.render(scope)?, DEEPEST)?;
                if self.run.started.depth_of_child() > MAX_CALLS {
                    let message = format!("flows call each other more than {MAX_CALLS} deep");
                    return Err(Failure::new(Class::Permanent, "run.call_depth", message));
                }
                self.invoke(child, place, 1, Some(Arc::new(body)), call_key(self.run, self.flow, scope.path))
            }
            Kind::Call(child) => {
                let input = readable("the body", child.body.render(scope)?, DEEPEST)?;
                let key = call_key(self.run, self.flow, &place.0);
                Event::Called { place, attempt: 1, input: Some(Arc::new(input)), key }
            }
            Kind::Action(call) => {
                let input = readable("the input", call.input.render(scope)?, DEEPEST)?;
                check_input(call, &input)?;
                let key = call_key(self.run, self.flow, &place.0);
                Event::Called { place, attempt: 1, input: Some(Arc::new(input)), key }
            }
            Kind::Response(answering) => {
                if self.run.response.is_some() {
                    let message = "the caller has already been answered by another `response` step".to_owned();
                    return Err(Failure::new(Class::Permanent, "run.second_response", message));
                }
                let status = answering.status.render(scope)?;
                let response = Response {
                    status: status_code(&status)?,
                    headers: match readable("`headers`", answering.headers.render(scope)?, DEEPEST_HEADERS)? {
                        Value::Object(headers) => headers,
                        _ => Map::new(),
                    },
                    body: readable("`body`", answering.body.render(scope)?, DEEPEST)?,
                };
                Event::Responded { place, response: Arc::new(response) }
            }
            Kind::Set(set) => match readable("a variable", set.values.render(scope)?, DEEPEST)? {
                Value::Object(vars) => Event::Assigned { place, vars, owner: set.owner },
                _ => Event::Assigned { place, vars: Map::new(), owner: set.owner },
            },
            Kind::If { condition, .. } => {
                let sub = if condition.holds(scope)? { THEN } else { ELSE };
                Event::Entered { place, sub, again: false }
            }
            Kind::Switch(switch) => {
                let value = switch.on.render(scope)?.unwrap_or_default();
                let found = switch.cases.iter().position(|(cases, _)| cases.iter().any(|case| is_case(case, &value)));
                Event::Entered { place, sub: found.unwrap_or(switch.cases.len()) as u32, again: false }
            }
            Kind::Foreach(each) => {
                let items = each.items.look(scope, |items| match items {
                    Some(items @ Value::Array(list)) if list.len() <= MAX_ITEMS => (!deeper_than(items, DEEPEST))
                        .then(|| Body::of_ref(items))
                        .ok_or_else(|| too_deep("the list", DEEPEST)),
                    Some(Value::Array(list)) => {
                        let message = format!("the list has {} items; a `foreach` takes {MAX_ITEMS}", list.len());
                        Err(Failure::new(Class::Permanent, "run.too_many_items", message))
                    }
                    None | Some(Value::Null) => Ok(Body::of_ref(&Value::Array(Vec::new()))),
                    other => {
                        let message = format!("`foreach` needs a list, not {}", described(other));
                        Err(Failure::new(Class::Permanent, "run.not_a_list", message))
                    }
                })??;
                Event::Iterating { place, items, collects: each.collect.is_some() }
            }
            Kind::Until(_) | Kind::Parallel(_) | Kind::Scope(_) => Event::Entered { place, sub: 0, again: false },
            Kind::Wait { timeout } => Event::Listening { place, until: timeout.map(|timeout| self.after(timeout)) },
            Kind::Delay(template) => {
                let length = match template.render(scope)? {
                    Some(Value::String(text)) => duration(&text),
                    other => Err(format!("`delay` needs a length of time as text, not {}", described(other.as_ref()))),
                };
                let length = length.map_err(|what| Failure::new(Class::Permanent, "run.bad_delay", what))?;
                Event::Waiting { place, until: self.after(length) }
            }
            Kind::DelayUntil(template) => {
                let until = match template.render(scope)? {
                    Some(Value::String(text)) => moment(&text),
                    other => Err(format!("`delay_until` needs a time as text, not {}", described(other.as_ref()))),
                };
                let until = until.map_err(|what| Failure::new(Class::Permanent, "run.bad_delay", what))?;
                Event::Waiting { place, until: until.as_millisecond() }
            }
            Kind::Terminate { status, message } => {
                let message = match message.render(scope)? {
                    Value::Null => format!("ended by step `{}`", step.id),
                    _ if step.secure.inputs => format!("ended by step `{}`, whose message is secure", step.id),
                    Value::String(text) => format!("step `{}`: {text}", step.id),
                    other => format!("step `{}`: {other}", step.id),
                };
                let by = Some(place);
                // In `on_failure` it ends what is left to do; the run ends as it would have.
                match status {
                    Termination::Succeeded if self.run.failing.is_none() => {
                        Event::Finished { status: Status::Succeeded, failure: None, by }
                    }
                    Termination::Cancelled if self.run.failing.is_none() => {
                        Event::Finished { status: Status::Cancelled, failure: None, by }
                    }
                    Termination::Succeeded | Termination::Cancelled | Termination::Failed => {
                        self.ending(Status::Failed, Failure::new(Class::Permanent, "run.terminated", message), by)
                    }
                }
            }
        })
    }
}

/// True if a case is for this value: texts are compared exactly, and stand for numbers and booleans too.
fn is_case(case: &Value, value: &Value) -> bool {
    match (case, value) {
        (Value::String(text), Value::Number(number)) => {
            number.to_string() == *text || text.parse().is_ok_and(|text: f64| number.as_f64() == Some(text))
        }
        (Value::String(text), Value::Bool(yes)) => text == if *yes { "true" } else { "false" },
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64().is_some_and(|a| b.as_f64() == Some(a)),
        (case, value) => case == value,
    }
}

/// A time with its offset; one without counts as UTC.
fn moment(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    let utc = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let zoned = || text.parse::<jiff::Zoned>().ok().or_else(utc).map(|zoned| zoned.timestamp());
    text.parse().ok().or_else(zoned).ok_or_else(|| {
        format!(
            "`{}` is not a time; write it as `2026-12-24T18:00:00+01:00`",
            text.chars().take(60).collect::<String>()
        )
    })
}

fn check_input(call: &Call, input: &Value) -> Result<(), Failure> {
    let Some(action) = call.connector.actions.get(&call.action) else {
        return Ok(());
    };
    let violations = action.input.violations(input);
    if violations.is_empty() {
        return Ok(());
    }
    let places: Vec<String> = violations.iter().map(|v| format!("`{}`: {}", v.pointer, v.message)).collect();
    let message =
        format!("the rendered inputs do not fit {}.{}: {}", call.connector.name, call.action, places.join("; "));
    Err(Failure::new(Class::Permanent, "run.bad_input", message))
}

/// The deepest value that [`crate::mapping::parse_json`] reads.
pub(super) const DEEPEST: usize = 127;
/// The same for a response's headers, which are read with the record around them.
const DEEPEST_HEADERS: usize = 100;

/// A value that the journal can read again. A run with a deeper one could never be taken up after a wait or a restart.
pub(super) fn readable(name: &str, value: Value, levels: usize) -> Result<Value, Failure> {
    if deeper_than(&value, levels) { Err(too_deep(name, levels)) } else { Ok(value) }
}

/// True for a value that the journal could not read again.
pub fn is_too_deep(value: &Value) -> bool {
    deeper_than(value, DEEPEST)
}

fn too_deep(name: &str, levels: usize) -> Failure {
    let message = format!("{name} is nested more than {levels} levels deep; keep less of it");
    Failure::new(Class::Permanent, "run.too_deep", message)
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| deeper_than(item, levels - 1)),
        Value::Object(members) => levels == 0 || members.values().any(|member| deeper_than(member, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn status_code(value: &Value) -> Result<u16, Failure> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    };
    let code = number.filter(|code| (200..600).contains(code)).and_then(|code| u16::try_from(code).ok());
    code.ok_or_else(|| {
        let message = format!("`status` must be 200 to 599, not {}", described(Some(value)));
        Failure::new(Class::Permanent, "run.bad_status", message)
    })
}

fn described(value: Option<&Value>) -> &'static str {
    value.map_or("nothing", crate::flow::kind_of)
}

impl From<crate::mapping::Error> for Failure {
    fn from(error: crate::mapping::Error) -> Failure {
        let place = if error.pointer.is_empty() { String::new() } else { format!("`{}`: ", error.pointer) };
        let message = format!("{place}{} (in `{}`)", error.what, error.template);
        Failure::new(Class::Permanent, error.code, message)
    }
}
