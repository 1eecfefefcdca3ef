//! How a task ended, as its worker reports it to the parent.

use manyhands::arena::ArenaError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::payload::{ResultBytes, code, encode_result, no_room};

/// What a lane reports: a code and its bytes.
pub(crate) enum Report<'py> {
    Result(ResultBytes<'py>),
    Error(Bound<'py, PyBytes>),
}

impl<'py> Report<'py> {
    /// How a call ended. A result that can not be shipped is the task's error.
    pub(crate) fn new(py: Python<'py>, ended: PyResult<Bound<'py, PyAny>>) -> Self {
        match ended.and_then(|value| encode_result(&value)) {
            Ok(result) => Self::Result(result),
            Err(error) => Self::error(py, &error),
        }
    }

    /// An exception's account of itself.
    pub(crate) fn error(py: Python<'py>, error: &PyErr) -> Self {
        // With its traceback, which `value` leaves out before Python 3.12.
        let value = error.clone_ref(py).into_value(py);
        let described = py
            .import(intern!(py, "manyhands._errors"))
            .and_then(|module| module.call_method1(intern!(py, "describe"), (value,)))
            .and_then(|bytes| Ok(bytes.cast_into::<PyBytes>()?));
        match described {
            Ok(bytes) => Self::Error(bytes),
            // Memory so short that not even the account could be made: say at least that.
            Err(_) => Self::Error(PyBytes::new(py, FALLBACK)),
        }
    }

    /// Reports by `send`; where the result found no room, that is what is reported.
    pub(crate) fn send(
        &self,
        py: Python<'py>,
        mut send: impl FnMut(u8, &[&[u8]]) -> Result<(), ArenaError>,
    ) {
        let sent = match self {
            Self::Result(result) => result.with_parts(py, |parts| send(result.code(), parts)),
            Self::Error(bytes) => send(code::ERROR, &[bytes.as_bytes()]),
        };
        let Err(error) = sent else { return };
        let account = Self::error(py, &no_room(error));
        if let Self::Error(bytes) = account
            && send(code::ERROR, &[bytes.as_bytes()]).is_ok()
        {
            return;
        }
        let inline = send(code::ERROR, &[FALLBACK]);
        debug_assert!(inline.is_ok(), "it fits a slot");
    }
}

/// `pickle.dumps((None, "MemoryError", "…", ""), 0)`
const FALLBACK: &[u8] =
    b"(NVMemoryError\nVthe worker has no memory to report how its task ended\nV\nt.";
