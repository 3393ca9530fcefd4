//! What `millstream lsp` knows of names: where a thing is defined, who names it, and how a step gets another id.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use serde_json::{Value, json};

use crate::app::App;
use crate::language_client::Client;
use crate::lsp::{CONNECTIONS, editor, uri};

const FLOW: &str = "id: order
trigger: {type: request, schema: ../schemas/order.json}
steps:
  - id: create
    action: slack.post_message
    connection: sales
    with: {channel: leads, text: \"{{trigger.body.id}}\"}
  - id: decide
    wait: 1d
  - id: each
    foreach: \"{{trigger.body.items}}\"
    do:
      - id: tell
        call: child
        with: {n: \"{{loops.each.index}}\", by: \"{{steps.create.output.ts}}\"}
  - id: total
    set: {sum: 5}
  - id: end
    run_after: {total: [succeeded, failed], create: [failed]}
    set:
      x: \"{{vars.sum}} {{steps.[create].status}} {{run.resume_urls.decide}} steps.create\"
      y: |
        😀 {{concat \"create\" steps.create.status}}
        {{#if steps.create.error}}{{@root.steps.create.error.code}}{{/if}}
";

const CHILD: &str = "trigger: {type: manual}\nsteps:\n  - id: create\n    action: http.request\n    with: {method: GET, url: \"https://a.example\"}\n";

const TEST: &str = "flow: order
mocks: {order.create: {output: {ok: true}}, child.create: {output: 1}}
cases:
  - name: one
    request: {body: {create: 1}}
    mocks:
      \"create\": {error: {code: x}}
    expect:
      order: [create, decide]
      steps: {create: succeeded, end: {output: {create: 1}}}
      calls: {tell: {steps: {create: succeeded}}}
  - name: two
    flow: child
    expect: {steps: {create: succeeded}}
";

fn app() -> App {
    App::idle(&[
        ("connections.yaml", CONNECTIONS),
        ("schemas/order.json", "{\"properties\": {\"id\": {\"type\": \"string\"}, \"items\": {\"type\": \"array\"}}}"),
        ("flows/order.yaml", FLOW),
        ("flows/child.yaml", CHILD),
        ("tests/order.test.yaml", TEST),
    ])
}

/// The place of `‸` in a text that is opened as a file.
fn at(editor: &mut Client, app: &App, file: &str, from: &str, to: &str) -> Value {
    let text = if file.starts_with("tests") { TEST } else { FLOW };
    assert!(text.contains(from), "{from}");
    editor.open_at(&uri(app, file), &text.replacen(from, to, 1))
}

#[test]
fn names_lead_to_where_they_are_defined() {
    let app = app();
    let mut editor = editor(&app);
    let mut find = |file: &str, from: &str, to: &str| {
        let at = at(&mut editor, &app, file, from, to);
        let found = editor.ask("textDocument/definition", &at);
        let uri = found["uri"].as_str().unwrap_or("nowhere");
        format!("{} {}", uri.rsplit('/').next().unwrap(), found["range"]["start"]["line"])
    };
    let flow = "flows/order.yaml";
    assert_eq!(find(flow, "{{steps.create.output.ts}}", "{{steps.cre‸ate.output.ts}}"), "order.yaml 3");
    assert_eq!(find(flow, "{{loops.each", "{{loops.ea‸ch"), "order.yaml 9");
    assert_eq!(find(flow, "resume_urls.decide", "resume_urls.de‸cide"), "order.yaml 7");
    assert_eq!(find(flow, "{total:", "{to‸tal:"), "order.yaml 15");
    assert_eq!(find(flow, "{{vars.sum", "{{vars.s‸um"), "order.yaml 16");
    assert_eq!(find(flow, "connection: sales", "connection: sa‸les"), "connections.yaml 1");
    assert_eq!(find(flow, "call: child", "call: ch‸ild"), "child.yaml 0");
    assert_eq!(find(flow, "../schemas/order", "../sche‸mas/order"), "order.json 0");
    assert_eq!(find(flow, "concat", "con‸cat"), "nowhere null");
    let test = "tests/order.test.yaml";
    assert_eq!(find(test, "flow: order", "flow: or‸der"), "order.yaml 0");
    assert_eq!(find(test, "decide]", "dec‸ide]"), "order.yaml 7");
    assert_eq!(find(test, "child.create", "child.cre‸ate"), "child.yaml 2");
    assert_eq!(find(test, "calls: {tell: {steps: {create", "calls: {tell: {steps: {cre‸ate"), "child.yaml 2");
}

#[test]
fn every_place_that_names_a_step_is_found() {
    let app = app();
    let mut editor = editor(&app);
    let at = at(&mut editor, &app, "flows/order.yaml", "id: create", "id: cr‸eate");
    let found = editor.ask("textDocument/references", &at);
    let mut lines: Vec<String> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            format!("{} {}", one["uri"].as_str().unwrap().rsplit('/').next().unwrap(), one["range"]["start"]["line"])
        })
        .collect();
    lines.dedup();
    assert_eq!(
        lines.join(", "),
        "order.yaml 3, order.yaml 14, order.yaml 18, order.yaml 20, order.yaml 22, order.yaml 23, order.test.yaml 1, order.test.yaml 6, order.test.yaml 8, order.test.yaml 9"
    );
}

/// The text after these edits.
fn edited(text: &str, edits: &Value) -> String {
    let mut text = millstream::language::Text::new(text.to_owned());
    let mut edits = edits.as_array().unwrap().clone();
    edits.sort_by_key(|edit| (edit["range"]["start"]["line"].as_u64(), edit["range"]["start"]["character"].as_u64()));
    for edit in edits.iter().rev() {
        let range = serde_json::from_value(edit["range"].clone()).unwrap();
        text.replace(Some(range), edit["newText"].as_str().unwrap());
    }
    text.as_str().to_owned()
}

#[test]
fn a_step_gets_another_id_wherever_it_is_named_and_nothing_else_changes() {
    let app = app();
    assert!(app.cli(&["check"]).status.success());
    let mut editor = editor(&app);
    for (file, from, to) in [
        ("flows/order.yaml", "id: create", "id: cr‸eate"),
        ("flows/order.yaml", "steps.[create]", "steps.[cr‸eate]"),
        ("tests/order.test.yaml", "steps: {create", "steps: {‸create"),
    ] {
        let mut at = at(&mut editor, &app, file, from, to);
        let prepared = editor.ask("textDocument/prepareRename", &at);
        assert_eq!(prepared["placeholder"], "create", "{prepared}");
        at["newName"] = json!("make_it");
        let changes = editor.ask("textDocument/rename", &at)["changes"].clone();
        let [flow, test] = ["flows/order.yaml", "tests/order.test.yaml"].map(|file| changes[uri(&app, file)].clone());
        assert_eq!(changes.as_object().unwrap().len(), 2, "{changes}");
        let flow = edited(FLOW, &flow);
        let expected = FLOW
            .replace("id: create", "id: make_it")
            .replace("{{steps.create.output.ts}}", "{{steps.make_it.output.ts}}")
            .replace("create: [failed]", "make_it: [failed]")
            .replace("steps.[create]", "steps.[make_it]")
            .replace("\"create\" steps.create.status", "\"create\" steps.make_it.status")
            .replace("#if steps.create.error}}{{@root.steps.create", "#if steps.make_it.error}}{{@root.steps.make_it");
        assert_eq!(flow, expected);
        let expected = TEST
            .replace("order.create", "order.make_it")
            .replace("\"create\": {error", "\"make_it\": {error")
            .replace("order: [create", "order: [make_it")
            .replace("      steps: {create", "      steps: {make_it");
        assert_eq!(edited(TEST, &test), expected);
        // Both together are as sound as before.
        app.write("flows/order.yaml", &flow);
        app.write("tests/order.test.yaml", &expected);
        let checked = app.cli(&["check"]);
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
        app.write("flows/order.yaml", FLOW);
        app.write("tests/order.test.yaml", TEST);
    }
}

#[test]
fn a_name_that_will_not_do_is_refused_with_a_reason() {
    let app = app();
    let mut editor = editor(&app);
    let mut refused = |from: &str, to: &str, name: &str| {
        let mut at = at(&mut editor, &app, "flows/order.yaml", from, to);
        at["newName"] = json!(name);
        let error = editor.try_ask("textDocument/rename", &at).unwrap_err();
        assert_eq!(error["code"], -32803, "{error}");
        error["message"].as_str().unwrap().to_owned()
    };
    assert!(refused("id: create", "id: cr‸eate", "Make It").contains("for example `make_it`"));
    assert!(refused("id: create", "id: cr‸eate", "tell").contains("another step is already called `tell`"));
    assert!(refused("id: create", "id: cr‸eate", "").contains("is not a name"));
    assert!(refused("action: slack", "action: sl‸ack", "x").contains("only the id of a step"));
    assert!(refused("id: order", "id: or‸der", "x").contains("only the id of a step"));
    let broken = refused(
        "run_after: {total: [succeeded, failed], create: [failed]}\n    set:\n      x: \"{{vars.sum}} {{steps.[create]",
        "run_after: {\n    set:\n      x: \"{{vars.sum}} {{steps.[cr‸eate]",
        "x",
    );
    assert!(broken.contains("is not YAML; mend it first"), "{broken}");
}

#[test]
fn the_outline_of_a_flow_is_its_steps() {
    let app = app();
    let mut editor = editor(&app);
    let at = at(&mut editor, &app, "flows/order.yaml", "id: create", "id: cr‸eate");
    let found = editor.ask("textDocument/documentSymbol", &at);
    let told =
        |symbol: &Value| format!("{} ({})", symbol["name"].as_str().unwrap(), symbol["detail"].as_str().unwrap());
    let names: Vec<String> = found.as_array().unwrap().iter().map(told).collect();
    assert_eq!(
        names.join(", "),
        "trigger (request), create (action slack.post_message), decide (wait), each (foreach), total (set), end (set)"
    );
    let each = &found[3];
    assert_eq!(told(&each["children"][0]), "tell (call child)");
    assert_eq!((&each["range"]["start"]["line"], &each["range"]["end"]["line"]), (&json!(9), &json!(14)), "{each}");
}

#[test]
fn a_schema_that_is_being_edited_counts_before_it_is_saved() {
    let app = app();
    let mut editor = editor(&app);
    let [flow, schema] = ["flows/order.yaml", "schemas/order.json"].map(|file| uri(&app, file));
    editor.open(&flow, FLOW);
    let text = "{\"properties\": {\"id\": {\"type\": \"string\"}, \"items\": {\"type\": \"string\"}}}";
    let document = json!({"uri": schema, "languageId": "json", "version": 1, "text": text});
    editor.tell("textDocument/didOpen", &json!({"textDocument": document}));
    let told = editor.problems(&flow);
    assert!(told.iter().any(|one| one["range"]["start"]["line"] == 10), "a loop over a text: {told:?}");
    editor.tell("textDocument/didClose", &json!({"textDocument": {"uri": schema}}));
    assert!(editor.problems(&flow).iter().all(|one| one["range"]["start"]["line"] != 10));
}
