//! Which addresses outbound calls may reach. Judged on the address connected to, whatever its spelling or name.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::config::Allowed;
use crate::connector::{Class, Failure};

/// Addresses that mean this machine, its network, or nothing that a public API could be at (IANA's registries of
/// special-purpose addresses). IPv4 within IPv6 (`::/96`, NAT64, 6to4) is here too: it would lead around the others.
const REFUSED: [&str; 31] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0/96",
    "::ffff:0:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "255.255.255.255/32",
];

/// The guard of calls to one port: a name is resolved without its port, so each port that the allow list names has a
/// guard, and a client, of its own.
#[derive(Debug)]
pub(crate) struct Guard {
    refused: Vec<IpNet>,
    allow: Vec<IpNet>,
    /// The proxy's host: the user named it, so its address is not judged.
    proxy: Option<String>,
}

impl Guard {
    /// For calls to `port`; with `None` for those to all ports that `allow` does not name.
    pub fn new(allow: &[Allowed], port: Option<u16>, proxy: Option<String>) -> Guard {
        let refused = REFUSED.iter().map(|range| range.parse().expect("a range of the table above")).collect();
        let allow = allow.iter().filter(|allowed| allowed.port.is_none() || allowed.port == port);
        Guard { refused, allow: allow.map(|allowed| allowed.range).collect(), proxy }
    }

    /// True if calls may reach `ip`.
    pub fn allows(&self, ip: IpAddr) -> bool {
        // An IPv4 address written as IPv6 is connected to as IPv4.
        let ip = ip.to_canonical();
        self.allow.iter().any(|range| range.contains(&ip)) || !self.refused.iter().any(|range| range.contains(&ip))
    }

    /// Judges a URL before anything is sent: its scheme, and its host if that is an address.
    pub fn check(&self, url: &Url) -> Result<(), Failure> {
        if !matches!(url.scheme(), "http" | "https") {
            let what = format!("`{}:` URLs are not called; only http and https are", url.scheme());
            return Err(Failure::new(Class::Permanent, "outbound.scheme", what));
        }
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(Failure::new(Class::Permanent, "outbound.scheme", "the URL has no host")),
        };
        if self.allows(ip) { Ok(()) } else { Err(Blocked { host: ip.to_string(), ip }.into()) }
    }

    /// The addresses of a name that may be reached; an error if there are only others.
    fn filter(&self, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Blocked> {
        if self.proxy.as_deref() == Some(host) {
            return Ok(found);
        }
        self.reachable(host, found)
    }

    /// The same for calls that no proxy carries.
    pub fn reachable(&self, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Blocked> {
        let first = found.first().map(SocketAddr::ip);
        let open: Vec<SocketAddr> = found.into_iter().filter(|address| self.allows(address.ip())).collect();
        match first {
            Some(ip) if open.is_empty() => Err(Blocked { host: host.to_owned(), ip }),
            _ => Ok(open),
        }
    }

    /// Judges a name that a proxy will resolve, as far as this machine knows it.
    pub async fn check_proxied(&self, url: &Url) -> Result<(), Failure> {
        if self.proxy.is_none() {
            return Ok(());
        }
        let Some(Host::Domain(host)) = url.host() else {
            return Ok(());
        };
        // A name unknown here is the proxy's to know.
        let Ok(found) = tokio::net::lookup_host((host, 0)).await else {
            return Ok(());
        };
        match found.map(|address| address.ip()).find(|ip| !self.allows(*ip)) {
            Some(ip) => Err(Blocked { host: host.to_owned(), ip }.into()),
            None => Ok(()),
        }
    }
}

/// An address that calls may not reach.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{host} is at {ip}, which is a private or special address")]
pub(crate) struct Blocked {
    host: String,
    ip: IpAddr,
}

impl From<Blocked> for Failure {
    fn from(blocked: Blocked) -> Failure {
        let what = format!("{blocked}; to allow it, add its range to `outbound.allow` in millstream.yaml");
        Failure::new(Class::Permanent, "outbound.blocked_address", what)
    }
}

/// A name that nobody could look up.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Unresolved(io::Error);

/// Finds the addresses of a name: the system's way, or a test's.
pub(crate) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// As the system does.
pub(crate) fn system() -> Lookup {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) }))
}

/// Resolves names, and keeps what the guard allows: the client connects to these and no others.
pub(crate) struct Resolver {
    pub guard: Arc<Guard>,
    pub lookup: Lookup,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, found) = (self.guard.clone(), (self.lookup)(name.as_str().to_owned()));
        Box::pin(async move {
            let open = guard.filter(name.as_str(), found.await.map_err(Unresolved)?)?;
            Ok(Box::new(open.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> bool {
        let guard = Guard::new(&[], None, None);
        matches!(guard.check(&Url::parse(url).unwrap()), Err(failure) if failure.code == "outbound.blocked_address")
    }

    #[test]
    fn every_spelling_of_an_inner_address_is_refused() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.0.1.",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "017700000001",
            "0",
            "0.0.0.0",
            "１２７.0.0.1",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[::1]",
            "[::]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::808:808]",
            "[64:ff9b:1::a00:1]",
            "[2002:7f00:1::]",
            "[2001::1]",
            "[fe80::1]",
            "[fec0::1]",
            "[fc00::1]",
            "[fd00::1]",
            "[ff02::1]",
            "[::ffff:0:127.0.0.1]",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
        ] {
            assert!(refused(&format!("http://{host}/")), "{host} was let through");
        }
    }

    #[test]
    fn public_addresses_pass() {
        for host in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.1.1", "[2606:4700::1111]", "[::ffff:8.8.8.8]"] {
            assert!(!refused(&format!("http://{host}/")), "{host} was refused");
        }
    }

    #[test]
    fn only_what_the_allow_list_holds_passes() {
        let guard = Guard::new(&["127.0.0.2/32".parse().unwrap(), "10.0.0.0/8:443".parse().unwrap()], None, None);
        assert!(guard.allows("127.0.0.2".parse().unwrap()));
        assert!(guard.allows("::ffff:127.0.0.2".parse().unwrap()));
        for refused in ["127.0.0.1", "127.0.0.3", "::ffff:127.0.0.1", "10.0.0.1"] {
            assert!(!guard.allows(refused.parse().unwrap()), "{refused}");
        }
        let of_port = Guard::new(&["10.0.0.0/8:443".parse().unwrap()], Some(443), None);
        assert!(of_port.allows("10.0.0.1".parse().unwrap()) && !of_port.allows("127.0.0.2".parse().unwrap()));
    }

    #[test]
    fn of_a_name_with_inner_and_outer_addresses_only_the_outer_are_connected_to() {
        let guard = Guard::new(&[], None, None);
        let both = vec!["10.0.0.1:0".parse().unwrap(), "8.8.8.8:0".parse().unwrap()];
        assert_eq!(guard.filter("mixed.example", both).unwrap(), ["8.8.8.8:0".parse().unwrap()]);
        assert!(guard.filter("inner.example", vec!["10.0.0.1:0".parse().unwrap()]).is_err());
    }

    #[test]
    fn other_schemes_are_refused() {
        let guard = Guard::new(&[], None, None);
        for url in ["file:///etc/passwd", "gopher://8.8.8.8/", "ftp://8.8.8.8/"] {
            assert_eq!(guard.check(&Url::parse(url).unwrap()).unwrap_err().code, "outbound.scheme");
        }
    }
}
