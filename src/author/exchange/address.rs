//! The address of a request: what of it is a setting, an input, or a secret. Where a part of it is a secret, all up to that
//! part becomes one, as the URL of an incoming webhook is.

use serde_json::{Map, Value, json};
use url::Url;

use super::opaque::{Segment, is_opaque};
use super::{Drafting, secrets};
use crate::flow::snake_case;

/// The credential that then is the base URL.
const CREDENTIAL: &str = "url";

/// How the address is written.
pub(super) struct Address {
    /// Segments of the path that stay in the secret base URL; `None` if no part of it is secret.
    hidden: Option<usize>,
    /// The query is part of it too.
    whole: bool,
    /// Of the action, with templates.
    pub path: String,
    /// The same as a person reads it: `/lists/{list_id}`.
    pub shown: String,
}

impl Address {
    pub fn is_secret(&self) -> bool {
        self.hidden.is_some()
    }

    /// The keys of the file that say where its calls go.
    pub fn keys(&self, url: &Url) -> Map<String, Value> {
        let mut keys = Map::new();
        if self.is_secret() {
            keys.insert("base_url".into(), json!({"connection": CREDENTIAL}));
            return keys;
        }
        let origin = url.origin().ascii_serialization();
        let settings = json!({"type": "object", "additionalProperties": false, "properties": {
            "base_url": {"type": "string", "pattern": "^https?://", "default": origin, "description": "Where it is"},
        }});
        keys.insert("settings".into(), settings);
        keys.insert("base_url".into(), json!("{{ settings.base_url }}"));
        keys
    }
}

impl Drafting {
    /// `signed`: something else than the address proves who asks.
    pub(super) fn address(&mut self, url: &Url, signed: bool) -> Address {
        let segments: Vec<&str> = url.path_segments().into_iter().flatten().collect();
        let secret = |segment: &&str| Segment::of(segment) == Segment::Secret;
        let host =
            url.host_str().is_some_and(|host| host.split('.').any(|label| Segment::of(label) == Segment::Secret));
        let whole = !signed && is_webhook(url, &segments);
        let mut hidden = segments.iter().rposition(secret).map(|last| last + 1);
        if whole {
            hidden = Some(segments.len());
        } else if host {
            hidden = hidden.or(Some(0));
        }
        let path = self.path(&segments[hidden.unwrap_or_default()..]);
        let shown = path.replace("{{ input.", "{").replace(" }}", "}");
        if hidden.is_some() {
            let part =
                if path == "/" { "the whole address".to_owned() } else { format!("the address before `{shown}`") };
            self.notes.push(format!(
                "{part} holds what looks like a secret: it is the credential `{CREDENTIAL}` now, and not in this file"
            ));
        }
        Address { hidden, whole, path, shown }
    }

    /// Numbers and ids in a path become inputs, named by what is before them.
    fn path(&mut self, segments: &[&str]) -> String {
        let mut path = String::new();
        let mut before = String::from("resource");
        for segment in segments {
            if Segment::of(segment) == Segment::Word {
                path.push_str(&format!("/{}", segment.replace("{{", "%7B%7B")));
                before = snake_case(segment).unwrap_or_else(|| "resource".to_owned());
                continue;
            }
            let singular = before.strip_suffix('s').unwrap_or(&before);
            let name = self.input_named(&format!("{singular}_id"), json!({"type": "string"}));
            path.push_str(&format!("/{{{{ input.{name} }}}}"));
            // The verb of `values/A1:append` says what is done, and belongs to the file.
            if let Some((_, verb)) = segment.rsplit_once(':') {
                path.push_str(&format!(":{verb}"));
            }
            self.required.push(name);
        }
        if path.is_empty() { "/".into() } else { path }
    }

    pub(super) fn query(&mut self, url: &Url, address: &Address) -> Map<String, Value> {
        let mut query = Map::new();
        if address.whole {
            return query;
        }
        for (name, value) in url.query_pairs() {
            if self.hidden.iter().any(|hidden| *hidden == name) {
                continue;
            }
            let mut property = json!({"type": "string", "default": value});
            if value.contains("{{") || is_opaque(&value) || secrets::is_secret(&name, &value) {
                property = json!({"type": "string"});
            }
            let input = self.input_named(&name, property);
            query.insert(name.into_owned(), json!(format!("{{{{ input.{input} }}}}")));
        }
        query
    }
}

/// True for a URL that is the only proof of who asks: `hooks.slack.com/…`, `…/api/webhooks/123/…`.
fn is_webhook(url: &Url, segments: &[&str]) -> bool {
    let hook = |text: &str| text.to_ascii_lowercase().contains("hook");
    let after = segments.iter().position(|segment| hook(segment)).map_or(0, |at| at + 1);
    let named = after > 0 || url.host_str().is_some_and(|host| host.split('.').any(hook));
    named && segments[after..].iter().any(|segment| !segment.is_empty())
}

/// What the action does, by its method and the last word of the path.
pub(super) fn named(method: &str, path: &str) -> String {
    let verb = match method {
        "get" => "get",
        "delete" => "delete",
        "post" => "create",
        _ => "update",
    };
    let word = path.split('/').rfind(|segment| !segment.is_empty() && !segment.contains("{{"));
    let word = word.and_then(snake_case).filter(|word| !word.is_empty()).unwrap_or_else(|| "resource".to_owned());
    if word.starts_with(verb) { word } else { format!("{verb}_{word}") }
}
