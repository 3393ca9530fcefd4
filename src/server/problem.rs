//! Errors as callers see them: the one place that turns what went wrong into an HTTP status.
//!
//! Every answer that is not a success is `application/problem+json` (RFC 9457) with a stable code, whether trying
//! again is safe, and a request id. Internals stay in the log, under that id.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use uuid::Uuid;

use crate::engine::{self, Denied, Refusal, Turned, Unfit};
use crate::run::RunId;
use crate::schema::Violation;

/// What went wrong, stable over versions. Each has a page in `docs/errors/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    NotJson,
    TooDeep,
    BadForm,
    IncompleteBody,
    InvalidRequest,
    Unauthorized,
    AuthenticationFailed,
    AddressRefused,
    Forbidden,
    ForeignHost,
    ForeignOrigin,
    NotFound,
    RunNotFound,
    FlowNotFound,
    TokenNotFound,
    ConnectionNotFound,
    NoUrl,
    MethodNotAllowed,
    RequestTimeout,
    Conflict,
    TokenExists,
    LoginFailed,
    AlreadyResumed,
    AlreadyResubmitted,
    Gone,
    BodyTooLarge,
    TooManyItems,
    UriTooLong,
    UnsupportedMediaType,
    UnsupportedEncoding,
    SchemaViolation,
    ConditionError,
    SplitError,
    TooManyAttempts,
    QueueFull,
    FlowBusy,
    HeadersTooLarge,
    Internal,
    NoResponse,
    Starting,
    Busy,
    Unavailable,
    SecretMissing,
    ResponseTimeout,
}

impl Code {
    pub const ALL: [Code; 44] = [
        Code::NotJson,
        Code::TooDeep,
        Code::BadForm,
        Code::IncompleteBody,
        Code::InvalidRequest,
        Code::Unauthorized,
        Code::AuthenticationFailed,
        Code::AddressRefused,
        Code::Forbidden,
        Code::ForeignHost,
        Code::ForeignOrigin,
        Code::NotFound,
        Code::RunNotFound,
        Code::FlowNotFound,
        Code::TokenNotFound,
        Code::ConnectionNotFound,
        Code::NoUrl,
        Code::MethodNotAllowed,
        Code::RequestTimeout,
        Code::Conflict,
        Code::TokenExists,
        Code::LoginFailed,
        Code::AlreadyResumed,
        Code::AlreadyResubmitted,
        Code::Gone,
        Code::BodyTooLarge,
        Code::TooManyItems,
        Code::UriTooLong,
        Code::UnsupportedMediaType,
        Code::UnsupportedEncoding,
        Code::SchemaViolation,
        Code::ConditionError,
        Code::SplitError,
        Code::TooManyAttempts,
        Code::QueueFull,
        Code::FlowBusy,
        Code::HeadersTooLarge,
        Code::Internal,
        Code::NoResponse,
        Code::Starting,
        Code::Busy,
        Code::Unavailable,
        Code::SecretMissing,
        Code::ResponseTimeout,
    ];

