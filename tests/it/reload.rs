//! Files change under a running server: what is live changes flow by flow, and nothing good is taken down.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::app::{Answer, App, eventually};

fn version(version: usize) -> String {
    format!("trigger: {{type: request}}\nsteps:\n  - id: answer\n    response: {{body: {{version: {version}}}}}\n")
}

fn answers(app: &App, path: &str, version: usize) -> bool {
    app.post_to(path, "{}").text == format!("{{\"version\":{version}}}")
}

#[test]
fn two_hundred_edits_under_load_fail_no_request() {
    let app = App::with(&[("flows/busy.yaml", &version(0)), ("flows/other.yaml", &version(7))]);
    let paths = [app.hook("busy"), app.hook("other")];
    let stop = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    let bad: std::sync::Mutex<Vec<Answer>> = Default::default();

    std::thread::scope(|scope| {
        for path in &paths {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let answer = app.post_to(path, "{}");
                    sent.fetch_add(1, Ordering::Relaxed);
                    if answer.status != 200 {
                        bad.lock().unwrap().push(answer);
                    }
                }
            });
        }
        for edit in 1..=200 {
            let before = sent.load(Ordering::Relaxed);
            match edit % 5 {
                // A write in two parts, as a slow editor does it: the first half is no flow.
                4 => {
                    let text = version(edit);
                    let mut file = std::fs::File::create(app.path("flows/busy.yaml")).unwrap();
                    file.write_all(&text.as_bytes()[..20]).unwrap();
                    file.sync_data().unwrap();
                    file.write_all(&text.as_bytes()[20..]).unwrap();
                }
                3 => app.write("flows/busy.yaml", "trigger: {type: request}\nsteps:\n  - id: broken\n"),
                _ => app.write("flows/busy.yaml", &version(edit)),
            }
            // Load between any two edits.
            eventually(|| sent.load(Ordering::Relaxed) > before + 2);
        }
        eventually(|| answers(&app, &paths[0], 200));
        stop.store(true, Ordering::Relaxed);
    });

    assert!(bad.lock().unwrap().is_empty(), "{:?}", bad.lock().unwrap().first());
    assert!(answers(&app, &paths[1], 7));
}

#[test]
fn of_many_quick_saves_the_last_of_each_file_is_live_and_none_is_lost() {
    const SAVES: usize = 60;
    let files: Vec<String> = (0..6).map(|number| format!("flows/f{number}.yaml")).collect();
    let first: Vec<(&str, String)> = files.iter().map(|file| (file.as_str(), version(0))).collect();
    let first: Vec<(&str, &str)> = first.iter().map(|(file, text)| (*file, text.as_str())).collect();
    let app = App::with(&first);
    let paths: Vec<String> = (0..6).map(|number| app.hook(&format!("f{number}"))).collect();
    let told = || app.log().matches("flow is live").count() + app.log().matches("flow changed").count();
    let before = told();
    // As fast as it goes: one file again and again, the others once each in between, and new ones.
    for save in 1..=SAVES {
        app.write(&files[0], &version(save));
        if save % 10 == 5 {
            app.write(&files[save / 10 % 5 + 1], &version(save));
            app.write(&format!("flows/late{save}.yaml"), &version(save));
        }
    }
    for (number, path) in paths.iter().enumerate() {
        let last = if number == 0 {
            SAVES
        } else {
            (1..=SAVES).rfind(|save| save % 10 == 5 && save / 10 % 5 + 1 == number).unwrap_or(0)
        };
        eventually(|| answers(&app, path, last));
    }
    for save in (5..=SAVES).step_by(10) {
        eventually(|| app.api("GET", &format!("/flows/late{save}/url"), None).status == 200);
        assert!(answers(&app, &app.hook(&format!("late{save}")), save));
    }
    // Saves that come together are taken up together, and afterwards it is quiet.
    let live = told() - before;
    assert!((12..=SAVES + 12).contains(&live), "{live} versions became live");
    assert_eq!(app.metric("millstream_flows"), 12);
    assert!(app.api("GET", "/problems", None).json()["problems"].as_array().is_some_and(Vec::is_empty));
}

