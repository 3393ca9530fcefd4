//! Each kind of step, played on the stage.

use super::*;

/// How the stage's run ended, its variables, and what left it.
fn outcome(stage: &Stage) -> Value {
    json!({"status": stage.run.finished, "vars": stage.run.vars, "calls": stage.calls.len()})
}

#[test]
fn a_foreach_collects_in_order_and_forgets_its_iterations() {
    let steps = r#"
  - id: each
    foreach: "{{trigger.body.lines}}"
    concurrency: 2
    do:
      - id: store
        action: http.request
        with: {method: POST, url: "http://crm.test/lines", json: {sku: "{{item.sku}}", at: "{{index}}", all: "{{loops.each.index}}"}}
      - id: local
        set: {seen: "{{steps.store.output.body}}-{{item.sku}}"}
    collect: "{{vars.seen}}"
  - id: after
    set: {all: "{{steps.each.output}}"}
"#;
    let body = json!({"lines": [{"sku": "a"}, {"sku": "b"}, {"sku": "c"}]});
    let answers = ["1", "2", "3"].map(|n| Ok(json!({"status": 200, "body": n})));
    let stage = stage(steps, body, answers).play();
    assert_eq!(outcome(&stage), json!({"status": "succeeded", "vars": {"all": ["1-a", "2-b", "3-c"]}, "calls": 3}));
    assert!(stage.run.root.nodes[0].subs.is_empty());
    assert_eq!(stage.calls[1].3["json"], json!({"sku": "b", "at": 1, "all": 1}));
    assert_snapshot!(stage.told(), @r"
    each succeeded
    store #1 succeeded
    store succeeded
    store #1 succeeded
    store succeeded
    local succeeded
    store #1 succeeded
    store succeeded
    local succeeded
    local succeeded
    after succeeded
    run succeeded
    ");
}

#[test]
fn an_until_goes_on_until_its_condition_holds_and_its_last_iteration_can_be_named() {
    let steps = r#"
  - id: poll
    until: '{{equals steps.ask.output.body "ready"}}'
    limit: {count: 3}
    do:
      - id: rest
        delay: 10s
      - id: ask
        action: http.request
        with: {url: "http://crm.test/job"}
  - id: after
    set: {last: "{{steps.ask.output.body}}", count: "{{steps.poll.output.iterations}}"}
"#;
    let answers = ["busy", "ready"].map(|n| Ok(json!({"status": 200, "body": n})));
    let stage = stage(steps, json!({}), answers).play();
    assert_eq!(outcome(&stage), json!({"status": "succeeded", "vars": {"last": "ready", "count": 2}, "calls": 2}));
}

#[test]
fn an_until_fails_at_its_limit_unless_told_otherwise() {
    let steps = |on_limit: &str| {
        format!(
            r#"
  - id: poll
    until: '{{{{equals 1 2}}}}'
    limit: {{count: 3, time: 1h}}
    on_limit: {on_limit}
    do:
      - id: rest
        delay: 25m
"#
        )
    };
    let failing = stage(&steps("fail"), json!({}), []).play();
    assert_snapshot!(failing.told(), @r"
    poll failed the condition did not hold after 3 iterations (limit 3, 1h)
    rest succeeded
    rest succeeded
    rest succeeded
    run failed step `poll`: the condition did not hold after 3 iterations (limit 3, 1h)
    ");
    let going = stage(&steps("continue"), json!({}), []).play();
    assert_snapshot!(going.told(), @r"
    poll succeeded
    rest succeeded
    rest succeeded
    rest succeeded
    run succeeded
    ");
}

#[test]
fn a_failure_in_a_scope_is_caught_and_finally_runs_in_any_case() {
    let steps = r#"
  - id: book
    scope:
      - id: charge
        action: http.request
        with: {method: POST, url: "http://pay.test/"}
        retry: none
      - id: never
        set: {reached: true}
    catch:
      - id: note
        set: {why: "{{steps.book.error.code}}", first: "{{steps.book.results.0.status}}", second: "{{steps.book.results.1.status}}"}
    finally:
      - id: close
        set: {closed: true}
"#;
    let stage = stage(steps, json!({}), [failed(Class::Permanent, "x.no")]).play();
    assert_snapshot!(stage.told(), @r"
    book succeeded
    charge #1 failed x.no
    charge failed it said x.no
    never skipped
    note succeeded
    close succeeded
    run succeeded
    ");
    assert_eq!(
        stage.run.vars,
        *json!({"why": "x.no", "first": "failed", "second": "skipped", "closed": true}).as_object().unwrap()
    );
}

#[test]
fn branches_run_at_once_with_variables_of_their_own() {
    let steps = r#"
  - id: both
    parallel:
      left:
        - id: one
          action: http.request
          with: {url: "http://a.test/"}
        - id: keep
          set: {mine: "{{steps.one.output.body}}"}
        - id: show
          action: http.request
          with: {url: "http://a.test/{{vars.mine}}"}
      right:
        - id: two
          action: http.request
          with: {url: "http://b.test/"}
  - id: after
    set: {both: "{{steps.one.output.body}}{{steps.two.output.body}}"}
"#;
    let answers = ["1", "2", "3"].map(|n| Ok(json!({"status": 200, "body": n})));
    let stage = stage(steps, json!({}), answers).play();
    assert_snapshot!(stage.told(), @r"
    both succeeded
    one #1 succeeded
    one succeeded
    two #1 succeeded
    two succeeded
    keep succeeded
    show #1 succeeded
    show succeeded
    after succeeded
    run succeeded
    ");
    assert_eq!(stage.run.vars["both"], json!("13"));
}

#[test]
fn a_switch_takes_the_first_case_that_holds_the_value() {
    let steps = r#"
  - id: route
    switch: "{{trigger.body.code}}"
    cases:
      - {value: [INS, 7], do: [{id: ins, set: {took: ins}}]}
      - {value: "true", do: [{id: yes, set: {took: yes}}]}
    default: [{id: other, set: {took: other}}]
"#;
    let took = |code: Value| stage(steps, json!({"code": code}), []).play().run.vars["took"].clone();
    let all: Vec<Value> = [json!("INS"), json!(7.0), json!(true), json!("ins"), Value::Null].map(took).into();
    assert_eq!(json!(all), json!(["ins", "ins", "yes", "other", "other"]));
}

#[test]
fn a_wait_takes_what_came_early_and_times_out_otherwise() {
    let steps = r#"
  - id: mail
    action: http.request
    with: {method: POST, url: "http://mail.test/", json: {link: "{{run.resume_urls.approval}}"}}
  - id: approval
    wait: {timeout: 3d}
  - id: use
    set: {decision: "{{steps.approval.output.body.decision}}"}
  - id: late
    set: {decision: none}
    run_after: {approval: [timed_out]}
"#;
    let mut early = stage(steps, json!({}), []);
    early.decide();
    let input = Arc::new(json!({"body": {"decision": "yes"}}));
    let resumed = Event::Resumed { place: Place::root(1), input };
    early.run.apply(early.now, &resumed).unwrap();
    assert!(early.run.apply(early.now, &resumed).is_err(), "it can be resumed once");
    early.record(vec![resumed]);
    let early = early.play();
    assert_eq!(early.run.vars["decision"], json!("yes"));
    assert_eq!(early.calls[0].3["json"]["link"], json!("/resume/1"));
    let late = stage(steps, json!({}), []).play();
    assert_snapshot!(late.told(), @r"
    mail #1 succeeded
    mail succeeded
    approval timed_out nobody answered within 72h
    use skipped
    late succeeded
    run failed step `approval`: nobody answered within 72h
    ");
    assert_eq!(late.now.as_second() - late.run.started_at.as_second(), 72 * 3600);
}

#[test]
fn a_flow_that_takes_too_long_times_out_after_its_handler_ran() {
    let flow = r#"
  - id: rest
    delay: 2d
timeout: 1h
on_failure:
  - id: alert
    action: http.request
    with: {method: POST, url: "http://chat.test/", json: {why: "{{run.error.code}}"}}
"#;
    let stage = stage(flow, json!({}), []).play();
    assert_snapshot!(stage.told(), @r"
    rest cancelled
    alert #1 succeeded
    alert succeeded
    run timed_out the run took longer than the flow's `timeout`, 1h
    ");
    assert_eq!(stage.calls[0].3["json"]["why"], json!("run.timeout"));
    assert_eq!(stage.run.finished, Some(Status::TimedOut));
}

#[test]
fn a_mocked_call_is_not_made_and_secure_values_are_not_shown() {
    let steps = r#"
  - id: fetch
    action: http.request
    with: {url: "http://crm.test/person"}
    secure: [outputs]
    mock: {output: {status: 200, body: "canary-{{trigger.body.n}}"}}
  - id: keep
    set: {copy: "{{steps.fetch.output.body}}"}
  - id: pass
    action: http.request
    with: {url: "http://crm.test/", query: {q: "{{vars.copy}}"}}
    mock: {error: {code: x.busy, message: too busy, status: 503}}
    on_error: continue
"#;
    let stage = stage(steps, json!({"n": 7}), []).play();
    assert_eq!(outcome(&stage), json!({"status": "succeeded", "vars": {"copy": "canary-7"}, "calls": 0}));
    let told = history(stage.run.id, &stage.records, Some(&stage.flow)).to_string();
    assert!(!told.contains("canary"), "{told}");
    assert!(told.contains("\"mocked\":true"), "{told}");
}

#[test]
fn a_history_shows_the_first_iterations_and_those_that_failed() {
    let steps = r#"
  - id: each
    foreach: "{{trigger.body}}"
    do:
      - id: check
        set: {ok: "{{required item.ok}}"}
    on_error: continue
  - id: again
    until: "{{equals index 299}}"
    limit: {count: 300}
    do: [{id: note, set: {n: "{{index}}"}}]
"#;
    let items: Vec<Value> = (0..500).map(|n| if n == 400 { json!({}) } else { json!({"ok": n}) }).collect();
    let stage = stage(steps, json!(items), []).play();
    let told = history(stage.run.id, &stage.records, Some(&stage.flow));
    let steps = told["steps"].as_array().unwrap();
    let of = |id: &str| steps.iter().filter(|step| step["id"] == *id).collect::<Vec<_>>();
    assert_eq!((of("check").len(), of("note").len()), (101, 101));
    assert_eq!(of("check")[100]["place"], json!("0.400.0"));
    assert_eq!(of("each")[0]["iterations_left_out"], json!(399));
    assert_eq!((&of("each")[0]["iterations"], &of("again")[0]["iterations"]), (&json!(500), &json!(300)));
    assert_eq!(stage.run.vars["n"], json!(299));
}

#[test]
fn a_loop_that_failed_leaves_what_it_collected() {
    let steps = r#"
  - id: each
    foreach: "{{trigger.body}}"
    on_error: continue
    do: [{id: check, set: {v: "{{required item.v}}"}}]
    collect: "{{vars.v}}"
  - id: after
    set: {all: "{{steps.each.output}}"}
"#;
    let stage = stage(steps, json!([{"v": 1}, {}, {"v": 3}]), []).play();
    assert_eq!(stage.run.vars["all"], json!([1, null, 3]));
}

#[test]
fn one_resume_decides_about_every_call_in_doubt() {
    let call =
        |id: &str| format!("[{{id: {id}, action: http.request, with: {{url: \"http://pay.test/\"}}, on_doubt: hold}}]");
    let steps = format!("  - id: both\n    parallel: {{a: {}, b: {}}}\n", call("one"), call("two"));
    let mut stage = stage(&steps, json!({}), []);
    stage.decide();
    stage.run.apply(stage.now, &Event::Recovered { crashed: true }).unwrap();
    assert!(matches!(stage.decide(), Next::Wait { held: true, .. }));
    stage.run.apply(stage.now, &Event::Released).unwrap();
    assert!(matches!(stage.decide(), Next::Wait { held: false, calls, .. } if calls.len() == 2));
}

#[test]
fn a_terminate_in_on_failure_does_not_make_the_run_succeed() {
    let flow = r#"
  - id: breaks
    set: {v: "{{required trigger.body.v}}"}
on_failure:
  - id: stop
    terminate: succeeded
"#;
    let stage = stage(flow, json!({}), []).play();
    assert_eq!(stage.run.finished, Some(Status::Failed));
    assert_eq!(stage.run.failure.unwrap().code, "mapping.required");
}

#[test]
fn what_is_made_of_a_secure_literal_is_hidden_too() {
    let steps = r#"
  - id: keep
    set: {pin: topsecret}
    secure: outputs
  - id: copy
    set: {again: "{{vars.pin}}"}
  - id: rest
    delay: "{{vars.again}}"
    on_error: continue
  - id: stop
    terminate: {status: failed, message: "it was {{vars.pin}}"}
"#;
    let stage = stage(steps, json!({}), []).play();
    let told = history(stage.run.id, &stage.records, Some(&stage.flow)).to_string();
    assert!(!told.contains("topsecret"), "{told}");
}
