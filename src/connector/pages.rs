//! Answers that come in pages: where the next one is, and what has been gathered. Pure: `outbound` sends the requests.
//!
//! Bounded in three ways: by `max_items`, by bytes, and by the number of pages. A target that leads in a circle is
//! found out.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::judge::{Answer, too_large};
use super::select::Selection;
use super::{Class, Failure, HttpRequest};
use crate::mapping::parse_json;

/// Items gathered where the connector does not say how many.
pub(crate) const MAX_ITEMS: u64 = 1000;
/// A target that has more pages than this, most of them empty, does not end.
const MAX_PAGES: usize = 1000;

/// How an answer is one page of several.
#[derive(Debug)]
pub(crate) struct Pages {
    pub items: Selection,
    /// What of each item is kept; all of it unless set.
    pub item: Option<Item>,
    pub next: Next,
    pub max_items: usize,
}

/// What of an item is kept.
#[derive(Debug)]
pub(crate) enum Item {
    Path(Selection),
    Object(Vec<(String, Item)>),
}

impl Item {
    fn of(&self, item: &Value) -> Value {
        match self {
            Item::Path(path) => path.find(item).unwrap_or(Value::Null),
            Item::Object(fields) => {
                Value::Object(fields.iter().map(|(key, field)| (key.clone(), field.of(item))).collect())
            }
        }
    }
}

/// How the next page is asked for.
#[derive(Debug)]
pub(crate) enum Next {
    /// Its URL is in the body.
    Url(Selection),
    /// Its URL is in the header `Link` (RFC 8288), `rel="next"`.
    Link,
    /// A text of the body is sent with the next request.
    Cursor { from: Selection, to: Place },
    /// How many items there were before.
    Offset { to: Place, size: Option<(Place, u64)> },
    /// Its number.
    Page { to: Place, first: u64, size: Option<(Place, u64)> },
}

/// Where a request says which page it wants.
#[derive(Debug)]
pub(crate) enum Place {
    Query(String),
    /// Keys down into a JSON body.
    Body(Vec<String>),
}

impl Place {
    fn put(&self, request: &mut HttpRequest, value: &Value) {
        match self {
            Place::Query(name) => {
                let others = request.url.query_pairs().filter(|(known, _)| known != name);
                let pairs: Vec<(String, String)> =
                    others.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                request.url.query_pairs_mut().clear().extend_pairs(pairs).append_pair(name, &text);
            }
            Place::Body(path) => {
                let mut body = request.body.as_deref().and_then(|bytes| parse_json(bytes).ok()).unwrap_or(Value::Null);
                let mut at = &mut body;
                for key in path {
                    if !at.is_object() {
                        *at = Value::Object(Map::new());
                    }
                    at = match at {
                        Value::Object(object) => object.entry(key.as_str()).or_insert(Value::Null),
                        _ => return,
                    };
                }
                *at = value.clone();
                request.body = Some(body.to_string().into_bytes());
            }
        }
    }
}

/// What has been gathered, and the next request.
pub(crate) struct Pager<'p> {
    pages: &'p Pages,
    /// As messages name the call.
    name: String,
    request: HttpRequest,
    items: Vec<Value>,
    bytes: usize,
    /// Longest output, bytes.
    limit: usize,
    count: usize,
    seen: HashSet<String>,
    /// The items of the page before, where pages are counted: the same again means that the count is not heeded.
    before: Vec<Value>,
    more: bool,
}

