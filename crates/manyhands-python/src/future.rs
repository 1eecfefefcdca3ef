//! The native core of `manyhands.Future`.
//!
//! `manyhands.Future` derives from this and from `concurrent.futures.Future`. What the standard
//! library's `wait` and `as_completed` reach into (`_condition`, `_waiters`, `_state`) exists
//! from the moment it is asked for, and is told of the end on the callbacks' thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use manyhands::task::{Task, Waiter};
use pyo3::exceptions::{PyRuntimeError, PyTimeoutError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::OnceLockExt;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::callbacks::CallbackWaiter;
use crate::door::Door;
use crate::functions::Shipped;
use crate::outcome::{Settled, build, settle};
use crate::payload::helper_of_futures;
use crate::pool::{Core, seconds, wait};
use crate::tracking;

struct Inner {
    core: Arc<Core>,
    task: Arc<Task>,
    shipped: Arc<Shipped>,
}

impl Inner {
    fn cancelled(&self, py: Python<'_>) -> PyErr {
        build(self.core.errors.bind(py), "cancelled", ())
    }
}

#[derive(Default)]
struct Watchers {
    callbacks: Vec<Py<PyAny>>,
    /// The standard library's `threading.Condition`, and its list of waiters.
    condition: Option<(Py<PyAny>, Py<PyList>)>,
    /// The callbacks' thread will be told.
    registered: bool,
}

/// A task's future: the native part.
#[pyclass(subclass, frozen, weakref, module = "manyhands._engine")]
pub(crate) struct FutureBase {
    inner: OnceLock<Inner>,
    settled: OnceLock<Settled>,
    watchers: Mutex<Watchers>,
    /// The standard library's waiters have been told.
    published: AtomicBool,
}

impl FutureBase {
    pub(crate) fn set(&self, core: Arc<Core>, task: Arc<Task>, shipped: Arc<Shipped>) {
        let fresh = self
            .inner
            .set(Inner {
                core,
                task,
                shipped,
            })
            .is_ok();
        debug_assert!(fresh, "a future belongs to one task");
    }

    fn inner(&self) -> PyResult<&Inner> {
        self.inner.get().ok_or_else(|| {
            PyRuntimeError::new_err("this future belongs to no pool; use Pool.submit to get one")
        })
    }

    fn watchers(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of the task, which has ended.
    fn settled<'a>(slf: &'a Bound<'_, Self>) -> PyResult<&'a Settled> {
        let (py, this) = (slf.py(), slf.get());
        if let Some(settled) = this.settled.get() {
            return Ok(settled);
        }
        let inner = this.inner()?;
        // Another thread that asks meanwhile waits detached, since unpickling may switch threads.
        let settled = this.settled.get_or_init_py_attached(py, || {
            let settled = match inner.task.take_outcome() {
                Some(outcome) => settle(py, &inner.core, outcome, &inner.shipped.name),
                None => Settled::Cancelled,
            };
            match &settled {
                Settled::Value(value) if !tracking::may_refer(value.bind(py)) => {}
                Settled::Cancelled => {}
                Settled::Value(_) | Settled::Error(_) => tracking::track(slf),
            }
            settled
        });
        Ok(settled)
    }

    fn wait<'a>(slf: &'a Bound<'_, Self>, timeout: Option<f64>) -> PyResult<&'a Settled> {
        let inner = slf.get().inner()?;
        if !inner.task.is_done() && !wait(slf.py(), &inner.core, &inner.task, seconds(timeout)?)? {
            return Err(PyTimeoutError::new_err(()));
        }
        Self::settled(slf)
    }

    fn is_cancelled(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let ended = slf.get().inner()?.task.is_done();
        Ok(ended && matches!(Self::settled(slf)?, Settled::Cancelled))
    }

    /// Has the callbacks' thread told when the task has ended; false when it has already.
    fn register(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let this = slf.get();
        let inner = this.inner()?;
        tracking::track(slf);
        if std::mem::replace(&mut this.watchers().registered, true) {
            return Ok(true);
        }
        let py = slf.py();
        if let Err(error) = inner.core.callbacks.expect() {
            this.watchers().registered = false;
            return Err(error);
        }
        let waiter = CallbackWaiter::new(inner.core.callbacks.clone(), slf.clone().unbind());
        py.detach(|| inner.core.pool.watch_unseen(true));
        let waiter: Arc<dyn Waiter> = waiter;
        if inner.task.watch(waiter) {
            return Ok(true);
        }
        py.detach(|| inner.core.pool.watch_unseen(false));
        inner.core.callbacks.settled();
        this.publish(slf);
        Ok(false)
    }

    /// On the callbacks' thread: the task has ended, everybody is told.
    pub(crate) fn deliver(slf: &Bound<'_, Self>) {
        let (py, this) = (slf.py(), slf.get());
        if let Some(inner) = this.inner.get() {
            py.detach(|| inner.core.pool.watch_unseen(false));
        }
        this.publish(slf);
    }

    /// Tells the standard library's waiters and runs the callbacks; whoever comes later sees that
    /// the end has been told. A condition may be asked for meanwhile: then it is told as well.
    fn publish(&self, slf: &Bound<'_, Self>) {
        let py = slf.py();
        let mut told = false;
        let callbacks = loop {
            let condition = {
                let mut watchers = self.watchers();
                match &watchers.condition {
                    Some((condition, waiters)) if !told => {
                        (condition.clone_ref(py), waiters.clone_ref(py))
                    }
                    _ => {
                        self.published.store(true, Ordering::SeqCst);
                        break std::mem::take(&mut watchers.callbacks);
                    }
                }
            };
            told = true;
            let (condition, waiters) = condition;
            let notified = helper_of_futures(py)
                .and_then(|module| module.call_method1("notify", (slf, condition, waiters)));
            if let Err(error) = notified {
                error.write_unraisable(py, Some(slf.as_any()));
            }
        };
        for callback in callbacks {
            call_back(slf, callback.bind(py));
        }
    }
}

fn call_back(future: &Bound<'_, FutureBase>, callback: &Bound<'_, PyAny>) {
    let py = future.py();
    let called = helper_of_futures(py)
        .and_then(|module| module.call_method1("call_back", (future, callback)));
    if let Err(error) = called {
        error.write_unraisable(py, Some(callback));
    }
}

#[pymethods]
impl FutureBase {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            inner: OnceLock::new(),
            settled: OnceLock::new(),
            watchers: Mutex::default(),
            published: AtomicBool::new(false),
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
        match self.settled.get() {
            Some(Settled::Value(value)) => visit.call(value)?,
            Some(Settled::Error(error)) => visit.call(error)?,
            Some(Settled::Cancelled) | None => {}
        }
        if let Ok(watchers) = self.watchers.try_lock() {
            for callback in &watchers.callbacks {
                visit.call(callback)?;
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
            Settled::Cancelled => Err(slf.get().inner()?.cancelled(py)),
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
    ///     ...     pool.submit(divmod, 17, 0).exception()
    ///     ZeroDivisionError('integer division or modulo by zero')
    #[pyo3(signature = (timeout=None))]
    fn exception(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        let py = slf.py();
        match Self::wait(slf, timeout)? {
            Settled::Value(_) => Ok(None),
            Settled::Error(error) => Ok(Some(error.clone_ref(py).into_any())),
            Settled::Cancelled => Err(slf.get().inner()?.cancelled(py)),
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
        let inner = self.inner()?;
        if !inner.task.is_done() {
            py.detach(|| inner.core.pool.poll());
        }
        Ok(inner.task.is_done())
    }

    /// Has a worker begun the task, and not ended it?
    ///
    ///     >>> import manyhands as mh
    ///     >>> with mh.Pool(1) as pool:
    ///     ...     future = pool.submit(abs, -7)
    ///     >>> future.running()
    ///     False
    fn running(&self) -> PyResult<bool> {
        let inner = self.inner()?;
        Ok(inner.core.pool.is_running(&inner.task))
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
        let inner = slf.get().inner()?;
        if inner.task.is_done() {
            return Self::is_cancelled(slf);
        }
        Ok(slf.py().detach(|| inner.core.pool.cancel(&inner.task)))
    }

    /// Calls `fn(future)` when the task has ended: on the pool's callback thread, or at once in
    /// this one if it has already. What a callback raises is logged.
    ///
    ///     >>> import manyhands as mh
    ///     >>> with mh.Pool(1) as pool:
    ///     ...     future = pool.submit(abs, -7)
    ///     ...     future.add_done_callback(lambda ended: print(ended.result()))
    ///     7
    fn add_done_callback(slf: &Bound<'_, Self>, r#fn: Bound<'_, PyAny>) -> PyResult<()> {
        let this = slf.get();
        let registered = Self::register(slf)?;
        if registered {
            let mut watchers = this.watchers();
            if !this.published.load(Ordering::SeqCst) {
                watchers.callbacks.push(r#fn.unbind());
                return Ok(());
            }
        }
        call_back(slf, &r#fn);
        Ok(())
    }

    /// The pool's table of event loops.
    #[getter]
    fn _hubs(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.inner()?.core.hubs.clone_ref(py))
    }

    /// A door to the pool for an event loop.
    fn _open_door(&self) -> PyResult<Door> {
        Door::open(self.inner()?.core.clone())
    }

    /// Has the loop behind `door` woken under `key`; false when the task has ended already.
    fn _watch(&self, py: Python<'_>, door: &Door, key: u64) -> PyResult<bool> {
        Ok(door.watch(py, &self.inner()?.task, key))
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
        let inner = this.inner()?;
        let waited_for = this.watchers().condition.is_some();
        let ended = match waited_for {
            true => this.published.load(Ordering::SeqCst),
            false => this.done(slf.py())?,
        };
        Ok(match ended {
            true if Self::is_cancelled(slf)? => "CANCELLED_AND_NOTIFIED",
            true => "FINISHED",
            false if inner.core.pool.is_running(&inner.task) => "RUNNING",
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
        self.published.store(true, Ordering::SeqCst);
    }

    /// The function's name, for `repr`.
    #[getter]
    fn _name(&self) -> PyResult<&str> {
        Ok(&self.inner()?.shipped.name)
    }
}
