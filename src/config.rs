//! `millstream.yaml`: how the process listens, what it may reach and keeps, and its limits. Every key has a default.

mod alerts;
mod retention;

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
    /// Connections open at once; beyond it new ones wait in the kernel's queue.
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
    /// Private or loopback ranges that outbound calls may reach all the same.
    pub allow: Vec<IpNet>,
    /// The only proxy that is used; proxy variables of the environment are ignored.
    pub proxy: Option<String>,
    /// Further root certificates, PEM.
    pub ca_file: Option<PathBuf>,
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
        let config: Option<Config> = serde_yaml::from_str(&text).map_err(|source| Error::Parse { path, source })?;
        Ok(config.unwrap_or_default())
    }
}
