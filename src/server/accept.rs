//! The accept loop: connections with deadlines, a bound on their number, and an end that finishes what is in flight.
//!
//! `axum::serve` sets no timers, so a client that sends half a header would hold its connection for ever.

mod activity;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use self::activity::{Busy, Crowd, Member, Watched};
use super::Door;
use super::tls::Tls;

/// Bytes of headers kept while they are read; beyond it hyper answers 431.
const HEADER_BUFFER: usize = 128 * 1024;
/// How long a connection that should close may still write what it owes.
const LAST_WRITES: Duration = Duration::from_secs(5);
/// How often more connections are asked to make room for a new one, until there is.
const ROOM: Duration = Duration::from_millis(100);

/// Deadlines and bounds of a listener's connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// From the first byte of a request, or of the connection, to the end of its headers.
    pub header: Duration,
    /// Between requests.
    pub idle: Duration,
    pub connections: usize,
}

/// The address at the other end of a request's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub IpAddr);

/// A bound address with who answers there.
pub(super) struct Listener {
    tcp: TcpListener,
    pub address: SocketAddr,
    pub door: Door,
    pub bounds: Bounds,
    pub tls: Option<Arc<Tls>>,
}

impl Listener {
    /// Port 0 picks a free port; `address` has the real one.
    pub async fn bind(at: &str, door: Door, bounds: Bounds, tls: Option<Arc<Tls>>) -> io::Result<Listener> {
        let tcp = TcpListener::bind(at).await?;
        let address = tcp.local_addr()?;
        Ok(Listener { tcp, address, door, bounds, tls })
    }

    /// Serves until `stop` is true, then lets requests in flight end for at most `grace`.
    pub async fn run(self, mut stop: watch::Receiver<bool>, grace: Duration) {
        let slots = Arc::new(Semaphore::new(self.bounds.connections.clamp(1, Semaphore::MAX_PERMITS)));
        let crowd = Arc::new(Crowd::default());
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let (stream, peer, slot) = tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                accepted = accept(&self.tcp, &slots, &crowd) => accepted,
            };
            let (door, bounds, tls, stop) = (self.door.clone(), self.bounds, self.tls.clone(), stop.clone());
            let member = crowd.join();
            connections.spawn(async move {
                connection(stream, peer, door, bounds, tls, stop, &member).await;
                drop(slot);
            });
        }
        drop(self.tcp);
        let ended = timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::warn!("{} connections were cut: their requests took longer than the grace", connections.len());
            connections.shutdown().await;
        }
    }
}

/// Resolves once `stop` is true, or can never become true any more.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The next connection, once there is a slot for it. Until then the others wait in the kernel's queue.
async fn accept(tcp: &TcpListener, slots: &Arc<Semaphore>, crowd: &Crowd) -> (TcpStream, IpAddr, OwnedSemaphorePermit) {
    let (stream, peer) = loop {
        match tcp.accept().await {
            Ok(accepted) => break accepted,
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                // Out of file descriptors or memory: trying at once would spin.
                tracing::error!("no connection could be accepted, trying again in a second: {error}");
                crowd.make_room();
                sleep(Duration::from_secs(1)).await;
            }
        }
    };
    loop {
        if let Ok(slot) = slots.clone().try_acquire_owned() {
            return (stream, peer.ip(), slot);
        }
        // One that only keeps its connection open makes room for one that comes.
        crowd.make_room();
        if let Ok(slot) = timeout(ROOM, slots.clone().acquire_owned()).await {
            return (stream, peer.ip(), slot.expect("the semaphore is never closed"));
        }
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    door: Door,
    bounds: Bounds,
    tls: Option<Arc<Tls>>,
    stop: watch::Receiver<bool>,
    member: &Member,
) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve(TokioIo::new(stream), peer, door, bounds, stop, member).await,
        Some(tls) => {
            let greeted = tokio::select! {
                greeted = timeout(bounds.header, tls.acceptor().accept(stream)) => greeted,
                () = member.activity.leave.notified() => return,
            };
            match greeted {
                // Boxed: else a connection without TLS would take as much memory as one with it.
                Ok(Ok(stream)) => Box::pin(serve(TokioIo::new(stream), peer, door, bounds, stop, member)).await,
                Ok(Err(error)) => tracing::debug!("a TLS handshake failed: {error}"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        }
    }
}

async fn serve<I>(io: I, peer: IpAddr, door: Door, bounds: Bounds, mut stop: watch::Receiver<bool>, member: &Member)
where
    I: Read + Write + Unpin + Send + 'static,
{
    let activity = &member.activity;
    let service = {
        let activity = activity.clone();
        service_fn(move |request: hyper::Request<Incoming>| {
            let busy = Busy::new(&activity, request.version());
            let door = door.clone();
            // Boxed: hyper keeps room for it with each connection, also with one that has no request.
            Box::pin(async move {
                let answer = door.answer(Request::from(request.map(Body::new)), Peer(peer)).await;
                drop(busy);
                Ok::<_, Infallible>(answer)
            })
        })
    };
    let builder = builder(bounds);
    let mut connection = pin!(builder.serve_connection(Watched { io, activity: activity.clone() }, service));
    let mut deadline = Deadline::new();
    let mut stopping = pin!(stopped(&mut stop));
    let mut leaving = pin!(activity.leave.notified());
    let (mut told, mut left) = (false, false);
    let mut cut_at = None;

    // Everything that changes the activity also wakes this task, so the deadline is always judged afresh.
    let ended = poll_fn(|cx| {
        let asked = !left && leaving.as_mut().poll(cx).is_ready();
        left |= asked;
        if !told && (asked || stopping.as_mut().poll(cx).is_ready()) {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended.map_err(|error| error.to_string()));
            }
            if left && activity.owes() {
                return Poll::Ready(Err("it made room".to_owned()));
            }
            if deadline.poll(cx, cut_at.or_else(|| activity.deadline(bounds))).is_pending() {
                return Poll::Pending;
            }
            if cut_at.is_some() || activity.is_heading() {
                return Poll::Ready(Err("it was too slow".to_owned()));
            }
            // Idle: HTTP/2 says goodbye, and an answer still being written may end.
            cut_at = Some(Instant::now() + LAST_WRITES);
            connection.as_mut().graceful_shutdown();
        }
    })
    .await;
    if let Err(reason) = ended {
        tracing::debug!("a connection ended: {reason}");
    }
}

fn builder(bounds: Bounds) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // The deadlines kept here are for that, and set no timer for each request.
        .header_read_timeout(None)
        .max_buf_size(HEADER_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .max_header_list_size(64 * 1024)
        .keep_alive_interval(bounds.idle)
        .keep_alive_timeout(bounds.header);
    builder
}

/// A timer that follows a deadline which moves with each request, mostly to later. It is set again only when it has
/// fired, or must fire sooner.
struct Deadline {
    sleep: Pin<Box<Sleep>>,
    /// When it fires, if it has not.
    set: Option<Instant>,
}

impl Deadline {
    fn new() -> Deadline {
        Deadline { sleep: Box::pin(sleep_until(Instant::now())), set: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(deadline) = at else { return Poll::Pending };
        loop {
            if self.set.is_none_or(|set| deadline < set) {
                self.sleep.as_mut().reset(deadline);
                self.set = Some(deadline);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.set = None;
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
        }
    }
}
