//! The listeners: hooks for the world, the API for those who hold the token, and health for both.
//!
//! ```text
//! accept.rs   connections and their deadlines      hooks.rs    requests that start runs
//! tls.rs      certificates                         api.rs      what the CLI and a console ask
//! body.rs, form.rs   bodies in bounds              reply.rs    what `response` steps answer
//! verify.rs, client.rs   who sent it, from where   seen.rs     what templates see beside the body
//! problem.rs  errors → status                      reach.rs    URLs as the world sees them
//! resume.rs   URLs of `wait` steps                 guard.rs    tokens, roles, the audit log
//! access.rs   tokens and the audit log in the API  browsers.rs hosts, origins, what answers say to browsers
//! descriptors.rs  how many connections there may be
//! door.rs     who answers, and the access log       unbroken.rs work that is done to its end
//! ```

mod accept;
mod access;
mod api;
mod body;
mod browsers;
mod client;
mod descriptors;
mod door;
mod form;
mod guard;
mod hooks;
mod problem;
mod reach;
mod reply;
mod resume;
mod seen;
mod tls;
mod unbroken;
mod verify;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use tokio::sync::watch;

pub use body::read_body;
pub use problem::Code;
pub use reach::{Reach, reach};

use crate::access::{Access, Role};
use crate::config::Config;
use crate::engine::Engine;
use crate::run::RunId;
use accept::{Bounds, Listener, Peer};
use body::Reader;
use door::Door;
use problem::Problem;

const PUBLIC: &str = "127.0.0.1:8080";
const ADMIN: &str = "127.0.0.1:8081";

/// What every handler needs.
#[derive(Clone)]
struct App {
    engine: Arc<Engine>,
    reader: Reader,
    reach: Arc<Reach>,
    access: Arc<Access>,
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
    pub async fn bind(config: &Config, engine: Arc<Engine>, access: Arc<Access>) -> Result<Server, Error> {
        let tls = match &config.tls {
            Some(files) => Some(Arc::new(tls::Tls::load(files)?)),
            None => None,
        };
        let shares = descriptors::share(&config.limits);
        let bounds = Bounds {
            header: Duration::from_secs(config.limits.header_seconds.max(1)),
            idle: Duration::from_secs(config.limits.idle_seconds.max(1)),
            connections: shares.public,
        };
        let address = config.listen.as_deref().unwrap_or(PUBLIC);
        // The URLs that the API shows need the public address, and that is known only once it is bound.
        let mut public = Listener::bind(address, Door::new(None, Router::new()), bounds, tls)
            .await
            .map_err(|source| bind_error("the public listener", address, source))?;
        let reach = reach(config, public.address);
        engine.reached_at(&reach.base);
        let app = App {
            engine,
            reader: Reader::new(&config.limits),
            reach: Arc::new(reach),
            access,
            proxies: config.trusted_proxies.clone().into(),
        };
        public.door = Door::new(Some(app.clone()), public_router(app.clone()));
        let bounds = Bounds { connections: shares.admin, ..bounds };
        let address = config.admin.as_deref().unwrap_or(ADMIN);
        // Requests being read there are counted apart: however many come in by the public door, the owner gets in.
        let app = App { reader: Reader::new(&config.limits), ..app };
        let mut admin = Listener::bind(address, Door::new(None, Router::new()), bounds, None)
            .await
            .map_err(|source| bind_error("the admin listener", address, source))?;
        let names = Arc::new(browsers::Names::new(config, admin.address));
        let named = admin_router(app).layer(from_fn_with_state(names, browsers::own_names));
        admin.door = Door::new(None, named.layer(from_fn(browsers::closed)));
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
pub fn api(config: &Config, engine: Arc<Engine>, access: Arc<Access>) -> Router {
    let public = config.listen.as_deref().unwrap_or(PUBLIC).parse().unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
    admin_router(App {
        engine,
        reader: Reader::new(&config.limits),
        reach: Arc::new(reach(config, public)),
        access,
        proxies: config.trusted_proxies.clone().into(),
    })
}

/// Every route of the API, below `/api/v1`, with the least role that may take it.
pub fn routes() -> Vec<(axum::http::Method, &'static str, Role)> {
    api::routes().into_iter().map(|route| (route.method, route.path, route.role)).collect()
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
    Router::new().merge(health()).fallback(nothing_here).method_not_allowed_fallback(nothing_here).with_state(app)
}

fn admin_router(app: App) -> Router {
    Router::new()
        .nest("/api/v1", api::router(&app))
        .route("/metrics", get(metrics))
        .merge(health())
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
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

/// Numbers alone. On this machine anyone may scrape them, from elsewhere whoever may read.
async fn metrics(State(app): State<App>, peer: Option<Extension<Peer>>, headers: HeaderMap) -> Response {
    let from = guard::address(&app, peer.as_deref(), &headers);
    if !from.is_some_and(|from| from.is_loopback())
        && let Err(problem) = guard::who(&app, &headers, from).await
    {
        return problem.into_response();
    }
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

/// The header that names the run that an answer is about.
const RUN_ID: HeaderName = HeaderName::from_static("x-run-id");

fn set_run_id(headers: &mut HeaderMap, run: RunId) {
    if let Ok(value) = HeaderValue::try_from(run.to_string()) {
        headers.insert(RUN_ID, value);
    }
}
