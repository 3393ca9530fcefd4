//! `connections.yaml` in an editor: for each connector its settings and credentials.

use serde_json::{Map, Value, json};

use super::reference::of_connector;
use super::steps::part;
use super::{Known, closed, inputs, secret, told};
use crate::connector::Connector;

pub(super) fn schema(known: &Known<'_>) -> Value {
    let connectors: Vec<&Connector> = known.connectors.all().map(AsRef::as_ref).collect();
    let names: Vec<&str> = connectors.iter().map(|connector| connector.name.as_str()).collect();
    let texts: Vec<&str> = connectors.iter().map(|connector| connector.description.as_str()).collect();
    let credentials = json!({"type": "object", "additionalProperties": secret()});
    let properties = part(
        &[
            ("connector", json!({"type": "string", "enum": names, "enumDescriptions": texts})),
            ("settings", json!({"type": "object"})),
            ("credentials", credentials),
            ("base_url", json!({"type": "string"})),
            ("token_url", json!({"type": "string"})),
            ("limits", limits()),
            ("breaker", breaker()),
        ],
        |key| {
            let text = match key {
                "connector" => "which system it connects to",
                "settings" => "what the connector asks for, as an address",
                "credentials" => {
                    "where each secret is, never the secret: `{secret: NAME}`, `{env: NAME}` or `{file: PATH}`"
                }
                "base_url" => "replaces the connector's own address, for a stand-in or a proxy",
                "token_url" => "replaces the address that tokens come from",
                "breaker" => "when its target counts as down, and for how long it is left alone then; or `off`",
                _ => "what the owner allows, beside what the connector says; the stricter holds",
            };
            text.to_owned()
        },
    );
    let mut connection = closed(properties, &["connector"]);
    connection["allOf"] = connectors.iter().map(|connector| of(connector)).collect();
    let pattern = json!({"pattern": "^[a-z][a-z0-9_]*$"});
    json!({"type": ["object", "null"], "propertyNames": pattern, "additionalProperties": connection})
}

fn of(connector: &Connector) -> Value {
    let mut credentials = Map::new();
    for (name, required) in &connector.credentials {
        let word = if *required { "needed" } else { "optional" };
        credentials.insert(name.clone(), told(format!("A credential of {}, {word}", connector.name), secret()));
    }
    let needed: Vec<&str> =
        connector.credentials.iter().filter(|(_, required)| **required).map(|(name, _)| name.as_str()).collect();
    let settings = inputs::settings(connector.settings.source());
    let mut required = Vec::new();
    required.extend(
        settings.get("required").and_then(Value::as_array).is_some_and(|names| !names.is_empty()).then_some("settings"),
    );
    required.extend((!needed.is_empty()).then_some("credentials"));
    let mut then = json!({"properties": {"settings": settings, "credentials": closed(credentials, &needed)}});
    if !required.is_empty() {
        then["required"] = json!(required);
    }
    json!({"if": {"properties": {"connector": {"const": connector.name}}, "required": ["connector"]}, "then": then})
}

fn breaker() -> Value {
    let keys = part(
        &[
            ("failures", json!({"type": "integer", "minimum": 1, "maximum": 1000})),
            ("pause", json!({"type": "string"})),
        ],
        |key| if key == "pause" { "how long it is left alone, as in `30s`" } else { "failures in a row" }.to_owned(),
    );
    json!({"anyOf": [{"enum": ["off", false]}, closed(keys, &[])]})
}

/// Calls at once, and a rate.
pub(super) fn limits() -> Value {
    let rate =
        part(&[("requests", json!({"type": "integer", "minimum": 1})), ("per", json!({"type": "string"}))], |key| {
            if key == "per" { "in how much time, as in `1m`" } else { "how many requests" }.to_owned()
        });
    let keys = part(
        &[
            ("concurrent", json!({"type": "integer", "minimum": 1, "maximum": 10_000})),
            ("rate", closed(rate, &["requests", "per"])),
        ],
        |_| of_connector("The file", "limits"),
    );
    closed(keys, &[])
}
