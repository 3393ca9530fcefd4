//! A mail made of a step's inputs: the same inputs and key give the same Message-ID and boundaries on each repeat.
//!
//! No input can begin a header of its own: control characters are refused wherever a header is made of a text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, Message, MultiPart, SinglePart};
use lettre::{Address, Message as Mail};
use serde_json::{Map, Value};

use crate::connector::{Class, Failure};
use crate::outbound::Call;

/// Headers that are made here, or that belong to those who carry the mail.
const OWN: [&str; 17] = [
    "from",
    "sender",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-disposition",
    "received",
    "return-path",
    "dkim-signature",
    "resent-to",
];
/// Most people that one mail goes to.
const MOST: usize = 100;

fn wrong(what: String) -> Failure {
    Failure::new(Class::Permanent, "smtp.input", what)
}

/// The mail, and its Message-ID.
pub(super) fn message(call: &Call<'_>) -> Result<(Mail, String), Failure> {
    let input = call.input;
    let text = |key: &str| input.get(key).and_then(Value::as_str);
    let settings = call.connection.map(|connection| &connection.settings);
    let set = settings.and_then(|settings| settings.get("from")).and_then(Value::as_str);
    let from = text("from").or(set).ok_or_else(|| {
        wrong("the mail has no sender; give `from`, or set it in the connection's settings".to_owned())
    })?;
    let from = match mailboxes("from", &Value::from(from))?.as_slice() {
        [one] => one.clone(),
        _ => return Err(wrong("`from` is one address".to_owned())),
    };
    let id = format!("<{}@{}>", call.key, from.email.domain());
    let mut mail = Message::builder().from(from).message_id(Some(id.clone()));
    let mut people = 0;
    for key in ["to", "cc", "bcc", "reply_to"] {
        for mailbox in mailboxes(key, input.get(key).unwrap_or(&Value::Null))? {
            people += usize::from(key != "reply_to");
            mail = match key {
                "to" => mail.to(mailbox),
                "cc" => mail.cc(mailbox),
                "bcc" => mail.bcc(mailbox),
                _ => mail.reply_to(mailbox),
            };
        }
    }
    if people == 0 || people > MOST {
        return Err(wrong(format!("the mail goes to {people} addresses; it must be 1 to {MOST}")));
    }
    mail = mail.subject(plain("subject", text("subject").unwrap_or_default())?);
    for (name, value) in input.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let Some(value) = value.as_str() else { continue };
        mail = mail.raw_header(header(name, value)?);
    }
    let body = body(call)?;
    let mail = match body {
        Body::Single(part) => mail.singlepart(part),
        Body::Multi(part) => mail.multipart(part),
    };
    Ok((mail.map_err(|error| wrong(format!("no mail can be made of it: {error}")))?, id))
}

/// A text that goes into a header: one line, no control characters.
fn plain(key: &str, text: &str) -> Result<String, Failure> {
    if text.chars().any(|letter| letter.is_control() && letter != '\t') {
        return Err(wrong(format!("`{key}` has a line break or another control character")));
    }
    Ok(text.to_owned())
}

fn header(name: &str, value: &str) -> Result<HeaderValue, Failure> {
    let token = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-' || letter == b'_';
    let shown: String = name.chars().filter(|letter| !letter.is_control()).take(60).collect();
    if name.is_empty() || !name.bytes().all(token) {
        return Err(wrong(format!("`{shown}` is no name of a header")));
    }
    let lower = name.to_ascii_lowercase();
    if OWN.contains(&lower.as_str()) {
        return Err(wrong(format!("the header `{shown}` is made by this action; use its input, or leave it out")));
    }
    let name =
        HeaderName::new_from_ascii(name.to_owned()).map_err(|_| wrong(format!("`{shown}` is no name of a header")))?;
    Ok(HeaderValue::new(name, plain(&shown, value)?))
}

/// Addresses of a text (`Ada <ada@example.com>, bob@example.com`) or a list of such.
fn mailboxes(key: &str, value: &Value) -> Result<Vec<Mailbox>, Failure> {
    let texts: Vec<&str> = match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    for text in texts {
        plain(key, text)?;
        let parts = split(text).into_iter().map(str::trim).filter(|part| !part.is_empty());
        for part in parts {
            found.push(mailbox(part).ok_or_else(|| wrong(format!("`{key}` holds `{part}`, which is no address")))?);
        }
    }
    Ok(found)
}

