//! The thread that runs a pool's done-callbacks, one pool one thread, started with the first.
//!
//! A future with callbacks is kept alive until they have run. Nothing of the engine waits for
//! this thread, so a callback may block without stopping the pool.
//!
//! The interpreter ends a thread that asks for its lock while it finalizes, in the middle of
//! whatever that does (PEP 788), which native code does not survive. So the threads are stopped
//! before ([`stop_all`]), and callbacks of executors waited for ([`join_executors`]).

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use manyhands::sys::event::{Event, Woken};
use manyhands::sys::forked::ProcessMark;
use manyhands::task::Waiter;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::future::FutureBase;
use crate::interrupts::Interrupts;
use crate::outcome::os_error;
use crate::strangers;

#[derive(Default)]
struct Queue {
    ready: VecDeque<Py<FutureBase>>,
    /// Futures whose callbacks have not run yet, ready or not.
    expected: usize,
    thread: Option<std::thread::ThreadId>,
    /// The interpreter is ending: nobody is called back any more.
    stopped: bool,
}

/// Those of all pools.
static ALL: Mutex<Vec<Weak<Callbacks>>> = Mutex::new(Vec::new());

/// The interpreter is ending: each thread ends with the callback that it is in; what is left is
/// dropped. Waits for them, so long at most: one may be in a callback that never returns, and so
/// never asks the interpreter for anything.
pub(crate) fn stop_all(timeout: Duration) {
    let all = std::mem::take(&mut *ALL.lock().unwrap_or_else(PoisonError::into_inner));
    let deadline = Instant::now() + timeout;
    for callbacks in all.iter().filter_map(Weak::upgrade) {
        // The threads of those that a forked child inherited do not exist there.
        if callbacks.mark.is_current() {
            callbacks.stop(deadline);
        }
    }
}

/// The interpreter is ending: waits until the callbacks of all executors have run, of those too
/// that nobody has any more, as the standard library does. (Ctrl-C ends the wait.)
pub(crate) fn join_executors(py: Python<'_>) -> PyResult<()> {
    let all: Vec<_> = {
        let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).collect()
    };
    for callbacks in all {
        if callbacks.of_executor && callbacks.mark.is_current() {
            callbacks.join_open_to_signals(py, None)?;
        }
    }
    Ok(())
}

/// See the module's documentation.
pub(crate) struct Callbacks {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Set while no callbacks are expected.
    idle: Event,
    /// Of an executor, whose callbacks the end of the interpreter waits for.
    of_executor: bool,
    mark: ProcessMark,
    /// Who waits for the pool is to hear of signals.
    pub(crate) interrupts: Arc<Interrupts>,
}

