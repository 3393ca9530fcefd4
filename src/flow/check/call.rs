//! Checks `action` steps (connector, action, connection, whether the inputs can fit), and calls of other flows.

use serde_json::{Map, Value};

use super::*;

impl Checker<'_> {
    pub(super) fn call(&mut self, read: CallFile, at: &str, reach: &InReach<'_>) -> (Option<Kind>, Shape) {
        let with = child(at, "with");
        // What is missing from a `with` that is not there is missing from the action.
        let absent = read.with.as_object().is_some_and(Map::is_empty) && !self.source.has(&with);
        let whole = if absent { child(at, "action") } else { with.clone() };
        let (input, got) = self.mapping(&read.with, &with, reach);
        let Some((connector, action)) = self.known.connectors.action(&read.name) else {
            self.unknown_action(&read.name, &child(at, "action"));
            return (None, Shape::any());
        };
        self.connectors.insert(connector.name.clone());
        self.connection(connector, read.connection.as_deref(), at);
        let before = self.problems.len();
        self.fits(action.input.shape(), &got, &whole);
        // The schema itself knows more than types, and is asked where all is known.
        if self.problems.len() == before && input.is_some() && is_literal(&read.with) {
            for violation in action.input.violations(&read.with) {
                let pointer = format!("{with}{}", violation.pointer);
                self.say(problem::CANNOT_FIT, &pointer, At::Value, violation.message, None);
            }
        }
        if connector.name == "http"
            && let Some(scheme) = read.with.get("url").and_then(Value::as_str).and_then(other_scheme)
        {
            let what = format!("`{scheme}:` URLs are not called; only http and https are");
            self.say(problem::BAD_VALUE, &child(&with, "url"), At::Value, what, None);
        }
        self.literals(action.input.source(), &read.with, &with);
        let output = action.output.clone();
        let call = input.map(|input| {
            Kind::Action(Box::new(Call {
                connector: connector.clone(),
                action: action.name.clone(),
                connection: read.connection,
                input,
                timeout: read.timeout,
                retry: read.retry.unwrap_or_default(),
                on_doubt: read.on_doubt.unwrap_or(action.on_doubt),
            }))
        });
        (call, output)
    }

    /// Inputs that are code, as a statement of SQL is: data in them would be read as code too.
    fn literals(&mut self, schema: &Value, given: &Value, at: &str) {
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        for (name, _) in properties.filter(|(_, property)| property.get("x-literal") == Some(&Value::Bool(true))) {
            // A `with` that is one template may hold anything.
            let (found, at) =
                if given.is_object() { (given.get(name), child(at, name)) } else { (Some(given), at.into()) };
            if found.is_some_and(|value| !is_literal(value)) {
                let what = format!(
                    "`{name}` is read as code: whoever sends what the template fills in could change what it does"
                );
                let hint = match schema.pointer("/properties/params") {
                    Some(_) => "write the text itself, with a `?` for each value, and give the values in `params`",
                    None => "write the text itself",
                };
                self.say(problem::NOT_LITERAL, &at, At::Value, what, Some(hint.to_owned()));
            }
        }
    }

    /// Whether there is such a flow, and no circle of calls, is known only where all flows are: in the catalog.
    pub(super) fn child(&mut self, read: CallFile, at: &str, reach: &InReach<'_>) -> (Option<Kind>, Shape) {
        let (body, _) = self.mapping(&read.with, &child(at, "with"), reach);
        let here = child(at, "call");
        if !is_flow_id(&read.name) {
            let what = format!("`{}` cannot be the id of a flow", read.name);
            let hint = snake_case(&read.name).map(|name| format!("did you mean `{name}`?"));
            self.say(problem::BAD_NAME, &here, At::Value, what, hint);
        }
        self.calls.entry(read.name.clone()).or_insert(here);
        let retry = read.retry.unwrap_or(Retry { attempts: 1, ..Retry::default() });
        let kind = body.map(|body| Kind::Call(Box::new(Child { flow: read.name, body, timeout: read.timeout, retry })));
        (kind, names::response())
    }

    fn unknown_action(&mut self, name: &str, at: &str) {
        let connectors = self.known.connectors;
        let (first, second) = name.split_once('.').unwrap_or((name, ""));
        let (what, hint) = match connectors.get(first) {
            Some(connector) => {
                let near = nearest(second, connector.actions.keys().map(String::as_str));
                let near = near.map(|action| format!("did you mean `{first}.{action}`?"));
                let all: Vec<&str> = connector.actions.keys().map(String::as_str).collect();
                let hint = near.or_else(|| Some(format!("it has: {}", all.join(", "))));
                (format!("connector `{first}` has no action `{second}`"), hint)
            }
            None => {
                let connection = self.known.connections.and_then(|connections| connections.get(first));
                let near = nearest(first, connectors.names());
                let meant = near.and_then(|near| {
                    let actions = connectors.get(near)?.actions.keys().map(String::as_str);
                    let action = nearest(&snake_case(second)?, actions)?;
                    Some(format!("did you mean `{near}.{action}`?"))
                });
                let hint = match connection {
                    Some(kind) => {
                        Some(format!("`{first}` is a connection: `action: {kind}.{second}`, `connection: {first}`"))
                    }
                    None => meant.or_else(|| suggest(first, connectors.names())),
                };
                (format!("there is no connector `{first}`"), hint)
            }
        };
        self.say(problem::UNKNOWN_ACTION, at, At::Value, what, hint);
    }

    fn connection(&mut self, connector: &Connector, named: Option<&str>, at: &str) {
        let Some(connections) = self.known.connections else { return };
        let of_kind = || connections.iter().filter(|(_, kind)| **kind == connector.name).map(|(name, _)| name.as_str());
        let pointer = child(at, "connection");
        match named {
            None if connector.connection == Need::Required => {
                let hint = match of_kind().next() {
                    Some(name) => format!("for example `connection: {name}`"),
                    None => {
                        format!("describe one in connections.yaml: `my_name: {{connector: {}, …}}`", connector.name)
                    }
                };
                let what = format!("`{}` needs a `connection`", connector.name);
                self.say(problem::MISSING_KEY, &child(at, "action"), At::Value, what, Some(hint));
            }
            None => {}
            Some(name) if connector.connection == Need::Never => {
                let what = format!("`{}` takes no connection, but `{name}` is given", connector.name);
                self.say(problem::WRONG_CONNECTION, &pointer, At::Value, what, None);
            }
            Some(name) => match connections.get(name) {
                None => {
                    let what = format!("connections.yaml has no usable connection `{name}`");
                    let hint = suggest(name, connections.keys().map(String::as_str));
                    self.say(problem::UNKNOWN_CONNECTION, &pointer, At::Value, what, hint);
                }
                Some(kind) if *kind != connector.name => {
                    let what = format!("connection `{name}` is of connector `{kind}`, not `{}`", connector.name);
                    let hint = suggest(name, of_kind().collect::<Vec<_>>());
                    self.say(problem::WRONG_CONNECTION, &pointer, At::Value, what, hint);
                }
                Some(_) => {}
            },
        }
    }
}

/// The scheme that a URL is certain to have, if it is none that is ever called: `file` of `file:///{{x}}`.
fn other_scheme(url: &str) -> Option<&str> {
    let known = url.split("{{").next().unwrap_or_default();
    let (scheme, _) = known.trim_start().split_once(':')?;
    let letters = scheme.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'));
    let is_one = letters && scheme.bytes().next().is_some_and(|c| c.is_ascii_alphabetic());
    (is_one && !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str())).then_some(scheme)
}

fn is_literal(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.contains("{{"),
        Value::Array(items) => items.iter().all(is_literal),
        Value::Object(map) => map.values().all(is_literal),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}
