//! What each function of the template language gives: the cases of `tests/functions/*.yaml`, and the same through the CLI.
//!
//! A case is `template`, what it sees (`with`, or `with_json` as JSON text) and what follows: `gives` (or `json`, JSON text, where
//! every digit counts), or `fails` with a code, at load or at evaluation, and `says` with words that its message must hold.
//! `now` is the run's present (RFC 3339).

use std::path::{Path, PathBuf};

use millstream::mapping::functions::all;
use millstream::mapping::{JsonScope, Mapping, Named, Names, Template, parse_json};
use millstream::schema::{Shape, Types};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    template: String,
    with: Option<Value>,
    with_json: Option<String>,
    now: Option<jiff::Timestamp>,
    /// In an `Option` of its own: `gives: null` is a result too.
    #[serde(default, deserialize_with = "given")]
    gives: Option<Value>,
    json: Option<String>,
    fails: Option<String>,
    says: Option<String>,
}

fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

impl Case {
    fn scope(&self) -> Value {
        match (&self.with, &self.with_json) {
            (None, None) => json!({}),
            (Some(value), None) => value.clone(),
            (None, Some(text)) => parse_json(text.as_bytes()).expect("`with_json` is JSON"),
            (Some(_), Some(_)) => panic!("{}: `with` and `with_json` exclude each other", self.template),
        }
    }

    fn expected(&self) -> String {
        match (&self.gives, &self.json, &self.fails) {
            (Some(value), None, None) => value.to_string(),
            (None, Some(text), None) => parse_json(text.as_bytes()).expect("`json` is JSON").to_string(),
            (None, None, Some(code)) => format!("!{code}"),
            _ => panic!("{}: a case has one of `gives`, `json`, `fails`", self.template),
        }
    }

    /// The value as JSON text, or `!code`; and what an error says.
    fn outcome(&self) -> (String, String) {
        let mut scope = JsonScope::new(self.scope());
        scope.now = self.now.unwrap_or(scope.now);
        match Template::parse(&self.template).map(|template| template.render(&scope)) {
            Ok(Ok(value)) => (value.unwrap_or_default().to_string(), String::new()),
            Ok(Err(error)) => (format!("!{}", error.code), error.what),
            Err(error) => (format!("!{}", error.code), format!("{}; {}", error.what, error.hint.unwrap_or_default())),
        }
    }

