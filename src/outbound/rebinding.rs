//! Names that lead inside, at once or from their second answer on: judged on the address that is connected to.

use std::collections::{HashMap, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::client::Client;
use super::guard::Lookup;
use crate::config;
use crate::connector::HttpRequest;

const INNER: &str = "127.0.0.1";
const ALLOWED: &str = "127.0.0.2";

/// A listener that nobody should reach at the inner address, a server at the allowed one, both on one port; and a stub
/// of the DNS that answers each name with one of its lists after the other, the last one for ever.
struct Net {
    client: Client,
    port: u16,
    inner: TcpListener,
    served: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Net {
    fn new(names: &[(&str, &[&[&str]])]) -> Net {
        // The free port of one address may be taken at the other.
        let (inner, outer) = std::iter::repeat_with(|| {
            let inner = TcpListener::bind((INNER, 0)).unwrap();
            let port = inner.local_addr().unwrap().port();
            TcpListener::bind((ALLOWED, port)).map(|outer| (inner, outer))
        })
        .find_map(Result::ok)
        .unwrap();
        inner.set_nonblocking(true).unwrap();
        let port = inner.local_addr().unwrap().port();
        let served = Arc::new(AtomicUsize::new(0));
        let count = served.clone();
        std::thread::spawn(move || {
            for mut stream in outer.incoming().flatten() {
                count.fetch_add(1, Ordering::Relaxed);
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
            }
        });
        let answers: HashMap<String, VecDeque<Vec<SocketAddr>>> = names
            .iter()
            .map(|(name, lists)| {
                let address = |text: &&str| SocketAddr::new(text.parse::<IpAddr>().unwrap(), 0);
                ((*name).to_owned(), lists.iter().map(|list| list.iter().map(address).collect()).collect())
            })
            .collect();
        let asked = Arc::new(AtomicUsize::new(0));
        let (answers, counted) = (Mutex::new(answers), asked.clone());
        let lookup: Lookup = Arc::new(move |name| {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut answers = answers.lock().unwrap();
            let lists = answers.get_mut(&name).expect("the test knows the name");
            let list = if lists.len() > 1 { lists.pop_front().unwrap() } else { lists[0].clone() };
            Box::pin(async move { Ok(list) })
        });
        let config = config::Outbound { allow: vec![ALLOWED.parse().unwrap()], ..Default::default() };
        Net { client: Client::with_lookup(&config, &lookup).unwrap(), port, inner, served, asked }
    }

    async fn get(&self, name: &str) -> String {
        let url = format!("http://{name}:{}/", self.port).parse().unwrap();
        let request = HttpRequest { method: "GET".into(), url, headers: Vec::new(), body: None };
        let deadline = Instant::now() + Duration::from_secs(20);
        match self.client.send(&request, None, deadline, 1_000).await {
            Ok(answer) => answer.status.to_string(),
            Err(failure) => failure.code,
        }
    }

    fn inner_was_reached(&self) -> bool {
        self.inner.accept().is_ok()
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_name_of_an_inner_address_is_refused_and_of_several_only_the_open_ones_are_tried() {
    let mapped = "::ffff:127.0.0.1";
    let net = Net::new(&[
        ("inner.test", &[&[INNER]]),
        ("mapped.test", &[&[mapped, "::1", "64:ff9b::7f00:1"]]),
        ("mixed.test", &[&[INNER, mapped, ALLOWED]]),
    ]);
    assert_eq!(net.get("inner.test").await, "outbound.blocked_address");
    assert_eq!(net.get("mapped.test").await, "outbound.blocked_address");
    assert_eq!(net.served(), 0);
    assert_eq!(net.get("mixed.test").await, "200");
    assert_eq!(net.served(), 1);
    assert!(!net.inner_was_reached());
}

#[tokio::test]
async fn a_name_that_leads_inside_from_its_second_answer_on_is_refused_then() {
    let net = Net::new(&[("rebinding.test", &[&[ALLOWED], &[INNER]])]);
    assert_eq!(net.get("rebinding.test").await, "200");
    // One answer for each connection: what was judged is what is connected to.
    assert_eq!(net.asked.load(Ordering::Relaxed), 1);
    for _ in 0..3 {
        assert_eq!(net.get("rebinding.test").await, "outbound.blocked_address");
    }
    assert_eq!((net.served(), net.asked.load(Ordering::Relaxed)), (1, 4));
    assert!(!net.inner_was_reached());
}
