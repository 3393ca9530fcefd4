//! HMAC-SHA256 signatures of bodies, in the forms that senders use.

use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;

use crate::flow::{Encoding, Scheme};

/// Signatures of one header that are looked at.
const MAX_SIGNATURES: usize = 16;

/// The key that a secret stands for.
///
/// # Errors
/// Why it stands for none, for the log.
pub(super) fn key(scheme: &Scheme, secret: &SecretString) -> Result<SecretSlice<u8>, String> {
    let text = secret.expose_secret();
    let key = match (scheme, text.strip_prefix("whsec_")) {
        (Scheme::StandardWebhooks { .. }, Some(coded)) => {
            STANDARD.decode(coded).map_err(|_| "what follows `whsec_` in the secret is not base64; set it anew")?
        }
        // As the libraries of the standard read it.
        (Scheme::StandardWebhooks { .. }, None) => STANDARD.decode(text).unwrap_or_else(|_| text.as_bytes().to_vec()),
        (Scheme::GitHub | Scheme::Stripe { .. } | Scheme::Plain { .. }, _) => text.as_bytes().to_vec(),
    };
    if key.is_empty() {
        return Err("the secret is empty; set it anew".to_owned());
    }
    Ok(key.into())
}

/// Judges the signature of `body` as it came; `now` is in seconds since 1970.
///
/// # Errors
/// Why it is not good, which may be told: it holds nothing of the secret or the request.
pub(super) fn judge(
    scheme: &Scheme,
    key: &[u8],
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Result<(), &'static str> {
    let wrong = "its signature is wrong";
    let signed = |parts: &[&[u8]], signature: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        parts.iter().for_each(|part| mac.update(part));
        // In constant time, and only the whole of it: a part of a signature, or none, is no signature.
        mac.verify_slice(signature).is_ok()
    };
    let good = match scheme {
        Scheme::GitHub => {
            let given = only(headers, "x-hub-signature-256").ok_or("it has no X-Hub-Signature-256")?;
            let given = given.strip_prefix("sha256=").and_then(hex).ok_or(wrong)?;
            signed(&[body], &given)
        }
        Scheme::Plain { header, encoding, prefix } => {
            let given = only(headers, header).ok_or("it has no signature, or more than one")?;
            let given = given.strip_prefix(prefix.as_str()).ok_or(wrong)?;
            let given = match encoding {
                Encoding::Hex => hex(given),
                Encoding::Base64 => STANDARD.decode(given).ok(),
            };
            signed(&[body], &given.ok_or(wrong)?)
        }
        Scheme::StandardWebhooks { tolerance } => {
            let missing = "it lacks webhook-id, webhook-timestamp or webhook-signature";
            let find = |name| only(headers, name).filter(|value| !value.is_empty()).ok_or(missing);
            let (id, time, given) = (find("webhook-id")?, find("webhook-timestamp")?, find("webhook-signature")?);
            timely(time, *tolerance, now)?;
            let given = given.split(' ').filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
            let parts = [id.as_bytes(), b".", time.as_bytes(), b".", body];
            given.take(MAX_SIGNATURES).fold(false, |good, one| good | signed(&parts, &one))
        }
        Scheme::Stripe { tolerance } => {
            let given = only(headers, "stripe-signature").ok_or("it has no Stripe-Signature")?;
            let pairs = || given.split(',').filter_map(|pair| pair.trim().split_once('='));
            let (_, time) = pairs().find(|(name, _)| *name == "t").ok_or("its Stripe-Signature has no time")?;
            timely(time, *tolerance, now)?;
            let given = pairs().filter(|(name, _)| *name == "v1").filter_map(|(_, value)| hex(value));
            let parts = [time.as_bytes(), b".", body];
            given.take(MAX_SIGNATURES).fold(false, |good, one| good | signed(&parts, &one))
        }
    };
    if good { Ok(()) } else { Err(wrong) }
}

/// The value of a header that comes exactly once.
pub(super) fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok().map(str::trim)
}