    /// What is wrong with it, if something is.
    fn fault(&self, file: &str) -> Option<String> {
        let (expected, (got, what)) = (self.expected(), self.outcome());
        let said = self.says.as_ref().is_none_or(|words| what.contains(words));
        let wanted = self.says.as_deref().unwrap_or_default();
        let fault = || format!("{file}: {}\n  expected {expected} {wanted}\n  got      {got} {what}", self.template);
        (expected != got || !said).then(fault)
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/functions");
    let entries = std::fs::read_dir(folder)
        .expect("the folder of cases is there")
        .map(|entry| entry.expect("it can be read").path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

fn cases(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).expect("a file of cases can be read");
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn functions_give_what_the_cases_say() {
    let mut wrong = Vec::new();
    for path in files() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let cases = cases(&path);
        assert!(!cases.is_empty(), "{name} has no cases");
        wrong.extend(cases.iter().filter_map(|case| case.fault(&name)));
    }

    assert!(wrong.is_empty(), "{} are wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// The first case of each file that gives a value at any time goes through the real command too.
#[test]
fn the_command_line_gives_what_the_cases_say() {
    let app = App::idle(&[]);
    for path in files() {
        let Some(case) = cases(&path).into_iter().find(|case| case.fails.is_none() && case.now.is_none()) else {
            continue;
        };
        app.write("scope.json", &case.scope().to_string());
        let scope = app.path("scope.json");
        let output = app.cli(&["eval", &case.template, "--with", scope.to_str().unwrap(), "--json"]);
        let said = String::from_utf8_lossy(&output.stderr);
        let value = parse_json(&output.stdout).unwrap_or_else(|_| panic!("{}: {said}", case.template));
        assert_eq!(value.to_string(), case.expected(), "{}", case.template);
    }
}

fn rendered(template: &str, scope: &JsonScope) -> Result<Value, String> {
    let template = Template::parse(template).map_err(|error| format!("{}: {}", error.code, error.what))?;
    template.render(scope).map(Option::unwrap_or_default).map_err(|error| error.code.to_owned())
}

#[test]
fn what_is_random_is_the_same_again_and_another_elsewhere() {
    let leaves = json!({
        "a": "{{guid}}", "b": "{{guid}}", "c": "{{guid}} {{guid}}",
        "d": "{{#each vars.list}}{{rand 0 1000000000}} {{/each}}",
    });
    let mapping = Mapping::parse(&leaves).unwrap();
    let mut scope = JsonScope::new(json!({"vars": {"list": [1, 2]}}));
    let first = mapping.render(&scope).unwrap();
    let again = mapping.render(&scope).unwrap();
    scope.seed = 1;
    let other = mapping.render(&scope).unwrap();

    assert_eq!(first, again);
    let ids = |value: &Value| -> Vec<String> {
        let texts = value.as_object().unwrap().values().map(|text| text.as_str().unwrap().to_owned());
        texts.collect::<Vec<_>>().join(" ").split_whitespace().map(str::to_owned).collect()
    };
    let mut all = [ids(&first), ids(&other)].concat();
    assert_eq!(all.len(), 12);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 12, "each draw is another: {all:?}");
}

#[test]
fn the_command_line_draws_anew_each_time() {
    let app = App::idle(&[]);
    let drawn = || app.cli(&["eval", "{{guid}}", "--json"]).stdout;
    assert_ne!(drawn(), drawn());
}

/// Results that would not fit, and work that would not end.
#[test]
fn large_data_ends_soon_in_a_result_or_an_error() {
    let text = "a".repeat(1 << 20);
    let numbers: Vec<Value> = (0..100_000).map(Value::from).collect();
    let pieces: Vec<Value> = (0..20_000).map(|i| json!({"n": i % 1000, "s": "ab".repeat(i % 7)})).collect();
    let scope =
        JsonScope::new(json!({"vars": {"text": text, "half": &text[..1 << 19], "numbers": numbers, "pieces": pieces}}));
    let too_large = [
        "{{replace vars.text \"a\" vars.half}}",
        "{{map vars.numbers vars.text}}",
        "{{map vars.numbers (length vars.text)}}",
        "{{#each vars.numbers}}{{indexOf vars.text \"b\"}}{{/each}}",
        "{{join (map (range 0 20) vars.text) vars.text}}",
        "{{createArray vars.text vars.text vars.text vars.text vars.text vars.text vars.text vars.text vars.text}}",
        "{{map vars.numbers (sum vars.numbers)}}",
        "{{union (array (map (range 0 7) vars.text)) (array (map (range 0 7) vars.half))}}",
    ];
    for template in too_large {
        assert_eq!(rendered(template, &scope), Err("mapping.too_large".to_owned()), "{template}");
    }
    let fine = [
        ("{{nthIndexOf vars.text vars.half 500000}}", "499999"),
        ("{{nthIndexOf vars.text vars.half -500000}}", "24289"),
        ("{{lastIndexOf vars.text vars.half}}", "524288"),
        ("{{length (union vars.numbers vars.numbers vars.pieces)}}", "107000"),
        ("{{length (intersection vars.pieces vars.pieces)}}", "7000"),
        ("{{length (sort vars.pieces \"s\")}}", "20000"),
        ("{{length (split vars.text \"a\")}}", "1048577"),
        ("{{length (chunk vars.half 1)}}", "524288"),
        ("{{sum vars.numbers}}", "4999950000"),
        ("{{length (csv vars.pieces)}}", "237799"),
        ("{{length (slugify vars.text)}}", "1048576"),
        ("{{length (sha256 vars.text)}}", "64"),
    ];
    let begun = std::time::Instant::now();
    for (template, expected) in fine {
        let value = rendered(template, &scope).map(|value| value.to_string());
        assert_eq!(value.as_deref(), Ok(expected), "{template}");
    }
    // Quadratic work on a megabyte would take hours; a slow machine with a debug build takes seconds.
    assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn the_checker_knows_what_functions_give() {
    let find = |template: &str| {
        struct Lead;
        impl Names for Lead {
            fn find(&self, path: &[String]) -> Named<'_> {
                let schema = json!({"type": "object", "additionalProperties": false, "required": ["items", "name"], "properties": {
                    "name": {"type": "string"},
                    "items": {"type": "array", "items": {"type": "object", "additionalProperties": false, "required": ["sku", "qty"],
                        "properties": {"sku": {"type": "string"}, "qty": {"type": "number"}}}},
                }});
                let known = if path.first().is_some_and(|key| key == "vars") { 1 } else { 0 };
                Named::of(Shape::of_schema(&schema), known)
            }
        }
        let (shape, findings) = Template::parse(template).unwrap().check(&Lead);
        let codes: Vec<&str> = findings.iter().map(|finding| finding.code).collect();
        (shape.types, codes.join(" "))
    };
    let cases = [
        ("{{map vars.items (toUpper item.sku)}}", ""),
        ("{{map vars.items (toUpper item.qty)}}", "E-MAP-012"),
        ("{{map vars.items item.skew}}", "E-MAP-011"),
        ("{{sum vars.items item.sku}}", "E-MAP-012"),
        ("{{toUpper (first (map vars.items item.qty))}}", "E-MAP-012"),
        ("{{add (take vars.name 3) 1}}", "E-MAP-012"),
        ("{{join (filter vars.items (greater item.qty 1)) \",\"}}", ""),
        ("{{#each (sort (union vars.items vars.items) \"qty\")}}{{this.skew}}{{/each}}", "E-MAP-011"),
        ("{{#each (split vars.name \",\")}}{{add this 1}}{{/each}}", "E-MAP-012"),
        ("{{#each (chunk vars.items 2)}}{{toUpper this}}{{/each}}", "E-MAP-012"),
        ("{{toUpper (array vars.name)}}", "E-MAP-012"),
    ];
    for (template, expected) in cases {
        assert_eq!(find(template).1, expected, "{template}");
    }
    assert_eq!(find("{{take vars.name 3}}").0, Types::STRING);
    assert_eq!(find("{{union vars.items vars.items}}").0, Types::ARRAY);
}

/// A value of a random type; texts that some function has a use for among them.
fn values() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        r#"[\s\S]{0,12}"#.prop_map(Value::from),
        "(a|b|😀|,|;|\r\n|\"|%C3|_x0041_|&lt;|-|1|2024-02-30T25:00:00Z|data:,x|aGk=|https://a/b\\?c|sha256|<a b='c'>d</a>){0,5}"
            .prop_map(Value::from),
    ];
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        (-3i64..200_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "-?[1-9][0-9]{0,40}(\\.[0-9]{1,40})?(e-?[0-9]{1,12})?"
            .prop_map(|text| parse_json(text.as_bytes()).expect("it is a number")),
    ];
    let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), number, text];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(r"(a|A|b|\$content|\$content-type|x y|😀)", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every function, with one to five values of any type: a value of the promised type, or an error with a code.
    #[test]
    fn no_value_brings_a_function_down(values in proptest::collection::vec(values(), 5)) {
        let scope = JsonScope::new(json!({"vars": {"a": values[0], "b": values[1], "c": values[2], "d": values[3], "e": values[4]}}));
        for function in all() {
            for count in 0..=5 {
                let mut args: Vec<&str> = ["vars.a", "vars.b", "vars.c", "vars.d", "vars.e"][..count].to_vec();
                for (i, param) in function.params.iter().enumerate().take(count) {
                    if param.query {
                        args[i] = "\"$..a\"";
                    } else if param.each {
                        args[i] = "item";
                    }
                }
                let Ok(template) = Template::parse(&format!("{{{{{} {}}}}}", function.name, args.join(" "))) else { continue };
                match template.render(&scope) {
                    Ok(value) => {
                        let value = value.unwrap_or_default();
                        prop_assert!(Types::of(&value).within(function.result), "{} gave {value}", function.name);
                        prop_assert!(value.to_string().len() < 64 << 20, "{}", function.name);
                    }
                    Err(error) => prop_assert!(error.code.starts_with("mapping."), "{error:?}"),
                }
            }
        }
    }
}
