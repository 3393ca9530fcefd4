//! What `millstream lsp` proposes: inside of templates, while a line is half typed, and everywhere else.

use serde_json::json;

use crate::app::App;
use crate::lsp::{CONNECTIONS, LEAD, editor, uri};

fn names(proposals: &[(String, String)]) -> Vec<&str> {
    proposals.iter().map(|(name, _)| name.as_str()).collect()
}

/// The flow with a further step whose text is this.
fn with(template: &str) -> String {
    format!("{LEAD}  - id: last\n    set:\n      x: \"{template}\"\n")
}

#[test]
fn inside_of_a_template_what_the_step_can_name_is_proposed() {
    let app = App::idle(&[("connections.yaml", CONNECTIONS), ("flows/lead.yaml", LEAD)]);
    let mut editor = editor(&app);
    let lead = uri(&app, "flows/lead.yaml");
    let mut ask = |text: &str| editor.proposals(&lead, text);

    let found = ask(&with("{{‸}}"));
    for name in ["trigger", "steps", "vars", "run", "flow", "env", "concat", "formatDateTime"] {
        assert!(names(&found).contains(&name), "{name}: {:?}", names(&found));
    }
    assert!(!names(&found).contains(&"item"), "there is no loop around it");
    let concat = &found.iter().find(|(name, _)| name == "concat").unwrap().1;
    assert!(concat.contains("{{concat "), "{concat}");

    let found = ask(&with("{{trigger.body.‸}}"));
    assert_eq!(names(&found), ["ActionCode", "Email", "Items", "Person"]);
    assert!(found[1].1.contains("Where the person reads mail"), "{found:?}");
    assert_eq!(
        names(&ask(&with("{{toUpper (trim trigger.body.Per‸son)}}"))),
        ["ActionCode", "Email", "Items", "Person"]
    );
    assert_eq!(names(&ask(&with("{{#each trigger.body.Items as |one|}}{{one.‸}}{{/each}}"))), ["Sku"]);
    assert_eq!(names(&ask(&with("{{filter trigger.body.Items (equals item.‸)}}"))), ["Sku"]);
    assert_eq!(names(&ask(&with("{{vars.‸}}"))), ["total"]);
    assert_eq!(
        names(&ask(&with("{{steps.‸}}"))),
        ["create", "each", "seen"],
        "not itself, and not the inside of a loop"
    );
    assert_eq!(names(&ask(&with("{{steps.seen.‸}}"))), ["error", "output", "status"]);
    let first = LEAD.replace("{{trigger.body.Email}}", "{{steps.‸}}");
    assert_eq!(names(&ask(&first)), Vec::<&str>::new(), "before the first step nothing has run");
    let inside = LEAD.replace("delay: 1s", "set: {y: \"{{item.‸}}\"}");
    assert_eq!(names(&ask(&inside)), ["Sku"]);
    let inside = LEAD.replace("delay: 1s", "set: {y: \"{{loops.each.‸}}\"}");
    assert_eq!(names(&ask(&inside)), ["index", "item"]);
    assert_eq!(names(&ask(&with("{{#‸}}"))), ["if", "unless", "each", "with"]);
    assert_eq!(names(&ask(&with("{{concat \"trigger.‸\"}}"))), Vec::<&str>::new(), "a text is a text");
}

#[test]
fn what_is_chosen_takes_the_place_of_what_is_typed() {
    let app = App::idle(&[("connections.yaml", CONNECTIONS), ("flows/lead.yaml", LEAD)]);
    let mut editor = editor(&app);
    let lead = uri(&app, "flows/lead.yaml");
    let mut edit = |text: &str, label: &str| {
        let at = editor.open_at(&lead, text);
        let items = editor.items(&at);
        let item = items.iter().find(|item| item["label"] == label).unwrap_or_else(|| panic!("{label}: {items:?}"));
        let range = &item["textEdit"]["range"];
        let (line, from, to) = (&range["start"]["line"], &range["start"]["character"], &range["end"]["character"]);
        let text = text.replace('‸', "");
        let units: Vec<u16> = text.lines().nth(line.as_u64().unwrap() as usize).unwrap().encode_utf16().collect();
        let part = |from: usize, to: usize| String::from_utf16(&units[from..to]).unwrap();
        let (from, to) = (from.as_u64().unwrap() as usize, to.as_u64().unwrap() as usize);
        let new = item["textEdit"]["newText"].as_str().unwrap();
        format!("{}{new}{}", part(0, from), part(to, units.len())).trim().to_owned()
    };
    assert_eq!(edit(&with("😀{{trigger.body.Em‸a}}"), "Email"), "x: \"😀{{trigger.body.Email}}\"");
    assert_eq!(edit(&with("{{trigger.body.Person.‸}}"), "First Name"), "x: \"{{trigger.body.Person.[First Name]}}\"");
    assert_eq!(
        edit(&with("{{trigger.body.Person.[Fi‸}}"), "First Name"),
        "x: \"{{trigger.body.Person.[First Name]}}\""
    );
    assert_eq!(edit(&with("{{conc‸}}"), "concat"), "x: \"{{concat ${1:parts}}}\"");
    assert_eq!(edit(&with("{{concat ‸}}"), "toUpper"), "x: \"{{concat (toUpper ${1:text})}}\"");
    assert_eq!(edit(&format!("{LEAD}  - id: last\n    act‸\n"), "action"), "action:");
    assert_eq!(edit(&format!("{LEAD}  - id: last\n    act‸: x\n"), "action"), "action: x");
    assert_eq!(
        edit(&format!("{LEAD}  - id: last\n    action: slack.po‸st\n"), "slack.post_message"),
        "action: slack.post_message"
    );
}

