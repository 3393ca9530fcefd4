//! `smtp.send`: one mail through an SMTP server, over a connection of its own.
//!
//! Until the mail's last byte is on its way, nothing can have happened; once it is, and no answer came, it is in doubt. The
//! Message-ID follows from the call's key, so a repeat can be told from another mail by whoever reads it.

mod message;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use super::super::client::CONNECT_TIMEOUT;
use super::super::{Call, Inner};
use crate::connector::{Class, Connection, Failure};

/// How long a server may take for its good-bye.
const QUIT: Duration = Duration::from_millis(500);

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Connecting, encrypting, introducing.
    Begins,
    SignsIn,
    /// Sender and recipients.
    Addresses,
    /// The mail itself: from here on it may have been taken.
    Mail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    StartTls,
    Tls,
    None,
}

/// What the connection's settings say.
struct Server<'c> {
    connection: &'c Connection,
    host: &'c str,
    port: u16,
    security: Security,
    username: Option<&'c str>,
    hello: ClientId,
}

impl<'c> Server<'c> {
    fn of(call: &Call<'c>) -> Result<Server<'c>, Failure> {
        let connection = call.connection.ok_or_else(|| {
            let what = format!("`{}` needs a connection", call.name());
            Failure::new(Class::Held, "connector.no_connection", what)
        })?;
        let text = |key: &str| connection.settings.get(key).and_then(Value::as_str);
        let security = match text("security") {
            Some("tls") => Security::Tls,
            Some("none") => Security::None,
            _ => Security::StartTls,
        };
        let usual = match security {
            Security::StartTls => 587,
            Security::Tls => 465,
            Security::None => 25,
        };
        let port = connection.settings.get("port").and_then(Value::as_u64);
        let hello = match text("hello_name") {
            Some(name) => ClientId::Domain(name.to_owned()),
            None => ClientId::default(),
        };
        Ok(Server {
            connection,
            host: text("host").unwrap_or_default(),
            port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or(usual),
            security,
            username: text("username"),
            hello,
        })
    }

    fn held(&self, code: &str, why: &str) -> Failure {
        let what = format!("{} {why}; mend the connection `{}`", self.host, self.connection.name);
        Failure::new(Class::Held, code, what)
    }

    fn tls(&self, inner: &Inner) -> Result<TlsParameters, Failure> {
        let wrong = |error: Error| {
            let what = format!("no TLS connection to {} can be made: {error}", self.host);
            Failure::new(Class::Permanent, "outbound.tls", what)
        };
        let roots = inner.client.roots.as_ref().map(|pem| Certificate::from_pem(pem)).transpose().map_err(wrong)?;
        let build = |store: CertificateStore| {
            let mut builder = TlsParameters::builder(self.host.to_owned()).certificate_store(store);
            if let Some(roots) = &roots {
                builder = builder.add_root_certificate(roots.clone());
            }
            builder.build_rustls()
        };
        // A machine without root certificates still has those of `ca_file`.
        build(CertificateStore::Default).or_else(|_| build(CertificateStore::None)).map_err(wrong)
    }

    /// What an error of the exchange says about the call.
    fn failure(&self, phase: Phase, error: &Error) -> Failure {
        let host = self.host;
        let said = said(error);
        if let Some(code) = error.status() {
            let code = code.to_string();
            let temporary = code.starts_with('4');
            return match phase {
                Phase::SignsIn if !temporary => {
                    let name = self.username.unwrap_or_default();
                    self.held("smtp.auth", &format!("refuses the password of `{name}` ({code} {said})"))
                }
                _ if temporary => {
                    let what = format!("{host} cannot take the mail now ({code} {said})");
                    Failure::new(Class::Retry, "smtp.unavailable", what)
                }
                _ => {
                    Failure::new(Class::Permanent, "smtp.rejected", format!("{host} refuses the mail ({code} {said})"))
                }
            };
        }
        if error.is_tls() || is_tls(error) {
            let what = format!(
                "the TLS connection to {host} failed: {said}; a private authority goes into `outbound.ca_file`"
            );
            return Failure::new(Class::Permanent, "outbound.tls", what);
        }
        match phase {
            Phase::Mail => {
                let what = format!("the connection to {host} was lost after the mail was sent: {said}");
                Failure::new(Class::Unknown, "outbound.connection_lost", what)
            }
            Phase::Begins | Phase::SignsIn | Phase::Addresses => {
                let what = format!("no mail was sent: {host}: {said}");
                Failure::new(Class::Retry, "outbound.connect", what)
            }
        }
    }
}

/// The innermost cause, which says most.
fn said(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    crate::connector::shorten(&cause.to_string())
}

/// A handshake's error comes as one of the stream.
fn is_tls(error: &Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(cause) = next {
        if cause.is::<rustls::Error>() {
            return true;
        }
        let io = cause.downcast_ref::<std::io::Error>();
        next = match io.and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    false
}

pub(super) fn preview(call: &Call<'_>) -> Result<Value, Failure> {
    let server = Server::of(call)?;
    let (mail, _) = message::message(call)?;
    let to: Vec<String> = mail.envelope().to().iter().map(ToString::to_string).collect();
    let text = String::from_utf8_lossy(&mail.formatted()).into_owned();
    Ok(json!({"server": format!("{}:{}", server.host, server.port), "to": to, "mail": text}))
}

pub(super) async fn send(inner: &Inner, call: &Call<'_>) -> Result<Value, Failure> {
    let server = Server::of(call)?;
    let (mail, id) = message::message(call)?;
    let sign_in = sign_in(inner, &server).await?;
    let sent = AtomicBool::new(false);
    let deadline = Instant::now() + call.timeout();
    match timeout_at(deadline, exchange(inner, &server, sign_in, &mail, &sent)).await {
        Ok(Ok(reply)) => {
            let accepted: Vec<String> = mail.envelope().to().iter().map(ToString::to_string).collect();
            Ok(json!({"message_id": id, "accepted": accepted, "reply": reply}))
        }
        Ok(Err(failure)) => Err(failure),
        Err(_) if sent.load(Ordering::Relaxed) => {
            let what = format!("{} did not answer in time, and may have taken the mail", server.host);
            Err(Failure::new(Class::Unknown, "outbound.timeout", what))
        }
        Err(_) => {
            let what = format!("{} did not answer in time; no mail was sent", server.host);
            Err(Failure::new(Class::Retry, "smtp.unavailable", what))
        }
    }
}

/// Connects, encrypts, signs in where there is a password, and says good-bye: all but a mail.
pub(super) async fn test(inner: &Inner, call: &Call<'_>) -> Result<Value, Failure> {
    let server = Server::of(call)?;
    let sign_in = sign_in(inner, &server).await?;
    let known = sign_in.as_ref().map(|(name, _)| (*name).to_owned());
    let tried = timeout_at(Instant::now() + call.timeout(), opened(inner, &server, sign_in)).await;
    let mut smtp = tried.unwrap_or_else(|_| {
        let what = format!("{} did not answer in time", server.host);
        Err(Failure::new(Class::Retry, "outbound.timeout", what))
    })?;
    let _ = timeout(QUIT, smtp.quit()).await;
    Ok(json!(known.unwrap_or_else(|| format!("{} takes mail of nobody in particular", server.host))))
}

/// User and password, where there is one.
async fn sign_in<'s>(inner: &Inner, server: &Server<'s>) -> Result<Option<(&'s str, SecretString)>, Failure> {
    let password = inner.secrets.optional(server.connection, "password").await?;
    let found = match (server.username, password) {
        (Some(name), Some(password)) => Some((name, password)),
        (None, None) => None,
        (Some(_), None) => return Err(server.held("smtp.settings", "has a `username` and no credential `password`")),
        (None, Some(_)) => return Err(server.held("smtp.settings", "has a `password` and no setting `username`")),
    };
    if found.is_some() && server.security == Security::None {
        return Err(server.held("smtp.settings", "would get the password in the open (`security: none`)"));
    }
    Ok(found)
}

async fn exchange(
    inner: &Inner,
    server: &Server<'_>,
    sign_in: Option<(&str, SecretString)>,
    mail: &lettre::Message,
    sent: &AtomicBool,
) -> Result<String, Failure> {
    let failed = |phase: Phase| move |error: Error| server.failure(phase, &error);
    let mut smtp = opened(inner, server, sign_in).await?;
    let envelope = mail.envelope();
    let mut options = Vec::new();
    if envelope.from().into_iter().chain(envelope.to()).any(|address| !AsRef::<str>::as_ref(address).is_ascii()) {
        if !smtp.server_info().supports_feature(Extension::SmtpUtfEight) {
            let what = format!("{} takes only addresses in ASCII", server.host);
            return Err(Failure::new(Class::Permanent, "smtp.rejected", what));
        }
        options.push(MailParameter::SmtpUtfEight);
    }
    smtp.command(Mail::new(envelope.from().cloned(), options)).await.map_err(failed(Phase::Addresses))?;
    for to in envelope.to() {
        // One that is refused ends it before anyone gets the mail.
        let refused = |error: Error| {
            let mut failure = server.failure(Phase::Addresses, &error);
            failure.message.push_str(&format!(" for {to}"));
            failure
        };
        smtp.command(Rcpt::new(to.clone(), Vec::new())).await.map_err(refused)?;
    }
    smtp.command(Data).await.map_err(failed(Phase::Addresses))?;
    sent.store(true, Ordering::Relaxed);
    let taken = smtp.message(&mail.formatted()).await.map_err(failed(Phase::Mail))?;
    let reply = format!("{} {}", taken.code(), taken.message().collect::<Vec<_>>().join(" "));
    // The mail is taken, whatever comes of this.
    let _ = timeout(QUIT, smtp.quit()).await;
    Ok(crate::connector::shorten(reply.trim()))
}

/// A connection that mail can be sent over: encrypted and signed in, as the settings say.
async fn opened(
    inner: &Inner,
    server: &Server<'_>,
    sign_in: Option<(&str, SecretString)>,
) -> Result<AsyncSmtpConnection, Failure> {
    let failed = |phase: Phase| move |error: Error| server.failure(phase, &error);
    let mut smtp = connect(inner, server).await?;
    if server.security == Security::StartTls {
        if !smtp.can_starttls() {
            return Err(server.held("smtp.settings", "offers no STARTTLS, and nothing is sent in the open"));
        }
        smtp.starttls(server.tls(inner)?, &server.hello).await.map_err(failed(Phase::Begins))?;
    }
    if let Some((name, password)) = sign_in {
        let mechanisms = [Mechanism::Plain, Mechanism::Login];
        if smtp.server_info().get_auth_mechanism(&mechanisms).is_none() {
            return Err(server.held("smtp.auth", "takes no password by PLAIN or LOGIN"));
        }
        let credentials = Credentials::new(name.to_owned(), password.expose_secret().to_owned());
        smtp.auth(&mechanisms, &credentials).await.map_err(failed(Phase::SignsIn))?;
    }
    Ok(smtp)
}

/// A connection to the first address that takes one; encrypted already where it is so from the first byte.
async fn connect(inner: &Inner, server: &Server<'_>) -> Result<AsyncSmtpConnection, Failure> {
    let tls = if server.security == Security::Tls { Some(server.tls(inner)?) } else { None };
    let mut last = None;
    for address in inner.client.addresses(server.host, server.port).await? {
        let greeted =
            AsyncSmtpConnection::connect_tokio1(address, Some(CONNECT_TIMEOUT), &server.hello, tls.clone(), None).await;
        match greeted {
            Ok(smtp) => return Ok(smtp),
            Err(error) => last = Some(server.failure(Phase::Begins, &error)),
        }
    }
    Err(last
        .unwrap_or_else(|| Failure::new(Class::Retry, "outbound.connect", format!("no connection to {}", server.host))))
}
