//! Bytes as text and text as bytes: base64, data URIs, URI components, content envelopes.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use super::blob::{Blob, OCTETS, decode, encode, envelope, sealed};
use super::print::print;
use super::{ANY, Args, Fault, Function, OBJECT, TEXT, example, one, string};
use crate::schema::Types;

/// What can be encoded: null has no bytes.
const SOLID: Types = ANY.without(Types::NULL);
/// Text, or a content envelope that holds it.
const HELD: Types = TEXT.or(OBJECT);
/// All but the unreserved characters of RFC 3986.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Names of encodings that a data URI may give.
const CHARSETS: &[&str] =
    &["utf-8", "utf8", "us-ascii", "ascii", "utf-16", "utf-16le", "utf-16be", "utf-32", "iso-8859-1", "windows-1252"];

const fn row(
    name: &'static str,
    params: &'static [super::Param],
    result: Types,
    text: &'static str,
    example: super::Example,
    run: for<'e> fn(Args<'e>) -> Result<Cow<'e, Value>, Fault>,
) -> Function {
    Function { name, family: "Conversion", params, result, text, example, infer: None, run }
}

pub(super) const ROWS: &[Function] = &[
    row(
        "base64",
        &[one("value", SOLID)],
        TEXT,
        "The value's text (or a content envelope's bytes) in base64.",
        example(r#"{{base64 "hello"}}"#, "{}", r#""aGVsbG8=""#),
        |args| string(encode(&bytes(&*args.value(0)?))),
    ),
    row(
        "base64ToString",
        &[one("value", HELD)],
        TEXT,
        "The text that base64 holds.",
        example(r#"{{base64ToString "aGVsbG8="}}"#, "{}", r#""hello""#),
        base64_to_string,
    ),
    row(
        "decodeBase64",
        &[one("value", HELD)],
        TEXT,
        "The same as `base64ToString`, by its older name.",
        example(r#"{{decodeBase64 "aGVsbG8="}}"#, "{}", r#""hello""#),
        base64_to_string,
    ),
    row(
        "base64ToBinary",
        &[one("value", TEXT)],
        OBJECT,
        "A content envelope with the bytes that base64 holds.",
        example(
            r#"{{base64ToBinary "aGVsbG8="}}"#,
            "{}",
            r#"{"$content-type":"application/octet-stream","$content":"aGVsbG8="}"#,
        ),
        |args| {
            let text = args.text(0)?;
            decode(&text).ok_or_else(|| args.wrong(0, "is not base64"))?;
            Ok(Cow::Owned(sealed(OCTETS, &text)))
        },
    ),
    row(
        "binary",
        &[one("value", SOLID)],
        OBJECT,
        "A content envelope with the value's text as bytes.",
        example(r#"{{binary "hello"}}"#, "{}", r#"{"$content-type":"application/octet-stream","$content":"aGVsbG8="}"#),
        |args| Ok(Cow::Owned(envelope(OCTETS, &bytes(&*args.value(0)?)))),
    ),
    row(
        "dataUri",
        &[one("value", SOLID)],
        TEXT,
        "The value as a data URI: text as `text/plain`, a content envelope with its own type, anything else as JSON.",
        example(r#"{{dataUri "hello"}}"#, "{}", r#""data:text/plain;charset=utf-8;base64,aGVsbG8=""#),
        data_uri,
    ),
    row(
        "dataUriToBinary",
        &[one("uri", TEXT)],
        OBJECT,
        "A content envelope with the bytes and the type of a data URI.",
        example(
            r#"{{dataUriToBinary "data:text/plain;charset=utf-8;base64,aGVsbG8="}}"#,
            "{}",
            r#"{"$content-type":"text/plain;charset=utf-8","$content":"aGVsbG8="}"#,
        ),
        data_uri_to_binary,
    ),
    row(
        "decodeDataUri",
        &[one("uri", TEXT)],
        OBJECT,
        "The same as `dataUriToBinary`, by its older name.",
        example(
            r#"{{decodeDataUri "data:text/plain,a%20b"}}"#,
            "{}",
            r#"{"$content-type":"text/plain","$content":"YSBi"}"#,
        ),
        data_uri_to_binary,
    ),
    row(
        "dataUriToString",
        &[one("uri", TEXT)],
        TEXT,
        "The text that a data URI holds.",
        example(r#"{{dataUriToString "data:text/plain;charset=utf-8;base64,aGVsbG8="}}"#, "{}", r#""hello""#),
        data_uri_to_string,
    ),
    row(
        "uriComponent",
        &[one("text", TEXT)],
        TEXT,
        "The text as a part of a URI: all but letters, digits and `-._~` as %XX.",
        example(r#"{{uriComponent "https://contoso.com"}}"#, "{}", r#""https%3A%2F%2Fcontoso.com""#),
        uri_component,
    ),
    row(
        "encodeUriComponent",
        &[one("text", TEXT)],
        TEXT,
        "The same as `uriComponent`, by its older name.",
        example(r#"{{encodeUriComponent "a&b"}}"#, "{}", r#""a%26b""#),
        uri_component,
    ),
    row(
        "uriComponentToString",
        &[one("text", TEXT)],
        TEXT,
        "The text with each %XX read, and `+` as a blank.",
        example(r#"{{uriComponentToString "https%3A%2F%2Fcontoso.com"}}"#, "{}", r#""https://contoso.com""#),
        uri_component_to_string,
    ),
    row(
        "decodeUriComponent",
        &[one("text", TEXT)],
        TEXT,
        "The same as `uriComponentToString`, by its older name.",
        example(r#"{{decodeUriComponent "a%26b"}}"#, "{}", r#""a&b""#),
        uri_component_to_string,
    ),
    row(
        "uriComponentToBinary",
        &[one("text", TEXT)],
        OBJECT,
        "A content envelope with the bytes of the text, each %XX read, and `+` as a blank.",
        example(
            r#"{{uriComponentToBinary "a%26b"}}"#,
            "{}",
            r#"{"$content-type":"application/octet-stream","$content":"YSZi"}"#,
        ),
        |args| {
            let text = args.text(0)?;
            Ok(Cow::Owned(envelope(OCTETS, &percent_decode_str(&text.replace('+', " ")).collect::<Vec<u8>>())))
        },
    ),
];

/// The bytes of an envelope, or of the value's text.
pub(super) fn bytes(value: &Value) -> Vec<u8> {
    Blob::of(value).map_or_else(|| print(value).into_owned().into_bytes(), |blob| blob.bytes)
}

fn base64_to_string(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let value = args.value(0)?;
    let text = match &*value {
        Value::String(text) => decode(text).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        other => Blob::of(other).map(|blob| blob.text()),
    };
    string(text.ok_or_else(|| args.wrong(0, "is not base64"))?)
}

fn data_uri(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let value = args.value(0)?;
    let blob = Blob::of(&value);
    let content_type = match (&*value, &blob) {
        (_, Some(blob)) => &blob.content_type,
        (Value::String(_), _) => "text/plain;charset=utf-8",
        _ => "application/json;charset=utf-8",
    };
    string(format!("data:{content_type};base64,{}", encode(&bytes(&value))))
}

/// What a data URI says: media type, its parameters, and the content in base64.
struct DataUri<'t> {
    media: &'t str,
    /// The media type with its parameters.
    content_type: &'t str,
    parameters: Vec<&'t str>,
    base64: Cow<'t, str>,
}

fn read<'t>(args: Args<'_>, text: &'t str) -> Result<DataUri<'t>, Fault> {
    let wrong = || args.wrong(0, "is not a data URI: `data:TYPE;base64,CONTENT`");
    let (scheme, rest) = text.split_once(':').ok_or_else(wrong)?;
    let (head, content) = rest.split_once(',').ok_or_else(wrong)?;
    if !scheme.eq_ignore_ascii_case("data") {
        return Err(wrong());
    }
    let (before, last) = head.rsplit_once(';').map_or(("", head), |(before, last)| (before, last));
    let (content_type, base64) = match last.eq_ignore_ascii_case("base64") {
        true => (before, Cow::Borrowed(content)),
        // Outside of base64 `+` is a blank, as in forms.
        false => {
            let spaced = content.replace('+', " ");
            (head, Cow::Owned(encode(&percent_decode_str(&spaced).collect::<Vec<u8>>())))
        }
    };
    let content_type = if content_type.is_empty() { "text/plain" } else { content_type };
    let mut parts = content_type.split(';');
    let media = parts.next().unwrap_or_default();
    if media.is_empty() {
        return Err(wrong());
    }
    Ok(DataUri { media, content_type, parameters: parts.collect(), base64 })
}

fn charset(parameter: &str) -> Option<String> {
    let (name, value) = parameter.split_once('=')?;
    name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().to_ascii_lowercase())
}

fn data_uri_to_binary(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let text = args.text(0)?;
    let uri = read(args, &text)?;
    if uri.media.matches('/').count() != 1 || uri.parameters.iter().any(|part| part.matches('=').count() > 1) {
        return Err(args.wrong(0, "has no media type such as `text/plain;charset=utf-8`"));
    }
    if uri.parameters.iter().any(|part| charset(part).is_some_and(|name| !CHARSETS.contains(&&*name))) {
        return Err(args.wrong(0, "names a charset that is not known"));
    }
    // A wrong content is found where it is read, as in Microsoft's language.
    Ok(Cow::Owned(sealed(uri.content_type, &uri.base64)))
}

fn data_uri_to_string(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let text = args.text(0)?;
    let uri = read(args, &text)?;
    // Microsoft's language looks at the first parameter only.
    if uri.parameters.first().and_then(|part| charset(part)).is_some_and(|name| name != "utf-8") {
        return Err(args.wrong(0, "is not in UTF-8; `dataUriToBinary` takes other charsets"));
    }
    let bytes = decode(&uri.base64).ok_or_else(|| args.wrong(0, "has content that is not base64"))?;
    string(String::from_utf8_lossy(&bytes).into_owned())
}

fn uri_component(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    string(utf8_percent_encode(&args.text(0)?, COMPONENT).to_string())
}

fn uri_component_to_string(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let spaced = args.text(0)?.replace('+', " ");
    string(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}
