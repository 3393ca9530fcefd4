//! What a `response` step answers, as HTTP.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::Value;

use crate::run;

/// Headers that a flow cannot set: they belong to the connection, to the server, or to whoever serves the domain.
const FORBIDDEN: [&str; 14] = [
    "allow",
    "connection",
    "cookie",
    "date",
    "expires",
    "keep-alive",
    "last-modified",
    "proxy-authenticate",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Of the `content-…` headers a flow may set these.
const CONTENT: [&str; 3] = ["content-disposition", "content-encoding", "content-type"];

/// The answer, without headers that are forbidden or cannot be sent; or why there can be none.
pub(super) fn build(response: &run::Response) -> Result<Response<Body>, String> {
    let status = StatusCode::from_u16(response.status).ok().filter(|status| (200..600).contains(&status.as_u16()));
    let Some(status) = status else {
        return Err(format!("The flow answered with status {}, which cannot be sent.", response.status));
    };
    let (content_type, body) = match &response.body {
        Value::Null => (None, String::new()),
        Value::String(text) => (Some("text/plain; charset=utf-8"), text.clone()),
        other => (Some("application/json"), other.to_string()),
    };
    // These never have a body.
    let body = if matches!(status.as_u16(), 204 | 205 | 304) { String::new() } else { body };
    let mut built = Response::new(Body::from(body));
    *built.status_mut() = status;
    if let Some(content_type) = content_type {
        built.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    for (name, value) in &response.headers {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match (HeaderName::try_from(name.as_str()), HeaderValue::try_from(text)) {
            (Ok(name), Ok(value)) if is_allowed(name.as_str()) => {
                built.headers_mut().insert(name, value);
            }
            (Ok(name), Ok(_)) => tracing::debug!("the header `{name}` of a response is not a flow's to set"),
            _ => tracing::warn!("a header of a response cannot be sent: its name or value is not valid in HTTP"),
        }
    }
    Ok(built)
}

fn is_allowed(name: &str) -> bool {
    !FORBIDDEN.contains(&name) && (!name.starts_with("content-") || CONTENT.contains(&name))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::json;

    use super::*;

    async fn shown(status: u16, headers: Value, body: Value) -> String {
        let headers = headers.as_object().cloned().unwrap_or_default();
        let built = match build(&run::Response { status, headers, body }) {
            Ok(built) => built,
            Err(what) => return what,
        };
        let head = format!("{} {:?}", built.status().as_u16(), built.headers());
        let body = built.into_body().collect().await.unwrap().to_bytes();
        format!("{head} {}", String::from_utf8_lossy(&body))
    }

    #[tokio::test]
    async fn bodies_are_json_text_or_nothing() {
        assert_eq!(shown(200, json!({}), json!({"a": 1})).await, r#"200 {"content-type": "application/json"} {"a":1}"#);
        assert_eq!(shown(201, json!({}), json!("hi")).await, r#"201 {"content-type": "text/plain; charset=utf-8"} hi"#);
        assert_eq!(shown(202, json!({}), json!(null)).await, "202 {} ");
        assert_eq!(shown(204, json!({"content-type": null}), json!(null)).await, "204 {} ");
    }

    #[tokio::test]
    async fn forbidden_and_broken_headers_are_left_out() {
        let headers = json!({
            "Set-Cookie": "a=b", "Transfer-Encoding": "chunked", "Content-Length": "9", "X-Bad": "a\r\nb",
            "b ad": "x", "X-N": 5, "Content-Type": "text/html"
        });
        assert_eq!(shown(200, headers, json!("x")).await, r#"200 {"content-type": "text/html", "x-n": "5"} x"#);
        assert!(shown(99, json!({}), json!(null)).await.contains("cannot be sent"));
        assert!(shown(101, json!({}), json!(null)).await.contains("cannot be sent"));
    }
}
