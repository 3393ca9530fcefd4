//! `multipart/form-data` (RFC 7578), made whole in memory: the same fields give the same bytes on each repeat.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Class, Failure, plain_text};

/// Body and content type. A field is a text, or a file: `{filename, content_type, content | base64}`.
///
/// # Errors
/// A file without a content, with two, or whose base64 is none: a permanent failure of this `code`.
pub(crate) fn multipart(fields: &Value, key: Uuid, code: &str) -> Result<(Vec<u8>, String), Failure> {
    let mut parts = Vec::new();
    for (name, value) in fields.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::Object(file) if file.contains_key("filename") => parts.push(file_part(name, file, code)?),
            Value::Array(values) => {
                parts.extend(values.iter().filter_map(plain_text).map(|text| text_part(name, &text)));
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                parts.extend(plain_text(value).map(|text| text_part(name, &text)));
            }
        }
    }
    // A boundary that no part holds; it comes from the call's key, so a repeat has the same.
    let mut boundary = format!("millstream-{}", key.simple());
    while parts.iter().any(|part| part.windows(boundary.len()).any(|window| window == boundary.as_bytes())) {
        boundary.push('-');
    }
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        body.extend_from_slice(&part);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok((body, format!("multipart/form-data; boundary={boundary}")))
}

fn text_part(name: &str, text: &str) -> Vec<u8> {
    format!("Content-Disposition: form-data; name=\"{}\"\r\n\r\n{text}", escaped(name)).into_bytes()
}

fn file_part(name: &str, file: &Map<String, Value>, code: &str) -> Result<Vec<u8>, Failure> {
    let wrong = |what: String| Failure::new(Class::Permanent, code, what);
    let text = |key: &str| file.get(key).and_then(Value::as_str);
    let content = match (text("content"), text("base64")) {
        (Some(content), None) => content.as_bytes().to_vec(),
        (None, Some(encoded)) => {
            STANDARD.decode(encoded).map_err(|_| wrong(format!("`base64` of the file `{name}` is not base64")))?
        }
        _ => return Err(wrong(format!("the file `{name}` has one of content and base64"))),
    };
    let content_type = text("content_type").unwrap_or("application/octet-stream");
    if content_type.chars().any(char::is_control) {
        return Err(wrong(format!("content_type of the file `{name}` has control characters")));
    }
    let filename = escaped(text("filename").unwrap_or_default());
    let head = format!(
        "Content-Disposition: form-data; name=\"{}\"; filename=\"{filename}\"\r\nContent-Type: {content_type}\r\n\r\n",
        escaped(name)
    );
    Ok([head.as_bytes(), content.as_slice()].concat())
}

/// As browsers do: what would end the name or the line is percent-encoded.
fn escaped(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_cannot_break_out_of_their_part_and_a_repeat_has_the_same_bytes() {
        let fields = json!({"a\"\r\nX: y": "1", "f": {"filename": "../x.txt", "base64": "aGk="}});
        let (body, content_type) = multipart(&fields, Uuid::nil(), "http.input").unwrap();
        let text = String::from_utf8(body.clone()).unwrap();
        assert!(text.contains("name=\"a%22%0D%0AX: y\"\r\n\r\n1\r\n"), "{text}");
        assert!(
            text.contains("filename=\"../x.txt\"\r\nContent-Type: application/octet-stream\r\n\r\nhi\r\n"),
            "{text}"
        );
        assert_eq!(multipart(&fields, Uuid::nil(), "http.input").unwrap(), (body, content_type));
    }

    #[test]
    fn a_value_that_holds_the_boundary_gets_another() {
        let boundary = format!("millstream-{}", Uuid::nil().simple());
        let (_, content_type) = multipart(&json!({"a": boundary}), Uuid::nil(), "http.input").unwrap();
        assert_eq!(content_type, format!("multipart/form-data; boundary={boundary}-"));
    }
}
