//! The schemas that editors go by: what they take and refuse, and how they do in the language server that VS Code and others use
//! for YAML (`tests/standins/setup` installs it).

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::path::{Path, PathBuf};
use std::process::Command;

use millstream::schema::Schema;
use serde_json::{Value, json};

use crate::app::App;
use crate::author::{files, root, text, well};
use crate::language_client::Client;

/// The language server for YAML that editors use, told to check, complete and explain.
fn start() -> Client {
    let parts = std::env::var_os("MILLSTREAM_STANDINS").map(PathBuf::from);
    let parts = parts.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/standins"));
    let program = parts.join("node_modules/yaml-language-server/bin/yaml-language-server");
    assert!(program.exists(), "{} is not there: run tests/standins/setup", program.display());
    let mut command = Command::new("node");
    command.arg(program).arg("--stdio");
    let mut client = Client::start(command, &Value::Null);
    let settings =
        json!({"yaml": {"validate": true, "completion": true, "hover": true, "schemaStore": {"enable": false}}});
    client.tell("workspace/didChangeConfiguration", &json!({"settings": settings}));
    client
}

#[test]
fn an_editor_completes_explains_and_checks_flows_by_the_schema() {
    let connections = "sales: {connector: slack, credentials: {bot_token: {env: X}}}\ncrm: {connector: http, settings: {base_url: \"https://crm.example\"}}\n";
    let shop = "connector: shop\nversion: 1\ndescription: A shop\nbase_url: https://shop.example\nactions:\n  upgrade:\n    description: Gives a customer a tier\n    \
                input:\n      type: object\n      additionalProperties: false\n      properties:\n        tier: {enum: [gold, silver], description: How dear the customer is}\n    \
                request: {post: /tiers}\n";
    let app = App::idle(&[("connections.yaml", connections), ("connectors/shop.yaml", shop)]);
    let written = app.cli(&["schema", "--write"]);
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let modeline =
        format!("# yaml-language-server: $schema=file://{}\n", app.path(".millstream/schema/flow.json").display());
    let mut server = start();
    let mut files = 0;
    let mut uri = || {
        files += 1;
        format!("file://{}", app.path(&format!("flows/f{files}.yaml")).display())
    };
    let text = |steps: &str| format!("{modeline}trigger:\n  type: request\nsteps:\n{steps}");

    let good = "  - id: tell\n    action: slack.post_message\n    connection: sales\n    with:\n      channel: leads\n      text: \"{{trigger.body.x}}\"\n    retry:\n      attempts: 3\n";
    assert_eq!(server.open(&uri(), &text(good)), Vec::<String>::new());

    // A key and an action that are misspelt, a connection of another connector, an input that is none.
    let wrong = server.open(&uri(), &text(&good.replace("retry:", "retyr:")));
    assert!(wrong.iter().any(|line| line.starts_with("10: ") && line.contains("retyr")), "{wrong:?}");
    let wrong = server.open(&uri(), &text(&good.replace("post_message", "post_mesage")));
    assert!(wrong.iter().any(|line| line.starts_with("5: ") && line.contains("slack.post_message")), "{wrong:?}");
    let wrong = server.open(&uri(), &text(&good.replace("connection: sales", "connection: crm")));
    assert!(wrong.iter().any(|line| line.starts_with("6: ") && line.contains("sales")), "{wrong:?}");
    let wrong = server.open(&uri(), &text(&good.replace("channel:", "chanel:")));
    assert!(wrong.iter().any(|line| line.contains("chanel")), "{wrong:?}");

    let actions = server.proposals(&uri(), &text("  - id: tell\n    action: ‸\n"));
    for action in ["slack.post_message", "http.request", "sql.insert", "dynamics365.create_record"] {
        assert!(actions.iter().any(|(label, _)| label == action), "{action}: {actions:?}");
    }
    let explained = &actions.iter().find(|(label, _)| label == "slack.post_message").unwrap().1;
    assert!(explained.contains("Posts a message to a channel"), "{explained}");
    let names = server.proposals(&uri(), &text("  - id: tell\n    action: slack.post_message\n    connection: ‸\n"));
    assert!(
        names.iter().any(|(label, _)| label == "sales") && !names.iter().any(|(label, _)| label == "crm"),
        "{names:?}"
    );
    let inputs = server.proposals(
        &uri(),
        &text("  - id: tell\n    action: slack.post_message\n    connection: sales\n    with:\n      ‸\n"),
    );
    for input in ["channel", "text", "blocks", "thread_ts"] {
        assert!(inputs.iter().any(|(label, _)| label == input), "{input}: {inputs:?}");
    }
    let tiers = server.proposals(&uri(), &text("  - id: up\n    action: shop.upgrade\n    with:\n      tier: ‸\n"));
    assert!(["gold", "silver"].iter().all(|tier| tiers.iter().any(|(label, _)| label == tier)), "{tiers:?}");
    let told = server.explained(&uri(), &text("  - id: up\n    action: shop.upgrade\n    with:\n      ti‸er: gold\n"));
    assert!(told.contains("How dear the customer is"), "{told}");
    let wrong = server.open(&uri(), &text("  - id: up\n    action: shop.upgrade\n    with:\n      tier: golden\n"));
    assert!(wrong.iter().any(|line| line.starts_with("7: ") && line.contains("gold")), "{wrong:?}");
    let template = "  - id: up\n    action: shop.upgrade\n    with:\n      tier: \"{{trigger.body.tier}}\"\n";
    assert_eq!(server.open(&uri(), &text(template)), Vec::<String>::new());
    let keys = server.proposals(&uri(), &text("  - id: tell\n    ‸\n"));
    for key in ["action", "set", "when", "foreach"] {
        assert!(keys.iter().any(|(label, _)| label == key), "{key}: {keys:?}");
    }

    let told = server.explained(&uri(), &text(&good.replace("retry:", "re‸try:")));
    assert!(told.contains("none") && told.contains("keys below"), "{told}");
    let told = server.explained(&uri(), &text(&good.replace("attempts:", "att‸empts:")));
    assert!(told.contains("calls in all, the first included"), "{told}");
    let told = server.explained(&uri(), &text(&good.replace("channel:", "chan‸nel:")));
    assert!(told.contains("Channel id or name"), "{told}");

    // Connections too, by the schema of their own.
    let modeline = modeline.replace("flow.json", "connections.json");
    let wrong = server.open(&uri(), &format!("{modeline}crm:\n  connector: http\n  setings: {{}}\n"));
    assert!(wrong.iter().any(|line| line.contains("setings")), "{wrong:?}");
}

