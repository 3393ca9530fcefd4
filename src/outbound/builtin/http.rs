//! `http.request`: one request to any HTTP API. All but GET and HEAD carry an `Idempotency-Key`, the same on each repeat.

mod follow;
mod pages;

use std::cell::RefCell;
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use url::Url;

use super::super::auth::{Attached, other_host};
use super::super::limits::Slot;
use super::super::{Call, Inner};
use crate::connector::{
    Answer, ApiKeyPlace, Class, Connection, Failure, HttpRequest, Pager, body_text, multipart, plain_text, redirected,
    retry_after, safe_header, too_large,
};

pub(super) async fn perform(inner: &Inner, call: &Call<'_>, slot: Slot) -> Result<Value, Failure> {
    let request = request(call)?;
    let attached = match call.connection {
        Some(connection) => Some(credentials(inner, connection).await?),
        None => None,
    };
    let mut exchange = follow::Exchange {
        inner,
        call,
        attached: attached.as_ref(),
        deadline: Instant::now() + call.timeout(),
        limit: limit(call),
        slot: Some(slot),
        accepted: false,
    };
    let reads = reads(&request);
    let Some(pages) = pages::plan(call)? else {
        let answer = exchange.run(request).await;
        let output = settled(call, reads, answer.as_ref().map_err(Clone::clone), Timestamp::now());
        return output.map_err(|failure| exchange.doubted(failure));
    };
    let mut pager = Pager::new(&pages, call.name(), request, call.output_limit);
    loop {
        let answer = exchange.run(pager.request().clone()).await;
        let output = settled(call, reads, answer.as_ref().map_err(Clone::clone), Timestamp::now());
        let mut output = output.map_err(|failure| exchange.doubted(failure))?;
        let answer = answer?;
        if !pager.take(&answer, &output["body"])? {
            output["body"] = pager.output();
            return Ok(output);
        }
        exchange.accepted |= pager.changed();
    }
}

/// Longest answer, bytes; base64 makes four letters of three.
fn limit(call: &Call<'_>) -> usize {
    if call.input.get("answer").and_then(Value::as_str) == Some("base64") {
        call.output_limit / 4 * 3
    } else {
        call.output_limit
    }
}

/// What an answer to the call, or the failure to get one, comes to. Sends nothing.
pub(super) fn judged(call: &Call<'_>, answer: Result<&Answer, Failure>, now: Timestamp) -> Result<Value, Failure> {
    let mut output = settled(call, reads(&request(call)?), answer.clone(), now)?;
    if let (Some(pages), Ok(answer)) = (pages::plan(call)?, answer) {
        output["body"] = pages.single(&call.name(), answer, &output["body"])?;
    }
    Ok(output)
}

/// True if the request changes nothing where it goes.
fn reads(request: &HttpRequest) -> bool {
    matches!(request.method.as_str(), "GET" | "HEAD")
}

fn settled(call: &Call<'_>, reads: bool, answer: Result<&Answer, Failure>, now: Timestamp) -> Result<Value, Failure> {
    let judged = answer.and_then(|answer| judge(call, answer, now));
    judged.map_err(|mut failure| {
        // A read that may have happened changed nothing.
        if reads && failure.class == Class::Unknown {
            failure.class = Class::Retry;
        }
        failure
    })
}

pub(super) fn preview(call: &Call<'_>) -> Result<Value, Failure> {
    Ok(request(call)?.preview())
}

fn wrong(what: impl Into<String>) -> Failure {
    Failure::new(Class::Permanent, "http.input", what)
}