    /// The code as callers see it, its status, its title, and whether trying the same again is safe and may help.
    fn row(self) -> (&'static str, StatusCode, &'static str, bool) {
        use StatusCode as S;
        match self {
            Code::NotJson => ("not_json", S::BAD_REQUEST, "The body is not JSON", false),
            Code::TooDeep => ("too_deep", S::BAD_REQUEST, "The body is nested too deep", false),
            Code::BadForm => ("bad_form", S::BAD_REQUEST, "The form cannot be read", false),
            Code::IncompleteBody => ("incomplete_body", S::BAD_REQUEST, "The body ended early", true),
            Code::InvalidRequest => ("invalid_request", S::BAD_REQUEST, "The request is not understood", false),
            Code::Unauthorized => ("unauthorized", S::UNAUTHORIZED, "A valid token is needed", false),
            Code::AuthenticationFailed => {
                ("authentication_failed", S::UNAUTHORIZED, "The request does not prove who sent it", false)
            }
            Code::AddressRefused => ("address_refused", S::FORBIDDEN, "Requests from this address are refused", false),
            Code::Forbidden => ("forbidden", S::FORBIDDEN, "The token's role may not do this", false),
            Code::ForeignHost => ("foreign_host", S::FORBIDDEN, "This host is not served here", false),
            Code::ForeignOrigin => ("foreign_origin", S::FORBIDDEN, "Pages of other sites may not ask", false),
            Code::NotFound => ("not_found", S::NOT_FOUND, "There is nothing here", false),
            Code::RunNotFound => ("run_not_found", S::NOT_FOUND, "There is no such run", false),
            Code::FlowNotFound => ("flow_not_found", S::NOT_FOUND, "There is no such flow", false),
            Code::TokenNotFound => ("token_not_found", S::NOT_FOUND, "There is no such token", false),
            Code::ConnectionNotFound => ("connection_not_found", S::NOT_FOUND, "There is no such connection", false),
            Code::NoUrl => ("no_url", S::NOT_FOUND, "The flow has no URL", false),
            Code::MethodNotAllowed => ("method_not_allowed", S::METHOD_NOT_ALLOWED, "Use another method", false),
            Code::RequestTimeout => ("request_timeout", S::REQUEST_TIMEOUT, "The body came too slowly", true),
            Code::Conflict => ("conflict", S::CONFLICT, "The run is not in a state for this", false),
            Code::TokenExists => ("token_exists", S::CONFLICT, "The token's name is taken", false),
            Code::LoginFailed => ("login_failed", S::CONFLICT, "The login did not come to be", false),
            Code::AlreadyResumed => ("already_resumed", S::CONFLICT, "An answer came before", false),
            Code::AlreadyResubmitted => ("already_resubmitted", S::CONFLICT, "The run was resubmitted before", false),
            Code::Gone => ("gone", S::GONE, "It is over", false),
            Code::BodyTooLarge => ("body_too_large", S::PAYLOAD_TOO_LARGE, "The body is too large", false),
            Code::TooManyItems => ("too_many_items", S::PAYLOAD_TOO_LARGE, "The list has too many items", false),
            Code::UriTooLong => ("uri_too_long", S::URI_TOO_LONG, "The URL is too long", false),
            Code::UnsupportedMediaType => {
                ("unsupported_media_type", S::UNSUPPORTED_MEDIA_TYPE, "This content type is not read", false)
            }
            Code::UnsupportedEncoding => {
                ("unsupported_encoding", S::UNSUPPORTED_MEDIA_TYPE, "This content encoding is not read", false)
            }
            Code::SchemaViolation => {
                ("schema_violation", S::UNPROCESSABLE_ENTITY, "The body does not fit the flow's schema", false)
            }
            Code::ConditionError => {
                ("condition_error", S::UNPROCESSABLE_ENTITY, "A condition of the flow cannot be judged", false)
            }
            Code::SplitError => ("split_error", S::UNPROCESSABLE_ENTITY, "What the flow splits is no list", false),
            Code::TooManyAttempts => {
                ("too_many_attempts", S::TOO_MANY_REQUESTS, "Too many bad tokens came from this address", true)
            }
            Code::QueueFull => ("queue_full", S::TOO_MANY_REQUESTS, "The queue has no room for so many runs now", true),
            Code::FlowBusy => ("flow_busy", S::TOO_MANY_REQUESTS, "The flow has too many requests in line", true),
            Code::HeadersTooLarge => {
                ("headers_too_large", S::REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large", false)
            }
            Code::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "Something broke here", false),
            Code::NoResponse => ("no_response", S::BAD_GATEWAY, "The run ended without a response", false),
            Code::Starting => ("starting", S::SERVICE_UNAVAILABLE, "Starting or stopping", true),
            Code::Busy => ("busy", S::SERVICE_UNAVAILABLE, "At capacity", true),
            Code::Unavailable => ("unavailable", S::SERVICE_UNAVAILABLE, "Not able to keep requests now", true),
            Code::SecretMissing => ("secret_missing", S::SERVICE_UNAVAILABLE, "The sender cannot be checked now", true),
            Code::ResponseTimeout => ("response_timeout", S::GATEWAY_TIMEOUT, "The response takes too long", false),
        }
    }

