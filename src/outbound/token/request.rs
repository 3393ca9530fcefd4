//! One request for a token: made of what the connector's file says and of the connection's credentials, and what its
//! answer means.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use url::Url;

use super::super::auth::{self, Attached};
use super::super::{Inner, LOGIN_NEEDED, clock};
use super::jwt;
use crate::connector::{
    Answer, Assertion, Class, Connection, Connector, Context, Failure, Grant, Grounds, HttpRequest, Leaf, Selection,
    TokenBody, plain_text, retry_after, safe_header,
};

/// Longest answer of a token server.
pub(super) const LIMIT: usize = 64 * 1024;

/// Members of a token's answer that prove something: no template sees them.
const PROOFS: [&str; 6] =
    ["access_token", "refresh_token", "id_token", "session_token", "client_secret", "device_code"];

/// Who asks for a token, and where.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub inner: &'a Inner,
    pub connector: &'a Connector,
    pub connection: &'a Connection,
    pub grant: &'a Grant,
    pub context: &'a Context,
    pub deadline: tokio::time::Instant,
}

/// What a token request carries beside what the file says.
pub(crate) enum Ticket {
    None,
    Refresh(SecretString),
    /// RFC 6749 §4.1.3 and RFC 7636 §4.5.
    Code {
        code: SecretString,
        verifier: SecretString,
        redirect_uri: String,
    },
}

/// What a token server gave.
pub(crate) struct Given {
    pub token: SecretString,
    /// `None` if it did not say.
    pub lifetime: Option<Duration>,
    pub refresh_token: Option<SecretString>,
    /// The answer without what proves anything.
    pub answer: Value,
}

