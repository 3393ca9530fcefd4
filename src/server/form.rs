//! Forms as JSON: an object of their fields. Names of fields and files are data; nothing touches the disk.

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Request};
use axum::http::header;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::problem::{Code, Problem};

/// Each field costs memory beyond its bytes.
const MAX_FIELDS: usize = 1_000;

/// `a=1&b=2` as `{"a": "1", "b": "2"}`; a name that comes again makes a list.
pub(super) fn urlencoded(bytes: &[u8]) -> Result<Value, Problem> {
    let mut fields = Fields::default();
    for (name, value) in url::form_urlencoded::parse(bytes) {
        fields.add(name.into_owned(), Value::String(value.into_owned()))?;
    }
    Ok(fields.done())
}

/// Text fields as text; files as `{filename, content_type, content}`, the content in base64.
pub(super) async fn multipart(boundary: String, bytes: Bytes) -> Result<Value, Problem> {
    let malformed = |_| Problem::new(Code::BadForm, "The body is not the multipart/form-data that its header says.");
    let mut request = Request::builder()
        .header(header::CONTENT_TYPE, format!("multipart/form-data; boundary=\"{boundary}\""))
        .body(Body::from(bytes))
        .map_err(|_| Problem::new(Code::BadForm, "The boundary in Content-Type cannot be read."))?;
    // The body is whole and capped already.
    DefaultBodyLimit::disable().apply(&mut request);
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|_| Problem::new(Code::BadForm, "The boundary in Content-Type cannot be read."))?;
    let mut fields = Fields::default();
    while let Some(part) = parts.next_field().await.map_err(malformed)? {
        let name = part.name().unwrap_or_default().to_owned();
        let filename = part.file_name().map(str::to_owned);
        let content_type = part.content_type().map(str::to_owned);
        let content = part.bytes().await.map_err(malformed)?;
        let value = match filename {
            None => Value::String(String::from_utf8_lossy(&content).into_owned()),
            Some(filename) => json!({
                "filename": filename,
                "content_type": content_type,
                "content": STANDARD.encode(&content),
            }),
        };
        fields.add(name, value)?;
    }
    Ok(fields.done())
}

/// The boundary that a multipart content type names.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let parameters = content_type.split(';').skip(1);
    let boundary = parameters.filter_map(|parameter| parameter.split_once('=')).find_map(|(name, value)| {
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    })?;
    let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\' || c == ' ';
    (!boundary.is_empty() && boundary.len() <= 70 && boundary.chars().all(plain)).then_some(boundary)
}

/// An object that grows; equal names make a list.
#[derive(Default)]
pub(super) struct Fields {
    members: Map<String, Value>,
    repeated: std::collections::HashSet<String>,
    count: usize,
}

impl Fields {
    pub fn add(&mut self, name: String, value: Value) -> Result<(), Problem> {
        self.count += 1;
        if self.count > MAX_FIELDS {
            return Err(Problem::new(Code::BadForm, format!("A form may have {MAX_FIELDS} fields at most.")));
        }
        match self.members.get_mut(&name) {
            None => {
                self.members.insert(name, value);
            }
            Some(Value::Array(list)) if self.repeated.contains(&name) => list.push(value),
            Some(first) => {
                *first = Value::Array(vec![first.take(), value]);
                self.repeated.insert(name);
            }
        }
        Ok(())
    }

    pub fn done(self) -> Value {
        Value::Object(self.members)
    }

    pub fn members(self) -> Map<String, Value> {
        self.members
    }
}
