//! The accept loop: connections with deadlines, a bound on their number, and an end that finishes what is in flight.
//!
//! `axum::serve` sets no timers, so a client that sends half a header would hold its connection for ever.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::Version;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use super::Door;
use super::tls::Tls;

/// Bytes of headers kept while they are read; beyond it hyper answers 431.
const HEADER_BUFFER: usize = 128 * 1024;
/// How long a connection that should close may still write what it owes.
const LAST_WRITES: Duration = Duration::from_secs(5);

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
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let (stream, peer, slot) = tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                accepted = accept(&self.tcp, &slots) => accepted,
            };
            let (door, bounds, tls, stop) = (self.door.clone(), self.bounds, self.tls.clone(), stop.clone());
            connections.spawn(async move {
                connection(stream, peer, door, bounds, tls, stop).await;
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

/// The next connection, once there is a slot for it. Until then new ones wait in the kernel's queue.
async fn accept(tcp: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, IpAddr, OwnedSemaphorePermit) {
    let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match tcp.accept().await {
            Ok((stream, peer)) => return (stream, peer.ip(), slot),
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                // Out of file descriptors or memory: trying at once would spin.
                tracing::error!("no connection could be accepted, trying again in a second: {error}");
                sleep(Duration::from_secs(1)).await;
            }
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
) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve(TokioIo::new(stream), peer, door, bounds, stop).await,
        Some(tls) => match timeout(bounds.header, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => serve(TokioIo::new(stream), peer, door, bounds, stop).await,
            Ok(Err(error)) => tracing::debug!("a TLS handshake failed: {error}"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        },
    }
}

async fn serve<I>(io: I, peer: IpAddr, door: Door, bounds: Bounds, mut stop: watch::Receiver<bool>)
where
    I: Read + Write + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::new());
    let service = {
        let activity = activity.clone();
        service_fn(move |request: hyper::Request<Incoming>| {
            let busy = Busy::new(&activity, request.version());
            let door = door.clone();
            async move {
                let answer = door.answer(Request::from(request.map(Body::new)), Peer(peer)).await;
                drop(busy);
                Ok::<_, Infallible>(answer)
            }
        })
    };
    let builder = builder(bounds);
    let mut connection = pin!(builder.serve_connection(Watched { io, activity: activity.clone() }, service));
    let mut deadline = Deadline::new();
    let mut stopping = pin!(stopped(&mut stop));
    let mut told = false;
    let mut cut_at = None;

    // Everything that changes the activity also wakes this task, so the deadline is always judged afresh.
    let ended = poll_fn(|cx| {
        if !told && stopping.as_mut().poll(cx).is_ready() {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended.map_err(|error| error.to_string()));
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

/// What a connection is doing, for its deadline. Times are milliseconds since `start`, plus one; zero is "not".
struct Activity {
    start: Instant,
    in_flight: AtomicUsize,
    /// Since when the headers of a request are being read.
    heading: AtomicU64,
    /// Since when nothing is asked.
    idle: AtomicU64,
    /// Frames also come between requests, so bytes do not mean headers.
    http2: AtomicBool,
}

impl Activity {
    fn new() -> Activity {
        Activity {
            start: Instant::now(),
            in_flight: AtomicUsize::new(0),
            // A fresh connection owes its first request at once.
            heading: AtomicU64::new(1),
            idle: AtomicU64::new(1),
            http2: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn bytes_came(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0 && !self.http2.load(Ordering::Relaxed) {
            let _ = self.heading.compare_exchange(0, self.now(), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn is_heading(&self) -> bool {
        self.heading.load(Ordering::Relaxed) > 0
    }

    fn deadline(&self, bounds: Bounds) -> Option<Instant> {
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            // The body has deadlines of its own, and so has waiting for an answer.
            return None;
        }
        let (since, wait) = match self.heading.load(Ordering::Relaxed) {
            0 => (self.idle.load(Ordering::Relaxed).max(1), bounds.idle),
            since => (since, bounds.header),
        };
        Some(self.start + Duration::from_millis(since - 1) + wait)
    }
}

/// Tells the activity when bytes come.
struct Watched<I> {
    io: I,
    activity: Arc<Activity>,
}

impl<I: Read + Unpin> Read for Watched<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if matches!(read, Poll::Ready(Ok(()))) {
            self.activity.bytes_came();
        }
        read
    }
}

impl<I: Write + Unpin> Write for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

/// One request between its headers and its answer.
struct Busy(Arc<Activity>);

impl Busy {
    fn new(activity: &Arc<Activity>, version: Version) -> Busy {
        activity.http2.store(version == Version::HTTP_2, Ordering::Relaxed);
        activity.in_flight.fetch_add(1, Ordering::Relaxed);
        Busy(activity.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle.store(self.0.now(), Ordering::Relaxed);
        self.0.heading.store(0, Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
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
