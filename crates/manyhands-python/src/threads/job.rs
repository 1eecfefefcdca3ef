//! What the threads' queue holds.

use pyo3::prelude::*;

use super::batch::ThreadBatch;
use crate::future::{AtOnce, FutureBase, Teller, first};
use crate::outcome::Settled;
use crate::strangers;
use crate::turns::Turns;

/// A task, or a batch of them.
pub(crate) enum Job {
    Call(Py<FutureBase>),
    Batch(Py<ThreadBatch>),
}

impl Job {
    /// Runs it in a thread of the pool; tells how many tasks that were.
    pub(crate) fn run(self, py: Python<'_>, turns: &mut Turns, teller: &mut dyn Teller) -> u64 {
        let future = match self {
            Self::Call(future) => future,
            Self::Batch(batch) => {
                batch.get().run(py, turns, teller);
                return batch.get().len() as u64;
            }
        };
        let bound = future.bind(py);
        let Some(call) = bound.get().begin() else {
            return 0;
        };
        let settled = match call.run(py) {
            Ok(value) => Settled::Value(value.unbind()),
            Err(error) => Settled::error(py, error),
        };
        FutureBase::end(bound, settled, teller);
        // If nobody wants the outcome, its destructor runs here.
        strangers::release(future.into_bound(py));
        1
    }

    /// Ends what has not begun. With what came `before`, of other jobs: the first error of all.
    ///
    /// # Errors
    /// Ctrl-C in a callback; the job is withdrawn all the same.
    pub(crate) fn withdraw(self, py: Python<'_>, before: PyResult<()>) -> PyResult<()> {
        match self {
            Self::Call(future) => {
                let future = future.bind(py);
                first(future, before, FutureBase::withdraw(future).map(drop))
            }
            Self::Batch(batch) => {
                batch.get().withdraw(&mut AtOnce);
                before
            }
        }
    }

    /// It will not be run, for this reason.
    pub(crate) fn abandon(self, py: Python<'_>, why: PyErr) {
        match self {
            Self::Call(future) => FutureBase::abandon(future.bind(py), Settled::error(py, why)),
            Self::Batch(batch) => batch.get().abandon(py, &why, &mut AtOnce),
        }
    }
}
