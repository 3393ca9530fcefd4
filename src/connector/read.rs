//! A connector's YAML becomes a checked [`Connector`]: unknown keys are errors, and all problems come at once.

mod about;
mod actions;
mod auth;
mod body;
mod pages;
mod parts;
mod token;
mod values;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::auth::Address;
use super::declared::{Call, Declared, Keyed, Limits, Output};
use super::select::Selection;
use super::{Action, Connector, Kind, Need, OnDoubt, Problem, UNKNOWN_KEY};
use crate::mapping::{Finding, Key, Mapping, Named, Names, ParseError, Template};
use crate::schema::{Schema, Shape, Types};

/// Native connectors and the actions that are written in Rust.
const NATIVE: [(&str, &[&str]); 5] = [
    ("data", &["parse_csv", "make_csv", "parse_xml", "make_xml", "parse_json_lines", "make_json_lines"]),
    ("file", &["read", "write", "append", "list", "delete", "move"]),
    ("http", &["request"]),
    ("smtp", &["send"]),
    ("sql", &["insert", "upsert", "query", "execute"]),
];

const METHODS: [(&str, &str); 5] =
    [("get", "GET"), ("post", "POST"), ("put", "PUT"), ("patch", "PATCH"), ("delete", "DELETE")];

pub(super) use auth::types as auth_types;

/// Reads one file.
pub(super) fn connector(file: &str, text: &str) -> Result<Connector, Vec<Problem>> {
    let mut reader =
        Reader { file, problems: Vec::new(), settings: Shape::any(), secrets: BTreeMap::new(), token: false };
    // By way of YAML's own values, which refuse a key given twice.
    let value = match serde_yaml::from_str::<serde_yaml::Value>(text) {
        Ok(yaml) => serde_json::to_value(yaml).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match value {
        Ok(value) => {
            let connector = reader.connector(&value, text);
            match connector {
                Some(connector) if reader.problems.is_empty() => Ok(connector),
                _ => Err(reader.problems),
            }
        }
        Err(why) => {
            reader.wrong("E-CON-001", "", format!("the file is not YAML: {why}"), None);
            Err(reader.problems)
        }
    }
}

struct Reader<'f> {
    file: &'f str,
    problems: Vec<Problem>,
    settings: Shape,
    /// Credentials that `auth` names; required unless `credentials` says otherwise.
    secrets: BTreeMap<String, bool>,
    /// Whether templates may name what a token's answer said.
    token: bool,
}

