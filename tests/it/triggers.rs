//! What starts a flow, through HTTP, the API and the command line: methods, paths, conditions, split lists, inputs.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::time::Duration;

use serde_json::{Value, json};

use crate::app::{Answer, App, Remote, Reply, http};

const NOTE: &str = "steps:\n  - id: note\n    set: {got: \"{{trigger.body}}\"}\n";

fn send(app: &App, method: &str, path: &str, body: &str) -> Answer {
    http(app.public, method, path, &[("content-type", "application/json")], body.as_bytes()).unwrap()
}

fn ids(answer: &Answer) -> Vec<String> {
    let ids = answer.json()["run_ids"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone();
    ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

fn got(run: &Value) -> &Value {
    &run["steps"][0]["output"]["got"]
}

#[test]
fn a_flow_takes_the_methods_that_it_lists_and_no_others() {
    let schema = "schema: {type: object, required: [id]}";
    let flow = format!("trigger: {{type: request, methods: [put, GET], {schema}}}\n{NOTE}");
    let app =
        App::with(&[("flows/shop.yaml", &flow), ("flows/plain.yaml", &format!("trigger: {{type: request}}\n{NOTE}"))]);
    let hook = app.hook("shop");

    let put = send(&app, "PUT", &hook, r#"{"id": 1}"#);
    let get = send(&app, "GET", &format!("{hook}?a=1"), "");

    let put = app.ended(&put.run());
    assert_eq!((&put["trigger"]["method"], got(&put)), (&json!("PUT"), &json!({"id": 1})));
    let get = app.ended(&get.run());
    assert_eq!(
        (got(&get), &get["trigger"]["query"]),
        (&Value::Null, &json!({"a": "1"})),
        "no body, and none asked for"
    );
    let again = app.api("POST", &format!("/runs/{}/resubmit", get["run_id"].as_str().unwrap()), None);
    assert_eq!(app.ended(&again.run())["trigger"]["method"], "GET", "a repeat is judged as it was");
    assert_eq!(send(&app, "PUT", &hook, "").status, 422, "the schema is asked about a PUT in any case");
    assert_eq!(send(&app, "GET", &hook, "{}").status, 422, "and about a body that is there");
    let post = send(&app, "POST", &hook, r#"{"id": 1}"#);
    assert_eq!((post.status, post.header("allow")), (405, Some("PUT, GET")));
    let other = send(&app, "GET", &app.hook("plain"), "");
    assert_eq!((other.status, other.header("allow")), (405, Some("POST")));
}

#[test]
fn challenges_of_senders_are_answered_by_a_response() {
    let app = App::with(&[(
        "flows/events.yaml",
        r#"
trigger: {type: request, methods: [GET, POST]}
steps:
  - id: subscribing
    if: '{{equals trigger.method "GET"}}'
    then:
      - {id: hub, response: {body: "{{trigger.query.[hub.challenge]}}"}}
    else:
      - id: verifying
        if: '{{equals trigger.body.type "url_verification"}}'
        then:
          - {id: echo, response: {body: "{{trigger.body.challenge}}"}}
        else:
          - {id: thank, response: {status: 204}}
"#,
    )]);
    let hook = app.hook("events");

    let hub = send(&app, "GET", &format!("{hook}?hub.mode=subscribe&hub.challenge=1158201444"), "");
    let echo = send(&app, "POST", &hook, r#"{"type": "url_verification", "challenge": "3eZbrw1aB"}"#);
    let event = send(&app, "POST", &hook, r#"{"type": "event_callback"}"#);

    let plain = Some("text/plain; charset=utf-8");
    assert_eq!((hub.status, hub.header("content-type"), hub.text.as_str()), (200, plain, "1158201444"));
    assert_eq!((echo.status, echo.header("content-type"), echo.text.as_str()), (200, plain, "3eZbrw1aB"));
    assert_eq!((event.status, event.text.as_str()), (204, ""));
}

#[test]
fn a_path_has_its_parameters_and_another_path_is_not_there() {
    let steps = "steps:\n  - id: note\n    set: {got: \"{{trigger.path.id}} {{trigger.path.order}}\", all: \"{{trigger.path}}\"}\n";
    let flow = format!("trigger: {{type: request, path: \"customers/{{id}}/orders/{{order}}\"}}\n{steps}");
    let mut app = App::with(&[("flows/shop.yaml", &flow)]);
    let hook = app.hook("shop");

    let run = app.post_to(&format!("{hook}/customers/a%2Fb%20c/orders/7"), "{}").run();

    assert_eq!(got(&app.ended(&run)), "a/b c 7");
    assert_eq!(app.run(&run)["steps"][0]["output"]["all"], json!({"id": "a/b c", "order": "7"}));
    for wrong in ["", "/", "/customers/1", "/customers//orders/7", "/customers/1/orders/7/", "/clients/1/orders/7"] {
        let refused = app.post_to(&format!("{hook}{wrong}"), "{}");
        assert_eq!((refused.status, &refused.json()["code"]), (404, &json!("not_found")), "{wrong}");
    }
    assert_eq!(app.runs("").len(), 1);

    app.kill();
    app.start();
    assert_eq!(app.run(&run)["trigger"]["path"], json!({"id": "a/b c", "order": "7"}), "as the journal has it");
    let again = app.api("POST", &format!("/runs/{run}/resubmit"), None).run();
    assert_eq!(got(&app.ended(&again)), "a/b c 7");
}

#[test]
fn where_a_condition_is_false_there_is_no_run() {
    let flow = format!(
        "trigger:\n  type: request\n  conditions:\n    - '{{{{equals trigger.body.kind \"order\"}}}}'\n    - \
         '{{{{greater trigger.body.total 100}}}}'\n{NOTE}"
    );
    let app = App::with(&[("flows/orders.yaml", &flow)]);

    let small = app.post("orders", &json!({"kind": "order", "total": 5}));
    let other = app.post("orders", &json!({"kind": "note", "total": "never judged"}));
    let large = app.post("orders", &json!({"kind": "order", "total": 500}));
    let broken = app.post("orders", &json!({"kind": "order", "total": "much"}));

    for skipped in [small, other] {
        assert_eq!((skipped.status, skipped.json()), (202, json!({"status": "skipped"})));
        assert_eq!(skipped.header("x-run-id"), None);
    }
    assert_eq!(app.ended(&large.run())["status"], "succeeded");
    assert_eq!((broken.status, &broken.json()["code"]), (422, &json!("condition_error")));
    assert_eq!(app.runs("").len(), 2, "the run, and what was refused");
    assert_eq!(app.runs("status=rejected")[0]["run_id"], broken.run());

    let mended = json!({"body": {"kind": "order", "total": 1}});
    let again = app.api("POST", &format!("/runs/{}/resubmit", broken.run()), Some(&mended));
    assert_eq!(app.ended(&again.run())["status"], "succeeded", "a person wants it");
    let by_hand = app.cli(&["run", "orders", "--input", "kind=note"]);
    assert!(by_hand.status.success());
    assert!(String::from_utf8_lossy(&by_hand.stderr).contains("there is no run"));
}

const SPLIT: &str = r#"
trigger:
  type: request
  schema:
    type: object
    additionalProperties: false
    properties: {items: {type: array, items: {type: object, properties: {sku: {type: string}}}}}
  split_on: "{{trigger.body.items}}"
  dedupe: {key: "{{trigger.body.sku}}"}
steps:
  - id: note
    set: {got: "{{trigger.body.sku}}"}
"#;

#[test]
fn each_item_of_a_split_list_is_a_run_of_its_own() {
    let mut app = App::with(&[("flows/cart.yaml", SPLIT)]);

    let first = app.post("cart", &json!({"items": [{"sku": "a"}, {"sku": "b"}, {"sku": "a"}]}));
    let runs = ids(&first);
    let second = app.post("cart", &json!({"items": [{"sku": "b"}, {"sku": "c"}]}));
    let single = app.post("cart", &json!({"items": [{"sku": "d"}]}));
    let none = app.post("cart", &json!({"items": []}));

    assert_eq!((first.status, &first.json()["count"], &first.json()["status"]), (202, &json!(3), &json!("accepted")));
    assert_eq!(first.header("x-run-id"), None);
    assert_eq!(runs[2], runs[0], "two equal items of one request are one run");
    assert_eq!(
        (&ids(&second)[0], second.json()["count"] == 2),
        (&runs[1], true),
        "an earlier run stands for its equal"
    );
    assert_eq!(single.run(), ids(&single)[0]);
    assert_eq!((none.status, none.json()), (202, json!({"status": "accepted", "count": 0, "run_ids": []})));
    assert_eq!(app.runs("").len(), 4);
    assert_eq!((got(&app.ended(&runs[0])), got(&app.ended(&runs[1]))), (&json!("a"), &json!("b")));
    assert_eq!(app.run(&runs[1])["trigger"]["body"], json!({"sku": "b"}));

    app.kill();
    app.start();
    let again = app.api("POST", &format!("/runs/{}/resubmit", runs[1]), None);
    assert_eq!(got(&app.ended(&again.run())), "b", "the item is sent again, not the list");
    let mended = json!({"body": {"sku": "z"}, "again": true});
    let again = app.api("POST", &format!("/runs/{}/resubmit", runs[1]), Some(&mended));
    assert_eq!(got(&app.ended(&again.run())), "z");
}

#[test]
fn what_cannot_be_split_is_kept_and_a_mended_list_is_split() {
    let app = App::with(&[("flows/cart.yaml", SPLIT)]);

    let no_list = app.post("cart", &json!({}));
    let bad_item = app.post("cart", &json!({"items": [{"sku": 5}]}));

    assert_eq!((no_list.status, &no_list.json()["code"]), (422, &json!("split_error")));
    assert_eq!((bad_item.status, &bad_item.json()["code"]), (422, &json!("schema_violation")));
    assert_eq!(app.runs("status=rejected").len(), 2);
    let mended = json!({"body": {"items": [{"sku": "a"}, {"sku": "b"}]}});
    let runs = ids(&app.api("POST", &format!("/runs/{}/resubmit", no_list.run()), Some(&mended)));
    assert_eq!(got(&app.ended(&runs[1])), "b");
    assert_eq!(app.run(&runs[1])["origin"], no_list.run());

    app.write("cart.json", r#"{"items": [{"sku": "x"}, {"sku": "y"}]}"#);
    let file = app.path("cart.json").display().to_string();
    let told = app.cli_json(&["run", "cart", "--with", &file]);
    assert_eq!((got(&told[0]), got(&told[1])), (&json!("x"), &json!("y")));
    let rehearsed = app.cli(&["run", "cart", "--dry-run", "--with", &file]);
    assert!(rehearsed.status.success(), "{}", String::from_utf8_lossy(&rehearsed.stderr));
}

#[test]
fn a_list_begins_all_its_runs_or_none_and_never_more_than_there_is_room_for() {
    let remote = Remote::start();
    let slow = Reply { after: Duration::from_secs(20), ..Reply::from(200) };
    remote.answers([slow]);
    let flow = format!(
        "trigger: {{type: request, split_on: \"{{{{trigger.body}}}}\"}}\nsteps:\n  - id: call\n    action: http.request\n    \
         with: {{url: \"{}\"}}\n",
        remote.url("/")
    );
    let mut app = App::idle(&[("flows/list.yaml", &flow)]);
    app.write("millstream.yaml", "outbound: {allow: [127.0.0.0/8]}\nlimits: {runs: 1, queued_runs: 4}\n");
    app.start();

    let never = app.post("list", &json!([1, 2, 3, 4, 5]));
    let fits = app.post("list", &json!([1, 2, 3, 4]));
    // One runs, one may wait for the slot outside of the queue: two are in line for certain.
    let full = app.post("list", &json!([5, 6, 7]));

    assert_eq!((never.status, &never.json()["code"]), (413, &json!("too_many_items")));
    assert_eq!(fits.json()["count"], 4);
    assert_eq!((full.status, &full.json()["code"]), (429, &json!("queue_full")), "{full:?}");
    assert!(full.header("retry-after").is_some());
    assert_eq!(app.runs("").len(), 4, "of the others nothing was kept");
}

#[test]
fn a_long_list_is_durable_as_a_whole() {
    let mut app = App::with(&[(
        "flows/list.yaml",
        &format!("trigger: {{type: request, split_on: '{{{{trigger.body}}}}'}}\n{NOTE}"),
    )]);
    let items: Vec<Value> = (0..2_000).map(|number| json!({"number": number})).collect();

    let runs = ids(&app.post("list", &json!(items)));
    app.kill();
    app.start();

    assert_eq!(runs.len(), 2_000);
    for index in [0, 999, 1_999] {
        assert_eq!(got(&app.ended(&runs[index])), &json!({"number": index}));
    }
    crate::app::eventually(|| app.runs("status=succeeded&limit=1000").len() == 1_000);
}

const MANUAL: &str = r#"
trigger:
  type: manual
  inputs:
    email: {type: string, description: whom to greet}
    times: {type: integer, default: 1}
    loud: {type: boolean, required: false}
    tone: {type: string, enum: [warm, cool], default: warm}
    tags: {type: array, required: false}
steps:
  - id: note
    set: {got: "{{trigger.body}}"}
"#;

#[test]
fn a_manual_flow_takes_typed_inputs_from_the_command_line() {
    let mut app = App::with(&[("flows/greet.yaml", MANUAL)]);
    let run = |app: &App, args: &[&str]| app.cli(&[&["run", "greet"], args].concat());
    let said = |app: &App, args: &[&str]| {
        let output = run(app, args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };

    let told = app.cli_json(&["run", "greet", "--input", "email=a@b.c", "--input", "loud=true", "--input", "tags=[1]"]);

    let whole = json!({"email": "a@b.c", "loud": true, "tags": [1], "times": 1, "tone": "warm"});
    assert_eq!(got(&told), &whole);
    app.write("in.json", r#"{"email": "x@y.z", "times": 3}"#);
    let file = app.path("in.json").display().to_string();
    let told = app.cli_json(&["run", "greet", "--with", &file, "--input", "times=4"]);
    assert_eq!((&got(&told)["email"], &got(&told)["times"]), (&json!("x@y.z"), &json!(4)));
    assert!(said(&app, &["--input", "email=a", "--input", "times=1.5"]).contains("`times` is a whole number"));
    assert!(said(&app, &["--input", "emial=a"]).contains("did you mean `email`?"));
    assert!(said(&app, &[]).contains("email"), "the one that is missing is named");
    assert!(said(&app, &["--input", "email=a", "--input", "tone=hot"]).contains("/tone"));

    app.terminate();
    let told = app.cli_json(&["run", "greet", "--input", "email=a@b.c"]);
    assert_eq!(got(&told), &json!({"email": "a@b.c", "times": 1, "tone": "warm"}), "without a server too");
    assert!(said(&app, &["--input", "loud=yes"]).contains("`loud` is true or false"));
    assert!(said(&app, &[]).contains("email"));
    assert!(run(&app, &["--dry-run", "--input", "email=a"]).status.success());
    assert!(!run(&app, &["--dry-run"]).status.success());
}

#[test]
fn a_manual_flow_is_started_through_the_api_and_has_no_url() {
    let app = App::with(&[("flows/greet.yaml", MANUAL)]);
    let start = |body: Value| app.api("POST", "/flows/greet/runs", Some(&body));

    let begun = start(json!({"inputs": {"email": "a@b.c"}}));

    assert_eq!(got(&app.ended(&begun.run()))["times"], 1, "defaults are part of what is durable");
    assert_eq!(app.run(&begun.run())["trigger"]["body"], json!({"email": "a@b.c", "times": 1, "tone": "warm"}));
    assert_eq!(app.ended(&start(json!({"body": {"email": "a@b.c"}})).run())["status"], "succeeded");
    let wrong = start(json!({"inputs": {"email": 5, "times": "x"}}));
    assert_eq!((wrong.status, &wrong.json()["code"]), (422, &json!("schema_violation")));
    let places: Vec<Value> = wrong.json()["errors"].as_array().unwrap().iter().map(|e| e["pointer"].clone()).collect();
    assert_eq!(places, [json!("/email"), json!("/times")]);
    let missing = start(json!({}));
    assert!(missing.status == 422 && missing.text.contains("email"), "{missing:?}");
    assert_eq!(start(json!({"body": {}, "inputs": {}})).status, 400);

    let flows = app.api("GET", "/flows", None).json();
    assert_eq!(flows["flows"][0]["trigger"], "manual");
    assert_eq!(
        flows["flows"][0]["inputs"][1],
        json!({"name": "times", "type": "integer", "required": false, "default": 1})
    );
    let url = app.api("GET", "/flows/greet/url", None);
    assert_eq!((url.status, &url.json()["code"]), (404, &json!("no_url")));
    let shown = app.cli(&["url", "show", "greet"]);
    assert!(!shown.status.success() && String::from_utf8_lossy(&shown.stderr).contains("millstream run"));
}

#[test]
fn a_manual_flow_answers_nothing_at_the_address_that_a_request_had() {
    let app = App::with(&[("flows/greet.yaml", &format!("trigger: {{type: request}}\n{NOTE}"))]);
    let hook = app.hook("greet");
    assert_eq!(app.post_to(&hook, "{}").status, 202);

    app.write("flows/greet.yaml", MANUAL);
    crate::app::eventually(|| app.api("GET", "/flows", None).json()["flows"][0]["trigger"] == "manual");

    let gone = app.post_to(&hook, "{}");
    let unknown = app.post_to(&hook.replace("greet", "nobody"), "{}");
    let plain = |answer: &Answer| {
        let mut told = answer.json();
        told["request_id"] = Value::Null;
        told
    };
    assert_eq!((gone.status, plain(&gone)), (404, plain(&unknown)), "it looks like a URL that never was");
}