fn request(call: &Call<'_>) -> Result<HttpRequest, Failure> {
    let input = call.input;
    let present = ["json", "form", "multipart", "body"].into_iter().filter(|key| input.get(key).is_some());
    let present: Vec<&str> = present.collect();
    if present.len() > 1 {
        return Err(wrong(format!("a request has one of {}; choose one", present.join(", "))));
    }
    let kind = present.first().copied();
    let method = input.get("method").and_then(Value::as_str).map(str::to_ascii_uppercase);
    let method = method.unwrap_or_else(|| if kind.is_some() { "POST" } else { "GET" }.to_owned());
    let mut url = target(call)?;
    if let Some(query) = input.get("query") {
        let text = body_text(query)?;
        if !text.is_empty() {
            let joined = url.query().map_or(text.clone(), |own| format!("{own}&{text}"));
            url.set_query(Some(&joined));
        }
    }
    let mut headers = Vec::new();
    for (name, value) in input.get("headers").and_then(Value::as_object).into_iter().flatten() {
        if let Some(value) = plain_text(value) {
            safe_header(name, &value)?;
            headers.push((name.clone(), value));
        }
    }
    let value = kind.and_then(|kind| input.get(kind)).unwrap_or(&Value::Null);
    let (body, content_type) = match kind {
        None => (None, None),
        Some("json") => (Some(json_bytes(value)), Some("application/json".to_owned())),
        Some("form") => (Some(body_text(value)?.into_bytes()), Some("application/x-www-form-urlencoded".to_owned())),
        Some("multipart") => {
            let (body, content_type) = multipart(value, call.key, "http.input")?;
            (Some(body), Some(content_type))
        }
        Some(_) => {
            let text = value.as_str().unwrap_or_default();
            (Some(text.as_bytes().to_vec()), Some("text/plain; charset=utf-8".to_owned()))
        }
    };
    let mut request = HttpRequest { method, url, headers, body };
    if let Some(content_type) = content_type
        && request.lacks("content-type")
    {
        request.headers.push(("Content-Type".into(), content_type));
    }
    if !reads(&request) && request.lacks("idempotency-key") {
        request.headers.push(("Idempotency-Key".into(), call.key.to_string()));
    }
    Ok(request)
}

fn json_bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("a JSON value always has a text")
}

/// The URL: absolute, or below the connection's base.
fn target(call: &Call<'_>) -> Result<Url, Failure> {
    let text = call.input.get("url").and_then(Value::as_str).unwrap_or_default();
    let url = match (call.connection, parsed(text)) {
        (_, Ok(url)) => url,
        (Some(connection), Err(url::ParseError::RelativeUrlWithoutBase)) => {
            let base = base(connection)?;
            let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
            let mut url = base.clone();
            let below = format!("{}/{}", base.path().trim_end_matches('/'), path.trim_start_matches('/'));
            url.set_path(&below);
            url.set_query(query);
            // `..` would climb out of the base.
            let rest = url.path().strip_prefix(base.path().trim_end_matches('/'));
            if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                return Err(wrong("the `url` leads out of the connection's base_url"));
            }
            url
        }
        (None, Err(url::ParseError::RelativeUrlWithoutBase)) => {
            return Err(wrong("the `url` is not absolute, and the step names no connection that could complete it"));
        }
        (_, Err(error)) => return Err(wrong(format!("the `url` is not a URL: {error}"))),
    };
    if !matches!(url.scheme(), "http" | "https") {
        let what = format!("`{}:` URLs are not called; only http and https are", url.scheme());
        return Err(Failure::new(Class::Permanent, "outbound.scheme", what));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("the `url` holds a user name; credentials belong in a connection"));
    }
    if let Some(connection) = call.connection {
        let own = base(connection)?.origin();
        if url.origin() != own {
            return Err(other_host(&url, &own));
        }
    }
    Ok(url)
}

/// Most URLs come again with the next run, and reading one costs more than the rest of making the request.
fn parsed(text: &str) -> Result<Url, url::ParseError> {
    const KEPT: usize = 64;
    const LONGEST: usize = 512;
    thread_local! {
        static KNOWN: RefCell<HashMap<String, Url>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| match known.get(text) {
        Some(url) => Ok(url.clone()),
        None => {
            let url = Url::parse(text)?;
            if text.len() <= LONGEST {
                if known.len() >= KEPT {
                    known.clear();
                }
                known.insert(text.to_owned(), url.clone());
            }
            Ok(url)
        }
    })
}

