//! Runs that begin in the middle: what they take over, what they refuse, and how they go on.

use proptest::prelude::*;

use super::play::{Mishap, Play};
use super::property::{cases, dice, grown, outside};
use super::*;
use crate::flow::HANDLER;
use crate::mapping::Scope;

/// What a run of `new` takes over of `origin`.
fn plan(origin: &Run, records: &[Record], old: &Flow, new: &Flow, from: &BeginAt) -> Result<Takeover, String> {
    let mut plan = Takeover::plan(origin, old, new, from)?;
    records.iter().flat_map(|record| &record.events).for_each(|event| plan.see(event));
    Ok(plan)
}

/// A run that has just begun in place of `origin`, with its keys.
fn begun_after(origin: &Run, flow: &Flow, taken: Event) -> (Vec<Record>, Run) {
    let (_, blank) = begun(flow, Value::clone(origin.started.request.body.value()));
    let (id, now) = (RunId(Uuid::from_u128(8)), blank.started_at);
    let started = Started {
        keys: origin.started.keys,
        origin: Some(Origin { run: origin.id, from_step: None }),
        ..Started::clone(&blank.started)
    };
    let events = vec![Event::Started(Arc::new(started)), taken];
    let record = Record::decode(&Record::encode(now, &events)).unwrap();
    let run = Run::replay(id, std::slice::from_ref(&record)).unwrap();
    (vec![record], run)
}

impl Stage {
    /// The run that takes this one's place.
    fn again(
        &self,
        steps: &str,
        from: &BeginAt,
        answers: impl IntoIterator<Item = Result<Value, Failure>>,
    ) -> Result<Stage, String> {
        let flow = load(steps);
        let taken = plan(&self.run, &self.records, &self.flow, &flow, from)?.event();
        let (records, run) = begun_after(&self.run, &flow, taken);
        Ok(Stage { flow, now: run.started_at, run, records, answers: answers.into_iter().collect(), calls: Vec::new() })
    }
}

fn step(id: &str) -> BeginAt {
    BeginAt::Step(id.to_owned())
}

const ORDER: &str = r#"
  - id: customer
    action: http.request
    with: {url: "http://crm.test/customer"}
  - id: check
    if: "{{trigger.body.vip}}"
    then:
      - id: greet
        set: {greeting: "dear {{steps.customer.output.body.name}}"}
  - id: lines
    foreach: "{{trigger.body.lines}}"
    do:
      - id: count
        set: {last: "{{item}}"}
    collect: "{{item}}!"
  - id: book
    action: http.request
    with: {method: POST, url: "http://erp.test/orders", json: {to: "{{vars.greeting}}"}}
    retry: none
  - id: tell
    set: {said: "{{vars.greeting}} {{vars.last}} {{steps.lines.output}} {{steps.greet.output.greeting}}"}
"#;

fn failed_order() -> Stage {
    let body = json!({"vip": true, "lines": ["a", "b"]});
    let answers = [Ok(json!({"body": {"name": "Ada"}})), failed(Class::Permanent, "x.refused")];
    stage(ORDER, body, answers).play()
}

