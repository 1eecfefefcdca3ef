//! The end of a thread pool, to be awaited; and what counts a thread of the package's own as one of
//! the pool's.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use super::alive::OneMore;
use super::door::{ThreadDoor, thread_hubs};
use super::shared::Threads;
use super::waiting::Ending;

/// Ends when no thread of the pool has anything left to do.
#[pyclass(frozen, module = "manyhands._engine")]
pub(crate) struct Gone {
    threads: Arc<Threads>,
}

impl Gone {
    pub(crate) fn new(threads: Arc<Threads>) -> Self {
        Self { threads }
    }
}

#[pymethods]
impl Gone {
    /// Has it come?
    fn done(&self) -> bool {
        self.threads.alive.is_done()
    }

    /// The table of event loops that wait for threads.
    #[getter]
    fn _hubs(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        thread_hubs(py)
    }

    /// A door to threads, for an event loop.
    fn _open_door(&self, r#loop: &Bound<'_, PyAny>) -> PyResult<ThreadDoor> {
        ThreadDoor::to(Some(r#loop))
    }

    /// Has the loop behind `door` woken under `key`; false when it has come already.
    fn _watch(&self, door: &ThreadDoor, key: u64) -> bool {
        door.watch(&*self.threads.alive, key)
    }
}

/// A thread that counts until it says that it is done.
#[pyclass(frozen, module = "manyhands._engine")]
pub(crate) struct Counted(Mutex<Option<OneMore>>);

impl Counted {
    pub(crate) fn new(counted: OneMore) -> Self {
        Self(Mutex::new(Some(counted)))
    }
}

#[pymethods]
impl Counted {
    /// Counts another thread, which this one starts.
    fn another(&self) -> Self {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Self(Mutex::new(counted.as_ref().map(OneMore::another)))
    }

    /// The thread has nothing left to do.
    fn done(&self) {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(counted);
    }
}
