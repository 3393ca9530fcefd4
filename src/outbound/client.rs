//! The one HTTP client: no redirects, no proxy of the environment, names resolved through the guard, answers capped.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::path::PathBuf;
use std::sync::{Arc, Once};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Method, redirect};
use tokio::time::{Instant, timeout_at};

use super::auth::{Attached, Outgoing};
use super::guard::{self, Blocked, Guard, Lookup, Resolver};
use super::{certificate, connect};
use crate::config;
use crate::connector::{Answer, Class, Failure, HttpRequest};

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections kept for the next call to a host: as many as runs are driven at once by default. With fewer, a burst
/// closes what the next one opens again.
const IDLE: usize = 256;

/// Marks of messages, by which `standing` gives advice.
pub(super) const NOT_KNOWN: &str = "its name is not known (DNS)";
pub(super) const NO_LISTENER: &str = "nothing listens there";

/// The call was not made, and no fault of the target's.
const NO_DESCRIPTOR: &str = "outbound.no_descriptor";

/// Why nothing can be sent at all: what of `millstream.yaml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("outbound.ca_file: {path} could not be read: {source}")]
    ReadRoots { path: PathBuf, source: std::io::Error },
    #[error("outbound.ca_file: {path} holds no PEM certificates: {why}")]
    Roots { path: PathBuf, why: String },
    #[error("outbound.proxy: `{url}` cannot be used: {why}")]
    Proxy { url: String, why: String },
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
}

pub(crate) struct Client {
    others: Way,
    /// Ports that the allow list names.
    ports: BTreeMap<u16, Way>,
    pub(super) lookup: Lookup,
    /// What `outbound.ca_file` holds, PEM.
    pub(super) roots: Option<Arc<Vec<u8>>>,
}

/// How calls to some ports go out.
struct Way {
    http: reqwest::Client,
    guard: Arc<Guard>,
}

impl Client {
    pub fn new(config: &config::Outbound) -> Result<Client, Error> {
        Client::with_lookup(config, &guard::system())
    }

    pub fn with_lookup(config: &config::Outbound, lookup: &Lookup) -> Result<Client, Error> {
        install_provider();
        let ports: BTreeSet<u16> = config.allow.iter().filter_map(|allowed| allowed.port).collect();
        let ports = ports.into_iter().map(|port| Ok((port, Way::new(config, Some(port), lookup)?)));
        let ports = ports.collect::<Result<_, Error>>()?;
        let roots = config.ca_file.as_ref().map(|path| {
            std::fs::read(path).map(Arc::new).map_err(|source| Error::ReadRoots { path: path.clone(), source })
        });
        Ok(Client { others: Way::new(config, None, lookup)?, ports, lookup: lookup.clone(), roots: roots.transpose()? })
    }

    /// Judges the addresses of calls to this port.
    pub(super) fn guard(&self, port: u16) -> &Guard {
        &self.ports.get(&port).unwrap_or(&self.others).guard
    }

    fn way(&self, url: &url::Url) -> &Way {
        url.port_or_known_default().and_then(|port| self.ports.get(&port)).unwrap_or(&self.others)
    }

    /// Sends once. Credentials are added here and nowhere else, and only to their own host.
    pub async fn send(
        &self,
        request: &HttpRequest,
        attached: Option<&Attached>,
        deadline: Instant,
        limit: usize,
    ) -> Result<Answer, Failure> {
        let mut url = request.url.clone();
        let way = self.way(&url);
        way.guard.check(&url)?;
        let host = request.url.host_str().unwrap_or_default().to_owned();
        timeout_at(deadline, way.guard.check_proxied(&url)).await.map_err(|_| no_connection_in_time(&host))??;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid(name))?;
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid(name.as_str()))?;
            headers.append(name, value);
        }
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| invalid("method"))?;
        let mut body = request.body.clone();
        if let Some(attached) = attached {
            let outgoing = Outgoing { method: &method, url: &mut url, headers: &mut headers, body: &mut body };
            attached.apply(outgoing, Timestamp::now())?;
        }
        let mut outgoing = way.http.request(method, url).headers(headers);
        if let Some(body) = body {
            outgoing = outgoing.body(body);
        }
        let exchange = async {
            let response = outgoing.send().await.map_err(|error| failure(&host, &error))?;
            read(response, limit).await.map_err(|error| failure(&host, &error))
        };
        let mut answer = match timeout_at(deadline, connect::until(deadline, exchange)).await {
            Ok(answer) => answer?,
            Err(_) => {
                let what = format!("{host} did not answer in time");
                return Err(Failure::new(Class::Unknown, "outbound.timeout", what));
            }
        };
        if let Some(attached) = attached {
            attached.redact(&mut answer);
        }
        Ok(answer)
    }
}

