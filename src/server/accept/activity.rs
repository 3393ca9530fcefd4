//! What each connection is doing: its deadline follows from it, and who makes room where there are too many.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Version;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Bounds;

/// A connection that has not sent a whole request for so long may be asked to make room.
const OWES: Duration = Duration::from_secs(1);
/// Where room is short, one of so many connections without a request leaves at a time.
const SHARE: usize = 32;

/// All connections of a listener.
#[derive(Default)]
pub(super) struct Crowd {
    all: Mutex<HashMap<u64, Arc<Activity>>>,
    next: AtomicU64,
}

/// One connection's place among the others, left when this is dropped.
pub(super) struct Member {
    crowd: Arc<Crowd>,
    number: u64,
    pub activity: Arc<Activity>,
}

impl Crowd {
    pub fn join(self: &Arc<Self>) -> Member {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let activity = Arc::new(Activity::new());
        self.lock().insert(number, activity.clone());
        Member { crowd: self.clone(), number, activity }
    }

    /// Asks those connections to leave that have gone longest without a request: idle ones, and such as still owe one.
    pub fn make_room(&self) {
        let all = self.lock();
        let mut spare: Vec<(Instant, &Activity)> =
            all.values().filter_map(|activity| Some((activity.spare_since()?, &**activity))).collect();
        if spare.is_empty() {
            return;
        }
        let leave = spare.len().div_ceil(SHARE);
        spare.select_nth_unstable_by_key(leave - 1, |(since, _)| *since);
        spare.iter().take(leave).for_each(|(_, activity)| activity.leave.notify_one());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Activity>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.crowd.lock().remove(&self.number);
    }
}

/// What a connection is doing, for its deadline. Times are milliseconds since `start`, plus one; zero is "not".
pub(super) struct Activity {
    start: Instant,
    in_flight: AtomicUsize,
    /// Since when the headers of a request are being read.
    heading: AtomicU64,
    /// Since when nothing is asked.
    idle: AtomicU64,
    /// Frames also come between requests, so bytes do not mean headers.
    http2: AtomicBool,
    /// Somebody else needs the room.
    pub leave: Notify,
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
            leave: Notify::new(),
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

    /// True if the headers of its next request are not whole.
    pub fn owes(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0 && self.is_heading()
    }

    pub fn is_heading(&self) -> bool {
        self.heading.load(Ordering::Relaxed) > 0
    }

    /// Since when it has had no request to answer; `None` if it has one, or has not owed one for long.
    fn spare_since(&self) -> Option<Instant> {
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let at = |since: u64| self.start + Duration::from_millis(since - 1);
        match self.heading.load(Ordering::Relaxed) {
            0 => Some(at(self.idle.load(Ordering::Relaxed).max(1))),
            since => Some(at(since)).filter(|since| since.elapsed() >= OWES),
        }
    }

    pub fn deadline(&self, bounds: Bounds) -> Option<Instant> {
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
pub(super) struct Watched<I> {
    pub io: I,
    pub activity: Arc<Activity>,
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
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    pub fn new(activity: &Arc<Activity>, version: Version) -> Busy {
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
