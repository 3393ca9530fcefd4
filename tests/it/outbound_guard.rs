//! The address guard, seen from the network: what is refused is not even connected to.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::time::Duration;

use millstream::config;
use millstream::outbound::{Outbound, Secrets};
use tokio::net::TcpListener;

use crate::remote::{Remote, get, outbound, verdict};

fn strict() -> Outbound {
    Outbound::new(&config::Outbound::default(), Secrets::default()).unwrap()
}

/// True if nobody has connected: a connection of our own is the first to be accepted.
async fn untouched(listener: &TcpListener) -> bool {
    let own = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (_, peer) = listener.accept().await.unwrap();
    peer == own.local_addr().unwrap()
}

#[tokio::test]
async fn no_spelling_of_this_machine_is_connected_to() {
    // On all addresses, so that 127.0.0.1, 0 and ::1 would all arrive.
    let v4 = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = v4.local_addr().unwrap().port();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0",
        "１２７.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::1]",
        "localhost",
        "LOCALHOST",
    ] {
        let result = get(&strict(), &format!("http://{host}:{port}/")).await;
        let failure = result.expect_err(host);
        assert_eq!(failure.code, "outbound.blocked_address", "{host}: {}", failure.message);
        assert!(failure.message.contains("outbound.allow"), "{}", failure.message);
    }
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let own = tokio::net::TcpStream::connect(local).await.unwrap();
    let (_, peer) = v4.accept().await.unwrap();
    assert_eq!(peer, own.local_addr().unwrap(), "someone had connected before");
}

#[tokio::test]
async fn a_redirect_to_this_machine_leads_nowhere() {
    let inner = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let to = format!("http://{}/", inner.local_addr().unwrap());
    let remote = Remote::start(move |_| crate::remote::response(302, &[("location", to.as_str())], "")).await;
    assert_eq!(verdict(&get(&outbound(), &remote.url("/")).await), "Permanent outbound.redirect");
    assert!(untouched(&inner).await);
}

#[tokio::test]
async fn only_the_allowed_range_passes() {
    let allowed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let config = config::Outbound { allow: vec!["127.0.0.1/32".parse().unwrap()], ..Default::default() };
    let outbound = Outbound::new(&config, Secrets::default()).unwrap();
    let refused = get(&outbound, &format!("http://{}/", other.local_addr().unwrap())).await;
    assert_eq!(verdict(&refused), "Permanent outbound.blocked_address");
    assert!(untouched(&other).await);
    let url = format!("http://{}/", allowed.local_addr().unwrap());
    let call = tokio::spawn(async move { get(&outbound, &url).await });
    tokio::time::timeout(Duration::from_secs(10), allowed.accept()).await.expect("it connects").unwrap();
    call.abort();
}

#[tokio::test]
async fn other_schemes_are_refused() {
    for url in ["file:///etc/passwd", "gopher://127.0.0.1/", "ftp://127.0.0.1/"] {
        assert_eq!(verdict(&get(&outbound(), url).await), "Permanent outbound.scheme");
    }
}

#[tokio::test]
async fn a_configured_proxy_is_used_and_inner_addresses_stay_refused() {
    let proxy = Remote::start(|_| crate::remote::response(200, &[], "by proxy")).await;
    let config = config::Outbound { proxy: Some(proxy.url("")), ..Default::default() };
    let outbound = Outbound::new(&config, Secrets::default()).unwrap();
    let output = get(&outbound, "http://proxied.invalid/x").await.unwrap();
    assert_eq!(output["body"], "by proxy");
    assert_eq!(proxy.arrived()[0].uri, "http://proxied.invalid/x");
    for host in ["127.0.0.1:1", "localhost:1"] {
        let refused = get(&outbound, &format!("http://{host}/")).await;
        assert_eq!(verdict(&refused), "Permanent outbound.blocked_address");
    }
    assert_eq!(proxy.arrived().len(), 1);
}
