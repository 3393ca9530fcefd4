//! Request bodies: capped and timed while they come, then read as JSON or as the fields of a form.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body as Incoming, HttpBody as _};
use axum::http::{HeaderMap, HeaderValue, header};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::form;
use super::problem::{Code, Problem};
use crate::config::Limits;
use crate::run::Body;

/// Bodies being read or parsed at once may take this many KiB of memory together, about.
const IN_FLIGHT_KIB: usize = 256 * 1024;
/// What a body's text takes, as often as it is in memory: as it came, as it is parsed and as it is recorded.
const TIMES: usize = 4;
/// JSON up to this many bytes is parsed without counting its values: so many connections together take little.
const UNCOUNTED: usize = 4 * 1024;
/// Parsing more than this leaves the threads that serve others alone.
const PARSE_ASIDE: usize = 512 * 1024;
/// Room made for a body before it has come, bytes.
const AT_ONCE: usize = 16 * 1024;
/// The deepest JSON that the journal can read again.
const DEEPEST: usize = 127;
/// How long and how much of a refused body is still taken in, so that the caller can read the refusal.
const DRAIN: Duration = Duration::from_secs(5);
const DRAIN_BYTES: usize = 64 * 1024 * 1024;

/// Reads bodies within bounds.
#[derive(Clone)]
pub(super) struct Reader {
    max_bytes: usize,
    max_depth: usize,
    whole: Duration,
    /// The longest silence between two parts.
    silence: Duration,
    budget: Arc<Semaphore>,
    /// Requests being read or let in at once. HTTP/1 cannot use it up; HTTP/2 has many requests a connection.
    requests: Arc<Semaphore>,
}

/// A body that cannot be taken, with its bytes where it is worth showing to a person.
#[derive(Debug)]
pub(super) struct Refused {
    pub problem: Problem,
    pub kept: Option<Vec<u8>>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused { problem, kept: None }
    }
}

/// A body within bounds; its share of the budget is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    pub body: Body,
    _share: Share,
}

/// A body's bytes; its share of the budget is given back when this is dropped.
pub(super) struct Raw {
    bytes: Vec<u8>,
    share: Share,
}

/// One of the requests that may be read at once, and the KiB of the budget that its body has.
#[derive(Debug, Default)]
struct Share {
    _request: Option<OwnedSemaphorePermit>,
    body: Option<OwnedSemaphorePermit>,
}

impl Raw {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Taken {
    /// Gives the body away and keeps its text.
    pub fn give(&mut self) -> Body {
        let text = self.body.text_only();
        std::mem::replace(&mut self.body, text)
    }
}

/// What a content type means for reading.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Json,
    Form,
    /// With its boundary.
    Multipart(String),
    Other(String),
}

