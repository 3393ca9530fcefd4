//! What a declared connector's file says, compiled: every template, path, pattern and schema is checked once, at load.

use std::time::Duration;

use serde_json::{Map, Value};

use super::auth::{Address, Auth};
use super::judge::Answer;
use super::pages::Pages;
use super::select::Selection;
use crate::mapping::{Mapping, Template};
use crate::schema::Schema;

/// How the calls of a declared connector are made and judged.
#[derive(Debug)]
pub struct Declared {
    pub(crate) base_url: Address,
    pub auth: Auth,
    pub(crate) headers: Vec<(String, Template)>,
    /// The first that matches decides.
    pub(crate) errors: Vec<Rule>,
    /// What a good answer looks like; any 2xx unless set.
    pub(crate) success: Option<Test>,
    /// Where the text is that people should see; the first that finds something.
    pub(crate) error_text: Vec<Selection>,
    pub limits: Keyed,
    /// A request that shows whether a connection works.
    pub(crate) test: Option<Call>,
}

impl Declared {
    /// True if requests can be made only once the connection's credentials are there: a token's answer, or a URL that is a
    /// secret, is part of them.
    pub(crate) fn is_late(&self) -> bool {
        matches!(self.auth, Auth::Token(_)) || matches!(self.base_url, Address::Secret(_))
    }

    /// True if the connector declares a request that tries a connection out.
    pub fn has_test(&self) -> bool {
        self.test.is_some()
    }
}

/// How much a target takes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// Calls at once.
    pub concurrent: Option<usize>,
    pub rate: Option<Rate>,
}

/// The limits of a connector or an action, and what they are counted by, beside the connection.
#[derive(Debug, Default)]
pub struct Keyed {
    pub limits: Limits,
    pub(crate) key: Option<Template>,
}

impl Limits {
    /// True if anything is limited.
    pub fn is_some(&self) -> bool {
        self.concurrent.is_some() || self.rate.is_some()
    }
}

/// So many requests in so much time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub requests: u32,
    pub per: Duration,
}

/// One declared request with what becomes of its answer.
#[derive(Debug)]
pub(crate) struct Call {
    pub method: &'static str,
    pub path: Path,
    pub query: Vec<(String, Template)>,
    pub headers: Vec<(String, Template)>,
    pub body: Body,
    /// Leaves out keys of the query and of the body's first level that are null.
    pub omit_missing: bool,
    /// What a good answer is.
    pub answer: Form,
    pub output: Output,
    /// Rules of this action; they come before the connector's.
    pub errors: Vec<Rule>,
    /// What a good answer of this action looks like, instead of the connector's.
    pub success: Option<Test>,
    /// Where the next page is, where an answer has only some of the items.
    pub pages: Option<Pages>,
    pub limits: Keyed,
}

/// What a request carries.
#[derive(Debug)]
pub(crate) enum Body {
    None,
    Json(Mapping),
    Form(Mapping),
    Multipart(Mapping),
    /// Text as it is, or bytes given as base64.
    Raw {
        content: Template,
        base64: bool,
        content_type: Option<Template>,
    },
}

/// What the body of a good answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Text,
    /// Read as the functions `json(xml())` do.
    Xml,
    /// Bytes, kept as base64.
    Base64,
}

impl Form {
    pub const NAMES: [(&'static str, Form); 4] =
        [("json", Form::Json), ("text", Form::Text), ("xml", Form::Xml), ("base64", Form::Base64)];
}

/// A path whose filled-in values are percent-encoded, so that data can never change which resource is meant.
#[derive(Debug)]
pub(crate) struct Path(pub Vec<Part>);

#[derive(Debug)]
pub(crate) enum Part {
    Text(String),
    Value(Template),
}

/// Where an action's output is in the answer.
#[derive(Debug)]
pub(crate) enum Output {
    /// The body as it is.
    Body,
    Path(Selection),
    Template(Template),
    Object(Vec<(String, Output)>),
    List(Vec<Output>),
    Literal(Value),
}

/// A predicate on an answer.
#[derive(Debug)]
pub(crate) struct Test {
    /// Empty: any.
    pub status: Vec<Statuses>,
    /// Names in lower case, and what each must be.
    pub headers: Vec<(String, Expected)>,
    pub body: Option<(Selection, Expected)>,
}

/// One status, or a hundred (`5xx`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Statuses {
    One(u16),
    Hundred(u16),
}

impl Statuses {
    fn holds(self, status: u16) -> bool {
        match self {
            Statuses::One(one) => one == status,
            Statuses::Hundred(hundred) => status / 100 == hundred,
        }
    }
}

/// What the value at a path must be.
#[derive(Debug)]
pub(crate) enum Expected {
    /// Any of these.
    Is(Vec<Value>),
    /// A text that a pattern finds; a schema, since its patterns take linear time.
    Matches(Schema),
    /// Anything but null.
    There,
}

impl Test {
    /// True if the answer is as described; a body that was not understood has no values.
    pub fn holds(&self, answer: &Answer, body: Option<&Value>) -> bool {
        if !self.status.is_empty() && !self.status.iter().any(|statuses| statuses.holds(answer.status)) {
            return false;
        }
        let there = |(name, expected): &(String, Expected)| {
            answer.header(name).is_some_and(|found| expected.holds(&Value::String(found.trim().to_owned())))
        };
        if !self.headers.iter().all(there) {
            return false;
        }
        let Some((path, expected)) = &self.body else {
            return true;
        };
        let Some(found) = body.and_then(|body| path.find(body)).filter(|found| !found.is_null()) else {
            return false;
        };
        expected.holds(&found)
    }
}

impl Expected {
    fn holds(&self, found: &Value) -> bool {
        match self {
            Expected::Is(values) => values.contains(found),
            Expected::Matches(pattern) => pattern.violations(found).is_empty(),
            Expected::There => true,
        }
    }
}

/// "An answer like this means that."
#[derive(Debug)]
pub(crate) struct Rule {
    pub test: Test,
    pub then: Then,
    pub wait: Vec<Wait>,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Throttled,
    Retry,
    Auth,
    Duplicate,
    Permanent,
    AlreadyDone,
    Unknown,
}

impl Then {
    pub const NAMES: [(&'static str, Then); 7] = [
        ("throttled", Then::Throttled),
        ("retry", Then::Retry),
        ("auth", Then::Auth),
        ("duplicate", Then::Duplicate),
        ("permanent", Then::Permanent),
        ("already_done", Then::AlreadyDone),
        ("unknown", Then::Unknown),
    ];
}

/// Where a target says how long to wait.
#[derive(Debug)]
pub(crate) enum Wait {
    /// The `Retry-After` header: seconds or a date.
    RetryAfter,
    /// A header with the second (or millisecond, since 1970) at which the limit ends, or the seconds until then.
    Reset(String),
    /// As the documentation says, where the answer does not.
    Always(Duration),
    /// Seconds, in the body.
    Path(Selection),
}

/// Fills in what `given` leaves out; null leaves out everything.
pub(crate) fn with_defaults(given: &Value, defaults: &Map<String, Value>) -> Value {
    let mut value = if given.is_null() { Value::Object(Map::new()) } else { given.clone() };
    if let Value::Object(object) = &mut value {
        for (key, default) in defaults {
            if !object.contains_key(key) {
                object.insert(key.clone(), default.clone());
            }
        }
    }
    value
}