impl<'p> Pager<'p> {
    /// Begins with the `request` as prepared; `limit` is the longest output in bytes.
    pub fn new(pages: &'p Pages, name: String, mut request: HttpRequest, limit: usize) -> Pager<'p> {
        let size = match &pages.next {
            Next::Offset { size, .. } => size,
            Next::Page { to, first, size } => {
                to.put(&mut request, &json!(first));
                size
            }
            Next::Url(_) | Next::Link | Next::Cursor { .. } => &None,
        };
        if let Some((place, value)) = size {
            place.put(&mut request, &json!(value));
        }
        let (items, seen, before) = (Vec::new(), HashSet::new(), Vec::new());
        Pager { pages, name, request, items, bytes: 0, limit, count: 0, seen, before, more: false }
    }

    /// The request of the page that comes next.
    pub fn request(&self) -> &HttpRequest {
        &self.request
    }

    /// True if a page was given to a request that may change something.
    pub fn changed(&self) -> bool {
        self.count > 0 && !matches!(self.request.method.as_str(), "GET" | "HEAD")
    }

    /// Takes one page in; true if another one is wanted.
    ///
    /// # Errors
    /// If the target leads in a circle, to another host, or on without end, or if there is more than can be kept.
    pub fn take(&mut self, answer: &Answer, body: &Value) -> Result<bool, Failure> {
        let items = self.pages.items_of(&self.name, body)?;
        let count = items.len();
        self.count += 1;
        let counted = matches!(self.pages.next, Next::Offset { .. } | Next::Page { .. });
        if counted && count > 0 && items == self.before {
            return Err(self.wrong("gives the same page again and again; it does not heed what it is asked for"));
        }
        if counted {
            self.before.clone_from(&items);
        }
        let next = self.pages.after(answer, body, count)?;
        for item in items {
            if self.items.len() == self.pages.max_items {
                self.more = true;
                return Ok(false);
            }
            self.bytes += item.to_string().len() + 1;
            if self.bytes > self.limit {
                return Err(too_large(&self.name, answer.status, self.limit));
            }
            self.items.push(item);
        }
        let Some(next) = next else { return Ok(false) };
        if self.items.len() == self.pages.max_items {
            self.more = true;
            return Ok(false);
        }
        if self.count >= MAX_PAGES {
            return Err(self.wrong(&format!("has not ended after {MAX_PAGES} pages")));
        }
        self.follow(next)?;
        Ok(true)
    }

    fn follow(&mut self, next: Following) -> Result<(), Failure> {
        match (&self.pages.next, next) {
            (Next::Url(_) | Next::Link, Following::Url(text)) => {
                let joined = self.request.url.join(&text);
                let mut url =
                    joined.map_err(|error| self.wrong(&format!("names a next page that is no URL: {error}")))?;
                let own = self.request.url.origin();
                if url.origin() != own {
                    let what = format!(
                        "{}: the next page is at {}, another host than the connection's own ({}); it is not asked for",
                        self.name,
                        url.origin().ascii_serialization(),
                        own.ascii_serialization()
                    );
                    return Err(Failure::new(Class::Permanent, "outbound.other_host", what));
                }
                url.set_fragment(None);
                without_hidden(&mut url);
                if url == self.request.url || !self.seen.insert(url.to_string()) {
                    return Err(self.wrong("leads back to a page that was there already"));
                }
                self.request.url = url;
            }
            (Next::Cursor { to, .. }, Following::Cursor(cursor)) => {
                if !self.seen.insert(cursor.to_string()) {
                    return Err(self.wrong("repeats a cursor, so that it would never end"));
                }
                to.put(&mut self.request, &cursor);
            }
            (Next::Offset { to, .. }, _) => to.put(&mut self.request, &json!(self.items.len())),
            (Next::Page { to, first, .. }, _) => to.put(&mut self.request, &json!(first + self.count as u64)),
            (Next::Url(_) | Next::Link | Next::Cursor { .. }, _) => {}
        }
        Ok(())
    }

    /// All that was gathered.
    pub fn output(self) -> Value {
        output(self.items, self.more)
    }

    fn wrong(&self, what: &str) -> Failure {
        wrong(&self.name, what)
    }
}

/// What leads on.
#[derive(Debug)]
enum Following {
    Url(String),
    Cursor(Value),
    Count,
}

impl Pages {
    /// The output where this is the only answer there is, as in a flow's test.
    pub fn single(&self, name: &str, answer: &Answer, body: &Value) -> Result<Value, Failure> {
        let mut items = self.items_of(name, body)?;
        let more = self.after(answer, body, items.len())?.is_some() || items.len() > self.max_items;
        items.truncate(self.max_items);
        Ok(output(items, more))
    }

    fn items_of(&self, name: &str, body: &Value) -> Result<Vec<Value>, Failure> {
        let items = match self.items.find(body) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items,
            // In XML one element is no list, and an empty one is an empty text.
            Some(one @ Value::Object(_)) => vec![one],
            Some(Value::String(text)) if text.trim().is_empty() => Vec::new(),
            Some(_) => return Err(wrong(name, "has something else than a list where its items should be")),
        };
        Ok(match &self.item {
            None => items,
            Some(item) => items.iter().map(|one| item.of(one)).collect(),
        })
    }

    /// What leads to the next page, if there is one.
    fn after(&self, answer: &Answer, body: &Value, count: usize) -> Result<Option<Following>, Failure> {
        let size = match &self.next {
            Next::Url(path) => return Ok(text(path.find(body)).map(Following::Url)),
            Next::Link => return Ok(linked(answer).map(Following::Url)),
            Next::Cursor { from, .. } => {
                let cursor = from.find(body).filter(|found| match found {
                    Value::String(text) => !text.is_empty(),
                    Value::Number(_) => true,
                    Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
                });
                return Ok(cursor.map(Following::Cursor));
            }
            Next::Offset { size, .. } | Next::Page { size, .. } => size,
        };
        let full = match size {
            Some((_, size)) => count as u64 >= *size,
            None => count > 0,
        };
        Ok((full && count > 0).then_some(Following::Count))
    }
}

fn output(items: Vec<Value>, more: bool) -> Value {
    // Not by `json!`, which would copy the items through serde and respell their exponents.
    let mut output = Map::new();
    output.insert("items".into(), Value::Array(items));
    output.insert("more".into(), Value::Bool(more));
    Value::Object(output)
}

fn wrong(name: &str, what: &str) -> Failure {
    Failure::new(Class::Permanent, "connector.pages", format!("{name}: the target {what}"))
}

fn text(value: Option<Value>) -> Option<String> {
    value?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A key in the query was taken out of the answer; it is added again where credentials are.
fn without_hidden(url: &mut url::Url) {
    if url.query().is_some_and(|query| query.contains("redacted")) {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(_, value)| value != "[redacted]")
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
}

/// The target of `rel="next"` among all `Link` headers.
fn linked(answer: &Answer) -> Option<String> {
    let headers = answer.headers.iter().filter(|(name, _)| name == "link");
    headers.flat_map(|(_, value)| links(value)).find_map(|(target, parameters)| {
        let next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            let relations = value.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel")
                && relations.split_whitespace().any(|relation| relation.eq_ignore_ascii_case("next"))
        });
        next.then(|| target.to_owned())
    })
}

/// `<target>; parameters` of each link; a target may hold commas.
fn links(value: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((target, after)) = after.split_once('>') else { break };
        let end = after.find('<').unwrap_or(after.len());
        found.push((target, after[..end].trim_end_matches([',', ' ', '\t'])));
        rest = &after[end..];
    }
    found
}
