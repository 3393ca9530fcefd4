//! What could not be read is read again: one read that fails must not strand a run that was acknowledged.
//!
//! Too many open files, no memory, an error of the disk: most of it passes. Each time in a row the wait is twice as long.

use std::mem::discriminant;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::recover::Read;
use super::*;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(64);
/// What another way out is there for is tried so often, about a minute long.
const TRIES: u32 = 6;

/// Runs that could not be read, until they are.
#[derive(Default)]
pub(super) struct Troubles(Mutex<HashMap<RunId, Trouble>>);

#[derive(Default)]
struct Trouble {
    /// How often in a row.
    tries: u32,
    /// Someone waits to try again, with all the commands.
    waited_for: bool,
    commands: Vec<Command>,
}

impl Troubles {
    /// Counts one more; returns how long to wait.
    pub fn count(&self, run: RunId) -> Duration {
        let mut troubles = lock(&self.0);
        let trouble = troubles.entry(run).or_default();
        trouble.tries += 1;
        FIRST.saturating_mul(1 << (trouble.tries - 1).min(TRIES)).min(LONGEST)
    }

    /// True once it was tried often enough, where there is another way out.
    pub fn are_lasting(&self, run: RunId) -> bool {
        lock(&self.0).get(&run).is_some_and(|trouble| trouble.tries >= TRIES)
    }

    /// The run was read.
    pub fn end(&self, run: RunId) {
        let mut troubles = lock(&self.0);
        if let Some(trouble) = troubles.get_mut(&run) {
            trouble.tries = 0;
            if !trouble.waited_for {
                troubles.remove(&run);
            }
        }
    }

    /// Keeps what is asked of a run; false if someone waits already to try again.
    fn keep(&self, run: RunId, commands: Vec<Command>) -> bool {
        let mut troubles = lock(&self.0);
        let trouble = troubles.entry(run).or_default();
        for command in commands {
            // To be told the same twice is no more than once, but for answers, of which each is waited for.
            let twice = |kept: &Command| discriminant(kept) == discriminant(&command);
            if matches!(command, Command::Deliver(..)) || !trouble.commands.iter().any(twice) {
                trouble.commands.push(command);
            }
        }
        !std::mem::replace(&mut trouble.waited_for, true)
    }

    fn take(&self, run: RunId) -> Vec<Command> {
        let mut troubles = lock(&self.0);
        let Some(trouble) = troubles.get_mut(&run) else { return Vec::new() };
        trouble.waited_for = false;
        std::mem::take(&mut trouble.commands)
    }
}

impl Engine {
    /// A run could not be read, or was not taken up: it gets in line again after a while, with what is asked of it.
    pub(super) fn again(self: &Arc<Self>, run: RunId, commands: Vec<Command>) {
        // Outside of a runtime the process is at its end.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.troubles.keep(run, commands) {
            return;
        }
        let wait = self.troubles.count(run);
        let engine = self.clone();
        runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            let commands = engine.troubles.take(run);
            engine.line_up_again(run, commands);
        });
    }

    /// Gives a run that may have no task these commands; one that has none gets in line, also without a command.
    pub(super) fn line_up_again(self: &Arc<Self>, run: RunId, commands: Vec<Command>) {
        if commands.is_empty() && lock(&self.working).contains_key(&run) {
            return self.troubles.end(run);
        }
        let mut left = Vec::new();
        for command in commands {
            left.extend(self.tell_task(run, command));
        }
        match self.read_safely(run) {
            Ok(Some(Read { run: found, .. })) if found.finished.is_none() => {
                let seat = self.seat_of(&found);
                if left.is_empty() {
                    self.queue.push(seat, run, None);
                }
                left.into_iter().for_each(|command| self.queue.push(seat, run, Some(command)));
            }
            Ok(_) => self.troubles.end(run),
            Err(error) => {
                tracing::error!(%run, %error, "an open run cannot be read; it is tried again");
                self.again(run, left);
            }
        }
    }

    /// Looks again how a run stands that could not be read at the start, until it can.
    pub(super) fn place_later(self: &Arc<Self>, run: RunId) {
        let engine = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(engine.troubles.count(run)).await;
                // Somebody gave it an order meanwhile, and it could be read.
                if lock(&engine.working).contains_key(&run) || lock(&engine.taken_up).contains_key(&run) {
                    return;
                }
                match engine.standing_safely(run) {
                    Ok(standing) => {
                        engine.troubles.end(run);
                        return engine.place(run, standing);
                    }
                    Err(error) => tracing::error!(%run, %error, "an open run cannot be read; it is tried again"),
                }
            }
        });
    }

    /// See [`Engine::read_whole`]; a panic over what is read is an error too.
    pub(super) fn read_safely(&self, run: RunId) -> Result<Option<Read>, String> {
        catch_unwind(AssertUnwindSafe(|| self.read_whole(run))).unwrap_or_else(|_| Err(BROKE_OFF.to_owned()))
    }
}

pub(super) const BROKE_OFF: &str = "reading it broke off; please report it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_minute_and_begin_anew_once_it_was_read() {
        let (troubles, run) = (Troubles::default(), RunId(uuid::Uuid::from_u128(7)));
        let waits: Vec<u64> = (0..9).map(|_| troubles.count(run).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        assert!(troubles.are_lasting(run));
        troubles.end(run);
        assert!(!troubles.are_lasting(run) && lock(&troubles.0).is_empty());
        assert_eq!(troubles.count(run).as_secs(), 1);
    }

    #[test]
    fn what_is_asked_again_and_again_is_kept_once() {
        let (troubles, run) = (Troubles::default(), RunId(uuid::Uuid::from_u128(7)));
        assert!(troubles.keep(run, vec![Command::Cancel, Command::Look]));
        assert!(!troubles.keep(run, vec![Command::Look, Command::Cancel, Command::Resume]));
        assert_eq!(troubles.take(run).len(), 3);
        assert!(troubles.take(run).is_empty() && troubles.keep(run, Vec::new()));
    }
}
