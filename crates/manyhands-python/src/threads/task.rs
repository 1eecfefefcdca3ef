//! A task of a thread pool: the part of its future that is not Python's.
//!
//! Its life: QUEUED (with the call) → RUNNING → DONE. Whoever brings it to DONE sets the
//! future's outcome under the lock; whoever registers looks at the state under the same lock: so either a
//! waiter finds DONE, or is found.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use manyhands::task::Waiter;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::alive::position;
use super::shared::Threads;
use super::waiting::Ending;
use crate::strangers;

/// What a task will do.
pub(crate) struct Call {
    pub(crate) function: Py<PyAny>,
    pub(crate) args: Py<PyTuple>,
    pub(crate) kwargs: Option<Py<PyDict>>,
    /// The `contextvars.Context` to run in, where it is the caller's.
    pub(crate) context: Option<Py<PyAny>>,
}

impl Call {
    /// Makes the call, and lets go of what it was given.
    pub(crate) fn run<'py>(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let Self {
            function,
            args,
            kwargs,
            context,
        } = self;
        let (function, args) = (function.into_bound(py), args.into_bound(py));
        let kwargs = kwargs.map(|kwargs| kwargs.into_bound(py));
        let result = match &context {
            None => strangers::call(&function, &args, kwargs.as_ref()),
            Some(context) => in_context(context.bind(py), &function, &args, kwargs.as_ref()),
        };
        strangers::release(function);
        strangers::release(args);
        if let Some(kwargs) = kwargs {
            strangers::release(kwargs);
        }
        result
    }
}

/// `context.run(function, *args, **kwargs)`.
pub(crate) fn in_context<'py>(
    context: &Bound<'py, PyAny>,
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = context.py();
    let run = context.getattr(pyo3::intern!(py, "run"))?;
    let first = PyTuple::new(py, [function])?;
    let args = first.as_sequence().concat(args.as_sequence())?;
    strangers::call(&run, &args.to_tuple()?, kwargs)
}

enum Stage {
    Queued(Call),
    Running,
    Done,
}

struct State {
    stage: Stage,
    waiters: Vec<Arc<dyn Waiter>>,
}

/// What is left over when a task was withdrawn.
pub(crate) struct Withdrawn {
    pub(crate) waiters: Vec<Arc<dyn Waiter>>,
    /// Dropping it may run a destructor of the program's.
    pub(crate) call: Call,
}

/// See the module's documentation.
pub(crate) struct ThreadTask {
    pub(crate) threads: Arc<Threads>,
    state: Mutex<State>,
}

impl ThreadTask {
    pub(crate) fn new(threads: Arc<Threads>, call: Call) -> Self {
        let stage = Stage::Queued(call);
        Self {
            threads,
            state: Mutex::new(State {
                stage,
                waiters: Vec::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the call to the thread that will make it, if it is still there.
    pub(crate) fn begin(&self) -> Option<Call> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.stage, Stage::Running) {
            Stage::Queued(call) => Some(call),
            other => {
                state.stage = other;
                None
            }
        }
    }

    /// Ends a task that runs: whom to wake, or `None` if it does not run. `set` sets the outcome;
    /// it must run no Python code.
    pub(crate) fn end(&self, set: impl FnOnce()) -> Option<Vec<Arc<dyn Waiter>>> {
        let mut state = self.lock();
        if !matches!(state.stage, Stage::Running) {
            return None;
        }
        set();
        state.stage = Stage::Done;
        Some(std::mem::take(&mut state.waiters))
    }

    /// Ends the task if it has not begun. `set` sets the outcome; it must run no Python code.
    pub(crate) fn withdraw(&self, set: impl FnOnce()) -> Option<Withdrawn> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.stage, Stage::Done) {
            Stage::Queued(call) => {
                set();
                let waiters = std::mem::take(&mut state.waiters);
                Some(Withdrawn { waiters, call })
            }
            other => {
                state.stage = other;
                None
            }
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.lock().stage, Stage::Running)
    }
}

impl Ending for ThreadTask {
    fn is_done(&self) -> bool {
        matches!(self.lock().stage, Stage::Done)
    }

    fn watch(&self, waiter: Arc<dyn Waiter>) -> bool {
        let mut state = self.lock();
        if matches!(state.stage, Stage::Done) {
            return false;
        }
        state.waiters.push(waiter);
        true
    }

    fn unwatch(&self, waiter: &Arc<dyn Waiter>) {
        let removed = {
            let mut state = self.lock();
            position(&state.waiters, waiter).map(|at| state.waiters.swap_remove(at))
        };
        drop(removed);
    }
}
