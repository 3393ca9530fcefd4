//! The listeners: hooks for the world, the API for those who hold the token, and health for both.
//!
//! ```text
//! accept.rs   connections and their deadlines      hooks.rs    requests that start runs
//! tls.rs      certificates                         api.rs      what the CLI and a console ask
//! body.rs, form.rs   bodies in bounds              reply.rs    what `response` steps answer
//! verify.rs, client.rs   who sent it, from where   seen.rs     what templates see beside the body
//! problem.rs  errors → status                      reach.rs    URLs as the world sees them
//! resume.rs   URLs of `wait` steps
//! ```

mod accept;
mod api;
mod body;
mod client;
mod form;
mod hooks;
mod problem;
mod reach;
mod reply;
mod resume;
mod seen;
mod tls;
mod verify;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use secrecy::SecretString;
use tokio::sync::watch;

pub use body::read_body;
pub use problem::Code;
pub use reach::{Reach, reach};

use crate::config::Config;
use crate::engine::Engine;
use crate::run::RunId;
use accept::{Bounds, Listener};
use body::Reader;
use problem::Problem;

const PUBLIC: &str = "127.0.0.1:8080";
const ADMIN: &str = "127.0.0.1:8081";
/// Connections of the admin listener, which serves a few people and tools.
const ADMIN_CONNECTIONS: usize = 256;

/// What every handler needs.
#[derive(Clone)]
struct App {
    engine: Arc<Engine>,
    reader: Reader,
    reach: Arc<Reach>,
    token: Arc<SecretString>,
    /// Whose word on a client's address counts.
    proxies: Arc<[ipnet::IpNet]>,
}

/// Both listeners, bound and not yet serving.
pub struct Server {
    public: Listener,
    admin: Listener,
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what} cannot listen on {address}: {source}; {hint}")]
    Bind { what: &'static str, address: String, source: io::Error, hint: &'static str },
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

impl Server {
    /// Binds both addresses and reads the certificate. Nothing is answered before [`Server::run`].
    pub async fn bind(config: &Config, engine: Arc<Engine>, admin_token: SecretString) -> Result<Server, Error> {
        let tls = match &config.tls {
            Some(files) => Some(Arc::new(tls::Tls::load(files)?)),
            None => None,
        };
        let bounds = Bounds {
            header: Duration::from_secs(config.limits.header_seconds.max(1)),
            idle: Duration::from_secs(config.limits.idle_seconds.max(1)),
            connections: config.limits.connections,
        };
        let address = config.listen.as_deref().unwrap_or(PUBLIC);
        // The URLs that the API shows need the public address, and that is known only once it is bound.
        let mut public = Listener::bind(address, Router::new(), bounds, tls)
            .await
            .map_err(|source| bind_error("the public listener", address, source))?;
        let reach = reach(config, public.address);
        engine.reached_at(&reach.base);
        let app = App {
            engine,
            reader: Reader::new(&config.limits),
            reach: Arc::new(reach),
            token: Arc::new(admin_token),
            proxies: config.trusted_proxies.clone().into(),
        };
        public.router = public_router(app.clone());
        let bounds = Bounds { connections: ADMIN_CONNECTIONS, ..bounds };
        let address = config.admin.as_deref().unwrap_or(ADMIN);
        let admin = Listener::bind(address, admin_router(app), bounds, None)
            .await
            .map_err(|source| bind_error("the admin listener", address, source))?;
        if !admin.address.ip().is_loopback() {
            tracing::warn!("the admin listener on {} can be reached from other machines, without TLS", admin.address);
        }
        Ok(Server { public, admin })
    }

    pub fn public_addr(&self) -> SocketAddr {
        self.public.address
    }

    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.address
    }

    /// Serves until `shutdown` resolves; then accepts nothing more and lets requests in flight end for at most `grace`.
    pub async fn run(self, shutdown: impl Future<Output = ()>, grace: Duration) {
        let (stop, stopped) = watch::channel(false);
        let tls = self.public.tls.clone();
        let renewing = async {
            if let Some(tls) = tls {
                tls.watch(stopped.clone()).await;
            }
        };
        let stopping = async {
            shutdown.await;
            let _ = stop.send(true);
        };
        tokio::join!(
            self.public.run(stopped.clone(), grace),
            self.admin.run(stopped.clone(), grace),
            renewing,
            stopping,
        );
    }
}

