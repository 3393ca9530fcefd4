//! What keeps browsers from being turned against this server: the names it answers to, where pages that ask come from,
//! and what its answers say to browsers.
//!
//! A page of a stranger can make a browser ask 127.0.0.1. By a name of its own that leads there (DNS rebinding) it could
//! even read the answer; then `Host` has that name, and is refused here. An address in `Host` proves that no name was
//! bent: the page itself came from there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::{Code, Problem};
use crate::config::Config;

/// What the admin listener may be called.
pub(super) struct Names {
    bound: IpAddr,
    /// Of `admin` and `admin_hosts`, in small letters.
    names: Vec<String>,
}

impl Names {
    pub fn new(config: &Config, bound: SocketAddr) -> Names {
        let named =
            config.admin.as_deref().and_then(|address| address.rsplit_once(':')).map(|(host, _)| host.to_owned());
        let names = config.admin_hosts.iter().cloned().chain(named);
        Names { bound: bound.ip(), names: names.map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// `host` is that of a request, without a port.
    fn has(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        match bare.parse::<IpAddr>() {
            // Bound to all addresses, it can be asked for by any of them.
            Ok(ip) => {
                let ip = ip.to_canonical();
                ip.is_loopback() || ip == self.bound.to_canonical() || self.bound.is_unspecified()
            }
            Err(_) => host == "localhost" || self.names.contains(&host),
        }
    }
}

/// Refuses who asks for another host, and pages of others.
pub(super) async fn own_names(State(names): State<Arc<Names>>, request: Request, next: Next) -> Response {
    match judge(&names, request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn judge(names: &Names, headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
    // HTTP/2 has it in the URI. Two hosts are two answers to one question.
    let mut given = headers.get_all(header::HOST).iter();
    let first = given.next().and_then(|host| host.to_str().ok());
    let authority = uri.authority().map(|authority| authority.as_str()).or(first).unwrap_or_default();
    let agree = first.is_none_or(|host| host.eq_ignore_ascii_case(authority)) && given.next().is_none();
    if !agree || !names.has(host(authority)) {
        let detail = "The admin listener answers to its own addresses, `localhost`, and the names in `admin_hosts` of \
                      millstream.yaml.";
        return Err(Problem::new(Code::ForeignHost, detail));
    }
    let foreign = |origin: &HeaderValue| {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        !origin.is_some_and(|(scheme, from)| matches!(scheme, "http" | "https") && from.eq_ignore_ascii_case(authority))
    };
    if headers.get_all(header::ORIGIN).iter().any(foreign) {
        return Err(Problem::new(Code::ForeignOrigin, "A page of another site asks; only this server's own may."));
    }
    Ok(())
}

/// Without the port.
fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') && port.bytes().all(|c| c.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Says to browsers that an answer is no page, is not kept, and is in no frame; what it says itself stands.
pub(super) async fn closed(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    open_rules(headers);
    add(headers, &header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    add(headers, &HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    response
}

/// The same where flows answer: a page that a flow makes is its author's.
pub(super) fn open(headers: &mut HeaderMap) {
    open_rules(headers);
    let of_data =
        |kind: &HeaderValue| kind.as_bytes().get(..12).is_some_and(|kind| kind.eq_ignore_ascii_case(b"application/"));
    if headers.get(header::CONTENT_TYPE).is_none_or(of_data) {
        add(headers, &header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    }
}

fn open_rules(headers: &mut HeaderMap) {
    add(headers, &header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    add(headers, &header::CACHE_CONTROL, "no-store");
    // The URL of a page here may have a key.
    add(headers, &header::REFERRER_POLICY, "no-referrer");
}

fn add(headers: &mut HeaderMap, name: &HeaderName, value: &'static str) {
    if !headers.contains_key(name) {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(names: &Names, uri: &str, given: &[(&'static str, &str)]) -> &'static str {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, value.parse().unwrap());
        }
        match judge(names, &headers, &uri.parse().unwrap()) {
            Ok(()) => "",
            Err(problem) => problem.code.name(),
        }
    }

    #[test]
    fn only_its_own_names_and_addresses_are_answered() {
        let config = Config { admin_hosts: vec!["Millstream.internal".into()], ..Config::default() };
        let local = Names::new(&config, "127.0.0.1:8081".parse().unwrap());
        let host = |names: &Names, host: &str| code(names, "/", &[("host", host)]);
        for good in [
            "127.0.0.1:8081",
            "127.0.0.1",
            "localhost",
            "LOCALHOST:8081",
            "localhost.",
            "[::1]:8081",
            "[::1]",
            "127.8.9.10:1",
            "millstream.internal:80",
        ] {
            assert_eq!(host(&local, good), "", "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "evil.example:8081",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1:8081",
            "localhost:80:90",
            "user@localhost",
            "0",
            "2130706433",
            "169.254.169.254",
        ] {
            assert_eq!(host(&local, bad), "foreign_host", "{bad}");
        }
        assert_eq!(code(&local, "/", &[]), "foreign_host", "a request without a host");
        assert_eq!(code(&local, "/", &[("host", "localhost"), ("host", "evil.example")]), "foreign_host");
        assert_eq!(code(&local, "http://evil.example/x", &[]), "foreign_host");
        assert_eq!(code(&local, "http://evil.example/x", &[("host", "localhost")]), "foreign_host");
        assert_eq!(code(&local, "http://localhost/x", &[]), "");

        let everywhere = Names::new(&Config::default(), "0.0.0.0:8081".parse().unwrap());
        assert_eq!(host(&everywhere, "10.1.2.3:8081"), "");
        assert_eq!(host(&everywhere, "evil.example"), "foreign_host");
        let config = Config { admin: Some("box.lan:8081".into()), ..Config::default() };
        assert_eq!(host(&Names::new(&config, "10.1.2.3:8081".parse().unwrap()), "box.lan:8081"), "");
        assert_eq!(host(&Names::new(&config, "10.1.2.3:8081".parse().unwrap()), "10.1.2.3:8081"), "");
    }

    #[test]
    fn pages_of_others_are_refused() {
        let names = Names::new(&Config::default(), "127.0.0.1:8081".parse().unwrap());
        let from = |origin: &str| code(&names, "/", &[("host", "127.0.0.1:8081"), ("origin", origin)]);
        assert_eq!(from("http://127.0.0.1:8081"), "");
        for foreign in [
            "https://evil.example",
            "null",
            "",
            "http://127.0.0.1:8080",
            "http://localhost:8081",
            "file://",
            "127.0.0.1:8081",
        ] {
            assert_eq!(from(foreign), "foreign_origin", "{foreign}");
        }
    }
}
