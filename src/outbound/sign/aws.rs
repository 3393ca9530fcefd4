//! AWS Signature Version 4 ("Create a signed AWS API request", AWS Identity and Access Management).
//!
//! Path and query go out in the one spelling that is signed, so that both sides read the same.

use std::collections::BTreeMap;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use url::Url;

use super::super::auth::Outgoing;
use super::{hmac, set};
use crate::connector::Failure;

/// What AWS calls unreserved stays.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const STRICT_PATH: &AsciiSet = &STRICT.remove(b'/');

/// Headers that are signed where they are there, beside `x-amz-…`.
const SIGNED: [&str; 4] = ["content-md5", "content-type", "date", "range"];

pub(crate) struct Keys {
    pub region: String,
    pub service: String,
    pub id: SecretString,
    pub secret: SecretString,
    pub session_token: Option<SecretString>,
}

impl Keys {
    pub fn sign(&self, mut outgoing: Outgoing<'_>, now: Timestamp) -> Result<(), Failure> {
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = &time[..8];
        let is_s3 = self.service.starts_with("s3");
        let content = hex(&Sha256::digest(outgoing.body.as_deref().unwrap_or_default()));
        set(&mut outgoing, "x-amz-date", &time)?;
        if let Some(token) = &self.session_token {
            set(&mut outgoing, "x-amz-security-token", token.expose_secret().trim())?;
        }
        if is_s3 {
            set(&mut outgoing, "x-amz-content-sha256", &content)?;
        }
        let (path, query) = (path(outgoing.url), query(outgoing.url));
        outgoing.url.set_path(&path);
        outgoing.url.set_query((!query.is_empty()).then_some(&query));
        // All but S3 sign the path encoded once more.
        let signed_path = if is_s3 { path } else { utf8_percent_encode(&path, STRICT_PATH).to_string() };

        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        headers.insert("host".into(), host(outgoing.url));
        for (name, value) in outgoing.headers.iter() {
            let name = name.as_str();
            if name.starts_with("x-amz-") || SIGNED.contains(&name) {
                let value = String::from_utf8_lossy(value.as_bytes());
                let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
                headers.entry(name.into()).and_modify(|known| *known = format!("{known},{value}")).or_insert(value);
            }
        }
        let names = headers.keys().map(String::as_str).collect::<Vec<_>>().join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let request = format!("{}\n{signed_path}\n{query}\n{lines}\n{names}\n{content}", outgoing.method);
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(request.as_bytes())));
        let first = format!("AWS4{}", self.secret.expose_secret().trim());
        let parts = [day, &self.region, &self.service, "aws4_request", &text];
        let signature = parts.iter().fold(first.into_bytes(), |key, part| hmac(&key, part.as_bytes()).to_vec());
        let id = self.id.expose_secret().trim();
        let value =
            format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={}", hex(&signature));
        set(&mut outgoing, "authorization", &value)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As the client will send it.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Segment by segment: a slash within one stays its own.
fn path(url: &Url) -> String {
    let segments = url.path().split('/').map(|segment| {
        let decoded: Vec<u8> = percent_decode_str(segment).collect();
        percent_encode(&decoded, STRICT).to_string()
    });
    segments.collect::<Vec<_>>().join("/")
}

/// Sorted by name, then by value, as they are encoded.
fn query(url: &Url) -> String {
    let strict = |text: &str| utf8_percent_encode(text, STRICT).to_string();
    let mut pairs: Vec<_> = url.query_pairs().map(|(name, value)| (strict(&name), strict(&value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::super::tests::signed;
    use super::*;

    type Request<'r> = (&'r str, &'r str, &'r [(&'static str, &'r str)], &'r str);

    fn authorization(service: &str, id: &str, secret: &str, at: i64, request: Request<'_>) -> String {
        let keys = Keys {
            region: "us-east-1".into(),
            service: service.into(),
            id: id.to_owned().into(),
            secret: secret.to_owned().into(),
            session_token: None,
        };
        let (_, headers) = signed(request, at, |outgoing, now| keys.sign(outgoing, now));
        headers["authorization"].to_str().unwrap().to_owned()
    }

    /// "aws-sig-v4-test-suite".
    fn suite(request: Request<'_>) -> String {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let given = authorization("service", "AKIDEXAMPLE", secret, 1_440_938_160, request);
        let scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=";
        given.strip_prefix(scope).unwrap().to_owned()
    }

    #[test]
    fn the_vectors_of_the_published_suite_are_met() {
        let url = "https://example.amazonaws.com/";
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let unreserved = format!("{url}-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
        let order_key = format!("{url}?Param2=value2&Param1=value1");
        let order_value = format!("{url}?Param1=value2&Param1=value1");
        for (request, names, signature) in [
            (
                ("GET", url, &[][..], ""),
                "host;x-amz-date",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                ("POST", url, &[], ""),
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                ("GET", &order_key, &[], ""),
                "host;x-amz-date",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                ("GET", &order_value, &[], ""),
                "host;x-amz-date",
                "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
            ),
            (
                ("GET", &unreserved, &[], ""),
                "host;x-amz-date",
                "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
            ),
            (
                ("POST", url, &form, "Param1=value1"),
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            assert_eq!(suite(request), format!("{names}, Signature={signature}"), "{request:?}");
        }
    }

    #[test]
    fn the_examples_of_the_documentation_of_s3_are_met() {
        // "Signature calculations for the authorization header", Amazon Simple Storage Service API Reference.
        let url = "https://examplebucket.s3.amazonaws.com/";
        let put = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        for (request, signature) in [
            (
                ("GET", format!("{url}test.txt"), &[("range", "bytes=0-9")][..], ""),
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                ("PUT", format!("{url}test$file.text"), &put, "Welcome to Amazon S3."),
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
            (
                ("GET", format!("{url}?lifecycle"), &[], ""),
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                ("GET", format!("{url}?max-keys=2&prefix=J"), &[], ""),
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let (method, url, headers, body) = &request;
            let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
            let given =
                authorization("s3", "AKIAIOSFODNN7EXAMPLE", secret, 1_369_353_600, (method, url, headers, body));
            assert!(given.ends_with(&format!("Signature={signature}")), "{url}: {given}");
        }
    }

    #[test]
    fn what_is_signed_is_what_goes_out() {
        let keys = Keys {
            region: "eu-central-1".into(),
            service: "sqs".into(),
            id: "AKID".to_owned().into(),
            secret: "secret".to_owned().into(),
            session_token: Some("session".to_owned().into()),
        };
        let url = "http://127.0.0.1:4566/a%2Fb/c'd e?x=a+b&y=*";
        let (url, headers) = signed(("GET", url, &[], ""), 0, |outgoing, now| keys.sign(outgoing, now));
        assert_eq!(url.as_str(), "http://127.0.0.1:4566/a%2Fb/c%27d%20e?x=a%20b&y=%2A");
        assert_eq!(headers["x-amz-security-token"], "session");
        let given = headers["authorization"].to_str().unwrap();
        assert!(given.contains("SignedHeaders=host;x-amz-date;x-amz-security-token,"), "{given}");
    }
}