/// A signature of another time may have been overheard.
fn timely(time: &str, tolerance: Duration, now: i64) -> Result<(), &'static str> {
    let plain = !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit());
    let time: i64 = time.parse().ok().filter(|_| plain).ok_or("the time of its signature cannot be read")?;
    match now.abs_diff(time) > tolerance.as_secs() {
        true => Err("its signature is of another time"),
        false => Ok(()),
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTES: Duration = Duration::from_secs(300);

    fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text);
        mac.finalize().into_bytes().to_vec()
    }

    fn to_hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn judged(
        scheme: &Scheme,
        secret: &str,
        headers: &[(&'static str, &str)],
        body: &[u8],
        now: i64,
    ) -> Result<(), &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let key = key(scheme, &SecretString::from(secret)).unwrap();
        judge(scheme, key.expose_secret(), &map, body, now)
    }

    #[test]
    fn the_vector_of_githubs_documentation_is_good_and_any_change_of_it_is_not() {
        let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let try_it = |signature: &str, body: &str| {
            let headers = [("x-hub-signature-256", signature)];
            judged(&Scheme::GitHub, "It's a Secret to Everybody", &headers, body.as_bytes(), 0).is_ok()
        };
        assert!(try_it(good, "Hello, World!"));
        assert!(!try_it(good, "Hello, World?"));
        for wrong in
            ["", "sha256=", "sha256=75", &good[7..], &good[..good.len() - 2], &good.replace("757107", "757108")]
        {
            assert!(!try_it(wrong, "Hello, World!"), "{wrong}");
        }
        let twice = [("x-hub-signature-256", good), ("x-hub-signature-256", good)];
        assert!(judged(&Scheme::GitHub, "It's a Secret to Everybody", &twice, b"Hello, World!", 0).is_err());
    }

    #[test]
    fn the_reference_vector_of_standard_webhooks_is_good_within_its_time() {
        let scheme = Scheme::StandardWebhooks { tolerance: MINUTES };
        let body = br#"{"test": 2432232314}"#;
        let time = 1_614_265_330;
        let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let try_it = |secret: &str, signature: &str, now: i64| {
            let headers = [
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", signature),
            ];
            judged(&scheme, secret, &headers, body, now)
        };
        assert_eq!(try_it(secret, good, time), Ok(()));
        assert_eq!(try_it(&format!("whsec_{secret}"), good, time + 300), Ok(()));
        assert_eq!(try_it(secret, &format!("v1,AAAA v2,x {good}"), time - 300), Ok(()));
        let late = Err("its signature is of another time");
        assert_eq!(try_it(secret, good, time + 301), late);
        assert_eq!(try_it(secret, good, time - 301), late);
        for wrong in ["v1,", "v1", &good[3..], &good.replace("v1", "v2"), "v1,g0hM9SsE", &good.replace("g0h", "g1h")] {
            assert!(try_it(secret, wrong, time).is_err(), "{wrong}");
        }
        assert!(try_it(secret, "", time).is_err());
        assert!(key(&scheme, &SecretString::from("whsec_")).is_err());
        assert!(key(&scheme, &SecretString::from("whsec_???")).is_err());
    }

    #[test]
    fn stripes_form_takes_any_one_of_its_signatures() {
        let scheme = Scheme::Stripe { tolerance: MINUTES };
        let body = br#"{"id": "evt_1"}"#;
        let good = to_hex(&sign(b"whsec_test", b"1700000000.{\"id\": \"evt_1\"}"));
        let try_it = |header: &str, now: i64| judged(&scheme, "whsec_test", &[("stripe-signature", header)], body, now);
        let now = 1_700_000_000;
        assert_eq!(try_it(&format!("t=1700000000,v1={good},v0=ab"), now + 300), Ok(()));
        assert_eq!(try_it(&format!("t=1700000000,v1={},v1={good}", "0".repeat(64)), now), Ok(()));
        assert!(try_it(&format!("t=1700000000,v1={good}"), now + 301).is_err());
        assert!(try_it(&format!("t=1700000001,v1={good}"), now).is_err(), "the time is signed too");
        for wrong in ["", "t=1700000000", "t=1700000000,v1=", &format!("v1={good}"), &format!("t=1700000000,v0={good}")]
        {
            assert!(try_it(wrong, now).is_err(), "{wrong}");
        }
        for time in ["-1700000000", "+1700000000", "1.7e9", "99999999999999999999"] {
            assert!(try_it(&format!("t={time},v1={good}"), now).is_err(), "{time}");
        }
    }

    #[test]
    fn the_plain_form_wants_its_prefix_and_its_encoding() {
        let plain =
            |encoding, prefix: &str| Scheme::Plain { header: "x-proof".into(), encoding, prefix: prefix.into() };
        let mac = sign(b"k", b"body");
        let try_it = |scheme: &Scheme, value: &str| judged(scheme, "k", &[("x-proof", value)], b"body", 0).is_ok();
        assert!(try_it(&plain(Encoding::Hex, "sha256="), &format!("sha256={}", to_hex(&mac))));
        assert!(try_it(&plain(Encoding::Hex, ""), &to_hex(&mac).to_uppercase()));
        assert!(try_it(&plain(Encoding::Base64, ""), &STANDARD.encode(&mac)));
        assert!(!try_it(&plain(Encoding::Hex, "sha256="), &to_hex(&mac)));
        assert!(!try_it(&plain(Encoding::Base64, ""), &to_hex(&mac)));
        assert!(!try_it(&plain(Encoding::Base64, ""), &STANDARD.encode(&mac[..16])));
        assert!(!try_it(&plain(Encoding::Hex, ""), ""));
    }
}
