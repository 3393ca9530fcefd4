//! An action's input becomes one HTTP request, without credentials. Pure: the same input gives the same request.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use url::Url;
use uuid::Uuid;

use super::base::base_url;
use super::body::{self, plain_text};
use super::declared::{Call, Declared, Part, Path, with_defaults};
use super::{Action, Class, Connection, Connector, Failure, Kind};
use crate::mapping::{self, Key, Scope, Template};

/// What RFC 3986 calls unreserved stays; all else in a filled-in value is encoded.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Headers that belong to the connection itself; a wrong one makes two requests of one.
const OWN_HEADERS: [&str; 8] =
    ["connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// A request as it will be sent, but for its credentials.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRequest {
    pub method: String,
    pub url: Url,
    /// Checked: no line breaks, none that belong to the transport.
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

impl HttpRequest {
    /// As a person reads it: method, URL, headers, body.
    pub fn preview(&self) -> Value {
        let headers: Map<String, Value> =
            self.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let body = match &self.body {
            None => Value::Null,
            Some(bytes) => serde_json::from_slice(bytes)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned())),
        };
        json!({"method": self.method, "url": self.url.as_str(), "headers": headers, "body": body})
    }

    /// True unless a header of this name is there.
    pub fn lacks(&self, name: &str) -> bool {
        !self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }
}

/// What the templates of a connector see: `settings`, `input`, `call.uuid`, and in outputs `response`.
#[derive(Debug, Clone)]
pub struct Context {
    settings: Value,
    input: Value,
    call: Value,
    response: Option<Value>,
    /// What the answer said that brought the token, without the token.
    token: Option<Arc<Value>>,
    /// Where the calls go, where the file and the settings alone do not say.
    base: Option<Url>,
    key: Uuid,
    now: Timestamp,
}

impl Context {
    /// `key` is the call's own, the same on each repeat; `now` is the time of the attempt.
    pub fn new(
        connector: &Connector,
        action: &Action,
        connection: Option<&Connection>,
        input: &Value,
        key: Uuid,
        now: Timestamp,
    ) -> Context {
        Context::of(connector, &action.defaults, connection, input, key, now)
    }

    fn of(
        connector: &Connector,
        defaults: &Map<String, Value>,
        connection: Option<&Connection>,
        input: &Value,
        key: Uuid,
        now: Timestamp,
    ) -> Context {
        let none = json!({});
        let settings = connection.map_or(&none, |connection| &connection.settings);
        Context {
            settings: connector.complete(settings),
            input: with_defaults(input, defaults),
            call: json!({"uuid": key.to_string()}),
            response: None,
            token: None,
            base: None,
            key,
            now,
        }
    }

    pub(crate) fn answered(mut self, response: Value) -> Context {
        self.response = Some(response);
        self
    }

    /// With what the answer said that brought the token.
    pub(crate) fn set_token(&mut self, answer: Option<Arc<Value>>) {
        self.token = answer;
    }

    /// Lets calls go there.
    pub(crate) fn set_base(&mut self, base: Url) {
        self.base = Some(base);
    }

    pub(crate) fn base(&self) -> Option<&Url> {
        self.base.as_ref()
    }

    /// The call's own key, the same on each repeat.
    pub(crate) fn key(&self) -> Uuid {
        self.key
    }

    /// A template's text; `None` if it renders to nothing or null.
    pub fn text(&self, template: &Template) -> Result<Option<String>, Failure> {
        Ok(template.render(self).map_err(|error| unrendered(&error))?.as_ref().and_then(plain_text))
    }
}

impl Scope for Context {
    fn find<'s>(&'s self, path: &[Key]) -> Option<(Cow<'s, Value>, usize)> {
        let root = match path.first()?.as_str() {
            "settings" => &self.settings,
            "input" => &self.input,
            "call" => &self.call,
            "response" => self.response.as_ref()?,
            "token" => self.token.as_deref()?,
            _ => return None,
        };
        Some((Cow::Borrowed(root), 1))
    }
    fn now(&self) -> Timestamp {
        self.now
    }
    fn seed(&self) -> u64 {
        self.key.as_u64_pair().0
    }
}

/// The request of one call of a declared action.
pub fn prepare(
    connector: &Connector,
    action: &Action,
    connection: Option<&Connection>,
    context: &Context,
) -> Result<HttpRequest, Failure> {
    match (&connector.kind, &action.call) {
        (Kind::Declared(declared), Some(call)) => request(declared, call, connection, context),
        (Kind::Declared(_) | Kind::Native, _) => Err(Failure::new(
            Class::Permanent,
            "connector.native",
            format!("{}.{} is not made of an HTTP request", connector.name, action.name),
        )),
    }
}

