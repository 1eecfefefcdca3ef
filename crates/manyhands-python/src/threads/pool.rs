//! The native part of Python's thread pools.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use manyhands::thread::{Executor, Rejected, Unavailable};
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};

use super::alive::{self, Alive, interpreter_ends};
use super::batch::ThreadBatch;
use super::gone::{Counted, Gone};
use super::hands::{Failure, Hands, Initializer, Submission, text};
use super::job::Job;
use super::shared::Threads;
use super::task::{Call, ThreadTask};
use super::waiting::{Ending, MainBed};
use crate::future::{Backing, FutureBase};
use crate::outcome::build;
use crate::pool::seconds;
use crate::tracking;

/// What a pool was started with.
struct Started {
    threads: Arc<Threads>,
    future: Py<PyType>,
    /// `contextvars.copy_context`, where tasks run in a copy of their submitter's context.
    copy_context: Option<Py<PyAny>>,
}

/// The native part of a thread pool.
#[pyclass(subclass, frozen, weakref, module = "manyhands._engine")]
pub(crate) struct ThreadsBase {
    started: OnceLock<Started>,
}

impl ThreadsBase {
    fn started(&self) -> PyResult<&Started> {
        self.started
            .get()
            .ok_or_else(|| PyRuntimeError::new_err("the pool has not been started"))
    }

    fn executor(&self) -> PyResult<&Executor<Hands>> {
        self.started()?.threads.executor()
    }
}

impl ThreadsBase {
    fn execute(&self, py: Python<'_>, job: Job) -> PyResult<()> {
        let executor = self.executor()?;
        let submission = Submission::begin();
        if let Err(Rejected { job, why }) = executor.execute(job) {
            drop(submission);
            drop(job);
            let errors = self.started()?.threads.errors.bind(py);
            return Err(refused(errors, &why));
        }
        submission.end()
    }

    fn future_of<'py>(
        &self,
        started: &Started,
        class: &Bound<'py, PyType>,
        function: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = function.py();
        let context = match &started.copy_context {
            None => None,
            Some(copy) => Some(copy.bind(py).call0()?.unbind()),
        };
        let call = Call {
            function: function.clone().unbind(),
            args: args.clone().unbind(),
            kwargs: kwargs.map(|kwargs| kwargs.clone().unbind()),
            context,
        };
        let future = class.call0()?;
        let task = ThreadTask::new(started.threads.clone(), call);
        let base = future.cast::<FutureBase>()?;
        base.get().set(Backing::Thread(task));
        // Whoever will run it holds it, and it holds nothing yet that leads back here.
        tracking::untrack(&future);
        Ok(future)
    }
}

/// The pool takes no tasks any more, in the standard library's words.
fn closed() -> PyErr {
    PyRuntimeError::new_err(match interpreter_ends() {
        true => "cannot schedule new futures after interpreter shutdown",
        false => "cannot schedule new futures after shutdown",
    })
}

fn refused(errors: &Bound<'_, PyAny>, why: &Unavailable<Failure>) -> PyErr {
    let py = errors.py();
    match why {
        Unavailable::Closed => closed(),
        Unavailable::Start(error) => {
            match error.get_ref().and_then(|e| e.downcast_ref::<PyErr>()) {
                Some(error) => error.clone_ref(py),
                None => PyRuntimeError::new_err(text(why)),
            }
        }
        why => build(errors, "broken", (text(why),)),
    }
}

