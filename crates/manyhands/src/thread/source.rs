//! Where a thread of an executor gets its jobs from.

use std::fmt;
use std::sync::Arc;

use super::executor::{Shared, Starter};
use super::linger::Patience;
use super::queue::Me;
use super::worker::Worker;

/// The jobs of an executor, as one of its threads sees them.
///
/// A worker that holds something others want (an interpreter's lock) takes jobs by
/// [`try_next`](Self::try_next) as long as there are any, lets go, and calls
/// [`wait_next`](Self::wait_next).
pub struct Source<'a, W: Worker> {
    shared: &'a Arc<Shared<W>>,
    me: Me,
    patience: Patience,
}

impl<'a, W: Worker> Source<'a, W> {
    pub(super) fn new(shared: &'a Arc<Shared<W>>) -> Self {
        Self {
            shared,
            me: Me::new(),
            patience: Patience::default(),
        }
    }

    pub(super) fn end(self) {
        self.me.end(self.shared);
    }

    /// What the threads of the executor do.
    #[must_use]
    pub fn worker(&self) -> &'a W {
        self.shared.worker()
    }

    /// The next job, if there is one; never waits for one.
    pub fn try_next(&mut self) -> Option<W::Job> {
        let start = Starter(self.shared);
        self.shared.queue.try_next(&mut self.me, &start)
    }

    /// The next job; sleeps until there is one. `None` when the executor was closed and nothing is
    /// left: the thread is to end.
    pub fn wait_next(&mut self) -> Option<W::Job> {
        let Self {
            shared,
            me,
            patience,
        } = self;
        let start = Starter(shared);
        let queue = &shared.queue;
        queue.wait_next(me, &start, || patience.look(queue))
    }

    /// Call this just before an outcome becomes known: if there is no other job, the thread counts
    /// as idle from now on, so that no further thread is started for a job that whoever waited for
    /// the outcome submits next.
    ///
    /// Until the next job is asked for, the thread must do nothing that takes long, and run
    /// nothing that is not its own; before such a thing, call [`resume`](Self::resume).
    pub fn finishing(&mut self) {
        self.shared.queue.finishing(&mut self.me);
    }

    /// Takes back [`finishing`](Self::finishing).
    pub fn resume(&mut self) {
        let start = Starter(self.shared);
        self.shared.queue.resume(&mut self.me, &start);
    }
}

impl<W: Worker> fmt::Debug for Source<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("me", &self.me)
            .field("crew", &self.shared.queue.crew())
            .finish_non_exhaustive()
    }
}
