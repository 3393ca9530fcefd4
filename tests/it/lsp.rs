//! `millstream lsp` as an editor knows it: problems while typing, hover, last values, and how it bears what it should not get.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::app::{App, Remote, eventually};
use crate::language_client::{Client, lines};

pub const CONNECTIONS: &str = "crm: {connector: dynamics365, settings: {org_url: \"https://a.example\", tenant_id: t, client_id: c}, credentials: {client_secret: {env: X}}}\n\
                               sales: {connector: slack, credentials: {bot_token: {env: X}}}\n";

/// An editor with the project's folder open; only by that the server knows where it is.
pub fn editor(app: &App) -> Client {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.arg("lsp").arg("--stdio").current_dir("/");
    Client::start(command, &json!(uri_of(&app.path(""))))
}

pub fn uri_of(path: &Path) -> String {
    format!("file://{}", path.display())
}

pub fn uri(app: &App, file: &str) -> String {
    uri_of(&std::fs::canonicalize(app.folder.path()).unwrap().join(file))
}

pub const LEAD: &str = "trigger:
  type: request
  schema:
    type: object
    additionalProperties: false
    required: [Email, Items]
    properties:
      Email: {type: string, description: Where the person reads mail}
      ActionCode: {enum: [INS, PLT]}
      Person: {type: object, properties: {First Name: {type: string}, Age: {type: integer}}}
      Items: {type: array, items: {type: object, properties: {Sku: {type: string}}}}
