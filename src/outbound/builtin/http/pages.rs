//! The pages of a step that asks for more than one: how its input says where the next one is.

use serde_json::{Map, Value};

use crate::connector::{Class, Failure, MAX_ITEMS, Next, PagePlace, Pages, Selection};
use crate::outbound::Call;

/// What the step says of pages, if it does.
pub(super) fn plan(call: &Call<'_>) -> Result<Option<Pages>, Failure> {
    let Some(fields) = call.input.get("pages").and_then(Value::as_object) else { return Ok(None) };
    let max_items = fields.get("max_items").and_then(Value::as_u64).unwrap_or(MAX_ITEMS);
    Ok(Some(Pages {
        items: path(fields, "items")?.ok_or_else(|| wrong("`pages` needs `items`, as in $.value"))?,
        item: None,
        next: next(fields)?,
        max_items: usize::try_from(max_items).unwrap_or(usize::MAX),
    }))
}

fn wrong(what: impl Into<String>) -> Failure {
    Failure::new(Class::Permanent, "http.input", what)
}

fn path(fields: &Map<String, Value>, key: &str) -> Result<Option<Selection>, Failure> {
    let text = fields.get(key).and_then(Value::as_str);
    text.map(|text| Selection::parse(text).map_err(|why| wrong(format!("`{key}` of `pages`: {why}")))).transpose()
}

fn next(fields: &Map<String, Value>) -> Result<Next, Failure> {
    let forms = ["next_url", "cursor", "offset", "page", "link"].into_iter().filter(|form| fields.contains_key(*form));
    let forms: Vec<&str> = forms.collect();
    let [form] = forms.as_slice() else {
        return Err(wrong("`pages` has one of next_url, cursor, offset, page, link"));
    };
    let none = Map::new();
    let inner = fields[*form].as_object().unwrap_or(&none);
    let count = |key: &str| inner.get(key).and_then(Value::as_u64);
    Ok(match *form {
        "next_url" => Next::Url(path(fields, "next_url")?.ok_or_else(|| wrong("`next_url` is a JSONPath"))?),
        "link" => Next::Link,
        "cursor" => Next::Cursor {
            from: path(inner, "from")?.ok_or_else(|| wrong("`cursor` needs `from`, as in $.next"))?,
            to: place(form, inner)?,
        },
        "offset" => Next::Offset { to: place(form, inner)?, size: size(inner)? },
        _ => Next::Page { to: place(form, inner)?, first: count("first").unwrap_or(1), size: size(inner)? },
    })
}

/// `query: NAME`, or `body: path.in.body`.
fn place(form: &str, fields: &Map<String, Value>) -> Result<PagePlace, Failure> {
    match (fields.get("query").and_then(Value::as_str), fields.get("body").and_then(Value::as_str)) {
        (Some(name), None) => Ok(PagePlace::Query(name.to_owned())),
        (None, Some(path)) => Ok(PagePlace::Body(path.split('.').map(str::to_owned).collect())),
        _ => Err(wrong(format!("`{form}` of `pages` has one of `query` and `body`: where the request says it"))),
    }
}

fn size(fields: &Map<String, Value>) -> Result<Option<(PagePlace, u64)>, Failure> {
    let Some(size) = fields.get("size").and_then(Value::as_object) else { return Ok(None) };
    let value = size.get("value").and_then(Value::as_u64).ok_or_else(|| wrong("`size` of `pages` needs a `value`"))?;
    Ok(Some((place("size", size)?, value)))
}
