//! Performs an action: limits, credentials, the address guard, the call itself, and what its answer means.
//!
//! A call may have happened although it failed; then its failure's class is `Unknown`. Whether it is tried again is the
//! engine's to decide. Nothing here outlives the process but what the target did.

mod auth;
mod breaker;
mod bucket;
mod builtin;
mod certificate;
mod client;
mod clock;
mod connect;
mod dial;
mod guard;
mod limits;
mod options;
mod paged;
#[cfg(test)]
mod rebinding;
mod secrets;
mod sign;
mod standing;
mod token;
mod turns;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::config;
use crate::connector::{
    self, Action, Class, Connection, Connector, Context, Declared, Failure, Kind, Need, Outcome, SecretSource,
};
use crate::points;

pub use breaker::BreakerState;
pub(crate) use client::Client;
pub use client::Error;
pub use limits::Used;
pub use secrets::Secrets;

/// Nothing can be called before a person has logged in, or has set a new refresh token.
const LOGIN_NEEDED: &str = "outbound.login_needed";

/// Longest time of one attempt where neither the step nor the connector says.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// One attempt of one step.
#[derive(Debug, Clone, Copy)]
pub struct Call<'c> {
    /// Whose call it is: flows take turns where a connection's limits make calls wait.
    pub flow: &'c str,
    pub connector: &'c Arc<Connector>,
    /// Its name within the connector.
    pub action: &'c str,
    pub connection: Option<&'c Arc<Connection>>,
    pub input: &'c Value,
    /// The same on each repeat: `Idempotency-Key`, `call.uuid`, `key_column`.
    pub key: Uuid,
    /// Of this attempt; the connector's own, or [`DEFAULT_TIMEOUT`], unless set.
    pub timeout: Option<Duration>,
    /// Longest answer, bytes after decoding.
    pub output_limit: usize,
}

impl<'c> Call<'c> {
    fn name(&self) -> String {
        format!("{}.{}", self.connector.name, self.action)
    }

    fn timeout(&self) -> Duration {
        self.timeout.or(self.connector.timeout).unwrap_or(DEFAULT_TIMEOUT)
    }

    /// The action, once connection and input are such that it can be tried.
    fn checked(&self) -> Result<&'c Action, Failure> {
        let action = self.action()?;
        let violations = action.input.violations(self.input);
        if let Some(first) = violations.first() {
            let at = if first.pointer.is_empty() { "/" } else { &first.pointer };
            let more =
                if violations.len() > 1 { format!(" (and {} more)", violations.len() - 1) } else { String::new() };
            let name = self.name();
            let what = format!("the input of `{name}` is not what it takes: at {at}: {}{more}", first.message);
            return Err(Failure::new(Class::Permanent, "connector.input", what));
        }
        Ok(action)
    }

    /// The action, once the connection is such that it can be tried.
    fn action(&self) -> Result<&'c Action, Failure> {
        let Some(action) = self.connector.actions.get(self.action) else {
            let what = format!("the connector has no action `{}`", self.name());
            return Err(Failure::new(Class::Permanent, "connector.no_action", what));
        };
        if self.connection.is_none() && self.connector.connection == Need::Required {
            let name = self.name();
            let what = format!("`{name}` needs a connection; name one in the step and describe it in connections.yaml");
            return Err(Failure::new(Class::Held, "connector.no_connection", what));
        }
        if let Some(connection) = self.connection
            && connection.connector != self.connector.name
        {
            let (name, is, wants) = (self.name(), &connection.connector, &self.connector.name);
            let what =
                format!("the connection `{}` is one of `{is}`, but `{name}` needs one of `{wants}`", connection.name);
            return Err(Failure::new(Class::Held, "connector.no_connection", what));
        }
        Ok(action)
    }

    fn context(&self, action: &Action) -> Context {
        self.context_at(action, Timestamp::now())
    }

    fn context_at(&self, action: &Action, now: Timestamp) -> Context {
        let connection = self.connection.map(Arc::as_ref);
        Context::new(self.connector, action, connection, self.input, self.key, now)
    }
}

/// All that leaves the process. Cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    inner: Arc<Inner>,
}

struct Inner {
    client: Arc<Client>,
    secrets: Secrets,
    tokens: token::Tokens,
    limits: limits::Gate,
    pools: builtin::sql::Pools,
    options: options::Kept,
    watch: Option<Watch>,
}

/// Is shown each answer of a target, credentials taken out.
type Watch = Box<dyn Fn(&connector::Answer) + Send + Sync>;

