//! The parent's handle of a pool: submit, cancel, wait, shut down.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::config::{Config, OnDeath, Status, SubmitError};
use super::desk::Desk;
use super::launch::Launcher;
use super::notes::{Effects, Function, Life};
use super::shared::Shared;
use super::waiters::{LoopDoor, Waited};
use super::{DOORBELLS, THREADS_DOORBELL, limits, supervisor};
use crate::arena::{Arena, ArenaConfig};
use crate::board::watch::Watch;
use crate::board::{Board, Definition, Geometry, INLINE_BYTES, Kind};
use crate::sys::event::Event;
use crate::sys::forked::ProcessMark;
use crate::sys::timer::Timer;
use crate::sys::{cores, pidfd};
use crate::task::{Broken, Limits, Task};

/// A pool of worker processes, as its owner holds it. Dropping it lets what was submitted run to
/// its end, and then ends the workers.
pub struct Pool {
    pub(super) shared: Arc<Shared>,
}

impl Pool {
    /// Makes the board and asks `launcher` for the workers; does not wait for them.
    ///
    /// # Errors
    /// The system gives no memory, descriptor or thread.
    pub fn start(config: Config, launcher: Box<dyn Launcher>) -> io::Result<Self> {
        let geometry = Geometry {
            slots: config.slots,
            workers: config.workers,
        };
        let board = Board::create(geometry, cores::usable())?;
        let arena = Arena::create(ArenaConfig::default()).map_err(io::Error::other)?;
        let arena = Arc::new(arena);
        let stop_grace = config.stop_grace.map(limits::nanoseconds);
        let shared = Arc::new(Shared {
            desk: Mutex::new(Desk::new(&board, arena.clone(), stop_grace)),
            doorbells: (0..DOORBELLS)
                .map(|_| Event::new().map(Arc::new))
                .collect::<io::Result<_>>()?,
            lanes: (0..geometry.lanes())
                .map(|_| Event::new())
                .collect::<io::Result<_>>()?,
            owner: pidfd::Process::current()?,
            broken: OnceLock::new(),
            watch: Watch::new(),
            watch_timer: Timer::new()?,
            kick: Event::new()?,
            events: Mutex::default(),
            functions: AtomicU64::new(0),
            breaks: AtomicBool::new(config.on_death == OnDeath::Break),
            hands: AtomicU64::new(0),
            gone: Task::marker(),
            mark: ProcessMark::current(),
            config,
            board,
            arena,
        });
        supervisor::start(shared.clone(), launcher)?;
        Ok(Self { shared })
    }

    /// Would it take a task?
    ///
    /// # Errors
    /// It takes no more; says why.
    pub fn accepts(&self) -> Result<(), SubmitError> {
        self.check()?;
        let open = self.shared.lock().life == Life::Open;
        match open {
            true => Ok(()),
            false => self.check().and(Err(SubmitError::ShutDown)),
        }
    }

    fn check(&self) -> Result<(), SubmitError> {
        if !self.is_ours() {
            return Err(SubmitError::OtherProcess);
        }
        match self.shared.broken.get() {
            Some(why) => Err(SubmitError::Broken(why.clone())),
            None => Ok(()),
        }
    }

    /// Ships a function's definition; tasks then name it.
    ///
    /// # Errors
    /// The definition finds no memory, or the pool is not this process's.
    pub fn register(&self, definition: &[&[u8]]) -> Result<Arc<Function>, SubmitError> {
        self.check()?;
        let span = self.shared.arena.write(definition)?;
        let id = self.shared.functions.fetch_add(1, Ordering::Relaxed);
        let arena = self.shared.arena.clone();
        Ok(Arc::new(Function {
            definition: Definition { id, span },
            arena,
        }))
    }

