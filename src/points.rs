//! Named places where a test lets the process die.
//!
//! With the feature `crash-points`, `MILLSTREAM_CRASH=journal.sync.before:17` kills the process with SIGKILL when it
//! comes to that place for the 17th time. Without the feature, which is how Millstream is shipped, `reach` is nothing.

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
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: LazyLock<Option<(String, u64)>> = LazyLock::new(wanted);
    static COUNT: AtomicU64 = AtomicU64::new(0);

    if let Some((name, time)) = &*WANTED
        && name == point
        && COUNT.fetch_add(1, Ordering::Relaxed) + 1 == *time
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal ends this thread too; whatever it would do next it must not.
        loop {
            std::thread::park();
        }
    }
}

/// What the environment says; a name that is no place would make a test that cannot fail.
#[cfg(feature = "crash-points")]
fn wanted() -> Option<(String, u64)> {
    let text = std::env::var("MILLSTREAM_CRASH").ok()?;
    let wanted = text.split_once(':').and_then(|(name, time)| Some((name.to_owned(), time.parse().ok()?)));
    let known =
        wanted.as_ref().is_some_and(|(name, _)| ALL.iter().chain(HOUSE).chain(TOKENS).any(|known| known == name));
    assert!(known, "MILLSTREAM_CRASH={text}: want PLACE:TIME with a place of src/points.rs");
    wanted
}