impl Reader<'_> {
    fn connector(&mut self, value: &Value, text: &str) -> Option<Connector> {
        const KEYS: &[&str] = &[
            "connector",
            "version",
            "description",
            "notes",
            "proof",
            "docs",
            "native",
            "connection",
            "settings",
            "credentials",
            "base_url",
            "auth",
            "headers",
            "test",
            "limits",
            "timeout",
            "errors",
            "success",
            "error_text",
            "actions",
        ];
        let top = self.object("", value, KEYS)?;
        let name = self.name("/connector", top.get("connector"));
        match top.get("version") {
            Some(Value::Number(number)) if number.as_u64() == Some(1) => {}
            Some(_) => self.wrong("E-CON-004", "/version", "this Millstream reads version 1".into(), None),
            None => self.missing("", "version", "version: 1"),
        }
        let description = self.text("/description", top.get("description")).unwrap_or_default();
        let notes = self.text("/notes", top.get("notes")).unwrap_or_default();
        let proof = self.proof(top.get("proof"));
        let docs = self.texts("/docs", top.get("docs"));
        let native = self.flag("/native", top.get("native"), false);
        let timeout = self.duration("/timeout", top.get("timeout"));
        let default = json!({"type": "object", "additionalProperties": false});
        let settings_source = top.get("settings").unwrap_or(&default);
        let settings = self.schema("/settings", settings_source);
        if let Some(settings) = &settings {
            self.settings = settings.shape().clone();
        }

        let declared = if native { None } else { self.declared(top) };
        if native {
            for key in ["base_url", "auth", "headers", "test", "limits", "errors", "success", "error_text"] {
                if top.contains_key(key) {
                    let hint = "a native connector only describes; leave the key out".to_owned();
                    self.wrong("E-CON-003", &format!("/{key}"), "it has no effect here".into(), Some(hint));
                }
            }
        }
        let mut actions = BTreeMap::new();
        match top.get("actions") {
            Some(Value::Object(listed)) => {
                for (key, value) in listed {
                    let at = format!("/actions/{key}");
                    self.snake(&at, key);
                    if let Some(action) = self.action(&at, key, value, native) {
                        actions.insert(key.clone(), action);
                    }
                }
            }
            Some(_) => self.wrong("E-CON-004", "/actions", "it is an object of actions".into(), None),
            None => self.missing("", "actions", "actions: {…}"),
        }
        let name = name?;
        if native {
            let known = NATIVE.iter().find(|(known, _)| *known == name).map_or(&[] as &[&str], |(_, actions)| actions);
            for action in actions.keys().filter(|action| !known.contains(&action.as_str())) {
                let hint =
                    "native actions are written in Rust; declare a `request` and remove `native: true`".to_owned();
                let what = format!("Millstream has no native action `{name}.{action}`");
                self.wrong("E-CON-005", &format!("/actions/{action}"), what, Some(hint));
            }
        }
        self.choices_fit(&actions);
        let credentials = self.credentials(top.get("credentials"));
        let settings = settings?;
        let need = self.need(top.get("connection"), settings.shape(), &credentials);
        let kind = if native { Kind::Native } else { Kind::Declared(Box::new(declared?)) };
        Some(Connector {
            name,
            description,
            notes,
            proof,
            docs,
            settings,
            credentials,
            connection: need,
            actions,
            kind,
            timeout,
            defaults: defaults(settings_source),
            source: Arc::from(text),
            hash: Sha256::digest(text).into(),
        })
    }

    fn declared(&mut self, top: &Map<String, Value>) -> Option<Declared> {
        let none = Shape::any();
        self.token = auth::has_token(top.get("auth"));
        let base_url = match top.get("base_url") {
            Some(value @ Value::Object(_)) => self.secret_at("/base_url", "url", value).map(Address::Secret),
            Some(value) => self.template("/base_url", value, &none, false).map(Address::Template),
            None => {
                self.missing("", "base_url", "base_url: https://api.example.com");
                None
            }
        };
        let auth = self.auth(top.get("auth"));
        let headers = self.templates("/headers", top.get("headers"), &none);
        let errors = self.rules("/errors", top.get("errors"));
        let success = self.success("/success", top.get("success"));
        let error_text = self.selections("/error_text", top.get("error_text"));
        let limits = self.limits("/limits", top.get("limits"), &none);
        let test = top.get("test").and_then(|value| self.probe("/test", value));
        Some(Declared { base_url: base_url?, auth: auth?, headers, errors, success, error_text, limits, test })
    }

    /// The request that tries a connection out, and what of its answer is shown.
    fn probe(&mut self, at: &str, value: &Value) -> Option<Call> {
        let Value::Object(fields) = value else {
            self.wrong("E-CON-004", at, "it is an object such as {get: /me, shows: $.name}".into(), None);
            return None;
        };
        let mut fields = fields.clone();
        let shows = fields.shift_remove("shows");
        let answer = fields.shift_remove("answer");
        let mut call = self.request(at, &Value::Object(fields), &Shape::any())?;
        call.answer = self.form(at, answer.as_ref());
        if let Some(shows) = shows {
            call.output = Output::Path(self.selection(&format!("{at}/shows"), &shows)?);
        }
        Some(call)
    }

    fn need(&mut self, value: Option<&Value>, settings: &Shape, credentials: &BTreeMap<String, bool>) -> Need {
        match value.map(|value| value.as_str().unwrap_or_default()) {
            Some("required") => Need::Required,
            Some("optional") => Need::Optional,
            Some("never") => Need::Never,
            None if !settings.required.is_empty() || credentials.values().any(|required| *required) => Need::Required,
            None if settings.properties.is_empty() && credentials.is_empty() => Need::Never,
            None => Need::Optional,
            Some(_) => {
                let what = "it is `required`, `optional` or `never`".to_owned();
                self.wrong("E-CON-004", "/connection", what, None);
                Need::Required
            }
        }
    }
}

/// The defaults of a schema's own properties.
fn defaults(schema: &Value) -> Map<String, Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let with_default = properties.into_iter().flatten().filter_map(|(key, property)| {
        let default = property.get("default")?;
        Some((key.clone(), default.clone()))
    });
    with_default.collect()
}

/// What the templates of a connector may name.
struct Known<'k> {
    settings: &'k Shape,
    input: &'k Shape,
    response: bool,
    token: bool,
}

impl Names for Known<'_> {
    fn find<'n>(&'n self, path: &[Key]) -> Named<'n> {
        match path.first().map(String::as_str).unwrap_or_default() {
            "settings" => Named::Known(Cow::Borrowed(self.settings), 1),
            "input" => Named::Known(Cow::Borrowed(self.input), 1),
            "call" => {
                let mut shape = Shape::of(Types::OBJECT);
                shape.closed = true;
                shape.properties.insert("uuid".into(), Shape::of(Types::STRING));
                shape.required.push("uuid".into());
                Named::of(shape, 1)
            }
            "response" if self.response => Named::of(Shape::of(Types::OBJECT), 1),
            "token" if self.token => Named::of(Shape::of(Types::OBJECT), 1),
            other => Named::Wrong {
                what: format!("`{other}` is not known in a connector"),
                hint: Some(match self.token {
                    true => "there are `settings`, `input`, `call.uuid`, `token` and, in an output, `response`".into(),
                    false => "there are `settings`, `input`, `call.uuid` and, in an output, `response`".into(),
                }),
            },
        }
    }
}
