//! So many at once; those that wait are served by turns, one of each flow, and each flow's in the order they came.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

#[derive(Default)]
pub(super) struct Turns {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many may have their turn at once; set by whoever comes, so that a changed file takes effect.
    most: usize,
    taken: usize,
    lines: HashMap<Box<str>, VecDeque<oneshot::Sender<Turn>>>,
    /// Flows with a line, the next one first.
    order: VecDeque<Box<str>>,
}

/// Held while one has its turn.
pub(super) struct Turn(Arc<Turns>);

impl Turns {
    /// Waits for a turn, as long as it takes. Dropped while it waits, it is as if it had never come.
    pub async fn enter(self: &Arc<Self>, flow: &str, most: usize) -> Turn {
        loop {
            let receive = {
                let mut state = self.lock();
                state.most = most;
                if state.order.is_empty() && state.taken < most {
                    state.taken += 1;
                    return Turn(self.clone());
                }
                let (send, receive) = oneshot::channel();
                match state.lines.get_mut(flow) {
                    Some(line) => line.push_back(send),
                    None => {
                        state.lines.insert(flow.into(), VecDeque::from([send]));
                        state.order.push_back(flow.into());
                    }
                }
                receive
            };
            // More may be let in than before.
            self.serve();
            // A sender is only dropped once it has sent.
            if let Ok(turn) = receive.await {
                return turn;
            }
        }
    }

    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.taken == 0 && state.order.is_empty()
    }

    fn serve(self: &Arc<Self>) {
        while let Some(next) = self.next() {
            // Who has gone gives the turn back by dropping it.
            let _ = next.send(Turn(self.clone()));
        }
    }

    fn next(&self) -> Option<oneshot::Sender<Turn>> {
        let mut state = self.lock();
        while state.taken < state.most {
            let flow = state.order.pop_front()?;
            let Some(line) = state.lines.get_mut(&flow) else { continue };
            while line.front().is_some_and(oneshot::Sender::is_closed) {
                line.pop_front();
            }
            let next = line.pop_front();
            if line.is_empty() {
                state.lines.remove(&flow);
            } else {
                state.order.push_back(flow);
            }
            if next.is_some() {
                state.taken += 1;
                return next;
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().taken -= 1;
        self.0.serve();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn flows_take_turns_and_one_that_has_gone_is_passed_over() {
        // Given one at work, three of a slow flow in line, and one of another.
        let turns = Arc::new(Turns::default());
        let first = turns.enter("slow", 1).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (flow, number) in [("slow", 1), ("slow", 2), ("slow", 3), ("other", 4)] {
            let (own, log) = (turns.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                let turn = own.enter(flow, 1).await;
                log.lock().unwrap().push(number);
                tokio::task::yield_now().await;
                drop(turn);
            }));
            // The test's runtime has one thread: now the task is in line.
            tokio::task::yield_now().await;
        }
        // When the first in line is broken off, and the one at work ends.
        let gone = tasks.remove(0);
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        // Then the flows take turns.
        assert_eq!(*order.lock().unwrap(), [2, 4, 3]);
        assert!(turns.is_idle());
    }

    #[tokio::test]
    async fn as_many_as_the_last_one_says_have_their_turn_at_once() {
        let turns = Arc::new(Turns::default());
        let first = turns.enter("a", 1).await;
        let own = turns.clone();
        let waiting = tokio::spawn(async move { own.enter("a", 1).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        // Raised by who comes next, whom it lets in too.
        let third = turns.enter("b", 3).await;
        drop((first, third, waiting.await.unwrap()));
        assert!(turns.is_idle());
    }
}