/// The request that tries a connection out.
pub(crate) fn prepare_test(
    declared: &Declared,
    connection: &Connection,
    context: &Context,
) -> Result<HttpRequest, Failure> {
    match &declared.test {
        Some(call) => request(declared, call, Some(connection), context),
        None => Err(Failure::new(Class::Permanent, "connector.no_action", "the connector declares no test")),
    }
}

/// What the templates of a connector's test see: settings alone.
pub(crate) fn test_context(connector: &Connector, connection: &Connection, now: Timestamp) -> Context {
    Context::of(connector, &Map::new(), Some(connection), &json!({}), Uuid::nil(), now)
}

fn request(
    declared: &Declared,
    call: &Call,
    connection: Option<&Connection>,
    context: &Context,
) -> Result<HttpRequest, Failure> {
    let mut url = base_url(declared, connection, context)?;
    let path = filled(&call.path, context)?;
    let (path, own_query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (path.as_str(), None),
    };
    // The base URL itself, as of a webhook, is meant without a slash that it does not have.
    if path != "/" {
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}{path}"));
    }
    let query: Vec<&str> =
        url.query().into_iter().chain(own_query.as_deref()).filter(|part| !part.is_empty()).collect();
    let query = query.join("&");
    url.set_query((!query.is_empty()).then_some(query.as_str()));
    let mut pairs = Vec::new();
    for (name, template) in &call.query {
        if let Some(value) = context.text(template)? {
            pairs.push((name, value));
        }
    }
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }

    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, template) in declared.headers.iter().chain(&call.headers) {
        if let Some(value) = context.text(template)? {
            safe_header(name, &value)?;
            headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            headers.push((name.clone(), value));
        }
    }
    let (body, content_type) = body::of(call, context)?;
    let mut request = HttpRequest { method: call.method.into(), url, headers, body };
    if let Some(content_type) = content_type
        && request.lacks("content-type")
    {
        request.headers.push(("Content-Type".into(), content_type));
    }
    Ok(request)
}

fn filled(path: &Path, context: &Context) -> Result<String, Failure> {
    let mut text = String::new();
    for part in &path.0 {
        match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Value(template) => {
                // The items of a list are segments of their own: a key such as `reports/2026.csv` keeps its slashes.
                let found = template.render(context).map_err(|error| unrendered(&error))?;
                let segments: Vec<Option<String>> = match found.as_ref() {
                    Some(Value::Array(items)) => items.iter().map(plain_text).collect(),
                    other => vec![other.and_then(plain_text)],
                };
                for (index, segment) in segments.iter().enumerate() {
                    let Some(segment) = segment.as_deref().filter(|segment| !segment.is_empty()) else {
                        return Err(empty(path));
                    };
                    if index > 0 {
                        text.push('/');
                    }
                    text.extend(utf8_percent_encode(segment, SEGMENT));
                }
                if segments.is_empty() {
                    return Err(empty(path));
                }
            }
        }
    }
    let only_path = text.split('?').next().unwrap_or_default();
    if only_path.split('/').any(|segment| matches!(segment, "." | "..")) {
        let what = format!("a value of the path `{}` is `.` or `..`, which would mean another resource", source(path));
        return Err(Failure::new(Class::Permanent, "connector.invalid_path", what));
    }
    Ok(text)
}

/// An empty segment would mean another resource: the whole table instead of one row.
fn empty(path: &Path) -> Failure {
    let what = format!("a value of the path `{}` is missing", source(path));
    Failure::new(Class::Permanent, "connector.invalid_path", what)
}

fn source(path: &Path) -> String {
    let part = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Value(_) => "{…}".to_owned(),
    };
    path.0.iter().map(part).collect()
}

/// Refuses a header that would break the request in two, or that belongs to the transport.
pub fn safe_header(name: &str, value: &str) -> Result<(), Failure> {
    let wrong = |why: &str| {
        let name: String = name.chars().filter(|letter| !letter.is_control()).take(60).collect();
        Err(Failure::new(Class::Permanent, "outbound.invalid_header", format!("the header `{name}` {why}")))
    };
    let token = |letter: u8| letter.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&letter);
    if name.is_empty() || !name.bytes().all(token) {
        return wrong("has a name that HTTP does not allow");
    }
    if OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return wrong("is set by Millstream itself; leave it out");
    }
    if value.bytes().any(|letter| (letter < 0x20 && letter != b'\t') || letter == 0x7f) {
        return wrong("has a line break or another control character in its value");
    }
    Ok(())
}

/// A template of the connector's file that failed on this input.
pub(crate) fn unrendered(error: &mapping::Error) -> Failure {
    Failure::new(Class::Permanent, error.code, format!("{} (in `{}`)", error.what, error.template))
}
