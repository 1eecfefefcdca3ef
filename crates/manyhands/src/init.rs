//! Whether this process is a worker, and how this program starts its workers.
//!
//! A worker is this executable, started again. [`init`] tells the two apart: by an environment
//! variable, and by the socket that the parent left as the worker's standard input. A process that
//! merely inherits the variable (a subprocess of a task) has another standard input.

use std::sync::OnceLock;

use crate::arena::SpanRef;
use crate::error::{Error, Result};
use crate::sys::stdin;
use crate::tasks::registry;
use crate::testing::TestWorker;
use crate::worker;

/// Tells a process that it is a worker, and where its instructions lie in the parent's arena.
pub(crate) const VARIABLE: &str = "MANYHANDS_WORKER";

static INITIALIZED: OnceLock<()> = OnceLock::new();

/// To be called first in `main`: a process that a pool started as a worker stays in here, runs
/// tasks, and exits with its pool. In any other process it returns at once.
///
/// What stands before it in `main` runs in every worker, too.
///
/// ```standalone_crate
/// use manyhands::{Pool, task};
///
/// #[task]
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// fn main() -> manyhands::Result<()> {
///     manyhands::init();
///     let pool = Pool::builder().workers(1).build()?;
///     assert_eq!(pool.submit(square, 12).wait()?, 144);
///     Ok(())
/// }
/// ```
///
/// Tests, whose `main` is not yours, say [`testing::worker!`](crate::testing::worker) instead.
///
/// # Panics
/// Two tasks cannot be told from one another: one file with a task was included twice.
pub fn init() {
    registry();
    // Before a worker goes to work: its tasks may make pools, too.
    INITIALIZED.get_or_init(|| ());
    if let Ok(offer) = std::env::var(VARIABLE)
        && let Some(control) = stdin::take_socket()
    {
        worker::serve(control, parse(&offer));
    }
}

/// How to write down where the instructions lie.
pub(crate) fn offer(span: SpanRef) -> String {
    format!("{}:{}:{}", span.offset, span.len, span.ticket)
}

fn parse(offer: &str) -> Option<SpanRef> {
    let mut numbers = offer.split(':').map(str::parse);
    let mut next = || numbers.next()?.ok();
    let span = SpanRef {
        offset: next()?,
        len: next()?,
        ticket: next()?,
    };
    Some(span)
}

/// How workers are started in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// As this executable, whose `main` calls [`init`].
    Main,
    /// As one test of this test binary.
    Test(&'static str),
}

impl Start {
    pub(crate) fn find() -> Result<Self> {
        if let Some(test) = inventory::iter::<TestWorker>().next() {
            return Ok(Self::Test(test.name()));
        }
        INITIALIZED
            .get()
            .map(|()| Self::Main)
            .ok_or(Error::NotInitialized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_read_as_it_was_written() {
        let span = SpanRef {
            offset: 4096,
            len: 77,
            ticket: u64::MAX,
        };
        assert_eq!(parse(&offer(span)), Some(span));
        assert_eq!(parse("1:2"), None);
        assert_eq!(parse("1:2:x"), None);
    }
}
