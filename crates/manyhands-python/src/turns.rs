//! Other threads' turns at the interpreter, between tasks that run no Python code.
//!
//! A thread that wants the interpreter's lock waits a switch interval, and then asks whoever holds
//! it, who looks for that where Python code begins, and does not take it back before the other has
//! had it. To let go of the lock now and then does not do: the holder has it back before the other
//! is awake, whose interval begins anew, so that it never comes to ask.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use crate::strangers;

/// Tasks between two looks. Each costs as much as the call of a function.
const TURN: u32 = 16;

/// Counts what one thread runs.
#[derive(Default)]
pub(crate) struct Turns(u32);

impl Turns {
    /// One task more. Now and then others get the interpreter, if they have asked for it.
    ///
    /// # Errors
    /// In the main thread signals are handled, too, and a handler raised. In any thread: what
    /// another thread has raised in this one.
    pub(crate) fn count(&mut self, py: Python<'_>) -> PyResult<()> {
        static NOTHING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        self.0 = self.0.wrapping_add(1);
        if !self.0.is_multiple_of(TURN) {
            return Ok(());
        }
        let nothing = NOTHING.get_or_try_init(py, || {
            // By default it would keep the main module's globals.
            let globals = PyDict::new(py);
            let nothing = py.eval(c"lambda: None", Some(&globals), None)?;
            PyResult::Ok(nothing.unbind())
        })?;
        // The interpreter's end may find the thread there.
        strangers::call(nothing.bind(py), &PyTuple::empty(py), None).map(drop)
    }

    /// As [`count`](Self::count), in a thread where nobody could do anything about an error.
    pub(crate) fn give(&mut self, py: Python<'_>) {
        if let Err(error) = self.count(py) {
            error.write_unraisable(py, None);
        }
    }
}
