//! Pools in tests.
//!
//! A test binary has no `main` of yours that could call [`init`](crate::init()). One line in the
//! test's file does instead:
//!
//! ```
//! // tests/primes.rs, or `mod tests` of a library
//! manyhands::testing::worker!();
//!
//! #[manyhands::task]
//! fn is_prime(n: u64) -> bool {
//!     n > 1 && (2..n).all(|d| n % d != 0)
//! }
//!
//! # #[cfg(any())]
//! #[test]
//! fn seven_is_prime() {
//!     let pool = manyhands::Pool::builder().workers(2).build().unwrap();
//!     assert!(pool.submit(is_prime, 7).wait().unwrap());
//! }
//! # fn main() {}
//! ```
//!
//! It adds a test, `manyhands_worker`, that does nothing when it is run as a test. A worker is the
//! test binary, started again to run that test alone; it works under `cargo test` and under
//! `cargo nextest`. Three things are different from a worker of a program:
//!
//! - plain functions run on the thread of that test instead of the process's main thread;
//! - what tasks print to standard output is dropped (libtest writes there, too); what they print
//!   to standard error is seen;
//! - one such line is enough for a test binary; with more, any of them serves.
//!
//! Where `main` is yours after all, call [`init`](crate::init()) in it: examples, benches,
//! tests with `harness = false`, and documentation tests. (Those that make a pool need
//! ```` ```standalone_crate ```` in edition 2024, where others share one `main`.)

#![allow(clippy::test_attr_in_doctest, reason = "a test is what it shows")]

/// A test that can serve as a worker; collected at link time.
#[derive(Debug)]
#[doc(hidden)]
pub struct TestWorker {
    path: &'static str,
}

impl TestWorker {
    /// `path` begins with the crate's name.
    #[must_use]
    pub const fn new(path: &'static str) -> Self {
        Self { path }
    }

    /// As libtest calls it.
    pub(crate) fn name(&self) -> &'static str {
        self.path
            .split_once("::")
            .map_or(self.path, |(_, name)| name)
    }
}

inventory::collect!(TestWorker);

/// Lets tests make pools of processes; see [the module](self).
#[doc(inline)]
pub use crate::__testing_worker as worker;

#[macro_export]
#[doc(hidden)]
macro_rules! __testing_worker {
    () => {
        #[cfg(test)]
        #[test]
        fn manyhands_worker() {
            $crate::__private::inventory::submit! {
                $crate::testing::TestWorker::new(::std::concat!(
                    ::std::module_path!(),
                    "::manyhands_worker"
                ))
            }
            $crate::init();
        }
    };
}
