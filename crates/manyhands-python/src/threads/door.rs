//! An event loop's door to all thread pools: a descriptor that `add_reader` watches, and what has
//! ended for that loop.
//!
//! All that has ended by the time the loop looks costs one wake-up of it, and no more than one is
//! under way.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use manyhands::sys::event::Event;
use manyhands::task::Waiter;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;

use super::waiting::Ending;
use crate::chain::Chain;
use crate::door::hand_over;
use crate::future::{FutureBase, is_interruption};
use crate::outcome::os_error;
use crate::payload::helper_of_futures;

enum Ready {
    /// Somebody waits under this key.
    Key(u64),
    /// A future of the loop's own is to end with one of ours.
    Chained(Py<FutureBase>, Chain),
}

#[derive(Default)]
struct State {
    ready: Vec<Ready>,
    /// The loop has been woken for them, or is about to be.
    rung: bool,
}

/// The part that outlives the loop, while something may still end for it.
pub(crate) struct Bell {
    event: Event,
    state: Mutex<State>,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether the loop has to be woken, by [`Waiter::wake`].
    #[must_use]
    fn push(&self, ready: Ready) -> bool {
        let mut state = self.lock();
        state.ready.push(ready);
        !std::mem::replace(&mut state.rung, true)
    }

    /// What the loop could not see to: it comes before what has ended since, and the loop is woken.
    fn put_back(&self, mut left: Vec<Ready>) {
        let mut state = self.lock();
        left.append(&mut state.ready);
        state.ready = left;
        state.rung = true;
        drop(state);
        self.wake();
    }

    /// `future` has ended, and so has what is chained to it; `true` as for `push`.
    #[must_use]
    pub(crate) fn push_chained(&self, future: Py<FutureBase>, chain: Chain) -> bool {
        self.push(Ready::Chained(future, chain))
    }
}

impl Waiter for Bell {
    fn wake(&self) {
        self.event.set();
    }
}

struct KeyWaiter {
    bell: Arc<Bell>,
    key: u64,
}

impl Waiter for KeyWaiter {
    fn wake(&self) {
        if self.bell.push(Ready::Key(self.key)) {
            self.bell.wake();
        }
    }
}

/// The package's table of event loops that wait for threads.
pub(crate) fn thread_hubs(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let module = helper_of_futures(py)?;
    Ok(module.getattr(intern!(py, "thread_hubs"))?.unbind())
}

/// See the module's documentation.
#[pyclass(frozen, weakref, module = "manyhands._engine")]
pub(crate) struct ThreadDoor {
    bell: Arc<Bell>,
    /// A weak reference to the loop, if it is one that waits.
    of: Option<Py<PyAny>>,
}

impl ThreadDoor {
    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// A door for an event loop, or for a thread that polls.
    pub(crate) fn to(event_loop: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let of = event_loop.map(PyWeakrefReference::new).transpose()?;
        Self::open(of.map(|of| of.into_any().unbind()))
    }

    pub(crate) fn watch(&self, what: &dyn Ending, key: u64) -> bool {
        what.watch(Arc::new(KeyWaiter {
            bell: self.bell.clone(),
            key,
        }))
    }

    /// Is it the door of this loop?
    pub(crate) fn is_of(&self, event_loop: &Bound<'_, PyAny>) -> bool {
        let of = self.of.as_ref().map(|of| of.bind(event_loop.py()).call0());
        of.is_some_and(|of| of.is_ok_and(|of| of.is(event_loop)))
    }
}

#[pymethods]
impl ThreadDoor {
    /// For the garbage collector: what is ready for a loop leads back to that, and nobody but this
    /// door can read it.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(of) = &self.of {
            visit.call(of)?;
        }
        for ready in &self.bell.lock().ready {
            if let Ready::Chained(future, chain) = ready {
                visit.call(future)?;
                chain.traverse(&visit)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.close();
    }

    /// A door for the event loop behind the weak reference `of`, or for a thread that polls.
    #[new]
    #[pyo3(signature = (of=None))]
    fn open(of: Option<Py<PyAny>>) -> PyResult<Self> {
        let bell = Arc::new(Bell {
            event: Event::new().map_err(os_error)?,
            state: Mutex::default(),
        });
        Ok(Self { bell, of })
    }

    /// The descriptor to watch for reading.
    fn fileno(&self) -> i32 {
        self.bell.event.as_fd().as_raw_fd()
    }

    /// Ends the futures that are chained to what has ended; gives the keys of what else has.
    ///
    /// Raises:
    ///     KeyboardInterrupt: Ctrl-C, or what else is no `Exception`, came meanwhile. What has not
    ///         been seen to is there at the next call, and the loop is woken for it.
    fn read(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        // First this: what is pushed after the look rings again.
        self.bell.event.clear();
        let ready = {
            let mut state = self.bell.lock();
            state.rung = false;
            std::mem::take(&mut state.ready)
        };
        let mut keys = Vec::new();
        let mut rest = ready.into_iter();
        while let Some(ready) = rest.next() {
            let (future, chain) = match ready {
                Ready::Key(key) => {
                    keys.push(key);
                    continue;
                }
                Ready::Chained(future, chain) => (future, chain),
            };
            let Err(error) = chain.end(future.bind(py)) else {
                continue;
            };
            if is_interruption(py, &error) {
                // This one too, which may not have come to its end.
                let mut left: Vec<_> = keys.into_iter().map(Ready::Key).collect();
                left.push(Ready::Chained(future, chain));
                left.extend(rest);
                self.bell.put_back(left);
                return Err(error);
            }
            error.write_unraisable(py, Some(future.bind(py).as_any()));
        }
        Ok(keys)
    }

    /// As a door to processes has it.
    fn serve(&self, ended: &Bound<'_, PyAny>, complete: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = ended.py();
        hand_over(ended, self.read(py)?, complete).inspect_err(|error| {
            if is_interruption(py, error) {
                self.bell.put_back(Vec::new());
            }
        })
    }

    /// One wait is over. (A door to processes counts them; threads need not be asked.)
    #[allow(
        unused_variables,
        clippy::unused_self,
        reason = "as a door to processes has it"
    )]
    fn leave(&self, key: u64) {}

    /// The loop will not watch the descriptor any more: what is ready for it is dropped.
    fn close(&self) {
        let ready = std::mem::take(&mut self.bell.lock().ready);
        drop(ready);
    }
}