impl Outbound {
    /// Fails if the proxy or the file of root certificates cannot be used.
    pub fn new(config: &config::Outbound, secrets: Secrets) -> Result<Outbound, Error> {
        Ok(Outbound::with(Client::new(config)?, secrets))
    }

    /// The same with a client that is there already.
    pub(crate) fn with(client: Client, secrets: Secrets) -> Outbound {
        Outbound::made(client, secrets, None)
    }

    /// The same, with each answer of a target shown to `watch`.
    pub(crate) fn watched(
        client: Client,
        secrets: Secrets,
        watch: impl Fn(&connector::Answer) + Send + Sync + 'static,
    ) -> Outbound {
        Outbound::made(client, secrets, Some(Box::new(watch)))
    }

    fn made(client: Client, secrets: Secrets, watch: Option<Watch>) -> Outbound {
        let inner = Inner {
            client: Arc::new(client),
            secrets,
            tokens: token::Tokens::default(),
            limits: limits::Gate::default(),
            pools: builtin::sql::Pools::default(),
            options: options::Kept::default(),
            watch,
        };
        Outbound { inner: Arc::new(inner) }
    }

    /// The secret at `source` as it is now, relative paths starting at `dir`.
    ///
    /// # Errors
    /// What is wrong there and what to do, for the log.
    pub async fn secret(&self, source: &SecretSource, dir: &Path) -> Result<SecretString, String> {
        self.inner.secrets.find(source, dir).await.map_err(|(place, now)| format!("{place}; {now}"))
    }

    /// Makes one attempt. It ends by its timeout; waiting for its turn under the limits comes before and is not counted.
    pub async fn perform(&self, call: Call<'_>) -> Result<Value, Failure> {
        call.checked()?;
        self.perform_fitting(call).await
    }

    /// The same for an input that is known to fit the action's schema: a run's are judged before they are journaled.
    pub async fn perform_fitting(&self, call: Call<'_>) -> Result<Value, Failure> {
        let action = call.action()?;
        points::reach("outbound.call.before");
        let result = match &call.connector.kind {
            Kind::Native => {
                let slot = self.inner.limits.enter(&call, None).await?;
                builtin::perform(&self.inner, &call, slot).await
            }
            Kind::Declared(declared) => Box::pin(self.inner.declared(declared, action, &call)).await,
        };
        if let Some(connection) = call.connection {
            self.inner.limits.breakers.note(connection, &result);
        }
        points::reach("outbound.call.after");
        result
    }

    /// What [`Outbound::perform`] would send, without credentials. Sends nothing.
    pub fn preview(call: Call<'_>) -> Result<Value, Failure> {
        let action = call.checked()?;
        match &call.connector.kind {
            Kind::Native => builtin::preview(&call),
            Kind::Declared(_) => {
                let connection = call.connection.map(Arc::as_ref);
                connector::preview(call.connector, action, connection, call.context(action))
            }
        }
    }

    /// What an action gives that neither leaves the process nor reads anything but its inputs, as a conversion does;
    /// `None` for all others.
    pub fn computed(call: Call<'_>) -> Option<Result<Value, Failure>> {
        let pure = matches!(call.connector.kind, Kind::Native) && builtin::is_computed(&call);
        pure.then(|| call.checked().and_then(|_| builtin::computed(&call)))
    }

    /// What an answer to the call that came at `now`, or the failure to get one, would come to. Sends nothing.
    ///
    /// # Errors
    /// As [`Outbound::perform`]; an action that makes no HTTP request has no such answer.
    pub fn judged(
        call: Call<'_>,
        answer: Result<&connector::Answer, Failure>,
        now: Timestamp,
    ) -> Result<Value, Failure> {
        let action = call.checked()?;
        match &call.connector.kind {
            Kind::Native => builtin::judged(&call, answer, now),
            Kind::Declared(_) => {
                match connector::judge(call.connector, action, call.context_at(action, now), answer?, now) {
                    Outcome::Done(value) => Ok(value),
                    Outcome::Unauthorized(failure) | Outcome::Failed(failure) => Err(failure),
                }
            }
        }
    }

    /// Breakers that are not closed, by connection.
    pub fn breakers(&self) -> Vec<BreakerState> {
        self.inner.limits.breakers.states()
    }

    /// How often a breaker has opened since the start.
    pub fn breakers_opened(&self) -> u64 {
        self.inner.limits.breakers.opened()
    }

    /// Says what of the rates was used before the start.
    pub fn restore(&self, used: Vec<Used>) {
        self.inner.limits.restore(used);
    }

    /// Waits until something of a rate was used that should outlive the process, and gives all of it.
    pub async fn used(&self) -> Vec<Used> {
        self.inner.limits.used().await
    }