impl Asker<'_> {
    /// Where tokens come from: the connection's own address wins.
    pub fn url(&self) -> Result<Url, Failure> {
        let text = match &self.connection.token_url {
            Some(text) => text.clone(),
            None => self.context.text(&self.grant.request.url)?.unwrap_or_default(),
        };
        Url::parse(&text).map_err(|error| {
            let name = &self.connection.name;
            let what = format!("the token URL `{text}` of the connection `{name}` is not a URL: {error}");
            Failure::new(Class::Held, "connector.token_url", what)
        })
    }

    /// Asks once.
    pub async fn ask(&self, ticket: &Ticket) -> Result<Given, Failure> {
        let mut secrets = Vec::new();
        let (request, attached) = self.request(ticket, &mut secrets).await?;
        let sent = self.inner.client.send(&request, attached.as_ref(), self.deadline, LIMIT).await;
        let answer = sent.map_err(|failure| self.unsent(failure))?;
        let given = given(&answer, &self.grant.token, &self.grant.expires_in);
        given.ok_or_else(|| self.no_token(&answer, &secrets))
    }

    /// Why there is no token where there was no answer.
    pub fn unsent(&self, mut failure: Failure) -> Failure {
        // Asking for a token does nothing that a second asking could double.
        if failure.class == Class::Unknown {
            failure.class = Class::Retry;
        }
        self.named(failure)
    }

    fn named(&self, mut failure: Failure) -> Failure {
        failure.message = format!("no token for the connection `{}`: {}", self.connection.name, failure.message);
        failure
    }

    /// The request, but for what is attached when it goes out; in `secrets` what no message may show.
    pub async fn request(
        &self,
        ticket: &Ticket,
        secrets: &mut Vec<SecretString>,
    ) -> Result<(HttpRequest, Option<Attached>), Failure> {
        let declared = &self.grant.request;
        let mut url = self.url()?;
        for (name, text) in &declared.query {
            if let Some(value) = self.text(text, secrets).await? {
                url.query_pairs_mut().append_pair(name, value.expose_secret());
            }
        }
        let mut headers = Vec::new();
        for (name, text) in &declared.headers {
            if let Some(value) = self.text(text, secrets).await? {
                safe_header(name, value.expose_secret())?;
                headers.push((name.clone(), value.expose_secret().to_owned()));
            }
        }
        let lacks = |name: &str| !headers.iter().any(|(known, _): &(String, String)| known.eq_ignore_ascii_case(name));
        let mut kind = None;
        let body = match &declared.body {
            TokenBody::None => None,
            TokenBody::Form(fields) => {
                kind = Some("application/x-www-form-urlencoded");
                Some(self.form(fields, ticket, secrets).await?.into_bytes())
            }
            TokenBody::Json(leaf) => {
                kind = Some("application/json");
                let value = Box::pin(self.leaf(leaf, secrets)).await?;
                Some(value.to_string().into_bytes())
            }
        };
        let kind = kind.filter(|_| lacks("content-type")).map(|kind| ("Content-Type".to_owned(), kind.to_owned()));
        let accept = lacks("accept").then(|| ("Accept".to_owned(), "application/json".to_owned()));
        headers.extend(kind.into_iter().chain(accept));
        let attached = match &declared.basic {
            None => None,
            Some((id, secret)) => {
                let id = self.text(id, secrets).await?.unwrap_or_default();
                let secret = self.text(secret, secrets).await?.unwrap_or_default();
                Some(Attached::basic(url.origin(), id.expose_secret(), secret))
            }
        };
        Ok((HttpRequest { method: declared.method.into(), url, headers, body }, attached))
    }

    async fn form(
        &self,
        fields: &[(String, crate::connector::Text)],
        ticket: &Ticket,
        secrets: &mut Vec<SecretString>,
    ) -> Result<String, Failure> {
        let mut pairs: Vec<(String, SecretString)> = Vec::new();
        for (name, text) in fields {
            if let Some(value) = self.text(text, secrets).await? {
                pairs.push((name.clone(), value));
            }
        }
        match (ticket, &self.grant.proof) {
            (Ticket::Code { code, verifier, redirect_uri }, _) => {
                pairs.retain(|(name, _)| name != "grant_type");
                pairs.insert(0, ("grant_type".into(), "authorization_code".to_owned().into()));
                pairs.push(("code".into(), code.clone()));
                pairs.push(("redirect_uri".into(), redirect_uri.clone().into()));
                pairs.push(("code_verifier".into(), verifier.clone()));
                secrets.extend([code.clone(), verifier.clone()]);
            }
            (Ticket::Refresh(refresh_token), _) => {
                pairs.push(("refresh_token".into(), refresh_token.clone()));
                secrets.push(refresh_token.clone());
            }
            (Ticket::None, Grounds::Assertion(assertion)) => {
                pairs.push(("assertion".into(), self.assertion(assertion, secrets).await?));
            }
            (Ticket::None, Grounds::None | Grounds::Refresh { .. }) => {}
        }
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.expose_secret())));
        Ok(form.finish())
    }

    async fn assertion(&self, assertion: &Assertion, secrets: &mut Vec<SecretString>) -> Result<SecretString, Failure> {
        let now = Timestamp::now().as_second();
        let mut claims = Map::new();
        for (name, text) in &assertion.claims {
            if let Some(value) = self.text(text, secrets).await? {
                claims.insert(name.clone(), json!(value.expose_secret()));
            }
        }
        claims.insert("iat".into(), json!(now));
        claims.insert("exp".into(), json!(now.saturating_add_unsigned(assertion.lifetime.as_secs())));
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(key_id) = &assertion.key_id
            && let Some(key_id) = self.text(key_id, secrets).await?
        {
            header["kid"] = json!(key_id.expose_secret());
        }
        let key = auth::value(self.inner, self.connection, &assertion.key).await?;
        let signed = jwt::signed(&header, &Value::Object(claims), &key).map_err(|why| {
            let (name, of) = (&assertion.key.0, &self.connection.name);
            let what = format!("the credential `{name}` of the connection `{of}` {why}; set it anew");
            Failure::new(Class::Held, "secret.invalid", what)
        })?;
        secrets.push(signed.clone());
        Ok(signed)
    }

    async fn leaf(&self, leaf: &Leaf, secrets: &mut Vec<SecretString>) -> Result<Value, Failure> {
        Ok(match leaf {
            Leaf::Literal(value) => value.clone(),
            Leaf::Text(text) => match self.text(text, secrets).await? {
                Some(value) => json!(value.expose_secret()),
                None => Value::Null,
            },
            Leaf::Object(fields) => {
                let mut object = Map::new();
                for (key, leaf) in fields {
                    object.insert(key.clone(), Box::pin(self.leaf(leaf, secrets)).await?);
                }
                Value::Object(object)
            }
            Leaf::List(items) => {
                let mut list = Vec::new();
                for leaf in items {
                    list.push(Box::pin(self.leaf(leaf, secrets)).await?);
                }
                Value::Array(list)
            }
        })
    }

    /// A text; one that is a credential is remembered, to be taken out of messages.
    pub async fn text(
        &self,
        text: &crate::connector::Text,
        secrets: &mut Vec<SecretString>,
    ) -> Result<Option<SecretString>, Failure> {
        let found = auth::optional(self.inner, self.connector, self.connection, self.context, text).await?;
        if matches!(text, crate::connector::Text::Secret(_)) {
            secrets.extend(found.clone());
        }
        Ok(found)
    }

    /// Why there is no token in this answer.
    pub fn no_token(&self, answer: &Answer, secrets: &[SecretString]) -> Failure {
        let status = answer.status;
        if status == 429 || status >= 500 || status == 408 {
            let what = format!("the token server answered {status}");
            let failure = Failure::new(Class::Throttled, "outbound.token_unavailable", what).with_status(status);
            return self.named(failure.with_wait(retry_after(answer, Timestamp::now())));
        }
        let mut failure = self.refused(status, &answer.json().unwrap_or(Value::Null), secrets);
        // A signed statement is good for its time alone.
        if matches!(self.grant.proof, Grounds::Assertion(_))
            && let Some(note) = clock::note(answer, Timestamp::now())
        {
            failure.message.push_str(&note);
        }
        self.named(failure)
    }

    /// What the server said when it said no, without what it was sent.
    fn refused(&self, status: u16, body: &Value, secrets: &[SecretString]) -> Failure {
        let say = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
        // The secrets go before the rest is cut, so that no half of one stays.
        let mut said = format!("{} {}", say("error"), say("error_description"));
        for spelling in secrets.iter().flat_map(auth::spellings).filter(|text| !text.expose_secret().is_empty()) {
            said = said.replace(spelling.expose_secret(), "[redacted]");
        }
        let said: String = said.chars().take(300).collect();
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let name = &self.connection.name;
        let (code, now) = match (&self.grant.proof, say("error")) {
            (Grounds::Refresh { first: None }, "invalid_grant") => {
                (LOGIN_NEEDED, format!("the login has ended or was revoked; run `millstream connections login {name}`"))
            }
            (Grounds::Refresh { first: Some(first) }, "invalid_grant") => {
                let first = &first.0;
                let now =
                    format!("the refresh token has ended or was revoked; set the credential `{first}` to a new one");
                (LOGIN_NEEDED, now)
            }
            _ => ("outbound.token_refused", "check client id, secret and scope".to_owned()),
        };
        let what = format!("the token server refused (status {status}) {said}; {now}");
        Failure::new(Class::Held, code, what).with_status(status)
    }
}

