//! The engine's launcher trait, by a Python object (`manyhands._launch`).

use std::os::fd::{IntoRawFd, OwnedFd};

use manyhands::process::{Child, Launched, Launcher, NotLaunched};
use manyhands::task::Exit;
use pyo3::exceptions::{PyConnectionError, PyEOFError, PyRuntimeError};
use pyo3::prelude::*;

use crate::strangers;

/// Calls `launch(worker, fd)`, which gives an object with `pid` and `reap()`, and `close()`.
///
/// Its objects go while the thread is attached: else they would, with all that they hold, whenever
/// somebody next calls into this module.
pub(crate) struct PythonLauncher {
    object: Option<Py<PyAny>>,
}

impl PythonLauncher {
    pub(crate) fn new(object: Py<PyAny>) -> Self {
        Self {
            object: Some(object),
        }
    }
}

impl Launcher for PythonLauncher {
    fn launch(&mut self, worker: usize, control: OwnedFd) -> Result<Launched, NotLaunched> {
        let started = Python::try_attach(|py| -> PyResult<(u32, Py<PyAny>)> {
            // The Python side owns the descriptor from here on.
            let Some(object) = &self.object else {
                return Err(PyRuntimeError::new_err("the launcher is closed"));
            };
            let args = (worker, control.into_raw_fd());
            let child = strangers::call_method(object.bind(py), "launch", args)?;
            Ok((child.getattr("pid")?.extract()?, child.unbind()))
        });
        match started {
            Some(Ok((pid, child))) => Ok(Launched {
                pid,
                child: Box::new(PythonChild { child: Some(child) }),
            }),
            Some(Err(error)) => Err(Python::attach(|py| {
                let value = error.value(py);
                let text = format!("{}: {value}", value.get_type());
                // An OSError has a number.
                let number = value.getattr("errno").and_then(|number| number.extract());
                let mut why = NotLaunched::new(text, number.ok());
                // The fork server ends when a client, short of descriptors, fails halfway; the next
                // attempt starts another.
                why.short |= error.is_instance_of::<PyConnectionError>(py)
                    || error.is_instance_of::<PyEOFError>(py);
                why
            })),
            None => Err("the interpreter is ending".into()),
        }
    }

    fn close(&mut self) {
        Python::try_attach(|py| {
            let Some(object) = self.object.take() else {
                return;
            };
            let object = object.into_bound(py);
            if let Err(error) = strangers::call_method(&object, "close", ()) {
                error.write_unraisable(py, Some(&object));
            }
        });
    }
}

struct PythonChild {
    child: Option<Py<PyAny>>,
}

impl Child for PythonChild {
    fn reap(&mut self) -> Exit {
        let reaped = Python::try_attach(|py| {
            let child = self.child.take()?.into_bound(py);
            let code = strangers::call_method(&child, "reap", ());
            let code = code.and_then(|code| code.extract::<Option<i32>>());
            let code = code.inspect_err(|error| {
                error.clone_ref(py).write_unraisable(py, Some(&child));
            });
            Some(code.ok().flatten())
        });
        match reaped.flatten().flatten() {
            Some(code) if code < 0 => Exit::Signal(-code),
            Some(code) => Exit::Code(code),
            None => Exit::Unknown,
        }
    }
}
