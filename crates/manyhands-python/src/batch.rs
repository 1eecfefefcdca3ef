//! A batch of small tasks that travel together; each keeps an outcome of its own.

use std::sync::{Arc, Mutex, PoisonError};

use manyhands::task::{Outcome, Task};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::door::Door;
use crate::functions::Shipped;
use crate::outcome::{Settled, build, settle};
use crate::pool::{Core, seconds, wait};

/// Items under way.
#[pyclass(frozen, module = "manyhands._engine")]
pub(crate) struct Batch {
    core: Arc<Core>,
    task: Arc<Task>,
    name: String,
    elapsed: Mutex<f64>,
}

impl Batch {
    pub(crate) fn new(core: Arc<Core>, task: Arc<Task>, shipped: Arc<Shipped>) -> Self {
        Self {
            core,
            task,
            name: shipped.name.clone(),
            elapsed: Mutex::new(0.0),
        }
    }

    pub(crate) fn marker(core: Arc<Core>, task: Arc<Task>) -> Self {
        Self {
            core,
            task,
            name: String::new(),
            elapsed: Mutex::new(0.0),
        }
    }
}

#[pymethods]
impl Batch {
    /// Has every item ended?
    fn done(&self, py: Python<'_>) -> bool {
        if !self.task.is_done() {
            py.detach(|| self.core.pool.poll());
        }
        self.task.is_done()
    }

    /// Blocks until every item has ended; false when the time is over.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        if self.task.is_done() {
            return Ok(true);
        }
        wait(py, &self.core, &self.task, seconds(timeout)?)
    }

    /// The pool's table of event loops.
    #[getter]
    fn _hubs(&self, py: Python<'_>) -> Py<PyAny> {
        self.core.hubs.clone_ref(py)
    }

    /// A door to the pool for an event loop.
    #[pyo3(signature = (_loop=None))]
    fn _open_door(&self, _loop: Option<&Bound<'_, PyAny>>) -> PyResult<Door> {
        Door::open(self.core.clone())
    }

    /// Has the loop behind `door` woken under `key`; false when it has ended already.
    fn _watch(&self, py: Python<'_>, door: &Door, key: u64) -> bool {
        door.watch(py, &self.task, key)
    }

    /// Withdraws the items that have not begun.
    fn cancel(&self, py: Python<'_>) -> bool {
        py.detach(|| self.core.pool.cancel(&self.task))
    }

    /// Wall time of the whole batch in its worker, in seconds; 0.0 before `take`.
    #[getter]
    fn elapsed(&self) -> f64 {
        *self.elapsed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of items.
    fn __len__(&self) -> usize {
        self.task.items() as usize
    }

    /// Once, after it is done: the values in order, and `{index: exception}` for the items that
    /// have none (their value is `None`).
    fn take<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyDict>)> {
        let errors = PyDict::new(py);
        let count = self.task.items() as usize;
        let nothing = || (0..count).map(|_| py.None());
        let cancelled = || build(self.core.errors.bind(py), "cancelled", ());
        let outcome = match self.task.take_outcome() {
            Some(Outcome::Batch { items, elapsed }) => {
                *self.elapsed.lock().unwrap_or_else(PoisonError::into_inner) =
                    elapsed.as_secs_f64();
                items
            }
            // All items share what became of the batch.
            other => {
                let settled = other.map(|outcome| settle(py, &self.core, outcome, &self.name));
                let error = match settled {
                    Some(Settled::Error(error)) => error,
                    _ => cancelled().into_value(py),
                };
                for index in 0..count {
                    errors.set_item(index, &error)?;
                }
                return Ok((PyList::new(py, nothing())?, errors));
            }
        };
        let mut values = Vec::with_capacity(count);
        for (index, outcome) in outcome.into_iter().enumerate() {
            match settle(py, &self.core, outcome, &self.name) {
                Settled::Value(value) => values.push(value),
                Settled::Error(error) => {
                    errors.set_item(index, error)?;
                    values.push(py.None());
                }
                Settled::Cancelled => {
                    errors.set_item(index, cancelled().value(py))?;
                    values.push(py.None());
                }
            }
        }
        Ok((PyList::new(py, values)?, errors))
    }

    fn __repr__(&self) -> String {
        let state = if self.task.is_done() {
            "done"
        } else {
            "pending"
        };
        format!("<Batch of {} × {}: {state}>", self.task.items(), self.name)
    }
}
