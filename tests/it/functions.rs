//! What each function of the template language gives: the cases of `tests/functions/*.yaml`, and the same through the CLI.
//!
//! A case is `template`, what it sees (`with`, or `with_json` as JSON text) and what follows: `gives` (or `json`, JSON text, where
//! every digit counts), or `fails` with a code, at load or at evaluation, and `says` with words that its message must hold.
//! `now` is the run's present (RFC 3339).

use std::path::{Path, PathBuf};

use millstream::mapping::{JsonScope, Template, parse_json};
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
    let entries = std::fs::read_dir(folder).expect("the folder of cases is there").map(|entry| entry.unwrap().path());
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