    /// Submits one task, or with `items` a batch of so many. The input is the concatenation of
    /// `parts`.
    ///
    /// # Errors
    /// The pool takes no more tasks, or the input finds no memory.
    pub fn submit(
        &self,
        kind: Kind,
        function: &Arc<Function>,
        items: Option<u32>,
        parts: &[&[u8]],
    ) -> Result<Arc<Task>, SubmitError> {
        self.submit_with(kind, function, items, parts, Limits::default())
    }

    /// As [`Pool::submit`], for a single task with limits.
    ///
    /// # Errors
    /// As [`Pool::submit`]; limits for a batch.
    pub fn submit_with(
        &self,
        kind: Kind,
        function: &Arc<Function>,
        items: Option<u32>,
        parts: &[&[u8]],
        limits: Limits,
    ) -> Result<Arc<Task>, SubmitError> {
        if items.is_some() && limits != Limits::default() {
            return Err(SubmitError::BatchLimits);
        }
        self.check()?;
        let shared = &*self.shared;
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let span = match bytes > INLINE_BYTES {
            true => Some(shared.arena.write(parts)?),
            false => None,
        };
        let task = Task::new(kind, function.clone(), items, limits);
        let mut effects = Effects::default();
        let mut desk = shared.lock();
        if desk.life != Life::Open {
            drop(desk);
            if let Some(span) = span {
                shared.arena.release(span);
            }
            self.check()?;
            return Err(SubmitError::ShutDown);
        }
        if !desk.has_room(kind) {
            shared.drain(&mut desk, &mut effects);
        }
        let before = (desk.backlog() > 0, desk.retryable > 0);
        desk.accept(&shared.board, &task, parts, span, &mut effects);
        if before != (desk.backlog() > 0, desk.retryable > 0) {
            shared.settle(&mut desk);
        }
        shared.finish(desk, effects);
        Ok(task)
    }

    /// Gives a single task other limits, at any time before its end. The timeout counts from the
    /// start of the attempt that runs, the retries from now on. Of no effect on a batch, nor on a
    /// task that is being stopped.
    pub fn set_limits(&self, task: &Arc<Task>, limits: Limits) {
        let shared = &*self.shared;
        if !self.is_ours() {
            return;
        }
        let mut desk = shared.lock();
        let before = desk.retryable > 0;
        desk.set_limits(&shared.board, task, limits);
        if before != (desk.retryable > 0) {
            shared.settle(&mut desk);
        }
        shared.finish(desk, Effects::default());
    }

    /// Withdraws a task, or stops it although it runs: it is asked to stop, and after the pool's
    /// [`Config::stop_grace`] its worker is killed. It ends as [`Outcome::Cancelled`], unless it
    /// ended just before. Items of a batch end each by itself. Returns at once.
    ///
    /// [`Outcome::Cancelled`]: crate::task::Outcome::Cancelled
    pub fn stop(&self, task: &Arc<Task>) {
        let shared = &*self.shared;
        if !self.is_ours() {
            return;
        }
        let mut effects = Effects::default();
        let mut desk = shared.lock();
        shared.drain(&mut desk, &mut effects);
        desk.stop(&shared.board, task, &mut effects);
        shared.finish(desk, effects);
    }

    /// Withdraws what has not begun; true when nothing of the task runs or will run, so that it
    /// ends as [`Outcome::Cancelled`]. What runs already is not tried again.
    ///
    /// [`Outcome::Cancelled`]: crate::task::Outcome::Cancelled
    #[must_use]
    pub fn cancel(&self, task: &Arc<Task>) -> bool {
        let shared = &*self.shared;
        if !self.is_ours() {
            return false;
        }
        let mut effects = Effects::default();
        let mut desk = shared.lock();
        shared.drain(&mut desk, &mut effects);
        let withdrawn = desk.cancel(&shared.board, task, &mut effects);
        shared.finish(desk, effects);
        withdrawn
    }

    /// Has a worker begun the task?
    #[must_use]
    pub fn is_running(&self, task: &Task) -> bool {
        !task.is_done() && Desk::is_running(&self.shared.board, task)
    }

