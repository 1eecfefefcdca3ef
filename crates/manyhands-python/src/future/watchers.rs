//! Who is told of a future's end: callbacks, the standard library's waiters, futures of loops.

use std::sync::Arc;

use manyhands::task::Waiter;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::{Backing, FutureBase};
use crate::callbacks::CallbackWaiter;
use crate::chain::{self, Chain, Recognised};
use crate::payload::helper_of_futures;
use crate::strangers;
use crate::threads::door::Bell;
use crate::tracking;

/// What is called, or done, at the end.
pub(super) enum Callback {
    /// Code of a stranger's.
    Call(Py<PyAny>),
    /// A future of an event loop ends as well.
    Chain(Chain, Arc<Bell>),
}

#[derive(Default)]
pub(super) struct Watchers {
    pub(super) callbacks: Vec<Callback>,
    /// The standard library's `threading.Condition`, and its list of waiters.
    pub(super) condition: Option<(Py<PyAny>, Py<PyList>)>,
    /// The callbacks' thread will be told. (Of tasks in processes.)
    registered: bool,
    /// All have been told; whoever comes later sees the end.
    pub(super) published: bool,
}

/// How whoever ends a task lets others know.
pub(crate) trait Teller {
    /// Wakes somebody, now or in a moment.
    fn wake(&mut self, waiter: Arc<dyn Waiter>);

    /// A stranger's code is about to run.
    fn before_strangers(&mut self) {}
}

/// Wakes at once.
pub(crate) struct AtOnce;

impl Teller for AtOnce {
    fn wake(&mut self, waiter: Arc<dyn Waiter>) {
        waiter.wake();
    }
}

impl FutureBase {
    /// Has the end told; false when it has come already, and been told.
    pub(super) fn register(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let this = slf.get();
        tracking::track(slf);
        let inner = match this.backing()? {
            // Its thread tells.
            Backing::Thread(_) => return Ok(!this.watchers().published),
            Backing::Process(inner) => inner,
        };
        if !inner.core.callbacks.is_ours() {
            if !inner.task.is_done() {
                return Err(PyRuntimeError::new_err(
                    "the pool belongs to the process that this one was forked from; nobody will \
                     be called back here",
                ));
            }
            Self::publish(slf, &mut AtOnce)?;
            return Ok(false);
        }
        if std::mem::replace(&mut this.watchers().registered, true) {
            return Ok(true);
        }
        let py = slf.py();
        if let Err(error) = inner.core.callbacks.expect() {
            this.watchers().registered = false;
            return Err(error);
        }
        let waiter = CallbackWaiter::new(inner.core.callbacks.clone(), slf.clone().unbind());
        py.detach(|| inner.core.pool.watch_unseen(true));
        let waiter: Arc<dyn Waiter> = waiter;
        if inner.task.watch(waiter) {
            return Ok(true);
        }
        py.detach(|| inner.core.pool.watch_unseen(false));
        inner.core.callbacks.settled();
        Self::publish(slf, &mut AtOnce)?;
        Ok(false)
    }

    /// On the callbacks' thread: the task has ended, everybody is told.
    pub(crate) fn deliver(slf: &Bound<'_, Self>) {
        if let Some(Backing::Process(inner)) = slf.get().backing.get() {
            slf.py().detach(|| inner.core.pool.watch_unseen(false));
        }
        if let Err(error) = Self::publish(slf, &mut AtOnce) {
            error.write_unraisable(slf.py(), Some(slf.as_any()));
        }
    }