    /// True if the request was understood and the flow does not take what it says: it is kept, to be mended.
    pub fn is_of_the_content(self) -> bool {
        matches!(self, Code::SchemaViolation | Code::ConditionError | Code::SplitError)
    }

    /// The code as callers see it.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    pub fn status(self) -> StatusCode {
        self.row().1
    }
}

/// One error on its way to a caller.
#[derive(Debug)]
pub struct Problem {
    pub code: Code,
    pub detail: Box<str>,
    errors: Box<[Violation]>,
    /// Seconds.
    retry_after: Option<u32>,
    headers: Box<[(HeaderName, HeaderValue)]>,
    run: Option<RunId>,
    request_id: Uuid,
}

impl Problem {
    /// `detail` says what, why and what now; it must hold neither a key nor a value of the body.
    pub fn new(code: Code, detail: impl Into<Box<str>>) -> Problem {
        Problem {
            code,
            detail: detail.into(),
            errors: Box::default(),
            retry_after: None,
            headers: Box::default(),
            run: None,
            request_id: engine::next_id().0,
        }
    }

    /// The answer for every path that means nothing, and for every wrong key: they must look the same.
    pub fn not_found() -> Problem {
        Problem::new(Code::NotFound, "No flow has this URL. Check it against `millstream url show FLOW`.")
    }

    pub fn method_not_allowed(allowed: &[String]) -> Problem {
        let allowed = allowed.join(", ");
        let problem = Problem::new(Code::MethodNotAllowed, format!("This URL takes {allowed} only."));
        problem.with_headers(HeaderValue::try_from(allowed).map(|allowed| (header::ALLOW, allowed)).ok())
    }

    /// What broke goes to the log under the request id, not to the caller.
    pub fn internal(what: &str, cause: &dyn std::fmt::Display) -> Problem {
        let problem = Problem::new(Code::Internal, "The log has the cause under this request id.");
        tracing::error!(request_id = %problem.request_id, "{what}: {cause}");
        problem
    }

    #[must_use]
    pub fn with_errors(mut self, errors: Vec<Violation>) -> Problem {
        self.errors = errors.into();
        self
    }

    #[must_use]
    pub fn with_headers(mut self, headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Problem {
        self.headers = headers.into_iter().collect();
        self
    }

    #[must_use]
    pub fn with_run(mut self, run: Option<RunId>) -> Problem {
        self.run = run;
        self
    }

    #[must_use]
    pub fn after(mut self, wait: Duration) -> Problem {
        // Whole seconds, at least one: zero would invite a storm.
        self.retry_after = Some(wait.as_secs_f64().ceil().clamp(1.0, 86_400.0) as u32);
        self
    }

    fn body(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Told<'p> {
            r#type: String,
            title: &'p str,
            status: u16,
            detail: &'p str,
            code: &'p str,
            retry: bool,
            #[serde(skip_serializing_if = "<[Violation]>::is_empty")]
            errors: &'p [Violation],
            #[serde(skip_serializing_if = "Option::is_none")]
            run_id: Option<RunId>,
            request_id: Uuid,
        }
        let (code, status, title, retry) = self.code.row();
        let told = Told {
            r#type: ["urn:millstream:error:", code].concat(),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            code,
            retry,
            errors: &self.errors,
            run_id: self.run,
            request_id: self.request_id,
        };
        let mut body = Vec::with_capacity(512);
        serde_json::to_writer(&mut body, &told).expect("texts and numbers are plain JSON data");
        body
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.code.status(), self.body()).into_response();
        // For the audit log.
        response.extensions_mut().insert(self.code);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        if self.code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.code == Code::RequestTimeout {
            // The rest of the body may still be on its way; nothing more can be read from this connection.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(run) = self.run {
            super::set_run_id(headers, run);
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        match refusal {
            Refusal::Busy { retry_after } => {
                Problem::new(Code::Busy, "More requests are queued than may be. Nothing was kept; send it again later.")
                    .after(retry_after)
            }
            Refusal::Full { retry_after } => {
                let detail = "The queue has no room for so many runs now. Nothing was kept; send it again later.";
                Problem::new(Code::QueueFull, detail).after(retry_after)
            }
            Refusal::FlowBusy { retry_after } => {
                let what = "This flow has as many requests in line as it may. Nothing was kept; send it again later.";
                Problem::new(Code::FlowBusy, what).after(retry_after)
            }
            Refusal::Unavailable { retry_after, why } => {
                let problem = Problem::new(
                    Code::Unavailable,
                    "The request could not be made durable, so it was not accepted. Send it again later.",
                )
                .after(retry_after);
                tracing::warn!(request_id = %problem.request_id, "a request was not accepted: {why}");
                problem
            }
        }
    }
}

