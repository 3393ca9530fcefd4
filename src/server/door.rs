//! Who answers on a listener: hooks directly, all else by its router; and one log line for each request.
//!
//! A router clones and boxes its way to a handler, with every layer anew. For hooks, which have no layers and take any
//! method, that costs more than finding their flow.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use tower::ServiceExt as _;
use tracing::Level;

use super::accept::Peer;
use super::{App, browsers, hooks};
use crate::catalog::LiveFlow;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Door {
    /// Present on the listener that has hooks.
    hooks: Option<Arc<App>>,
    router: Router,
}

impl Door {
    pub fn new(hooks: Option<App>, router: Router) -> Door {
        Door { hooks: hooks.map(Arc::new), router }
    }

    pub async fn answer(&self, request: Request, peer: Peer) -> Response {
        if !tracing::enabled!(Level::DEBUG) {
            return self.pass(request, peer).await.0;
        }
        let start = Instant::now();
        let (method, path) = (request.method().clone(), shown_path(request.uri().path()));
        let (response, flow) = self.pass(request, peer).await;
        let path = path.unwrap_or_else(|| format!("/hooks/{}/…", flow.as_ref().map_or("…", |live| &live.flow.id)));
        let status = response.status().as_u16();
        tracing::debug!(%method, path, status, took_ms = start.elapsed().as_secs_f64() * 1_000.0, "answered");
        response
    }

    /// The answer, and the flow that a hook reached.
    async fn pass(&self, mut request: Request, peer: Peer) -> (Response, Option<Arc<LiveFlow>>) {
        match &self.hooks {
            Some(app) if request.uri().path().starts_with("/hooks/") => {
                let (mut response, flow) = hooks::hook(app, request, peer).await;
                browsers::open(response.headers_mut());
                (response, flow)
            }
            _ => {
                request.extensions_mut().insert(peer);
                let Ok(mut response) = self.router.clone().oneshot(request).await;
                if self.hooks.is_some() {
                    // As hooks have it, where the length comes with the writing: no URL may tell what it is not.
                    response.headers_mut().remove(header::CONTENT_LENGTH);
                    browsers::open(response.headers_mut());
                }
                (response, None)
            }
        }
    }
}

/// A path that may be logged: only of what is served beside hooks. Any other may be a hook's URL with a slip in it, as
/// in `//hooks/…`, and so hold a key.
fn shown_path(path: &str) -> Option<String> {
    let known = path.starts_with("/api/") || ["/healthz", "/readyz", "/metrics"].contains(&path);
    known.then(|| path.chars().take(200).collect())
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
