//! HTTPS by certificate files, read again when they change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config;

/// How often the files are looked at. Polling sees every way of renewing them: renames, links, mounts.
const POLL: Duration = Duration::from_secs(2);

/// The certificate in use.
pub(super) struct Tls {
    files: config::Tls,
    present: ArcSwap<ServerConfig>,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}; it must be a PEM file with {wanted}")]
    File { path: PathBuf, wanted: &'static str, source: rustls::pki_types::pem::Error },
    #[error("{cert} and {key} do not work together: {source}")]
    Pair { cert: PathBuf, key: PathBuf, source: rustls::Error },
}

impl Tls {
    pub fn load(files: &config::Tls) -> Result<Tls, Error> {
        Ok(Tls { files: files.clone(), present: ArcSwap::from_pointee(read(files)?) })
    }

    /// For the next handshake.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.present.load_full())
    }

    /// Takes changed files up until `stop`; files that do not work leave the certificate in use as it is.
    pub async fn watch(&self, mut stop: watch::Receiver<bool>) {
        let mut seen = stamp(&self.files);
        loop {
            tokio::select! {
                () = super::accept::stopped(&mut stop) => return,
                () = tokio::time::sleep(POLL) => {}
            }
            let now = stamp(&self.files);
            if now != seen {
                seen = now;
                self.reload();
            }
        }
    }

    fn reload(&self) {
        match read(&self.files) {
            Ok(config) => {
                self.present.store(Arc::new(config));
                tracing::info!("the TLS certificate was read again from {}", self.files.cert.display());
            }
            Err(error) => tracing::error!("the TLS certificate in use stays, the changed one does not work: {error}"),
        }
    }
}

type Stamp = [Option<(SystemTime, u64)>; 2];

fn stamp(files: &config::Tls) -> Stamp {
    let of = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    [of(&files.cert), of(&files.key)]
}

fn read(files: &config::Tls) -> Result<ServerConfig, Error> {
    let file = |path: &Path, wanted, source| Error::File { path: path.to_owned(), wanted, source };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&files.cert).and_then(Iterator::collect);
    let chain = chain.map_err(|source| file(&files.cert, "a certificate and its chain", source))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| file(&files.key, "a private key", source))?;
    let pair = |source| Error::Pair { cert: files.cert.clone(), key: files.key.clone(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
