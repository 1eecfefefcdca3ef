//! The engine's outcomes and errors as Python's values and exceptions. The only place that maps
//! one to the other.

use manyhands::arena::SpanGuard;
use manyhands::process::SubmitError;
use manyhands::task::{Broken, Death, Exit, Outcome, Payload};
use pyo3::exceptions::{PyBaseException, PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::buffers::Source;
use crate::payload::{code, decode_result, load_all};

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
}

/// The package's module of exceptions.
fn errors(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = ERRORS.get_or_try_init(py, || {
        Ok::<_, PyErr>(py.import("manyhands._errors")?.unbind())
    })?;
    Ok(module.bind(py))
}

/// An exception built by a function of the package.
pub(crate) fn build<'py>(
    py: Python<'py>,
    function: &str,
    args: impl pyo3::call::PyCallArgs<'py>,
) -> PyErr {
    match errors(py).and_then(|module| module.call_method1(function, args)) {
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
pub(crate) fn settle(py: Python<'_>, outcome: Outcome, what: &str) -> Settled {
    match outcome {
        Outcome::Ended {
            code: code::ERROR,
            payload,
        } => {
            let account = with_source(&payload, |source| load_all(py, source));
            let error = match account {
                Ok(account) => build(py, "rebuild", (account,)),
                Err(error) => error,
            };
            Settled::error(py, error)
        }
        Outcome::Ended { code, payload } => {
            match with_source(&payload, |source| decode_result(py, code, source)) {
                Ok(value) => Settled::Value(value.unbind()),
                Err(error) => Settled::error(py, error),
            }
        }
        Outcome::Cancelled => Settled::Cancelled,
        Outcome::TimedOut { ran } => {
            let text = format!("{what} was stopped after {:.3} s", ran.as_secs_f64());
            Settled::error(py, PyTimeoutError::new_err(text))
        }
        Outcome::Died(death) => Settled::error(py, died(py, death, what)),
        Outcome::Lost(found) => Settled::error(py, build(py, "task_lost", (&*found, what))),
        Outcome::Broken(why) => match *why {
            Broken::Killed => Settled::Cancelled,
            _ => Settled::error(py, broken(py, &why)),
        },
        Outcome::Batch { .. } => {
            let error = PyRuntimeError::new_err("a batch where one task was submitted");
            Settled::error(py, error)
        }
    }
}

fn died(py: Python<'_>, death: Death, what: &str) -> PyErr {
    let (exitcode, signal) = match death.exit {
        Exit::Code(status) => (Some(status), None),
        Exit::Signal(signal) => (None, Some(signal)),
        Exit::Unknown => (None, None),
    };
    build(
        py,
        "worker_died",
        (death.pid, exitcode, signal, what, death.ran.as_secs_f64()),
    )
}

/// Why a pool is broken, as an exception.
pub(crate) fn broken(py: Python<'_>, why: &Broken) -> PyErr {
    match why {
        Broken::Initializer(account) => match load_all(py, &Source::Slice(account)) {
            Ok(account) => build(py, "initializer_failed", (account,)),
            Err(error) => error,
        },
        Broken::Start(text) => build(py, "pool_broken_at_start", (text,)),
        Broken::Board(text) => build(py, "pool_broken_board", (text,)),
        Broken::Died { pid, exit } => {
            let (exitcode, signal) = status(*exit);
            build(py, "pool_broken_by_death", (*pid, exitcode, signal))
        }
        Broken::Killed => build(py, "pool_killed", ()),
    }
}

/// Why a task was not taken, as an exception.
pub(crate) fn submit_error(py: Python<'_>, error: &SubmitError) -> PyErr {
    match error {
        SubmitError::Broken(why) => broken(py, why),
        SubmitError::Arena(_) => pyo3::exceptions::PyMemoryError::new_err(error.to_string()),
        SubmitError::ShutDown => build(py, "pool_shut_down", ()),
        SubmitError::OtherProcess => PyRuntimeError::new_err(error.to_string()),
        SubmitError::BatchLimits => PyValueError::new_err(error.to_string()),
    }
}
