//! Compares what a case came to with what it expects.

use serde_json::{Value, json};

use super::diff::{Difference, differences};
use super::stage::{Began, Played, PlayedRun};
use super::wanted::{Expect, NOT_REACHED, SKIPPED, StepWanted};
use crate::flow::child;
use crate::run::{Event, history};

/// One expectation that was not met.
#[derive(Debug, Clone)]
pub(super) struct Unmet {
    /// Of the expectation, JSON Pointer into the test file.
    pub pointer: String,
    pub what: String,
}

/// Everything that is not as the case expects it.
pub(super) fn judge(expect: &Expect, played: &Played) -> Vec<Unmet> {
    let mut judging = Judging { played, unmet: Vec::new() };
    if let Some(response) = &expect.response {
        judging.value(&child(&expect.pointer, "response"), "", response, &played.response);
    }
    match &played.began {
        Began::Skipped => judging.without_run(expect, SKIPPED, &Value::Null),
        Began::Rejected { code, message } => {
            judging.without_run(expect, "rejected", &json!({"code": code, "message": message}));
        }
        Began::Runs(count) => {
            if let Some(runs) = &expect.runs {
                let pointer = child(&expect.pointer, "runs");
                if runs.len() == *count {
                    (0..*count).for_each(|index| judging.run(&runs[index], index));
                } else {
                    judging.say(&pointer, format!("expected {} runs, got {count}", runs.len()));
                }
            }
            match *count {
                0 if expect.runs.is_none() => judging.say(&expect.pointer, "the list has no item: no run began".into()),
                0 => {}
                _ => judging.run(expect, 0),
            }
        }
    }
    judging.unmet
}

struct Judging<'p> {
    played: &'p Played,
    unmet: Vec<Unmet>,
}

