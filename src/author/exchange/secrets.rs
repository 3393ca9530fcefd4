//! Which parts of a request are credentials, and which headers are nobody's business.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use url::Url;

use super::{Drafting, Exchange};

/// Headers of browsers, of the connection, and of what the body says anyway.
const DROPPED: [&str; 18] = [
    "host",
    "content-length",
    "content-type",
    "connection",
    "user-agent",
    "accept-encoding",
    "accept-language",
    "origin",
    "referer",
    "cookie",
    "priority",
    "dnt",
    "pragma",
    "cache-control",
    "te",
    "transfer-encoding",
    "upgrade",
    "expect",
];
/// Parts of names of what is secret.
const SECRET: [&str; 9] =
    ["authorization", "token", "secret", "password", "apikey", "api-key", "api_key", "access-key", "signature"];

/// True if a parameter or header of this name holds a secret.
pub(super) fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let named =
        SECRET.iter().any(|part| name.contains(part)) || matches!(name.as_str(), "key" | "auth" | "sig" | "appid");
    // Idempotency keys are no secrets, and neither is what a template fills in.
    named && !name.contains("idempotency") && !value.is_empty()
}

impl Drafting {
    /// How the request proves who makes it, as a connector says it; the first way that is found.
    pub(super) fn auth(&mut self, exchange: &Exchange, url: &Url) -> Option<Value> {
        let mut auth = None;
        for (name, value) in &exchange.headers {
            if !is_secret(name, value) {
                continue;
            }
            let found = of_header(name, value);
            if auth.is_none() {
                auth = Some(found);
            } else {
                self.notes.push(format!(
                    "the header `{name}` looks like a secret and was left out; a connector has one `auth`"
                ));
            }
        }
        for (name, value) in url.query_pairs() {
            if !is_secret(&name, &value) {
                continue;
            }
            self.hidden.push(name.to_string());
            if auth.is_none() {
                auth = Some(json!({"type": "api_key", "in": "query", "name": name, "key": {"connection": "api_key"}}));
            } else {
                self.notes.push(format!("`{name}` of the query looks like a secret and was left out"));
            }
        }
        if exchange.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("cookie")) {
            self.notes.push("cookies were left out: they end with a browser's session".to_owned());
        }
        auth
    }

    /// The other headers: those that mean something to the target.
    pub(super) fn headers(&mut self, exchange: &Exchange) -> Map<String, Value> {
        let mut headers = Map::new();
        for (name, value) in &exchange.headers {
            let lower = name.to_ascii_lowercase();
            if DROPPED.contains(&lower.as_str()) || lower.starts_with("sec-") || is_secret(name, value) {
                continue;
            }
            let value =
                if lower == "idempotency-key" { "{{ call.uuid }}".to_owned() } else { value.replace("{{", "\\{{") };
            headers.insert(name.clone(), json!(value));
        }
        headers
    }
}

fn of_header(name: &str, value: &str) -> Value {
    let credential = |name: &str| json!({"connection": name});
    if !name.eq_ignore_ascii_case("authorization") {
        return json!({"type": "api_key", "in": "header", "name": name, "key": credential("api_key")});
    }
    match value.split_once(' ') {
        Some((kind, _)) if kind.eq_ignore_ascii_case("bearer") => {
            json!({"type": "bearer", "token": credential("token")})
        }
        Some((kind, encoded)) if kind.eq_ignore_ascii_case("basic") && STANDARD.decode(encoded.trim()).is_ok() => {
            json!({"type": "basic", "username": credential("username"), "password": credential("password")})
        }
        Some((kind, _)) => json!({
            "type": "api_key", "in": "header", "name": "Authorization", "prefix": format!("{kind} "), "key": credential("api_key"),
        }),
        None => json!({"type": "api_key", "in": "header", "name": "Authorization", "key": credential("api_key")}),
    }
}
