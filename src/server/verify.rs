//! `auth` of a trigger: what a request must show beside the key in its URL.
//!
//! Signatures are of the body's bytes as they came, judged before anything parses them, and compared in constant time.
//! Who fails is turned away and not kept: a stranger must not fill the store.

mod signature;

use std::net::IpAddr;
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::accept::Peer;
use super::problem::{Code, Problem};
use super::{App, client};
use crate::catalog::LiveFlow;
use crate::flow::{Auth, Proof, Scheme};

/// When to come back after a secret was missing.
const MENDING: Duration = Duration::from_secs(60);

/// Why one way in is closed. The text is for the log, and holds nothing of the request.
enum Closed {
    Address,
    Proof(&'static str),
    NoSecret(String),
}

/// Lets in who satisfies any one of `auth`.
///
/// # Errors
/// 401 or 403, or 503 if a secret that could let in cannot be had.
pub(super) async fn judge(
    app: &App,
    live: &LiveFlow,
    auth: &[Auth],
    (parts, Peer(peer)): (&Parts, Peer),
    body: &[u8],
) -> Result<(), Problem> {
    let from = client::address(peer, &parts.headers, &app.proxies);
    let mut closed = Vec::new();
    for way in auth {
        match one(app, way, &parts.headers, body, from).await {
            Ok(()) => return Ok(()),
            Err(why) => closed.push(why),
        }
    }
    app.engine.count_unproven();
    let flow = &live.flow.id;
    let shown = from.map_or_else(|| "an unknown address".to_owned(), |from| from.to_string());
    let missing = closed.iter().find_map(|why| match why {
        Closed::NoSecret(why) => Some(why),
        Closed::Address | Closed::Proof(_) => None,
    });
    if let Some(why) = missing {
        tracing::error!(%flow, from = %shown, "a request cannot be checked, and is refused: {why}");
        let detail = "Millstream lacks what it needs to check who sent this. Nothing was kept; send it again later.";
        return Err(Problem::new(Code::SecretMissing, detail).after(MENDING));
    }
    let reasons = closed.iter().find_map(|why| match why {
        Closed::Proof(why) => Some(*why),
        Closed::Address | Closed::NoSecret(_) => None,
    });
    tracing::warn!(%flow, from = %shown, "a request was turned away: {}", reasons.unwrap_or("its address is refused"));
    Err(match reasons {
        None => Problem::new(Code::AddressRefused, "The flow takes requests from other addresses only."),
        Some(why) => Problem::new(Code::AuthenticationFailed, format!("The request was not let in: {why}."))
            .with_headers(challenges(auth)),
    })
}

async fn one(app: &App, way: &Auth, headers: &HeaderMap, body: &[u8], from: Option<IpAddr>) -> Result<(), Closed> {
    if !way.ip.is_empty() && !from.is_some_and(|from| way.ip.iter().any(|range| range.contains(&from))) {
        return Err(Closed::Address);
    }
    let secret = async |source| app.engine.secret(source).await.map_err(Closed::NoSecret);
    match &way.proof {
        None => Ok(()),
        Some(Proof::Signature { scheme, secret: source }) => {
            let key = signature::key(scheme, &secret(source).await?).map_err(Closed::NoSecret)?;
            let now = Timestamp::now().as_second();
            signature::judge(scheme, key.expose_secret(), headers, body, now).map_err(Closed::Proof)
        }
        Some(Proof::Basic { username, password }) => basic(headers, username, &secret(password).await?),
        Some(Proof::Bearer(token)) => bearer(headers, &secret(token).await?),
    }
}

fn bearer(headers: &HeaderMap, token: &SecretString) -> Result<(), Closed> {
    let given = credentials(headers, "bearer").ok_or(Closed::Proof("it has no bearer token"))?;
    match same(given.as_bytes(), token.expose_secret().as_bytes()) {
        true => Ok(()),
        false => Err(Closed::Proof("its bearer token is wrong")),
    }
}

fn basic(headers: &HeaderMap, username: &str, password: &SecretString) -> Result<(), Closed> {
    let given = credentials(headers, "basic").and_then(|text| STANDARD.decode(text).ok());
    let given = given.ok_or(Closed::Proof("it has no user name and password"))?;
    let colon = given.iter().position(|byte| *byte == b':');
    let (name, word) = colon.map_or((&given[..], &[][..]), |at| (&given[..at], &given[at + 1..]));
    // Both are compared, whatever the first one says.
    match same(name, username.as_bytes()) & same(word, password.expose_secret().as_bytes()) {
        true => Ok(()),
        false => Err(Closed::Proof("its user name or password is wrong")),
    }
}

/// Compares hashes, so that the time tells not even the length.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    !wanted.is_empty() && bool::from(Sha256::digest(given).ct_eq(&Sha256::digest(wanted)))
}

/// What follows the scheme in the only `Authorization` header.
fn credentials<'h>(headers: &'h HeaderMap, scheme: &str) -> Option<&'h str> {
    let (found, given) = signature::only(headers, "authorization")?.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then(|| given.trim())
}

/// How a caller could have shown who it is, as far as HTTP has words for it.
fn challenges(auth: &[Auth]) -> Vec<(HeaderName, HeaderValue)> {
    let words = auth.iter().filter_map(|way| match way.proof {
        Some(Proof::Basic { .. }) => Some("Basic realm=\"millstream\", charset=\"UTF-8\""),
        Some(Proof::Bearer(_)) => Some("Bearer realm=\"millstream\""),
        Some(Proof::Signature { .. }) | None => None,
    });
    words.map(|words| (header::WWW_AUTHENTICATE, HeaderValue::from_static(words))).collect()
}

/// Headers that hold signatures under names of the flow's own: templates must not see them.
pub(super) fn headers(auth: &[Auth]) -> Vec<&str> {
    let named = auth.iter().filter_map(|way| match &way.proof {
        Some(Proof::Signature { scheme: Scheme::Plain { header, .. }, .. }) => Some(header.as_str()),
        Some(Proof::Signature { .. } | Proof::Basic { .. } | Proof::Bearer(_)) | None => None,
    });
    named.collect()
}
