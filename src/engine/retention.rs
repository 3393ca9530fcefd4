//! Removing runs that have ended, as `retention` of `millstream.yaml` has it: the oldest first, a few at a time, and never
//! for long, so that other work goes on beside it.
//!
//! How many runs there are, and how large, is counted once, by a walk over their summaries, and kept up to date as runs
//! end; now and then it is counted anew. A walk holds one page of summaries. Nothing of it is kept: whatever was removed
//! when the process went down is gone, and the rest is found again.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Instant;

use super::*;
use crate::config::{Length, Retention};
use crate::run::Summary;

/// Runs looked at, and removed, at once.
const PAGE: usize = 500;
const BATCH: usize = 200;
/// Walking takes one part of time, and leaves so many.
const WALK_SHARE: u32 = 10;
/// Likewise removing.
const REMOVE_SHARE: u32 = 3;
/// When there may be too many is looked at so often.
const LOOK: Duration = Duration::from_millis(500);
/// How long a count is trusted.
const RECOUNT: Duration = Duration::from_secs(3600);
/// Held runs cancelled in one sweep.
const CANCELLED: usize = 100;

/// How many runs are kept that a count or a size can bound, and about how large they are.
#[derive(Default)]
pub(super) struct Kept {
    runs: [AtomicI64; 2],
    bytes: [AtomicI64; 2],
    pub removed: AtomicU64,
}

/// Which of the counts a run belongs to.
fn class(status: Status) -> Option<usize> {
    match status {
        Status::Succeeded => Some(0),
        Status::Cancelled => Some(1),
        Status::Queued
        | Status::Running
        | Status::Waiting
        | Status::Held
        | Status::Failed
        | Status::TimedOut
        | Status::Rejected => None,
    }
}

impl Kept {
    /// A run has ended.
    pub fn ended(&self, status: Status, bytes: u64) {
        self.add(status, 1, bytes);
    }

