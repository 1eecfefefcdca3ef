//! An event loop's door to a pool: what `add_reader` watches.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, PoisonError};

use manyhands::process::{LoopDoor, LoopWaiter};
use manyhands::task::{Task, Waiter};
use pyo3::prelude::*;

use crate::outcome::os_error;
use crate::pool::Core;

/// A descriptor that is readable when something has ended for an event loop.
#[pyclass(frozen, module = "manyhands._engine")]
pub(crate) struct Door {
    core: Arc<Core>,
    door: Arc<LoopDoor>,
    /// Waits for the end of the pool, which would keep the door until then.
    end: Mutex<Option<Arc<dyn Waiter>>>,
}

impl Door {
    pub(crate) fn open(core: Arc<Core>) -> PyResult<Self> {
        let door = core.pool.open_door().map_err(os_error)?;
        Ok(Self {
            core,
            door,
            end: Mutex::default(),
        })
    }

    /// Has the loop woken for `task` under `key`; false when the task has ended already.
    pub(crate) fn watch(&self, py: Python<'_>, task: &Arc<Task>, key: u64) -> bool {
        let waiter: Arc<dyn Waiter> = LoopWaiter::new(self.door.clone(), key);
        if !task.watch(waiter) {
            return false;
        }
        py.detach(|| self.core.pool.count_wait(&self.door, true));
        true
    }

    fn close_now(&self) {
        let end = self
            .end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waiter) = end {
            self.core.pool.gone().unwatch(&waiter);
        }
        self.core.pool.close_door(&self.door);
    }
}

#[pymethods]
impl Door {
    /// The descriptor to watch for reading.
    fn fileno(&self) -> i32 {
        self.door.as_fd().as_raw_fd()
    }

    /// The keys of what has ended. For each, `leave` is due, unless it was left before.
    fn read(&self, py: Python<'_>) -> Vec<u64> {
        py.detach(|| self.core.pool.read_door(&self.door))
    }

    /// Has the loop woken under `key` when the pool's last worker has gone, without counting as a
    /// wait: nobody need read completions for it.
    fn watch_end(&self, key: u64) {
        let waiter: Arc<dyn Waiter> = LoopWaiter::new(self.door.clone(), key);
        if self.core.pool.gone().watch(waiter.clone()) {
            *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(waiter);
        }
    }

    /// One wait is over.
    fn leave(&self, py: Python<'_>) {
        py.detach(|| self.core.pool.count_wait(&self.door, false));
    }

    /// The loop will not watch the descriptor any more.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.close_now());
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close_now();
    }
}
