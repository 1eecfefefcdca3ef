//! What a future stands for: a task in a process, or one in a thread.

use std::sync::Arc;
use std::time::Duration;

use manyhands::task::Task;
use pyo3::prelude::*;

use crate::functions::Shipped;
use crate::outcome::build;
use crate::pool::{self, Core};
use crate::threads::task::ThreadTask;
use crate::threads::waiting::Ending;

/// A task in a process.
pub(crate) struct ProcessTask {
    pub(crate) core: Arc<Core>,
    pub(crate) task: Arc<Task>,
    pub(crate) shipped: Arc<Shipped>,
}

/// See the module's documentation.
pub(crate) enum Backing {
    Process(ProcessTask),
    Thread(ThreadTask),
}

impl Backing {
    /// Has the task ended, as far as this process knows?
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Process(inner) => inner.task.is_done(),
            Self::Thread(task) => task.is_done(),
        }
    }

    /// Has it begun, and not ended?
    pub(super) fn is_running(&self) -> bool {
        match self {
            Self::Process(inner) => inner.core.pool.is_running(&inner.task),
            Self::Thread(task) => task.is_running(),
        }
    }

    /// The exception of a task that was cancelled.
    pub(super) fn cancelled(&self, py: Python<'_>) -> PyErr {
        let errors = match self {
            Self::Process(inner) => inner.core.errors.bind(py),
            Self::Thread(task) => task.threads.errors.bind(py),
        };
        build(errors, "cancelled", ())
    }

    /// Reads what has been reported; then as [`is_done`](Self::is_done).
    pub(super) fn poll(&self, py: Python<'_>) -> bool {
        if let Self::Process(inner) = self
            && !inner.task.is_done()
        {
            py.detach(|| inner.core.pool.poll());
        }
        self.is_done()
    }

    /// Waits for the end; false when the time is over.
    pub(super) fn wait(&self, py: Python<'_>, timeout: Option<Duration>) -> PyResult<bool> {
        if self.is_done() {
            return Ok(true);
        }
        match self {
            Self::Process(inner) => pool::wait(py, &inner.core, &inner.task, timeout),
            Self::Thread(task) => task.threads.wait(py, task, timeout),
        }
    }
}