/// The admin API without a listener: what the command line asks where no server runs.
pub fn api(config: &Config, engine: Arc<Engine>, admin_token: SecretString) -> Router {
    let public = config.listen.as_deref().unwrap_or(PUBLIC).parse().unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
    admin_router(App {
        engine,
        reader: Reader::new(&config.limits),
        reach: Arc::new(reach(config, public)),
        token: Arc::new(admin_token),
        proxies: config.trusted_proxies.clone().into(),
    })
}

fn bind_error(what: &'static str, address: &str, source: io::Error) -> Error {
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => "something else listens there: stop it, or choose another port (port 0 picks one)",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a permission: choose a higher one",
        _ => "give an address of this machine with a port, as in 127.0.0.1:8080",
    };
    Error::Bind { what, address: address.to_owned(), source, hint }
}

fn public_router(app: App) -> Router {
    Router::new()
        .route("/hooks/{*path}", any(hooks::hook))
        .merge(health())
        .fallback(nothing_here)
        .method_not_allowed_fallback(nothing_here)
        .layer(from_fn(access_log))
        .with_state(app)
}

fn admin_router(app: App) -> Router {
    Router::new()
        .nest("/api/v1", api::router(&app))
        .route("/metrics", get(metrics))
        .merge(health())
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(access_log))
        .with_state(app)
}

fn health() -> Router<App> {
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(ready))
}

async fn ready(State(app): State<App>) -> Response {
    match app.engine.is_ready() {
        true => "ready\n".into_response(),
        false => hooks::starting().into_response(),
    }
}

async fn metrics(State(app): State<App>) -> Response {
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4");
    ([(axum::http::header::CONTENT_TYPE, content_type)], app.engine.metrics()).into_response()
}

async fn nothing_here() -> Problem {
    Problem::not_found()
}

async fn wrong_method() -> Response {
    // axum adds the Allow header of the route to this.
    Problem::new(Code::MethodNotAllowed, "This URL does not take this method.").into_response()
}

/// One line for each request. Of a hook's path it shows the flow once the key was right, and never the key.
async fn access_log(request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let path = shown_path(request.uri().path());
    let response = next.run(request).await;
    let flow = response.extensions().get::<hooks::Reached>().map_or("…", |reached| &reached.0.flow.id);
    let path = path.unwrap_or_else(|| format!("/hooks/{flow}/…"));
    let status = response.status().as_u16();
    tracing::debug!(%method, path, status, took_ms = start.elapsed().as_secs_f64() * 1_000.0, "answered");
    response
}

/// A path that may be logged: only of what is served beside hooks. Any other may be a hook's URL with a slip in it, as
/// in `//hooks/…`, and so hold a key.
fn shown_path(path: &str) -> Option<String> {
    let known = path.starts_with("/api/") || ["/healthz", "/readyz", "/metrics"].contains(&path);
    known.then(|| path.chars().take(200).collect())
}

fn set_run_id(headers: &mut HeaderMap, run: RunId) {
    if let Ok(value) = HeaderValue::try_from(run.to_string()) {
        headers.insert(HeaderName::from_static("x-run-id"), value);
    }
}

#[cfg(test)]
mod tests {
    use super::shown_path;

    #[test]
    fn no_path_that_may_hold_a_key_is_logged() {
        for path in ["/hooks/lead/KEY", "//hooks/lead/KEY", "/Hooks/lead/KEY", "/flows/hooks/lead/KEY", "/lead/KEY"] {
            assert_eq!(shown_path(path), None, "{path}");
        }
        assert_eq!(shown_path("/api/v1/runs").as_deref(), Some("/api/v1/runs"));
    }
}
