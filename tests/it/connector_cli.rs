//! `millstream connectors`: what is there, a new one from a request, a call by hand; and the guide that shows it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::app::{App, Remote, Reply, repository};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn well(output: &Output) -> String {
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn the_list_has_what_is_built_in_and_what_is_ones_own() {
    let own = "connector: mine\nversion: 1\ndescription: Of my own\nproof: {kind: real, by: mine, unverified: [all]}\nbase_url: https://mine.example\nactions:\n  go: {description: Goes, request: {post: /go}}\n  list: {hidden: true, request: {get: /list}}\n";
    let app = App::idle(&[("connectors/mine.yaml", own)]);
    let list = app.cli_json(&["connectors", "list"]);
    let find = |name: &str| list.as_array().unwrap().iter().find(|row| row["name"] == name).cloned().unwrap();
    assert_eq!(
        find("mine"),
        json!({
            "name": "mine", "description": "Of my own", "origin": "own", "connection": "never",
            "actions": [{"name": "go", "description": "Goes"}],
            "proof": {"kind": "real", "by": "mine", "unverified": ["all"]},
        })
    );
    assert_eq!(
        (find("http")["origin"].clone(), find("http")["connection"].clone()),
        (json!("shipped"), json!("optional"))
    );
    let found = well(&app.cli(&["connectors", "list", "of my"]));
    assert!(found.contains("mine.go  Goes") && !found.contains("http"), "{found}");
}

