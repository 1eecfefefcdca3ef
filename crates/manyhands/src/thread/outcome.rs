//! The life of one task: what it will do, then how it ended, and whoever waits for that.
//!
//! Guarantees: the work is begun at most once; the outcome is set exactly once; who registered
//! before is woken after it, and who registers after it finds it. Under the lock values are only
//! moved: nothing of the task's or of a waiter's is run or dropped there.

use std::mem;
use std::sync::PoisonError;
use std::task::Waker;

use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering};

/// Whoever waits for a task; there is one at most, its handle.
pub(super) struct Waiter {
    pub(super) waker: Waker,
    /// It has to know when the task begins, since its deadline counts from there.
    pub(super) at_start: bool,
    /// Waking it runs nothing but code of this crate, and takes no time.
    pub(super) ours: bool,
}

impl Waiter {
    pub(super) fn wake(self) {
        self.waker.wake();
    }
}

/// When a task began, by the coarse clock.
pub(super) type Since = u64;

enum Stage<W, O> {
    Queued(W),
    Running(Since),
    Done(O),
    Taken,
}

struct Inner<W, O> {
    stage: Stage<W, O>,
    waiter: Option<Waiter>,
}

/// The running task was asked to stop.
const TOLD: u64 = 1;
/// There is, or was, an outcome.
const ENDED: u64 = 2;

/// `W` is the work, `O` the outcome.
pub(super) struct Cell<W, O> {
    inner: Mutex<Inner<W, O>>,
    /// TOLD, ENDED.
    flags: AtomicU64,
}

/// What a look at a task found.
pub(super) enum Seen<O> {
    Queued,
    Running(Since),
    /// It has ended, and this is the outcome: the cell has it no more.
    Done(O),
    /// It has ended, and the outcome was taken before.
    Taken,
}

/// What is left over when a task was brought to its end.
#[must_use = "the waiter wants to be woken"]
pub(super) struct Ended<W, O> {
    /// To be woken.
    pub(super) waiter: Option<Waiter>,
    /// Of a task that had not begun.
    pub(super) work: Option<W>,
    /// What came too late: it had ended already.
    pub(super) late: Option<O>,
}

impl<W, O> Cell<W, O> {
    pub(super) fn new(work: W) -> Self {
        Self::at(Stage::Queued(work), 0)
    }

    /// Of a task that ended before it was submitted.
    pub(super) fn ended(outcome: O) -> Self {
        Self::at(Stage::Done(outcome), ENDED)
    }

    fn at(stage: Stage<W, O>, flags: u64) -> Self {
        Self {
            inner: Mutex::new(Inner {
                stage,
                waiter: None,
            }),
            flags: AtomicU64::new(flags),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<W, O>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only under the lock, so that a load and a store will do.
    fn raise(&self, flag: u64) {
        let flags = self.flags.load(Ordering::Relaxed);
        self.flags.store(flags | flag, Ordering::Release);
    }

    /// Gives the work to the one who will run it, if it is still there, and a waiter that is to be
    /// told so.
    pub(super) fn begin(&self, now: Since) -> Option<(W, Option<Waiter>)> {
        let mut inner = self.lock();
        match mem::replace(&mut inner.stage, Stage::Running(now)) {
            Stage::Queued(work) => {
                let waiter = inner.waiter.take_if(|waiter| waiter.at_start);
                Some((work, waiter))
            }
            other => {
                inner.stage = other;
                None
            }
        }
    }

    /// The work has ended so. If the task has been ended otherwise meanwhile, the outcome is late.
    pub(super) fn end(&self, outcome: O) -> Ended<W, O> {
        self.end_if(outcome, |stage| matches!(stage, Stage::Running(_)))
    }

    /// Ends the task although its work has not: it was cancelled, or takes too long. If it runs,
    /// it is told.
    pub(super) fn stop(&self, outcome: O) -> Ended<W, O> {
        self.end_if(outcome, |stage| match stage {
            Stage::Queued(_) => true,
            Stage::Running(_) => {
                self.raise(TOLD);
                true
            }
            Stage::Done(_) | Stage::Taken => false,
        })
    }

    fn end_if(&self, outcome: O, may: impl FnOnce(&Stage<W, O>) -> bool) -> Ended<W, O> {
        let mut inner = self.lock();
        if !may(&inner.stage) {
            return Ended {
                waiter: None,
                work: None,
                late: Some(outcome),
            };
        }
        let waiter = inner.waiter.take();
        let work = match mem::replace(&mut inner.stage, Stage::Done(outcome)) {
            Stage::Queued(work) => Some(work),
            _ => None,
        };
        self.raise(ENDED);
        Ended {
            waiter,
            work,
            late: None,
        }
    }

    /// The outcome that nobody has taken.
    pub(super) fn into_outcome(self) -> Option<O> {
        let inner = self.inner.into_inner();
        match inner.unwrap_or_else(PoisonError::into_inner).stage {
            Stage::Done(outcome) => Some(outcome),
            Stage::Queued(_) | Stage::Running(_) | Stage::Taken => None,
        }
    }

    /// Was the running task asked to stop?
    pub(super) fn is_told(&self) -> bool {
        self.flags.load(Ordering::Acquire) & TOLD != 0
    }

    /// Has it ended? Costs next to nothing.
    pub(super) fn is_done(&self) -> bool {
        self.flags.load(Ordering::Acquire) & ENDED != 0
    }

    /// Takes the outcome. If there is none yet, registers whom `waiter` makes in place of whoever
    /// was registered before.
    pub(super) fn look(&self, waiter: impl FnOnce() -> Option<Waiter>) -> Seen<O> {
        if let Some(seen) = self.lock().seen() {
            return seen;
        }
        // Made without the lock, since to clone a waker may run code of a stranger's.
        let waiter = waiter();
        let mut inner = self.lock();
        if let Some(seen) = inner.seen() {
            drop(inner);
            drop(waiter);
            return seen;
        }
        let before = mem::replace(&mut inner.waiter, waiter);
        let seen = match inner.stage {
            Stage::Running(since) => Seen::Running(since),
            _ => Seen::Queued,
        };
        drop(inner);
        drop(before);
        seen
    }

    /// Nobody waits any more. Gives back whoever did, to be dropped without the lock.
    pub(super) fn forget(&self) -> Option<Waiter> {
        self.lock().waiter.take()
    }

    /// As [`look`](Self::look), but leaves everything as it is; [`Seen::Taken`] stands for every
    /// end.
    pub(super) fn glance(&self) -> Seen<O> {
        match self.lock().stage {
            Stage::Queued(_) => Seen::Queued,
            Stage::Running(since) => Seen::Running(since),
            Stage::Done(_) | Stage::Taken => Seen::Taken,
        }
    }
}

impl<W, O> Inner<W, O> {
    fn seen(&mut self) -> Option<Seen<O>> {
        match &self.stage {
            Stage::Queued(_) | Stage::Running(_) => None,
            Stage::Taken => Some(Seen::Taken),
            Stage::Done(_) => match mem::replace(&mut self.stage, Stage::Taken) {
                Stage::Done(outcome) => Some(Seen::Done(outcome)),
                _ => None,
            },
        }
    }
}
