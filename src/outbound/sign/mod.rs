//! Signatures over whole requests: a signer sees what goes out, and the time at which it does.

mod aws;
mod azure;
mod webhooks;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::Inner;
use super::auth::{Outgoing, header_value, text, value};
use crate::connector::{Class, Connection, Connector, Context, Failure, Signature};

/// What signs the requests of one call.
pub(crate) enum Signer {
    Azure(azure::Key),
    Aws(aws::Keys),
    Webhooks(webhooks::Key),
}

impl Signer {
    /// With the connection's credentials as they are now.
    pub async fn new(
        inner: &Inner,
        connector: &Connector,
        connection: &Connection,
        context: &Context,
        signature: &Signature,
    ) -> Result<Signer, Failure> {
        let plain = async |of| text(inner, connection, context, of).await.map(|text| text.expose_secret().to_owned());
        Ok(match signature {
            Signature::AzureSharedKeyLite { account, key, service } => {
                let (account, key) = (plain(account).await?, value(inner, connection, key).await?);
                Signer::Azure(azure::Key { account, key, service: *service })
            }
            Signature::AwsSigV4(aws) => {
                let session_token = match &aws.session_token {
                    Some(secret) if connector.credentials.get(&secret.0) == Some(&false) => {
                        inner.secrets.optional(connection, &secret.0).await?
                    }
                    Some(secret) => Some(value(inner, connection, secret).await?),
                    None => None,
                };
                Signer::Aws(aws::Keys {
                    region: plain(&aws.region).await?,
                    service: plain(&aws.service).await?,
                    id: value(inner, connection, &aws.access_key_id).await?,
                    secret: value(inner, connection, &aws.secret_access_key).await?,
                    session_token,
                })
            }
            Signature::StandardWebhooks { secret } => {
                let secret = value(inner, connection, secret).await?;
                Signer::Webhooks(webhooks::Key { id: context.key().to_string(), secret })
            }
        })
    }

    /// Adds the signature, made at `now`.
    pub fn sign(&self, outgoing: Outgoing<'_>, now: Timestamp) -> Result<(), Failure> {
        match self {
            Signer::Azure(key) => key.sign(outgoing, now),
            Signer::Aws(keys) => keys.sign(outgoing, now),
            Signer::Webhooks(key) => key.sign(outgoing, now),
        }
    }

    /// What must not come back in an answer.
    pub fn secrets(&self) -> Vec<SecretString> {
        match self {
            Signer::Azure(key) => vec![key.key.clone()],
            Signer::Aws(keys) => {
                [keys.secret.clone(), keys.id.clone()].into_iter().chain(keys.session_token.clone()).collect()
            }
            Signer::Webhooks(key) => vec![key.secret.clone()],
        }
    }
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// Sets a header of the signature.
fn set(outgoing: &mut Outgoing<'_>, name: &'static str, text: &str) -> Result<(), Failure> {
    let value = header_value(text)?;
    outgoing.headers.insert(name, value);
    Ok(())
}

/// A key that is not what its kind of signature takes.
fn invalid(what: &str) -> Failure {
    Failure::new(Class::Held, "secret.invalid", format!("{what}; set it anew"))
}

#[cfg(test)]
pub(super) mod tests {
    use reqwest::Method;
    use reqwest::header::HeaderMap;
    use url::Url;

    use super::*;

    /// A request as it goes out once `sign` has signed it at this second.
    pub fn signed(
        (method, url, headers, body): (&str, &str, &[(&'static str, &str)], &str),
        at: i64,
        sign: impl Fn(Outgoing<'_>, Timestamp) -> Result<(), Failure>,
    ) -> (Url, HeaderMap) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut url = Url::parse(url).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let outgoing =
            Outgoing { method: &method, url: &mut url, headers: &mut map, body: &mut Some(body.as_bytes().to_vec()) };
        sign(outgoing, Timestamp::from_second(at).unwrap()).unwrap();
        (url, map)
    }
}
