//! The thread that writes: drain the queue, draft one batch, commit it, answer everyone who waits for it.
//!
//! There is no linger: while one batch is being synced the next one gathers. The first error of a commit is the last
//! thing the thread does, as no one can say what reached the disk; a panic inside the store is such an error too.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::draft::{Draft, Memory};
use super::entry::Batch;
use super::log::Fault;
use super::store::{Store, panic_text};
use super::{Append, Appended, CLOSED, Error};
use crate::run::RunId;

/// Tasks of one batch, at most.
const BATCH: usize = 1024;
/// Kept free on the disk, so that removals and the index have room when requests have none any more.
const RESERVE: u64 = 32 * 1024 * 1024;

#[expect(clippy::large_enum_variant, reason = "nearly all jobs are appends")]
pub enum Job {
    /// With the summary as it is stored.
    Append {
        append: Append,
        summary: Option<Vec<u8>>,
    },
    /// First records of several runs: all of them, or none. With how many bytes they come to.
    Together {
        appends: Vec<(Append, Option<Vec<u8>>)>,
        bytes: usize,
    },
    Set {
        name: String,
        value: Option<Vec<u8>>,
    },
    Remove(Vec<RunId>),
    /// Ends the thread once what came before is written.
    Close,
}

/// A job, and who waits for it.
pub struct Task {
    pub job: Job,
    pub reply: oneshot::Sender<Result<Done, Error>>,
    /// Its room in the queue, given back when it is answered.
    pub _room: Option<OwnedSemaphorePermit>,
}

/// What became of a job.
pub enum Done {
    One(Appended),
    /// Of each append of a `Together`.
    Each(Vec<Appended>),
}

/// Starts the thread. It ends on `Close`, when all senders are gone, or after a failure, which it puts in `failed`.
pub fn start(
    store: Arc<Store>,
    room: Arc<Semaphore>,
    failed: watch::Sender<Option<String>>,
) -> io::Result<(UnboundedSender<Task>, JoinHandle<()>)> {
    let (sender, tasks) = unbounded_channel();
    let writer = Writer { store, room, failed, memory: Memory::default(), low: false };
    let thread = std::thread::Builder::new().name("journal".to_string()).spawn(move || writer.run(tasks))?;
    Ok((sender, thread))
}

struct Writer {
    store: Arc<Store>,
    room: Arc<Semaphore>,
    failed: watch::Sender<Option<String>>,
    memory: Memory,
    /// The disk had too little room when last looked at.
    low: bool,
}

/// What became of a batch.
enum Outcome {
    /// One answer for each task.
    Written(Vec<Result<Done, Error>>),
    NoSpace,
}

impl Writer {
    fn run(mut self, mut queue: UnboundedReceiver<Task>) {
        let mut tasks = Vec::with_capacity(BATCH);
        while queue.blocking_recv_many(&mut tasks, BATCH) > 0 {
            let close = tasks.iter().any(|task| matches!(task.job, Job::Close));
            let outcome = catch_unwind(AssertUnwindSafe(|| self.write(&tasks)))
                .unwrap_or_else(|panic| Err(format!("the store gave up: {}", panic_text(&*panic))));
            match outcome {
                Ok(Outcome::Written(answers)) => {
                    for (task, answer) in tasks.drain(..).zip(answers) {
                        task.answer(answer);
                    }
                }
                Ok(Outcome::NoSpace) => tasks.drain(..).for_each(|task| task.answer(Err(Error::Busy))),
                Err(reason) => {
                    let reason = format!("{}: {reason}", self.store.path().display());
                    tracing::error!(%reason, "the journal can no longer be written");
                    self.failed.send_replace(Some(reason.clone()));
                    tasks.drain(..).for_each(|task| task.answer(Err(Error::Failed(reason.clone()))));
                    return self.turn_away(queue, &reason);
                }
            }
            if close {
                return self.turn_away(queue, CLOSED);
            }
        }
    }

    fn write(&mut self, tasks: &[Task]) -> Result<Outcome, String> {
        if let Some(why) = self.store.broken() {
            return Err(why);
        }
        let free = self.free(tasks);
        let store = self.store.clone();
        let mut draft = Draft::new(&store);
        let mut answers = Vec::with_capacity(tasks.len());
        for task in tasks {
            // Each by itself: removals may use half of the reserve, as they are how room comes back.
            if task.job.reserve() > free {
                answers.push(Err(Error::Busy));
                continue;
            }
            let answer = match &task.job {
                Job::Append { append, .. } if draft.is_taken(append) => {
                    answers.push(Err(Error::Taken));
                    continue;
                }
                Job::Append { append, summary } => {
                    Done::One(draft.append(append, summary.as_deref(), &mut self.memory)?)
                }
                Job::Together { appends, .. } => {
                    let one = |(append, summary): &(Append, Option<Vec<u8>>)| {
                        draft.append(append, summary.as_deref(), &mut self.memory)
                    };
                    Done::Each(appends.iter().map(one).collect::<Result<_, _>>()?)
                }
                Job::Set { name, value } => {
                    draft.set(name, value.as_deref())?;
                    Done::One(Appended::Durable)
                }
                Job::Remove(runs) => {
                    draft.remove(runs, &mut self.memory)?;
                    Done::One(Appended::Durable)
                }
                Job::Close => Done::One(Appended::Durable),
            };
            answers.push(Ok(answer));
        }
        // What there is to say is durable once all before it is.
        let batch = draft.finish();
        match batch.map_or(Ok(()), |batch: Batch| store.commit(batch)) {
            Ok(()) => Ok(Outcome::Written(answers)),
            Err(Fault::NoSpace) => {
                // It may name definitions that were not written.
                self.memory = Memory::default();
                Ok(Outcome::NoSpace)
            }
            Err(Fault::Broken(why)) => Err(why),
        }
    }

    /// Free bytes on the disk. Says so in the log when there become too few.
    fn free(&mut self, tasks: &[Task]) -> u64 {
        let free = self.store.free();
        let low = tasks.iter().any(|task| task.job.reserve() > free);
        if low != self.low {
            let path = self.store.path().display();
            if low {
                tracing::error!(%path, "the disk is almost full: nothing is taken in until there is room");
            } else {
                tracing::info!(%path, "the disk has room again");
            }
            self.low = low;
        }
        free
    }

    /// No one may wait for a thread that has ended.
    fn turn_away(self, mut queue: UnboundedReceiver<Task>, reason: &str) {
        self.room.close();
        queue.close();
        while let Some(task) = queue.blocking_recv() {
            task.answer(Err(Error::Failed(reason.to_string())));
        }
    }
}

impl Task {
    fn answer(self, answer: Result<Done, Error>) {
        // Who no longer waits has no use for it.
        let _ = self.reply.send(answer);
    }
}

impl Job {
    /// Free bytes without which the job is not begun.
    fn reserve(&self) -> u64 {
        match self {
            Job::Append { .. } | Job::Set { .. } => RESERVE,
            Job::Together { bytes, .. } => RESERVE + 2 * *bytes as u64,
            Job::Remove(_) => RESERVE / 2,
            Job::Close => 0,
        }
    }
}
