//! How a connector's file says that answers come in pages, and which choices an input has.

use super::*;
use crate::connector::Choices;
use crate::connector::declared::Body;
use crate::connector::pages::{Item, MAX_ITEMS, Next, Pages, Place};

const FORMS: [&str; 5] = ["next_url", "cursor", "offset", "page", "link"];
/// A list of more does not belong into a run's memory.
const MOST: u64 = 100_000;

impl Reader<'_> {
    pub(super) fn pages(&mut self, at: &str, value: &Value, body: &Body) -> Option<Pages> {
        const KEYS: &[&str] = &["items", "item", "next_url", "cursor", "offset", "page", "link", "max_items"];
        let fields = self.object(at, value, KEYS)?;
        if !fields.contains_key("items") {
            self.missing(at, "items", "items: $.value");
        }
        let items = fields.get("items").and_then(|value| self.selection(&format!("{at}/items"), value));
        let item = fields.get("item").map(|value| self.item(&format!("{at}/item"), value));
        let max_items = fields.get("max_items").map_or(Some(MAX_ITEMS), Value::as_u64);
        let max_items = max_items.filter(|count| (1..=MOST).contains(count));
        if max_items.is_none() {
            self.wrong("E-CON-004", &format!("{at}/max_items"), format!("it is a number from 1 to {MOST}"), None);
        }
        let given: Vec<&str> = FORMS.into_iter().filter(|form| fields.contains_key(*form)).collect();
        let [form] = given.as_slice() else {
            let hint = "as in {items: $.value, next_url: $.next}".to_owned();
            self.wrong("E-CON-004", at, format!("pages have one of {}", FORMS.join(", ")), Some(hint));
            return None;
        };
        let here = format!("{at}/{form}");
        let value = &fields[*form];
        let json = matches!(body, Body::Json(_));
        let next = match *form {
            "next_url" => Next::Url(self.selection(&here, value)?),
            "link" => {
                if value != &Value::Bool(true) {
                    self.wrong("E-CON-004", &here, "it is `true`".into(), None);
                }
                Next::Link
            }
            "cursor" => {
                let fields = self.object(&here, value, &["from", "query", "body"])?;
                if !fields.contains_key("from") {
                    self.missing(&here, "from", "from: $.paging.next.after");
                }
                let from = fields.get("from").and_then(|value| self.selection(&format!("{here}/from"), value));
                let to = self.place(&here, fields, json);
                Next::Cursor { from: from?, to: to? }
            }
            "offset" => {
                let fields = self.object(&here, value, &["query", "body", "size"])?;
                let size = self.size(&here, fields, json);
                Next::Offset { to: self.place(&here, fields, json)?, size }
            }
            _ => {
                let fields = self.object(&here, value, &["query", "body", "first", "size"])?;
                let size = self.size(&here, fields, json);
                let first = fields.get("first").map_or(Some(1), Value::as_u64).filter(|first| *first <= 1);
                if first.is_none() {
                    self.wrong("E-CON-004", &format!("{here}/first"), "it is 0 or 1".into(), None);
                }
                Next::Page { to: self.place(&here, fields, json)?, first: first?, size }
            }
        };
        // Said, but not understood: the problem is there already.
        let item = match item {
            None => None,
            Some(item) => Some(item?),
        };
        Some(Pages { items: items?, item, next, max_items: usize::try_from(max_items?).ok()? })
    }

    /// A JSONPath, or an object of them.
    fn item(&mut self, at: &str, value: &Value) -> Option<Item> {
        let Value::Object(fields) = value else {
            return self.selection(at, value).map(Item::Path);
        };
        let mut found = Vec::new();
        for (key, value) in fields {
            found.push((key.clone(), self.item(&format!("{at}/{key}"), value)?));
        }
        Some(Item::Object(found))
    }

    /// `query: NAME`, or `body: path.in.body`.
    fn place(&mut self, at: &str, fields: &Map<String, Value>, json: bool) -> Option<Place> {
        match (fields.get("query").and_then(Value::as_str), fields.get("body").and_then(Value::as_str)) {
            (Some(name), None) if !name.is_empty() => Some(Place::Query(name.to_owned())),
            (None, Some(path)) if !path.is_empty() => {
                if !json {
                    let hint = "add `json: {…}` to the request, or use `query`".to_owned();
                    let what = "it is put into a JSON body, and the request has none".to_owned();
                    self.wrong("E-CON-004", &format!("{at}/body"), what, Some(hint));
                }
                Some(Place::Body(path.split('.').map(str::to_owned).collect()))
            }
            _ => {
                let hint = "as in `query: after`, or `body: paging.after`".to_owned();
                self.wrong(
                    "E-CON-004",
                    at,
                    "it has one of `query` and `body`: where the request says it".into(),
                    Some(hint),
                );
                None
            }
        }
    }

    fn size(&mut self, at: &str, fields: &Map<String, Value>, json: bool) -> Option<(Place, u64)> {
        let at = format!("{at}/size");
        let fields = self.object(&at, fields.get("size")?, &["query", "body", "value"])?;
        let value = fields.get("value").and_then(Value::as_u64).filter(|value| (1..=MOST).contains(value));
        if value.is_none() {
            let what = format!("it is a number from 1 to {MOST}: items of one page");
            self.wrong("E-CON-004", &format!("{at}/value"), what, None);
        }
        Some((self.place(&at, fields, json)?, value?))
    }

    /// `x-options` of every property of an input, by the way to it: `channel`, `record.owner`.
    pub(super) fn choices(&mut self, at: &str, schema: &Value) -> BTreeMap<String, Choices> {
        let mut found = BTreeMap::new();
        self.choices_below(at, "", schema, &mut found);
        found
    }

    fn choices_below(&mut self, at: &str, path: &str, schema: &Value, found: &mut BTreeMap<String, Choices>) {
        if let Some(value) = schema.get("x-options") {
            let choices = self.choice(&format!("{at}/x-options"), value);
            if let Some(choices) = choices.filter(|_| !path.is_empty()) {
                found.insert(path.to_owned(), choices);
            }
        }
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            self.choices_below(&format!("{at}/properties/{name}"), &below, property, found);
        }
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            self.choices_below(&format!("{at}/items"), path, items, found);
        }
    }

    fn choice(&mut self, at: &str, value: &Value) -> Option<Choices> {
        let fields = self.object(at, value, &["action", "value", "label"])?;
        let action = self.required_text(at, fields, "action");
        if !fields.contains_key("value") {
            self.missing(at, "value", "value: $.id");
        }
        let value = fields.get("value").and_then(|value| self.selection(&format!("{at}/value"), value));
        let label = fields.get("label").and_then(|value| self.selection(&format!("{at}/label"), value));
        let value = value?;
        Some(Choices { action: action?, at: at.to_owned(), label: label.unwrap_or_else(|| value.clone()), value })
    }

    /// Each list of choices comes from an action of this connector that needs no input.
    pub(super) fn choices_fit(&mut self, actions: &BTreeMap<String, Action>) {
        for action in actions.values() {
            for choices in action.choices.values() {
                let at = &choices.at;
                match actions.get(&choices.action) {
                    None => {
                        let names: Vec<&str> = actions.keys().map(String::as_str).collect();
                        let what = format!("this connector has no action `{}`", choices.action);
                        self.wrong(
                            "E-CON-004",
                            &format!("{at}/action"),
                            what,
                            Some(format!("there are {}", names.join(", "))),
                        );
                    }
                    Some(list) => {
                        let needed = &list.input.shape().required;
                        let missing = needed.iter().find(|name| !list.defaults.contains_key(*name));
                        if let Some(missing) = missing {
                            let what = format!(
                                "the action `{}` needs the input `{missing}`, which is not known there",
                                list.name
                            );
                            self.wrong("E-CON-004", &format!("{at}/action"), what, None);
                        }
                    }
                }
            }
        }
    }
}
