//! Which parts of a request are credentials, and which headers are nobody's business.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use url::Url;

use super::opaque::is_opaque;
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
/// What is secret wherever it stands in a name.
const SECRET: [&str; 8] = ["authorization", "token", "secret", "passw", "credential", "signature", "session", "apikey"];
/// Words of a name that make it one of a secret: `X-Auth-Key`, `subscription_key`, `AccountSid`.
const WORDS: [&str; 16] = [
    "key",
    "keys",
    "auth",
    "oauth",
    "pass",
    "pwd",
    "passphrase",
    "sid",
    "sig",
    "code",
    "jwt",
    "bearer",
    "sas",
    "otp",
    "hmac",
    "appid",
];
/// Beside these such a word means something else: `sort_key`, `country_code`.
const OTHERWISE: [&str; 18] = [
    "idempotency",
    "sort",
    "partition",
    "primary",
    "foreign",
    "column",
    "country",
    "postal",
    "zip",
    "language",
    "lang",
    "currency",
    "area",
    "region",
    "state",
    "status",
    "error",
    "locale",
];

/// True if a parameter or header of this name holds a secret.
pub(super) fn is_secret(name: &str, value: &str) -> bool {
    let name: String = separated(name);
    let joined = name.replace('_', "");
    let words: Vec<&str> = name.split('_').collect();
    let meant = words.iter().any(|word| WORDS.contains(word) || (word.len() > 4 && word.ends_with("key")));
    let named = SECRET.iter().any(|part| joined.contains(part))
        || (meant && !words.iter().any(|word| OTHERWISE.contains(word)));
    named && !joined.contains("idempotency") && !value.is_empty()
}

/// In small letters, with `_` between words.
fn separated(name: &str) -> String {
    let mut out = String::new();
    let mut small = false;
    for c in name.chars() {
        if (c.is_ascii_uppercase() && small) || !c.is_alphanumeric() {
            out.push('_');
        }
        small = c.is_ascii_lowercase();
        out.extend(c.is_alphanumeric().then(|| c.to_ascii_lowercase()));
    }
    out
}

/// True if a header is one of a credential, by its name or by what it holds.
fn is_credential(name: &str, value: &str) -> bool {
    !is_dropped(name) && (is_secret(name, value) || (is_opaque(value) && !name.eq_ignore_ascii_case("idempotency-key")))
}

fn is_dropped(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    DROPPED.contains(&name.as_str()) || name.starts_with("sec-")
}

impl Drafting {
    /// How the request proves who makes it, as a connector says it; the first way that is found.
    pub(super) fn auth(&mut self, exchange: &Exchange, url: &Url) -> Option<Value> {
        let mut auth = None;
        if !url.username().is_empty() {
            auth = Some(basic());
        }
        // A header that says by its name that it is one comes before one that only looks so.
        let (named, others): (Vec<_>, Vec<_>) =
            exchange.headers.iter().partition(|(name, value)| is_secret(name, value));
        for (name, value) in named.into_iter().chain(others) {
            if !is_credential(name, value) {
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
            if is_dropped(name) || is_credential(name, value) {
                continue;
            }
            let value = if name.eq_ignore_ascii_case("idempotency-key") {
                "{{ call.uuid }}".to_owned()
            } else {
                value.replace("{{", "\\{{")
            };
            headers.insert(name.clone(), json!(value));
        }
        headers
    }
}

fn basic() -> Value {
    json!({"type": "basic", "username": {"connection": "username"}, "password": {"connection": "password"}})
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
            basic()
        }
        Some((kind, _)) if !is_opaque(kind) => json!({
            "type": "api_key", "in": "header", "name": "Authorization", "prefix": format!("{kind} "), "key": credential("api_key"),
        }),
        _ => json!({"type": "api_key", "in": "header", "name": "Authorization", "key": credential("api_key")}),
    }
}