steps:
  - id: create
    action: slack.post_message
    connection: sales
    with: {channel: leads, text: \"{{trigger.body.Email}}\"}
  - id: seen
    set: {total: \"{{length trigger.body.Items}}\"}
  - id: each
    foreach: \"{{trigger.body.Items}}\"
    do:
      - id: inner
        delay: 1s
";

#[test]
fn what_is_typed_is_checked_before_it_is_saved() {
    let app = App::idle(&[("connections.yaml", CONNECTIONS), ("flows/lead.yaml", LEAD)]);
    let mut editor = editor(&app);
    let lead = uri(&app, "flows/lead.yaml");
    assert_eq!(editor.open(&lead, LEAD), Vec::<String>::new());

    // A step of another id, in the text alone.
    let wrong = LEAD.replace("connection: sales", "connection: sale");
    editor.change(&lead, &json!([{"text": wrong}]));
    let told = editor.problems(&lead).remove(0);
    assert_eq!(
        (&told["code"], &told["severity"], &told["source"]),
        (&json!("E-FLOW-007"), &json!(1), &json!("millstream"))
    );
    assert_eq!(told["range"], json!({"start": {"line": 14, "character": 16}, "end": {"line": 14, "character": 20}}));
    let message = told["message"].as_str().unwrap();
    assert!(message.contains("no usable connection `sale`") && message.contains("did you mean `sales`?"), "{message}");

    // Mended by an edit of a part; then broken so that it is no YAML.
    let place = json!({"start": {"line": 14, "character": 20}, "end": {"line": 14, "character": 20}});
    editor.change(&lead, &json!([{"range": place, "text": "s"}]));
    assert_eq!(editor.problems(&lead), Vec::<Value>::new());
    editor.change(&lead, &json!([{"text": LEAD.replace("[INS, PLT]", "[INS, PLT")}]));
    let told = editor.problems(&lead);
    assert!(told[0]["code"] == "E-FLOW-001" && told.len() == 1, "{told:?}");

    // Closed without being saved, it is what the disk has.
    editor.tell("textDocument/didClose", &json!({"textDocument": {"uri": lead}}));
    assert_eq!(editor.problems(&lead), Vec::<Value>::new());
    assert!(app.cli(&["check"]).status.success());
}

#[test]
fn places_are_counted_as_editors_count_them() {
    let app = App::idle(&[("flows/a.yaml", "trigger: {type: manual}\nsteps: []\n")]);
    let mut editor = editor(&app);
    let a = uri(&app, "flows/a.yaml");
    let text =
        "trigger: {type: manual}\nsteps:\n  - id: a\n    set: {x: \"😀𝄞é {{steps.no.output}} {{trigger.body.x}}\"}\n";
    editor.open(&a, text);
    // The two outside of the first plane are two units each.
    editor.change(
        &a,
        &json!([{"range": {"start": {"line": 3, "character": 16}, "end": {"line": 3, "character": 18}}, "text": "🜁"}]),
    );
    let told = editor.problems(&a).remove(0);
    assert_eq!(told["code"], "E-MAP-011", "{told}");
    assert_eq!(told["range"]["start"], json!({"line": 3, "character": 22}), "{told}");
    assert_eq!(told["range"]["end"], json!({"line": 3, "character": 37}), "{told}");
    let hover = json!({"textDocument": {"uri": a}, "position": {"line": 3, "character": 46}});
    let told = editor.ask("textDocument/hover", &hover);
    assert_eq!(told["range"]["start"]["character"], 42, "{told}");
}

#[test]
fn every_kind_of_file_is_checked_with_the_rest_of_the_project() {
    let test = "flow: lead\ncases:\n  - name: a\n    expect: {status: succeeded, steps: {create: succeeded}}\n";
    let app = App::idle(&[("connections.yaml", CONNECTIONS), ("flows/lead.yaml", LEAD), ("tests/a.test.yaml", test)]);
    let mut editor = editor(&app);
    let [lead, connections, tests, config, own] =
        ["flows/lead.yaml", "connections.yaml", "tests/a.test.yaml", "millstream.yaml", "connectors/own.yaml"]
            .map(|file| uri(&app, file));
    assert_eq!(editor.open(&lead, LEAD), Vec::<String>::new());
    assert_eq!(editor.open(&tests, test), Vec::<String>::new());

    // A connection that is gone is missed where it is used, though that file is not touched.
    assert_eq!(editor.open(&connections, CONNECTIONS), Vec::<String>::new());
    editor.change(&connections, &json!([{"text": CONNECTIONS.replace("sales:", "sales: {connector: slak}\nsold:")}]));
    let told = lines(&editor.problems(&connections));
    assert!(told[0].starts_with("1: ") && told[0].contains("slak"), "{told:?}");
    editor.change(&connections, &json!([{"text": CONNECTIONS.replace("sales:", "sold:")}]));
    let told = lines(&editor.problems(&lead));
    assert!(told[0].contains("sales"), "{told:?}");
    editor.change(&connections, &json!([{"text": CONNECTIONS}]));
    assert_eq!(editor.problems(&lead), Vec::<Value>::new());

    // A test of a step that there is no more.
    editor.change(&tests, &json!([{"text": test.replace("create:", "created:")}]));
    let told = lines(&editor.problems(&tests));
    assert!(told[0].starts_with("3: ") && told[0].contains("no step `created`"), "{told:?}");

    let told = editor.open(&config, "limits: {body_bytes: 5}\nlisten_on: x\n");
    assert!(told[0].contains("unknown field `listen_on`"), "{told:?}");
    let told = editor.open(&own, "connector: own\nversion: 1\nactions: {a: {request: {gett: /}}}\n");
    assert!(told.iter().any(|line| line.starts_with("2: ") && line.contains("did you mean `get`?")), "{told:?}");
}

#[test]
fn a_change_on_disk_is_seen_without_the_editor() {
    let app = App::idle(&[("connections.yaml", CONNECTIONS), ("flows/lead.yaml", LEAD)]);
    let mut editor = editor(&app);
    let lead = uri(&app, "flows/lead.yaml");
    assert_eq!(editor.open(&lead, LEAD), Vec::<String>::new());
    app.write("connections.yaml", "sold: {connector: slack, credentials: {bot_token: {env: X}}}\n");
    let told = lines(&editor.problems(&lead));
    assert!(told[0].contains("sales"), "{told:?}");
}

#[test]
fn hovering_explains_paths_functions_actions_connections_and_keys() {
    let app = App::idle(&[("connections.yaml", CONNECTIONS), ("flows/lead.yaml", LEAD)]);
    let mut editor = editor(&app);
    let lead = uri(&app, "flows/lead.yaml");
    let mut ask = |from: &str, to: &str| editor.explained(&lead, &LEAD.replace(from, to));
    let told = ask("trigger.body.Email", "trigger.body.Em‸ail");
    assert!(told.contains("`trigger.body.Email`: text") && told.contains("Where the person reads mail"), "{told}");
    let told = ask("trigger.body.Email", "trigger.bo‸dy.email");
    assert!(told.contains("`trigger.body`: object"), "{told}");
    let told = ask("length", "len‸gth");
    assert!(told.contains("length(") && told.contains("gives"), "{told}");
    let told = ask("slack.post_message", "slack.post‸_message");
    assert!(told.contains("Posts a message to a channel"), "{told}");
    let told = ask("connection: sales", "connection: sa‸les");
    assert!(told.contains("A connection of `slack`"), "{told}");
    let told = ask("foreach:", "fore‸ach:");
    assert!(told.contains("`foreach`") && told.len() > 30, "{told}");
    let told = ask("channel: leads", "chan‸nel: leads");
    assert!(told.contains("Channel id or name"), "{told}");
}

#[test]
fn the_last_real_value_is_shown_and_a_hidden_one_is_not() {
    let remote = Remote::start();
    let flow = format!(
        "trigger:\n  type: request\n  schema: {{properties: {{Email: {{type: string}}, Seats: {{type: integer}}}}}}\nsteps:\n  - id: get\n    \
         action: http.request\n    with: {{method: GET, url: \"{0}\"}}\n  - id: hidden\n    secure: [outputs]\n    action: http.request\n    with: {{method: GET, url: \"{0}\"}}\n  \
         - id: last\n    set: {{total: \"{{{{trigger.body.Seats}}}}\"}}\n  - id: end\n    set: {{x: \"{{{{trigger.body.Email}}}}\"}}\n",
        remote.url("/x")
    );
    let mut app = App::with(&[("flows/lead.yaml", &flow)]);
    let run = app.post("lead", &json!({"Email": "ann@example.com", "Seats": 9007199254740993_u64})).run();
    assert_eq!(app.ended(&run)["status"], "succeeded");

    let mut editor = editor(&app);
    let lead = uri(&app, "flows/lead.yaml");
    let at = |path: &str| flow.replace("{{trigger.body.Email}}", &format!("{{{{{path}}}}}"));
    let mut told = |path: &str| editor.explained(&lead, &at(path));
    assert!(told("trigger.body.Em‸ail").contains("Last value: `\"ann@example.com\"`"));
    assert!(told("trigger.body.se‸ats").contains("Last value: `9007199254740993`"));
    assert!(told("vars.tot‸al").contains("Last value: `9007199254740993`"));
    assert!(told("steps.get.output.sta‸tus").contains("Last value: `200`"));
    let hidden = told("steps.hidden.out‸put");
    assert!(hidden.contains("steps.hidden.output") && !hidden.contains("Last value"), "{hidden}");
    let found = editor.proposals(&lead, &at("trigger.body.‸"));
    assert!(found.iter().any(|(name, told)| name == "Email" && told.contains("ann@example.com")), "{found:?}");

    // Once the server is gone there are no values, and nobody waits for them.
    app.terminate();
    eventually(|| !editor.explained(&lead, &at("trigger.body.Em‸ail")).contains("Last value"));
}

#[test]
fn garbage_is_survived_and_the_end_is_as_the_protocol_has_it() {
    let app = App::idle(&[("flows/lead.yaml", LEAD)]);
    let command = || {
        let mut command = app.command();
        command.arg("lsp");
        command
    };
    let mut editor = Client::bare(command());
    let refused = editor.try_ask("textDocument/hover", &json!({})).unwrap_err();
    assert_eq!(refused["code"], -32002, "{refused}");
    editor.send_bytes(b"hello\r\nContent-Length: 5\r\n\r\n{oops");
    let told = editor.until("an answer", |message| message.get("error").is_some());
    assert_eq!(told["error"]["code"], -32700, "{told}");
    editor.ask("initialize", &json!({"capabilities": {}, "rootUri": uri(&app, "")}));
    editor.tell("initialized", &json!({}));
    editor.send_bytes(b"Content-Length: 2\r\n\r\n[]");
    assert_eq!(editor.until("an answer", |message| message.get("error").is_some())["error"]["code"], -32600);
    assert_eq!(editor.try_ask("no/such", &json!({})).unwrap_err()["code"], -32601);
    assert_eq!(editor.try_ask("textDocument/hover", &json!({"position": 5})).unwrap_err()["code"], -32602);
    assert_eq!(
        editor.ask(
            "textDocument/hover",
            &json!({"textDocument": {"uri": "file:///no/such"}, "position": {"line": 0, "character": 0}})
        ),
        Value::Null
    );
    editor.tell("textDocument/didChange", &json!({"textDocument": {"uri": 5}, "contentChanges": "x"}));
    editor.tell("textDocument/didOpen", &Value::Null);

    // Whatever stands in a file and wherever the cursor is, there is an answer.
    let lead = uri(&app, "flows/lead.yaml");
    let texts = [
        "",
        "\t",
        "{{{{",
        "a: &a [*a]",
        "- - - ?",
        "steps: 5",
        "\u{feff}a: 1",
        "steps:\n - id: \"{{#each}}{{",
        "a: \"\\",
        "? {a: 1}\n: b",
        "é😀: |\n  {{😀.\r\n",
        &LEAD.replace("  ", "\t"),
        &LEAD[..300],
    ];
    for text in texts {
        editor.open(&lead, text);
        for line in 0..4 {
            for character in [0, 1, 3, 7, 9, u32::MAX] {
                let at = json!({"textDocument": {"uri": lead}, "position": {"line": line, "character": character}, "newName": "x"});
                for method in
                    ["completion", "hover", "definition", "references", "documentSymbol", "prepareRename", "rename"]
                {
                    let answer = editor.try_ask(&format!("textDocument/{method}"), &at);
                    assert!(
                        answer.as_ref().err().is_none_or(|error| error["code"] == -32803),
                        "{text:?} {method}: {answer:?}"
                    );
                }
            }
        }
    }
    assert_eq!(editor.ask("shutdown", &Value::Null), Value::Null);
    assert_eq!(editor.try_ask("textDocument/hover", &json!({})).unwrap_err()["code"], -32600);
    editor.tell("exit", &Value::Null);
    assert!(editor.ended().success());

    // Without `shutdown`, and where the editor is gone, the exit is not a good one; but it is one.
    let mut editor = Client::bare(command());
    editor.tell("exit", &Value::Null);
    assert_eq!(editor.ended().code(), Some(1));
    assert_eq!(Client::bare(command()).ended().code(), Some(1));
}

/// What a change costs where there are many flows: run with `LSP_FLOWS=1000` for the number of the guide.
#[test]
fn a_change_among_many_flows_is_answered_soon() {
    let count: usize = std::env::var("LSP_FLOWS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    let app = App::idle(&[("connections.yaml", CONNECTIONS)]);
    for number in 0..count {
        app.write(&format!("flows/f{number}.yaml"), LEAD);
    }
    let mut editor = editor(&app);
    let one = uri(&app, "flows/f7.yaml");
    assert_eq!(editor.open(&one, LEAD), Vec::<String>::new());
    let mut took = Vec::new();
    for round in 0..11 {
        let wrong = round % 2 == 0;
        let text = if wrong { LEAD.replace("sales", "sale") } else { LEAD.to_owned() };
        let begun = Instant::now();
        editor.change(&one, &json!([{"text": text}]));
        assert_eq!(editor.problems(&one).len(), usize::from(wrong));
        took.push(begun.elapsed());
    }
    took.sort();
    println!("{count} flows: {:?} from a change to its diagnostics, at most {:?}", took[5], took[10]);
    assert!(took[5].as_secs() < 5, "{took:?}");
}
