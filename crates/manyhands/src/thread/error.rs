//! What can go wrong with a task on threads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::worker::Unavailable;
use crate::panic::Panic;

/// How a task on threads ended that has no result.
///
/// What a task itself returns is never one of these: an `Err` of a task arrives as that `Err`,
/// inside of an `Ok`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The task panicked. The pool goes on.
    #[error("the task {0}")]
    Panicked(Panic),
    /// The task was cancelled, or its pool was killed or dropped before it ended.
    #[error("the task was cancelled, or its pool was killed or dropped before it ended")]
    Cancelled,
    /// The task took longer than its timeout, and was told to stop.
    #[error("the task was given up after {ran:?}, as its timeout demands")]
    TimedOut {
        /// How long it had run.
        ran: Duration,
    },
    /// The pool takes no tasks any more.
    #[error("the pool is shut down; make a new one to submit more tasks")]
    ShutDown,
    /// The pool's initializer panicked in one of its threads, so that the pool runs nothing more.
    #[error("the pool's initializer {0}; the pool runs nothing more, make a new one")]
    Initializer(Panic),
    /// The system gives no thread.
    #[error("no thread could be started: {0}; let the process have more threads (`ulimit -u`)")]
    Start(Arc<io::Error>),
}

impl From<Unavailable<Panic>> for Error {
    fn from(why: Unavailable<Panic>) -> Self {
        match why {
            Unavailable::Closed => Self::ShutDown,
            Unavailable::Broken(panic) => Self::Initializer(panic),
            Unavailable::Start(error) => Self::Start(error),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Start(Arc::new(error))
    }
}