    /// Reads completions that are there, without waiting.
    pub fn poll(&self) {
        if !self.is_ours() {
            return;
        }
        let mut effects = Effects::default();
        let mut desk = self.shared.lock();
        self.shared.drain(&mut desk, &mut effects);
        self.shared.finish(desk, effects);
    }

    /// Blocks the calling thread until the task has ended.
    ///
    /// # Errors
    /// A forked child inherited the pool. As poll(2), which does not happen on a sound system.
    pub fn wait(&self, task: &Arc<Task>, timeout: Option<Duration>) -> io::Result<Waited> {
        self.wait_with(task, timeout, None)
    }

    /// Looks for the task's completion for a moment, without sleeping; true when it has ended.
    #[must_use]
    pub fn look(&self, task: &Task, timeout: Option<Duration>) -> bool {
        task.is_done() || (self.is_ours() && self.shared.spin(task, timeout))
    }

    /// As [`Pool::wait`], and interrupted as well while `interrupt` is readable. With that it sleeps at
    /// once; [`Pool::look`] comes before.
    ///
    /// # Errors
    /// As [`Pool::wait`].
    pub fn wait_with(
        &self,
        task: &Arc<Task>,
        timeout: Option<Duration>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> io::Result<Waited> {
        if !self.is_ours() && !task.is_done() {
            return Err(io::Error::other(SubmitError::OtherProcess));
        }
        self.shared.wait(task, timeout, interrupt)
    }

    /// From now on (`true`), or no longer, somebody waits for completions in a way that the
    /// engine can not see, a callback for instance; calls are counted.
    pub fn watch_unseen(&self, more: bool) {
        if !self.is_ours() {
            return;
        }
        let mut desk = self.shared.lock();
        match more {
            true => desk.watchers += 1,
            false => desk.watchers -= 1,
        }
        self.shared.settle(&mut desk);
    }

    /// A door for an event loop.
    ///
    /// # Errors
    /// A forked child inherited the pool, or no descriptor is left.
    pub fn open_door(&self) -> io::Result<Arc<LoopDoor>> {
        if !self.is_ours() {
            return Err(io::Error::other(SubmitError::OtherProcess));
        }
        self.shared.open_door()
    }

    /// The loop behind the door is gone.
    pub fn close_door(&self, door: &Arc<LoopDoor>) {
        if !self.is_ours() {
            return;
        }
        self.shared.close_door(door);
    }

    /// The loop waits for one task more (`true`), or one fewer.
    pub fn count_wait(&self, door: &LoopDoor, more: bool) {
        if !self.is_ours() {
            return;
        }
        self.shared.count_wait(door, more);
    }

    /// The door's descriptor was readable: the keys of what has ended for the loop.
    #[must_use]
    pub fn read_door(&self, door: &Arc<LoopDoor>) -> Vec<u64> {
        if !self.is_ours() {
            return Vec::new();
        }
        self.shared.read_door(door)
    }

    /// Why it is broken, if it is.
    #[must_use]
    pub fn broken(&self) -> Option<&Arc<Broken>> {
        self.shared.broken.get()
    }

    /// Did this process create it?
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.shared.mark.is_current()
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &*self.shared;
        // In a forked child the lock may be held by a thread that does not exist there.
        let desk = self.is_ours().then(|| shared.lock());
        let pid = |worker| shared.board.worker(worker).pid.load(Ordering::Relaxed);
        Status {
            workers: (0..shared.config.workers)
                .map(|worker| (pid(worker), shared.board.phase(worker)))
                .collect(),
            outstanding: desk.as_ref().map_or(0, |desk| desk.outstanding),
            backlog: desk.as_ref().map_or(0, |desk| desk.backlog()),
            closed: desk.as_ref().is_none_or(|desk| desk.life != Life::Open),
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pool").field(&self.status()).finish()
    }
}

const _: () = assert!(THREADS_DOORBELL < DOORBELLS);