impl Client {
    /// Which certificate the host of an https URL shows, in words; no request is sent.
    pub async fn certificate(&self, url: &url::Url) -> Option<String> {
        let way = self.way(url);
        let (host, port) = (url.host_str()?, url.port_or_known_default()?);
        let addresses =
            tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((host, port))).await.ok()?.ok()?;
        let address = addresses.into_iter().find(|address| way.guard.allows(address.ip()))?;
        tokio::time::timeout(CONNECT_TIMEOUT, certificate::shown(host, address)).await.ok()?
    }
}

impl Way {
    fn new(config: &config::Outbound, port: Option<u16>, lookup: &Lookup) -> Result<Way, Error> {
        let proxy_host = match &config.proxy {
            None => None,
            Some(url) => {
                let wrong = |why: String| Error::Proxy { url: url.clone(), why };
                let parsed = url::Url::parse(url).map_err(|error| wrong(error.to_string()))?;
                Some(parsed.host_str().ok_or_else(|| wrong("it has no host".into()))?.to_owned())
            }
        };
        let guard = Arc::new(Guard::new(&config.allow, port, proxy_host));
        let mut roots = Vec::new();
        if let Some(path) = &config.ca_file {
            let pem = std::fs::read(path).map_err(|source| Error::ReadRoots { path: path.clone(), source })?;
            roots = Certificate::from_pem_bundle(&pem)
                .map_err(|error| Error::Roots { path: path.clone(), why: error.to_string() })?;
            if roots.is_empty() {
                return Err(Error::Roots { path: path.clone(), why: "it is empty".into() });
            }
        }
        let builder = || -> Result<reqwest::ClientBuilder, Error> {
            let mut builder = reqwest::Client::builder()
                .user_agent(concat!("Millstream/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .referer(false)
                .no_proxy()
                .connect_timeout(CONNECT_TIMEOUT)
                .connector_layer(connect::InTime)
                .pool_idle_timeout(Duration::from_secs(30))
                .pool_max_idle_per_host(IDLE)
                .dns_resolver(Resolver { guard: guard.clone(), lookup: lookup.clone() });
            if let Some(url) = &config.proxy {
                let proxy = reqwest::Proxy::all(url)
                    .map_err(|error| Error::Proxy { url: url.clone(), why: error.to_string() })?;
                builder = builder.proxy(proxy);
            }
            Ok(builder)
        };
        let http = match builder()?.tls_certs_merge(roots.clone()).build() {
            Ok(http) => http,
            // A machine without root certificates can still call http, and https by the roots of `ca_file`.
            Err(error) => {
                tracing::warn!(%error, "the system's root certificates cannot be used; set outbound.ca_file for https");
                let built = builder()?.tls_certs_only(roots).build();
                built.map_err(|error| Error::Client(chain(&error)))?
            }
        };
        Ok(Way { http, guard })
    }
}

/// ring does the cryptography of every TLS connection; set once in a process.
fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Someone else's choice, if there is one, is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Reads at most `limit` bytes of the decoded body; the rest is not even received.
async fn read(mut response: reqwest::Response, limit: usize) -> Result<Answer, reqwest::Error> {
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let mut answer = Answer { status, headers: headers.collect(), body: Vec::new(), cut: false };
    while let Some(chunk) = response.chunk().await? {
        let room = limit - answer.body.len();
        if chunk.len() > room {
            answer.body.extend_from_slice(&chunk[..room]);
            answer.cut = true;
            break;
        }
        answer.body.extend_from_slice(&chunk);
    }
    Ok(answer)
}

/// EMFILE and ENFILE, the same on all systems that this is built for.
pub(super) fn is_out_of_descriptors(code: i32) -> bool {
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].iter().any(|errno| errno.raw_os_error() == code)
}

fn invalid(name: &str) -> Failure {
    let what = format!("the header or method `{name}` has letters that HTTP does not allow");
    Failure::new(Class::Permanent, "outbound.invalid_header", what)
}

/// The call waits until one is free.
pub(super) fn no_descriptor_left(host: &str) -> Failure {
    let what = format!("no connection to {host} yet: this process has no file descriptor left; raise `ulimit -n`");
    Failure::new(Class::Throttled, NO_DESCRIPTOR, what).with_wait(Some(1000))
}

fn no_connection_in_time(host: &str) -> Failure {
    Failure::new(Class::Retry, "outbound.connect", format!("no connection to {host}: its name was not found in time"))
}

/// What an error of the transport says about the call: did it certainly not happen, or maybe?
fn failure(host: &str, error: &reqwest::Error) -> Failure {
    let mut tls = None;
    let mut blocked = None;
    let mut broken_off = false;
    let mut never_sent = false;
    let mut no_descriptor = false;
    let mut unresolved = false;
    let mut no_listener = false;
    let mut next: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(cause) = next {
        blocked = blocked.or_else(|| cause.downcast_ref::<Blocked>().cloned());
        tls = tls.or_else(|| cause.downcast_ref::<rustls::Error>().map(ToString::to_string));
        if let Some(error) = cause.downcast_ref::<hyper::Error>() {
            broken_off = true;
            never_sent |= error.is_canceled();
        }
        unresolved |= cause.is::<guard::Unresolved>();
        let io = cause.downcast_ref::<std::io::Error>();
        no_listener |= io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused);
        no_descriptor |= io.and_then(std::io::Error::raw_os_error).is_some_and(is_out_of_descriptors);
        // What an I/O error wraps is not its source.
        next = match io.and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    if let Some(blocked) = blocked {
        return blocked.into();
    }
    if no_descriptor {
        return no_descriptor_left(host);
    }
    if error.is_connect() || never_sent {
        if let Some(why) = tls {
            let what =
                format!("the TLS connection to {host} failed: {why}; a private authority goes into `outbound.ca_file`");
            return Failure::new(Class::Permanent, "outbound.tls", what);
        }
        let why = match (unresolved, no_listener) {
            (true, _) => format!("{NOT_KNOWN}: "),
            (false, true) => format!("{NO_LISTENER}: "),
            (false, false) => String::new(),
        };
        let what = format!("no connection to {host}: {why}{}", chain(error));
        return Failure::new(Class::Retry, "outbound.connect", what);
    }
    if error.is_builder() {
        return Failure::new(
            Class::Permanent,
            "outbound.request",
            format!("the request cannot be made: {}", chain(error)),
        );
    }
    if error.is_timeout() {
        return Failure::new(Class::Unknown, "outbound.timeout", format!("{host} did not answer in time"));
    }
    // The client calls every error of reading a decoded body so, also that of a connection that broke off.
    if error.is_decode() && !broken_off {
        let what = format!("the answer of {host} cannot be decoded: {}", chain(error));
        return Failure::new(Class::Unknown, "outbound.bad_answer", what);
    }
    let what = format!("the connection to {host} was lost before the answer was whole: {}", chain(error));
    Failure::new(Class::Unknown, "outbound.connection_lost", what)
}

/// The innermost cause, which says most; the outer ones name the URL, which may hold secrets.
fn chain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if std::ptr::addr_eq(cause, error) { "the transport gave up".into() } else { cause.to_string() }
}
