//! Runs driven without an engine: scripted answers, time advanced by hand, a crash after any append.

mod gate;
mod kinds;
mod mishaps;
mod model;
mod play;
mod property;
mod takeover;
mod tree;

use std::collections::VecDeque;
use std::path::Path;

use insta::assert_snapshot;
use serde_json::json;

use super::*;
use crate::connector::{Class, Connectors};
use crate::flow::{Flow, Known};

/// A run in the hands of a test, which plays journal, clock and outside.
struct Stage {
    flow: Flow,
    run: Run,
    records: Vec<Record>,
    now: Timestamp,
    answers: VecDeque<Result<Value, Failure>>,
    /// Every call that left: place, attempt, key, input.
    calls: Vec<(String, u32, Uuid, Value)>,
}

/// When every run of these tests starts.
const START: &str = "2026-11-23T10:00:00Z";

fn load(steps: &str) -> Flow {
    loaded(&format!("trigger: {{type: request}}\nsteps:\n{steps}"))
}

fn loaded(text: &str) -> Flow {
    let (connectors, _) = Connectors::from_sources([]);
    let connections = [("db".to_owned(), "sql".to_owned())].into();
    let none = |_: &str| Err(String::new());
    let known = Known { connectors: &connectors, connections: Some(&connections), env: Some(&[]), read: &none };
    let loaded = Flow::load(Path::new("flows/staged.yaml"), text, &known);
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    loaded.flow.unwrap_or_else(|| panic!("{}", problems.join("\n")))
}

/// A run that has just been let in.
fn begun(flow: &Flow, body: Value) -> (Vec<Record>, Run) {
    let now: Timestamp = START.parse().unwrap();
    let id = RunId(Uuid::from_u128(7));
    let request = Request::posted(Body::of(body));
    let started =
        Started { flow: flow.id.clone(), definition: Digest([0; 32]), request, keys: id.0, origin: None, parent: None };
    let started = Arc::new(started);
    let records = vec![Record { v: RECORD_VERSION, at: now, events: vec![Event::Started(started.clone())] }];
    (records, Run::new(id, now, started))
}

fn stage(steps: &str, body: Value, answers: impl IntoIterator<Item = Result<Value, Failure>>) -> Stage {
    let flow = load(steps);
    let (records, run) = begun(&flow, body);
    let now = run.started_at;
    Stage { flow, run, records, now, answers: answers.into_iter().collect(), calls: Vec::new() }
}

impl Stage {
    fn record(&mut self, events: Vec<Event>) {
        if !events.is_empty() {
            // Through bytes, as the journal keeps them.
            let bytes = Record::encode(self.now, &events);
            self.records.push(Record::decode(&bytes).unwrap());
        }
    }

    /// Decides until only the outside is left.
    fn decide(&mut self) -> Next {
        let env = json!({});
        let mut events = Vec::new();
        let next = loop {
            match self.run.next(
                &self.flow,
                &Around { now: self.now, env: &env, resume_url: &|_, place| format!("/resume/{place}") },
            ) {
                Next::Record(event) => {
                    self.run.apply(self.now, &event).unwrap();
                    events.push(event);
                }
                next => break next,
            }
        };
        self.record(events);
        next
    }

    /// One round: decide, then answer the first call or let time pass. False once nothing more can happen.
    fn round(&mut self) -> bool {
        match self.decide() {
            Next::Ended | Next::Record(_) => false,
            Next::Wait { calls, wake, .. } => {
                if let Some(place) = calls.first() {
                    let node = self.run.node(place).unwrap();
                    let input = node.input.as_deref().cloned().unwrap_or_default();
                    self.calls.push((place.to_string(), node.attempt, node.key, input));
                    let answer = self.answers.pop_front().unwrap_or(Ok(json!({})));
                    let event = self.run.settle(&self.flow, place, answer, self.now, u64::MAX / 2);
                    self.run.apply(self.now, &event).unwrap();
                    self.record(vec![event]);
                    return true;
                }
                let Some(at) = wake else { return false };
                self.now = Timestamp::from_millisecond(at).unwrap();
                true
            }
        }
    }

    fn play(mut self) -> Stage {
        while self.round() {}
        self
    }

    /// The history, a line a fact.
    fn told(&self) -> String {
        let told = history(self.run.id, &self.records, Some(&self.flow));
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut lines = Vec::new();
        for step in told["steps"].as_array().unwrap() {
            for attempt in step.get("attempts").and_then(Value::as_array).into_iter().flatten() {
                let error = attempt.get("error").map(|error| text(error, "code")).unwrap_or_default();
                let (number, status) = (&attempt["attempt"], text(attempt, "status"));
                lines.push(format!("{} #{number} {status} {error}", text(step, "id")).trim_end().to_owned());
            }
            let error = step.get("error").map(|error| text(error, "message")).unwrap_or_default();
            lines.push(format!("{} {} {error}", text(step, "id"), text(step, "status")).trim_end().to_owned());
        }
        let error = told.get("error").map(|error| text(error, "message")).unwrap_or_default();
        lines.push(format!("run {} {error}", text(&told, "status")).trim_end().to_owned());
        lines.join("\n")
    }
}

