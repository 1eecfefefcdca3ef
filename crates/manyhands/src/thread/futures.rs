//! Futures as tasks, on threads of the pool that are started with the first of them.
//!
//! Guarantees: a future ends once, and whoever waits is woken; one that waits its turn can be
//! withdrawn, one that runs is dropped at its next await when it is stopped. Which thread begins
//! which, and when, is in `lanes.rs`.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::task::AbortHandle;

use super::current::{Here, Running, enter};
use super::error::Error;
use super::handle::{Pending, Result};
use super::job::{finish, wake};
use super::lanes::{Lanes, Place, Turn};
use super::outcome::{Cell, Seen, Waiter};
use crate::panic::{catch, drop_quietly};
use crate::sys::clock;

/// Has the future run.
pub(super) fn spawn<F>(lanes: &Arc<Lanes>, future: F) -> Result<Arc<dyn Pending<F::Output>>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let task = Arc::new(FutureTask {
        cell: Cell::new(Box::pin(future)),
        abort: OnceLock::new(),
    });
    lanes.submit(task.clone())?;
    Ok(task)
}

impl<F, T> Turn for FutureTask<F, T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    fn begin(self: Arc<Self>, place: Place) {
        let Some((future, waiter)) = self.cell.begin(clock::coarse()) else {
            // It was withdrawn.
            return;
        };
        if let Some(waiter) = waiter {
            wake(waiter);
        }
        let polled = Polled {
            future: Some(future),
            running: self.clone(),
            pool: place.pool(),
        };
        let end = End(self.clone());
        let spawned = tokio::spawn(async move {
            // Given back last, when nothing of the future is left.
            let _place = place;
            let end = end;
            let result = polled.await;
            finish(end.0.cell.end(result));
        });
        let abort = spawned.abort_handle();
        if self.abort.set(abort).is_ok() && self.cell.is_done() {
            // Whoever ended it had no way to abort it yet.
            spawned.abort();
        }
    }
}

type Work<F> = Pin<Box<F>>;

/// A task whose work is a future.
struct FutureTask<F, T> {
    cell: Cell<Work<F>, Result<T>>,
    abort: OnceLock<AbortHandle>,
}

impl<F, T> FutureTask<F, T> {
    fn stopped(&self, why: Error) {
        let ended = self.cell.stop(Err(why));
        if ended.late.is_none()
            && let Some(abort) = self.abort.get()
        {
            abort.abort();
        }
        finish(ended);
    }
}

/// Ends a task whose future was dropped, by its runtime or because its destructor panicked.
struct End<F, T>(Arc<FutureTask<F, T>>);

impl<F, T> Drop for End<F, T> {
    fn drop(&mut self) {
        finish(self.0.cell.stop(Err(Error::Cancelled)));
    }
}

impl<F: Send, T: Send> Running for FutureTask<F, T> {
    fn is_told(&self) -> bool {
        self.cell.is_told()
    }

    fn stop_running(&self, why: Error) {
        self.stopped(why);
    }
}

impl<F: Send, T: Send> Pending<T> for FutureTask<F, T> {
    fn look(&self, waiter: &mut dyn FnMut() -> Option<Waiter>) -> Seen<Result<T>> {
        self.cell.look(waiter)
    }

    fn forget(&self) {
        drop(self.cell.forget());
    }

    fn glance(&self) -> Seen<Result<T>> {
        self.cell.glance()
    }

    fn is_done(&self) -> bool {
        self.cell.is_done()
    }

    fn stop(&self, why: Error) {
        self.stopped(why);
    }
}

/// Polls the future, with panics as results; drops it when it has ended.
struct Polled<F> {
    /// `None` when it has ended.
    future: Option<Work<F>>,
    running: Arc<dyn Running>,
    pool: usize,
}

impl<F: Future> Future for Polled<F> {
    type Output = Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let _inside = enter(Here::Task(this.pool, this.running.clone()));
        let Some(future) = &mut this.future else {
            return Poll::Pending;
        };
        let ended = match catch(|| future.as_mut().poll(context)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(panic) => Err(Error::Panicked(panic)),
        };
        let future = this.future.take();
        Poll::Ready(match catch(|| drop(future)) {
            Err(panic) if ended.is_ok() => {
                drop_quietly(ended);
                Err(Error::Panicked(panic))
            }
            Ok(()) | Err(_) => ended,
        })
    }
}