impl Reader {
    pub fn new(limits: &Limits) -> Reader {
        Reader {
            max_bytes: limits.body_bytes,
            max_depth: limits.body_depth.min(DEEPEST),
            whole: Duration::from_secs(limits.body_seconds),
            silence: Duration::from_secs(limits.header_seconds),
            budget: Arc::new(Semaphore::new(IN_FLIGHT_KIB)),
            requests: Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS))),
        }
    }

    /// A whole body, read and parsed.
    pub async fn read(&self, headers: &HeaderMap, incoming: Incoming) -> Result<Taken, Refused> {
        let raw = self.collect(headers, incoming).await?;
        self.parse(headers, raw).await
    }

    /// A whole body, not yet looked at.
    pub async fn collect(&self, headers: &HeaderMap, mut incoming: Incoming) -> Result<Raw, Problem> {
        let Ok(request) = self.requests.clone().try_acquire_owned() else {
            let problem = Problem::new(Code::Busy, "Too many requests are being read. Send it again in a moment.");
            return Err(turn_away(problem.after(Duration::from_secs(1)), incoming));
        };
        let early = self.judge_headers(headers);
        let collected = match early {
            Ok(()) => self.gather(&mut incoming).await,
            Err(problem) => Err(problem),
        };
        match collected {
            Ok((bytes, body)) => Ok(Raw { bytes, share: Share { _request: Some(request), body } }),
            Err(problem) => Err(turn_away(problem, incoming)),
        }
    }

    /// What the body says.
    pub async fn parse(&self, headers: &HeaderMap, raw: Raw) -> Result<Taken, Refused> {
        let body = match kind(headers) {
            Kind::Json if raw.bytes.len() <= PARSE_ASIDE => return self.parse_json(raw),
            Kind::Json => {
                let reader = self.clone();
                let parsed = tokio::task::spawn_blocking(move || reader.parse_json(raw)).await;
                return parsed.unwrap_or_else(|error| Err(Problem::internal("parsing a body", &error).into()));
            }
            Kind::Form => match form::urlencoded(&raw.bytes) {
                Ok(value) => Body::of(value),
                Err(problem) => {
                    return Err(Refused { problem, kept: Some(raw.bytes) });
                }
            },
            Kind::Multipart(boundary) => match form::multipart(boundary, raw.bytes.clone().into()).await {
                Ok(value) => Body::of(value),
                Err(problem) => {
                    return Err(Refused { problem, kept: Some(raw.bytes) });
                }
            },
            Kind::Other(name) => {
                let problem = Problem::new(
                    Code::UnsupportedMediaType,
                    format!("`{name}` is not read. Send JSON, a form or multipart/form-data."),
                );
                return Err(Refused { problem, kept: Some(raw.bytes) });
            }
        };
        Ok(Taken { body, _share: raw.share })
    }

    fn parse_json(&self, raw: Raw) -> Result<Taken, Refused> {
        let Raw { bytes, mut share } = raw;
        if bytes.len() > UNCOUNTED {
            let needed = (2 * bytes.len() + weight(&bytes)) / 1024;
            if needed > IN_FLIGHT_KIB {
                let detail = format!(
                    "The body has so many values that it would take {} MB of memory; {} may be taken. Send it in parts.",
                    needed / 1024,
                    IN_FLIGHT_KIB / 1024
                );
                return Err(Problem::new(Code::BodyTooLarge, detail).into());
            }
            self.take_share(&mut share.body, needed)?;
        }
        Ok(Taken { body: json(bytes, self.max_depth)?, _share: share })
    }

    /// What can be said before the first byte of the body.
    fn judge_headers(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.max_bytes as u64) {
            return Err(self.too_large());
        }
        let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
        match encoding.as_deref() {
            None | Some(b"" | b"identity") => Ok(()),
            Some(_) => Err(Problem::new(
                Code::UnsupportedEncoding,
                "Compressed bodies are not read. Send it without Content-Encoding.",
            )),
        }
    }

    async fn gather(&self, incoming: &mut Incoming) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Problem> {
        let end = Instant::now() + self.whole;
        // Not more than a short body at once: who announces a long one has not sent it yet.
        let announced = usize::try_from(incoming.size_hint().lower()).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(announced.min(AT_ONCE));
        let mut share: Option<OwnedSemaphorePermit> = None;
        loop {
            // Mostly it is there already, or has ended, and needs no timer.
            let next = match incoming.frame().now_or_never() {
                Some(next) => Ok(next),
                None => timeout_at(end.min(Instant::now() + self.silence), incoming.frame()).await,
            };
            let frame = match next {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => return Ok((bytes, share)),
                Ok(Some(Err(_))) => {
                    return Err(Problem::new(Code::IncompleteBody, "The body did not arrive whole. Send it again."));
                }
                Err(_) => {
                    let detail =
                        format!("A body must arrive within {} seconds, without long pauses.", self.whole.as_secs());
                    return Err(Problem::new(Code::RequestTimeout, detail));
                }
            };
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > self.max_bytes {
                return Err(self.too_large());
            }
            bytes.extend_from_slice(&data);
            self.take_share(&mut share, bytes.len() / 1024 * TIMES)?;
        }
    }

    /// Grows `share` to so many KiB.
    fn take_share(&self, share: &mut Option<OwnedSemaphorePermit>, needed: usize) -> Result<(), Problem> {
        let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Ok(more) = u32::try_from(needed.saturating_sub(held)) else {
            return Err(self.too_large());
        };
        if more == 0 {
            return Ok(());
        }
        // Nobody waits for a share: two half-read bodies could wait for each other.
        let Ok(taken) = self.budget.clone().try_acquire_many_owned(more) else {
            let problem = Problem::new(Code::Busy, "Too many large bodies are being read. Send it again in a moment.");
            return Err(problem.after(Duration::from_secs(1)));
        };
        match share {
            Some(share) => share.merge(taken),
            None => *share = Some(taken),
        }
        Ok(())
    }

    fn too_large(&self) -> Problem {
        Problem::new(Code::BodyTooLarge, format!("A body may have {} bytes at most.", self.max_bytes))
    }
}