fn failed(class: Class, code: &str) -> Result<Value, Failure> {
    Err(Failure { class, code: code.into(), message: format!("it said {code}"), status: None, wait_ms: None })
}

const CALL: &str = r#"
  - id: create
    action: http.request
    with: {method: POST, url: "http://crm.test/leads", json: {name: "{{trigger.body.name}}"}}
"#;

#[test]
fn a_failed_call_is_tried_again_with_the_same_input_and_key() {
    let stage = stage(CALL, json!({"name": "Ada"}), [failed(Class::Retry, "x.busy"), Ok(json!({"status": 201}))]);
    let begun = stage.now;
    let stage = stage.play();
    assert_snapshot!(stage.told(), @r"
    create #1 failed x.busy
    create #2 succeeded
    create succeeded
    run succeeded
    ");
    assert_eq!(stage.calls[0].2, stage.calls[1].2);
    assert_eq!(stage.calls[0].3, stage.calls[1].3);
    assert_eq!(stage.now.duration_since(begun).as_secs(), 7);
}

#[test]
fn a_call_that_was_held_back_here_uses_up_no_attempt() {
    let held_back = || failed(Class::Throttled, "outbound.breaker_open");
    let down = || failed(Class::Unknown, "connector.in_doubt");
    let steps = "  - {id: a, action: http.request, with: {url: 'http://a.test'}, retry: {attempts: 2}}\n";
    let answers = [held_back(), held_back(), held_back(), down(), held_back(), Ok(json!({}))];
    assert!(stage(steps, json!({}), answers).play().told().ends_with("run succeeded"));
    let answers = [held_back(), down(), held_back(), down()];
    assert!(stage(steps, json!({}), answers).play().told().contains("run failed"));
}

#[test]
fn a_permanent_failure_fails_the_run_and_skips_the_rest() {
    let steps = format!("{CALL}  - id: after\n    set: {{done: true}}\n");
    let stage = stage(&steps, json!({}), [failed(Class::Permanent, "x.refused")]).play();
    assert_snapshot!(stage.told(), @r"
    create #1 failed x.refused
    create failed it said x.refused
    after skipped
    run failed step `create`: it said x.refused
    ");
}

#[test]
fn on_error_continue_passes_over_a_failure() {
    let steps =
        format!("{CALL}    on_error: continue\n  - id: after\n    set: {{code: '{{{{steps.create.error.code}}}}'}}\n");
    let stage = stage(&steps, json!({}), [failed(Class::Permanent, "x.refused")]).play();
    assert_snapshot!(stage.told(), @r"
    create #1 failed x.refused
    create failed it said x.refused
    after succeeded
    run succeeded
    ");
    assert_eq!(stage.run.vars["code"], "x.refused");
}

const BRANCHES: &str = r#"
  - id: check
    if: '{{equals trigger.body.country "US"}}'
    then:
      - id: domestic
        set: {route: domestic}
      - id: wait_a_bit
        delay: 1h
    else:
      - id: abroad
        set: {route: "abroad: {{trigger.body.country}}"}
  - id: skipped
    when: "{{equals vars.route 'nowhere'}}"
    set: {never: true}
  - id: answer
    response: {status: 201, body: {route: "{{vars.route}}", seen: "{{steps.domestic.output}}"}}
"#;

#[test]
fn an_if_takes_one_branch_and_the_other_reads_as_null() {
    let stage = stage(BRANCHES, json!({"country": "FR"}), []).play();
    assert_snapshot!(stage.told(), @r"
    check succeeded
    abroad succeeded
    skipped skipped
    answer succeeded
    run succeeded
    ");
    assert_eq!(stage.run.response.unwrap().body, json!({"route": "abroad: FR", "seen": null}));
}

#[test]
fn a_delay_waits_for_its_time() {
    let stage = stage(BRANCHES, json!({"country": "US"}), []);
    let begun = stage.now;
    let stage = stage.play();
    assert_eq!(stage.now.duration_since(begun).as_secs(), 3600);
    assert_eq!(stage.run.finished, Some(Status::Succeeded));
}

#[test]
fn terminate_ends_the_run_where_it_stands() {
    let steps = "  - id: stop\n    terminate: {status: failed, message: 'no {{trigger.body.what}}'}\n  - id: never\n    set: {a: 1}\n";
    let stage = stage(steps, json!({"what": "licence"}), []).play();
    assert_eq!(stage.run.finished, Some(Status::Failed));
    assert_eq!(stage.run.failure.unwrap().message, "step `stop`: no licence");
    assert_eq!(stage.run.vars.len(), 0);
}

#[test]
fn a_call_that_lacks_a_secret_holds_the_run_until_a_person_lets_it_go_on() {
    let mut stage = stage(CALL, json!({}), [failed(Class::Held, "secret.missing"), Ok(json!({}))]).play();
    assert!(stage.run.held.is_some() && stage.run.finished.is_none());

    stage.run.apply(stage.now, &Event::Released).unwrap();
    stage.record(vec![Event::Released]);
    let stage = stage.play();

    assert_eq!(stage.run.finished, Some(Status::Succeeded));
    assert_eq!(stage.calls[0].2, stage.calls[1].2);
}

#[test]
fn a_run_that_goes_down_with_the_process_three_times_in_a_row_is_held() {
    let mut stage = stage(CALL, json!({}), []);
    stage.decide();
    for _ in 0..3 {
        stage.run.apply(stage.now, &Event::Recovered { crashed: true }).unwrap();
    }
    assert!(matches!(stage.decide(), Next::Wait { held: true, .. }));
    assert_eq!(stage.run.held.as_ref().unwrap().code, "run.suspected");
}

#[test]
fn a_step_in_doubt_is_repeated_or_held_as_it_says() {
    let mut repeated = stage(CALL, json!({}), []);
    repeated.decide();
    repeated.run.apply(repeated.now, &Event::Recovered { crashed: true }).unwrap();
    assert!(matches!(repeated.decide(), Next::Wait { calls, .. } if calls.len() == 1));

    let mut held = stage(&format!("{CALL}    on_doubt: hold\n"), json!({}), []);
    held.decide();
    held.run.apply(held.now, &Event::Recovered { crashed: true }).unwrap();
    assert!(matches!(held.decide(), Next::Wait { held: true, calls, .. } if calls.is_empty()));
}

#[test]
fn events_that_do_not_follow_are_refused() {
    let mut stage = stage(CALL, json!({}), []);
    let place = Place::root(0);
    let output = Arc::new(Value::Null);
    let too_early = Event::Succeeded { place: place.clone(), output: output.clone() };
    assert!(stage.run.apply(stage.now, &too_early).is_err());
    let nowhere = Event::Succeeded { place: place.within(0, 3), output };
    assert!(stage.run.apply(stage.now, &nowhere).is_err());
    let far = Event::Skipped { place: Place::root(u32::MAX), unmet: false };
    assert!(stage.run.apply(stage.now, &far).is_err());
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

#[test]
fn a_step_whose_values_the_journal_could_not_read_again_fails_and_the_run_goes_on() {
    // As deep as the door lets a body be: the call's input wraps it once more.
    let deep_input = CALL.replace("{name: \"{{trigger.body.name}}\"}", "\"{{trigger.body}}\"");
    let played = stage(&deep_input, nested(127), []).play();
    assert_eq!(played.run.failure.as_ref().unwrap().code, "run.too_deep");
    assert!(played.calls.is_empty());

    let played = stage(CALL, json!({"name": "x"}), [Ok(json!({"body": nested(127)}))]).play();
    assert_eq!(played.run.failure.as_ref().unwrap().code, "run.too_deep");

    let played = stage(CALL, json!({"name": "x"}), [Ok(nested(127))]).play();
    assert_eq!(played.run.finished, Some(Status::Succeeded));

    let answer = "  - id: answer\n    response: {headers: {x: \"{{trigger.body}}\"}, body: \"{{trigger.body}}\"}\n";
    assert_eq!(stage(answer, nested(120), []).play().run.failure.unwrap().code, "run.too_deep");
    assert_eq!(stage(answer, nested(99), []).play().run.finished, Some(Status::Succeeded));
}

#[test]
fn how_a_block_ended_is_found_though_many_paths_lead_through_it() {
    // Two steps a layer, each after both of the layer before: 2^60 paths.
    let mut steps = String::new();
    for layer in 0..60 {
        for side in ["a", "b"] {
            let after = match layer {
                0 => "{}".to_owned(),
                _ => format!("{{a{0}: [succeeded, skipped], b{0}: [succeeded, skipped]}}", layer - 1),
            };
            steps += &format!("  - {{id: {side}{layer}, when: '{{{{false}}}}', set: {{x: 1}}, run_after: {after}}}\n");
        }
    }
    assert_eq!(stage(&steps, json!({}), []).play().run.finished, Some(Status::Succeeded));
}

#[test]
fn numbers_are_read_back_as_they_were_written() {
    let at = Timestamp::UNIX_EPOCH;
    let text = r#"{"a":1e400,"b":9007199254740993,"c":[0.1000000000000000055,-1E+5]}"#;
    let value = Arc::new(crate::mapping::parse_json(text.as_bytes()).unwrap());
    let place = Place::root(0);
    let called = Event::Called { place: place.clone(), attempt: 1, input: Some(value.clone()), key: Uuid::nil() };
    let bytes = Record::encode(at, &[called, Event::Succeeded { place, output: value.clone() }]);
    let read = Record::decode(&bytes).unwrap();
    let [Event::Called { input: Some(input), .. }, Event::Succeeded { output, .. }] = &read.events[..] else {
        panic!()
    };
    assert_eq!((input.to_string(), output.to_string()), (text.to_owned(), text.to_owned()));
}