fn base(connection: &Connection) -> Result<Url, Failure> {
    let set = connection.settings.get("base_url").and_then(Value::as_str);
    let text = connection.base_url.as_deref().or(set).unwrap_or_default();
    Url::parse(text).map_err(|error| {
        let what = format!("base_url of the connection `{}` is not a URL: {error}", connection.name);
        Failure::new(Class::Held, "connector.base_url", what)
    })
}

/// The one kind of credential that the connection names: `token`, `api_key`, or `password` with a `username`.
async fn credentials(inner: &Inner, connection: &Connection) -> Result<Attached, Failure> {
    let origin = base(connection)?.origin();
    let setting = |key: &str| connection.settings.get(key).and_then(Value::as_str);
    if let Some(token) = inner.secrets.optional(connection, "token").await? {
        return Ok(Attached::bearer(origin, token));
    }
    if let Some(key) = inner.secrets.optional(connection, "api_key").await? {
        let name = setting("api_key_header").unwrap_or("X-Api-Key");
        return Attached::api_key(origin, ApiKeyPlace::Header, name, "", key);
    }
    if let Some(password) = inner.secrets.optional(connection, "password").await? {
        let username = setting("username").unwrap_or_default();
        return Ok(Attached::basic(origin, username, password));
    }
    Ok(Attached::nothing(origin))
}

fn judge(call: &Call<'_>, answer: &Answer, now: Timestamp) -> Result<Value, Failure> {
    let name = &call.name();
    let status = answer.status;
    let said = || {
        let snippet = answer.snippet();
        if snippet.is_empty() { String::new() } else { format!(": {snippet}") }
    };
    let failure = |class: Class, code: &str, what: &str| {
        Failure::new(class, code, format!("{name} {what} (status {status}){}", said())).with_status(status)
    };
    match status {
        200..=299 => output(call, answer),
        300..=399 => Err(redirected(name, answer)),
        429 | 503 => {
            let wait = retry_after(answer, now);
            Err(failure(Class::Throttled, "http.throttled", "was asked to slow down").with_wait(wait))
        }
        408 | 500.. => {
            let wait = retry_after(answer, now);
            Err(failure(Class::Unknown, "http.unavailable", "failed, and may have happened").with_wait(wait))
        }
        _ => Err(failure(Class::Permanent, "http.rejected", "was refused")),
    }
}

fn output(call: &Call<'_>, answer: &Answer) -> Result<Value, Failure> {
    let name = &call.name();
    if answer.cut {
        return Err(too_large(name, answer.status, call.output_limit));
    }
    let wanted = call.input.get("answer").and_then(Value::as_str).unwrap_or("auto");
    let essence = answer.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    let empty = answer.body.iter().all(u8::is_ascii_whitespace);
    let says_json = essence == "application/json" || essence.ends_with("+json");
    let body = if wanted == "base64" {
        Value::String(STANDARD.encode(&answer.body))
    } else if wanted == "json" || wanted == "auto" && says_json {
        match answer.json() {
            Some(body) => body,
            None if empty => Value::Null,
            None => {
                let says = if says_json { "says it is JSON and is not" } else { "should be JSON and is not" };
                let what = format!("{name} got an answer that {says} (status {})", answer.status);
                return Err(Failure::new(Class::Unknown, "http.unexpected_answer", what).with_status(answer.status));
            }
        }
    } else {
        Value::String(String::from_utf8_lossy(&answer.body).into_owned())
    };
    let mut headers = answer.header_object();
    if let Some(headers) = headers.as_object_mut() {
        // A cookie is a credential; credentials are not kept in history.
        headers.shift_remove("set-cookie");
    }
    let mut output = Map::new();
    output.insert("status".into(), json!(answer.status));
    output.insert("headers".into(), headers);
    output.insert("body".into(), body);
    Ok(Value::Object(output))
}
