//! What asyncio runs in place of a user's coroutine.

use std::cell::Cell;

use pyo3::exceptions::PyStopIteration;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::iterator::PySendResult;
use pyo3::types::{PyIterator, PyTuple};

use super::CoroutineLane;

/// The coroutine that an asyncio task runs for us: drives the user's, and reports its outcome when
/// it ends. To the task it ends well, whatever the user's raises: SystemExit in one coroutine
/// must not end the loop of all.
#[pyclass(unsendable, module = "manyhands._engine")]
pub(super) struct Driver {
    pub(super) lane: Py<CoroutineLane>,
    pub(super) key: u64,
    pub(super) item: Option<u32>,
    pub(super) awaitable: Py<PyAny>,
    pub(super) steps: Py<PyIterator>,
    pub(super) ended: Cell<bool>,
}

impl Driver {
    /// What the task gets: what the user's coroutine waits for, or the end.
    fn forward<'py>(
        &self,
        py: Python<'py>,
        step: PyResult<PySendResult<'py>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let ended = match step {
            Ok(PySendResult::Next(waits_for)) => return Ok(waits_for),
            Ok(PySendResult::Return(value)) => Ok(value),
            Err(error) => Err(error),
        };
        self.ended.set(true);
        let lane = self.lane.bind(py);
        let task = lane
            .borrow()
            .state
            .borrow_mut()
            .tasks
            .remove(&(self.key, self.item));
        lane.borrow().end(py, self.key, self.item, ended);
        CoroutineLane::schedule(lane)?;
        drop(task);
        Err(PyStopIteration::new_err(()))
    }
}

#[pymethods]
impl Driver {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let step = self.steps.bind(py).send(py.None().bind(py));
        self.forward(py, step)
    }

    fn send<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = value.py();
        self.forward(py, self.steps.bind(py).send(value))
    }

    #[pyo3(signature = (*error))]
    fn throw<'py>(&self, error: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        let py = error.py();
        let step = match self
            .awaitable
            .bind(py)
            .call_method1(intern!(py, "throw"), error)
        {
            Ok(waits_for) => Ok(PySendResult::Next(waits_for)),
            Err(stop) if stop.is_instance_of::<PyStopIteration>(py) => Ok(PySendResult::Return(
                stop.value(py).getattr(intern!(py, "value"))?,
            )),
            Err(error) => Err(error),
        };
        self.forward(py, step)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.awaitable.bind(py).call_method0(intern!(py, "close"))?;
        Ok(())
    }
}
