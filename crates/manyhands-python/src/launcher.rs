//! The engine's launcher trait, by a Python object (`manyhands._launch`).

use std::os::fd::{IntoRawFd, OwnedFd};

use manyhands::process::{Child, Launched, Launcher};
use manyhands::task::Exit;
use pyo3::prelude::*;

/// Calls `launch(worker, fd)`, which gives an object with `pid` and `reap()`, and `close()`.
pub(crate) struct PythonLauncher {
    object: Py<PyAny>,
}

impl PythonLauncher {
    pub(crate) fn new(object: Py<PyAny>) -> Self {
        Self { object }
    }
}

impl Launcher for PythonLauncher {
    fn launch(&mut self, worker: usize, control: OwnedFd) -> Result<Launched, String> {
        let started = Python::try_attach(|py| -> PyResult<(u32, Py<PyAny>)> {
            // The Python side owns the descriptor from here on.
            let child = self
                .object
                .bind(py)
                .call_method1("launch", (worker, control.into_raw_fd()))?;
            Ok((child.getattr("pid")?.extract()?, child.unbind()))
        });
        match started {
            Some(Ok((pid, child))) => Ok(Launched {
                pid,
                child: Box::new(PythonChild { child }),
            }),
            Some(Err(error)) => Err(Python::attach(|py| {
                let value = error.value(py);
                format!("{}: {value}", value.get_type())
            })),
            None => Err("the interpreter is ending".into()),
        }
    }

    fn close(&mut self) {
        Python::try_attach(|py| {
            if let Err(error) = self.object.bind(py).call_method0("close") {
                error.write_unraisable(py, Some(self.object.bind(py)));
            }
        });
    }
}

struct PythonChild {
    child: Py<PyAny>,
}

impl Child for PythonChild {
    fn reap(&mut self) -> Exit {
        let reaped = Python::try_attach(|py| {
            let code = self.child.bind(py).call_method0("reap")?;
            code.extract::<Option<i32>>()
        });
        match reaped {
            Some(Ok(Some(code))) if code < 0 => Exit::Signal(-code),
            Some(Ok(Some(code))) => Exit::Code(code),
            Some(Ok(None)) | None => Exit::Unknown,
            Some(Err(error)) => {
                Python::attach(|py| error.write_unraisable(py, Some(self.child.bind(py))));
                Exit::Unknown
            }
        }
    }
}
