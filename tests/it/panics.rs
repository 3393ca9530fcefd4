//! A panic somewhere in Millstream: what was begun goes on, and nothing is done twice. Needs the feature `crash-points`, with
//! which a thread panics at a named place.

use serde_json::json;

use crate::app::{App, Remote, told};

#[test]
fn a_panic_while_a_called_run_begins_makes_no_second_one_and_the_caller_goes_on() {
    for (place, expected) in [
        // Nothing was begun: the step is tried again. (The caller's own beginning is the first time.)
        ("child.begin.before:1", "ask #1 failed engine.panic\nask #2 succeeded\nsucceeded"),
        ("accept.append.before:2", "ask #1 failed engine.panic\nask #2 succeeded\nsucceeded"),
        // It had begun: the step goes on with it.
        ("accept.append.after:2", "ask #1 succeeded\nsucceeded"),
        ("child.begin.after:1", "ask #1 succeeded\nsucceeded"),
    ] {
        let remote = Remote::start();
        let child = format!(
            "trigger: {{type: manual, inputs: {{n: {{type: integer}}}}}}\nsteps:\n  - {{id: call, action: http.request, with: \
             {{method: POST, url: \"{}\", json: {{}}}}}}\n  - {{id: answer, response: {{body: done}}}}\n",
            remote.url("/")
        );
        let parent = "trigger: {type: request}\nsteps:\n  - {id: ask, call: child, with: {n: 1}, retry: {attempts: 3, delay: \
                      50ms}}\n";
        let mut app = App::idle(&[("flows/child.yaml", &child), ("flows/parent.yaml", parent)]);
        app.env.push(("MILLSTREAM_PANIC", place.to_owned()));
        app.start();
        let run = app.ended(&app.post("parent", &json!({})).run());
        assert!(app.log().contains("a test wants a panic"), "{place} was not come to");
        assert_eq!(told(&run), expected, "{place}");
        assert_eq!(run["steps"][0]["output"]["body"], json!("done"), "{place}: {run}");
        let children = app.runs("flow=child");
        assert_eq!((children.len(), remote.seen().len()), (1, 1), "{place}: {children:?}");
        assert_eq!(children[0]["status"], "succeeded", "{place}");
        // Nothing of it is left in the way.
        assert_eq!(app.ended(&app.post("parent", &json!({})).run())["status"], "succeeded", "{place}");
        assert!(app.terminate().success(), "{place}");
    }
}
