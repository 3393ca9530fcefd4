//! The one place where credentials meet a request, and the only hosts they go to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::{Origin, Url};

use super::sign::Signer;
use super::{Exchange, Inner};
use crate::connector::{self, Answer, ApiKeyPlace, Auth, Class, Connection, Connector, Context, Failure, Secret, Text};
use crate::mapping::parse_json;

/// Shorter secrets are not looked for in answers: they would be found by chance.
const SHORTEST_REDACTED: usize = 8;

/// Shorter parts of a URL that is a secret are words, such as `messages`, and not the secret of it.
const SHORTEST_PART: usize = 16;

/// What may stand in a segment of a path as it is (RFC 3986, pchar).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=');

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
    /// Behind this path.
    Path(String, SecretString),
    /// As a field of the body.
    Body(String, SecretString),
    Signature(Signer),
}

/// A request on its way out, complete but for its credentials.
pub(crate) struct Outgoing<'o> {
    pub method: &'o Method,
    pub url: &'o mut Url,
    pub headers: &'o mut HeaderMap,
    pub body: &'o mut Option<Vec<u8>>,
}

impl Attached {
    fn new(origin: Origin, add: Add, secrets: Vec<SecretString>) -> Attached {
        Attached { origin, add, generation: None, secrets }
    }

    pub fn nothing(origin: Origin) -> Attached {
        Attached::new(origin, Add::Nothing, Vec::new())
    }

    pub fn bearer(origin: Origin, token: SecretString) -> Attached {
        let value = format!("Bearer {}", token.expose_secret().trim());
        Attached::new(origin, Add::Header(AUTHORIZATION, value.into()), vec![token])
    }

    pub fn basic(origin: Origin, username: &str, password: SecretString) -> Attached {
        let encoded = STANDARD.encode(format!("{username}:{}", password.expose_secret()));
        let value = format!("Basic {encoded}");
        Attached::new(origin, Add::Header(AUTHORIZATION, value.into()), vec![password, encoded.into()])
    }

    /// A key in a header, in the query, or in the path, there behind what the caller says.
    pub fn api_key(
        origin: Origin,
        place: ApiKeyPlace,
        name: &str,
        prefix: &str,
        key: SecretString,
    ) -> Result<Attached, Failure> {
        let mut secrets = vec![key.clone()];
        let add = match place {
            ApiKeyPlace::Header => Add::Header(header(name)?, format!("{prefix}{}", key.expose_secret()).into()),
            ApiKeyPlace::Query => Add::Query(name.to_owned(), format!("{prefix}{}", key.expose_secret()).into()),
            ApiKeyPlace::Path => {
                let encoded = utf8_percent_encode(key.expose_secret(), SEGMENT).to_string();
                let whole = format!("{prefix}{encoded}").into();
                secrets.push(encoded.into());
                Add::Path(String::new(), whole)
            }
            ApiKeyPlace::Body => Add::Body(name.to_owned(), format!("{prefix}{}", key.expose_secret()).into()),
        };
        Ok(Attached::new(origin, add, secrets))
    }

    fn signed(origin: Origin, signer: Signer) -> Attached {
        let secrets = signer.secrets();
        Attached::new(origin, Add::Signature(signer), secrets)
    }

    /// The same, with a base URL that is a secret: whatever of it could be one is taken out of answers too.
    fn hiding(mut self, base: &Url) -> Attached {
        let parts = base.path_segments().into_iter().flatten().map(str::to_owned);
        let values = base.query_pairs().map(|(_, value)| value.into_owned());
        let long = parts.chain(values).filter(|part| part.len() >= SHORTEST_PART);
        let whole = [base.as_str(), base.path(), base.query().unwrap_or_default()].map(str::to_owned);
        self.secrets.extend(whole.into_iter().chain(long).map(SecretString::from));
        self
    }

    /// True if the credentials may go there.
    pub fn is_for(&self, url: &Url) -> bool {
        url.origin() == self.origin
    }

    /// Adds the credentials; another host than their own is refused, never called without them.
    pub fn apply(&self, outgoing: Outgoing<'_>, now: Timestamp) -> Result<(), Failure> {
        if matches!(self.add, Add::Nothing) {
            return Ok(());
        }
        if outgoing.url.origin() != self.origin {
            return Err(other_host(outgoing.url, &self.origin));
        }
        match &self.add {
            Add::Nothing => {}
            Add::Header(name, value) => {
                let mut value = header_value(value.expose_secret().trim())?;
                value.set_sensitive(true);
                outgoing.headers.insert(name, value);
            }
            Add::Query(name, value) => {
                outgoing.url.query_pairs_mut().append_pair(name, value.expose_secret());
            }
            Add::Path(base, key) => {
                let path = outgoing.url.path();
                let rest = path.strip_prefix(base.as_str()).unwrap_or(path).to_owned();
                outgoing.url.set_path(&format!("{base}{}{rest}", key.expose_secret()));
            }
            Add::Body(name, key) => *outgoing.body = with_field(&outgoing, name, key)?,
            Add::Signature(signer) => signer.sign(outgoing, now)?,
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

/// The body with one field more.
fn with_field(outgoing: &Outgoing<'_>, name: &str, key: &SecretString) -> Result<Option<Vec<u8>>, Failure> {
    let body = outgoing.body.as_deref().unwrap_or_default();
    let essence = outgoing.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if essence.starts_with("application/x-www-form-urlencoded") {
        let mut form = url::form_urlencoded::Serializer::new(String::from_utf8_lossy(body).into_owned());
        form.append_pair(name, key.expose_secret());
        return Ok(Some(form.finish().into_bytes()));
    }
    match parse_json(body) {
        Ok(Value::Object(mut object)) => {
            object.insert(name.to_owned(), Value::String(key.expose_secret().to_owned()));
            Ok(Some(Value::Object(object).to_string().into_bytes()))
        }
        Ok(_) | Err(_) => {
            let what = format!(
                "the connector puts its key into the field `{name}` of the body, which is neither a JSON object nor a form"
            );
            Err(Failure::new(Class::Permanent, "outbound.request", what))
        }
    }
}

fn header(name: &str) -> Result<HeaderName, Failure> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        let what = format!("the API key's header `{name}` is not a header's name; mend the settings");
        Failure::new(Class::Held, "connector.api_key", what)
    })
}

