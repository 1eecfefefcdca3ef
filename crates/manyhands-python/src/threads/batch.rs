//! Small tasks of a `map` that travel together to a thread, or to the coroutines of several; each
//! keeps an outcome of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use manyhands::task::Waiter;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::alive::position;
use super::door::{ThreadDoor, thread_hubs};
use super::shared::Threads;
use super::task::in_context;
use super::waiting::Ending;
use crate::future::{Teller, is_interruption};
use crate::outcome::{Settled, build};
use crate::pool::seconds;
use crate::strangers;
use crate::turns::Turns;

struct State {
    /// The function and its items, until nothing more of them will be begun.
    work: Option<(Py<PyAny>, Py<PyList>)>,
    /// The item to begin next.
    next: usize,
    /// Items that have not ended.
    open: usize,
    outcomes: Vec<Option<Settled>>,
    began: Option<Instant>,
    elapsed: f64,
    waiters: Vec<Arc<dyn Waiter>>,
}

/// See the module's documentation.
#[pyclass(frozen, module = "manyhands._engine")]
pub(crate) struct ThreadBatch {
    threads: Arc<Threads>,
    count: usize,
    singles: bool,
    /// The `contextvars.Context` that each item gets a copy of.
    context: Py<PyAny>,
    state: Mutex<State>,
}

/// An item that is to be run: its number, the function, its arguments. (Those cannot be had if
/// the list of items is not as the package makes it.)
type Begun<'py> = (usize, PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)>);

impl ThreadBatch {
    pub(crate) fn new(
        threads: Arc<Threads>,
        function: Py<PyAny>,
        items: &Bound<'_, PyList>,
        singles: bool,
        context: Py<PyAny>,
    ) -> Self {
        let count = items.len();
        Self {
            threads,
            count,
            singles,
            context,
            state: Mutex::new(State {
                work: Some((function, items.clone().unbind())),
                next: 0,
                open: count,
                outcomes: (0..count).map(|_| None).collect(),
                began: None,
                elapsed: 0.0,
                waiters: Vec::new(),
            }),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin<'py>(&self, py: Python<'py>) -> Option<Begun<'py>> {
        let (item, function, items) = {
            let mut state = self.lock();
            let (function, items) = state.work.as_ref()?;
            let work = (function.clone_ref(py), items.clone_ref(py));
            let item = state.next;
            if item >= self.count {
                return None;
            }
            state.next += 1;
            state.began.get_or_insert_with(Instant::now);
            (item, work.0, work.1)
        };
        let args = || {
            let value = items.bind(py).get_item(item)?;
            // It is the task's alone from here.
            items.bind(py).set_item(item, py.None())?;
            match self.singles {
                true => PyTuple::new(py, [value]),
                false => Ok(value.cast_into()?),
            }
        };
        Some((item, args().map(|args| (function.into_bound(py), args))))
    }

    /// An item has ended.
    fn end(&self, item: usize, settled: Settled, teller: &mut dyn Teller) {
        let (waiters, work) = {
            let mut state = self.lock();
            if let Some(outcome) = state.outcomes.get_mut(item) {
                *outcome = Some(settled);
            }
            state.open -= 1;
            state.ended()
        };
        for waiter in waiters {
            teller.wake(waiter);
        }
        drop(work);
    }

    /// Ends what has not begun.
    pub(crate) fn withdraw(&self, teller: &mut dyn Teller) {
        let (waiters, work) = {
            let mut state = self.lock();
            let begun = state.next;
            for outcome in state.outcomes.iter_mut().skip(begun) {
                *outcome = Some(Settled::Cancelled);
            }
            state.open -= self.count - begun;
            state.next = self.count;
            state.ended()
        };
        for waiter in waiters {
            teller.wake(waiter);
        }
        drop(work);
    }

    /// It will not be run, for this reason.
    pub(crate) fn abandon(&self, py: Python<'_>, why: &PyErr, teller: &mut dyn Teller) {
        while let Some((item, _)) = self.begin(py) {
            self.end(item, Settled::error(py, why.clone_ref(py)), teller);
        }
    }

    /// Runs item after item, in a thread of the pool.
    pub(crate) fn run(&self, py: Python<'_>, turns: &mut Turns, teller: &mut dyn Teller) {
        while let Some((item, begun)) = self.begin(py) {
            teller.before_strangers();
            let ended = begun.and_then(|(function, args)| {
                let ended = self.call(py, &function, &args);
                strangers::release(args);
                ended
            });
            let outcome = match ended {
                Ok(value) => Settled::Value(value.unbind()),
                Err(error) => Settled::error(py, error),
            };
            self.end(item, outcome, teller);
            if self.threads.is_killed() {
                self.withdraw(teller);
            }
            turns.give(py);
        }
    }

    fn call<'py>(
        &self,
        py: Python<'py>,
        function: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let context = self.context.bind(py).call_method0(intern!(py, "copy"))?;
        in_context(&context, function, args, None)
    }
}

type Left = (Vec<Arc<dyn Waiter>>, Option<(Py<PyAny>, Py<PyList>)>);

