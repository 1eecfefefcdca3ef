//! The one switch between `std` and the loom model checker.
//!
//! Algorithms that processes or threads share take their atomics, locks and queues from here and
//! never mention `cfg`. Under `--cfg loom` every operation becomes a point at which the model may
//! switch threads.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering, fence},
};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering, fence},
};

/// A queue that nobody waits in: `push`, `pop`, `len`, `is_empty`, first in, first out.
#[cfg(not(loom))]
pub(crate) use crossbeam_queue::SegQueue as Fifo;

#[cfg(loom)]
pub(crate) use crate::thread::models::fifo::Fifo;