/// At commas that stand neither in quotes nor in `<>`.
fn split(text: &str) -> Vec<&str> {
    let (mut quoted, mut escaped, mut angled, mut begin) = (false, false, false, 0);
    let mut parts = Vec::new();
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => angled = true,
            '>' if !quoted => angled = false,
            ',' if !quoted && !angled => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

fn mailbox(part: &str) -> Option<Mailbox> {
    let Some(inner) = part.strip_suffix('>') else {
        return Some(Mailbox::new(None, part.parse::<Address>().ok()?));
    };
    let (name, address) = inner.rsplit_once('<')?;
    let name = name.trim();
    let bare = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let name = match bare {
        Some(bare) => bare.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => name.to_owned(),
    };
    Some(Mailbox::new((!name.is_empty()).then_some(name), address.trim().parse::<Address>().ok()?))
}

enum Body {
    Single(SinglePart),
    Multi(MultiPart),
}

fn body(call: &Call<'_>) -> Result<Body, Failure> {
    let text = |key: &str| call.input.get(key).and_then(Value::as_str);
    // From the key, so that a repeat is the same mail byte for byte, but for its date.
    let boundary = |part: &str| format!("{part}-{}", call.key.simple());
    let shown = match (text("text"), text("html")) {
        (Some(text), Some(html)) => Body::Multi(
            MultiPart::alternative()
                .boundary(boundary("alternative"))
                .singlepart(SinglePart::plain(text.to_owned()))
                .singlepart(SinglePart::html(html.to_owned())),
        ),
        (None, Some(html)) => Body::Single(SinglePart::html(html.to_owned())),
        (text, None) => Body::Single(SinglePart::plain(text.unwrap_or_default().to_owned())),
    };
    let attachments = call.input.get("attachments").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if attachments.is_empty() {
        return Ok(shown);
    }
    let mixed = MultiPart::mixed().boundary(boundary("mixed"));
    let mut mixed = match shown {
        Body::Single(part) => mixed.singlepart(part),
        Body::Multi(part) => mixed.multipart(part),
    };
    for file in attachments.iter().filter_map(Value::as_object) {
        mixed = mixed.singlepart(attachment(file)?);
    }
    Ok(Body::Multi(mixed))
}

fn attachment(file: &Map<String, Value>) -> Result<SinglePart, Failure> {
    let text = |key: &str| file.get(key).and_then(Value::as_str);
    let name = plain("filename", text("filename").unwrap_or_default())?;
    let bytes = match (text("content"), text("base64")) {
        (Some(content), None) => content.as_bytes().to_vec(),
        (None, Some(encoded)) => {
            STANDARD.decode(encoded).map_err(|_| wrong(format!("`base64` of the file `{name}` is not base64")))?
        }
        _ => return Err(wrong(format!("the file `{name}` needs one of `content` and `base64`"))),
    };
    let kind = plain("content_type", text("content_type").unwrap_or("application/octet-stream"))?;
    let textual = kind.to_ascii_lowercase().starts_with("text/") && text("content").is_some();
    let kind = if textual && !kind.contains(';') { kind + "; charset=utf-8" } else { kind };
    let kind = ContentType::parse(&kind)
        .map_err(|_| wrong(format!("`{kind}` of the file `{name}` is no content type, as in application/pdf")))?;
    Ok(Attachment::new(name).body(bytes, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_where_no_quotes_hold_them_together_and_none_is_dropped() {
        let read = |text: &str| -> Result<Vec<String>, String> {
            let found = mailboxes("to", &Value::from(text)).map_err(|failure| failure.message)?;
            Ok(found.iter().map(|mailbox| format!("{:?} {}", mailbox.name, mailbox.email)).collect())
        };
        assert_eq!(
            read(r#""Doe, \"J\"" <j@example.com>, a@example.com,Müller <m@example.com>, "#).unwrap(),
            [r#"Some("Doe, \"J\"") j@example.com"#, "None a@example.com", r#"Some("Müller") m@example.com"#]
        );
        for wrong in [
            "a@example.com; b@example.com",
            "a@example.com b@example.com",
            "x",
            "A <a@example.com> b",
            "a@b\r\nBcc: c@d",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
