//! What the threads' queue holds.

use pyo3::prelude::*;

use super::batch::ThreadBatch;
use crate::future::{AtOnce, FutureBase, Teller};
use crate::outcome::Settled;

/// A task, or a batch of them.
pub(crate) enum Job {
    Call(Py<FutureBase>),
    Batch(Py<ThreadBatch>),
}

impl Job {
    /// Runs it in a thread of the pool; tells how many tasks that were.
    pub(crate) fn run(self, py: Python<'_>, teller: &mut dyn Teller) -> u64 {
        let future = match self {
            Self::Call(future) => future,
            Self::Batch(batch) => {
                batch.get().run(py, teller);
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
        drop(future);
        1
    }

    /// Ends what has not begun.
    pub(crate) fn withdraw(self, py: Python<'_>) {
        match self {
            Self::Call(future) => {
                FutureBase::withdraw(future.bind(py));
            }
            Self::Batch(batch) => batch.get().withdraw(&mut AtOnce),
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
