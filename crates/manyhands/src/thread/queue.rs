//! The jobs that wait, and which threads are busy, searching or asleep.
//!
//! Guarantee: no job is left while a thread sleeps or may be started, and none is lost when the
//! queue is closed. The argument is in `README.md`. What starts a thread is the caller's.

use std::io;
use std::sync::PoisonError;

use super::padded::Padded;
use crate::sync::{AtomicU64, Condvar, Fifo, Mutex, MutexGuard, Ordering, fence};

const FIELD: u64 = (1 << 20) - 1;
const THREAD: u64 = 1;
const SEARCHING: u64 = 1 << 20;
const SLEEPING: u64 = 1 << 40;

/// As many threads as can be counted.
pub(super) const MOST_THREADS: usize = FIELD as usize;

/// How many threads there are, and how many of them are searching or asleep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crew(u64);

impl Crew {
    pub(super) fn threads(self) -> usize {
        (self.0 & FIELD) as usize
    }

    pub(super) fn searching(self) -> usize {
        ((self.0 / SEARCHING) & FIELD) as usize
    }

    pub(super) fn sleeping(self) -> usize {
        ((self.0 / SLEEPING) & FIELD) as usize
    }
}

const CLOSED: u64 = 1 << 63;

/// Why a job was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    Closed,
    /// There is no thread, and none can be started.
    Start(io::Error),
}

/// What one thread remembers of its own state.
#[derive(Debug)]
pub(super) struct Me {
    searching: bool,
}

impl Me {
    /// A thread that was just started.
    pub(super) fn new() -> Self {
        Self { searching: true }
    }
}

/// Starts one more thread, which begins with [`Me::new`].
pub(super) trait Start {
    /// # Errors
    /// The system has no thread to give; nothing was started.
    fn start(&self) -> io::Result<()>;

    /// A thread was not started. If there are others, they go on; if there is none, whatever is
    /// in the queue waits for somebody who may never come.
    fn failed(&self, error: io::Error);
}

pub(super) struct Queue<J> {
    jobs: Fifo<J>,
    crew: Padded<AtomicU64>,
    gate: Padded<AtomicU64>,
    bed: Bed,
    most: usize,
}

impl<J> Queue<J> {
    /// For at most so many threads.
    pub(super) fn new(most: usize) -> Self {
        Self {
            jobs: Fifo::new(),
            crew: Padded(AtomicU64::new(0)),
            gate: Padded(AtomicU64::new(0)),
            bed: Bed::new(),
            most: most.clamp(1, MOST_THREADS),
        }
    }

