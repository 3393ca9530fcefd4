//! Many flows: all are live, each alone comes, changes, breaks and goes, and what they share changes all of them.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::app::{App, eventually};

/// Enough for several threads to share the load, and for copies that are written while the flows are live.
const MANY: usize = 150;

fn version(version: usize) -> String {
    format!(
        "trigger: {{type: request, schema: ../lead.json}}\n\
         steps:\n  - id: answer\n    response: {{body: {{version: {version}}}}}\n"
    )
}

fn answers(app: &App, path: &str, version: usize) -> bool {
    app.post_to(path, "{}").text == format!("{{\"version\":{version}}}")
}

fn many() -> App {
    let mut app = App::idle(&[("lead.json", "{}")]);
    for number in 0..MANY {
        app.write(&format!("flows/f{number}.yaml"), &version(0));
    }
    app.start();
    app
}

#[test]
fn of_many_files_each_alone_changes_breaks_comes_and_goes() {
    let mut app = many();
    let (first, other, last) = (app.hook("f0"), app.hook("f1"), app.hook(&format!("f{}", MANY - 1)));
    assert!(answers(&app, &first, 0) && answers(&app, &last, 0));

    // As careful editors do it: whole, under another name, then renamed.
    fs::write(app.path("flows/.f0.yaml.swp"), version(1)).unwrap();
    fs::rename(app.path("flows/.f0.yaml.swp"), app.path("flows/f0.yaml")).unwrap();
    eventually(|| answers(&app, &first, 1));
    app.write("flows/f1.yaml", "trigger: {type: request}\nsteps: nothing\n");
    app.write("flows/fresh.yaml", &version(7));
    eventually(|| app.api("GET", "/flows/fresh/url", None).status == 200);
    fs::rename(app.path("flows/f2.yaml"), app.path("flows/moved.yaml")).unwrap();
    eventually(|| app.api("GET", "/flows/moved/url", None).status == 200);
    eventually(|| app.api("GET", "/flows/f2/url", None).status == 404);
    fs::remove_file(app.path("flows/f3.yaml")).unwrap();
    eventually(|| app.api("GET", "/flows/f3/url", None).status == 404);
    eventually(|| app.api("GET", "/problems", None).json()["problems"].as_array().is_some_and(|all| !all.is_empty()));
    assert!(answers(&app, &other, 0), "the last good version stays");
    assert!(answers(&app, &app.hook("fresh"), 7));
    assert!(answers(&app, &last, 0));

    assert!(app.terminate().success());
    app.start();
    assert!(answers(&app, &first, 1));
    assert!(answers(&app, &other, 0), "over a restart too");
    assert_eq!(app.api("GET", "/flows", None).json()["flows"].as_array().map(Vec::len), Some(MANY));
}

#[test]
fn a_schema_that_many_flows_share_changes_all_of_them() {
    let app = many();
    let paths = [app.hook("f0"), app.hook("f99")];
    app.write("lead.json", r#"{"required": ["Email"]}"#);
    for path in &paths {
        eventually(|| app.post_to(path, "{}").status == 422);
    }
    app.write("lead.json", "{}");
    for path in &paths {
        eventually(|| answers(&app, path, 0));
    }
}

#[test]
fn files_that_are_links_change_with_what_they_lead_to() {
    // As Kubernetes mounts a ConfigMap: each file leads over one hidden link, which is swapped.
    let mut app = App::idle(&[
        ("lead.json", "{}"),
        ("flows/..1/lead.yaml", &version(1)),
        ("flows/..2/lead.yaml", &version(2)),
        ("flows/plain.yaml", &version(5)),
    ]);
    symlink("..1", app.path("flows/..data")).unwrap();
    symlink("..data/lead.yaml", app.path("flows/lead.yaml")).unwrap();
    app.start();
    let path = app.hook("lead");
    assert!(answers(&app, &path, 1));

    symlink("..2", app.path("flows/..data_tmp")).unwrap();
    fs::rename(app.path("flows/..data_tmp"), app.path("flows/..data")).unwrap();
    eventually(|| answers(&app, &path, 2));

    // A link to a file that is a flow of its own.
    symlink("plain.yaml", app.path("flows/second.yaml")).unwrap();
    eventually(|| app.api("GET", "/flows/second/url", None).status == 200);
    let second = app.hook("second");
    app.write("flows/plain.yaml", &version(6));
    eventually(|| answers(&app, &second, 6));
}

#[test]
fn a_schema_beside_its_flow_is_read_again_when_it_changes() {
    let flow = "trigger: {type: request, schema: ./shape.json}\nsteps: [{id: answer, response: {status: 201}}]\n";
    let app = App::with(&[("flows/shape.json", "{}"), ("flows/lead.yaml", flow)]);
    let path = app.hook("lead");
    assert_eq!(app.post("lead", &json!({})).status, 201);
    app.write("flows/shape.json", r#"{"required": ["Email"]}"#);
    eventually(|| app.post_to(&path, "{}").status == 422);
}
