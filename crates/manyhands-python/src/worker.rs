//! A worker process: its seat, and the loop that runs functions in the main thread.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use manyhands::Kind;
use manyhands::arena::{ArenaError, SpanGuard};
use manyhands::process::{Input, Job, Lane, Next, Seat};
use pyo3::exceptions::{PyEOFError, PyMemoryError, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::buffers::Source;
use crate::coroutines::CoroutineLane;
use crate::payload::{Call, decode_call, helper, load_all, no_room};
use crate::report::Report;
use crate::turns::Turns;

/// Functions that a worker remembers; beyond, the oldest is read again when needed.
const REMEMBERED: usize = 1024;

/// What both lanes of a worker share.
pub(crate) struct Worker {
    pub(crate) seat: Arc<Seat>,
    functions: Mutex<Functions>,
    /// Tasks that it may still begin.
    left: AtomicU64,
}

#[derive(Default)]
struct Functions {
    known: HashMap<u64, Py<PyAny>>,
    order: VecDeque<u64>,
}

impl Worker {
    fn functions(&self) -> MutexGuard<'_, Functions> {
        self.functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The function named `id`, unpickled at its first use from its `definition`.
    fn function<'py>(
        &self,
        py: Python<'py>,
        id: u64,
        definition: Option<Result<SpanGuard, ArenaError>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(definition) = definition else {
            let functions = self.functions();
            let function = functions
                .known
                .get(&id)
                .map(|function| function.bind(py).clone());
            return function.ok_or_else(|| PyRuntimeError::new_err("a function was forgotten"));
        };
        let function = load_all(py, &Source::Span(&definition.map_err(no_room)?))?;
        let forgotten = {
            let mut functions = self.functions();
            functions.order.push_back(id);
            functions.known.insert(id, function.clone().unbind());
            let over = functions.order.len() > REMEMBERED;
            let oldest = if over {
                functions.order.pop_front()
            } else {
                None
            };
            oldest.and_then(|oldest| functions.known.remove(&oldest))
        };
        drop(forgotten);
        Ok(function)
    }

    /// Has it begun its share of tasks? What is left of a batch then goes to others.
    pub(crate) fn is_spent(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// One task, or item, is begun; after the last allowed one the worker retires.
    pub(crate) fn count(&self) {
        if self.left.load(Ordering::Relaxed) == u64::MAX {
            return;
        }
        let took = |left: u64| Some(left.saturating_sub(1));
        if self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, took)
            == Ok(1)
        {
            self.seat.retire();
        }
    }
}

/// A job's function and input as the engine has them, still to be unpickled.
pub(crate) struct Raw {
    function: u64,
    /// `None` where the worker knows the function already.
    definition: Option<Result<SpanGuard, ArenaError>>,
    input: Result<Input, ArenaError>,
}

impl Raw {
    pub(crate) fn fetch(worker: &Worker, lane: &Lane, job: &Job) -> Self {
        let known = worker.functions().known.contains_key(&job.function());
        let definition = (!known).then(|| lane.definition(job));
        Self {
            function: job.function(),
            definition,
            input: lane.input(job),
        }
    }

    /// Unpickles both. An error says that it comes from there.
    pub(crate) fn load<'py>(
        self,
        py: Python<'py>,
        worker: &Worker,
    ) -> PyResult<(Bound<'py, PyAny>, Call<'py>)> {
        self.unpickle(py, worker).map_err(|error| {
            if error.is_instance_of::<PyMemoryError>(py) {
                return error; // it was not even read
            }
            let explain = || {
                let explain = intern!(py, "note_unreadable");
                helper(py)?
                    .bind(py)
                    .call_method1(explain, (error.value(py),))
            };
            match explain() {
                Ok(_) => error,
                Err(other) => other,
            }
        })
    }

    fn unpickle<'py>(
        self,
        py: Python<'py>,
        worker: &Worker,
    ) -> PyResult<(Bound<'py, PyAny>, Call<'py>)> {
        let function = worker.function(py, self.function, self.definition)?;
        let call = match self.input.map_err(no_room)? {
            Input::Inline(bytes, len) => decode_call(py, &Source::Slice(&bytes[..len])),
            Input::Span(span) => decode_call(py, &Source::Span(&span)),
        }?;
        Ok((function, call))
    }
}

