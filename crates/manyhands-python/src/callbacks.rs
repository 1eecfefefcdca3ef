//! The thread that runs a pool's done-callbacks, one pool one thread, started with the first.
//!
//! A future with callbacks is kept alive until they have run. Nothing of the engine waits for
//! this thread, so a callback may block without stopping the pool.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use manyhands::sys::event::{Event, Woken};
use manyhands::sys::signals::Blocked;
use manyhands::task::Waiter;
use pyo3::prelude::*;

use crate::future::FutureBase;

#[derive(Default)]
struct Queue {
    ready: VecDeque<Py<FutureBase>>,
    /// Futures whose callbacks have not run yet, ready or not.
    expected: usize,
    thread: Option<std::thread::ThreadId>,
}

/// See the module's documentation.
pub(crate) struct Callbacks {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Set while no callbacks are expected.
    idle: Event,
}

impl Callbacks {
    pub(crate) fn new() -> std::io::Result<Arc<Self>> {
        let idle = Event::new()?;
        idle.set();
        Ok(Arc::new(Self {
            queue: Mutex::default(),
            changed: Condvar::new(),
            idle,
        }))
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

    /// Announces a future whose callbacks will have to run; the thread starts if none does.
    pub(crate) fn expect(self: &Arc<Self>) -> PyResult<()> {
        let mut queue = self.lock();
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
                    return Err(error.into());
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
        self.lock().ready.push_back(future);
        self.changed.notify_all();
    }

    /// Ends when nothing is expected any more; the next `expect` starts another thread.
    fn run(&self) {
        loop {
            let future = {
                let mut queue = self.lock();
                loop {
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
                FutureBase::deliver(future.bind(py));
                // Here, or it would go only when somebody next calls into this module.
                drop(future);
            });
            if delivered.is_none() {
                return;
            }
            self.settled();
        }
    }

    /// Waits until all callbacks have run; at once when called by one of them.
    pub(crate) fn join(
        &self,
        timeout: Option<Duration>,
        blocked: Option<&Blocked>,
    ) -> std::io::Result<Woken> {
        if self.lock().thread == Some(std::thread::current().id()) {
            return Ok(Woken::Ready);
        }
        match blocked {
            Some(blocked) => self.idle.wait_unblocked(timeout, blocked),
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
