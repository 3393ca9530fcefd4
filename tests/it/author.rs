//! What helps to write files: `new`, `graph` and `fmt`, through the command line.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::app::App;

const LEAD: &str = r#"{
  "ActionCode": "INS", "OfferTitle": "Test Drive", "LeadSource": "AzureMarketplace", "Description": "Wants a call",
  "UserDetails": {"FirstName": "Ada", "LastName": "Lovelace", "Email": "ada@example.com", "Phone": null,
    "Country": "GB", "Company": "Engines Ltd", "Title": "Engineer"}
}"#;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the command line writes UTF-8")
}

/// Fails unless the command did what it should; its stdout.
pub fn well(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// Runs `new` on a sample of this text.
fn new(app: &App, name: &str, sample: &str, args: &[&str]) -> Output {
    app.write(&format!("{name}.sample.json"), sample);
    let from = app.path(&format!("{name}.sample.json"));
    app.cli(&[&["new", name, "--from", from.to_str().unwrap()], args].concat())
}

fn yaml(app: &App, name: &str) -> Value {
    let text = std::fs::read_to_string(app.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"))
}

#[test]
fn a_new_flow_carries_a_lead_into_dynamics_and_passes_check_at_once() {
    let app = App::idle(&[]);
    let made = new(&app, "lead", LEAD, &["--action", "dynamics365.create_record"]);
    let said = well(&made);
    for line in
        ["wrote flows/lead.yaml", "wrote tests/lead.test.yaml", "wrote connections.yaml", "millstream test lead"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    let told = text(&made.stderr);
    assert!(told.contains("millstream secret set DYNAMICS365_CLIENT_SECRET"), "{told}");
    let flow = std::fs::read_to_string(app.path("flows/lead.yaml")).unwrap();
    insta::assert_snapshot!(flow, @r#"
    id: lead
    description: Each request creates a row of a table
    trigger:
      type: request
      schema:
        type: object
        properties:
          ActionCode: { type: string }
          OfferTitle: { type: string }
          LeadSource: { type: string }
          Description: { type: string }
          UserDetails:
            type: object
            properties:
              FirstName: { type: string }
              LastName: { type: string }
              Email: { type: string, format: email }
              Phone: {}
              Country: { type: string }
              Company: { type: string }
              Title: { type: string }
    steps:
      - id: create_record
        action: dynamics365.create_record
        connection: dynamics365
        with:
          table: leads
          record:
            subject: "{{optional trigger.body.OfferTitle}}"
            firstname: "{{optional trigger.body.UserDetails.FirstName}}"
            lastname: "{{optional trigger.body.UserDetails.LastName}}"
            emailaddress1: "{{optional trigger.body.UserDetails.Email}}"
            telephone1: "{{optional trigger.body.UserDetails.Phone}}"
            companyname: "{{optional trigger.body.UserDetails.Company}}"
            jobtitle: "{{optional trigger.body.UserDetails.Title}}"
            address1_country: "{{optional trigger.body.UserDetails.Country}}"
            description: "{{optional trigger.body.Description}}"
    "#);
    let test = std::fs::read_to_string(app.path("tests/lead.test.yaml")).unwrap();
    insta::assert_snapshot!(test, @r#"
    flow: lead
    cases:
      - name: a request like the sample succeeds
        request:
          body:
            ActionCode: INS
            OfferTitle: Test Drive
            LeadSource: AzureMarketplace
            Description: Wants a call
            UserDetails:
              FirstName: Ada
              LastName: Lovelace
              Email: ada@example.com
              Phone: null
              Country: GB
              Company: Engines Ltd
              Title: Engineer
        mocks:
          create_record: { output: { id: id } }
        expect:
          status: succeeded
          steps:
            create_record:
              status: succeeded
              input:
                table: leads
                record:
                  subject: Test Drive
                  firstname: Ada
                  lastname: Lovelace
                  emailaddress1: ada@example.com
                  companyname: Engines Ltd
                  jobtitle: Engineer
                  address1_country: GB
                  description: Wants a call
    "#);
    assert_eq!(yaml(&app, "connections.yaml")["dynamics365"]["connector"], "dynamics365");
    assert_eq!(well(&app.cli(&["check", "--strict"])).lines().last(), Some("1 flow, 0 errors, 0 warnings"));
    well(&app.cli(&["test"]));
    well(&app.cli(&["fmt", "--check"]));
}

#[test]
fn a_new_flow_is_live_and_takes_its_own_sample() {
    let mut app = App::idle(&[]);
    well(&new(&app, "signup", r#"{"firstName": "Ann", "seats": 3, "address": {"zip-code": "10115"}}"#, &[]));
    well(&app.cli(&["check", "--strict"]));
    app.start();
    let answer = app.post("signup", &json!({"firstName": "Ben", "seats": 1}));
    assert_eq!(answer.status, 202);
    let run = app.ended(&answer.run());
    assert_eq!(run["status"], "succeeded");
    assert_eq!(run["steps"][0]["output"], json!({"zip_code": null, "first_name": "Ben", "seats": 1}));
}

#[test]
fn several_samples_are_joined_and_a_schema_is_taken_as_it_is() {
    let app = App::idle(&[("a.json", r#"{"id": 1, "mail": "a@b.de"}"#), ("b.json", r#"{"id": 2.5, "note": null}"#)]);
    let path = |name: &str| app.path(name).to_str().unwrap().to_owned();
    well(&app.cli(&["new", "joined", "--from", &path("a.json"), &path("b.json")]));
    let schema = &yaml(&app, "flows/joined.yaml")["trigger"]["schema"];
    assert_eq!(
        *schema,
        json!({
            "type": "object",
            "properties": {"id": {"type": "number"}, "mail": {"type": "string", "format": "email"}, "note": {}},
            "required": ["id"],
        })
    );

    let lead = root().join("examples/lead.schema.json");
    let made = app.cli(&[
        "new",
        "marketplace",
        "--from",
        lead.to_str().unwrap(),
        "--action",
        "sql.insert",
        "--connection",
        "leads",
    ]);
    well(&made);
    let flow = yaml(&app, "flows/marketplace.yaml");
    let given: Value = serde_json::from_str(&std::fs::read_to_string(lead).unwrap()).unwrap();
    assert_eq!(flow["trigger"]["schema"], given);
    let with = &flow["steps"][0]["with"];
    assert_eq!(with["table"], "marketplace");
    assert_eq!(with["row"]["email"], "{{optional trigger.body.UserDetails.Email}}");
    assert_eq!(yaml(&app, "connections.yaml")["leads"]["settings"]["url"], "sqlite:leads.db");

    let long: serde_json::Map<String, Value> =
        (0..60).map(|number| (format!("field_{number}"), json!(number))).collect();
    well(&new(&app, "long", &json!(long).to_string(), &[]));
    assert_eq!(yaml(&app, "flows/long.yaml")["trigger"]["schema"], "../schemas/long.json");
    assert_eq!(yaml(&app, "schemas/long.json")["properties"]["field_59"]["type"], "integer");
    assert_eq!(yaml(&app, "tests/long.test.yaml")["cases"][0]["request"]["body_file"], "long.json");

    // A schema that lies in the project is referred to, not copied.
    app.write("schemas/own.json", r#"{"type": "object", "properties": {"text": {"type": "string"}}}"#);
    well(&app.cli(&[
        "new",
        "own",
        "--from",
        &path("schemas/own.json"),
        "--set",
        "url=https://example.com/x",
        "--action",
        "http.request",
    ]));
    assert_eq!(yaml(&app, "flows/own.yaml")["trigger"]["schema"], "../schemas/own.json");
    well(&app.cli(&["check", "--strict"]));

    let both = app.cli(&["new", "both", "--from", &path("a.json"), &path("schemas/own.json")]);
    assert_eq!(both.status.code(), Some(1));
    assert!(text(&both.stderr).contains("one JSON Schema, or one or more samples"), "{}", text(&both.stderr));
}

#[test]
fn every_action_with_every_kind_of_sample_passes_check_and_its_test() {
    let actions = ["http.request", "slack.post_message", "sql.insert", "sql.query", "dynamics365.create_record"];
    let samples = [
        LEAD,
        r#"{}"#,
        r#"[{"a": 1}, {"a": 2}]"#,
        r#""just text""#,
        r#"{"text": 5, "channel": {"id": "C1"}, "url": "https://evil.example", "table": "x", "sql": "DROP", "record": "r", "row": 1, "thread_ts": true}"#,
        r#"{"n": 123456789012345678901234567890.5, "e": 1e400, "{{x}}": "{{y}}", "a]b": 1, "": 2, "this": {"null": 1}, "@odata.type": "t", "ünï": "ß"}"#,
    ];
    let app = App::idle(&[]);
    for (number, sample) in samples.iter().enumerate() {
        for action in actions {
            let name = format!("s{number}_{}", action.replace('.', "_"));
            well(&new(&app, &name, sample, &["--action", action]));
            let with = &yaml(&app, &format!("flows/{name}.yaml"))["steps"][0]["with"];
            for fixed in ["url", "sql", "table", "channel"] {
                let given = with[fixed].as_str().unwrap_or_default();
                assert!(!given.contains("{{"), "where a call goes is never the sender's choice: {with}");
            }
        }
        well(&new(&app, &format!("s{number}_none"), sample, &[]));
    }
    let checked = well(&app.cli(&["check", "--strict"]));
    well(&app.cli(&["test"]));
    assert_eq!(checked.lines().last(), Some("36 flows, 0 errors, 0 warnings"), "{checked}");
    let connections = yaml(&app, "connections.yaml");
    assert_eq!(
        connections.as_object().map(serde_json::Map::len),
        Some(3),
        "each connection is added once: {connections}"
    );
}

#[test]
fn new_overwrites_nothing_and_says_what_is_wrong() {
    let app = App::idle(&[(
        "connections.yaml",
        "# mine\ncrm: {connector: http, settings: {base_url: \"https://a.example\"}}",
    )]);
    well(&new(&app, "lead", LEAD, &[]));
    let before = std::fs::read_to_string(app.path("flows/lead.yaml")).unwrap();
    let refused = |output: &Output, word: &str| {
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(word), "{word}: {}", text(&output.stderr));
    };
    refused(&new(&app, "lead", "{}", &[]), "there is a flow `lead` already");
    std::fs::create_dir_all(app.path("tests")).unwrap();
    app.write("tests/other.test.yaml", "mine");
    refused(&new(&app, "other", "{}", &[]), "tests/other.test.yaml is there already; nothing was written");
    assert!(!app.path("flows/other.yaml").exists());
    assert_eq!(std::fs::read_to_string(app.path("flows/lead.yaml")).unwrap(), before);

    refused(&new(&app, "Bad Name", "{}", &[]), "bad_name");
    refused(&new(&app, "a", "{}", &["--action", "http.requst"]), "did you mean `http.request`?");
    refused(
        &new(&app, "a", "{}", &["--action", "slack.post_message", "--connection", "crm"]),
        "is of connector `http`",
    );
    refused(&new(&app, "a", "{", &[]), "is not JSON");
    refused(&new(&app, "a", "{}", &["--action", "sql.query", "--set", "params=5"]), "E-FLOW-016");
    assert!(!app.path("flows/a.yaml").exists() && !app.path("tests/a.test.yaml").exists());

    let chat = ["--action", "slack.post_message", "--connection", "chat"];
    for (connections, word) in [
        ("chat: {connector: slak}\n", "connections.yaml has errors"),
        ("a: {{x}}\n", "connections.yaml has errors"),
        ("{crm: {connector: http, settings: {base_url: \"https://a.example\"}}}\n", "nothing can be added at its end"),
    ] {
        let other = App::idle(&[("connections.yaml", connections)]);
        refused(&new(&other, "b", "{}", &chat), word);
        assert_eq!(std::fs::read_to_string(other.path("connections.yaml")).unwrap(), connections);
        assert!(!other.path("flows").exists());
    }

    well(&new(&app, "b", "{}", &["--action", "slack.post_message", "--connection", "chat"]));
    let connections = std::fs::read_to_string(app.path("connections.yaml")).unwrap();
    assert!(connections.starts_with("# mine\ncrm: {connector: http"), "{connections}");
    well(&new(&app, "c", "{}", &["--action", "slack.post_message"]));
    assert_eq!(yaml(&app, "flows/c.yaml")["steps"][0]["connection"], "chat", "the only one there is");
}

#[test]
fn a_graph_shows_ids_kinds_conditions_and_branches() {
    let app = App::idle(&[(
        "flows/order.yaml",
        "trigger: {type: request}\nsteps:\n  - id: judge\n    if: '{{equals trigger.body.kind \"a\"}}'\n    then:\n      - {id: yes_it_is, set: {x: 1}}\n    else:\n      \
         - id: each\n        foreach: '{{trigger.body.lines}}'\n        do:\n          - {id: rest, delay: 5s}\n  - id: ask\n    when: '{{vars.x}}'\n    \
         action: http.request\n    with: {url: \"https://example.com\"}\n    on_error: continue\n  - id: mend\n    set: {y: 1}\n    run_after: {ask: [failed, timed_out]}\n\
         on_failure:\n  - {id: tell, terminate: failed}\n",
    )]);
    let tree = well(&app.cli(&["graph", "order"]));
    insta::assert_snapshot!(tree, @r#"
    order (request)
    ├─ judge  if {{equals trigger.body.kind "a"}}
    │  ├─ then
    │  │  └─ yes_it_is  set x
    │  └─ else
    │     └─ each  foreach {{trigger.body.lines}}
    │        └─ rest  delay 5s
    ├─ ask  action http.request  when {{vars.x}}  on_error continue
    ├─ mend  set y  after ask failed or timed_out
    └─ on_failure
       └─ tell  terminate failed
    "#);
    let mermaid = well(&app.cli(&["graph", "order", "--format", "mermaid"]));
    insta::assert_snapshot!(mermaid, @r#"
    flowchart TD
      n0(["order (request)"])
      n1{"judge<br/>if #123;#123;equals trigger.body.kind #34;a#34;#125;#125;"}
      n0 --> n1
      subgraph n1_2["judge: then"]
        n2["yes_it_is<br/>set x"]
        n1 -->|"then"| n2
      end
      subgraph n1_3["judge: else"]
        n3["each<br/>foreach #123;#123;trigger.body.lines#125;#125;"]
        n1 -->|"else"| n3
        subgraph n3_4["each: do"]
          n4("rest<br/>delay 5s")
          n3 -->|"do"| n4
        end
      end
      n5["ask<br/>action http.request<br/>when #123;#123;vars.x#125;#125;"]
      n1 --> n5
      n6["mend<br/>set y"]
      n5 -->|"failed or timed_out"| n6
      n7(["on_failure"])
      n0 -.->|failed| n7
      n8["tell<br/>terminate failed"]
      n7 --> n8
    "#);
    let told = app.cli_json(&["graph", "order"]);
    assert_eq!((told["text"].as_str(), told["mermaid"].as_str()), (Some(tree.as_str()), Some(mermaid.as_str())));
    let unknown = app.cli(&["graph", "ordr"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("did you mean `order`?"), "{}", text(&unknown.stderr));
}

/// YAML files of this folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).map(|entries| entries.map(|entry| entry.unwrap().path()).collect());
    let mut found: Vec<PathBuf> = entries.unwrap_or_default();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    found.sort();
    found
}

#[test]
fn fmt_changes_how_files_look_and_never_what_they_say() {
    let app = App::idle(&[]);
    let mut sources: Vec<PathBuf> =
        ["tests/check_good", "connectors", "flows"].iter().flat_map(|folder| files(&root().join(folder))).collect();
    let examples = std::fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    for project in examples.filter(|path| path.is_dir()) {
        sources.extend(files(&project));
        sources.extend(files(&project.join("flows")));
    }
    assert!(sources.len() > 50);
    for (number, source) in sources.iter().enumerate() {
        // As a careless hand would have written it: deeper, wider, with blanks.
        let original = std::fs::read_to_string(source).unwrap();
        let careless: String = original
            .lines()
            .map(|line| {
                let inner = line.trim_start();
                let wide = if inner.starts_with('#') || inner.contains('"') || inner.contains('\'') {
                    inner.to_owned()
                } else {
                    inner.replacen(": ", ":   ", 1)
                };
                format!(
                    "{}{wide}{}\n",
                    " ".repeat((line.len() - inner.len()) * 2),
                    if original.contains('|') { "" } else { "  " }
                )
            })
            .collect();
        let same: Result<Value, _> = serde_yaml::from_str(&careless);
        let said: Value = serde_yaml::from_str(&original).unwrap();
        app.write(
            &format!("flows/{number}.yaml"),
            if same.is_ok_and(|same| same == said) { &careless } else { &original },
        );
    }
    let checked = app.cli(&["fmt", "--check"]);
    assert_eq!(checked.status.code(), Some(1));
    well(&app.cli(&["fmt"]));
    well(&app.cli(&["fmt", "--check"]));
    let comments = |text: &str| {
        text.lines()
            .filter(|line| line.trim_start().starts_with('#'))
            .map(|line| line.trim().to_owned())
            .collect::<Vec<_>>()
    };
    for (number, source) in sources.iter().enumerate() {
        let before = std::fs::read_to_string(source).unwrap();
        let after = std::fs::read_to_string(app.path(&format!("flows/{number}.yaml"))).unwrap();
        let (said, says): (Value, Value) =
            (serde_yaml::from_str(&before).unwrap(), serde_yaml::from_str(&after).unwrap());
        assert_eq!(says, said, "{}", source.display());
        assert_eq!(comments(&after), comments(&before), "{}", source.display());
    }
}

#[test]
fn fmt_leaves_what_it_cannot_read() {
    let app = App::idle(&[
        ("flows/broken.yaml", "a: {{x}}  \n"),
        ("flows/sound.yaml", "trigger:   {type: request}\nsteps: []\n"),
    ]);
    let done = app.cli(&["fmt"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("flows/broken.yaml: left as it is"), "{}", text(&done.stderr));
    assert_eq!(std::fs::read_to_string(app.path("flows/broken.yaml")).unwrap(), "a: {{x}}  \n");
    assert_eq!(std::fs::read_to_string(app.path("flows/sound.yaml")).unwrap(), "trigger: {type: request}\nsteps: []\n");
}

#[test]
fn the_commands_of_the_guide_work_as_they_are_written() {
    let page = std::fs::read_to_string(root().join("docs/guide/first-flow.md")).unwrap();
    let blocks: Vec<&str> = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let mut app = App::idle(&[]);
    let program = PathBuf::from(env!("CARGO_BIN_EXE_millstream"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut served = 0;
    for block in blocks {
        if block.trim() == "millstream serve" {
            app.start();
            served += 1;
            continue;
        }
        let mut shell = Command::new("bash");
        shell.args(["-Eeuo", "pipefail", "-c", block]).current_dir(app.path("")).env("PATH", &path);
        let said = well(&shell.output().unwrap());
        if block.contains("runs list") {
            assert!(said.contains("\"status\":\"accepted\""), "{said}");
            let runs = app.cli_json(&["runs", "list"]);
            app.ended(runs[0]["run_id"].as_str().unwrap());
        }
    }
    assert_eq!(served, 1);
    let row = &yaml(&app, "flows/lead.yaml")["steps"][0]["with"]["record"];
    assert_eq!(row["firstname"], "{{optional trigger.body.UserDetails.FirstName}}");
    assert_eq!(row["emailaddress1"], "{{optional trigger.body.UserDetails.Email}}");
}