    pub(super) fn crew(&self) -> Crew {
        Crew(self.crew.0.load(Ordering::Acquire))
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Jobs not begun.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Is there a job, as far as this thread can see?
    pub(super) fn has_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// The job that waits longest, for somebody who will not run it.
    pub(super) fn take(&self) -> Option<J> {
        self.jobs.pop()
    }

    /// Takes the job, and sees to it that a thread comes for it.
    pub(super) fn submit(&self, job: J, start: &impl Start) -> Result<(), (J, Refused)> {
        let inside = match self.enter() {
            Some(inside) => inside,
            None => return Err((job, Refused::Closed)),
        };
        if self.crew().threads() == 0
            && let Err(error) = self.start_first(start)
        {
            return Err((job, Refused::Start(error)));
        }
        self.jobs.push(job);
        self.help(start);
        drop(inside);
        Ok(())
    }

    /// No job is accepted from now on; threads end when there is none left.
    pub(super) fn close(&self) {
        self.gate.0.fetch_or(CLOSED, Ordering::SeqCst);
        self.rouse_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.gate.0.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Closed, and nobody inside any more who could push a job. What was pushed is visible then.
    fn is_sealed(&self) -> bool {
        // Pairs with the release in `Inside::drop`.
        self.gate.0.load(Ordering::SeqCst) == CLOSED
    }

    /// The next job, if one is there; never waits.
    pub(super) fn try_next(&self, me: &mut Me, start: &impl Start) -> Option<J> {
        let job = self.jobs.pop()?;
        self.resume(me, start);
        Some(job)
    }

    /// The next job; waits for it. `None` when the queue is closed and empty: the thread then
    /// says [`leave`](Self::leave). Before it sleeps it calls `linger`, which may look for jobs a
    /// while longer.
    pub(super) fn wait_next(
        &self,
        me: &mut Me,
        start: &impl Start,
        mut linger: impl FnMut(),
    ) -> Option<J> {
        loop {
            let sealed = self.is_sealed();
            if let Some(job) = self.try_next(me, start) {
                return Some(job);
            }
            if sealed {
                return None;
            }
            self.search(me);
            linger();
            if !self.has_jobs() && !self.is_sealed() {
                self.sleep();
            }
        }
    }

    /// The thread is about to publish an outcome, after which it looks for a job at once: if
    /// there is none now, it counts as idle already.
    pub(super) fn finishing(&self, me: &mut Me) {
        if self.jobs.is_empty() {
            self.search(me);
        }
    }

    /// The thread does something else than looking for a job.
    pub(super) fn resume(&self, me: &mut Me, start: &impl Start) {
        if me.searching {
            me.searching = false;
            self.crew.0.fetch_sub(SEARCHING, Ordering::SeqCst);
            self.help(start);
        }
    }

    /// The thread ends.
    pub(super) fn leave(&self, me: Me, start: &impl Start) {
        let searching = if me.searching { SEARCHING } else { 0 };
        self.crew.0.fetch_sub(THREAD + searching, Ordering::SeqCst);
        self.help(start);
    }

    fn search(&self, me: &mut Me) {
        if !me.searching {
            me.searching = true;
            self.crew.0.fetch_add(SEARCHING, Ordering::SeqCst);
        }
    }

    /// From SEARCHING over SLEEPING back to SEARCHING, unless there is work after all.
    fn sleep(&self) {
        self.crew
            .0
            .fetch_add(SLEEPING - SEARCHING, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.has_jobs() || self.is_sealed() {
            let mut crew = self.crew();
            while crew.sleeping() > 0 {
                match self.exchange(crew, SEARCHING.wrapping_sub(SLEEPING)) {
                    Ok(()) => return,
                    Err(now) => crew = now,
                }
            }
            // A waker was faster: its permit is there, or will be in a moment.
        }
        self.bed.take();
    }

    fn exchange(&self, crew: Crew, change: u64) -> Result<(), Crew> {
        self.crew
            .0
            .compare_exchange(
                crew.0,
                crew.0.wrapping_add(change),
                Ordering::SeqCst,
                Ordering::Acquire,
            )
            .map(drop)
            .map_err(Crew)
    }

    /// A thread that was started does not come after all.
    pub(super) fn lost(&self, start: &impl Start, error: io::Error) {
        self.undo_start();
        start.failed(error);
        // Another one might be lost as well, and so on without end.
        self.help_if(start, false);
    }

    /// Where more jobs lie than threads search, wakes a thread, or starts one.
    fn help(&self, start: &impl Start) {
        self.help_if(start, true);
    }

    fn help_if(&self, start: &impl Start, mut may_start: bool) {
        fence(Ordering::SeqCst);
        let mut crew = self.crew();
        loop {
            let grows = may_start && crew.threads() < self.most;
            if crew.sleeping() == 0 && !grows || self.jobs.len() <= crew.searching() {
                return;
            }
            if crew.sleeping() > 0 {
                match self.exchange(crew, SEARCHING.wrapping_sub(SLEEPING)) {
                    Ok(()) => return self.bed.give(1),
                    Err(now) => crew = now,
                }
                continue;
            }
            match self.exchange(crew, THREAD + SEARCHING) {
                Ok(()) => match start.start() {
                    Ok(()) => return,
                    Err(error) => {
                        self.undo_start();
                        start.failed(error);
                        may_start = false;
                        crew = self.crew();
                    }
                },
                Err(now) => crew = now,
            }
        }
    }

    /// There is no thread: starts one, unless somebody else does.
    fn start_first(&self, start: &impl Start) -> io::Result<()> {
        let mut crew = self.crew();
        while crew.threads() == 0 {
            match self.exchange(crew, THREAD + SEARCHING) {
                Ok(()) => {
                    return start.start().inspect_err(|_| {
                        self.undo_start();
                        // Others may have pushed, and counted on that thread.
                        self.help(start);
                    });
                }
                Err(now) => crew = now,
            }
        }
        Ok(())
    }

    /// The thread that was counted does not come.
    fn undo_start(&self) {
        self.crew.0.fetch_sub(THREAD + SEARCHING, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    fn rouse_all(&self) {
        fence(Ordering::SeqCst);
        let mut crew = self.crew();
        while crew.sleeping() > 0 {
            let asleep = crew.sleeping() as u64;
            match self.exchange(
                crew,
                (SEARCHING.wrapping_sub(SLEEPING)).wrapping_mul(asleep),
            ) {
                Ok(()) => return self.bed.give(asleep),
                Err(now) => crew = now,
            }
        }
    }

    fn enter(&self) -> Option<Inside<'_, J>> {
        let inside = Inside { queue: self };
        // Acquire: nothing of the submission comes before it.
        (self.gate.0.fetch_add(1, Ordering::Acquire) & CLOSED == 0).then_some(inside)
    }
}

/// A submitter inside the gate.
struct Inside<'a, J> {
    queue: &'a Queue<J>,
}

impl<J> Drop for Inside<'_, J> {
    fn drop(&mut self) {
        // Release pairs with `is_sealed`.
        if self.queue.gate.0.fetch_sub(1, Ordering::SeqCst) == CLOSED + 1 {
            self.queue.rouse_all();
        }
    }
}

/// Where threads sleep: a semaphore.
struct Bed {
    permits: Mutex<u64>,
    given: Condvar,
}

impl Bed {
    fn new() -> Self {
        Self {
            permits: Mutex::new(0),
            given: Condvar::new(),
        }
    }

    fn permits(&self) -> MutexGuard<'_, u64> {
        self.permits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, count: u64) {
        *self.permits() += count;
        if count == 1 {
            self.given.notify_one();
        } else {
            self.given.notify_all();
        }
    }

    fn take(&self) {
        let mut permits = self.permits();
        while *permits == 0 {
            permits = self
                .given
                .wait(permits)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *permits -= 1;
    }
}
