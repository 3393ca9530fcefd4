//! `/hooks/{flow}/resume/{run}/{place}/{key}`: the URL of a `wait` step, for people and programs.
//!
//! A POST ends the wait. A GET never does, since mail scanners and previews follow links: it shows a page with a
//! button that posts.

use axum::body::{Body as Incoming, HttpBody};
use axum::extract::Request as HttpRequest;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use super::hooks::begun_response;
use super::problem::{Code, Problem};
use super::unbroken::Unbroken;
use super::{App, seen};
use crate::engine::{Accepted, Begun, Delivered};
use crate::points;
use crate::run::{Place, RunId};

/// What the URL of a `wait` step names.
pub(super) struct Target {
    run: RunId,
    place: Place,
    key: String,
}

/// Takes the path of such a URL apart; `None` if it is none.
pub(super) fn target(path: &str) -> Option<Target> {
    let mut parts = path.strip_prefix("/hooks/")?.split('/').skip(1);
    if parts.next()? != "resume" {
        return None;
    }
    let (run, place, key) = (parts.next()?, parts.next()?, parts.next()?);
    let place = serde_json::from_value(Value::String(place.to_owned())).ok()?;
    let end = parts.next().is_none_or(str::is_empty);
    end.then_some(Target { run: run.parse().ok()?, place, key: key.to_owned() })
}

pub(super) async fn resume(app: &App, target: Target, request: HttpRequest) -> Response {
    if !app.engine.may_resume(target.run, &target.place, &target.key) {
        return Problem::not_found().into_response();
    }
    let (parts, incoming) = request.into_parts();
    let for_people = wants_html(&parts.headers);
    match parts.method {
        Method::GET | Method::HEAD => page(
            "Go on?",
            "<p>A flow waits for this. It goes on when you press the button.</p>\
             <form method=\"post\"><button>Go on</button></form>",
        ),
        Method::POST => match post(app, &target, &parts.uri, &parts.headers, incoming).await {
            Ok(_) if for_people => page("Thank you", "<p>The flow goes on. You can close this page.</p>"),
            Ok(response) => response,
            Err(problem) if for_people && matches!(problem.code, Code::AlreadyResumed | Code::Gone) => {
                let mut told = page("Nothing left to do", &format!("<p>{}</p>", problem.detail));
                *told.status_mut() = problem.code.status();
                told
            }
            Err(problem) => problem.into_response(),
        },
        _ => Problem::method_not_allowed(&["GET".to_owned(), "POST".to_owned()]).into_response(),
    }
}

async fn post(
    app: &App,
    target: &Target,
    uri: &axum::http::Uri,
    headers: &HeaderMap,
    incoming: Incoming,
) -> Result<Response, Problem> {
    // A button, or `curl -X POST`, brings no body.
    let (body, share) = if incoming.is_end_stream() {
        (Value::Null, None)
    } else {
        let mut taken = app.reader.read(headers, incoming).await.map_err(|refused| refused.problem)?;
        if taken.body.text().len() > app.engine.output_limit() {
            let most = app.engine.output_limit();
            return Err(Problem::new(Code::BodyTooLarge, format!("An answer may have {most} bytes at most.")));
        }
        (taken.give().into_value(), Some(taken))
    };
    let input = json!({
        "body": body, "query": seen::query(uri)?, "headers": seen::headers(headers, &[]), "method": Method::POST.as_str(),
    });
    // A caller who hangs up must not leave it half done.
    let (engine, run, place) = (app.engine.clone(), target.run, target.place.clone());
    let delivered = Unbroken::new("resuming a run", async move {
        // As long as it may wait for its run it takes memory.
        let _share = share;
        engine.deliver(run, place, input).await
    });
    let delivered = delivered.await?;
    points::reach("server.resumed.before");
    match delivered? {
        Delivered::Taken | Delivered::Repeated => {
            Ok(begun_response(Begun::One(Accepted { run: target.run, repeat: false, answer: None })))
        }
        Delivered::TooDeep => Err(Problem::new(Code::TooDeep, "The body is nested too deep to be kept.")),
        Delivered::Late => Err(Problem::new(Code::AlreadyResumed, "An answer came before this one; it stands.")),
        Delivered::Gone => {
            Err(Problem::new(Code::Gone, "The run has ended, or no longer waits here. Nothing was changed."))
        }
    }
}

fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// A page that loads nothing and cannot be framed; `body` is our own text.
fn page(title: &str, body: &str) -> Response {
    const STYLE: &str = "body{font:1.1rem system-ui,sans-serif;max-width:30rem;margin:20vh auto;padding:0 1rem}\
                         button{font:inherit;padding:.6rem 2rem}";
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>{body}</html>"
    );
    let mut response = (StatusCode::OK, Html(html)).into_response();
    const HEADERS: [(&str, &str); 4] = [
        (
            "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
        ),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn only_the_url_of_a_wait_is_taken_apart() {
        let run = "0190f000-0000-7000-8000-000000000000";
        let found = |path: String| target(&path).map(|found| (found.place.to_string(), found.key));
        assert_eq!(found(format!("/hooks/a/resume/{run}/2.0.1/KEY")), Some(("2.0.1".into(), "KEY".into())));
        assert_eq!(found(format!("/hooks/a/resume/{run}/2/KEY/")), Some(("2".into(), "KEY".into())));
        for wrong in ["/hooks/a/KEY", "/hooks/a/KEY/resume", "/hooks/resume/a/b/c/d", "/hooks/a/resume/x/1/KEY"] {
            assert_eq!(found(wrong.to_owned()), None, "{wrong}");
        }
        assert_eq!(found(format!("/hooks/a/resume/{run}/2.0/KEY")), None);
        assert_eq!(found(format!("/hooks/a/resume/{run}/1/KEY/more")), None);
    }
}