impl State {
    /// Whom to wake, and what to drop, after an item has ended.
    fn ended(&mut self) -> Left {
        let work = match self.next >= self.outcomes.len() {
            true => self.work.take(),
            false => None,
        };
        if self.open > 0 {
            return (Vec::new(), work);
        }
        if let Some(began) = self.began.take() {
            self.elapsed = began.elapsed().as_secs_f64();
        }
        (std::mem::take(&mut self.waiters), work)
    }
}

impl Ending for ThreadBatch {
    fn is_done(&self) -> bool {
        self.lock().open == 0
    }

    fn watch(&self, waiter: Arc<dyn Waiter>) -> bool {
        let mut state = self.lock();
        if state.open == 0 {
            return false;
        }
        state.waiters.push(waiter);
        true
    }

    fn unwatch(&self, waiter: &Arc<dyn Waiter>) {
        let mut state = self.lock();
        if let Some(at) = position(&state.waiters, waiter) {
            state.waiters.swap_remove(at);
        }
    }
}

#[pymethods]
impl ThreadBatch {
    /// For the garbage collector. (A batch that is queued or runs is held by the pool.)
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.context)?;
        let state = self.lock();
        if let Some((function, items)) = &state.work {
            visit.call(function)?;
            visit.call(items)?;
        }
        for outcome in state.outcomes.iter().flatten() {
            outcome.traverse(&visit)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let left = {
            let mut state = self.lock();
            (state.work.take(), std::mem::take(&mut state.outcomes))
        };
        drop(left);
    }

    /// Has every item ended?
    fn done(&self) -> bool {
        self.is_done()
    }

    /// Blocks until every item has ended; false when the time is over.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.threads.wait(py, self, seconds(timeout)?)
    }

    /// Withdraws the items that have not begun.
    fn cancel(&self) {
        self.withdraw(&mut crate::future::AtOnce);
    }

    /// For an event loop: the next item's number, the function, its arguments and the context;
    /// `None` if there is none left to begin.
    #[allow(clippy::type_complexity)]
    fn _begin<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Option<(usize, Bound<'py, PyAny>, Bound<'py, PyTuple>, Py<PyAny>)>> {
        while let Some((item, begun)) = self.begin(py) {
            let with_context = begun.and_then(|(function, args)| {
                let context = self.context.bind(py).call_method0(intern!(py, "copy"))?;
                Ok((item, function, args, context.unbind()))
            });
            match with_context {
                Ok(begun) => return Ok(Some(begun)),
                Err(error) if is_interruption(py, &error) => {
                    let outcome = Settled::error(py, error.clone_ref(py));
                    self.end(item, outcome, &mut crate::future::AtOnce);
                    return Err(error);
                }
                Err(error) => {
                    let outcome = Settled::error(py, error);
                    self.end(item, outcome, &mut crate::future::AtOnce);
                }
            }
        }
        Ok(None)
    }

    /// For an event loop: the item has ended with `value`, or with `error`.
    fn _end(&self, item: usize, value: Py<PyAny>, error: Option<Bound<'_, PyAny>>) {
        let settled = match error {
            None => Settled::Value(value),
            Some(error) => Settled::error(error.py(), PyErr::from_value(error)),
        };
        self.end(item, settled, &mut crate::future::AtOnce);
    }

    /// The table of event loops that wait for threads.
    #[getter]
    fn _hubs(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        thread_hubs(py)
    }

    /// A door to threads, for an event loop or for a thread that polls.
    #[pyo3(signature = (r#loop=None))]
    fn _open_door(&self, r#loop: Option<&Bound<'_, PyAny>>) -> PyResult<ThreadDoor> {
        ThreadDoor::to(r#loop)
    }

    /// Has the loop behind `door` woken under `key`; false when it has ended already.
    fn _watch(&self, door: &ThreadDoor, key: u64) -> bool {
        door.watch(self, key)
    }

    /// Wall time from the first item's start to the last one's end, in seconds.
    #[getter]
    fn elapsed(&self) -> f64 {
        self.lock().elapsed
    }

    /// The number of items.
    fn __len__(&self) -> usize {
        self.count
    }

    /// Once, after it is done: the values in order, and `{index: exception}` for the items that
    /// have none (their value is `None`).
    fn take<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyDict>)> {
        let outcomes = std::mem::take(&mut self.lock().outcomes);
        let errors = PyDict::new(py);
        let mut values = Vec::with_capacity(outcomes.len());
        for (index, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Some(Settled::Value(value)) => {
                    values.push(value);
                    continue;
                }
                Some(Settled::Error(error)) => errors.set_item(index, error)?,
                Some(Settled::Cancelled) | None => {
                    let cancelled = build(self.threads.errors.bind(py), "cancelled", ());
                    errors.set_item(index, cancelled.into_value(py))?;
                }
            }
            values.push(py.None());
        }
        Ok((PyList::new(py, values)?, errors))
    }

    fn __repr__(&self) -> String {
        let state = if self.is_done() { "done" } else { "pending" };
        format!("<ThreadBatch of {}: {state}>", self.count)
    }
}
