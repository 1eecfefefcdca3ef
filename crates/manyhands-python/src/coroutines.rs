//! The lane for coroutines: claims tasks on a worker's event loop and runs many at once.
//!
//! Guarantees: at most `concurrency` coroutines are under way; a full lane takes none; the lane
//! never blocks the loop, nor holds a borrow of its state while Python code runs.

mod driver;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use manyhands::Kind;
use manyhands::process::{Job, Lane};
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use self::driver::Driver;
use crate::payload::{Call, no_room};
use crate::report::Report;
use crate::worker::{KeptItems, Raw, Worker, load_batch};

/// A claimed slot some of whose coroutines are under way.
struct Active {
    job: Job,
    under_way: usize,
    /// For a batch: its items, and whether some may be left to begin.
    items: Option<Result<KeptItems, PyErr>>,
    more: bool,
}

struct State {
    lane: Lane,
    jobs: HashMap<u64, Active>,
    next_key: u64,
    under_way: usize,
    /// asyncio itself holds its tasks only weakly.
    tasks: HashMap<(u64, Option<u32>), Py<PyAny>>,
    /// A batch with items left to begin.
    open: Option<u64>,
    /// `fill` is on the loop's list.
    scheduled: bool,
}

/// See the module's documentation.
#[pyclass(unsendable, module = "manyhands._engine")]
pub(crate) struct CoroutineLane {
    worker: Arc<Worker>,
    state: RefCell<State>,
    event_loop: Py<PyAny>,
    task_type: Py<PyAny>,
    task_kwargs: Py<PyDict>,
    /// `context=…`: what is begun after a coroutine's end must not inherit its variables.
    schedule_kwargs: Py<PyDict>,
    concurrency: usize,
}

/// Something to begin: a task of its own, or an item of a batch.
enum Start<'py> {
    Nothing,
    Failed(u64, Option<u32>, PyErr),
    Call(
        u64,
        Option<u32>,
        Bound<'py, PyAny>,
        Bound<'py, PyTuple>,
        Option<Bound<'py, PyDict>>,
    ),
}

impl CoroutineLane {
    pub(crate) fn new(
        py: Python<'_>,
        worker: Arc<Worker>,
        event_loop: Py<PyAny>,
        concurrency: usize,
    ) -> PyResult<Self> {
        let lane = worker.seat.lane(Kind::Coroutine);
        let schedule_kwargs = PyDict::new(py);
        let context = py.import("contextvars")?.call_method0("copy_context")?;
        schedule_kwargs.set_item("context", context)?;
        let task_kwargs = PyDict::new(py);
        task_kwargs.set_item("loop", &event_loop)?;
        // A coroutine that never waits then ends without a round through the loop.
        if py.version_info() >= (3, 12) {
            task_kwargs.set_item("eager_start", true)?;
        }
        let state = State {
            lane,
            jobs: HashMap::new(),
            next_key: 0,
            under_way: 0,
            tasks: HashMap::new(),
            open: None,
            scheduled: false,
        };
        Ok(Self {
            worker,
            state: RefCell::new(state),
            event_loop,
            task_type: py.import("asyncio")?.getattr("Task")?.unbind(),
            task_kwargs: task_kwargs.unbind(),
            schedule_kwargs: schedule_kwargs.unbind(),
            concurrency: concurrency.max(1),
        })
    }

    /// How many to begin before the loop gets a turn, so that a burst spreads over the workers.
    fn share(&self) -> usize {
        let state = self.state.borrow();
        state.lane.queued().div_ceil(state.lane.rivals()).max(1)
    }

    /// With nothing under way, looks for work a while before the loop sleeps; true when some came.
    fn linger(&self, py: Python<'_>) -> bool {
        let leave = match self.state.borrow_mut() {
            state if state.under_way > 0 => None,
            mut state => state.lane.linger(),
        };
        let Some(leave) = leave else { return false };
        let found = py.detach(|| leave.look());
        self.state.borrow_mut().lane.lingered(found);
        found
    }

