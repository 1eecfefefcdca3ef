//! What a pool of threads shares with its futures and its batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use manyhands::thread::Executor;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::alive::Alive;
use super::hands::Hands;
use super::waiting::{self, Ending, MainBed};

/// See the module's documentation.
pub(crate) struct Threads {
    /// There until this is dropped.
    pub(super) executor: Option<Executor<Hands>>,
    pub(crate) alive: Arc<Alive>,
    pub(crate) main: MainBed,
    /// What makes its exceptions.
    pub(crate) errors: Py<PyAny>,
    pub(super) killed: AtomicBool,
}

impl Threads {
    pub(super) fn executor(&self) -> PyResult<&Executor<Hands>> {
        self.executor
            .as_ref()
            .ok_or_else(|| PyRuntimeError::new_err("the pool is being dropped"))
    }

    /// Did this process make the pool? A forked child has none of its threads, and must not touch
    /// its locks.
    pub(crate) fn is_ours(&self) -> bool {
        self.alive.is_ours()
    }

    pub(crate) fn check_ours(&self) -> PyResult<()> {
        if self.is_ours() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err(
            "this thread pool belongs to the process that this one was forked from, and its \
             threads are there; make a pool in this process",
        ))
    }

    /// Is nothing more to be begun, of batches under way either?
    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Takes no more tasks; what was submitted is run.
    pub(crate) fn close(&self) {
        if let Some(executor) = &self.executor {
            executor.close();
        }
        self.alive.close();
        if self.alive.is_done()
            && let Some(executor) = &self.executor
        {
            executor.worker().initializer.let_go();
        }
    }

    /// Waits for what is done by this pool's threads.
    pub(crate) fn wait(
        &self,
        py: Python<'_>,
        what: &dyn Ending,
        timeout: Option<Duration>,
    ) -> PyResult<bool> {
        if !what.is_done() {
            self.check_ours()?;
        }
        waiting::wait(py, what, &self.main, timeout)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if !self.is_ours() {
            // A lock may be held for ever by a thread that does not exist here.
            std::mem::forget(self.executor.take());
        }
    }
}
