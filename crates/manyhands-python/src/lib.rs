//! The Python binding: implements the engine's traits with the interpreter's means. The only
//! crate that knows Python.
#![deny(unsafe_code)]

mod batch;
mod buffers;
mod callbacks;
mod chain;
mod coroutines;
mod door;
mod functions;
mod future;
mod interrupts;
mod launcher;
mod outcome;
mod payload;
mod pool;
mod report;
mod strangers;
mod threads;
mod tracking;
mod turns;
mod worker;

/// What the package `manyhands` is built on; private to it.
#[pyo3::pymodule(name = "_engine")]
mod engine {
    use pyo3::intern;
    use pyo3::prelude::*;
    use pyo3::types::PyTuple;

    #[pymodule_export]
    use crate::batch::Batch;
    #[pymodule_export]
    use crate::coroutines::CoroutineLane;
    #[pymodule_export]
    use crate::door::Door;
    #[pymodule_export]
    use crate::future::FutureBase;
    #[pymodule_export]
    use crate::pool::PoolBase;
    #[pymodule_export]
    use crate::threads::batch::ThreadBatch;
    #[pymodule_export]
    use crate::threads::door::ThreadDoor;
    #[pymodule_export]
    use crate::threads::gone::{Counted, Gone};
    #[pymodule_export]
    use crate::threads::pool::ThreadsBase;
    #[pymodule_export]
    use crate::worker::WorkerSeat;

    /// Cores that this process may use: the smaller of its affinity and its cgroup's quota
    /// (sched_getaffinity(2), cgroups(7)). So many workers a pool has by default.
    ///
    ///     >>> import manyhands as mh
    ///     >>> mh.usable_cores() >= 1
    ///     True
    #[pyfunction]
    fn usable_cores() -> usize {
        manyhands::sys::cores::usable()
    }

    /// Calls `call(*args)` with `lock` held: one that Python has, of whatever kind.
    ///
    /// A `with` block does not do where Ctrl-C may come: since CPython 3.14 a signal's handler can
    /// raise after the lock was taken and before the block is entered, and nobody lets go of it.
    #[pyfunction]
    #[pyo3(signature = (lock, call, *args))]
    fn _locked<'py>(
        lock: &Bound<'py, PyAny>,
        call: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = lock.py();
        lock.call_method0(intern!(py, "acquire"))?;
        let result = call.call1(args);
        lock.call_method0(intern!(py, "release"))?;
        result
    }

    /// The interpreter is ending: no callback is begun any more. Waits for those under way, so
    /// many seconds at most.
    #[pyfunction]
    fn _stop_callbacks(py: Python<'_>, timeout: f64) {
        let timeout = std::time::Duration::from_secs_f64(timeout);
        py.detach(|| crate::callbacks::stop_all(timeout));
    }

    /// The interpreter is ending: waits until the callbacks of all executors have run.
    #[pyfunction]
    fn _join_callbacks(py: Python<'_>) -> PyResult<()> {
        crate::callbacks::join_executors(py)
    }

    /// The interpreter is ending: no thread pool takes tasks any more. Waits until all threads have
    /// done what they have to do.
    #[pyfunction]
    fn _end_threads(py: Python<'_>) -> PyResult<()> {
        crate::threads::alive::end_all(py)
    }
    #[pymodule_export]
    const MAX_WORKERS: usize = manyhands::board::MAX_WORKERS;
}