/// A header's value that is made of a credential.
pub(super) fn header_value(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|_| {
        let what = "a credential has a line break or a letter that a header cannot hold; set it anew";
        Failure::new(Class::Held, "secret.invalid", what)
    })
}

/// A secret as answers repeat it: as it is, within JSON, within a URL or a form. Most read the same in all of them.
///
/// Without blanks around it: in a header it is sent so, and with them it is found all the same.
pub(crate) fn spellings(secret: &SecretString) -> Vec<SecretString> {
    let plain = secret.expose_secret().trim();
    let json = serde_json::Value::String(plain.to_owned()).to_string();
    let form: String = url::form_urlencoded::byte_serialize(plain.as_bytes()).collect();
    let mut all = vec![SecretString::from(plain)];
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

/// The credentials of a declared connector's call, and in `context` what they say of where it goes. `stale` names a
/// token that was refused.
pub(crate) async fn attach(
    inner: &Inner,
    exchange: &Exchange<'_>,
    context: &mut Context,
    stale: Option<u64>,
) -> Result<Attached, Failure> {
    let declared = exchange.declared;
    let secret_base = connector::secret_base(declared, exchange.connection);
    if secret_base.is_none() && matches!(declared.auth, Auth::None) {
        return Ok(Attached::nothing(connector::base_url(declared, exchange.connection, context)?.origin()));
    }
    let Some(connection) = exchange.connection else {
        let what = format!("`{}` needs a connection for its credentials", exchange.connector.name);
        return Err(Failure::new(Class::Held, "connector.no_connection", what));
    };
    if let Some(secret) = secret_base {
        let text = value(inner, connection, secret).await?;
        context.set_base(connector::of_secret(text.expose_secret(), connection, secret)?);
    }
    let mut token = None;
    if let Some(grant) = declared.auth.grant() {
        let got = inner.tokens.get(inner, exchange.connector, connection, grant, context, exchange.deadline, stale);
        let got = got.await?;
        context.set_token(Some(got.answer.clone()));
        token = Some((grant, got));
    }
    // Only now: a token's answer may name the host.
    let base = connector::base_url(declared, Some(connection), context)?;
    let origin = base.origin();
    let attached = match (&declared.auth, token) {
        (_, Some((grant, token))) => {
            let (place, secret) = (ApiKeyPlace::Header, token.value);
            let mut attached = Attached::api_key(origin, place, &grant.header, &grant.prefix, secret)?;
            attached.generation = Some(token.generation);
            attached
        }
        (Auth::None | Auth::Token(_), None) => Attached::nothing(origin),
        (Auth::ApiKey { place, name, prefix, key }, None) => {
            let key = value(inner, connection, key).await?;
            let mut attached = Attached::api_key(origin, *place, name, prefix, key)?;
            if let Add::Path(path, _) = &mut attached.add {
                *path = base.path().trim_end_matches('/').to_owned();
            }
            attached
        }
        (Auth::Basic { username, password }, None) => {
            let username = text(inner, connection, context, username).await?;
            let password = text(inner, connection, context, password).await?;
            Attached::basic(origin, username.expose_secret(), password)
        }
        (Auth::Bearer { token }, None) => match set(inner, exchange.connector, connection, token).await? {
            Some(token) => Attached::bearer(origin, token),
            None => Attached::nothing(origin),
        },
        (Auth::Signed(signature), None) => {
            let signer = Signer::new(inner, exchange.connector, connection, context, signature).await?;
            Attached::signed(origin, signer)
        }
    };
    Ok(if secret_base.is_some() { attached.hiding(&base) } else { attached })
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

/// The same, but `None` for nothing: a template that finds nothing, or a credential that need not be set and is not.
pub(crate) async fn optional(
    inner: &Inner,
    connector: &Connector,
    connection: &Connection,
    context: &Context,
    text: &Text,
) -> Result<Option<SecretString>, Failure> {
    match text {
        Text::Template(template) => Ok(context.text(template)?.map(SecretString::from)),
        Text::Secret(secret) => set(inner, connector, connection, secret).await,
    }
}

/// A credential; `None` for one that need not be set and is not.
async fn set(
    inner: &Inner,
    connector: &Connector,
    connection: &Connection,
    secret: &Secret,
) -> Result<Option<SecretString>, Failure> {
    match connector.credentials.get(&secret.0) {
        Some(false) => inner.secrets.optional(connection, &secret.0).await,
        Some(true) | None => value(inner, connection, secret).await.map(Some),
    }
}