impl From<Turned> for Problem {
    fn from(turned: Turned) -> Problem {
        match turned {
            Turned::Refused(refusal) => Problem::from(refusal),
            Turned::Unfit(Unfit::Condition(what)) => Problem::new(Code::ConditionError, what),
            Turned::Unfit(Unfit::NoList(what)) => Problem::new(Code::SplitError, what),
            Turned::Unfit(Unfit::TooMany(what)) => Problem::new(Code::TooManyItems, what),
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Problem {
        let detail = denied.to_string();
        match denied {
            Denied::NoRun(_) => Problem::new(Code::RunNotFound, detail),
            Denied::Resubmitted { by, .. } => {
                let detail = format!("{detail}; `--again` (`\"again\": true`) starts another.");
                Problem::new(Code::AlreadyResubmitted, detail).with_run(Some(by))
            }
            Denied::NoFlow(_) => Problem::new(Code::FlowNotFound, detail),
            Denied::NoConnection(_) => Problem::new(Code::ConnectionNotFound, detail),
            Denied::Login(_) => Problem::new(Code::LoginFailed, detail),
            Denied::Conflict(_) => Problem::new(Code::Conflict, detail),
            Denied::Invalid(_) => Problem::new(Code::InvalidRequest, detail),
            Denied::Unavailable(_) => Problem::new(Code::Unavailable, detail).after(Duration::from_secs(5)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors");
        for code in Code::ALL {
            let page = std::fs::read_to_string(folder.join(format!("{}.md", code.name())))
                .unwrap_or_else(|_| panic!("docs/errors/{}.md is missing", code.name()));
            let status = code.status().as_u16().to_string();
            assert!(page.starts_with(&format!("# `{}` ({status})\n", code.name())), "{}", code.name());
        }
        // Codes of files look like E-FLOW-007; those of HTTP answers are snake_case, and all of them are listed here.
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let stem = name.trim_end_matches(".md");
            if name.ends_with(".md") && stem.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                assert!(Code::ALL.iter().any(|code| code.name() == stem), "no code has the page {name}");
            }
        }
    }

    #[test]
    fn a_problem_says_its_code_and_when_to_try_again() {
        let response = Problem::new(Code::Busy, "later").after(Duration::from_millis(1_200)).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["content-type"], "application/problem+json");

        let problem = Problem::new(Code::SchemaViolation, "does not fit").with_errors(vec![Violation {
            pointer: "/a".to_owned(),
            message: "value is not of type \"string\"".to_owned(),
        }]);
        let mut body: Value = serde_json::from_slice(&problem.body()).unwrap();
        body.as_object_mut().unwrap().shift_remove("request_id");
        assert_eq!(
            body,
            json!({
                "type": "urn:millstream:error:schema_violation",
                "title": "The body does not fit the flow's schema",
                "status": 422,
                "detail": "does not fit",
                "code": "schema_violation",
                "retry": false,
                "errors": [{"pointer": "/a", "message": "value is not of type \"string\""}],
            })
        );
    }
}
