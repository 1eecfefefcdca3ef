//! Threads that run closures, tasks and futures.
//!
//! [`ThreadPool`] is what programs use. [`Executor`] is what it stands on, for embedders that have
//! jobs and a loop of their own. `README.md` beside this file has the protocol.

#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
mod crew;
#[cfg(not(loom))]
mod current;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod executor;
#[cfg(all(not(loom), feature = "tokio"))]
mod futures;
#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
mod job;
#[cfg(all(not(loom), feature = "tokio"))]
mod lanes;
#[cfg(not(loom))]
mod life;
#[cfg(not(loom))]
mod linger;
#[cfg(loom)]
pub(crate) mod models;
#[cfg_attr(loom, allow(dead_code, reason = "models use a part of it"))]
mod outcome;
mod padded;
#[cfg(not(loom))]
mod parker;
#[cfg(not(loom))]
mod pool;
#[cfg_attr(loom, allow(dead_code, reason = "models use a part of it"))]
mod queue;
#[cfg(not(loom))]
mod scope;
#[cfg(not(loom))]
mod source;
#[cfg(any(loom, feature = "tokio"))]
#[cfg_attr(loom, allow(dead_code, reason = "models use a part of it"))]
mod turns;
#[cfg(not(loom))]
mod worker;

#[cfg(not(loom))]
pub use self::{
    current::is_cancelled,
    error::Error,
    executor::{Executor, ExecutorBuilder},
    handle::Handle,
    life::Life,
    pool::{ThreadPool, ThreadPoolBuilder},
    scope::{Scope, ScopedHandle},
    source::Source,
    worker::{Rejected, Unavailable, Worker, WouldDeadlock},
};
