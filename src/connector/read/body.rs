//! What a request carries, as its file says.

use super::*;
use crate::connector::declared::Body;

const KINDS: [&str; 5] = ["json", "form", "multipart", "body", "base64"];

impl Reader<'_> {
    pub(super) fn body(&mut self, at: &str, fields: &Map<String, Value>, input: &Shape) -> Option<Body> {
        let mut given = KINDS.into_iter().filter_map(|kind| fields.get(kind).map(|value| (kind, value)));
        let first = given.next();
        if given.next().is_some() {
            self.wrong("E-CON-004", at, format!("a request has one of {}", KINDS.join(", ")), None);
        }
        let content_type = fields
            .get("content_type")
            .and_then(|value| self.template(&format!("{at}/content_type"), value, input, false));
        let raw = matches!(first, Some(("body" | "base64", _)));
        if fields.contains_key("content_type") && !raw {
            let hint = "other bodies say what they are; set the header `Content-Type` if it must be another".to_owned();
            let what = "it goes with `body` or `base64` alone".to_owned();
            self.wrong("E-CON-003", &format!("{at}/content_type"), what, Some(hint));
        }
        let Some((kind, value)) = first else { return Some(Body::None) };
        let here = format!("{at}/{kind}");
        Some(match kind {
            "json" => Body::Json(self.mapping(&here, value, input)?),
            "form" => Body::Form(self.mapping(&here, value, input)?),
            "multipart" => {
                if value.is_object() {
                    self.files(&here, value);
                }
                Body::Multipart(self.mapping(&here, value, input)?)
            }
            raw => {
                Body::Raw { content: self.template(&here, value, input, false)?, base64: raw == "base64", content_type }
            }
        })
    }

    /// The files among the fields: each has a name and one content.
    fn files(&mut self, at: &str, value: &Value) {
        for (name, field) in value.as_object().into_iter().flatten() {
            let at = format!("{at}/{name}");
            let Value::Object(file) = field else { continue };
            self.object(&at, field, &["filename", "content_type", "content", "base64"]);
            if !file.contains_key("filename") {
                self.missing(&at, "filename", "filename: report.csv");
            }
            if file.contains_key("content") == file.contains_key("base64") {
                self.wrong("E-CON-004", &at, "a file has one of `content` and `base64`".into(), None);
            }
        }
    }
}
