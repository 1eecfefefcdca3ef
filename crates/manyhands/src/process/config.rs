//! What a pool is told, and what it tells: its settings, why it takes a task no more, a moment of it.

use std::sync::Arc;
use std::time::Duration;

use crate::arena::ArenaError;
use crate::board::{MAX_WORKERS, WorkerPhase};
use crate::sys::cores;
use crate::task::Broken;
#[cfg(doc)]
use crate::task::Outcome;

/// What becomes of a pool one of whose workers dies: whose process ends although it has neither
/// run its share of tasks nor been told to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDeath {
    /// The tasks that it ran end as [`Outcome::Died`], and the pool goes on with another worker.
    #[default]
    Replace,
    /// The pool breaks: everything outstanding ends as [`Outcome::Broken`] with
    /// [`Broken::Died`], and the other workers are killed.
    Break,
}

/// How large a pool is, and how it behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Worker processes.
    pub workers: usize,
    /// Tasks (or batches) on the board at once; a power of two. What goes beyond waits in the
    /// parent's memory.
    pub slots: usize,
    /// How long workers that have nothing more to do may take to exit before they are killed.
    pub grace: Duration,
    /// By [`Kind`](crate::board::Kind): how long a task that was asked to stop may take for it before its worker is
    /// killed. With [`Duration::ZERO`] the worker is killed at once: what a function does cannot
    /// be interrupted from outside, unless its runner sees to it.
    pub stop_grace: [Duration; 2],
    /// Are workers started only when there is work for them, and never more than there is work for?
    /// Else all are started with the pool.
    pub on_demand: bool,
    /// What becomes of the pool when a worker dies.
    pub on_death: OnDeath,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: cores::usable().min(MAX_WORKERS),
            slots: 2048,
            grace: Duration::from_secs(5),
            stop_grace: [Duration::ZERO, Duration::from_secs(1)],
            on_demand: false,
            on_death: OnDeath::Replace,
        }
    }
}

/// Why a task was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The pool has been shut down.
    #[error("the pool is shut down; create a new one to submit more tasks")]
    ShutDown,
    /// The pool can run nothing more; says why.
    #[error("the pool is broken")]
    Broken(Arc<Broken>),
    /// A forked child inherited the pool.
    #[error("this pool belongs to the process that created it; create one in this process")]
    OtherProcess,
    /// A batch with a timeout or retries, which only single tasks can have.
    #[error("limits are for single tasks; submit the items of the batch one by one to limit them")]
    BatchLimits,
    /// The input found no memory.
    #[error(transparent)]
    Arena(#[from] ArenaError),
}

/// A moment of a pool, for people.
#[derive(Clone, Debug)]
pub struct Status {
    /// Process number and phase, a row a worker.
    pub workers: Vec<(u32, WorkerPhase)>,
    /// Tasks that have not ended; a batch counts once.
    pub outstanding: usize,
    /// Tasks that wait for a slot.
    pub backlog: usize,
    /// Takes no tasks any more.
    pub closed: bool,
}
