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
        "017700000001",
        "0x7f000001",
        "127.0.0.1.",
        "0.0.0.0",
        "[::]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "%31%32%37.0.0.1",
        "127。0。0。1",
        "①②⑦.0.0.1",
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
async fn addresses_of_networks_and_clouds_are_refused_in_every_spelling() {
    for host in [
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "100.64.0.1",
        "100.127.255.255",
        "10.0.0.1",
        "012.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "[2002:a00:1::]",
        "[fc00::1]",
    ] {
        let refused = get(&strict(), &format!("http://{host}:1/")).await;
        assert_eq!(verdict(&refused), "Permanent outbound.blocked_address", "{host}");
    }
}

#[tokio::test]
async fn a_redirect_to_this_machine_leads_nowhere() {
    let inner = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let to = format!("http://{}/", inner.local_addr().unwrap());
    let targets = [to.as_str(), "//127.0.0.2/", "http://2130706434/", "file:///etc/passwd", "http://169.254.169.254/"];
    for status in [301, 302, 303, 307, 308] {
        for target in targets {
            let target = target.to_owned();
            let answer = move |_| crate::remote::response(status, &[("location", target.as_str())], "");
            let remote = Remote::start(answer).await;
            assert_eq!(verdict(&get(&outbound(), &remote.url("/")).await), "Permanent outbound.redirect", "{status}");
            assert_eq!(remote.arrived().len(), 1);
        }
    }
    assert!(untouched(&inner).await);
}

#[tokio::test]
async fn of_an_address_that_is_allowed_with_a_port_only_that_port_passes() {
    let allowed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let entries = [format!("127.0.0.0/8:{}", port(&allowed)), format!("[::1]:{}", port(&allowed))];
    let allow = entries.iter().map(|entry| entry.parse().unwrap()).collect();
    let outbound = Outbound::new(&config::Outbound { allow, ..Default::default() }, Secrets::default()).unwrap();
    // A name is judged as an address is: the port is the URL's.
    for host in ["127.0.0.1", "localhost"] {
        let refused = get(&outbound, &format!("http://{host}:{}/", port(&other))).await;
        assert_eq!(verdict(&refused), "Permanent outbound.blocked_address", "{host}");
        let refused = get(&outbound, &format!("http://{host}/")).await;
        assert_eq!(verdict(&refused), "Permanent outbound.blocked_address", "{host}");
    }
    assert!(untouched(&other).await);
    let url = format!("http://localhost:{}/", port(&allowed));
    let call = tokio::spawn(async move { get(&outbound, &url).await });
    tokio::time::timeout(Duration::from_secs(10), allowed.accept()).await.expect("it connects").unwrap();
    call.abort();
}

#[test]
fn proxy_variables_of_the_environment_are_ignored() {
    let proxy = crate::app::Remote::start();
    let target = crate::app::Remote::start();
    let flow = format!(
        "trigger: {{type: request}}\nsteps:\n  - id: call\n    action: http.request\n    with: {{url: \"{}\"}}\n",
        target.url("/direct")
    );
    let mut app = crate::app::App::idle(&[("flows/lead.yaml", &flow)]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        app.env.push((name, proxy.url("")));
    }
    app.start();
    let run = app.ended(&app.post("lead", &serde_json::json!({})).run());
    assert_eq!(run["status"], "succeeded", "{run}");
    assert_eq!((target.seen().len(), proxy.seen().len()), (1, 0));
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
