//! The native part of `manyhands.Pool`: submitting, and what waiting needs.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use manyhands::board::WorkerPhase;
use manyhands::process::{Config, OnDeath, Pool, Waited};
use manyhands::sys::signals;
use manyhands::task::Task;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};

use crate::batch::Batch;
use crate::callbacks::Callbacks;
use crate::functions::Functions;
use crate::future::{Backing, FutureBase, ProcessTask};
use crate::launcher::PythonLauncher;
use crate::outcome::{broken, os_error, submit_error};
use crate::payload::Pickling;
use crate::tracking;

/// What futures and batches of a pool share with it.
pub(crate) struct Core {
    pub(crate) pool: Pool,
    pub(crate) callbacks: Arc<Callbacks>,
    /// The package's table of event loops that wait for this pool.
    pub(crate) hubs: Py<PyAny>,
    /// The package's module that makes its exceptions.
    pub(crate) errors: Py<PyAny>,
    /// Its futures and its errors are to be the standard library's executor's.
    pub(crate) is_standard: bool,
    /// The first accident breaks it.
    pub(crate) breaks: bool,
}

/// Waits with the interpreter detached; Python's signal handlers run in between. False when the
/// time is over.
pub(crate) fn wait(
    py: Python<'_>,
    core: &Core,
    task: &Arc<Task>,
    timeout: Option<Duration>,
) -> PyResult<bool> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
        if signals::is_main_thread() && py.detach(|| core.pool.look(task, left)) {
            return Ok(true);
        }
        let listening = core.callbacks.interrupts.listen(py)?;
        let interrupt = listening.as_ref().map(AsFd::as_fd);
        // The one error is that of a forked child, which no completion can reach.
        let waited = py.detach(|| core.pool.wait_with(task, left, interrupt));
        if let Some(listening) = listening {
            listening.end(!matches!(waited, Ok(Waited::Done)));
        }
        match waited.map_err(|error| PyRuntimeError::new_err(error.to_string()))? {
            Waited::Done => return Ok(true),
            Waited::TimedOut => return Ok(false),
            // Its handler has its say now.
            Waited::Interrupted => {}
        }
    }
}

/// A future of the standard library's that has failed: nothing was submitted.
fn refused<'py>(py: Python<'py>, core: &Core, error: PyErr) -> PyResult<Bound<'py, PyAny>> {
    let errors = core.errors.bind(py);
    errors.call_method1(intern!(py, "refused"), (error.into_value(py),))
}

/// A number of seconds as Python's APIs take it: `None` for ever, negative is no time at all.
pub(crate) fn seconds(timeout: Option<f64>) -> PyResult<Option<Duration>> {
    match timeout {
        None => Ok(None),
        Some(time) if time.is_nan() => Err(PyValueError::new_err("timeout must not be NaN")),
        // What is longer than the clock can say is for ever.
        Some(time) => Ok(Duration::try_from_secs_f64(time.max(0.0))
            .ok()
            .filter(|t| t.as_secs() < 1 << 40)),
    }
}

/// The native part of a pool.
#[pyclass(subclass, frozen, weakref, module = "manyhands._engine")]
pub(crate) struct PoolBase {
    core: Mutex<Option<Arc<Core>>>,
    functions: Functions,
    future: Mutex<Option<Py<PyType>>>,
    pickling: Mutex<bool>,
}

impl PoolBase {
    fn core(&self) -> PyResult<Arc<Core>> {
        let core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.clone()
            .ok_or_else(|| PyRuntimeError::new_err("the pool has not been started"))
    }