#[test]
fn a_run_goes_on_with_the_failed_step_and_what_came_before_it() {
    let origin = failed_order();
    let again = origin.again(ORDER, &BeginAt::Failed, [Ok(json!({"status": 201}))]).unwrap().play();
    assert_snapshot!(again.told(), @r#"
    customer succeeded
    check succeeded
    greet succeeded
    lines succeeded
    book #1 succeeded
    book succeeded
    tell succeeded
    run succeeded
    "#);
    assert_eq!(again.run.vars["said"], json!("dear Ada b [\"a!\",\"b!\"] dear Ada"));
    assert_eq!(again.calls.len(), 1, "what had succeeded is not called again");
    assert_eq!(again.calls[0].2, origin.calls[1].2, "the repeated call has the key of the first");
    let told = history(again.run.id, &again.records, Some(&again.flow));
    assert_eq!((&told["steps"][0]["taken_over"], &told["steps"][4]["taken_over"]), (&json!(true), &Value::Null));
    assert_eq!(again.run.begun_at, Some(again.run.started_at), "the timeout counts from the first step that is run");
}

#[test]
fn a_run_that_took_over_can_be_taken_over_again_from_an_earlier_step() {
    let origin = failed_order();
    let second = origin.again(ORDER, &BeginAt::Failed, [failed(Class::Permanent, "x.refused")]).unwrap().play();
    assert_eq!(second.run.finished, Some(Status::Failed));
    let third = second.again(ORDER, &step("lines"), [Ok(json!({}))]).unwrap();
    assert_eq!(json!(third.run.vars), json!({"greeting": "dear Ada"}), "what later steps set is not there yet");
    let third = third.play();
    assert_eq!(third.run.vars["last"], "b");
    assert_eq!(third.run.finished, Some(Status::Succeeded));
}

#[test]
fn a_mended_version_takes_over_by_id_and_does_what_is_new_in_it_first() {
    let origin = failed_order();
    let mended = ORDER.replace(
        "  - id: book\n",
        "  - id: price\n    action: http.request\n    with: {url: \"http://erp.test/price\"}\n  - id: book\n",
    );
    let again = origin.again(&mended, &BeginAt::Failed, [Ok(json!({})), Ok(json!({}))]).unwrap().play();
    let called: Vec<&str> = again.calls.iter().map(|call| call.0.as_str()).collect();
    assert_eq!((called, again.run.finished), (vec!["3", "4"], Some(Status::Succeeded)));
    assert_ne!(again.calls[0].2, origin.calls[1].2, "a new step at the old place has a key of its own");
    assert_eq!(again.calls[1].2, origin.calls[1].2, "the same step at another place keeps its key");
}

#[test]
fn a_block_that_has_a_step_more_now_is_taken_over_as_it_was() {
    let origin = failed_order();
    let more = ORDER.replace("    then:\n", "    then:\n      - {id: note, set: {noted: true}}\n");
    let again = origin.again(&more, &BeginAt::Failed, [Ok(json!({}))]).unwrap().play();
    assert_eq!(again.run.finished, Some(Status::Succeeded));
    assert_eq!(again.run.vars["said"], json!("dear Ada b [\"a!\",\"b!\"] dear Ada"));
    assert!(again.run.vars.get("noted").is_none());
}

#[test]
fn a_step_that_cannot_be_begun_with_is_refused_in_words() {
    let origin = failed_order();
    let why = |steps: &str, from: &BeginAt| origin.again(steps, from, []).map(|_| ()).unwrap_err();
    assert_snapshot!(why(ORDER, &step("boook")), @"flow `staged` has no step `boook`; did you mean `book`?");
    assert_snapshot!(why(ORDER, &step("tell")), @"step `book` failed too, and does not follow; begin with it, or with what failed");
    let other_kind = ORDER
        .replace("action: http.request\n    with: {url: \"http://crm.test/customer\"}", "set: {body: {name: Ada}}");
    assert_snapshot!(why(&other_kind, &BeginAt::Failed), @"step `customer` is of another kind now, so what it gave cannot be taken over; take the old version");
    let renamed = ORDER.replace("id: book", "id: order");
    assert_snapshot!(why(&renamed, &BeginAt::Failed), @"step `book` failed, and the flow's list has no such step any more; take the old version");
    let moved = ORDER.replace("  - id: check\n    if: \"{{trigger.body.vip}}\"\n    then:\n", "  - id: check\n    if: \"{{trigger.body.vip}}\"\n    then:\n      - id: more\n        if: \"{{trigger.body.vip}}\"\n        then:\n    ")
        .replace("          - id: greet\n        set:", "          - id: greet\n            set:");
    assert_snapshot!(why(&moved, &BeginAt::Failed), @"step `greet` was inside of `check` and is elsewhere now; take the old version");
    let well = stage("  - {id: a, set: {x: 1}}\n", json!({}), []).play();
    let why = well.again("  - {id: a, set: {x: 1}}\n", &BeginAt::Failed, []).map(|_| ()).unwrap_err();
    assert_eq!(why, "no step of it failed or was left undone; resubmit it whole");
}

#[test]
fn an_inner_step_stands_for_the_block_it_is_in() {
    let steps = r#"
  - {id: first, set: {a: 1}}
  - id: block
    scope:
      - {id: inner, action: http.request, with: {url: "http://a.test"}}
      - {id: second, action: http.request, with: {url: "http://b.test"}, retry: none}
"#;
    let origin = stage(steps, json!({}), [Ok(json!({})), failed(Class::Permanent, "x.no")]).play();
    let again = origin.again(steps, &step("second"), []).unwrap().play();
    let places: Vec<&str> = again.calls.iter().map(|call| call.0.as_str()).collect();
    assert_eq!(places, ["1.0.0", "1.0.1"]);
    assert_eq!(again.calls[0].2, origin.calls[0].2);
}

#[test]
fn a_run_that_was_cut_off_begins_with_what_was_under_way() {
    let steps = r#"
  - {id: a, set: {x: 1}}
  - {id: rest, delay: 2h}
  - {id: b, set: {y: 2}}
"#;
    let text = format!("trigger: {{type: request}}\ntimeout: 1h\nsteps:{steps}");
    let flow = loaded(&text);
    let (records, run) = begun(&flow, json!({}));
    let origin = Stage { flow, now: run.started_at, run, records, answers: VecDeque::new(), calls: Vec::new() }.play();
    assert_eq!(origin.run.finished, Some(Status::TimedOut));
    let planned = plan(&origin.run, &origin.records, &origin.flow, &origin.flow, &BeginAt::Failed).unwrap();
    assert_eq!(planned.begins_with(), "rest");
    let stopped = "  - {id: a, set: {x: 1}}\n  - {id: stop, terminate: failed}\n  - {id: c, set: {z: 1}}\n";
    let origin = stage(stopped, json!({}), []).play();
    let planned = plan(&origin.run, &origin.records, &origin.flow, &origin.flow, &BeginAt::Failed).unwrap();
    assert_eq!(planned.begins_with(), "stop");
}

#[test]
fn a_failure_that_a_later_step_was_for_is_taken_over_as_one() {
    let steps = r#"
  - {id: chat, action: http.request, with: {url: "http://a.test"}, retry: none}
  - {id: mail, run_after: {chat: [failed]}, action: http.request, with: {url: "http://b.test"}, retry: none}
"#;
    let no = || failed(Class::Permanent, "x.no");
    let origin = stage(steps, json!({}), [no(), no()]).play();
    let again = origin.again(steps, &BeginAt::Failed, [Ok(json!({}))]).unwrap().play();
    assert_eq!((again.calls.len(), again.calls[0].0.as_str()), (1, "1"));
    assert_eq!(again.run.finished, Some(Status::Succeeded));
}

#[test]
fn the_gate_takes_nothing_over_once_steps_have_begun_nor_without_an_origin() {
    let origin = failed_order();
    let taken = plan(&origin.run, &origin.records, &origin.flow, &origin.flow, &BeginAt::Failed).unwrap().event();
    let mut fresh = stage(ORDER, json!({}), []);
    assert!(fresh.run.apply(fresh.now, &taken).is_err(), "it repeats no run");
    let mut again = origin.again(ORDER, &BeginAt::Failed, []).unwrap();
    let before = format!("{:?}", again.run);
    assert!(again.run.apply(again.now, &taken).is_err(), "twice");
    let Event::TookOver(taken) = taken else { panic!() };
    for places in [vec![vec![0, 0, 0]], vec![vec![0], vec![0]], vec![vec![u32::MAX]], vec![vec![0, 1]]] {
        let steps = places.into_iter().map(|place| Taken { place: Place(place), ..taken.steps[0].clone() }).collect();
        let (_, blank) = begun_after(&origin.run, &origin.flow, Event::Recovered { crashed: false });
        let mut blank = blank;
        assert!(blank.apply(again.now, &Event::TookOver(Box::new(TookOver { steps, ..TookOver::default() }))).is_err());
        assert!(blank.root.nodes.is_empty());
    }
    assert_eq!(format!("{:?}", again.run), before);
}

/// What a template sees of a step.
fn seen(run: &Run, flow: &Flow, id: &str) -> Value {
    let env = json!({});
    let around = Around::new(run.started_at, &env);
    let scope = scope::InRun { run, flow, path: &[0], around: &around };
    let path = ["steps".to_owned(), id.to_owned()];
    scope.find(&path).map(|(value, _)| value.into_owned()).unwrap_or_default()
}

proptest! {
    #![proptest_config(cases(150))]

    /// Of any run that failed: what is taken over is seen by templates as it was, no step of it is called again, the same
    /// call has the same key, and going down in between changes nothing.
    #[test]
    fn what_is_taken_over_is_what_was(dice in dice(), outside in outside()) {
        let (tree, flow) = grown(dice);
        let play = Play::new(&tree, &flow, outside, Mishap::Never, 512).play();
        let failed = verdict::culprits(&flow.steps, &play.run.root);
        let planned = plan(&play.run, &play.records, &flow, &flow, &BeginAt::Failed);
        let Ok(planned) = planned else {
            prop_assert!(failed.is_empty(), "{:?}", planned.map(|_| ()));
            return Ok(());
        };
        let (records, run) = begun_after(&play.run, &flow, planned.event());
        let is_taken = |place: &[u32]| run.root.node(place[0]).is_some_and(|node| node.state != State::Pending);
        for (position, step) in flow.steps.steps.iter().enumerate().filter(|(at, _)| is_taken(&[*at as u32])) {
            prop_assert!(!failed.contains(&(position as u32)));
            let mut ids = vec![step.id.clone()];
            let mut open = vec![step];
            while let Some(step) = open.pop() {
                for inner in step.blocks().into_iter().flat_map(|(_, block)| &block.steps) {
                    ids.push(inner.id.clone());
                    open.push(inner);
                }
            }
            for id in ids {
                prop_assert_eq!(seen(&run, &flow, &id), seen(&play.run, &flow, &id), "{}", id);
            }
        }
        let mut vars = Map::new();
        for event in play.records.iter().flat_map(|record| &record.events) {
            if let Event::Assigned { place, vars: given, owner: 0 } = event
                && place.0[0] != HANDLER && is_taken(&place.0)
            {
                vars.extend(given.clone());
            }
        }
        prop_assert_eq!(&run.vars, &vars);
        let again = |mishap| {
            let mut play = Play::new(&tree, &flow, outside, mishap, 512);
            (play.records, play.run) = (records.clone(), run.clone());
            play.play()
        };
        let plain = again(Mishap::Never);
        for ((place, attempt), sent) in &plain.left {
            prop_assert!(place[0] == HANDLER || !is_taken(place), "{place:?} was called again");
            if let Some(before) = play.left.get(&(place.clone(), *attempt)) {
                prop_assert_eq!(sent.1, before.1, "the key of {:?}", place);
            }
        }
        let came = |play: &Play<'_>| {
            let run = &play.run;
            format!("{:?}", (run.finished, &run.failure, &run.vars, &run.response, run.updated_at))
        };
        for mishap in [Mishap::AfterEach, Mishap::BeforeEach] {
            let disturbed = again(mishap);
            if plain.run.finished.is_some() {
                prop_assert_eq!(came(&disturbed), came(&plain), "{:?}", mishap);
            }
        }
    }
}