/// What a body of this content type (none, if empty) is read as, with the default limits; or the code of the problem
/// that its sender gets. It is small enough already.
pub async fn read_body(content_type: &[u8], bytes: Vec<u8>) -> Result<Body, Code> {
    let mut headers = HeaderMap::new();
    if !content_type.is_empty() {
        let value = HeaderValue::from_bytes(content_type).map_err(|_| Code::UnsupportedMediaType)?;
        headers.insert(header::CONTENT_TYPE, value);
    }
    let read = Reader::new(&Limits::default()).parse(&headers, Raw { bytes, share: Share::default() }).await;
    read.map(|mut taken| taken.give()).map_err(|refused| refused.problem.code)
}

/// Refuses a request whose body was not read to its end. Closing while the caller still sends would reset the connection
/// before it has read the answer, so what is on its way is taken in for a while; most bodies have come with the headers.
pub(super) fn turn_away(problem: Problem, mut incoming: Incoming) -> Problem {
    match incoming.frame().now_or_never() {
        Some(None | Some(Err(_))) => {}
        Some(Some(Ok(_))) if incoming.is_end_stream() => {}
        Some(Some(Ok(_))) | None => drop(tokio::spawn(timeout(DRAIN, drain(incoming)))),
    }
    problem
}

async fn drain(mut incoming: Incoming) {
    let mut left = DRAIN_BYTES;
    while let Some(Ok(frame)) = incoming.frame().await {
        let length = frame.data_ref().map_or(0, bytes::Bytes::len);
        let Some(rest) = left.checked_sub(length) else { return };
        left = rest;
    }
}

fn kind(headers: &HeaderMap) -> Kind {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Kind::Json;
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "" | "application/json" | "text/json" | "text/plain" | "application/octet-stream" => Kind::Json,
        "application/x-www-form-urlencoded" => Kind::Form,
        "multipart/form-data" => match form::boundary(&text) {
            Some(boundary) => Kind::Multipart(boundary),
            None => Kind::Other("multipart/form-data without a boundary".to_owned()),
        },
        _ if essence.ends_with("+json") => Kind::Json,
        _ => Kind::Other(essence.chars().filter(|c| !c.is_control()).take(100).collect()),
    }
}

/// What the value of this JSON text takes in memory beside its texts, bytes, at most about: a list has room for four
/// items at once and doubles it, an object has a table beside its members.
fn weight(text: &[u8]) -> usize {
    let (mut weight, mut at, mut depth) = (0, 0, 0usize);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while let Some(byte) = text.get(at).filter(|byte| **byte != b'"') {
                    at += 1 + usize::from(*byte == b'\\');
                }
            }
            // The parser comes no further.
            b'[' | b'{' if depth > DEEPEST => return weight,
            b'[' | b'{' => {
                weight += 400;
                depth += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => weight += 128,
            b':' => weight += 64,
            _ => {}
        }
        at += 1;
    }
    weight
}

/// Reads JSON. An empty body is null, as is no body. Of equal keys the last wins.
pub(super) fn json(mut bytes: Vec<u8>, max_depth: usize) -> Result<Body, Refused> {
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        bytes.drain(..3);
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let (line, column) = place(&error.as_bytes()[..valid]);
            let detail = format!("The body is not UTF-8 at line {line} column {column}.");
            return Err(Refused { problem: Problem::new(Code::NotJson, detail), kept: Some(error.into_bytes()) });
        }
    };
    if text.trim_ascii().is_empty() {
        return Ok(Body::of(Value::Null));
    }
    let body = match Body::parse(&text) {
        Ok(body) => body,
        Err(error) => {
            let problem = if error.to_string().starts_with("recursion limit") {
                too_deep(max_depth)
            } else {
                Problem::new(Code::NotJson, format!("The body is not JSON: {error}."))
            };
            return Err(Refused { problem, kept: Some(text.into_bytes()) });
        }
    };
    // The parser counts to 127, but not through everything that it takes for a number or a raw value.
    if deeper_than(body.value(), max_depth) {
        return Err(Refused { problem: too_deep(max_depth), kept: Some(text.into_bytes()) });
    }
    Ok(body)
}

fn too_deep(max_depth: usize) -> Problem {
    Problem::new(Code::TooDeep, format!("A body may be nested {max_depth} levels deep at most."))
}

/// True if objects and arrays are nested more than `levels` deep.
fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| deeper_than(item, levels - 1)),
        Value::Object(members) => levels == 0 || members.values().any(|member| deeper_than(member, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Line and column, from 1, of what follows `before`.
fn place(before: &[u8]) -> (usize, usize) {
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    (line, 1 + String::from_utf8_lossy(&before[start..]).chars().count())
}

#[cfg(test)]
mod tests;