#[test]
fn a_broken_file_leaves_the_last_good_version_live_over_a_restart_too() {
    let mut app = App::with(&[("flows/kept.yaml", &version(1))]);
    let path = app.hook("kept");
    app.write("flows/kept.yaml", "trigger: {type: request}\nsteps:\n  - id: answer\n    respons: {}\n");
    eventually(|| app.log().contains("E-FLOW-006"));
    assert!(answers(&app, &path, 1));

    app.kill();
    app.start();

    assert!(answers(&app, &path, 1));
    let problems = app.api("GET", "/problems", None).json();
    assert_eq!((&problems["problems"][0]["code"], &problems["problems"][0]["line"]), (&json!("E-FLOW-006"), &json!(4)));
    let checked = app.cli(&["check"]);
    assert!(!checked.status.success());
    assert!(String::from_utf8(checked.stdout).unwrap().contains("did you mean `response`?"));

    app.write("flows/kept.yaml", &version(2));
    eventually(|| answers(&app, &path, 2));
}

#[test]
fn flows_come_and_go_with_their_files() {
    let app = App::with(&[]);
    app.write("flows/deep/er/late.yaml", &version(1));
    eventually(|| app.log().contains("flow is live"));
    let path = app.hook("late");
    assert!(answers(&app, &path, 1));

    std::fs::remove_file(app.path("flows/deep/er/late.yaml")).unwrap();
    eventually(|| app.post_to(&path, "{}").status == 404);

    app.write("flows/deep/er/late.yaml", &version(2));
    eventually(|| answers(&app, &path, 2));
}

#[test]
fn a_linked_folder_can_be_swapped_whole() {
    let app = App::idle(&[("releases/1/lead.yaml", &version(1)), ("releases/2/lead.yaml", &version(2))]);
    let link = |target: &str| {
        std::os::unix::fs::symlink(app.path(target), app.path("fresh")).unwrap();
        std::fs::rename(app.path("fresh"), app.path("flows")).unwrap();
    };
    link("releases/1");
    let mut app = app;
    app.start();
    let path = app.hook("lead");
    assert!(answers(&app, &path, 1));

    std::os::unix::fs::symlink(app.path("releases/2"), app.path("fresh")).unwrap();
    std::fs::rename(app.path("fresh"), app.path("flows")).unwrap();
    eventually(|| answers(&app, &path, 2));

    app.write("releases/2/lead.yaml", &version(3));
    eventually(|| answers(&app, &path, 3));
}

