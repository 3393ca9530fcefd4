//! The reference of connectors, made from their files: a page for each, and the table of all.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::draft;
use super::yaml;
use crate::connector::{Action, Connector, Connectors, Need, OnDoubt, ProofKind};

/// What `docs/reference/connectors.md` says of all of them.
pub fn connector_table(connectors: &Connectors) -> String {
    let mut page = "# Connectors\n\n\
        What is built in. Each has a page with its settings, credentials, actions, errors and an example; `millstream connectors list` says\n\
        the same on the command line. Anything else with an HTTP API is a step of [`http`](connectors/http.md), or a file of your own:\n\
        [Write a connector](../guide/write-a-connector.md), [the file](connector-file.md), which also has limits, breakers and the codes of failures.\n\n\
        *Proved by* says what it was tried against: *real* is the system itself, or its maker's own emulator; *specified* is a server made of the\n\
        system's own description, or of a standard; *stand-in* was written by hand from the system's documentation. What was not tried is on each page.\n\n\
        | Connector | For | Actions | Auth | Proved by |\n|-|-|-|-|-|\n"
        .to_owned();
    for connector in connectors.all() {
        let name = &connector.name;
        let actions: Vec<String> = shown(connector).map(|action| format!("`{}`", action.name)).collect();
        let proof = connector.proof.as_ref().map_or("", |proof| proof.kind.name());
        let auth = auth(&source(connector));
        let line = (cell(&connector.description), actions.join(", "), auth);
        let _ = writeln!(page, "| [`{name}`](connectors/{name}.md) | {} | {} | {} | {proof} |", line.0, line.1, line.2);
    }
    page
}

/// The page of one, with the flow that shows it, if there is one.
pub fn connector_page(connector: &Connector, example: Option<&str>) -> String {
    let file = source(connector);
    let mut page = format!("# `{}`\n\n{}.\n", connector.name, connector.description.trim_end_matches('.'));
    if !connector.notes.is_empty() {
        let _ = write!(page, "\n{}\n", connector.notes.trim());
    }
    connection(connector, &file, &mut page);
    page.push_str("\n## Actions\n");
    for action in shown(connector) {
        describe(action, &file, &mut page);
    }
    answers(&file, &mut page);
    proof(connector, &mut page);
    if let Some(example) = example {
        let _ = write!(page, "\n## Example\n\n```yaml\n{}\n```\n", example.trim_end());
    }
    page
}

/// As its author wrote it, to say what is gone once it is compiled.
fn source(connector: &Connector) -> Value {
    serde_yaml::from_str(&connector.source).unwrap_or_default()
}

fn shown(connector: &Connector) -> impl Iterator<Item = &Action> {
    connector.actions.values().filter(|action| !action.hidden)
}

/// The kind of auth, in words.
fn auth(file: &Value) -> String {
    let kind = file.pointer("/auth/type").and_then(Value::as_str);
    let place = file.pointer("/auth/in").and_then(Value::as_str).unwrap_or("header");
    match kind {
        None if file.pointer("/base_url/connection").is_some() => "secret URL".to_owned(),
        None if file.get("native") == Some(&Value::Bool(true)) => "as its page says".to_owned(),
        None | Some("none") => "none".to_owned(),
        Some("api_key") => format!("API key ({place})"),
        Some("basic") => "basic".to_owned(),
        Some("bearer") => "bearer token".to_owned(),
        Some("oauth2_client_credentials") => "OAuth 2, client credentials".to_owned(),
        Some("oauth2_refresh") => "OAuth 2, refresh token".to_owned(),
        Some("oauth2_code") => "OAuth 2, sign-in".to_owned(),
        Some("oauth2_jwt") => "OAuth 2, signed JWT".to_owned(),
        Some("token_request") => "token, fetched".to_owned(),
        Some("azure_shared_key_lite") => "Azure shared key".to_owned(),
        Some("aws_sigv4") => "AWS signature".to_owned(),
        Some("standard_webhooks") => "signature (Standard Webhooks)".to_owned(),
        Some(other) => other.replace('_', " "),
    }
}

