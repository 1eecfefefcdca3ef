//! A pool that runs many things at once in supervised worker processes.
//!
//! This crate is the engine: it moves bytes, and knows no language. A task is a function's
//! definition and an input; what they mean is up to the runner in the worker. See
//! [`process::Pool`] for the parent's side and [`process::Seat`] for the worker's.
#![deny(unsafe_code)]

pub mod arena;
pub mod board;
#[cfg(not(loom))]
mod panic;
#[cfg(not(loom))]
pub mod process;
mod sync;
#[cfg(not(loom))]
pub mod sys;
#[cfg(not(loom))]
pub mod task;

#[cfg(not(loom))]
pub use board::Kind;
#[cfg(not(loom))]
pub use panic::Panic;
