//! asyncio's own done-callback, recognised: the one by which `asyncio.wrap_future` (and so
//! `loop.run_in_executor`) has a future of a loop end with one of ours.
//!
//! Called as any other callback, it costs a wake-up of the loop for each future. Recognised, what
//! it would do is done by the loop itself, for all futures that have ended at once. Nothing depends
//! on that: what is not recognised is called.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyFunction, PyTuple, PyWeakrefMethods, PyWeakrefReference};

use crate::future::FutureBase;
use crate::outcome::Settled;
use crate::payload::helper_of_futures;
use crate::threads::door::{Bell, ThreadDoor};

/// The callback's code, and which of its cells hold what.
struct Known {
    code: Py<PyAny>,
    event_loop: usize,
    destination: usize,
    set_state: usize,
}

static KNOWN: PyOnceLock<Known> = PyOnceLock::new();

fn known(callback: &Bound<'_, PyFunction>) -> PyResult<Option<&'static Known>> {
    let py = callback.py();
    if let Some(known) = KNOWN.get(py) {
        return Ok(Some(known));
    }
    let module = callback.getattr(intern!(py, "__module__"))?;
    if module.extract::<&str>().ok() != Some("asyncio.futures") {
        return Ok(None);
    }
    let found = helper_of_futures(py)?.call_method0(intern!(py, "chain_code"))?;
    if found.is_none() {
        return Ok(None);
    }
    let (code, event_loop, destination, set_state) = found.extract()?;
    KNOWN
        .get_or_try_init(py, || {
            Ok(Known {
                code,
                event_loop,
                destination,
                set_state,
            })
        })
        .map(Some)
}

/// What is to end with a future of ours.
pub(crate) struct Chain {
    destination: Py<PyAny>,
    /// asyncio's function that copies an outcome.
    set_state: Py<PyAny>,
}

/// A recognised callback: the chain, the loop that it belongs to.
pub(crate) struct Recognised<'py> {
    pub(crate) chain: Chain,
    pub(crate) event_loop: Bound<'py, PyAny>,
}

/// Is this asyncio's own callback, for the loop that runs in this very thread?
pub(crate) fn recognise<'py>(callback: &Bound<'py, PyAny>) -> PyResult<Option<Recognised<'py>>> {
    let py = callback.py();
    let Ok(function) = callback.cast::<PyFunction>() else {
        return Ok(None);
    };
    let Some(known) = known(function)? else {
        return Ok(None);
    };
    if !function.getattr(intern!(py, "__code__"))?.is(&known.code) {
        return Ok(None);
    }
    let cells = function.getattr(intern!(py, "__closure__"))?;
    let cells = cells.cast_into::<PyTuple>()?;
    let cell = |at: usize| cells.get_item(at)?.getattr(intern!(py, "cell_contents"));
    let event_loop = cell(known.event_loop)?;
    if event_loop.is_none() || !running_loop(py)?.is(&event_loop) {
        return Ok(None);
    }
    Ok(Some(Recognised {
        chain: Chain {
            destination: cell(known.destination)?.unbind(),
            set_state: cell(known.set_state)?.unbind(),
        },
        event_loop,
    }))
}

fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static FUNCTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let function = FUNCTION.get_or_try_init(py, || {
        let events = py.import(intern!(py, "asyncio.events"))?;
        Ok::<_, PyErr>(events.getattr(intern!(py, "_get_running_loop"))?.unbind())
    })?;
    function.bind(py).call0()
}

/// The bell of the loop that runs in this thread; `None` if that can watch no descriptors.
pub(crate) fn bell_of(event_loop: &Bound<'_, PyAny>) -> PyResult<Option<Arc<Bell>>> {
    /// The door that was asked for last. Weak: a door goes with its loop.
    static LAST: Mutex<Option<Py<PyWeakrefReference>>> = Mutex::new(None);
    let py = event_loop.py();
    let last = LAST
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        .map(|last| last.clone_ref(py));
    if let Some(door) = last.and_then(|last| last.bind(py).upgrade())
        && let Ok(door) = door.cast_into::<ThreadDoor>()
        && door.get().is_of(event_loop)
    {
        return Ok(Some(door.get().bell().clone()));
    }
    let door = helper_of_futures(py)?.call_method1(intern!(py, "thread_door"), (event_loop,))?;
    if door.is_none() {
        return Ok(None);
    }
    let weak = PyWeakrefReference::new(&door)?.unbind();
    let before = LAST
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .replace(weak);
    drop(before);
    Ok(Some(door.cast::<ThreadDoor>()?.get().bell().clone()))
}

impl Chain {
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.destination)?;
        visit.call(&self.set_state)
    }

    /// On the loop's thread: ends the loop's future as ours has ended.
    pub(crate) fn end(&self, future: &Bound<'_, FutureBase>) -> PyResult<()> {
        let py = future.py();
        let destination = self.destination.bind(py);
        // It was cancelled meanwhile; that is no matter of ours any more.
        if destination.call_method0(intern!(py, "done"))?.is_truthy()? {
            return Ok(());
        }
        match FutureBase::settled(future)? {
            Settled::Value(value) => {
                destination.call_method1(intern!(py, "set_result"), (value,))?;
            }
            Settled::Error(_) | Settled::Cancelled => {
                self.set_state.bind(py).call1((destination, future))?;
            }
        }
        Ok(())
    }

    /// As the callback would do in the loop's own thread, for a future that has ended already: in
    /// the loop's next round, not at once, since nobody's `await` should find it ended.
    pub(crate) fn end_soon(
        &self,
        future: &Bound<'_, FutureBase>,
        event_loop: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = future.py();
        let args = (&self.set_state, &self.destination, future);
        event_loop.call_method1(intern!(py, "call_soon"), args)?;
        Ok(())
    }
}