impl Judging<'_> {
    fn say(&mut self, pointer: &str, what: String) {
        self.unmet.push(Unmet { pointer: pointer.to_owned(), what });
    }

    fn value(&mut self, pointer: &str, name: &str, expected: &Value, got: &Value) {
        for difference in differences(expected, got) {
            let pointer = format!("{pointer}{}", difference.pointer);
            let told = Difference { pointer: String::new(), ..difference }.to_string();
            let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
            self.say(&pointer, format!("{name}{told}"));
        }
    }

    /// An error's message need only hold what is expected of it.
    fn error(&mut self, pointer: &str, expected: &Value, got: &Value) {
        let mut expected = expected.clone();
        if let Some(part) = expected.get("message").and_then(Value::as_str)
            && got["message"].as_str().is_some_and(|message| message.contains(part))
            && let Some(expected) = expected.as_object_mut()
        {
            expected.shift_remove("message");
        }
        // A code alone was written where the error's map would stand.
        self.value(pointer, "", &expected, got);
    }

    fn without_run(&mut self, expect: &Expect, status: &str, error: &Value) {
        let pointer = &expect.pointer;
        let why = error["message"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
        match &expect.status {
            Some(wanted) if wanted == status => {}
            Some(wanted) => {
                self.say(&child(pointer, "status"), format!("expected {wanted}, but the request was {status}{why}"));
            }
            None => self.say(pointer, format!("there is no run: the request was {status}{why}")),
        }
        if let Some(wanted) = &expect.error {
            self.error(&child(pointer, "error"), wanted, error);
        }
        for (key, asked) in [("steps", !expect.steps.is_empty()), ("order", expect.order.is_some())] {
            if asked {
                self.say(&child(pointer, key), format!("there is no run: the request was {status}"));
            }
        }
    }

    fn run(&mut self, expect: &Expect, index: usize) {
        let run = &self.played.runs[index];
        let at = |key: &str| child(&expect.pointer, key);
        let told = history(run.run.id, &run.records, Some(&run.live.flow));
        let error = told.get("error").cloned().unwrap_or_default();
        if let Some(status) = expect.status.as_deref().filter(|status| *status != run.status.name()) {
            let failure = run.run.failure.as_ref().or(run.run.held.as_ref());
            let why = failure.map(|failure| format!(" ({}: {})", failure.code, failure.message)).unwrap_or_default();
            self.say(&at("status"), format!("expected {status}, got {}{why}", run.status));
        }
        if let Some(wanted) = &expect.error {
            self.error(&at("error"), wanted, &error);
        }
        if let Some(vars) = &expect.vars {
            self.value(&at("vars"), "", vars, &Value::Object(run.run.vars.clone()));
        }
        if let Some(key) = &expect.dedupe_key {
            self.value(&at("dedupe_key"), "", key, run.dedupe_key.as_ref().unwrap_or(&Value::Null));
        }
        if let Some(took) = expect.took {
            let ms = run.run.updated_at.as_millisecond() - run.run.started_at.as_millisecond();
            if i64::try_from(took.as_millis()).ok() != Some(ms) {
                let (expected, got) = (length(took.as_millis()), length(u128::try_from(ms).unwrap_or(0)));
                self.say(&at("took"), format!("expected {expected}, got {got}"));
            }
        }
        let steps: Vec<&Value> = told["steps"].as_array().into_iter().flatten().collect();
        for step in &expect.steps {
            self.steps(step, &steps);
        }
        if let Some(order) = &expect.order {
            self.order(&at("order"), order, run);
        }
        for (step, wanted) in &expect.calls {
            let pointer = at("calls");
            let called = self.played.runs.iter().enumerate().filter(|(_, run)| {
                run.parent.as_ref().is_some_and(|(parent, place)| {
                    let flow = &self.played.runs[*parent].live.flow;
                    *parent == index && flow.step(&place.0).is_some_and(|found| found.id == *step)
                })
            });
            let called: Vec<usize> = called.map(|(index, _)| index).collect();
            if called.len() == wanted.len() {
                called.iter().zip(wanted).for_each(|(index, wanted)| self.run(wanted, *index));
            } else {
                let (expected, got) = (wanted.len(), called.len());
                self.say(&child(&pointer, step), format!("expected {expected} runs of `{step}`, got {got}"));
            }
        }
    }

    fn steps(&mut self, wanted: &StepWanted, all: &[&Value]) {
        let done: Vec<&&Value> = all.iter().filter(|step| step["id"] == wanted.id.as_str()).collect();
        let nothing = json!({"status": NOT_REACHED});
        if wanted.listed {
            if done.len() != wanted.each.len() {
                let what = format!("expected `{}` to run {} times, got {}", wanted.id, wanted.each.len(), done.len());
                return self.say(&wanted.pointer, what);
            }
            for (index, (wanted_one, step)) in wanted.each.iter().zip(done).enumerate() {
                self.step(&child(&wanted.pointer, &index.to_string()), wanted_one, step);
            }
            return;
        }
        let Some(one) = wanted.each.first() else { return };
        if let Some(times) = one.get("times").and_then(Value::as_u64).filter(|times| *times != done.len() as u64) {
            let what = format!("expected `{}` to run {times} times, got {}", wanted.id, done.len());
            self.say(&child(&wanted.pointer, "times"), what);
        }
        if done.is_empty() {
            return self.step(&wanted.pointer, one, &nothing);
        }
        let before = self.unmet.len();
        for step in done {
            self.step(&wanted.pointer, one, step);
            // Of many alike the first is enough.
            if self.unmet.len() > before {
                return;
            }
        }
    }

    fn step(&mut self, pointer: &str, wanted: &Value, step: &Value) {
        let error = step.get("error").cloned().unwrap_or_default();
        let place = step["place"].as_str().filter(|place| place.contains('.'));
        let name = place.map(|place| format!("at {place}")).unwrap_or_default();
        for (key, expected) in wanted.as_object().into_iter().flatten() {
            let at = child(pointer, key);
            let got = |key: &str| step.get(key).cloned().unwrap_or_default();
            match key.as_str() {
                "status" if *expected != step["status"] => {
                    let why = match (error["code"].as_str(), error["message"].as_str()) {
                        (Some(code), Some(message)) => format!(" ({code}: {message})"),
                        _ => got("reason").as_str().map(|why| format!(" ({why})")).unwrap_or_default(),
                    };
                    let (expected, got) = (text(expected), text(&step["status"]));
                    let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
                    self.say(&at, format!("{name}expected {expected}, got {got}{why}"));
                }
                "input" => self.value(&at, &name, expected, &got("inputs")),
                "output" => self.value(&at, &name, expected, &got("output")),
                "branch" => self.value(&at, &name, expected, &got("branch")),
                "error" => self.error(&at, expected, &error),
                "attempts" => {
                    let attempts = step["attempts"].as_array().map_or(0, Vec::len);
                    self.value(&at, &name, expected, &json!(attempts));
                }
                _ => {}
            }
        }
    }

    fn order(&mut self, pointer: &str, wanted: &[String], run: &PlayedRun) {
        let begun = begun(run);
        let mut rest = begun.iter();
        for (index, id) in wanted.iter().enumerate() {
            if !rest.any(|step| step == id) {
                let how =
                    if begun.contains(id) { "begins earlier than this list has it" } else { "does not begin at all" };
                let what = format!("`{id}` {how}; the order was {}", begun.join(", "));
                return self.say(&child(pointer, &index.to_string()), what);
            }
        }
    }
}

/// Ids of steps in the order in which they began; those that were skipped did not.
fn begun(run: &PlayedRun) -> Vec<String> {
    let mut places = std::collections::BTreeSet::new();
    let mut ids = Vec::new();
    for event in run.records.iter().flat_map(|record| &record.events) {
        let place = match event {
            Event::Called { place, .. }
            | Event::Invoked { place, .. }
            | Event::Succeeded { place, .. }
            | Event::Failed { place, .. }
            | Event::Iterating { place, .. }
            | Event::Entered { place, .. }
            | Event::Waiting { place, .. }
            | Event::Listening { place, .. }
            | Event::Assigned { place, .. }
            | Event::Responded { place, .. } => place,
            _ => continue,
        };
        if places.insert(place.clone())
            && let Some(step) = run.live.flow.step(&place.0)
        {
            ids.push(step.id.clone());
        }
    }
    ids
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn length(ms: u128) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    format!("{:#}", jiff::SignedDuration::from_millis(ms))
}