fn connection(connector: &Connector, file: &Value, page: &mut String) {
    page.push_str("\n## Connection\n\n");
    match connector.connection {
        Need::Required => {}
        Need::Optional => page.push_str("Optional.\n\n"),
        Need::Never => {
            page.push_str("None is needed.\n");
            return;
        }
    }
    if let Some((value, secrets)) = draft::connection(connector, &connector.name) {
        let mut named = Map::new();
        named.insert(connector.name.clone(), value);
        if let Some(text) = yaml::write(&Value::Object(named)) {
            let _ = write!(page, "```yaml\n# connections.yaml\n{text}```\n\n");
        }
        if let Some(first) = secrets.first() {
            let _ = write!(
                page,
                "`millstream secret set {first}` keeps the secret; `{{env: NAME}}` and `{{file: PATH}}` are other places.\n\n"
            );
        }
    }
    if file.get("native") != Some(&Value::Bool(true)) {
        let _ = writeln!(page, "Auth: {}.", auth(file));
    }
    let settings = file.get("settings").cloned().unwrap_or_default();
    let rows = properties(&settings, "");
    if !rows.is_empty() {
        let _ = write!(page, "\n| Setting | Type | Means |\n|-|-|-|\n{rows}");
    }
    if !connector.credentials.is_empty() {
        page.push_str("\n| Credential | | Means |\n|-|-|-|\n");
        for (name, required) in &connector.credentials {
            let text = file.pointer(&format!("/credentials/{name}/description")).and_then(Value::as_str);
            let need = if *required { "needed" } else { "optional" };
            let _ = writeln!(page, "| `{name}` | {need} | {} |", cell(text.unwrap_or_default()));
        }
    }
}

/// A row for each property, those of objects with dots.
fn properties(schema: &Value, before: &str) -> String {
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let mut rows = String::new();
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let mut words = vec![types(property)];
        if required.contains(&name.as_str()) {
            words.push("required".to_owned());
        }
        if let Some(default) = property.get("default") {
            words.push(format!("`{}` unless set", cell(&line(default))));
        }
        let mut means = property.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(values) = property.get("enum").and_then(Value::as_array) {
            let values: Vec<String> = values.iter().map(|value| format!("`{}`", line(value))).collect();
            let _ = write!(means, "{}one of {}", if means.is_empty() { "" } else { "; " }, values.join(", "));
        }
        if let Some(list) = property.pointer("/x-options/action").and_then(Value::as_str) {
            let _ = write!(means, "{}choices by `{list}`", if means.is_empty() { "" } else { "; " });
        }
        let path = format!("{before}{name}");
        let _ = writeln!(rows, "| `{path}` | {} | {} |", cell(&words.join(", ")), cell(&means));
        rows.push_str(&properties(property, &format!("{path}.")));
    }
    rows
}

fn types(schema: &Value) -> String {
    match schema.get("type") {
        Some(Value::String(one)) => one.clone(),
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ if schema.get("enum").is_some() => "choice".to_owned(),
        _ => "any".to_owned(),
    }
}

fn describe(action: &Action, file: &Value, page: &mut String) {
    let written = &file["actions"][&action.name];
    let _ = write!(page, "\n### `{}`\n\n{}.\n", action.name, action.description.trim_end_matches('.'));
    let rows = properties(action.input.source(), "");
    if !rows.is_empty() {
        let _ = write!(page, "\n| Input | Type | Means |\n|-|-|-|\n{rows}");
    }
    let open = action.input.source().get("additionalProperties") != Some(&Value::Bool(false));
    if open && action.input.shape().properties.is_empty() {
        page.push_str("\nIts inputs are not described.\n");
    }
    let output = match written.get("output_schema") {
        Some(schema) => {
            let rows = properties(schema, "");
            if rows.is_empty() { types(schema) } else { format!("\n\n| Output | Type | Means |\n|-|-|-|\n{rows}") }
        }
        None if written.get("pages").is_some() => "`{items, more}`; `more` is true where the list was cut".to_owned(),
        None => match written.get("output") {
            Some(Value::Object(fields)) => {
                let names: Vec<&str> = fields.keys().map(String::as_str).collect();
                format!("`{{{}}}`", names.join(", "))
            }
            Some(Value::String(path)) => format!("what `{path}` finds in the answer"),
            Some(other) => format!("`{other}`"),
            None => "the answer's body".to_owned(),
        },
    };
    match output.strip_prefix("\n\n") {
        Some(table) => {
            let _ = write!(page, "\n{table}");
        }
        None => {
            let _ = writeln!(page, "\nOutput: {output}.");
        }
    }
    let keyed = written.get("request").is_some_and(|request| request.to_string().contains("call.uuid"));
    let safe = written.get("repeat").and_then(Value::as_str) != Some("unsafe");
    let reads = written.pointer("/request/get").is_some();
    let mut repeat = match (safe, action.on_doubt) {
        (true, OnDoubt::Repeat) if reads => "it only reads, so a call in doubt is repeated",
        (true, OnDoubt::Repeat) => "has no second effect, or one that harms little; a call in doubt is repeated",
        (true, OnDoubt::Hold) => "has no second effect; a call in doubt is held for a person all the same",
        (false, OnDoubt::Repeat) => {
            "may have a second effect; a call in doubt is repeated all the same, unless the step says `on_doubt: hold`"
        }
        (false, OnDoubt::Hold) => "may have a second effect, so a call in doubt is held for a person",
    }
    .to_owned();
    if keyed {
        repeat.push_str(". It carries the call's own id, the same on every repeat");
    }
    let _ = writeln!(page, "\nA repeat: {repeat}.");
    if let Some(limits) = written.get("limits") {
        let _ = writeln!(page, "\nLimits: {}.", allowed(limits));
    }
    if let Some(rules) = written.get("errors") {
        let _ = write!(page, "\n{}", rules_table(rules));
    }
}

