//! Named places where a test lets the process die.
//!
//! With the feature `crash-points`, `MILLSTREAM_CRASH=journal.sync.before:17` kills the process with SIGKILL when it
//! comes to that place for the 17th time, and `MILLSTREAM_PANIC` makes its thread panic there instead. Without the feature,
//! which is how Millstream is shipped, `reach` is nothing.

/// Every place, in the order in which a request comes by.
pub const ALL: &[&str] = &[
    "accept.append.before",
    "journal.append.before",
    "journal.sync.before",
    "journal.sync.after",
    "journal.index.before",
    "accept.append.after",
    "split.append.after",
    "server.accepted.before",
    "drive.append.before",
    "drive.append.after",
    "outbound.call.before",
    "outbound.call.after",
    "server.answer.before",
    "child.begin.before",
    "child.begin.after",
    "child.told.before",
    "resume.deliver.before",
    "resume.append.after",
    "server.resumed.before",
    "timer.due",
    "schedule.tick.before",
    "schedule.tick.after",
    "recover.begin",
    "recover.append.before",
];

/// Places of the housekeeping, which are come to where runs are removed.
pub const HOUSE: &[&str] =
    &["journal.segment.made", "journal.carry.after", "journal.drop.before", "journal.drop.after"];

/// Places of a start that reads the log.
pub const START: &[&str] = &["journal.follow.before", "journal.follow.after"];

/// Places of a token's renewal, which only connections with refresh tokens come by.
pub const TOKENS: &[&str] = &["outbound.token.given", "outbound.token.kept"];

/// The process comes to a place.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn reach(_point: &'static str) {}

/// The process comes to a place, and goes no further if a test wants it so.
#[cfg(feature = "crash-points")]
pub fn reach(point: &'static str) {
    use std::sync::LazyLock;
    static CRASH: LazyLock<Option<Wanted>> = LazyLock::new(|| Wanted::of("MILLSTREAM_CRASH"));
    static PANIC: LazyLock<Option<Wanted>> = LazyLock::new(|| Wanted::of("MILLSTREAM_PANIC"));

    if CRASH.as_ref().is_some_and(|wanted| wanted.is_now(point)) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal ends this thread too; whatever it would do next it must not.
        loop {
            std::thread::park();
        }
    }
    assert!(!PANIC.as_ref().is_some_and(|wanted| wanted.is_now(point)), "a test wants a panic at {point}");
}

/// A place, and which time it counts.
#[cfg(feature = "crash-points")]
struct Wanted {
    place: String,
    time: u64,
    count: std::sync::atomic::AtomicU64,
}

#[cfg(feature = "crash-points")]
impl Wanted {
    /// What the environment says; a name that is no place would make a test that cannot fail.
    fn of(variable: &str) -> Option<Wanted> {
        let text = std::env::var(variable).ok()?;
        let read = text.split_once(':').and_then(|(place, time)| Some((place.to_owned(), time.parse().ok()?)));
        let mut all = [ALL, HOUSE, START, TOKENS].into_iter().flatten();
        let Some((place, time)) = read.filter(|(place, _)| all.any(|known| known == place)) else {
            panic!("{variable}={text}: want PLACE:TIME with a place of src/points.rs");
        };
        Some(Wanted { place, time, count: 0.into() })
    }

    fn is_now(&self, point: &str) -> bool {
        self.place == point && self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1 == self.time
    }
}
