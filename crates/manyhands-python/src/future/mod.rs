//! The native core of `manyhands.Future`.
//!
//! `manyhands.Future` derives from this and from `concurrent.futures.Future`. What the standard
//! library's `wait` and `as_completed` reach into (`_condition`, `_waiters`, `_state`) exists
//! from the moment it is asked for. It is told of the end where callbacks are called: of a task in
//! a process on the pool's callbacks' thread, of a task in a thread by that thread.

mod backing;
mod methods;
mod watchers;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyTimeoutError};
use pyo3::prelude::*;
use pyo3::sync::OnceLockExt;

pub(crate) use self::backing::{Backing, ProcessTask};
pub(crate) use self::watchers::{AtOnce, Teller, first, is_interruption};
use self::watchers::{Callback, Watchers};
use crate::outcome::{Settled, settle};
use crate::pool::seconds;
use crate::threads::task::Call;
use crate::tracking;

/// A task's future: the native part.
#[pyclass(subclass, frozen, weakref, module = "manyhands._engine")]
pub(crate) struct FutureBase {
    backing: OnceLock<Backing>,
    settled: OnceLock<Settled>,
    watchers: Mutex<Watchers>,
}

impl FutureBase {
    pub(crate) fn set(&self, backing: Backing) {
        let fresh = self.backing.set(backing).is_ok();
        debug_assert!(fresh, "a future belongs to one task");
    }

    fn backing(&self) -> PyResult<&Backing> {
        self.backing.get().ok_or_else(|| {
            PyRuntimeError::new_err("this future belongs to no pool; use Pool.submit to get one")
        })
    }

    fn watchers(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of the task, which has ended.
    pub(crate) fn settled<'a>(slf: &'a Bound<'_, Self>) -> PyResult<&'a Settled> {
        let (py, this) = (slf.py(), slf.get());
        if let Some(settled) = this.settled.get() {
            return Ok(settled);
        }
        let Backing::Process(inner) = this.backing()? else {
            return Err(PyRuntimeError::new_err("the task has not ended"));
        };
        // Another thread that asks meanwhile waits detached, since unpickling may switch threads.
        let settled = this.settled.get_or_init_py_attached(py, || {
            let settled = match inner.task.take_outcome() {
                Some(outcome) => settle(py, &inner.core, outcome, &inner.shipped.name),
                None => Settled::Cancelled,
            };
            track_for(slf, &settled);
            settled
        });
        Ok(settled)
    }

    fn wait<'a>(slf: &'a Bound<'_, Self>, timeout: Option<f64>) -> PyResult<&'a Settled> {
        let this = slf.get();
        if this.settled.get().is_none() {
            let timeout = seconds(timeout)?;
            if !this.backing()?.wait(slf.py(), timeout)? {
                return Err(PyTimeoutError::new_err(()));
            }
        }
        Self::settled(slf)
    }

    fn is_cancelled(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let ended = slf.get().backing()?.is_done();
        Ok(ended && matches!(Self::settled(slf)?, Settled::Cancelled))
    }
}

/// The collector is to look at a future whose outcome may lead back to it.
fn track_for(future: &Bound<'_, FutureBase>, settled: &Settled) {
    match settled {
        Settled::Value(value) if !tracking::may_refer(value.bind(future.py())) => {}
        Settled::Cancelled => {}
        Settled::Value(_) | Settled::Error(_) => tracking::track(future),
    }
}

/// Tasks of threads: what their threads do with the future.
impl FutureBase {
    /// Gives the call to the thread that will make it; `None` if it was withdrawn.
    pub(crate) fn begin(&self) -> Option<Call> {
        match self.backing.get() {
            Some(Backing::Thread(task)) => task.begin(),
            Some(Backing::Process(_)) | None => None,
        }
    }

    /// The call has ended so: whoever waits is told.
    pub(crate) fn end(slf: &Bound<'_, Self>, settled: Settled, teller: &mut dyn Teller) {
        let fresh = Self::end_if_running(slf, settled, teller);
        debug_assert!(fresh, "one thread makes a call, and once");
    }

    /// As [`end`](Self::end), where others may end it as well; false if one was faster. A thread
    /// that runs tasks has nobody to pass on to what a callback raised.
    fn end_if_running(slf: &Bound<'_, Self>, settled: Settled, teller: &mut dyn Teller) -> bool {
        let this = slf.get();
        let Some(Backing::Thread(task)) = this.backing.get() else {
            return false;
        };
        track_for(slf, &settled);
        let mut settled = Some(settled);
        let waiters = task.end(|| {
            let fresh = settled.take().map(|settled| this.settled.set(settled));
            debug_assert!(fresh.is_some_and(|set| set.is_ok()), "it was running");
        });
        let Some(waiters) = waiters else {
            return false;
        };
        for waiter in waiters {
            teller.wake(waiter);
        }
        if let Err(error) = Self::publish(slf, teller) {
            error.write_unraisable(slf.py(), Some(slf.as_any()));
        }
        true
    }

    /// Ends a task that has not begun, with this outcome; tells whether it had not.
    ///
    /// # Errors
    /// Ctrl-C in a callback; the task has ended all the same.
    fn end_unbegun(slf: &Bound<'_, Self>, settled: Settled) -> PyResult<bool> {
        let this = slf.get();
        let Some(Backing::Thread(task)) = this.backing.get() else {
            return Ok(false);
        };
        track_for(slf, &settled);
        let mut settled = Some(settled);
        let withdrawn = task.withdraw(|| {
            if let Some(settled) = settled.take() {
                let fresh = this.settled.set(settled).is_ok();
                debug_assert!(fresh, "what has not begun has no outcome");
            }
        });
        let Some(withdrawn) = withdrawn else {
            return Ok(false);
        };
        let mut teller = AtOnce;
        for waiter in withdrawn.waiters {
            teller.wake(waiter);
        }
        let published = Self::publish(slf, &mut teller);
        drop(withdrawn.call);
        published.map(|()| true)
    }

    /// Withdraws the task if it has not begun; tells whether it is withdrawn now.
    ///
    /// # Errors
    /// Ctrl-C in a callback; the task is withdrawn all the same.
    pub(crate) fn withdraw(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Ok(Self::end_unbegun(slf, Settled::Cancelled)?
            || matches!(slf.get().settled.get(), Some(Settled::Cancelled)))
    }

    /// The task will not be run, for this reason.
    pub(crate) fn abandon(slf: &Bound<'_, Self>, why: Settled) {
        if let Err(error) = Self::end_unbegun(slf, why) {
            error.write_unraisable(slf.py(), Some(slf.as_any()));
        }
    }
}
