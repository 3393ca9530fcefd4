//! Bytes in JSON: the content envelope of Microsoft's language, `{"$content-type": …, "$content": base64}`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use encoding_rs::{Encoding, UTF_8};
use serde_json::{Value, json};

pub(super) const OCTETS: &str = "application/octet-stream";

/// A content envelope, opened.
pub(super) struct Blob {
    pub content_type: String,
    pub bytes: Vec<u8>,
}

impl Blob {
    /// The envelope that `value` is; `None` if it is none, or its content is no base64.
    pub fn of(value: &Value) -> Option<Blob> {
        let map = value.as_object()?;
        let content_type = map.get("$content-type")?.as_str()?.to_owned();
        Some(Blob { content_type, bytes: decode(map.get("$content")?.as_str()?)? })
    }

    /// The content as text in the charset that its type names, else UTF-8; what is no text in it becomes U+FFFD.
    pub fn text(&self) -> String {
        let parameters = self.content_type.split(';').skip(1).filter_map(|part| part.split_once('='));
        let named = parameters.map(|(name, value)| (name.trim(), value.trim().trim_matches('"')));
        let charset = named.filter(|(name, _)| name.eq_ignore_ascii_case("charset")).map(|(_, value)| value).next();
        let encoding = charset.and_then(|label| Encoding::for_label(label.as_bytes())).unwrap_or(UTF_8);
        encoding.decode(&self.bytes).0.into_owned()
    }
}

/// An envelope around bytes.
pub(super) fn envelope(content_type: &str, bytes: &[u8]) -> Value {
    sealed(content_type, &encode(bytes))
}

/// An envelope around base64 that was checked.
pub(super) fn sealed(content_type: &str, base64: &str) -> Value {
    json!({"$content-type": content_type, "$content": base64})
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Padded base64; white space within is allowed, as .NET does.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    if !text.contains([' ', '\t', '\r', '\n']) {
        return STANDARD.decode(text).ok();
    }
    let dense: String = text.chars().filter(|c| !matches!(c, ' ' | '\t' | '\r' | '\n')).collect();
    STANDARD.decode(dense).ok()
}
