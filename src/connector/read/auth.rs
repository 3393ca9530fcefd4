//! How a connector's file says that calls prove who makes them, and the credentials that this takes.
//! How tokens are got is in `token.rs`.

use super::*;
use crate::connector::{ApiKeyPlace, Auth, Aws, AzureService, Secret, Signature, Text};

/// Every type of `auth` with its keys.
const TYPES: [(&str, &[&str]); 12] = [
    ("none", &[]),
    ("api_key", &["in", "name", "prefix", "key"]),
    ("basic", &["username", "password"]),
    ("bearer", &["token"]),
    ("oauth2_client_credentials", &["token_url", "client_id", "client_secret", "scope", "audience", "send"]),
    ("oauth2_refresh", &["token_url", "client_id", "client_secret", "refresh_token", "scope", "send"]),
    ("oauth2_code", &["authorize_url", "token_url", "client_id", "client_secret", "scope", "send", "extra"]),
    ("oauth2_jwt", &["token_url", "claims", "key", "key_id", "lifetime"]),
    ("token_request", &["request", "token", "expires_in", "lifetime"]),
    ("azure_shared_key_lite", &["account", "key", "service"]),
    ("aws_sigv4", &["region", "service", "access_key_id", "secret_access_key", "session_token"]),
    ("standard_webhooks", &["secret"]),
];

/// Every `type` of `auth`.
pub(crate) fn types() -> Vec<&'static str> {
    TYPES.map(|(name, _)| name).to_vec()
}

/// The kinds that fetch a token.
fn fetches(kind: &str) -> bool {
    kind.starts_with("oauth2_") || kind == "token_request"
}

/// True if the file's `auth` fetches a token, whose answer templates may name.
pub(super) fn has_token(auth: Option<&Value>) -> bool {
    auth.and_then(|auth| auth.get("type")).and_then(Value::as_str).is_some_and(fetches)
}

