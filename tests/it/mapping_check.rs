//! What the checker says about templates before anything ran.

use std::collections::BTreeMap;

use millstream::mapping::{Condition, Finding, Key, Mapping, Named, Names, Template};
use millstream::schema::{Shape, Types};
use serde_json::json;

/// `trigger.body` is a described lead, `closed` the same and complete, `vars` unknown, all else wrong.
struct Described;

impl Names for Described {
    fn find(&self, path: &[Key]) -> Named<'_> {
        match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["trigger", "body", ..] => Named::of(lead(false), 2),
            ["closed", ..] => Named::of(lead(true), 1),
            ["vars", ..] => Named::of(Shape::any(), 1),
            ["steps", ..] => Named::Doubtful { what: "`steps.x` may be skipped".into(), hint: None },
            _ => Named::Wrong { what: format!("there is no `{}`", path[0]), hint: None },
        }
    }
}

fn object(closed: bool, properties: &[(&str, Shape)]) -> Shape {
    let properties = properties.iter().map(|(key, shape)| (key.to_string(), shape.clone()));
    Shape { closed, properties: properties.collect::<BTreeMap<_, _>>(), ..Shape::of(Types::OBJECT) }
}

fn lead(closed: bool) -> Shape {
    let code = Shape { values: vec![json!("INS"), json!("DNC")], ..Shape::of(Types::STRING) };
    let item = object(closed, &[("sku", Shape::of(Types::STRING)), ("qty", Shape::of(Types::NUMBER))]);
    let mut shape = object(
        closed,
        &[
            ("Email", Shape::of(Types::STRING)),
            ("Company", Shape::of(Types::STRING)),
            ("ActionCode", code),
            ("Items", Shape { items: Some(Box::new(item)), ..Shape::of(Types::ARRAY) }),
        ],
    );
    shape.required = vec!["Email".to_owned()];
    shape
}

fn show(findings: &[Finding]) -> String {
    let line = |f: &Finding| {
        let hint = f.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{} {} {}{hint}", f.code, f.offset, f.what)
    };
    findings.iter().map(line).collect::<Vec<_>>().join("; ")
}

