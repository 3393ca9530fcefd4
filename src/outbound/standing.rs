//! How a connection stands, for people: which credentials it lacks, whether somebody has logged in, when its token ends;
//! what its test says, and what to do about it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{NO_LISTENER, NOT_KNOWN};
use super::token::Asker;
use super::{DEFAULT_TIMEOUT, Inner, LOGIN_NEEDED, Outbound};
use crate::connector::{self, Auth, Class, Connection, Connector, Context, Failure, Grant, Kind, SecretSource};

/// Longest time of a login's exchange with the token server.
const PATIENCE: Duration = Duration::from_secs(30);

impl Outbound {
    /// What of the connection is there and what is missing. Sends nothing.
    pub async fn standing(&self, connector: &Connector, connection: &Connection) -> Value {
        let mut credentials = Vec::new();
        for (name, required) in &connector.credentials {
            let Some(source) = connection.credentials.get(name) else {
                if *required {
                    credentials
                        .push(json!({"name": name, "from": null, "problem": "connections.yaml does not name it"}));
                }
                continue;
            };
            let found = self.inner.secrets.find(source, &connection.dir).await;
            let problem = found.err().map(|(place, now)| format!("{place}; {now}"));
            credentials.push(json!({"name": name, "from": place(source), "problem": problem}));
        }
        let mut told = json!({"credentials": credentials});
        let Some(grant) = grant(connector) else { return told };
        let context = connector::test_context(connector, connection, Timestamp::now());
        let asker = self.asker(connector, connection, grant, &context);
        let known = self.inner.tokens.standing(&asker).await;
        if grant.needs_login() {
            told["login"] = json!(if known.as_ref().is_some_and(|token| token.is_good) { "done" } else { "needed" });
        }
        told["token"] = known.map_or(Value::Null, |token| json!({"expires_at": token.expires_at}));
        told
    }

    /// Tries a connection out with the request that its connector declares for that: what was shown, or what is wrong and
    /// what to do.
    pub async fn tried(&self, connector: &Arc<Connector>, connection: &Arc<Connection>) -> Value {
        if !matches!(&connector.kind, Kind::Declared(declared) if declared.has_test()) {
            let what = format!("`{}` declares no test; run a flow that uses it", connector.name);
            return json!({"ok": null, "message": what});
        }
        match self.test(connector, connection).await {
            Ok(shows) => json!({"ok": true, "shows": shows}),
            Err(failure) => {
                let mut advice = advice(&failure, connector, connection);
                advice.extend(self.inner.certificate(&failure, connector, connection).await);
                let Failure { code, message, status, .. } = failure;
                json!({"ok": false, "code": code, "message": message, "status": status, "advice": advice})
            }
        }
    }

    /// The URL that a person opens to let Millstream in; the browser comes back to `redirect_uri`, on this machine.
    ///
    /// # Errors
    /// If the connector needs no login, or what is in connections.yaml cannot be used.
    pub async fn begin_login(
        &self,
        connector: &Connector,
        connection: &Connection,
        redirect_uri: &str,
    ) -> Result<String, Failure> {
        let context = connector::test_context(connector, connection, Timestamp::now());
        let grant = grant(connector).ok_or_else(|| no_login(connection))?;
        let url = self.asker(connector, connection, grant, &context).begin_login(redirect_uri).await?;
        Ok(url.to_string())
    }

    /// Trades what the browser came back with for tokens; durable on return.
    ///
    /// # Errors
    /// If the state is none of a login that is under way, or the token server refuses.
    pub async fn finish_login(
        &self,
        connector: &Connector,
        connection: &Connection,
        state: &str,
        code: SecretString,
    ) -> Result<(), Failure> {
        let context = connector::test_context(connector, connection, Timestamp::now());
        let grant = grant(connector).ok_or_else(|| no_login(connection))?;
        self.asker(connector, connection, grant, &context).finish_login(state, code).await
    }

    /// Seals all secrets and tokens anew, under a new key; its version.
    ///
    /// # Errors
    /// A sentence for a person.
    pub fn rotate_vault(&self) -> Result<u32, String> {
        let vault = self.inner.secrets.vault().ok_or("there is no vault")?;
        vault.rotate().map_err(|error| error.to_string())
    }

    fn asker<'a>(
        &'a self,
        connector: &'a Connector,
        connection: &'a Connection,
        grant: &'a Grant,
        context: &'a Context,
    ) -> Asker<'a> {
        let deadline = Instant::now() + PATIENCE.max(connector.timeout.unwrap_or(DEFAULT_TIMEOUT));
        Asker { inner: &self.inner, connector, connection, grant, context, deadline }
    }
}

