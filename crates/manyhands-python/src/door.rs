//! An event loop's door to a pool: what `add_reader` watches.

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use manyhands::process::{LoopDoor, LoopWaiter};
use manyhands::task::{Task, Waiter};
use pyo3::intern;
use pyo3::prelude::*;

use crate::future::is_interruption;
use crate::outcome::os_error;
use crate::pool::Core;

/// A descriptor that is readable when something has ended for an event loop.
#[pyclass(frozen, module = "manyhands._engine")]
pub(crate) struct Door {
    core: Arc<Core>,
    door: Arc<LoopDoor>,
    /// What counts as waited for: an end that is told twice, as Ctrl-C came between, counts once.
    waits: Mutex<HashSet<u64>>,
    /// Waits for the end of the pool, which would keep the door until then.
    end: Mutex<Option<Arc<dyn Waiter>>>,
}

impl Door {
    pub(crate) fn open(core: Arc<Core>) -> PyResult<Self> {
        let door = core.pool.open_door().map_err(os_error)?;
        Ok(Self {
            core,
            door,
            waits: Mutex::default(),
            end: Mutex::default(),
        })
    }

    /// Has the loop woken for `task` under `key`; false when the task has ended already.
    pub(crate) fn watch(&self, py: Python<'_>, task: &Arc<Task>, key: u64) -> bool {
        let waiter: Arc<dyn Waiter> = LoopWaiter::new(self.door.clone(), key);
        if !task.watch(waiter) {
            return false;
        }
        self.waits().insert(key);
        py.detach(|| self.core.pool.count_wait(&self.door, true));
        true
    }

    fn waits(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.waits().clear();
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

    /// Appends the keys of what has ended to the deque `ended`, and calls `complete()`. Should Ctrl-C
    /// cut that off, the loop is woken once more, for what is left in the deque.
    fn serve(&self, ended: &Bound<'_, PyAny>, complete: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = ended.py();
        hand_over(ended, self.read(py), complete).inspect_err(|error| {
            if is_interruption(py, error) {
                self.door.ring();
            }
        })
    }

    /// Has the loop woken under `key` when the pool's last worker has gone, without counting as a
    /// wait: nobody need read completions for it.
    fn watch_end(&self, key: u64) {
        let waiter: Arc<dyn Waiter> = LoopWaiter::new(self.door.clone(), key);
        if self.core.pool.gone().watch(waiter.clone()) {
            *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(waiter);
        }
    }

    /// The wait under `key` is over; nothing if it was already.
    fn leave(&self, py: Python<'_>, key: u64) {
        let left = self.waits().remove(&key);
        if left {
            py.detach(|| self.core.pool.count_wait(&self.door, false));
        }
    }

    /// The loop will not watch the descriptor any more.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.close_now());
    }
}

/// What a loop has to complete, in native code up to the call: no signal handler runs between.
pub(crate) fn hand_over(
    ended: &Bound<'_, PyAny>,
    keys: Vec<u64>,
    complete: &Bound<'_, PyAny>,
) -> PyResult<()> {
    ended.call_method1(intern!(ended.py(), "extend"), (keys,))?;
    complete.call0().map(drop)
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close_now();
    }
}
