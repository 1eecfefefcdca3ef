//! How a main thread that sleeps in here hears of a signal, whichever thread the system gave it to.
//!
//! Python's handlers run in the main thread, but the system gives a signal to any thread that does
//! not block it, and one that comes between the last look at what there is to handle and the sleep
//! wakes nobody. The interpreter writes a byte for each signal to one descriptor
//! (`signal.set_wakeup_fd`): while the main thread waits, that is a pipe of ours, which it watches
//! beside what it waits for. What came is passed on to the descriptor that the program had set.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use manyhands::sys::forked::ProcessMark;
use manyhands::sys::pipe::Pipe;
use manyhands::sys::signals;
use pyo3::exceptions::{PyBlockingIOError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// One for the process, while anything in it may wait.
pub(crate) struct Interrupts {
    pipe: Pipe,
    mark: ProcessMark,
}

/// Taken with the interpreter's lock only, so that no fork finds it held.
static KNOWN: Mutex<Weak<Interrupts>> = Mutex::new(Weak::new());

/// Gives the descriptor before; -1 is none.
fn set_wakeup_fd(py: Python<'_>, fd: i32) -> PyResult<i32> {
    static SET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    SET.import(py, "_signal", "set_wakeup_fd")?
        .call1((fd,))?
        .extract()
}

impl Interrupts {
    /// The process's; a forked child makes its own.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(crate) fn shared(_py: Python<'_>) -> std::io::Result<Arc<Self>> {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(interrupts) = known.upgrade().filter(|it| it.mark.is_current()) {
            return Ok(interrupts);
        }
        let interrupts = Arc::new(Self {
            pipe: Pipe::new()?,
            mark: ProcessMark::current(),
        });
        *known = Arc::downgrade(&interrupts);
        Ok(interrupts)
    }

    /// Runs Python's signal handlers, if this is the thread for it; what comes afterwards can be
    /// watched for, until what is given is dropped.
    ///
    /// # Errors
    /// What a handler raises.
    pub(crate) fn listen<'py>(&self, py: Python<'py>) -> PyResult<Option<Listening<'_, 'py>>> {
        // First those that are due, as they may have the descriptor set to another.
        py.check_signals()?;
        if !signals::is_main_thread() {
            return Ok(None);
        }
        let before = match set_wakeup_fd(py, self.pipe.writer().as_raw_fd()) {
            Ok(before) => before,
            // An interpreter that was started in another thread handles signals there.
            Err(error) if error.is_instance_of::<PyValueError>(py) => return Ok(None),
            Err(error) => return Err(error),
        };
        let pipe = &self.pipe;
        let listening = Listening {
            pipe,
            before,
            seen: false,
            py,
        };
        py.check_signals()?;
        Ok(Some(listening))
    }
}

/// Signals make its descriptor readable.
pub(crate) struct Listening<'a, 'py> {
    pipe: &'a Pipe,
    before: i32,
    seen: bool,
    py: Python<'py>,
}

impl AsFd for Listening<'_, '_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl Listening<'_, '_> {
    /// The wait is over; a signal may have ended it.
    pub(crate) fn end(mut self, interrupted: bool) {
        self.seen = interrupted;
    }

    fn pass_on(&self, came: &[u8]) -> PyResult<()> {
        let os = self.py.import(intern!(self.py, "os"))?;
        let written = os.call_method1(intern!(self.py, "write"), (self.before, came));
        match written {
            // Its reader is woken already.
            Err(error) if error.is_instance_of::<PyBlockingIOError>(self.py) => Ok(()),
            written => written.map(drop),
        }
    }
}

impl Drop for Listening<'_, '_> {
    fn drop(&mut self) {
        // It may be the same pipe, of a wait that a handler is in the middle of: that wakes, too.
        let restored = set_wakeup_fd(self.py, self.before).or_else(|error| {
            // The program has closed it. Ours must not stay in its place.
            set_wakeup_fd(self.py, -1).and(Err(error))
        });
        let mut restored = restored.map(drop);
        // What came without having been seen, and is nobody else's, interrupts the next wait in vain.
        if self.before >= 0 || self.seen {
            let came = self.pipe.drain();
            if self.before >= 0 && !came.is_empty() {
                restored = restored.and_then(|()| self.pass_on(&came));
            }
        }
        if let Err(error) = restored {
            error.write_unraisable(self.py, None);
        }
    }
}