#[test]
fn a_changed_schema_file_changes_its_flow() {
    let flow = version(1).replace("type: request", "type: request, schema: ../shapes/lead.json");
    let schema = |required: &str| json!({"type": "object", "required": [required]}).to_string();
    let app = App::with(&[("shapes/lead.json", &schema("a")), ("flows/lead.yaml", &flow)]);
    let path = app.hook("lead");
    assert_eq!(app.post_to(&path, r#"{"b":1}"#).status, 422);

    app.write("shapes/lead.json", &schema("b"));
    eventually(|| app.post_to(&path, r#"{"b":1}"#).status == 200);
}

#[test]
fn of_two_flows_with_one_id_the_first_stays_and_both_files_are_named() {
    let second = format!("id: lead\n{}", version(2));
    let app = App::with(&[("flows/lead.yaml", &version(1)), ("flows/z.yaml", &second)]);
    assert!(answers(&app, &app.hook("lead"), 1));
    let problems: Value = app.cli_json(&["check"])["problems"].clone();
    let problem = problems[0].to_string();
    assert!(problem.contains("E-FLOW-018") && problem.contains("flows/lead.yaml") && problem.contains("flows/z.yaml"));
}

#[test]
fn a_file_that_takes_an_id_which_is_live_changes_nothing_over_a_restart_too() {
    let mut app = App::with(&[("flows/lead.yaml", &version(1)), ("flows/a.yaml", &version(5))]);
    let (lead, other) = (app.hook("lead"), app.hook("a"));
    app.write("flows/a.yaml", &format!("id: lead\naliases: [former]\n{}", version(2)));
    eventually(|| app.log().contains("E-FLOW-018"));
    assert!(answers(&app, &lead, 1), "the one that was live stays");
    assert!(answers(&app, &other, 5), "the last good version of the other stays too");

    app.kill();
    app.start();
    assert!(answers(&app, &lead, 1));
    assert!(answers(&app, &other, 5));

    std::fs::remove_file(app.path("flows/lead.yaml")).unwrap();
    eventually(|| answers(&app, &lead, 2));
}

#[test]
fn broken_connections_and_connectors_go_on_as_they_were_over_a_restart_too() {
    let remote = crate::app::Remote::start();
    let shop = "connector: shop\nversion: 1\ndescription: A shop\nsettings: {type: object, properties: {at: {type: string}}}\n\
                base_url: \"{{settings.at}}\"\nactions:\n  order:\n    description: Orders\n    input: {type: object}\n    \
                request: {post: /orders, json: {}}\n";
    let connections = format!("store: {{connector: shop, settings: {{at: {}}}}}\n", remote.url(""));
    let flow = "trigger: {type: request}\nsteps:\n  - {id: order, action: shop.order, connection: store, with: {}}\n";
    let mut app =
        App::with(&[("connectors/shop.yaml", shop), ("connections.yaml", &connections), ("flows/buy.yaml", flow)]);
    let path = app.hook("buy");
    assert_eq!(app.ended(&app.post_to(&path, "{}").run())["status"], "succeeded");

    app.write("connectors/shop.yaml", "connector: shop\nactoins: {}\n");
    app.write("connections.yaml", "store: {connector: shop, setings: {}}\n");
    eventually(|| app.api("GET", "/problems", None).json()["problems"].as_array().unwrap().len() > 1);
    for _ in 0..2 {
        assert_eq!(
            app.run_when(&app.post_to(&path, "{}").run(), &["succeeded", "held", "failed"])["status"],
            "succeeded"
        );
        app.kill();
        app.start();
    }
    assert_eq!(remote.seen().len(), 3);
}

#[test]
fn a_flow_whose_schema_file_comes_later_becomes_live_then() {
    let flow = version(1).replace("type: request", "type: request, schema: ../shapes/lead.json");
    let app = App::with(&[("flows/lead.yaml", &flow)]);
    assert_eq!(app.api("GET", "/flows/lead/url", None).status, 404);
    app.write("shapes/lead.json", r#"{"type": "object"}"#);
    eventually(|| app.api("GET", "/flows/lead/url", None).status == 200);
}

#[test]
fn a_folder_that_cannot_be_read_for_a_while_takes_no_flow_down() {
    let mut app = App::idle(&[("releases/1/lead.yaml", &version(1))]);
    let link = |target: &str| {
        std::os::unix::fs::symlink(app.path(target), app.path("fresh")).unwrap();
        std::fs::rename(app.path("fresh"), app.path("flows")).unwrap();
    };
    link("releases/1");
    app.start();
    let path = app.hook("lead");

    // A link to itself can be read by no one.
    std::os::unix::fs::symlink(app.path("flows"), app.path("fresh")).unwrap();
    std::fs::rename(app.path("fresh"), app.path("flows")).unwrap();
    eventually(|| app.log().contains("E-FLOW-012") || app.log().contains("flow is gone"));
    assert!(answers(&app, &path, 1));
}

#[test]
fn a_connection_changes_while_runs_go_on() {
    let remotes = [crate::app::Remote::start(), crate::app::Remote::start()];
    let connections = |remote: &crate::app::Remote| {
        format!("crm:\n  connector: http\n  settings: {{base_url: {}}}\n", remote.url("/"))
    };
    let flow = "trigger: {type: request}\nsteps:\n  - id: call\n    action: http.request\n    connection: crm\n    with: {url: leads}\n";
    let app = App::with(&[("connections.yaml", &connections(&remotes[0])), ("flows/call.yaml", flow)]);
    app.ended(&app.post("call", &json!({})).run());

    app.write("connections.yaml", &connections(&remotes[1]));
    eventually(|| {
        app.ended(&app.post("call", &json!({})).run());
        !remotes[1].seen().is_empty()
    });
    assert!(!remotes[0].seen().is_empty());
}