    fn main_by_value(&self) -> bool {
        *self.pickling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn future_type(&self, py: Python<'_>) -> PyResult<Py<PyType>> {
        let future = self.future.lock().unwrap_or_else(PoisonError::into_inner);
        let future = future.as_ref().map(|future| future.clone_ref(py));
        future.ok_or_else(|| PyRuntimeError::new_err("the pool has not been started"))
    }
}

#[pymethods]
impl PoolBase {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            core: Mutex::new(None),
            functions: Functions::default(),
            future: Mutex::new(None),
            pickling: Mutex::new(false),
        }
    }

    #[allow(clippy::too_many_arguments)]
    /// Starts `workers` processes through `launcher`; futures will be of the class `future`, and
    /// exceptions are made by the module `errors`. `standard` is for an executor like the standard
    /// library's: a task that cannot be shipped is the failure of its own future. It says whether
    /// workers are started on demand, and whether the first accident breaks the pool.
    #[pyo3(signature = (
        workers, launcher, future, hubs, main_by_value, grace, errors, standard=None,
    ))]
    fn _start(
        &self,
        py: Python<'_>,
        workers: usize,
        launcher: Py<PyAny>,
        future: Py<PyType>,
        hubs: Py<PyAny>,
        main_by_value: bool,
        grace: f64,
        errors: Py<PyAny>,
        standard: Option<(bool, bool)>,
    ) -> PyResult<()> {
        let (on_demand, breaks) = standard.unwrap_or_default();
        let config = Config {
            workers,
            grace: seconds(Some(grace))?.unwrap_or(Duration::MAX),
            on_demand,
            on_death: match breaks {
                true => OnDeath::Break,
                false => OnDeath::Replace,
            },
            ..Config::default()
        };
        let launcher = Box::new(PythonLauncher::new(launcher));
        let pool = py
            .detach(|| Pool::start(config, launcher))
            .map_err(os_error)?;
        let core = Arc::new(Core {
            pool,
            callbacks: Callbacks::new(py, standard.is_some()).map_err(os_error)?,
            hubs,
            errors,
            is_standard: standard.is_some(),
            breaks,
        });
        *self.core.lock().unwrap_or_else(PoisonError::into_inner) = Some(core);
        *self.future.lock().unwrap_or_else(PoisonError::into_inner) = Some(future);
        *self.pickling.lock().unwrap_or_else(PoisonError::into_inner) = main_by_value;
        Ok(())
    }

    /// Runs `fn(*args, **kwargs)` in a worker and returns its `Future` at once. A coroutine
    /// function runs on the worker's event loop, beside others; any other function in the
    /// worker's main thread.
    ///
    /// Raises:
    ///     RuntimeError: The pool is shut down.
    ///     PoolBroken: The pool can run nothing more; says why.
    ///     TypeError, pickle.PicklingError: An argument can not be shipped; names it.
    ///
    ///     >>> import manyhands as mh
    ///     >>> with mh.Pool(1) as pool:
    ///     ...     pool.submit(int, "ff", base=16).result()
    ///     255
    #[pyo3(signature = (r#fn, /, *args, **kwargs))]
    fn submit<'py>(
        &self,
        r#fn: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = r#fn.py();
        let core = self.core()?;
        if core.is_standard {
            core.pool
                .accepts()
                .map_err(|error| submit_error(py, &core, &error))?;
        }
        let main_by_value = self.main_by_value();
        let shipped = self.functions.ship(&core, r#fn, main_by_value);
        let encoded = shipped.and_then(|shipped| {
            let encoded = Pickling { main_by_value }.encode_call(r#fn, args, kwargs)?;
            Ok((shipped, encoded))
        });
        let (shipped, encoded) = match encoded {
            Ok(encoded) => encoded,
            Err(error) if core.is_standard => return refused(py, &core, error),
            Err(error) => return Err(error),
        };
        let task = encoded
            .with_parts(py, |parts| {
                core.pool
                    .submit(shipped.kind, &shipped.function, None, parts)
            })
            .map_err(|error| submit_error(py, &core, &error))?;
        let future = self.future_type(py)?.bind(py).call0()?;
        let backing = Backing::Process(ProcessTask {
            core,
            task,
            shipped,
        });
        future.cast::<FutureBase>()?.get().set(backing);
        tracking::untrack(&future);
        Ok(future)
    }

    /// Submits one batch: `items` are argument tuples, or with `singles` single arguments; the
    /// first of them is number `first` to the caller.
    #[pyo3(signature = (func, items, singles, first=0))]
    fn _submit_batch(
        &self,
        func: &Bound<'_, PyAny>,
        items: &Bound<'_, PyList>,
        singles: bool,
        first: usize,
    ) -> PyResult<Batch> {
        let py = func.py();
        let core = self.core()?;
        let main_by_value = self.main_by_value();
        let shipped = self.functions.ship(&core, func, main_by_value)?;
        let encoded = Pickling { main_by_value }.encode_batch(func, items, singles, first)?;
        let count = Some(u32::try_from(items.len())?);
        let task = encoded
            .with_parts(py, |parts| {
                core.pool
                    .submit(shipped.kind, &shipped.function, count, parts)
            })
            .map_err(|error| submit_error(py, &core, &error))?;
        Ok(Batch::new(core, task, shipped))
    }

    /// Is `fn` one that runs on the workers' event loops?
    fn _is_coroutine(&self, func: &Bound<'_, PyAny>) -> PyResult<bool> {
        let core = self.core()?;
        let shipped = self.functions.ship(&core, func, self.main_by_value())?;
        Ok(shipped.kind == manyhands::Kind::Coroutine)
    }

    /// Takes no more tasks; returns at once.
    fn _close(&self, py: Python<'_>, cancel: bool) -> PyResult<()> {
        let core = self.core()?;
        py.detach(|| core.pool.shutdown(cancel));
        Ok(())
    }

    /// Kills the workers; returns at once.
    fn _kill(&self, py: Python<'_>) -> PyResult<()> {
        let core = self.core()?;
        py.detach(|| core.pool.kill());
        Ok(())
    }

    /// Waits until no worker is left and every callback has run; false when the time is over.
    fn _join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let core = self.core()?;
        let timeout = seconds(timeout)?;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        if !wait(py, &core, core.pool.gone(), timeout)? {
            return Ok(false);
        }
        core.callbacks.join_open_to_signals(py, deadline)
    }

    /// Has `_close` or `_kill` come to its end?
    fn _is_gone(&self) -> PyResult<bool> {
        Ok(self.core()?.pool.gone().is_done())
    }

    /// What ends when no worker is left, to be awaited like a batch.
    fn _gone(&self) -> PyResult<Batch> {
        let core = self.core()?;
        let task = core.pool.gone().clone();
        Ok(Batch::marker(core, task))
    }

    /// What ends when every worker that was called for up to now has been started, to be waited
    /// for like a batch.
    fn _settled(&self, py: Python<'_>) -> PyResult<Batch> {
        let core = self.core()?;
        let task = py.detach(|| core.pool.settled());
        Ok(Batch::marker(core, task))
    }

    /// Would it take a task? Raises what `submit` would.
    fn _accepts(&self, py: Python<'_>) -> PyResult<()> {
        let core = self.core()?;
        let accepts = core.pool.accepts();
        accepts.map_err(|error| submit_error(py, &core, &error))
    }

    /// From now on the first death ends the pool.
    fn _break_at_death(&self) -> PyResult<()> {
        self.core()?.pool.break_at_death();
        Ok(())
    }

    /// Did this process create the pool?
    fn _is_ours(&self) -> PyResult<bool> {
        Ok(self.core()?.pool.is_ours())
    }

    /// `[(pid, phase), …]`, tasks that have not ended, tasks that wait for a slot, closed.
    #[allow(clippy::type_complexity)]
    fn _status(&self, py: Python<'_>) -> PyResult<(Vec<(u32, &'static str)>, usize, usize, bool)> {
        let core = self.core()?;
        // Nobody may have waited for what has ended since.
        py.detach(|| core.pool.poll());
        let status = core.pool.status();
        let phase = |(pid, phase): &(u32, WorkerPhase)| {
            let phase = match phase {
                WorkerPhase::Starting => "starting",
                WorkerPhase::Ready => "ready",
                WorkerPhase::Retiring => "retiring",
            };
            (*pid, phase)
        };
        let workers = status.workers.iter().map(phase).collect();
        Ok((workers, status.outstanding, status.backlog, status.closed))
    }

    /// Why the pool is broken, or `None`.
    fn _why_broken(&self, py: Python<'_>) -> PyResult<Option<PyErr>> {
        let core = self.core()?;
        Ok(core.pool.broken().map(|why| broken(py, &core, why, false)))
    }
}