/// A worker's seat in a pool.
#[pyclass(frozen, module = "manyhands._engine")]
pub(crate) struct WorkerSeat {
    worker: Arc<Worker>,
    breaks: bool,
}

#[pymethods]
impl WorkerSeat {
    /// Takes the seat offered through the control socket `fd`, which it owns from then on; runs
    /// at most `max_tasks` tasks. With `breaks`, a task that cannot be read ends the worker. Raises
    /// `EOFError` if the parent is gone, or does without this process.
    #[new]
    #[pyo3(signature = (fd, max_tasks, breaks=false))]
    fn new(py: Python<'_>, fd: i32, max_tasks: Option<u64>, breaks: bool) -> PyResult<Self> {
        let control = own(fd)?;
        let seat = py
            .detach(|| Seat::join(control))
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => PyEOFError::new_err(error.to_string()),
                _ => error.into(),
            })?;
        let left = AtomicU64::new(max_tasks.unwrap_or(u64::MAX));
        Ok(Self {
            worker: Arc::new(Worker {
                seat,
                functions: Mutex::default(),
                left,
            }),
            breaks,
        })
    }

    /// The place in the pool's worker table.
    #[getter]
    fn index(&self) -> usize {
        self.worker.seat.worker()
    }

    /// Starts the guard thread, which kills this process when the pool's owner is gone, and calls
    /// `first_coroutine()` when there is one to run.
    fn guard(&self, first_coroutine: Py<PyAny>) -> PyResult<()> {
        self.worker.seat.guard(move || {
            Python::try_attach(|py| {
                if let Err(error) = first_coroutine.bind(py).call0() {
                    error.write_unraisable(py, Some(first_coroutine.bind(py)));
                }
            });
        })?;
        Ok(())
    }

    /// Tells the parent that this worker takes tasks.
    fn ready(&self) -> PyResult<()> {
        Ok(self.worker.seat.ready()?)
    }

    /// Tells the parent how the initializer failed.
    fn initializer_failed(&self, error: Bound<'_, PyAny>) -> PyResult<()> {
        let py = error.py();
        match Report::error(py, &PyErr::from_value(error)) {
            Report::Error(bytes) => Ok(self.worker.seat.initializer_failed(bytes.as_bytes())?),
            Report::Result(_) => Err(PyRuntimeError::new_err("an error is no result")),
        }
    }

    /// Runs functions until the pool closes or this worker has run its share.
    fn run_functions(&self, py: Python<'_>) -> PyResult<()> {
        let mut lane = self.worker.seat.lane(Kind::Function);
        let mut turns = Turns::default();
        loop {
            let job = match lane.try_next() {
                Some(next) => next,
                None => py.detach(|| lane.wait_next())?,
            };
            match job {
                Next::Job(job) => self.run(py, &mut lane, job, &mut turns)?,
                Next::Closing => return Ok(()),
                Next::Interrupted => py.check_signals()?,
            }
            turns.count(py)?;
        }
    }

    /// The lane for coroutines, to be used by one thread, which runs `loop`.
    fn coroutine_lane(
        &self,
        py: Python<'_>,
        r#loop: Py<PyAny>,
        concurrency: usize,
    ) -> PyResult<CoroutineLane> {
        CoroutineLane::new(py, self.worker.clone(), r#loop, concurrency)
    }
}