#[test]
fn completion_goes_on_in_a_file_that_cannot_be_read() {
    let app = App::idle(&[("connections.yaml", CONNECTIONS), ("flows/lead.yaml", LEAD)]);
    let mut editor = editor(&app);
    let lead = uri(&app, "flows/lead.yaml");
    let all = ["ActionCode", "Email", "Items", "Person"];
    let mut ask =
        |text: &str| names(&editor.proposals(&lead, text)).iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for line in [
        "x: \"{{trigger.body.‸",
        "x: {{trigger.body.‸",
        "x: '{{trigger.body.‸",
        "x: {{trigger.body.‸}}",
        "x: [1, \"{{trigger.body.‸",
    ] {
        assert_eq!(
            ask(&format!("{LEAD}  - id: last\n    set:\n      {line}\n  - id: further\n    delay: 1s\n")),
            all,
            "{line}"
        );
    }
    // A break further up: what was there before it helps.
    let broken = with("{{trigger.body.}}").replace("[INS, PLT]", "[INS, PLT");
    editor.open(&lead, &with("{{trigger.body.}}"));
    editor.change(&lead, &json!([{"text": broken}]));
    let line = broken.lines().count() - 1;
    let at = json!({"textDocument": {"uri": lead}, "position": {"line": line, "character": 25}});
    let found: Vec<String> = editor.items(&at).iter().map(|item| item["label"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, all);
}

#[test]
fn outside_of_templates_keys_actions_connections_and_steps_are_proposed() {
    let shop = "connector: shop\nversion: 1\ndescription: A shop\nbase_url: https://shop.example\nactions:\n  upgrade:\n    description: Gives a customer a tier\n    \
                input:\n      type: object\n      additionalProperties: false\n      required: [tier]\n      properties:\n        tier: {enum: [gold, silver], description: How dear the customer is}\n        \
                note: {type: string}\n    request: {post: /tiers}\n";
    let files = [("connections.yaml", CONNECTIONS), ("flows/lead.yaml", LEAD), ("connectors/shop.yaml", shop)];
    let app = App::idle(&files);
    let mut editor = editor(&app);
    let lead = uri(&app, "flows/lead.yaml");
    let mut ask = |steps: &str| editor.proposals(&lead, &format!("{LEAD}{steps}"));

    let found = ask("  - id: last\n    ‸\n");
    for key in ["action", "set", "when", "foreach", "run_after"] {
        assert!(names(&found).contains(&key), "{key}: {:?}", names(&found));
    }
    assert!(!names(&found).contains(&"id") && !names(&found).contains(&"retry"), "{:?}", names(&found));
    let found = ask("  - id: last\n    action: shop.upgrade\n    ‸\n");
    assert!(names(&found).contains(&"retry") && !names(&found).contains(&"foreach"), "{:?}", names(&found));
    let found = ask("  - id: last\n    action: ‸\n");
    let upgrade = found.iter().find(|(name, _)| name == "shop.upgrade").unwrap();
    assert!(upgrade.1.contains("Gives a customer a tier") && names(&found).contains(&"http.request"), "{upgrade:?}");
    let found = ask("  - id: last\n    action: slack.post_message\n    connection: ‸\n");
    assert_eq!(names(&found), ["sales"]);
    let found = ask("  - id: last\n    action: shop.upgrade\n    with:\n      ‸\n");
    assert_eq!(names(&found), ["tier", "note"]);
    assert!(found[0].1.contains("How dear the customer is"), "{found:?}");
    assert_eq!(names(&ask("  - {id: last, action: shop.upgrade, with: {tier: ‸\n")), ["gold", "silver"]);
    let found = ask("  - id: last\n    run_after:\n      ‸\n");
    assert_eq!(names(&found), ["create", "seen", "each"]);
    assert!(names(&ask("  - id: last\n    run_after:\n      each: [‸]\n")).contains(&"timed_out"));
    assert_eq!(names(&ask("  - id: last\n    call: ‸\n")), ["lead"]);

    let connections = uri(&app, "connections.yaml");
    let found = editor.proposals(&connections, "a:\n  connector: ‸\n");
    assert!(names(&found).contains(&"shop") && names(&found).contains(&"slack"), "{found:?}");
    editor.open(&lead, LEAD);
    let tests = uri(&app, "tests/lead.test.yaml");
    let found = editor.proposals(&tests, "flow: lead\ncases:\n  - name: a\n    mocks:\n      ‸\n");
    assert_eq!(names(&found), ["create"], "only calls are mocked");
}
