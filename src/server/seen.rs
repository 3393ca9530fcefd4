//! What templates see of a request beside its body, and the journal keeps: nothing that proves who the caller is.

use axum::http::{HeaderMap, Uri};
use serde_json::{Map, Value};

use super::form::Fields;
use super::problem::Problem;
use crate::run::Headers;

/// The headers, without credentials and those of the connection; `also` is hidden too.
pub(super) fn headers(headers: &HeaderMap, also: &[&str]) -> Headers {
    let mut visible = Headers::with_capacity(headers.keys_len());
    for name in headers.keys() {
        let plain = PLAIN.contains(&name.as_str());
        if !plain && is_hidden(name.as_str()) || also.contains(&name.as_str()) {
            continue;
        }
        let mut text = String::new();
        for value in headers.get_all(name) {
            if !text.is_empty() {
                text.push_str(", ");
            }
            match value.to_str() {
                Ok(value) => text.push_str(value),
                Err(_) => text.push_str(&String::from_utf8_lossy(value.as_bytes())),
            }
        }
        // Proxies repeat the URL, and a flow's URL has its key.
        if plain || !text.contains("/hooks/") {
            visible.add(name.as_str(), text);
        }
    }
    visible
}

/// Nearly all that comes: their names and values are not searched.
const PLAIN: [&str; 8] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "content-length",
    "content-type",
    "host",
    "x-forwarded-for",
    "x-forwarded-proto",
];

fn is_hidden(name: &str) -> bool {
    const CREDENTIALS: [&str; 8] =
        ["authorization", "cookie", "signature", "secret", "token", "password", "api-key", "apikey"];
    const OF_THE_CONNECTION: [&str; 8] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    OF_THE_CONNECTION.contains(&name) || CREDENTIALS.iter().any(|part| name.contains(part))
}

/// The fields of the query; a name that comes again makes a list.
pub(super) fn query(uri: &Uri) -> Result<Map<String, Value>, Problem> {
    let mut fields = Fields::default();
    for (name, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        fields.add(name.into_owned(), Value::String(value.into_owned()))?;
    }
    Ok(fields.members())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn credentials_and_hop_by_hop_headers_are_hidden() {
        let mut headers = HeaderMap::new();
        for name in [
            "authorization",
            "proxy-authorization",
            "cookie",
            "set-cookie",
            "x-api-key",
            "x-hub-signature-256",
            "x-gitlab-token",
            "connection",
            "te",
        ] {
            headers.append(name, "canary".parse().unwrap());
        }
        headers.append("X-Proof", "canary".parse().unwrap());
        headers.append("X-Tag", "a".parse().unwrap());
        headers.append("x-tag", "b".parse().unwrap());
        headers.append("content-type", "text/plain".parse().unwrap());
        assert_eq!(
            Value::Object(super::headers(&headers, &["x-proof"]).to_map()),
            json!({"x-tag": "a, b", "content-type": "text/plain"})
        );
    }

    #[test]
    fn a_query_keeps_repeated_names_as_a_list() {
        let uri: Uri = "/hooks/a/b?x=1&y=a%20b&x=2".parse().unwrap();
        assert_eq!(Value::Object(query(&uri).unwrap()), json!({"x": ["1", "2"], "y": "a b"}));
    }
}