/// What an answer gives; `None` if it is no good one, or holds no token.
pub(super) fn given(answer: &Answer, token: &Selection, expires_in: &Selection) -> Option<Given> {
    if !(200..300).contains(&answer.status) {
        return None;
    }
    let mut body = answer.json()?;
    let text = |value: Value| plain_text(&value).filter(|text| !text.is_empty());
    let token = token.find(&body).and_then(text)?;
    let seconds = match expires_in.find(&body) {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    let lifetime = seconds.filter(|seconds| *seconds > 0.0 && *seconds < 1e8).map(Duration::from_secs_f64);
    let refresh_token = body.get("refresh_token").cloned().and_then(text);
    let hidden: Vec<&str> = [Some(token.as_str()), refresh_token.as_deref()].into_iter().flatten().collect();
    strip(&mut body, &hidden);
    Some(Given { token: token.into(), lifetime, refresh_token: refresh_token.map(Into::into), answer: body })
}

/// Takes out of an answer what proves anything: members of such names, and these texts wherever they are.
fn strip(value: &mut Value, hidden: &[&str]) {
    match value {
        Value::Object(object) => {
            object.retain(|key, value| {
                let shows = value.as_str().is_some_and(|text| hidden.contains(&text));
                !shows && !PROOFS.contains(&key.to_ascii_lowercase().as_str())
            });
            object.values_mut().for_each(|value| strip(value, hidden));
        }
        Value::Array(items) => {
            items.retain(|value| !value.as_str().is_some_and(|text| hidden.contains(&text)));
            items.iter_mut().for_each(|value| strip(value, hidden));
        }
        Value::String(text) if hidden.contains(&text.as_str()) => *value = Value::Null,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_see_of_a_tokens_answer_only_what_proves_nothing() {
        let mut answer = json!({
            "access_token": "a", "refresh_token": "r", "id_token": "i", "token_type": "Bearer",
            "instance_url": "https://x", "data": {"jwt": "a", "scopes": ["a", "b"]},
        });
        strip(&mut answer, &["a", "r"]);
        let left = json!({"token_type": "Bearer", "instance_url": "https://x", "data": {"scopes": ["b"]}});
        assert_eq!(answer, left);
    }
}
