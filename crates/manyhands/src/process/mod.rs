//! The pool on processes: the parent's desk and supervisor, and the worker's seat.
//!
//! The way of a task: [`Pool::submit`] → a slot of the board → a [`Lane`] of a worker claims it
//! → the runner → the outcome in the same slot → whoever drains completions → the [`Task`]'s
//! waiters. The protocol between the processes is in the `board` module's documentation.
//!
//! [`Task`]: crate::task::Task

mod config;
mod deadlines;
mod demand;
mod desk;
mod drainer;
mod end;
mod failures;
mod job;
mod lane;
mod launch;
mod limits;
mod linger;
mod log;
mod notes;
mod outcomes;
mod pool;
mod recover;
mod seat;
mod seats;
mod shared;
mod shortage;
mod supervisor;
mod waiters;
mod welcome;
mod withdraw;

pub use config::{Config, OnDeath, Status, SubmitError};
pub use job::{Input, Job, StopFlag};
pub use lane::{Lane, Next};
pub use launch::{Child, Launched, Launcher, NotLaunched};
pub use linger::Linger;
pub use notes::Function;
pub use pool::Pool;
pub use seat::Seat;
pub use waiters::{LoopDoor, LoopWaiter, Waited};

/// Eventfds by which lanes wake the parent: the supervisor's, the waiting threads', and one
/// for each of the first few event loops.
pub(crate) const DOORBELLS: usize = 8;
pub(crate) const SUPERVISOR_DOORBELL: usize = 0;
pub(crate) const THREADS_DOORBELL: usize = 1;
pub(crate) const FIRST_LOOP_DOORBELL: usize = 2;
