//! The one switch between `std` and the loom model checker.
//!
//! Algorithms that processes share take their atomics from here and never mention `cfg`. Under
//! `--cfg loom` every operation becomes a point at which the model may switch threads.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering, fence},
};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
