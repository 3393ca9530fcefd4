//! Which certificate a server shows, for people to see why it is refused. Nothing is sent beyond the handshake, and the
//! handshake is always broken off.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Its subject, issuer and end, as far as they can be read.
pub(super) async fn shown(host: &str, address: SocketAddr) -> Option<String> {
    let seen = Arc::new(Witness::default());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let config = config.dangerous().with_custom_certificate_verifier(seen.clone()).with_no_client_auth();
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()?;
    let stream = TcpStream::connect(address).await.ok()?;
    let _ = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let der = seen.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    told(&der)
}

/// Remembers the certificate and refuses it.
#[derive(Debug, Default)]
struct Witness(Mutex<Option<Vec<u8>>>);

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.to_vec());
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// One element of DER: its tag, what is in it, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let count = usize::from(first & 0x7f);
        if count > 4 || rest.len() < count {
            return None;
        }
        length = rest[..count].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        rest = &rest[count..];
    }
    (rest.len() >= length).then(|| (tag, &rest[..length], &rest[length..]))
}

/// RFC 5280 §4.1: TBSCertificate is version (tagged 0), serial number, algorithm, issuer, validity, subject, ….
fn told(der: &[u8]) -> Option<String> {
    let (_, certificate, _) = element(der)?;
    let (_, mut fields, _) = element(certificate)?;
    let (tag, _, after) = element(fields)?;
    if tag == 0xa0 {
        fields = after;
    }
    let mut next = || {
        let (_, inner, rest) = element(fields)?;
        fields = rest;
        Some(inner)
    };
    let (_, _, issuer, validity, subject) = (next()?, next()?, next()?, next()?, next()?);
    let (_, _, not_after) = element(validity)?;
    let (tag, end, _) = element(not_after)?;
    let end = time(tag, std::str::from_utf8(end).ok()?).map(|end| format!(", good until {end}"));
    let (subject, issuer) = (common_name(subject), common_name(issuer));
    Some(format!("it shows a certificate of {subject}, issued by {issuer}{}", end.unwrap_or_default()))
}

/// The common name (2.5.4.3), else the organization (2.5.4.10) of a name.
fn common_name(name: &[u8]) -> String {
    let find = |wanted: &[u8]| {
        let mut rest = name;
        while let Some((_, set, after)) = element(rest) {
            rest = after;
            let (_, pair, _) = element(set)?;
            let (_, kind, value) = element(pair)?;
            if kind == wanted {
                let (_, text, _) = element(value)?;
                let text = String::from_utf8_lossy(text);
                let text: String = text.chars().filter(|letter| !letter.is_control()).take(100).collect();
                return Some(format!("`{text}`"));
            }
        }
        None
    };
    find(&[0x55, 4, 3]).or_else(|| find(&[0x55, 4, 10])).unwrap_or_else(|| "nobody named".to_owned())
}

/// UTCTime (YYMMDD…, of 1950 to 2049) or GeneralizedTime.
fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let text = match tag {
        0x17 => format!("{}{text}", if text.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" }),
        _ => text.to_owned(),
    };
    let digits = text.strip_suffix('Z')?;
    let part = |from: usize, to: usize| digits.get(from..to);
    let time = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?
    );
    time.parse().ok()
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn a_certificate_says_whose_it_is_who_issued_it_and_until_when() {
        let of = |pem: &str| told(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
        let expired = of(include_str!("../../tests/tls/expired.cert.pem")).unwrap();
        assert!(expired.starts_with("it shows a certificate of `") && expired.contains(", good until "), "{expired}");
        for broken in [&[][..], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 2, 0x30, 0]] {
            assert_eq!(told(broken), None);
        }
    }
}
