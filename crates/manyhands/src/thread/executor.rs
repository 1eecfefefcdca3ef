//! Moves jobs to threads: first in, first out, on as many threads as there is work for.
//!
//! What a job is, and how it is run, is the [`Worker`]'s business; it lives on each thread for as
//! long as the thread does, so it can keep what is dear to get (an interpreter's lock) over many
//! jobs. `README.md` says what may be relied on, and why it holds.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io, iter, thread};

use super::life::Life;
use super::queue::{MOST_THREADS, Me, Queue, Refused, Start};
use super::source::Source;
use super::worker::{Rejected, Unavailable, Worker, WouldDeadlock};
use crate::panic::{catch, drop_quietly};
use crate::sys::cores;

/// How an executor is to be.
#[derive(Debug)]
#[must_use = "nothing is made before `build`"]
pub struct ExecutorBuilder<W> {
    worker: W,
    threads: usize,
    name: String,
    stack: Option<usize>,
}

impl<W: Worker> ExecutorBuilder<W> {
    /// At most so many threads; by default as many as there are usable cores. At least one, at
    /// most 1,048,575.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.clamp(1, MOST_THREADS);
        self
    }

    /// Threads are named by this and a number, from 0 on.
    pub fn name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.name = prefix.into();
        self
    }

    /// Bytes of stack for each thread; by default as `std::thread` has it.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack = Some(bytes);
        self
    }

    /// Makes the executor. No thread is started before there is a job.
    pub fn build(self) -> Executor<W> {
        Executor {
            shared: Arc::new(Shared {
                queue: Queue::new(self.threads),
                worker: self.worker,
                name: self.name,
                stack: self.stack,
                started: AtomicUsize::new(0),
                broken: OnceLock::new(),
                alive: Mutex::default(),
                changed: Condvar::new(),
                joining: Mutex::new(()),
            }),
        }
    }
}

/// Threads that run jobs.
///
/// Dropping it closes it, and does not wait: what was accepted is run.
pub struct Executor<W: Worker> {
    shared: Arc<Shared<W>>,
}

impl<W: Worker> Executor<W> {
    /// Says how it is to be.
    pub fn builder(worker: W) -> ExecutorBuilder<W> {
        ExecutorBuilder {
            worker,
            threads: cores::usable(),
            name: "manyhands-".to_owned(),
            stack: None,
        }
    }

    /// Has the job run by a thread.
    ///
    /// If more threads than there are would be of use, and the system gives none, the others go
    /// on with all the jobs; see [`start_error`](Self::start_error).
    ///
    /// # Errors
    /// The executor is closed or broken, or there is no thread at all and none can be started.
    pub fn execute(&self, job: W::Job) -> Result<(), Rejected<W::Job, W::Failure>> {
        let starter = Starter(&self.shared);
        self.shared
            .queue
            .submit(job, &starter)
            .map_err(|(job, refused)| Rejected {
                job,
                why: match refused {
                    Refused::Closed => self.shared.why_closed(),
                    Refused::Start(error) => Unavailable::Start(self.shared.note(error)),
                },
            })
    }

    /// What its threads do.
    #[must_use]
    pub fn worker(&self) -> &W {
        &self.shared.worker
    }

    /// Jobs that have not begun.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.queue.len()
    }

    /// Has every job begun?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Threads that there are now.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.queue.crew().threads()
    }

    /// Threads that there may be.
    #[must_use]
    pub fn most_threads(&self) -> usize {
        self.shared.queue.most()
    }

    /// Takes back jobs that have not begun, those that waited longest first.
    pub fn take(&self) -> impl Iterator<Item = W::Job> + '_ {
        iter::from_fn(|| self.shared.queue.take())
    }

    /// Accepts no more jobs. What was accepted is run, and then the threads end.
    pub fn close(&self) {
        self.shared.queue.close();
    }

    /// Breaks it, as a thread that cannot be set up does: accepts no more jobs, and abandons in the
    /// calling thread what has not begun. (What is being accepted at this moment may still run.)
    pub fn fail(&self, failure: W::Failure) {
        self.shared.fail(failure);
    }

    /// Is it closed, or broken?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.queue.is_closed()
    }

    /// Why it is broken, if it is.
    #[must_use]
    pub fn failure(&self) -> Option<&W::Failure> {
        self.shared.broken.get()
    }

    /// Why the last thread that would have been of use could not be started, if one could not.
    #[must_use]
    pub fn start_error(&self) -> Option<Arc<io::Error>> {
        self.shared.alive().start_error.clone()
    }

    /// Waits until all threads have ended, which they only do when it is [closed](Self::close).
    ///
    /// # Errors
    /// Called from one of its own threads.
    pub fn join(&self) -> Result<(), WouldDeadlock> {
        self.shared.join(None).map(drop)
    }

    /// As [`join`](Self::join), at most for some time; tells whether all threads have ended.
    ///
    /// # Errors
    /// Called from one of its own threads.
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, WouldDeadlock> {
        self.shared.join(Instant::now().checked_add(timeout))
    }

    #[cfg(feature = "tokio")]
    pub(super) fn shared(&self) -> &Arc<Shared<W>> {
        &self.shared
    }

    /// Is the calling thread one of its own?
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.shared.is_inside()
    }
}

