//! Who asks the admin API, and may they: a token for every request, a role for every route, a line for every deed.
//!
//! A [`Route`] cannot be made without the least role that may take it, and a writing one not without the word that the
//! audit log has for it; the router is made of nothing else.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts as _, RawPathParams, Request, State};
use axum::handler::Handler;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use jiff::Timestamp;

use super::App;
use super::accept::Peer;
use super::client;
use super::problem::{Code, Problem};
use crate::access::audit::{Entry, Outcome};
use crate::access::{Attempt, Judged, Role, Who};

/// One method of one path.
pub(super) struct Route {
    pub method: Method,
    pub path: &'static str,
    /// The least role that may.
    pub role: Role,
    /// What the audit log calls it; none where nothing is changed and no key is shown.
    deed: Option<&'static str>,
    handler: MethodRouter<App>,
}

impl Route {
    /// A GET that changes nothing and shows no key.
    pub fn read<H: Handler<T, App>, T: 'static>(path: &'static str, role: Role, handler: H) -> Route {
        let handler = on(MethodFilter::GET, handler);
        Route { method: Method::GET, path, role, deed: None, handler }
    }

    /// A GET that shows a key.
    pub fn reveal<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        role: Role,
        deed: &'static str,
        handler: H,
    ) -> Route {
        Route { deed: Some(deed), ..Route::read(path, role, handler) }
    }

    pub fn post<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        role: Role,
        deed: &'static str,
        handler: H,
    ) -> Route {
        Route { method: Method::POST, path, role, deed: Some(deed), handler: on(MethodFilter::POST, handler) }
    }

    pub fn delete<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        role: Role,
        deed: &'static str,
        handler: H,
    ) -> Route {
        Route { method: Method::DELETE, path, role, deed: Some(deed), handler: on(MethodFilter::DELETE, handler) }
    }

    /// Adds the route, behind its role and the audit log.
    pub fn add_to(self, router: Router<App>, app: &App) -> Router<App> {
        let rule = Rule { app: app.clone(), role: self.role, deed: self.deed, path: self.path };
        router.route(self.path, self.handler.route_layer(from_fn_with_state(Arc::new(rule), judge)))
    }
}

/// What a route asks of those who take it.
struct Rule {
    app: App,
    role: Role,
    deed: Option<&'static str>,
    path: &'static str,
}

/// Lets in who has a good token, and says to the handlers who it is.
pub(super) async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let from = address(&app, request.extensions().get(), request.headers());
    match who(&app, request.headers(), from).await {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Whose token this is; a bad one is counted, and kept in the audit log.
pub(super) async fn who(app: &App, headers: &HeaderMap, from: Option<IpAddr>) -> Result<Who, Problem> {
    let Some(given) = bearer(headers) else {
        let detail = "Send `Authorization: Bearer TOKEN`: one that `millstream token add` has made, or the one in \
                      admin.token in the data folder.";
        return Err(Problem::new(Code::Unauthorized, detail));
    };
    let now = Timestamp::now().as_millisecond();
    let (known, detail) = match app.access.judge(given, now) {
        Judged::Good(who) => return Ok(who),
        Judged::Expired(name) => (Some(name), "The token has expired; `millstream token add` makes another."),
        Judged::Unknown => (None, "No token is this one. `millstream token list` shows which there are."),
    };
    let attempt = app.access.refused(from, now);
    let (problem, noted) = match attempt {
        Attempt::Counted => (Problem::new(Code::Unauthorized, detail), true),
        Attempt::TooMany { wait, first } => {
            let detail = "Too many bad tokens came from this address within a minute.";
            (Problem::new(Code::TooManyAttempts, detail).after(wait), first)
        }
    };
    if noted {
        tracing::warn!(from = from.map(tracing::field::display), code = problem.code.name(), "a bad token was refused");
        let mut entry = Entry::login(known, None);
        (entry.code, entry.from) = (Some(problem.code.name().to_owned()), from);
        app.access.audit.note(entry).await;
    }
    Err(problem)
}

/// The text of a bearer token; none if there is no such header, or it is empty.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, given) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let given = given.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !given.is_empty()).then_some(given)
}

/// The client's address; none where the command line asks without a server.
pub(super) fn address(app: &App, peer: Option<&Peer>, headers: &HeaderMap) -> Option<IpAddr> {
    let Peer(peer) = *peer?;
    Some(client::address(peer, headers, &app.proxies).unwrap_or(peer).to_canonical())
}

/// Asks the role, and writes the deed into the audit log before the answer goes out.
async fn judge(State(rule): State<Arc<Rule>>, request: Request, next: Next) -> Response {
    let Some(who) = request.extensions().get::<Who>().cloned() else {
        // No route is without `authenticate`; should one ever be, it is closed.
        return Problem::new(Code::Unauthorized, "Send `Authorization: Bearer TOKEN`.").into_response();
    };
    let from = address(&rule.app, request.extensions().get(), request.headers());
    if who.role < rule.role {
        let (is, needs) = (who.role, rule.role);
        let detail = format!("The token `{}` has the role {is}; this needs {needs}.", who.name);
        let problem = Problem::new(Code::Forbidden, detail);
        let (request, target) = target(request).await;
        let what = rule.deed.map_or_else(|| format!("{} {}", request.method(), rule.path), str::to_owned);
        let mut entry = Entry::deed(&who, what, target, Outcome::Refused);
        (entry.code, entry.from) = (Some(problem.code.name().to_owned()), from);
        rule.app.access.audit.note(entry).await;
        return problem.into_response();
    }
    let Some(deed) = rule.deed else {
        return next.run(request).await;
    };
    // In a task of its own: a caller who hangs up must not keep a deed out of the log.
    let whole = tokio::spawn(async move {
        let (request, target) = target(request).await;
        // And another, so that one that breaks off is in the log too.
        let response = match tokio::spawn(next.run(request)).await {
            Ok(response) => response,
            Err(panic) => Problem::internal("what the API was asked", &panic).into_response(),
        };
        let done = response.status().is_success();
        let outcome = if done { Outcome::Done } else { Outcome::Failed };
        let mut entry = Entry::deed(&who, deed, target, outcome);
        entry.code = response.extensions().get::<Code>().map(|code| code.name().to_owned());
        let run = response.headers().get("x-run-id").and_then(|run| run.to_str().ok());
        (entry.run_id, entry.from) = (run.map(str::to_owned), from);
        rule.app.access.audit.note(entry).await;
        response
    });
    whole.await.unwrap_or_else(|panic| Problem::internal("what the API was asked", &panic).into_response())
}

/// What the path is about: its parameters, as in `lead`.
async fn target(request: Request) -> (Request, Option<String>) {
    let (mut parts, body) = request.into_parts();
    let params = RawPathParams::from_request_parts(&mut parts, &()).await;
    let values: Vec<String> =
        params.iter().flat_map(|params| params.iter()).map(|(_, value)| value.to_owned()).collect();
    let target = (!values.is_empty()).then(|| values.join(" "));
    (Request::from_parts(parts, body), target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_is_one() {
        let given = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(given("Bearer a").as_deref(), Some("a"));
        assert_eq!(given("bearer  a ").as_deref(), Some("a"));
        for wrong in ["a", "Basic a", "Bearer", "Bearer ", "Bearera"] {
            assert_eq!(given(wrong), None, "{wrong}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
