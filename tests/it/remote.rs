//! Targets on this machine that answer as a test says, and the calls that are made to them.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use millstream::connector::{Connection, Connectors, Failure, Limits, SecretSource};
use millstream::outbound::{Call, Outbound, Secrets};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    pub method: String,
    pub uri: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// An HTTP server on a free port of 127.0.0.1, gone with the test's runtime.
#[derive(Clone)]
pub struct Remote {
    pub address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Remote {
    pub async fn start<F>(answer: F) -> Remote
    where
        F: Fn(Arrived) -> Response + Clone + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let remote = Remote { address: listener.local_addr().unwrap(), arrived: Arc::default() };
        let log = remote.arrived.clone();
        let app = axum::Router::new().fallback(move |request: Request| {
            let (log, answer) = (log.clone(), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body: Bytes = axum::body::to_bytes(body, 10_000_000).await.unwrap();
                let headers = parts.headers.iter();
                let headers = headers
                    .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
                let arrived = Arrived {
                    method: parts.method.to_string(),
                    uri: parts.uri.to_string(),
                    headers: headers.collect(),
                    body: String::from_utf8_lossy(&body).into_owned(),
                };
                log.lock().unwrap().push(arrived.clone());
                answer(arrived)
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        remote
    }

    /// Answers each request with the next status, the last one for ever, and an empty body.
    pub async fn statuses(statuses: &'static [u16]) -> Remote {
        let next = Arc::new(Mutex::new(statuses.iter()));
        Remote::start(move |_| {
            let mut next = next.lock().unwrap();
            let status = next.next().or(statuses.last()).unwrap();
            response(*status, &[], "")
        })
        .await
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }
}

/// A TCP server that does with each connection as the test says; counts them.
pub async fn raw<F, R>(serve: F) -> (SocketAddr, Arc<Mutex<usize>>)
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(Mutex::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            *counted.lock().unwrap() += 1;
            tokio::spawn(serve(stream));
        }
    });
    (address, count)
}

pub fn response(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}

pub fn json_response(status: u16, body: &Value) -> Response {
    response(status, &[("content-type", "application/json")], body.to_string())
}

/// Outbound that may reach 127.0.0.0/8.
pub fn outbound() -> Outbound {
    let config = millstream::config::Outbound { allow: vec!["127.0.0.0/8".parse().unwrap()], ..Default::default() };
    Outbound::new(&config, Secrets::default()).unwrap()
}

/// A connection whose credentials are files in `dir`.
pub fn connection(dir: &Path, connector: &str, settings: Value, credentials: &[(&str, &str)]) -> Connection {
    let credentials = credentials.iter().map(|(name, value)| {
        std::fs::write(dir.join(name), format!("{value}\n")).unwrap();
        ((*name).to_owned(), SecretSource::File(name.into()))
    });
    Connection {
        name: "crm".into(),
        connector: connector.into(),
        settings,
        credentials: credentials.collect(),
        base_url: None,
        token_url: None,
        limits: Limits::default(),
        breaker: None,
        dir: dir.to_owned(),
    }
}

pub const KEY: Uuid = Uuid::from_u128(0x0190_0000_0000_5000_8000_0000_0000_0007);

/// One attempt of `action`.
pub async fn perform(
    outbound: &Outbound,
    connectors: &Connectors,
    action: &str,
    connection: Option<&Arc<Connection>>,
    input: Value,
) -> Result<Value, Failure> {
    let (connector, _) = connectors.action(action).expect("the test names an action that there is");
    let action = action.split_once('.').unwrap().1;
    let timeout = Some(Duration::from_secs(20));
    let call = Call {
        flow: "test",
        connector,
        action,
        connection,
        input: &input,
        key: KEY,
        timeout,
        output_limit: 1024 * 1024,
    };
    outbound.perform(call).await
}

/// One `http.request`.
pub async fn http(outbound: &Outbound, input: Value) -> Result<Value, Failure> {
    perform(outbound, &Connectors::shipped(), "http.request", None, input).await
}

/// `http.request` with GET.
pub async fn get(outbound: &Outbound, url: &str) -> Result<Value, Failure> {
    http(outbound, json!({"url": url})).await
}

/// Class and code in one line.
pub fn verdict(result: &Result<Value, Failure>) -> String {
    match result {
        Ok(value) => format!("done {value}"),
        Err(failure) => format!("{:?} {}", failure.class, failure.code),
    }
}
