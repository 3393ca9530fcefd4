//! What the gate lets in, what it refuses, and what is decided at its edges.

use super::*;

impl Stage {
    fn apply(&mut self, event: Event) -> Result<(), Illegal> {
        self.run.apply(self.now, &event)?;
        self.record(vec![event]);
        Ok(())
    }

    fn post(&mut self, place: &[u32]) -> Result<(), Illegal> {
        self.apply(Event::Resumed { place: Place(place.to_vec()), input: Arc::new(json!({"body": "yes"})) })
    }
}

#[test]
fn a_step_waits_for_all_it_names_also_where_one_of_them_has_settled_the_matter() {
    let steps = r#"
  - id: failing
    action: http.request
    with: {url: "http://a.test"}
    mock: {error: {code: x.no}}
  - id: slow
    run_after: {}
    delay: 1m
  - id: both
    run_after: {failing: [succeeded], slow: [succeeded]}
    set: {a: 1}
  - id: last
    run_after: {both: [skipped]}
    set: {at: "{{steps.slow.status}}"}
"#;
    assert_eq!(stage(steps, json!({}), []).play().run.vars["at"], "succeeded");
}

#[test]
fn a_post_for_a_wait_in_a_branch_that_is_not_entered_yet_is_kept() {
    let steps = r#"
  - id: pause
    delay: 1m
  - id: ask
    if: "{{equals trigger.body.ask true}}"
    then:
      - id: approval
        wait: 1h
"#;
    let mut stage = stage(steps, json!({"ask": true}), []);
    stage.decide();
    stage.post(&[1, 0, 0]).unwrap();
    assert!(stage.post(&[1, 0, 0]).is_err(), "a second one is refused");
    let begun = stage.now;
    let stage = stage.play();
    assert_eq!(stage.run.node(&Place(vec![1, 0, 0])).unwrap().output.as_deref(), Some(&json!({"body": "yes"})));
    assert_eq!(stage.now.duration_since(begun).as_secs(), 60);
}

#[test]
fn a_post_that_comes_too_late_is_refused() {
    let steps = r#"
  - id: first
    if: "{{trigger.body.ask}}"
    then:
      - id: approval
        wait: 1h
  - id: pause
    delay: 1m
"#;
    let mut stage = stage(steps, json!({"ask": false}), []);
    stage.decide();
    assert!(stage.post(&[0, 0, 0]).is_err(), "the `if` around it has ended");
    assert!(stage.run.resumed.is_empty());
}

#[test]
fn a_refused_event_leaves_the_run_as_it_was() {
    let steps = r#"
  - id: both
    parallel:
      left: [{id: l, delay: 1m}]
      right: [{id: r, delay: 2m}]
"#;
    let mut stage = stage(steps, json!({}), []);
    stage.decide();
    let before = format!("{:?}", stage.run);
    let place = Place::root(0);
    for again in [false, true] {
        assert!(stage.apply(Event::Entered { place: place.clone(), sub: 0, again }).is_err());
    }
    let output = Arc::new(Value::Null);
    assert!(stage.apply(Event::Succeeded { place, output }).is_err(), "its branches have not ended");
    assert_eq!(format!("{:?}", stage.run), before);
}

#[test]
fn a_foreach_fails_with_the_first_item_of_the_list_that_failed_not_with_the_quickest() {
    let steps = r#"
  - id: each
    foreach: "{{trigger.body.items}}"
    concurrency: 2
    do:
      - id: pause
        delay: "{{item}}"
      - id: call
        action: http.request
        with: {url: "http://a.test"}
        mock: {error: {code: "x.{{index}}", message: "no {{index}}"}}
"#;
    let played = stage(steps, json!({"items": ["20s", "10s"]}), []).play();
    let failure = played.run.failure.unwrap();
    assert_eq!(failure.code, "x.0");
    assert_eq!(failure.message, "step `each`: 2 of 2 items failed; item 0: step `call`: no 0");
}

fn with_on_failure(steps: &str, on_failure: &str) -> Stage {
    let text = format!("trigger: {{type: request}}\ntimeout: 1h\nsteps:\n{steps}\non_failure:\n{on_failure}");
    let flow = loaded(&text);
    let (records, run) = begun(&flow, json!({}));
    Stage { flow, now: run.started_at, run, records, answers: VecDeque::new(), calls: Vec::new() }
}

#[test]
fn calls_of_steps_that_failed_are_nobodys_once_on_failure_is_at_work() {
    let steps = r#"
  - {id: call, action: http.request, with: {url: "http://a.test"}}
  - {id: stop, run_after: {}, terminate: failed}
"#;
    let mut stage = with_on_failure(steps, "  - {id: approval, wait: 1h}\n");
    stage.post(&[HANDLER, 0, 0]).unwrap();
    assert!(stage.run.begun_at.is_none(), "the timeout counts from the first step on");
    stage.decide();
    let stage = stage.play();
    let mut at_work = 0;
    stage.run.each(&mut |_, node| at_work += u32::from(!node.state.is_ended()));
    assert_eq!((at_work, stage.run.finished), (0, Some(Status::Failed)));
    assert_snapshot!(stage.told(), @r"
    approval succeeded
    call #1
    call cancelled
    stop succeeded
    run failed ended by step `stop`
    ");
}

#[test]
fn a_post_for_on_failure_that_came_early_still_counts_once_the_steps_have_failed() {
    let mut stage = with_on_failure(
        "  - {id: stop, terminate: failed}\n",
        "  - {id: rest, delay: 1m}\n  - {id: approval, wait: 1h}\n",
    );
    stage.post(&[HANDLER, 0, 1]).unwrap();
    stage.decide();
    let told = history(stage.run.id, &stage.records, Some(&stage.flow));
    assert_ne!(told["steps"][0]["status"], "cancelled");
    assert!(told["steps"][0].get("ended_at").is_none());
}
