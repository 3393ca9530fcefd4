//! How a token is got, as a connector's file says it: six kinds of `auth` become one form.

use super::auth::named;
use super::*;
use crate::connector::auth::TokenRequest;
use crate::connector::{Assertion, Grant, Grounds, Leaf, Login, Text, TokenBody};

/// How long a token is used whose answer does not say, and a signed statement holds.
const LIFETIME: Duration = Duration::from_secs(3600);

/// RFC 7523 §2.1.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

const AT: &str = "/auth";

impl Reader<'_> {
    pub(super) fn grant(&mut self, kind: &str, fields: &Map<String, Value>) -> Option<Grant> {
        let header = self.text("/auth/header", fields.get("header")).unwrap_or_else(|| "Authorization".into());
        self.header_name("/auth/header", &header);
        let prefix = self.text("/auth/prefix", fields.get("prefix")).unwrap_or_else(|| "Bearer ".into());
        let lifetime = self.duration("/auth/lifetime", fields.get("lifetime")).unwrap_or(LIFETIME);
        if lifetime.is_zero() {
            self.wrong("E-CON-004", "/auth/lifetime", "it is longer than nothing".into(), None);
        }
        let (request, proof) = match kind {
            "token_request" => (self.token_request(fields), Some(Grounds::None)),
            "oauth2_jwt" => {
                let grant_type = fixed(JWT_BEARER).map(|text| vec![("grant_type".to_owned(), text)]);
                (self.oauth_request(fields, grant_type?, None), self.assertion(fields, lifetime))
            }
            "oauth2_client_credentials" => {
                (self.client_request(fields, "client_credentials", true), Some(Grounds::None))
            }
            "oauth2_refresh" => {
                let first = self.secret(AT, fields, "refresh_token");
                let request = self.client_request(fields, "refresh_token", false);
                (request, first.map(|first| Grounds::Refresh { first: Some(first) }))
            }
            _ => (self.client_request(fields, "refresh_token", false), Some(Grounds::Refresh { first: None })),
        };
        let login = if kind == "oauth2_code" { Some(self.login(fields)?) } else { None };
        let token = self.found_at(fields, "token", "$.access_token");
        let expires_in = self.found_at(fields, "expires_in", "$.expires_in");
        // A statement's lifetime is not the token's.
        let lifetime = if kind == "oauth2_jwt" { LIFETIME } else { lifetime };
        Some(Grant {
            source: Value::Object(fields.clone()).to_string(),
            request: request?,
            proof: proof?,
            token: token?,
            expires_in: expires_in?,
            lifetime,
            header,
            prefix,
            login,
        })
    }

    fn found_at(&mut self, fields: &Map<String, Value>, key: &str, default: &str) -> Option<Selection> {
        let default = json!(default);
        self.selection(&format!("{AT}/{key}"), fields.get(key).unwrap_or(&default))
    }

    /// A request of RFC 6749 by a client that is known to the server.
    fn client_request(
        &mut self,
        fields: &Map<String, Value>,
        grant_type: &str,
        needs_secret: bool,
    ) -> Option<TokenRequest> {
        let mut form = vec![("grant_type".to_owned(), fixed(grant_type)?)];
        // What a login asked for, every renewal has already.
        let named: &[&str] = if fields.contains_key("authorize_url") { &[] } else { &["scope", "audience"] };
        for key in named.iter().copied() {
            if let Some(value) = fields.get(key) {
                let template = self.template(&format!("{AT}/{key}"), value, &Shape::any(), false);
                form.push((key.to_owned(), Text::Template(template?)));
            }
        }
        let basic = match fields.get("send").map(|value| value.as_str().unwrap_or_default()) {
            None | Some("body") => false,
            Some("basic") => true,
            Some(_) => {
                self.wrong("E-CON-004", "/auth/send", "it is `body` or `basic`".into(), None);
                false
            }
        };
        let id = self.text_or_secret(AT, fields, "client_id");
        let secret = match needs_secret || basic || fields.contains_key("client_secret") {
            true => self.secret(AT, fields, "client_secret").map(|secret| Some(Text::Secret(secret))),
            // A program on its user's own machine can keep none.
            false => Some(None),
        };
        let (id, secret) = (id?, secret?);
        let mut pair = None;
        match secret {
            Some(secret) if basic => pair = Some((id, secret)),
            secret => {
                form.push(("client_id".to_owned(), id));
                form.extend(secret.map(|secret| ("client_secret".to_owned(), secret)));
            }
        }
        self.oauth_request(fields, form, pair)
    }

    fn oauth_request(
        &mut self,
        fields: &Map<String, Value>,
        form: Vec<(String, Text)>,
        basic: Option<(Text, Text)>,
    ) -> Option<TokenRequest> {
        let url = self.url(fields, "token_url")?;
        let headers = vec![("Accept".to_owned(), fixed("application/json")?)];
        Some(TokenRequest { method: "POST", url, query: Vec::new(), headers, body: TokenBody::Form(form), basic })
    }

    fn url(&mut self, fields: &Map<String, Value>, key: &str) -> Option<Template> {
        match fields.get(key) {
            Some(value) => self.template(&format!("{AT}/{key}"), value, &Shape::any(), false),
            None => {
                self.missing(AT, key, &format!("{key}: https://login.example.com/…"));
                None
            }
        }
    }

    fn assertion(&mut self, fields: &Map<String, Value>, lifetime: Duration) -> Option<Grounds> {
        let claims = match fields.get("claims") {
            Some(value) => self.named_texts("/auth/claims", value),
            None => {
                self.missing(AT, "claims", "claims: {iss: \"{{ settings.client }}\", aud: https://login.example.com}");
                None
            }
        };
        for key in ["iat", "exp"] {
            if claims.iter().flatten().any(|(name, _)| name == key) {
                let hint = "`lifetime` says how long the statement holds".to_owned();
                let what = "it is set when the statement is signed".to_owned();
                self.wrong("E-CON-003", &format!("/auth/claims/{key}"), what, Some(hint));
            }
        }
        let key = self.secret(AT, fields, "key");
        let key_id = fields.get("key_id").map(|value| self.text_at("/auth/key_id", "key_id", value));
        let key_id = match key_id {
            Some(None) => return None,
            Some(some) => some,
            None => None,
        };
        Some(Grounds::Assertion(Assertion { claims: claims?, key: key?, key_id, lifetime }))
    }

    fn login(&mut self, fields: &Map<String, Value>) -> Option<Login> {
        let authorize_url = self.url(fields, "authorize_url");
        let client_id = self.text_or_secret(AT, fields, "client_id");
        let optional = fields.get("scope");
        let scope = match optional.map(|value| self.template("/auth/scope", value, &Shape::any(), false)) {
            Some(None) => return None,
            Some(some) => some,
            None => None,
        };
        let extra = self.each_template("/auth/extra", fields.get("extra"), &Shape::any());
        Some(Login { authorize_url: authorize_url?, client_id: client_id?, scope, extra })
    }

    /// Any request: `{post: URL, headers, query, form | json}`.
    fn token_request(&mut self, fields: &Map<String, Value>) -> Option<TokenRequest> {
        let at = "/auth/request";
        let Some(value) = fields.get("request") else {
            self.missing(AT, "request", "request: {post: \"https://login.example.com/token\", json: {…}}");
            return None;
        };
        let fields = self.object(at, value, &["get", "post", "put", "headers", "query", "form", "json"])?;
        let methods: Vec<_> = METHODS.iter().filter(|(key, _)| fields.contains_key(*key)).collect();
        let [(key, method)] = methods.as_slice() else {
            let hint = "write one of get, post and put, as in `post: https://login.example.com/token`".to_owned();
            self.wrong("E-CON-004", at, "a request has exactly one method".into(), Some(hint));
            return None;
        };
        let url = self.template(&format!("{at}/{key}"), &fields[*key], &Shape::any(), false);
        let mut listed = |key: &str| match fields.get(key) {
            Some(value) => self.named_texts(&format!("{at}/{key}"), value),
            None => Some(Vec::new()),
        };
        let (headers, query) = (listed("headers"), listed("query"));
        for (name, _) in headers.iter().flatten() {
            self.header_name(&format!("{at}/headers/{name}"), name);
        }
        let body = match (fields.get("form"), fields.get("json")) {
            (Some(_), Some(_)) => {
                self.wrong("E-CON-004", at, "a request has one of form and json".into(), None);
                None
            }
            (Some(form), None) => self.named_texts(&format!("{at}/form"), form).map(TokenBody::Form),
            (None, Some(json)) => self.leaf(&format!("{at}/json"), json).map(TokenBody::Json),
            (None, None) => Some(TokenBody::None),
        };
        Some(TokenRequest { method, url: url?, query: query?, headers: headers?, body: body?, basic: None })
    }

    /// An object of templates and credentials.
    fn named_texts(&mut self, at: &str, value: &Value) -> Option<Vec<(String, Text)>> {
        let Value::Object(fields) = value else {
            self.wrong("E-CON-004", at, "it is an object of names and texts".into(), None);
            return None;
        };
        let texts: Vec<_> = fields
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), self.text_at(&format!("{at}/{name}"), name, value)?)))
            .collect();
        (texts.len() == fields.len()).then_some(texts)
    }

    fn leaf(&mut self, at: &str, value: &Value) -> Option<Leaf> {
        if let Some(name) = named(value) {
            return self.secret_at(at, name, value).map(|secret| Leaf::Text(Text::Secret(secret)));
        }
        match value {
            Value::String(_) => {
                self.template(at, value, &Shape::any(), false).map(|text| Leaf::Text(Text::Template(text)))
            }
            Value::Object(fields) => {
                let mut leaves = Vec::new();
                for (key, value) in fields {
                    leaves.push((key.clone(), self.leaf(&format!("{at}/{key}"), value)?));
                }
                Some(Leaf::Object(leaves))
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                let leaves = items.map(|(index, value)| self.leaf(&format!("{at}/{index}"), value));
                leaves.collect::<Option<Vec<_>>>().map(Leaf::List)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Some(Leaf::Literal(value.clone())),
        }
    }
}

/// A text that holds no template.
fn fixed(text: &str) -> Option<Text> {
    Template::parse(text).ok().map(Text::Template)
}