impl Reader<'_> {
    pub(super) fn auth(&mut self, value: Option<&Value>) -> Option<Auth> {
        let Some(value) = value else { return Some(Auth::None) };
        // What gets the token cannot be made of its answer.
        let token = std::mem::replace(&mut self.token, false);
        let auth = self.auth_of(value);
        self.token = token;
        auth
    }

    fn auth_of(&mut self, value: &Value) -> Option<Auth> {
        let at = "/auth";
        let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
        let Some((_, keys)) = TYPES.iter().find(|(known, _)| *known == kind) else {
            let what = format!("`{kind}` is not a type of `auth`");
            let known = TYPES.map(|(known, _)| known).join(", ");
            self.wrong("E-CON-004", "/auth/type", what, Some(format!("it is one of {known}")));
            return None;
        };
        let placed: &[&str] = if fetches(kind) { &["header", "prefix"] } else { &[] };
        let fields = self.object(at, value, &[&["type"], *keys, placed].concat())?;
        match kind {
            "api_key" => self.api_key(at, fields),
            "basic" => {
                let username = self.text_or_secret(at, fields, "username");
                let password = self.text_or_secret(at, fields, "password");
                Some(Auth::Basic { username: username?, password: password? })
            }
            "bearer" => Some(Auth::Bearer { token: self.secret(at, fields, "token")? }),
            "azure_shared_key_lite" => {
                let service = match fields.get("service").map(|value| value.as_str().unwrap_or_default()) {
                    Some("table") => Some(AzureService::Table),
                    Some("blob") => Some(AzureService::Blob),
                    Some("queue") => Some(AzureService::Queue),
                    Some(_) | None => {
                        self.wrong("E-CON-004", "/auth/service", "it is `table`, `blob` or `queue`".into(), None);
                        None
                    }
                };
                let (account, key) = (self.text_or_secret(at, fields, "account"), self.secret(at, fields, "key"));
                let signature = Signature::AzureSharedKeyLite { account: account?, key: key?, service: service? };
                Some(Auth::Signed(signature))
            }
            "aws_sigv4" => {
                let (region, service) =
                    (self.text_or_secret(at, fields, "region"), self.text_or_secret(at, fields, "service"));
                let id = self.secret(at, fields, "access_key_id");
                let secret = self.secret(at, fields, "secret_access_key");
                let session_token = self.optional_secret(at, fields, "session_token");
                // Only temporary credentials have one.
                if let Some(Secret(name)) = &session_token {
                    self.secrets.insert(name.clone(), false);
                }
                Some(Auth::Signed(Signature::AwsSigV4(Box::new(Aws {
                    region: region?,
                    service: service?,
                    access_key_id: id?,
                    secret_access_key: secret?,
                    session_token,
                }))))
            }
            "standard_webhooks" => {
                Some(Auth::Signed(Signature::StandardWebhooks { secret: self.secret(at, fields, "secret")? }))
            }
            kind if fetches(kind) => self.grant(kind, fields).map(|grant| Auth::Token(Box::new(grant))),
            _ => Some(Auth::None),
        }
    }

    fn api_key(&mut self, at: &str, fields: &Map<String, Value>) -> Option<Auth> {
        let place = match fields.get("in").map(|value| value.as_str().unwrap_or_default()) {
            None | Some("header") => ApiKeyPlace::Header,
            Some("query") => ApiKeyPlace::Query,
            Some("path") => ApiKeyPlace::Path,
            Some("body") => ApiKeyPlace::Body,
            Some(_) => {
                self.wrong("E-CON-004", "/auth/in", "it is `header`, `query`, `path` or `body`".into(), None);
                return None;
            }
        };
        let prefix = self.text("/auth/prefix", fields.get("prefix"));
        let name = match place {
            ApiKeyPlace::Path if fields.contains_key("name") => {
                let hint = "what stands before it is `prefix`, as in `prefix: /bot`".to_owned();
                self.wrong("E-CON-003", "/auth/name", "a key in the path has no name".into(), Some(hint));
                return None;
            }
            ApiKeyPlace::Path => String::new(),
            ApiKeyPlace::Header | ApiKeyPlace::Query | ApiKeyPlace::Body => self.required_text(at, fields, "name")?,
        };
        if place == ApiKeyPlace::Path && prefix.as_ref().is_some_and(|prefix| !prefix.starts_with('/')) {
            self.wrong("E-CON-004", "/auth/prefix", "in a path it starts with `/`".into(), None);
        }
        let prefix = prefix.unwrap_or_else(|| if place == ApiKeyPlace::Path { "/".into() } else { String::new() });
        Some(Auth::ApiKey { place, name, prefix, key: self.secret(at, fields, "key")? })
    }

    /// `{connection: NAME}`.
    pub(super) fn secret(&mut self, at: &str, fields: &Map<String, Value>, key: &str) -> Option<Secret> {
        match fields.get(key) {
            Some(value) => self.secret_at(&format!("{at}/{key}"), key, value),
            None => {
                self.missing(at, key, &format!("{key}: {{connection: {key}}}"));
                None
            }
        }
    }

    pub(super) fn optional_secret(&mut self, at: &str, fields: &Map<String, Value>, key: &str) -> Option<Secret> {
        fields.get(key).and_then(|value| self.secret_at(&format!("{at}/{key}"), key, value))
    }

    pub(super) fn secret_at(&mut self, at: &str, key: &str, value: &Value) -> Option<Secret> {
        if let Some(name) = named(value) {
            self.snake(at, name);
            self.secrets.insert(name.to_owned(), true);
            return Some(Secret(name.to_owned()));
        }
        let hint = format!("write {{connection: {key}}}, where {key} names a credential of the connection");
        self.wrong("E-CON-004", at, "a secret never stands in a connector's file".into(), Some(hint));
        None
    }

    pub(super) fn text_or_secret(&mut self, at: &str, fields: &Map<String, Value>, key: &str) -> Option<Text> {
        match fields.get(key) {
            Some(value) => self.text_at(&format!("{at}/{key}"), key, value),
            None => {
                self.missing(at, key, &format!("{key}: …"));
                None
            }
        }
    }

    /// A template of settings, or a credential.
    pub(super) fn text_at(&mut self, at: &str, key: &str, value: &Value) -> Option<Text> {
        match value {
            Value::Object(_) => self.secret_at(at, key, value).map(Text::Secret),
            _ => self.template(at, value, &Shape::any(), false).map(Text::Template),
        }
    }

    /// What `auth` names, and what `credentials` adds: `{NAME: {required: false}}`.
    pub(super) fn credentials(&mut self, value: Option<&Value>) -> BTreeMap<String, bool> {
        let mut credentials = self.secrets.clone();
        match value {
            None => {}
            Some(Value::Object(listed)) => {
                for (name, value) in listed {
                    let at = format!("/credentials/{name}");
                    self.snake(&at, name);
                    if let Some(fields) = self.object(&at, value, &["required", "description"]) {
                        let required = self.flag(&format!("{at}/required"), fields.get("required"), true);
                        self.text(&format!("{at}/description"), fields.get("description"));
                        credentials.insert(name.clone(), required);
                    }
                }
            }
            Some(_) => self.wrong("E-CON-004", "/credentials", "it is an object of names".into(), None),
        }
        credentials
    }
}

/// The credential's name, of `{connection: NAME}`.
pub(super) fn named(value: &Value) -> Option<&str> {
    value.as_object().filter(|object| object.len() == 1)?.get("connection")?.as_str()
}
