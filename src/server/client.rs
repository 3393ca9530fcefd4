//! Where a request comes from: the peer, or what a trusted proxy says of who is behind it.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The client's address; `None` where trusted proxies do not say one, or contradict each other.
///
/// Read from the right, since that is where proxies add what they saw: the first address that is not itself a trusted
/// proxy. What stands further left was sent by that client, and anyone can send anything.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    let is_proxy = |address: &IpAddr| proxies.iter().any(|range| range.contains(address));
    if !is_proxy(&peer) {
        return Some(peer);
    }
    let find = |chain: Option<Vec<Option<IpAddr>>>| {
        let chain = chain?;
        let outer = chain.iter().rev().find(|address| address.is_none_or(|address| !is_proxy(&address)));
        // Where all are proxies, the first of them is where it began.
        Some(outer.or(chain.first()).copied().flatten())
    };
    match (find(forwarded_for(headers)), find(forwarded(headers))) {
        (None, None) => None,
        (Some(client), None) | (None, Some(client)) => client,
        // A proxy that sets one of them passes the other on as a stranger wrote it.
        (Some(one), Some(other)) => one.filter(|_| one == other),
    }
}

/// `X-Forwarded-For`, one entry for each address; an entry that is none is `None`.
fn forwarded_for(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let entries = list(headers, "x-forwarded-for")?;
    Some(entries.iter().map(|entry| parse(entry)).collect())
}

/// `for=` of `Forwarded` (RFC 7239).
fn forwarded(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let entries = list(headers, "forwarded")?;
    let one = |entry: &String| {
        let pairs = entry.split(';').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
        parse(value.trim().trim_matches('"'))
    };
    Some(entries.iter().map(one).collect())
}

/// The entries of a header that may come several times; `None` without it.
fn list(headers: &HeaderMap, name: &str) -> Option<Vec<String>> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Some(values.flat_map(|value| text(value).split(',').map(str::to_owned).collect::<Vec<_>>()).collect())
}

/// An address with or without a port and brackets.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|both| both.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(peer: &str, headers: &[(&'static str, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let proxies = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        address(peer.parse().unwrap(), &map, &proxies).map(|address| address.to_string())
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_what_it_saw_itself() {
        let say = |text: &'static str| [("x-forwarded-for", text)];
        let is = |address: &str| Some(address.to_owned());
        assert_eq!(found("203.0.113.9", &say("192.0.2.1")), is("203.0.113.9"), "a stranger says what it likes");
        assert_eq!(found("10.0.0.1", &[]), None, "a proxy that says nothing is not the client");
        assert_eq!(found("10.0.0.1", &say("192.0.2.1")), is("192.0.2.1"));
        assert_eq!(found("10.0.0.1", &say("192.0.2.66, 192.0.2.1")), is("192.0.2.1"), "the left one came from outside");
        assert_eq!(found("10.0.0.1", &say("192.0.2.66, 192.0.2.1, 10.0.0.2")), is("192.0.2.1"));
        assert_eq!(found("10.0.0.1", &say("10.0.0.3, 10.0.0.2")), is("10.0.0.3"));
        assert_eq!(found("10.0.0.1", &say("192.0.2.66, unknown")), None, "what cannot be read is nobody");
        assert_eq!(found("10.0.0.1", &say("")), None);
        assert_eq!(found("::ffff:10.0.0.1", &say("192.0.2.1:4711")), is("192.0.2.1"));
        let twice = [("x-forwarded-for", "192.0.2.66"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(found("10.0.0.1", &twice), is("192.0.2.1"));
    }

    #[test]
    fn the_standard_header_is_read_too_and_both_must_agree() {
        let say = |text: &'static str| [("forwarded", text)];
        let is = |address: &str| Some(address.to_owned());
        assert_eq!(found("::1", &say("for=192.0.2.66, For=\"[2001:db8::1]:4711\";proto=https")), is("2001:db8::1"));
        assert_eq!(found("::1", &say("proto=https")), None);
        assert_eq!(found("::1", &say("for=_hidden")), None);
        let both = |a: &'static str, b: &'static str| [("x-forwarded-for", a), ("forwarded", b)];
        assert_eq!(found("::1", &both("192.0.2.1", "for=192.0.2.1")), is("192.0.2.1"));
        assert_eq!(found("::1", &both("192.0.2.66", "for=192.0.2.1")), None, "one of them a stranger may have sent");
    }
}
