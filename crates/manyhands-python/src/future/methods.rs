//! What Python calls on a future.

use super::*;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::door::Door;
use crate::threads::door::{ThreadDoor, thread_hubs};

#[pymethods]
impl FutureBase {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            backing: OnceLock::new(),
            settled: OnceLock::new(),
            watchers: Mutex::default(),
        }
    }

    /// An attribute of the program's own may lead back here.
    fn __setattr__(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyString>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        tracking::track(slf);
        tracking::set_attribute(slf, name, Some(value))
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>) -> PyResult<()> {
        tracking::set_attribute(slf, name, None)
    }

    /// Takes the place of `concurrent.futures.Future.__init__`, which would make a condition.
    fn __init__(&self) {}

    /// For the garbage collector. An exception that was raised holds the frames that it passed,
    /// and one of those usually holds this future. (The frames can let go, so `__clear__` need
    /// not exist.)
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(settled) = self.settled.get() {
            settled.traverse(&visit)?;
        }
        if let Ok(watchers) = self.watchers.try_lock() {
            for callback in &watchers.callbacks {
                match callback {
                    Callback::Call(callback) => visit.call(callback)?,
                    Callback::Chain(chain, _) => chain.traverse(&visit)?,
                }
            }
            if let Some((condition, waiters)) = &watchers.condition {
                visit.call(condition)?;
                visit.call(waiters)?;
            }
        }
        Ok(())
    }

    /// The task's result; waits for it, at most `timeout` seconds.
    ///
    /// Raises:
    ///     TimeoutError: It is not there in time; the task goes on.
    ///     CancelledError: The task was cancelled.
    ///     WorkerDied: The worker's process died while it ran the task.
    ///     Exception: What the task raised, with the worker's traceback as its cause.
    ///
    ///     >>> import manyhands as mh
    ///     >>> with mh.Pool(1) as pool:
    ///     ...     pool.submit(divmod, 17, 5).result()
    ///     (3, 2)
    #[pyo3(signature = (timeout=None))]
    fn result(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        match Self::wait(slf, timeout)? {
            Settled::Value(value) => Ok(value.clone_ref(py)),
            Settled::Error(error) => Err(PyErr::from_value(error.bind(py).clone().into_any())),
            Settled::Cancelled => Err(slf.get().backing()?.cancelled(py)),
        }
    }

    /// What the task raised, or `None`; waits for its end, at most `timeout` seconds.
    ///
    /// Raises:
    ///     TimeoutError: It has not ended in time; it goes on.
    ///     CancelledError: The task was cancelled.
    ///
    ///     >>> import manyhands as mh
    ///     >>> with mh.Pool(1) as pool:
    ///     ...     pool.submit(int, "x").exception()
    ///     ValueError("invalid literal for int() with base 10: 'x'")
    #[pyo3(signature = (timeout=None))]
    fn exception(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        let py = slf.py();
        match Self::wait(slf, timeout)? {
            Settled::Value(_) => Ok(None),
            Settled::Error(error) => Ok(Some(error.clone_ref(py).into_any())),
            Settled::Cancelled => Err(slf.get().backing()?.cancelled(py)),
        }
    }

    /// Has the task ended, in whatever way?
    ///
    ///     >>> import manyhands as mh
    ///     >>> with mh.Pool(1) as pool:
    ///     ...     future = pool.submit(abs, -7)
    ///     >>> future.done()
    ///     True
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.settled.get().is_some() || self.backing()?.poll(py))
    }

    /// Has a worker begun the task, and not ended it?
    ///
    ///     >>> import manyhands as mh
    ///     >>> with mh.Pool(1) as pool:
    ///     ...     future = pool.submit(abs, -7)
    ///     >>> future.running()
    ///     False
    fn running(&self) -> PyResult<bool> {
        Ok(self.backing()?.is_running())
    }

    /// Was the task withdrawn before it began?
    ///
    ///     >>> import manyhands as mh
    ///     >>> with mh.Pool(1) as pool:
    ///     ...     future = pool.submit(abs, -7)
    ///     >>> future.cancelled()
    ///     False
    fn cancelled(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Self::is_cancelled(slf)
    }

    /// Withdraws the task if it has not begun; tells whether it is withdrawn.
    ///
    ///     >>> import time
    ///     >>> import manyhands as mh
    ///     >>> with mh.Pool(1) as pool:
    ///     ...     first = pool.submit(time.sleep, 0.1)
    ///     ...     pool.submit(abs, -7).cancel()
    ///     True
    fn cancel(slf: &Bound<'_, Self>) -> PyResult<bool> {
        match slf.get().backing()? {
            Backing::Thread(_) => Self::withdraw(slf),
            Backing::Process(inner) if inner.task.is_done() => Self::is_cancelled(slf),
            Backing::Process(inner) => Ok(slf.py().detach(|| inner.core.pool.cancel(&inner.task))),
        }
    }

    /// Calls `fn(future)` when the task has ended: on the pool's callback thread (of
    /// processes) or the thread that ran it, or at once in this one if it has already. What a callback raises is
    /// logged; what is no `Exception`, such as Ctrl-C, is raised here if the callback runs here.
    ///
    ///     >>> import manyhands as mh
    ///     >>> with mh.Pool(1) as pool:
    ///     ...     future = pool.submit(abs, -7)
    ///     ...     future.add_done_callback(lambda ended: print(ended.result()))
    ///     7
    fn add_done_callback(slf: &Bound<'_, Self>, r#fn: Bound<'_, PyAny>) -> PyResult<()> {
        Self::add_callback(slf, r#fn)
    }

    /// For an event loop: the function, its arguments and the context; `None` if the task was
    /// withdrawn.
    #[allow(clippy::type_complexity)]
    fn _begin(
        &self,
    ) -> Option<(
        Py<PyAny>,
        Py<PyTuple>,
        Option<Py<PyDict>>,
        Option<Py<PyAny>>,
    )> {
        let call = self.begin()?;
        Some((call.function, call.args, call.kwargs, call.context))
    }

    /// For an event loop: the task has ended with `value`, or with `error`; with neither of them
    /// it was cancelled. What ended it first counts.
    #[pyo3(signature = (value, error=None, *, cancelled=false))]
    fn _end(
        slf: &Bound<'_, Self>,
        value: Py<PyAny>,
        error: Option<Bound<'_, PyAny>>,
        cancelled: bool,
    ) -> bool {
        let settled = match error {
            _ if cancelled => Settled::Cancelled,
            None => Settled::Value(value),
            Some(error) => Settled::error(slf.py(), PyErr::from_value(error)),
        };
        Self::end_if_running(slf, settled, &mut AtOnce)
    }

    /// The table of event loops that wait for the pool, or for threads.
    #[getter]
    fn _hubs(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.backing()? {
            Backing::Process(inner) => Ok(inner.core.hubs.clone_ref(py)),
            Backing::Thread(_) => thread_hubs(py),
        }
    }

    /// A door for an event loop: to the pool, or to all threads.
    fn _open_door<'py>(
        &self,
        py: Python<'py>,
        r#loop: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.backing()? {
            Backing::Process(inner) => {
                Ok(Bound::new(py, Door::open(inner.core.clone())?)?.into_any())
            }
            Backing::Thread(_) => Ok(Bound::new(py, ThreadDoor::to(Some(r#loop))?)?.into_any()),
        }
    }

    /// Has the loop behind `door` woken under `key`; false when the task has ended already.
    fn _watch(&self, door: &Bound<'_, PyAny>, key: u64) -> PyResult<bool> {
        match self.backing()? {
            Backing::Process(inner) => {
                Ok(door
                    .cast::<Door>()?
                    .get()
                    .watch(door.py(), &inner.task, key))
            }
            Backing::Thread(task) => Ok(door.cast::<ThreadDoor>()?.get().watch(task, key)),
        }
    }

    #[getter]
    fn _condition(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let fresh = py
            .import(intern!(py, "threading"))?
            .call_method0(intern!(py, "Condition"))?;
        let waiters = PyList::empty(py).unbind();
        let condition = {
            let mut watchers = this.watchers();
            let (condition, _) = watchers
                .condition
                .get_or_insert_with(|| (fresh.clone().unbind(), waiters));
            condition.clone_ref(py)
        };
        Self::register(slf)?;
        Ok(condition)
    }

    #[getter]
    fn _waiters(slf: &Bound<'_, Self>) -> PyResult<Py<PyList>> {
        Self::_condition(slf)?;
        let watchers = slf.get().watchers();
        match &watchers.condition {
            Some((_, waiters)) => Ok(waiters.clone_ref(slf.py())),
            None => Err(PyRuntimeError::new_err("the condition was just made")),
        }
    }

    /// The standard library's name of the state. Once a condition exists, the end shows only when
    /// its waiters have been told: `wait` counts on that.
    #[getter]
    fn _state(slf: &Bound<'_, Self>) -> PyResult<&'static str> {
        let this = slf.get();
        let (waited_for, published) = {
            let watchers = this.watchers();
            (watchers.condition.is_some(), watchers.published)
        };
        let ended = match waited_for {
            true => published,
            false => this.done(slf.py())?,
        };
        Ok(match ended {
            true if Self::is_cancelled(slf)? => "CANCELLED_AND_NOTIFIED",
            true => "FINISHED",
            false if this.running()? => "RUNNING",
            false => "PENDING",
        })
    }

    #[setter(_state)]
    fn set_state(&self, _state: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyRuntimeError::new_err(
            "a pool's future is set by its pool alone",
        ))
    }

    /// The end has been told to the condition's waiters (called with the condition held).
    fn _set_published(&self) {
        self.watchers().published = true;
    }

    /// The function's name, for `repr`, where the future keeps it.
    #[getter]
    fn _name(&self) -> PyResult<Option<&str>> {
        match self.backing()? {
            Backing::Process(inner) => Ok(Some(&inner.shipped.name)),
            Backing::Thread(_) => Ok(None),
        }
    }
}
