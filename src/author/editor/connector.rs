//! A connector's file in an editor.

use serde_json::{Map, Value, json};

use super::reference::of_connector;
use super::steps::part;
use super::{closed, connections, duration, one_or_many, told};

pub(super) fn schema() -> Value {
    let text = json!({"type": "string"});
    let texts = json!({"type": "object"});
    let credential = part(&[("required", json!({"type": "boolean"})), ("description", text.clone())], |_| {
        of_connector("The file", "credentials")
    });
    let action = action();
    let properties = part(
        &[
            ("connector", json!({"type": "string", "pattern": "^[a-z][a-z0-9_]*$"})),
            ("version", json!({"const": 1})),
            ("description", text.clone()),
            ("notes", text.clone()),
            ("proof", proof()),
            ("docs", json!({"type": "array", "items": text.clone()})),
            ("settings", json!({"type": "object"})),
            ("credentials", json!({"type": "object", "additionalProperties": closed(credential, &[])})),
            ("connection", json!({"enum": ["required", "optional", "never"]})),
            ("base_url", json!({"type": ["string", "object"]})),
            ("auth", auth()),
            ("headers", texts),
            ("test", json!({"type": "object"})),
            ("limits", keyed_limits()),
            ("timeout", duration()),
            ("success", closed(test(), &[])),
            ("errors", json!({"type": "array", "items": rule()})),
            ("error_text", one_or_many(&text)),
            ("native", json!({"type": "boolean"})),
        ],
        |key| match key {
            "version" | "description" | "connector" => {
                "the name; the version of the form, always 1; one line of text".to_owned()
            }
            "native" => of_connector("The file", "native: true"),
            key => of_connector("The file", key),
        },
    );
    let mut properties = properties;
    let actions = json!({"type": "object", "additionalProperties": action});
    properties.insert("actions".to_owned(), told("what steps can do with it, by name", actions));
    closed(properties, &["connector", "version", "actions"])
}

fn action() -> Value {
    let methods = ["get", "post", "put", "patch", "delete"];
    let mut request: Map<String, Value> = Map::new();
    for method in methods {
        request.insert(
            method.to_owned(),
            told(format!("the path of a {} request", method.to_uppercase()), json!({"type": "string"})),
        );
    }
    let texts = json!({"type": "object"});
    let rest = [
        ("query", texts.clone()),
        ("headers", texts),
        ("json", json!({})),
        ("form", json!({})),
        ("multipart", json!({"type": ["object", "string"]})),
        ("body", json!({})),
        ("base64", json!({"type": "string"})),
        ("content_type", json!({"type": "string"})),
        ("omit_missing", json!({"type": "boolean"})),
    ];
    request.extend(part(&rest, |_| of_connector("Actions", "request")));
    let mut request = closed(request, &[]);
    request["oneOf"] = methods.iter().map(|method| json!({"required": [method]})).collect();
    let properties = part(
        &[
            ("description", json!({"type": "string"})),
            ("input", json!({"type": "object"})),
            ("request", request),
            ("output", json!({})),
            ("output_schema", json!({"type": ["object", "boolean"]})),
            ("answer", json!({"enum": ["json", "text", "xml", "base64"]})),
            ("repeat", json!({"enum": ["safe", "unsafe"]})),
            ("on_doubt", json!({"enum": ["repeat", "hold"]})),
            ("hidden", json!({"type": "boolean"})),
            ("limits", keyed_limits()),
            ("errors", json!({"type": "array", "items": rule()})),
            ("success", closed(test(), &[])),
            ("pages", pages()),
            ("cache", duration()),
        ],
        |key| match key {
            "description" => "one line of text, shown in editors".to_owned(),
            "limits" => of_connector("The file", "limits"),
            key => of_connector("Actions", key),
        },
    );
    closed(properties, &[])
}

fn proof() -> Value {
    let keys = part(
        &[
            ("kind", json!({"enum": ["real", "specified", "stand-in"]})),
            ("by", json!({"type": "string"})),
            ("unverified", json!({"type": "array", "items": {"type": "string"}})),
        ],
        |key| {
            match key {
                "kind" => {
                    "what it was tried against: the system itself, a server made of its description, or a stand-in"
                }
                "by" => "what that was",
                _ => "what is from memory or was not tried, one line each",
            }
            .to_owned()
        },
    );
    closed(keys, &["kind", "by"])
}

