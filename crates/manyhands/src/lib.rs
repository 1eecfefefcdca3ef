//! Many tasks at once, in supervised worker processes: a task that crashes, leaks, loops or is
//! killed costs only itself, and each worker runs many `async` tasks at once.
//!
//! ```standalone_crate
//! use manyhands::{Pool, task};
//!
//! #[task]
//! fn is_prime(n: u64) -> bool {
//!     n > 1 && (2..).take_while(|d| d * d <= n).all(|d| n % d != 0)
//! }
//!
//! fn main() -> manyhands::Result<()> {
//!     manyhands::init(); // a worker process stays in here
//!     let pool = Pool::builder().build()?;
//!     let primes = pool.map(is_prime, 0..1000).filter(|prime| matches!(prime, Ok(true)));
//!     assert_eq!(primes.count(), 168);
//!     Ok(())
//! }
//! ```
//!
//! # The parts
//!
//! - [`macro@task`] makes a [`Task`] of a function, plain or `async`.
//! - [`init`] comes first in `main`: workers are this program, started again. Tests say
//!   [`testing::worker!`](testing::worker) instead.
//! - [`Pool`] runs tasks in processes: [`Pool::submit`] gives a [`Handle`] to wait for or to await,
//!   [`Pool::map`] an iterator or a stream of results; [`Pool::options`] sets timeouts and retries.
//! - [`Pool::threads`] makes a [`ThreadPool`] with the same methods, for closures as well.
//! - [`Error`] says how a task ended that has no result.
//!
//! # Features
//!
//! | feature | on by default | what for |
//! |---|---|---|
//! | `tokio` | yes | `async fn` tasks: workers run them on tokio (time and network enabled). Awaiting a [`Handle`] needs no feature, and works on any runtime |
//!
//! # What can travel
//!
//! Arguments and results are owned values that serde can write and read; the format is postcard.
//! A `Vec<u8>` (as an argument, as the result, as the `Ok` of a result) travels as it is, with one
//! copy into shared memory and one out of it.
//!
//! # The engine
//!
//! The modules below are the engine under this: it moves bytes, and knows no language. A task is a
//! function's definition and an input; what they mean is up to the runner in the worker. See
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
pub mod thread;

#[cfg(not(loom))]
mod builder;
#[cfg(not(loom))]
mod core;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
mod init;
#[cfg(not(loom))]
mod map;
#[cfg(not(loom))]
mod options;
#[cfg(not(loom))]
mod pool;
#[cfg(not(loom))]
mod reexec;
#[cfg(not(loom))]
mod tasks;
#[cfg(not(loom))]
pub mod testing;
#[cfg(not(loom))]
mod threads;
#[cfg(not(loom))]
mod worker;

#[cfg(not(loom))]
pub use board::Kind;
#[cfg(not(loom))]
pub use builder::{Builder, Setup};
#[cfg(not(loom))]
pub use error::{Error, Result};
#[cfg(not(loom))]
pub use handle::Handle;
#[cfg(not(loom))]
pub use init::init;
/// Makes a [`Task`] of a function; see there.
#[cfg(not(loom))]
pub use manyhands_macros::task;
#[cfg(not(loom))]
pub use map::{Map, MapStream};
#[cfg(not(loom))]
pub use options::Options;
#[cfg(not(loom))]
pub use panic::Panic;
#[cfg(not(loom))]
pub use pool::Pool;
#[cfg(not(loom))]
pub use task::Exit;
#[cfg(not(loom))]
pub use tasks::Task;
#[cfg(not(loom))]
pub use threads::{ThreadBuilder, ThreadPool};
#[cfg(not(loom))]
pub use worker::is_cancelled;

/// What `#[task]` and `testing::worker!` need; no part of the interface.
#[doc(hidden)]
#[cfg(not(loom))]
pub mod __private {
    pub use crate::tasks::{
        Called, Decoder, Encoded, Encoder, Entry, Failure, HowBytes, HowResult, HowSerde,
        Registration, Run, Running, Slot, Source, can_travel,
    };
    pub use inventory;
}
