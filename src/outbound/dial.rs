//! Connections of other protocols than HTTP: names are resolved here, judged by the same guard, and what was judged is
//! what is connected to. No proxy carries them.

use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::{CONNECT_TIMEOUT, Client, is_out_of_descriptors, no_descriptor_left};
use crate::connector::{Class, Failure};

impl Client {
    /// The addresses of a host that may be reached.
    ///
    /// # Errors
    /// `outbound.blocked_address` if there are only others, `outbound.connect` if the name is not known.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let found = match bare.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => (self.lookup)(host.to_owned()).await.map_err(|error| unreachable(host, &error))?,
        };
        let mut open = self.guard(port).reachable(host, found)?;
        if open.is_empty() {
            return Err(Failure::new(
                Class::Retry,
                "outbound.connect",
                format!("no connection to {host}: it has no address"),
            ));
        }
        open.iter_mut().for_each(|address| address.set_port(port));
        Ok(open)
    }

    /// A connection to the first of a host's addresses that takes one.
    pub(super) async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, Failure> {
        let mut last = None;
        for address in self.addresses(host, port).await? {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Small questions and answers go back and forth.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Some(unreachable(host, &error)),
                Err(_) => last = Some(unreachable(host, &std::io::ErrorKind::TimedOut.into())),
            }
        }
        Err(last.unwrap_or_else(|| unreachable(host, &std::io::ErrorKind::AddrNotAvailable.into())))
    }
}

fn unreachable(host: &str, error: &std::io::Error) -> Failure {
    if error.raw_os_error().is_some_and(is_out_of_descriptors) {
        return no_descriptor_left(host);
    }
    Failure::new(Class::Retry, "outbound.connect", format!("no connection to {host}: {error}"))
}