impl Inner {
    /// Which certificate was refused, if that is what happened.
    async fn certificate(&self, failure: &Failure, connector: &Connector, connection: &Connection) -> Option<String> {
        if failure.code != "outbound.tls" {
            return None;
        }
        let Kind::Declared(declared) = &connector.kind else { return None };
        let context = connector::test_context(connector, connection, Timestamp::now());
        let base = connector::base_url(declared, Some(connection), &context).ok();
        let token = declared.auth.grant().and_then(|grant| {
            let deadline = Instant::now();
            Asker { inner: self, connector, connection, grant, context: &context, deadline }.url().ok()
        });
        // The message names the host that was refused.
        let url = [token, base].into_iter().flatten();
        let url = url.into_iter().find(|url| url.host_str().is_some_and(|host| failure.message.contains(host)))?;
        self.client.certificate(&url).await
    }
}

fn grant(connector: &Connector) -> Option<&Grant> {
    match &connector.kind {
        Kind::Declared(declared) => declared.auth.grant(),
        Kind::Native => None,
    }
}

fn no_login(connection: &Connection) -> Failure {
    let what = format!("the connection `{}` needs no login: its credentials are in connections.yaml", connection.name);
    Failure::new(Class::Permanent, "outbound.login", what)
}

/// In words, without the value.
fn place(source: &SecretSource) -> String {
    match source {
        SecretSource::Secret(name) => format!("secret {name}"),
        SecretSource::Env(name) => format!("env {name}"),
        SecretSource::File(path) => format!("file {}", path.display()),
    }
}

/// What to do about it, most likely first.
fn advice(failure: &Failure, connector: &Connector, connection: &Connection) -> Vec<String> {
    let name = &connection.name;
    let credentials: Vec<String> = connection.credentials.values().map(place).collect();
    let credentials = if credentials.is_empty() { "its credentials".to_owned() } else { credentials.join(", ") };
    let signed = match &connector.kind {
        Kind::Declared(declared) => matches!(declared.auth, Auth::Signed(_)),
        Kind::Native => false,
    };
    let told: &[&str] = match (failure.code.as_str(), failure.status) {
        ("outbound.connect", _) if failure.message.contains(NOT_KNOWN) => &[
            "the host's name is not known (DNS): look for a slip in the address in `settings` or `base_url`",
            "if it is a name of your own network, this machine must be able to look it up",
        ],
        ("outbound.connect", _) if failure.message.contains(NO_LISTENER) => {
            &["the machine is there, but nothing listens on this port: is the system up, and is the port right?"]
        }
        ("outbound.connect", _) if failure.message.contains("tls handshake") => {
            &["what listens there does not speak TLS: is it another port, or `http://`?"]
        }
        ("outbound.connect" | "outbound.timeout", _) => &[
            "nothing answers: a firewall, a proxy that is needed (`outbound.proxy` in millstream.yaml), or a wrong port",
        ],
        ("outbound.tls", _) => &[
            "the certificate does not hold: a private authority's goes into `outbound.ca_file` of millstream.yaml",
            "a name that does not fit: use the name that the certificate is for",
        ],
        ("outbound.blocked_address", _) => &["a private address is called only where `outbound.allow` has it"],
        ("outbound.redirect", _) => &["the system lives elsewhere now: set the address that it names"],
        ("connector.rejected", Some(404)) => &[
            "the host answers, but not at this path: the address in `settings` or `base_url` leads to another region, version or system",
        ],
        ("connector.rejected", Some(403)) => &[
            "the credentials are known, but may not do this: give the app or user the role or scope that the message names",
        ],
        ("connector.unexpected_answer" | "outbound.bad_answer", _) => {
            &["something else answers there, as a proxy's or a login page does: is the address right?"]
        }
        ("connector.base_url" | "connector.token_url" | "connector.api_key", _) => {
            &["mend the settings in connections.yaml"]
        }
        _ => &[],
    };
    let mut advice: Vec<String> = told.iter().map(|line| (*line).to_owned()).collect();
    match failure.code.as_str() {
        "connector.unauthorized" if signed => {
            advice.push(format!("the signature is refused: check key, account and region ({credentials})"));
        }
        "connector.unauthorized" | "outbound.token_refused" => {
            advice.push(format!("the credentials are refused: set them anew ({credentials})"));
            advice.push("if they are right, the app is not consented to, or is of another tenant or region".to_owned());
        }
        LOGIN_NEEDED if grant(connector).is_some_and(Grant::needs_login) => {
            advice.push(format!("run `millstream connections login {name}`"));
        }
        "secret.missing" => advice.push("the message says where it is looked for".to_owned()),
        _ => {}
    }
    advice
}