impl<W: Worker> Drop for Executor<W> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<W: Worker> fmt::Debug for Executor<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let crew = self.shared.queue.crew();
        f.debug_struct("Executor")
            .field("jobs", &self.len())
            .field("threads", &crew.threads())
            .field("most", &self.most_threads())
            .field("sleeping", &crew.sleeping())
            .field("closed", &self.is_closed())
            .field("broken", &self.failure().is_some())
            .field("start_error", &self.start_error())
            .finish_non_exhaustive()
    }
}

pub(super) struct Shared<W: Worker> {
    pub(super) queue: Queue<W::Job>,
    worker: W,
    name: String,
    pub(super) stack: Option<usize>,
    /// Threads that there ever were, for their names.
    started: AtomicUsize,
    broken: OnceLock<W::Failure>,
    alive: Mutex<Alive>,
    changed: Condvar,
    /// Held while one thread joins the others, so that a second one waits as well.
    joining: Mutex<()>,
}

#[derive(Default)]
struct Alive {
    /// Threads whose end has not come.
    count: usize,
    handles: Vec<thread::JoinHandle<()>>,
    start_error: Option<Arc<io::Error>>,
}

thread_local! {
    /// Where the shared part of the executor lies that this thread works for.
    static EXECUTOR: Cell<usize> = const { Cell::new(0) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<W: Worker> Shared<W> {
    pub(super) fn worker(&self) -> &W {
        &self.worker
    }

    fn alive(&self) -> MutexGuard<'_, Alive> {
        lock(&self.alive)
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn is_inside(&self) -> bool {
        EXECUTOR.get() == self.address()
    }

    fn why_closed(&self) -> Unavailable<W::Failure> {
        match self.broken.get() {
            Some(failure) => Unavailable::Broken(failure.clone()),
            None => Unavailable::Closed,
        }
    }

    /// Takes no more jobs, and abandons those that wait.
    pub(super) fn fail(&self, failure: W::Failure) {
        // The first failure counts; the others are of the same sort.
        let _ = self.broken.set(failure);
        self.queue.close();
        let why = self.why_closed();
        while let Some(job) = self.queue.take() {
            self.abandon(job, &why);
        }
    }

    /// Keeps why a thread could not be started.
    fn note(&self, error: io::Error) -> Arc<io::Error> {
        let error = Arc::new(error);
        self.alive().start_error = Some(error.clone());
        error
    }

    /// What a thread does from its first to its last moment.
    pub(super) fn work(self: &Arc<Self>) {
        EXECUTOR.set(self.address());
        let mut source = Source::new(self);
        let lived = catch(|| self.worker.run(&mut source));
        if let Err(failure) = lived.unwrap_or_else(|panic| Err(panic.into())) {
            // The first failure counts; the others are of the same sort.
            let _ = self.broken.set(failure);
            self.queue.close();
            let why = self.why_closed();
            while let Some(job) = source.wait_next() {
                self.abandon(job, &why);
            }
        }
        source.end();
        EXECUTOR.set(0);
    }

    /// A thread lives from now on, or is being started.
    pub(super) fn one_more(&self) {
        let mut alive = self.alive();
        alive.count += 1;
        alive.handles.retain(|handle| !handle.is_finished());
    }

    /// A thread has come to its end, or was not started.
    pub(super) fn one_less(&self) {
        let mut alive = self.alive();
        alive.count -= 1;
        if alive.count == 0 {
            drop(alive);
            self.changed.notify_all();
        }
    }

    /// For `join` to wait for.
    pub(super) fn keep(&self, handle: Option<thread::JoinHandle<()>>) {
        self.alive().handles.extend(handle);
    }

    /// A thread that was said to be on its way does not come.
    pub(super) fn lost(self: &Arc<Self>, error: io::Error) {
        self.queue.lost(&Starter(self), error);
    }

    /// A panic in the embedder's own code has been told of by the panic hook; the other jobs
    /// still want their end.
    fn abandon(&self, job: W::Job, why: &Unavailable<W::Failure>) {
        drop_quietly(catch(|| self.worker.abandon(job, why)));
    }

    fn join(&self, deadline: Option<Instant>) -> Result<bool, WouldDeadlock> {
        if self.is_inside() {
            return Err(WouldDeadlock);
        }
        let mut alive = self.alive();
        while alive.count > 0 {
            let changed = &self.changed;
            alive = match deadline {
                None => changed.wait(alive).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(false);
                    }
                    let waited = changed.wait_timeout(alive, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        drop(alive);
        // They have said that they end; the system is given the moment that it takes.
        let joining = lock(&self.joining);
        let handles = std::mem::take(&mut self.alive().handles);
        for handle in handles {
            // What a thread of ours could panic with has been caught inside of it.
            drop_quietly(handle.join());
        }
        drop(joining);
        Ok(true)
    }
}

pub(super) struct Starter<'a, W: Worker>(pub(super) &'a Arc<Shared<W>>);

impl<W: Worker> Start for Starter<'_, W> {
    fn start(&self) -> io::Result<()> {
        let number = self.0.started.fetch_add(1, Ordering::Relaxed);
        Life::start(self.0, format!("{}{number}", self.0.name))
    }

    fn failed(&self, error: io::Error) {
        let why = Unavailable::Start(self.0.note(error));
        while self.0.queue.crew().threads() == 0 {
            match self.0.queue.take() {
                Some(job) => self.0.abandon(job, &why),
                None => return,
            }
        }
    }
}

impl Me {
    /// The thread ends, and is counted no more.
    pub(super) fn end<W: Worker>(self, shared: &Arc<Shared<W>>) {
        shared.queue.leave(self, &Starter(shared));
    }
}
