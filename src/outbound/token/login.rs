//! A person's login: authorization code with PKCE (RFC 6749 §4.1, RFC 7636), back to this machine's loopback (RFC 8252 §7.3).
//!
//! The verifier never leaves this process. Who asked waits for the browser and brings the code.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use url::{Host, Url};

use super::request::{Asker, Ticket};
use crate::connector::{Class, Failure, plain_text};

/// How long a login may take.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Logins that are open at once.
const MOST: usize = 100;

/// Logins that wait for their code, by `state`.
#[derive(Default)]
pub(crate) struct Logins(Mutex<HashMap<String, Open>>);

struct Open {
    connection: String,
    verifier: SecretString,
    redirect_uri: String,
    until: Instant,
}

/// A login that does not come to be is for the person at the command line, no run's.
fn wrong(what: impl Into<String>) -> Failure {
    Failure::new(Class::Permanent, "outbound.login", what)
}

impl Logins {
    fn open(&self, state: String, open: Open) {
        let mut logins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        logins.retain(|_, open| open.until > now);
        if logins.len() >= MOST {
            logins.clear();
        }
        logins.insert(state, open);
    }

    /// Each state is good once.
    fn close(&self, state: &str, connection: &str) -> Option<Open> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(state)?;
        (open.until > Instant::now() && open.connection == connection).then_some(open)
    }
}

impl Asker<'_> {
    /// The URL that the person's browser opens.
    ///
    /// # Errors
    /// If the connector knows no login, or `redirect_uri` leads off this machine.
    pub async fn begin_login(&self, redirect_uri: &str) -> Result<Url, Failure> {
        let name = &self.connection.name;
        let Some(login) = &self.grant.login else {
            return Err(wrong(format!(
                "the connection `{name}` needs no login: its credentials are in connections.yaml"
            )));
        };
        if !is_loopback(redirect_uri) {
            return Err(wrong("`redirect_uri` is an http URL of this machine: http://127.0.0.1:PORT/…"));
        }
        let text = self.context.text(&login.authorize_url)?.unwrap_or_default();
        let mut url = Url::parse(&text).map_err(|error| wrong(format!("`{text}` is not a URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(format!("`{text}` is neither http nor https")));
        }
        let (state, verifier) = (random()?, random()?);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        let id = self.text(&login.client_id, &mut Vec::new()).await?.unwrap_or_default();
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("response_type", "code").append_pair("client_id", id.expose_secret());
            query.append_pair("redirect_uri", redirect_uri).append_pair("state", &state);
            query.append_pair("code_challenge", &challenge).append_pair("code_challenge_method", "S256");
            if let Some(scope) = login.scope.as_ref().map(|scope| self.context.text(scope)).transpose()?.flatten() {
                query.append_pair("scope", &scope);
            }
            for (key, template) in &login.extra {
                let value = template.render(self.context).map_err(|error| wrong(error.what))?;
                if let Some(value) = value.as_ref().and_then(plain_text) {
                    query.append_pair(key, &value);
                }
            }
        }
        let open = Open {
            connection: name.clone(),
            verifier: verifier.into(),
            redirect_uri: redirect_uri.to_owned(),
            until: Instant::now() + PATIENCE,
        };
        self.inner.tokens.logins.open(state, open);
        Ok(url)
    }

    /// Trades the code for tokens. They are on disk on return, and the next call uses them.
    ///
    /// # Errors
    /// If the state is none that waits for this connection's code, or the token server refuses the code.
    pub async fn finish_login(&self, state: &str, code: SecretString) -> Result<(), Failure> {
        let name = &self.connection.name;
        let Some(Open { verifier, redirect_uri, .. }) = self.inner.tokens.logins.close(state, name) else {
            let what = format!(
                "the answer does not belong to a login of `{name}` that is under way (wrong or old `state`); \
                 run `millstream connections login {name}` again"
            );
            return Err(wrong(what));
        };
        let given = self.ask(&Ticket::Code { code, verifier, redirect_uri }).await?;
        self.inner.tokens.logged_in(self, &given).await
    }
}

/// 256 bits as 43 characters: what RFC 7636 §4.1 asks of a verifier.
fn random() -> Result<String, Failure> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| wrong(format!("the system gives no random numbers: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn is_loopback(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        url.scheme() == "http"
            && match url.host() {
                Some(Host::Ipv4(ip)) => ip.is_loopback(),
                Some(Host::Ipv6(ip)) => ip.is_loopback(),
                Some(Host::Domain(name)) => name == "localhost",
                None => false,
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_comes_back_to_this_machine_alone() {
        for good in ["http://127.0.0.1:5000/callback", "http://[::1]:5000/", "http://localhost:5000/x"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in ["https://127.0.0.1/", "http://example.com/", "http://127.0.0.1.example.com/", "urn:x", ""] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_is_good_once_for_its_connection_and_for_a_while() {
        let logins = Logins::default();
        let open = |state: &str| {
            let open = Open {
                connection: "crm".into(),
                verifier: "v".to_owned().into(),
                redirect_uri: "http://127.0.0.1/".into(),
                until: Instant::now() + PATIENCE,
            };
            logins.open(state.into(), open);
        };
        open("a");
        assert!(logins.close("b", "crm").is_none());
        assert!(logins.close("a", "crm").is_some());
        assert!(logins.close("a", "crm").is_none());
        open("c");
        assert!(logins.close("c", "other").is_none());
        open("d");
        tokio::time::advance(PATIENCE).await;
        assert!(logins.close("d", "crm").is_none());
    }
}
