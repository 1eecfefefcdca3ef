//! Threads for Python: the engine's executor, with `threading.Thread`s that run Python calls.
//!
//! A task is one allocation: its future, which holds the call until it is begun, and then the
//! outcome. The executor's queue holds the future.
//!
//! Guarantees: all locks of this folder are taken with the interpreter attached and for moves
//! only, so that neither a fork nor a collection finds one held; no Python code runs, and no
//! object is dropped, under one. Nothing relies on the interpreter's one lock.

pub(crate) mod alive;
pub(crate) mod batch;
pub(crate) mod bells;
pub(crate) mod door;
pub(crate) mod gone;
pub(crate) mod hands;
pub(crate) mod job;
pub(crate) mod pool;
pub(crate) mod shared;
pub(crate) mod task;
pub(crate) mod waiting;
