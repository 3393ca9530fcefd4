//! TLS of outbound calls: a certificate that does not hold ends the call, and nothing falls back.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millstream::config;
use millstream::outbound::{Outbound, Secrets};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::remote::{get, verdict};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

/// An HTTPS server at `host` with the certificate `name`; answers every request with `ok` and counts connections.
pub async fn serve(host: &str, name: &str) -> (SocketAddr, Arc<AtomicUsize>) {
    let chain = vec![CertificateDer::from_pem_file(file(&format!("{name}.cert.pem"))).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file(&format!("{name}.key.pem"))).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((host, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
            let _ = stream.shutdown().await;
        }
    });
    (address, count)
}

fn outbound(ca: Option<&str>) -> Outbound {
    let allow = vec!["127.0.0.0/8".parse().unwrap()];
    let config = config::Outbound { allow, ca_file: ca.map(file), ..Default::default() };
    Outbound::new(&config, Secrets::default()).unwrap()
}

#[tokio::test]
async fn a_certificate_that_the_roots_hold_is_accepted_and_every_other_ends_the_call() {
    let (one, _) = serve("127.0.0.1", "one").await;
    let (elsewhere, _) = serve("127.0.0.2", "one").await;
    let (expired, _) = serve("127.0.0.1", "expired").await;
    let call = |outbound: Outbound, address: SocketAddr| async move {
        verdict(&get(&outbound, &format!("https://{address}/")).await)
    };
    let trusted = get(&outbound(Some("one.cert.pem")), &format!("https://{one}/")).await.unwrap();
    assert_eq!(trusted["body"], "ok");
    assert_eq!(call(outbound(None), one).await, "Permanent outbound.tls", "self-signed");
    assert_eq!(call(outbound(Some("two.cert.pem")), one).await, "Permanent outbound.tls", "of another authority");
    assert_eq!(call(outbound(Some("one.cert.pem")), elsewhere).await, "Permanent outbound.tls", "of another host");
    assert_eq!(call(outbound(Some("expired.cert.pem")), expired).await, "Permanent outbound.tls", "expired");
}

#[tokio::test]
async fn https_to_a_server_that_speaks_http_is_not_answered_with_http() {
    let plain = crate::remote::Remote::statuses(&[200]).await;
    let result = get(&outbound(None), &format!("https://{}/", plain.address)).await;
    assert_eq!(verdict(&result), "Permanent outbound.tls");
    assert_eq!(plain.arrived().len(), 0);
}