fn pages() -> Value {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer", "minimum": 0});
    let place = || vec![("query", text.clone()), ("body", text.clone())];
    let told = |key: &str| {
        match key {
            "items" => "JSONPath to the list of one page",
            "item" => "what of each item is kept: a JSONPath, or an object of them",
            "next_url" => "JSONPath to the URL of the next page",
            "from" => "JSONPath to what is sent with the next request",
            "query" => "the parameter of the query that says it",
            "body" => "the keys down to where the JSON body says it, with dots between",
            "first" => "the number of the first page",
            "size" => "how many items a page has, and where the request says so",
            "value" => "items of one page",
            "max_items" => "how many items are gathered at most, 1000 unless set",
            "link" => "the next page is in the header `Link`",
            "cursor" => "a text of the answer is sent with the next request",
            "offset" => "how many items there were before is sent",
            _ => "the number of the page is sent",
        }
        .to_owned()
    };
    let size = closed(part(&[place(), vec![("value", number.clone())]].concat(), told), &["value"]);
    let sized = || vec![("size", size.clone())];
    let keys = part(
        &[
            ("items", text.clone()),
            ("item", json!({"type": ["string", "object"]})),
            ("next_url", text.clone()),
            ("cursor", closed(part(&[vec![("from", text.clone())], place()].concat(), told), &["from"])),
            ("offset", closed(part(&[place(), sized()].concat(), told), &[])),
            ("page", closed(part(&[place(), vec![("first", number.clone())], sized()].concat(), told), &[])),
            ("link", json!({"const": true})),
            ("max_items", number),
        ],
        told,
    );
    closed(keys, &["items"])
}

fn keyed_limits() -> Value {
    let mut limits = connections::limits();
    limits["properties"]["key"] = json!({"type": "string", "description": "a template to count by"});
    limits
}

fn auth() -> Value {
    let any = json!({"type": ["string", "object"]});
    let names = [
        "name",
        "prefix",
        "key",
        "username",
        "password",
        "token",
        "token_url",
        "client_id",
        "client_secret",
        "scope",
        "audience",
        "refresh_token",
        "authorize_url",
        "key_id",
        "account",
        "region",
        "access_key_id",
        "secret_access_key",
        "session_token",
        "secret",
        "header",
        "expires_in",
    ];
    let mut properties: Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), told("text, or a credential: `{connection: NAME}`", any.clone())))
        .collect();
    properties.extend(part(
        &[
            ("type", json!({"enum": crate::connector::auth_types()})),
            ("in", json!({"enum": ["header", "query", "path", "body"]})),
            ("send", json!({"enum": ["body", "basic"]})),
            ("service", json!({"type": ["string", "object"]})),
            ("claims", json!({"type": "object"})),
            ("extra", json!({"type": "object"})),
            ("request", json!({"type": "object"})),
            ("lifetime", duration()),
        ],
        |key| match key {
            "type" => "how calls prove who makes them".to_owned(),
            "in" => "where the key goes".to_owned(),
            "service" => "`table`, `blob` or `queue` of Azure; the service's name of AWS".to_owned(),
            "claims" => "what the signed statement says, beside its times".to_owned(),
            "extra" => "further parameters of the address that a person logs in at".to_owned(),
            "request" => {
                "the request that gets the token: a method with a URL; `query`, `headers`, `form` or `json`".to_owned()
            }
            "lifetime" => "of the signed statement, or of a token that does not say".to_owned(),
            _ => "how id and secret go".to_owned(),
        },
    ));
    closed(properties, &["type"])
}

fn test() -> Map<String, Value> {
    let status = json!({"type": ["integer", "string"], "pattern": "^[1-5]xx$"});
    part(
        &[
            ("status", one_or_many(&status)),
            ("header", json!({"type": "object"})),
            ("path", json!({"type": "string"})),
            ("is", json!({"type": "array"})),
            ("matches", json!({"type": "string"})),
        ],
        |key| {
            match key {
                "status" => "numbers, or `5xx`",
                "header" => "headers and the values that each may have, or `{matches: PATTERN}`",
                "path" => "JSONPath into the body",
                "is" => "the values that it may have there",
                _ => "a pattern that finds the text there",
            }
            .to_owned()
        },
    )
}

fn rule() -> Value {
    let mut properties = test();
    let then = ["throttled", "retry", "unknown", "permanent", "duplicate", "auth", "already_done"];
    properties.insert("then".to_owned(), told("what such an answer means", json!({"enum": then})));
    let wait = "where the answer says how long to wait: `retry-after`, `reset:HEADER`, or a JSONPath to seconds";
    properties.insert("wait".to_owned(), told(wait, one_or_many(&json!({"type": "string"}))));
    closed(properties, &["then"])
}