impl WorkerSeat {
    /// An error ends the worker, before the task has: the task dies of it.
    fn run(
        &self,
        py: Python<'_>,
        lane: &mut Lane,
        mut job: Job,
        turns: &mut Turns,
    ) -> PyResult<()> {
        lane.set_load(1);
        if let Err(error) = lane.start(&mut job) {
            // No memory for a batch's log: nothing of it can be reported item by item.
            self.refuse(py, lane, &job, error);
            return Ok(());
        }
        if job.is_batch() {
            self.run_batch(py, lane, job, turns)?;
        } else {
            self.worker.count();
            let loaded = Raw::fetch(&self.worker, lane, &job).load(py, &self.worker);
            let loaded = self.readable(loaded)?;
            let ended = loaded.and_then(|(function, call)| match call {
                Call::One(args, kwargs) => function.call(args, kwargs.as_ref()),
                Call::Many(..) => Err(PyRuntimeError::new_err("a batch in a single task")),
            });
            let report = Report::new(py, ended);
            report.send(py, |code, parts| lane.complete(&job, code, parts));
        }
        lane.set_load(0);
        Ok(())
    }

    /// A task that cannot be read fails for itself, or ends a worker of a pool that breaks at every
    /// accident.
    fn readable<T>(&self, loaded: PyResult<T>) -> PyResult<PyResult<T>> {
        match loaded {
            Err(error) if self.breaks => Err(error),
            loaded => Ok(loaded),
        }
    }

    fn refuse(&self, py: Python<'_>, lane: &mut Lane, job: &Job, error: ArenaError) {
        Report::error(py, &no_room(error)).send(py, |code, parts| lane.complete(job, code, parts));
        lane.set_load(0);
    }

    fn run_batch(
        &self,
        py: Python<'_>,
        lane: &mut Lane,
        mut job: Job,
        turns: &mut Turns,
    ) -> PyResult<()> {
        let items = load_batch(py, &self.worker, Raw::fetch(&self.worker, lane, &job));
        let items = self.readable(items)?;
        while let Some(item) = lane.next_item(&job) {
            self.worker.count();
            let ended = match &items {
                Ok(batch) => batch
                    .arguments(py, item)
                    .and_then(|args| batch.function.call1(args)),
                Err(error) => Err(error.clone_ref(py)),
            };
            Report::new(py, ended).send(py, |code, parts| {
                lane.complete_item(&mut job, item, code, parts)
            });
            if self.worker.is_spent() && lane.has_items(&job) {
                // The slot stays as it is: with this process's end, the rest goes to others.
                return Ok(());
            }
            turns.count(py)?;
        }
        lane.complete_batch(&job);
        Ok(())
    }
}

/// A batch's function and items.
pub(crate) struct Items<'py> {
    pub(crate) function: Bound<'py, PyAny>,
    items: Bound<'py, PyList>,
    singles: bool,
}

impl<'py> Items<'py> {
    /// The arguments of one item.
    pub(crate) fn arguments(&self, py: Python<'py>, item: u32) -> PyResult<Bound<'py, PyTuple>> {
        let item = self.items.get_item(item as usize)?;
        if self.singles {
            PyTuple::new(py, [item])
        } else {
            Ok(item.cast_into()?)
        }
    }

    /// Kept for later.
    pub(crate) fn unbind(self) -> KeptItems {
        let Self {
            function,
            items,
            singles,
        } = self;
        KeptItems {
            function: function.unbind(),
            items: items.unbind(),
            singles,
        }
    }
}

/// A batch's function and items, between two calls.
pub(crate) struct KeptItems {
    function: Py<PyAny>,
    items: Py<PyList>,
    singles: bool,
}

impl KeptItems {
    pub(crate) fn bind<'py>(&self, py: Python<'py>) -> Items<'py> {
        Items {
            function: self.function.bind(py).clone(),
            items: self.items.bind(py).clone(),
            singles: self.singles,
        }
    }
}

/// Unpickles a batch.
pub(crate) fn load_batch<'py>(py: Python<'py>, worker: &Worker, raw: Raw) -> PyResult<Items<'py>> {
    match raw.load(py, worker)? {
        (function, Call::Many(items, singles)) => Ok(Items {
            function,
            items,
            singles,
        }),
        (_, Call::One(..)) => Err(PyRuntimeError::new_err("a single task in a batch")),
    }
}

/// Takes over a descriptor that Python code handed to this process for us.
fn own(fd: i32) -> PyResult<OwnedFd> {
    if fd < 0 {
        return Err(PyRuntimeError::new_err("not a descriptor"));
    }
    Ok(crate::buffers::own_descriptor(fd))
}