#[test]
fn a_call_by_hand_shows_request_and_answer_and_no_secret() {
    let remote = Remote::start();
    remote.answers([
        Reply {
            headers: vec![("set-cookie".into(), "session=x".into())],
            body: r#"{"id": 7, "you": "s3cr3t-key-1"}"#.into(),
            ..Reply::from(201)
        },
        Reply { body: r#"{"why": "closed"}"#.into(), ..Reply::from(422) },
    ]);
    let own = format!(
        "connector: mine\nversion: 1\nbase_url: {}\nauth: {{type: api_key, name: X-Key, key: {{connection: key}}}}\nerror_text: $.why\nactions:\n  go:\n    input: {{type: object, properties: {{n: {{type: integer}}}}}}\n    request: {{post: /go, json: {{n: '{{{{ input.n }}}}'}}}}\n    output: {{id: $.id}}\n",
        remote.url("")
    );
    let mut app = App::idle(&[
        ("connectors/mine.yaml", &own),
        ("connections.yaml", "mine: {connector: mine, credentials: {key: {env: MINE}}}\n"),
        ("input.json", "{\"n\": 5}"),
    ]);
    app.env.push(("MINE", "s3cr3t-key-1".to_owned()));
    let input = app.path("input.json").to_string_lossy().into_owned();
    let call = |more: &[&str]| {
        let mut args = vec!["--json", "connectors", "call", "mine.go", "--connection", "mine", "--with", &input];
        args.extend(more);
        app.cli(&args)
    };
    // Given nothing sent.
    let dry = well(&call(&["--dry-run"]));
    let shown: Value = serde_json::from_str(&dry).unwrap();
    assert_eq!(
        (&shown["request"]["method"], &shown["request"]["body"], &shown["sent"]),
        (&json!("POST"), &json!({"n": 5}), &json!(false))
    );
    assert!(remote.seen().is_empty());
    // When it is sent, the answer is there, and the key is not.
    let said = well(&call(&[]));
    assert!(!said.contains("s3cr3t"), "{said}");
    let shown: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(shown["output"], json!({"id": 7}));
    let answer = &shown["answers"][0];
    assert_eq!(
        (&answer["status"], &answer["body"]["you"], &answer["headers"]["set-cookie"]),
        (&json!(201), &json!("[redacted]"), &json!("[redacted]"))
    );
    assert_eq!(remote.seen()[0].header("x-key"), Some("s3cr3t-key-1"));
    // And one that is refused says so.
    let refused = call(&[]);
    assert_eq!(refused.status.code(), Some(1));
    let shown: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(shown["error"]["code"], "connector.rejected");
    assert!(shown["error"]["message"].as_str().unwrap().ends_with(": closed"), "{shown}");
    // What is not there, and what does not fit.
    let unknown = app.cli(&["connectors", "call", "mine.goo"]);
    assert!(text(&unknown.stderr).contains("did you mean `mine.go`"), "{}", text(&unknown.stderr));
    app.write("input.json", "{\"n\": \"five\"}");
    let unfit = call(&["--dry-run"]);
    assert!(text(&unfit.stderr).contains("connector.input"), "{}", text(&unfit.stderr));
}

#[test]
fn a_call_by_hand_opens_the_vault_with_the_key_of_ones_own() {
    let remote = Remote::start();
    let own = format!(
        "connector: mine\nversion: 1\nbase_url: {}\nauth: {{type: bearer, token: {{connection: token}}}}\nactions:\n  go: {{input: {{type: object}}, request: {{get: /go}}}}\n",
        remote.url("")
    );
    let app = App::idle(&[
        ("connectors/mine.yaml", &own),
        ("connections.yaml", "mine: {connector: mine, credentials: {token: {secret: MINE}}}\n"),
        ("vault.key", &"k".repeat(32)),
        ("millstream.yaml", "outbound: {allow: [127.0.0.0/8]}\nvault: {key: {file: vault.key}}\n"),
    ]);
    app.write("token", "s3cr3t-token");
    let mut set = app.command();
    set.args(["secret", "set", "MINE"]).stdin(std::fs::File::open(app.path("token")).unwrap());
    well(&set.output().unwrap());
    let call = || well(&app.cli(&["connectors", "call", "mine.go", "--connection", "mine"]));
    for rotations in 1..=2 {
        call();
        assert_eq!(remote.seen().last().unwrap().header("authorization"), Some("Bearer s3cr3t-token"));
        assert_eq!(remote.seen().len(), rotations);
        well(&app.cli(&["secret", "rotate-key"]));
    }
}

#[test]
fn a_new_connector_overwrites_nothing_and_a_line_that_cannot_be_read_makes_none() {
    let app = App::idle(&[]);
    let new = |name: &str, line: &str| app.cli(&["connectors", "new", name, "--from-curl", line]);
    well(&new("shop", "curl https://shop.example.com/orders -d '{}'"));
    let again = new("shop", "curl https://shop.example.com/orders");
    assert!(text(&again.stderr).contains("connectors/shop.yaml cannot be made"), "{}", text(&again.stderr));
    for (name, line) in
        [("Shop", "curl https://x.example"), ("b", "wget x"), ("c", "curl ftp://x.example/a"), ("d", "curl x -d @f")]
    {
        assert!(!new(name, line).status.success(), "{line}");
        assert!(!app.path(&format!("connectors/{name}.yaml")).exists());
    }
    well(&app.cli(&["check"]));
}

#[test]
fn the_guide_works_as_it_is_written() {
    let page = repository("docs/guide/write-a-connector.md");
    let remote = Remote::start();
    remote.answers([Reply { body: r#"{"order": {"id": 1}}"#.into(), ..Reply::from(201) }]);
    let mut app = App::idle(&[]);
    let program = PathBuf::from(env!("CARGO_BIN_EXE_millstream"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut said = Vec::new();
    let mut yaml = Vec::new();
    for block in page.split("```").skip(1).step_by(2) {
        let (kind, block) = block.split_once('\n').unwrap();
        match kind {
            "yml" if yaml.is_empty() => {
                // The shop of the guide stands here.
                let here = format!("{block}  base_url: {}\n", remote.url(""));
                app.write("connections.yaml", &here);
                yaml.push(block.to_owned());
            }
            "yml" => yaml.push(block.to_owned()),
            "sh" => {
                let mut shell = Command::new("bash");
                shell.args(["-Eeuo", "pipefail", "-c", block]).current_dir(app.path("")).env("PATH", &path);
                said.push(well(&shell.output().unwrap()));
            }
            other => panic!("a block of {other}"),
        }
    }
    assert!(said[0].contains("shop.create_orders") && said[0].contains("SHOP_API_KEY"), "{said:?}");
    let drafted = std::fs::read_to_string(app.path("connectors/shop.yaml")).unwrap();
    assert!(!drafted.contains("5ecret"), "{drafted}");
    assert!(said.concat().contains("nothing was sent"));
    let seen = remote.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].path.as_str(), seen[0].header("x-api-key")), ("/v1/orders", Some("5ecret-of-the-shop")));
    assert_eq!(
        serde_json::from_str::<Value>(&seen[0].body).unwrap(),
        json!({"email": "ada@example.com", "total": 12.5})
    );
    // What it says to add is a connector still.
    let [_, errors, safe] = &yaml[..] else { panic!("{yaml:?}") };
    let headers = safe.lines().next().unwrap();
    let safer = drafted
        .replace("    repeat: unsafe", "    repeat: safe")
        .replace("    request:\n", &format!("    request:\n      {headers}\n"));
    assert!(safer.contains("Idempotency-Key"), "{safer}");
    app.write("connectors/shop.yaml", &format!("{safer}{errors}"));
    well(&app.cli(&["check"]));
    app.start();
    assert!(Path::new(&app.path("connectors/shop.yaml")).exists());
}
