//! Work that is not left half done when whoever waits for it goes away.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use super::problem::Problem;

/// Done where it is awaited. Dropped between its beginning and its end, it goes on in a task of its own; dropped before
/// it is first polled, it never begins. A panic in it is a problem for the caller and nobody else's.
///
/// Nearly always the caller waits, so nearly always this saves a task, and waking one task by another.
pub(super) struct Unbroken<F: Future<Output: Send + 'static> + Send + 'static> {
    what: &'static str,
    work: Option<Pin<Box<F>>>,
    begun: bool,
}

impl<F: Future<Output: Send + 'static> + Send + 'static> Unbroken<F> {
    /// `what` names the work for the log, as in "starting a run".
    pub fn new(what: &'static str, work: F) -> Unbroken<F> {
        Unbroken { what, work: Some(Box::pin(work)), begun: false }
    }
}

impl<F: Future<Output: Send + 'static> + Send + 'static> Future for Unbroken<F> {
    type Output = Result<F::Output, Problem>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.begun = true;
        let Some(work) = &mut this.work else {
            return Poll::Ready(Err(Problem::internal(this.what, &"it was over already")));
        };
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(done)) => Ok(done),
            Err(panic) => Err(Problem::internal(this.what, &text(&*panic))),
        };
        this.work = None;
        Poll::Ready(result)
    }
}

impl<F: Future<Output: Send + 'static> + Send + 'static> Drop for Unbroken<F> {
    fn drop(&mut self) {
        // Without a runtime the process is at its end.
        if let Some(work) = self.work.take().filter(|_| self.begun)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

/// What a panic said.
fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::{Notify, oneshot};

    use super::*;

    #[tokio::test]
    async fn work_goes_on_after_its_caller_has_gone() {
        let (go_on, ended) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
        let (told, over) = oneshot::channel();
        let work = {
            let (go_on, ended) = (go_on.clone(), ended.clone());
            async move {
                ended.fetch_add(1, Ordering::Relaxed);
                go_on.notified().await;
                ended.fetch_add(1, Ordering::Relaxed);
                let _ = told.send(());
            }
        };
        let caller = tokio::time::timeout(std::time::Duration::ZERO, Unbroken::new("a test", work));
        assert!(caller.await.is_err());
        assert_eq!(ended.load(Ordering::Relaxed), 1);
        go_on.notify_one();
        over.await.unwrap();
        assert_eq!(ended.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn work_that_was_not_begun_never_is_and_a_panic_is_a_problem() {
        let begun = Arc::new(AtomicU32::new(0));
        let own = begun.clone();
        drop(Unbroken::new("a test", async move { own.fetch_add(1, Ordering::Relaxed) }));
        tokio::task::yield_now().await;
        assert_eq!(begun.load(Ordering::Relaxed), 0);
        let panics = async { panic!("as the test wants it") };
        let told: Result<(), Problem> = Unbroken::new("a test", panics).await;
        assert_eq!(told.unwrap_err().code, super::super::Code::Internal);
    }
}