    /// Has `fill` run again when the loop comes round.
    fn schedule(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.borrow();
        if std::mem::replace(&mut this.state.borrow_mut().scheduled, true) {
            return Ok(());
        }
        let py = slf.py();
        let fill = slf.getattr(intern!(py, "fill"))?;
        this.event_loop.bind(py).call_method(
            intern!(py, "call_soon"),
            (fill,),
            Some(this.schedule_kwargs.bind(py)),
        )?;
        Ok(())
    }

    /// Takes the next thing to begin, and counts it as under way.
    fn take<'py>(&self, py: Python<'py>) -> Start<'py> {
        loop {
            let open = self.state.borrow().open;
            if let Some(key) = open {
                if self.worker.is_spent() && self.has_items(key) {
                    // The slot stays as it is: with this process's end, the rest goes to others.
                    return Start::Nothing;
                }
                match self.take_item(py, key) {
                    Start::Nothing => self.end_batch_if_due(key),
                    start => return start,
                }
                continue;
            }
            let mut state = self.state.borrow_mut();
            if self.worker.seat.is_closing() {
                return Start::Nothing;
            }
            let Some(mut job) = state.lane.claim() else {
                return Start::Nothing;
            };
            let key = state.next_key;
            state.next_key += 1;
            let started = state.lane.start(&mut job);
            let batch = job.is_batch() && started.is_ok();
            state.jobs.insert(
                key,
                Active {
                    job,
                    under_way: 0,
                    items: None,
                    more: batch,
                },
            );
            drop(state);
            if let Err(error) = started {
                self.begin(key);
                return Start::Failed(key, None, no_room(error));
            }
            if !batch {
                self.begin(key);
                self.worker.count();
                return self.load_one(py, key);
            }
            let items = load_batch(py, &self.worker, self.fetch(key));
            let mut state = self.state.borrow_mut();
            if let Some(active) = state.jobs.get_mut(&key) {
                active.items = Some(items.map(crate::worker::Items::unbind));
            }
            state.open = Some(key);
        }
    }

    fn load_one<'py>(&self, py: Python<'py>, key: u64) -> Start<'py> {
        match self.fetch(key).load(py, &self.worker) {
            Ok((function, Call::One(args, kwargs))) => {
                Start::Call(key, None, function, args, kwargs)
            }
            Ok((_, Call::Many(..))) => {
                let error = PyRuntimeError::new_err("a batch in a single task");
                Start::Failed(key, None, error)
            }
            Err(error) => Start::Failed(key, None, error),
        }
    }

    fn fetch(&self, key: u64) -> Raw {
        let state = self.state.borrow();
        Raw::fetch(&self.worker, &state.lane, &state.jobs[&key].job)
    }

    fn has_items(&self, key: u64) -> bool {
        let state = self.state.borrow();
        state
            .jobs
            .get(&key)
            .is_some_and(|active| state.lane.has_items(&active.job))
    }

    fn take_item<'py>(&self, py: Python<'py>, key: u64) -> Start<'py> {
        let (item, arguments) = {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            let Some(active) = state.jobs.get_mut(&key) else {
                return Start::Nothing;
            };
            let Some(item) = state.lane.next_item(&active.job) else {
                active.more = false;
                state.open = None;
                return Start::Nothing;
            };
            let arguments = match &active.items {
                Some(Ok(items)) => {
                    let items = items.bind(py);
                    items.arguments(py, item).map(|args| (items.function, args))
                }
                Some(Err(error)) => Err(error.clone_ref(py)),
                None => Err(PyRuntimeError::new_err("a batch without items")),
            };
            (item, arguments)
        };
        self.begin(key);
        self.worker.count();
        match arguments {
            Ok((function, args)) => Start::Call(key, Some(item), function, args, None),
            Err(error) => Start::Failed(key, Some(item), error),
        }
    }

    fn begin(&self, key: u64) {
        let mut state = self.state.borrow_mut();
        state.under_way += 1;
        let load = state.under_way;
        state.lane.set_load(load);
        if let Some(active) = state.jobs.get_mut(&key) {
            active.under_way += 1;
        }
    }

    /// One coroutine has ended.
    fn end(&self, py: Python<'_>, key: u64, item: Option<u32>, ended: PyResult<Bound<'_, PyAny>>) {
        let report = Report::new(py, ended);
        {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            let Some(active) = state.jobs.get_mut(&key) else {
                return;
            };
            let (lane, job) = (&mut state.lane, &mut active.job);
            report.send(py, |code, parts| match item {
                Some(item) => lane.complete_item(job, item, code, parts),
                None => lane.complete(job, code, parts),
            });
            active.under_way -= 1;
            state.under_way -= 1;
            state.lane.set_load(state.under_way);
        }
        self.end_batch_if_due(key);
    }

    /// Forgets a job nothing of which is left; a batch is completed by that.
    fn end_batch_if_due(&self, key: u64) {
        let ended = {
            let mut state = self.state.borrow_mut();
            match state.jobs.get(&key) {
                Some(active) if active.under_way == 0 && !active.more => state.jobs.remove(&key),
                _ => None,
            }
        };
        if let Some(active) = &ended
            && active.items.is_some()
        {
            self.state.borrow_mut().lane.complete_batch(&active.job);
        }
        // Its items go without a borrow.
        drop(ended);
    }

    /// Begins one coroutine.
    fn start<'py>(slf: &Bound<'py, Self>, start: Start<'py>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.borrow();
        let (key, item, function, args, kwargs) = match start {
            Start::Nothing => return Ok(()),
            Start::Failed(key, item, error) => {
                this.end(py, key, item, Err(error));
                return Ok(());
            }
            Start::Call(key, item, function, args, kwargs) => (key, item, function, args, kwargs),
        };
        let begun = function.call(args, kwargs.as_ref()).and_then(|awaitable| {
            let steps = awaitable
                .call_method0(intern!(py, "__await__"))?
                .cast_into()?;
            Ok((awaitable, steps))
        });
        let (awaitable, steps) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                this.end(py, key, item, Err(error));
                return Ok(());
            }
        };
        let driver = Driver {
            lane: slf.clone().unbind(),
            key,
            item,
            awaitable: awaitable.unbind(),
            steps: steps.unbind(),
            ended: Cell::new(false),
        };
        let driver = Bound::new(py, driver)?;
        match this
            .task_type
            .bind(py)
            .call((&driver,), Some(this.task_kwargs.bind(py)))
        {
            Err(error) => this.end(py, key, item, Err(error)),
            Ok(task) if !driver.borrow().ended.get() => {
                this.state
                    .borrow_mut()
                    .tasks
                    .insert((key, item), task.unbind());
            }
            Ok(_) => {}
        }
        Ok(())
    }
}

