//! A way to a database's server that passes the address guard.
//!
//! The driver resolves and connects by itself, so it is given a socket within this process instead: each connection to it
//! is carried to an address that the guard has judged. TLS is the driver's, with the server's real name. The socket has no
//! file (Linux' abstract names), and serves no other process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use super::super::super::Inner;
use super::super::super::client::Client;
use crate::connector::{Class, Failure};

/// Ends with its drop; connections that are open go on until one side closes them.
pub(super) struct Bridge {
    /// What a socket is called before the driver's own ending of it.
    pub path: PathBuf,
    failure: Arc<Mutex<Option<Failure>>>,
    accepts: JoinHandle<()>,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}

impl Bridge {
    /// `ending` is what the driver appends to the path by itself.
    pub fn open(inner: &Inner, host: &str, port: u16, ending: &str) -> Result<Bridge, Failure> {
        let broken = |why: String| {
            Failure::new(Class::Retry, "sql.unavailable", format!("no connection to {host} can be begun: {why}"))
        };
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(|error| broken(error.to_string()))?;
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        // A name that begins with a NUL is abstract.
        let path = PathBuf::from(format!("\0millstream-{name}"));
        let whole = if ending.is_empty() { path.clone() } else { path.join(ending) };
        let listener = UnixListener::bind(&whole).map_err(|error| broken(error.to_string()))?;
        let failure = Arc::new(Mutex::new(None));
        let accepts = tokio::spawn(accept(listener, inner.client.clone(), host.to_owned(), port, failure.clone()));
        Ok(Bridge { path, failure, accepts })
    }

    /// Why the latest connection was not made; `None` if it was.
    pub fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(
    listener: UnixListener,
    client: Arc<Client>,
    host: String,
    port: u16,
    last: Arc<Mutex<Option<Failure>>>,
) {
    let own = i32::try_from(std::process::id()).ok();
    loop {
        let Ok((mut inside, _)) = listener.accept().await else {
            // No descriptor is left; the next one is waited for.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        if inside.peer_cred().map(|peer| peer.pid()).ok().flatten() != own {
            continue;
        }
        let (client, host, last) = (client.clone(), host.clone(), last.clone());
        tokio::spawn(async move {
            let dialled = client.dial(&host, port).await;
            *last.lock().unwrap_or_else(PoisonError::into_inner) = dialled.as_ref().err().cloned();
            if let Ok(mut outside) = dialled {
                // How it ends, both sides see.
                let _ = copy_bidirectional(&mut inside, &mut outside).await;
            }
        });
    }
}