/// The schema of a kind, made for the project in this folder.
fn schema_of(folder: &Path, kind: &str) -> Schema {
    let output =
        Command::new(env!("CARGO_BIN_EXE_millstream")).args(["schema", kind, "--dir"]).arg(folder).output().unwrap();
    Schema::compile(&serde_json::from_str(&well(&output)).unwrap()).unwrap_or_else(|error| panic!("{kind}: {error}"))
}

fn violations(schema: &Schema, path: &Path) -> Vec<String> {
    let value: Value = serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    schema
        .violations(&value)
        .into_iter()
        .map(|found| format!("{}{}: {}", path.display(), found.pointer, found.message))
        .collect()
}

const CONNECTIONS: &str = "\
crm: {connector: dynamics365, settings: {org_url: \"https://a.example\", tenant_id: t, client_id: c}, credentials: {client_secret: {env: X}}}
sales: {connector: slack, credentials: {bot_token: {env: X}}}
leads: {connector: sql, settings: {url: \"sqlite:leads.db\"}}
api: {connector: http, settings: {base_url: \"https://a.example\"}}
";

#[test]
fn every_good_file_satisfies_the_schema_of_its_kind() {
    let app = App::idle(&[("connections.yaml", CONNECTIONS)]);
    let mut wrong = Vec::new();
    let mut seen = 0;
    let mut hold = |schema: &Schema, files: Vec<PathBuf>| {
        for path in files {
            seen += 1;
            wrong.extend(violations(schema, &path));
        }
    };
    hold(&schema_of(&app.path(""), "flow"), files(&root().join("tests/check_good")));
    hold(&schema_of(&app.path(""), "connections"), vec![app.path("connections.yaml")]);
    hold(&schema_of(&app.path(""), "connector"), files(&root().join("connectors")));
    let examples = std::fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    for project in examples.filter(|path| path.is_dir()).chain([root().to_owned()]) {
        hold(&schema_of(&project, "flow"), files(&project.join("flows")));
        hold(&schema_of(&project, "connector"), files(&project.join("connectors")));
        let tests = files(&project.join("tests")).into_iter();
        hold(
            &schema_of(&project, "test"),
            tests.filter(|path| path.to_string_lossy().ends_with(".test.yaml")).collect(),
        );
        for (kind, name) in [("connections", "connections.yaml"), ("config", "millstream.yaml")] {
            let file = project.join(name);
            hold(&schema_of(&project, kind), if file.exists() { vec![file] } else { Vec::new() });
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 60, "only {seen} files were seen");
}

#[test]
fn every_example_of_the_reference_satisfies_the_schema_of_flows() {
    let app = App::idle(&[("connections.yaml", CONNECTIONS)]);
    let schema = schema_of(&app.path(""), "flow");
    let page = std::fs::read_to_string(root().join("docs/reference/flow.md")).unwrap();
    let examples: Vec<&str> =
        page.split("```yaml flow\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() > 15);
    for example in examples {
        let value: Value = serde_yaml::from_str(example).unwrap();
        assert_eq!(schema.violations(&value), [], "{example}");
    }
}

#[test]
fn the_schema_refuses_misspelt_keys_and_what_the_connectors_do_not_have() {
    let app = App::idle(&[("connections.yaml", CONNECTIONS)]);
    let good = "trigger: {type: request, dedupe: {key: \"{{run.id}}\", window: 1h}}\nsteps:\n  - {id: a, action: slack.post_message, connection: sales, with: {channel: c, text: t}, retry: {attempts: 2}}\n  \
                - {id: b, if: \"{{x}}\", then: []}\n";
    let schema = schema_of(&app.path(""), "flow");
    let valid = |text: &str| schema.violations(&serde_yaml::from_str(text).unwrap()).is_empty();
    assert!(valid(good));
    for (from, to) in [
        ("trigger:", "triger:"),
        ("steps:", "step:"),
        ("dedupe:", "dedup:"),
        ("window:", "windows:"),
        ("type: request", "type: requests"),
        ("type: request", "type: schedule"),
        ("action:", "acton:"),
        ("slack.post_message", "slack.post_mesage"),
        ("connection: sales", "connection: crm"),
        ("connection: sales, ", ""),
        ("channel: c, ", ""),
        ("channel:", "chanel:"),
        ("text: t", "text: 5"),
        ("attempts:", "attempt:"),
        ("attempts: 2", "attempts: two"),
        ("id: a", "ID: a"),
        ("id: a", "id: A b"),
        ("then: []", "else: []"),
        ("if: \"{{x}}\", then: []", "set: {}, then: []"),
        ("if: \"{{x}}\", then: []", "when: \"{{x}}\""),
        ("if: \"{{x}}\", then: []", "set: {}, delay: 5s"),
    ] {
        assert!(good.contains(from), "{from}");
        assert!(!valid(&good.replacen(from, to, 1)), "{to} passes");
    }

    let connections = schema_of(&app.path(""), "connections");
    for wrong in [
        "a: {conector: http}",
        "a: {connector: htp}",
        "a: {connector: slack}",
        "a: {connector: slack, credentials: {bot_token: plain}}",
        "a: {connector: sql, settings: {ur: x}}",
    ] {
        assert!(!connections.violations(&serde_yaml::from_str(wrong).unwrap()).is_empty(), "{wrong}");
    }
    let config = schema_of(&app.path(""), "config");
    assert!(
        !config.violations(&json!({"limit": {}})).is_empty()
            && !config.violations(&json!({"limits": {"run": 1}})).is_empty()
    );
    let test = schema_of(&app.path(""), "test");
    let case = |key: &str| json!({"flow": "a", "cases": [{"name": "x", key: {"status": "succeeded"}}]});
    assert!(test.violations(&case("expect")).is_empty() && !test.violations(&case("expects")).is_empty());
}

#[test]
fn every_key_of_the_config_is_known_to_its_schema() {
    let schema: Value = App::idle(&[]).cli_json(&["schema", "config"]);
    let sample = "listen: a\nadmin: a\nadmin_hosts: [a]\ntls: {cert: a, key: b}\npublic_url: a\nlimits: {body_bytes: 1, body_depth: 1, header_seconds: 1, body_seconds: 1, \
                  idle_seconds: 1, connections: 1, runs: 1, queued_runs: 1, rejected_runs: 1, output_bytes: 1}\ntrusted_proxies: [10.0.0.0/8]\nenv: [A]\n\
                  outbound: {allow: [10.0.0.0/8], proxy: a, ca_file: a}\nalerts: {flow: a, on: [failed], per_minute: 1}\n\
                  retention: {succeeded: {age: 1d, count: 1, bytes: 2GB}, cancelled: {age: null}, failed: {age: 1d}, held: {}, rejected: {}, handled: {}, sweep: 1m}\nvault: {key: {file: a}}\n";
    let app = App::idle(&[]);
    app.write("millstream.yaml", sample);
    well(&app.cli(&["functions"]));
    let checked = app.cli(&["check"]);
    assert!(!text(&checked.stderr).contains("unknown field"), "{}", text(&checked.stderr));
    let value: Value = serde_yaml::from_str(sample).unwrap();
    assert_eq!(Schema::compile(&schema).unwrap().violations(&value), []);
    // And it knows no key that the program does not: each is in the sample.
    for part in ["", "/tls", "/limits", "/outbound", "/alerts", "/retention", "/retention/succeeded"] {
        let place = part.replace('/', "/properties/");
        let keys = schema.pointer(&format!("{place}/properties")).and_then(Value::as_object).unwrap();
        let sampled = value.pointer(part).and_then(Value::as_object).unwrap();
        let mut keys: Vec<&String> = keys.keys().collect();
        let mut sampled: Vec<&String> = sampled.keys().collect();
        keys.sort();
        sampled.sort();
        assert_eq!(keys, sampled, "{part}");
    }
}

#[test]
fn the_schema_of_tests_has_the_keys_of_its_reference() {
    let page = std::fs::read_to_string(root().join("docs/reference/test-files.md")).unwrap();
    let schema = App::idle(&[]).cli_json(&["schema", "test"]).to_string();
    let mut keys = 0;
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        for key in row.split('|').nth(1).unwrap().split(',').map(|key| key.trim().trim_matches('`')) {
            keys += 1;
            assert!(schema.contains(&format!("\"{key}\":")), "{key}");
        }
    }
    assert!(keys > 40, "{keys}");
}

#[test]
fn schemas_are_written_where_an_editor_finds_them_and_do_not_disturb_a_server() {
    let mut app = App::idle(&[]);
    let said = well(&app.cli(&["schema", "--write"]));
    assert!(said.contains("# yaml-language-server: $schema=../.millstream/schema/flow.json"), "{said}");
    assert!(said.contains("\"./.millstream/schema/connections.json\": [\n"), "{said}");
    for kind in ["flow", "test", "connector", "connections", "config"] {
        let written = std::fs::read_to_string(app.path(&format!(".millstream/schema/{kind}.json"))).unwrap();
        let written: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(written["$schema"], "http://json-schema.org/draft-07/schema#");
        Schema::compile(&written).unwrap();
    }
    app.start();
}