impl Callbacks {
    pub(crate) fn new(py: Python<'_>, of_executor: bool) -> std::io::Result<Arc<Self>> {
        let idle = Event::new()?;
        idle.set();
        let callbacks = Arc::new(Self {
            queue: Mutex::default(),
            changed: Condvar::new(),
            idle,
            of_executor,
            mark: ProcessMark::current(),
            interrupts: Interrupts::shared(py)?,
        });
        // Taken with the interpreter's lock only, so that no fork finds it held.
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&callbacks));
        Ok(callbacks)
    }

    fn stop(&self, deadline: Instant) {
        let mut queue = self.lock();
        queue.stopped = true;
        let dropped = std::mem::take(&mut queue.ready);
        self.changed.notify_all();
        while queue
            .thread
            .is_some_and(|id| id != std::thread::current().id())
        {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(queue);
        self.idle.set();
        drop(dropped);
    }

    /// Counts one more (`true`) or one fewer to come.
    fn count(&self, queue: &mut Queue, more: bool) {
        if more {
            queue.expected += 1;
            self.idle.clear();
        } else {
            queue.expected -= 1;
            if queue.expected == 0 {
                self.idle.set();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the calling process have the thread? A forked child does not, and must not touch its
    /// lock.
    pub(crate) fn is_ours(&self) -> bool {
        self.mark.is_current()
    }

    /// Announces a future whose callbacks will have to run; the thread starts if none does.
    pub(crate) fn expect(self: &Arc<Self>) -> PyResult<()> {
        let mut queue = self.lock();
        if queue.stopped {
            return Err(PyRuntimeError::new_err(
                "the interpreter is ending; nobody can be called back any more",
            ));
        }
        self.count(&mut queue, true);
        if queue.thread.is_none() {
            let callbacks = self.clone();
            let run = move || callbacks.run();
            let started =
                manyhands::sys::signals::spawn_without_signals("manyhands-calls".into(), run);
            match started {
                // Known before the thread can ask: it needs the lock for that.
                Ok(thread) => queue.thread = Some(thread.thread().id()),
                Err(error) => {
                    self.count(&mut queue, false);
                    return Err(os_error(error));
                }
            }
        }
        Ok(())
    }

    /// An announced future had ended already, or has been delivered.
    pub(crate) fn settled(&self) {
        self.count(&mut self.lock(), false);
        self.changed.notify_all();
    }

    fn push(&self, future: Py<FutureBase>) {
        let mut queue = self.lock();
        if queue.stopped {
            drop(queue);
            drop(future);
            return;
        }
        queue.ready.push_back(future);
        drop(queue);
        self.changed.notify_all();
    }

    /// Ends when nothing is expected any more; the next `expect` starts another thread.
    fn run(&self) {
        loop {
            let future = {
                let mut queue = self.lock();
                loop {
                    if queue.stopped {
                        queue.thread = None;
                        self.changed.notify_all();
                        return;
                    }
                    if let Some(future) = queue.ready.pop_front() {
                        break future;
                    }
                    if queue.expected == 0 {
                        queue.thread = None;
                        self.changed.notify_all();
                        return;
                    }
                    queue = self
                        .changed
                        .wait(queue)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            };
            // No interpreter any more: nobody is left to be called back.
            let delivered = Python::try_attach(|py| {
                let future = future.into_bound(py);
                FutureBase::deliver(&future);
                // Here, or it would go only when somebody next calls into this module.
                strangers::release(future);
            });
            if delivered.is_none() {
                return;
            }
            self.settled();
        }
    }

    /// Waits until all callbacks have run, detached; in the main thread, Python's signal handlers
    /// run in between. At once when called by one of the callbacks. False when the time is over.
    pub(crate) fn join_open_to_signals(
        &self,
        py: Python<'_>,
        deadline: Option<Instant>,
    ) -> PyResult<bool> {
        loop {
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            let listening = self.interrupts.listen(py)?;
            let interrupt = listening.as_ref().map(AsFd::as_fd);
            let joined = py.detach(|| self.join(left, interrupt));
            if let Some(listening) = listening {
                listening.end(!matches!(joined, Ok(Woken::Ready)));
            }
            match joined.map_err(os_error)? {
                Woken::Ready => return Ok(true),
                Woken::TimedOut => return Ok(false),
                // Its handler has its say now.
                Woken::Interrupted => {}
            }
        }
    }

    fn join(
        &self,
        timeout: Option<Duration>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> std::io::Result<Woken> {
        if self.lock().thread == Some(std::thread::current().id()) {
            return Ok(Woken::Ready);
        }
        match interrupt {
            Some(interrupt) => self.idle.wait_or(timeout, interrupt),
            None => self.idle.wait(timeout),
        }
    }
}

/// Puts a future among the ready ones when its task has ended.
pub(crate) struct CallbackWaiter {
    callbacks: Arc<Callbacks>,
    future: Mutex<Option<Py<FutureBase>>>,
}

impl CallbackWaiter {
    pub(crate) fn new(callbacks: Arc<Callbacks>, future: Py<FutureBase>) -> Arc<Self> {
        Arc::new(Self {
            callbacks,
            future: Mutex::new(Some(future)),
        })
    }
}

impl Waiter for CallbackWaiter {
    fn wake(&self) {
        let future = self
            .future
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(future) = future {
            self.callbacks.push(future);
        }
    }
}
