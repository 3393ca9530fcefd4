//! How the world reaches the public listener, and whether it can.

use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use crate::config::Config;

/// Where flows' URLs start, and what is wrong with it for callers elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// As in `https://flows.example.com`, without a slash at the end.
    pub base: String,
    /// True if callers outside can be expected to reach it.
    pub from_outside: bool,
    /// Why a caller may not reach it or not want to, and what to do.
    pub warning: Option<String>,
}

/// Judges `public_url`, or else the address that the listener is bound to.
pub fn reach(config: &Config, bound: SocketAddr) -> Reach {
    match &config.public_url {
        Some(text) => of_public_url(text, bound, config.tls.is_some()),
        None => of_address(bound, config.tls.is_some()),
    }
}

fn of_address(bound: SocketAddr, tls: bool) -> Reach {
    let scheme = if tls { "https" } else { "http" };
    let mut shown = bound;
    if bound.ip().is_unspecified() {
        shown.set_ip(match bound.ip() {
            IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        });
    }
    let why = if bound.ip().is_loopback() {
        format!("it listens on {bound}, which only this machine can reach")
    } else if bound.ip().is_unspecified() {
        "no public_url is set, so this URL names this machine only".to_owned()
    } else if is_private(bound.ip()) {
        format!("{} is a private address, which only its own network can reach", bound.ip())
    } else {
        "no public_url is set; this URL has a bare address".to_owned()
    };
    Reach {
        base: format!("{scheme}://{shown}"),
        from_outside: false,
        warning: Some(format!(
            "callers outside cannot use this URL: {why}. Set `public_url: https://…` in millstream.yaml to the address \
             that leads here."
        )),
    }
}

fn of_public_url(text: &str, bound: SocketAddr, tls: bool) -> Reach {
    let parsed = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(url) = parsed else {
        let mut reach = of_address(bound, tls);
        reach.warning = Some(format!(
            "public_url `{text}` in millstream.yaml is not a URL that starts with https:// or http://, so the address \
             of the listener is shown"
        ));
        return reach;
    };
    let base = text.trim_end_matches('/').to_owned();
    let local = match url.host() {
        Some(Host::Domain(name)) => is_local_name(name),
        Some(Host::Ipv4(ip)) => is_private(IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => is_private(IpAddr::V6(ip)),
        None => true,
    };
    let warning = if local {
        Some(format!(
            "callers outside cannot use this URL: public_url `{base}` names a host of this machine or network. Set \
             public_url to the address that leads here from outside."
        ))
    } else if url.scheme() == "http" {
        Some(
            "public_url is http: Microsoft's marketplaces and most other senders accept https only, and anyone on the \
             way can read the key"
                .to_owned(),
        )
    } else {
        None
    };
    Reach { base, from_outside: !local, warning }
}

fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    !name.contains('.') || [".localhost", ".local", ".internal", ".lan"].iter().any(|end| name.ends_with(end))
}

fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_unspecified()
                || (a == 100 && b & 0xC0 == 64)
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(public_url: Option<&str>, bound: &str) -> (String, bool, bool) {
        let config = Config { public_url: public_url.map(str::to_owned), ..Config::default() };
        let reach = reach(&config, bound.parse().unwrap());
        (reach.base, reach.from_outside, reach.warning.is_some())
    }

    #[test]
    fn only_a_public_https_url_comes_without_a_warning() {
        let row = |base: &str, outside, warned| (base.to_owned(), outside, warned);
        let at = "127.0.0.1:8080";
        assert_eq!(judged(Some("https://flows.example.com/"), at), row("https://flows.example.com", true, false));
        assert_eq!(judged(Some("http://flows.example.com"), at), row("http://flows.example.com", true, true));
        assert_eq!(judged(Some("https://example.com/flows/"), at), row("https://example.com/flows", true, false));
        for local in
            ["https://localhost", "https://10.1.2.3", "https://[::1]:9", "https://box.local", "https://100.64.0.1"]
        {
            assert_eq!(judged(Some(local), at), row(local, false, true));
        }
        assert_eq!(judged(Some("flows.example.com"), at), row("http://127.0.0.1:8080", false, true));
        assert_eq!(judged(None, at), row("http://127.0.0.1:8080", false, true));
        assert_eq!(judged(None, "0.0.0.0:80"), row("http://127.0.0.1:80", false, true));
        assert_eq!(judged(None, "[::]:80"), row("http://[::1]:80", false, true));
    }
}
