//! A closure as a task: one allocation, from its submission to its outcome.

use std::sync::Arc;

use super::crew::Crew;
use super::current::{Running, Seat};
use super::error::Error;
use super::handle::{Pending, Result};
use super::outcome::{Cell, Ended, Seen, Waiter};
use super::source::Source;
use crate::panic::{catch, drop_quietly};
use crate::sys::clock;

/// What a pool's executor moves.
pub(super) trait Job: Send + Sync {
    /// Runs it in a thread of the pool.
    fn run(self: Arc<Self>, source: &mut Source<'_, Crew>, seat: &Seat);

    /// It will not be run.
    fn withdraw(self: Arc<Self>, why: Error);
}

/// A task whose work is a closure.
pub(super) struct ClosureTask<F, T> {
    cell: Cell<F, Result<T>>,
}

impl<F, T> ClosureTask<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    pub(super) fn new(work: F) -> Arc<Self> {
        Arc::new(Self {
            cell: Cell::new(work),
        })
    }

    fn stopped(&self, why: Error) {
        finish(self.cell.stop(Err(why)));
    }
}

/// Wakes whoever waits; a stranger's waker may panic, which is no matter of the task's or of the
/// thread's that runs it.
pub(super) fn wake(waiter: Waiter) {
    if waiter.ours {
        waiter.wake();
    } else {
        drop_quietly(catch(|| waiter.wake()));
    }
}

/// Does what remains when a task was ended by somebody who does not run it, and whom the
/// destructors of what it captured must not harm.
pub(super) fn finish<W, O>(ended: Ended<W, O>) {
    let Ended { waiter, work, late } = ended;
    if let Some(waiter) = waiter {
        wake(waiter);
    }
    drop_quietly(late);
    drop_quietly(work);
}

impl<F, T> Job for ClosureTask<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn run(self: Arc<Self>, source: &mut Source<'_, Crew>, seat: &Seat) {
        let Some((work, waiter)) = self.cell.begin(clock::coarse()) else {
            return;
        };
        if let Some(waiter) = waiter {
            wake(waiter);
        }
        seat.set(self.clone());
        if source.worker().is_killed() {
            // The killer may have looked at the seat before.
            self.stopped(Error::Cancelled);
        }
        let result = if self.cell.is_told() {
            drop_quietly(work);
            Err(Error::Cancelled)
        } else {
            catch(work).map_err(Error::Panicked)
        };

        seat.clear();
        source.finishing();
        let Ended { waiter, late, .. } = self.cell.end(result);
        match waiter {
            Some(waiter) if waiter.ours => waiter.wake(),
            Some(waiter) => {
                source.resume();
                wake(waiter);
            }
            None => {}
        }
        let unread = Arc::into_inner(self).and_then(|task| task.cell.into_outcome());
        if late.is_some() || unread.is_some() {
            // Nobody wants the result. To drop it may take long, or panic.
            source.resume();
            drop_quietly((late, unread));
        }
    }

    fn withdraw(self: Arc<Self>, why: Error) {
        self.stopped(why);
    }
}

impl<F, T> Pending<T> for ClosureTask<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
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

impl<F, T> Running for ClosureTask<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn is_told(&self) -> bool {
        self.cell.is_told()
    }

    fn stop_running(&self, why: Error) {
        self.stopped(why);
    }
}

/// A task that ended before it was submitted.
pub(super) struct EndedTask<T> {
    cell: Cell<(), Result<T>>,
    is_refused: bool,
}

impl<T: Send + 'static> EndedTask<T> {
    pub(super) fn new(why: Error) -> Arc<Self> {
        Arc::new(Self {
            // A thread that could not be started today may be there tomorrow.
            is_refused: matches!(why, Error::ShutDown | Error::Initializer(_)),
            cell: Cell::ended(Err(why)),
        })
    }
}

impl<T: Send + 'static> Pending<T> for EndedTask<T> {
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
        finish(self.cell.stop(Err(why)));
    }

    fn is_refused(&self) -> bool {
        self.is_refused
    }
}