#[pymethods]
impl CoroutineLane {
    /// The descriptor that the loop watches for reading.
    fn fileno(&self) -> i32 {
        use std::os::fd::{AsFd, AsRawFd};
        self.state.borrow().lane.event().as_fd().as_raw_fd()
    }

    /// Is the pool, or this worker's share of it, done, and nothing under way?
    fn finished(&self) -> bool {
        self.worker.seat.is_closing() && self.state.borrow().under_way == 0
    }

    /// The descriptor was readable.
    fn on_ready(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.borrow().state.borrow_mut().lane.woke();
        Self::fill(slf)
    }

    /// Begins coroutines while there are any and the lane is not full.
    fn fill(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.borrow();
        this.state.borrow_mut().scheduled = false;
        for _ in 0..this.share().max(16) {
            if this.state.borrow().under_way >= this.concurrency {
                // What ends will call again; until then nobody need wake this lane.
                this.state.borrow_mut().lane.busy();
                return Ok(());
            }
            match this.take(slf.py()) {
                Start::Nothing => {
                    let closing = this.worker.seat.is_closing();
                    if closing && this.state.borrow().under_way == 0 {
                        this.event_loop.bind(slf.py()).call_method0("stop")?;
                        return Ok(());
                    }
                    if closing {
                        return Ok(());
                    }
                    if this.linger(slf.py()) {
                        continue;
                    }
                    if this.state.borrow_mut().lane.rest() {
                        return Ok(());
                    }
                    break;
                }
                start => Self::start(slf, start)?,
            }
        }
        Self::schedule(slf)
    }
}
