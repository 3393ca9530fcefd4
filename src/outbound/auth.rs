//! The one place where credentials meet a request, and the only hosts they go to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use url::{Origin, Url};

use super::{Exchange, Inner};
use crate::connector::{Answer, ApiKeyPlace, Auth, Class, Connection, Context, Failure, Secret, Text};

/// Shorter secrets are not looked for in answers: they would be found by chance.
const SHORTEST_REDACTED: usize = 8;

/// Credentials of one call, ready to be added to a request to `origin`.
pub(crate) struct Attached {
    origin: Origin,
    add: Add,
    /// Which token this is; `None` if the credentials are not fetched.
    pub generation: Option<u64>,
    /// Every text that must not come back in an answer.
    secrets: Vec<SecretString>,
}

enum Add {
    Nothing,
    Header(HeaderName, SecretString),
    Query(String, SecretString),
}

impl Attached {
    fn new(origin: Origin, add: Add, secrets: Vec<SecretString>) -> Attached {
        Attached { origin, add, generation: None, secrets }
    }

    pub fn nothing(origin: Origin) -> Attached {
        Attached::new(origin, Add::Nothing, Vec::new())
    }

    pub fn bearer(origin: Origin, token: SecretString) -> Attached {
        let value = format!("Bearer {}", token.expose_secret());
        Attached::new(origin, Add::Header(AUTHORIZATION, value.into()), vec![token])
    }

    pub fn basic(origin: Origin, username: &str, password: SecretString) -> Attached {
        let encoded = STANDARD.encode(format!("{username}:{}", password.expose_secret()));
        let value = format!("Basic {encoded}");
        Attached::new(origin, Add::Header(AUTHORIZATION, value.into()), vec![password, encoded.into()])
    }

    pub fn api_key(
        origin: Origin,
        place: ApiKeyPlace,
        name: &str,
        prefix: &str,
        key: SecretString,
    ) -> Result<Attached, Failure> {
        let add = match place {
            ApiKeyPlace::Header => {
                let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                    let what = format!("the API key's header `{name}` is not a header's name; mend the settings");
                    Failure::new(Class::Held, "connector.api_key", what)
                })?;
                Add::Header(header, format!("{prefix}{}", key.expose_secret()).into())
            }
            ApiKeyPlace::Query => Add::Query(name.to_owned(), key.clone()),
        };
        Ok(Attached::new(origin, add, vec![key]))
    }

    /// True if the credentials may go there.
    pub fn is_for(&self, url: &Url) -> bool {
        url.origin() == self.origin
    }

    /// Adds the credentials; another host than their own is refused, never called without them.
    pub fn apply(&self, url: &mut Url, headers: &mut HeaderMap) -> Result<(), Failure> {
        if matches!(self.add, Add::Nothing) {
            return Ok(());
        }
        if url.origin() != self.origin {
            return Err(other_host(url, &self.origin));
        }
        match &self.add {
            Add::Nothing => {}
            Add::Header(name, value) => {
                let Ok(mut value) = HeaderValue::from_str(value.expose_secret().trim()) else {
                    let what = "a credential has a line break or a letter that a header cannot hold; set it anew";
                    return Err(Failure::new(Class::Held, "secret.invalid", what));
                };
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            Add::Query(name, value) => {
                url.query_pairs_mut().append_pair(name, value.expose_secret());
            }
        }
        Ok(())
    }

    /// Takes the credentials out of an answer that repeats them, before anything of it is kept.
    pub fn redact(&self, answer: &mut Answer) {
        for secret in self.secrets.iter().flat_map(spellings) {
            let secret = secret.expose_secret();
            if secret.len() < SHORTEST_REDACTED {
                continue;
            }
            if answer.body.windows(secret.len()).any(|window| window == secret.as_bytes()) {
                let text = String::from_utf8_lossy(&answer.body).replace(secret, "[redacted]");
                answer.body = text.into_bytes();
            }
            for (_, value) in &mut answer.headers {
                if value.contains(secret) {
                    *value = value.replace(secret, "[redacted]");
                }
            }
        }
    }
}

/// A secret as answers repeat it: as it is, within JSON, within a URL or a form. Most read the same in all of them.
fn spellings(secret: &SecretString) -> Vec<SecretString> {
    let plain = secret.expose_secret();
    let json = serde_json::Value::String(plain.to_owned()).to_string();
    let form: String = url::form_urlencoded::byte_serialize(plain.as_bytes()).collect();
    let mut all = vec![secret.clone()];
    for other in [json[1..json.len() - 1].to_owned(), form.replace('+', "%20"), form] {
        if !all.iter().any(|known| known.expose_secret() == other) {
            all.push(other.into());
        }
    }
    all
}

/// Credentials were about to follow the data to another host.
pub(crate) fn other_host(url: &Url, own: &Origin) -> Failure {
    let what = format!(
        "{} is not the connection's own host ({}); its credentials are not sent there, and neither is the request. \
         Use a connection of that host, or none",
        url.origin().ascii_serialization(),
        own.ascii_serialization()
    );
    Failure::new(Class::Permanent, "outbound.other_host", what)
}

/// The credentials of a declared connector's call. `stale` names a token that was refused.
pub(crate) async fn attach(
    inner: &Inner,
    exchange: &Exchange<'_>,
    context: &Context,
    origin: &Origin,
    stale: Option<u64>,
) -> Result<Attached, Failure> {
    let origin = origin.clone();
    let auth = &exchange.declared.auth;
    if matches!(auth, Auth::None) {
        return Ok(Attached::nothing(origin));
    }
    let Some(connection) = exchange.connection else {
        let what = format!("`{}` needs a connection for its credentials", exchange.connector.name);
        return Err(Failure::new(Class::Held, "connector.no_connection", what));
    };
    match auth {
        Auth::None => Ok(Attached::nothing(origin)),
        Auth::ApiKey { place, name, prefix, key } => {
            let key = value(inner, connection, key).await?;
            Attached::api_key(origin, *place, name, prefix, key)
        }
        Auth::Basic { username, password } => {
            let username = text(inner, connection, context, username).await?;
            let password = text(inner, connection, context, password).await?;
            Ok(Attached::basic(origin, username.expose_secret(), password))
        }
        Auth::Bearer { token } => Ok(Attached::bearer(origin, value(inner, connection, token).await?)),
        Auth::OAuth2ClientCredentials(grant) => {
            let token = inner.tokens.get(inner, connection, grant, context, exchange.deadline, stale).await?;
            let mut attached = Attached::bearer(origin, token.value);
            attached.generation = Some(token.generation);
            Ok(attached)
        }
    }
}

pub(crate) async fn value(inner: &Inner, connection: &Connection, secret: &Secret) -> Result<SecretString, Failure> {
    inner.secrets.resolve(connection, &secret.0).await
}

pub(crate) async fn text(
    inner: &Inner,
    connection: &Connection,
    context: &Context,
    text: &Text,
) -> Result<SecretString, Failure> {
    match text {
        Text::Template(template) => Ok(context.text(template)?.unwrap_or_default().into()),
        Text::Secret(secret) => value(inner, connection, secret).await,
    }
}
