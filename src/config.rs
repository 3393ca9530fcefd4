//! `millstream.yaml`: how the process listens, what it may reach and keeps, and its limits. Every key has a default.

mod alerts;
mod retention;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

pub use alerts::{AlertOn, Alerts};
pub use retention::{Aged, Bounds, Length, Retention, Size};

/// The settings of one project folder.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the public listener; `127.0.0.1:8080` unless set.
    pub listen: Option<String>,
    /// Address of the admin listener; `127.0.0.1:8081` unless set.
    pub admin: Option<String>,
    /// Names under which the admin listener may be asked for, beside `localhost` and its addresses.
    pub admin_hosts: Vec<String>,
    /// Serves HTTPS with these files, PEM; read again when they change.
    pub tls: Option<Tls>,
    /// How the world reaches the public listener, as in `https://flows.example.com`.
    pub public_url: Option<String>,
    pub limits: Limits,
    /// Proxies in front of the public listener, CIDR: only what these say of a client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Names of environment variables that templates may read as `env.NAME`.
    pub env: Vec<String>,
    pub outbound: Outbound,
    /// The flow that hears of runs that did not go well.
    pub alerts: Option<Alerts>,
    pub retention: Retention,
    pub vault: Vault,
}

/// Where secrets are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vault {
    /// The key that secrets are under; the instance key unless set.
    pub key: Option<KeySource>,
}

/// Where a key is that is not in the data folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "KeyPlaces")]
pub enum KeySource {
    /// A variable of the process's environment.
    Env(String),
    /// A file; relative paths start at the project folder.
    File(PathBuf),
}

/// As typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyPlaces {
    env: Option<String>,
    file: Option<PathBuf>,
}

impl TryFrom<KeyPlaces> for KeySource {
    type Error = &'static str;

    fn try_from(places: KeyPlaces) -> Result<KeySource, &'static str> {
        match (places.env, places.file) {
            (Some(name), None) => Ok(KeySource::Env(name)),
            (None, Some(path)) => Ok(KeySource::File(path)),
            (Some(_), Some(_)) | (None, None) => Err("a key is either {env: NAME} or {file: PATH}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest request body, bytes.
    pub body_bytes: usize,
    /// Deepest JSON body, levels.
    pub body_depth: usize,
    /// Longest wait for a request's headers, and between two bytes of its body, seconds.
    pub header_seconds: u64,
    /// Longest time for a whole body, seconds.
    pub body_seconds: u64,
    /// How long an idle connection stays open, seconds.
    pub idle_seconds: u64,
    /// Connections open at once, and requests being read; beyond it a new connection waits until one of those that are
    /// longest without a request has made room, and a request is answered 503.
    pub connections: usize,
    /// Runs driven at once, a large body (64 KB and more) counting as several; others wait as queued, on disk. No flow
    /// gets more than half of them.
    pub runs: usize,
    /// Queued runs; beyond it requests are answered 503.
    pub queued_runs: usize,
    /// Rejected requests kept; the oldest go first.
    pub rejected_runs: usize,
    /// Largest output of one step, bytes.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes: 10 * 1024 * 1024,
            body_depth: 127,
            header_seconds: 10,
            body_seconds: 30,
            idle_seconds: 60,
            connections: 10_000,
            runs: 256,
            queued_runs: 100_000,
            rejected_runs: 1_000,
            output_bytes: 1024 * 1024,
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outbound {
    /// Private or loopback addresses that outbound calls may reach all the same.
    pub allow: Vec<Allowed>,
    /// The only proxy that is used; proxy variables of the environment are ignored.
    pub proxy: Option<String>,
    /// Further root certificates, PEM.
    pub ca_file: Option<PathBuf>,
}

/// Addresses that are allowed: `10.0.0.0/8`, `10.1.2.3`, and with a single port `10.0.0.0/8:443`, `[fd00::/8]:443`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Allowed {
    pub range: IpNet,
    /// All ports unless set.
    pub port: Option<u16>,
}

impl std::str::FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Allowed, String> {
        let range = |text: &str| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        let wrong = || {
            format!(
                "`{text}` is no range of addresses: 10.0.0.0/8, 10.1.2.3, with a port 10.0.0.0/8:443 or [fd00::/8]:443"
            )
        };
        // Without brackets the colons of IPv6 are its own.
        if let Some(range) = range(text) {
            return Ok(Allowed { range, port: None });
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bare = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or_else(wrong)?,
            None if host.contains(':') => return Err(wrong()),
            None => host,
        };
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        Ok(Allowed { range: range(bare).ok_or_else(wrong)?, port: Some(port) })
    }
}

impl TryFrom<String> for Allowed {
    type Error = String;

    fn try_from(text: String) -> Result<Allowed, String> {
        text.parse()
    }
}

/// Why `millstream.yaml` could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path} could not be read: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Parse { path: PathBuf, source: serde_yaml::Error },
}

impl Config {
    /// Reads `dir/millstream.yaml`; a missing or empty file gives the defaults.
    pub fn load(dir: &Path) -> Result<Config, Error> {
        let path = dir.join("millstream.yaml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
            Err(source) => return Err(Error::Read { path, source }),
        };
        Config::parse(&text).map_err(|source| Error::Parse { path, source })
    }

    /// The same of a text.
    ///
    /// # Errors
    /// What is wrong with it first, with its place where that is known.
    pub fn parse(text: &str) -> Result<Config, serde_yaml::Error> {
        Ok(serde_yaml::from_str::<Option<Config>>(text)?.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::Allowed;

    #[test]
    fn what_is_allowed_is_a_range_or_an_address_with_or_without_a_port() {
        let read = |text: &str| text.parse::<Allowed>().map(|found| (found.range.to_string(), found.port)).ok();
        let is = |range: &str, port| Some((range.to_owned(), port));
        assert_eq!(read("10.0.0.0/8"), is("10.0.0.0/8", None));
        assert_eq!(read("10.1.2.3"), is("10.1.2.3/32", None));
        assert_eq!(read("10.0.0.0/8:443"), is("10.0.0.0/8", Some(443)));
        assert_eq!(read("10.1.2.3:5432"), is("10.1.2.3/32", Some(5432)));
        assert_eq!(read("fd00::/8"), is("fd00::/8", None));
        assert_eq!(read("::1"), is("::1/128", None));
        assert_eq!(read("[fd00::/8]:443"), is("fd00::/8", Some(443)));
        assert_eq!(read("[::1]:8080"), is("::1/128", Some(8080)));
        for wrong in [
            "",
            "localhost",
            "10.0.0.0/33",
            "10.0.0.0/8:0",
            "10.0.0.0/8:70000",
            "10.0.0.0/8:",
            "fd00::/8:443",
            "[::1]:",
            "[::1:80",
            "10.1",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