    /// Tells the standard library's waiters and runs the callbacks; whoever comes later sees that
    /// the end has been told. A condition may be asked for meanwhile: then it is told as well.
    ///
    /// # Errors
    /// Ctrl-C, or what else is no `Exception`, came out of one of them; the others have been told.
    pub(super) fn publish(slf: &Bound<'_, Self>, teller: &mut dyn Teller) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let mut ended = Ok(());
        let mut told = false;
        let callbacks = loop {
            let condition = {
                let mut watchers = this.watchers();
                match &watchers.condition {
                    Some((condition, waiters)) if !told => {
                        (condition.clone_ref(py), waiters.clone_ref(py))
                    }
                    _ => {
                        watchers.published = true;
                        break std::mem::take(&mut watchers.callbacks);
                    }
                }
            };
            told = true;
            teller.before_strangers();
            let (condition, waiters) = condition;
            let notified = helper_of_futures(py).and_then(|module| {
                strangers::call_method(&module, "notify", (slf, condition, waiters))
            });
            if let Err(error) = notified {
                ended = first(slf, ended, pass_on(slf, error));
            }
        };
        for callback in callbacks {
            match callback {
                Callback::Call(callback) => {
                    teller.before_strangers();
                    ended = first(slf, ended, call_back(slf, callback.bind(py)));
                }
                Callback::Chain(chain, bell) => {
                    if bell.push_chained(slf.clone().unbind(), chain) {
                        teller.wake(bell);
                    }
                }
            }
        }
        ended
    }

    /// See `add_done_callback`.
    pub(super) fn add_callback(slf: &Bound<'_, Self>, callback: Bound<'_, PyAny>) -> PyResult<()> {
        let this = slf.get();
        let recognised = chain::recognise(&callback)?;
        let bell = match &recognised {
            None => None,
            Some(recognised) => chain::bell_of(&recognised.event_loop)?,
        };
        let (registered, before) = match Self::register(slf) {
            Ok(registered) => (registered, Ok(())),
            // Ctrl-C in a callback of before: this one is called all the same.
            Err(error) if is_interruption(slf.py(), &error) => (false, Err(error)),
            Err(error) => return Err(error),
        };
        let (Some(Recognised { chain, event_loop }), Some(bell)) = (recognised, bell) else {
            if registered {
                let mut watchers = this.watchers();
                if !watchers.published {
                    watchers.callbacks.push(Callback::Call(callback.unbind()));
                    return Ok(());
                }
            }
            return first(slf, before, call_back(slf, &callback));
        };
        if registered {
            let mut watchers = this.watchers();
            if !watchers.published {
                watchers.callbacks.push(Callback::Chain(chain, bell));
                return Ok(());
            }
        }
        first(slf, before, chain.end_soon(slf, &event_loop))
    }
}

/// Is it Ctrl-C, or what else is no `Exception`, and so is to end the program?
pub(crate) fn is_interruption(py: Python<'_>, error: &PyErr) -> bool {
    !error.is_instance_of::<PyException>(py)
}

/// What ends the program is passed on; another defect is reported here.
fn pass_on(future: &Bound<'_, FutureBase>, error: PyErr) -> PyResult<()> {
    if is_interruption(future.py(), &error) {
        return Err(error);
    }
    error.write_unraisable(future.py(), Some(future.as_any()));
    Ok(())
}

/// The first error of two; where both have failed the second is reported, not lost.
pub(crate) fn first(
    future: &Bound<'_, FutureBase>,
    before: PyResult<()>,
    then: PyResult<()>,
) -> PyResult<()> {
    if before.is_ok() {
        return then;
    }
    if let Err(error) = then {
        error.write_unraisable(future.py(), Some(future.as_any()));
    }
    before
}

/// Runs one callback; what it raises is logged, as the standard library does.
///
/// # Errors
/// What is no `Exception`.
fn call_back(future: &Bound<'_, FutureBase>, callback: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    let args = (future,).into_pyobject(py)?;
    let Err(error) = strangers::call(callback, &args, None) else {
        return Ok(());
    };
    let error = error.into_value(py);
    let logged = helper_of_futures(py)
        .and_then(|module| strangers::call_method(&module, "callback_failed", (future, error)));
    match logged {
        Ok(_) => Ok(()),
        Err(error) => pass_on(future, error),
    }
}