fn answers(file: &Value, page: &mut String) {
    if let Some(rules) = file.get("errors") {
        let _ = write!(
            page,
            "\n## Errors\n\nThe first that matches decides; the rest is as [for all connectors](../connector-file.md#what-an-answer-means).\n\n{}",
            rules_table(rules)
        );
    }
    let limits = file.get("limits");
    if limits.is_some() || file.get("timeout").is_some() {
        let mut all: Vec<String> = limits.map(allowed).into_iter().collect();
        all.extend(
            file.get("timeout")
                .map(|time| format!("an attempt ends after {} unless the step says otherwise", line(time))),
        );
        let _ = write!(page, "\n## Limits\n\n{}.\n", all.join("; "));
    }
}

fn rules_table(rules: &Value) -> String {
    let mut table = "| An answer with | Means |\n|-|-|\n".to_owned();
    for rule in rules.as_array().into_iter().flatten() {
        let mut tests = Vec::new();
        if let Some(status) = rule.get("status") {
            tests.push(format!("status {}", list(status)));
        }
        for (name, value) in rule.get("header").and_then(Value::as_object).into_iter().flatten() {
            let value =
                value.get("matches").map_or_else(|| list(value), |pattern| format!("matching `{}`", line(pattern)));
            tests.push(format!("header `{name}` {value}"));
        }
        if let Some(path) = rule.get("path") {
            let is = rule.get("is").map(|is| format!(" {}", list(is)));
            let is = is.or_else(|| Some(format!(" matching `{}`", line(rule.get("matches")?))));
            tests.push(format!("`{}`{}", line(path), is.unwrap_or_default()));
        }
        let mut then = rule.get("then").map(line).unwrap_or_default().replace('_', " ");
        if let Some(wait) = rule.get("wait") {
            let _ = write!(then, ", waits by {}", list(wait));
        }
        let _ = writeln!(table, "| {} | {} |", cell(&tests.join(", ")), cell(&then));
    }
    table
}

fn allowed(limits: &Value) -> String {
    let mut all = Vec::new();
    if let Some(concurrent) = limits.get("concurrent") {
        all.push(format!("{concurrent} {} at once", if concurrent == 1 { "call" } else { "calls" }));
    }
    if let Some(rate) = limits.get("rate") {
        let part = |key: &str| rate.get(key).map(line).unwrap_or_default();
        let (requests, per) = (part("requests"), part("per"));
        all.push(format!("{requests} {} in {per}", if requests == "1" { "request" } else { "requests" }));
    }
    if let Some(key) = limits.get("key") {
        all.push(format!("counted by `{}`", line(key)));
    }
    all.join(", ")
}

fn proof(connector: &Connector, page: &mut String) {
    page.push_str("\n## Proof\n\n");
    match &connector.proof {
        None => page.push_str("Nothing is said of it.\n"),
        Some(proof) => {
            let kind = match proof.kind {
                ProofKind::Real => "Tried against the system itself, or its maker's own emulator",
                ProofKind::Specified => "Tried against a server made of the system's own description, or of a standard",
                ProofKind::StandIn => {
                    "Tried against a stand-in that was written by hand from the system's documentation"
                }
            };
            let _ = writeln!(page, "{kind}: {}.", proof.by.trim_end_matches('.'));
            if !proof.unverified.is_empty() {
                page.push_str("\nNot verified:\n");
                page.extend(proof.unverified.iter().map(|one| format!("- {one}\n")));
            }
        }
    }
    if !connector.docs.is_empty() {
        page.push_str("\nWritten from:\n");
        page.extend(connector.docs.iter().map(|one| format!("- {one}\n")));
    }
}

/// A value, or several, as people read them.
fn list(value: &Value) -> String {
    match value {
        Value::Array(values) => {
            values.iter().map(|value| format!("`{}`", line(value))).collect::<Vec<_>>().join(" or ")
        }
        one => format!("`{}`", line(one)),
    }
}

fn line(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What stands in one cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