    fn add(&self, status: Status, runs: i64, bytes: u64) {
        if let Some(class) = class(status) {
            self.runs[class].fetch_add(runs, Ordering::Relaxed);
            self.bytes[class].fetch_add(runs * i64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// Runs kept of those that have this status.
    pub fn count(&self, status: Status) -> u64 {
        class(status).map_or(0, |class| u64::try_from(self.runs[class].load(Ordering::Relaxed)).unwrap_or(0))
    }

    /// True if there are more of a class than may be, without those runs and bytes that are about to go.
    fn is_over(&self, class: usize, rules: &Retention, leaving: [(i64, i64); 2]) -> bool {
        let bounds = if class == 0 { &rules.succeeded } else { &rules.cancelled };
        let over = |kept: &AtomicI64, leaving: i64, most: Option<u64>| {
            most.is_some_and(|most| kept.load(Ordering::Relaxed) - leaving > i64::try_from(most).unwrap_or(i64::MAX))
        };
        let (runs, bytes) = leaving[class];
        over(&self.runs[class], runs, bounds.count) || over(&self.bytes[class], bytes, bounds.bytes.map(|size| size.0))
    }
}

/// What becomes of a run.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    Removed,
    /// It was held for too long.
    Cancelled,
}

/// `over`: there are too many like it. `orphan`: the run that called it is gone.
fn fate(rules: &Retention, summary: &Summary, now: Timestamp, over: bool, orphan: bool) -> Fate {
    let passed = |age: Option<Length>, since: Timestamp| {
        age.is_some_and(|age| {
            u128::try_from(now.duration_since(since).as_millis()).is_ok_and(|ms| ms >= age.0.as_millis())
        })
    };
    let ended = summary.updated_at;
    let handled = || {
        // Who answered for it is gone.
        let since = summary.handled.as_ref().map(|handled| handled.at).or(orphan.then_some(ended));
        since.is_some_and(|since| passed(rules.handled.age, since))
    };
    let removed = match summary.status {
        Status::Queued | Status::Running | Status::Waiting => false,
        Status::Held if passed(rules.held.age, ended) => return Fate::Cancelled,
        Status::Held => false,
        Status::Succeeded => over || passed(rules.succeeded.age, ended),
        Status::Cancelled => over || passed(rules.cancelled.age, ended),
        Status::Failed | Status::TimedOut => handled() || passed(rules.failed.age, ended),
        Status::Rejected => handled() || passed(rules.rejected.age, ended),
    };
    if removed { Fate::Removed } else { Fate::Stays }
}

impl Engine {
    /// From now on runs that have ended are removed by these rules, until the engine stops.
    pub fn retain(self: &Arc<Self>, rules: Retention) {
        let engine = self.clone();
        tokio::spawn(async move {
            while let Err(broken) = tokio::spawn(engine.clone().serve_retention(rules.clone())).await {
                tracing::error!(%broken, "removing old runs broke off; it begins anew");
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        });
    }

    async fn serve_retention(self: Arc<Self>, rules: Retention) {
        let mut counted: Option<Instant> = None;
        let mut swept: Option<Instant> = None;
        let mut told = (Instant::now(), 0);
        while !self.stopping.load(Ordering::Acquire) {
            let begun = Instant::now();
            let mut took = Duration::ZERO;
            let done = async {
                if counted.is_none_or(|counted| counted.elapsed() > RECOUNT) {
                    took += self.count_kept().await?;
                    counted = Some(Instant::now());
                }
                let old = swept.is_none_or(|swept| swept.elapsed() >= rules.sweep.0);
                if old || (0..2).any(|class| self.kept.is_over(class, &rules, [(0, 0); 2])) {
                    took += self.sweep(&rules, old).await?;
                    if old {
                        swept = Some(begun);
                    }
                }
                Ok::<_, Denied>(())
            };
            if let Err(error) = done.await
                && !self.stopping.load(Ordering::Acquire)
            {
                tracing::warn!(%error, "old runs could not be removed; it is tried again");
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            let removed = self.kept.removed.load(Ordering::Relaxed);
            if removed > told.1 && (told.1 == 0 || told.0.elapsed() > Duration::from_secs(60)) {
                tracing::info!(runs = removed - told.1, "old runs were removed, as `retention` has it");
                told = (Instant::now(), removed);
            }
            tokio::time::sleep((took * WALK_SHARE).max(LOOK)).await;
        }
    }

    /// Counts what is kept; returns how long it was at work.
    async fn count_kept(self: &Arc<Self>) -> Result<Duration, Denied> {
        let start = super::now();
        for kept in self.kept.runs.iter().chain(&self.kept.bytes) {
            kept.store(0, Ordering::Relaxed);
        }
        let (mut after, mut took) = (None, Duration::ZERO);
        loop {
            let (page, time) = self.page(after).await?;
            took += time;
            let Some(last) = page.last() else { return Ok(took) };
            after = Some(last.run_id);
            // What has ended since counts as it ends.
            for summary in page.iter().filter(|summary| summary.updated_at < start) {
                self.kept.add(summary.status, 1, summary.bytes);
            }
            tokio::time::sleep(time).await;
        }
    }

    /// Removes what is old, if `old`, and what is too many; returns how long it looked for it.
    async fn sweep(self: &Arc<Self>, rules: &Retention, old: bool) -> Result<Duration, Denied> {
        let (mut after, mut took, mut cancelled) = (None, Duration::ZERO, 0);
        let mut batch: Vec<Summary> = Vec::with_capacity(BATCH);
        // Nothing that started later can have ended long enough ago.
        let ages = [rules.succeeded.age, rules.cancelled.age, rules.failed.age, rules.held.age, rules.rejected.age];
        let youngest = ages.into_iter().chain([rules.handled.age]).flatten().min().filter(|_| old);
        let until = youngest.and_then(|age| super::now().checked_sub(jiff::SignedDuration::try_from(age.0).ok()?).ok());
        // Those in the batch are as good as gone.
        let mut leaving = [(0, 0); 2];
        loop {
            let (page, time) = self.page(after).await?;
            took += time;
            let last = page.last().map(|summary| (summary.run_id, summary.started_at));
            let now = super::now();
            for summary in page {
                let class = class(summary.status);
                let over = class.is_some_and(|class| self.kept.is_over(class, rules, leaving));
                let (orphan, needed) = self.caller_of(&summary)?;
                match fate(rules, &summary, now, over, orphan) {
                    Fate::Removed if !needed => {
                        if let Some(class) = class {
                            leaving[class].0 += 1;
                            leaving[class].1 += i64::try_from(summary.bytes).unwrap_or(0);
                        }
                        batch.push(summary);
                    }
                    Fate::Cancelled if cancelled < CANCELLED => {
                        cancelled += 1;
                        tracing::info!(run = %summary.run_id, flow = %summary.flow, "held for too long: cancelled");
                        if let Err(denied) = self.cancel(summary.run_id).await {
                            tracing::debug!(%denied, "a held run was not cancelled");
                        }
                    }
                    Fate::Removed | Fate::Cancelled | Fate::Stays => {}
                }
                if batch.len() == BATCH {
                    self.remove(&mut batch).await?;
                    leaving = [(0, 0); 2];
                }
            }
            let over = (0..2).any(|class| self.kept.is_over(class, rules, leaving));
            match last {
                Some((run, started)) if over || until.is_some_and(|until| started < until) => after = Some(run),
                _ => break,
            }
        }
        self.remove(&mut batch).await?;
        Ok(took)
    }

    /// Of a run that was called: whether its caller is gone, and whether it still needs this run's outcome.
    fn caller_of(&self, summary: &Summary) -> Result<(bool, bool), Denied> {
        let Some(parent) = summary.parent else { return Ok((false, false)) };
        let parent = self.journal.summary(parent).map_err(unavailable)?;
        Ok((parent.is_none(), parent.is_some_and(|parent| !parent.status.is_ended())))
    }

    async fn remove(&self, batch: &mut Vec<Summary>) -> Result<(), Denied> {
        if batch.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        {
            // Nobody adds to their records meanwhile.
            let _ended = self.ended.lock().await;
            let runs = batch.iter().map(|summary| summary.run_id).collect();
            self.journal.remove(runs).await.map_err(unavailable)?;
        }
        for summary in batch.drain(..) {
            self.kept.add(summary.status, -1, summary.bytes);
            self.kept.removed.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(begun.elapsed() * REMOVE_SHARE).await;
        Ok(())
    }

    /// The next summaries, and how long it took to read them.
    async fn page(self: &Arc<Self>, after: Option<RunId>) -> Result<(Vec<Summary>, Duration), Denied> {
        let engine = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            engine.journal.oldest(after, PAGE).map(|page| (page, begun.elapsed()))
        });
        read.await.map_err(unavailable)?.map_err(unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Handled;

    const NOW: i64 = 2_000_000_000_000;
    const DAY: i64 = 86_400_000;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    fn ended(status: Status, days_ago: i64, handled_days_ago: Option<i64>) -> Summary {
        let handled =
            handled_days_ago.map(|days| Handled { at: at(NOW - days * DAY), resubmitted_as: None, note: None });
        let (started_at, updated_at) = (at(NOW - 1_000 * DAY), at(NOW - days_ago * DAY));
        let (run_id, flow) = (RunId(uuid::Uuid::nil()), "f".to_owned());
        let (origin, reason, code, parent, bytes) = (None, None, None, None, 0);
        Summary { run_id, flow, status, started_at, updated_at, origin, reason, code, parent, bytes, handled }
    }

    #[test]
    fn what_failed_goes_for_its_age_or_once_it_was_handled_and_never_for_being_many() {
        let with = |text: &str| serde_yaml::from_str::<Retention>(text).unwrap();
        let (plain, aged) = (with("{}"), with("{failed: {age: 90d}, held: {age: 90d}}"));
        let removed = |rules: &Retention, summary: Summary, over| fate(rules, &summary, at(NOW), over, false);
        for status in [Status::Failed, Status::TimedOut] {
            assert_eq!(removed(&plain, ended(status, 900, None), true), Fate::Stays);
            assert_eq!(removed(&plain, ended(status, 900, Some(29)), true), Fate::Stays);
            assert_eq!(removed(&plain, ended(status, 900, Some(30)), false), Fate::Removed);
            assert_eq!(removed(&aged, ended(status, 89, None), true), Fate::Stays);
            assert_eq!(removed(&aged, ended(status, 90, None), false), Fate::Removed);
        }
        assert_eq!(removed(&plain, ended(Status::Held, 900, None), true), Fate::Stays);
        assert_eq!(removed(&aged, ended(Status::Held, 90, None), false), Fate::Cancelled);
        assert_eq!(removed(&plain, ended(Status::Rejected, 900, None), true), Fate::Stays);
    }

    #[test]
    fn what_ended_well_goes_for_its_age_or_for_being_too_many_and_what_goes_on_stays() {
        let rules = Retention::default();
        let removed = |status, days, over| fate(&rules, &ended(status, days, None), at(NOW), over, false);
        for status in [Status::Succeeded, Status::Cancelled] {
            assert_eq!(removed(status, 29, false), Fate::Stays);
            assert_eq!(removed(status, 30, false), Fate::Removed);
            assert_eq!(removed(status, 0, true), Fate::Removed);
        }
        for status in [Status::Queued, Status::Running, Status::Waiting, Status::Held] {
            assert_eq!(removed(status, 900, true), Fate::Stays);
        }
    }
}
