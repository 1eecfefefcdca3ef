//! Many tasks at once, in supervised worker processes: a task that crashes, leaks, loops or is
//! killed costs its worker, which is replaced, and no task that has not begun. Each worker runs one
//! plain function at a time, and beside it many `async` tasks.
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
//! - [`Pool::threads`] makes a [`ThreadPool`] with the same methods, for closures as well, also for
//!   those that borrow ([`Scope`]).
//! - [`Error`] says how a task ended that has no result.
//!
//! # Features
//!
//! | feature | on by default | what for |
//! |---|---|---|
//! | `tokio` | yes | `async fn` tasks: workers run them on tokio (time and network enabled). Awaiting a [`Handle`] needs no feature, and works on any runtime |
//!
//! # What a worker is
//!
//! A process: this executable, started again, which stays in [`init`]. So
//!
//! - what stands before `init` in `main` runs in each worker again;
//! - statics are the worker's own: what the program has stored in one is not there, and what a task
//!   stores is seen by later tasks of that worker only (see [`Builder::initializer`]);
//! - it has the program's arguments' first (its name) and no others, the program's environment and
//!   working directory as they were when the worker was started, and an empty standard input;
//! - its standard output and error are the program's. A line that is not complete waits in the
//!   worker's buffer: flush it, or it is lost with a worker that is killed;
//! - a panic of a task is printed to standard error by the worker, too, as in any program; set
//!   a panic hook before `init` to change that;
//! - it leaves Ctrl-C to the program, and blocks the signals that the thread blocked which built the
//!   pool. So does what a task starts;
//! - it ends with the program, however that ends; a program that a task has started does not, unless
//!   it sees to that.
//!
//! With `panic = "abort"` in the profile a panic ends the worker, before it can say anything: the
//! task ends as [`Error::WorkerDied`] by SIGABRT, and what was said is on standard error.
//!
//! # What can travel
//!
//! Arguments and results are owned values that serde can write and read; the format is
//! [postcard](https://postcard.jamesmunns.com). It does not say what comes next, so what needs to
//! know that cannot travel: `#[serde(untagged)]`, `flatten`, `skip_serializing_if`, tags within the
//! value, `serde_json::Value`. Those are [`Error::Decode`] or [`Error::Encode`] of their task.
//!
//! A `Vec<u8>` (as an argument, as the result, as the `Ok` of a result) travels as it is, with one
//! copy into shared memory and one out of it. Any other value is written and read element by
//! element: a `Vec<u32>`, and a `Vec<u8>` that is a field of something. For much data take bytes, as
//! an argument of its own.
//!
//! # The engine
//!
//! The modules [`process`], [`task`](mod@task), [`board`], [`arena`] and [`sys`] are the engine under
//! this, public for bindings of other languages; programs need none of it, and it may change with
//! any version. It moves bytes: a task is a function's definition and an input, and what they mean
//! is up to the runner in the worker. See [`process::Pool`] for the parent's side and
//! [`process::Seat`] for the worker's. In the same way [`thread`] is the pool of threads under
//! [`ThreadPool`], which has its closures and adds tasks, maps and limits.
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
/// Makes a [`Task`] of a function.
///
/// The function may be a plain `fn` or an `async fn`, private or public, in any module or inside of
/// another function. A plain one is run by itself, an `async` one on tokio beside many others: it
/// should not block or compute for long.
///
/// - **Arguments** are owned, any number up to what a call can have, and are submitted as `()`, as
///   the one argument, or as a tuple. Their types need `Serialize`, `Deserialize` and `Send`; see
///   [what can travel](crate#what-can-travel).
/// - **The result** likewise. A `Result` is a result as any other: its `Err` arrives as that, and is
///   not tried again.
/// - **The name** becomes a value that is called as the function was. It is no `Fn` itself: give
///   `*name`, or a closure, to what takes one.
///
/// Refused, since a worker finds the function by its name and calls it in another process:
/// borrowed arguments and results, generics and `impl Trait`, methods and other functions in an
/// `impl`, `const`, `unsafe` and `extern` functions, pointers and function pointers.
///
/// `#[task(crate = path)]` says where this crate is, where a program knows it by another name.
///
/// ```
/// use manyhands::task;
/// use manyhands as hands;
///
/// #[task]
/// fn add(a: u64, b: u64) -> u64 {
///     a + b
/// }
///
/// #[task(crate = hands)]
/// fn double(n: u64) -> u64 {
///     add(n, n)
/// }
///
/// assert_eq!(double(21), 42);
/// let doubles: Vec<u64> = (0..3).map(*double).collect();
/// assert_eq!(doubles, [0, 2, 4]);
/// ```
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
pub use thread::Scope;
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

/// The programs of the crate's `README.md`, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub mod readme {}
