//! How a connection stands, for people: which credentials it lacks, whether somebody has logged in, when its token ends;
//! what its test says, and what to do about it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::token::Asker;
use super::{DEFAULT_TIMEOUT, Exchange, Inner, Outbound, auth, builtin};
use crate::connector::{self, Class, Connection, Connector, Context, Failure, Grant, Kind, SecretSource};

mod advice;

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

    /// Tries a connection out, with the request that its connector declares for that or as its kind can be tried without
    /// writing anything: what was shown, or what is wrong and what to do.
    pub async fn tried(&self, connector: &Arc<Connector>, connection: &Arc<Connection>) -> Value {
        let tried = match &connector.kind {
            Kind::Declared(declared) if declared.has_test() => Some(self.test(connector, connection).await),
            Kind::Declared(_) if grant(connector).is_some() => Some(self.inner.token(connector, connection).await),
            Kind::Native => builtin::test(&self.inner, connector, connection).await,
            Kind::Declared(_) => None,
        };
        let tried = match tried {
            Some(tried) => tried,
            // At least what it would be asked with is there.
            None => match self.inner.credentials(connection).await {
                Ok(()) => return json!({"ok": null, "message": untried(connector, connection)}),
                Err(failure) => Err(failure),
            },
        };
        match tried {
            Ok(shows) => json!({"ok": true, "shows": shows}),
            Err(failure) => {
                let mut advice = advice::advice(&failure, connector, connection);
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
    /// Fetches the connection's token, or finds the one that is there; no request is made with it.
    async fn token(&self, connector: &Connector, connection: &Connection) -> Result<Value, Failure> {
        let Kind::Declared(declared) = &connector.kind else { return Ok(Value::Null) };
        let deadline = Instant::now() + connector.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let exchange = Exchange { declared, connector, connection: Some(connection), deadline, limit: 0 };
        let mut context = connector::test_context(connector, connection, Timestamp::now());
        auth::attach(self, &exchange, &mut context, None).await?;
        Ok(json!("its token server gives a token; what that may do is not known"))
    }

    /// Whether all that connections.yaml names is there.
    async fn credentials(&self, connection: &Connection) -> Result<(), Failure> {
        for name in connection.credentials.keys() {
            self.secrets.resolve(connection, name).await?;
        }
        Ok(())
    }

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

/// Why nothing was asked, and what to do instead.
fn untried(connector: &Connector, connection: &Connection) -> String {
    let name = &connector.name;
    let action = connector.actions.values().find(|action| !action.hidden).map_or("ACTION", |action| &action.name);
    format!(
        "`{name}` has nothing to ask that would not do something too, or its file declares no `test`; its credentials are there; \
         `millstream connectors call {name}.{action} --connection {} --with input.json` makes one real call",
        connection.name
    )
}
