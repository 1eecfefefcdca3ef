//! The engine's outcomes and errors as Python's values and exceptions. The only place that maps
//! one to the other.

use std::io;

use manyhands::arena::SpanGuard;
use manyhands::process::SubmitError;
use manyhands::task::{Broken, Exit, Outcome, Payload};
use pyo3::exceptions::{PyBaseException, PyOSError, PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::buffers::Source;
use crate::payload::{code, decode_result, load_all};
use crate::pool::Core;

/// How a task ended, for its caller.
pub(crate) enum Settled {
    Value(Py<PyAny>),
    /// An object and no `PyErr`, so that the garbage collector can look at it.
    Error(Py<PyBaseException>),
    Cancelled,
}

impl Settled {
    pub(crate) fn error(py: Python<'_>, error: PyErr) -> Self {
        Self::Error(error.into_value(py))
    }

    /// For the garbage collector.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Value(value) => visit.call(value),
            Self::Error(error) => visit.call(error),
            Self::Cancelled => Ok(()),
        }
    }
}

/// The system's error as an `OSError` with its number (`errno`), of the subclass for that.
pub(crate) fn os_error(error: io::Error) -> PyErr {
    let Some(number) = error.raw_os_error() else {
        return error.into();
    };
    let text = error.to_string();
    // The number is an argument of its own.
    let text = text.strip_suffix(&format!(" (os error {number})"));
    PyOSError::new_err((
        number,
        text.map_or_else(|| error.to_string(), str::to_owned),
    ))
}

/// An exception, or what else stands for a failure, made by a function of the pool's module of
/// exceptions.
pub(crate) fn build<'py>(
    errors: &Bound<'py, PyAny>,
    function: &str,
    args: impl pyo3::call::PyCallArgs<'py>,
) -> PyErr {
    match errors.call_method1(function, args) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// With a payload's bytes as a source.
pub(crate) fn with_source<R>(payload: &Payload, then: impl FnOnce(&Source<'_>) -> R) -> R {
    match payload {
        Payload::Bytes(bytes) => then(&Source::Slice(bytes)),
        Payload::Span(span) => then(&Source::Span(span as &SpanGuard)),
    }
}

/// What an outcome means; `what` names the function that ran.
pub(crate) fn settle(py: Python<'_>, core: &Core, outcome: Outcome, what: &str) -> Settled {
    let errors = core.errors.bind(py);
    match outcome {
        Outcome::Ended {
            code: code::ERROR,
            payload,
        } => {
            let account = with_source(&payload, |source| load_all(py, source));
            let error = match account {
                Ok(account) => build(errors, "rebuild", (account,)),
                Err(error) => error,
            };
            Settled::error(py, error)
        }
        Outcome::Ended { code, payload } => {
            match with_source(&payload, |source| decode_result(py, code, source)) {
                Ok(value) => Settled::Value(value.unbind()),
                Err(error) if core.breaks => Settled::error(py, unreadable(py, core, error)),
                Err(error) => Settled::error(py, error),
            }
        }
        Outcome::Cancelled => Settled::Cancelled,
        Outcome::TimedOut { ran } => {
            let text = format!("{what} was stopped after {:.3} s", ran.as_secs_f64());
            Settled::error(py, PyTimeoutError::new_err(text))
        }
        Outcome::Died(death) => {
            let (exitcode, signal) = status(death.exit);
            let ran = death.ran.as_secs_f64();
            let args = (death.pid, exitcode, signal, what, ran);
            Settled::error(py, build(errors, "worker_died", args))
        }
        Outcome::Lost(found) => Settled::error(py, build(errors, "task_lost", (&*found, what))),
        Outcome::Broken(why) => match *why {
            Broken::Killed if !core.is_standard => Settled::Cancelled,
            _ => Settled::error(py, broken(py, core, &why, true)),
        },
        Outcome::Batch { .. } => {
            let error = PyRuntimeError::new_err("a batch where one task was submitted");
            Settled::error(py, error)
        }
    }
}

/// A pool that breaks at every accident breaks at a result that cannot be read.
fn unreadable(py: Python<'_>, core: &Core, error: PyErr) -> PyErr {
    let error = error.into_value(py);
    let account = core.errors.bind(py).call_method1("describe", (&error,));
    let account = account.and_then(|account| Ok(account.cast_into::<PyBytes>()?));
    match account {
        Ok(account) => {
            let why = Broken::Unreadable(account.as_bytes().into());
            let why = py.detach(|| core.pool.break_off(why));
            broken(py, core, &why, true)
        }
        Err(failure) => failure,
    }
}

/// The exit status, or the signal.
fn status(exit: Exit) -> (Option<i32>, Option<i32>) {
    match exit {
        Exit::Code(status) => (Some(status), None),
        Exit::Signal(signal) => (None, Some(signal)),
        Exit::Unknown => (None, None),
    }
}

/// Why a pool is broken, as an exception: for a task that was submitted, or for one that comes now.
pub(crate) fn broken(py: Python<'_>, core: &Core, why: &Broken, submitted: bool) -> PyErr {
    let errors = core.errors.bind(py);
    match why {
        Broken::Initializer(account) => match load_all(py, &Source::Slice(account)) {
            Ok(account) => build(errors, "initializer_failed", (account, submitted)),
            Err(error) => error,
        },
        Broken::Unreadable(account) => match load_all(py, &Source::Slice(account)) {
            Ok(account) => build(errors, "pool_broken_unreadable", (account, submitted)),
            Err(error) => error,
        },
        Broken::Start(text) => build(errors, "pool_broken_at_start", (text, submitted)),
        Broken::Board(text) => build(errors, "pool_broken_board", (text, submitted)),
        Broken::Died { pid, exit } => {
            let (exitcode, signal) = status(*exit);
            let args = (*pid, exitcode, signal, submitted);
            build(errors, "pool_broken_by_death", args)
        }
        Broken::Killed => build(errors, "pool_killed", (submitted,)),
    }
}

/// Why a task was not taken, as an exception.
pub(crate) fn submit_error(py: Python<'_>, core: &Core, error: &SubmitError) -> PyErr {
    match error {
        SubmitError::Broken(why) => broken(py, core, why, false),
        SubmitError::Arena(_) => pyo3::exceptions::PyMemoryError::new_err(error.to_string()),
        SubmitError::ShutDown => build(core.errors.bind(py), "pool_shut_down", ()),
        SubmitError::OtherProcess => PyRuntimeError::new_err(error.to_string()),
        SubmitError::BatchLimits => PyValueError::new_err(error.to_string()),
    }
}
