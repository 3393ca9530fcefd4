//! Reads `connections.yaml`: each connection checked against its connector, all problems at once.

mod breaker;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::connector::{Connection, Connector, Connectors, Limits, Rate, SecretSource};
use crate::flow::{self, At, Code, Problem, Source, child, suggest};

/// The connections by name. One with problems is left out.
pub type Connections = BTreeMap<String, Arc<Connection>>;

const KEYS: [&str; 7] = ["connector", "settings", "credentials", "base_url", "token_url", "limits", "breaker"];

/// Reads the text of `connections.yaml`; `dir` is the project folder.
pub fn read(text: &str, dir: &Path, connectors: &Connectors) -> (Connections, Vec<Problem>) {
    let (source, value, problems) = Source::read(Path::new("connections.yaml"), text);
    let mut reader = Reader { source, connectors, dir, problems, raw: Vec::new() };
    let mut connections = Connections::new();
    match value {
        Some(Value::Object(map)) => {
            for (name, value) in &map {
                if let Some(connection) = reader.connection(name, value) {
                    connections.insert(name.clone(), Arc::new(connection));
                }
            }
        }
        None | Some(Value::Null) => {}
        Some(_) => {
            let what = "this must be a map of connections: `crm: {connector: dynamics365, …}`".to_owned();
            reader.say(flow::WRONG_TYPE, "", At::Value, what, None);
        }
    }
    reader.mask();
    reader.problems.sort_by_key(|problem| (problem.line, problem.column));
    (connections, reader.problems)
}

struct Reader<'r> {
    source: Source,
    connectors: &'r Connectors,
    dir: &'r Path,
    problems: Vec<Problem>,
    /// Credentials whose values stand in the file, where they must not.
    raw: Vec<String>,
}