    /// The same without waiting.
    pub fn used_now(&self) -> Vec<Used> {
        self.inner.limits.used_now()
    }

    /// Tries a connection out with the request that its connector declares for that; what the connector shows of the
    /// answer, or null if it declares none.
    pub async fn test(&self, connector: &Arc<Connector>, connection: &Arc<Connection>) -> Result<Value, Failure> {
        self.inner.test(connector, connection).await
    }
}

impl Inner {
    fn show(&self, answer: &connector::Answer) {
        if let Some(watch) = &self.watch {
            watch(answer);
        }
    }

    async fn declared(&self, declared: &Declared, action: &Action, call: &Call<'_>) -> Result<Value, Failure> {
        let context = call.context(action);
        let connection = call.connection.map(Arc::as_ref);
        let prepare = |context: &Context| connector::prepare(call.connector, action, connection, context);
        // What cannot be made needs no turn.
        let early = if declared.is_late() { None } else { Some(prepare(&context)?) };
        if let Some(pages) = action.pages() {
            return paged::run(self, (declared, action, pages), call, &context, early).await;
        }
        let _slot = self.limits.enter(call, Some((declared, action, &context))).await?;
        let exchange = Exchange {
            declared,
            connector: call.connector,
            connection,
            deadline: Instant::now() + call.timeout(),
            limit: call.output_limit,
        };
        let judge = |context: Context, answer: &connector::Answer| {
            connector::judge(call.connector, action, context, answer, Timestamp::now())
        };
        let request = |context: &Context| match &early {
            Some(request) => Ok(Cow::Borrowed(request)),
            None => prepare(context).map(Cow::Owned),
        };
        exchange.run(self, context, request, judge).await
    }

    async fn test(&self, connector: &Arc<Connector>, connection: &Arc<Connection>) -> Result<Value, Failure> {
        let Kind::Declared(declared) = &connector.kind else {
            return Ok(Value::Null);
        };
        let exchange = Exchange {
            declared,
            connector,
            connection: Some(connection),
            deadline: Instant::now() + connector.timeout.unwrap_or(DEFAULT_TIMEOUT),
            limit: 1024 * 1024,
        };
        if !declared.has_test() {
            return Ok(Value::Null);
        }
        let context = connector::test_context(connector, connection, Timestamp::now());
        let prepare = |context: &Context| connector::prepare_test(declared, connection, context).map(Cow::Owned);
        let judge = |context: Context, answer: &connector::Answer| {
            connector::judge_test(connector, declared, context, answer, Timestamp::now())
        };
        exchange.run(self, context, prepare, judge).await
    }
}

/// One declared request and its answer, with one renewal of the token between.
struct Exchange<'e> {
    declared: &'e Declared,
    connector: &'e Connector,
    connection: Option<&'e Connection>,
    deadline: Instant,
    limit: usize,
}

impl Exchange<'_> {
    async fn run<'r>(
        &self,
        inner: &Inner,
        mut context: Context,
        prepare: impl Fn(&Context) -> Result<Cow<'r, connector::HttpRequest>, Failure>,
        judge: impl Fn(Context, &connector::Answer) -> Outcome,
    ) -> Result<Value, Failure> {
        let mut stale = None;
        loop {
            // First the credentials: a token's answer may say where the call goes.
            let attached = auth::attach(inner, self, &mut context, stale).await?;
            let request = prepare(&context)?;
            let answer = inner.client.send(&request, Some(&attached), self.deadline, self.limit).await?;
            inner.show(&answer);
            match judge(context.clone(), &answer) {
                Outcome::Done(value) => return Ok(value),
                Outcome::Failed(failure) => return Err(self.noted(failure, &answer)),
                Outcome::Unauthorized(failure) => match attached.generation {
                    // A new token, once; credentials that are not fetched cannot be renewed.
                    Some(generation) if stale.is_none() => stale = Some(generation),
                    _ => return Err(self.refused(self.noted(failure, &answer))),
                },
            }
        }
    }

    /// A signature that was refused while the clocks differ was refused for that.
    fn noted(&self, mut failure: Failure, answer: &connector::Answer) -> Failure {
        let refused = matches!(failure.status, Some(400 | 401 | 403));
        if refused
            && matches!(self.declared.auth, connector::Auth::Signed(_))
            && let Some(note) = clock::note(answer, Timestamp::now())
        {
            failure.message.push_str(&note);
        }
        failure
    }

    fn refused(&self, mut failure: Failure) -> Failure {
        if let Some(connection) = self.connection {
            failure.message.push_str(&format!("; mend the credentials of the connection `{}`", connection.name));
        }
        failure
    }
}
