//! Connecting ends before the call's time does: who had no connection by then has certainly sent nothing.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tower::{BoxError, Layer, Service};

/// Connecting ends so much before the call, at most.
const BEFORE: Duration = Duration::from_millis(50);

tokio::task_local! {
    static END: Instant;
}

/// Does `exchange`, whose time is over at `deadline`: a connection that it needs is there a little before, or not at all.
pub(super) async fn until<T>(deadline: Instant, exchange: impl Future<Output = T>) -> T {
    let left = deadline.saturating_duration_since(Instant::now());
    END.scope(deadline - BEFORE.min(left / 10), exchange).await
}

/// Around the client's connector.
#[derive(Clone)]
pub(super) struct InTime;

impl<S> Layer<S> for InTime {
    type Service = Connecting<S>;

    fn layer(&self, connector: S) -> Connecting<S> {
        Connecting(connector)
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

#[derive(Clone)]
pub(super) struct Connecting<S>(S);

impl<S, R> Service<R> for Connecting<S>
where
    S: Service<R, Error = BoxError>,
    S::Future: Send + 'static,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Boxed<S::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, to: R) -> Self::Future {
        let connecting = self.0.call(to);
        let end = END.try_with(|end| *end).ok();
        Box::pin(async move {
            let Some(end) = end else { return connecting.await };
            let late = || BoxError::from(io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time"));
            timeout_at(end, connecting).await.unwrap_or_else(|_| Err(late()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::client::Client;
    use crate::connector::{Class, HttpRequest};

    use super::*;

    #[tokio::test]
    async fn what_had_no_connection_in_time_was_certainly_not_sent() {
        // Given a host that takes no connection: its line is full, and nobody takes from it.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(1).unwrap();
        let address = full.local_addr().unwrap();
        let mut waiting = Vec::new();
        loop {
            assert!(waiting.len() < 50, "it takes them all");
            let dial = tokio::net::TcpStream::connect(address);
            match tokio::time::timeout(Duration::from_millis(200), dial).await {
                Ok(stream) => waiting.push(stream.unwrap()),
                Err(_) => break,
            }
        }
        // And a name that nobody finds.
        let lookup: super::super::guard::Lookup = Arc::new(|_| Box::pin(std::future::pending()));
        let config = crate::config::Outbound { allow: vec!["127.0.0.0/8".parse().unwrap()], ..Default::default() };
        let client = Client::with_lookup(&config, &lookup).unwrap();
        for host in [address.to_string(), "nobody.example".to_owned()] {
            let url = format!("http://{host}/").parse().unwrap();
            let request = HttpRequest { method: "POST".into(), url, headers: Vec::new(), body: Some(b"x".to_vec()) };
            let began = Instant::now();
            // When the call's time is shorter than that of connecting.
            let failure = client.send(&request, None, began + Duration::from_millis(400), 1000).await.unwrap_err();
            // Then it ends in its time, and may be made again.
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
            assert_eq!(
                (failure.class, failure.code.as_str()),
                (Class::Retry, "outbound.connect"),
                "{host}: {failure:?}"
            );
        }
    }
}
