//! How a connector's file says that calls prove who makes them, and the credentials that this takes.

use super::*;
use crate::connector::declared::{Auth, Secret, Text};
use crate::connector::{ApiKeyPlace, ClientCredentials};

impl Reader<'_> {
    pub(super) fn auth(&mut self, value: Option<&Value>) -> Option<Auth> {
        let Some(value) = value else { return Some(Auth::None) };
        let at = "/auth";
        let types = ["none", "api_key", "basic", "bearer", "oauth2_client_credentials"];
        let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
        let keys: &[&str] = match kind {
            "none" => &["type"],
            "api_key" => &["type", "in", "name", "prefix", "key"],
            "basic" => &["type", "username", "password"],
            "bearer" => &["type", "token"],
            "oauth2_client_credentials" => {
                &["type", "token_url", "client_id", "client_secret", "scope", "audience", "send"]
            }
            other => {
                let what = format!("`{other}` is not a type of `auth`");
                self.wrong("E-CON-004", "/auth/type", what, Some(format!("it is one of {}", types.join(", "))));
                return None;
            }
        };
        let fields = self.object(at, value, keys)?;
        match kind {
            "api_key" => {
                let place = match fields.get("in").map(|value| value.as_str().unwrap_or_default()) {
                    None | Some("header") => ApiKeyPlace::Header,
                    Some("query") => ApiKeyPlace::Query,
                    Some(_) => {
                        self.wrong("E-CON-004", "/auth/in", "it is `header` or `query`".into(), None);
                        return None;
                    }
                };
                let name = self.required_text(at, fields, "name")?;
                let prefix = self.text("/auth/prefix", fields.get("prefix")).unwrap_or_default();
                Some(Auth::ApiKey { place, name, prefix, key: self.secret(at, fields, "key")? })
            }
            "basic" => {
                let username = self.text_or_secret(at, fields, "username");
                let password = self.text_or_secret(at, fields, "password");
                Some(Auth::Basic { username: username?, password: password? })
            }
            "bearer" => Some(Auth::Bearer { token: self.secret(at, fields, "token")? }),
            "oauth2_client_credentials" => {
                let none = Shape::any();
                let token_url = match fields.get("token_url") {
                    Some(value) => self.template("/auth/token_url", value, &none, false),
                    None => {
                        self.missing(at, "token_url", "token_url: https://login.example.com/token");
                        None
                    }
                };
                let optional = |reader: &mut Self, key: &str| {
                    fields.get(key).and_then(|value| reader.template(&format!("/auth/{key}"), value, &none, false))
                };
                let scope = optional(self, "scope");
                let audience = optional(self, "audience");
                let basic = match fields.get("send").map(|value| value.as_str().unwrap_or_default()) {
                    None | Some("body") => false,
                    Some("basic") => true,
                    Some(_) => {
                        self.wrong("E-CON-004", "/auth/send", "it is `body` or `basic`".into(), None);
                        false
                    }
                };
                let client_id = self.text_or_secret(at, fields, "client_id");
                let client_secret = self.secret(at, fields, "client_secret");
                let grant = ClientCredentials {
                    token_url: token_url?,
                    client_id: client_id?,
                    client_secret: client_secret?,
                    scope,
                    audience,
                    basic,
                };
                Some(Auth::OAuth2ClientCredentials(Box::new(grant)))
            }
            _ => Some(Auth::None),
        }
    }

    /// `{connection: NAME}`.
    fn secret(&mut self, at: &str, fields: &Map<String, Value>, key: &str) -> Option<Secret> {
        let at = format!("{at}/{key}");
        match fields.get(key) {
            Some(Value::Object(object)) if object.len() == 1 => {
                if let Some(Value::String(name)) = object.get("connection") {
                    self.snake(&at, name);
                    self.secrets.insert(name.clone(), true);
                    return Some(Secret(name.clone()));
                }
            }
            None => {
                self.missing(at.trim_end_matches(&format!("/{key}")), key, &format!("{key}: {{connection: {key}}}"));
                return None;
            }
            Some(_) => {}
        }
        let hint = format!("write {{connection: {key}}}, where {key} names a credential of the connection");
        self.wrong("E-CON-004", &at, "a secret never stands in a connector's file".into(), Some(hint));
        None
    }

    fn text_or_secret(&mut self, at: &str, fields: &Map<String, Value>, key: &str) -> Option<Text> {
        match fields.get(key) {
            Some(value @ Value::String(_)) => {
                self.template(&format!("{at}/{key}"), value, &Shape::any(), false).map(Text::Template)
            }
            _ => self.secret(at, fields, key).map(Text::Secret),
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
