//! `auth:` of a request trigger as typed: what a caller shows beside the key in the URL.

use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::super::super::problem::{self, suggest};
use super::super::super::reader::Reader;
use super::super::super::source::{At, child};
use super::super::super::trigger::{Auth, Encoding, Proof, Scheme};
use crate::connector::SecretSource;

pub const AUTH_KEYS: &[&str] =
    &["hmac", "secret", "tolerance", "header", "encoding", "prefix", "basic", "bearer", "ip"];
pub const BASIC_KEYS: &[&str] = &["username", "password"];
/// Forms of signatures, each with the keys that it takes.
pub const HMACS: &[&str] = &["standard_webhooks", "github", "stripe", "sha256"];
const PROOFS: [&str; 3] = ["hmac", "basic", "bearer"];
/// How far a signature's time may be from now, either way, unless the flow says.
const TOLERANCE: Duration = Duration::from_secs(300);

impl Reader<'_> {
    /// A map or a list of maps. `raw` gets what stands where a secret's place should.
    pub(super) fn auth(&mut self, map: &Map<String, Value>, at: &str, raw: &mut Vec<String>) -> Vec<Auth> {
        let at = child(at, "auth");
        match map.get("auth") {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                if items.is_empty() {
                    let hint = Some("leave `auth` out if the key in the URL is enough".to_owned());
                    self.say(problem::BAD_VALUE, &at, At::Value, "`auth` lists no way in".into(), hint);
                }
                let mut found = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    found.extend(self.way(item, &format!("{at}/{index}"), raw));
                }
                found
            }
            Some(value) => self.way(value, &at, raw).into_iter().collect(),
        }
    }

    fn way(&mut self, value: &Value, at: &str, raw: &mut Vec<String>) -> Option<Auth> {
        let map = self.map(value, at, "{bearer: {secret: NAME}}")?;
        let proofs: Vec<&str> = PROOFS.into_iter().filter(|proof| map.contains_key(*proof)).collect();
        let form = self.text(map, at, "hmac");
        let own: &[&str] = match form.as_deref() {
            Some("github") => &["secret"],
            Some("standard_webhooks" | "stripe") => &["secret", "tolerance"],
            Some("sha256") => &["secret", "header", "encoding", "prefix"],
            _ if map.contains_key("hmac") => AUTH_KEYS,
            _ => &[],
        };
        let allowed: Vec<&str> = PROOFS.iter().chain(&["ip"]).chain(own).copied().collect();
        self.keys(map, at, &allowed);
        let ip = self.ranges(map, at);
        let proof = match proofs[..] {
            [] if map.contains_key("ip") => None,
            [] => {
                let hint = Some("give it one of `hmac`, `basic`, `bearer` and `ip`".to_owned());
                self.say(problem::MISSING_KEY, at, At::Value, "this does not say what a caller shows".into(), hint);
                return None;
            }
            ["hmac"] => Some(self.signature(form?, map, at, raw)?),
            ["basic"] => Some(self.basic(&map["basic"], &child(at, "basic"), raw)?),
            ["bearer"] => Some(Proof::Bearer(self.secret(map, at, "bearer", raw)?)),
            [first, second, ..] => {
                let what = format!("this has both `{first}` and `{second}`");
                let hint = Some("make it a list: any one of it then lets a caller in".to_owned());
                self.say(problem::BAD_VALUE, &child(at, second), At::Key, what, hint);
                return None;
            }
            [_] => return None,
        };
        Some(Auth { ip, proof })
    }

    fn ranges(&mut self, map: &Map<String, Value>, at: &str) -> Vec<IpNet> {
        let here = child(at, "ip");
        let listed = map.get("ip").is_some_and(Value::is_array);
        let mut found = Vec::new();
        for (index, text) in self.texts(map, at, "ip").into_iter().enumerate() {
            let at = if listed { format!("{here}/{index}") } else { here.clone() };
            match range(&text) {
                Some(range) => found.push(range),
                None => {
                    let hint = Some("write it as in `203.0.113.0/24`, `203.0.113.7` or `2001:db8::/32`".to_owned());
                    let what = format!("`{text}` is no range of addresses");
                    self.say(problem::BAD_VALUE, &at, At::Value, what, hint);
                }
            }
        }
        if map.get("ip").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            self.say(problem::BAD_VALUE, &here, At::Value, "without a range nobody is let in".into(), None);
        }
        found
    }

    fn signature(&mut self, form: String, map: &Map<String, Value>, at: &str, raw: &mut Vec<String>) -> Option<Proof> {
        let tolerance = self.duration(map, at, "tolerance").unwrap_or(TOLERANCE);
        let secret = self.secret(map, at, "secret", raw);
        let scheme = match form.as_str() {
            "github" => Scheme::GitHub,
            "standard_webhooks" => Scheme::StandardWebhooks { tolerance },
            "stripe" => Scheme::Stripe { tolerance },
            "sha256" => {
                let header = self.text(map, at, "header");
                if !map.contains_key("header") {
                    self.missing(at, "header", "where the signature stands, as in `header: X-Signature`");
                }
                let encoding = match self.text(map, at, "encoding").as_deref() {
                    None | Some("hex") => Encoding::Hex,
                    Some("base64") => Encoding::Base64,
                    Some(other) => {
                        let what = format!("`{other}` is not how a signature is written");
                        let hint = suggest(other, ["hex", "base64"]);
                        self.say(problem::BAD_VALUE, &child(at, "encoding"), At::Value, what, hint);
                        Encoding::Hex
                    }
                };
                let prefix = self.text(map, at, "prefix").unwrap_or_default();
                let header = header?.to_ascii_lowercase();
                let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
                if header.is_empty() || !header.chars().all(token) {
                    let what = format!("`{header}` is no name of a header");
                    self.say(problem::BAD_VALUE, &child(at, "header"), At::Value, what, None);
                }
                Scheme::Plain { header, encoding, prefix }
            }
            other => {
                let what = format!("`{other}` is no form of signature");
                let hint = suggest(other, HMACS.iter().copied());
                self.say(problem::BAD_VALUE, &child(at, "hmac"), At::Value, what, hint);
                return None;
            }
        };
        Some(Proof::Signature { scheme, secret: secret? })
    }

    fn basic(&mut self, value: &Value, at: &str, raw: &mut Vec<String>) -> Option<Proof> {
        let Some(map) = value.as_object() else {
            raw.extend(scalar(value));
            self.wrong(at, value, "a map, as in `{username: shop, password: {secret: NAME}}`");
            return None;
        };
        self.keys(map, at, BASIC_KEYS);
        let username = self.text(map, at, "username");
        if !map.contains_key("username") {
            self.missing(at, "username", "who the caller says to be");
        }
        if username.as_deref().is_some_and(|name| name.contains(':')) {
            self.say(problem::BAD_VALUE, &child(at, "username"), At::Value, "a user name has no `:`".into(), None);
        }
        let password = self.secret(map, at, "password", raw);
        Some(Proof::Basic { username: username?, password: password? })
    }

    /// Where a secret is; never the secret.
    fn secret(&mut self, map: &Map<String, Value>, at: &str, key: &str, raw: &mut Vec<String>) -> Option<SecretSource> {
        let hint = format!("write `{key}: {{secret: NAME}}`, `{{env: NAME}}` or `{{file: PATH}}`");
        let Some(value) = map.get(key) else {
            self.missing(at, key, &hint);
            return None;
        };
        let found = serde_json::from_value::<SecretSource>(value.clone());
        let named = found.ok().filter(|source| match source {
            SecretSource::Secret(name) | SecretSource::Env(name) => !name.is_empty(),
            SecretSource::File(path) => !path.as_os_str().is_empty(),
        });
        if named.is_none() {
            raw.extend(scalar(value));
            let what = if value.is_object() {
                "a secret has exactly one of `secret`, `env` and `file`".to_owned()
            } else {
                "this says where the secret is, never the secret itself".to_owned()
            };
            self.say(problem::WRONG_TYPE, &child(at, key), At::Value, what, Some(hint));
        }
        named
    }
}

/// A range of addresses, or a single one.
fn range(text: &str) -> Option<IpNet> {
    let bits = if text.contains(':') { 128 } else { 32 };
    let whole = if text.contains('/') { text.to_owned() } else { format!("{text}/{bits}") };
    whole.parse::<IpNet>().ok().map(|range| range.trunc())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