impl Reader<'_> {
    fn connection(&mut self, name: &str, value: &Value) -> Option<Connection> {
        let before = self.problems.len();
        let at = child("", name);
        if !flow::is_name(name) {
            let what = format!("`{name}` is not a name: lower-case letters, digits and `_`, a letter first");
            let hint = flow::snake_case(name).map(|name| format!("for example `{name}`"));
            self.say(flow::BAD_NAME, &at, At::Key, what, hint);
        }
        let Some(map) = value.as_object() else {
            self.say(flow::WRONG_TYPE, &at, At::Value, "a connection is a map with `connector`".into(), None);
            return None;
        };
        self.keys(map, &at, &KEYS);
        let Some(kind) = self.text(map, &at, "connector") else {
            let misspelt = map.keys().any(|key| flow::nearest(key, KEYS) == Some("connector"));
            if !misspelt {
                let hint = "which system it connects to: `connector: http`".to_owned();
                self.say(flow::MISSING_KEY, &at, At::Key, "`connector` is missing".into(), Some(hint));
            }
            return None;
        };
        let Some(connector) = self.connectors.get(&kind).cloned() else {
            let hint = suggest(&kind, self.connectors.names());
            let what = format!("there is no connector `{kind}`");
            self.say(flow::UNKNOWN_ACTION, &child(&at, "connector"), At::Value, what, hint);
            return None;
        };
        let settings = map.get("settings").cloned().unwrap_or_else(|| Value::Object(Map::new()));
        self.settings(&settings, &at, &connector);
        let credentials = self.credentials(map, &at, &connector);
        let connection = Connection {
            name: name.to_owned(),
            connector: kind,
            settings,
            credentials,
            base_url: self.text(map, &at, "base_url"),
            token_url: self.text(map, &at, "token_url"),
            limits: self.limits(map, &at),
            breaker: self.breaker(map, &at),
            dir: self.dir.to_owned(),
        };
        (self.problems.len() == before).then_some(connection)
    }

    /// Keys first, in words of their own; what else the connector's schema refuses is said only if they are right.
    fn settings(&mut self, settings: &Value, at: &str, connector: &Connector) {
        let here = child(at, "settings");
        let before = self.problems.len();
        let shape = connector.settings.shape();
        let empty = Map::new();
        let given = settings.as_object().unwrap_or(&empty);
        let names: Vec<&str> = shape.properties.keys().map(String::as_str).collect();
        if shape.closed {
            self.keys(given, &here, &names);
        }
        let misspelt: Vec<&str> = given.keys().filter_map(|key| flow::nearest(key, names.iter().copied())).collect();
        let wanted = shape.required.iter().filter(|name| !connector.defaults.contains_key(*name));
        for name in wanted.filter(|name| settings.is_object() && !misspelt.contains(&name.as_str())) {
            let place = if self.source.has(&here) { At::Value } else { At::Key };
            let what = format!("connector `{}` needs the setting `{name}`", connector.name);
            let pointer = if self.source.has(&here) { &here } else { at };
            self.say(flow::MISSING_KEY, pointer, place, what, Some(format!("write `settings: {{{name}: …}}`")));
        }
        if self.problems.len() == before {
            for violation in connector.settings.violations(&connector.complete(settings)) {
                let pointer = format!("{here}{}", violation.pointer);
                self.say(flow::CANNOT_FIT, &pointer, At::Value, violation.message, None);
            }
        }
    }

    fn credentials(
        &mut self,
        map: &Map<String, Value>,
        at: &str,
        connector: &Connector,
    ) -> BTreeMap<String, SecretSource> {
        let at = child(at, "credentials");
        let empty = Map::new();
        let given = match map.get("credentials") {
            None | Some(Value::Null) => &empty,
            Some(Value::Object(given)) => given,
            Some(_) => {
                let what = "credentials are a map, as in `client_secret: {secret: CRM_SECRET}`".to_owned();
                self.say(flow::WRONG_TYPE, &at, At::Value, what, None);
                return BTreeMap::new();
            }
        };
        let names: Vec<&str> = connector.credentials.keys().map(String::as_str).collect();
        self.keys(given, &at, &names);
        let mut found = BTreeMap::new();
        for (name, value) in given {
            match serde_json::from_value::<SecretSource>(value.clone()) {
                Ok(SecretSource::File(path)) => {
                    found.insert(name.clone(), SecretSource::File(self.dir.join(path)));
                }
                Ok(source) => {
                    found.insert(name.clone(), source);
                }
                Err(_) => {
                    self.raw.extend(value.as_str().map_or_else(|| scalar(value), |text| Some(text.to_owned())));
                    let what = if value.is_object() {
                        "a credential has exactly one of `secret`, `env` and `file`".to_owned()
                    } else {
                        "a credential says where its value is, never the value itself".to_owned()
                    };
                    let hint = format!("write `{name}: {{secret: NAME}}`, `{{env: NAME}}` or `{{file: PATH}}`");
                    self.say(flow::WRONG_TYPE, &child(&at, name), At::Value, what, Some(hint));
                }
            }
        }
        let required = connector.credentials.iter().filter(|(_, required)| **required);
        let misspelt: Vec<&str> = given.keys().filter_map(|key| flow::nearest(key, names.iter().copied())).collect();
        for (name, _) in required.filter(|(name, _)| !misspelt.contains(&name.as_str())) {
            let what = format!("connector `{}` needs the credential `{name}`", connector.name);
            let hint = format!("write `credentials: {{{name}: {{env: NAME}}}}`");
            self.say(flow::MISSING_KEY, &at, At::Key, what, Some(hint));
        }
        found
    }

    /// The words are those of connectors' files.
    fn limits(&mut self, map: &Map<String, Value>, at: &str) -> Limits {
        let Some(value) = map.get("limits") else { return Limits::default() };
        let at = child(at, "limits");
        let Some(map) = value.as_object() else {
            let what = "limits are a map, as in `{concurrent: 10, rate: {requests: 100, per: 1m}}`".to_owned();
            self.say(flow::WRONG_TYPE, &at, At::Value, what, None);
            return Limits::default();
        };
        self.keys(map, &at, &["concurrent", "rate"]);
        let mut limits = Limits::default();
        if let Some(value) = map.get("concurrent") {
            let count = value.as_u64().filter(|count| (1..=10_000).contains(count));
            if count.is_none() {
                let what = "`concurrent` is a whole number from 1 to 10000: calls at once".to_owned();
                self.say(flow::BAD_VALUE, &child(&at, "concurrent"), At::Value, what, None);
            }
            limits.concurrent = count.and_then(|count| usize::try_from(count).ok());
        }
        if let Some(value) = map.get("rate") {
            let at = child(&at, "rate");
            let fields = value.as_object();
            if let Some(fields) = fields {
                self.keys(fields, &at, &["requests", "per"]);
            }
            let field = |key: &str| fields.and_then(|fields| fields.get(key));
            let requests = field("requests").and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok());
            let per = field("per").and_then(Value::as_str).and_then(|text| flow::duration(text).ok());
            limits.rate = match (requests, per) {
                (Some(requests @ 1..), Some(per)) if !per.is_zero() => Some(Rate { requests, per }),
                _ => {
                    let what = "a rate is so many requests in a time".to_owned();
                    let hint = Some("write `rate: {requests: 100, per: 1m}`".to_owned());
                    self.say(flow::BAD_VALUE, &at, At::Value, what, hint);
                    None
                }
            };
        }
        limits
    }

    /// The lines that problems show go to screens and logs: what should have been a secret is blotted out of them.
    fn mask(&mut self) {
        for line in self.raw.iter().flat_map(|raw| raw.lines()).map(str::trim).filter(|line| !line.is_empty()) {
            let blot = "•".repeat(line.chars().count());
            for problem in &mut self.problems {
                problem.shown = problem.shown.replace(line, &blot);
            }
        }
    }

    fn keys(&mut self, map: &Map<String, Value>, at: &str, allowed: &[&str]) {
        for key in map.keys().filter(|key| !allowed.contains(&key.as_str())) {
            let hint = suggest(key, allowed.iter().copied());
            self.say(flow::UNKNOWN_KEY, &child(at, key), At::Key, format!("`{key}` means nothing here"), hint);
        }
    }

    fn text(&mut self, map: &Map<String, Value>, at: &str, key: &str) -> Option<String> {
        match map.get(key)? {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.say(flow::WRONG_TYPE, &child(at, key), At::Value, format!("`{key}` must be text"), None);
                None
            }
        }
    }

    fn say(&mut self, code: Code, pointer: &str, at: At, what: String, hint: Option<String>) {
        self.problems.push(self.source.problem(code, pointer, at, what, hint));
    }
}

fn scalar(value: &Value) -> Option<String> {
    (value.is_number() || value.is_boolean()).then(|| value.to_string())
}