#[pymethods]
impl ThreadsBase {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            started: OnceLock::new(),
        }
    }

    /// For the garbage collector. The initializer may lead back here; it is this pool's alone while
    /// there is no thread, nor a future that might have one started. (Nobody else can get hold of
    /// it while the collector looks, but through this object.)
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(Started { threads, .. }) = self.started.get() else {
            return Ok(());
        };
        if !threads.is_ours() || Arc::strong_count(threads) > 1 || threads.alive.count() > 0 {
            return Ok(());
        }
        match &threads.executor {
            Some(executor) => executor.worker().initializer.traverse(&visit),
            None => Ok(()),
        }
    }

    fn __clear__(&self) {
        if let Some(started) = self.started.get()
            && started.threads.is_ours()
            && let Some(executor) = &started.threads.executor
        {
            executor.worker().initializer.let_go();
        }
    }

    #[allow(clippy::too_many_arguments)]
    /// At most `workers` threads, whose names begin with `prefix`, started by
    /// `starter(name, run)`; futures will be of the class `future`; `package` makes the
    /// exceptions, and is told how the initializer failed. With `copy_context`, tasks run in what it gives when they are submitted.
    fn _start(
        &self,
        py: Python<'_>,
        workers: usize,
        prefix: String,
        starter: Py<PyAny>,
        future: Py<PyType>,
        initializer: Option<(Py<PyAny>, Py<PyTuple>)>,
        package: Py<PyAny>,
        max_tasks: Option<u64>,
        copy_context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let alive = Alive::new();
        let hands = Hands {
            starter,
            initializer: Initializer::new(initializer),
            package: package.clone_ref(py),
            max_tasks: max_tasks.unwrap_or(u64::MAX),
            alive: alive.clone(),
        };
        let executor = Executor::builder(hands).threads(workers);
        let executor = executor.name_prefix(prefix).build();
        let threads = Arc::new(Threads {
            executor: Some(executor),
            alive: alive.clone(),
            main: MainBed::new(py),
            errors: package,
            killed: AtomicBool::new(false),
        });
        alive::remember(&threads, &alive);
        if interpreter_ends() {
            threads.close();
        }
        let started = Started {
            threads,
            future,
            copy_context,
        };
        self.started
            .set(started)
            .map_err(|_| PyRuntimeError::new_err("the pool has been started already"))
    }

    /// Runs `fn(*args, **kwargs)` in a thread of the pool and returns its `Future` at once.
    ///
    /// Raises:
    ///     RuntimeError: The pool is shut down, or the interpreter is ending; no thread could be
    ///         started; or the pool was made by the process that this one was forked from.
    ///     concurrent.futures.thread.BrokenThreadPool: The initializer failed.
    ///
    ///     >>> from manyhands.futures import ThreadPoolExecutor
    ///     >>> with ThreadPoolExecutor(1) as pool:
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
        let started = self.started()?;
        started.threads.check_ours()?;
        let class = started.future.bind(py);
        let future = self.future_of(started, class, r#fn, args, kwargs)?;
        let base = future.cast::<FutureBase>()?.clone().unbind();
        self.execute(py, Job::Call(base))?;
        Ok(future)
    }

    /// Takes no more tasks; returns at once. With `cancel`, what has not begun is withdrawn.
    fn _close(&self, py: Python<'_>, cancel: bool) -> PyResult<()> {
        let threads = &self.started()?.threads;
        if !threads.is_ours() {
            return Ok(());
        }
        threads.close();
        if cancel {
            let mut withdrawn = Ok(());
            for job in threads.executor()?.take() {
                withdrawn = job.withdraw(py, withdrawn);
            }
            return withdrawn;
        }
        Ok(())
    }

    /// As `_close`, and begins nothing more.
    fn _kill(&self, py: Python<'_>) -> PyResult<()> {
        self.started()?
            .threads
            .killed
            .store(true, Ordering::Release);
        self._close(py, true)
    }

    /// The initializer failed in the thread of an event loop: what has not begun ends with that.
    fn _fail(&self) -> PyResult<()> {
        if self.started()?.threads.is_ours() {
            self.executor()?.fail(Failure::Initializer);
        }
        Ok(())
    }

    /// A task that an event loop will run: its future, of the class `future`, which has the call
    /// until then.
    fn _task<'py>(
        &self,
        future: &Bound<'py, PyType>,
        r#fn: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let started = self.started()?;
        started.threads.check_ours()?;
        self.future_of(started, future, r#fn, args, kwargs)
    }

    /// A batch of calls; not submitted if an event loop is to run it. `items` are argument tuples,
    /// or with `singles` single arguments.
    fn _batch<'py>(
        &self,
        func: &Bound<'py, PyAny>,
        items: &Bound<'py, PyList>,
        singles: bool,
        context: Py<PyAny>,
        submitted: bool,
    ) -> PyResult<Bound<'py, ThreadBatch>> {
        let py = func.py();
        let threads = &self.started()?.threads;
        threads.check_ours()?;
        let function = func.clone().unbind();
        let batch = ThreadBatch::new(threads.clone(), function, items, singles, context);
        let batch = Bound::new(py, batch)?;
        if submitted {
            self.execute(py, Job::Batch(batch.clone().unbind()))?;
        }
        Ok(batch)
    }

    /// Counts a thread of the package's own as one of the pool's, until what is given is `done`.
    fn _count(&self) -> PyResult<Counted> {
        let threads = &self.started()?.threads;
        threads.check_ours()?;
        if threads.executor()?.is_closed() {
            return Err(closed());
        }
        Ok(Counted::new(threads.alive.one_more()))
    }

    /// What ends when no thread has anything left to do, to be awaited like a future.
    fn _gone(&self) -> PyResult<Gone> {
        Ok(Gone::new(self.started()?.threads.clone()))
    }

    /// Waits until no thread has anything left to do, which comes only after `_close`; false when
    /// the time is over.
    #[pyo3(signature = (timeout=None))]
    fn _join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let threads = &self.started()?.threads;
        if !threads.is_ours() {
            return Ok(true);
        }
        let gone = threads.wait(py, &*threads.alive, seconds(timeout)?)?;
        if gone {
            threads.main.clear();
        }
        Ok(gone)
    }

    /// Has `_close` come to its end?
    fn _is_gone(&self) -> PyResult<bool> {
        let threads = &self.started()?.threads;
        Ok(!threads.is_ours() || threads.alive.is_done())
    }

    /// Did this process make the pool?
    fn _is_ours(&self) -> PyResult<bool> {
        Ok(self.started()?.threads.is_ours())
    }

    /// Threads, tasks not begun, closed.
    fn _counts(&self) -> PyResult<(usize, usize, bool)> {
        let executor = self.executor()?;
        let threads = self.started()?.threads.alive.count();
        Ok((threads, executor.len(), executor.is_closed()))
    }

    /// Why the pool is broken, or `None`.
    fn _failure(&self) -> PyResult<Option<String>> {
        let failure = self.executor()?.failure();
        Ok(failure.map(|failure| text(&Unavailable::Broken(failure.clone()))))
    }
}

impl Drop for ThreadsBase {
    fn drop(&mut self) {
        // What was submitted is run; the threads end after it.
        if let Some(started) = self.started.get()
            && started.threads.is_ours()
        {
            started.threads.close();
        }
    }
}