#[test]
fn the_checker_speaks_of_what_it_knows_and_is_silent_about_the_rest() {
    let cases = [
        ("{{trigger.body.Email}}", ""),
        ("{{trigger.body.email}}", ""),
        ("{{vars.any.thing.0}}", ""),
        ("{{toUpper vars.any}}", ""),
        (
            "{{trigger.body.Emial}}",
            "W-MAP-011 2 `trigger.body.Emial`: `trigger.body` has no `Emial` that is described; it may be null (did you mean `Email`?)",
        ),
        ("a {{closed.Emial}}", "E-MAP-011 4 `closed.Emial`: `closed` has no `Emial` (did you mean `Email`?)"),
        ("{{closed.Email.x}}", "E-MAP-011 2 `closed.Email.x`: `Email` is text and has no `x`"),
        (
            "{{closed.Items.sku}}",
            "E-MAP-011 2 `closed.Items.sku`: `Items` is a list and has no `sku` (one item is read by its number: `0.sku`)",
        ),
        ("{{closed.Items.0.SKU}}", ""),
        ("{{closed.Items.0.price}}", "E-MAP-011 2 `closed.Items.0.price`: `0` has no `price` (it has qty, sku)"),
        ("{{nowhere.x}}", "E-MAP-011 2 there is no `nowhere`"),
        ("{{steps.x.output}}", "W-MAP-011 2 `steps.x` may be skipped"),
        ("{{toUpper trigger.body.Email}}", ""),
        (
            "{{toUpper trigger.body.Company}}",
            "W-MAP-013 10 `trigger.body.Company` may be missing or null, and `toUpper` refuses null (give it another value there: `(default trigger.body.Company \"…\")`)",
        ),
        ("{{toUpper (default trigger.body.Company \"\")}}", ""),
        ("{{toUpper (required trigger.body.Company)}}", ""),
        (
            "{{toUpper trigger.body.Items}}",
            "E-MAP-012 10 `toUpper` needs text for `text`, but `trigger.body.Items` is list or null (it is written toUpper(text: text) → text)",
        ),
        (
            "{{toUpper null}}",
            "E-MAP-012 2 `toUpper` needs text for `text`, but the literal is null (it is written toUpper(text: text) → text)",
        ),
        (
            "{{add (concat 1 2) 3}}",
            "E-MAP-012 7 `add` needs number for `a`, but the result of `concat` is text (it is written add(a: number, b: number) → number)",
        ),
        (
            "{{equals trigger.body.ActionCode \"INX\"}}",
            "W-MAP-015 2 `trigger.body.ActionCode` never equals the literal (one side can be \"INS\", \"DNC\", null, the other \"INX\")",
        ),
        ("{{equals trigger.body.ActionCode \"INS\"}}", ""),
        ("{{equals trigger.body.ActionCode null}}", ""),
        (
            "{{equals trigger.body.Email 1}}",
            "W-MAP-015 2 `trigger.body.Email` never equals the literal (one side is text, the other number)",
        ),
        (
            "{{#each closed.Items}}{{sku}}{{prise}}{{closed}}{{/each}}",
            "E-MAP-011 31 `prise`: the value has no `prise` (it has qty, sku); E-MAP-011 40 `closed`: the value has no `closed` (it has qty, sku)",
        ),
        (
            "{{#each closed.Items}}{{item}}{{/each}}",
            "E-MAP-011 24 there is no `item` (a key of the block's own value is written `this.item`)",
        ),
        (
            "{{#each closed.Email}}{{/each}}",
            "E-MAP-012 0 #each goes over a list or an object, but `closed.Email` is text",
        ),
        (
            "{{#with closed as |c|}}{{c.Nope}}{{/with}}",
            "E-MAP-011 25 `c.Nope`: `c` has no `Nope` (it has ActionCode, Company, Email, Items)",
        ),
    ];
    let wrong: Vec<String> = cases
        .into_iter()
        .map(|(text, expected)| (text, expected, show(&Template::parse(text).unwrap().check(&Described).1)))
        .filter(|(_, expected, found)| expected != found)
        .map(|(text, expected, found)| format!("{text}\n  expected {expected}\n  found    {found}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn certain_findings_are_those_with_an_error_code() {
    for text in ["{{closed.nope}}", "{{trigger.body.nope}}", "{{toUpper trigger.body.Company}}", "{{toUpper 1}}"] {
        for finding in Template::parse(text).unwrap().check(&Described).1 {
            assert_eq!(finding.certain, finding.code.starts_with("E-"), "{text}");
        }
    }
}

#[test]
fn a_condition_that_can_never_be_a_boolean_is_certain() {
    let check = |text: &str| show(&Condition::parse(text).unwrap().check(&Described));
    assert!(check("{{trigger.body.Email}}").starts_with("E-MAP-014"));
    assert!(check("{{concat 1}}").starts_with("E-MAP-014"));
    assert!(check("{{trigger.body.Company}}").starts_with("W-MAP-012"), "null is false, so it may pass");
    assert_eq!(check("{{vars.x}}"), "");
    assert_eq!(check("{{equals vars.x 1}}"), "");
}

#[test]
fn shapes_of_results_are_inferred() {
    let types = |text: &str| Template::parse(text).unwrap().check(&Described).0.types;
    assert_eq!(types("plain"), Types::STRING);
    assert_eq!(types("x {{vars.a}}"), Types::STRING);
    assert_eq!(types("{{trigger.body.Email}}"), Types::STRING);
    assert_eq!(types("{{trigger.body.Company}}"), Types::STRING.or(Types::NULL));
    assert_eq!(types("{{default trigger.body.Company 1}}"), Types::STRING.or(Types::NUMBER));
    assert_eq!(types("{{if vars.a 1 \"x\"}}"), Types::STRING.or(Types::NUMBER));
    assert_eq!(types("{{coalesce trigger.body.Company null}}"), Types::STRING.or(Types::NULL));
    assert_eq!(types("{{first closed.Items}}"), Types::OBJECT.or(Types::NULL));

    let mapping = json!({"a": "{{optional trigger.body.Company}}", "b": {"c": 1}, "d": "{{closed.nope}}"});
    let (shape, findings) = Mapping::parse(&mapping).unwrap().check(&Described);
    assert_eq!(shape.required, ["b", "d"]);
    assert!(shape.closed);
    assert_eq!(shape.properties["a"].types, Types::STRING);
    assert_eq!(findings.iter().map(|(at, _)| at.as_str()).collect::<Vec<_>>(), ["/d"]);
}
